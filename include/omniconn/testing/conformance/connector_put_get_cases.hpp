// SPDX-License-Identifier: Apache-2.0
// Conformance of connectors: payloads go in and come out as they were; keys are data.
#pragma once

#include <omniconn/testing/conformance/connector_fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(connector_conformance, bytes_of_any_size_come_back) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (std::size_t const size : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, std::size_t{4096}, std::size_t{70'001},
                                 (std::size_t{8} << 20U) + 3}) {
    SCOPED_TRACE(size);
    auto const data = test_pattern(size, size + 1);
    auto const put = producer->put(this->flow, "key", data);
    ASSERT_TRUE(succeeded(put));
    EXPECT_GE(put->size, size) << "a serializer may add, never lose";
    auto direct = producer->reserve(size);
    ASSERT_TRUE(succeeded(direct));
    ASSERT_EQ(direct->bytes().size(), size);
    std::copy(data.begin(), data.end(), direct->bytes().begin());
    auto const committed = producer->commit(this->flow, "direct", std::move(*direct));
    ASSERT_TRUE(succeeded(committed));
    EXPECT_EQ(committed->size, size);
    auto got = this->get(*consumer, "direct");
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(holds(got->bytes(), data));
    EXPECT_EQ(got->info().size, size);
    EXPECT_EQ(got->info().kind, payload_kind::raw);
    got->release();
    EXPECT_EQ(got->bytes().size(), 0U);
    // What put made of the bytes is the serializer's business, but it is the same for every reader.
    auto whole = this->get(*consumer, "key");
    ASSERT_TRUE(succeeded(whole));
    EXPECT_EQ(whole->bytes().size(), put->size);
    if (whole->info().kind == payload_kind::raw) {
      EXPECT_TRUE(holds(whole->bytes(), data));
    } else {
      EXPECT_TRUE(holds(whole->bytes().last(size), data)) << "bytes go last, after their header";
    }
    whole->release();
    EXPECT_TRUE(this->goes(*consumer, "key"));
    EXPECT_TRUE(this->goes(*consumer, "direct"));
  }
}

TYPED_TEST_P(connector_conformance, get_into_fills_the_callers_memory) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(5000, 1);
  auto const commit = [&](std::string_view key, const_bytes bytes) {
    auto room = producer->reserve(bytes.size());
    if (!room) return result<receipt>(room.error());
    std::copy(bytes.begin(), bytes.end(), room->bytes().begin());
    return producer->commit(this->flow, key, std::move(*room));
  };
  ASSERT_TRUE(succeeded(commit("key", data)));
  std::vector<std::byte> small(4999, std::byte{0x5a}), large(5001, std::byte{0x5a});
  EXPECT_TRUE(failed_with(consumer->get_into(this->flow, "key", small, this->by(this->patient())), error_kind::too_large));
  EXPECT_EQ(small, std::vector<std::byte>(4999, std::byte{0x5a})) << "nothing is written where not all fits";
  EXPECT_TRUE(failed_with(consumer->get_into(this->flow, "key", {}, this->by(this->patient())), error_kind::too_large));
  auto const info = consumer->get_into(this->flow, "key", large, this->by(this->patient()));
  ASSERT_TRUE(succeeded(info)) << "what did not fit stayed where it was";
  EXPECT_EQ(info->size, 5000U);
  EXPECT_TRUE(holds(const_bytes(large).first(5000), data));
  EXPECT_EQ(large.back(), std::byte{0x5a});
  EXPECT_TRUE(this->goes(*consumer, "key")) << "get_into consumes";
  ASSERT_TRUE(succeeded(commit("empty", {})));
  auto const empty = consumer->get_into(this->flow, "empty", {}, this->by(this->patient()));
  ASSERT_TRUE(succeeded(empty));
  EXPECT_EQ(empty->size, 0U);
}

