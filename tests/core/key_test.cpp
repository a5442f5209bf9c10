// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/key.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(edge{"0", "1"} == edge{"0", "1"} && edge{"0", "1"} != edge{"1", "0"} && edge{"0", "1"} != edge{"0", "2"});
static_assert(std::is_trivially_copyable_v<edge>);
static_assert(!std::is_copy_constructible_v<key_scratch> && !std::is_move_constructible_v<key_scratch>, "wire keys point into it");

bool lies_in(key_scratch const& scratch, wire_key key) {
  auto const* const at = reinterpret_cast<std::byte const*>(&scratch);
  auto const* const first = reinterpret_cast<std::byte const*>(key.data());
  return first >= at && first < at + sizeof(key_scratch);
}

TEST(key_scratch, short_keys_stay_inside_and_long_ones_do_not) {
  for (std::size_t const size : {std::size_t{0}, std::size_t{1}, std::size_t{255}, std::size_t{256}, std::size_t{257}, max_key_size}) {
    SCOPED_TRACE(size);
    key_scratch scratch;
    std::string const half(size / 2, 'a'), rest(size - size / 2, 'b');
    scratch.start(size);
    scratch.append(half);
    scratch.append(rest);
    EXPECT_EQ(scratch.view(), half + rest);
    EXPECT_EQ(lies_in(scratch, scratch.view()), size <= 256);
  }
}

TEST(key_scratch, starts_again_in_either_direction) {
  key_scratch scratch;
  for (std::size_t const size : {256U, 257U, 3U, 4096U, 300U, 0U, 256U}) {
    std::string const key(size, static_cast<char>('a' + size % 26));
    scratch.start(size);
    EXPECT_TRUE(scratch.view().empty());
    scratch.append(key);
    EXPECT_EQ(scratch.view(), key);
    EXPECT_EQ(lies_in(scratch, scratch.view()), size <= 256);
  }
}

TEST(key_scratch, keys_are_bytes) {
  using namespace std::string_view_literals;
  key_scratch scratch;
  scratch.start(9);
  scratch.append("a\0b"sv);
  scratch.append("");
  scratch.append({});
  scratch.append("/\xc3\xa4\xff\n\0"sv);
  EXPECT_EQ(scratch.view(), "a\0b/\xc3\xa4\xff\n\0"sv);
}

}  // namespace
