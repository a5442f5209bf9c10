// SPDX-License-Identifier: Apache-2.0
#include <omniconn/detail/traffic_counter.hpp>

#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace {

TEST(traffic_counter, counts_exactly_whoever_moves_things) {
  constexpr std::uint64_t rounds = 20'000;
  constexpr unsigned threads = 4;
  omniconn::detail::traffic_counter counter;
  {
    std::vector<std::jthread> movers;
    for (unsigned i = 0; i != threads; ++i)
      movers.emplace_back([&counter, i] {
        for (std::uint64_t k = 0; k != rounds; ++k) counter.add(i + 1);
      });
  }
  EXPECT_EQ(counter.objects(), threads * rounds);
  EXPECT_EQ(counter.bytes(), (1 + 2 + 3 + 4) * rounds);
  counter.add(5);  // a thread that came later than the first, or has its number
  EXPECT_EQ(counter.objects(), threads * rounds + 1);
  EXPECT_EQ(counter.bytes(), (1 + 2 + 3 + 4) * rounds + 5);
}

TEST(traffic_counter, an_heir_of_the_first_thread_goes_on_where_that_ended) {
  omniconn::detail::traffic_counter counter;
  for (int i = 0; i != 100; ++i) std::jthread([&counter] { counter.add(7); }).join();  // mostly of one number
  EXPECT_EQ(counter.objects(), 100U);
  EXPECT_EQ(counter.bytes(), 700U);
}

}  // namespace
