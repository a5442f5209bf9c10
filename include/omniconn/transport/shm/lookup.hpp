// SPDX-License-Identifier: Apache-2.0
// The way of a get: look, claim, validate, or sleep until something changes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/detail/futex.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/endpoint.hpp>
#include <omniconn/transport/shm/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

inline error damaged_error() noexcept { return {error_kind::corrupt, "the namespace's directory has an object whose description was changed after the put; clean it up and put it again"}; }

/// An object that cannot be claimed although nobody else has it, or that has another hash than the entry that leads to it: it may have been changed
/// after the put.
inline bool is_damaged(auto const& dir, std::uint32_t index, std::uint64_t word) noexcept {
  auto const& s = dir.slot_at(index);
  return std::uint64_t{s.sum} != dir.sum(s, control::generation(word)) && s.ctl.load() == word;
}

/// Validates what was claimed and makes it the operation's. false: another key with the same hash.
///
/// Each shared word is read once: the directory is writable by others, so what was checked must be what is used.
template <class Session> result<bool> adopt(basic_endpoint<Session>& e, basic_get_operation<Session>& op, std::uint32_t index, std::uint64_t generation, std::uint32_t claimed) {
  auto const& dir = e.session->dir();
  auto const& s = dir.slot_at(index);
  basic_object_hold<Session> held(e.session, index, generation, claimed);  // gives the claim back on every way out but the last
  failpoint("shm.get.adopting");
  if (std::uint64_t{s.sum} != dir.sum(s, generation)) return damaged_error();
  std::uint64_t const size = s.size;
  std::uint16_t const key_size = s.key_size;
  std::shared_ptr<mapped_arena const> mapped;
  if (std::uint64_t const id = s.arena; id != 0) {
    auto arena = e.session->arena(s.owner.load(std::memory_order_relaxed), id);
    if (!arena) return arena.error();
    mapped = std::move(*arena);
  } else if (size != 0) {
    return {error_kind::corrupt, "the namespace's directory has an object without an arena"};
  }
  if (!op.by_locator_) {
    if (key_size != op.key_.size()) return false;
    if (key_size <= inline_key) {
      auto const key = s.key.load();
      if (std::string_view(key.data(), key_size) != op.key_) return false;
    } else {
      auto keys = mapped;  // of memory that is lent they lie in its producer's arena
      if (std::uint64_t const id = s.arena; (id & region_mask) != 0) {
        auto arena = e.session->arena(s.owner.load(std::memory_order_relaxed), id & ~region_mask);
        if (!arena) return arena.error();
        keys = std::move(*arena);
      }
      std::uint64_t const at = std::uint64_t{index} * key_cell;
      if (keys == nullptr || !keys->contains(at, key_size)) return {error_kind::corrupt, "the namespace's directory places a key outside its arena"};
      if (text_of(keys->at(at, key_size)) != op.key_) return false;
    }
  }
  if (mapped != nullptr) {
    std::uint64_t const at = s.offset;
    if (!mapped->contains(at, size)) return {error_kind::corrupt, "the namespace's directory places an object outside its arena"};
    auto const bytes = mapped->at(at, size);
    held.set_bytes(std::move(mapped), bytes);
  }
  op.info_ = {size, s.checksum, s.trace, static_cast<payload_kind>(std::uint16_t{s.kind}), static_cast<checksum_kind>(std::uint16_t{s.checksum_kind})};
  op.where_ = locator::pack(locator_tag::shm, place{dir.id(), generation, s.hash.load(std::memory_order_relaxed), index, 0});
  op.hold_ = std::move(held);
  failpoint("shm.get.adopted");
  op.become(stage::found);
  e.gets.fetch_add(1, std::memory_order_relaxed);
  e.get_bytes.fetch_add(size, std::memory_order_relaxed);
  return true;
}

