// SPDX-License-Identifier: Apache-2.0
#include <omniconn/detail/extent_map.hpp>

#include <cstdint>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using omniconn::detail::extent_map;
using omniconn::detail::extent_state;

struct generator {
  std::uint64_t state = 1;
  std::uint64_t operator()(std::uint64_t end) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (state >> 24) % end;
  }
};

TEST(extent_map, an_empty_map_has_nothing) {
  extent_map map;
  EXPECT_EQ(map.take(1), 0U);
  EXPECT_EQ(map.find(0), 0U);
  EXPECT_EQ(map.largest(), 0U);
  EXPECT_EQ(map.next_free(0), 0U);
  ASSERT_TRUE(map.extend(0));
  EXPECT_EQ(map.size(), 0U);
}

// Best fit with the lowest start among equals, against a model that looks at every free range.
TEST(extent_map, takes_what_the_slow_way_takes) {
  constexpr std::uint64_t size = 20000;
  extent_map map;
  ASSERT_TRUE(map.extend(size));
  std::map<std::uint64_t, std::uint64_t> free_ranges{{0, size}};  // start → size
  std::vector<std::pair<extent_map::id, std::pair<std::uint64_t, std::uint64_t>>> taken;
  generator random;
  for (int step = 0; step != 30000; ++step) {
    bool const grow = random(1000) < (taken.size() < 400 ? 700U : 300U);
    if (grow) {
      std::uint64_t const want = 1 + random(std::uint64_t{1} << random(9));
      auto best = free_ranges.end();
      for (auto i = free_ranges.begin(); i != free_ranges.end(); ++i)
        if (i->second >= want && (best == free_ranges.end() || i->second < best->second)) best = i;
      extent_map::id const got = map.take(want);
      ASSERT_EQ(got != 0, best != free_ranges.end());
      if (got == 0) continue;
      ASSERT_EQ(map.start(got), best->first);
      ASSERT_EQ(map.size(got), want);
      ASSERT_EQ(map.state(got), extent_state::used);
      ASSERT_EQ(map.find(best->first), got);
      taken.push_back({got, {best->first, want}});
      auto const [start, length] = *best;
      free_ranges.erase(best);
      if (length != want) free_ranges[start + want] = length - want;
    } else if (!taken.empty()) {
      std::swap(taken[random(taken.size())], taken.back());
      auto [start, length] = taken.back().second;
      map.give(taken.back().first);
      ASSERT_EQ(map.find(start), 0U);
      taken.pop_back();
      auto next = free_ranges.lower_bound(start);
      if (next != free_ranges.end() && next->first == start + length) {
        length += next->second;
        next = free_ranges.erase(next);
      }
      if (next != free_ranges.begin() && std::prev(next)->first + std::prev(next)->second == start) {
        std::prev(next)->second += length;
      } else {
        free_ranges[start] = length;
      }
    }
    ASSERT_EQ(map.free_count(), free_ranges.size());
    if (step % 64 == 0) {
      std::uint64_t largest = 0;
      for (auto const& range : free_ranges) largest = range.second > largest ? range.second : largest;
      ASSERT_EQ(map.largest(), largest);
    }
  }
  for (auto const& extent : taken) map.give(extent.first);
  EXPECT_EQ(map.largest(), size);
  EXPECT_EQ(map.free_count(), 1U);
}

TEST(extent_map, neighbours_cover_the_range) {
  extent_map map;
  ASSERT_TRUE(map.extend(100));
  std::vector<extent_map::id> taken;
  for (std::uint64_t n = 1; n != 10; ++n) taken.push_back(map.take(n));
  map.give(taken[4]);
  std::uint64_t at = 0;
  for (extent_map::id n = taken[0]; n != 0; n = map.after(n)) {
    EXPECT_EQ(map.start(n), at);
    at += map.size(n);
    if (map.after(n) != 0) {
      EXPECT_EQ(map.before(map.after(n)), n);
    }
  }
  EXPECT_EQ(at, 100U);
  EXPECT_EQ(map.before(taken[0]), 0U);
}

TEST(extent_map, next_free_is_the_first_that_ends_behind) {
  extent_map map;
  ASSERT_TRUE(map.extend(30));
  extent_map::id const a = map.take(10), b = map.take(5);
  EXPECT_EQ(map.start(map.next_free(0)), 15U);
  map.give(a);
  EXPECT_EQ(map.start(map.next_free(0)), 0U);
  EXPECT_EQ(map.start(map.next_free(9)), 0U);
  EXPECT_EQ(map.start(map.next_free(10)), 15U) << "ends at 10, not behind it";
  EXPECT_EQ(map.start(map.next_free(29)), 15U);
  map.give(b);
  EXPECT_EQ(map.next_free(30), 0U);
}

TEST(extent_map, states_and_links_stay_with_the_extent) {
  extent_map map;
  ASSERT_TRUE(map.extend(10));
  extent_map::id const a = map.take(4);
  map.set_state(a, extent_state::cached);
  map.link(a) = 77;
  EXPECT_EQ(map.state(a), extent_state::cached);
  EXPECT_EQ(map.size(a), 4U);
  EXPECT_EQ(map.link(a), 77U);
  EXPECT_EQ(map.find(0), a);
  map.set_state(a, extent_state::owned);
  EXPECT_EQ(map.state(a), extent_state::owned);
  map.give(a);
  EXPECT_EQ(map.largest(), 10U);
}

TEST(extent_map, a_moved_map_leaves_an_empty_one) {
  extent_map map;
  ASSERT_TRUE(map.extend(5000));
  extent_map::id const a = map.take(3000);
  extent_map other(std::move(map));
  EXPECT_EQ(other.find(0), a);
  EXPECT_EQ(map.size(), 0U);  // NOLINT(bugprone-use-after-move): the state that the allocators rely on
  EXPECT_EQ(map.find(0), 0U);
  ASSERT_TRUE(map.extend(100));
  EXPECT_EQ(map.start(map.take(100)), 0U);
  map = std::move(other);
  EXPECT_EQ(map.size(), 5000U);
  EXPECT_EQ(map.find(0), a);
  ASSERT_TRUE(other.extend(100));
  EXPECT_EQ(other.find(0), 0U) << "nothing of the old map shows";
  map.give(a);
  EXPECT_EQ(map.largest(), 5000U);
}

// Sizes rise with the address and every other one is free: a plain search tree would be a list here.
TEST(extent_map, sorted_sizes_do_not_slow_it_down) {
  extent_map map;
  constexpr std::uint64_t count = 20000;
  ASSERT_TRUE(map.extend(count * (count + 1)));
  std::vector<extent_map::id> taken;
  for (std::uint64_t n = 1; n <= count; ++n) {
    taken.push_back(map.take(n));
    ASSERT_NE(map.take(1), 0U);
  }
  for (extent_map::id const n : taken) map.give(n);
  for (std::uint64_t n = count; n >= 1; --n) {
    extent_map::id const got = map.take(n);
    ASSERT_EQ(got, taken[n - 1]) << "the exact fit";
  }
}

}  // namespace
