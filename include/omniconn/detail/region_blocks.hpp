// SPDX-License-Identifier: Apache-2.0
// What the allocators of a region share: an extent map laid over an address, and the account of what was handed out.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <omniconn/allocator/concept.hpp>
#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/extent_map.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Blocks of whole granules over `[base, base + committed)`. What lies before the first address aligned to a granule is left out.
class region_blocks {
 public:
  using id = extent_map::id;

  region_blocks() noexcept = default;
  /// \requires `granule` is a power of two
  region_blocks(std::size_t granule, std::byte* base, std::size_t committed) noexcept
      : shift_(static_cast<unsigned>(std::countr_zero(granule))) {
    auto const misfit = reinterpret_cast<std::uintptr_t>(base) & (granule - 1);
    skipped_ = misfit == 0 ? 0 : granule - misfit;
    books_.base = base;
    extend(committed);
  }

  [[nodiscard]] extent_map& map() noexcept { return map_; }
  [[nodiscard]] extent_map const& map() const noexcept { return map_; }

  /// Granules that hold `bytes`, at least one. Bytes that nothing can hold give more granules than there are.
  [[nodiscard]] std::uint64_t granules(std::size_t bytes) const noexcept {
    return bytes == 0 ? 1 : (std::uint64_t{bytes - 1} >> shift_) + 1;
  }
  [[nodiscard]] std::uint64_t bytes(std::uint64_t granules) const noexcept { return granules << shift_; }

  /// Follows the region. No memory for the books: the new part stays unused until the next call.
  void extend(std::size_t committed) noexcept {
    if (books_.base == nullptr || committed <= skipped_) return;
    if (map_.extend((committed - skipped_) >> shift_)) books_.capacity = bytes(map_.size());
  }

  /// Books a taken extent as handed out and gives its first `size` bytes.
  [[nodiscard]] mutable_bytes hand_out(id n, std::size_t size) noexcept {
    books_.used += bytes(map_.size(n));
    books_.blocks += 1;
    if (books_.used > books_.high_water) books_.high_water = books_.used;
    return {books_.base + skipped_ + bytes(map_.start(n)), size};
  }
  /// The extent that was handed out at `p`; 0: none was.
  [[nodiscard]] id find(std::byte const* p) const noexcept {
    // As numbers: comparing pointers into different objects is undefined, and p may point anywhere.
    auto const offset = reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(books_.base) - skipped_;
    if ((offset & ((std::uintptr_t{1} << shift_) - 1)) != 0) return 0;
    id const n = map_.find(offset >> shift_);
    return n != 0 && map_.state(n) == extent_state::used ? n : 0;
  }
  /// Books it as returned. The extent itself stays taken.
  void take_back(id n) noexcept {
    books_.used -= bytes(map_.size(n));
    books_.blocks -= 1;
  }

  /// \param largest granules of the biggest block that would succeed
  [[nodiscard]] allocator_usage usage(std::uint64_t largest) const noexcept {
    allocator_usage out = books_;
    out.largest_free = bytes(largest);
    return out;
  }

 private:
  extent_map map_;
  struct books : allocator_usage {  // all of it but largest_free
    std::byte* base = nullptr;
  };
  std::size_t skipped_ = 0;
  unsigned shift_ = 0;
  emptied_by_move<books> books_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
