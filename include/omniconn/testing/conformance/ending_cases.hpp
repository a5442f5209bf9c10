// SPDX-License-Identifier: Apache-2.0
// Conformance: duplicates, abort, erase, and the end of a transport.
#pragma once

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

// --- duplicates -------------------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, a_taken_key_already_exists) {
  auto producer = this->open("producer");
  auto other = this->open("other");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(64, 1);
  ASSERT_TRUE(succeeded(producer->put("key", data)));
  EXPECT_TRUE(failed_with(producer->put("key", test_pattern(64, 2)), error_kind::already_exists));
  if constexpr (TestFixture::caps.shared_keys) {
    EXPECT_TRUE(failed_with(other->put("key", test_pattern(64, 3)), error_kind::already_exists));
  }
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
  this->let_go(std::move(*got));
  if constexpr (!TestFixture::caps.counts_readers) return;  // only `erase` frees it
  auto again = test_pattern(65, 4);
  result<typename TestFixture::side::put_result> put{error_kind::already_exists, ""};
  for (int round = 0; round != 1000 && put == error_kind::already_exists; ++round) {  // the news of the read may still be on its way
    put = other->put("key", again);
    if (!put) other->pause(this->harness.in(std::chrono::milliseconds(1)));
  }
  ASSERT_TRUE(succeeded(put)) << "a key that was read up is free";
  got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, again));
}

TYPED_TEST_P(transport_conformance, begin_reserves_the_key) {
  auto producer = this->open("producer");
  auto other = this->open("other");
  sent_block* const block = producer->block(64);
  ASSERT_NE(block, nullptr);
  const_bytes const piece = block->bytes;
  object_info info;
  info.size = 64;
  typename TestFixture::put_op op;
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->begin(op, "key", producer->hand_over(piece, *block), info, TestFixture::usual()), this->patient())));
  EXPECT_TRUE(failed_with((TestFixture::caps.shared_keys ? other : producer)->put("key", test_pattern(64, 3)), error_kind::already_exists));
  EXPECT_TRUE(succeeded(producer->drive(op, (*producer)->commit(op, info), this->patient())));
}

TYPED_TEST_P(transport_conformance, keys_that_are_not_shared_are_each_producers_own) {
  if constexpr (TestFixture::caps.shared_keys) GTEST_SKIP() << "caps.shared_keys is true";
  auto producer = this->open("producer");
  auto other = this->open("other");
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put("key", test_pattern(64, 1))));
  ASSERT_TRUE(succeeded(other->put("key", test_pattern(65, 2))));
  std::array<bool, 2> seen{};
  for (int round = 0; round != 2; ++round) {
    auto got = consumer->get("key", this->patient());
    ASSERT_TRUE(succeeded(got)) << "each is an object of its own";
    std::size_t const which = got->bytes.size() == 64 ? 0 : 1;
    EXPECT_TRUE(holds(got->bytes, test_pattern(64 + which, 1 + which)));
    EXPECT_FALSE(std::exchange(seen[which], true)) << "none is given twice";
    this->let_go(std::move(*got));
  }
  EXPECT_EQ(this->absent(*consumer, "key"), error_kind::timed_out);
}

TYPED_TEST_P(transport_conformance, replace_is_for_those_who_come_later) {
  if constexpr (!TestFixture::caps.can_replace) GTEST_SKIP() << "caps.can_replace is false";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  publish_options how = TestFixture::usual();
  how.existing = on_existing::replace;
  auto const old_data = test_pattern(TestFixture::not_small, 1);
  auto const new_data = test_pattern(TestFixture::not_small + 1, 2);
  auto old_put = producer->put("key", old_data, how);
  ASSERT_TRUE(succeeded(old_put)) << "there was nothing to replace";
  auto held = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(held));
  auto new_put = producer->put("key", new_data, how);
  ASSERT_TRUE(succeeded(new_put));
  EXPECT_TRUE(holds(held->bytes, old_data)) << "who holds the old object keeps it";
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got)) << "the new object is another: the same reader may have it";
  EXPECT_TRUE(holds(got->bytes, new_data));
  EXPECT_TRUE(holds(held->bytes, old_data));
  held->hold.finish(disposition::give_back);  // a replaced object has nowhere to go back to
  EXPECT_TRUE(this->comes_back(*producer, *old_put->block));
  EXPECT_TRUE(this->still_out(*new_put->block));
  this->let_go(std::move(*got));
  EXPECT_TRUE(this->comes_back(*producer, *new_put->block));
  EXPECT_EQ(old_put->block->returned.load(), 1);
}

