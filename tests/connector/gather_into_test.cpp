// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/core/checksum.hpp>
#include <omniconn/detail/gather_into.hpp>

namespace {

using namespace omniconn;

std::vector<std::byte> bytes_of_size(std::size_t size) {
  std::vector<std::byte> out(size);
  for (std::size_t i = 0; i != size; ++i) out[i] = static_cast<std::byte>(i * 7 + i / 251);
  return out;
}

/// The first and the rest as two pieces.
struct cut {
  gather_list parts;
  cut(const_bytes source, std::size_t first) {
    parts.reference(source.first(first));
    parts.reference(source.subspan(first));
  }
};

// Short and long pieces go different ways: of each, and around the sizes where one ends.
TEST(gather_into, copies_and_sums_pieces_of_any_size) {
  constexpr std::byte untouched{0xA5};
  for (std::size_t const size : {0UL, 1UL, 63UL, 2047UL, 2048UL, 2081UL, 4096UL, 8191UL, 8192UL, 12287UL, 12288UL, 12289UL, 16384UL, 16385UL, 28672UL, 50'000UL})
    for (std::size_t const first : {std::size_t{0}, std::size_t{1}, size / 2, size})
      for (auto const by : {checksum_kind::none, checksum_kind::xxh3_64}) {
        if (first > size) continue;
        SCOPED_TRACE(std::to_string(size) + " bytes cut at " + std::to_string(first));
        auto const source = bytes_of_size(size);
        std::vector<std::byte> target(size + 64, untouched);
        object_info info;
        info.checksum_by = by;
        detail::gather_into<true>(cut(source, first).parts, mutable_bytes(target).first(size), info);
        EXPECT_TRUE(std::equal(source.begin(), source.end(), target.begin()));
        EXPECT_EQ(std::count(target.begin() + static_cast<std::ptrdiff_t>(size), target.end(), untouched), 64);
        EXPECT_EQ(info.checksum, by == checksum_kind::none ? 0 : checksum(source));
      }
}

// Whatever the machine has: each way copies the same, and nothing around it.
TEST(gather_into, every_path_copies_exactly) {
  constexpr std::byte untouched{0xA5};
  for (auto const path : detail::xxh3_all_paths) {
    if (!detail::xxh3_supported(path)) continue;
    for (std::size_t size = 2000; size <= 8300; size += size % 97 == 0 ? 1 : 61)
      for (std::size_t const shift : {0UL, 1UL, 17UL}) {
        auto const source = bytes_of_size(size + shift);
        std::vector<std::byte> target(size + 128, untouched);
        detail::copy_over(target.data() + 64 - shift, const_bytes(source).subspan(shift), path);
        auto const at = target.begin() + static_cast<std::ptrdiff_t>(64 - shift);
        ASSERT_TRUE(std::equal(source.begin() + static_cast<std::ptrdiff_t>(shift), source.end(), at)) << size << " bytes on path " << static_cast<int>(path);
        ASSERT_EQ(std::count(target.begin(), at, untouched), at - target.begin());
        ASSERT_EQ(std::count(at + static_cast<std::ptrdiff_t>(size), target.end(), untouched), static_cast<std::ptrdiff_t>(64 + shift));
      }
  }
}

// Who waits is told of whole steps only, of each, and not of the end, which the commit says.
TEST(gather_in_steps, tells_how_far_it_has_come) {
  struct figures {
    std::size_t size, step;
  };
  for (auto const f : {figures{50'000, 16'384}, figures{65'536, 16'384}, figures{(1U << 20U) + 5, 65'536}, figures{(16U << 20U) + 5, 262'144}})
    for (auto const by : {checksum_kind::none, checksum_kind::xxh3_64}) {
      SCOPED_TRACE(f.size);
      auto const source = bytes_of_size(f.size);
      std::vector<std::byte> target(f.size);
      object_info info;
      info.checksum_by = by;
      std::size_t told = 0;
      detail::gather_in_steps(cut(source, 10'001).parts, target, info, [&](std::uint64_t ready) {
        EXPECT_EQ(ready, told + f.step);
        EXPECT_TRUE(std::equal(source.begin() + static_cast<std::ptrdiff_t>(told), source.begin() + static_cast<std::ptrdiff_t>(ready), target.begin() + static_cast<std::ptrdiff_t>(told)));
        told = static_cast<std::size_t>(ready);
      });
      EXPECT_EQ(told, (f.size - 1) / f.step * f.step);
      EXPECT_EQ(target, source);
      EXPECT_EQ(info.checksum, by == checksum_kind::none ? 0 : checksum(source));
    }
}

}  // namespace
