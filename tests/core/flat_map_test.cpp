// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/flat_map.hpp>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using omniconn::flat_map;

TEST(flat_map, does_what_a_map_does) {
  std::mt19937 random(7);
  flat_map<std::string, int> ours;
  std::map<std::string, int> theirs;
  for (int i = 0; i != 2000; ++i) {
    std::string const key = std::to_string(random() % 300);
    switch (random() % 4) {
      case 0: EXPECT_EQ(ours.erase(key), theirs.erase(key)); break;
      case 1: EXPECT_EQ(ours[key] = i, theirs[key] = i); break;
      default: {
        auto const [mine, is_new] = ours.emplace(key, i);
        auto const [other, was_new] = theirs.emplace(key, i);
        EXPECT_EQ(is_new, was_new);
        EXPECT_EQ(mine->second, other->second);
      }
    }
    EXPECT_EQ(ours.count(key), theirs.count(key));
    ASSERT_EQ(ours.size(), theirs.size());
  }
  std::vector<std::pair<std::string, int>> const in_order(theirs.begin(), theirs.end());
  EXPECT_EQ((std::vector<std::pair<std::string, int>>(ours.begin(), ours.end())), in_order);
  for (auto const& [key, value] : theirs) EXPECT_EQ(ours.at(key), value);
  EXPECT_EQ(ours.find("none"), ours.end());
}

TEST(flat_map, maps_with_the_same_entries_are_equal_in_whatever_order_they_came) {
  flat_map<int, int> a, b;
  EXPECT_TRUE(a.empty());
  a.emplace(1, 10);
  a.emplace(2, 20);
  b[2] = 20;
  EXPECT_NE(a, b);
  b[1] = 10;
  EXPECT_EQ(a, b);
  b.clear();
  EXPECT_EQ(b.size(), 0U);
}

}  // namespace
