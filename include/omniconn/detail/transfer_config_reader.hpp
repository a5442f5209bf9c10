// SPDX-License-Identifier: Apache-2.0
// The work of make_transfer_config, whose contract <omniconn/runtime/transfer_config.hpp> states.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/flat_map.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/config_cursor.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/detail/shm_layout.hpp>
#include <omniconn/runtime/connector_spec.hpp>
#include <omniconn/runtime/document.hpp>
#include <omniconn/runtime/env.hpp>
#include <omniconn/runtime/transfer_types.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// One reading of one document. A step returns what was wrong, or nothing.
class transfer_config_reader {
 public:
  transfer_config_reader(document const& from, config_options const& options, env_lookup env) : root_(from), options_(options), env_(env) {
    out_.source = from.source;
  }

  result<transfer_config, diagnosis> read() {
    auto bad = read_all();
    // Upstream's deploy loader merges such a file into its base first; what is here is a part, and may look wrong or incomplete alone.
    if (auto const base = root_.find("base_config")) {
      constexpr std::string_view advice = "base_config is not followed here: load the merged document if this one is not whole";
      if (bad) return diagnosis(bad->kind(), bad->detail() + "; " + std::string(advice));
      out_.notes.push_back(base->where() + ": " + std::string(advice));
    }
    if (bad) return std::move(*bad);
    return std::move(out_);
  }

 private:
  using problem = std::optional<diagnosis>;
  using place = std::optional<config_cursor>;
  static constexpr std::size_t max_stage_name = 255;  // keys hold two of them and have 4 KiB

  problem read_all() {
    if (auto bad = check_document(root_, 64)) return bad;
    if (auto bad = decide_layout()) return bad;
    if (auto bad = find_sections()) return bad;
    if (auto bad = read_connectors()) return bad;
    if (auto bad = read_default()) return bad;
    if (stages_) {
      for (std::size_t i = 0; i < stages_->item().size(); ++i)
        if (auto bad = read_stage(stages_->child(i))) return bad;
    }
    if (auto bad = read_edges()) return bad;
    for (auto const& [sources, stage] : sources_)
      if (auto bad = read_sources(sources, stage)) return bad;
    return check_stages();
  }

  // The layout is part of the spec from here on, so that a connector can be opened from its spec alone. Only what is said so in `options` is written
  // as upstream's too: what opens the connector would ask its own environment otherwise.
  problem decide_layout() {
    if (options_.all_stages_are_ours) {
      layout_ = *options_.all_stages_are_ours ? shm_layout_ours : shm_layout_upstream;
      return {};
    }
    auto const said = shm_layout_of_environment(env_);
    if (!said) return said.error();
    if (*said == shm_layout_ours) layout_ = *said;
    return {};
  }

  // A file whose rest is in its base.
  [[nodiscard]] bool is_overlay() const { return options_.allow_parts && root_.find("base_config").has_value(); }

  // Two forms: `stages` with `connectors` and `edges` beside it, or `stage_args` with both of them under `runtime`.
  problem find_sections() {
    if (!root_.item().is_map())
      return root_.wrong_type("a map with the pipeline's stages", "write stages: (or runtime: and stage_args:) at the left margin");
    place const runtime = root_.find("runtime");
    if (runtime && !runtime->item().is_map()) return runtime->wrong_type("a map", "put connectors: and edges: under it");
    place const modern = root_.find("stages");
    place const legacy = root_.find("stage_args");
    if (modern && legacy)
      return legacy->problem("stands beside stages (" + modern->place() + "); a document lists its stages once, keep one of the two");
    if (!modern && !legacy && !runtime && !root_.find("connectors") && !root_.find("edges")) {
      auto nothing = root_.problem("describes no pipeline: stages, stage_args and runtime are missing or empty; is it the right file?");
      if (!options_.allow_parts) return nothing;
      out_.notes.push_back(nothing.detail());
      return {};
    }
    stages_ = modern ? modern : legacy;
    if (stages_ && !stages_->item().is_array()) return stages_->wrong_type("a list of stages", "begin each stage with - stage_id: N");

    auto const choose = [&](std::string_view name, place& chosen) -> problem {
      place const inner = runtime ? runtime->find(name) : place();
      place const outer = root_.find(name);
      if (outer && inner) return outer->problem("stands under runtime too (" + inner->place() + "); keep one of the two");
      if (outer && !modern) {
        auto alone = outer->problem("is read only beside stages; move it under runtime, or list the pipeline's stages under stages");
        if (!is_overlay()) return alone;
        out_.notes.push_back(alone.detail());
        return {};
      }
      chosen = outer ? outer : inner;
      return {};
    };
    if (auto bad = choose("connectors", connectors_)) return bad;
    if (auto bad = choose("edges", edges_)) return bad;
    return choose("default_connector", default_);
  }

