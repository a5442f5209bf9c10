// SPDX-License-Identifier: Apache-2.0
// Conformance of connectors: gets of several keys.
#pragma once

#include <algorithm>
#include <random>

#include <omniconn/testing/conformance/connector_fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Names for lists of keys, and the list that a call takes.
struct key_names {
  std::vector<std::string> names;
  std::vector<std::string_view> list;

  explicit key_names(std::size_t count) {
    for (std::size_t i = 0; i != count; ++i) names.push_back("key " + std::to_string(i));
    list.assign(names.begin(), names.end());
  }
};

TYPED_TEST_P(connector_conformance, any_of_several_is_the_first_that_is_there) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::array<std::string_view, 4> const keys{"a", "b", "c", "d"};
  EXPECT_TRUE(failed_with(consumer->get_any_view(this->flow, keys, this->by(deadline::immediate())), error_kind::not_found));
  deadline const until = this->soon();
  auto const late = consumer->get_any_view(this->flow, keys, this->by(until));
  ASSERT_TRUE(failed_with(late, error_kind::timed_out));
  EXPECT_EQ(late.error().index(), key_error::no_key);
  EXPECT_TRUE(this->harness.passed(until)) << "never too early";
  for (std::string_view const key : {"c", "b"}) ASSERT_TRUE(succeeded(producer->put(this->flow, key, test_pattern(100, key == "b" ? 1 : 2))));
  std::size_t sum = 0;
  for (std::size_t const which : {std::size_t{1}, std::size_t{2}}) {
    auto got = consumer->get_any_view(this->flow, keys, this->by(this->patient()));
    ASSERT_TRUE(succeeded(got));
    sum += got->index;
    if (consumer->facts().zero_copy_get && consumer->facts().shared_keys) {
      EXPECT_EQ(got->index, which) << "the first of the list; elsewhere, of the answers, or of what was heard of";
    }
    EXPECT_TRUE(holds(got->view.bytes().last(100), test_pattern(100, got->index)));
    std::string const had(keys[got->index]);
    got->view.release();
    EXPECT_TRUE(this->goes(*consumer, had));
  }
  EXPECT_EQ(sum, 3U) << "each once";
  ASSERT_TRUE(succeeded(producer->put(this->flow, "a", test_pattern(100, 3)))) << "those that were asked for in vain are nobody's";
  EXPECT_TRUE(succeeded(this->get(*consumer, "a")));
}

TYPED_TEST_P(connector_conformance, any_of_several_leaves_the_others_alone) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  key_names const keys(10);
  for (auto const key : keys.list) ASSERT_TRUE(succeeded(producer->put(this->flow, key, test_pattern(5000, 1))));
  auto got = consumer->get_any_view(this->flow, keys.list, this->by(this->patient()));
  ASSERT_TRUE(succeeded(got));
  for (std::size_t i = 0; i != keys.list.size(); ++i) {
    if (i == got->index) continue;
    auto other = this->get(*consumer, keys.list[i]);
    ASSERT_TRUE(succeeded(other)) << i;
    EXPECT_TRUE(holds(other->bytes().last(5000), test_pattern(5000, 1)));
  }
  EXPECT_TRUE(holds(got->view.bytes().last(5000), test_pattern(5000, 1)));
}

TYPED_TEST_P(connector_conformance, whichever_of_hundreds_comes_wakes_who_waits) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  key_names const keys(300);
  for (std::size_t const which : {std::size_t{299}, std::size_t{0}, std::size_t{150}, std::size_t{7}}) {
    std::atomic<bool> looking{false};
    std::size_t came = key_error::no_key;
    bool whole = false;
    std::thread waiter([&] {
      looking.store(true);
      looking.notify_one();
      auto got = consumer->get_any_view(this->flow, keys.list, this->by(this->patient()));
      if (!got) return;
      came = got->index;
      whole = same_bytes(got->view.bytes().last(100), test_pattern(100, which));
    });
    looking.wait(false);
    auto const put = producer->put(this->flow, keys.list[which], test_pattern(100, which));
    waiter.join();
    ASSERT_TRUE(succeeded(put));
    EXPECT_EQ(came, which);
    EXPECT_TRUE(whole);
    ASSERT_TRUE(this->goes(*consumer, keys.list[which])) << "consumed when the view ended";
  }
}

