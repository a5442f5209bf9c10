// SPDX-License-Identifier: Apache-2.0
#include <omniconn/runtime/transfer_config.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

auto const no_env = [](char const*) -> char const* { return nullptr; };

value stage(value id, value input = {}, value output = {}, value sources = {}) {
  value out = value::object({{"stage_id", std::move(id)}});
  if (!input.is_nil()) out.set("input_connectors", std::move(input));
  if (!output.is_nil()) out.set("output_connectors", std::move(output));
  if (!sources.is_nil()) out.set("engine_input_source", std::move(sources));
  return out;
}
value edge_of(value from, value to) { return value::object({{"from", std::move(from)}, {"to", std::move(to)}}); }

// Three stages over two connectors, and one edge that names none: 0 -shm-> 1 -rdma-> 2, 0 -> 2.
value legacy() {
  return value::object(
      {{"runtime",
        value::object(
            {{"connectors",
              value::object({{"shm", value::object({{"name", "SharedMemoryConnector"},
                                                    {"extra", value::object({{"shm_threshold_bytes", 1024}, {"unknown", "kept"}})}})},
                             {"rdma", value::object({{"name", "MooncakeTransferEngineConnector"},
                                                     {"extra", value::object({{"host", "auto"}, {"zmq_port", 50051}})}})}})},
             {"edges", value::list({value::object({{"from", 0}, {"to", 1}, {"window_size", -1}}), edge_of(0, 2)})}})},
       {"stage_args",
        value::list({stage(0, {}, value::object({{"to_stage_1", "shm"}})),
                     stage(1, value::object({{"from_stage_0", "shm"}}), value::object({{"to_stage_2", "rdma"}}), value::list({0})),
                     stage(2, value::object({{"from_stage_1", "rdma"}}), {}, value::list({1, 0}))})}});
}
value modern() {
  value const old = legacy();
  return value::object({{"async_chunk", true},
                        {"connectors", *old.find("runtime")->find("connectors")},
                        {"edges", *old.find("runtime")->find("edges")},
                        {"stages", *old.find("stage_args")}});
}

result<transfer_config, diagnosis> make(value const& root, config_options const& options = {}) {
  return make_transfer_config(root, options, no_env);
}

void expect_problem(value const& root, std::string const& text, error_kind kind = error_kind::misconfigured,
                    config_options const& options = {}) {
  auto const out = make(root, options);
  ASSERT_FALSE(out) << "expected: " << text;
  EXPECT_EQ(out.error().kind(), kind);
  EXPECT_EQ(out.error().detail(), "configuration: " + text);
}