TYPED_TEST_P(connector_conformance, zero_copy_is_the_writers_memory) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  if (!consumer->facts().zero_copy_get) GTEST_SKIP() << "facts().zero_copy_get is false: bytes land in memory of the reader";
  if (producer->facts().gathers) GTEST_SKIP() << "facts().gathers is true: a put copies";
  auto const data = test_pattern(100'000, 1);
  auto room = producer->reserve(data.size());
  ASSERT_TRUE(succeeded(room));
  mutable_bytes const written = room->bytes();
  std::copy(data.begin(), data.end(), written.begin());
  put_options two;
  two.readers = reader_set{consumer->facts().max_readers < 2 ? 1U : 2U, {}};
  ASSERT_TRUE(succeeded(producer->commit(this->flow, "key", std::move(*room), two)));
  auto first = this->get(*consumer, "key", "a");
  ASSERT_TRUE(succeeded(first));
  EXPECT_TRUE(holds(first->bytes(), data));
  if (!consumer->facts().leaves_process) {
    EXPECT_EQ(first->bytes().data(), written.data());
  }
  if (two.readers->count == 2) {
    auto second = this->get(*consumer, "key", "b");
    ASSERT_TRUE(succeeded(second));
    EXPECT_EQ(second->bytes().data(), first->bytes().data());
  }
  // What the writer changes now, against the rules, shows through: the bytes exist once.
  for (std::size_t const at : {std::size_t{0}, std::size_t{50'000}, data.size() - 1}) {
    written[at] ^= std::byte{0xff};
    EXPECT_EQ(first->bytes()[at], written[at]);
  }
}

TYPED_TEST_P(connector_conformance, a_reservation_is_used_once_and_never_lost) {
  auto producer = this->open("producer");
  auto other = this->open("other");
  auto consumer = this->open("consumer");
  EXPECT_TRUE(failed_with(producer->commit(this->flow, "key", {}), error_kind::misconfigured)) << "an empty one";
  auto room = producer->reserve(1000);
  ASSERT_TRUE(succeeded(room));
  auto moved = std::move(*room);
  EXPECT_TRUE(room->bytes().empty());
  EXPECT_TRUE(failed_with(producer->commit(this->flow, "key", std::move(*room)), error_kind::misconfigured)) << "one that was moved from";
  EXPECT_EQ(moved.bytes().size(), 1000U);
  EXPECT_TRUE(failed_with(other->commit(this->flow, "key", std::move(moved)), error_kind::misconfigured)) << "somebody else's";
  EXPECT_FALSE(consumer->exists(this->flow, "key").value_or(true));
  // Far more than the memory holds, if one of these were lost.
  std::size_t const size = std::size_t{1} << 20U;
  std::uint64_t const rounds = this->memory_size() == 0 ? 100 : 3 * this->memory_size() / size;
  ASSERT_TRUE(succeeded(producer->put(this->flow, "taken", test_pattern(8, 1))));
  for (std::uint64_t i = 0; i != rounds; ++i) {
    auto dropped = producer->reserve(size);
    ASSERT_TRUE(succeeded(dropped)) << i;
    auto refused = producer->reserve(size);
    ASSERT_TRUE(succeeded(refused)) << i;
    EXPECT_TRUE(failed_with(producer->commit(this->flow, "taken", std::move(*refused)), error_kind::already_exists)) << i;
  }
}

TYPED_TEST_P(connector_conformance, info_travels) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  put_options how;
  how.trace = 0x1234567890abcdefU;
  auto const data = test_pattern(300, 1);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", data, how)));
  how.checksum = false;
  ASSERT_TRUE(succeeded(producer->put(this->flow, "unchecked", data, how)));
  auto got = this->get(*consumer, "key");
  auto unchecked = this->get(*consumer, "unchecked");
  ASSERT_TRUE(succeeded(got));
  ASSERT_TRUE(succeeded(unchecked));
  auto const& facts = consumer->facts();
  // Beside the bytes, or in an envelope in front of them.
  EXPECT_EQ(got->info().trace, how.trace);
  EXPECT_EQ(got->info().size, got->bytes().size());
  EXPECT_EQ(got->info().checksum_by, facts.leaves_process ? checksum_kind::xxh3_64 : checksum_kind::none);
  if (facts.leaves_process) {
    EXPECT_EQ(got->info().checksum, checksum(got->bytes()));
  }
  EXPECT_EQ(unchecked->info().checksum_by, checksum_kind::none);
  EXPECT_TRUE(holds(unchecked->bytes(), got->bytes()));
}

TYPED_TEST_P(connector_conformance, typed_payloads_come_back_or_are_unsupported) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  using tested = typename TestFixture::connector_type;
  std::array<float, 6> const numbers{1, 2, 3, 4, 5, -0.5F};
  auto const tensor = *tensor_view::make(dtype::float32, {2, 3}, bytes_of(std::span(numbers)));
  value const sample = value::object({{"n", 300}, {"text", "t"}, {"list", value::list({nullptr, true, 0.5})}});
  if constexpr (requires(tested& c) { c.put(edge{}, "", sample, put_options{}); }) {
    auto const put = producer->put(this->flow, "value", sample);
    if (put) {
      auto const back = consumer->template get<value>(this->flow, "value", this->by(this->patient()));
      ASSERT_TRUE(succeeded(back));
      EXPECT_EQ(*back, sample);
      ASSERT_TRUE(succeeded(this->put_again(*producer, "raw", {})));
      EXPECT_TRUE(failed_with(consumer->template try_get<value>(this->flow, "value"), error_kind::not_found));
    } else {
      EXPECT_TRUE(failed_with(put, error_kind::unsupported)) << "an erased connector whose serializer writes no values";
      EXPECT_FALSE(consumer->exists(this->flow, "value").value_or(true));
    }
  }
  if constexpr (requires(tested& c) { c.put(edge{}, "", tensor, put_options{}); }) {
    ASSERT_TRUE(succeeded(producer->put(this->flow, "tensor", tensor)));
    auto got = this->get(*consumer, "tensor");
    ASSERT_TRUE(succeeded(got));
    if (got->info().kind == payload_kind::raw) {
      EXPECT_TRUE(holds(got->bytes(), tensor.bytes())) << "its elements";
    } else if constexpr (requires(typename TestFixture::view& v) { v.template as<tensor_view>(); }) {
      auto const back = got->template as<tensor_view>();
      ASSERT_TRUE(succeeded(back));
      EXPECT_EQ(back->shape(), tensor.shape());
      EXPECT_TRUE(holds(back->bytes(), tensor.bytes()));
      EXPECT_GE(back->data(), got->bytes().data()) << "by reference";
      EXPECT_LE(back->data() + back->size_bytes(), got->bytes().data() + got->bytes().size());
    }
    got->release();
    EXPECT_TRUE(failed_with(got->template as<const_bytes>(), error_kind::closed)) << "a view that ended has nothing to decode";
  }
  if constexpr (requires(tested& c) { c.template get<std::vector<std::byte>>(edge{}, "", get_options{}); }) {
    auto const data = test_pattern(777, 3);
    ASSERT_TRUE(succeeded(producer->put(this->flow, "bytes", data)));
    auto const back = consumer->template get<std::vector<std::byte>>(this->flow, "bytes", this->by(this->patient()));
    ASSERT_TRUE(succeeded(back));
    EXPECT_TRUE(holds(*back, data));
  }
}

