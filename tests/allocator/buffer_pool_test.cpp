// SPDX-License-Identifier: Apache-2.0
#include <omniconn/allocator/buffer_pool.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(std::is_nothrow_move_constructible_v<managed_buffer> && !std::is_copy_constructible_v<managed_buffer>);
static_assert(!std::is_copy_constructible_v<buffer_pool>);

constexpr std::size_t page = 4096;

struct five_floats {
  float elements[5];
};

buffer_pool open(std::size_t pages, std::size_t alignment = page) {
  auto pool = buffer_pool::open({pages * alignment, alignment});
  EXPECT_TRUE(pool) << pool.error().message();
  return std::move(pool).value();
}

// --- offsets: what upstream's BufferAllocator promises ---------------------------------------------------------------

TEST(buffer_pool_offsets, are_aligned_and_sizes_are_rounded_up) {
  auto pool = open(10);
  EXPECT_EQ(pool.allocate(100).value(), 0U);
  EXPECT_EQ(pool.allocate(page).value(), page);
  EXPECT_EQ(pool.allocate(page + 1).value(), 2 * page);
  EXPECT_EQ(pool.allocate(1).value(), 4 * page);
  EXPECT_EQ(pool.stats().used, 5 * page);
}

TEST(buffer_pool_offsets, the_lowest_fitting_hole_comes_first) {
  auto pool = open(10);
  auto const a = pool.allocate(page), b = pool.allocate(page), c = pool.allocate(page);
  ASSERT_TRUE(a && b && c);
  ASSERT_TRUE(pool.free(a.value(), page));
  ASSERT_TRUE(pool.free(c.value(), page));  // joins with the rest
  EXPECT_EQ(pool.allocate(page).value(), a.value());
}

TEST(buffer_pool_offsets, out_of_memory_says_so_and_ends_with_the_next_free) {
  auto pool = open(2);
  auto const all = pool.allocate(2 * page);
  ASSERT_TRUE(all);
  auto const refused = pool.allocate(1);
  ASSERT_TRUE(refused == error_kind::no_space);
  EXPECT_TRUE(std::string_view(refused.error().text()).starts_with("out of memory in the buffer pool"));
  EXPECT_NE(std::string_view(refused.error().text()).find("memory_pool_size"), std::string_view::npos);
  EXPECT_TRUE(pool.allocate(std::numeric_limits<std::size_t>::max()) == error_kind::no_space);
  ASSERT_TRUE(pool.free(all.value(), 2 * page));
  EXPECT_TRUE(pool.allocate(2 * page));
}

TEST(buffer_pool_offsets, freed_neighbours_are_one_range_whatever_the_order) {
  for (std::size_t first = 0; first != 3; ++first) {
    for (std::size_t second = 0; second != 3; ++second) {
      if (first == second) continue;
      auto pool = open(3);
      for (int i = 0; i != 3; ++i) ASSERT_TRUE(pool.allocate(page));
      ASSERT_TRUE(pool.free(first * page, page));
      ASSERT_TRUE(pool.free(second * page, page));
      ASSERT_TRUE(pool.free((3 - first - second) * page, page));
      EXPECT_EQ(pool.stats().free_ranges, 1U);
      EXPECT_EQ(pool.allocate(3 * page).value(), 0U);
    }
  }
}

TEST(buffer_pool_offsets, a_double_free_is_reported_and_changes_nothing) {
  auto pool = open(8);
  auto const a = pool.allocate(2 * page), b = pool.allocate(page);
  ASSERT_TRUE(a && b);
  ASSERT_TRUE(pool.free(a.value(), 2 * page));
  auto const before = pool.stats();
  EXPECT_TRUE(pool.free(a.value(), 2 * page) == error_kind::stale_handle) << "the same again";
  EXPECT_TRUE(pool.free(a.value(), page) == error_kind::stale_handle) << "contained in a free range";
  EXPECT_TRUE(pool.free(a.value() + page, page) == error_kind::stale_handle);
  EXPECT_TRUE(pool.free(5 * page, page) == error_kind::stale_handle) << "never handed out";
  auto const after = pool.stats();
  EXPECT_EQ(after.used, before.used);
  EXPECT_EQ(after.blocks, before.blocks);
  EXPECT_EQ(after.free_ranges, before.free_ranges);
}

