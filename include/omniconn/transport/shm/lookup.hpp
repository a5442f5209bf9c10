// SPDX-License-Identifier: Apache-2.0
// The way of a get: look, claim, validate, or sleep until something changes.
#pragma once

#include <atomic>
#include <chrono>
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
#include <omniconn/transport/shm/adopt.hpp>
#include <omniconn/transport/shm/endpoint.hpp>
#include <omniconn/transport/shm/follow.hpp>
#include <omniconn/transport/shm/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Whether to look once more before it is said that nothing is there: once always, and again while somebody is just putting the key, or taking it away.
inline bool is_worth_another(auto const& dir, std::uint64_t hash, int looks, bool moved) noexcept { return looks < dir.looks && (looks == 0 || moved || dir.lock_of(dir.home_of(hash)).load() != 0); }

/// One look for the object of a get: no sleep, no system call once the producer's arena is mapped. \requires the operation is locked, or not yet known to others.
template <class Session> result<progress> look(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  auto const& dir = e.session->dir();
  if (op.watches_) {
    std::uint64_t const word = dir.slot_at(op.index_).ctl.load();
    if (control::generation(word) == op.generation_) return progress::pending;
    op.become(stage::found);
    return progress::done;
  }
  if (op.following_.on) {
    if (op.growing_) return grow_on(e, op);
    if (auto const now = follow_on(e, op)) return *now;
  }
  op.moved_ = false;
  bool consumed = false, found = false, is_broken = false, is_coming = false;
  std::uint32_t coming = 0;
  std::uint64_t coming_word = 0;
  error broken{error_kind::corrupt};
  auto attempt = [&](std::uint32_t index, std::uint64_t word) -> bool {
    std::uint32_t claimed = 0;
    dir.prefetch_to_claim(index);
    dir.prefetch_to_read(index);
    failpoint("shm.get.found");
    auto const outcome = take_claim(dir, index, word, static_cast<std::uint16_t>(e.session->me()), op.reader_, claimed);
    if (outcome == claim_outcome::consumed) consumed = true;
    if (outcome == claim_outcome::gone) op.moved_ = true;
    if (outcome != claim_outcome::taken) {
      is_broken = (outcome == claim_outcome::not_ours || outcome == claim_outcome::gone) && is_damaged(dir, index, word);
      if (is_broken) broken = damaged_error();
      return is_broken;
    }
    op.hold_.begin(e.session, index, control::generation(word), claimed);
    auto const adopted = adopt(e, op);
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
    if (s.hash.load(std::memory_order_relaxed) != op.hash_) return op.fail(state == slot_state::ready && is_damaged(dir, op.index_, word) ? damaged_error() : stale_error());  // a commit changes what describes it
    if (state == slot_state::ready) attempt(op.index_, word);
  } else {
    for_each_of(dir, op.hash_, [&](std::uint32_t index, std::uint64_t word) {
      auto const& s = dir.slot_at(index);
      if (!is_coming && is_worth_following(e, op, s, word) && s.hash.load(std::memory_order_relaxed) == op.hash_) {
        is_coming = true;
        coming = index;
        coming_word = word;
      }
      if (control::is_going(word)) op.moved_ = true;
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
      return attempt(index, word);
    });
  }
  if (is_broken) return op.fail(broken);
  if (found) return progress::done;
  if (consumed) return op.fail({error_kind::consumed, "this reader has had its share of the object"});
  if (!is_coming) return progress::pending;
  auto const follows = start_following(e, op, coming, coming_word);
  if (!follows) return op.fail(follows.error());
  if (!*follows || !op.growing_) return progress::pending;
  op.become(stage::found);
  return progress::done;
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
  op.following_.on = op.may_follow_ = op.growing_ = op.alone_ = false;
  op.watches_ = true;
  op.index_ = static_cast<std::uint32_t>(at->index);
  op.generation_ = at->generation;
  op.hash_ = at->hash;
  op.where_ = *at;
  await_stage(e, op, consumer, deadline::immediate());  // a name is advice: who holds the gate for long does not keep us
  auto const now = look(e, op);
  if (now && *now == progress::pending) op.become(stage::looking);
  return now;
}