TYPED_TEST_P(connector_conformance, any_of_several_says_which_cannot_be_had) {
  auto producer = this->open("producer");
  connector_defaults defaults;
  defaults.max_get_size = 1000;
  auto careful = this->open("careful", defaults);
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put(this->flow, "large", test_pattern(1001, 1))));
  std::array<std::string_view, 3> const keys{"absent", "large", "small"};
  auto const refused = careful->get_any_view(this->flow, keys, this->by(this->patient()));
  ASSERT_TRUE(failed_with(refused, error_kind::too_large)) << "at once, not at the deadline";
  EXPECT_EQ(refused.error().index(), 1U);
  EXPECT_NE(refused.error().message().find("key 1"), std::string::npos);
  std::string const too_long(this->longest_key() + max_key_size, 'k');
  std::array<std::string_view, 2> const one_too_long{"absent", too_long};
  if (auto const impossible = careful->get_any_view(this->flow, one_too_long, this->by(this->soon())); impossible == error_kind::too_large) {
    EXPECT_EQ(impossible.error().index(), 1U);
  } else {
    EXPECT_TRUE(failed_with(impossible, error_kind::timed_out)) << "a keying may shorten";
  }
  ASSERT_TRUE(succeeded(producer->put(this->flow, "small", test_pattern(100, 2))));
  if (auto const got = careful->get_any_view(this->flow, keys, this->by(this->patient())); got) {
    EXPECT_EQ(got->index, 2U) << "what is there comes before what went wrong";
  } else {  // where answers travel, or news of objects, one may be here before the other
    EXPECT_TRUE((!careful->facts().zero_copy_get || !careful->facts().shared_keys) && got == error_kind::too_large) << got.error().message();
  }
  EXPECT_TRUE(succeeded(this->get(*consumer, "large"))) << "it is still there";
}

TYPED_TEST_P(connector_conformance, all_of_several_come_in_order) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (std::size_t const count : {std::size_t{1}, std::size_t{3}, std::size_t{300}}) {
    key_names const keys(count);
    std::vector<std::size_t> order(count);
    for (std::size_t i = 0; i != count; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(count)));
    std::atomic<bool> looking{false};
    std::atomic<int> failed{0};
    std::thread putter([&] {
      looking.wait(false);
      for (std::size_t const i : order)
        if (!this->put_again(*producer, keys.list[i], test_pattern(i * 13, i))) failed.fetch_add(1);
    });
    looking.store(true);
    looking.notify_one();
    auto got = consumer->get_all_views(this->flow, keys.list, this->by(this->patient()));
    putter.join();
    ASSERT_EQ(failed.load(), 0);
    ASSERT_TRUE(succeeded(got));
    ASSERT_EQ(got->size(), count);
    for (std::size_t i = 0; i != count; ++i) EXPECT_TRUE(holds((*got)[i].bytes().last(i * 13), test_pattern(i * 13, i))) << i;
    if (consumer->facts().counts_readers) {
      EXPECT_TRUE(failed_with(this->look(*consumer, keys.list[0]), error_kind::not_found)) << "it is had";
    }
    got->clear();
    for (auto const key : keys.list) ASSERT_TRUE(this->goes(*consumer, key)) << "consumed when its view ended";
  }
}