TYPED_TEST_P(transport_conformance, replace_where_it_is_not_offered_is_unsupported) {
  if constexpr (TestFixture::caps.can_replace) GTEST_SKIP() << "caps.can_replace is true";
  auto producer = this->open("producer");
  publish_options how = TestFixture::usual();
  how.existing = on_existing::replace;
  EXPECT_TRUE(failed_with(producer->put("key", test_pattern(64, 1), how), error_kind::unsupported));
}

// --- abort and cancel of a put ------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, a_put_that_is_given_up_leaves_nothing) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  const_bytes piece;
  object_info info;
  info.size = 64;
  for (int way = 0; way != 3; ++way) {
    SCOPED_TRACE(way);
    sent_block* const block = producer->block(64);
    ASSERT_NE(block, nullptr);
    piece = block->bytes;
    typename TestFixture::get_op waits;
    {
      typename TestFixture::put_op op;
      ASSERT_TRUE(
          succeeded(producer->drive(op, (*producer)->begin(op, "key", producer->hand_over(piece, *block), info, TestFixture::usual()), this->patient())));
      auto const found = (*consumer)->find(waits, "key", {});
      ASSERT_TRUE(succeeded(found));
      EXPECT_EQ(*found, progress::pending) << "nobody sees an object before its commit";
      EXPECT_FALSE((*consumer)->exists("key").value_or(true));
      if (way == 0) (*producer)->abort(op);
      if (way == 1) producer->quiet(op);
      if (way == 2 && !TestFixture::caps.quiet_cancel) (*producer)->abort(op);
      // way 2: the destructor, which is enough where cancelling is immediate
      if (way != 2) {
        (*producer)->abort(op);  // the second is nothing
        EXPECT_FALSE(succeeded((*producer)->step(op)));
        EXPECT_FALSE(succeeded((*producer)->commit(op, info))) << "there is nothing left to commit";
        if (!TestFixture::caps.quiet_cancel) producer->quiet(op);
      }
    }
    EXPECT_TRUE(this->comes_back(*producer, *block));
    operation* const one[]{&waits};
    EXPECT_TRUE(failed_with((*consumer)->wait(one, this->soon(), {}), error_kind::timed_out)) << "who waits does not hear of it";
    consumer->quiet(waits);
    EXPECT_EQ(block->returned.load(), 1);
  }
  auto const data = test_pattern(64, 9);
  ASSERT_TRUE(succeeded(producer->put("key", data))) << "the key is free";
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
}

// --- erase --------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, erase_takes_the_unread) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  if constexpr (!TestFixture::caps.can_erase) {
    EXPECT_TRUE(failed_with((*producer)->erase("key"), error_kind::unsupported));
    GTEST_SKIP() << "caps.can_erase is false";
  }
  EXPECT_EQ((*producer)->erase("key").value_or(99), 0U) << "unknown: nothing to do, no error";
  auto put = producer->put("key", test_pattern(64, 1));
  ASSERT_TRUE(succeeded(put));
  EXPECT_EQ((*producer)->erase("kex").value_or(99), 0U);
  EXPECT_EQ((*producer)->erase("key").value_or(99), 1U);
  EXPECT_EQ((*producer)->erase("key").value_or(99), 0U) << "idempotent";
  EXPECT_FALSE((*consumer)->exists("key").value_or(true));
  EXPECT_EQ(this->absent(*consumer, "key"), error_kind::timed_out);
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
  EXPECT_EQ(put->block->returned.load(), 1);
  EXPECT_TRUE(succeeded(producer->put("key", test_pattern(64, 2)))) << "the key is free";
}

