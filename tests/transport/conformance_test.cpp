// SPDX-License-Identifier: Apache-2.0
// The suite for every transport of this folder that needs nothing but this process.
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <omniconn/testing/sim/sim_poll.hpp>
#include <omniconn/testing/sim/sim_pull.hpp>
#include <omniconn/testing/transport_conformance.hpp>
#include <omniconn/transport/inproc.hpp>

namespace {

struct inproc_harness : omniconn::real_time_harness {
  using transport = omniconn::inproc_transport;
  std::shared_ptr<omniconn::inproc_hub> hub = std::make_shared<omniconn::inproc_hub>();
  omniconn::result<transport, omniconn::diagnosis> open(std::string_view reader) { return transport::open({hub, std::string(reader)}); }
};

/// Time stands still unless somebody waits, so that what must happen needs no deadline.
template <class Transport>
struct virtual_time_harness {
  using transport = Transport;
  std::shared_ptr<omniconn::sim_world> world = std::make_shared<omniconn::sim_world>(20'260'727);
  omniconn::result<transport, omniconn::diagnosis> open(std::string_view reader) {
    typename transport::options o;
    o.world = world;
    o.reader = reader;
    if constexpr (requires { o.memory_pool_size; }) o.memory_pool_size = std::size_t{8} << 20U;  // ThreadSanitizer pays for its size
    return transport::open(o);
  }
  omniconn::deadline in(std::chrono::nanoseconds span) { return world->clock.in(span); }
  omniconn::deadline patient() { return omniconn::deadline::never(); }
  bool passed(omniconn::deadline d) { return world->clock.passed(d); }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(inproc, transport_conformance, inproc_harness);
INSTANTIATE_TYPED_TEST_SUITE_P(sim_pull, transport_conformance, virtual_time_harness<sim_pull_transport>);
INSTANTIATE_TYPED_TEST_SUITE_P(sim_poll, transport_conformance, virtual_time_harness<sim_poll_transport>);
}  // namespace omniconn
