// SPDX-License-Identifier: Apache-2.0
// The thread that came first to something that mostly one thread uses.
#pragma once

#include <atomic>

#include <pthread.h>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Of several threads, the one that asked first: what it alone writes needs no locked instruction. Stays the same, also where it is idle from then on; one that gets the number of one that has
/// ended is its heir, and a forked child's only thread that of the thread that forked. \threadsafety any
class first_thread {
 public:
  /// Whether it is the caller, who may be the one that comes first just now.
  [[nodiscard]] bool is_here() noexcept {
    ::pthread_t const self = ::pthread_self();
    ::pthread_t first = first_.load(std::memory_order_relaxed);
    return first == self || (first == 0 && first_.compare_exchange_strong(first, self, std::memory_order_relaxed));
  }

 private:
  std::atomic<::pthread_t> first_{0};
};

}  // namespace detail

OMNICONN_END_NAMESPACE