TEST(buffer_pool_offsets, a_partial_overlap_is_memory_corruption) {
  auto pool = open(8);
  for (int i = 0; i != 4; ++i) ASSERT_TRUE(pool.allocate(page));
  ASSERT_TRUE(pool.free(page, page));
  auto const before = pool.stats();
  for (auto const& [offset, size] : std::vector<std::pair<std::uint64_t, std::size_t>>{
           {0, 2 * page},         // a block and a free range behind it
           {page, 2 * page},      // a free range and a block behind it
           {0, 3 * page},         // around a free range
           {3 * page, 3 * page},  // a block and a part of the free end
       }) {
    auto const refused = pool.free(offset, size);
    ASSERT_TRUE(refused == error_kind::corrupt) << offset << " " << size;
    EXPECT_TRUE(std::string_view(refused.error().text()).starts_with("memory corruption"));
    EXPECT_NE(std::string_view(refused.error().text()).find("overlaps"), std::string_view::npos) << "it says which mistake";
  }
  EXPECT_EQ(pool.stats().used, before.used);
  EXPECT_EQ(pool.stats().free_ranges, before.free_ranges);
}

TEST(buffer_pool_offsets, only_whole_blocks_are_freed) {
  auto pool = open(8);
  ASSERT_TRUE(pool.allocate(3 * page));
  ASSERT_TRUE(pool.allocate(page));
  EXPECT_TRUE(pool.free(0, page) == error_kind::corrupt) << "its first part";
  EXPECT_TRUE(pool.free(page, page) == error_kind::corrupt) << "its middle";
  EXPECT_TRUE(pool.free(0, 4 * page) == error_kind::corrupt) << "two blocks";
  EXPECT_TRUE(pool.free(0, 2 * page + 1)) << "sizes are rounded up here, too";
}

TEST(buffer_pool_offsets, what_cannot_be_a_block_is_an_argument_error) {
  auto pool = open(4);
  ASSERT_TRUE(pool.allocate(page));
  EXPECT_TRUE(pool.free(1, page) == error_kind::misconfigured);
  EXPECT_TRUE(pool.free(4 * page, page) == error_kind::misconfigured);
  EXPECT_TRUE(pool.free(0, 5 * page) == error_kind::misconfigured);
  EXPECT_TRUE(pool.free(0, std::numeric_limits<std::size_t>::max()) == error_kind::misconfigured);
  EXPECT_TRUE(pool.free(~std::uint64_t{0} - page + 1, page) == error_kind::misconfigured);
  EXPECT_EQ(pool.stats().blocks, 1U);
}

TEST(buffer_pool_offsets, zero_bytes_own_a_block) {
  auto pool = open(4);
  auto const a = pool.allocate(0), b = pool.allocate(0);
  ASSERT_TRUE(a && b);
  EXPECT_NE(a.value(), b.value());
  EXPECT_EQ(pool.stats().used, 2 * page);
  EXPECT_TRUE(pool.free(a.value(), 0));
  EXPECT_TRUE(pool.free(b.value(), 0));
}

TEST(buffer_pool_offsets, and_handles_do_not_free_each_other) {
  auto pool = open(4);
  auto buffer = pool.acquire(page);
  ASSERT_TRUE(buffer);
  EXPECT_TRUE(pool.free(buffer->offset().value(), page) == error_kind::misconfigured);
  EXPECT_TRUE(buffer->valid());
}

// --- handles: what upstream's ManagedBuffer promises, and what it does not ------------------------------------------

