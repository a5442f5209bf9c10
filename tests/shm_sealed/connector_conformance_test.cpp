// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// The suite for connectors over sealed memory: the caller's own memory is gathered, whatever is beside it travels out of band.
#include <omniconn/testing/connector_conformance.hpp>

#include <omniconn/runtime/sealed.hpp>

#include "support.hpp"

namespace {

using namespace omniconn;

struct over_sealed : real_time_harness {
  using connector_type = shm_sealed_connector<raw_serializer>;
  sealed_test::directory directory;

  result<connector_type, diagnosis> open(connector_defaults const& defaults) {
    connector_type::options o;
    o.transport.directory = directory.path();
    o.defaults = defaults;
    return connector_type::open(o);
  }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(shm_sealed, connector_conformance, over_sealed);
}  // namespace omniconn