TYPED_TEST_P(connector_conformance, all_of_several_or_nothing) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::array<std::string_view, 4> const keys{"a", "b", "c", "d"};
  std::array<std::string_view, 2> const there{"a", "c"};
  for (auto const key : there) ASSERT_TRUE(succeeded(producer->put(this->flow, key, test_pattern(5000, 1))));
  auto const nothing_lost = [&](char const* what) {
    SCOPED_TRACE(what);
    for (auto const key : there) {
      auto got = this->get(*consumer, key, "consumer");
      ASSERT_TRUE(succeeded(got));
      EXPECT_TRUE(holds(got->bytes().last(5000), test_pattern(5000, 1)));
      got->give_back();
    }
  };
  auto const late = consumer->get_all_views(this->flow, keys, this->by(this->soon()));
  ASSERT_TRUE(failed_with(late, error_kind::timed_out));
  EXPECT_EQ(late.error().index(), 1U) << "the first that is missing";
  nothing_lost("timed out");
  auto const now = consumer->get_all_views(this->flow, keys, this->by(deadline::immediate()));
  ASSERT_TRUE(failed_with(now, error_kind::not_found));
  nothing_lost("not waited");
  std::stop_source stopped;
  stopped.request_stop();
  get_options how = this->by(this->patient());
  how.stop = stopped.get_token();
  auto const cancelled = consumer->get_all_views(this->flow, keys, how);
  EXPECT_TRUE(failed_with(cancelled, error_kind::cancelled));
  nothing_lost("cancelled");
  EXPECT_TRUE(failed_with(consumer->get_any_view(this->flow, std::span(keys).subspan(3), how), error_kind::cancelled));
  for (std::string_view const key : {"d", "b"}) ASSERT_TRUE(succeeded(producer->put(this->flow, key, test_pattern(100, 2))));
  auto got = consumer->get_all_views(this->flow, keys, this->by(this->patient()));
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds((*got)[2].bytes().last(5000), test_pattern(5000, 1)));
  EXPECT_TRUE(holds((*got)[3].bytes().last(100), test_pattern(100, 2)));
}

TYPED_TEST_P(connector_conformance, one_that_cannot_be_had_ends_all) {
  auto producer = this->open("producer");
  connector_defaults defaults;
  defaults.max_get_size = 1000;
  auto careful = this->open("careful", defaults);
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put(this->flow, "small", test_pattern(100, 1))));
  ASSERT_TRUE(succeeded(producer->put(this->flow, "large", test_pattern(1001, 2))));
  std::array<std::string_view, 3> const keys{"small", "absent", "large"};
  auto const refused = careful->get_all_views(this->flow, keys, this->by(this->patient()));
  ASSERT_TRUE(failed_with(refused, error_kind::too_large)) << "at once: it can come no more";
  EXPECT_EQ(refused.error().index(), 2U);
  EXPECT_EQ(careful->health().errors[index(error_kind::too_large)], 1U) << "counted once";
  EXPECT_TRUE(succeeded(this->get(*consumer, "small")));
  EXPECT_TRUE(succeeded(this->get(*consumer, "large")));
  if (consumer->facts().max_readers < 2 || !consumer->facts().counts_readers) return;
  put_options two;
  two.readers = reader_set{2, {}};
  ASSERT_TRUE(succeeded(producer->put(this->flow, "shared", test_pattern(100, 3), two)));
  ASSERT_TRUE(succeeded(this->get(*consumer, "shared", "consumer")));
  this->pause(*consumer);  // the news of the read may be on its way
  std::array<std::string_view, 2> const had{"absent", "shared"};
  auto const consumed = consumer->get_all_views(this->flow, had, this->by(this->patient(), "consumer"));
  ASSERT_TRUE(failed_with(consumed, error_kind::consumed));
  EXPECT_EQ(consumed.error().index(), 1U);
  auto const consumed_too = consumer->get_any_view(this->flow, had, this->by(this->patient(), "consumer"));
  ASSERT_TRUE(failed_with(consumed_too, error_kind::consumed));
  EXPECT_EQ(consumed_too.error().index(), 1U);
}