TEST(managed_buffer, is_released_once) {
  auto pool = open(4);
  auto buffer = pool.acquire(100);
  ASSERT_TRUE(buffer);
  EXPECT_EQ(pool.stats().blocks, 1U);
  EXPECT_TRUE(buffer->release());
  EXPECT_FALSE(buffer->release());
  EXPECT_FALSE(buffer->release());
  EXPECT_EQ(pool.stats().blocks, 0U);
  EXPECT_EQ(pool.stats().used, 0U);
}

TEST(managed_buffer, is_released_at_the_end_of_its_scope) {
  auto pool = open(1);
  for (int i = 0; i != 100; ++i) {
    auto const buffer = pool.acquire(page);
    ASSERT_TRUE(buffer) << "the one before is gone";
  }
  EXPECT_EQ(pool.stats().high_water, page);
}

TEST(managed_buffer, moves) {
  auto pool = open(2);
  auto a = std::move(pool.acquire(1)).value();
  auto b = std::move(pool.acquire(2)).value();
  a = std::move(b);
  EXPECT_EQ(a.size(), 2U);
  EXPECT_FALSE(b.valid());  // NOLINT(bugprone-use-after-move): the documented state
  EXPECT_TRUE(b.bytes() == error_kind::stale_handle);
  EXPECT_EQ(pool.stats().blocks, 1U) << "what a had is released";
  managed_buffer c(std::move(a));
  auto& same = c;
  c = std::move(same);
  EXPECT_TRUE(c.valid());
  EXPECT_FALSE(managed_buffer().valid());
  EXPECT_FALSE(managed_buffer().release());
}

TEST(managed_buffer, gives_its_bytes_in_place_and_as_a_copy) {
  auto pool = open(4);
  auto buffer = pool.acquire(5);
  ASSERT_TRUE(buffer);
  auto const bytes = buffer->bytes();
  ASSERT_TRUE(bytes);
  ASSERT_EQ(bytes->size(), 5U);
  EXPECT_EQ(bytes->data(), pool.base() + buffer->offset().value());
  std::memcpy(bytes->data(), "hello", 5);
  auto const copy = buffer->to_vector();
  ASSERT_TRUE(copy);
  EXPECT_EQ(text_of(*copy), "hello");
  EXPECT_NE(copy->data(), bytes->data());
}

TEST(managed_buffer, as_tensor) {
  auto pool = open(4);
  auto const buffer = pool.acquire(24);
  ASSERT_TRUE(buffer);
  auto const floats = buffer->as_span<float>();
  ASSERT_TRUE(floats);
  for (std::size_t i = 0; i != 6; ++i) (*floats)[i] = static_cast<float>(i);
  auto const tensor = buffer->as_tensor(dtype::float32, dims{2, 3});
  ASSERT_TRUE(tensor);
  EXPECT_EQ(tensor->as<float>().value()[5], 5.0F);
  EXPECT_EQ(tensor->data(), buffer->bytes()->data()) << "a view";
  EXPECT_TRUE(buffer->as_tensor(dtype::uint8, dims{24}));
  EXPECT_TRUE(buffer->as_tensor(dtype::complex64, dims{3}));
}