/// One look for the object of a get: no sleep, no system call once the producer's arena is mapped. \requires the operation is locked, or not yet known to others.
template <class Session> result<progress> look(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  auto const& dir = e.session->dir();
  if (op.watches_) {
    std::uint64_t const word = dir.slot_at(op.index_).ctl.load();
    if (control::generation(word) == op.generation_ && control::state(word) != slot_state::retired) return progress::pending;
    op.become(stage::found);
    return progress::done;
  }
  bool consumed = false, found = false, is_broken = false;
  error broken{error_kind::corrupt};
  auto attempt = [&](std::uint32_t index, std::uint64_t generation) -> bool {
    std::uint32_t claimed = 0;
    failpoint("shm.get.ref_found");
    auto const outcome = take_claim(dir, index, generation, static_cast<std::uint16_t>(e.session->me()), op.reader_, claimed);
    if (outcome == claim_outcome::consumed) consumed = true;
    if (outcome != claim_outcome::taken) {
      is_broken = (outcome == claim_outcome::not_ours || outcome == claim_outcome::gone) && is_damaged(dir, index, control::make(generation, slot_state::ready));
      if (is_broken) broken = damaged_error();
      return is_broken;
    }
    auto adopted = adopt(e, op, index, generation, claimed);
    if (!adopted) {
      broken = adopted.error();
      is_broken = true;
      return true;
    }
    found = *adopted;
    return found;
  };

  if (op.by_locator_) {
    auto const& s = dir.slot_at(op.index_);
    std::uint64_t const word = s.ctl.load();
    auto const state = control::state(word);
    if (control::generation(word) != op.generation_ || (state != slot_state::ready && state != slot_state::writing)) return op.fail(stale_error());
    if (lease_is_over(dir, s)) return op.fail({error_kind::lease_expired, "the producer is gone and the object's lease has ended"});
    attempt(op.index_, op.generation_);
  } else {
    for_each_ref(dir, op.hash_, [&](std::uint32_t index) {
      auto const& s = dir.slot_at(index);
      std::uint64_t const word = s.ctl.load();
      if (control::state(word) != slot_state::ready) return false;
      if (s.hash.load(std::memory_order_relaxed) != op.hash_) {
        if (!is_damaged(dir, index, word)) return false;
        broken = damaged_error();
        return is_broken = true;
      }
      if (lease_is_over(dir, s)) {
        e.drain_index(index, control::generation(word));
        return false;
      }
      return attempt(index, control::generation(word));
    });
  }
  if (is_broken) return op.fail(broken);
  if (found) return progress::done;
  if (consumed) return op.fail({error_kind::consumed, "this reader has had its share of the object"});
  return progress::pending;
}

/// Whose death ends the wait of an operation.
template <class Session> void await_stage(basic_endpoint<Session>& e, basic_get_operation<Session>& op, std::string_view name, deadline until) {
  auto const id = e.session->stage_id(name, until);
  op.awaited_ = static_cast<std::uint16_t>(id ? *id + 1U : 0U);
}

/// A watch that has ended has nothing to be taken.
template <class Session> bool is_in_use(basic_get_operation<Session> const& op) noexcept { return op.is(stage::looking) || (op.is(stage::found) && !op.watches_); }

/// Begins to wait for the end of an object: every reader is done with it, or it was dropped.
template <class Session> result<progress> start_watch(basic_endpoint<Session>& e, basic_get_operation<Session>& op, locator const& of, std::string_view consumer) {
  if (is_in_use(op)) return {error_kind::misconfigured, "the get operation is in use"};
  auto at = of.unpack<place>(locator_tag::shm);
  if (!at) return op.fail(at.error());
  auto const& dir = e.session->dir();
  if (at->directory != dir.id() || at->index >= dir.layout().slots) return op.fail(stale_error());
  op.watches_ = true;
  op.index_ = at->index;
  op.generation_ = at->generation;
  op.hash_ = at->hash;
  op.where_ = of;
  await_stage(e, op, consumer, deadline::immediate());  // a name is advice: who holds the gate for long does not keep us
  auto const now = look(e, op);
  if (now && *now == progress::pending) op.become(stage::looking);
  return now;
}

template <class Session> result<progress> start_get(basic_endpoint<Session>& e, basic_get_operation<Session>& op, wire_key key, find_options const& o) {
  if (is_in_use(op)) return {error_kind::misconfigured, "the get operation is in use"};
  if (key.size() > max_key_size) return op.fail({error_kind::too_large, "the wire key is longer than 4,096 bytes"});
  op.reader_ = e.reader;
  op.watches_ = false;
  if (!o.reader.empty()) {
    auto id = e.session->name_id(o.reader, o.until);
    if (!id) return op.fail(id.error());
    op.reader_ = *id;
  }
  auto const& dir = e.session->dir();
  op.by_locator_ = o.where != nullptr;
  op.hash_ = dir.hash(key);
  if (op.by_locator_) {
    auto at = o.where->unpack<place>(locator_tag::shm);
    if (!at) return op.fail(at.error());
    if (at->directory != dir.id() || at->index >= dir.layout().slots || at->hash != op.hash_) return op.fail(stale_error());
    op.index_ = at->index;
    op.generation_ = at->generation;
  }
  op.key_ = key;
  auto now = look(e, op);
  if (!now || *now != progress::pending) return now;
  if (!o.wait) return op.fail({error_kind::not_found, "no such object now"});
  op.kept_.assign(key);  // the caller's key may end with this call; a get that is done at once needs no copy of it
  op.key_ = op.kept_;
  op.awaited_ = 0;
  if (o.flow != nullptr) {
    // Names are advice: who holds the gate for long does not keep us.
    if (auto const id = e.session->stage_id(o.flow->to, deadline::immediate())) e.session->gets_for(*id);
    await_stage(e, op, o.flow->from, deadline::immediate());
  }
  op.become(stage::looking);
  return now;
}

