// SPDX-License-Identifier: Apache-2.0
// What happens to the records of an in-process store: claims, waiting gets, holds, the ends of objects.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/result.hpp>
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
  friend struct inproc_engine;

  enum class state : std::uint8_t { idle, pending, writing, done, taken, failed };

  [[nodiscard]] state now() const noexcept { return state_.load(std::memory_order_acquire); }
  [[nodiscard]] bool busy() const noexcept { return now() == state::pending || now() == state::writing || (now() == state::done && object_ != nullptr); }
  void set(state s) noexcept { state_.store(s, std::memory_order_release); }
  error fail(error e) noexcept {
    failure_ = e;
    set(state::failed);
    return e;
  }
  [[nodiscard]] locator place() const noexcept { return place_.generation == 0 ? locator() : locator::pack(locator_tag::inproc, place_); }

  std::atomic<state> state_{state::idle};
  error failure_{error_kind::misconfigured, "the operation was never started; call begin or find first"};
  inproc_object* object_ = nullptr;     // reserved (put) or claimed and not yet taken (get)
  inproc_shard* shard_ = nullptr;
  inproc_member* member_ = nullptr;
  inproc_entry* entry_ = nullptr;       // a get that waits
  inproc_operation* before_ = nullptr;  // its neighbours in the entry's line
  inproc_operation* after_ = nullptr;
  inproc_waiter* waiter_ = nullptr;
  std::uint64_t reader_ = 0;
  std::uint64_t wanted_ = 0;            // the generation asked for, 0: any
  inproc_place place_;
  object_info info_;
};

/// The steps that need a shard's lock, on which all of them rely unless they say that they take it.
struct inproc_engine {
  using op = inproc_operation;
  using state = inproc_operation::state;
  enum class outcome : std::uint8_t { granted, later, had, stale };

  // --- claims ---------------------------------------------------------------------------------------------------------

  static inproc_claim* find_claim(inproc_object& o, std::uint64_t reader) noexcept {
    if (o.named) {
      auto const at = std::lower_bound(o.claims.begin(), o.claims.end(), reader, [](inproc_claim const& c, std::uint64_t r) { return c.reader < r; });
      return at != o.claims.end() && at->reader == reader ? &*at : nullptr;
    }
    for (inproc_claim& c : o.claims)
      if (c.reader == reader) return &c;
    return nullptr;
  }

