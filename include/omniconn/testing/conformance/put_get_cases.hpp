// SPDX-License-Identifier: Apache-2.0
// Conformance: objects go in and come out as they were; keys are data.
#pragma once

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(transport_conformance, every_size_arrives_whole) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (std::size_t const size : {std::size_t{TestFixture::caps.empty_objects ? 0 : 2}, std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, std::size_t{200},
                                 std::size_t{4096}, this->at_most((std::size_t{1} << 20U) + 13)}) {
    SCOPED_TRACE(size);
    auto const data = test_pattern(size, size + 1);
    std::string const key = "of size " + std::to_string(size);
    auto put = producer->put(key, data);
    ASSERT_TRUE(succeeded(put));
    auto got = consumer->get(key, this->patient());
    ASSERT_TRUE(succeeded(got));
    EXPECT_EQ(got->info.size, size);
    EXPECT_TRUE(holds(got->bytes, data));
    EXPECT_TRUE(holds(got->hold.bytes(), data));  // landed in one piece or in place: the hold shows the same bytes
    this->let_go(std::move(*got));
    EXPECT_TRUE(this->comes_back(*producer, *put->block));
  }
}

TYPED_TEST_P(transport_conformance, zero_copy_is_the_same_memory_for_all) {
  if constexpr (!TestFixture::caps.zero_copy_get) GTEST_SKIP() << "caps.zero_copy_get is false: bytes land where the reader says";
  if constexpr (TestFixture::caps.max_readers < 2) GTEST_SKIP() << "caps.max_readers is 1";
  if constexpr (TestFixture::caps.gathers) GTEST_SKIP() << "caps.gathers is true: a put copies";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(100'000, 1);
  std::array<std::string_view, 2> const names{"a", "b"};
  publish_options how;
  how.readers.names = names;
  how.readers.count = 2;
  if constexpr (!TestFixture::caps.named_readers) how.readers.names = {};
  auto put = producer->put("key", data, how);
  ASSERT_TRUE(succeeded(put));
  find_options as_a, as_b;
  as_a.reader = "a";
  as_b.reader = "b";
  auto first = consumer->get("key", this->patient(), as_a);
  auto second = consumer->get("key", this->patient(), as_b);
  ASSERT_TRUE(succeeded(first));
  ASSERT_TRUE(succeeded(second));
  EXPECT_EQ(first->bytes.data(), second->bytes.data());
  // What the producer writes now, against the rules, shows through: there is one block.
  put->block->bytes[0] ^= std::byte{0xFF};
  EXPECT_EQ(first->bytes[0], put->block->bytes[0]);
}

TYPED_TEST_P(transport_conformance, info_travels) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  object_info info;
  info.kind = payload_kind::object;
  info.trace = 0x1234567890abcdefU;
  info.checksum = 0xfedcba0987654321U;
  info.checksum_by = checksum_kind::xxh3_64;
  auto const data = test_pattern(77, 2);
  ASSERT_TRUE(succeeded(producer->put("key", data, TestFixture::usual(), info)));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_EQ(got->info.size, 77U);
  if (TestFixture::caps.carries_info) {
    EXPECT_EQ(got->info.kind, payload_kind::object);
    EXPECT_EQ(got->info.trace, info.trace);
    EXPECT_EQ(got->info.checksum, info.checksum);
    EXPECT_EQ(got->info.checksum_by, checksum_kind::xxh3_64);
  } else {
    EXPECT_EQ(got->info.checksum_by, checksum_kind::none) << "a transport that does not carry info must not invent a checksum";
  }
}

TYPED_TEST_P(transport_conformance, info_of_commit_supersedes_that_of_begin) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(4096, 3);
  sent_block* const block = producer->block(data.size());
  ASSERT_NE(block, nullptr);
  std::memcpy(block->bytes.data(), data.data(), data.size());
  const_bytes const piece = block->bytes;
  object_info info;
  info.size = data.size();
  typename TestFixture::put_op op;
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->begin(op, "key", producer->hand_over(piece, *block), info, TestFixture::usual()), this->patient())));
  info.size = 1000;  // less than reserved: a growing object that stayed small
  info.trace = 7;
  info.checksum = 9;
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->commit(op, info), this->patient())));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_EQ(got->info.size, 1000U);
  EXPECT_TRUE(holds(got->bytes, const_bytes(data).first(1000)));
  if (TestFixture::caps.carries_info) {
    EXPECT_EQ(got->info.trace, 7U);
    EXPECT_EQ(got->info.checksum, 9U);
  }
  this->let_go(std::move(*got));
  EXPECT_TRUE(this->comes_back(*producer, *block));
}

