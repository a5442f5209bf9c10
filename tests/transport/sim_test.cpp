// SPDX-License-Identifier: Apache-2.0
#include <omniconn/testing/sim/sim_poll.hpp>
#include <omniconn/testing/sim/sim_pull.hpp>
#include <omniconn/testing/sim/sim_world.hpp>
#include <omniconn/testing/sim/virtual_clock.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/testing/conformance/transport_side.hpp>

namespace {

using namespace omniconn;
using namespace std::chrono_literals;

static_assert(explain_transport<sim_pull_transport>());
static_assert(explain_transport<sim_poll_transport>());

using pull = transport_side<sim_pull_transport>;
using poll = transport_side<sim_poll_transport>;

template <class Transport>
std::unique_ptr<transport_side<Transport>> open(std::shared_ptr<sim_world> const& world, std::string_view name) {
  typename Transport::options o;
  o.world = world;
  o.reader = name;
  if constexpr (requires { o.memory_pool_size; }) o.memory_pool_size = std::size_t{1} << 20U;  // ThreadSanitizer pays for its size
  return std::make_unique<transport_side<Transport>>(Transport::open(o).value(), deadline::never());
}

TEST(virtual_clock, stands_still_until_it_is_moved) {
  virtual_clock clock;
  std::int64_t const start = clock.now_ns();
  deadline const in_an_hour = clock.in(1h);
  EXPECT_EQ(clock.now_ns(), start);
  EXPECT_FALSE(clock.passed(in_an_hour));
  EXPECT_TRUE(clock.passed(clock.in(0ns)));
  EXPECT_TRUE(clock.passed(deadline::immediate()));
  EXPECT_FALSE(clock.passed(deadline::never()));
  clock.advance_to(start + 3'600'000'000'000);
  EXPECT_TRUE(clock.passed(in_an_hour));
  clock.advance_to(start);
  EXPECT_EQ(clock.now_ns(), start + 3'600'000'000'000) << "never back";
}

/// A producer "p" and a consumer "c" on one world.
struct pull_pair {
  explicit pull_pair(std::uint64_t seed = 1)
      : world(std::make_shared<sim_world>(seed)), p(open<sim_pull_transport>(world, "p")), c(open<sim_pull_transport>(world, "c")) {}

  std::shared_ptr<sim_world> world;
  std::unique_ptr<pull> p, c;

  /// Brings a get to where bytes are on their way into `memory`.
  void land(sim_pull_transport::get_op& op, mutable_bytes memory) {
    auto const now = c->drive(op, (*c)->find(op, "key", {}), deadline::never());
    ASSERT_TRUE(now && *now == progress::needs_memory);
    mutable_bytes const to[]{memory};
    ASSERT_TRUE((*c)->land(op, to));
  }
  void pause(std::chrono::nanoseconds span) { c->pause(world->clock.in(span)); }
};

std::size_t count(const_bytes bytes, std::byte b) { return static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), b)); }

std::vector<std::int64_t> times_of_a_run(std::uint64_t seed) {
  pull_pair x(seed);
  std::int64_t const start = x.world->clock.now_ns();
  std::vector<std::int64_t> times;
  for (int i = 0; i != 5; ++i) {
    auto put = x.p->put("key", test_pattern(1000, 1));
    if (!put) std::abort();
    times.push_back(x.world->clock.now_ns() - start);
    auto got = x.c->get("key", deadline::never());
    if (!got) std::abort();
    times.push_back(x.world->clock.now_ns() - start);
    got->hold.finish(disposition::consumed);
    x.pause(1ms);
  }
  return times;
}

TEST(sim_world, a_seed_is_a_history) {
  EXPECT_EQ(times_of_a_run(7), times_of_a_run(7));
  EXPECT_NE(times_of_a_run(7), times_of_a_run(8));
}

TEST(sim_world, time_moves_only_in_wait) {
  pull_pair x;
  std::int64_t const start = x.world->clock.now_ns();
  sim_pull_transport::get_op op;
  ASSERT_TRUE((*x.c)->find(op, "key", {}));
  for (int i = 0; i != 100; ++i) ASSERT_EQ((*x.c)->step(op).value_or(progress::done), progress::pending);
  EXPECT_EQ(x.world->clock.now_ns(), start);
  EXPECT_EQ(x.world->under_way(), 1U);
  operation* const one[]{&op};
  EXPECT_TRUE((*x.c)->wait(one, x.world->clock.in(1h), {}) == error_kind::timed_out);
  EXPECT_EQ(x.world->clock.now_ns(), start + 3'600'000'000'000) << "an hour of waiting in no time";
}