TEST(transfer_config, reads_both_forms_alike) {
  auto const old = make(legacy());
  ASSERT_TRUE(old) << old.error().message();
  auto const now = make(modern());
  ASSERT_TRUE(now) << now.error().message();
  EXPECT_EQ(*old, *now);

  ASSERT_EQ(old->connectors.size(), 3U);
  auto const& shm = old->connectors.at({"0", "1"});
  EXPECT_EQ(shm.name, "SharedMemoryConnector");
  EXPECT_EQ(shm.extra, value::object({{"shm_threshold_bytes", 1024}, {"unknown", "kept"}}));
  EXPECT_EQ(old->connectors.at({"1", "2"}).name, "MooncakeTransferEngineConnector");
  auto const& made = old->connectors.at({"0", "2"});
  EXPECT_EQ(made, (connector_spec{"SharedMemoryConnector"})) << "its extra is empty, as upstream has it";
  EXPECT_EQ(old->edges(), (std::vector<stage_pair>{{"0", "1"}, {"1", "2"}, {"0", "2"}}));
  EXPECT_EQ(old->stages, (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_FALSE(old->default_connector);
  ASSERT_EQ(old->notes.size(), 1U);
  EXPECT_EQ(old->notes[0], "configuration: runtime.edges[1]: edge 0->2 names no connector and gets 'SharedMemoryConnector'");
  ASSERT_EQ(now->notes.size(), 1U);
  EXPECT_EQ(now->notes[0], "configuration: edges[1]: edge 0->2 names no connector and gets 'SharedMemoryConnector'");
}

TEST(transfer_config, lookup_falls_back_to_the_default) {
  auto config = *make(legacy());
  EXPECT_EQ(config.get_connector_for_edge("1", "2")->name, "MooncakeTransferEngineConnector");
  EXPECT_TRUE(config.has_connector_for_edge("0", "2"));
  EXPECT_EQ(config.get_connector_for_edge("2", "1"), nullptr);
  EXPECT_FALSE(config.has_connector_for_edge("2", "1"));
  config.default_connector = connector_spec{"ShmConnector"};
  EXPECT_EQ(config.get_connector_for_edge("2", "1")->name, "ShmConnector");
  EXPECT_TRUE(config.has_connector_for_edge("2", "1"));
  EXPECT_EQ(config.get_connector_for_edge("0", "1")->name, "SharedMemoryConnector");
}

TEST(transfer_config, a_stage_sees_both_directions) {
  auto const config = *make(legacy());
  auto const of_1 = config.connectors_of_stage("1");
  ASSERT_EQ(of_1.size(), 2U);
  EXPECT_EQ(of_1[0].key, "from_stage_0");
  EXPECT_EQ(of_1[0].role, stage_role::receiver);
  EXPECT_EQ(of_1[0].spec.extra,
            value::object({{"shm_threshold_bytes", 1024}, {"unknown", "kept"}, {"role", "receiver"}, {"from_stage", 0}, {"to_stage", 1}}));
  EXPECT_EQ(of_1[1].key, "to_stage_2");
  EXPECT_EQ(of_1[1].role, stage_role::sender);
  EXPECT_EQ(of_1[1].from, "1");
  EXPECT_EQ(of_1[1].to, "2");
  EXPECT_EQ(of_1[1].spec.name, "MooncakeTransferEngineConnector");
  EXPECT_EQ(of_1[1].spec.extra,
            value::object({{"host", "auto"}, {"zmq_port", 50051}, {"role", "sender"}, {"from_stage", 1}, {"to_stage", 2}}));

  EXPECT_EQ(config.connectors_of_stage("0").size(), 2U);
  EXPECT_EQ(config.connectors_of_stage("2").size(), 2U);
  EXPECT_TRUE(config.connectors_of_stage("9").empty());
  EXPECT_EQ(config.connectors.at({"0", "1"}).extra.find("role"), nullptr) << "the edge itself has no role";
}

TEST(transfer_config, upstreams_view_has_outgoing_edges_for_stage_0_only) {
  auto const config = *make(legacy());
  auto const keys = [&](std::string_view name) {
    std::vector<std::string> out;
    for (auto const& c : config.upstream_connectors_of_stage(name)) out.push_back(c.key);
    return out;
  };
  EXPECT_EQ(keys("0"), (std::vector<std::string>{"to_stage_1", "to_stage_2"}));
  EXPECT_EQ(keys("1"), (std::vector<std::string>{"from_stage_0"}));
  EXPECT_EQ(keys("2"), (std::vector<std::string>{"from_stage_1", "from_stage_0"}));
}

TEST(transfer_config, role_is_kept_stages_are_set) {
  transfer_config config;
  config.connectors[{"thinker", "07"}] = {"X", value::object({{"role", "dual"}, {"from_stage", "wrong"}})};
  config.connectors[{"-3", "-3"}] = {"Y", {}};
  auto const named = config.connectors_of_stage("thinker");
  ASSERT_EQ(named.size(), 1U);
  EXPECT_EQ(named[0].spec.extra, value::object({{"role", "dual"}, {"from_stage", "thinker"}, {"to_stage", "07"}}));
  EXPECT_EQ(named[0].role, stage_role::sender);
  auto const self = config.connectors_of_stage("-3");
  ASSERT_EQ(self.size(), 2U);
  EXPECT_EQ(self[0].spec.extra, value::object({{"role", "receiver"}, {"from_stage", -3}, {"to_stage", -3}}));
  EXPECT_EQ(self[1].role, stage_role::sender);
  EXPECT_EQ(config.upstream_connectors_of_stage("-3").size(), 1U);
}

TEST(transfer_config, edges_follow_the_document_and_then_what_was_added) {
  transfer_config config;
  config.order = {{"2", "1"}, {"1", "0"}, {"2", "1"}, {"9", "9"}};
  for (auto const& pair : {stage_pair{"1", "0"}, stage_pair{"2", "1"}, stage_pair{"0", "5"}, stage_pair{"0", "4"}})
    config.connectors[pair] = {"X", {}};
  EXPECT_EQ(config.edges(), (std::vector<stage_pair>{{"2", "1"}, {"1", "0"}, {"0", "4"}, {"0", "5"}}));
}

TEST(transfer_config, expected_edges) {
  auto config = *make(legacy());
  std::array<edge, 2> const there{{{"0", "1"}, {"1", "2"}}};
  EXPECT_TRUE(config.require_edges(there));
  EXPECT_TRUE(config.require_edges({}));
  std::array<edge, 3> const more{{{"0", "1"}, {"2", "0"}, {"2", "3"}}};
  auto const missing = config.require_edges(more);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind(), error_kind::misconfigured);
  EXPECT_EQ(missing.error().detail().rfind("configuration: Connector configuration missing for edges: 2->0, 2->3. List them under", 0), 0U)
      << missing.error().detail();
  config.default_connector = connector_spec{"ShmConnector"};
  EXPECT_TRUE(config.require_edges(more));
}

TEST(transfer_config, edges_without_a_connector_come_from_edges_and_sources) {
  value const root =
      value::object({{"stages", value::list({stage(0), stage(1, {}, {}, value::list({0})), stage("two", {}, {}, value::list({0, "1"}))})}});
  auto const config = make(root);
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->edges(), (std::vector<stage_pair>{{"0", "1"}, {"0", "two"}, {"1", "two"}}));
  for (auto const& [pair, spec] : config->connectors) EXPECT_EQ(spec, connector_spec{"SharedMemoryConnector"});
  EXPECT_EQ(config->notes.size(), 3U);
}

