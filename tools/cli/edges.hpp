// SPDX-License-Identifier: Apache-2.0
// From the options of the command line to the connector of one edge.
#pragma once

#include <string>
#include <vector>

#include <omniconn/any_connector.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/runtime/connector_spec.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/runtime/transfer_types.hpp>

#include "commands.hpp"

namespace tool {

/// What the configuration, or name and settings, say of the edge; with `role`, `from_stage` and `to_stage` as a stage at that end would have them.
/// \errors those of the configuration; `misconfigured`: no connector for the edge, a setting that is no YAML value.
result<omniconn::connector_spec, diagnosis> spec_of(edge_options const&, omniconn::stage_role);

/// The connector of that spec. \errors as `connector_factory::create`.
result<omniconn::any_connector, diagnosis> open_connector(omniconn::connector_spec const&);

/// Both in one.
result<omniconn::any_connector, diagnosis> open_edge(edge_options const&, omniconn::stage_role);

/// Every name, and whether it can be opened.
std::vector<omniconn::connector_availability> known_connectors();

inline omniconn::edge edge_of(edge_options const& o) noexcept { return {o.from, o.to}; }

}  // namespace tool
