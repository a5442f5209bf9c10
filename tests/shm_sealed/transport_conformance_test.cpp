// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
#include <omniconn/testing/transport_conformance.hpp>

#include <omniconn/transport/shm_sealed.hpp>

#include "support.hpp"

namespace {

struct shm_sealed_harness : omniconn::real_time_harness {
  using transport = omniconn::shm_sealed_transport;
  sealed_test::directory directory;
  omniconn::result<transport, omniconn::diagnosis> open(std::string_view reader) {
    transport::options o;
    o.directory = directory.path();
    o.reader = std::string(reader);
    return transport::open(o);
  }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(shm_sealed, transport_conformance, shm_sealed_harness);
}  // namespace omniconn