TYPED_TEST_P(transport_conformance, erase_leaves_holds_alone) {
  if constexpr (!TestFixture::caps.can_erase) GTEST_SKIP() << "caps.can_erase is false";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(50'000, 1);
  auto put = producer->put("key", data);
  ASSERT_TRUE(succeeded(put));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_EQ((*producer)->erase("key").value_or(99), 1U);
  auto next = producer->put("key", test_pattern(50'000, 2));
  ASSERT_TRUE(succeeded(next)) << "the key is free although its old object is still read";
  producer->pause(this->soon());
  producer->reclaim();
  EXPECT_TRUE(holds(got->bytes, data));
  EXPECT_TRUE(holds(got->hold.bytes(), data));
  this->let_go(std::move(*got));
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
  EXPECT_EQ(put->block->returned.load(), 1);
  EXPECT_TRUE((*consumer)->exists("key").value_or(false)) << "the end of the old hold does not touch the new object";
}

TYPED_TEST_P(transport_conformance, erase_if_takes_what_matches) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const of_request = [](wire_key key) { return key.starts_with("r1_"); };
  if constexpr (!TestFixture::caps.can_list) {
    EXPECT_TRUE(failed_with((*producer)->erase_if(of_request), error_kind::unsupported));
    GTEST_SKIP() << "caps.can_list is false";
  }
  EXPECT_EQ((*producer)->erase_if(of_request).value_or(99), 0U);
  std::vector<sent_block*> blocks;
  for (std::string const key : {"r1_a", "r1_b", "r10_a", "r1", "r1_"}) {
    auto put = producer->put(key, test_pattern(TestFixture::not_small, 1));
    ASSERT_TRUE(succeeded(put));
    blocks.push_back(put->block);
  }
  EXPECT_EQ((*producer)->erase_if(of_request).value_or(99), 3U);
  EXPECT_EQ((*producer)->erase_if(of_request).value_or(99), 0U);
  EXPECT_FALSE((*consumer)->exists("r1_a").value_or(true));
  EXPECT_FALSE((*consumer)->exists("r1_b").value_or(true));
  EXPECT_FALSE((*consumer)->exists("r1_").value_or(true));
  EXPECT_TRUE((*consumer)->exists("r10_a").value_or(false));
  EXPECT_TRUE((*consumer)->exists("r1").value_or(false));
  for (std::size_t const gone : {std::size_t{0}, std::size_t{1}, std::size_t{4}})
    EXPECT_TRUE(this->comes_back(*producer, *blocks[gone])) << gone;
  EXPECT_TRUE(this->stays_out(*producer, *blocks[2]));
}

// --- close --------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(transport_conformance, closed_is_closed) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put("key", test_pattern(64, 1))));
  ASSERT_TRUE(succeeded(producer->put("other", test_pattern(64, 1))));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_EQ((*consumer)->report().status, health_status::ready);
  (*consumer)->close();
  (*consumer)->close();
  EXPECT_EQ((*consumer)->report().status, health_status::closed);
  EXPECT_TRUE(holds(got->bytes, test_pattern(64, 1))) << "holds stay valid";
  EXPECT_TRUE(failed_with(consumer->get("other", this->patient()), error_kind::closed));
  EXPECT_TRUE(failed_with((*consumer)->exists("other"), error_kind::closed));
  EXPECT_TRUE(failed_with((*consumer)->erase("other"), error_kind::closed));
  EXPECT_TRUE(failed_with((*consumer)->erase_if([](wire_key) { return true; }), error_kind::closed));
  EXPECT_TRUE(failed_with((*consumer)->wait({}, this->soon(), {}), error_kind::closed));
  std::byte const one_byte{1};
  std::byte const* const at = TestFixture::caps.own_memory ? (*consumer)->memory().base : &one_byte;
  const_bytes const piece(at, at != nullptr ? 1 : 0);
  object_info info;
  info.size = piece.size();
  typename TestFixture::put_op op;
  EXPECT_TRUE(failed_with((*consumer)->begin(op, "new", {pieces(&piece, 1), 0, nullptr}, info, TestFixture::usual()), error_kind::closed));
  this->let_go(std::move(*got));
}

TYPED_TEST_P(transport_conformance, close_ends_operations_that_wait) {
  auto consumer = this->open("consumer");
  typename TestFixture::get_op op;
  auto const now = (*consumer)->find(op, "never", {});
  ASSERT_TRUE(succeeded(now));
  ASSERT_EQ(*now, progress::pending);
  (*consumer)->close();
  EXPECT_TRUE(failed_with((*consumer)->step(op), error_kind::closed));
  EXPECT_TRUE(succeeded((*consumer)->cancel(op))) << "cancel is for clean-up and works after close";
}

TYPED_TEST_P(transport_conformance, a_put_across_close_fails_and_returns_its_block) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  sent_block* const block = producer->block(64);
  ASSERT_NE(block, nullptr);
  const_bytes const piece = block->bytes;
  object_info info;
  info.size = 64;
  typename TestFixture::put_op op;
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->begin(op, "key", producer->hand_over(piece, *block), info, TestFixture::usual()), this->patient())));
  (*producer)->close();
  EXPECT_TRUE(failed_with((*producer)->commit(op, info), error_kind::closed));
  (*producer)->abort(op);
  producer->reclaim();  // goes on after close: that is how the blocks of a closed transport come home
  EXPECT_EQ(block->returned.load(), 1);
  EXPECT_FALSE((*consumer)->exists("key").value_or(true));
}

