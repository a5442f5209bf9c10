// SPDX-License-Identifier: Apache-2.0
// Conformance: locators name one use of one place, and nothing else.
#pragma once

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(transport_conformance, a_locator_finds_its_object) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(5000, 1);
  auto put = producer->put("key", data);
  ASSERT_TRUE(succeeded(put));
  ASSERT_FALSE(put->where.empty());
  find_options how;
  how.where = &put->where;
  auto got = consumer->get("key", this->patient(), how);
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
  // What the get says of the place leads there, too.
  locator const where = got->where;
  ASSERT_FALSE(where.empty());
  got->hold.finish(disposition::give_back);
  how.where = &where;
  got = consumer->get("key", this->patient(), how);
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
}

TYPED_TEST_P(transport_conformance, a_stale_locator_says_so) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  publish_options replacing = TestFixture::usual();
  replacing.existing = on_existing::replace;
  find_options how;
  for (int way = 0; way != 3; ++way) {
    if (way == 0 && !TestFixture::caps.counts_readers) continue;
    if (way == 1 && !TestFixture::caps.can_erase) continue;
    if (way == 2 && !TestFixture::caps.can_replace) continue;
    SCOPED_TRACE(way == 0 ? "consumed" : way == 1 ? "erased" : "replaced");
    std::string const key = "key " + std::to_string(way);
    auto put = producer->put(key, test_pattern(5000, 1));
    ASSERT_TRUE(succeeded(put));
    how.where = &put->where;
    if (way == 0) {
      auto got = consumer->get(key, this->patient(), how);
      ASSERT_TRUE(succeeded(got));
      this->let_go(std::move(*got));
    }
    if (way == 1) {
      ASSERT_TRUE(succeeded((*producer)->erase(key)));
    }
    if (way == 2) {
      ASSERT_TRUE(succeeded(producer->put(key, test_pattern(5000, 2), replacing)));
    }
    EXPECT_TRUE(failed_with(consumer->get(key, this->patient(), how), error_kind::stale_handle));
    if (way != 2) {
      // A new object in the old place is another generation.
      result<typename TestFixture::side::put_result> again{error_kind::already_exists, ""};
      for (int round = 0; round != 1000 && again == error_kind::already_exists; ++round) {
        again = producer->put(key, test_pattern(5000, 3));
        if (!again) producer->pause(this->harness.in(std::chrono::milliseconds(1)));
      }
      ASSERT_TRUE(succeeded(again));
      EXPECT_TRUE(failed_with(consumer->get(key, this->patient(), how), error_kind::stale_handle));
    }
    auto by_key = consumer->get(key, this->patient());
    ASSERT_TRUE(succeeded(by_key)) << "the new object is there for who asks by key";
    this->let_go(std::move(*by_key));
  }
}

TYPED_TEST_P(transport_conformance, a_get_by_locator_fails_when_its_object_goes) {
  if constexpr (!TestFixture::caps.counts_readers) GTEST_SKIP() << "caps.counts_readers is false: reading consumes nothing";
  if constexpr (!TestFixture::caps.can_erase) GTEST_SKIP() << "caps.can_erase is false";
  auto producer = this->open("producer");
  auto first = this->open("first");
  auto second = this->open("second");
  auto put = producer->put("key", test_pattern(64, 1));
  ASSERT_TRUE(succeeded(put));
  auto got = first->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  find_options how;
  how.where = &put->where;
  typename TestFixture::get_op op;
  auto now = (*second)->find(op, "key", how);
  ASSERT_TRUE(succeeded(now));
  EXPECT_EQ(*now, progress::pending) << "held by another, who may give it back";
  this->let_go(std::move(*got));
  EXPECT_TRUE(failed_with(second->finish_get(op, now, this->patient()), error_kind::stale_handle));
}

TYPED_TEST_P(transport_conformance, a_foreign_locator_is_malformed) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put("key", test_pattern(64, 1))));
  locator const empty;
  locator const foreign = locator::pack(static_cast<locator_tag>(0x8001), std::uint64_t{1});
  find_options how;
  for (locator const* const l : {&empty, &foreign}) {
    how.where = l;
    EXPECT_TRUE(failed_with(consumer->get("key", this->patient(), how), error_kind::malformed));
    EXPECT_TRUE((*consumer)->describe(*l).is_nil());
  }
  EXPECT_TRUE(succeeded(consumer->get("key", this->patient()))) << "a get that failed consumes nothing";
}

TYPED_TEST_P(transport_conformance, a_locator_survives_as_metadata) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(64, 1);
  auto put = producer->put("key", data);
  ASSERT_TRUE(succeeded(put));
  value const map = (*producer)->describe(put->where);
  ASSERT_TRUE(map.is_map());
  EXPECT_GT(map.size(), 0U);
  auto parsed = (*consumer)->parse(map);
  ASSERT_TRUE(succeeded(parsed));
  EXPECT_EQ((*consumer)->describe(*parsed), map);
  find_options how;
  how.where = &*parsed;
  auto got = consumer->get("key", this->patient(), how);
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));

  EXPECT_TRUE(failed_with((*consumer)->parse(value()), error_kind::malformed));
  EXPECT_TRUE(failed_with((*consumer)->parse(value::object({{"source_host", "10.0.0.1"}})), error_kind::malformed));
  EXPECT_TRUE(failed_with((*consumer)->parse(value("text")), error_kind::malformed));
  // Metadata comes from outside: every entry may be missing or be anything.
  for (std::size_t i = 0; i != map.size(); ++i) {
    value hurt = map;
    (*hurt.if_map())[i].second = value::list({1, 2});
    EXPECT_TRUE(failed_with((*consumer)->parse(hurt), error_kind::malformed)) << i;
    hurt.if_map()->erase(hurt.if_map()->begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_TRUE(failed_with((*consumer)->parse(hurt), error_kind::malformed)) << i;
  }
}

OMNICONN_END_NAMESPACE
