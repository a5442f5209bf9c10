// SPDX-License-Identifier: Apache-2.0
// The names that every build knows, and the options that a configuration may give them. docs/connectors.md lists both.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/detail/shm_layout.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>
#include <omniconn/transport/shm_segment.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Shared memory, our layout: any keys, one namespace for all edges, payloads read in place.
template <class Serializer = raw_serializer>
using shm_connector = connector<shm_transport, Serializer, namespaced_keying, arena_allocator>;

/// Between threads of one process.
template <class Serializer = raw_serializer>
using inproc_connector = connector<inproc_transport, Serializer, namespaced_keying, heap_allocator>;

/// Shared memory in vLLM-Omni's layout, beside Python stages: raw keys, one reader, nothing but the payload in a segment.
template <class Serializer = raw_serializer>
using shm_segment_connector = connector<shm_segment_transport, Serializer, raw_keying, heap_allocator>;

namespace detail {

/// Options that every connector understands: readers, reader, lease_seconds, on_existing, checksum, on_full,
/// max_unread_objects, max_unread_bytes, report_lost_peer, max_get_size.
inline connector_defaults read_defaults(option_reader& options) {
  connector_defaults out;
  if (auto const* readers = options.take("readers"); readers != nullptr && readers->is_array()) {
    out.readers = options.take_strings("readers");
    if (readers->size() == 0) options.problem("readers is an empty list; name at least one reader, or leave it out for one reader of any name");
    for (std::size_t i = 0; i != out.readers.size(); ++i) {
      if (out.readers[i].empty()) options.problem("readers holds an empty name, but whoever has no name reads as 'default'; name each reader");
      for (std::size_t k = 0; k != i; ++k)
        if (out.readers[i] == out.readers[k]) options.problem("readers names " + in_quotes(out.readers[i]) + " twice");
    }
  } else if (auto const* any = readers == nullptr ? nullptr : readers->if_string(); any != nullptr && *any == "any") {
    out.keep = true;
  } else if (auto const* text = readers == nullptr ? nullptr : readers->if_string(); text != nullptr && text->find('$') == std::string::npos) {
    options.problem("readers is " + describe(*readers) + ", expected a number, a list of names, or any; write [" + in_quotes(*text) + "] for one reader of that name");
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
  auto const full = options.take_choice("on_full", {"fail", "wait", "drop_oldest"}, "fail");
  out.full = full == "wait" ? on_full::wait : full == "drop_oldest" ? on_full::drop_oldest : on_full::fail;
  out.max_unread_objects = options.take_uint("max_unread_objects", 0);
  out.max_unread_bytes = options.take_bytes_size("max_unread_bytes", 0);
  out.report_lost_peer = options.take_bool("report_lost_peer", true);
  out.max_get_size = options.take_bytes_size("max_get_size", out.max_get_size);
  return out;
}

/// Options of shared memory in our layout.
inline shm_transport::options read_shm_options(option_reader& options, connector_defaults const& defaults) {
  shm_transport::options out;
  out.space = options.take_string("namespace", "");
  out.memory_pool_size = options.take_bytes_size("memory_pool_size", out.memory_pool_size);
  out.max_keys = static_cast<std::uint32_t>(options.take_uint("max_keys", 0, 0, shm::max_keys));
  out.max_readers = static_cast<std::uint32_t>(options.take_uint("max_readers", 0, 0, shm::max_claims));
  out.max_namespace_bytes = options.take_bytes_size("max_namespace_bytes", 0);
  out.huge_pages = options.take_bool("huge_pages", out.huge_pages);
  if (options.take("numa_node") != nullptr) out.numa_node = static_cast<std::uint32_t>(options.take_uint("numa_node", 0, 0, shm::max_nodes - 1));
  out.directory = options.take_string("directory", out.directory);
  if (auto const spin = options.take_duration_seconds("spin")) out.spin = *spin;
  if (!defaults.reader.empty()) out.reader = defaults.reader;
  out.name = out.reader;
  if (options.take_string("role", "") == "sender")  // shown as the stage that it is, not as the one that it sends to
    if (auto const* stage = options.take("from_stage"); stage != nullptr) {
      if (auto const text = stage->as_string()) out.name = *text;
      if (auto const number = stage->as_int64()) out.name = std::to_string(*number);
    }
  return out;
}

/// Options of memory within the process. The namespace means what it means in shared memory.
inline inproc_transport::options read_inproc_options(option_reader& options, connector_defaults const& defaults) {
  inproc_transport::options out;
  std::string space = options.take_string("namespace", "");
  if (char const* const set = process_env("OMNICONN_NAMESPACE"); space.empty() && set != nullptr) space = set;
  out.hub = inproc_hub::named(space.empty() ? "default" : space);
  out.reader = defaults.reader.empty() ? "default" : defaults.reader;  // as in shared memory
  return out;
}

constexpr std::string_view msgpack_name = "omni_msgpack";

/// `serializer`: the name of one of those given, of which the first is the default. `omni_msgpack` is a name also where its part is not registered.
template <class First, class... More>
std::string read_serializer(option_reader& options) {
  if constexpr (First::name == msgpack_name || ((More::name == msgpack_name) || ...)) {
    return options.take_choice("serializer", {First::name, More::name...}, First::name);
  } else {
    return options.take_choice("serializer", {First::name, More::name..., msgpack_name}, First::name);
  }
}

/// Opens `Connector<S>`, `S` being the serializer of that name, with the options that `fill` writes.
template <template <class> class Connector, class... Serializers, class Fill>
result<any_connector, diagnosis> open_named(std::string_view serializer, Fill const& fill) {
  result<any_connector, diagnosis> out = diagnosis(error_kind::unsupported,
                                                   "serializer omni_msgpack is not part of this factory; call register_msgpack of <omniconn/runtime/msgpack_part.hpp> after "
                                                   "register_builtin_connectors (CMake target omniconn::msgpack), or set `serializer: raw`");
  auto const open = [&]<class Serializer>(std::type_identity<Serializer>) -> result<any_connector, diagnosis> {
    typename Connector<Serializer>::options o;
    fill(o);
    auto opened = Connector<Serializer>::open(o);
    if (!opened) return std::move(opened.error());
    return any_connector(std::move(*opened));
  };
  static_cast<void>(((Serializers::name == serializer && (out = open(std::type_identity<Serializers>{}), true)) || ...));
  return out;
}

template <class... Serializers>
result<any_connector, diagnosis> open_shm_connector(option_reader& options) {
  auto const defaults = read_defaults(options);
  auto const transport = read_shm_options(options, defaults);
  auto const serializer = read_serializer<Serializers...>(options);
  if (auto read = options.done(); !read) return std::move(read.error());
  return open_named<shm_connector, Serializers...>(serializer, [&](auto& o) {
    o.transport = transport;
    o.defaults = defaults;
  });
}

template <class... Serializers>
result<any_connector, diagnosis> make_shm_connector(connector_spec const& spec) {
  option_reader options(spec.extra);
  return open_shm_connector<Serializers...>(options);
}

template <class... Serializers>
result<any_connector, diagnosis> make_inproc_connector(connector_spec const& spec) {
  option_reader options(spec.extra);
  auto const defaults = read_defaults(options);
  auto const transport = read_inproc_options(options, defaults);
  auto const serializer = read_serializer<Serializers...>(options);
  if (auto read = options.done(); !read) return std::move(read.error());
  return open_named<inproc_connector, Serializers...>(serializer, [&](auto& o) {
    o.transport = transport;
    o.defaults = defaults;
  });
}

/// Options of shared memory in vLLM-Omni's layout.
inline shm_segment_transport::options read_segment_options(option_reader& options) {
  shm_segment_transport::options out;
  out.directory = options.take_string("directory", out.directory);
  out.remove_on_close = options.take_bool("remove_on_close", out.remove_on_close);
  // vLLM-Omni 0.30 reads the threshold and ignores it: a Python reader that looks by key would wait for ever. So it takes a word of ours.
  auto const threshold = options.take_bytes_size("shm_threshold_bytes", 65536);
  if (options.take_bool("inline_payloads", false)) out.inline_below = threshold;
  return out;
}

/// The layout of Python's side. A put of a live key replaces, and cleanup takes exactly the key, as there.
template <class... Serializers>
result<any_connector, diagnosis> open_segment_connector(option_reader& options) {
  auto defaults = read_defaults(options);
  if (options.take("on_existing") == nullptr) defaults.existing = on_existing::replace;
  defaults.envelope = false;
  if (defaults.keep || !defaults.readers.empty() || defaults.reader_count > 1)
    options.problem("readers asks for more than one reader of any name, which vLLM-Omni's layout cannot do; remove it, or set `layout: omniconn` where every stage is ours");
  auto const transport = read_segment_options(options);
  auto const exact = options.take_choice("cleanup", {"exact", "affix"}, "exact") == "exact";
  auto const serializer = read_serializer<Serializers...>(options);
  if (auto read = options.done(); !read) return std::move(read.error());
  return open_named<shm_segment_connector, Serializers...>(serializer, [&](auto& o) {
    o.transport = transport;
    o.keying.exact_cleanup = exact;
    o.defaults = defaults;
  });
}

/// `SharedMemoryConnector` means the layout that Python stages use. Ours only where the configuration says that every stage is ours.
template <class... Serializers>
result<any_connector, diagnosis> make_shared_memory_connector(connector_spec const& spec) {
  option_reader options(spec.extra);
  std::string_view fallback = shm_layout_upstream;
  if (options.take("layout") == nullptr) {
    auto const said = shm_layout_of_environment(process_env);
    if (!said) return said.error();
    fallback = *said;
  }
  auto const layout = options.take_choice("layout", {shm_layout_ours, shm_layout_upstream}, fallback);
  if (auto read = options.done(); !read) return std::move(read.error());
  if (layout == shm_layout_ours) return open_shm_connector<Serializers...>(options);
  return open_segment_connector<Serializers...>(options);
}

}  // namespace detail

/// Makes the factory know every name of vLLM-Omni and of this library: those that work with the raw serializer, the others with the reason why not.
/// A template, though there is nothing to choose: only files that call it pay for compiling every connector.
template <class = void>
void register_builtin_connectors(connector_factory& factory) {
  constexpr auto note = "serializer raw; register_msgpack adds omni_msgpack";
  factory.replace_connector("ShmConnector", &detail::make_shm_connector<raw_serializer>, note);
  factory.replace_connector("InprocConnector", &detail::make_inproc_connector<raw_serializer>, note);
  factory.replace_connector("SharedMemoryConnector", &detail::make_shared_memory_connector<raw_serializer>, note);
  factory.declare_unavailable("SealedShmConnector", "sealed memory is not part of this factory; call register_sealed of <omniconn/runtime/sealed.hpp> after register_builtin_connectors");
  for (std::string_view const name : {"MooncakeStoreConnector", "MooncakeConnector"})
    factory.declare_unavailable(name, "a Mooncake store is not part of this factory; call register_mooncake of <omniconn/runtime/mooncake.hpp> after register_builtin_connectors");
  for (std::string_view const name : {"MooncakeTransferEngineConnector", "MooncakeRDMAConnector"})
    factory.declare_unavailable(name, "the Mooncake transfer engine is not built yet; use ShmConnector on one node");
  for (std::string_view const name : {"YuanrongConnector", "YuanrongTransferEngineConnector"})
    factory.declare_unavailable(name, "the Yuanrong client is not built yet; use ShmConnector on one node");
  factory.declare_unavailable("MoriTransferEngineConnector", "the Mori transfer engine (AMD) is not built; use ShmConnector on one node");
  factory.declare_unavailable("NixlConnector", "the NIXL connector is not built; use ShmConnector on one node");
}

OMNICONN_END_NAMESPACE