/// What `expect` says of an operation that one thread has, for the time of a call: who closes waits for the call, and has to be the last who keeps the participant.
template <class Session> struct expecting {
  basic_object_hold<Session>* hold;
  expecting(basic_endpoint<Session>& e, basic_get_operation<Session>* op) noexcept : hold(op != nullptr && op->alone_ ? &op->hold_ : nullptr) {
    if (hold != nullptr) hold->expect(e.session);
  }
  expecting(expecting const&) = delete;
  expecting& operator=(expecting const&) = delete;
  ~expecting() {
    if (hold != nullptr) hold->expect_no_more();
  }
};

template <class Session> result<progress> start_get(basic_endpoint<Session>& e, basic_get_operation<Session>& op, wire_key key, find_options const& o) {
  if (is_in_use(op)) return {error_kind::misconfigured, "the get operation is in use"};
  if (key.size() > max_key_size) return op.fail({error_kind::too_large, "the wire key is longer than 4,096 bytes"});
  op.following_.on = op.may_follow_ = false;
  op.digest_.reset();
  op.verifies_ = o.verifies;
  op.growing_ = o.growing;
  op.wanted_ = op.unfit_ = 0;
  op.alone_ = o.alone;
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
    op.index_ = static_cast<std::uint32_t>(at->index);
    op.generation_ = at->generation;
  }
  op.key_ = key;
  expecting<Session> const mine(e, &op);
  auto now = look(e, op);
  // What is replaced all the time lies now here, now there: it may have been put where we had looked, and been taken away where we came to.
  for (int again = 0; !o.wait && now && *now == progress::pending && is_worth_another(dir, op.hash_, again, op.moved_); ++again) now = look(e, op);
  bool const grows = op.growing_ && op.following_.on;  // it is waited for later, and its key looked at again when it is whole
  if (!now || (*now != progress::pending && !grows)) return now;
  if (!o.wait && !grows) return op.fail({error_kind::not_found, "no such object now"});
  op.keep(key);
  op.awaited_ = 0;
  if (o.flow != nullptr) {
    // Names are advice: who holds the gate for long does not keep us.
    if (auto const id = e.session->stage_id(o.flow->to, deadline::immediate())) e.session->gets_for(*id);
    await_stage(e, op, o.flow->from, deadline::immediate());
  }
  if (!grows) op.become(stage::looking);
  return now;
}

/// Who was to put what an operation waits for, or to read it, died.
template <class Session> bool is_lost(basic_endpoint<Session>& e, basic_get_operation<Session> const& op) noexcept {
  return op.awaited_ != 0 && e.session->lost(static_cast<std::uint16_t>(op.awaited_ - 1U), op.watches_ ? Session::side::gets : Session::side::puts);
}
/// The end of an operation that is lost. \requires it is locked and looks.
template <class Session> result<progress> end_lost(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  if (auto const now = look(e, op); !now || *now != progress::pending) return now;  // it may have put before it died
  op.let_go();
  return op.fail({error_kind::peer_lost, op.watches_ ? "the process that reads this edge has died; the object stays until its lease ends" : "the process that puts for this edge has died; what it acknowledged stays until its lease ends", 0, severity::connection});
}

template <class Session> result<progress> step_get(basic_endpoint<Session>* e, basic_get_operation<Session>& op) {
  if (op.at_.load(std::memory_order_acquire) == stage::found) return progress::done;  // as after each wait: no lock
  locked_operation const lock(op);
  if (lock.at() == stage::found) return progress::done;
  if (lock.at() != stage::looking) return op.failure_;
  call const entered(e);
  if (!entered) {
    op.let_go();
    return op.fail(closed_error());
  }
  auto const now = look(*e, op);
  return now && *now == progress::pending && is_lost(*e, op) ? end_lost(*e, op) : now;
}