/// Who was to put what an operation waits for, or to read it, died.
template <class Session> bool is_lost(basic_endpoint<Session>& e, basic_get_operation<Session> const& op) noexcept {
  return op.awaited_ != 0 && e.session->lost(static_cast<std::uint16_t>(op.awaited_ - 1U), op.watches_ ? Session::side::gets : Session::side::puts);
}
/// The end of an operation that is lost. \requires it is locked and looks.
template <class Session> result<progress> end_lost(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  if (auto const now = look(e, op); !now || *now != progress::pending) return now;  // it may have put before it died
  return op.fail({error_kind::peer_lost, op.watches_ ? "the process that reads this edge has died; the object stays until its lease ends" : "the process that puts for this edge has died; what it acknowledged stays until its lease ends", 0, severity::connection});
}

template <class Session> result<progress> step_get(basic_endpoint<Session>* e, basic_get_operation<Session>& op) {
  locked_operation const lock(op);
  if (lock.at() == stage::found) return progress::done;
  if (lock.at() != stage::looking) return op.failure_;
  call const entered(e);
  if (!entered) return op.fail(closed_error());
  auto const now = look(*e, op);
  return now && *now == progress::pending && is_lost(*e, op) ? end_lost(*e, op) : now;
}

/// The same, for a caller that keeps the endpoint open. \returns whether the operation has ended.
template <class Session> bool look_again(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  locked_operation const lock(op);
  if (lock.at() != stage::looking) return true;
  auto const now = look(e, op);
  return !now || *now != progress::pending;
}

/// From any thread, also while a `wait` has the operation: that is woken.
template <class Session> void cancel_get(basic_endpoint<Session>* e, basic_get_operation<Session>& op) noexcept {
  locked_operation const lock(op);
  op.hold_.finish(disposition::give_back);
  if (lock.at() != stage::looking && lock.at() != stage::found) return;
  // The bell before the operation's lock is gone, and with it perhaps the operation: who wakes waits for the lock.
  if (call const entered(e); entered) ring_sleepers(e->session->dir(), e->session->dir().home_of(op.hash_));
  op.fail(cancelled_error());
}

/// Sleeps until a block or slot of this producer came back since `seen` was read, or there is another reason to look.
template <class Session> result<void> wait_for_return(basic_endpoint<Session>& e, std::uint32_t seen, std::string_view consumer, deadline until, std::stop_token const& stop) {
  auto const& dir = e.session->dir();
  auto& record = e.session->record();
  auto const awaited = e.session->stage_id(consumer, until);
  auto bell = [&]() noexcept {
    record.returned_seq.fetch_add(1);
    dir.wake(record.returned_seq);
  };
  record.wants_room.fetch_add(1);
  struct leaving {
    decltype(record.wants_room)& n;
    ~leaving() { n.fetch_sub(1); }
  } const counted{record.wants_room};
  typename Session::sleeper const known(*e.session, record.returned_seq);
  std::stop_callback const on_stop(stop, bell);
  std::stop_callback const on_close(e.closing.get_token(), bell);
  for (;;) {
    if (e.closing.stop_requested()) return closed_error();
    if (stop.stop_requested()) return {error_kind::cancelled, "the put was cancelled while it waited for room"};
    if (awaited && e.session->lost(*awaited, Session::side::gets))
      return error{error_kind::peer_lost, "there is no room, and the process that reads this edge has died", 0, severity::connection};
    if (record.returned_seq.load() != seen) return {};
    if (!dir.sleep(record.returned_seq, seen, until) && record.returned_seq.load() == seen)
      return {error_kind::timed_out, "no room came free before the deadline: readers do not keep up"};
  }
}

