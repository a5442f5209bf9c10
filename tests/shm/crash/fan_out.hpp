// SPDX-License-Identifier: Apache-2.0
// What the test of many readers and its reader processes share.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shm/crash/program.hpp>

namespace crash {

inline constexpr unsigned fan_out_readers = 64, fan_out_objects = 32;

inline std::string fan_out_reader(unsigned r) { return "reader-" + std::to_string(r); }
inline std::size_t fan_out_size(std::uint64_t seed) noexcept { return 16 + seed * 37 % 200; }
inline std::string board_key(unsigned object) { return "fan-out-" + std::to_string(object); }

/// How far one reader has come with one object, stored before and after each step.
enum class share : std::uint8_t {
  none,
  trying,   ///< a get is under way; who dies here has had nothing
  held,     ///< who dies here has had nothing either
  ending,   ///< a release is under way: who dies here has had it, or not
  had,      ///< its share
  refused,  ///< not found, or consumed
  unsure,   ///< a get is under way, of one whose predecessor died while it released
  perhaps,  ///< that one was refused: its predecessor had it, or others did
  twice,    ///< had its share again
  wrong,    ///< other bytes, or another error
};

/// In a file without a name, so that what a process has stored outlives it.
struct fan_out_board {
  [[nodiscard]] std::atomic<share>& at(unsigned object, unsigned reader) noexcept { return shares[object * fan_out_readers + reader]; }
  std::array<std::atomic<share>, std::size_t{fan_out_objects} * fan_out_readers> shares;

  /// Mapped until the process ends; null: there is no such file.
  static fan_out_board* of(char const* path) {
    int const fd = ::open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return nullptr;
    void* const base = ::mmap(nullptr, sizeof(fan_out_board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return base == MAP_FAILED ? nullptr : std::launder(static_cast<fan_out_board*>(base));
  }
};
static_assert(std::atomic<share>::is_always_lock_free);

}  // namespace crash