TEST(managed_buffer, as_tensor_refuses_what_cannot_be) {
  auto pool = open(4);
  auto const buffer = pool.acquire(24);
  ASSERT_TRUE(buffer);
  EXPECT_TRUE(buffer->as_tensor(dtype::float32, dims{-1, 6}) == error_kind::malformed);
  EXPECT_TRUE(buffer->as_tensor(dtype::float32, dims{-2, -3}) == error_kind::malformed) << "a product that fits does not help";
  EXPECT_TRUE(buffer->as_tensor(dtype::float32, dims{7}) == error_kind::malformed);
  EXPECT_TRUE(buffer->as_tensor(dtype::float32, dims{5}) == error_kind::malformed);
  EXPECT_TRUE(buffer->as_tensor(dtype::uint8, dims{page}) == error_kind::malformed) << "the rounding is not part of the buffer";
  EXPECT_TRUE(buffer->as_tensor(dtype::float64, dims{std::numeric_limits<std::int64_t>::max(), 8}) == error_kind::too_large);
  EXPECT_TRUE(buffer->as_span<five_floats>() == error_kind::malformed);
  auto const nothing = pool.acquire(0);
  ASSERT_TRUE(nothing);
  EXPECT_TRUE(nothing->as_tensor(dtype::float32, dims{0, 4}));
  EXPECT_TRUE(nothing->as_tensor(dtype::float32, dims{}) == error_kind::malformed) << "rank 0 has one element";
}

TEST(managed_buffer, as_tensor_refuses_a_misaligned_place) {
  auto pool = open(64, 1);  // a pool without alignment, as upstream allows it
  auto const odd = pool.acquire(3), buffer = pool.acquire(8);
  ASSERT_TRUE(odd && buffer);
  ASSERT_EQ(buffer->offset().value(), 3U);
  EXPECT_TRUE(buffer->as_tensor(dtype::float32, dims{2}) == error_kind::misconfigured);
  EXPECT_TRUE(buffer->as_span<double>() == error_kind::misconfigured);
  EXPECT_TRUE(buffer->as_tensor(dtype::uint8, dims{8}));
}

TEST(managed_buffer, after_release_nothing_shows_somebody_else_s_bytes) {
  auto pool = open(1);
  auto old = pool.acquire(page);
  ASSERT_TRUE(old);
  old->release();
  auto const now = pool.acquire(page);  // the same place
  ASSERT_TRUE(now);
  std::memset(now->bytes()->data(), 0x77, page);
  EXPECT_FALSE(old->valid());
  EXPECT_FALSE(static_cast<bool>(*old));
  EXPECT_EQ(old->size(), 0U);
  EXPECT_TRUE(old->bytes() == error_kind::stale_handle);
  EXPECT_TRUE(old->offset() == error_kind::stale_handle);
  EXPECT_TRUE(old->to_vector() == error_kind::stale_handle);
  EXPECT_TRUE(old->as_tensor(dtype::uint8, dims{page}) == error_kind::stale_handle);
  EXPECT_TRUE(old->as_span<int>() == error_kind::stale_handle);
  EXPECT_TRUE(std::move(*old).share() == error_kind::stale_handle);
  EXPECT_TRUE(std::move(*old).detach() == error_kind::stale_handle);
  EXPECT_FALSE(old->release());
  EXPECT_TRUE(now->valid()) << "and none of it touched the new owner";
}

TEST(managed_buffer, outlives_the_pool_object) {
  std::optional<managed_buffer> buffer;
  {
    auto pool = open(4);
    buffer = std::move(pool.acquire(page)).value();
    std::memset(buffer->bytes()->data(), 0x11, page);
  }
  ASSERT_TRUE(buffer->valid());
  EXPECT_EQ(buffer->to_vector().value(), std::vector<std::byte>(page, std::byte{0x11}));
  EXPECT_TRUE(buffer->release());
}

TEST(managed_buffer, share_makes_bytes_that_many_hold) {
  auto pool = open(4);
  auto buffer = pool.acquire(3);
  ASSERT_TRUE(buffer);
  std::memcpy(buffer->bytes()->data(), "abc", 3);
  std::byte* const where = buffer->bytes()->data();
  auto shared = std::move(*buffer).share();
  ASSERT_TRUE(shared);
  EXPECT_FALSE(buffer->valid());
  {
    blob const second = *shared;
    *shared = blob();
    EXPECT_EQ(text_of(second.bytes()), "abc");
    EXPECT_EQ(second.bytes().data(), where) << "nothing was copied";
    EXPECT_EQ(pool.stats().blocks, 1U);
  }
  EXPECT_EQ(pool.stats().blocks, 0U) << "the last one released it";
}

