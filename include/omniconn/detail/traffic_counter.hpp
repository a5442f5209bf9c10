// SPDX-License-Identifier: Apache-2.0
// How many objects and bytes came or went.
#pragma once

#include <atomic>
#include <cstdint>

#include <omniconn/config.hpp>
#include <omniconn/detail/first_thread.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Counts objects and their bytes. Mostly one thread moves them: the first that comes counts with plain stores, all others, also where that is idle from then on, in words of their own with
/// locked additions, two of which cost a small get 7 ns. Exact, whoever counts.
class traffic_counter {
 public:
  void add(std::uint64_t bytes) noexcept {
    if (first_.is_here()) {
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
  first_thread first_;
  std::atomic<std::uint64_t> objects_{0}, bytes_{0};
  std::atomic<std::uint64_t> others_objects_{0}, others_bytes_{0};
};

}  // namespace detail

OMNICONN_END_NAMESPACE