  /// A claim that is held answers `later`, not `had`: it may be given back, or the key may be put again.
  static outcome claim(inproc_object& o, std::uint64_t reader) {
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
    if (why == outcome::had) return {error_kind::consumed, "this reader has had its share of the object; give every reader a name of its own, or raise readers at the put"};
    return {error_kind::stale_handle, "the object behind the locator was read up, replaced or erased, or the locator belongs to another key; search by key instead"};
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
    } else {
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

  // --- put ------------------------------------------------------------------------------------------------------------

  static result<progress> begin(inproc_core& core, inproc_member& member, op& put, wire_key key, outgoing const& out, object_info const& info,
                                publish_options const& how, std::vector<inproc_claim>& named) {
    std::uint64_t const hash = core.hash_of(key);
    inproc_shard& s = core.shard_of(hash);
    std::lock_guard const guard(s.lock);
    if (member.closed.load(std::memory_order_relaxed)) return put.fail(closed());
    inproc_entry* e = s.lookup(hash, key);
    bool const replace = how.existing == on_existing::replace;
    if (e != nullptr && !replace && (e->current != nullptr || e->writers != 0)) return put.fail(taken());
    inproc_object* const o = s.object_pool.take();
    if (e == nullptr) e = s.insert(hash, key);
    ++e->writers;
    ++s.pins;
    o->shard = &s;
    o->entry = e;
    o->generation = 0;
    o->producer = member.id;
    o->bytes = out.parts.empty() ? const_bytes() : out.parts.front();
    o->info = info;
    o->token = out.token;
    o->dispose = out.dispose;
    o->readers = how.readers.size();
    o->holds = 0;
    o->consumed = 0;
    o->named = !how.readers.names.empty();
    o->replaces = replace;
    o->claims.clear();
    if (o->named) o->claims.swap(named);
    put.object_ = o;
    put.shard_ = &s;
    put.member_ = &member;
    put.place_ = {core.id, hash, 0};
    put.set(state::writing);
    return progress::done;
  }

  static result<progress> commit(op& put, object_info const& info) {
    inproc_object* const o = put.object_;
    inproc_shard& s = *put.shard_;
    inproc_returns returns(s);
    inproc_bells bells;
    std::unique_lock guard(s.lock);
    inproc_entry* const e = o->entry;
    bool const is_closed = put.member_->closed.load(std::memory_order_relaxed);
    // A replacing put may have come between begin and commit of one that must not replace.
    bool const beaten = e->current != nullptr && !o->replaces;
    if (is_closed || beaten) {
      withdraw(put, returns);
      put.fail(is_closed ? closed() : taken());
      leave(s, guard, bells, returns);
      return put.failure_;
    }
    if (e->current != nullptr) detach(e->current, returns);
    --e->writers;
    e->current = o;
    o->generation = ++s.generation;
    o->info = info;
    o->bytes = o->bytes.first(static_cast<std::size_t>(info.size));
    ++s.objects;
    s.bytes += info.size;
    auto& moved = put.member_->moved[static_cast<std::size_t>(&s - s.core->shards)];
    ++moved.puts;
    moved.put_bytes += info.size;
    put.object_ = nullptr;
    put.place_.generation = o->generation;
    put.set(state::done);
    if (e->first != nullptr) settle(e, bells);
    leave(s, guard, bells, returns);
    return progress::done;
  }

  // --- get ------------------------------------------------------------------------------------------------------------

  static result<progress> find(inproc_core& core, inproc_member& member, op& get, wire_key key, std::uint64_t reader, inproc_place const* where) {
    std::uint64_t const hash = core.hash_of(key);
    inproc_shard& s = core.shard_of(hash);
    get.shard_ = &s;
    get.member_ = &member;
    get.reader_ = reader;
    get.wanted_ = where != nullptr ? where->generation : 0;
    get.place_ = {core.id, hash, 0};
    std::lock_guard const guard(s.lock);
    if (member.closed.load(std::memory_order_relaxed)) return get.fail(closed());
    inproc_entry* e = s.lookup(hash, key);
    switch (outcome const now = look(e, reader, get.wanted_)) {
      case outcome::granted: grant(get, *e->current); return progress::done;
      case outcome::had:
      case outcome::stale: return get.fail(refusal(now));
      case outcome::later: break;
    }
    if (e == nullptr) e = s.insert(hash, key);
    line_up(get, e);
    return progress::pending;
  }

  /// Ends a get that was not taken. Takes the lock.
  static void give_up(op& get) noexcept {
    if (get.now() == state::pending) {
      std::lock_guard const guard(get.shard_->lock);
      if (get.now() == state::pending) {
        inproc_entry* const e = get.entry_;
        leave_line(get);
        get.shard_->drop_if_idle(e);
        get.fail(cancelled());
        if (get.waiter_ != nullptr) get.waiter_->ring();  // another thread waits for what this one cancels
        return;
      }
    }
    if (get.now() == state::done && get.object_ != nullptr) {
      end_hold(std::exchange(get.object_, nullptr), get.reader_, disposition::give_back);
      get.fail(cancelled());
    }
  }

  // --- wait -----------------------------------------------------------------------------------------------------------

  /// \returns the first operation that is no longer pending, or `ops.size()`.
  static std::size_t first_ended(std::span<operation* const> ops) noexcept {
    std::size_t i = 0;
    while (i != ops.size() && of(ops[i]).now() == state::pending) ++i;
    return i;
  }

  static op& of(operation* o) noexcept { return *static_cast<op*>(o); }

  static void set_waiter(std::span<operation* const> ops, inproc_waiter* w) noexcept {
    for (operation* o : ops) {
      op& one = of(o);
      if (one.shard_ == nullptr) continue;
      std::lock_guard const guard(one.shard_->lock);
      one.waiter_ = w;
    }
  }

  static result<std::size_t> wait(inproc_member& member, std::span<operation* const> ops, deadline until, stop_token const& stop) {
    if (member.closed.load(std::memory_order_acquire)) return closed();
    if (std::size_t const i = first_ended(ops); i != ops.size()) return i;
    if (stop.stop_requested()) return cancelled();
    if (until.passed()) return late();
    if (ops.empty() && until.is_never() && !stop.stop_possible())
      return error(error_kind::misconfigured, "a wait for nothing that nothing can end; give it operations, a deadline or a stop token");

    inproc_waiter w;
    {
      std::lock_guard const guard(member.lock);
      member.sleepers.push_back(&w);
    }
    set_waiter(ops, &w);
    std::size_t ended = ops.size();
    bool in_time = true;
    {
      std::stop_callback const ring(stop, [&w]() noexcept { w.ring(); });
      // Looking comes after everybody who may ring knows the waiter, and sleeping after looking: no ring is lost.
      for (;;) {
        ended = first_ended(ops);
        if (ended != ops.size() || !in_time || stop.stop_requested() || member.closed.load(std::memory_order_acquire)) break;
        in_time = w.sleep(until);
      }
    }
    set_waiter(ops, nullptr);
    {
      std::lock_guard const guard(member.lock);
      std::erase(member.sleepers, &w);
    }
    if (member.closed.load(std::memory_order_acquire)) return closed();
    if (ended == ops.size()) ended = first_ended(ops);
    if (ended != ops.size()) return ended;
    if (stop.stop_requested()) return cancelled();
    return late();
  }

  static result<progress> outcome_of(op const& o) noexcept {
    switch (o.now()) {
      case state::pending: return progress::pending;
      case state::writing:
      case state::done:
      case state::taken: return progress::done;
      case state::idle:
      case state::failed: break;
    }
    return o.failure_;
  }

  // --- close and clean-up ---------------------------------------------------------------------------------------------

  /// Ends everything of one member but its holds.
  static void close(inproc_core& core, inproc_member& member) noexcept {
    if (member.closed.exchange(true, std::memory_order_acq_rel)) return;
    for (inproc_shard& s : core.shards) {
      inproc_returns returns(s);
      inproc_bells bells;
      {
        std::lock_guard const guard(s.lock);
        s.for_each_entry([&](inproc_entry* e) {
          for (op* get = e->first; get != nullptr;) {
            op* const next = get->after_;
            if (get->member_ == &member) {
              leave_line(*get);
              get->fail(closed());
            }
            get = next;
          }
          if (e->current != nullptr && e->current->producer == member.id) {
            detach(e->current, returns);
            settle(e, bells);
          }
          s.drop_if_idle(e);
        });
      }
      bells.ring();
      returns.flush();
    }
    std::lock_guard const guard(member.lock);
    for (inproc_waiter* w : member.sleepers) w->ring();
  }

  template <class Match>
  static std::size_t erase_if(inproc_core& core, Match&& match) {
    std::size_t erased = 0;
    for (inproc_shard& s : core.shards) {
      inproc_returns returns(s);
      inproc_bells bells;
      {
        std::lock_guard const guard(s.lock);
        s.for_each_entry([&](inproc_entry* e) {
          if (e->current == nullptr || !match(wire_key(e->key))) return;
          erase_current(s, e, returns, bells);
          ++erased;
        });
      }
      bells.ring();
      returns.flush();
    }
    return erased;
  }

  static std::size_t erase(inproc_core& core, wire_key key) {
    std::uint64_t const hash = core.hash_of(key);
    inproc_shard& s = core.shard_of(hash);
    inproc_returns returns(s);
    inproc_bells bells;
    {
      std::lock_guard const guard(s.lock);
      inproc_entry* const e = s.lookup(hash, key);
      if (e == nullptr || e->current == nullptr) return 0;
      erase_current(s, e, returns, bells);
    }
    bells.ring();
    returns.flush();
    return 1;
  }

  static void erase_current(inproc_shard& s, inproc_entry* e, inproc_returns& returns, inproc_bells& bells) noexcept {
    detach(e->current, returns);
    settle(e, bells);  // those who wait for this very object learn that it is gone
    s.drop_if_idle(e);
  }

  static bool exists(inproc_core& core, wire_key key) noexcept {
    std::uint64_t const hash = core.hash_of(key);
    inproc_shard& s = core.shard_of(hash);
    std::lock_guard const guard(s.lock);
    inproc_entry const* const e = s.lookup(hash, key);
    return e != nullptr && e->current != nullptr;
  }

  // --- errors ---------------------------------------------------------------------------------------------------------

  static error closed() noexcept { return {error_kind::closed, "the transport was closed; open a new one", 0, severity::transport}; }
  static error taken() noexcept { return {error_kind::already_exists, "the key is taken; choose another, erase it, or put with on_existing::replace"}; }
  static error cancelled() noexcept { return {error_kind::cancelled, "the operation was cancelled"}; }
  static error late() noexcept { return {error_kind::timed_out, "nothing came before the deadline"}; }
};

}  // namespace detail

OMNICONN_END_NAMESPACE