TEST(transfer_config, edges_alone_are_enough) {
  auto const config = make(value::object({{"runtime", value::object({{"edges", value::list({edge_of(0, 1), edge_of("1", "x")})}})}}));
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->edges(), (std::vector<stage_pair>{{"0", "1"}, {"1", "x"}}));
}

TEST(transfer_config, connectors_may_stand_in_place) {
  value const root = value::object(
      {{"stages",
        value::list({stage(0), stage(1, value::object({{"from_stage_0", value::object({{"name", "ShmConnector"},
                                                                                       {"extra", value::object({{"a", 1}})}})}}))})}});
  auto const config = make(root);
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->connectors.at({"0", "1"}), (connector_spec{"ShmConnector", value::object({{"a", 1}})}));
}

TEST(transfer_config, the_first_extra_of_an_edge_counts) {
  auto const inline_spec = [](value extra) { return value::object({{"name", "X"}, {"extra", std::move(extra)}}); };
  auto const both = [&](value first, value second) {
    return make(value::object({{"stages", value::list({stage(0, {}, value::object({{"to_stage_1", inline_spec(std::move(first))}})),
                                                       stage(1, value::object({{"from_stage_0", inline_spec(std::move(second))}}))})}}));
  };
  auto const config = both(value::object({{"a", 1}}), value::object({{"a", 2}}));
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->connectors.at({"0", "1"}).extra, value::object({{"a", 1}}));
  ASSERT_EQ(config->notes.size(), 1U);
  EXPECT_EQ(config->notes[0],
            "configuration: stages[1].input_connectors.from_stage_0: the extra of edge 0->1 differs from that of configuration: "
            "stages[0].output_connectors.to_stage_1, which counts because it comes first");
  EXPECT_TRUE(both(value::object({{"a", 1}, {"b", 2}}), value::object({{"b", 2}, {"a", 1}}))->notes.empty())
      << "the order of options is no difference";
}

TEST(transfer_config, shm_threshold_goes_to_connectors_made_for_edges) {
  config_options options;
  options.default_shm_threshold = 65536;
  auto const config = make(legacy(), options);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->connectors.at({"0", "2"}).extra, value::object({{"shm_threshold_bytes", 65536}}));
  EXPECT_EQ(config->connectors.at({"0", "1"}).extra, value::object({{"shm_threshold_bytes", 1024}, {"unknown", "kept"}}))
      << "written options stay";
}

TEST(transfer_config, default_connector_of_the_options_or_the_document) {
  config_options options;
  options.default_connector = connector_spec{"ShmConnector", value::object({{"a", 1}})};
  auto const from_options = make(legacy(), options);
  ASSERT_TRUE(from_options);
  EXPECT_EQ(from_options->connectors.at({"0", "2"}), *options.default_connector);
  EXPECT_EQ(from_options->get_connector_for_edge("7", "8")->name, "ShmConnector");

  value root = modern();
  root.set("default_connector", "rdma");
  auto const named = make(root, options);
  ASSERT_TRUE(named) << named.error().message();
  EXPECT_EQ(named->connectors.at({"0", "2"}).name, "MooncakeTransferEngineConnector");
  EXPECT_EQ(named->default_connector->name, "MooncakeTransferEngineConnector");

  value old = legacy();
  old.find("runtime")->set("default_connector", value::object({{"name", "InprocConnector"}}));
  EXPECT_EQ(make(old)->default_connector, connector_spec{"InprocConnector"});
  old.find("runtime")->set("default_connector", "nobody");
  expect_problem(
      old,
      "runtime.default_connector: Undefined connector reference: 'nobody'; known are 'rdma', 'shm': add it under runtime.connectors, or "
      "correct the name");
}

