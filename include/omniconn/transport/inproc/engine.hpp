// SPDX-License-Identifier: Apache-2.0
// The calls of the in-process transport.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/inproc/claims.hpp>
#include <omniconn/transport/inproc/store.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// All of them take the lock they need.
struct inproc_engine : inproc_claims {
  // --- put ------------------------------------------------------------------------------------------------------------

  static result<progress> begin(inproc_core& core, inproc_member& member, op& put, wire_key key, outgoing const& out,
                                object_info const& info, publish_options const& how, std::vector<inproc_claim>& named) {
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
    o->kept = how.readers.anybody;
    o->named = !o->kept && !how.readers.names.empty();
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

  static result<progress> find(inproc_core& core, inproc_member& member, op& get, wire_key key, std::uint64_t reader,
                               inproc_place const* where, bool may_wait) {
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
    if (!may_wait) return get.fail(absent());
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
};

}  // namespace detail

OMNICONN_END_NAMESPACE