TEST(sim_pull, asks_the_peer_for_the_size) {
  pull_pair x;
  ASSERT_TRUE(x.p->put("key", test_pattern(1000, 1)));
  std::int64_t const start = x.world->clock.now_ns();
  sim_pull_transport::get_op op;
  auto now = (*x.c)->find(op, "key", {});
  ASSERT_EQ(now.value_or(progress::done), progress::pending);
  EXPECT_EQ(op.info().size, 0U);
  now = x.c->drive(op, now, deadline::never());
  ASSERT_EQ(now.value_or(progress::done), progress::needs_memory);
  EXPECT_EQ(op.info().size, 1000U);
  EXPECT_GE(x.world->clock.now_ns() - start, 10'000) << "there and back";
  x.c->quiet(op);
}

TEST(sim_pull, bytes_land_out_of_order) {
  pull_pair x;
  auto const data = std::vector<std::byte>(8000, std::byte{1});
  ASSERT_TRUE(x.p->put("key", data));
  std::vector<std::byte> memory(8000, std::byte{0});
  sim_pull_transport::get_op op;
  x.land(op, memory);
  bool out_of_order = false, in_part = false;
  operation* const one[]{&op};
  while ((*x.c)->wait(one, x.world->clock.in(5us), {}) == error_kind::timed_out) {
    in_part |= count(memory, std::byte{1}) % 8000 != 0;
    out_of_order |= !std::is_sorted(memory.begin(), memory.end(), [](std::byte a, std::byte b) { return a > b; });
  }
  EXPECT_TRUE(in_part);
  EXPECT_TRUE(out_of_order) << "a caller that trusts the front of the memory before the end is wrong";
  EXPECT_EQ(count(memory, std::byte{1}), 8000U);
  auto h = op.take();
  EXPECT_EQ(h.bytes().data(), memory.data());
  h.finish(disposition::consumed);
}

TEST(sim_pull, a_cancelled_get_is_written_to_until_it_is_quiet) {
  std::size_t late = 0;
  for (std::uint64_t seed = 1; seed != 30; ++seed) {
    pull_pair x(seed);
    ASSERT_TRUE(x.p->put("key", std::vector<std::byte>(8000, std::byte{1})));
    std::vector<std::byte> memory(8000, std::byte{0});
    sim_pull_transport::get_op op;
    x.land(op, memory);
    x.pause(60us);
    auto const now = (*x.c)->cancel(op);
    ASSERT_EQ(now.value_or(progress::done), progress::pending) << "connections do not stop at a wish";
    std::size_t const before = count(memory, std::byte{1});
    operation* const one[]{&op};
    ASSERT_TRUE((*x.c)->wait(one, deadline::never(), {}));
    EXPECT_TRUE((*x.c)->step(op) == error_kind::cancelled);
    std::size_t const at_end = count(memory, std::byte{1});
    late += at_end - before;
    x.pause(10ms);
    EXPECT_EQ(count(memory, std::byte{1}), at_end) << "quiet is quiet";
    EXPECT_EQ(x.world->violations(), 0U);
  }
  EXPECT_GT(late, 0U) << "a caller that freed its memory at cancel would have been overwritten";
}

TEST(sim_pull, an_operation_that_is_destroyed_too_early_is_counted) {
  pull_pair x;
  ASSERT_TRUE(x.p->put("key", std::vector<std::byte>(8000, std::byte{1})));
  std::vector<std::byte> memory(8000, std::byte{0});  // stays, so that this test shows the write without being one
  {
    sim_pull_transport::get_op op;
    x.land(op, memory);
  }
  EXPECT_EQ(x.world->violations(), 1U);
  EXPECT_EQ(count(memory, std::byte{1}), 0U);
  x.pause(10ms);
  EXPECT_GT(count(memory, std::byte{1}), 0U) << "the network did not know";
}

TEST(sim_pull, a_producer_that_dies_ends_what_is_under_way) {
  pull_pair x;
  auto put = x.p->put("key", std::vector<std::byte>(8000, std::byte{1}));
  auto other = x.p->put("other", test_pattern(8, 1));
  ASSERT_TRUE(put && other);
  std::vector<std::byte> memory(8000, std::byte{0});
  sim_pull_transport::get_op op, waiting;
  ASSERT_TRUE((*x.c)->find(waiting, "never", {}));
  x.land(op, memory);
  x.pause(100us);
  x.world->kill("p");
  std::size_t const before = count(memory, std::byte{1});
  EXPECT_LT(before, 8000U);
  operation* const one[]{&op};
  ASSERT_TRUE((*x.c)->wait(one, deadline::never(), {}));
  auto const lost = (*x.c)->step(op);
  ASSERT_TRUE(lost == error_kind::peer_lost);
  EXPECT_EQ(lost.error().level(), severity::connection);
  EXPECT_EQ(count(memory, std::byte{1}), before);
  find_options how;
  how.where = &other->where;
  EXPECT_TRUE(x.c->get("other", deadline::never(), how) == error_kind::peer_lost);
  EXPECT_TRUE(x.c->get("other", x.world->clock.in(1s)) == error_kind::timed_out) << "by key, another producer may still put it";
  EXPECT_EQ((*x.c)->step(waiting).value_or(progress::done), progress::pending);
  ASSERT_EQ((*x.c)->report().peers.size(), 1U);
  EXPECT_FALSE((*x.c)->report().peers[0].alive);
  auto second = open<sim_pull_transport>(x.world, "p2");
  ASSERT_TRUE(second->put("never", test_pattern(8, 2)));
  auto got = x.c->finish_get(waiting, progress::pending, deadline::never());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes, test_pattern(8, 2)));
}

