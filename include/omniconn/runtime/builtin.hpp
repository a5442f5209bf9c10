// SPDX-License-Identifier: Apache-2.0
// The names that every build knows, and the options that a configuration may give them. docs/connectors.md lists both.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Shared memory, our layout: any keys, one namespace for all edges, payloads read in place.
template <class Serializer = raw_serializer>
using shm_connector = connector<shm_transport, Serializer, namespaced_keying, arena_allocator>;

/// Between threads of one process.
template <class Serializer = raw_serializer>
using inproc_connector = connector<inproc_transport, Serializer, namespaced_keying, heap_allocator>;

namespace detail {

/// Options that every connector understands: readers, reader, lease_seconds, on_existing, checksum, max_get_size.
inline connector_defaults read_defaults(option_reader& options) {
  connector_defaults out;
  if (auto const* readers = options.take("readers"); readers != nullptr && readers->is_array()) {
    out.readers = options.take_strings("readers");
    if (out.readers.empty()) options.problem("readers is an empty list; name at least one reader, or leave it out for one reader of any name");
    for (std::size_t i = 0; i != out.readers.size(); ++i)
      for (std::size_t k = 0; k != i; ++k)
        if (out.readers[i] == out.readers[k]) options.problem("readers names '" + out.readers[i] + "' twice");
  } else {
    out.reader_count = static_cast<std::uint32_t>(options.take_uint("readers", 1, 1, UINT32_MAX));
  }
  // Who reads: the option, else the stage at the edge's end, whose name may be a number.
  out.reader = options.take_string("reader", "");
  if (auto const* stage = options.take("to_stage"); out.reader.empty() && stage != nullptr) {
    if (auto const text = stage->as_string()) out.reader = *text;
    if (auto const number = stage->as_int64()) out.reader = std::to_string(*number);
  }
  out.lease = options.take_duration_seconds("lease_seconds", out.lease);
  out.existing = options.take_choice("on_existing", {"fail", "replace"}, "fail") == "fail" ? on_existing::fail : on_existing::replace;
  out.checksum = options.take_bool("checksum", true);
  out.max_get_size = options.take_bytes_size("max_get_size", out.max_get_size);
  return out;
}

template <class Serializer>
result<any_connector, diagnosis> make_shm_connector(connector_spec const& spec) {
  using made = shm_connector<Serializer>;
  option_reader options(spec.extra);
  typename made::options o;
  o.defaults = read_defaults(options);
  o.transport.space = options.take_string("namespace", "");
  o.transport.memory_pool_size = options.take_bytes_size("memory_pool_size", o.transport.memory_pool_size);
  o.transport.max_keys = static_cast<std::uint32_t>(options.take_uint("max_keys", 0, 0, shm::max_slots));
  o.transport.directory = options.take_string("directory", o.transport.directory);
  if (auto const spin = options.take_duration_seconds("spin")) o.transport.spin = *spin;
  if (!o.defaults.reader.empty()) o.transport.reader = o.defaults.reader;
  if (auto read = options.done(); !read) return std::move(read.error());
  auto opened = made::open(o);
  if (!opened) return std::move(opened.error());
  return any_connector(std::move(*opened));
}

template <class Serializer>
result<any_connector, diagnosis> make_inproc_connector(connector_spec const& spec) {
  using made = inproc_connector<Serializer>;
  option_reader options(spec.extra);
  typename made::options o;
  o.defaults = read_defaults(options);
  o.transport.hub = inproc_hub::named(options.take_string("namespace", "default"));
  o.transport.reader = o.defaults.reader;
  if (auto read = options.done(); !read) return std::move(read.error());
  auto opened = made::open(o);
  if (!opened) return std::move(opened.error());
  return any_connector(std::move(*opened));
}

/// `SharedMemoryConnector` means the layout that Python stages use. Ours only where the configuration says that every stage is ours.
template <class Serializer>
result<any_connector, diagnosis> make_shared_memory_connector(connector_spec const& spec) {
  option_reader options(spec.extra);
  auto const layout = options.take_choice("layout", {"omniconn", "upstream"}, "upstream");
  if (auto read = options.done(); !read) return std::move(read.error());
  if (layout == "omniconn") return make_shm_connector<Serializer>(spec);
  return diagnosis(error_kind::unsupported,
                   "upstream's layout (one POSIX segment per key) is not built yet; where every stage is C++, set `layout: omniconn` in extra or OMNICONN_SHM_LAYOUT=omniconn");
}

}  // namespace detail

/// Makes the factory know every name of vLLM-Omni and of this library: those that work with the raw serializer, the others with the reason why not.
inline void register_builtin_connectors(connector_factory& factory) {
  constexpr auto note = "serializer raw; register_msgpack adds omni_msgpack";
  factory.replace_connector("ShmConnector", &detail::make_shm_connector<raw_serializer>, note);
  factory.replace_connector("InprocConnector", &detail::make_inproc_connector<raw_serializer>, note);
  factory.replace_connector("SharedMemoryConnector", &detail::make_shared_memory_connector<raw_serializer>,
                            "serializer raw; only with `layout: omniconn`: upstream's layout is not built yet");
  for (std::string_view const name : {"MooncakeStoreConnector", "MooncakeConnector"})
    factory.declare_unavailable(name, "the Mooncake store client is not built yet; use ShmConnector on one node");
  for (std::string_view const name : {"MooncakeTransferEngineConnector", "MooncakeRDMAConnector"})
    factory.declare_unavailable(name, "the Mooncake transfer engine is not built yet; use ShmConnector on one node");
  for (std::string_view const name : {"YuanrongConnector", "YuanrongTransferEngineConnector"})
    factory.declare_unavailable(name, "the Yuanrong client is not built yet; use ShmConnector on one node");
  factory.declare_unavailable("MoriTransferEngineConnector", "the Mori transfer engine (AMD) is not built; use ShmConnector on one node");
  factory.declare_unavailable("NixlConnector", "the NIXL connector is not built; use ShmConnector on one node");
}

OMNICONN_END_NAMESPACE
