// SPDX-License-Identifier: Apache-2.0
// Big blocks that came back and are kept for the next who asks: their pages are there already.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

#include <sched.h>

#include <omniconn/config.hpp>

#if defined(__SANITIZE_ADDRESS__)
#define OMNICONN_WARM_BLOCKS_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OMNICONN_WARM_BLOCKS_ASAN
#endif
#endif
#if defined(OMNICONN_WARM_BLOCKS_ASAN)  // the sanitizer's own
extern "C" void __asan_poison_memory_region(void const volatile*, std::size_t);
extern "C" void __asan_unpoison_memory_region(void const volatile*, std::size_t);
#endif

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Of what `operator new` gave. Nobody waits here: where another thread is inside, or was when this process forked, a block is not kept, and none is found.
/// \threadsafety every call.
class warm_blocks {
 public:
  struct block {
    std::byte* data = nullptr;
    std::size_t size = 0;
  };

  explicit warm_blocks(std::uint64_t limit) noexcept : limit_(limit) {}
  warm_blocks(warm_blocks const&) = delete;
  warm_blocks& operator=(warm_blocks const&) = delete;
  /// In a forked child nothing may be known of what a thread of the parent was just moving.
  ~warm_blocks() {
    if (std::unique_lock const lock(mutex_, std::try_to_lock); lock) drop_all();
  }

  /// Whether any are kept.
  [[nodiscard]] bool keeps() const noexcept { return limit_.load(std::memory_order_relaxed) != 0; }

  /// The one that came back last among those that hold `size` bytes and not over twice as many.
  [[nodiscard]] block take(std::size_t size) noexcept {
    std::unique_lock const lock(mutex_, std::try_to_lock);
    if (!lock) return {};
    for (std::size_t i = count_; i-- != 0;)
      if (kept_[i].size >= size && kept_[i].size / 2 <= size) return remove(i);
    return {};
  }
  /// \returns false: the caller's to free. What came back first goes to make room.
  bool keep(block b) noexcept {
    std::unique_lock const lock(mutex_, std::try_to_lock);
    std::uint64_t const limit = limit_.load(std::memory_order_relaxed);
    if (!lock || b.size > limit) return false;
    while (count_ == kept_.size() || held_ > limit - b.size) ::operator delete(remove(0).data);
#if defined(OMNICONN_WARM_BLOCKS_ASAN)
    __asan_poison_memory_region(b.data, b.size);  // who reads it now reads what he gave back
#endif
    held_ += b.size;
    kept_[count_++] = b;
    return true;
  }
  /// Keeps no more, and frees what there is; where others are inside for long, their blocks' end does.
  void close() noexcept {
    limit_.store(0, std::memory_order_relaxed);
    for (int i = 0; i != 1000; ++i) {
      if (std::unique_lock const lock(mutex_, std::try_to_lock); lock) return drop_all();
      ::sched_yield();
    }
  }

 private:
  block remove(std::size_t i) noexcept {
    block const out = kept_[i];
    --count_;
    for (; i != count_; ++i) kept_[i] = kept_[i + 1];
    held_ -= out.size;
#if defined(OMNICONN_WARM_BLOCKS_ASAN)
    __asan_unpoison_memory_region(out.data, out.size);
#endif
    return out;
  }
  void drop_all() noexcept {
    while (count_ != 0) ::operator delete(remove(0).data);
  }

  std::mutex mutex_;
  std::atomic<std::uint64_t> limit_;
  std::uint64_t held_ = 0;
  std::size_t count_ = 0;
  std::array<block, 16> kept_{};  // by age
};

}  // namespace detail

OMNICONN_END_NAMESPACE

#undef OMNICONN_WARM_BLOCKS_ASAN