/// Waits for so many bytes of an object that grows, or for its end: pending, like a get that looks.
template <class Session> result<progress> await_bytes(basic_endpoint<Session>* e, basic_get_operation<Session>& op, std::uint64_t bytes) {
  locked_operation const lock(op);
  if (lock.at() == stage::failed) return op.failure_;
  if (!op.growing_ || (lock.at() != stage::found && lock.at() != stage::looking)) return {error_kind::misconfigured, "only a get that was asked for while its object grows waits for more of it"};
  op.wanted_ = bytes;
  if (!op.following_.on) return progress::done;
  call const entered(e);
  if (!entered) {
    op.let_go();
    return op.fail(closed_error());
  }
  op.become(stage::looking);
  return look(*e, op);
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
  op.let_go();
  if (lock.at() != stage::looking && lock.at() != stage::found) return;
  // The bell before the operation's lock is gone, and with it perhaps the operation: who wakes waits for the lock.
  if (call const entered(e); entered) ring(e->session->dir(), op.hash_);
  op.fail(cancelled_error());
}

/// What `wait_for_return` compares with: moves when something of this producer came back that it knows of, or memory of others.
template <class Session> std::uint32_t returned_so_far(basic_endpoint<Session>& e) {
  std::scoped_lock const lock(e.put_mutex);
  return e.writer.ended_so_far() + e.session->record().room_seq.load();
}

/// Sleeps until room of this producer came back since `seen` was read, or there is another reason to look.
template <class Session> result<void> wait_for_return(basic_endpoint<Session>& e, std::uint32_t seen, std::string_view consumer, deadline until, std::stop_token const& stop) {
  auto const& dir = e.session->dir();
  auto& record = e.session->record();
  auto const awaited = e.session->stage_id(consumer, until);
  auto bell = [&]() noexcept {
    record.room_seq.fetch_add(1);
    dir.wake(record.room_seq);
  };
  record.wants_room.fetch_add(1);
  struct leaving {
    decltype(record.wants_room)& n;
    ~leaving() { n.fetch_sub(1); }
  } const counted{record.wants_room};
  typename Session::sleeper const known(*e.session, record.room_seq);
  std::stop_callback const on_stop(stop, bell);
  std::stop_callback const on_close(e.closing.get_token(), bell);
  for (bool first = true;; first = false) {
    std::uint32_t const before = record.room_seq.load();
    if (e.closing.stop_requested()) return closed_error();
    if (stop.stop_requested()) return {error_kind::cancelled, "the put was cancelled while it waited for room"};
    if (awaited && e.session->lost(*awaited, Session::side::gets))
      return error{error_kind::peer_lost, "there is no room, and the process that reads this edge has died", 0, severity::connection};
    bool for_a_slot = false;
    {
      std::scoped_lock const lock(e.put_mutex);
      for_a_slot = e.crowded_home != everywhere;
      e.writer.collect_all();  // now that whoever frees something tells us
      if (e.writer.ended_so_far() + before != seen) return {};
      if (first && e.writer.objects_out() == 0) return {error_kind::no_space, "there is no room although nothing of this producer is unread; raise memory_pool_size or max_keys"};
    }
    // A slot is anybody's, and who frees another's object does not tell us: asked for now and then.
    deadline const nap = for_a_slot ? deadline::after(std::chrono::milliseconds(5)) : until;
    bool const is_nap = nap < until;
    if (!dir.sleep(record.room_seq, before, is_nap ? nap : until) && record.room_seq.load() == before) {
      if (is_nap) return {};
      return {error_kind::timed_out, "no room came free before the deadline: readers do not keep up"};
    }
  }
}

