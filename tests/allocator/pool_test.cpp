// SPDX-License-Identifier: Apache-2.0
#include <omniconn/allocator/pool.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(explain_allocator<pool_allocator>());
static_assert(region_allocator<pool_allocator> && !free_allocator<pool_allocator>);
static_assert(!pool_allocator::concurrent && pool_allocator::name == "pool");

class pool : public ::testing::Test {
 protected:
  static constexpr std::size_t page = 4096, size = 64 * page;

  struct deleter {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{page}); }
  };
  std::unique_ptr<std::byte, deleter> memory_{static_cast<std::byte*>(::operator new(size, std::align_val_t{page}))};
};

TEST_F(pool, blocks_are_whole_pages) {
  pool_allocator allocator({}, memory_.get(), size);
  for (std::size_t const n : {std::size_t{0}, std::size_t{1}, page - 1, page}) {
    auto const before = allocator.usage().used;
    auto const block = allocator.allocate(n);
    ASSERT_TRUE(block);
    EXPECT_EQ(block->size(), n);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->data()) % page, 0U);
    EXPECT_EQ(allocator.usage().used - before, page);
  }
  ASSERT_TRUE(allocator.allocate(page + 1));
  EXPECT_EQ(allocator.usage().used, 6 * page);
}

TEST_F(pool, the_tightest_hole_is_taken_and_among_equals_the_lowest) {
  pool_allocator allocator({}, memory_.get(), size);
  std::vector<std::byte*> blocks;
  for (std::size_t const pages : {std::size_t{4}, std::size_t{1}, std::size_t{2}, std::size_t{1}, std::size_t{2}, std::size_t{1}})
    blocks.push_back(allocator.allocate(pages * page)->data());
  for (std::size_t const hole : {std::size_t{0}, std::size_t{4}, std::size_t{2}}) ASSERT_TRUE(allocator.deallocate(blocks[hole]));
  EXPECT_EQ(allocator.allocate(2 * page)->data(), blocks[2]) << "not the larger hole before it";
  EXPECT_EQ(allocator.allocate(2 * page)->data(), blocks[4]);
  EXPECT_EQ(allocator.allocate(page)->data(), blocks[0]) << "the four-page hole is tighter than the rest of the pool";
}

TEST_F(pool, neighbours_join_at_once) {
  pool_allocator allocator({}, memory_.get(), 3 * page);
  std::byte* const a = allocator.allocate(page)->data();
  std::byte* const b = allocator.allocate(page)->data();
  std::byte* const c = allocator.allocate(page)->data();
  ASSERT_TRUE(allocator.deallocate(a));
  ASSERT_TRUE(allocator.deallocate(c));
  EXPECT_EQ(allocator.usage().largest_free, page);
  ASSERT_TRUE(allocator.deallocate(b));
  EXPECT_EQ(allocator.usage().largest_free, 3 * page);
}

TEST_F(pool, alignments_are_mended_to_powers_of_two_of_at_least_64) {
  struct {
    std::size_t asked, given;
  } constexpr cases[] = {{0, 64}, {1, 64}, {64, 64}, {65, 128}, {3000, 4096}, {4096, 4096}};
  for (auto const& c : cases) {
    pool_allocator allocator({c.asked}, memory_.get(), size);
    ASSERT_TRUE(allocator.allocate(1));
    EXPECT_EQ(allocator.usage().used, c.given) << c.asked;
  }
  for (std::size_t const absurd : {std::numeric_limits<std::size_t>::max(), (std::numeric_limits<std::size_t>::max() >> 1) + 2}) {
    pool_allocator allocator({absurd}, memory_.get(), size);
    EXPECT_TRUE(allocator.allocate(1) == error_kind::no_space) << "no address is aligned like that, and nothing breaks";
  }
}

TEST_F(pool, a_full_pool_names_the_option) {
  pool_allocator allocator({}, memory_.get(), size);
  auto const refused = allocator.allocate(size + 1);
  ASSERT_TRUE(refused == error_kind::no_space);
  EXPECT_NE(std::string_view(refused.error().text()).find("memory_pool_size"), std::string_view::npos);
}

}  // namespace
