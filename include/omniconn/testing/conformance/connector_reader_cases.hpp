// SPDX-License-Identifier: Apache-2.0
// Conformance of connectors: who may read an object and how often, what a taken key does, what a locator finds.
#pragma once

#include <omniconn/testing/conformance/connector_fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

// --- readers --------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, one_reader_by_default) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto other = this->open("other");
  if (!producer->facts().counts_readers) GTEST_SKIP() << "facts().counts_readers is false: reading consumes nothing";
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(500, 1))));
  auto got = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(failed_with(this->look(*other, "key"), error_kind::not_found)) << "somebody else has it";
  got->release();
  got->release();  // the second is nothing
  got->give_back();
  EXPECT_TRUE(this->goes(*other, "key"));
}

TYPED_TEST_P(connector_conformance, counted_readers_have_one_share_each) {
  auto producer = this->open("producer");
  auto a = this->open("a");
  auto b = this->open("b");
  if (!a->facts().counts_readers) GTEST_SKIP() << "facts().counts_readers is false: reading consumes nothing";
  if (a->facts().max_readers < 3) GTEST_SKIP() << "facts().max_readers is below 3";
  put_options how;
  how.readers = reader_set{3, {}};
  auto const data = test_pattern(3000, 1);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", data, how)));
  auto by_a = this->get(*a, "key");
  auto by_b = this->get(*b, "key");
  ASSERT_TRUE(succeeded(by_a));
  ASSERT_TRUE(succeeded(by_b));
  EXPECT_TRUE(holds(by_b->bytes().last(3000), data));
  by_a->release();
  EXPECT_TRUE(failed_with(this->get(*a, "key"), error_kind::consumed)) << "a has had its share";
  EXPECT_TRUE(holds(by_b->bytes().last(3000), data));
  by_b->release();
  auto by_c = this->get(*a, "key", "c");  // one connector may read under several names
  ASSERT_TRUE(succeeded(by_c));
  EXPECT_TRUE(holds(by_c->bytes().last(3000), data));
  by_c->release();
  EXPECT_TRUE(this->goes(*b, "key"));
}

TYPED_TEST_P(connector_conformance, named_readers_only) {
  auto producer = this->open("producer");
  auto consumer = this->open("wrong");
  std::array<std::string_view, 2> const names{"right", "also right"};
  put_options how;
  how.readers = reader_set{2, names};
  auto const data = test_pattern(3000, 2);
  auto const put = producer->put(this->flow, "key", data, how);
  if (!consumer->facts().named_readers) {
    EXPECT_TRUE(failed_with(put, error_kind::unsupported)) << "facts().named_readers is false";
    return;
  }
  ASSERT_TRUE(succeeded(put));
  EXPECT_TRUE(failed_with(this->look(*consumer, "key"), error_kind::not_found)) << "not for this reader: as if it were not there";
  for (std::string_view const name : names) {
    auto got = this->get(*consumer, "key", name);
    ASSERT_TRUE(succeeded(got)) << name;
    EXPECT_TRUE(holds(got->bytes().last(3000), data));
    got->release();
    if (name == names.front()) {
      EXPECT_TRUE(failed_with(this->get(*consumer, "key", name), error_kind::consumed));
    }
  }
  EXPECT_TRUE(this->goes(*producer, "key"));
}

TYPED_TEST_P(connector_conformance, the_defaults_name_the_readers) {
  connector_defaults defaults;
  auto consumer = this->open("monitor");
  if (consumer->facts().named_readers && consumer->facts().max_readers >= 2) {
    defaults.readers = {"thinker", "monitor"};
  } else {
    defaults.reader_count = consumer->facts().max_readers < 2 || !consumer->facts().counts_readers ? 1 : 2;
  }
  auto producer = this->open("producer", defaults);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(100, 1))));
  ASSERT_TRUE(succeeded(this->get(*consumer, "key")));
  if (defaults.readers.empty() && defaults.reader_count < 2) return;
  EXPECT_TRUE(failed_with(this->get(*consumer, "key"), error_kind::consumed));
  ASSERT_TRUE(succeeded(this->get(*consumer, "key", "thinker")));
  EXPECT_TRUE(this->goes(*consumer, "key"));
}

