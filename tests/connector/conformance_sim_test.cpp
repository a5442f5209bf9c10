// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// The suite for connectors over the archetypes in virtual time: memory asked for, completions late and out of order, a store that never notifies.
#include <omniconn/testing/connector_conformance.hpp>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/testing/sim/sim_poll.hpp>
#include <omniconn/testing/sim/sim_pull.hpp>

namespace {

using namespace omniconn;

template <class Composed>
struct sim_harness {
  using connector_type = Composed;
  std::shared_ptr<sim_world> world = std::make_shared<sim_world>(20'260'727);

  result<Composed, diagnosis> open(connector_defaults const& defaults) {
    typename Composed::options o;
    o.transport.world = world;
    o.transport.reader = defaults.reader;
    o.defaults = defaults;
    return Composed::open(o);
  }
  deadline in(std::chrono::nanoseconds span) { return world->clock.in(span); }
  deadline patient() { return deadline::never(); }
  bool passed(deadline d) { return world->clock.passed(d); }
};

struct over_pull : sim_harness<connector<sim_pull_transport, raw_serializer, namespaced_keying, arena_allocator>> {
  static constexpr std::uint64_t memory_size = std::uint64_t{64} << 20U;
};
struct over_poll : sim_harness<connector<sim_poll_transport, raw_serializer, namespaced_keying, heap_allocator>> {};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(sim_pull, connector_conformance, over_pull);
INSTANTIATE_TYPED_TEST_SUITE_P(sim_poll, connector_conformance, over_poll);
}  // namespace omniconn
