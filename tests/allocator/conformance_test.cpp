// SPDX-License-Identifier: Apache-2.0
// The allocator suite over every model, and over the smallest ones that can be written.
#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/allocator/pool.hpp>
#include <omniconn/testing/allocator_conformance.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

/// Without kept blocks: every free joins at once.
struct uncached_arena : arena_allocator {
  using arena_allocator::arena_allocator;
};
/// With the smallest alignment that blocks may have.
struct fine_pool : pool_allocator {
  using pool_allocator::pool_allocator;
};

/// The smallest region allocator, as docs/concepts/allocator.md shows it.
// First fit over a map of what is taken: slow, and right.
class first_fit_allocator {
 public:
  struct options {};
  static constexpr std::string_view name = "first fit";
  static constexpr bool concurrent = false;

  first_fit_allocator(options const&, std::byte* base, std::size_t committed) : base_(base) {
    skipped_ = (0 - reinterpret_cast<std::uintptr_t>(base)) % block_alignment;
    extend(committed);
  }
  void extend(std::size_t committed) {
    std::size_t const size = committed > skipped_ ? committed - skipped_ : 0;
    std::size_t const whole = size - size % block_alignment;
    if (whole > usage_.capacity) usage_.capacity = whole;
  }

  result<mutable_bytes> allocate(std::size_t n) {
    std::size_t const blocks = n == 0 ? 1 : (n - 1) / block_alignment + 1;
    if (blocks <= usage_.capacity / block_alignment) {
      std::size_t const size = blocks * block_alignment;
      std::size_t at = 0;
      for (auto const& [offset, taken] : taken_) {
        if (offset - at >= size) break;
        at = offset + taken;
      }
      if (usage_.capacity - at >= size) {
        taken_[at] = size;
        usage_.used += size;
        if (usage_.used > usage_.high_water) usage_.high_water = usage_.used;
        return mutable_bytes(base_ + skipped_ + at, n);
      }
    }
    return {error_kind::no_space, "the region is full; raise memory_pool_size"};
  }

  bool deallocate(std::byte* p) noexcept {
    auto const address = reinterpret_cast<std::uintptr_t>(p), start = reinterpret_cast<std::uintptr_t>(base_) + skipped_;
    auto const block = taken_.find(static_cast<std::size_t>(address - start));
    if (block == taken_.end()) return false;
    usage_.used -= block->second;
    taken_.erase(block);
    return true;
  }

  allocator_usage usage() const noexcept {
    allocator_usage out = usage_;
    std::size_t at = 0;
    auto const see = [&](std::size_t gap_end) {
      if (gap_end - at > out.largest_free) out.largest_free = gap_end - at;
    };
    for (auto const& [offset, taken] : taken_) {
      see(offset);
      at = offset + taken;
    }
    see(static_cast<std::size_t>(usage_.capacity));
    out.blocks = taken_.size();
    return out;
  }

 private:
  std::byte* base_;
  std::size_t skipped_ = 0;
  std::map<std::size_t, std::size_t> taken_;  // offset → size
  allocator_usage usage_;
};

}  // namespace

OMNICONN_BEGIN_NAMESPACE
template <>
struct allocator_conformance_options<uncached_arena> {
  static arena_allocator_options make() { return {0}; }
};
template <>
struct allocator_conformance_options<fine_pool> {
  static pool_allocator_options make() { return {1}; }
};

using all_allocators = ::testing::Types<heap_allocator, arena_allocator, uncached_arena, pool_allocator, fine_pool, first_fit_allocator>;
INSTANTIATE_TYPED_TEST_SUITE_P(all, allocator_conformance, all_allocators);
OMNICONN_END_NAMESPACE
