// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// The suite for connectors over vLLM-Omni's layout: the caller's own memory is sent, with an envelope in front (both ends are ours here).
#include <omniconn/testing/connector_conformance.hpp>

#include <omniconn/runtime/builtin.hpp>

#include <shm_segment/support.hpp>

namespace {

using namespace omniconn;

struct over_segments : real_time_harness {
  using connector_type = shm_segment_connector<raw_serializer>;
  static constexpr std::size_t longest_key = detail::segment::max_key;
  static constexpr bool keys_per_edge = false;
  segment_test::folder folder;
  over_segments() { folder.may_keep_files = true; }  // what is given back after its connector was closed stays: this layout has no leases

  result<connector_type, diagnosis> open(connector_defaults const& defaults) {
    connector_type::options o;
    o.transport.directory = folder.path();
    o.defaults = defaults;
    return connector_type::open(o);
  }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(shm_segment, connector_conformance, over_segments);
}  // namespace omniconn
