// SPDX-License-Identifier: Apache-2.0
// Two algorithms for headers that every user compiles: <algorithm> would add 7,000 preprocessed lines to each of their files.
#pragma once

#include <cstddef>
#include <utility>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Sorts in place by heapsort: O(n log n) whatever the input, no memory, not stable.
template <class Item, class Less>
constexpr void sort(Item* items, std::size_t count, Less less) {
  auto const sink = [&](std::size_t at, std::size_t end) {
    for (std::size_t child = 2 * at + 1; child < end; at = child, child = 2 * at + 1) {
      if (child + 1 < end && less(items[child], items[child + 1])) ++child;
      if (!less(items[at], items[child])) return;
      std::swap(items[at], items[child]);
    }
  };
  for (std::size_t at = count / 2; at-- != 0;) sink(at, count);
  for (std::size_t end = count; end-- > 1;) {
    std::swap(items[0], items[end]);
    sink(0, end);
  }
}

template <class Item>
constexpr void sort(Item* items, std::size_t count) {
  sort(items, count, [](Item const& a, Item const& b) { return a < b; });
}

/// The first position of a sorted range whose item is not less than `wanted`, as std::lower_bound's.
template <class Iterator, class Wanted, class Less>
constexpr Iterator lower_bound(Iterator first, Iterator last, Wanted const& wanted, Less less) {
  auto count = last - first;
  while (count > 0) {
    auto const half = count / 2;
    if (less(*(first + half), wanted)) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
