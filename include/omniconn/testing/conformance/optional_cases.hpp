// SPDX-License-Identifier: Apache-2.0
// Conformance: what only some transports can do: watching an object's end, waiting for room, hearing of deaths.
#pragma once

#include <concepts>
#include <stop_token>

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Optional in a harness, where `caps.hears_death`: processes of their own that end as a kill from outside ends them.
template <class H>
concept mortal_harness = requires(H& h) {
  { H::flow } -> std::convertible_to<edge>;
  { h.put_and_die() } -> std::convertible_to<std::string>;  // a process puts an object for that edge and dies; its wire key
  h.get_and_die();                                          // a process waits for something on that edge, in vain, and dies
};

// --- transport_watch ------------------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, a_watch_ends_when_every_reader_is_done) {
  if constexpr (!transport_watch<typename TestFixture::transport>) {
    GTEST_SKIP() << "no transport_watch";
  } else {
    auto producer = this->open("producer");
    auto consumer = this->open("a");
    publish_options how;
    how.readers = reader_set{TestFixture::caps.max_readers > 1 ? 2U : 1U, {}};
    for (std::size_t const size : {std::size_t{8}, TestFixture::not_small}) {
      auto const put = producer->put("key", test_pattern(size, 1), how);
      ASSERT_TRUE(succeeded(put));
      typename TestFixture::get_op op;
      auto now = (*producer)->watch(op, put->where, {});
      ASSERT_TRUE(succeeded(now));
      EXPECT_EQ(*now, progress::pending) << "nobody has read it";
      operation* const one[]{&op};
      std::array<std::string_view, 2> const readers{"a", "b"};
      for (std::size_t i = 0; i != how.readers.size(); ++i) {
        EXPECT_TRUE(failed_with((*producer)->wait(one, this->soon(), {}), error_kind::timed_out));
        find_options by;
        by.reader = readers[i];
        auto got = consumer->get("key", this->patient(), by);
        ASSERT_TRUE(succeeded(got));
        got->hold.finish(disposition::give_back);
        EXPECT_TRUE(failed_with((*producer)->wait(one, this->soon(), {}), error_kind::timed_out)) << "given back it is unread";
        got = consumer->get("key", this->patient(), by);
        ASSERT_TRUE(succeeded(got));
        this->let_go(std::move(*got));
      }
      now = producer->drive(op, progress::pending, this->patient());
      ASSERT_TRUE(succeeded(now));
      EXPECT_EQ(*now, progress::done);
      EXPECT_EQ((*producer)->step(op).value_or(progress::pending), progress::done) << "the same answer as often as it is asked for";
    }
  }
}

TYPED_TEST_P(transport_conformance, a_watch_ends_with_its_object_and_not_before) {
  if constexpr (!transport_watch<typename TestFixture::transport>) {
    GTEST_SKIP() << "no transport_watch";
  } else {
    auto producer = this->open("producer");
    auto const put = producer->put("key", test_pattern(TestFixture::not_small, 1));
    ASSERT_TRUE(succeeded(put));
    typename TestFixture::get_op op;
    EXPECT_TRUE(failed_with((*producer)->watch(op, locator::pack(static_cast<locator_tag>(0x8001), std::uint64_t{1}), {}), error_kind::malformed));
    ASSERT_TRUE(succeeded((*producer)->watch(op, put->where, {}))) << "an operation that failed may be used again";
    EXPECT_TRUE(failed_with((*producer)->watch(op, put->where, {}), error_kind::misconfigured)) << "it is in use";
    operation* const one[]{&op};
    std::stop_source stop;
    stop.request_stop();
    EXPECT_TRUE(failed_with((*producer)->wait(one, this->patient(), stop.get_token()), error_kind::cancelled));
    producer->quiet(op);
    EXPECT_TRUE(failed_with((*producer)->step(op), error_kind::cancelled));
    EXPECT_TRUE((*producer)->exists("key").value_or(false)) << "watching takes nothing";
    ASSERT_TRUE(succeeded((*producer)->watch(op, put->where, {})));
    if (TestFixture::caps.can_erase) {
      EXPECT_EQ((*producer)->erase("key").value_or(99), 1U);
    } else {
      auto got = producer->get("key", this->patient());
      ASSERT_TRUE(succeeded(got));
      this->let_go(std::move(*got));
    }
    EXPECT_EQ(producer->drive(op, progress::pending, this->patient()).value_or(progress::pending), progress::done);
    EXPECT_EQ((*producer)->watch(op, put->where, {}).value_or(progress::pending), progress::done) << "a watch that has ended has nothing to be taken: it may be used again";
    typename TestFixture::get_op late, later;
    EXPECT_EQ((*producer)->watch(late, put->where, {}).value_or(progress::pending), progress::done) << "of what is gone it ends at once";
    auto const next = producer->put("key", test_pattern(8, 2));
    ASSERT_TRUE(succeeded(next));
    EXPECT_EQ((*producer)->watch(later, put->where, {}).value_or(progress::pending), progress::done) << "another object of the same key";
    typename TestFixture::get_op closing;
    ASSERT_TRUE(succeeded((*producer)->watch(closing, next->where, {})));
    operation* const other[]{&closing};
    result<std::size_t> woken = std::size_t{0};
    std::thread waiter([&] { woken = (*producer)->wait(other, this->patient(), {}); });
    (*producer)->close();
    waiter.join();
    EXPECT_TRUE(failed_with(woken, error_kind::closed));
    producer->quiet(closing);
  }
}

