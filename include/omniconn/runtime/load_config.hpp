// SPDX-License-Identifier: Apache-2.0
// omniconn-part: yaml json
// The configuration of a pipeline from a file, YAML or JSON by its suffix.
#pragma once

#if !__has_include(<yaml-cpp/yaml.h>)
#error \
    "omniconn: load_transfer_config reads YAML and JSON, and yaml-cpp is missing: install libyaml-cpp-dev and link omniconn::yaml; for JSON alone use make_transfer_config on what parse_json returns"
#endif
#if !__has_include(<nlohmann/json.hpp>)
#error \
    "omniconn: load_transfer_config reads YAML and JSON, and nlohmann/json.hpp is missing: install nlohmann-json3-dev and link omniconn::json; for YAML alone use make_transfer_config on what parse_yaml returns"
#endif

#include <string>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/json_lines.hpp>
#include <omniconn/runtime/config_file.hpp>
#include <omniconn/runtime/document.hpp>
#include <omniconn/runtime/env.hpp>
#include <omniconn/runtime/json.hpp>
#include <omniconn/runtime/transfer_config.hpp>
#include <omniconn/runtime/yaml.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Reads and parses a .yaml, .yml or .json file. Errors: those of `config_format_of`, `read_config_file` and of the parser, with path and
/// line. \threadsafety free.
[[nodiscard]] inline result<document, diagnosis> load_document(std::string const& path, document_limits const& limits = {}) {
  auto const format = config_format_of(path);
  if (!format) return format.error();
  auto const text = read_config_file(path, limits.max_bytes);
  if (!text) return text.error();
  if (*format == config_format::yaml) return parse_yaml(*text, path, limits);
  json_options options;
  options.max_depth = limits.max_depth;
  options.max_nodes = limits.max_nodes;
  auto root = parse_json(*text, options);
  if (!root) return root.error().in(path);
  return document{std::move(*root), detail::json_line_reader(*text).read(), path};
}

/// The connectors that a configuration file asks for: `load_document`, then `make_transfer_config`.
[[nodiscard]] inline result<transfer_config, diagnosis> load_transfer_config(std::string const& path, config_options const& options = {},
                                                                             env_lookup env = process_env) {
  auto const from = load_document(path, options.limits);
  if (!from) return from.error();
  return make_transfer_config(*from, options, env);
}

OMNICONN_END_NAMESPACE
