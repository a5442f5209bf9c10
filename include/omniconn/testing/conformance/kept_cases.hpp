// SPDX-License-Identifier: Apache-2.0
// Conformance: objects that nobody consumes. Where a transport does not keep, it says so, and does not take one reader for anybody.
#pragma once

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(transport_conformance, a_kept_object_is_for_anybody_until_it_is_erased) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(TestFixture::not_small, 1);
  publish_options how;
  how.readers = reader_set::until_cleaned_up();
  auto put = producer->put("key", data, how);
  if constexpr (!TestFixture::caps.keeps) {
    EXPECT_TRUE(failed_with(put, error_kind::unsupported)) << "caps.keeps is false";
    EXPECT_FALSE((*consumer)->exists("key").value_or(true));
  } else {
    ASSERT_TRUE(succeeded(put));
    for (std::string_view const name : {"a", "b", "b", "", "a"}) {
      find_options as;
      as.reader = name;
      auto got = consumer->get("key", this->patient(), as);
      ASSERT_TRUE(succeeded(got)) << name;
      EXPECT_TRUE(holds(got->bytes, data));
      this->let_go(std::move(*got));
      EXPECT_TRUE((*consumer)->exists("key").value_or(false)) << "read, and still there";
    }
    find_options as;
    as.reader = "same";
    auto first = consumer->get("key", this->patient(), as);
    auto second = consumer->get("key", this->patient(), as);
    ASSERT_TRUE(succeeded(first));
    ASSERT_TRUE(succeeded(second)) << "one name may hold it twice";
    this->let_go(std::move(*first));
    EXPECT_TRUE(this->stays_out(*producer, *put->block));
    EXPECT_EQ((*producer)->erase("key").value_or(0), 1U);
    EXPECT_EQ(this->absent(*consumer, "key"), error_kind::timed_out);
    EXPECT_TRUE(this->stays_out(*producer, *put->block)) << "somebody has it in hand";
    EXPECT_TRUE(holds(second->bytes, data));
    this->let_go(std::move(*second));
    EXPECT_TRUE(this->comes_back(*producer, *put->block));
  }
}

TYPED_TEST_P(transport_conformance, a_kept_object_wakes_all_who_wait_and_makes_way_for_another) {
  if constexpr (TestFixture::caps.keeps) {
    auto producer = this->open("producer");
    auto consumer = this->open("consumer");
    publish_options how;
    how.readers = reader_set::until_cleaned_up();
    how.existing = on_existing::replace;
    typename TestFixture::get_op early[3];
    for (auto& op : early) {
      auto const now = (*consumer)->find(op, "key", {});
      ASSERT_TRUE(succeeded(now));
      ASSERT_EQ(*now, progress::pending);
    }
    auto const old = test_pattern(TestFixture::not_small, 1), young = test_pattern(TestFixture::not_small, 2);
    auto put = producer->put("key", old, how);
    ASSERT_TRUE(succeeded(put));
    for (auto& op : early) {
      auto taken = consumer->finish_get(op, (*consumer)->step(op), this->patient());
      ASSERT_TRUE(succeeded(taken));
      EXPECT_TRUE(holds(taken->bytes, old));
      taken->hold.finish(disposition::give_back);
    }
    auto next = producer->put("key", young, how);
    ASSERT_TRUE(succeeded(next));
    EXPECT_TRUE(this->comes_back(*producer, *put->block)) << "nobody gets the old one any more";
    auto got = consumer->get("key", this->patient());
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(holds(got->bytes, young));
    this->let_go(std::move(*got));
  }
}

OMNICONN_END_NAMESPACE
