// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// A Mooncake store by composition and by name.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/edge_suffix.hpp>
#include <omniconn/runtime/builtin.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/mooncake_store.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Objects in a Mooncake store, under the keys that vLLM-Omni's connector gives them.
template <class Serializer = raw_serializer>
using mooncake_store_connector = connector<mooncake_store_transport, Serializer, at_keying, heap_allocator>;

namespace detail {

/// Options as vLLM-Omni's connector has them, and ours.
inline mooncake_store_transport::options read_mooncake_options(option_reader& options) {
  mooncake_store_transport::options out;
  out.master = options.take_string("master", out.master);
  out.metadata_server = options.take_string("metadata_server", "http://127.0.0.1:8080/metadata");
  out.tenant = options.take_string("tenant", out.tenant);
  out.replicas = static_cast<std::uint32_t>(options.take_uint("replicas", out.replicas, 1, 64));
  out.pin = options.take_bool("pin", out.pin);
  out.replace_in_place = options.take_bool("replace_in_place", out.replace_in_place);
  out.force_remove = options.take_bool("force_remove", out.force_remove);
  out.connections = static_cast<std::uint32_t>(options.take_uint("connections", out.connections, 1, 1024));
  if (auto const pause = options.take_duration_seconds("longest_pause")) out.longest_pause = *pause;
  if (options.take("preferred_segments") != nullptr) out.preferred_segments = options.take_strings("preferred_segments");
  return out;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
