// SPDX-License-Identifier: Apache-2.0
// doctor: what is wrong with this host for shared memory, and how to mend it.
#include <algorithm>
#include <array>
#include <utility>

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <omniconn/runtime/json.hpp>

#include "commands.hpp"
#include "files.hpp"
#include "findings.hpp"
#include "payload.hpp"
#include "space_files.hpp"
#include "tables.hpp"

namespace tool {

namespace {

/// Worst first; docs/tool.md has this order. Other kinds come last.
constexpr std::array order{error_kind::misconfigured, error_kind::unauthorized, error_kind::unsupported, error_kind::no_space, error_kind::corrupt, error_kind::version_mismatch, error_kind::peer_stalled, error_kind::peer_lost};

char const* word(finding::level how) noexcept { return how == finding::level::fine ? "ok" : how == finding::level::note ? "note" : "WRONG"; }

value json_of(findings const& found, std::string const& folder) {
  value::array list;
  for (auto const& f : found.all()) {
    value one = value::object({{"level", f.how == finding::level::wrong ? "wrong" : word(f.how)}, {"name", f.name}, {"text", f.text}});
    if (!f.mend.empty()) one.set("mend", f.mend);
    if (f.how == finding::level::wrong) one.set("kind", std::string(to_string(f.kind)));
    list.push_back(std::move(one));
  }
  value out = value::object({{"directory", folder}});
  if (struct stat about {}; ::stat(folder.c_str(), &about) == 0) {
    out.set("device", std::to_string(major(about.st_dev)) + ":" + std::to_string(minor(about.st_dev)));
    out.set("inode", static_cast<std::uint64_t>(about.st_ino));
  }
  out.set("wrong", static_cast<std::uint64_t>(found.count_wrong()));
  out.set("findings", std::move(list));
  return out;
}

std::string text_of(findings const& found) {
  std::vector<cells> rows;
  for (auto const& f : found.all()) {
    std::string level = word(f.how);
    level.resize(5, ' ');  // as wide where nothing is wrong
    rows.push_back({std::move(level), f.name, one_line(f.text)});
    if (!f.mend.empty()) rows.push_back({"", "", "-> " + one_line(f.mend)});
  }
  return table(rows);
}

}  // namespace

std::size_t findings::count_wrong() const noexcept {
  return static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), [](finding const& f) { return f.how == finding::level::wrong; }));
}

finding const* findings::worst() const noexcept {
  finding const* out = nullptr;
  auto const rank = [](finding const& f) { return std::find(order.begin(), order.end(), f.kind) - order.begin(); };
  for (auto const& f : all_)
    if (f.how == finding::level::wrong && (out == nullptr || rank(f) < rank(*out))) out = &f;
  return out;
}

outcome run(doctor_command const& o) {
  std::string const folder = our_folder(o.directory);
  findings found;
  bool const usable = look_at_folder(folder, found);
  if (usable) look_at_placement(folder, found);
  look_at_limits(folder, found);
  if (usable) look_at_use(folder, upstream_folder(o.directory), found);
  if (auto printed = print(o.json ? omniconn::to_json(json_of(found, folder), 1) + "\n" : text_of(found)); !printed) return printed;
  auto const* const worst = found.worst();
  if (worst == nullptr) return {};
  std::size_t const n = found.count_wrong();
  return diagnosis(worst->kind, (n == 1 ? "one thing is wrong: " : std::to_string(n) + " things are wrong, first: ") + worst->name + ": " + worst->text);
}

}  // namespace tool