TEST(sim_pull, a_producer_that_stalls_loses_nothing) {
  pull_pair x;
  auto const data = test_pattern(8000, 1);
  ASSERT_TRUE(x.p->put("key", data));
  auto const memory = x.c->landing(8000);
  sim_pull_transport::get_op op;
  x.land(op, *memory);
  x.pause(100us);
  x.world->stall("p");
  EXPECT_EQ((*x.p)->report().status, health_status::degraded);
  operation* const one[]{&op};
  EXPECT_TRUE((*x.c)->wait(one, x.world->clock.in(10s), {}) == error_kind::timed_out);
  x.world->resume("p");
  ASSERT_TRUE((*x.c)->wait(one, deadline::never(), {}));
  ASSERT_EQ((*x.c)->step(op).value_or(progress::pending), progress::done);
  EXPECT_TRUE(same_bytes(*memory, data));
  op.take().finish(disposition::give_back);
  x.pause(1ms);

  sim_pull_transport::get_op hopeless;
  x.land(hopeless, *memory);
  x.world->stall("p");
  x.c->quiet(hopeless);  // comes back although the peer never answers
  EXPECT_TRUE((*x.c)->step(hopeless) == error_kind::cancelled);
}

TEST(sim_pull, lost_messages_come_again) {
  pull_pair x;
  std::int64_t const start = x.world->clock.now_ns();
  x.world->lose(5);
  auto const data = test_pattern(500, 1);
  ASSERT_TRUE(x.p->put("key", data));
  auto got = x.c->get("key", deadline::never());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes, data));
  EXPECT_GE(x.world->clock.now_ns() - start, 50'000'000);
}

TEST(sim_pull, close_leaves_memory_quiet_without_waiting) {
  pull_pair x;
  ASSERT_TRUE(x.p->put("key", std::vector<std::byte>(8000, std::byte{1})));
  std::vector<std::byte> memory(8000, std::byte{0});
  sim_pull_transport::get_op op;
  x.land(op, memory);
  x.pause(60us);
  (*x.c)->close();
  std::size_t const before = count(memory, std::byte{1});
  EXPECT_TRUE((*x.c)->step(op) == error_kind::closed);
  EXPECT_EQ((*x.c)->cancel(op).value_or(progress::pending), progress::done);
  x.p->pause(x.world->clock.in(10ms));
  EXPECT_EQ(count(memory, std::byte{1}), before);
  auto next = open<sim_pull_transport>(x.world, "next");
  EXPECT_TRUE(next->get("key", deadline::never())) << "the object was given back";
  EXPECT_EQ(x.world->violations(), 0U);
}