// --- transport_room -------------------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, room_is_waited_for) {
  if constexpr (!transport_room<typename TestFixture::transport>) {
    GTEST_SKIP() << "no transport_room";
  } else {
    auto producer = this->open("producer");
    auto consumer = this->open("consumer");
    publish_options how;
    how.max_objects = 1;
    ASSERT_TRUE(succeeded(producer->put("a", test_pattern(100, 1), how)));
    std::uint32_t seen = (*producer)->room_seen();
    EXPECT_TRUE(failed_with(producer->put("b", test_pattern(100, 1), how), error_kind::quota_exceeded));
    EXPECT_FALSE((*consumer)->exists("b").value_or(true));
    deadline const until = this->soon();
    EXPECT_TRUE(failed_with((*producer)->wait_for_room(seen, {}, until, {}), error_kind::timed_out));
    EXPECT_TRUE(this->harness.passed(until)) << "never too early";
    std::stop_source stop;
    stop.request_stop();
    EXPECT_TRUE(failed_with((*producer)->wait_for_room(seen, {}, this->patient(), stop.get_token()), error_kind::cancelled));
    auto held = consumer->get("a", this->patient());
    ASSERT_TRUE(succeeded(held));
    EXPECT_TRUE(failed_with(producer->put("b", test_pattern(100, 1), how), error_kind::quota_exceeded)) << "what is being read is unread";
    std::thread reader([&] { this->let_go(std::move(*held)); });
    bool stored = false;
    for (int round = 0; round != 1000 && !stored; ++round) {
      seen = (*producer)->room_seen();
      stored = static_cast<bool>(producer->put("b", test_pattern(100, 1), how));
      if (!stored) {
        EXPECT_TRUE(succeeded((*producer)->wait_for_room(seen, {}, this->patient(), {})));
      }
    }
    reader.join();
    EXPECT_TRUE(stored);
    publish_options bytes;
    bytes.max_bytes = 150;
    EXPECT_TRUE(failed_with(producer->put("c", test_pattern(100, 1), bytes), error_kind::quota_exceeded)) << "b's bytes count";
    EXPECT_TRUE(failed_with(producer->put("c", test_pattern(151, 1), bytes), error_kind::too_large)) << "waiting would not help";
    result<void> woken;
    seen = (*producer)->room_seen();
    std::thread waiter([&] { woken = (*producer)->wait_for_room(seen, {}, this->patient(), {}); });
    (*producer)->close();
    waiter.join();
    EXPECT_TRUE(failed_with(woken, error_kind::closed));
  }
}