// --- tokens ---------------------------------------------------------------------------------------------------------

TEST(buffer_token, carries_a_buffer_through_a_number) {
  auto pool = open(4);
  auto buffer = std::move(pool.acquire(3)).value();
  std::memcpy(buffer.bytes()->data(), "xyz", 3);
  auto const token = std::move(buffer).detach();
  ASSERT_TRUE(token);
  EXPECT_FALSE(buffer.valid());  // NOLINT(bugprone-use-after-move): the documented state
  EXPECT_EQ(pool.stats().blocks, 1U) << "the number owns it";
  auto const again = pool.attach(*token);
  ASSERT_TRUE(again);
  EXPECT_EQ(text_of(again->bytes().value()), "xyz");
  EXPECT_EQ(again->size(), 3U);
}

TEST(buffer_token, works_once) {
  auto pool = open(1);
  auto const token = std::move(*pool.acquire(page)).detach();
  ASSERT_TRUE(token);
  {
    auto const buffer = pool.attach(*token);
    ASSERT_TRUE(buffer);
    EXPECT_TRUE(pool.attach(*token) == error_kind::stale_handle);
    EXPECT_TRUE(pool.release(*token) == error_kind::stale_handle);
    EXPECT_TRUE(buffer->valid());
  }
  auto const next = pool.acquire(page);  // the same place and the same books
  ASSERT_TRUE(next);
  EXPECT_TRUE(pool.attach(*token) == error_kind::stale_handle);
  EXPECT_TRUE(pool.release(*token) == error_kind::stale_handle);
  EXPECT_TRUE(next->valid());
}

TEST(buffer_token, can_be_released_without_a_handle) {
  auto pool = open(1);
  auto const token = std::move(*pool.acquire(page)).detach();
  ASSERT_TRUE(token);
  EXPECT_TRUE(pool.release(*token));
  EXPECT_EQ(pool.stats().blocks, 0U);
  EXPECT_TRUE(pool.release(*token) == error_kind::stale_handle);
}

TEST(buffer_token, forged_ones_are_refused) {
  auto pool = open(8);
  auto const live = pool.acquire(page);
  auto const token = std::move(*pool.acquire(page)).detach();
  ASSERT_TRUE(live && token);
  ASSERT_TRUE(pool.release(*token));
  std::uint64_t state = 3;
  for (int i = 0; i != 100000; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    // Small numbers and generations are the ones that could be right; those of live buffers are left out.
    auto const index = static_cast<std::uint32_t>(state >> 40) % 300, generation = static_cast<std::uint32_t>(state >> 33) % 6;
    if (index == 1 && generation == 1) continue;
    auto const forged = static_cast<buffer_token>(std::uint64_t{generation} << 32 | index);
    ASSERT_TRUE(pool.attach(forged) == error_kind::stale_handle) << index << " " << generation;
    ASSERT_TRUE(pool.release(forged) == error_kind::stale_handle) << index << " " << generation;
  }
  EXPECT_TRUE(live->valid());
  EXPECT_EQ(pool.stats().blocks, 1U);
}

// --- the pool -------------------------------------------------------------------------------------------------------

TEST(buffer_pool, bad_options_are_named) {
  for (std::size_t const alignment : {std::size_t{0}, std::size_t{3}, std::size_t{3000}}) {
    auto const refused = buffer_pool::open({page, alignment});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), error_kind::misconfigured);
    EXPECT_NE(refused.error().detail().find(std::to_string(alignment)), std::string::npos) << "the text has the value";
  }
  EXPECT_TRUE(buffer_pool::open({0, page}) == error_kind::misconfigured);
  EXPECT_TRUE(buffer_pool::open({std::numeric_limits<std::size_t>::max(), page}) == error_kind::misconfigured) << "rounding up overflows";
  EXPECT_TRUE(buffer_pool::open({std::numeric_limits<std::size_t>::max() - page, page}) == error_kind::no_space);
}

