// SPDX-License-Identifier: Apache-2.0
// One sleeping thread and those who ring it, inside one process.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/detail/futex.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Lives on the stack of the thread that waits. Whoever rings must be kept from outliving it by a lock that the sleeper takes before it leaves.
class inproc_waiter {
 public:
  inproc_waiter() noexcept = default;
  inproc_waiter(inproc_waiter const&) = delete;
  inproc_waiter& operator=(inproc_waiter const&) = delete;

  /// Leaves a ring that is not lost, whether the thread sleeps yet or not. \returns whether a system call has to wake it.
  [[nodiscard]] bool mark() noexcept { return word_.exchange(rung, std::memory_order_acq_rel) == sleeping; }
  void ring() noexcept {
    if (mark()) futex_wake_all(word_);
  }
  /// Only an address goes to the kernel: it may be woken after the waiter is gone, which at worst is a spurious wake-up of another.
  static void wake(std::atomic<std::uint32_t>* word) noexcept { futex_wake_all(*word); }
  [[nodiscard]] std::atomic<std::uint32_t>* word() noexcept { return &word_; }

  /// Sleeps until rung or until the deadline has passed (then false), and takes the ring.
  [[nodiscard]] bool sleep(deadline until) noexcept {
    // A peer on another core answers within about a microsecond; a futex costs ten times that for both sides.
    for (int round = 0; round != spin_rounds; ++round) {
      if (word_.load(std::memory_order_acquire) == rung) return take();
      cpu_relax();
    }
    for (;;) {
      std::uint32_t now = idle;
      if (!word_.compare_exchange_strong(now, sleeping, std::memory_order_acq_rel) && now == rung) return take();
      bool const in_time = futex_wait(word_, sleeping, until);
      if (word_.load(std::memory_order_acquire) == rung) return take();
      if (!in_time || until.passed()) return false;
    }
  }

 private:
  static constexpr std::uint32_t idle = 0, rung = 1, sleeping = 2;
  static constexpr int spin_rounds = 64;

  bool take() noexcept {
    // An exchange, so that what a second ringer wrote before its ring is seen, too.
    word_.exchange(idle, std::memory_order_acq_rel);
    return true;
  }

  std::atomic<std::uint32_t> word_{idle};
};

/// Collects the system calls of waking, so that they are made after the lock was released.
class inproc_bells {
 public:
  void add(inproc_waiter& w) noexcept {
    if (!w.mark()) return;
    if (count_ == words_.size()) {
      inproc_waiter::wake(w.word());
    } else {
      words_[count_++] = w.word();
    }
  }
  void ring() noexcept {
    for (std::size_t i = 0; i != count_; ++i) inproc_waiter::wake(words_[i]);
    count_ = 0;
  }

 private:
  std::size_t count_ = 0;
  std::array<std::atomic<std::uint32_t>*, 8> words_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