TYPED_TEST_P(transport_conformance, any_bytes_are_a_key) {
  if constexpr (!TestFixture::caps.any_key) GTEST_SKIP() << "caps.any_key is false";
  using namespace std::string_literals;
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::size_t const longest = TestFixture::caps.max_key;
  std::string almost(longest, 'k');
  almost.back() = 'l';
  std::vector<std::string> const keys{"",
                                      std::string(longest, 'k'),
                                      almost,
                                      "a\0b"s,
                                      "a\0c"s,
                                      "a",
                                      "\0"s,
                                      "/",
                                      "a/b",
                                      "../../etc/passwd",
                                      "//a//b\n",
                                      "schl\xc3\xbcssel \xe2\x9c\x93",
                                      "\xff\xfe\x80",
                                      "x@0_1",
                                      "%00%2f",
                                      "same prefix 1",
                                      "same prefix 2",
                                      " ",
                                      "*"};
  std::vector<std::vector<std::byte>> payloads;
  for (std::size_t i = 0; i != keys.size(); ++i) {
    payloads.push_back(test_pattern(40 + i, i));
    ASSERT_TRUE(succeeded(producer->put(keys[i], payloads[i]))) << "key " << i;
  }
  for (std::size_t i = keys.size(); i-- != 0;) {
    auto got = consumer->get(keys[i], this->patient());
    ASSERT_TRUE(succeeded(got)) << "key " << i;
    EXPECT_TRUE(holds(got->bytes, payloads[i])) << "key " << i;
    this->let_go(std::move(*got));
  }
}

TYPED_TEST_P(transport_conformance, a_key_that_is_too_long_is_too_large) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::string const key(std::size_t{TestFixture::caps.max_key} + 1, 'k');
  EXPECT_TRUE(failed_with(producer->put(key, test_pattern(8, 1)), error_kind::too_large));
  EXPECT_TRUE(failed_with(consumer->get(key, this->soon()), error_kind::too_large));
}

TYPED_TEST_P(transport_conformance, an_object_over_the_limit_is_too_large) {
  if constexpr (TestFixture::caps.max_object == ~std::uint64_t{0}) GTEST_SKIP() << "caps.max_object: no limit";
  auto producer = this->open("producer");
  sent_block* const block = producer->block(64);
  ASSERT_NE(block, nullptr);
  const_bytes const piece = block->bytes;
  object_info info;
  info.size = TestFixture::caps.max_object + 1;  // the limit is named before anything else about the size
  typename TestFixture::put_op op;
  EXPECT_TRUE(failed_with(producer->drive(op, (*producer)->begin(op, "key", producer->hand_over(piece, *block), info, TestFixture::usual()), this->patient()),
                          error_kind::too_large));
  EXPECT_EQ(block->returned.load(), 0) << "a begin that fails at once leaves the block to the caller";
}

TYPED_TEST_P(transport_conformance, a_size_beyond_the_pieces_is_misconfigured) {
  auto producer = this->open("producer");
  sent_block* const block = producer->block(64);
  ASSERT_NE(block, nullptr);
  const_bytes const piece = block->bytes;
  object_info info;
  info.size = 65;
  typename TestFixture::put_op op;
  EXPECT_TRUE(failed_with((*producer)->begin(op, "key", producer->hand_over(piece, *block), info, TestFixture::usual()), error_kind::misconfigured));
  info.size = 64;
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->begin(op, "key", producer->hand_over(piece, *block), info, TestFixture::usual()), this->patient())));
  info.size = 65;
  EXPECT_TRUE(failed_with((*producer)->commit(op, info), error_kind::misconfigured));
  info.size = 64;  // the put is still open
  EXPECT_TRUE(succeeded(producer->drive(op, (*producer)->commit(op, info), this->patient())));
}

TYPED_TEST_P(transport_conformance, payloads_outside_its_memory_are_refused) {
  if constexpr (!TestFixture::caps.own_memory) GTEST_SKIP() << "caps.own_memory is false: any memory will do";
  auto producer = this->open("producer");
  auto const data = test_pattern(64, 1);
  const_bytes const piece = data;
  object_info info;
  info.size = data.size();
  typename TestFixture::put_op op;
  outgoing const out{pieces(&piece, 1), 0, nullptr};
  EXPECT_TRUE(failed_with((*producer)->begin(op, "key", out, info, TestFixture::usual()), error_kind::misconfigured));
}

TYPED_TEST_P(transport_conformance, too_many_pieces_are_misconfigured) {
  auto producer = this->open("producer");
  std::size_t const count = std::size_t{TestFixture::caps.max_pieces} + 1;
  if (count > 1000) GTEST_SKIP() << "caps.max_pieces is not a limit worth reaching";
  sent_block* const block = producer->block(count);
  ASSERT_NE(block, nullptr);
  std::vector<const_bytes> parts;
  for (std::size_t i = 0; i != count; ++i) parts.push_back(block->bytes.subspan(i, 1));
  object_info info;
  info.size = count;
  typename TestFixture::put_op op;
  EXPECT_TRUE(failed_with((*producer)->begin(op, "key", {parts, block->token(), nullptr}, info, TestFixture::usual()), error_kind::misconfigured));
  EXPECT_EQ(block->returned.load(), 0);
}

