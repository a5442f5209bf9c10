// SPDX-License-Identifier: Apache-2.0
// config, connectors.
#include <algorithm>
#include <utility>

#include <omniconn/runtime/json.hpp>
#include <omniconn/runtime/load_config.hpp>

#include "edges.hpp"
#include "files.hpp"
#include "payload.hpp"

namespace tool {

namespace {

value described(omniconn::connector_spec const& spec) { return value::object({{"name", spec.name}, {"extra", spec.extra}}); }

}  // namespace

outcome run(config_command const& o) {
  omniconn::config_options options;
  options.allow_parts = true;  // shows what Python's loader would make of the file
  auto const config = omniconn::load_transfer_config(o.file, options);
  if (!config) return config.error();
  value::array connectors;
  if (!o.stage) {
    for (auto const& [edge, spec] : config->connectors)
      connectors.push_back(value::object({{"from", edge.first}, {"to", edge.second}, {"name", spec.name}, {"extra", spec.extra}}));
  } else {
    if (std::find(config->stages.begin(), config->stages.end(), *o.stage) == config->stages.end()) {
      std::string known;
      for (auto const& stage : config->stages) known.append(known.empty() ? "" : ", ").append(omniconn::detail::shown_name(stage));
      return diagnosis(error_kind::not_found, config->source + ": there is no stage " + omniconn::detail::shown_name(*o.stage) + "; its stages are: " + known);
    }
    auto ends = config->connectors_of_stage(*o.stage);
    std::stable_sort(ends.begin(), ends.end(), [](auto const& a, auto const& b) { return std::pair(a.from, a.to) < std::pair(b.from, b.to); });
    for (auto const& end : ends)
      connectors.push_back(value::object({{"from", end.from}, {"to", end.to}, {"role", to_string(end.role)}, {"name", end.spec.name}, {"extra", end.spec.extra}}));
  }
  for (auto const& text : config->notes) note("note: " + one_line(text) + "\n");
  return print(omniconn::to_json(value::object({{"connectors", std::move(connectors)}, {"default", config->default_connector ? described(*config->default_connector) : value()}}), 1) + "\n");
}

outcome run(connectors_command const& o) {
  auto const all = known_connectors();
  std::string text;
  value::array rows;
  std::size_t width = 0;
  for (auto const& one : all) width = std::max(width, one.name.size());
  for (auto const& one : all) {
    rows.push_back(value::object({{"name", one.name}, {"available", one.available}, {"why", one.why}}));
    text.append(one.name).append(width + 2 - one.name.size(), ' ').append(one.available ? "yes  " : "no   ").append(one.why).append("\n");
  }
  return print(o.json ? omniconn::to_json(rows, 1) + "\n" : text);
}

}  // namespace tool
