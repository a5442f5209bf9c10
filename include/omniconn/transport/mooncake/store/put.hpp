// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The way of a put: ask the master for room, write to every replica, say that it is whole; or give the room back.
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

/// A put of the caller's. Its fields are the transport's.
class put_operation : public staged_operation {
 public:
  put_operation() = default;
  ~put_operation() { abort(); }
  [[nodiscard]] locator where() const noexcept { return is(stage::found) ? where_ : locator(); }

  result<progress> begin(session& home, wire_key key, outgoing const& out, object_info const& info, publish_options const& how) {
    if (is(stage::begun)) return error(error_kind::misconfigured, "the put operation is in use");
    if (info.size > total_size(out.parts)) return error(error_kind::misconfigured, "object_info.size is larger than the payload's pieces");
    if (info.size == 0) return empty_error();
    home_ = &home;
    key_.assign(key);
    parts_.assign(out.parts.begin(), out.parts.end());
    out_ = {{}, out.token, out.dispose};
    until_ = how.until;
    replaces_ = how.existing == on_existing::replace;
    size_ = info.size;
    committing_ = has_room_ = false;
    become(stage::begun);
    phase_ = phase::ready;
    if (replaces_) return progress::done;  // the old object stays until the new one is ready
    ask_for_room();
    auto const now = go_on();
    return now ? now : result<progress>(fail(now.error()));  // an error of begin leaves the payload to the caller
  }

  result<progress> commit(object_info const& info) {
    if (!is(stage::begun) || committing_ || phase_ != phase::ready) return error(error_kind::misconfigured, "commit without a put that was begun");
    if (info.size > total_size(parts_)) return error(error_kind::misconfigured, "commit of more bytes than begin was given");
    locked_operation const lock(*this);
    committing_ = true;
    if (info.size == 0) return give_up(empty_error());
    bool const fits = has_room_ && info.size == size_;
    size_ = info.size;
    pause_ns_ = first_pause_ns;
    if (fits) {
      write(0);
    } else if (has_room_) {
      revoke(phase::shrinking);
    } else {
      ask_for_room();
    }
    return settle(go_on());
  }

  result<progress> step() {
    locked_operation const lock(*this);
    if (lock.at() == stage::found) return progress::done;
    if (lock.at() != stage::begun) return failure_;
    call const entered(home_);
    if (!entered) return give_up(closed_error());
    return settle(go_on());
  }

  /// What is left of an unfinished put goes, within two seconds of a master that is stopped.
  void abort() noexcept {
    locked_operation const lock(*this);
    if (lock.at() == stage::begun) static_cast<void>(give_up(cancelled_error()));
  }

  void add_interest(interest_list& out) {
    locked_operation const lock(*this);
    if (lock.at() != stage::begun) return;
    switch (phase_) {
      case phase::ready: break;
      case phase::resting: out.not_later_than(look_again_ns_); break;
      case phase::writing: out.add(transfer_); break;
      default: out.add(call_);
    }
  }

 private:
  enum class phase : std::uint8_t { asking, ready, removing, resting, writing, ending, shrinking, revoking, ended };
  static constexpr std::int64_t first_pause_ns = 1'000'000;

  static error empty_error() noexcept { return {error_kind::unsupported, "a Mooncake store has no empty objects; put at least one byte, or with an envelope"}; }
  [[nodiscard]] bool upserts() const noexcept { return replaces_ && home_->replace_in_place; }

  // Each begins something. What comes of it `go_on` hears.

  void ask_for_room() {
    phase_ = phase::asking;
    call_.begin(home_->master, upserts() ? upsert_start(home_->self, key_, size_, home_->replication) : put_start(home_->self, key_, size_, home_->replication));
  }
  void remove_old() {
    phase_ = phase::removing;
    call_.begin(home_->master, mooncake::remove(home_->self, key_, false));
  }
  void write(std::size_t which) {
    which_ = which;
    if (which != replicas_.size()) {
      phase_ = phase::writing;
      transfer_.write(home_->engines, replicas_[which].endpoint, replicas_[which].address, parts_, size_);
    } else {
      phase_ = phase::ending;
      call_.begin(home_->master, upserts() ? upsert_end(home_->self, key_) : put_end(home_->self, key_));
    }
  }
  void revoke(phase why) {
    phase_ = why;
    has_room_ = false;
    call_.begin(home_->master, upserts() ? upsert_revoke(home_->self, key_) : put_revoke(home_->self, key_));
  }

