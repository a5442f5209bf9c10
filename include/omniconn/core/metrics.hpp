// SPDX-License-Identifier: Apache-2.0
// What happened so far, and how a connector is.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/error.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Failures by kind. \threadsafety all calls may run together; a read is not a snapshot over kinds.
class error_counters {
 public:
  void count(error_kind kind) noexcept {
    if (index(kind) < error_kind_count) counts_[index(kind)].fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t of(error_kind kind) const noexcept { return index(kind) < error_kind_count ? counts_[index(kind)].load(std::memory_order_relaxed) : 0; }
  [[nodiscard]] std::array<std::uint64_t, error_kind_count> all() const noexcept {
    std::array<std::uint64_t, error_kind_count> out{};
    for (std::size_t i = 0; i != out.size(); ++i) out[i] = counts_[i].load(std::memory_order_relaxed);
    return out;
  }

 private:
  std::array<std::atomic<std::uint64_t>, error_kind_count> counts_{};
};

/// Objects and bytes that went each way. Transports count where they are serialised anyway, so that counting costs nothing.
struct traffic {
  std::uint64_t puts = 0;
  std::uint64_t put_bytes = 0;
  std::uint64_t gets = 0;
  std::uint64_t get_bytes = 0;
};

/// How full something with a limit is.
struct occupancy {
  std::uint64_t used = 0;
  std::uint64_t capacity = 0;
};

enum class health_status : std::uint8_t { ready, degraded, closed };

constexpr std::string_view to_string(health_status s) noexcept {
  return s == health_status::ready ? "ready" : s == health_status::degraded ? "degraded" : "closed";
}

/// Another process or endpoint that takes part.
struct peer_info {
  std::string name;
  bool alive = true;
};

/// What `health()` returns: a snapshot, made on demand, off the data path.
struct health_report {
  health_status status = health_status::ready;
  std::string why;                                       ///< empty while ready
  traffic moved;
  occupancy memory;                                      ///< bytes
  occupancy objects;                                     ///< keys or slots
  std::array<std::uint64_t, error_kind_count> errors{};  ///< by `index(kind)`
  std::vector<peer_info> peers;
};

OMNICONN_END_NAMESPACE
