// SPDX-License-Identifier: Apache-2.0
#include <omniconn/allocator/heap.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(explain_allocator<heap_allocator>());
static_assert(free_allocator<heap_allocator> && !region_allocator<heap_allocator>);
static_assert(heap_allocator::concurrent && heap_allocator::name == "heap");
static_assert(!std::is_copy_constructible_v<heap_allocator>);
static_assert(!allocator_policy<int>);

std::uint64_t token_of(std::byte* p) { return reinterpret_cast<std::uintptr_t>(p); }

TEST(heap_allocator, gives_exactly_what_was_asked_for) {
  heap_allocator heap;
  auto const block = heap.allocate(1000);
  ASSERT_TRUE(block);
  EXPECT_EQ(block->size(), 1000U);
  EXPECT_EQ(heap.usage().used, 1000U);
  EXPECT_TRUE(heap.deallocate(block->data()));
}

TEST(heap_allocator, dispose_reaches_the_account_of_the_block_s_own_allocator) {
  heap_allocator one, two;
  auto const a = one.allocate(100), b = two.allocate(200);
  ASSERT_TRUE(a && b);
  heap_allocator::dispose(token_of(a->data()));
  EXPECT_EQ(one.usage().blocks, 0U);
  EXPECT_EQ(one.usage().used, 0U);
  EXPECT_EQ(one.usage().high_water, 100U);
  EXPECT_EQ(two.usage().blocks, 1U);
  heap_allocator::dispose(token_of(b->data()));
  EXPECT_EQ(two.usage().blocks, 0U);
}

TEST(heap_allocator, refuses_another_heap_s_block) {
  heap_allocator one, two;
  auto const block = one.allocate(100);
  ASSERT_TRUE(block);
  EXPECT_FALSE(two.deallocate(block->data()));
  EXPECT_EQ(one.usage().blocks, 1U);
  EXPECT_TRUE(one.deallocate(block->data()));
}

TEST(heap_allocator, dispose_leaves_alone_what_is_no_block) {
  heap_allocator heap;
  auto const block = heap.allocate(4096);
  ASSERT_TRUE(block);
  std::memset(block->data(), 0x5a, block->size());
  heap_allocator::dispose(0);
  heap_allocator::dispose(token_of(block->data()) + 1);
  heap_allocator::dispose(token_of(block->data()) + 64);
  EXPECT_EQ(heap.usage().blocks, 1U);
  for (std::byte const b : *block) ASSERT_EQ(b, std::byte{0x5a});
  EXPECT_TRUE(heap.deallocate(block->data()));
}

TEST(heap_allocator, a_moved_from_heap_gives_nothing) {
  heap_allocator one;
  heap_allocator two(std::move(one));
  EXPECT_TRUE(one.allocate(1) == error_kind::no_space);  // NOLINT(bugprone-use-after-move): the documented state
  EXPECT_EQ(one.usage().capacity, 0U);
  auto const block = two.allocate(1);
  ASSERT_TRUE(block);
  EXPECT_FALSE(one.deallocate(block->data()));
  two = heap_allocator();
  EXPECT_EQ(two.usage().blocks, 0U) << "a new account; the old one ends with its last block";
  heap_allocator::dispose(token_of(block->data()));
}

}  // namespace
