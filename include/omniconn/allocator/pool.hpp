// SPDX-License-Identifier: Apache-2.0
// Best fit with coalescing and page alignment: what registered memory wants.
#pragma once

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

/// Options of `pool_allocator`.
struct pool_allocator_options {
  /// Alignment and unit of size of every block. Rounded up to a power of two of at least 64.
  std::size_t alignment = 4096;
};

/// Carves a region by best fit, in O(log n), and joins freed blocks with their neighbours at once: the least fragmentation and the most
/// regular addresses, for pools that network cards and devices know. `arena_allocator` is several times faster.
///
/// The books lie outside the region. \threadsafety none: one call at a time. \lifetime does not own the region; blocks are valid as
/// long as it.
class pool_allocator {
 public:
  using options = pool_allocator_options;

  static constexpr std::string_view name = "pool";
  static constexpr bool concurrent = false;

  /// \requires `[base, base + committed)` is writable and used by nobody else. A base that is not aligned costs the bytes before the first
  /// address that is. A null base makes an allocator that has nothing to give.
  pool_allocator(options const& o, std::byte* base, std::size_t committed) noexcept
      : blocks_(granule_for(o.alignment), base, committed) {}

  /// The region grew: `[base, base + committed)` may be used now. Smaller or equal: nothing happens.
  void extend(std::size_t committed) noexcept { blocks_.extend(committed); }

  /// Exactly `n` bytes, aligned, in a block of their own.
  /// \errors `no_space`: no free range holds them.
  result<mutable_bytes> allocate(std::size_t n) noexcept {
    id const block = blocks_.map().take(blocks_.granules(n));
    if (block == 0) [[unlikely]]
      return {error_kind::no_space, "no free range of the pool is that large; release buffers or raise memory_pool_size"};
    return blocks_.hand_out(block, n);
  }

  /// False: no block that is handed out starts at `p` (double free, foreign pointer, null), and nothing was changed.
  bool deallocate(std::byte* p) noexcept {
    id const block = blocks_.find(p);
    if (block == 0) return false;
    blocks_.take_back(block);
    blocks_.map().give(block);
    return true;
  }

  [[nodiscard]] allocator_usage usage() const noexcept { return blocks_.usage(blocks_.map().largest()); }

 private:
  using id = detail::extent_map::id;

  static constexpr std::size_t granule_for(std::size_t alignment) noexcept {
    constexpr std::size_t top = ~(~std::size_t{0} >> 1);  // bit_ceil of more is undefined
    return alignment <= block_alignment ? block_alignment : alignment > top ? top : std::bit_ceil(alignment);
  }

  detail::region_blocks blocks_;
};

OMNICONN_END_NAMESPACE
