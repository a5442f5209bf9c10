// SPDX-License-Identifier: Apache-2.0
// The default allocator of a region: warm blocks of few sizes in front, best fit behind, nothing lost to fragmentation between the two.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <omniconn/allocator/concept.hpp>
#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/region_blocks.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Options of `arena_allocator`.
struct arena_allocator_options {
  /// How many free bytes of one size class are kept apart for quick reuse; 0: none, every block is joined with its neighbours at once.
  std::size_t cache_bytes = std::size_t{1} << 20;
};

/// Carves a region that one owner fills and others read: the arena of a shared-memory producer.
///
/// Blocks are aligned to 64. Up to 64 KiB their sizes are rounded up to one of 64 classes (at most 12.5 % more above 1 KiB, a multiple of 64 below),
/// and a freed block waits in its class to be the next one handed out, while its lines are still in the cache: 14 to 20 ns for
/// allocate and deallocate together. Larger blocks, and smaller ones when their class is empty, are cut from the best-fitting free
/// range in O(log n). When nothing fits, the classes are emptied and their blocks joined with their neighbours, largest class first, until it
/// does: a block of any size is refused only if no free range of that size exists. So a region serves any size after any history.
///
/// The books lie outside the region, 32 bytes a block and at most 4 bytes for each 64 of the region: whatever is written into the region, by
/// a bug or by a peer, blocks stay apart.
///
/// \threadsafety none: one call at a time. \lifetime does not own the region; blocks are valid as long as it. A moved-from allocator has nothing to give
/// and owns no block.
class arena_allocator {
 public:
  using options = arena_allocator_options;

  static constexpr std::string_view name = "arena";
  static constexpr bool concurrent = false;

  /// \requires `[base, base + committed)` is writable and used by nobody else. A base that is not aligned to 64 costs the bytes before the first
  /// address that is. A null base makes an allocator that has nothing to give.
  arena_allocator(options const& o, std::byte* base, std::size_t committed) noexcept : blocks_(granule, base, committed) {
    for (unsigned c = 0; c != class_count; ++c) {
      std::uint64_t const keep = o.cache_bytes / (class_size(c) * granule);
      shelves_[c].limit = static_cast<std::uint32_t>(keep < most_kept ? keep : most_kept);
    }
  }

  /// The region grew: `[base, base + committed)` may be used now. Smaller or equal: nothing happens.
  void extend(std::size_t committed) noexcept { blocks_.extend(committed); }

  /// Exactly `n` bytes, aligned to 64, in a block of their own.
  /// \errors `no_space`: no free range holds them.
  result<mutable_bytes> allocate(std::size_t n) noexcept {
    std::uint64_t const size = blocks_.granules(n);
    if (size > class_size(class_count - 1)) return from_range(size, size, n);
    unsigned const c = class_of(size);
    shelf& warm = shelves_[c];
    if (warm.count == 0) return from_range(class_size(c), size, n);
    id const block = warm.top;
    warm.top = map().link(block);
    --warm.count;
    map().set_state(block, detail::extent_state::used);
    return blocks_.hand_out(block, n);
  }

  /// False: no block that is handed out starts at `p` (double free, foreign pointer, null), and nothing was changed.
  bool deallocate(std::byte* p) noexcept {
    id const block = blocks_.find(p);
    if (block == 0) return false;
    blocks_.take_back(block);
    std::uint64_t const size = map().size(block);
    if (size <= class_size(class_count - 1)) {
      unsigned const c = class_of(size);
      shelf& warm = shelves_[c];
      // A block that was cut to fit a full region has no class's size and goes back at once.
      if (warm.count < warm.limit && class_size(c) == size) {
        map().set_state(block, detail::extent_state::cached);
        map().link(block) = warm.top;
        warm.top = block;
        ++warm.count;
        return true;
      }
    }
    map().give(block);
    return true;
  }

  /// `largest_free` counts the blocks kept in the classes, too: it is exact, and asking costs their number.
  [[nodiscard]] allocator_usage usage() const noexcept {
    std::uint64_t largest = map().largest();
    for (shelf const& warm : shelves_) {
      id block = warm.top;
      for (std::uint32_t i = 0; i != warm.count; ++i, block = map().link(block)) {
        std::uint64_t const run = idle_run(block);
        if (run > largest) largest = run;
      }
    }
    return blocks_.usage(largest);
  }

 private:
  using id = detail::extent_map::id;

  // Sizes in granules: 1 to 16 one by one, then eight steps to each power of two, up to 64 KiB.
  static constexpr std::size_t granule = block_alignment;
  static constexpr unsigned class_count = 64;
  static constexpr std::uint64_t most_kept = 1024;
  static constexpr unsigned class_of(std::uint64_t size) noexcept {
    if (size <= 16) return static_cast<unsigned>(size) - 1;
    auto const power = static_cast<unsigned>(std::bit_width(size - 1)) - 1;  // 4 to 9
    return 8 * (power - 4) + 8 + static_cast<unsigned>((size - 1) >> (power - 3));
  }
  static constexpr std::uint64_t class_size(unsigned c) noexcept {
    if (c < 16) return c + 1;
    return std::uint64_t{(c - 16) % 8 + 9} << ((c - 16) / 8 + 1);
  }

  /// Freed blocks of one class, last in first out; the links stand in the books.
  struct shelf {
    id top = 0;
    std::uint32_t count = 0;
    std::uint32_t limit = 0;
  };

  [[nodiscard]] detail::extent_map& map() noexcept { return blocks_.map(); }
  [[nodiscard]] detail::extent_map const& map() const noexcept { return blocks_.map(); }

  /// Cuts `rounded` granules from the free ranges, or, where that is more than there is, `exact` ones.
  result<mutable_bytes> from_range(std::uint64_t rounded, std::uint64_t exact, std::size_t n) noexcept {
    id block = map().take(rounded);
    for (unsigned c = class_count; block == 0 && c-- != 0;) {
      if (shelves_[c].count == 0) continue;
      empty_shelf(shelves_[c]);
      block = map().take(rounded);
    }
    if (block == 0 && exact != rounded) block = map().take(exact);
    if (block == 0) [[unlikely]]
      return {error_kind::no_space, "no free range of the arena is that large; wait for readers or raise memory_pool_size"};
    return blocks_.hand_out(block, n);
  }
  void empty_shelf(shelf& warm) noexcept {
    for (; warm.count != 0; --warm.count) {
      id const next = map().link(warm.top);
      map().give(warm.top);
      warm.top = next;
    }
  }

  [[nodiscard]] bool idle(id block) const noexcept {
    return block != 0 && (map().state(block) == detail::extent_state::free || map().state(block) == detail::extent_state::cached);
  }
  /// Granules of the idle neighbourhood whose first kept block is `block`; 0: another one comes before it. So each is walked once only.
  [[nodiscard]] std::uint64_t idle_run(id block) const noexcept {
    id first = block;
    if (id const left = map().before(block); idle(left)) {
      // Free extents are never neighbours, so what lies before a free one is used or kept.
      if (map().state(left) == detail::extent_state::cached || idle(map().before(left))) return 0;
      first = left;
    }
    std::uint64_t sum = 0;
    for (id b = first; idle(b); b = map().after(b)) sum += map().size(b);
    return sum;
  }

  detail::region_blocks blocks_;
  detail::emptied_by_move<std::array<shelf, class_count>> shelves_;
};

OMNICONN_END_NAMESPACE
