// SPDX-License-Identifier: Apache-2.0
// From a parsed document to the connectors of a pipeline.
#pragma once

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/transfer_config_reader.hpp>
#include <omniconn/runtime/document.hpp>
#include <omniconn/runtime/env.hpp>
#include <omniconn/runtime/transfer_types.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The connectors that a parsed document asks for; `docs/configuration.md` describes both of its forms.
///
/// In the order of the document: connectors named by the stages' `input_connectors` and `output_connectors` (of two entries for one edge
/// the first counts and their names must agree), then for every edge of `runtime.edges` and `engine_input_source` without one the default
/// connector, else a SharedMemoryConnector. Everything is checked, also what upstream only warns about or overlooks.
/// Errors: `misconfigured`, `malformed` for a key that stands twice, `too_large` for nesting beyond 64 levels. The text names file, line
/// where known, the path in the document, and the mend.
[[nodiscard]] inline result<transfer_config, diagnosis> make_transfer_config(document const& from, config_options const& options = {},
                                                                             env_lookup env = process_env) {
  return detail::transfer_config_reader(from, options, env).read();
}
/// The same for a document built in memory; lines are not known, paths are.
[[nodiscard]] inline result<transfer_config, diagnosis> make_transfer_config(value const& root, config_options const& options = {},
                                                                             env_lookup env = process_env) {
  return make_transfer_config(document{root, {}, options.source}, options, env);
}

OMNICONN_END_NAMESPACE
