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

// --- transport_put_whole ----------------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, a_short_payload_is_put_whole) {
  if constexpr (!transport_put_whole<typename TestFixture::transport>) {
    GTEST_SKIP() << "no transport_put_whole";
  } else {
    auto producer = this->open("producer");
    auto consumer = this->open("consumer");
    unsigned put_so_far = 0, too_long = 0;
    for (std::size_t const key_size : {0U, 1U, 7U, 8U, 15U, 16U, 17U, 64U, 112U, 127U, 128U, 129U, 200U})
      for (std::size_t const size : {0U, 1U, 8U, 15U, 16U, 17U, 63U, 64U, 111U, 112U, 113U, 127U, 128U, 129U}) {
        std::string const key(key_size, static_cast<char>('a' + key_size % 26));
        auto const data = test_pattern(size, key_size + size);
        object_info info;
        info.size = size;
        info.trace = 7 + size;
        auto const put = (*producer)->put_whole(key, data, info, producer->usual());
        if (!TestFixture::transport::fits_whole(key_size, size)) {
          ++too_long;
          EXPECT_TRUE(failed_with(put, error_kind::too_large)) << key_size << " " << size;
          EXPECT_FALSE((*consumer)->exists(key).value_or(true)) << key_size << " " << size;
          continue;
        }
        ++put_so_far;
        ASSERT_TRUE(succeeded(put)) << key_size << " " << size;
        EXPECT_TRUE(failed_with((*producer)->put_whole(key, data, info, producer->usual()), error_kind::already_exists));
        EXPECT_TRUE(failed_with(producer->put(key, data), error_kind::already_exists));
        find_options by_place;
        by_place.where = &put->where;
        auto got = consumer->get(key, this->patient(), put_so_far % 2 == 0 ? find_options{} : by_place);
        ASSERT_TRUE(succeeded(got)) << key_size << " " << size;
        EXPECT_TRUE(same_bytes(got->bytes, data)) << key_size << " " << size;
        EXPECT_EQ(got->info.size, size);
        EXPECT_EQ(got->info.trace, 7 + size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(got->bytes.data()) % 16, 0U) << "for any number";
        this->let_go(std::move(*got));
        EXPECT_TRUE(failed_with(consumer->get(key, deadline::immediate(), by_place), error_kind::stale_handle)) << "it is gone";
      }
    EXPECT_GT(put_so_far, 50U);
    EXPECT_GT(too_long, 10U);
    object_info wrong;
    wrong.size = 5;
    EXPECT_TRUE(failed_with((*producer)->put_whole("wrong", test_pattern(4, 1), wrong, producer->usual()), error_kind::misconfigured));
  }
}

TYPED_TEST_P(transport_conformance, a_written_payload_is_put_at_once) {
  if constexpr (!transport_put_whole<typename TestFixture::transport>) {
    GTEST_SKIP() << "no transport_put_whole";
  } else {
    auto producer = this->open("producer");
    auto consumer = this->open("consumer");
    for (std::size_t const size : {std::size_t{1}, std::size_t{64}, std::size_t{1000}, std::size_t{300'000}})
      for (std::string const& key : {std::string("key"), std::string(300, 'k')}) {
        auto const data = test_pattern(size, size);
        auto* const block = producer->block(size);
        ASSERT_NE(block, nullptr);
        std::memcpy(block->bytes.data(), data.data(), size);
        const_bytes const piece = block->bytes;
        object_info info;
        info.size = size;
        ASSERT_TRUE(succeeded(producer->put(key, test_pattern(8, 1))));
        auto const out = producer->hand_over(piece, *block);
        EXPECT_TRUE(failed_with((*producer)->put_written(key, out, info, producer->usual()), error_kind::already_exists));
        EXPECT_EQ((*consumer)->erase(key).value_or(9), 1U);
        auto const put = (*producer)->put_written(key, out, info, producer->usual());
        ASSERT_TRUE(succeeded(put)) << "the block is still the caller's";
        find_options by_place;
        by_place.where = &put->where;
        auto got = consumer->get(key, this->patient(), by_place);
        ASSERT_TRUE(succeeded(got));
        EXPECT_TRUE(same_bytes(got->bytes, data));
        this->let_go(std::move(*got));
        producer->reclaim();
        EXPECT_EQ(block->returned, 1) << "once";
      }
    std::vector<std::byte> const elsewhere(100);
    const_bytes const foreign(elsewhere);
    object_info info;
    info.size = foreign.size();
    if constexpr (TestFixture::caps.own_memory) {
      EXPECT_TRUE(failed_with((*producer)->put_written("key", outgoing{pieces(&foreign, 1), 0, [](std::uint64_t) noexcept {}}, info, producer->usual()), error_kind::misconfigured));
    }
  }
}

TYPED_TEST_P(transport_conformance, what_is_put_whole_follows_the_same_rules) {
  if constexpr (!transport_put_whole<typename TestFixture::transport>) {
    GTEST_SKIP() << "no transport_put_whole";
  } else {
    auto producer = this->open("producer");
    auto consumer = this->open("consumer");
    auto const put = [&](wire_key key, std::uint64_t seed, publish_options const& how) {
      object_info info;
      info.size = 8;
      return (*producer)->put_whole(key, test_pattern(8, seed), info, how);
    };
    auto replacing = producer->usual();
    replacing.existing = on_existing::replace;
    ASSERT_TRUE(succeeded(producer->put("replaced", test_pattern(1000, 1))));
    auto held = consumer->get("replaced", this->patient());
    ASSERT_TRUE(succeeded(held));
    ASSERT_TRUE(succeeded(put("replaced", 2, replacing)));
    EXPECT_TRUE(same_bytes(held->bytes, test_pattern(1000, 1))) << "who holds the old one keeps it";
    this->let_go(std::move(*held));
    ASSERT_TRUE(succeeded(put("replaced", 3, replacing)));
    auto got = consumer->get("replaced", this->patient());
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(same_bytes(got->bytes, test_pattern(8, 3)));
    this->let_go(std::move(*got));
    EXPECT_FALSE((*consumer)->exists("replaced").value_or(true)) << "one object, not three";

    auto limited = producer->usual();
    limited.max_objects = 1;
    ASSERT_TRUE(succeeded(put("first", 1, limited)));
    EXPECT_TRUE(failed_with(put("second", 1, limited), error_kind::quota_exceeded));
    auto small = producer->usual();
    small.max_bytes = 12;
    EXPECT_TRUE(failed_with(put("second", 1, small), error_kind::quota_exceeded)) << "the first one's bytes count";
    EXPECT_EQ((*consumer)->erase("first").value_or(9), 1U);
    EXPECT_TRUE(succeeded(put("second", 1, limited)));
    std::size_t listed = 0;
    EXPECT_EQ((*consumer)->erase_if([&listed](wire_key key) { return key == "second" && ++listed != 0; }).value_or(9), 1U);

    publish_options two;
    two.readers = {2, {}};
    ASSERT_TRUE(succeeded(put("for two", 1, two)));
    for (std::string_view const reader : {"a", "b"}) {
      find_options by;
      by.reader = reader;
      auto share = consumer->get("for two", this->patient(), by);
      ASSERT_TRUE(succeeded(share)) << reader;
      this->let_go(std::move(*share));
    }
    EXPECT_FALSE((*consumer)->exists("for two").value_or(true));
    (*producer)->close();
    EXPECT_TRUE(failed_with(put("late", 1, producer->usual()), error_kind::closed));
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