template <class Session> result<std::size_t> wait_for_any(basic_endpoint<Session>& e, std::span<operation* const> ops, deadline until, std::stop_token const& stop) {
  using get_op = basic_get_operation<Session>;
  auto ready = [&]() -> std::size_t {
    for (std::size_t i = 0; i != ops.size(); ++i) {
      auto* const op = static_cast<staged_operation*>(ops[i]);
      if (!op->is_get_ || look_again(e, static_cast<get_op&>(*op))) return i;
    }
    return ops.size();
  };
  if (std::size_t const i = ready(); i != ops.size()) return i;
  if (auto const may = may_sleep(ops, until, stop); !may) return may.error();

  auto const& dir = e.session->dir();
  auto& head = dir.head();
  bool const one = ops.size() == 1;
  auto& home = dir.home_of(one ? static_cast<get_op*>(ops[0])->hash_ : 0);
  auto& seq = one ? home.seq : head.multi_seq;
  auto& waiters = one ? home.waiters : head.multi_waiters;

  if (one && e.spin_ns != 0) {
    std::uint32_t const before = seq.load();
    if (std::size_t const i = ready(); i != ops.size()) return i;
    std::int64_t const end = deadline::now_ns() + e.spin_ns;
    do {
      for (int i = 0; i != 64; ++i) {
        if (seq.load(std::memory_order_acquire) != before) break;
        cpu_relax();
      }
      if (seq.load(std::memory_order_acquire) != before) break;
    } while (deadline::now_ns() < end);
  }

  using word = std::remove_reference_t<decltype(seq)>;
  struct counted {
    word& n;
    explicit counted(word& counter) noexcept : n(counter) { n.fetch_add(1); }
    ~counted() { n.fetch_sub(1); }
  };
  // Changing the word before the wake: a bell between our look and our sleep is not lost. Other waiters look once in vain.
  auto bell = [&dir, &seq]() noexcept {
    seq.fetch_add(1);
    dir.wake(seq);
  };
  // What a get waits for will not come. Asked before each sleep; a death ends the sleep.
  auto const lost = [&]() -> std::size_t {
    for (std::size_t i = 0; i != ops.size(); ++i) {
      auto& op = *static_cast<get_op*>(ops[i]);
      if (!is_lost(e, op)) continue;
      locked_operation const lock(op);
      if (lock.at() == stage::looking) static_cast<void>(end_lost(e, op));
      return i;
    }
    return ops.size();
  };
  auto const each_producer = [&](auto const& visit) {
    for (auto* const op : ops)
      if (auto const& get = *static_cast<get_op*>(op); get.awaited_ != 0 && visit(static_cast<std::uint16_t>(get.awaited_ - 1U), get.watches_ ? Session::side::gets : Session::side::puts)) return true;
    return false;
  };
  std::int64_t const ask_at = until.is_never() ? 0 : until.nanoseconds() - Session::patience_ns;
  bool asked = until.is_never() || !each_producer([](auto, auto) { return true; });

  counted const waiting(waiters);
  typename Session::sleeper const known(*e.session, seq);
  failpoint("shm.get.waiting");
  std::stop_callback const on_stop(stop, bell);
  std::stop_callback const on_close(e.closing.get_token(), bell);
  for (;;) {
    std::uint32_t const before = seq.load();
    if (std::size_t const i = ready(); i != ops.size()) return i;
    if (e.closing.stop_requested()) return closed_error();
    if (stop.stop_requested()) return {error_kind::cancelled, "the wait was cancelled"};
    if (std::size_t const i = lost(); i != ops.size()) return i;
    if (!asked && deadline::now_ns() >= ask_at) {
      asked = true;
      each_producer([&e](std::uint16_t stage, auto which) { return e.session->ask(stage, which), false; });
    }
    if (!dir.sleep(seq, before, asked ? until : deadline::at(deadline::clock::time_point(deadline::clock::duration(ask_at))))) {
      if (!asked) continue;
      if (std::size_t const i = ready(); i != ops.size()) return i;
      if (each_producer([&e](std::uint16_t stage, auto which) { return e.session->stalled(stage, which); }))
        return {error_kind::peer_stalled, "the object did not come before the deadline, and the process at the other end of the edge does not answer: it is stopped; nothing is lost"};
      return {error_kind::timed_out, "the object did not come before the deadline"};
    }
  }
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
