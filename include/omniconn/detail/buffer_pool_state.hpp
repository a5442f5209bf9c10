// SPDX-License-Identifier: Apache-2.0
// The half of a buffer pool that its buffers share: memory, books, lock and generations.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/extent_map.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Lives until the pool and its last buffer are gone. Thread-safe.
class buffer_pool_state {
 public:
  /// Where the uses of buffers are counted: odd while a handle or a token owns one, even between two. Cells never move, so that a buffer reads
  /// its generation without the lock; all else is under it.
  struct cell {
    std::atomic<std::uint32_t> generation{0};
    extent_map::id extent = 0;
    std::size_t size = 0;      // as asked for
    std::uint32_t unused = 0;  // while it counts nothing: the next such cell
  };
  /// One use of a buffer.
  struct use {
    std::byte* data = nullptr;
    std::size_t size = 0;
    cell* counter = nullptr;
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
  };

  buffer_pool_state() = default;
  buffer_pool_state(buffer_pool_state const&) = delete;
  buffer_pool_state& operator=(buffer_pool_state const&) = delete;
  ~buffer_pool_state() {
    if (own_alignment_ != 0) ::operator delete(base_, std::align_val_t{own_alignment_});
  }

  /// Takes memory of its own. False: there is none.
  [[nodiscard]] bool own(std::size_t size, std::size_t alignment) noexcept {
    std::size_t const strict = alignment < 64 ? 64 : alignment;
    auto* const memory = static_cast<std::byte*>(::operator new(size, std::align_val_t{strict}, std::nothrow));
    if (memory == nullptr) return false;
    own_alignment_ = strict;
    return adopt({memory, size}, alignment, nullptr);
  }
  /// Takes the caller's memory. False: no memory for the books.
  [[nodiscard]] bool adopt(mutable_bytes memory, std::size_t alignment, std::shared_ptr<void const> keep_alive) noexcept {
    base_ = memory.data();
    shift_ = static_cast<unsigned>(std::countr_zero(alignment));
    keep_alive_ = std::move(keep_alive);
    return map_.extend(memory.size() >> shift_);
  }

  [[nodiscard]] std::byte* base() const noexcept { return base_; }

  /// Cuts a buffer of `size` bytes that a new use owns.
  [[nodiscard]] result<use> acquire(std::size_t size) noexcept {
    std::lock_guard const lock(mutex_);
    if (!cell_ready()) return no_space();
    extent_map::id const extent = take(size);
    if (extent == 0) return no_space();
    map_.set_state(extent, extent_state::owned);
    std::uint32_t const index = unused_ != 0 ? unused_ : next_++;
    cell& c = at(index);
    if (unused_ == index) unused_ = c.unused;
    c.extent = extent;
    c.size = size;
    return use{base_ + offset_of(extent), size, &c, index, c.generation.fetch_add(1, std::memory_order_release) + 1};
  }

  /// Ends that use and frees the buffer. False: it had ended before, and nothing was changed. Of many that try at once, one succeeds.
  bool release(cell& c, std::uint32_t index, std::uint32_t generation) noexcept {
    if (!end(c, generation, generation + 1)) return false;
    std::lock_guard const lock(mutex_);
    give(c.extent);
    c.extent = 0;
    // A cell is laid aside for good before its numbers could repeat: a token from long ago never fits a buffer of today.
    if (generation >= last_generation) return true;
    c.unused = std::exchange(unused_, index);
    return true;
  }
  bool release(std::uint32_t index, std::uint32_t generation) noexcept {
    cell* const c = find(index);
    return c != nullptr && release(*c, index, generation);
  }

  /// Ends that use and begins another one of the same buffer. No data: it had ended before, and nothing was changed.
  [[nodiscard]] use renew(std::uint32_t index, std::uint32_t generation) noexcept {
    cell* const c = find(index);
    if (c == nullptr || !end(*c, generation, generation + 2)) return {};
    std::lock_guard const lock(mutex_);
    return {base_ + offset_of(c->extent), c->size, c, index, generation + 2};
  }

