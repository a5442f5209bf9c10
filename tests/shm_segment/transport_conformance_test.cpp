// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
#include <omniconn/testing/transport_conformance.hpp>

#include <omniconn/transport/shm_segment.hpp>

#include "support.hpp"

namespace {

struct shm_segment_harness : omniconn::real_time_harness {
  using transport = omniconn::shm_segment_transport;
  segment_test::folder folder;
  shm_segment_harness() { folder.may_keep_files = true; }  // what is given back after its transport was closed stays: this layout has no leases
  omniconn::result<transport, omniconn::diagnosis> open(std::string_view) {
    return transport::open({.directory = folder.path()});
  }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(shm_segment, transport_conformance, shm_segment_harness);
}  // namespace omniconn
