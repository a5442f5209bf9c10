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
#include <omniconn/detail/describe.hpp>
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
  out.host = options.take_string("host", out.host);
  out.master = options.take_string("master", out.master);
  out.metadata_server = options.take_string("metadata_server", "http://127.0.0.1:8080/metadata");
  out.segment = options.take_bytes_size("segment", std::uint64_t{512} << 20U);
  if (auto const protocol = options.take_string("proto", "tcp"); protocol != "tcp")
    options.problem("proto is " + in_quotes(protocol) + ", which is not built: write tcp, and start all storage nodes with --protocol=tcp");
  static_cast<void>(options.take_string("rdma", ""));  // the device, for proto rdma
  out.replicas = static_cast<std::uint32_t>(options.take_uint("replicas", out.replicas, 1, 64));
  out.pin = options.take_bool("pin", out.pin);
  out.soft_pin = std::chrono::duration_cast<std::chrono::milliseconds>(options.take_duration_seconds("soft_pin_seconds", out.soft_pin));
  out.replace_in_place = options.take_bool("replace_in_place", out.replace_in_place);
  out.force_remove = options.take_bool("force_remove", out.force_remove);
  out.connections = static_cast<std::uint32_t>(options.take_uint("connections", out.connections, 1, 1024));
  out.longest_pause = options.take_duration_seconds("longest_pause_seconds", out.longest_pause);
  out.connect_timeout = options.take_duration_seconds("connect_timeout_seconds", out.connect_timeout);
  out.silence_timeout = options.take_duration_seconds("silence_timeout_seconds", out.silence_timeout);
  if (options.take("preferred_segments") != nullptr) out.preferred_segments = options.take_strings("preferred_segments");
  return out;
}

template <class... Serializers>
result<any_connector, diagnosis> make_mooncake_store_connector(connector_spec const& spec) {
  option_reader options(spec.extra);
  auto defaults = read_defaults(options);
  auto const transport = read_mooncake_options(options);
  auto const keep = options.take_bytes_size("localbuf", std::uint64_t{64} << 20U);
  // What Python's side writes has nothing in front of it, and what it reads must not.
  defaults.envelope = options.take_bool("envelope", false);
  auto const serializer = read_serializer<Serializers...>(options);
  if (auto read = options.done(); !read) return std::move(read.error());
  return open_named<mooncake_store_connector, Serializers...>(serializer, [&](auto& o) {
    o.transport = transport;
    o.allocator.keep = keep;
    o.defaults = defaults;
  });
}

}  // namespace detail

/// Makes a factory know `MooncakeStoreConnector` and its other name `MooncakeConnector`, with these serializers, of which the first is the default:
/// `register_mooncake<omni_msgpack_serializer, raw_serializer>` for payloads as Python stages write them. Call it after `register_builtin_connectors`.
template <class First = raw_serializer, class... More>
void register_mooncake(connector_factory& factory) {
  for (char const* name : {"MooncakeStoreConnector", "MooncakeConnector"})
    factory.replace_connector(name, &detail::make_mooncake_store_connector<First, More...>, "objects in a Mooncake store of release 0.3.13.post1, over TCP");
}

OMNICONN_END_NAMESPACE
