// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as a YAML configuration: an answer with a place in it, never a crash, a hang or a gigabyte.
// Build: clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/yaml_config_fuzz.cpp -lyaml-cpp
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <omniconn/runtime/connector_spec.hpp>
#include <omniconn/runtime/transfer_config.hpp>
#include <omniconn/runtime/yaml.hpp>

namespace {

using namespace omniconn;

void demand(bool holds) {
  if (!holds) std::abort();
}

char const* lookup(std::string_view name) noexcept { return name == "HOST" ? "10.0.0.1" : nullptr; }

void use(transfer_config const& config) {
  for (auto const& pair : config.edges()) demand(config.has_connector_for_edge(pair.first, pair.second));
  for (auto const& stage : config.stages)
    for (auto const& connector : config.connectors_of_stage(stage)) {
      demand(connector.spec.extra.is_map() && !connector.spec.name.empty());
      option_reader reader(connector.spec, [](char const* name) { return lookup(name); });
      (void)reader.take_string("host");
      (void)reader.take_uint("zmq_port", 0, 0, 65535);
      (void)reader.take_bytes_size("memory_pool_size");
      (void)reader.take_duration_seconds("lease");
      (void)reader.take_strings("readers");
      (void)reader.take_bool("insecure");
      (void)reader.unknown();
      demand(static_cast<bool>(reader.done()) || !reader.done().error().detail().empty());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const text(reinterpret_cast<char const*>(data), size);
  auto const parsed = parse_yaml(text, "fuzz.yaml");
  if (!parsed) {
    demand(parsed.error().detail().rfind("fuzz.yaml:", 0) == 0);
    return 0;
  }
  auto const config = make_transfer_config(*parsed, {}, [](char const* name) { return lookup(name); });
  if (config) {
    use(*config);
  } else {
    demand(config.error().detail().rfind("fuzz.yaml", 0) == 0);
  }
  return 0;
}
