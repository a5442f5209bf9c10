// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/locator.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

struct small {
  std::uint64_t place;
  std::uint32_t generation;
};
struct other_size {
  std::uint64_t place;
};
using full = std::array<std::uint64_t, 8>;
using too_big = std::array<std::uint64_t, 9>;
struct not_plain {
  not_plain(not_plain const&) {}
};

template <class Record>
constexpr bool packs = requires(Record const& r) { locator::pack(locator_tag::shm, r); };

static_assert(std::is_trivially_copyable_v<locator> && std::is_trivially_destructible_v<locator>);
static_assert(sizeof(full) == locator::capacity && packs<full> && !packs<too_big> && !packs<not_plain>);
static_assert(sizeof(locator) == locator::capacity + 8, "goes on wires and into receipts");

TEST(locator, empty_until_packed) {
  locator const none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.tag(), locator_tag::none);
  EXPECT_TRUE(none.unpack<small>(locator_tag::shm) == error_kind::malformed);
}

TEST(locator, gives_back_what_was_packed) {
  auto const l = locator::pack(locator_tag::inproc, small{77, 5});
  EXPECT_FALSE(l.empty());
  EXPECT_EQ(l.tag(), locator_tag::inproc);
  auto const r = l.unpack<small>(locator_tag::inproc);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->place, 77U);
  EXPECT_EQ(r->generation, 5U);
  full const most{1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(*locator::pack(locator_tag::sim, most).unpack<full>(locator_tag::sim), most);
}

TEST(locator, refuses_another_transports_and_another_size) {
  auto const l = locator::pack(locator_tag::shm, small{1, 2});
  for (auto const tag : {locator_tag::inproc, locator_tag::none, static_cast<locator_tag>(0x8000)}) {
    auto const wrong = l.unpack<small>(tag);
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().kind(), error_kind::malformed);
    EXPECT_STREQ(wrong.error().text(), "the locator was made by another transport; pass the receipt of this edge, or none to search by key");
  }
  EXPECT_TRUE(l.unpack<other_size>(locator_tag::shm) == error_kind::malformed);
  EXPECT_TRUE(l.unpack<full>(locator_tag::shm) == error_kind::malformed);
}

TEST(locator, crosses_as_bytes_and_takes_nothing_else_along) {
  alignas(locator) std::array<std::byte, sizeof(locator)> a, b;
  a.fill(std::byte{0xaa});
  b.fill(std::byte{0x55});
  // Into memory with different leftovers: what the record does not fill must not show them.
  ::new (static_cast<void*>(a.data())) locator(locator::pack(locator_tag::shm, other_size{9}));
  ::new (static_cast<void*>(b.data())) locator(locator::pack(locator_tag::shm, other_size{9}));
  auto const at = sizeof(locator) - locator::capacity;
  EXPECT_EQ(std::memcmp(a.data() + at, b.data() + at, locator::capacity), 0);
  for (std::size_t i = at + sizeof(other_size); i != sizeof(locator); ++i) EXPECT_EQ(a[i], std::byte{0}) << i;

  locator back;
  std::memcpy(static_cast<void*>(&back), a.data(), sizeof back);
  EXPECT_EQ(back.unpack<other_size>(locator_tag::shm)->place, 9U);
}

}  // namespace