TYPED_TEST_P(connector_conformance, impossible_readers_are_refused) {
  auto producer = this->open("producer");
  auto const& facts = producer->facts();
  auto const data = test_pattern(64, 1);
  put_options how;
  how.readers = reader_set{0, {}};
  EXPECT_TRUE(failed_with(producer->put(this->flow, "key", data, how), error_kind::misconfigured));
  connector_defaults defaults;
  defaults.reader_count = 0;
  EXPECT_TRUE(failed_with(this->harness.open(defaults), error_kind::misconfigured));
  if (facts.max_readers != ~std::uint32_t{0}) {
    how.readers = reader_set{facts.max_readers + 1, {}};
    EXPECT_TRUE(failed_with(producer->put(this->flow, "key", data, how), error_kind::too_large));
    defaults.reader_count = facts.max_readers + 1;
    EXPECT_TRUE(failed_with(this->harness.open(defaults), error_kind::misconfigured));
  }
  defaults.reader_count = 1;
  defaults.readers = {"x"};
  if (!facts.named_readers) {
    EXPECT_TRUE(failed_with(this->harness.open(defaults), error_kind::misconfigured));
  }
  if (facts.named_readers && facts.max_readers >= 2) {
    std::array<std::string_view, 2> const twice{"same", "same"};
    how.readers = reader_set{2, twice};
    EXPECT_TRUE(failed_with(producer->put(this->flow, "key", data, how), error_kind::misconfigured));
  }
  EXPECT_FALSE(producer->exists(this->flow, "key").value_or(true)) << "a put that failed leaves nothing behind";
  EXPECT_TRUE(succeeded(producer->put(this->flow, "key", data))) << "and does not keep the key";
}

TYPED_TEST_P(connector_conformance, given_back_it_can_be_had_again) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(700, 3);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", data)));
  for (int round = 0; round != 3; ++round) {
    auto got = this->get(*consumer, "key");
    ASSERT_TRUE(succeeded(got)) << round;
    EXPECT_TRUE(holds(got->bytes().last(700), data));
    got->give_back();
    got->release();  // nothing is left to release
    EXPECT_TRUE(got->bytes().empty());
  }
  EXPECT_TRUE(succeeded(this->get(*consumer, "key"))) << "the view's destructor consumes";
  EXPECT_TRUE(this->goes(*consumer, "key"));
}

TYPED_TEST_P(connector_conformance, a_view_that_is_moved_ends_once) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(64, 4);
  for (std::string const key : {"a", "b"}) ASSERT_TRUE(succeeded(producer->put(this->flow, key, data)));
  auto a = this->get(*consumer, "a");
  auto b = this->get(*consumer, "b");
  ASSERT_TRUE(succeeded(a));
  ASSERT_TRUE(succeeded(b));
  typename TestFixture::view moved(std::move(*a));
  EXPECT_TRUE(a->bytes().empty());
  a->release();  // moved from: nothing to end
  EXPECT_TRUE(holds(moved.bytes().last(64), data));
  EXPECT_TRUE(consumer->exists(this->flow, "a").value_or(false));
  moved = std::move(*b);  // consumes a
  EXPECT_TRUE(this->goes(*consumer, "a"));
  EXPECT_TRUE(holds(moved.bytes().last(64), data));
  typename TestFixture::view empty;
  EXPECT_TRUE(empty.bytes().empty());
  empty.release();
  moved = std::move(empty);
  EXPECT_TRUE(this->goes(*consumer, "b"));
  EXPECT_TRUE(moved.bytes().empty());
}

// --- duplicates -----------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, a_taken_key_already_exists) {
  auto producer = this->open("producer");
  auto other = this->open("other");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(64, 1);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", data)));
  EXPECT_TRUE(failed_with(producer->put(this->flow, "key", test_pattern(64, 2)), error_kind::already_exists));
  auto& second = producer->facts().shared_keys ? other : producer;
  EXPECT_TRUE(failed_with(second->put(this->flow, "key", test_pattern(64, 3)), error_kind::already_exists));
  auto got = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes().last(64), data));
  EXPECT_TRUE(failed_with(second->put(this->flow, "key", test_pattern(64, 3)), error_kind::already_exists)) << "held is not consumed";
  got->release();
  if (!producer->facts().counts_readers) {
    EXPECT_TRUE(this->goes(*other, "key"));
  }
  ASSERT_TRUE(succeeded(this->put_again(*other, "key", test_pattern(65, 4)))) << "a key that was read up is free";
  got = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes().last(65), test_pattern(65, 4)));
}