TYPED_TEST_P(connector_conformance, what_fails_to_decode_is_given_back) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  using tested = typename TestFixture::connector_type;
  auto room = producer->reserve(5);
  ASSERT_TRUE(succeeded(room));
  std::fill(room->bytes().begin(), room->bytes().end(), std::byte{0xc1});  // never used by msgpack, and no whole number of words
  if constexpr (requires(tested& c) { c.commit(edge{}, "", std::move(*room), put_options{}, payload_kind::object); }) {
    ASSERT_TRUE(succeeded(producer->commit(this->flow, "key", std::move(*room), {}, payload_kind::object)));
    if constexpr (requires(tested& c) { c.template get<std::vector<std::uint32_t>>(edge{}, "", get_options{}); }) {
      EXPECT_TRUE(failed_with(consumer->template get<std::vector<std::uint32_t>>(this->flow, "key", this->by(this->patient())), error_kind::malformed));
    }
    if constexpr (requires(tested& c) { c.template get<value>(edge{}, "", get_options{}); }) {
      auto const got = consumer->template get<value>(this->flow, "key", this->by(this->patient()));
      EXPECT_TRUE(got == error_kind::malformed || got == error_kind::unsupported);
    }
    auto got = this->get(*consumer, "key");
    ASSERT_TRUE(succeeded(got)) << "it stayed for who can read it";
    EXPECT_EQ(got->info().kind, payload_kind::object);
    EXPECT_EQ(got->bytes().size(), 5U);
  }
}

