// SPDX-License-Identifier: Apache-2.0
// Conformance: who may read an object, how often, and when its block returns.
#pragma once

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(transport_conformance, one_reader_consumes_once) {
  if constexpr (!TestFixture::caps.counts_readers) GTEST_SKIP() << "caps.counts_readers is false: reading consumes nothing";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto put = producer->put("key", test_pattern(TestFixture::not_small, 1));
  ASSERT_TRUE(succeeded(put));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  this->let_go(std::move(*got));
  // The last reader was the only one: the object is gone, and absent is not an error of its own.
  EXPECT_EQ(this->absent(*consumer, "key"), error_kind::timed_out);
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
  producer->pause(this->soon());
  producer->reclaim();
  EXPECT_EQ(put->block->returned.load(), 1);
}

TYPED_TEST_P(transport_conformance, an_object_that_is_held_is_not_given_twice) {
  if constexpr (!TestFixture::caps.counts_readers) GTEST_SKIP() << "caps.counts_readers is false: reading consumes nothing";
  auto producer = this->open("producer");
  auto first = this->open("first");
  auto second = this->open("second");
  auto put = producer->put("key", test_pattern(TestFixture::not_small, 1));
  ASSERT_TRUE(succeeded(put));
  auto got = first->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_EQ(this->absent(*second, "key"), error_kind::timed_out);
  EXPECT_TRUE(this->stays_out(*producer, *put->block));
  this->let_go(std::move(*got));
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
}

TYPED_TEST_P(transport_conformance, counted_readers_have_one_share_each) {
  if constexpr (!TestFixture::caps.counts_readers) GTEST_SKIP() << "caps.counts_readers is false: reading consumes nothing";
  if constexpr (TestFixture::caps.max_readers < 3) GTEST_SKIP() << "caps.max_readers is below 3";
  auto producer = this->open("producer");
  auto a = this->open("a");
  auto b = this->open("b");
  publish_options how;
  how.readers.count = 3;
  auto const data = test_pattern(TestFixture::not_small, 1);
  auto put = producer->put("key", data, how);
  ASSERT_TRUE(succeeded(put));
  auto by_a = a->get("key", this->patient());
  ASSERT_TRUE(succeeded(by_a));
  auto by_b = b->get("key", this->patient());
  ASSERT_TRUE(succeeded(by_b));
  this->let_go(std::move(*by_a));
  EXPECT_TRUE(failed_with(a->get("key", this->soon()), error_kind::consumed)) << "a has had its share";
  EXPECT_TRUE(holds(by_b->bytes, data));
  this->let_go(std::move(*by_b));
  EXPECT_TRUE(this->stays_out(*producer, *put->block)) << "one share is left";
  find_options as_c;
  as_c.reader = "c";  // a transport may read under several names
  auto by_c = a->get("key", this->patient(), as_c);
  ASSERT_TRUE(succeeded(by_c));
  EXPECT_TRUE(holds(by_c->bytes, data));
  EXPECT_TRUE(this->still_out(*put->block));
  this->let_go(std::move(*by_c));
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
  EXPECT_EQ(this->absent(*b, "key"), error_kind::timed_out) << "all have read: the object is gone";
}

TYPED_TEST_P(transport_conformance, named_readers_only) {
  if constexpr (!TestFixture::caps.named_readers) GTEST_SKIP() << "caps.named_readers is false";
  auto producer = this->open("producer");
  auto consumer = this->open("wrong");
  std::array<std::string_view, 2> const names{"right", "also right"};
  publish_options how;
  how.readers.names = names;
  auto const data = test_pattern(TestFixture::not_small, 2);
  auto put = producer->put("key", data, how);
  ASSERT_TRUE(succeeded(put));
  EXPECT_EQ(this->absent(*consumer, "key"), error_kind::timed_out) << "not for this reader: as if it were not there";
  find_options as;
  for (std::string_view const name : names) {
    EXPECT_TRUE(this->still_out(*put->block));
    as.reader = name;
    auto got = consumer->get("key", this->patient(), as);
    ASSERT_TRUE(succeeded(got)) << name;
    EXPECT_TRUE(holds(got->bytes, data));
    this->let_go(std::move(*got));
    if (name == names.front()) {
      EXPECT_TRUE(failed_with(consumer->get("key", this->soon(), as), error_kind::consumed));
    }
  }
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
}

