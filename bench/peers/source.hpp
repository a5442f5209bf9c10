// SPDX-License-Identifier: Apache-2.0
// Where a producer's payloads lie: private memory, warm, rewritten on demand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>

#include <sys/mman.h>

namespace peers {

inline constexpr std::size_t largest = std::size_t{256} << 20U;

/// Touched as far as it was asked for.
class source {
 public:
  source() : memory_(static_cast<std::byte*>(::mmap(nullptr, largest, PROT_READ | PROT_WRITE, how, -1, 0))) {
    if (memory_ == MAP_FAILED) throw std::runtime_error("no memory for the source");
  }
  source(source const&) = delete;
  source& operator=(source const&) = delete;
  ~source() { ::munmap(memory_, largest); }

  std::span<std::byte> of(std::size_t size) {
    for (; filled_ < size; ++filled_) memory_[filled_] = static_cast<std::byte>(filled_ * 2654435761U >> 13U);
    return {memory_, size};
  }
  /// Changes every byte: each gets one more, or two with the carry of the one below.
  void rewrite(std::size_t size) {
    auto const all = of(size);
    std::size_t i = 0;
    for (; i + 8 <= all.size(); i += 8) {
      std::uint64_t word;
      std::memcpy(&word, all.data() + i, 8);
      word += 0x0101'0101'0101'0101U;
      std::memcpy(all.data() + i, &word, 8);
    }
    for (; i != all.size(); ++i) all[i] = static_cast<std::byte>(static_cast<unsigned>(all[i]) + 1U);
  }

 private:
  static constexpr int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  std::byte* memory_;
  std::size_t filled_ = 0;
};

}  // namespace peers