  problem read_connectors() {
    if (!connectors_) return {};
    if (!connectors_->item().is_map())
      return connectors_->wrong_type("a map of names to connectors", "write a name: {name: SharedMemoryConnector}");
    for (std::size_t i = 0; i < connectors_->item().size(); ++i) {
      auto const at = connectors_->child(i);
      auto const* const name = (*connectors_->item().if_map())[i].first.if_string();
      if (name == nullptr || name->empty()) return at.problem("stands under a key that is no text; put the connector's name in quotes");
      connector_spec spec;
      if (is_overlay() && at.item().is_map() && !at.find("name")) {
        out_.notes.push_back(at.problem("has no name here; it is left out").detail());
        continue;
      }
      if (auto bad = read_spec(at, spec)) return bad;
      named_.emplace(*name, std::move(spec));
    }
    return {};
  }

  problem read_default() {
    if (default_) {
      connector_spec spec;
      if (auto bad = read_reference(*default_, spec)) return bad;
      out_.default_connector = std::move(spec);
    } else if (options_.default_connector) {
      out_.default_connector = options_.default_connector;
      set_layout(*out_.default_connector);
    }
    return {};
  }

  // {name: ..., extra: {...}}
  problem read_spec(config_cursor const& at, connector_spec& spec) {
    constexpr std::string_view form = "write {name: SharedMemoryConnector, extra: {...}}";
    if (!at.item().is_map()) return at.wrong_type("a map with the connector's name", form);
    auto const name = at.find("name");
    if (!name) return at.problem("has no name; " + std::string(form));
    if (!name->item().is_string()) return name->wrong_type("the name of a connector", "put it in quotes");
    spec.name = *name->item().if_string();
    if (spec.name.empty()) return name->problem("is empty; " + std::string(form));
    if (auto const extra = at.find("extra")) {
      if (!extra->item().is_map()) return extra->wrong_type("a map of options", "write extra: {option: value}");
      spec.extra = extra->item();
      if (auto bad = check_layout(*extra, spec)) return bad;
    }
    for (std::size_t i = 0; i < at.item().size(); ++i) {
      auto const& key = (*at.item().if_map())[i].first;
      if (key != value("name") && key != value("extra"))
        return at.child(i).problem("is no part of a connector, which has name and extra; move options under extra");
    }
    set_layout(spec);
    return {};
  }

  static problem check_layout(config_cursor const& extra, connector_spec const& spec) {
    auto const layout = extra.entry("layout");
    if (!layout || spec.name != shared_memory_connector_name) return {};
    auto const* const text = layout->item().if_string();
    if (text != nullptr && is_shm_layout(*text)) return {};
    return layout->wrong_type("omniconn or upstream", "write layout: omniconn where no Python stage uses this edge, or leave it out");
  }

  void set_layout(connector_spec& spec) const {
    if (spec.extra.is_nil()) spec.extra = value::map{};
    if (!layout_.empty() && spec.name == shared_memory_connector_name && spec.extra.is_map() && spec.extra.find("layout") == nullptr)
      spec.extra.set("layout", layout_);
  }

