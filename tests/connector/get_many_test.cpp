// SPDX-License-Identifier: Apache-2.0
// Gets of several keys where giving up takes its time, where memory is short, and where bytes have changed.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/testing/sim/sim_poll.hpp>
#include <omniconn/testing/sim/sim_pull.hpp>

namespace {

using namespace omniconn;
using over_pull = connector<sim_pull_transport, raw_serializer, namespaced_keying, arena_allocator>;
using over_poll = connector<sim_poll_transport, raw_serializer, namespaced_keying, heap_allocator>;
constexpr edge flow{"from", "to"};

static_assert(std::is_trivially_copyable_v<key_error> && sizeof(key_error) <= 24);
static_assert(key_error(error(error_kind::closed)).index() == key_error::no_key);

class get_many : public testing::Test {
 protected:
  over_pull open(std::string_view reader, std::size_t memory = std::size_t{64} << 20U) const {
    over_pull::options o;
    o.transport.world = world;
    o.transport.reader = std::string(reader);
    o.transport.memory_pool_size = memory;
    return std::move(*over_pull::open(o));
  }
  get_options until(deadline d) const {
    get_options o;
    o.until = d;
    return o;
  }
  deadline in(std::chrono::nanoseconds span) const { return world->clock.in(span); }
  void TearDown() override { EXPECT_EQ(world->violations(), 0U) << "an operation ended while a peer wrote"; }

