// SPDX-License-Identifier: Apache-2.0
#include <omniconn/runtime/load_config.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <sys/stat.h>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

auto const no_env = [](char const*) -> char const* { return nullptr; };

class load_config : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "omniconn-config-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(std::string const& name) const { return folder_ + "/" + name; }
  std::string write(std::string const& name, std::string_view text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  static diagnosis problem(std::string const& file, config_options const& options = {}) {
    auto out = load_transfer_config(file, options, no_env);
    EXPECT_FALSE(out) << file;
    return out ? diagnosis(error_kind::io, "no error") : out.error();
  }

  std::string folder_;
};

constexpr std::string_view yaml_text = R"(
runtime:
  connectors:
    connector_of_shared_memory:
      name: SharedMemoryConnector
      extra:
        shm_threshold_bytes: 65536
    connector_of_mooncake:
      name: MooncakeConnector
      extra:
        host: "127.0.0.1"          # of this node
        master: "${MASTER}:50051"
        segment: 512000000
        proto: "tcp"
  edges:
    - {from: 0, to: 1, window_size: -1}
    - {from: 1, to: 2}
    - {from: 2, to: 3}
stage_args:
  - stage_id: 0
    engine_args: {model: some/model, gpu_memory_utilization: 0.8}
    output_connectors:
      to_stage_1: connector_of_shared_memory
  - stage_id: 1
    engine_input_source: [0]
    input_connectors:
      from_stage_0: connector_of_shared_memory
    output_connectors:
      to_stage_2: connector_of_mooncake
  - stage_id: 2
    input_connectors:
      from_stage_1: connector_of_mooncake
  - stage_id: 3
)";

constexpr std::string_view json_text = R"({
  "async_chunk": true,
  "connectors": {
    "connector_of_shared_memory": {"name": "SharedMemoryConnector", "extra": {"shm_threshold_bytes": 65536}},
    "connector_of_mooncake": {
      "name": "MooncakeConnector",
      "extra": {"host": "127.0.0.1", "master": "${MASTER}:50051", "segment": 512000000, "proto": "tcp"}
    }
  },
  "edges": [{"from": 0, "to": 1, "window_size": -1}, {"from": 1, "to": 2}, {"from": 2, "to": 3}],
  "stages": [
    {"stage_id": 0, "output_connectors": {"to_stage_1": "connector_of_shared_memory"}},
    {"stage_id": 1, "engine_input_source": [0], "input_connectors": {"from_stage_0": "connector_of_shared_memory"},
     "output_connectors": {"to_stage_2": "connector_of_mooncake"}},
    {"stage_id": 2, "input_connectors": {"from_stage_1": "connector_of_mooncake"}},
    {"stage_id": 3}
  ]
})";

TEST_F(load_config, yaml_and_json_give_the_same) {
  auto const yaml = load_transfer_config(write("a.yaml", yaml_text), {}, no_env);
  ASSERT_TRUE(yaml) << yaml.error().message();
  auto const json = load_transfer_config(write("b.json", json_text), {}, no_env);
  ASSERT_TRUE(json) << json.error().message();
  EXPECT_EQ(*yaml, *json);
  EXPECT_EQ(yaml->edges(), json->edges());
  EXPECT_EQ(yaml->edges(), (std::vector<stage_pair>{{"0", "1"}, {"1", "2"}, {"2", "3"}}));
  EXPECT_EQ(yaml->source, path("a.yaml"));

  auto const& mooncake = yaml->connectors.at({"1", "2"});
  EXPECT_EQ(mooncake.name, "MooncakeConnector");
  EXPECT_EQ(*mooncake.extra.find("master"), value("${MASTER}:50051")) << "a connector expands its options, with its own error";
  EXPECT_EQ(*mooncake.extra.find("segment"), value(512000000));
  EXPECT_EQ(yaml->connectors.at({"2", "3"}), connector_spec{"SharedMemoryConnector"});
  EXPECT_EQ(
      yaml->notes,
      (std::vector<std::string>{path("a.yaml") + ":18: runtime.edges[2]: edge 2->3 names no connector and gets 'SharedMemoryConnector'"}));
  EXPECT_EQ(json->notes,
            (std::vector<std::string>{path("b.json") + ":10: edges[2]: edge 2->3 names no connector and gets 'SharedMemoryConnector'"}));
}

TEST_F(load_config, takes_options_and_suffixes_in_any_case) {
  config_options options;
  options.all_stages_are_ours = true;
  options.default_shm_threshold = 7;
  for (auto const name : {"a.yml", "b.YAML", "c.Yml", "d.x.yaml"}) {
    auto const config = load_transfer_config(write(name, yaml_text), options, no_env);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(config->connectors.at({"2", "3"}).extra, value::object({{"shm_threshold_bytes", 7}, {"layout", "omniconn"}}));
  }
  EXPECT_TRUE(load_transfer_config(write("e.JSON", json_text), options, no_env));
}