  /// A block that nobody's handle owns, by offset.
  [[nodiscard]] result<std::uint64_t> allocate(std::size_t size) noexcept {
    std::lock_guard const lock(mutex_);
    extent_map::id const extent = take(size);
    if (extent == 0) return no_space();
    return std::uint64_t{offset_of(extent)};
  }
  [[nodiscard]] result<void> free(std::uint64_t offset, std::size_t size) noexcept {
    std::lock_guard const lock(mutex_);
    std::uint64_t const start = offset >> shift_, count = units(size);
    if (start << shift_ != offset)
      return {error_kind::misconfigured, "the offset is no multiple of the pool's alignment; free what allocate returned"};
    if (start >= map_.size() || count > map_.size() - start)
      return {error_kind::misconfigured, "the range lies outside the pool; free what allocate returned, with the same size"};
    extent_map::id const extent = map_.find(start);
    if (extent != 0 && map_.state(extent) == extent_state::owned)
      return {error_kind::misconfigured, "the block belongs to a managed_buffer; release that instead"};
    if (extent != 0 && map_.size(extent) == count) {
      give(extent);
      return {};
    }
    // A mistake of the caller's; which one is worth a walk through the books.
    extent_map::id const range = map_.next_free(start);
    std::uint64_t const range_start = range == 0 ? map_.size() : map_.start(range);
    if (range_start <= start && start + count <= range_start + map_.size(range))
      return {error_kind::stale_handle, "the range is free already (a double free); nothing was changed"};
    if (range_start < start + count)
      return {error_kind::corrupt, "memory corruption: the range to free overlaps a free one; nothing was changed"};
    return {error_kind::corrupt, "memory corruption: no block of that size was allocated at that offset; nothing was changed"};
  }

  struct account {
    std::uint64_t capacity, used, blocks, high_water, largest_free, free_ranges;
  };
  [[nodiscard]] account read_account() const noexcept {
    std::lock_guard const lock(mutex_);
    return {map_.size() << shift_, used_, blocks_, high_water_, map_.largest() << shift_, map_.free_count()};
  }

 private:
  static constexpr std::size_t group_size = 128;
  static constexpr std::uint32_t last_generation = std::uint32_t{1} << 31;
  struct group {
    std::array<cell, group_size> cells;
  };

  static error no_space() noexcept {
    return {error_kind::no_space, "out of memory in the buffer pool: no free range is that large; release buffers or raise memory_pool_size"};
  }
  [[nodiscard]] std::uint64_t units(std::size_t size) const noexcept { return size == 0 ? 1 : (std::uint64_t{size - 1} >> shift_) + 1; }
  [[nodiscard]] std::size_t offset_of(extent_map::id extent) const noexcept {
    return static_cast<std::size_t>(map_.start(extent)) << shift_;
  }

  extent_map::id take(std::size_t size) noexcept {
    extent_map::id const extent = map_.take(units(size));
    if (extent == 0) return 0;
    used_ += map_.size(extent) << shift_;
    blocks_ += 1;
    if (used_ > high_water_) high_water_ = used_;
    return extent;
  }
  void give(extent_map::id extent) noexcept {
    used_ -= map_.size(extent) << shift_;
    blocks_ -= 1;
    map_.give(extent);
  }

  [[nodiscard]] bool cell_ready() noexcept {
    if (unused_ != 0) return true;
    if (next_ == ~std::uint32_t{0}) return false;
    std::size_t const i = next_ / group_size;
    return (i < cells_.size() || cells_.resize(i < 8 ? 8 : i * 2)) && cells_.fill(i);
  }
  cell& at(std::uint32_t index) noexcept { return cells_[index / group_size]->cells[index % group_size]; }
  /// The cell of a number from outside; null: there is none.
  [[nodiscard]] cell* find(std::uint32_t index) noexcept {
    std::lock_guard const lock(mutex_);
    return index != 0 && index < next_ ? &at(index) : nullptr;
  }
  static bool end(cell& c, std::uint32_t generation, std::uint32_t next) noexcept {
    return generation % 2 == 1 &&
           c.generation.compare_exchange_strong(generation, next, std::memory_order_acq_rel, std::memory_order_relaxed);
  }

  std::byte* base_ = nullptr;
  unsigned shift_ = 0;
  std::size_t own_alignment_ = 0;  // 0: the memory is not ours
  std::shared_ptr<void const> keep_alive_;

  mutable std::mutex mutex_;
  extent_map map_;
  piece_table<group> cells_;
  std::uint32_t unused_ = 0;
  std::uint32_t next_ = 1;  // the first cell that was never used; 0 names none
  std::uint64_t used_ = 0, blocks_ = 0, high_water_ = 0;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
