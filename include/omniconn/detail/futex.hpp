// SPDX-License-Identifier: Apache-2.0
// Sleeping on a word in shared memory.
#pragma once

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);

/// Sleeps while `word` holds `expected`, until rung, the deadline, or a signal. Returns false only when the deadline passed.
/// Shared between processes (not FUTEX_PRIVATE): the word lies in a file mapping.
inline bool futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, deadline until) noexcept {
  if (until.is_immediate()) return false;
  timespec at{};
  timespec* limit = nullptr;
  if (!until.is_never()) {
    at.tv_sec = static_cast<time_t>(until.nanoseconds() / 1'000'000'000);
    at.tv_nsec = static_cast<long>(until.nanoseconds() % 1'000'000'000);
    limit = &at;
  }
  // WAIT_BITSET takes an absolute CLOCK_MONOTONIC time: no drift when a signal restarts the wait.
  long const rc = ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT_BITSET, expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
  return !(rc == -1 && errno == ETIMEDOUT);
}

inline void futex_wake_all(std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

/// Tells the CPU that this is a spin: frees the sibling hyper-thread and the memory order machinery.
inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace detail

OMNICONN_END_NAMESPACE