TEST(transfer_config, layout_of_shared_memory) {
  auto const layout_of = [](transfer_config const& config, stage_pair const& pair) {
    auto const* const layout = config.connectors.at(pair).extra.find("layout");
    return layout == nullptr ? std::string("none") : *layout->if_string();
  };
  config_options ours;
  ours.all_stages_are_ours = true;
  auto const config = *make(legacy(), ours);
  EXPECT_EQ(layout_of(config, {"0", "1"}), "omniconn");
  EXPECT_EQ(layout_of(config, {"0", "2"}), "omniconn");
  EXPECT_EQ(layout_of(config, {"1", "2"}), "none");

  value root = legacy();
  root.find("runtime")->find("connectors")->find("shm")->find("extra")->set("layout", "upstream");
  EXPECT_EQ(layout_of(*make(root, ours), {"0", "1"}), "upstream") << "what is written counts";
  root.find("runtime")->find("connectors")->find("shm")->find("extra")->set("layout", "omniconn");
  EXPECT_EQ(layout_of(*make(root), {"0", "1"}), "omniconn");
  EXPECT_EQ(layout_of(*make(root), {"0", "2"}), "none");

  ours.default_connector = connector_spec{"SharedMemoryConnector", {}};
  EXPECT_EQ(*make(legacy(), ours)->default_connector->extra.find("layout"), value("omniconn"));

  auto const with_env = [&](char const* word, config_options const& options = {}) {
    return make_transfer_config(legacy(), options,
                                [&](char const* name) { return std::string_view(name) == "OMNICONN_SHM_LAYOUT" ? word : nullptr; });
  };
  EXPECT_EQ(layout_of(*with_env("omniconn"), {"0", "1"}), "omniconn");
  EXPECT_EQ(layout_of(*with_env("upstream"), {"0", "1"}), "none");
  EXPECT_EQ(layout_of(*with_env(""), {"0", "1"}), "none");
  config_options theirs;
  theirs.all_stages_are_ours = false;
  EXPECT_EQ(layout_of(*with_env("omniconn", theirs), {"0", "1"}), "upstream") << "the option outranks the environment, also that of who opens the connector";
  EXPECT_EQ(layout_of(*with_env(nullptr, theirs), {"1", "2"}), "none") << "of another connector";
  EXPECT_TRUE(with_env("nonsense", theirs));
  auto const wrong = with_env("Omniconn");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().detail(),
            "OMNICONN_SHM_LAYOUT is 'Omniconn'; set it to omniconn (no Python stage takes part) or upstream, or unset it");

  for (auto const& bad : {value("Upstream"), value(), value(1)}) {
    root.find("runtime")->find("connectors")->find("shm")->find("extra")->set("layout", bad);
    expect_problem(root,
                   "runtime.connectors.shm.extra.layout: is " + detail::describe(bad) +
                       ", expected omniconn or upstream; write layout: omniconn where no Python stage uses this edge, or leave it out");
  }
  value other = value::object(
      {{"stages",
        value::list({stage(0), stage(1, value::object({{"from_stage_0",
                                                        value::object({{"name", "X"}, {"extra", value::object({{"layout", 5}})}})}}))})}});
  EXPECT_TRUE(make(other)) << "layout of another connector is its own business";
}

TEST(transfer_config, stages_outside_the_list) {
  value const root =
      value::object({{"stages", value::list({stage(1, value::object({{"from_stage_0", value::object({{"name", "X"}})}}))})}});
  expect_problem(
      root,
      "stages[0].input_connectors.from_stage_0: edge 0->1 leads to stage '0', which stages does not list; add it, or correct the stage_id");
  config_options options;
  options.allow_unlisted_stages = true;
  EXPECT_TRUE(make(root, options));
  value old = legacy();
  old.find("runtime")->find("edges")->if_array()->push_back(edge_of(1, 12));
  expect_problem(old, "runtime.edges[2]: edge 1->12 leads to stage '12', which stage_args does not list; add it, or correct the stage_id");
}

