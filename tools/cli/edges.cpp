// SPDX-License-Identifier: Apache-2.0
#include "edges.hpp"

#include <string_view>
#include <utility>

#include <omniconn/runtime/load_config.hpp>
#include <omniconn/runtime/yaml.hpp>

namespace tool {

namespace {

/// "key=value", the value as it would stand in a configuration.
outcome add_setting(value& extra, std::string const& setting) {
  std::size_t const sign = setting.find('=');
  std::string const key = setting.substr(0, sign);
  auto item = omniconn::parse_yaml(std::string_view(setting).substr(sign + 1), "--set " + omniconn::detail::shown_name(key));
  if (!item) return std::move(item.error());
  extra.set(key, std::move(item->root));
  return {};
}

}  // namespace

result<omniconn::connector_spec, diagnosis> spec_of(edge_options const& o, omniconn::stage_role role) {
  omniconn::transfer_config all;
  if (!o.config.empty()) {
    auto loaded = omniconn::load_transfer_config(o.config);
    if (!loaded) return std::move(loaded.error());
    all = std::move(*loaded);
    omniconn::edge const wanted[]{edge_of(o)};
    if (auto const there = all.require_edges(wanted); !there) return there.error();
    if (auto const* spec = all.get_connector_for_edge(o.from, o.to)) all.connectors[{o.from, o.to}] = omniconn::connector_spec(*spec);
  } else {
    omniconn::connector_spec named;
    named.name = o.connector;
    for (auto const& setting : o.settings)
      if (auto done = add_setting(named.extra, setting); !done) return std::move(done.error());
    all.connectors[{o.from, o.to}] = std::move(named);
  }
  for (auto& end : all.connectors_of_stage(role == omniconn::stage_role::sender ? o.from : o.to))
    if (end.role == role && end.from == o.from && end.to == o.to) return std::move(end.spec);
  return diagnosis(error_kind::misconfigured, "the edge has no connector");
}

result<omniconn::any_connector, diagnosis> open_edge(edge_options const& o, omniconn::stage_role role) {
  auto const spec = spec_of(o, role);
  if (!spec) return spec.error();
  return open_connector(*spec);
}

}  // namespace tool
