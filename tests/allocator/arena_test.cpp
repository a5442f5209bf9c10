// SPDX-License-Identifier: Apache-2.0
#include <omniconn/allocator/arena.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(explain_allocator<arena_allocator>());
static_assert(region_allocator<arena_allocator> && !free_allocator<arena_allocator>);
static_assert(!arena_allocator::concurrent && arena_allocator::name == "arena");
static_assert(!std::is_copy_constructible_v<arena_allocator>);
static_assert(std::is_nothrow_move_constructible_v<arena_allocator>);

class arena : public ::testing::Test {
 protected:
  static constexpr std::size_t size = std::size_t{1} << 20;

  struct deleter {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, deleter> memory_{static_cast<std::byte*>(::operator new(size, std::align_val_t{64}))};
  arena_allocator allocator_{{}, memory_.get(), size};

  std::byte* take(std::size_t n) {
    auto const made = allocator_.allocate(n);
    return made ? made.value().data() : nullptr;
  }
  std::uint64_t cost(std::size_t n) {
    auto const before = allocator_.usage().used;
    std::byte* const p = take(n);
    auto const after = allocator_.usage().used;
    EXPECT_TRUE(allocator_.deallocate(p));
    return after - before;
  }
};

TEST_F(arena, the_block_freed_last_is_handed_out_first) {
  std::vector<std::byte*> blocks;
  for (int i = 0; i != 10; ++i) blocks.push_back(take(4096));
  for (std::byte* const p : blocks) EXPECT_TRUE(allocator_.deallocate(p));
  while (!blocks.empty()) {
    EXPECT_EQ(take(4000), blocks.back()) << "its lines are the warmest";
    blocks.pop_back();
  }
}

TEST_F(arena, sizes_are_rounded_little) {
  EXPECT_EQ(cost(0), 64U);
  for (std::size_t n = 1; n <= 200000; n += 37) {
    auto const paid = cost(n);
    std::size_t const exact = (n + 63) / 64 * 64;
    ASSERT_GE(paid, n);
    if (n <= 1024 || n > 65536) {
      ASSERT_EQ(paid, exact) << n;
    } else {
      ASSERT_LE(paid, exact + exact / 8) << n;
    }
  }
  EXPECT_EQ(cost(1025), 1152U);
  EXPECT_EQ(cost(65536), 65536U);
  EXPECT_EQ(cost(65537), 65600U);
}

TEST_F(arena, spans_are_as_long_as_asked) { EXPECT_EQ(allocator_.allocate(1025)->size(), 1025U); }

TEST_F(arena, kept_blocks_are_joined_when_something_larger_needs_them) {
  std::vector<std::byte*> blocks;
  for (std::byte* p = take(4096); p != nullptr; p = take(4096)) blocks.push_back(p);
  ASSERT_EQ(blocks.size(), size / 4096);
  for (std::byte* const p : blocks) ASSERT_TRUE(allocator_.deallocate(p));
  EXPECT_EQ(allocator_.usage().largest_free, size) << "counted as what it can become";
  EXPECT_NE(take(size), nullptr);
}

TEST_F(arena, a_class_gives_up_only_what_is_needed) {
  // Kept: many of 64 KiB and of 64 B. A request that the large ones satisfy leaves the small ones where they are.
  std::vector<std::byte*> small, large;
  for (int i = 0; i != 64; ++i) small.push_back(take(64));
  for (std::byte* p = take(65536); p != nullptr; p = take(65536)) large.push_back(p);
  for (std::byte* const p : small) ASSERT_TRUE(allocator_.deallocate(p));
  for (std::byte* const p : large) ASSERT_TRUE(allocator_.deallocate(p));
  ASSERT_NE(take(131072), nullptr);
  EXPECT_EQ(take(64), small.back()) << "still first in its class";
}

TEST_F(arena, a_block_that_fits_without_rounding_is_given) {
  ASSERT_NE(take(size - 64 * 17), nullptr);  // 17 granules are left; a class has 16 or 18
  std::byte* const last = take(64 * 17);
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(allocator_.usage().used, size);
  EXPECT_TRUE(allocator_.deallocate(last));
  EXPECT_EQ(allocator_.usage().largest_free, 64U * 17) << "of no class, so it went back at once";
  EXPECT_EQ(take(64 * 18), nullptr) << "it does not pass for one of its class";
  EXPECT_EQ(take(64 * 17), last);
}

TEST_F(arena, largest_free_joins_kept_and_free_neighbours) {
  // used | kept | free | kept | used, in every order of giving back
  for (int order = 0; order != 6; ++order) {
    arena_allocator allocator({}, memory_.get(), 64 * 40);
    std::vector<std::byte*> blocks;
    for (int i = 0; i != 5; ++i) blocks.push_back(allocator.allocate(64)->data());
    std::byte* const rest = allocator.allocate(64 * 35)->data();  // 35 granules are no class: given back, it is a free range
    constexpr int orders[6][3] = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}};
    for (int const i : orders[order]) ASSERT_TRUE(allocator.deallocate(blocks[static_cast<std::size_t>(i)]));
    EXPECT_EQ(allocator.usage().largest_free, 64U * 3);
    ASSERT_TRUE(allocator.deallocate(rest));
    EXPECT_EQ(allocator.usage().largest_free, 64U * 35);
    ASSERT_TRUE(allocator.deallocate(blocks[4]));
    EXPECT_EQ(allocator.usage().largest_free, 64U * 39);
    ASSERT_TRUE(allocator.deallocate(blocks[0]));
    EXPECT_EQ(allocator.usage().largest_free, 64U * 40);
  }
}