TEST(transfer_config, a_document_without_edges) {
  auto const config = make(value::object({{"stages", value::list({stage(0)})}}));
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->connectors.empty());
  EXPECT_TRUE(make(value::object({{"stage_args", value::list({})}})));
  EXPECT_TRUE(
      make(value::object({{"runtime", value::object({{"connectors", value::object({{"shm", value::object({{"name", "X"}})}})}})}})));
  EXPECT_TRUE(make(
      value::object({{"stages", value::list({value::object({{"stage_id", 0}, {"input_connectors", {}}, {"engine_input_source", {}}})})},
                     {"connectors", {}},
                     {"edges", {}},
                     {"runtime", {}}})))
      << "null is absent";
}

TEST(transfer_config, base_config_is_told_about) {
  value root = modern();
  root.set("base_config", "base.yaml");
  auto const config = make(root);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->notes.back(),
            "configuration: base_config: base_config is not followed here: load the merged document if this one is not whole");
  expect_problem(value::object({{"base_config", "base.yaml"}}),
                 "describes no pipeline: stages, stage_args and runtime are missing or empty; is it the right file?; base_config is not "
                 "followed here: "
                 "load the merged document if this one is not whole");
}

// Parts, as vLLM-Omni ships them beside whole files: its own loader finds no connectors in them and says nothing.
TEST(transfer_config, a_part_is_read_where_parts_are_allowed) {
  config_options parts;
  parts.allow_parts = true;
  auto const read = [&](value const& root) { return make_transfer_config(root, parts); };
  for (value const& settings : {value::object({{"forced_aligner", value::object({{"dtype", "bfloat16"}})}}), value::object({{"base_config", "base.yaml"}, {"pipeline", "thinking"}})}) {
    auto const config = read(settings);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_TRUE(config->connectors.empty());
    EXPECT_NE(config->notes.front().find("describes no pipeline"), std::string::npos);
    EXPECT_FALSE(make_transfer_config(settings, {}));
  }
  value const nameless = value::object({{"shm", value::object({{"extra", value::object({{"codec", 1}})}})}});
  value const stages = value::list({value::object({{"stage_id", 1}})});
  auto const overlay = read(value::object({{"base_config", "base.yaml"}, {"connectors", nameless}, {"stages", stages}}));
  ASSERT_TRUE(overlay) << overlay.error().message();
  EXPECT_NE(overlay->notes.front().find("has no name here; it is left out"), std::string::npos) << overlay->notes.front();
  auto const beside_nothing = read(value::object({{"base_config", "base.yaml"}, {"connectors", nameless}}));
  ASSERT_TRUE(beside_nothing) << beside_nothing.error().message();
  EXPECT_TRUE(beside_nothing->connectors.empty());
  // What is no overlay is as strict as ever, and so is a reference to what was left out.
  EXPECT_FALSE(read(value::object({{"connectors", nameless}, {"stages", stages}})));
  EXPECT_FALSE(read(value::object({{"connectors", nameless}})));
  EXPECT_FALSE(read(value::object({{"base_config", "base.yaml"},
                                   {"connectors", nameless},
                                   {"stages", value::list({value::object({{"stage_id", 0}, {"output_connectors", value::object({{"to_stage_1", "shm"}})}}), value::object({{"stage_id", 1}})})}})));
}

// --- errors, one by one ------------------------------------------------------------------------------------------------------

// The place at the end of a path: "name" is a key, made where it is missing, "#1" an index.
value& place(value& root, std::vector<std::string> const& path) {
  value* at = &root;
  for (auto const& step : path) {
    if (step[0] == '#') {
      at = &(*at->if_array())[static_cast<std::size_t>(std::stoul(step.substr(1)))];
    } else {
      at = at->find(step) != nullptr ? at->find(step) : &at->set(step, {});
    }
  }
  return *at;
}
value changed(value root, std::vector<std::string> const& path, value item) {
  place(root, path) = std::move(item);
  return root;
}
value without(value root, std::vector<std::string> const& path, std::string_view key) {
  std::erase_if(*place(root, path).if_map(), [&](value::entry const& e) { return e.first == value(key); });
  return root;
}