TYPED_TEST_P(transport_conformance, as_many_readers_as_promised) {
  if constexpr (!TestFixture::caps.counts_readers) GTEST_SKIP() << "caps.counts_readers is false: reading consumes nothing";
  if constexpr (TestFixture::caps.max_readers < 2) GTEST_SKIP() << "caps.max_readers is 1";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  publish_options how;
  how.readers.count = TestFixture::caps.max_readers < 1024 ? TestFixture::caps.max_readers : 1024;
  auto put = producer->put("key", test_pattern(TestFixture::not_small, 1), how);
  ASSERT_TRUE(succeeded(put));
  for (std::uint32_t i = 0; i != how.readers.count; ++i) {
    std::string const name = "reader " + std::to_string(i);
    find_options as;
    as.reader = name;
    ASSERT_TRUE(this->still_out(*put->block));
    auto got = consumer->get("key", this->patient(), as);
    ASSERT_TRUE(succeeded(got)) << name;
    this->let_go(std::move(*got));
  }
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
}

TYPED_TEST_P(transport_conformance, impossible_reader_sets_are_misconfigured) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(TestFixture::not_small, 1);
  publish_options how;
  how.readers.count = 0;
  if constexpr (!TestFixture::caps.counts_readers) {
    EXPECT_TRUE(failed_with(producer->put("key", data, how), error_kind::misconfigured));
    how.readers.count = 1;
    EXPECT_TRUE(failed_with(producer->put("key", data, how), error_kind::unsupported)) << "one reader is not anybody";
    EXPECT_FALSE((*consumer)->exists("key").value_or(true));
    return;
  }
  EXPECT_TRUE(failed_with(producer->put("key", data, how), error_kind::misconfigured));
  if constexpr (TestFixture::caps.max_readers < ~std::uint32_t{0}) {
    how.readers.count = TestFixture::caps.max_readers + 1;
    EXPECT_TRUE(failed_with(producer->put("key", data, how), error_kind::misconfigured));
  }
  how.readers.count = 1;
  std::array<std::string_view, 2> const twice{"same", "same"};
  how.readers.names = twice;
  EXPECT_TRUE(failed_with(producer->put("key", data, how), error_kind::misconfigured));
  if constexpr (!TestFixture::caps.named_readers) {
    how.readers.names = std::span(twice).first(1);
    EXPECT_TRUE(failed_with(producer->put("key", data, how), error_kind::unsupported)) << "caps.named_readers is false";
  }
  EXPECT_FALSE((*consumer)->exists("key").value_or(true)) << "a put that failed leaves nothing behind";
  EXPECT_TRUE(succeeded(producer->put("key", data))) << "and does not keep the key";
}

TYPED_TEST_P(transport_conformance, given_back_it_can_be_had_again) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(TestFixture::not_small, 3);
  auto put = producer->put("key", data);
  ASSERT_TRUE(succeeded(put));
  for (int round = 0; round != 3; ++round) {
    auto got = consumer->get("key", this->patient());
    ASSERT_TRUE(succeeded(got)) << round;
    EXPECT_TRUE(holds(got->bytes, data));
    if (round == 0) got->hold.finish(disposition::give_back);
    // round 1: the destructor gives back
    if (round == 2) this->let_go(std::move(*got));
    if (round != 2) {
      EXPECT_TRUE(this->still_out(*put->block));
    }
  }
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
}

TYPED_TEST_P(transport_conformance, a_hold_that_is_moved_ends_once) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto put = producer->put("key", test_pattern(TestFixture::not_small, 4));
  auto other = producer->put("other", test_pattern(TestFixture::not_small, 5));
  ASSERT_TRUE(succeeded(put));
  ASSERT_TRUE(succeeded(other));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  typename TestFixture::hold moved(std::move(got->hold));
  got->hold.finish(disposition::consumed);  // moved from: nothing to end
  EXPECT_TRUE(this->stays_out(*producer, *put->block));
  auto second = consumer->get("other", this->patient());
  ASSERT_TRUE(succeeded(second));
  moved = std::move(second->hold);  // gives "key" back
  auto again = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(again));
  moved.finish(disposition::consumed);
  moved.finish(disposition::consumed);  // the second is nothing
  EXPECT_TRUE(this->comes_back(*producer, *other->block));
  this->let_go(std::move(*again));
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
  EXPECT_EQ(put->block->returned.load(), 1);
  EXPECT_EQ(other->block->returned.load(), 1);
}

TYPED_TEST_P(transport_conformance, giving_back_serves_the_next_who_waits) {
  auto producer = this->open("producer");
  auto first = this->open("first");
  auto second = this->open("second");
  auto const data = test_pattern(TestFixture::not_small, 3);
  ASSERT_TRUE(succeeded(producer->put("key", data)));
  auto got = first->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  typename TestFixture::get_op op;
  auto now = (*second)->find(op, "key", {});
  ASSERT_TRUE(succeeded(now));
  ASSERT_NE(*now, progress::done);
  got->hold.finish(disposition::give_back);
  auto next = second->finish_get(op, now, this->patient());
  ASSERT_TRUE(succeeded(next));
  EXPECT_TRUE(holds(next->bytes, data));
}

