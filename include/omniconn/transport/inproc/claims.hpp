// SPDX-License-Identifier: Apache-2.0
// Claims, gets that wait, and the ends of holds and objects in an in-process store.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/algorithm.hpp>
#include <omniconn/transport/inproc/store.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Where an object is: `generation` is never used twice in one shard of one hub.
struct inproc_place {
  std::uint64_t hub = 0;
  std::uint64_t key_hash = 0;
  std::uint64_t generation = 0;
};

/// A put or a get. While `pending` it belongs to its shard's lock, otherwise to its owner; the state says which.
class inproc_operation : public operation {
 protected:
  friend struct inproc_claims;
  friend struct inproc_engine;

  enum class state : std::uint8_t { idle, pending, writing, done, taken, failed };

  [[nodiscard]] state now() const noexcept { return state_.load(std::memory_order_acquire); }
  [[nodiscard]] bool busy() const noexcept {
    return now() == state::pending || now() == state::writing || (now() == state::done && object_ != nullptr);
  }
  void set(state s) noexcept { state_.store(s, std::memory_order_release); }
  error fail(error e) noexcept {
    failure_ = e;
    set(state::failed);
    return e;
  }
  [[nodiscard]] locator place() const noexcept { return place_.generation == 0 ? locator() : locator::pack(locator_tag::inproc, place_); }

  std::atomic<state> state_{state::idle};
  error failure_{error_kind::misconfigured, "the operation was never started; call begin or find first"};
  inproc_object* object_ = nullptr;  // reserved (put) or claimed and not yet taken (get)
  inproc_shard* shard_ = nullptr;
  inproc_member* member_ = nullptr;
  inproc_entry* entry_ = nullptr;       // a get that waits
  inproc_operation* before_ = nullptr;  // its neighbours in the entry's line
  inproc_operation* after_ = nullptr;
  inproc_waiter* waiter_ = nullptr;
  std::uint64_t reader_ = 0;
  std::uint64_t wanted_ = 0;  // the generation asked for, 0: any
  inproc_place place_;
  object_info info_;
};

/// The steps that need a shard's lock, on which all of them rely unless they say that they take it.
struct inproc_claims {
  using op = inproc_operation;
  using state = inproc_operation::state;
  enum class outcome : std::uint8_t { granted, later, had, stale };

  // --- claims ---------------------------------------------------------------------------------------------------------

  static inproc_claim* find_claim(inproc_object& o, std::uint64_t reader) noexcept {
    if (o.named) {
      auto const at =
          detail::lower_bound(o.claims.begin(), o.claims.end(), reader, [](inproc_claim const& c, std::uint64_t r) { return c.reader < r; });
      return at != o.claims.end() && at->reader == reader ? &*at : nullptr;
    }
    for (inproc_claim& c : o.claims)
      if (c.reader == reader) return &c;
    return nullptr;
  }

  /// A claim that is held answers `later`, not `had`: it may be given back, or the key may be put again.
  static outcome claim(inproc_object& o, std::uint64_t reader) {
    if (o.kept) return outcome::granted;
    inproc_claim* const mine = find_claim(o, reader);
    if (mine != nullptr) {
      if (mine->now == inproc_claim::state::consumed) return outcome::had;
      if (mine->now == inproc_claim::state::held) return outcome::later;
      mine->now = inproc_claim::state::held;
      return outcome::granted;
    }
    if (o.named || o.claims.size() == o.readers) return outcome::later;
    o.claims.push_back({reader, inproc_claim::state::held});
    return outcome::granted;
  }

  static outcome look(inproc_entry const* e, std::uint64_t reader, std::uint64_t wanted) {
    inproc_object* const o = e != nullptr ? e->current : nullptr;
    if (wanted != 0 && (o == nullptr || o->generation != wanted)) return outcome::stale;
    return o == nullptr ? outcome::later : claim(*o, reader);
  }

  static void grant(op& get, inproc_object& o) noexcept {
    inproc_shard& s = *o.shard;
    ++o.holds;
    ++s.pins;
    auto& moved = get.member_->moved[static_cast<std::size_t>(&s - s.core->shards)];
    ++moved.gets;
    moved.get_bytes += o.info.size;
    get.object_ = &o;
    get.info_ = o.info;
    get.place_ = {s.core->id, get.place_.key_hash, o.generation};
    get.set(state::done);
  }

  static error refusal(outcome why) noexcept {
    if (why == outcome::had)
      return {error_kind::consumed,
              "this reader has had its share of the object; give every reader a name of its own, or raise readers at the put"};
    return {error_kind::stale_handle,
            "the object behind the locator was read up, replaced or erased, or the locator belongs to another key; search by key instead"};
  }

  // --- gets that wait -------------------------------------------------------------------------------------------------

  static void line_up(op& get, inproc_entry* e) noexcept {
    get.entry_ = e;
    get.after_ = nullptr;
    get.before_ = e->last;
    (e->last != nullptr ? e->last->after_ : e->first) = &get;
    e->last = &get;
    get.set(state::pending);
  }

