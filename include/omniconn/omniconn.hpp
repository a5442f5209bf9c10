// SPDX-License-Identifier: Apache-2.0
// Everything that needs no other library; the parts on request. Programs that care for compile time include what they use instead.
#pragma once

#include <omniconn/fwd.hpp>

#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/dtype.hpp>
#include <omniconn/core/error.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/metrics.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/core/tensor_value.hpp>
#include <omniconn/core/value.hpp>

#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

#include <omniconn/serializer/raw.hpp>

#include <omniconn/keying/edge_suffix.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/keying/raw.hpp>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/buffer_pool.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/allocator/pool.hpp>

#include <omniconn/any_connector.hpp>
#include <omniconn/any_growing.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/growing.hpp>
#include <omniconn/shared_view.hpp>

#include <omniconn/runtime/builtin.hpp>
#include <omniconn/runtime/connector_spec.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/runtime/transfer_config.hpp>

#if defined(OMNICONN_WITH_SEALED)
#include <omniconn/runtime/sealed.hpp>
#endif
#if defined(OMNICONN_WITH_MSGPACK)
#include <omniconn/runtime/msgpack_part.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>
#endif
#if defined(OMNICONN_WITH_YAML)
#include <omniconn/detail/yaml_builder.hpp>
#include <omniconn/runtime/config_file.hpp>
#include <omniconn/runtime/yaml.hpp>
#endif
#if defined(OMNICONN_WITH_JSON)
#include <omniconn/runtime/config_file.hpp>
#include <omniconn/runtime/json.hpp>
#endif
#if defined(OMNICONN_WITH_YAML) && defined(OMNICONN_WITH_JSON)
#include <omniconn/runtime/load_config.hpp>
#endif
#if defined(OMNICONN_WITH_MOONCAKE)
#include <omniconn/runtime/mooncake.hpp>
#endif
