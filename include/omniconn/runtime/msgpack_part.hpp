// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// What the msgpack part adds to a factory: connectors whose payloads are objects, as Python stages write them.
#pragma once

#include <omniconn/config.hpp>
#include <omniconn/runtime/builtin.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Makes the built-in connectors of a factory write and read values with `omni_msgpack`, unless an edge says `serializer: raw`. Call it after `register_builtin_connectors`.
/// A template for the same reason as that one.
template <class = void>
void register_msgpack(connector_factory& factory) {
  constexpr auto note = "serializers omni_msgpack (default), raw";
  factory.replace_connector("ShmConnector", &detail::make_shm_connector<omni_msgpack_serializer, raw_serializer>, note);
  factory.replace_connector("InprocConnector", &detail::make_inproc_connector<omni_msgpack_serializer, raw_serializer>, note);
  factory.replace_connector("SharedMemoryConnector", &detail::make_shared_memory_connector<omni_msgpack_serializer, raw_serializer>, note);
}

OMNICONN_END_NAMESPACE