  // The name of a connector under `connectors`, or a connector written in place.
  problem read_reference(config_cursor const& at, connector_spec& spec) {
    auto const* const name = at.item().if_string();
    if (name == nullptr) {
      if (at.item().is_map()) return read_spec(at, spec);
      return at.wrong_type("the name of a connector or a connector", "write a name from connectors, or {name: ..., extra: {...}}");
    }
    auto const found = named_.find(*name);
    if (found != named_.end()) {
      spec = found->second;
      return {};
    }
    std::string known;
    for (auto const& entry : named_) known.append(known.empty() ? "" : ", ").append(in_quotes(entry.first));
    return at.problem("Undefined connector reference: " + in_quotes(*name) + "; " +
                      (known.empty() ? "the document defines no connectors: add it under " : "known are " + known + ": add it under ") +
                      (connectors_ ? connectors_->path() : "connectors") + ", or correct the name");
  }

  problem read_stage(config_cursor const& at) {
    if (!at.item().is_map()) return at.wrong_type("a map with the stage's stage_id", "write - stage_id: N");
    auto const id = at.find("stage_id");
    if (!id) return at.problem("has no stage_id; write - stage_id: N");
    std::string stage;
    if (auto bad = read_stage_name(*id, stage)) return bad;
    auto const [first, fresh] = stage_places_.emplace(stage, id->place());
    if (!fresh)
      return id->problem("stage " + in_quotes(stage) + " is listed twice, first at " + first->second +
                         "; give each stage its own stage_id");
    out_.stages.push_back(stage);

    for (auto const incoming : {true, false}) {
      auto const list = at.find(incoming ? "input_connectors" : "output_connectors");
      if (!list) continue;
      std::string_view const prefix = incoming ? "from_stage_" : "to_stage_";
      std::string const form = "write " + std::string(prefix) + "N: name";
      if (!list->item().is_map()) return list->wrong_type("a map of edges to connectors", form);
      for (std::size_t i = 0; i < list->item().size(); ++i) {
        auto const entry = list->child(i);
        auto const* const key = (*list->item().if_map())[i].first.if_string();
        if (key == nullptr || key->rfind(prefix, 0) != 0 || key->size() == prefix.size() || key->size() > prefix.size() + max_stage_name)
          return entry.problem("is no edge: the key must be " + std::string(prefix) + " and a stage_id; " + form);
        std::string other = key->substr(prefix.size());
        connector_spec spec;
        if (auto bad = read_reference(entry, spec)) return bad;
        auto pair = incoming ? stage_pair(std::move(other), stage) : stage_pair(stage, std::move(other));
        if (auto bad = add_explicit(entry, std::move(pair), std::move(spec), incoming, stage)) return bad;
      }
    }
    if (auto const sources = at.find("engine_input_source")) sources_.emplace_back(*sources, stage);
    return {};
  }

  problem add_explicit(config_cursor const& at, stage_pair pair, connector_spec spec, bool incoming, std::string const& stage) {
    auto const [known, fresh] = out_.connectors.emplace(pair, spec);
    if (fresh) {
      origins_.emplace(pair, at);
      out_.order.push_back(std::move(pair));
      return {};
    }
    auto const& first = origins_.at(pair);
    if (known->second.name != spec.name)
      return at.problem("Connector type mismatch for edge " + shown_edge(pair) + ": previously registered as " +
                        in_quotes(known->second.name) + " (" + first.where() + "), but " + (incoming ? "input" : "output") +
                        "_connectors of stage " + shown_name(stage) + " specifies " + in_quotes(spec.name) +
                        "; both ends of an edge need the same connector");
    if (!same_options(known->second.extra, spec.extra))
      out_.notes.push_back(at.where() + ": the extra of edge " + shown_edge(pair) + " differs from that of " + first.where() +
                           ", which counts because it comes first");
    return {};
  }

