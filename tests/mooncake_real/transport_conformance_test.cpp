// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// omniconn-test: together
// omniconn-test: costly
#include <omniconn/transport/mooncake_store.hpp>

#include <omniconn/testing/transport_conformance.hpp>

#include "cluster.hpp"

namespace {

struct mooncake_store : omniconn::real_time_harness {
  using transport = omniconn::mooncake_store_transport;

  mooncake_store() { mooncake_real::cluster::shared().clear(); }
  omniconn::result<transport, omniconn::diagnosis> open(std::string_view) const {
    transport::options o;
    o.master = mooncake_real::cluster::shared().master.address();
    return transport::open(o);
  }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(mooncake_store, transport_conformance, mooncake_store);
}  // namespace omniconn