  /// As far as it gets. \returns `done` when the put waits for its commit, or has ended well.
  result<progress> go_on() {
    for (;;) {
      if (phase_ == phase::ready || phase_ == phase::ended) return progress::done;
      if (phase_ == phase::resting) {
        if (deadline::now_ns() < look_again_ns_) return progress::pending;
        remove_old();
      }
      auto const now = phase_ == phase::writing ? transfer_.step() : call_.step();
      if (now && *now == progress::pending) return now;
      if (phase_ == phase::revoking) return why_;
      // A node that is stopped writes what it was sent when it goes on: its memory must not be given to others meanwhile. The master takes it back in time.
      if (phase_ == phase::writing && transfer_.in_flight()) has_room_ = false;
      auto const next = now ? answered() : result<void>(now.error());
      if (next) continue;
      if (!has_room_) return next.error();
      why_ = next.error();
      revoke(phase::revoking);
    }
  }
  /// What was begun came to its end. \returns with the next thing begun.
  result<void> answered() {
    switch (phase_) {
      case phase::asking: {
        auto room = read_replicas(call_.reply());
        if (!room && replaces_ && !upserts() && room.error().kind() == error_kind::already_exists) {
          remove_old();
          return {};
        }
        if (!room) return room.error();
        has_room_ = true;
        replicas_ = std::move(*room);
        if (replicas_.empty()) return error(error_kind::malformed, "the Mooncake master gives room nowhere", 0, severity::connection);
        for (auto const& r : replicas_) {
          if (auto const usable = check_memory(r); !usable) return usable;
          if (r.size < size_) return error(error_kind::malformed, "the Mooncake master gives less room than it was asked for", 0, severity::connection);
        }
        committing_ ? write(0) : static_cast<void>(phase_ = phase::ready);
        return {};
      }
      case phase::removing: {
        auto const gone = read_nothing(call_.reply());
        bool const unfinished = !gone && gone.error().native() == not_complete;
        if (gone || (gone.error().kind() == error_kind::not_found && !unfinished)) {
          ask_for_room();
          return {};
        }
        if (unfinished && until_.passed())
          return error(error_kind::already_exists, "another put of the key has not ended, or was given up and is discarded later; try again, or choose another key", not_complete);
        if ((!unfinished && gone.error().kind() != error_kind::peer_stalled) || until_.passed()) return gone.error();
        phase_ = phase::resting;  // a reader's lease, or somebody's put
        look_again_ns_ = deadline::now_ns() + pause_ns_;
        pause_ns_ = pause_ns_ * 2 < home_->longest_pause_ns ? pause_ns_ * 2 : home_->longest_pause_ns;
        return {};
      }
      case phase::writing: write(which_ + 1); return {};
      case phase::ending: {
        auto const whole = read_nothing(call_.reply());
        if (!whole && whole.error().kind() == error_kind::not_found) {
          has_room_ = false;
          return error(error_kind::lost, "the Mooncake master has forgotten the put, as one does that was restarted; put it again", whole.error().native());
        }
        if (whole) phase_ = phase::ended;
        return whole;
      }
      default: {
        auto const revoked = read_nothing(call_.reply());  // the object is to be smaller
        if (revoked) ask_for_room();
        return revoked;
      }
    }
  }

  /// After a step of a put that was begun: what has ended gives the payload back.
  result<progress> settle(result<progress> now) {
    if (!now) return failed(now.error());
    if (phase_ != phase::ended) return now;
    where_ = place_of(key_, replicas_.front()).pack();
    home_->puts.fetch_add(1, std::memory_order_relaxed);
    home_->put_bytes.fetch_add(size_, std::memory_order_relaxed);
    become(stage::found);
    home_->give_back(out_);
    return progress::done;
  }
  error failed(error why) {
    fail(why);
    home_->give_back(out_);
    return why;
  }
  /// From outside, now: the room is given back in a call that waits for its answer. Whether there is room is known before: a revocation names client and key,
  /// and would take the room of another put of ours. A put that the master had acknowledged already is done.
  result<progress> give_up(error why) noexcept {
    constexpr std::int64_t limit_ns = 1'000'000'000;
    if (home_->inherited()) return fail(why);  // the connections are the parent's
    if (phase_ == phase::writing) {
      transfer_.hang_up(limit_ns);
      if (transfer_.in_flight()) has_room_ = false;  // see go_on
    }
    if (phase_ == phase::asking && session::finish(call_, limit_ns)) has_room_ = static_cast<bool>(read_replicas(call_.reply()));
    if (phase_ == phase::ending && session::finish(call_, limit_ns) && answered()) return settle(progress::done);
    if (has_room_) {
      call_.abandon();
      revoke(phase::revoking);
    }
    if (phase_ == phase::revoking || phase_ == phase::shrinking) static_cast<void>(session::finish(call_, limit_ns));
    call_.abandon();
    return failed(why);
  }

  session* home_ = nullptr;
  std::string key_;
  std::vector<const_bytes> parts_;
  outgoing out_{};
  deadline until_{};
  std::uint64_t size_ = 0;
  std::vector<replica> replicas_;
  std::size_t which_ = 0;
  std::int64_t look_again_ns_ = 0, pause_ns_ = first_pause_ns;
  locator where_;
  error why_{error_kind::io};
  phase phase_ = phase::ready;
  bool replaces_ = false, committing_ = false, has_room_ = false;
  rpc_call call_;
  transfer transfer_;
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
