// SPDX-License-Identifier: Apache-2.0
// Calls that are under way while another thread closes.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include <sched.h>
#include <time.h>

#include <omniconn/config.hpp>
#include <omniconn/core/error.hpp>
#include <omniconn/detail/first_thread.hpp>
#include <omniconn/detail/forks.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Counts the calls of a transport, so that `close` can wait for them.
///
/// The first thread's have a word of their own, so that it leaves with a plain store: a locked instruction at the end of a get waits until all lines of the object have come, and what follows
/// waits for it. That was 19 of the 180 ns of a small object.
struct call_gate {
  std::atomic<bool> closed{false};
  std::atomic<std::uint32_t> inside{0};  ///< of all threads but the first
  std::atomic<std::uint32_t> first_inside{0};
  first_thread first;
  fork_mark const born = watch_forks();

  /// In a forked child everything of its parent's is closed: locks, threads and waiters are not its own.
  [[nodiscard]] bool inherited() const noexcept { return born.inherited(); }
  /// \returns false where it was closed before.
  bool shut() noexcept { return !closed.exchange(true); }
  /// \requires sleepers were woken: the rest takes microseconds, unless another process is stopped with a lock that a call needs.
  void wait_until_empty() const noexcept {
    for (int i = 0; (inside.load() != 0 || first_inside.load() != 0) && !inherited(); ++i) {
      timespec const rest{0, 100'000};
      i < 1000 ? static_cast<void>(::sched_yield()) : static_cast<void>(::nanosleep(&rest, nullptr));
    }
  }
};

/// Keeps a transport open as long as a call lasts. False: it is closed.
class call {
 public:
  explicit call(call_gate* gate) noexcept : gate_(gate) {
    if (gate_ == nullptr) return;
    is_first_ = gate_->first.is_here();
    if (is_first_) {
      gate_->first_inside.store(gate_->first_inside.load(std::memory_order_relaxed) + 1);  // before we look: who closes looks after it has said so
    } else {
      gate_->inside.fetch_add(1);
    }
    if (gate_->closed.load() || gate_->inherited()) leave();
  }
  call(call const&) = delete;
  call& operator=(call const&) = delete;
  ~call() { leave(); }
  explicit operator bool() const noexcept { return gate_ != nullptr; }

 private:
  void leave() noexcept {
    if (gate_ != nullptr && is_first_) {
      gate_->first_inside.store(gate_->first_inside.load(std::memory_order_relaxed) - 1, std::memory_order_release);
    } else if (gate_ != nullptr) {
      gate_->inside.fetch_sub(1);
    }
    gate_ = nullptr;
  }
  call_gate* gate_;
  bool is_first_ = false;
};

inline error closed_error() noexcept { return {error_kind::closed, "the transport is closed", 0, severity::transport}; }
inline error cancelled_error() noexcept { return {error_kind::cancelled, "the operation was cancelled"}; }

/// What `act(*gate)` returns; what is behind the gate stays open meanwhile. \errors `closed`
template <class Gate, class Act>
[[gnu::always_inline]] inline std::invoke_result_t<Act&, Gate&> inside(Gate* gate, Act act) {
  call const entered(gate);
  if (!entered) return closed_error();
  return act(*gate);
}

}  // namespace detail

OMNICONN_END_NAMESPACE
