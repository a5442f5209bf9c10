// SPDX-License-Identifier: Apache-2.0
// How long a get that waits looks before it sleeps.
#pragma once

#include <atomic>
#include <cstdint>

#include <unistd.h>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// The usual time; and `longest` once an object came that soon to a reader that slept, because to wake takes longer than many an object to come. Where a longer look is in vain all the same, as the
/// producer waits for the processor that it takes, or takes its time, the next chance is not taken; then three are not, seven, and so on, until one is worth it. \threadsafety any: it is advice
class spin_time {
 public:
  static constexpr std::int64_t longest = 100'000;

  /// \param wanted nanoseconds, for good; less than 0: `first`, and as above
  explicit spin_time(std::int64_t wanted, std::int64_t first = by_itself()) noexcept : usual(wanted < 0 ? first : wanted), learns_(wanted < 0 && usual != 0), now_(usual) {}

  /// None on a machine of one processor, which who puts needs. What this thread may run on says nothing: who is bound to a processor of its own spins there.
  static std::int64_t by_itself() noexcept { return ::sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 20'000 : 0; }
  [[nodiscard]] std::int64_t now() const noexcept { return now_.load(std::memory_order_relaxed); }
  /// A look of `time` had its object.
  void was_worth(std::int64_t time) noexcept {
    if (time == usual) return;
    doubt_.store(0, std::memory_order_relaxed);
    skips_.store(0, std::memory_order_relaxed);
  }
  /// It was in vain. `waited`: until the object came at last; `longest`: none did
  void was_in_vain(std::int64_t time, std::int64_t waited) noexcept {
    if (!learns_) return;
    std::uint32_t const doubt = doubt_.load(std::memory_order_relaxed), skips = skips_.load(std::memory_order_relaxed);
    if (time != usual) {
      now_.store(usual, std::memory_order_relaxed);
      std::uint32_t const more = doubt < 1000 ? 2 * doubt + 1 : doubt;
      doubt_.store(more, std::memory_order_relaxed);
      skips_.store(more, std::memory_order_relaxed);
    } else if (waited < longest && skips != 0) {
      skips_.store(skips - 1, std::memory_order_relaxed);
    } else if (waited < longest) {
      now_.store(longest, std::memory_order_relaxed);
    }
  }

  std::int64_t const usual;

 private:
  bool const learns_;
  std::atomic<std::int64_t> now_;
  std::atomic<std::uint32_t> doubt_{0}, skips_{0};  ///< chances that are not taken after the next look in vain; of the last, still to come
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
