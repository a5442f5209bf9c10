// SPDX-License-Identifier: Apache-2.0
// What the programs that are killed by tests/shm/*crash_test.cpp have in common: the failpoint at which they die, what they report, what they put.
#pragma once

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <unistd.h>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/shm.hpp>

namespace crash {

using connector = omniconn::connector<omniconn::shm_transport, omniconn::raw_serializer, omniconn::namespaced_keying, omniconn::arena_allocator>;
inline constexpr omniconn::edge hop{"producer", "consumer"};

// --- content ----------------------------------------------------------------------------------------------------------------------------

/// Short keys, and long ones, which lie in the arena.
inline std::string key_name(unsigned number) {
  std::string name = "key-" + std::to_string(number);
  if (number % 3 == 2) name.append(60 + 37 * std::size_t{number % 8}, 'k');
  return name;
}

/// What byte `i` of an object is: other objects have other bytes everywhere.
inline std::byte content(std::uint64_t seed, std::size_t i) noexcept {
  std::uint64_t const x = (seed * 0x9e3779b97f4a7c15U + i / 8 + 1) * 0xbf58476d1ce4e5b9U;
  return static_cast<std::byte>((x ^ x >> 31U) >> (8U * (i % 8)));
}
inline std::string object(std::uint64_t seed, std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i != size; ++i) out[i] = static_cast<char>(content(seed, i));
  return out;
}
inline bool is_object(omniconn::const_bytes bytes, std::uint64_t seed, std::size_t size) noexcept {
  if (bytes.size() != size) return false;
  for (std::size_t i = 0; i != size; ++i)
    if (bytes[i] != content(seed, i)) return false;
  return true;
}
inline omniconn::const_bytes view_of(std::string const& text) noexcept { return {reinterpret_cast<std::byte const*>(text.data()), text.size()}; }

/// The same numbers on every machine.
class numbers {
 public:
  explicit numbers(std::uint64_t seed) noexcept : state_(seed * 0x9e3779b97f4a7c15U + 0x2545f4914f6cdd1dU) {}
  std::uint64_t next() noexcept {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_ >> 11U;
  }
  unsigned below(unsigned n) noexcept { return static_cast<unsigned>(next() % n); }

 private:
  std::uint64_t state_;
};

// --- reports ----------------------------------------------------------------------------------------------------------------------------

/// One line to the harness; it is there also if this process dies at the next instruction.
inline void say(std::string line) {
  line += '\n';
  if (::write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) ::_exit(9);
}

// --- death ------------------------------------------------------------------------------------------------------------------------------

inline std::string target;            // the failpoint
inline std::atomic<int> hits_left{0}; // until death
inline void (*before_death)(std::string_view name) noexcept = nullptr;  // what a program wants to do at other failpoints

inline void at_failpoint(std::string_view name) noexcept {
  if (before_death != nullptr) before_death(name);
  if (name != target || hits_left.fetch_sub(1) != 1) return;
  char line[80];
  int const n = std::snprintf(line, sizeof line, "hit %.*s\n", static_cast<int>(name.size()), name.data());
  if (::write(STDOUT_FILENO, line, static_cast<std::size_t>(n)) == n) ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

/// The options of the programs: NAME=VALUE.
struct settings {
  std::string space;
  std::string mode;
  std::string reader = "default";
  std::string directory;
  std::uint64_t seed = 1;
  unsigned ops = 20;
  std::uint32_t slots = 64;
  std::uint64_t memory = std::uint64_t{8} << 20U;
  std::uint64_t size = 0;
  std::int64_t lease_ms = 60'000;

  settings(int argc, char** argv) {
    if (argc > 1) space = argv[1];
    for (int i = 2; i < argc; ++i) {
      std::string const option = argv[i];
      auto const equals = option.find('=');
      std::string const name = option.substr(0, equals), text = equals == option.npos ? "" : option.substr(equals + 1);
      std::uint64_t const number = std::strtoull(text.c_str(), nullptr, 10);
      if (name == "mode") mode = text;
      if (name == "directory") directory = text;
      if (name == "seed") seed = number;
      if (name == "ops") ops = static_cast<unsigned>(number);
      if (name == "slots") slots = static_cast<std::uint32_t>(number);
      if (name == "memory") memory = number;
      if (name == "size") size = number;
      if (name == "lease_ms") lease_ms = static_cast<std::int64_t>(number);
      if (name == "die") {  // NAME:N, at the N-th hit
        auto const colon = text.find(':');
        target = text.substr(0, colon);
        hits_left = std::atoi(text.c_str() + colon + 1);
        omniconn::set_failpoint_hook(&at_failpoint);
      }
    }
  }

  [[nodiscard]] omniconn::shm_transport::options transport() const {
    omniconn::shm_transport::options o;
    o.space = space;
    o.directory = directory;
    o.max_keys = slots;
    o.memory_pool_size = memory;
    o.reader = reader;
    return o;
  }
  [[nodiscard]] omniconn::result<connector, omniconn::diagnosis> open() const {
    connector::options o;
    o.transport = transport();
    o.defaults.lease = std::chrono::milliseconds(lease_ms);
    return connector::open(o);
  }
};

inline bool aims_at(std::string_view prefix) noexcept { return std::string_view(target).starts_with(prefix); }

}  // namespace crash
