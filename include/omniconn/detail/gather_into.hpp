// SPDX-License-Identifier: Apache-2.0
// The copy of a put.
#pragma once

#include <cstddef>
#include <cstring>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/detail/streaming_copy.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Large ones. Each few pages are summed first, which brings them into the cache for the copy.
template <class Each>
[[gnu::noinline]] void gather_streaming(Each const& each, bool sums, object_info& info) noexcept {
  if (!sums) return each([](std::byte* target, const_bytes piece) noexcept { streaming_copy(target, piece); });
  checksum_state sum;
  each([&sum](std::byte* target, const_bytes piece) noexcept {
    constexpr std::size_t most = 8192;
    while (!piece.empty()) {
      const_bytes const now = piece.first(piece.size() < most ? piece.size() : most);
      sum.update(now);
      streaming_copy(target, now);
      target += now.size();
      piece = piece.subspan(now.size());
    }
  });
  info.checksum = sum.digest();
}

/// Copies the pieces one behind the other, in one pass: each is summed while it is in the cache for the copy. `Sums`: false where no checksum is ever asked for.
/// `Shared`: what is copied is read in place by another processor.
/// \requires `to` is as large as all of them.
template <bool Sums, bool Shared>
[[gnu::always_inline]] inline void gather_into(gather_list const& parts, mutable_bytes to, object_info& info) noexcept {
  std::byte* at = to.data();
  auto const each = [&](auto const& copy) noexcept {
    parts.for_each([&](const_bytes piece) noexcept {
      copy(at, piece);
      at += piece.size();
    });
  };
  bool const sums = Sums && info.checksum_by != checksum_kind::none;
  if (Shared && to.size() >= streaming_from()) [[unlikely]] return gather_streaming(each, sums, info);
  if (!sums) return each([](std::byte* target, const_bytes piece) noexcept { std::memcpy(target, piece.data(), piece.size()); });
  checksum_state sum;
  each([&sum](std::byte* target, const_bytes piece) noexcept { copy_with_checksum(target, piece, sum); });
  info.checksum = sum.digest();
}

}  // namespace detail

OMNICONN_END_NAMESPACE
