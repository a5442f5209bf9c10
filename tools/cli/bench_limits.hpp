// SPDX-License-Identifier: Apache-2.0
// What the machine allows, beside which the figures of a bench are shown.
#pragma once

#include <cstdint>
#include <optional>

#include "bench_board.hpp"
#include "bench_peer.hpp"

namespace tool {

/// Half a round trip between the two processes that the objects go between, in us.
struct bench_limits {
  bench_cpus cpus;
  std::optional<double> line;  ///< of a line of memory on which both spin; none where both have one CPU
  double wake_up = 0;          ///< of a futex on which both sleep

  /// No object is told of faster.
  [[nodiscard]] double told() const noexcept { return line.value_or(wake_up); }
};

result<bench_limits, diagnosis> measure_limits(bench_peer& peer, double timeout);

/// The second process's part of it. \errors `timed_out`
outcome return_ball(bench_board& board, bool sleeps, double timeout);

/// One memcpy and the sum over the copy, in one process and into warm memory, in us.
double copy_and_sum(const_bytes from);

/// Reads every byte once.
std::uint64_t sum_of(const_bytes bytes) noexcept;

/// Makes the compiler believe that somebody uses it.
inline void keep(std::uint64_t number) noexcept { asm volatile("" : : "r"(number) : "memory"); }

}  // namespace tool