TEST_F(load_config, seeds_forms) {
  EXPECT_EQ(
      load_transfer_config(
          write("auto.yaml", "runtime:\n  edges:\n    - from: 0\n      to: 1\nstage_args:\n  - stage_id: 0\n  - stage_id: 1\n"), {}, no_env)
          ->connectors.at({"0", "1"}),
      connector_spec{"SharedMemoryConnector"});
  auto const one_sided = load_transfer_config(write("one.yaml",
                                                    "connectors:\n  shm: {name: SharedMemoryConnector}\nstages:\n- stage_id: 0\n- "
                                                    "stage_id: 1\n  input_connectors: {from_stage_0: shm}\n"),
                                              {}, no_env);
  ASSERT_TRUE(one_sided) << one_sided.error().message();
  EXPECT_TRUE(one_sided->notes.empty());
}

TEST_F(load_config, unknown_suffixes) {
  for (auto const& [name, shown] : {std::pair{"a.toml", "'.toml'"},
                                    {"a.yaml.bak", "'.bak'"},
                                    {"a", "no suffix"},
                                    {".yaml", "no suffix"},
                                    {"a.", "no suffix"},
                                    {"", "no suffix"}}) {
    auto const bad = problem(path(name));
    EXPECT_EQ(bad.kind(), error_kind::misconfigured);
    EXPECT_EQ(bad.detail(),
              std::string("Unsupported config file format: ") + shown + " ('" + path(name) + "'); name it .yaml, .yml or .json");
  }
  EXPECT_EQ(problem("").kind(), error_kind::misconfigured);
}

TEST_F(load_config, files_that_cannot_be_read) {
  auto const missing = problem(path("none.yaml"));
  EXPECT_EQ(missing.kind(), error_kind::not_found);
  EXPECT_EQ(missing.native(), ENOENT);
  EXPECT_EQ(missing.detail(), "Config file not found: '" + path("none.yaml") + "'; check the path");
  EXPECT_EQ(problem(write("file.json", "{}") + "/inner.yaml").kind(), error_kind::not_found);

  std::filesystem::create_directory(path("folder.yaml"));
  auto const folder = problem(path("folder.yaml"));
  EXPECT_EQ(folder.kind(), error_kind::io);
  EXPECT_EQ(folder.detail(), "Config file is a directory: '" + path("folder.yaml") + "'; name a file in it");

  ASSERT_EQ(::mkfifo(path("pipe.yaml").c_str(), 0600), 0);
  auto const pipe = problem(path("pipe.yaml"));  // nobody writes: an open that waits would hang here
  EXPECT_EQ(pipe.kind(), error_kind::io);
  EXPECT_EQ(pipe.detail(), "Config file is no regular file: '" + path("pipe.yaml") + "'; copy its text into one");

  std::filesystem::create_symlink(path("loop.yaml"), path("loop.yaml"));
  auto const loop = problem(path("loop.yaml"));
  EXPECT_EQ(loop.kind(), error_kind::unauthorized);
  EXPECT_EQ(loop.native(), ELOOP);
  EXPECT_EQ(loop.detail(), "Config file cannot be read, check its permissions: '" + path("loop.yaml") + "'");
  EXPECT_EQ(problem(path(std::string(300, 'x') + ".yaml")).native(), ENAMETOOLONG);
  EXPECT_EQ(problem(std::string("a\0.yaml", 7)).detail(), "the path of the config file holds a NUL byte: 'a\\x00.yaml'; remove it");
}

TEST_F(load_config, empty_and_large_files) {
  for (auto const text : {"", "\n \t\r\n", "\xef\xbb\xbf"})
    for (auto const name : {"e.yaml", "e.json"}) {
      auto const bad = problem(write(name, text));
      EXPECT_EQ(bad.kind(), error_kind::malformed);
      EXPECT_EQ(bad.detail(), "Config file is empty: '" + path(name) + "'; list the pipeline's stages in it");
    }
  auto const comment = problem(write("c.yaml", "# only this\n"));
  EXPECT_EQ(comment.kind(), error_kind::misconfigured);
  EXPECT_EQ(comment.detail().rfind(path("c.yaml") + ": is nothing (null), expected a map", 0), 0U) << comment.detail();

  auto const large = problem(write("l.yaml", std::string(65537, '#')));
  EXPECT_EQ(large.kind(), error_kind::too_large);
  EXPECT_EQ(large.detail(),
            "Config file has more than 65536 bytes: '" + path("l.yaml") + "'; is it a configuration? raise document_limits::max_bytes");
  EXPECT_EQ(problem(write("l.json", std::string(1 << 20, '['))).kind(), error_kind::too_large);
  config_options wide;
  wide.limits.max_bytes = 2U << 20U;
  auto const padded = write("p.yaml", std::string(yaml_text) + "#" + std::string(1 << 20, '.') + "\n");
  EXPECT_EQ(problem(padded).kind(), error_kind::too_large);
  EXPECT_TRUE(load_transfer_config(padded, wide, no_env));
}

