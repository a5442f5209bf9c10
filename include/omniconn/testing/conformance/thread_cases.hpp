// SPDX-License-Identifier: Apache-2.0
// Conformance: many threads at once. Run these under ThreadSanitizer, too.
#pragma once

#include <algorithm>
#include <barrier>
#include <random>

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(transport_conformance, of_two_producers_exactly_one_wins) {
  if constexpr (!TestFixture::caps.shared_keys) GTEST_SKIP() << "caps.shared_keys is false";
  constexpr int rounds = 200;
  std::array<std::unique_ptr<typename TestFixture::side>, 2> producers{this->open("a"), this->open("b")};
  auto consumer = this->open("consumer");
  std::barrier start(2);
  std::array<std::vector<error_kind>, 2> outcomes;
  std::array<std::thread, 2> threads;
  for (std::size_t me = 0; me != 2; ++me)
    threads[me] = std::thread([&, me] {
      for (int round = 0; round != rounds; ++round) {
        start.arrive_and_wait();
        auto put = producers[me]->put("key " + std::to_string(round), test_pattern(100 + me, static_cast<std::uint64_t>(round)));
        outcomes[me].push_back(put ? error_kind{} : put.error().kind());
      }
    });
  for (auto& t : threads) t.join();
  for (int round = 0; round != rounds; ++round) {
    auto const at = static_cast<std::size_t>(round);
    bool const a = outcomes[0][at] == error_kind{}, b = outcomes[1][at] == error_kind{};
    ASSERT_NE(a, b) << "round " << round;
    EXPECT_EQ(outcomes[a ? 1 : 0][at], error_kind::already_exists);
    auto got = consumer->get("key " + std::to_string(round), this->patient());
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(holds(got->bytes, test_pattern(a ? 100 : 101, static_cast<std::uint64_t>(round))));
    this->let_go(std::move(*got));
  }
}

TYPED_TEST_P(transport_conformance, erase_if_beside_puts_sees_whole_keys) {
  if constexpr (!TestFixture::caps.can_list) GTEST_SKIP() << "caps.can_list is false";
  auto both = this->open("both");
  std::string const long_tail(100, 'k');
  std::atomic<bool> done{false};
  std::atomic<int> foreign{0}, looks{0};
  std::thread lister([&] {
    while (!done.load()) {
      auto const n = (*both)->erase_if([&](wire_key key) {
        bool const ours = key.starts_with("short ") || (key.starts_with("long ") && key.ends_with(long_tail));
        if (!ours) foreign.fetch_add(1);
        return false;
      });
      if (!n || *n != 0) foreign.fetch_add(1);
      looks.fetch_add(1);
      std::this_thread::yield();
    }
  });
  for (int round = 0; round < 500 || looks.load() == 0; ++round) {
    std::string const number = std::to_string(round);
    for (auto const& key : {"short " + number, "long " + number + long_tail}) {
      ASSERT_TRUE(succeeded(both->put(key, test_pattern(50, 1))));
      auto got = both->get(key, this->patient());
      ASSERT_TRUE(succeeded(got));
      this->let_go(std::move(*got));
    }
  }
  done.store(true);
  lister.join();
  EXPECT_EQ(foreign.load(), 0);
}

