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

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Copies the pieces one behind the other, in one pass: each is summed while it is in the cache for the copy. `Sums`: false where no checksum is ever asked for.
/// \requires `to` is as large as all of them.
template <bool Sums>
[[gnu::always_inline]] inline void gather_into(gather_list const& parts, mutable_bytes to, object_info& info) noexcept {
  std::byte* at = to.data();
  if (!Sums || info.checksum_by == checksum_kind::none) {
    parts.for_each([&at](const_bytes piece) noexcept {
      std::memcpy(at, piece.data(), piece.size());
      at += piece.size();
    });
    return;
  }
  checksum_state sum;
  parts.for_each([&](const_bytes piece) noexcept {
    copy_with_checksum(at, piece, sum);
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
        copy_with_checksum(to.data() + done, now, sum);
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
