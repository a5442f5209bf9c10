// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The way of a get: ask the master where the object is, read it from there before its lease ends. Whoever waits asks again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/staged_operation.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/mooncake/engine/initiator.hpp>
#include <omniconn/transport/mooncake/master.hpp>
#include <omniconn/transport/mooncake/store/interest.hpp>
#include <omniconn/transport/mooncake/store/place.hpp>
#include <omniconn/transport/mooncake/store/rpc_call.hpp>
#include <omniconn/transport/mooncake/store/session.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// What was read, in the caller's memory. The store knows nothing of who has read an object: nothing is given back, and nothing ends.
class store_hold {
 public:
  store_hold() noexcept = default;
  explicit store_hold(const_bytes bytes) noexcept : bytes_(bytes) {}
  store_hold(store_hold&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  store_hold& operator=(store_hold&& other) noexcept {
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
  }
  ~store_hold() = default;

  [[nodiscard]] const_bytes bytes() const noexcept { return bytes_; }
  void finish(disposition) noexcept { bytes_ = {}; }

 private:
  const_bytes bytes_;
};

/// A get of the caller's. Its fields are the transport's.
class get_operation : public staged_operation {
 public:
  get_operation() { is_get_ = true; }
  ~get_operation() { cancel(); }
  [[nodiscard]] object_info info() const noexcept {
    object_info out;
    out.size = size_;
    return out;
  }
  [[nodiscard]] locator where() const noexcept { return is(stage::found) || is(stage::looking) ? place_of(key_, replica_).pack() : locator(); }
  [[nodiscard]] store_hold take() noexcept {
    locked_operation const lock(*this);
    if (lock.at() != stage::found || std::exchange(taken_, true)) return {};
    return store_hold(to_.size() == 1 ? const_bytes(to_.front()) : const_bytes());
  }

  result<progress> begin(session& home, wire_key key, find_options const& how) {
    if (is(stage::begun) || is(stage::looking) || (is(stage::found) && !taken_)) return error(error_kind::misconfigured, "the get operation is in use");
    home_ = &home;
    wanted_ = {};
    by_place_ = how.where != nullptr;
    if (by_place_) {
      auto const at = how.where->unpack<place>(locator_tag::mooncake_store);
      if (!at) return fail(at.error());
      wanted_ = *at;
    }
    key_.assign(key);
    waits_ = how.wait;
    taken_ = false;
    size_ = 0;
    tries_ = 0;
    to_.clear();
    pause_ns_ = first_pause_ns;
    become(stage::begun);
    ask();
    return settle(go_on());
  }

  result<progress> land(std::span<mutable_bytes const> to) {
    locked_operation const lock(*this);
    if (lock.at() != stage::looking) return error(error_kind::misconfigured, "land without a get that needs memory");
    std::uint64_t room = 0;
    for (auto const& piece : to) room += piece.size();
    if (room != size_) return error(error_kind::misconfigured, "the pieces to land in must add up to info().size");
    to_.assign(to.begin(), to.end());
    // Who took long to find memory asks again: the lease is to last for the whole way.
    deadline::now_ns() - asked_ns_ > lease_ns_ / 2 ? ask() : read();
    return settle(go_on());
  }

  result<progress> step() {
    locked_operation const lock(*this);
    if (lock.at() == stage::found) return progress::done;
    if (lock.at() == stage::looking) return progress::needs_memory;
    if (lock.at() != stage::begun) return failure_;
    call const entered(home_);
    if (!entered) return give_up(closed_error());
    return settle(go_on());
  }

  void cancel() noexcept {
    locked_operation const lock(*this);
    if (lock.at() == stage::begun || lock.at() == stage::looking || (lock.at() == stage::found && !taken_)) static_cast<void>(give_up(cancelled_error()));
  }

  void add_interest(interest_list& out) {
    locked_operation const lock(*this);
    if (lock.at() != stage::begun) return;
    switch (phase_) {
      case phase::resting: out.not_later_than(look_again_ns_); break;
      case phase::asking: out.add(call_); break;
      default:
        out.add(transfer_);
        renewing_ ? out.add(call_) : out.not_later_than(renew_ns());
    }
  }

 private:
  enum class phase : std::uint8_t { asking, resting, found, reading, ended };
  static constexpr std::int64_t first_pause_ns = 1'000'000;
  static constexpr unsigned most_tries = 3;

  void ask() {
    phase_ = phase::asking;
    asked_ns_ = deadline::now_ns();
    call_.begin(home_->master, get_replica_list(home_->self, key_));
  }
  void read() {
    phase_ = phase::reading;
    renewing_ = false;
    transfer_.read(home_->engines, replica_.endpoint, replica_.address, to_);
  }
  /// When a read that goes on asks for a longer lease.
  [[nodiscard]] std::int64_t renew_ns() const noexcept { return asked_ns_ + lease_ns_ / 2; }