TEST_F(arena, what_is_kept_has_a_limit) {
  arena_allocator allocator({4 * 64}, memory_.get(), size);
  std::vector<std::byte*> blocks;
  for (int i = 0; i != 100; ++i) blocks.push_back(allocator.allocate(64)->data());
  for (std::byte* const p : blocks) ASSERT_TRUE(allocator.deallocate(p));
  for (int i = 3; i >= 0; --i) EXPECT_EQ(allocator.allocate(64)->data(), blocks[static_cast<std::size_t>(i)]) << "the first four were kept";
}

TEST_F(arena, a_null_base_gives_nothing) {
  arena_allocator allocator({}, nullptr, size);
  EXPECT_TRUE(allocator.allocate(1) == error_kind::no_space);
  allocator.extend(2 * size);
  EXPECT_TRUE(allocator.allocate(1) == error_kind::no_space);
  EXPECT_EQ(allocator.usage().capacity, 0U);
  EXPECT_FALSE(allocator.deallocate(nullptr));
}

TEST_F(arena, a_moved_from_arena_gives_nothing) {
  std::byte* const p = take(100);
  ASSERT_TRUE(allocator_.deallocate(take(5000)));  // kept in its class, which moves, too
  arena_allocator second(std::move(allocator_));
  EXPECT_TRUE(allocator_.allocate(1) == error_kind::no_space);  // NOLINT(bugprone-use-after-move): the documented state
  EXPECT_TRUE(allocator_.allocate(5000) == error_kind::no_space);
  EXPECT_FALSE(allocator_.deallocate(p));
  EXPECT_EQ(allocator_.usage().capacity, 0U);
  EXPECT_EQ(allocator_.usage().blocks, 0U);
  EXPECT_TRUE(second.deallocate(p));
}

TEST_F(arena, a_full_arena_names_the_option) {
  ASSERT_NE(take(size), nullptr);
  auto const refused = allocator_.allocate(1);
  ASSERT_TRUE(refused == error_kind::no_space);
  EXPECT_NE(std::string_view(refused.error().text()).find("memory_pool_size"), std::string_view::npos);
}

}  // namespace
