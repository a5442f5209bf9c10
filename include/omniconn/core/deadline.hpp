// SPDX-License-Identifier: Apache-2.0
// Until when a call may wait: one absolute point in time that every step below inherits unchanged.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <stop_token>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

using std::stop_token;

/// An absolute point of CLOCK_MONOTONIC (`std::chrono::steady_clock`), or never, or "do not wait at all".
///
/// Absolute, because a relative timeout restarts at each layer that passes it on. Trivially copyable.
class deadline {
 public:
  using clock = std::chrono::steady_clock;

  /// Waits without end. Also the default: a forgotten deadline must not look like a lost object.
  constexpr deadline() noexcept = default;
  [[nodiscard]] static constexpr deadline never() noexcept { return {}; }
  /// One look, no wait: an absent object is `not_found`, not `timed_out`.
  [[nodiscard]] static constexpr deadline immediate() noexcept { return deadline(std::numeric_limits<std::int64_t>::min()); }
  [[nodiscard]] static constexpr deadline at(clock::time_point when) noexcept { return deadline(when.time_since_epoch().count()); }
  /// `span` from now; saturates instead of overflowing, and a negative span is a deadline in the past.
  template <class Rep, class Period>
  [[nodiscard]] static deadline after(std::chrono::duration<Rep, Period> span) noexcept {
    using wide = std::chrono::duration<long double, std::nano>;
    std::int64_t const now = now_ns();
    long double const ns = std::chrono::duration_cast<wide>(span).count();
    if (!(ns < static_cast<long double>(std::numeric_limits<std::int64_t>::max() - now))) return never();  // NaN, too
    if (ns <= static_cast<long double>(-now)) return deadline(0);
    return deadline(now + static_cast<std::int64_t>(ns));
  }

  [[nodiscard]] constexpr bool is_never() const noexcept { return ns_ == std::numeric_limits<std::int64_t>::max(); }
  [[nodiscard]] constexpr bool is_immediate() const noexcept { return ns_ == std::numeric_limits<std::int64_t>::min(); }
  /// True once the point has passed (always for `immediate`).
  [[nodiscard]] bool passed() const noexcept { return !is_never() && (is_immediate() || now_ns() >= ns_); }
  /// Nanoseconds of CLOCK_MONOTONIC; meaningless for `never` and `immediate`.
  [[nodiscard]] constexpr std::int64_t nanoseconds() const noexcept { return ns_; }

  friend constexpr auto operator<=>(deadline const&, deadline const&) noexcept = default;

  [[nodiscard]] static std::int64_t now_ns() noexcept { return clock::now().time_since_epoch().count(); }

 private:
  static_assert(std::is_same_v<clock::period, std::nano>);
  constexpr explicit deadline(std::int64_t ns) noexcept : ns_(ns) {}

  std::int64_t ns_ = std::numeric_limits<std::int64_t>::max();
};

OMNICONN_END_NAMESPACE
