// SPDX-License-Identifier: Apache-2.0
// The copy of a put.
#pragma once

#include <cstddef>
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

}  // namespace detail

OMNICONN_END_NAMESPACE
