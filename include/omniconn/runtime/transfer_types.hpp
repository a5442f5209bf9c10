// SPDX-License-Identifier: Apache-2.0
// Which connector serves which edge of a pipeline, the views that one stage needs, and what a document may leave open.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/flat_map.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/runtime/connector_spec.hpp>
#include <omniconn/runtime/document.hpp>
#include <omniconn/runtime/env.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The connector of edges that name none, and the one whose layout in memory depends on who else is in the pipeline.
inline constexpr std::string_view shared_memory_connector_name = "SharedMemoryConnector";

/// From stage, to stage: the key of an edge in a configuration. Owns its texts, unlike `edge`.
using stage_pair = std::pair<std::string, std::string>;

/// Which end of an edge a stage is.
enum class stage_role : std::uint8_t { receiver, sender };
constexpr std::string_view to_string(stage_role role) noexcept { return role == stage_role::sender ? "sender" : "receiver"; }

/// One connector as one stage opens it.
struct stage_connector {
  std::string key;  ///< "from_stage_0" for an incoming edge, "to_stage_1" for an outgoing one
  stage_role role = stage_role::receiver;
  std::string from;
  std::string to;
  connector_spec spec;  ///< its `extra` holds `role` (unless it did before), `from_stage` and `to_stage` as well
};

/// The connectors of a pipeline by edge: what upstream calls OmniTransferConfig.
///
/// A plain value: fill it by hand, or let `make_transfer_config` or `load_transfer_config` do so. Const calls may run together.
struct transfer_config {
  flat_map<stage_pair, connector_spec> connectors;
  /// Serves every edge that `connectors` lacks, where given.
  std::optional<connector_spec> default_connector;
  /// The edges in the order in which the document mentions them first.
  std::vector<stage_pair> order;
  /// The stages in the order of the document.
  std::vector<std::string> stages;
  /// What was decided without being asked, one sentence each: connectors made for edges that name none, options that had no effect.
  std::vector<std::string> notes;
  /// Begins the messages about this configuration.
  std::string source = "configuration";

  /// The edge's connector, else the default one, else null. \lifetime until the configuration changes.
  [[nodiscard]] connector_spec const* get_connector_for_edge(std::string_view from, std::string_view to) const {
    auto const found = connectors.find(stage_pair(from, to));
    if (found != connectors.end()) return &found->second;
    return default_connector ? &*default_connector : nullptr;
  }
  [[nodiscard]] bool has_connector_for_edge(std::string_view from, std::string_view to) const {
    return get_connector_for_edge(from, to) != nullptr;
  }

  /// Every edge of `connectors`: in the order of the document, then those added by hand.
  [[nodiscard]] std::vector<stage_pair> edges() const {
    std::vector<stage_pair> out;
    flat_map<stage_pair, bool> known;
    auto const add = [&](stage_pair const& pair) {
      if (known.emplace(pair, true).second) out.push_back(pair);
    };
    for (auto const& pair : order)
      if (connectors.count(pair) != 0) add(pair);
    for (auto const& entry : connectors) add(entry.first);
    return out;
  }

  /// Every connector of one stage: receiver on incoming edges, sender on outgoing ones, an edge to itself twice.
  /// `role` is added to `extra` unless it holds one; `from_stage` and `to_stage` are set, as integers where the names are.
  [[nodiscard]] std::vector<stage_connector> connectors_of_stage(std::string_view stage) const {
    std::vector<stage_connector> out;
    for (auto const& pair : edges()) {
      if (pair.second == stage) out.push_back(view_of(pair, stage_role::receiver));
      if (pair.first == stage) out.push_back(view_of(pair, stage_role::sender));
    }
    return out;
  }
  /// The same as upstream's stage workers see it: outgoing edges for stage "0" only, because there the orchestrator sends for the
  /// others, and an edge to itself counts as incoming.
  [[nodiscard]] std::vector<stage_connector> upstream_connectors_of_stage(std::string_view stage) const {
    auto out = connectors_of_stage(stage);
    std::erase_if(out, [&](stage_connector const& c) { return c.role == stage_role::sender && (stage != "0" || c.to == stage); });
    return out;
  }

  /// Success where each of these edges has a connector, the default one included; else `misconfigured`, naming every edge that has none.
  [[nodiscard]] result<void, diagnosis> require_edges(std::span<edge const> expected) const {
    std::string missing;
    for (auto const& [from, to] : expected)
      if (!has_connector_for_edge(from, to))
        missing.append(missing.empty() ? "" : ", ").append(detail::shown_name(from)).append("->").append(detail::shown_name(to));
    if (missing.empty()) return {};
    return diagnosis(error_kind::misconfigured, source + ": Connector configuration missing for edges: " + missing +
                                                    ". List them under runtime.edges (edges, beside stages), or name their connectors in "
                                                    "input_connectors and output_connectors");
  }

  /// The same connectors for the same edges; order, notes and source take no part.
  friend bool operator==(transfer_config const& a, transfer_config const& b) noexcept {
    return a.connectors == b.connectors && a.default_connector == b.default_connector;
  }

 private:
  [[nodiscard]] stage_connector view_of(stage_pair const& pair, stage_role role) const {
    auto const& [from, to] = pair;
    stage_connector out{role == stage_role::receiver ? "from_stage_" + from : "to_stage_" + to, role, from, to, connectors.at(pair)};
    if (!out.spec.extra.is_map()) out.spec.extra = value::map{};  // made by hand
    if (out.spec.extra.find("role") == nullptr) out.spec.extra.set("role", to_string(role));
    out.spec.extra.set("from_stage", stage_value(from));
    out.spec.extra.set("to_stage", stage_value(to));
    return out;
  }

  static value stage_value(std::string const& name) {
    std::int64_t number = 0;
    auto const [end, failed] = std::from_chars(name.data(), name.data() + name.size(), number);
    // "07" and "-0" are names: they would not come back from the number.
    bool const is_number = failed == std::errc{} && end == name.data() + name.size() && std::to_string(number) == name;
    return is_number ? value(number) : value(name);
  }
};

/// What a document leaves open.
struct config_options {
  /// Begins every message. For a `document` its own source counts, for a file its path.
  std::string source = "configuration";
  /// Goes as `shm_threshold_bytes` into the connectors made for edges that name none, as upstream did before 0.30. Without it their
  /// `extra` stays empty, as upstream has it today; a connector that reads no `shm_threshold_bytes` takes 65536.
  std::optional<std::uint64_t> default_shm_threshold;
  /// Serves edges that name no connector, instead of SharedMemoryConnector, unless the document has a `default_connector` of its own.
  std::optional<connector_spec> default_connector;
  /// True where no Python stage takes part: every SharedMemoryConnector whose `extra` has no `layout` gets `layout: omniconn`; false: it gets
  /// `layout: upstream`. Without it the environment variable OMNICONN_SHM_LAYOUT decides, here (`omniconn`) and when a connector is opened.
  std::optional<bool> all_stages_are_ours;
  /// Whether an edge may lead to a stage that the document does not list. Without it such an edge is taken for a typing error.
  bool allow_unlisted_stages = false;
  /// Whether a document may be a part: an overlay of a `base_config` (its connectors may lack their names), or settings without any stage. What it lacks
  /// is noted, and the configuration may be empty, as Python's loader has it. Without it a part is an error, because a stage would find no connector.
  bool allow_parts = false;
  /// For the parsers of `load_transfer_config`.
  document_limits limits;
};

OMNICONN_END_NAMESPACE
