// SPDX-License-Identifier: Apache-2.0
// Memory that both processes of a bench map, for what a pipe is too slow for: who has just been in a system call is not yet waiting in get.
#pragma once

#include <atomic>
#include <cstdint>

#include <sched.h>

#include <omniconn/detail/futex.hpp>

namespace tool {

/// Where the second process finds it.
inline constexpr int bench_board_descriptor = 3;

struct bench_board {
  std::int32_t reader_cpu = -1;

  /// 2 n: all objects before number n have been read. 2 n + 1: and the reader is about to get number n.
  alignas(64) std::atomic<std::uint64_t> progress{0};
  // Of the object that was read last, by the clock of `std::chrono::steady_clock`, which all processes of a machine share. Valid from the even number on.
  std::atomic<std::int64_t> view_ns{0};  ///< get had returned
  std::atomic<std::int64_t> read_ns{0};  ///< every byte had been read

  /// A futex, for what the machine can do: odd numbers are the second process's turn.
  alignas(64) std::atomic<std::uint32_t> ball{0};
  static constexpr std::uint32_t ball_is_over = UINT32_MAX;  ///< answered with 0
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

/// Where the two run: a scheduler that leaves both on one CPU, because they wake each other, would be what is measured. The first two that the tool may use, so
/// that `taskset` chooses others.
struct bench_cpus {
  int sender = -1;     ///< -1: unknown, more than 1024 of them
  int reader = -1;
  bool alone = false;  ///< they have to take turns: to spin is to keep the other from what one waits for
};
inline bench_cpus choose_cpus() noexcept {
  cpu_set_t allowed;
  bench_cpus out;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return out;
  for (int cpu = 0; cpu != CPU_SETSIZE && out.reader < 0; ++cpu)
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) (out.sender < 0 ? out.sender : out.reader) = cpu;
  out.alone = out.reader < 0;
  if (out.alone) out.reader = out.sender;
  return out;
}

/// This thread alone: those of a connector run where they like.
inline void run_on(int cpu) noexcept {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  ::sched_setaffinity(0, sizeof set, &set);  // not allowed: then where the scheduler likes
}

/// Between two looks at memory that the other process writes.
inline void before_next_look(bool alone) noexcept { alone ? static_cast<void>(::sched_yield()) : omniconn::detail::cpu_relax(); }

}  // namespace tool