TYPED_TEST_P(transport_conformance, unread_objects_live_as_long_as_caps_say) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(5000, 1);
  auto held_put = producer->put("held", data);
  auto put = producer->put("key", data);
  ASSERT_TRUE(succeeded(held_put));
  ASSERT_TRUE(succeeded(put));
  auto held = consumer->get("held", this->patient());
  ASSERT_TRUE(succeeded(held));
  (*producer)->close();
  if constexpr (TestFixture::caps.survives == survival::producer) {
    EXPECT_EQ(this->absent(*consumer, "key"), error_kind::timed_out) << "it died with its producer";
    producer->reclaim();
    EXPECT_EQ(put->block->returned.load(), 1);
    EXPECT_TRUE(holds(held->bytes, data)) << "a hold keeps the bytes";
    this->let_go(std::move(*held));
    producer->reclaim();
    EXPECT_EQ(held_put->block->returned.load(), 1);
  } else {
    producer->destroy();
    auto got = consumer->get("key", this->patient());
    ASSERT_TRUE(succeeded(got)) << "caps.survives promises it";
    EXPECT_TRUE(holds(got->bytes, data));
    EXPECT_TRUE(holds(held->bytes, data));
  }
}

TYPED_TEST_P(transport_conformance, holds_outlive_both_transports) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(5000, 1);
  ASSERT_TRUE(succeeded(producer->put("a", data)));
  ASSERT_TRUE(succeeded(producer->put("b", data)));
  ASSERT_TRUE(succeeded(producer->put("c", data)));
  auto a = consumer->get("a", this->patient());
  auto b = consumer->get("b", this->patient());
  auto c = consumer->get("c", this->patient());
  ASSERT_TRUE(succeeded(a));
  ASSERT_TRUE(succeeded(b));
  ASSERT_TRUE(succeeded(c));
  consumer->destroy();
  EXPECT_TRUE(holds(a->hold.bytes(), data));
  a->hold.finish(disposition::consumed);
  producer->destroy();
  EXPECT_TRUE(holds(b->hold.bytes(), data));
  b->hold.finish(disposition::give_back);
  EXPECT_TRUE(holds(c->hold.bytes(), data));
  // c: the destructor, when nothing else of the namespace is left
}

TYPED_TEST_P(transport_conformance, a_transport_moves) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put("key", test_pattern(64, 1))));
  typename TestFixture::transport moved(std::move(**consumer));
  auto consumer_again = typename TestFixture::side(std::move(moved), this->patient());
  auto got = consumer_again.get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, test_pattern(64, 1)));
  consumer->destroy();
}

OMNICONN_END_NAMESPACE