  std::shared_ptr<sim_world> world = std::make_shared<sim_world>(7);
};

TEST_F(get_many, what_is_still_written_to_outlives_the_call) {
  auto producer = open("producer");
  constexpr std::array<std::string_view, 4> keys{"a", "b", "c", "never"};
  for (auto const key : {"a", "b", "c"}) ASSERT_TRUE(producer.put(flow, key, test_pattern(100'000, 1)));
  {
    auto consumer = open("consumer");
    // Each deadline catches them elsewhere on their way: asked for, sized, landing in part, landed.
    for (int us = 20; us < 1000; us += 20) {
      auto const late = consumer.get_all_views(flow, keys, until(in(std::chrono::microseconds(us))));
      ASSERT_TRUE(late == error_kind::timed_out) << us;
    }
    auto const late = consumer.get_all_views(flow, keys, until(in(std::chrono::milliseconds(10))));
    ASSERT_TRUE(late == error_kind::timed_out);
    EXPECT_EQ(late.error().index(), 3U);
    auto const some = consumer.get_all_views(flow, std::span(keys).first(3), until(deadline::never()));
    ASSERT_TRUE(some) << some.error().message();
    for (auto const& view : *some) EXPECT_TRUE(same_bytes(view.bytes(), test_pattern(100'000, 1)));
  }
  for (auto const key : {"a", "b", "c"}) ASSERT_TRUE(producer.put(flow, std::string("again ") + key, test_pattern(100'000, 2)));
  auto consumer = open("consumer");
  for (int us = 20; us < 1000; us += 20) {
    auto const got = consumer.get_any_view(flow, std::array<std::string_view, 2>{"again a", "again b"}, until(in(std::chrono::microseconds(us))));
    if (!got) {
      ASSERT_TRUE(got == error_kind::timed_out);
    }
  }
  ASSERT_TRUE(consumer.get_view(flow, "again c"));
}

TEST_F(get_many, any_lands_one_at_a_time) {
  auto producer = open("producer");
  auto consumer = open("consumer", std::size_t{5} << 20U);
  std::vector<std::string> names;
  for (int i = 0; i != 8; ++i) names.push_back("large " + std::to_string(i));
  std::vector<std::string_view> const keys(names.begin(), names.end());
  for (auto const key : keys) ASSERT_TRUE(producer.put(flow, key, test_pattern(std::size_t{2} << 20U, 1)));
  ASSERT_TRUE(consumer.get_all_views(flow, keys, until(deadline::never())) == error_kind::no_space) << "all of them are more than it has";
  // What was landing then is written to for a while, and keeps its memory as long.
  EXPECT_TRUE(consumer.get_view(flow, "nothing", until(in(std::chrono::milliseconds(1)))) == error_kind::timed_out);
  std::size_t sum = 0;
  for (std::size_t i = 0; i != keys.size(); ++i) {
    auto got = consumer.get_any_view(flow, keys, until(deadline::never()));
    ASSERT_TRUE(got) << got.error().message();
    sum += got->index;
    EXPECT_TRUE(same_bytes(got->view.bytes(), test_pattern(std::size_t{2} << 20U, 1)));
  }
  EXPECT_EQ(sum, 28U) << "each once";
}

TEST_F(get_many, a_producer_that_dies_is_named) {
  auto mortal = open("mortal"), survivor = open("survivor");
  auto consumer = open("consumer");
  ASSERT_TRUE(survivor.put(flow, "kept", test_pattern(100'000, 1)));
  auto const lost = mortal.put(flow, "lost", test_pattern(100'000, 2));
  ASSERT_TRUE(lost);
  constexpr std::array<std::string_view, 2> keys{"kept", "lost"};
  world->stall("mortal");  // its answers do not come
  ASSERT_TRUE(consumer.get_all_views(flow, keys, until(in(std::chrono::milliseconds(5)))) == error_kind::timed_out);
  auto got = consumer.get_any_view(flow, keys, until(in(std::chrono::milliseconds(50))));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->index, 0U);
  got->view.give_back();
  world->kill("mortal");
  auto const refused = consumer.get_all_views(flow, keys, until(in(std::chrono::milliseconds(50))));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().index(), 1U);
  EXPECT_TRUE(consumer.get_view(flow, "kept", until(deadline::never())));
}

TEST_F(get_many, changed_bytes_end_all_and_are_passed_over_by_any) {
  over_poll::options o;
  o.transport.world = world;
  auto producer = std::move(*over_poll::open(o)), consumer = std::move(*over_poll::open(o));
  o.defaults.envelope = false;
  auto foreign = std::move(*over_poll::open(o));
  ASSERT_TRUE(foreign.put(flow, "foreign", test_pattern(200, 1)));
  ASSERT_TRUE(producer.put(flow, "good", test_pattern(200, 2)));
  constexpr std::array<std::string_view, 3> keys{"absent", "foreign", "good"};
  auto const all = consumer.get_all_views(flow, std::span(keys).subspan(1), until(deadline::never()));
  ASSERT_TRUE(all == error_kind::malformed);
  EXPECT_EQ(all.error().index(), 0U);
  auto got = consumer.get_any_view(flow, keys, until(deadline::never()));
  while (got == error_kind::malformed) {  // its answer was the first
    EXPECT_EQ(got.error().index(), 1U);
    got = consumer.get_any_view(flow, std::array<std::string_view, 2>{"absent", "good"}, until(deadline::never()));
  }
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_TRUE(same_bytes(got->view.bytes(), test_pattern(200, 2)));
  EXPECT_TRUE(foreign.get_view(flow, "foreign", until(deadline::never()))) << "given back";
}

TEST_F(get_many, not_waiting_takes_a_round_trip_at_most) {
  auto producer = open("producer");
  auto consumer = open("consumer");
  constexpr std::array<std::string_view, 3> keys{"a", "b", "c"};
  EXPECT_TRUE(consumer.get_any_view(flow, keys, until(deadline::immediate())) == error_kind::not_found);
  auto const none = consumer.get_all_views(flow, keys, until(deadline::immediate()));
  ASSERT_TRUE(none == error_kind::not_found);
  ASSERT_TRUE(producer.put(flow, "b", test_pattern(1000, 1)));
  auto got = consumer.get_any_view(flow, keys, until(deadline::immediate()));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->index, 1U);
  EXPECT_LT(none.error().index(), keys.size());
}

}  // namespace