/// One look at the line that changes when something comes: whether a closer one is worth it.
template <class Session> bool may_be_there(basic_endpoint<Session>& e, basic_get_operation<Session> const& op) noexcept {
  auto const& dir = e.session->dir();
  if (op.watches_ || op.by_locator_) {
    std::uint64_t const word = dir.slot_at(op.index_).ctl.load(std::memory_order_acquire);
    return control::generation(word) != op.generation_ || (!op.watches_ && control::state(word) != slot_state::writing);
  }
  if (auto const& f = op.following_; f.on) {
    auto const& s = dir.slot_at(f.index);
    if (bytes_there(f, s) > f.done || s.ctl.load(std::memory_order_acquire) != f.word) return true;
    return !op.growing_ && is_there(dir, op.hash_);  // another, of a put that replaces
  }
  dir.prefetch_to_read(dir.home_of(op.hash_));  // all lines of a slot on their way at once: where processors lie apart each way takes 0.2 us
  return for_each_of(dir, op.hash_, [&](std::uint32_t index, std::uint64_t word) { return control::state(word) == slot_state::ready || is_worth_following(e, op, dir.slot_at(index), word); });
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
  auto& home = dir.slot_at(dir.home_of(one ? static_cast<get_op*>(ops[0])->hash_ : 0));
  auto& seq = one ? home.bell : head.multi_seq;
  auto& waiters = one ? home.sleepers : head.multi_waiters;

  // Looks at the line that changes, and not at the clock more than needed. While a writer gets on, it pays to stay awake. \returns whether the operation has ended
  auto const spin = [&](get_op& op, std::int64_t patience, std::int64_t began) {
    std::size_t seen = op.following_.done;
    std::int64_t end = began + patience;
    do {
      for (int i = 0; i != 64; ++i) {
        if (may_be_there(e, op) && look_again(e, op)) return true;
        cpu_relax();
      }
      if (std::size_t const done = op.following_.done; done != seen) {
        seen = done;
        end = deadline::now_ns() + (patience > e.follow_ns ? patience : e.follow_ns);
      }
    } while (deadline::now_ns() < end && !until.passed() && op.is(stage::looking) && !stop.stop_requested() && !e.closing.stop_requested());
    return false;
  };
  auto* const alone = one ? static_cast<get_op*>(ops[0]) : nullptr;
  expecting<Session> const mine(e, alone);
  std::int64_t const patience = alone == nullptr ? 0 : alone->watches_ ? e.spin.usual : e.spin.now(), began = deadline::now_ns();
  if (alone != nullptr) {
    dir.prefetch_to_claim(dir.home_of(alone->hash_));
    alone->may_follow_ = alone->may_follow_ || e.follow_ns != 0;
    if (patience != 0 && spin(*alone, patience, began)) {
      if (alone->is(stage::found)) e.spin.was_worth(patience);
      return std::size_t{0};
    }
  }
  struct lesson {  // of a get that sleeps
    spin_time& spin;
    get_op const* op;
    std::int64_t patience, began;
    ~lesson() {
      if (op != nullptr && !op->watches_) spin.was_in_vain(patience, op->is(stage::found) ? deadline::now_ns() - began : spin_time::longest);
    }
  } const learnt{e.spin, alone, patience, began};

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
    if (alone != nullptr && alone->following_.on && e.follow_ns != 0 && spin(*alone, e.follow_ns, deadline::now_ns())) return std::size_t{0};  // woken when the put began
    if (!asked && deadline::now_ns() >= ask_at) {
      asked = true;
      each_producer([&e](std::uint16_t stage, auto which) { return e.session->ask(stage, which), false; });
    }
    bool const woken = dir.sleep(seq, before, asked ? until : deadline::at(deadline::clock::time_point(deadline::clock::duration(ask_at))));
    if (!asked || (woken && !until.passed())) continue;  // who is rung all the time ends, too
    if (std::size_t const i = ready(); i != ops.size()) return i;
    if (each_producer([&e](std::uint16_t stage, auto which) { return e.session->stalled(stage, which); }))
      return {error_kind::peer_stalled, "the object did not come before the deadline, and the process at the other end of the edge does not answer: it is stopped; nothing is lost"};
    return {error_kind::timed_out, "the object did not come before the deadline"};
  }
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
