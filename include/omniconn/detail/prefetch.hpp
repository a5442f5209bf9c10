// SPDX-License-Identifier: Apache-2.0
// Asking for lines of memory before they are needed. A hint: nothing depends on it, and any address may be given.
#pragma once

#include <cstddef>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

inline constexpr std::size_t cache_line = 64;

/// To be read.
inline void prefetch(void const* line) noexcept { __builtin_prefetch(line); }

/// To be written: taken away from whoever has it. The builtin reads only, unless the program is compiled for a processor of the last ten years; older ones do nothing.
inline void prefetch_to_write(void const* line) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<char const*>(line)));
#else
  __builtin_prefetch(line, 1);
#endif
}

}  // namespace detail

OMNICONN_END_NAMESPACE
