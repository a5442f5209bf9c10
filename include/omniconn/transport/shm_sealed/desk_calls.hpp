// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// The calls of a consumer: find, wait, give up; and the questions that are no gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <time.h>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/staged_operation.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_sealed/desk.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

inline get_operation::~get_operation() {
  if (desk_ != nullptr && !desk_->inherited()) desk_->cancel(*this);
}

inline result<progress> desk::find(get_operation& op, wire_key key, find_options const& o, std::string_view default_reader) {
  std::unique_lock const lock(mutex_);
  using state = get_operation::state;
  if (op.now_ == state::looking || op.now_ == state::found) return {error_kind::misconfigured, "the get operation is still in use; take or cancel it first"};
  op.desk_ = this;
  if (closed_) return op.fail(closed_error());
  if (key.size() > max_key_size) return op.fail({error_kind::too_large, "the key is longer than 4096 bytes"});
  std::string_view const reader = o.reader.empty() ? default_reader : o.reader;
  if (reader.size() > max_name) return op.fail({error_kind::misconfigured, "the reader's name is longer than 255 bytes"});
  op.wanted_ = {};
  if (o.where != nullptr) {
    auto const at = o.where->unpack<place>(locator_tag::shm_sealed);
    if (!at) return op.fail(at.error());
    if (at->producer == 0 || at->generation == 0) return op.fail(stale_error());
    op.wanted_ = *at;
  }
  op.key_.assign(key);
  op.reader_.assign(reader);
  op.stage_.assign(o.flow == nullptr ? std::string_view() : o.flow->from);
  op.waits_ = o.wait;
  op.refused_ = op.sender_refused_ = false;
  op.asks_.clear();
  op.begun_ns_ = deadline::now_ns();
  op.where_ = locator();
  pump();
  op.id_ = ++last_id_;
  op.now_ = state::looking;
  gets_.emplace(op.id_, &op);
  for (auto const& [id, l] : links_) ask(op, l);
  end_if_unreachable(op);
  if (op.now_ == state::looking) end_if_nowhere(op);
  if (op.now_ == state::looking) end_if_lost(op);
  if (op.now_ == state::failed) return op.failure_;
  return progress::pending;
}

inline result<progress> desk::step(get_operation& op) {
  std::unique_lock const lock(mutex_);
  using state = get_operation::state;
  if (op.now_ == state::looking) pump();
  switch (op.now_) {
    case state::looking: return progress::pending;
    case state::found:
    case state::taken: return progress::done;
    case state::idle:
    case state::failed: break;
  }
  return op.failure_;
}

/// From any thread, also while a `wait` has the operation: that is woken.
inline void desk::cancel(get_operation& op) {
  std::unique_lock const lock(mutex_);
  if (op.now_ == get_operation::state::looking) {
    fail(op, cancelled_error());
    changed_ = false;
    ring_all();
  } else if (op.now_ == get_operation::state::found) {
    op.hold_.finish(disposition::give_back);
    op.fail(cancelled_error());
  }
}

inline void desk::close() {
  flat_map<std::uint64_t, std::shared_ptr<link>> lines;  // holds keep theirs
  {
    std::unique_lock const lock(mutex_);
    closed_ = true;
    while (!gets_.empty()) fail(*gets_.begin()->second, closed_error());
    for (auto const& [id, l] : links_) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, l->line.fd(), nullptr);
    lines = std::exchange(links_, {});
    for (auto const& [id, q] : inquiries_) q->asked.clear();
    ring_all();
  }
  // What was consumed and could not be said yet is said now, or would be given back with the end of the connection. Who waits is not held up by that.
  std::int64_t const end = deadline::now_ns() + inquiry_ns;
  for (auto const& [id, l] : lines) static_cast<void>(l->line.flush_until(end));
}

/// Who waited in vain learns whether somebody owed an answer.
inline error desk::late(std::span<operation* const> ops) const {
  std::int64_t const now = deadline::now_ns();
  get_operation const* refused = nullptr;
  for (operation* const o : ops) {
    auto const* const sealed = static_cast<sealed_operation*>(o);
    if (!sealed->is_get_) continue;
    auto const& op = *static_cast<get_operation const*>(sealed);
    if (op.refused_ && ops.size() == 1) refused = &op;
    if (op.wanted_.producer != 0 && op.asks_.empty() && !blind_) return stalled_error();  // it has had no place for us
    for (auto const& a : op.asks_)
      if ((!a.answered && now - a.since_ns > patience_ns) || (a.whom->ping != 0 && !op.stage_.empty() && a.whom->puts_for(op.stage_))) return stalled_error();
  }
  if (refused != nullptr) return refused->failure_;
  return unless_refused({error_kind::timed_out, "the object did not come before the deadline"});
}