  static void leave_line(op& get) noexcept {
    inproc_entry* const e = std::exchange(get.entry_, nullptr);
    (get.before_ != nullptr ? get.before_->after_ : e->first) = get.after_;
    (get.after_ != nullptr ? get.after_->before_ : e->last) = get.before_;
  }

  /// Serves those who wait for a key, oldest first, after anything about its object changed. The object is handed over here, by the thread
  /// that changed it, so that only those who got something wake up. A served operation belongs to its owner again at once.
  static void settle(inproc_entry* e, inproc_bells& bells) {
    for (op* get = e->first; get != nullptr;) {
      op* const next = get->after_;
      outcome const now = look(e, get->reader_, get->wanted_);
      if (now != outcome::later) {
        inproc_waiter* const sleeper = get->waiter_;
        leave_line(*get);
        if (now == outcome::granted) {
          grant(*get, *e->current);
        } else {
          get->fail(refusal(now));
        }
        if (sleeper != nullptr) bells.add(*sleeper);
      }
      get = next;
    }
  }

  // --- ends -----------------------------------------------------------------------------------------------------------

  /// Takes the current object of a key away from all future gets.
  static void detach(inproc_object* o, inproc_returns& returns) noexcept {
    inproc_shard& s = *o->shard;
    o->entry->current = nullptr;
    o->entry = nullptr;
    --s.objects;
    s.bytes -= o->info.size;
    if (o->holds == 0) returns.add(o);
  }

  /// Ends a claim. Takes the lock; may run after the transport, and even the hub, is gone.
  static void end_hold(inproc_object* o, std::uint64_t reader, disposition how) noexcept {
    inproc_shard& s = *o->shard;
    inproc_returns returns(s);
    inproc_bells bells;
    std::unique_lock guard(s.lock);
    --o->holds;
    if (o->entry == nullptr) {
      if (o->holds == 0) returns.add(o);
    } else if (!o->kept) {
      inproc_entry* const e = o->entry;
      inproc_claim* const mine = find_claim(*o, reader);
      if (how == disposition::consumed) {
        mine->now = inproc_claim::state::consumed;
        if (++o->consumed == o->readers) detach(o, returns);
      } else if (o->named) {
        mine->now = inproc_claim::state::open;
      } else {
        *mine = o->claims.back();
        o->claims.pop_back();
      }
      if (e->first != nullptr) settle(e, bells);
      s.drop_if_idle(e);
    }
    leave(s, guard, bells, returns);
  }

  /// Gives up a put between begin and commit. Takes the lock; may run after the transport is gone.
  static void abandon(op& put) noexcept {
    inproc_shard& s = *put.shard_;
    inproc_returns returns(s);
    inproc_bells bells;
    std::unique_lock guard(s.lock);
    withdraw(put, returns);
    leave(s, guard, bells, returns);
  }

  static void withdraw(op& put, inproc_returns& returns) noexcept {
    inproc_object* const o = std::exchange(put.object_, nullptr);
    inproc_entry* const e = std::exchange(o->entry, nullptr);
    --e->writers;
    o->shard->drop_if_idle(e);
    returns.add(o);
  }

  /// Unlocks, then does what must not happen under the lock, and gives up one pin.
  static void leave(inproc_shard& s, std::unique_lock<std::mutex>& guard, inproc_bells& bells, inproc_returns& returns) noexcept {
    bool const early = !returns.needs_core();
    bool last = early && unpin(s);
    guard.unlock();
    bells.ring();
    returns.flush();
    if (!early) {
      guard.lock();
      last = unpin(s);
      guard.unlock();
    }
    if (last) destroy_orphan(s);
  }

  /// \returns whether this was what kept an orphaned core alive.
  static bool unpin(inproc_shard& s) noexcept {
    --s.pins;
    return s.orphaned && s.core->orphan_pins.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }
  static void destroy_orphan(inproc_shard& s) noexcept { delete s.core; }

  /// The hub's last owner is gone: the core goes now, or with the last hold.
  static void orphan(inproc_core* core) noexcept {
    std::size_t pins = 0;
    for (inproc_shard& s : core->shards) s.lock.lock();
    for (inproc_shard& s : core->shards) {
      pins += s.pins;
      s.orphaned = true;
    }
    core->orphan_pins.store(pins, std::memory_order_relaxed);
    for (inproc_shard& s : core->shards) s.lock.unlock();
    if (pins == 0) delete core;
  }

  // --- errors ---------------------------------------------------------------------------------------------------------

  static error closed() noexcept { return {error_kind::closed, "the transport was closed; open a new one", 0, severity::transport}; }
  static error taken() noexcept {
    return {error_kind::already_exists, "the key is taken; choose another, erase it, or put with on_existing::replace"};
  }
  static error absent() noexcept { return {error_kind::not_found, "no such object now"}; }
  static error cancelled() noexcept { return {error_kind::cancelled, "the operation was cancelled"}; }
  static error late() noexcept { return {error_kind::timed_out, "nothing came before the deadline"}; }
};

}  // namespace detail

OMNICONN_END_NAMESPACE