  /// As far as it gets. \returns `done` when the object is there, or needs memory.
  result<progress> go_on() {
    for (;;) switch (phase_) {
        case phase::found:
        case phase::ended: return progress::done;
        case phase::resting:
          if (deadline::now_ns() < look_again_ns_) return progress::pending;
          ask();
          break;
        case phase::asking: {
          auto const now = call_.step();
          if (!now || *now == progress::pending) return now;
          auto found = read_found(call_.reply());
          if (found) {
            if (auto const good = choose(std::move(*found)); !good) return good.error();
          } else if (found.error().kind() != error_kind::not_found) {
            return found.error();
          } else if (!to_.empty()) {
            return error(error_kind::lost, "the object was removed while it was read", found.error().native());
          } else if (by_place_) {
            return stale_error();
          } else if (!waits_) {
            return found.error();
          } else {
            phase_ = phase::resting;
            look_again_ns_ = deadline::now_ns() + pause_ns_;
            pause_ns_ = pause_ns_ * 2 < home_->longest_pause_ns ? pause_ns_ * 2 : home_->longest_pause_ns;
          }
          break;
        }
        case phase::reading: {
          auto const now = transfer_.step();
          if (now && *now == progress::pending) {
            if (auto const kept = keep_lease(); !kept) return kept.error();
            return now;
          }
          call_.abandon();
          if (!now) {
            if (auto const next = another(now.error()); !next) return next.error();
          } else if (deadline::now_ns() - asked_ns_ < lease_ns_) {
            phase_ = phase::ended;
          } else if (++tries_ == most_tries) {
            return error(error_kind::lease_expired, "the object's lease ended before it was read, several times; start the Mooncake master with a longer --default_kv_lease_ttl");
          } else {
            ask();
          }
          break;
        }
      }
  }
  /// Takes the first place that we can read.
  result<void> choose(found_object found) {
    lease_ns_ = found.lease_ms > 1'000'000'000 ? 1'000'000'000'000'000 : static_cast<std::int64_t>(found.lease_ms) * 1'000'000;
    others_ = std::move(found.replicas);
    error why{error_kind::lost, "the Mooncake store has no complete replica of the object"};
    while (!others_.empty()) {
      replica next = std::move(others_.front());
      others_.erase(others_.begin());
      if (next.status != replica::complete) continue;
      if (auto const usable = check_memory(next); !usable) {
        why = usable.error();
        continue;
      }
      if (by_place_ && place_of(key_, next) != wanted_) {
        why = stale_error();
        continue;
      }
      if (!to_.empty() && next.size != size_) return error(error_kind::lost, "the object was replaced while it was read");
      replica_ = std::move(next);
      size_ = replica_.size;
      to_.empty() ? static_cast<void>(phase_ = phase::found) : read();
      return {};
    }
    return why;
  }
  /// A node that does not answer may have a neighbour that does.
  result<void> another(error why) {
    while (!others_.empty()) {
      replica next = std::move(others_.front());
      others_.erase(others_.begin());
      if (next.status != replica::complete || !check_memory(next) || next.size != size_) continue;
      replica_ = std::move(next);
      read();
      return {};
    }
    return why;
  }
  /// A read that takes long renews its lease halfway.
  result<void> keep_lease() {
    if (!renewing_) {
      if (deadline::now_ns() < renew_ns()) return {};
      renewing_ = true;
      renewed_ns_ = deadline::now_ns();
      call_.begin(home_->master, get_replica_list(home_->self, key_));
    }
    auto const now = call_.step();
    if (!now) return now.error();
    if (*now == progress::pending) return {};
    renewing_ = false;
    auto const found = read_found(call_.reply());
    if (!found) return found.error().kind() == error_kind::not_found ? error(error_kind::lost, "the object was removed while it was read", found.error().native()) : found.error();
    for (auto const& r : found->replicas)
      if (r == replica_) {
        asked_ns_ = renewed_ns_;
        return {};
      }
    return error(error_kind::lost, "the object was replaced while it was read");
  }

  result<progress> settle(result<progress> now) {
    if (!now) {
      call_.abandon();
      transfer_.abandon();
      return fail(now.error());
    }
    if (phase_ == phase::found) {
      become(stage::looking);
      phase_ = phase::resting;
      return progress::needs_memory;
    }
    if (phase_ != phase::ended) {
      become(stage::begun);  // it may have looked for memory
      return now;
    }
    home_->gets.fetch_add(1, std::memory_order_relaxed);
    home_->get_bytes.fetch_add(size_, std::memory_order_relaxed);
    become(stage::found);
    return progress::done;
  }
  error give_up(error why) noexcept {
    call_.abandon();
    transfer_.abandon();
    return fail(why);
  }
  static error stale_error() noexcept { return {error_kind::stale_handle, "the object of the receipt is gone; get by key, or put it again"}; }

  session* home_ = nullptr;
  std::string key_;
  place wanted_;
  replica replica_;
  std::vector<replica> others_;
  std::vector<mutable_bytes> to_;
  std::uint64_t size_ = 0;
  std::int64_t asked_ns_ = 0, renewed_ns_ = 0, lease_ns_ = 0, look_again_ns_ = 0, pause_ns_ = first_pause_ns;
  unsigned tries_ = 0;
  phase phase_ = phase::ended;
  bool waits_ = true, by_place_ = false, taken_ = false, renewing_ = false;
  rpc_call call_;
  transfer transfer_;
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