/// Asks those who put for one of these gets whether they still move; who owes an answer already is not asked again. \returns whether somebody owes one
inline bool desk::send_pings(std::span<operation* const> ops) {
  bool owed = false;
  for (operation* const o : ops) {
    auto const* const sealed = static_cast<sealed_operation*>(o);
    if (!sealed->is_get_) continue;
    auto const& op = *static_cast<get_operation const*>(sealed);
    for (auto const& a : op.asks_) {
      if (op.stage_.empty() || !a.whom->puts_for(op.stage_)) continue;
      owed = true;
      if (a.whom->ping != 0) continue;
      message m;
      m.type = message_type::ping;
      m.id = a.whom->ping = ++last_id_;
      static_cast<void>(a.whom->line.send(m));
    }
  }
  return owed;
}

/// When the first of these gets was begun that nobody has waited for yet: a machine may be so busy that its wait begins just before its deadline.
inline std::int64_t desk::idle_since(std::span<operation* const> ops, std::int64_t now) {
  for (operation* const o : ops) {
    auto* const sealed = static_cast<sealed_operation*>(o);
    if (!sealed->is_get_) continue;
    auto const begun = std::exchange(static_cast<get_operation*>(sealed)->begun_ns_, for_ever);
    now = begun < now ? begun : now;
  }
  return now;
}

