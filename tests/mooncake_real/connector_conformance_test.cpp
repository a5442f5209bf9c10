// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// omniconn-test: together
// omniconn-test: costly
#include <omniconn/testing/connector_conformance.hpp>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/mooncake_store.hpp>

#include "cluster.hpp"

namespace {

using namespace omniconn;

struct over_mooncake : real_time_harness {
  using connector_type = connector<mooncake_store_transport, raw_serializer, namespaced_keying, heap_allocator>;  // whose keys may be anything

  over_mooncake() { mooncake_real::cluster::shared().clear(); }
  static result<connector_type, diagnosis> open(connector_defaults const& defaults) {
    connector_type::options o;
    o.transport.master = mooncake_real::cluster::shared().master.address();
    o.defaults = defaults;
    return connector_type::open(o);
  }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(mooncake_store, connector_conformance, over_mooncake);
}  // namespace omniconn