TYPED_TEST_P(transport_conformance, the_oldest_unread_is_dropped) {
  if constexpr (!transport_room<typename TestFixture::transport>) {
    GTEST_SKIP() << "no transport_room";
  } else {
    auto producer = this->open("producer");
    auto other = this->open("other");
    auto consumer = this->open("consumer");
    EXPECT_FALSE((*producer)->drop_oldest()) << "there is none";
    ASSERT_TRUE(succeeded(other->put("foreign", test_pattern(8, 1))));
    for (std::string const key : {"held", "oldest", "newest"}) ASSERT_TRUE(succeeded(producer->put(key, test_pattern(TestFixture::not_small, 1))));
    auto held = consumer->get("held", this->patient());
    ASSERT_TRUE(succeeded(held));
    EXPECT_TRUE((*producer)->drop_oldest());
    EXPECT_FALSE((*consumer)->exists("oldest").value_or(true));
    EXPECT_TRUE((*consumer)->exists("newest").value_or(false));
    EXPECT_TRUE((*producer)->drop_oldest());
    EXPECT_FALSE((*consumer)->exists("newest").value_or(true));
    EXPECT_FALSE((*producer)->drop_oldest()) << "one is read, one is another's";
    EXPECT_TRUE(holds(held->bytes, test_pattern(TestFixture::not_small, 1)));
    EXPECT_TRUE((*consumer)->exists("foreign").value_or(false));
    this->let_go(std::move(*held));
  }
}

// --- caps.hears_death -----------------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, a_producer_s_death_ends_a_wait_for_it) {
  if constexpr (!TestFixture::caps.hears_death) {
    GTEST_SKIP() << "caps.hears_death is false";
  } else if constexpr (!mortal_harness<decltype(this->harness)>) {
    GTEST_SKIP() << "the harness starts no processes";
  } else {
    auto consumer = this->open("consumer");
    edge const flow = this->harness.flow;
    find_options of_flow;
    of_flow.flow = &flow;
    typename TestFixture::get_op early;
    ASSERT_TRUE(succeeded((*consumer)->find(early, "next", of_flow)));
    std::string const first = this->harness.put_and_die();
    EXPECT_TRUE(failed_with(consumer->drive(early, progress::pending, deadline::never()), error_kind::peer_lost)) << "it waited before";
    EXPECT_TRUE(failed_with(consumer->get("next", deadline::never(), of_flow), error_kind::peer_lost)) << "asked later, it is no longer news";
    find_options patient;
    EXPECT_TRUE(failed_with(consumer->get("next", this->soon(), patient), error_kind::timed_out)) << "without an edge, nobody is missed";
    find_options now = of_flow;
    now.wait = false;
    EXPECT_TRUE(failed_with(consumer->get("next", this->patient(), now), error_kind::not_found));
    auto got = consumer->get(first, deadline::never(), of_flow);
    ASSERT_TRUE(succeeded(got)) << "what was acknowledged comes first";
    this->let_go(std::move(*got));
  }
}

TYPED_TEST_P(transport_conformance, a_reader_s_death_ends_what_waits_for_it) {
  if constexpr (!TestFixture::caps.hears_death) {
    GTEST_SKIP() << "caps.hears_death is false";
  } else if constexpr (!mortal_harness<decltype(this->harness)>) {
    GTEST_SKIP() << "the harness starts no processes";
  } else {
    auto producer = this->open("producer");
    std::string_view const stage = this->harness.flow.to;
    publish_options how;
    how.max_objects = 1;
    auto const put = producer->put("a", test_pattern(100, 1), how);
    ASSERT_TRUE(succeeded(put));
    this->harness.get_and_die();
    if constexpr (transport_watch<typename TestFixture::transport>) {
      typename TestFixture::get_op op;
      EXPECT_TRUE(failed_with(producer->drive(op, (*producer)->watch(op, put->where, stage), deadline::never()), error_kind::peer_lost));
    }
    if constexpr (transport_room<typename TestFixture::transport>) {
      EXPECT_TRUE(failed_with((*producer)->wait_for_room((*producer)->room_seen(), stage, deadline::never(), {}), error_kind::peer_lost));
      EXPECT_TRUE(failed_with((*producer)->wait_for_room((*producer)->room_seen(), {}, this->soon(), {}), error_kind::timed_out)) << "nobody is missed who is not named";
    }
    auto got = producer->get("a", this->patient());
    ASSERT_TRUE(succeeded(got)) << "nothing is lost by it";
    this->let_go(std::move(*got));
  }
}

OMNICONN_END_NAMESPACE
