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

/// How many forks lie between this process and the one that started the program. Counts from the first `watch_forks` on.
inline std::atomic<std::uint32_t> fork_count{0};
/// How often this process forked, counted from the first `watch_forks` on: its children may still have copies of its descriptors.
inline std::atomic<std::uint32_t> children_forked{0};

/// When something was made, counted in forks. It tells a child what it has from its parent.
class fork_mark {
 public:
  [[nodiscard]] bool inherited() const noexcept { return born_ != fork_count.load(std::memory_order_relaxed); }

 private:
  std::uint32_t born_ = fork_count.load(std::memory_order_relaxed);
};

/// From the first call on forks are counted. \returns the mark of now.
fork_mark watch_forks() noexcept;

/// A member of something that a child must let go of at once, because the kernel takes it for the parent's as long as the child has it: descriptors with
/// locks. Declared last: what its handler touches is whole as long as it is registered, in whatever moment another thread forks.
/// \threadsafety all members.
class fork_witness {
 public:
  /// Called in the child, where no other thread is. Locks of the object may be held by threads that exist in the parent only.
  using handler = void (*)(void* object) noexcept;

  fork_witness(handler let_go, void* object) : let_go_(let_go), object_(object) {
    list& all = witnesses();
    std::scoped_lock const lock(all.mutex);
    next_ = all.first;
    if (next_ != nullptr) next_->previous_ = this;
    all.first = this;
  }
  fork_witness(fork_witness const&) = delete;
  fork_witness& operator=(fork_witness const&) = delete;
  ~fork_witness() {
    list& all = witnesses();
    std::scoped_lock const lock(all.mutex);
    (previous_ != nullptr ? previous_->next_ : all.first) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
  }
  [[nodiscard]] bool inherited() const noexcept { return born_.inherited(); }

 private:
  friend fork_mark watch_forks() noexcept;
  friend class fork_pause;
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
    for (auto* w = witnesses().first; w != nullptr; w = w->next_) w->let_go_(w->object_);
    witnesses().mutex.unlock();
  }

  fork_mark born_ = watch_forks();
  handler let_go_;
  void* object_;
  fork_witness* previous_ = nullptr;
  fork_witness* next_ = nullptr;
};

/// As long as one lives nobody forks: for the few system calls between the making of a descriptor that no child may have and the place where it is let go
/// of, or its end. Not twice in one thread.
class fork_pause {
 public:
  fork_pause() : lock_(fork_witness::witnesses().mutex) {}

 private:
  std::scoped_lock<std::mutex> lock_;
};

inline fork_mark watch_forks() noexcept {
  auto& all = fork_witness::witnesses();
  std::scoped_lock const lock(all.mutex);
  if (!all.registered) all.registered = ::pthread_atfork(fork_witness::before, fork_witness::after_in_parent, fork_witness::after_in_child) == 0;
  return {};
}

}  // namespace detail

OMNICONN_END_NAMESPACE