TEST(transfer_config_errors, sections) {
  expect_problem(value::list({}),
                 "is a list, expected a map with the pipeline's stages; write stages: (or runtime: and stage_args:) at the left margin");
  expect_problem(
      {}, "is nothing (null), expected a map with the pipeline's stages; write stages: (or runtime: and stage_args:) at the left margin");
  expect_problem(value::object({{"name", "x"}}),
                 "describes no pipeline: stages, stage_args and runtime are missing or empty; is it the right file?");
  expect_problem(changed(legacy(), {"runtime"}, "x"), "runtime: is the text 'x', expected a map; put connectors: and edges: under it");
  expect_problem(changed(modern(), {"stages"}, value::object({{"stage_id", 0}})),
                 "stages: is a map, expected a list of stages; begin each stage with - stage_id: N");
  expect_problem(changed(modern(), {"stage_args"}, value::list({stage(0)})),
                 "stage_args: stands beside stages (configuration); a document lists its stages once, keep one of the two");
  expect_problem(changed(modern(), {"runtime"}, value::object({{"edges", value::list({})}})),
                 "edges: stands under runtime too (configuration); keep one of the two");
  expect_problem(changed(legacy(), {"connectors"}, value::object({})),
                 "connectors: stands under runtime too (configuration); keep one of the two");
  expect_problem(value::object({{"edges", value::list({edge_of(0, 1)})}}),
                 "edges: is read only beside stages; move it under runtime, or list the pipeline's stages under stages");
}

TEST(transfer_config_errors, connectors) {
  std::vector<std::string> const shm{"runtime", "connectors", "shm"};
  auto const inside = [&](std::string const& step) {
    auto path = shm;
    path.push_back(step);
    return path;
  };
  constexpr char const* form = "write {name: SharedMemoryConnector, extra: {...}}";
  expect_problem(changed(legacy(), {"runtime", "connectors"}, value::list({})),
                 "runtime.connectors: is a list, expected a map of names to connectors; write a name: {name: SharedMemoryConnector}");
  expect_problem(
      changed(legacy(), shm, "SharedMemoryConnector"),
      std::string("runtime.connectors.shm: is the text 'SharedMemoryConnector', expected a map with the connector's name; ") + form);
  expect_problem(without(legacy(), shm, "name"), std::string("runtime.connectors.shm: has no name; ") + form);
  expect_problem(changed(legacy(), inside("name"), ""), std::string("runtime.connectors.shm.name: is empty; ") + form);
  expect_problem(changed(legacy(), inside("name"), 7),
                 "runtime.connectors.shm.name: is the integer 7, expected the name of a connector; put it in quotes");
  expect_problem(changed(legacy(), inside("extra"), value::list({1})),
                 "runtime.connectors.shm.extra: is a list, expected a map of options; write extra: {option: value}");
  expect_problem(changed(legacy(), inside("host"), "x"),
                 "runtime.connectors.shm.host: is no part of a connector, which has name and extra; move options under extra");
  expect_problem(changed(legacy(), {"runtime", "connectors"}, value(value::map{{value(1), value::object({{"name", "X"}})}})),
                 "runtime.connectors.the integer 1: stands under a key that is no text; put the connector's name in quotes");
}

TEST(transfer_config_errors, stages) {
  expect_problem(changed(legacy(), {"stage_args", "#1"}, 5),
                 "stage_args[1]: is the integer 5, expected a map with the stage's stage_id; write - stage_id: N");
  expect_problem(without(legacy(), {"stage_args", "#1"}, "stage_id"), "stage_args[1]: has no stage_id; write - stage_id: N");
  for (auto const& id : {value(1.5), value(true), value::list({})})
    expect_problem(changed(legacy(), {"stage_args", "#1", "stage_id"}, id),
                   "stage_args[1].stage_id: is " + detail::describe(id) +
                       ", expected the stage_id of a stage; write an integer or a text such as thinker");
  for (auto const& id : {std::string(), std::string(256, 'x')})
    expect_problem(changed(legacy(), {"stage_args", "#1", "stage_id"}, id),
                   "stage_args[1].stage_id: a stage's name has 1 to 255 bytes; write an integer or a text such as thinker");
  expect_problem(changed(legacy(), {"stage_args", "#1", "stage_id"}, "0"),
                 "stage_args[1].stage_id: stage '0' is listed twice, first at configuration; give each stage its own stage_id");
}

