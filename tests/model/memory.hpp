// SPDX-License-Identifier: Apache-2.0
// A memory that is weaker than that of any processor the tests run on: every location remembers all that was written to it, and a thread
// may read any value that nothing it knows of has overwritten.
//
// What a thread knows is its view: for each location the oldest message it may still read. Release stores put the view into the message,
// acquire loads take it out; read-modify-writes read the newest message and hand the view of the one they replace on. Sequentially
// consistent accesses read nothing older than what another such access of that location has read or written. docs/model-checking.md says what
// that leaves out.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace model {

inline constexpr std::size_t max_tracked = 192;  // locations that are written while threads run
inline constexpr std::size_t max_messages = 200;  // to one location in one execution
inline constexpr std::size_t max_threads = 6;

[[noreturn]] inline void give_up(char const* why) {
  std::fprintf(stderr, "model checker: %s\n", why);
  std::abort();
}

/// For each tracked location the place of a message in its history.
struct view {
  std::array<std::uint8_t, max_tracked> at{};

  void join(view const& other) noexcept {
    for (std::size_t i = 0; i != max_tracked; ++i) at[i] = at[i] < other.at[i] ? other.at[i] : at[i];
  }
};

/// What a location is for: names in traces, and the handle by which a fault is put into accesses of one kind.
enum class kind : std::uint8_t { word, ctl, claim, hash, expires, owner, readers, replaces, touched, bell, sleepers, lock, spread, room_seq, wants_room, life, epoch, head, os_lock, cell, look, listens, listeners, fifo };

enum class action : std::uint8_t { load, store, exchange, cas, cas_weak, add, sub, bit_or, bit_and, try_lock, unlock, ask_lock, sleep, wake, pause };

struct message {
  std::uint64_t value = 0;
  view seen;
};

struct location {
  std::uint64_t initial = 0;
  std::uint8_t count = 0;   // messages after the initial value
  std::uint8_t tracked = 0; // 1 + index in views; 0: never written while threads run
  kind what = kind::word;
  bool shared = false;      // two threads use it, and one of them writes: a place where threads may be switched
  std::uint8_t slot = 0;
  std::uint8_t part = 0;
  std::uint8_t users = 0;   // bit per thread, over all executions
  bool written = false;
  bool touched = false;     // in this execution
  std::array<std::uint16_t, max_messages> messages{};
};

/// Weakens every sequentially consistent access of some kind, for one mutant.
struct weakening {
  std::uint64_t kinds = 0;  // bit per kind
  std::memory_order load = std::memory_order_seq_cst;
  std::memory_order write = std::memory_order_seq_cst;  // stores and read-modify-writes
};

}  // namespace model
