// SPDX-License-Identifier: Apache-2.0
// Conformance of connectors: waiting, threads.
#pragma once

#include <algorithm>
#include <barrier>
#include <random>

#include <omniconn/testing/conformance/connector_fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(connector_conformance, what_is_absent_ends_as_the_deadline_says) {
  auto consumer = this->open("consumer");
  EXPECT_TRUE(failed_with(this->look(*consumer, "key"), error_kind::not_found)) << "who does not wait has not timed out";
  deadline const until = this->soon();
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", this->by(until)), error_kind::timed_out));
  EXPECT_TRUE(this->harness.passed(until)) << "never too early";
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", this->by(deadline::at(deadline::clock::time_point{}))), error_kind::timed_out));
  std::vector<std::byte> memory(8);
  EXPECT_TRUE(failed_with(consumer->get_into(this->flow, "key", memory, this->by(this->soon())), error_kind::timed_out));
  EXPECT_TRUE(failed_with(consumer->get_into(this->flow, "key", memory, this->by(deadline::immediate())), error_kind::not_found));
  auto producer = this->open("producer");
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(64, 1))));
  EXPECT_TRUE(succeeded(this->look(*consumer, "key"))) << "what is there needs no wait";
}

TYPED_TEST_P(connector_conformance, a_stop_token_ends_a_wait) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::stop_source stopped;
  stopped.request_stop();
  get_options how = this->by(this->patient());
  how.stop = stopped.get_token();
  EXPECT_TRUE(failed_with(consumer->get_view(this->flow, "key", how), error_kind::cancelled));
  for (int round = 0; round != 100; ++round) {
    std::stop_source source;
    std::atomic<bool> looking{false};
    error_kind outcome{};
    std::thread waiter([&] {
      get_options with = this->by(this->patient());
      with.stop = source.get_token();
      looking.store(true);
      looking.notify_one();
      auto got = consumer->get_view(this->flow, "key", with);
      outcome = got ? error_kind{} : got.error().kind();
    });
    looking.wait(false);
    source.request_stop();
    waiter.join();
    ASSERT_EQ(outcome, error_kind::cancelled) << round;
  }
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(64, 1))));
  EXPECT_TRUE(succeeded(this->get(*consumer, "key"))) << "none of those who gave up took it along";
}

TYPED_TEST_P(connector_conformance, a_put_wakes_who_waits) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (int round = 0; round != 200; ++round) {
    std::string const key = "key " + std::to_string(round);
    auto const data = test_pattern(100, static_cast<std::uint64_t>(round));
    std::atomic<bool> looking{false};
    bool arrived = false;
    std::thread waiter([&] {
      looking.store(true);
      looking.notify_one();
      auto got = this->get(*consumer, key);
      arrived = got && same_bytes(got->bytes().last(100), data);
    });
    looking.wait(false);
    auto const put = producer->put(this->flow, key, data);
    waiter.join();
    ASSERT_TRUE(succeeded(put));
    ASSERT_TRUE(arrived) << round;
  }
}

TYPED_TEST_P(connector_conformance, giving_back_and_consuming_wake_who_waits) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  if (!consumer->facts().counts_readers) GTEST_SKIP() << "facts().counts_readers is false: reading consumes nothing";
  if (consumer->facts().max_readers < 2) GTEST_SKIP() << "facts().max_readers is 1";
  put_options two;
  two.readers = reader_set{2, {}};
  for (int round = 0; round != 100; ++round) {
    SCOPED_TRACE(round);
    std::string const key = "key " + std::to_string(round);
    auto const put = producer->put(this->flow, key, test_pattern(100, 1), two);
    ASSERT_TRUE(succeeded(put));
    auto held = this->get(*consumer, key, "a");
    ASSERT_TRUE(succeeded(held));
    std::atomic<bool> looking{false};
    result<typename TestFixture::view> got{error_kind::io, "never asked"};
    std::thread waiter([&] {  // the same reader once more: it waits for what the first makes of its share
      looking.store(true);
      looking.notify_one();
      got = this->get(*consumer, key, "a");
    });
    looking.wait(false);
    if (round % 2 == 0) held->give_back();
    if (round % 2 == 1) held->release();
    waiter.join();
    if (round % 2 == 0) {
      EXPECT_TRUE(succeeded(got)) << "the first gave it back";
    } else {
      EXPECT_TRUE(failed_with(got, error_kind::consumed)) << "the first had the share of both";
    }
  }
}

TYPED_TEST_P(connector_conformance, who_waits_by_locator_learns_of_the_end) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  if (!consumer->facts().counts_readers) GTEST_SKIP() << "facts().counts_readers is false: reading consumes nothing";
  for (int round = 0; round != 100; ++round) {
    SCOPED_TRACE(round);
    auto const put = this->put_again(*producer, "key", test_pattern(100, 1));
    ASSERT_TRUE(succeeded(put));
    auto held = this->get(*consumer, "key", "a");
    ASSERT_TRUE(succeeded(held));
    std::atomic<bool> looking{false};
    result<typename TestFixture::view> got{error_kind::io, "never asked"};
    std::thread waiter([&] {
      looking.store(true);
      looking.notify_one();
      got = consumer->get_view(this->flow, "key", this->by(this->patient(), "b", &put->where));
    });
    looking.wait(false);
    if (round % 2 == 0 || !consumer->facts().can_erase) {
      held->release();
    } else {
      EXPECT_EQ(producer->cleanup(this->flow, "key").value_or(99), 1U);
    }
    waiter.join();
    EXPECT_TRUE(failed_with(got, error_kind::stale_handle));
    held->release();
  }
}