TEST(transfer_config_errors, edges_of_stages) {
  std::vector<std::string> const input{"stage_args", "#1", "input_connectors"};
  expect_problem(changed(legacy(), input, value::list({"shm"})),
                 "stage_args[1].input_connectors: is a list, expected a map of edges to connectors; write from_stage_N: name");
  for (auto const& key : {value("0"), value("to_stage_0"), value("from_stage_"), value(0), value("xfrom_stage_0"),
                          value("from_stage_" + std::string(256, '1'))}) {
    auto const out = make(changed(legacy(), input, value(value::map{{key, "shm"}})));
    ASSERT_FALSE(out);
    EXPECT_NE(out.error().detail().find("is no edge: the key must be from_stage_ and a stage_id; write from_stage_N: name"),
              std::string::npos)
        << out.error().detail();
  }
  expect_problem(
      changed(legacy(), {"stage_args", "#0", "output_connectors"}, value::object({{"from_stage_1", "shm"}})),
      "stage_args[0].output_connectors.from_stage_1: is no edge: the key must be to_stage_ and a stage_id; write to_stage_N: name");
  expect_problem(changed(legacy(), input, value::object({{"from_stage_0", "zz"}})),
                 "stage_args[1].input_connectors.from_stage_0: Undefined connector reference: 'zz'; known are 'rdma', 'shm': add it under "
                 "runtime.connectors, or correct the name");
  expect_problem(
      changed(legacy(), input, value::object({{"from_stage_0", 5}})),
      "stage_args[1].input_connectors.from_stage_0: is the integer 5, expected the name of a connector or a connector; write a name from "
      "connectors, or {name: ..., extra: {...}}");
  expect_problem(changed(legacy(), input, value::object({{"from_stage_0", value::object({{"extra", value::object({})}})}})),
                 "stage_args[1].input_connectors.from_stage_0: has no name; write {name: SharedMemoryConnector, extra: {...}}");
  expect_problem(changed(legacy(), input, value::object({{"from_stage_0", "rdma"}})),
                 "stage_args[1].input_connectors.from_stage_0: Connector type mismatch for edge 0->1: previously registered as "
                 "'SharedMemoryConnector' "
                 "(configuration: stage_args[0].output_connectors.to_stage_1), but input_connectors of stage 1 specifies "
                 "'MooncakeTransferEngineConnector'; both ends of an edge need the same connector");
  expect_problem(
      value::object({{"stages", value::list({stage(0), stage(1, value::object({{"from_stage_0", "zz"}}))})}}),
      "stages[1].input_connectors.from_stage_0: Undefined connector reference: 'zz'; the document defines no connectors: add it under "
      "connectors, or correct the name");
}

TEST(transfer_config_errors, listed_edges) {
  std::vector<std::string> const edges{"runtime", "edges"};
  expect_problem(changed(legacy(), edges, value::object({})),
                 "runtime.edges: is a map, expected a list of edges; write - {from: 0, to: 1}");
  expect_problem(changed(legacy(), edges, value::list({"0->1"})),
                 "runtime.edges[0]: is the text '0->1', expected a map with from and to; write - {from: 0, to: 1}");
  expect_problem(changed(legacy(), edges, value::list({value::object({{"to", 1}})})),
                 "runtime.edges[0]: has no from; write - {from: 0, to: 1}");
  expect_problem(changed(legacy(), edges, value::list({edge_of(0, {})})), "runtime.edges[0]: has no to; write - {from: 0, to: 1}");
  expect_problem(changed(legacy(), edges, value::list({edge_of(0, 1.5)})),
                 "runtime.edges[0].to: is the number 1.5, expected the stage_id of a stage; write an integer or a text such as thinker");
  EXPECT_TRUE(make(changed(legacy(), edges, value::list({edge_of(0, 2), edge_of(0, 2)})))) << "the same edge twice says nothing new";
  value windowed = edge_of(0, 2);
  windowed.set("window_size", 4);
  expect_problem(changed(legacy(), edges, value::list({edge_of(0, 2), windowed})),
                 "runtime.edges[1]: edge 0->2 is listed with other settings at configuration: runtime.edges[0]; keep one");
}

TEST(transfer_config_errors, sources) {
  std::vector<std::string> const sources{"stage_args", "#2", "engine_input_source"};
  expect_problem(changed(legacy(), sources, 0),
                 "stage_args[2].engine_input_source: is the integer 0, expected a list of stage_ids; write [0]");
  expect_problem(
      changed(legacy(), sources, value::list({0, value::object({})})),
      "stage_args[2].engine_input_source[1]: is a map, expected the stage_id of a stage; write an integer or a text such as thinker");
}

TEST(transfer_config_errors, a_key_twice_anywhere) {
  value root = legacy();
  root.find("runtime")->find("connectors")->find("shm")->find("extra")->if_map()->emplace_back("unknown", "again");
  expect_problem(root, "runtime.connectors.shm.extra.unknown: stands twice in one map; keep one", error_kind::malformed);
}

TEST(transfer_config_errors, nesting) {
  value deep;
  for (int i = 0; i < 100; ++i) deep = value::list({std::move(deep)});
  value root = modern();
  root.set("other", std::move(deep));
  auto const out = make(root);
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().kind(), error_kind::too_large);
  EXPECT_NE(out.error().detail().find("no more than 64 levels"), std::string::npos);
}