// --- keys -----------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, any_bytes_are_a_key) {
  using namespace std::string_literals;
  auto producer = this->open("producer");
  if (!producer->facts().any_key) GTEST_SKIP() << "facts().any_key is false";
  auto consumer = this->open("consumer");
  std::string const longest(this->longest_key(), 'k');
  std::string almost = longest, other_start = longest;
  almost.back() = 'l';
  other_start.front() = 'j';
  std::vector<std::string> const keys{"",    longest, almost,  other_start,        "a\0b"s,           "a\0c"s,  "a",    "\0"s,  "/",
                                      "a/b", "#x",    "../..", "//etc//passwd\n", "schl\xc3\xbcssel \xe2\x9c\x93", "\xff\xfe", "x@y_z", "%2F", "*"};
  for (std::size_t i = 0; i != keys.size(); ++i) ASSERT_TRUE(succeeded(producer->put(this->flow, keys[i], test_pattern(40 + i, i)))) << "key " << i;
  for (std::size_t i = keys.size(); i-- != 0;) {
    EXPECT_TRUE(consumer->exists(this->flow, keys[i]).value_or(false)) << "key " << i;
    auto got = this->get(*consumer, keys[i]);
    ASSERT_TRUE(succeeded(got)) << "key " << i;
    EXPECT_TRUE(holds(got->bytes().last(40 + i), test_pattern(40 + i, i))) << "key " << i;
  }
}

TYPED_TEST_P(connector_conformance, a_key_over_the_limit_is_too_large) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (std::size_t const size : {this->longest_key() + 1, max_key_size + 1}) {
    std::string const key(size, 'k');
    EXPECT_TRUE(failed_with(producer->put(this->flow, key, test_pattern(8, 1)), error_kind::too_large));
    EXPECT_TRUE(failed_with(consumer->get_view(this->flow, key, this->by(this->soon())), error_kind::too_large));
    EXPECT_TRUE(failed_with(consumer->exists(this->flow, key), error_kind::too_large));
    EXPECT_TRUE(failed_with(consumer->cleanup(this->flow, key), error_kind::too_large));
    auto room = producer->reserve(8);
    ASSERT_TRUE(succeeded(room));
    EXPECT_TRUE(failed_with(producer->commit(this->flow, key, std::move(*room)), error_kind::too_large));
  }
}

TYPED_TEST_P(connector_conformance, edges_are_apart_where_the_keying_says_so) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  edge const one{"from", "to"}, two{"from", "elsewhere"};
  ASSERT_TRUE(succeeded(producer->put(one, "key", test_pattern(64, 1))));
  auto const again = producer->put(two, "key", test_pattern(64, 2));
  if (!this->keys_per_edge()) {
    EXPECT_TRUE(failed_with(again, error_kind::already_exists)) << "one key on two edges is one object";
    return;
  }
  ASSERT_TRUE(succeeded(again));
  auto of_two = consumer->get_view(two, "key", this->by(this->patient()));
  auto of_one = consumer->get_view(one, "key", this->by(this->patient()));
  ASSERT_TRUE(succeeded(of_two));
  ASSERT_TRUE(succeeded(of_one));
  EXPECT_TRUE(holds(of_one->bytes().last(64), test_pattern(64, 1)));
  EXPECT_TRUE(holds(of_two->bytes().last(64), test_pattern(64, 2)));
}

OMNICONN_END_NAMESPACE
