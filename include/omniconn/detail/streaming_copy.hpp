// SPDX-License-Identifier: Apache-2.0
// A copy into memory that another processor has read and is going to read again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Payloads of this size and more are copied by `streaming_copy`. Plain stores first take each line away from the cache of whoever read it last; those that go around the caches
/// do not ask. On AMD's processors that pays from 16 KiB on: 64 KiB, put and read, take half the time, 1 MiB a third to two thirds. On Intel's it was seen to cost more than it
/// saves unless the reader follows the writer, so there, and elsewhere, nothing is.
[[nodiscard]] inline std::size_t streaming_from() noexcept {
#if defined(__x86_64__)
  static std::size_t const from = [] {
    __builtin_cpu_init();
    return __builtin_cpu_is("amd") != 0 ? std::size_t{16} << 10U : ~std::size_t{0};
  }();
  return from;
#else
  return ~std::size_t{0};
#endif
}

/// Copies with stores that go around the caches. Whoever sees a store that this thread makes afterwards sees the bytes. Plain where the processor has no such stores.
/// \requires room for `from.size()` bytes at `to`, and no overlap
inline void streaming_copy(std::byte* to, const_bytes from) noexcept {
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which do not see these stores
  using quarter = long long __attribute__((vector_size(16)));
  constexpr std::size_t line = 64;
  std::byte const* at = from.data();
  std::size_t left = from.size();
  std::size_t const before = (line - reinterpret_cast<std::uintptr_t>(to) % line) % line;
  if (before < left) {
    std::memcpy(to, at, before);
    to += before;
    at += before;
    left -= before;
    for (; left >= line; to += line, at += line, left -= line) {
      quarter part[4];
      std::memcpy(part, at, line);
      for (std::size_t k = 0; k != 4; ++k) {
        auto* const place = reinterpret_cast<quarter*>(to) + k;
#if defined(__clang__)
        __builtin_nontemporal_store(part[k], place);
#else
        __builtin_ia32_movntdq(place, part[k]);
#endif
      }
    }
    __builtin_ia32_sfence();
  }
  std::memcpy(to, at, left);
#else
  std::memcpy(to, from.data(), from.size());
#endif
}

}  // namespace detail

OMNICONN_END_NAMESPACE