TEST(transfer_config_errors, lines_of_the_document) {
  document doc{value::object({{"stages", value::list({stage(0), value(5)})}}), {1, {{2, {{3, {}}, {4, {}}}}}}, "pipeline.yaml"};
  auto out = make_transfer_config(doc, {}, no_env);
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().detail(),
            "pipeline.yaml:4: stages[1]: is the integer 5, expected a map with the stage's stage_id; write - stage_id: N");
  doc.lines.children[0].children.pop_back();  // fewer lines than items: the rest has none
  out = make_transfer_config(doc, {}, no_env);
  EXPECT_EQ(out.error().detail(),
            "pipeline.yaml: stages[1]: is the integer 5, expected a map with the stage's stage_id; write - stage_id: N");
}

// Every node of two good documents is replaced by every kind of value, removed, and doubled: a clean error or success, nothing else.
void for_each_node(value const& at, std::function<void(value const&)> const& report, value const& root,
                   std::function<value(value)> const& rebuild) {
  std::vector<value> const wrong{
      {},
      true,
      0,
      -7,
      UINT64_MAX,
      1.5,
      2.5F,
      std::numeric_limits<double>::quiet_NaN(),
      "",
      "x",
      std::string(5000, 'k'),
      std::string("a\0b\n\x1b\xff", 6),
      blob::copy(bytes_of("bytes")),
      extension{-1, {}},
      value::list({}),
      value::list({1, "a", value::list({})}),
      value::object({}),
      value::object({{"name", "x"}, {"extra", 5}}),
      value(value::map{{value(), value()}, {value(1), value(2)}, {value::list({}), value()}, {"a", 1}, {"a", 2}})};
  for (auto const& bad : wrong) report(rebuild(bad));
  if (auto const* const items = at.if_array()) {
    for (std::size_t i = 0; i < items->size(); ++i) {
      auto const with = [&](value item) {
        value::array copy = *items;
        copy[i] = std::move(item);
        return rebuild(std::move(copy));
      };
      value::array shorter = *items;
      shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(i));
      report(rebuild(std::move(shorter)));
      value::array longer = *items;
      longer.push_back((*items)[i]);
      report(rebuild(std::move(longer)));
      for_each_node((*items)[i], report, root, with);
    }
  }
  if (auto const* const entries = at.if_map()) {
    for (std::size_t i = 0; i < entries->size(); ++i) {
      auto const with = [&](value item) {
        value::map copy = *entries;
        copy[i].second = std::move(item);
        return rebuild(std::move(copy));
      };
      value::map shorter = *entries;
      shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(i));
      report(rebuild(std::move(shorter)));
      value::map longer = *entries;
      longer.push_back((*entries)[i]);
      report(rebuild(std::move(longer)));
      for (auto const& key : {value(), value(5), value(""), value::object({}), value("other")}) {
        value::map renamed = *entries;
        renamed[i].first = key;
        report(rebuild(std::move(renamed)));
      }
      for_each_node((*entries)[i].second, report, root, with);
    }
  }
}

TEST(transfer_config_errors, no_node_of_the_wrong_kind_gets_through_unclean) {
  std::size_t tried = 0;
  std::size_t refused = 0;
  auto const report = [&](value const& root) {
    ++tried;
    auto const out = make(root);
    if (out) {
      for (auto const& [pair, spec] : out->connectors) {
        EXPECT_FALSE(spec.name.empty());
        EXPECT_TRUE(spec.extra.is_map());
        EXPECT_FALSE(pair.first.empty() || pair.second.empty());
      }
      EXPECT_EQ(out->order.size(), out->connectors.size());
      for (auto const& name : out->stages) EXPECT_LE(out->connectors_of_stage(name).size(), 2 * out->connectors.size());
      return;
    }
    ++refused;
    auto const kind = out.error().kind();
    EXPECT_TRUE(kind == error_kind::misconfigured || kind == error_kind::malformed || kind == error_kind::too_large)
        << out.error().message();
    EXPECT_EQ(out.error().detail().rfind("configuration: ", 0), 0U) << out.error().message();
    EXPECT_LT(out.error().detail().size(), 2000U);
    EXPECT_TRUE(std::none_of(out.error().detail().begin(), out.error().detail().end(), [](char c) { return c >= 0 && c < 0x20; }));
  };
  for (auto const& root : {legacy(), modern()}) for_each_node(root, report, root, [](value item) { return item; });
  EXPECT_GT(tried, 2000U);
  EXPECT_GT(refused, tried / 3);
}

}  // namespace