TEST_F(load_config, parse_errors_name_file_and_line) {
  auto const yaml = problem(write("bad.yaml", "a: 1\nb: [\n"));
  EXPECT_EQ(yaml.kind(), error_kind::malformed);
  EXPECT_EQ(yaml.detail().rfind(path("bad.yaml") + ":3:1: the text ends inside", 0), 0U) << yaml.detail();
  auto const json = problem(write("bad.json", "{\"a\": 1,\n \"b\": }"));
  EXPECT_EQ(json.kind(), error_kind::malformed);
  EXPECT_EQ(json.detail().rfind(path("bad.json") + ": line 2, column 7: ", 0), 0U) << json.detail();
  auto const twice = problem(write("twice.json", "{\"stages\": [],\n \"stages\": []}"));
  EXPECT_EQ(twice.kind(), error_kind::malformed);
  EXPECT_NE(twice.detail().find("stages"), std::string::npos);
  EXPECT_EQ(problem(write("deep.json", std::string(70, '[') + std::string(70, ']'))).kind(), error_kind::too_large);
  EXPECT_EQ(problem(write(
                        "many.json", "[" +
                                         [] {
                                           std::string out;
                                           for (int i = 0; i < 5000; ++i) out += "1,";
                                           return out;
                                         }() +
                                         "1]"))
                .kind(),
            error_kind::too_large);
}

TEST_F(load_config, json_problems_name_the_line) {
  auto const bad = problem(write(
      "c.json",
      "{\n  \"stages\": [\n    {\"stage_id\": 0, \"note\": \"a \\\" } ] , b\"},\n    {\"stage_id\": 1,\n     \"input_connectors\": {\n"
      "       \"from_stage_0\":\n \"zz\"}}\n  ]\n}\n"));
  EXPECT_EQ(bad.kind(), error_kind::misconfigured);
  EXPECT_EQ(bad.detail().rfind(path("c.json") + ":6: stages[1].input_connectors.from_stage_0: Undefined connector reference: 'zz'", 0), 0U)
      << bad.detail();
}

TEST_F(load_config, documents_give_other_settings_too) {
  auto const doc = load_document(write("a.yaml", yaml_text));
  ASSERT_TRUE(doc);
  EXPECT_EQ(*doc->root.find("stage_args")->if_array()->front().find("engine_args")->find("model"), value("some/model"));
  EXPECT_EQ(doc->source, path("a.yaml"));
}

// Lines of JSON, for all shapes that its own reader walks over.
TEST(json_lines, follow_the_values) {
  std::string_view const text = "\n{\"a\":[1,\n2.5e3 ,[ ],{}],\"b\\\"\\\\\":\n\"x\\\"y\",\"c\":{\"d\":null\n,\"e\":true}}";
  auto const lines = detail::json_line_reader(text).read();
  EXPECT_EQ(lines.line, 2U);
  ASSERT_EQ(lines.children.size(), 3U);
  EXPECT_EQ(lines.children[0].line, 2U);
  ASSERT_EQ(lines.children[0].children.size(), 4U);
  EXPECT_EQ(lines.children[0].children[0].line, 2U);
  EXPECT_EQ(lines.children[0].children[1].line, 3U);
  EXPECT_EQ(lines.children[0].children[3].line, 3U);
  EXPECT_TRUE(lines.children[0].children[3].children.empty());
  EXPECT_EQ(lines.children[1].line, 3U);
  ASSERT_EQ(lines.children[2].children.size(), 2U);
  EXPECT_EQ(lines.children[2].line, 4U);
  EXPECT_EQ(lines.children[2].children[0].line, 4U);
  EXPECT_EQ(lines.children[2].children[1].line, 5U);
  EXPECT_EQ(detail::json_line_reader("5").read().line, 1U);
  EXPECT_EQ(detail::json_line_reader("[").read().children.size(), 0U) << "not valid, and yet an end";
  EXPECT_LE(detail::json_line_reader("{]:\"").read().children.size(), 2U);
}

}  // namespace
