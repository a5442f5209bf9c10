// SPDX-License-Identifier: Apache-2.0
// The table of edges, made of what the stages measured, and what in it must not be.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/core/value.hpp>

namespace pipeline {

/// What one stage reported of its end of one edge: a map, see `edge_end::figures`.
struct end_report {
  std::string stage;
  omniconn::value figures;

  [[nodiscard]] double number(std::string_view field) const {
    auto const* v = figures.find(field);
    return v == nullptr ? 0 : v->as_double().value_or(0);
  }
  [[nodiscard]] std::string text(std::string_view field) const {
    auto const* v = figures.find(field);
    return v == nullptr ? "" : std::string(v->as_string().value_or(""));
  }
  /// Whether its views are the writer's memory.
  [[nodiscard]] bool zero_copy() const {
    auto const* v = figures.find("zero_copy");
    return v == nullptr || v->as_bool().value_or(true);
  }
  [[nodiscard]] std::string edge() const { return text("from") + " -> " + text("to"); }
};

struct edge_table {
  std::string text;
  bool good = true;  ///< every object reached every reader, and all readers of an edge of shared memory looked at one block
};

inline edge_table make_edge_table(std::vector<end_report> const& sends, std::vector<end_report> const& receives) {
  edge_table out;
  auto const add = [&out](char const* form, auto... values) {
    char line[512];
    std::snprintf(line, sizeof line, form, values...);
    out.text += line;
  };
  auto const problem = [&out](std::string const& text) {
    out.text += "  " + text + "\n";
    out.good = false;
  };

  add("%-8s %-8s %8s %10s %10s %10s %8s %7s %7s\n", "edge", "reader", "objects", "bytes", "p50 us", "p99 us", "GB/s", "copies", "errors");
  if (sends.empty()) problem("no stage sent anything");
  for (auto const& sent : sends) {
    double const objects = sent.number("objects");
    if (objects == 0) problem(sent.stage + " sent nothing on edge " + sent.edge());
    end_report const* first = nullptr;
    bool read = false;
    for (auto const& got : receives) {
      if (got.edge() != sent.edge()) continue;
      read = true;
      double const bytes = got.number("bytes"), seconds = got.number("seconds"), errors = got.number("errors") + sent.number("errors");
      double const looked_at = got.number("looked_at"), in_place = got.number("in_place");
      // What the sender's calls copied into the arena, and which of the views that were looked at do not lie in it.
      char copies[32] = "?";
      if (objects > 0 && looked_at > 0) std::snprintf(copies, sizeof copies, "%.3g + %.3g", sent.number("copied") / objects, 1 - in_place / looked_at);
      add("%-8s %-8s %8.0f %10.0f %10.1f %10.1f %8.3f %7s %7.0f\n", sent.edge().c_str(), got.stage.c_str(), got.number("objects"), bytes, got.number("p50_us"), got.number("p99_us"),
          seconds > 0 ? bytes / seconds / 1e9 : 0.0, copies, errors);
      if (got.number("objects") != objects || errors != 0) {
        char line[256];
        std::snprintf(line, sizeof line, "%s sent %.0f objects, %s got %.0f", sent.stage.c_str(), objects, got.stage.c_str(), got.number("objects"));
        problem(line);
      }
      if (!got.zero_copy()) continue;  // its objects come over a network
      if (looked_at == 0 || in_place != looked_at) problem(got.stage + " did not read edge " + got.edge() + " where it was written");
      auto const* places = got.figures.find("places");
      if (first == nullptr) {
        first = &got;
      } else if (auto const* firsts = first->figures.find("places"); places == nullptr || firsts == nullptr || !(*places == *firsts)) {
        problem(first->stage + " and " + got.stage + " did not read the same blocks");
      }
    }
    if (!read) problem("nobody read edge " + sent.edge());
  }
  for (auto const& got : receives) {
    bool sent = false;
    for (auto const& other : sends) sent = sent || other.edge() == got.edge();
    if (!sent) problem(got.stage + " read edge " + got.edge() + ", on which nobody sent");
  }
  out.text +=
      "(copies: on put + on get, 0 on get where the reader's view lies in the shared mapping; latency: from before the put until the view is there;\n"
      "GB/s: over the whole stream)\n\n";
  for (auto const& got : receives)
    if (auto const* places = got.figures.find("places"); got.zero_copy() && places != nullptr && places->size() != 0)
      add("first object of %s as %-8s sees it: %s\n", got.edge().c_str(), got.stage.c_str(), std::string(places->if_array()->front().as_string().value_or("")).c_str());
  return out;
}

}  // namespace pipeline