TYPED_TEST_P(transport_conformance, several_pieces_arrive_as_one) {
  if constexpr (TestFixture::caps.max_pieces < 2) GTEST_SKIP() << "caps.max_pieces is 1";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(1000, 5);
  sent_block* const block = producer->block(data.size());
  ASSERT_NE(block, nullptr);
  std::memcpy(block->bytes.data(), data.data(), data.size());
  std::array<const_bytes, 2> const parts{block->bytes.first(333), block->bytes.subspan(333)};
  object_info info;
  info.size = data.size();
  typename TestFixture::put_op op;
  outgoing const out{parts, block->token(), TestFixture::caps.own_memory ? nullptr : &sent_block::dispose};
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->begin(op, "key", out, info, TestFixture::usual()), this->patient())));
  ASSERT_TRUE(succeeded(producer->drive(op, (*producer)->commit(op, info), this->patient())));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
}

TYPED_TEST_P(transport_conformance, bytes_land_in_several_pieces_in_order) {
  if constexpr (TestFixture::caps.zero_copy_get) GTEST_SKIP() << "caps.zero_copy_get is true: nothing lands";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(1000, 6);
  ASSERT_TRUE(succeeded(producer->put("key", data)));
  typename TestFixture::get_op op;
  auto now = consumer->drive(op, (*consumer)->find(op, "key", {}), this->patient());
  ASSERT_TRUE(succeeded(now));
  ASSERT_EQ(*now, progress::needs_memory);
  ASSERT_EQ(op.info().size, data.size());
  auto const a = consumer->landing(1), b = consumer->landing(700), c = consumer->landing(299), more = consumer->landing(300);
  std::array<mutable_bytes, 3> const wrong{*a, *b, *more};
  EXPECT_TRUE(failed_with((*consumer)->land(op, wrong), error_kind::misconfigured)) << "the pieces must add up to the size";
  std::array<mutable_bytes, 3> const to{*a, *b, *c};
  now = consumer->drive(op, (*consumer)->land(op, to), this->patient());
  ASSERT_TRUE(succeeded(now));
  ASSERT_EQ(*now, progress::done);
  EXPECT_TRUE(holds(*a, const_bytes(data).first(1)));
  EXPECT_TRUE(holds(*b, const_bytes(data).subspan(1, 700)));
  EXPECT_TRUE(holds(*c, const_bytes(data).subspan(701)));
  op.take().finish(disposition::consumed);
}

TYPED_TEST_P(transport_conformance, land_unasked_is_misconfigured) {
  auto consumer = this->open("consumer");
  typename TestFixture::get_op op;
  auto const memory = consumer->landing(8);
  mutable_bytes const to[]{*memory};
  EXPECT_TRUE(failed_with((*consumer)->land(op, to), error_kind::misconfigured));
}

TYPED_TEST_P(transport_conformance, exists_follows_the_object) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  EXPECT_FALSE((*consumer)->exists("key").value_or(true));
  ASSERT_TRUE(succeeded(producer->put("key", test_pattern(8, 1))));
  EXPECT_TRUE((*consumer)->exists("key").value_or(false));
  EXPECT_TRUE((*producer)->exists("key").value_or(false));
  EXPECT_FALSE((*consumer)->exists("kez").value_or(true));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE((*producer)->exists("key").value_or(false)) << "held is not gone: it may be given back";
  this->let_go(std::move(*got));
  if constexpr (!TestFixture::caps.counts_readers) {
    EXPECT_TRUE((*producer)->exists("key").value_or(false)) << "reading consumes nothing";
    return;
  }
  for (int round = 0; round != 1000 && (*consumer)->exists("key").value_or(false); ++round)
    consumer->pause(this->harness.in(std::chrono::milliseconds(1)));
  EXPECT_FALSE((*consumer)->exists("key").value_or(true));
}

TYPED_TEST_P(transport_conformance, report_counts_what_moved) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (int i = 0; i != 5; ++i) ASSERT_TRUE(succeeded(producer->put("key " + std::to_string(i), test_pattern(100, 1))));
  if constexpr (TestFixture::caps.counts_readers) {
    EXPECT_EQ((*producer)->report().objects.used, 5U);
  }
  for (int i = 0; i != 3; ++i) {
    auto got = consumer->get("key " + std::to_string(i), this->patient());
    ASSERT_TRUE(succeeded(got));
    this->let_go(std::move(*got));
  }
  auto const sent = (*producer)->report();
  EXPECT_EQ(sent.status, health_status::ready);
  EXPECT_EQ(sent.moved.puts, 5U);
  EXPECT_EQ(sent.moved.put_bytes, 500U);
  EXPECT_EQ(sent.moved.gets, 0U);
  auto const received = (*consumer)->report();
  EXPECT_EQ(received.moved.gets, 3U);
  EXPECT_EQ(received.moved.get_bytes, 300U);
  EXPECT_EQ(received.moved.puts, 0U);
}

OMNICONN_END_NAMESPACE
