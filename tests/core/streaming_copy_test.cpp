// SPDX-License-Identifier: Apache-2.0
// Copies that go around the caches: the same bytes and sums as plain ones, and nothing beside them.
#include <omniconn/detail/gather_into.hpp>
#include <omniconn/detail/streaming_copy.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> out(size);
  for (std::size_t i = 0; i != size; ++i) out[i] = static_cast<std::byte>(i * 2654435761U >> 13U);
  return out;
}

TEST(streaming_copy, copies_exactly_the_bytes_wherever_they_lie) {
  auto const source = pattern(1000);
  constexpr std::byte untouched{0xa5};
  alignas(64) std::array<std::byte, 1300> target;
  for (std::size_t to = 0; to != 65; ++to)
    for (std::size_t from = 0; from < 65; from += 13)
      for (std::size_t const size : {0U, 1U, 15U, 16U, 63U, 64U, 65U, 127U, 128U, 129U, 191U, 640U, 900U}) {
        target.fill(untouched);
        detail::streaming_copy(target.data() + to, const_bytes(source).subspan(from, size));
        ASSERT_EQ(std::memcmp(target.data() + to, source.data() + from, size), 0) << to << " " << from << " " << size;
        ASSERT_TRUE(std::all_of(target.begin(), target.begin() + static_cast<std::ptrdiff_t>(to), [](std::byte b) { return b == untouched; }));
        ASSERT_TRUE(std::all_of(target.begin() + static_cast<std::ptrdiff_t>(to + size), target.end(), [](std::byte b) { return b == untouched; })) << to << " " << size;
      }
}

TEST(streaming_copy, pieces_of_any_size_are_gathered_and_summed) {
  auto const source = pattern(100'000);
  for (bool const sums : {false, true}) {
    gather_list parts;
    std::size_t at = 0;
    for (std::size_t const size : {1U, 7U, 8191U, 8192U, 8193U, 64U, 30'000U}) {
      parts.reference(const_bytes(source).subspan(at, size));
      at += size;
    }
    std::vector<std::byte> target(at + 64);
    object_info info;
    detail::gather_streaming(
        [&](auto const& copy) noexcept {
          std::byte* to = target.data();
          parts.for_each([&](const_bytes piece) noexcept {
            copy(to, piece);
            to += piece.size();
          });
        },
        sums, info);
    EXPECT_EQ(std::memcmp(target.data(), source.data(), at), 0);
    EXPECT_EQ(info.checksum, sums ? checksum(const_bytes(source).first(at)) : 0);
  }
}

TEST(streaming_copy, a_store_that_follows_is_seen_after_the_bytes) {
  constexpr std::size_t size = 256;
  constexpr int rounds = 100'000;
  alignas(64) std::array<std::byte, size> memory{}, source{};
  alignas(64) std::atomic<int> written{0};
  alignas(64) std::atomic<int> read{0};
  int torn = 0;
  auto const wait_for = [](std::atomic<int> const& word, int value) {
    for (int i = 0; word.load(std::memory_order_acquire) != value; ++i)
      if (i > 1000) std::this_thread::yield();
  };
  std::thread reader([&] {
    for (int round = 1; round != rounds; ++round) {
      wait_for(written, round);
      for (std::size_t k = size; k != 0; k -= 64) torn += memory[k - 1] != static_cast<std::byte>(round) ? 1 : 0;  // the last first
      read.store(round, std::memory_order_release);
    }
  });
  for (int round = 1; round != rounds; ++round) {
    source.fill(static_cast<std::byte>(round));
    detail::streaming_copy(memory.data(), source);
    written.store(round, std::memory_order_release);
    wait_for(read, round);
  }
  reader.join();
  EXPECT_EQ(torn, 0);
}

TEST(streaming_copy, begins_at_a_size_where_it_pays_or_never) {
  EXPECT_GE(detail::streaming_from(), std::size_t{16} << 10U);
  EXPECT_EQ(detail::streaming_from(), detail::streaming_from());
}

}  // namespace
