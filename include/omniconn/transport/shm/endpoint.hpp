// SPDX-License-Identifier: Apache-2.0
// What the calls of one transport object share, and the operations that they drive.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include <sched.h>

#include <omniconn/config.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/futex.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/hold.hpp>
#include <omniconn/transport/shm/producer.hpp>
#include <omniconn/transport/shm/session.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// What a locator holds.
struct place {
  std::uint64_t directory;
  std::uint64_t generation;
  std::uint64_t hash;
  std::uint32_t index;
  std::uint32_t reserved;
};

inline error closed_error() noexcept { return {error_kind::closed, "the transport is closed", 0, severity::transport}; }
inline error cancelled_error() noexcept { return {error_kind::cancelled, "the operation was cancelled"}; }
inline error stale_error() noexcept { return {error_kind::stale_handle, "the locator is of an object that is gone; search by key, or ask for a new receipt"}; }

/// The part of a transport that does not move.
struct endpoint {
  endpoint(std::shared_ptr<shm::session> s, std::uint64_t pool_size, std::uint16_t reader_id, std::int64_t spin)
      : session(std::move(s)), writer(*session, pool_size), reader(reader_id), spin_ns(spin >= 0 ? spin : std::thread::hardware_concurrency() > 1 ? 20'000 : 0) {}

  std::shared_ptr<shm::session> session;
  producer writer;
  std::uint16_t reader;
  std::int64_t spin_ns;
  std::mutex put_mutex;  ///< of `writer`
  std::stop_source closing;
  std::atomic<bool> closed{false};
  std::atomic<std::uint32_t> inside{0};  ///< calls under way: `close` waits for them before it lets the session go
  std::atomic<std::uint64_t> puts{0}, put_bytes{0}, gets{0}, get_bytes{0};

  /// Drains a ready slot of that generation.
  bool drain_index(std::uint32_t index, std::uint64_t generation) noexcept {
    auto const& dir = session->dir();
    std::uint32_t const owner = dir.slot_at(index).owner.load(std::memory_order_relaxed);
    if (!drain(dir, index, generation)) return false;
    session->retired_of(owner);
    return true;
  }

  /// Drains a ready slot of that hash. Two keys of one 64-bit hash count as one here: 1 in 10^19.
  bool drain_if(std::uint32_t index, std::uint64_t hash) noexcept {
    slot& s = session->dir().slot_at(index);
    std::uint64_t const word = s.ctl.load();
    if (control::state(word) != slot_state::ready || s.hash.load(std::memory_order_relaxed) != hash) return false;
    return drain_index(index, control::generation(word));
  }
};

/// Keeps `close` from pulling the session away under a call. False: the transport is closed.
class call {
 public:
  explicit call(endpoint* s) noexcept : endpoint_(s) {
    if (endpoint_ == nullptr) return;
    endpoint_->inside.fetch_add(1);
    if (endpoint_->closed.load()) leave();
  }
  call(call const&) = delete;
  call& operator=(call const&) = delete;
  ~call() { leave(); }
  explicit operator bool() const noexcept { return endpoint_ != nullptr; }

 private:
  void leave() noexcept {
    if (endpoint_ != nullptr) endpoint_->inside.fetch_sub(1);
    endpoint_ = nullptr;
  }
  endpoint* endpoint_;
};

/// `busy`: a thread is at the operation; another one that wants to cancel it waits for nanoseconds.
enum class stage : std::uint8_t { idle, begun, looking, found, failed, busy };

/// What tells put and get operations apart in `wait`. The fields of operations belong to the transport.
struct shm_operation : operation {
  std::atomic<stage> at_{stage::idle};
  bool is_get_ = false;
  error failure_{error_kind::misconfigured, "the operation was not begun"};

  /// \requires the operation is locked, or nobody else can know it.
  error fail(error e) noexcept {
    failure_ = e;
    at_.store(stage::failed, std::memory_order_release);
    return e;
  }
};

/// Has an operation to itself: `cancel` may come from another thread than `wait`.
class locked_operation {
 public:
  explicit locked_operation(shm_operation& op) noexcept : op_(op), seen_(op.at_.load(std::memory_order_relaxed)) {
    for (int i = 0; seen_ == stage::busy || !op_.at_.compare_exchange_weak(seen_, stage::busy, std::memory_order_acquire); ++i) {
      i < 100 ? cpu_relax() : static_cast<void>(::sched_yield());
      seen_ = op_.at_.load(std::memory_order_relaxed);
    }
  }
  locked_operation(locked_operation const&) = delete;
  locked_operation& operator=(locked_operation const&) = delete;
  ~locked_operation() {
    if (op_.at_.load(std::memory_order_relaxed) == stage::busy) op_.at_.store(seen_, std::memory_order_release);
  }
  /// Where the operation was when it was locked.
  [[nodiscard]] stage at() const noexcept { return seen_; }

 private:
  shm_operation& op_;
  stage seen_;
};

struct put_operation : shm_operation {
  ~put_operation();
  [[nodiscard]] locator where() const noexcept { return where_; }

  endpoint* owner_ = nullptr;
  locator where_;
  std::uint64_t hash_ = 0;
  std::uint32_t index_ = 0;
  on_existing existing_ = on_existing::fail;
};

struct get_operation : shm_operation {
  get_operation() noexcept { is_get_ = true; }
  [[nodiscard]] object_info info() const noexcept { return info_; }
  [[nodiscard]] locator where() const noexcept { return where_; }
  [[nodiscard]] object_hold take() noexcept {
    locked_operation const lock(*this);
    if (lock.at() == stage::found) at_.store(stage::idle, std::memory_order_release);
    return std::move(hold_);
  }

  wire_key key_;
  std::string kept_;
  std::uint64_t hash_ = 0;
  std::uint16_t reader_ = 0;
  bool by_locator_ = false;
  std::uint32_t index_ = 0;
  std::uint64_t generation_ = 0;
  object_info info_;
  locator where_;
  object_hold hold_;
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
