// SPDX-License-Identifier: Apache-2.0
// Time that only moves when somebody waits.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>

OMNICONN_BEGIN_NAMESPACE

/// A clock on the time line of `deadline`. It starts at the real now and stands still until a simulated transport's `wait` moves it: to its next
/// event or to the deadline, whichever comes first. A minute of waiting takes no time at all, and one thread sees the same order in every run.
///
/// Make deadlines with `in`: one made from the real clock lies in the past once the virtual one has run ahead.
/// \threadsafety all calls may run together.
class virtual_clock {
 public:
  [[nodiscard]] std::int64_t now_ns() const noexcept { return now_.load(std::memory_order_acquire); }
  [[nodiscard]] deadline in(std::chrono::nanoseconds span) const noexcept { return at(now_ns() + span.count()); }
  [[nodiscard]] bool passed(deadline d) const noexcept { return !d.is_never() && (d.is_immediate() || now_ns() >= d.nanoseconds()); }

  /// Moves to a point in time; never back.
  void advance_to(std::int64_t ns) noexcept {
    std::int64_t now = now_ns();
    while (now < ns && !now_.compare_exchange_weak(now, ns, std::memory_order_acq_rel)) {
    }
  }

 private:
  static deadline at(std::int64_t ns) noexcept { return deadline::at(deadline::clock::time_point(std::chrono::nanoseconds(ns))); }

  std::atomic<std::int64_t> now_{deadline::now_ns()};
};

OMNICONN_END_NAMESPACE