TYPED_TEST_P(connector_conformance, impossible_lists_of_keys_are_misconfigured) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::span<std::string_view const> const none;
  EXPECT_TRUE(failed_with(consumer->get_any_view(this->flow, none, this->by(this->patient())), error_kind::misconfigured));
  EXPECT_TRUE(failed_with(consumer->get_all_views(this->flow, none, this->by(this->patient())), error_kind::misconfigured));
  auto const put = producer->put(this->flow, "a", test_pattern(100, 1));
  ASSERT_TRUE(succeeded(put));
  std::array<std::string_view, 3> twice{"a", "b", "a"};
  EXPECT_TRUE(failed_with(consumer->get_any_view(this->flow, twice, this->by(this->patient(), {}, &put->where)), error_kind::misconfigured));
  EXPECT_TRUE(failed_with(consumer->get_all_views(this->flow, twice, this->by(this->patient(), {}, &put->where)), error_kind::misconfigured));
  auto const refused = consumer->get_all_views(this->flow, twice, this->by(this->patient()));
  ASSERT_TRUE(failed_with(refused, error_kind::misconfigured));
  EXPECT_EQ(refused.error().index(), 2U);
  key_names many(100);
  many.list[70] = many.list[20];
  auto const refused_too = consumer->get_all_views(this->flow, many.list, this->by(this->patient()));
  ASSERT_TRUE(failed_with(refused_too, error_kind::misconfigured));
  EXPECT_EQ(refused_too.error().index(), 70U);
  auto got = consumer->get_any_view(this->flow, twice, this->by(this->patient()));
  ASSERT_TRUE(succeeded(got)) << "for any of them it does no harm";
  EXPECT_NE(got->index, 1U);
  EXPECT_TRUE(holds(got->view.bytes().last(100), test_pattern(100, 1)));
}

TYPED_TEST_P(connector_conformance, close_ends_a_wait_for_several) {
  for (int round = 0; round != 20; ++round) {
    auto producer = this->open("producer");
    auto consumer = this->open("consumer");
    key_names const keys(20);
    ASSERT_TRUE(succeeded(this->put_again(*producer, keys.list[3], test_pattern(100, 1))));
    std::atomic<int> looking{0};
    std::array<error_kind, 2> outcomes{};
    auto const look = [&] {
      looking.fetch_add(1);
      looking.notify_one();
    };
    std::thread all([&] {
      look();
      auto got = consumer->get_all_views(this->flow, keys.list, this->by(this->patient()));
      outcomes[0] = got ? error_kind{} : got.error().kind();
    });
    std::thread any([&] {
      look();
      auto got = consumer->get_any_view(this->flow, std::span(keys.list).subspan(10), this->by(this->patient()));
      outcomes[1] = got ? error_kind{} : got.error().kind();
    });
    for (int n = looking.load(); n != 2; n = looking.load()) looking.wait(n);
    consumer->close();
    all.join();
    any.join();
    EXPECT_EQ(outcomes[0], error_kind::closed) << round;
    EXPECT_EQ(outcomes[1], error_kind::closed) << round;
    EXPECT_TRUE(failed_with(consumer->get_all_views(this->flow, keys.list, this->by(this->patient())), error_kind::closed));
    EXPECT_TRUE(failed_with(consumer->get_any_view(this->flow, keys.list, this->by(this->patient())), error_kind::closed));
    auto other = this->open("other");
    EXPECT_TRUE(succeeded(this->get(*other, keys.list[3]))) << "given back";
    EXPECT_TRUE(this->goes(*other, keys.list[3]));
  }
}

TYPED_TEST_P(connector_conformance, of_several_who_get_any_each_object_is_one_s) {
  constexpr std::size_t count = 60;
  auto producer = this->open("producer");
  if (!producer->facts().counts_readers) GTEST_SKIP() << "facts().counts_readers is false: reading consumes nothing";
  std::array consumers{this->open("a"), this->open("b")};
  key_names const keys(count);
  std::array<std::atomic<int>, count> had{};
  std::atomic<std::size_t> taken{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (auto& consumer : consumers)
    threads.emplace_back([&] {
      while (taken.load() != count) {
        auto got = consumer->get_any_view(this->flow, keys.list, this->by(this->soon()));
        if (!got && got.error().kind() != error_kind::timed_out) wrong.fetch_add(1);
        if (!got) continue;
        if (!same_bytes(got->view.bytes().last(64), test_pattern(64, got->index))) wrong.fetch_add(1);
        had[got->index].fetch_add(1);
        taken.fetch_add(1);
      }
    });
  for (std::size_t i = 0; i != count; ++i) EXPECT_TRUE(succeeded(producer->put(this->flow, keys.list[i], test_pattern(64, i))));
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  for (std::size_t i = 0; i != count; ++i) EXPECT_EQ(had[i].load(), 1) << i;
}

OMNICONN_END_NAMESPACE
