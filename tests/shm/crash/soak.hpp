// SPDX-License-Identifier: Apache-2.0
// What the soak and its processes share: where each pair of a producer and a consumer stands, and what its objects are.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <omniconn/core/buffer.hpp>

namespace crash {

inline constexpr unsigned soak_pairs = 4;

/// A place in a pair's sequence: which life of its producer, which object.
struct soak_place {
  std::uint64_t life = 0, number = 0;
  [[nodiscard]] std::uint64_t packed() const noexcept { return life << 40U | number; }
  static soak_place of(std::uint64_t word) noexcept { return {word >> 40U, word & ((std::uint64_t{1} << 40U) - 1)}; }
};

struct soak_pair {
  std::atomic<std::uint64_t> life{0};                      ///< of the producer; set before it starts
  std::array<std::atomic<std::uint64_t>, 2> put{};         ///< objects acknowledged, by the last bit of `life`
  std::atomic<std::uint64_t> next{0};                      ///< what the consumer gets next, packed
  std::atomic<std::uint64_t> moved{0}, bytes{0};           ///< verified
  std::atomic<std::uint64_t> skipped{0};                   ///< a consumer that died had it, but could not say so any more
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<bool> producer_rests{false}, consumer_rests{false};
  char what[200] = {};                                     ///< went wrong first
};

struct soak_board {
  std::atomic<bool> producers_rest{false}, consumers_rest{false};
  std::array<soak_pair, soak_pairs> pairs;

  /// Mapped until the process ends; null: there is no such file.
  static soak_board* of(char const* path) {
    int const fd = ::open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return nullptr;
    void* const base = ::mmap(nullptr, sizeof(soak_board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return base == MAP_FAILED ? nullptr : std::launder(static_cast<soak_board*>(base));
  }
};

inline std::uint64_t soak_mix(std::uint64_t x) noexcept {
  x = (x ^ x >> 31U) * 0x9e3779b97f4a7c15U;
  return x ^ x >> 29U;
}
inline std::uint64_t soak_seed(unsigned pair, soak_place at) noexcept { return soak_mix((std::uint64_t{pair} << 56U) ^ at.packed() ^ 0x736f616bU); }
inline std::string soak_key(soak_place at) { return std::to_string(at.life) + "/" + std::to_string(at.number); }

/// 1 B to 1 MiB as a rule, one of 64 up to 16 MiB, one of 4,096 up to `largest`; the first ones of pair 0 are as large as they get, so that memory has been
/// as large as it gets.
inline std::size_t soak_size(unsigned pair, soak_place at, std::size_t largest) noexcept {
  if (pair == 0 && at.number < 4) return largest;
  std::uint64_t const x = soak_seed(pair, at), rare = x & 4095U;
  std::size_t most = std::size_t{1} << (x >> 12U) % 21U;
  if (rare % 64 == 1) most = std::size_t{16} << 20U;
  if (rare == 0) most = largest;
  if (most > largest) most = largest;
  return rare == 0 ? most : 1 + (x >> 24U) % most;
}

inline std::uint64_t soak_word(std::uint64_t seed, std::size_t i) noexcept {
  std::uint64_t const x = (seed + i) * 0xbf58476d1ce4e5b9U;
  return x ^ x >> 32U;
}
inline void soak_fill(omniconn::mutable_bytes to, std::uint64_t seed) noexcept {
  std::size_t const words = to.size() / 8;
  for (std::size_t i = 0; i != words; ++i) {
    std::uint64_t const w = soak_word(seed, i);
    std::memcpy(to.data() + 8 * i, &w, 8);
  }
  std::uint64_t const last = soak_word(seed, words);
  if (to.size() % 8 != 0) std::memcpy(to.data() + 8 * words, &last, to.size() % 8);
}
inline bool soak_is(omniconn::const_bytes bytes, std::uint64_t seed, std::size_t size) noexcept {
  if (bytes.size() != size) return false;
  std::size_t const words = size / 8;
  std::uint64_t differs = 0;
  for (std::size_t i = 0; i != words; ++i) {
    std::uint64_t w = 0;
    std::memcpy(&w, bytes.data() + 8 * i, 8);
    differs |= w ^ soak_word(seed, i);
  }
  std::uint64_t const last = soak_word(seed, words);
  return differs == 0 && (size % 8 == 0 || std::memcmp(bytes.data() + 8 * words, &last, size % 8) == 0);
}

}  // namespace crash