TYPED_TEST_P(connector_conformance, replace_is_for_those_who_come_later) {
  connector_defaults defaults;
  defaults.existing = on_existing::replace;
  auto producer = this->open("producer", defaults);
  auto consumer = this->open("consumer");
  auto const old_data = test_pattern(300, 1), new_data = test_pattern(301, 2);
  auto const first = producer->put(this->flow, "key", old_data);
  if (!producer->facts().can_replace) {
    EXPECT_TRUE(failed_with(first, error_kind::unsupported)) << "facts().can_replace is false";
    return;
  }
  ASSERT_TRUE(succeeded(first));
  auto held = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(held));
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", new_data)));
  EXPECT_TRUE(holds(held->bytes().last(300), old_data)) << "who holds the old object keeps it";
  put_options keep;
  keep.existing = on_existing::fail;
  EXPECT_TRUE(failed_with(producer->put(this->flow, "key", old_data, keep), error_kind::already_exists)) << "an option of the call goes first";
  auto got = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(got)) << "the new object is another: the same reader may have it";
  EXPECT_TRUE(holds(got->bytes().last(301), new_data));
  held->give_back();  // a replaced object has nowhere to go back to
  got->release();
  EXPECT_TRUE(this->goes(*consumer, "key"));
}

// --- locators -------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, a_receipt_survives_as_metadata) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(5000, 1);
  auto const put = producer->put(this->flow, "key", data);
  ASSERT_TRUE(succeeded(put));
  value const map = producer->metadata(*put);
  ASSERT_TRUE(map.is_map());
  auto const parsed = consumer->from_metadata(map);
  ASSERT_TRUE(succeeded(parsed));
  EXPECT_EQ(parsed->size, put->size);
  EXPECT_EQ(consumer->metadata(*parsed), map);
  for (receipt const& r : {*put, *parsed}) {
    auto got = consumer->get_view(this->flow, "key", this->by(this->patient(), {}, &r.where));
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(holds(got->bytes().last(5000), data));
    got->give_back();
  }
  // Metadata comes from outside: every entry may be missing or be anything.
  EXPECT_TRUE(failed_with(consumer->from_metadata(value()), error_kind::malformed));
  EXPECT_TRUE(failed_with(consumer->from_metadata(value("text")), error_kind::malformed));
  EXPECT_TRUE(failed_with(consumer->from_metadata(value::object({{"source_host", "10.0.0.1"}, {"size", 5}})), error_kind::malformed));
  for (std::size_t i = 0; i != map.size(); ++i) {
    for (value const& wrong : {value::list({1}), value(-1), value(1.5)}) {
      value hurt = map;
      (*hurt.if_map())[i].second = wrong;
      EXPECT_TRUE(failed_with(consumer->from_metadata(hurt), error_kind::malformed)) << i;
    }
    value hurt = map;
    hurt.if_map()->erase(hurt.if_map()->begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_TRUE(failed_with(consumer->from_metadata(hurt), error_kind::malformed)) << i;
  }
}

TYPED_TEST_P(connector_conformance, a_stale_locator_gets_nothing) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const first = producer->put(this->flow, "key", test_pattern(5000, 1));
  auto const other = producer->put(this->flow, "other", test_pattern(5000, 2));
  ASSERT_TRUE(succeeded(first));
  ASSERT_TRUE(succeeded(other));
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", this->by(this->patient(), {}, &other->where)), error_kind::stale_handle)) << "of another key";
  ASSERT_TRUE(succeeded(this->get(*consumer, "key")));
  ASSERT_TRUE(this->goes(*consumer, "key"));
  auto const with_first = this->by(this->patient(), {}, &first->where);
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", with_first), error_kind::stale_handle)) << "consumed";
  ASSERT_TRUE(succeeded(this->put_again(*producer, "key", test_pattern(5000, 3))));
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", with_first), error_kind::stale_handle)) << "a new object under the old key is another";
  locator const foreign = locator::pack(static_cast<locator_tag>(0x8001), std::uint64_t{1});
  locator const empty;
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", this->by(this->patient(), {}, &foreign)), error_kind::malformed));
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", this->by(this->patient(), {}, &empty)), error_kind::malformed));
  EXPECT_TRUE(succeeded(this->get(*consumer, "key"))) << "none of that consumed anything";
}

OMNICONN_END_NAMESPACE
