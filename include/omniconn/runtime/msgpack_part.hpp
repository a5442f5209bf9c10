// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// What the msgpack part adds to a factory: connectors whose payloads are objects, as Python stages write them.
#pragma once

#include <omniconn/config.hpp>
#include <omniconn/runtime/builtin.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

using make_function = result<any_connector, diagnosis> (*)(connector_spec const&);

/// `serializer: omni_msgpack` (the default once the part is registered) or `raw`.
struct serializer_choice {
  make_function objects;
  make_function raw;

  result<any_connector, diagnosis> operator()(connector_spec const& spec) const {
    option_reader options(spec.extra);
    auto const name = options.take_choice("serializer", {"omni_msgpack", "raw"}, "omni_msgpack");
    if (auto read = options.done(); !read) return std::move(read.error());
    return name == "raw" ? raw(spec) : objects(spec);
  }
};

}  // namespace detail

/// Makes the built-in connectors of a factory write and read values with `omni_msgpack`. Call it after `register_builtin_connectors`.
inline void register_msgpack(connector_factory& factory) {
  using objects = omni_msgpack_serializer;
  constexpr auto note = "serializers omni_msgpack (default), raw";
  factory.replace_connector("ShmConnector", detail::serializer_choice{&detail::make_shm_connector<objects>, &detail::make_shm_connector<raw_serializer>}, note);
  factory.replace_connector("InprocConnector", detail::serializer_choice{&detail::make_inproc_connector<objects>, &detail::make_inproc_connector<raw_serializer>}, note);
  factory.replace_connector("SharedMemoryConnector", detail::serializer_choice{&detail::make_shared_memory_connector<objects>, &detail::make_shared_memory_connector<raw_serializer>},
                            "serializers omni_msgpack (default), raw; only with `layout: omniconn`: upstream's layout is not built yet");
}

OMNICONN_END_NAMESPACE
