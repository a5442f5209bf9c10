// SPDX-License-Identifier: Apache-2.0
// The copy of a put.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/detail/xxh3_kernels.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Copies to memory that another processor has had last.
///
/// From 2 KiB on the C library's copy is `rep movsb`, which has a start of its own: of 4 KiB that is 0.1 us of 0.75 where the processors are neighbours. Vectors of 32 bytes, where the machine has
/// them, are done before that; from 8 KiB on the instruction is ahead, and where the processors lie apart by a tenth before.
inline void copy_over(std::byte* to, const_bytes piece, [[maybe_unused]] xxh3_path path = xxh3_best_path()) noexcept {
#if defined(__x86_64__)
  if (piece.size() >= 2048 && piece.size() < 8192 && path >= xxh3_path::avx2) return copy_by_vectors(to, piece.data(), piece.size());
#endif
  std::memcpy(to, piece.data(), piece.size());
}

/// Copies `piece` to memory that another processor has had last, and sums it.
///
/// A long one by the C library and then summed, step by step, while it is in the cache: `rep movsb` takes whole lines over without fetching them first, which stores cannot ask for. Beside the one
/// pass of `copy_with_checksum` 64 KiB took 0.75 of the time where the processors are neighbours, 0.4 where they are not. Short ones are done before the instruction has begun.
inline void copy_over(std::byte* to, const_bytes piece, checksum_state& sum) noexcept {
  constexpr std::size_t long_copy = std::size_t{12} << 10U, step = std::size_t{16} << 10U;
  if (piece.size() < long_copy) return copy_with_checksum(to, piece, sum);
  while (!piece.empty()) {
    const_bytes const now = piece.first(piece.size() < step ? piece.size() : step);
    std::memcpy(to, now.data(), now.size());
    sum.update(now);
    to += now.size();
    piece = piece.subspan(now.size());
  }
}

/// Copies the pieces one behind the other: each is summed while it is in the cache for the copy. `Sums`: false where no checksum is ever asked for, as nothing leaves the process.
/// \requires `to` is as large as all of them.
template <bool Sums>
[[gnu::always_inline]] inline void gather_into(gather_list const& parts, mutable_bytes to, object_info& info) noexcept {
  std::byte* at = to.data();
  if (!Sums || info.checksum_by == checksum_kind::none) {
    parts.for_each([&at](const_bytes piece) noexcept {
      Sums ? copy_over(at, piece) : static_cast<void>(std::memcpy(at, piece.data(), piece.size()));
      at += piece.size();
    });
    return;
  }
  checksum_state sum;
  parts.for_each([&](const_bytes piece) noexcept {
    copy_over(at, piece, sum);
    at += piece.size();
  });
  info.checksum = sum.digest();
}

/// From this size on a put tells who waits how far it has come.
inline constexpr std::size_t progress_from = std::size_t{16} << 10U;

/// The same for large payloads that another processor reads in place: in steps, of which `advance` is told.
template <class Advance>
[[gnu::noinline]] void gather_in_steps(gather_list const& parts, mutable_bytes to, object_info& info, Advance const& advance) noexcept {
  bool const sums = info.checksum_by != checksum_kind::none;
  // Each step costs who waits a line of memory, and us the way to it: few in a large payload, but soon enough in a small one.
  std::size_t const step = to.size() < (std::size_t{1} << 20U) ? std::size_t{16} << 10U : to.size() < (std::size_t{16} << 20U) ? std::size_t{64} << 10U : std::size_t{256} << 10U;
  checksum_state sum;
  std::size_t done = 0;
  parts.for_each([&](const_bytes piece) noexcept {
    while (!piece.empty()) {
      std::size_t const left = step - done % step;
      const_bytes const now = piece.first(piece.size() < left ? piece.size() : left);
      if (sums) {
        copy_over(to.data() + done, now, sum);
      } else {
        std::memcpy(to.data() + done, now.data(), now.size());
      }
      piece = piece.subspan(now.size());
      done += now.size();
      if (done % step == 0 && done != to.size()) advance(done);
    }
  });
  if (sums) info.checksum = sum.digest();
}

}  // namespace detail

OMNICONN_END_NAMESPACE
