// SPDX-License-Identifier: Apache-2.0
// Operations that one thread drives while another may cancel them.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include <sched.h>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/error.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/detail/futex.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Where an operation is. `busy`: a thread is at it; another one that wants to cancel it waits, for nanoseconds where a look is a few loads.
enum class stage : std::uint8_t { idle, begun, looking, found, failed, busy };

/// What tells put and get operations apart in `wait`. The fields of operations belong to their transport.
struct staged_operation : operation {
  std::atomic<stage> at_{stage::idle};
  bool is_get_ = false;
  bool alone_ = false;                       ///< known to one thread only: nothing to lock
  std::atomic<std::uint32_t> locked_in_{0};  ///< the process whose thread had it last, counted in forks
  error failure_{error_kind::misconfigured, "the operation was not begun"};

  stage next_ = stage::idle;                 ///< what it becomes when the one who has it lets it go

  [[nodiscard]] bool is(stage s) const noexcept { return at_.load(std::memory_order_relaxed) == s; }
  /// While it is locked nobody sees it: who saw it now would lock it in turn, beside us, and our end would undo what he made of it.
  /// \requires the operation is locked, or nobody else can know it.
  void become(stage s) noexcept {
    if (is(stage::busy)) {
      next_ = s;
    } else {
      at_.store(s, std::memory_order_release);
    }
  }
  /// \requires as `become`
  error fail(error e) noexcept {
    failure_ = e;
    become(stage::failed);
    return e;
  }
};

/// Has an operation to itself: `cancel` may come from another thread than `wait`. In a forked child what a thread of the parent was at has failed.
class locked_operation {
 public:
  explicit locked_operation(staged_operation& op) noexcept : op_(op), seen_(op.at_.load(std::memory_order_acquire)) {
    if (op_.alone_) return;
    std::uint32_t const here = fork_count.load(std::memory_order_relaxed);
    for (int i = 0;; ++i) {
      if (seen_ != stage::busy) {
        // Before the stage: all threads of this process say the same.
        if (op_.locked_in_.load(std::memory_order_relaxed) != here) op_.locked_in_.store(here, std::memory_order_relaxed);
        if (op_.at_.compare_exchange_weak(seen_, stage::busy, std::memory_order_acq_rel, std::memory_order_acquire)) {
          op_.next_ = seen_;
          return;
        }
      } else if (std::uint32_t there = op_.locked_in_.load(std::memory_order_relaxed); there != here) {
        if (op_.locked_in_.compare_exchange_strong(there, here)) {
          inherit();
          return;
        }
      }
      i < 100 ? cpu_relax() : static_cast<void>(::sched_yield());
      seen_ = op_.at_.load(std::memory_order_acquire);
    }
  }
  locked_operation(locked_operation const&) = delete;
  locked_operation& operator=(locked_operation const&) = delete;
  ~locked_operation() {
    if (!op_.alone_) op_.at_.store(op_.next_, std::memory_order_release);
  }
  /// Where the operation was when it was locked.
  [[nodiscard]] stage at() const noexcept { return seen_; }

 private:
  /// The thread that was at it is not here.
  void inherit() noexcept {
    seen_ = op_.next_ = stage::failed;
    op_.failure_ = {error_kind::closed, "the operation is the parent process's, which forked in the middle of it", 0, severity::transport};
  }

  staged_operation& op_;
  stage seen_;
};

/// Why a wait must not sleep, once nothing was ready. What has ended counts before stop, stop before deadline.
inline result<void> may_sleep(std::span<operation* const> ops, deadline until, stop_token const& stop) noexcept {
  if (stop.stop_requested()) return {error_kind::cancelled, "the wait was cancelled"};
  if (until.passed()) return {error_kind::timed_out, "the object did not come before the deadline"};
  if (ops.empty() && until.is_never() && !stop.stop_possible()) return {error_kind::misconfigured, "a wait for nothing without an end"};
  return {};
}

}  // namespace detail

OMNICONN_END_NAMESPACE
