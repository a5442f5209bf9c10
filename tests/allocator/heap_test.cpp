// SPDX-License-Identifier: Apache-2.0
#include <omniconn/allocator/heap.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

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

// --- blocks that are kept -------------------------------------------------------------------------------------------------------------

constexpr std::size_t mib = std::size_t{1} << 20;

/// A block that was written to and given back; where it was.
std::byte* used_and_gone(heap_allocator& heap, std::size_t size) {
  auto const block = heap.allocate(size);
  if (!block) return nullptr;
  std::memset(block->data(), 0x5a, block->size());
  heap_allocator::dispose(token_of(block->data()));
  return block->data();
}

TEST(heap_allocator, a_kept_block_is_the_next_of_about_its_size) {
  heap_allocator heap({.keep = 4 * mib});
  auto* const before = used_and_gone(heap, 2 * mib);
  EXPECT_EQ(heap.usage().used, 0U) << "kept is not used";
  EXPECT_EQ(heap.usage().blocks, 0U);
  auto const half = heap.allocate(mib);
  ASSERT_TRUE(half);
  EXPECT_EQ(half->data(), before);
  EXPECT_EQ(half->size(), mib);
  auto const other = heap.allocate(mib);
  ASSERT_TRUE(other);
  EXPECT_NE(other->data(), before) << "one block, one owner";
  std::memset(half->data(), 1, half->size());
  std::memset(other->data(), 2, other->size());
  EXPECT_EQ(half->back(), std::byte{1});
  EXPECT_TRUE(heap.deallocate(other->data()));
  EXPECT_TRUE(heap.deallocate(half->data()));
  auto const whole = heap.allocate(2 * mib);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->data(), before) << "it is as large as ever";
  std::memset(whole->data(), 3, whole->size());
  EXPECT_TRUE(heap.deallocate(whole->data()));
}

TEST(heap_allocator, no_small_block_is_kept_and_no_large_one_for_a_small_need) {
  heap_allocator heap({.keep = 64 * mib});
  auto* const large = used_and_gone(heap, 8 * mib);
  auto const small = heap.allocate(3 * mib);
  ASSERT_TRUE(small);
  EXPECT_NE(small->data(), large) << "more than half of it would lie idle";
  EXPECT_TRUE(heap.deallocate(small->data()));
  used_and_gone(heap, 1000);
  auto const again = heap.allocate(8 * mib);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->data(), large);
  EXPECT_TRUE(heap.deallocate(again->data()));
}

TEST(heap_allocator, what_is_kept_has_a_limit_and_the_oldest_goes_first) {
  heap_allocator heap({.keep = 6 * mib});
  std::vector<mutable_bytes> blocks;
  for (int i = 0; i != 3; ++i) blocks.push_back(heap.allocate(2 * mib).value());
  for (auto const& b : blocks) EXPECT_TRUE(heap.deallocate(b.data()));
  used_and_gone(heap, 16 * mib);  // larger than all: goes to the system, and nothing else does
  std::vector<std::byte*> back;
  for (int i = 0; i != 3; ++i) back.push_back(heap.allocate(2 * mib).value().data());
  EXPECT_EQ(back, (std::vector{blocks[2].data(), blocks[1].data(), blocks[0].data()}));
  for (auto* p : back) EXPECT_TRUE(heap.deallocate(p));
  auto* const fourth = used_and_gone(heap, 4 * mib);
  auto const last = heap.allocate(4 * mib);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->data(), fourth);
  auto const kept = heap.allocate(2 * mib);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->data(), blocks[0].data()) << "it came back last of the three";
  EXPECT_TRUE(heap.deallocate(kept->data()));
  EXPECT_TRUE(heap.deallocate(last->data()));
}

TEST(heap_allocator, a_block_that_outlives_its_heap_is_not_kept) {
  std::optional<heap_allocator> heap(heap_allocator::options{.keep = 64 * mib});
  used_and_gone(*heap, 2 * mib);
  auto const block = heap->allocate(4 * mib);
  ASSERT_TRUE(block);
  heap.reset();
  heap_allocator::dispose(token_of(block->data()));  // the address sanitizer would tell of a leak
}

TEST(heap_allocator, keeps_for_many_threads) {
  heap_allocator heap({.keep = 8 * mib});
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t != 4; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i != 200; ++i) {
        auto const block = heap.allocate(mib + (i % 7) * 4096);
        if (!block) continue;
        std::byte const mark{static_cast<unsigned char>(t + 1)};
        block->front() = block->back() = mark;
        std::this_thread::yield();
        if (block->front() != mark || block->back() != mark) ++wrong;
        heap_allocator::dispose(token_of(block->data()));
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(heap.usage().blocks, 0U);
}

}  // namespace
