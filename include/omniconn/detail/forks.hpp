// SPDX-License-Identifier: Apache-2.0
// A forked child shares its parent's locks and descriptors, but none of its rights: what it inherits is closed, and says so.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include <pthread.h>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// How many forks lie between this process and the one that started the program: who remembers another number was inherited. Counts from the first
/// `watch_forks` on.
inline std::atomic<std::uint32_t> fork_count{0};
/// How often this process forked: its children may still have copies of its descriptors.
inline std::atomic<std::uint32_t> children_forked{0};

void watch_forks() noexcept;

/// Something that a child must let go of at once, because the kernel takes it for the parent's as long as the child has it: descriptors with locks.
/// \threadsafety all members.
class fork_witness {
 public:
  fork_witness(fork_witness const&) = delete;
  fork_witness& operator=(fork_witness const&) = delete;
  [[nodiscard]] bool inherited() const noexcept { return born_ != fork_count.load(std::memory_order_relaxed); }

 protected:
  fork_witness() {
    watch_forks();
    list& all = witnesses();
    std::scoped_lock const lock(all.mutex);
    next_ = all.first;
    if (next_ != nullptr) next_->previous_ = this;
    all.first = this;
  }
  ~fork_witness() {
    list& all = witnesses();
    std::scoped_lock const lock(all.mutex);
    (previous_ != nullptr ? previous_->next_ : all.first) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
  }
  /// Called in the child, where no other thread is. Locks of the object may be held by threads that exist in the parent only.
  virtual void let_go() noexcept = 0;

 private:
  friend void watch_forks() noexcept;
  struct list {
    std::mutex mutex;
    fork_witness* first = nullptr;
    bool registered = false;
  };
  static list& witnesses() noexcept {
    static list all;
    return all;
  }
  static void before() noexcept { witnesses().mutex.lock(); }
  static void after_in_parent() noexcept {
    children_forked.fetch_add(1, std::memory_order_relaxed);
    witnesses().mutex.unlock();
  }
  static void after_in_child() noexcept {
    fork_count.fetch_add(1, std::memory_order_relaxed);
    for (auto* w = witnesses().first; w != nullptr; w = w->next_) w->let_go();
    witnesses().mutex.unlock();
  }

  std::uint32_t const born_ = fork_count.load(std::memory_order_relaxed);
  fork_witness* previous_ = nullptr;
  fork_witness* next_ = nullptr;
};

/// From the first call on forks are counted. Idempotent.
inline void watch_forks() noexcept {
  auto& all = fork_witness::witnesses();
  std::scoped_lock const lock(all.mutex);
  if (!all.registered) all.registered = ::pthread_atfork(fork_witness::before, fork_witness::after_in_parent, fork_witness::after_in_child) == 0;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
