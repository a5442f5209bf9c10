// SPDX-License-Identifier: Apache-2.0
// The one file in which every connector is instantiated.
#include "edges.hpp"

#include <omniconn/runtime/builtin.hpp>
#include <omniconn/runtime/mooncake.hpp>
#include <omniconn/runtime/msgpack_part.hpp>
#include <omniconn/runtime/sealed.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>

namespace tool {

namespace {

omniconn::connector_factory factory() {
  omniconn::connector_factory out;
  omniconn::register_builtin_connectors(out);
  omniconn::register_msgpack(out);
  omniconn::register_sealed<omniconn::omni_msgpack_serializer, omniconn::raw_serializer>(out);
  omniconn::register_mooncake<omniconn::omni_msgpack_serializer, omniconn::raw_serializer>(out);
  return out;
}

}  // namespace

result<omniconn::any_connector, diagnosis> open_connector(omniconn::connector_spec const& spec) { return factory().create(spec); }

std::vector<omniconn::connector_availability> known_connectors() { return factory().list(); }

}  // namespace tool