TYPED_TEST_P(connector_conformance, close_ends_a_wait) {
  for (int round = 0; round != 50; ++round) {
    auto consumer = this->open("consumer");
    std::atomic<bool> looking{false};
    error_kind outcome{};
    std::thread waiter([&] {
      looking.store(true);
      looking.notify_one();
      auto got = this->get(*consumer, "key");
      outcome = got ? error_kind{} : got.error().kind();
    });
    looking.wait(false);
    consumer->close();
    waiter.join();
    ASSERT_EQ(outcome, error_kind::closed) << round;
  }
}

TYPED_TEST_P(connector_conformance, of_two_producers_exactly_one_wins) {
  if (!this->open("facts")->facts().shared_keys) GTEST_SKIP() << "facts().shared_keys is false";
  constexpr int rounds = 200;
  std::array producers{this->open("a"), this->open("b")};
  auto consumer = this->open("consumer");
  std::barrier start(2);
  std::array<std::vector<error_kind>, 2> outcomes;
  std::vector<std::thread> threads;
  for (std::size_t me = 0; me != 2; ++me)
    threads.emplace_back([&, me] {
      for (int round = 0; round != rounds; ++round) {
        start.arrive_and_wait();
        auto put = producers[me]->put(this->flow, "key " + std::to_string(round), test_pattern(100 + me, static_cast<std::uint64_t>(round)));
        outcomes[me].push_back(put ? error_kind{} : put.error().kind());
      }
    });
  for (auto& t : threads) t.join();
  for (int round = 0; round != rounds; ++round) {
    auto const at = static_cast<std::size_t>(round);
    std::size_t const winner = outcomes[0][at] == error_kind{} ? 0 : 1;
    ASSERT_EQ(outcomes[winner][at], error_kind{}) << "round " << round;
    ASSERT_EQ(outcomes[1 - winner][at], error_kind::already_exists) << "round " << round;
    auto got = this->get(*consumer, "key " + std::to_string(round));
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(holds(got->bytes().last(100 + winner), test_pattern(100 + winner, at)));
  }
}

TYPED_TEST_P(connector_conformance, many_threads_lose_nothing) {
  constexpr std::size_t lanes = 4, keys_each = 250;
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const size_of = [](std::size_t n) { return n * 7919 % 20'000; };
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t lane = 0; lane != lanes; ++lane) {
    threads.emplace_back([&, lane] {
      for (std::size_t i = 0; i != keys_each; ++i) {
        std::size_t const n = lane * keys_each + i;
        auto const data = test_pattern(size_of(n), n);
        if (n % 3 != 0) {
          if (!producer->put(this->flow, "key " + std::to_string(n), data)) wrong.fetch_add(1);
          continue;
        }
        auto room = producer->reserve(data.size());
        if (!room) {
          wrong.fetch_add(1);
          continue;
        }
        std::copy(data.begin(), data.end(), room->bytes().begin());
        if (!producer->commit(this->flow, "key " + std::to_string(n), std::move(*room))) wrong.fetch_add(1);
      }
    });
    threads.emplace_back([&, lane] {
      std::vector<std::size_t> order;
      for (std::size_t n = lane; n < lanes * keys_each; n += lanes) order.push_back(n);
      std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(lane)));
      for (std::size_t const n : order) {
        for (int times = n % 10 == 0 ? 2 : 1; times != 0; --times) {  // some are given back first
          auto got = this->get(*consumer, "key " + std::to_string(n));
          if (!got || got->bytes().size() < size_of(n) || !same_bytes(got->bytes().last(size_of(n)), test_pattern(size_of(n), n))) wrong.fetch_add(1);
          if (got && times == 2) got->give_back();
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(consumer->health().moved.puts, 0U);
  EXPECT_EQ(producer->health().moved.puts, lanes * keys_each);
}

TYPED_TEST_P(connector_conformance, giving_up_and_putting_race_and_nothing_is_lost) {
  constexpr int rounds = 300;
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::barrier start(2);
  std::thread putter([&] {
    for (int round = 0; round != rounds; ++round) {
      start.arrive_and_wait();
      EXPECT_TRUE(succeeded(producer->put(this->flow, "key " + std::to_string(round), test_pattern(64, 1))));
    }
  });
  for (int round = 0; round != rounds; ++round) {
    start.arrive_and_wait();
    std::string const key = "key " + std::to_string(round);
    auto early = consumer->get_view(this->flow, key, this->by(this->harness.in(std::chrono::microseconds(round % 20))));
    if (early) early->give_back();
    if (!early) {
      EXPECT_TRUE(early == error_kind::timed_out);
    }
    EXPECT_TRUE(succeeded(this->get(*consumer, key))) << "round " << round;
  }
  putter.join();
}

OMNICONN_END_NAMESPACE