TYPED_TEST_P(transport_conformance, of_two_readers_exactly_one_gets) {
  if constexpr (!TestFixture::caps.counts_readers) GTEST_SKIP() << "caps.counts_readers is false: reading consumes nothing";
  constexpr int rounds = 200;
  auto producer = this->open("producer");
  std::array<std::unique_ptr<typename TestFixture::side>, 2> consumers{this->open("a"), this->open("b")};
  std::barrier start(2);
  std::atomic<int> won{0}, wrong{0};
  // Both ask for each object and for the end; who gets the object of a round puts the end of it, for the one that lost.
  std::array<std::thread, 2> threads;
  for (std::size_t me = 0; me != 2; ++me)
    threads[me] = std::thread([&, me] {
      for (int round = 0; round != rounds; ++round) {
        std::string const key = "key " + std::to_string(round), end = "end " + std::to_string(round);
        auto const data = test_pattern(300, static_cast<std::uint64_t>(round));
        start.arrive_and_wait();
        if (me == 0 && !producer->put(key, data)) wrong.fetch_add(1);
        auto& mine = *consumers[me];
        typename TestFixture::get_op object, last;
        auto now = mine->find(object, key, {});
        static_cast<void>(mine->find(last, end, {}));
        operation* const both[]{&object, &last};
        auto const which = mine->wait(both, this->patient(), {});
        if (!which) {
          wrong.fetch_add(1);
        } else if (*which == 0) {
          auto got = mine.finish_get(object, now, this->patient());
          if (!got || !same_bytes(got->bytes, data)) wrong.fetch_add(1);
          if (got) this->let_go(std::move(*got));
          won.fetch_add(1);
          mine.quiet(last);
          if (!producer->put(end, data)) wrong.fetch_add(1);
        } else {
          auto got = mine.finish_get(last, progress::pending, this->patient());
          if (!got) wrong.fetch_add(1);
          if (got) this->let_go(std::move(*got));
        }
        mine.quiet(object);
        mine.quiet(last);
        start.arrive_and_wait();
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(won.load(), rounds);
  EXPECT_EQ(wrong.load(), 0);
}

TYPED_TEST_P(transport_conformance, nothing_is_lost_among_many_threads) {
  constexpr std::size_t threads_each_way = 3, keys_each = 150;
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::array<std::vector<sent_block*>, threads_each_way> blocks;
  std::atomic<int> wrong{0};
  auto const size_of = [](std::size_t n) { return n * 7919 % 3000 + (TestFixture::caps.empty_objects ? 0 : 1); };
  std::vector<std::thread> threads;
  for (std::size_t lane = 0; lane != threads_each_way; ++lane) {
    threads.emplace_back([&, lane] {
      for (std::size_t i = 0; i != keys_each; ++i) {
        std::size_t const n = lane * keys_each + i;
        auto put = producer->put("key " + std::to_string(n), test_pattern(size_of(n), n));
        if (put) {
          blocks[lane].push_back(put->block);
        } else {
          wrong.fetch_add(1);
        }
      }
    });
    threads.emplace_back([&, lane] {
      std::vector<std::size_t> order;
      for (std::size_t n = lane; n < threads_each_way * keys_each; n += threads_each_way) order.push_back(n);
      std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(lane)));
      for (std::size_t const n : order) {
        auto got = consumer->get("key " + std::to_string(n), this->patient());
        if (!got || !same_bytes(got->bytes, test_pattern(size_of(n), n))) {
          wrong.fetch_add(1);
          continue;
        }
        if (n % 10 == 0) {  // some are given back first
          got->hold.finish(disposition::give_back);
          got = consumer->get("key " + std::to_string(n), this->patient());
          if (!got || !same_bytes(got->bytes, test_pattern(size_of(n), n))) wrong.fetch_add(1);
        }
        if (got) got->hold.finish(disposition::consumed);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0);
  for (auto const& lane : blocks)
    for (sent_block* const b : lane) ASSERT_TRUE(this->comes_back(*producer, *b));
  for (auto const& lane : blocks)
    for (sent_block* const b : lane) EXPECT_EQ(b->returned.load(), 1);
}

TYPED_TEST_P(transport_conformance, cancel_and_put_race_and_nothing_is_lost) {
  constexpr int rounds = 300;
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::barrier start(2);
  std::thread putter([&] {
    for (int round = 0; round != rounds; ++round) {
      start.arrive_and_wait();
      EXPECT_TRUE(succeeded(producer->put("key " + std::to_string(round), test_pattern(64, 1))));
      start.arrive_and_wait();
    }
  });
  for (int round = 0; round != rounds; ++round) {
    std::string const key = "key " + std::to_string(round);
    typename TestFixture::get_op op;
    EXPECT_TRUE(succeeded((*consumer)->find(op, key, {})));
    start.arrive_and_wait();
    consumer->quiet(op);  // before, during or after the put
    start.arrive_and_wait();
    auto got = consumer->get(key, this->patient());
    EXPECT_TRUE(succeeded(got)) << "round " << round;
    if (got) this->let_go(std::move(*got));
  }
  putter.join();
}

OMNICONN_END_NAMESPACE