TEST(buffer_pool, sizes_are_rounded_up_so_that_no_tail_is_lost) {
  auto pool = buffer_pool::open({page + 1, page});
  ASSERT_TRUE(pool);
  EXPECT_EQ(pool->stats().capacity, 2 * page);
  EXPECT_TRUE(pool->allocate(2 * page));
}

TEST(buffer_pool, adopts_memory_and_keeps_its_owner) {
  struct memory {
    alignas(64) std::byte bytes[1000];
  };
  auto owner = std::make_shared<memory>();
  std::weak_ptr<memory> const watch = owner;
  std::optional<managed_buffer> buffer;
  {
    auto pool = buffer_pool::adopt(owner->bytes, {0, 64}, owner);
    ASSERT_TRUE(pool);
    EXPECT_EQ(pool->base(), owner->bytes);
    EXPECT_EQ(pool->stats().capacity, 960U) << "whole units";
    buffer = std::move(pool->acquire(64)).value();
    owner.reset();
  }
  EXPECT_FALSE(watch.expired()) << "the buffer holds it";
  buffer.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(buffer_pool, refuses_memory_that_does_not_fit) {
  alignas(64) std::byte bytes[256];
  EXPECT_TRUE(buffer_pool::adopt(mutable_bytes(bytes).subspan(1), {0, 64}) == error_kind::misconfigured);
  EXPECT_TRUE(buffer_pool::adopt(mutable_bytes(bytes).first(63), {0, 64}) == error_kind::misconfigured);
  EXPECT_TRUE(buffer_pool::adopt({}, {0, 64}) == error_kind::misconfigured);
  EXPECT_TRUE(buffer_pool::adopt(bytes, {0, 48}) == error_kind::misconfigured);
  EXPECT_TRUE(buffer_pool::adopt(mutable_bytes(bytes).subspan(1), {0, 1})) << "any address is aligned to 1";
}

TEST(buffer_pool, statistics) {
  auto pool = open(8);
  EXPECT_EQ(pool.stats().fragmentation, 0.0);
  std::vector<managed_buffer> buffers;
  for (int i = 0; i != 8; ++i) buffers.push_back(std::move(pool.acquire(page)).value());
  auto stats = pool.stats();
  EXPECT_EQ(stats.capacity, 8 * page);
  EXPECT_EQ(stats.used, 8 * page);
  EXPECT_EQ(stats.free, 0U);
  EXPECT_EQ(stats.largest_free, 0U);
  EXPECT_EQ(stats.free_ranges, 0U);
  EXPECT_EQ(stats.fragmentation, 0.0) << "nothing is free, so nothing is scattered";
  for (std::size_t i = 0; i < 8; i += 2) buffers[i].release();
  stats = pool.stats();
  EXPECT_EQ(stats.blocks, 4U);
  EXPECT_EQ(stats.free, 4 * page);
  EXPECT_EQ(stats.largest_free, page);
  EXPECT_EQ(stats.free_ranges, 4U);
  EXPECT_DOUBLE_EQ(stats.fragmentation, 0.75);
  EXPECT_EQ(stats.high_water, 8 * page);
}

TEST(buffer_pool, a_moved_from_pool_is_closed) {
  auto pool = open(2);
  auto const token = std::move(*pool.acquire(1)).detach();
  buffer_pool const moved(std::move(pool));
  EXPECT_TRUE(pool.acquire(1) == error_kind::closed);  // NOLINT(bugprone-use-after-move): the documented state
  EXPECT_TRUE(pool.allocate(1) == error_kind::closed);
  EXPECT_TRUE(pool.free(0, 1) == error_kind::closed);
  EXPECT_TRUE(pool.attach(*token) == error_kind::closed);
  EXPECT_TRUE(pool.release(*token) == error_kind::closed);
  EXPECT_EQ(pool.base(), nullptr);
  EXPECT_EQ(pool.stats().capacity, 0U);
  EXPECT_EQ(moved.stats().blocks, 1U);
}

// --- threads (run under ThreadSanitizer, too) -----------------------------------------------------------------------

TEST(buffer_pool_threads, buffers_of_many_threads_never_overlap) {
  constexpr std::size_t threads = 4, rounds = 2000;
  auto pool = open(64, 64);
  std::atomic<int> wrong{0};
  std::vector<std::thread> workers;
  for (std::size_t me = 0; me != threads; ++me) {
    workers.emplace_back([&, me] {
      std::uint64_t state = me;
      std::vector<managed_buffer> mine;
      auto const fill = static_cast<std::byte>(me + 1);
      for (std::size_t i = 0; i != rounds; ++i) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        if (auto made = pool.acquire(1 + (state >> 40) % 300)) {
          mutable_bytes const bytes = made->bytes().value();
          std::fill(bytes.begin(), bytes.end(), fill);
          mine.push_back(std::move(*made));
        }
        if (mine.size() > 6 || (!mine.empty() && (state >> 33) % 3 == 0)) {
          mutable_bytes const bytes = mine.front().bytes().value();
          if (std::count(bytes.begin(), bytes.end(), fill) != static_cast<std::ptrdiff_t>(bytes.size())) ++wrong;
          mine.front() = std::move(mine.back());
          mine.pop_back();
        }
        if ((state >> 50) % 16 == 0) {
          auto const offset = pool.allocate(64);
          if (offset && !pool.free(*offset, 64)) ++wrong;
        }
        if (pool.stats().used > pool.stats().capacity) ++wrong;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(wrong, 0);
  auto const stats = pool.stats();
  EXPECT_EQ(stats.used, 0U);
  EXPECT_EQ(stats.blocks, 0U);
  EXPECT_EQ(stats.free_ranges, 1U);
}

TEST(buffer_pool_threads, of_many_that_use_one_token_one_gets_it) {
  constexpr std::size_t threads = 4, rounds = 500;
  auto pool = open(4);
  std::vector<std::atomic<std::uint64_t>> tokens(rounds);
  std::vector<std::atomic<int>> winners(rounds);
  std::barrier start(static_cast<std::ptrdiff_t>(threads));
  std::vector<std::thread> workers;
  for (std::size_t me = 0; me != threads; ++me) {
    workers.emplace_back([&, me] {
      for (std::size_t i = 0; i != rounds; ++i) {
        if (me == 0) {
          auto made = pool.acquire(8);
          tokens[i] = static_cast<std::uint64_t>(std::move(*made).detach().value());
        }
        start.arrive_and_wait();
        auto const token = static_cast<buffer_token>(tokens[i].load());
        if (me % 2 == 0) {
          if (auto const got = pool.attach(token)) winners[i] += got->valid() ? 1 : 100;
        } else if (pool.release(token)) {
          winners[i] += 1;
        }
        start.arrive_and_wait();
      }
    });
  }
  for (auto& worker : workers) worker.join();
  for (auto const& count : winners) ASSERT_EQ(count, 1);
  EXPECT_EQ(pool.stats().blocks, 0U);
}

TEST(buffer_pool_threads, the_last_buffer_may_end_the_pool_on_any_thread) {
  for (int round = 0; round != 50; ++round) {
    std::vector<managed_buffer> buffers;
    {
      auto pool = open(8);
      for (int i = 0; i != 8; ++i) buffers.push_back(std::move(pool.acquire(page)).value());
    }
    std::vector<std::thread> workers;
    for (auto& buffer : buffers) {
      workers.emplace_back([held = std::move(buffer)]() mutable {
        held.bytes()->front() = std::byte{1};
        held.release();
      });
    }
    for (auto& worker : workers) worker.join();
  }
}

}  // namespace