TEST(sim_pull, landed_bytes_outlive_the_pool_they_landed_in) {
  pull_pair x;
  auto const data = test_pattern(5000, 3);
  ASSERT_TRUE(x.p->put("key", data));
  auto got = x.c->get("key", deadline::never());
  ASSERT_TRUE(got);
  x.c.reset();
  EXPECT_TRUE(same_bytes(got->hold.bytes(), data));
}

TEST(sim_pull, a_full_pool_names_its_option) {
  sim_pull_transport::options o;
  o.memory_pool_size = 8192;
  auto t = sim_pull_transport::open(o).value();
  EXPECT_EQ(t.memory().reserved, 8192U);
  auto const grown = t.grow(1);
  ASSERT_TRUE(grown == error_kind::no_space);
  EXPECT_NE(std::string_view(grown.error().text()).find("memory_pool_size"), std::string_view::npos);
}

TEST(sim_pull, memory_grows_in_place) {
  auto t = sim_pull_transport::open({}).value();
  auto const before = t.memory();
  auto const after = t.grow(before.committed + 1);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->base, before.base);
  EXPECT_GE(after->committed, before.committed * 2 + 1);
}

struct poll_pair {
  std::shared_ptr<sim_world> world = std::make_shared<sim_world>(3);
  std::unique_ptr<poll> p = open<sim_poll_transport>(world, "p"), c = open<sim_poll_transport>(world, "c");
};

TEST(sim_poll, sees_an_object_at_its_next_look) {
  poll_pair x;
  sim_poll_transport::get_op op;
  ASSERT_TRUE((*x.c)->find(op, "key", {}));
  // Nobody looks while nobody waits; a long wait brings the back-off to its end.
  operation* const one[]{&op};
  for (int i = 0; i != 10; ++i) {
    ASSERT_TRUE(x.p->put("noise " + std::to_string(i), test_pattern(1, 1)));  // another object in the store is no ring
    EXPECT_TRUE((*x.c)->wait(one, x.world->clock.in(100ms), {}) == error_kind::timed_out);
  }
  ASSERT_TRUE(x.p->put("key", test_pattern(100, 1)));
  std::int64_t const put_at = x.world->clock.now_ns();
  EXPECT_EQ((*x.c)->step(op).value_or(progress::done), progress::pending) << "not before its time";
  ASSERT_TRUE((*x.c)->wait(one, deadline::never(), {}));
  EXPECT_EQ((*x.c)->step(op).value_or(progress::done), progress::needs_memory);
  EXPECT_LE(x.world->clock.now_ns() - put_at, sim_poll_transport::longest_back_off);
  EXPECT_GT(x.world->clock.now_ns(), put_at);
}

TEST(sim_poll, reading_does_not_consume_and_the_end_of_the_hold_does) {
  poll_pair x;
  ASSERT_TRUE(x.p->put("key", test_pattern(100, 1)));
  for (int i = 0; i != 3; ++i) {
    auto got = x.c->get("key", deadline::never());
    ASSERT_TRUE(got);
    EXPECT_TRUE((*x.c)->exists("key").value_or(false)) << "held, and there";
    got->hold.finish(i == 2 ? disposition::consumed : disposition::give_back);
  }
  x.c->pause(x.world->clock.in(1ms));
  EXPECT_FALSE((*x.c)->exists("key").value_or(true));
}

TEST(sim_poll, objects_survive_their_producer) {
  poll_pair x;
  auto const data = test_pattern(5000, 1);
  auto put = x.p->put("key", data);
  ASSERT_TRUE(put);
  EXPECT_EQ(put->block->returned.load(), 1) << "the service has its copy, the block is free";
  x.world->kill("p");
  x.p.reset();
  auto got = x.c->get("key", deadline::never());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes, data));
}

TEST(sim_poll, a_service_out_of_reach_is_waited_for) {
  poll_pair x;
  ASSERT_TRUE(x.p->put("key", test_pattern(5000, 1)));
  x.world->stall("c");
  EXPECT_TRUE(x.c->get("key", x.world->clock.in(1s)) == error_kind::timed_out);
  x.world->resume("c");
  EXPECT_TRUE(x.c->get("key", deadline::never()));
}

}  // namespace