TYPED_TEST_P(transport_conformance, a_named_reader_that_gives_back_has_its_share_again) {
  if constexpr (!TestFixture::caps.named_readers) GTEST_SKIP() << "caps.named_readers is false";
  auto producer = this->open("producer");
  auto a = this->open("a");
  auto b = this->open("b");
  std::array<std::string_view, 2> const names{"a", "b"};
  publish_options how;
  how.readers.names = names;
  auto put = producer->put("key", test_pattern(TestFixture::not_small, 3), how);
  ASSERT_TRUE(succeeded(put));
  for (int round = 0; round != 2; ++round) {
    auto got = a->get("key", this->patient());
    ASSERT_TRUE(succeeded(got)) << round;
    got->hold.finish(round == 0 ? disposition::give_back : disposition::consumed);
  }
  EXPECT_TRUE(this->stays_out(*producer, *put->block)) << "b's share is b's";
  auto got = b->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  this->let_go(std::move(*got));
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
}

TYPED_TEST_P(transport_conformance, everybody_who_waits_is_served) {
  if constexpr (TestFixture::caps.max_readers < 3) GTEST_SKIP() << "caps.max_readers is below 3";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::array<std::string_view, 4> const readers{"not this one", "a", "b", "c"};
  std::array<typename TestFixture::get_op, 4> ops;
  find_options how;
  for (std::size_t i = 0; i != ops.size(); ++i) {
    how.reader = readers[i];
    auto const found = (*consumer)->find(ops[i], "key", how);
    ASSERT_TRUE(succeeded(found));
    ASSERT_EQ(*found, progress::pending);
  }
  publish_options to = TestFixture::usual();
  if constexpr (TestFixture::caps.counts_readers) to.readers.count = 3;
  if constexpr (TestFixture::caps.named_readers) {
    to.readers.names = std::span(readers).subspan(1);
  } else {
    consumer->quiet(ops[0]);
  }
  auto const data = test_pattern(TestFixture::not_small, 4);
  ASSERT_TRUE(succeeded(producer->put("key", data, to)));
  for (std::size_t i = 1; i != ops.size(); ++i) {
    auto got = consumer->finish_get(ops[i], progress::pending, this->patient());
    ASSERT_TRUE(succeeded(got)) << readers[i];
    EXPECT_TRUE(holds(got->bytes, data));
    this->let_go(std::move(*got));
  }
  consumer->quiet(ops[0]);
}

TYPED_TEST_P(transport_conformance, no_block_returns_while_somebody_reads) {
  if constexpr (!TestFixture::caps.counts_readers) GTEST_SKIP() << "caps.counts_readers is false: reading consumes nothing";
  if constexpr (TestFixture::caps.max_readers < 2) GTEST_SKIP() << "caps.max_readers is 1";
  auto producer = this->open("producer");
  auto a = this->open("a");
  auto b = this->open("b");
  publish_options how;
  how.readers.count = 2;
  auto const data = test_pattern(TestFixture::not_small, 6);
  auto put = producer->put("key", data, how);
  ASSERT_TRUE(succeeded(put));
  auto by_a = a->get("key", this->patient());
  auto by_b = b->get("key", this->patient());
  ASSERT_TRUE(succeeded(by_a));
  ASSERT_TRUE(succeeded(by_b));
  this->let_go(std::move(*by_a));
  EXPECT_TRUE(this->stays_out(*producer, *put->block));
  EXPECT_TRUE(holds(by_b->bytes, data));
  this->let_go(std::move(*by_b));
  EXPECT_TRUE(this->comes_back(*producer, *put->block));
  EXPECT_EQ(put->block->returned.load(), 1);
}

TYPED_TEST_P(transport_conformance, blocks_return_by_token_where_there_is_no_function) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(TestFixture::not_small, 7);
  sent_block* const block = producer->block(data.size());
  ASSERT_NE(block, nullptr);
  std::memcpy(block->bytes.data(), data.data(), data.size());
  const_bytes const piece = block->bytes;
  object_info info;
  info.size = data.size();
  typename TestFixture::put_op op;
  ASSERT_TRUE(
      succeeded(producer->drive(op, (*producer)->begin(op, "key", producer->hand_over(piece, *block, true), info, TestFixture::usual()), this->patient())));
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->commit(op, info), this->patient())));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
  this->let_go(std::move(*got));
  EXPECT_TRUE(this->comes_back(*producer, *block));
  producer->reclaim();
  EXPECT_EQ(block->returned.load(), 1);
}

OMNICONN_END_NAMESPACE
