// SPDX-License-Identifier: Apache-2.0
// How many objects and bytes came or went.
#pragma once

#include <atomic>
#include <cstdint>

#include <pthread.h>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Counts objects and their bytes. Mostly one thread moves them: the first that comes counts with plain stores, all others, also where that is idle from then on, in words of their own with
/// locked additions, two of which cost a small get 7 ns. Exact, whoever counts.
class traffic_counter {
 public:
  void add(std::uint64_t bytes) noexcept {
    ::pthread_t const self = ::pthread_self();
    ::pthread_t first = first_.load(std::memory_order_relaxed);
    if (first == 0 && first_.compare_exchange_strong(first, self, std::memory_order_relaxed)) first = self;
    if (first == self) {
      objects_.store(objects_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      bytes_.store(bytes_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
    } else {
      others_objects_.fetch_add(1, std::memory_order_relaxed);
      others_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    }
  }
  [[nodiscard]] std::uint64_t objects() const noexcept { return objects_.load(std::memory_order_relaxed) + others_objects_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed) + others_bytes_.load(std::memory_order_relaxed); }

 private:
  std::atomic<::pthread_t> first_{0};  // a thread that gets the number of one that has ended is its heir
  std::atomic<std::uint64_t> objects_{0}, bytes_{0};
  std::atomic<std::uint64_t> others_objects_{0}, others_bytes_{0};
};

}  // namespace detail

OMNICONN_END_NAMESPACE