/// Sleeps until something arrived, somebody rang, or that time; then takes what is there. \returns false where it cannot sleep for want of descriptors
inline bool desk::sleep(std::unique_lock<std::mutex>& lock, bell const& own, std::int64_t until_ns) {
  push();  // what was said since the last look may have found no room
  std::int64_t const now = deadline::now_ns();
  std::int64_t left = (look_again_ns_ < until_ns ? look_again_ns_ : until_ns) - now;
  if (crowded_ && left > 1'000'000) left = 1'000'000;
  bool const able = own && epoll_;
  if (!able && left > 1'000'000) left = 1'000'000;
  if (left < 0) left = 0;
  constexpr std::int64_t hour = 3'600'000'000'000;
  if (left > hour) left = hour;
  lock.unlock();
  pollfd all[]{{own.fd(), POLLIN, 0}, {epoll_.get(), POLLIN, 0}};
  timespec const span{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
  static_cast<void>(::ppoll(all, 2, &span, nullptr));
  lock.lock();
  if ((all[0].revents & POLLIN) != 0) own.hush();
  pump(&own);
  return able;
}

inline result<std::size_t> desk::wait(std::span<operation* const> ops, deadline until, stop_token const& stop) {
  std::unique_lock lock(mutex_);
  auto const ready = [&ops]() -> std::size_t {
    std::size_t i = 0;
    for (; i != ops.size(); ++i) {
      auto const* const o = static_cast<sealed_operation*>(ops[i]);
      if (!o->is_get_ || static_cast<get_operation const*>(o)->now_ != get_operation::state::looking) break;
    }
    return i;
  };
  if (closed_) return closed_error();
  pump();
  if (std::size_t const i = ready(); i != ops.size()) return i;
  std::int64_t const entered = deadline::now_ns(), end = until.is_never() ? for_ever : until.nanoseconds();
  // Near the end, so that a wait that is answered in time costs nothing.
  std::int64_t ping_at = until.is_never() || end < idle_since(ops, entered) + patience_ns ? for_ever : end - patience_ns;
  if (auto const may = may_sleep(ops, until, stop); !may) return may.error().kind() == error_kind::timed_out ? late(ops) : may.error();

  sleeper const me(*this);
  std::stop_callback const on_stop(stop, [&me]() noexcept { me.own().ring(); });
  std::int64_t grace = 0;  // so long who was pinged may take to answer, where that is after the deadline
  for (;;) {
    if (closed_) return closed_error();
    if (std::size_t const i = ready(); i != ops.size()) return i;
    if (stop.stop_requested()) return error(error_kind::cancelled, "the wait was cancelled");
    std::int64_t const now = deadline::now_ns();
    // Before the deadline is looked at: a thread that a busy machine woke late asks all the same, and who is asked has his time to answer.
    if (now >= ping_at) {
      ping_at = for_ever;
      if (send_pings(ops)) grace = now + patience_ns;
    }
    if (now >= end) {
      error const why = late(ops);
      if (now >= grace || why.kind() != error_kind::peer_stalled) return why;
    }
    static_cast<void>(sleep(lock, me.own(), now >= end ? grace : ping_at < end ? ping_at : end));
  }
}

// --- questions that are no gets: they wait for each answer, a second at most ----------------------------------------------------------

/// Asks one producer, or all but one: also those whose lines have no room yet and those that cannot be reached yet, once they have and can.
inline result<void> desk::inquire(std::unique_lock<std::mutex>& lock, inquiry& q, message m, link const* only, std::uint64_t except) {
  m.type = q.type;
  m.id = ++last_id_;
  flat_map<std::uint64_t, std::shared_ptr<link>> known;
  /// \returns false where there is somebody left to ask
  auto const ask_all = [&] {
    bool all = only != nullptr || !unreached(except);
    for (auto const& [id, l] : links_) {
      if (id == except || (only != nullptr && l.get() != only) || known[id] == l) continue;
      if (l->line.crowded()) {
        all = false;  // whoever sleeps sends what waits
        continue;
      }
      known[id] = l;
      q.asked.push_back(l.get());
      static_cast<void>(l->line.send(m));  // a line that is gone is noticed when it is read; that it was refused may be read there as well
    }
    return all;
  };
  sleeper const me(*this);
  inquiries_.emplace(m.id, &q);
  std::int64_t const end = deadline::now_ns() + inquiry_ns;
  bool answered = false;
  for (;;) {
    answered = (ask_all() && q.asked.empty()) || (q.type == message_type::exists && q.sum != 0);
    if (answered || closed_ || (blind_ && only == nullptr) || deadline::now_ns() >= end) break;
    static_cast<void>(sleep(lock, me.own(), end));
  }
  inquiries_.erase(m.id);
  if (closed_) return closed_error();
  if (!answered) return blind_ && only == nullptr ? blind_error() : stalled_error();
  return {};
}

/// \returns how many producers but that one say yes, or did.
inline result<std::uint64_t> desk::count(message_type what, wire_key key, std::uint64_t except) {
  std::unique_lock lock(mutex_);
  if (closed_) return closed_error();
  pump();
  if (blind_) return blind_error();
  inquiry q{what};
  message m;
  m.key = key;
  if (auto const done = inquire(lock, q, m, nullptr, except); !done) return done.error();
  return q.sum;
}

inline result<std::size_t> desk::erase_if(function_ref<bool(wire_key)> match, std::uint64_t except) {
  std::unique_lock lock(mutex_);
  if (closed_) return closed_error();
  pump();
  if (blind_) return blind_error();
  std::size_t n = 0;
  flat_map<std::uint64_t, std::shared_ptr<link>> known;
  sleeper const me(*this);
  for (std::int64_t reached_by = 0;;) {
    std::shared_ptr<link> l;
    for (auto const& [id, candidate] : links_)
      if (id != except && known[id] != candidate) l = candidate;
    if (l == nullptr) {
      if (!unreached(except)) return n;
      if (reached_by == 0) reached_by = deadline::now_ns() + inquiry_ns;
      if (blind_) return blind_error();
      if (deadline::now_ns() >= reached_by) return stalled_error();
      static_cast<void>(sleep(lock, me.own(), reached_by));
      if (closed_) return closed_error();
      continue;
    }
    known[l->id] = l;
    reached_by = 0;
    std::string after;
    std::vector<std::string> matching;
    // A producer must not keep us here for ever, nor make us remember what it likes.
    std::int64_t const end = deadline::now_ns() + 10 * inquiry_ns;
    bool more = true;
    for (int round = 0; more; ++round) {
      if (round == 1000 || deadline::now_ns() > end) return stalled_error();
      inquiry q{message_type::list};
      message m;
      m.key = after;
      m.flag = round == 0 ? 0 : 1;
      if (auto const done = inquire(lock, q, m, l.get(), except); !done) return done.error();
      lock.unlock();  // `match` is the caller's
      for (auto const& key : q.keys)
        if (match(key)) matching.push_back(key);
      lock.lock();
      more = q.more && !q.keys.empty();
      if (more) after = std::move(q.keys.back());
    }
    for (auto const& key : matching) {
      if (deadline::now_ns() > end) return stalled_error();
      inquiry q{message_type::erase};
      message m;
      m.key = key;
      if (auto const done = inquire(lock, q, m, l.get(), except); !done) return done.error();
      n += static_cast<std::size_t>(q.sum);
    }
  }
}

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