  problem read_edges() {
    if (!edges_) return {};
    constexpr std::string_view form = "write - {from: 0, to: 1}";
    if (!edges_->item().is_array()) return edges_->wrong_type("a list of edges", form);
    flat_map<stage_pair, config_cursor> seen;
    for (std::size_t i = 0; i < edges_->item().size(); ++i) {
      auto const at = edges_->child(i);
      if (!at.item().is_map()) return at.wrong_type("a map with from and to", form);
      stage_pair pair;
      for (auto const end : {"from", "to"}) {
        auto const name = at.find(end);
        if (!name) return at.problem(std::string("has no ") + end + "; " + std::string(form));
        if (auto bad = read_stage_name(*name, *end == 'f' ? pair.first : pair.second)) return bad;
      }
      auto const [first, fresh] = seen.emplace(pair, at);
      if (!fresh && !same_options(first->second.item(), at.item()))
        return at.problem("edge " + shown_edge(pair) + " is listed with other settings at " + first->second.where() + "; keep one");
      if (fresh) add_automatic(at, std::move(pair));
    }
    return {};
  }

  problem read_sources(config_cursor const& at, std::string const& stage) {
    if (!at.item().is_array()) return at.wrong_type("a list of stage_ids", "write [0]");
    for (std::size_t i = 0; i < at.item().size(); ++i) {
      stage_pair pair{{}, stage};
      if (auto bad = read_stage_name(at.child(i), pair.first)) return bad;
      add_automatic(at.child(i), std::move(pair));
    }
    return {};
  }

  void add_automatic(config_cursor const& at, stage_pair pair) {
    if (out_.connectors.count(pair) != 0) return;
    connector_spec spec;
    if (out_.default_connector) {
      spec = *out_.default_connector;
    } else {
      spec.name = shared_memory_connector_name;
      if (options_.default_shm_threshold) spec.extra.set("shm_threshold_bytes", *options_.default_shm_threshold);
      set_layout(spec);
    }
    out_.notes.push_back(at.where() + ": edge " + shown_edge(pair) + " names no connector and gets " + in_quotes(spec.name));
    origins_.emplace(pair, at);
    out_.order.push_back(pair);
    out_.connectors.emplace(std::move(pair), std::move(spec));
  }

  // Stages are texts for us and mostly integers in documents.
  static problem read_stage_name(config_cursor const& at, std::string& out) {
    constexpr std::string_view mend = "write an integer or a text such as thinker";
    if (auto const* const text = at.item().if_string()) {
      if (text->empty() || text->size() > max_stage_name) return at.problem("a stage's name has 1 to 255 bytes; " + std::string(mend));
      out = *text;
    } else if (auto const number = at.item().as_int64()) {
      out = std::to_string(*number);
    } else {
      return at.wrong_type("the stage_id of a stage", mend);
    }
    return {};
  }

  problem check_stages() const {
    if (out_.stages.empty() || options_.allow_unlisted_stages) return {};
    for (auto const& pair : out_.order)
      for (auto const* const stage : {&pair.first, &pair.second})
        if (stage_places_.count(*stage) == 0)
          return origins_.at(pair).problem("edge " + shown_edge(pair) + " leads to stage " + in_quotes(*stage) + ", which " +
                                           stages_->path() + " does not list; add it, or correct the stage_id");
    return {};
  }

  static std::string shown_edge(stage_pair const& pair) { return shown_name(pair.first) + "->" + shown_name(pair.second); }

  // As Python compares dicts: the order of the entries does not count.
  static bool same_options(value const& a, value const& b) {
    if (!a.is_map() || !b.is_map()) return a == b;
    if (a.size() != b.size()) return false;
    for (auto const& [key, item] : *a.if_map()) {
      auto const* const name = key.if_string();
      if (name == nullptr) return a == b;
      auto const* const other = b.find(*name);
      if (other == nullptr || *other != item) return false;
    }
    return true;
  }

  config_cursor root_;
  config_options const& options_;
  env_lookup env_;
  std::string_view layout_;  // of connectors that name none; empty: left to who opens them
  place stages_;
  place connectors_;
  place edges_;
  place default_;
  transfer_config out_;
  flat_map<std::string, connector_spec> named_;
  flat_map<std::string, std::string> stage_places_;
  std::vector<std::pair<config_cursor, std::string>> sources_;
  flat_map<stage_pair, config_cursor> origins_;  // where an edge was first mentioned
};

}  // namespace detail

OMNICONN_END_NAMESPACE
