// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// Sealed memory by composition and by name: apart from the built-in connectors, because it is 3,000 lines that few programs need.
#pragma once

#include <cstdint>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/runtime/builtin.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/shm_sealed.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Shared memory between processes that do not trust each other: sealed, and gone with its producer.
template <class Serializer = raw_serializer>
using shm_sealed_connector = connector<shm_sealed_transport, Serializer, namespaced_keying, heap_allocator>;

namespace detail {

/// Options of sealed memory.
inline shm_sealed_transport::options read_sealed_options(option_reader& options, connector_defaults const& defaults) {
  shm_sealed_transport::options out;
  out.space = options.take_string("namespace", "");
  out.directory = options.take_string("directory", "");
  if (!defaults.reader.empty()) out.reader = defaults.reader;
  if (auto const* users = options.take("allow_users"); users != nullptr) {
    auto const* list = users->if_array();
    if (list == nullptr) options.problem("allow_users is " + describe(*users) + ", expected a list of user numbers; write [1000, 1001], as `id -u NAME` says them");
    for (std::size_t i = 0; list != nullptr && i != list->size(); ++i) {
      auto const user = (*list)[i].as_uint64();
      if (user && *user < UINT32_MAX) {
        out.allow_users.push_back(static_cast<std::uint32_t>(*user));
      } else {
        options.problem("allow_users holds " + describe((*list)[i]) + ", expected user numbers; `id -u NAME` says them");
      }
    }
  }
  return out;
}

template <class... Serializers>
result<any_connector, diagnosis> make_sealed_connector(connector_spec const& spec) {
  option_reader options(spec.extra);
  auto const defaults = read_defaults(options);
  auto const transport = read_sealed_options(options, defaults);
  auto const serializer = read_serializer<Serializers...>(options);
  if (auto read = options.done(); !read) return std::move(read.error());
  return open_named<shm_sealed_connector, Serializers...>(serializer, [&](auto& o) {
    o.transport = transport;
    o.defaults = defaults;
  });
}

}  // namespace detail

/// Makes a factory know `SealedShmConnector`, with these serializers, of which the first is the default: `register_sealed<omni_msgpack_serializer, raw_serializer>` for
/// payloads as Python stages write them. Call it after `register_builtin_connectors`.
template <class First = raw_serializer, class... More>
void register_sealed(connector_factory& factory) {
  factory.replace_connector("SealedShmConnector", &detail::make_sealed_connector<First, More...>, "sealed memory between processes that do not trust each other");
}

OMNICONN_END_NAMESPACE
