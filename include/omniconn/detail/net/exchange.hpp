// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// One question and its answer over a connection that is kept for the next one. Nothing here sleeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/uio.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/function_ref.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/net/endpoint.hpp>
#include <omniconn/detail/net/line.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::net {

/// What a protocol says and hears in one exchange, without knowing how it gets there.
class dialogue {
 public:
  /// All that is to be sent, from the beginning: it is asked for again where a kept connection turns out to be dead. The bytes stay until the end.
  virtual void ask(std::vector<iovec>& out) = 0;
  /// Where the next bytes of the answer go; empty: the answer is whole.
  [[nodiscard]] virtual mutable_bytes room() noexcept = 0;
  /// So many bytes are there now. An error ends the exchange, and the connection.
  [[nodiscard]] virtual result<void> heard(std::size_t n) = 0;
  /// Whether an answer ends where the connection does.
  [[nodiscard]] virtual bool may_end_here() const noexcept { return false; }

 protected:
  dialogue() = default;
  dialogue(dialogue const&) = default;
  dialogue& operator=(dialogue const&) = default;
  ~dialogue() = default;
};

/// What a pool allows. Times are nanoseconds.
struct line_limits {
  std::size_t lines = 16;                       ///< connections at once; who finds none waits in line
  bool keep = true;                             ///< for the next exchange; false: one connection for each
  std::int64_t connect_ns = 3'000'000'000;      ///< then `unreachable`
  std::int64_t silence_ns = 10'000'000'000;     ///< without a byte in either direction, then `peer_stalled`
};

class exchange;

/// The connections to one address. \threadsafety every call; exchanges keep it alive.
class line_pool {
 public:
  /// `served`: called without a lock held when somebody who waited in line has a connection now.
  line_pool(address const& where, line_limits const& limits, void (*served)(void*) noexcept = nullptr, void* whom = nullptr)
      : address_(where), limits_(limits), served_(served), whom_(whom) {
    idle_.reserve(limits.lines);
  }

  [[nodiscard]] line_limits const& limits() const noexcept { return limits_; }
  /// Connections made so far.
  [[nodiscard]] std::uint64_t opened() const {
    std::scoped_lock const lock(mutex_);
    return opened_;
  }
  /// Forgets what is idle.
  void drop_idle() {
    std::vector<line> closed;
    std::scoped_lock const lock(mutex_);
    closed.swap(idle_);
    idle_.reserve(limits_.lines);
  }

 private:
  friend class exchange;

  struct entry {
    line kept;
    bool served = false, reused = false;
  };

  /// A connection, kept or new, where there is one; else the caller is in line.
  result<entry> take(exchange& who) {
    {
      std::scoped_lock const lock(mutex_);
      if (busy_ == limits_.lines) {
        waiting_.push_back(&who);
        return entry{};
      }
      ++busy_;
      while (!idle_.empty()) {
        line kept = std::move(idle_.back());
        idle_.pop_back();
        if (kept.quiet()) return entry{std::move(kept), true, true};
      }
    }
    return fresh();
  }
  /// \requires the caller has a place.
  result<entry> fresh() {
    auto made = line::start(address_);
    if (!made) {
      give_back({});
      return made.error();
    }
    std::scoped_lock const lock(mutex_);
    ++opened_;
    return entry{std::move(*made), true, false};
  }
  /// The place of an exchange that ended, with its connection where that may be used again.
  void give_back(line kept);
  void leave_line(exchange& who) {
    std::scoped_lock const lock(mutex_);
    std::erase(waiting_, &who);
  }

  address const address_;
  line_limits const limits_;
  void (*const served_)(void*) noexcept;
  void* const whom_;
  mutable std::mutex mutex_;
  std::vector<line> idle_;
  std::deque<exchange*> waiting_;
  std::size_t busy_ = 0;
  std::uint64_t opened_ = 0;
};

/// The way of one dialogue through a pool. One thread at a time; it does not move while it is under way.
class exchange {
 public:
  exchange() = default;
  exchange(exchange const&) = delete;
  exchange& operator=(exchange const&) = delete;
  ~exchange() { abandon(); }

  /// `step` says how it goes. Both live until the end. \requires no other is under way
  void begin(std::shared_ptr<line_pool> pool, dialogue& what) {
    pool_ = std::move(pool);
    what_ = &what;
    since_ns_ = deadline::now_ns();
    sent_any_ = in_flight_ = false;
    at_ = stage::in_line;
    auto first = pool_->take(*this);
    if (!first) {
      fail(first.error());
    } else if (first->served) {
      use(std::move(*first));
    }
  }

  /// Goes on as far as it gets without sleeping, and not for ever: `most` bytes.
  result<progress> step(std::size_t most = std::size_t{4} << 20U) {
    for (;;) switch (at_) {
        case stage::idle: return progress::done;
        case stage::failed: return failure_;
        case stage::in_line: {
          std::unique_lock lock(pool_->mutex_);
          if (!granted_) return progress::pending;
          granted_ = false;
          line kept = std::move(granted_line_);
          lock.unlock();
          since_ns_ = deadline::now_ns();
          if (kept && kept.quiet()) {
            use({std::move(kept), true, true});
            break;
          }
          auto made = pool_->fresh();
          if (!made) return fail(made.error());
          use(std::move(*made));
          break;
        }
        case stage::connecting: {
          auto const made = line_.connected();
          if (!made) return lose(made.error());
          if (!*made && !passed(pool_->limits().connect_ns)) return progress::pending;
          if (!*made) return lose({error_kind::unreachable, "the other end does not take the connection", ETIMEDOUT, severity::connection});
          at_ = stage::asking;
          break;
        }
        case stage::asking: {
          std::span<iovec> rest(parts_);
          rest = rest.subspan(part_);
          if (rest.empty()) {
            at_ = stage::hearing;
            break;
          }
          auto const n = line_.send(rest);
          if (!n) {
            if (auto const again = again_or(n.error()); !again) return again.error();
            break;
          }
          if (*n == 0) return still();
          sent(*n);
          if (*n >= most) return progress::pending;
          most -= *n;
          break;
        }
        case stage::hearing: {
          mutable_bytes const to = what_->room();
          if (to.empty()) return finish();
          auto const n = line_.receive(to);
          if (!n && n.error().native() == 0 && what_->may_end_here()) return finish(false);
          if (!n) {
            if (auto const again = again_or(n.error()); !again) return again.error();
            break;
          }
          if (*n == 0) {
            // Once in a row: who has sent nothing since wakes us with a byte.
            patient_until_ns_ = line_.expect(std::exchange(heard_more_, false) ? to.size() : 1) ? deadline::now_ns() + line::patience_ns : INT64_MAX;
            return still();
          }
          heard_any_ = heard_more_ = true;
          since_ns_ = deadline::now_ns();
          if (auto const good = what_->heard(*n); !good) return lose(good.error(), true);
          if (*n >= most) {
            patient_until_ns_ = 0;  // the rest may be here
            return what_->room().empty() ? finish() : result<progress>(progress::pending);
          }
          most -= *n;
          break;
        }
      }
  }

  /// What to poll for; -1 where nothing is to be heard on a descriptor.
  [[nodiscard]] pollfd interest() const noexcept {
    bool const writes = at_ == stage::connecting || at_ == stage::asking;
    return {at_ == stage::in_line ? -1 : line_.fd(), static_cast<short>(writes ? POLLOUT : POLLIN), 0};
  }
  /// When `step` has something to say even if nothing happens.
  [[nodiscard]] std::int64_t look_again_ns() const noexcept {
    if (!under_way()) return 0;
    std::int64_t const end = since_ns_ + (at_ == stage::connecting ? pool_->limits().connect_ns : at_ == stage::in_line ? 60'000'000'000 : pool_->limits().silence_ns);
    return at_ == stage::hearing && patient_until_ns_ < end ? patient_until_ns_ : end;
  }
  /// It has no connection yet, because others have them all.
  [[nodiscard]] bool in_line() const noexcept { return at_ == stage::in_line; }
  [[nodiscard]] bool under_way() const noexcept { return at_ != stage::idle && at_ != stage::failed; }

  /// Gives it up: nothing is written to the dialogue's memory any more.
  void abandon() noexcept {
    if (!under_way()) return;
    if (at_ == stage::in_line) {
      pool_->leave_line(*this);
      if (std::exchange(granted_, false)) pool_->give_back(std::move(granted_line_));
    } else {
      pool_->give_back({});
    }
    line_.close();
    at_ = stage::idle;
  }

  /// The same, and waits until nothing that was sent is on its way any more, for `limit_ns` at most: see `in_flight`.
  void hang_up(std::int64_t limit_ns) noexcept {
    if (under_way() && sent_any_ && !line_.hang_up(limit_ns)) in_flight_ = true;
    abandon();
  }
  /// Whether the other end may still read what was sent: a connection ended, and not because the other end did.
  [[nodiscard]] bool in_flight() const noexcept { return in_flight_; }

 private:
  friend class line_pool;
  enum class stage : std::uint8_t { idle, in_line, connecting, asking, hearing, failed };

  void use(line_pool::entry e) {
    line_ = std::move(e.kept);
    reused_ = e.reused;
    heard_any_ = false;
    heard_more_ = true;
    static_cast<void>(line_.expect(1));
    parts_.clear();
    part_ = 0;
    what_->ask(parts_);
    at_ = reused_ ? stage::asking : stage::connecting;
  }
  void sent(std::size_t n) noexcept {
    sent_any_ = true;
    since_ns_ = deadline::now_ns();
    while (n != 0 && n >= parts_[part_].iov_len) n -= parts_[part_++].iov_len;
    if (n != 0) {
      parts_[part_].iov_base = static_cast<std::byte*>(parts_[part_].iov_base) + n;
      parts_[part_].iov_len -= n;
    }
    while (part_ != parts_.size() && parts_[part_].iov_len == 0) ++part_;
  }
  [[nodiscard]] bool passed(std::int64_t limit) const noexcept { return deadline::now_ns() - since_ns_ >= limit; }
  result<progress> still() {
    if (!passed(pool_->limits().silence_ns)) return progress::pending;
    return lose({error_kind::peer_stalled, "the other end has neither read nor answered for a while", ETIMEDOUT, severity::connection});
  }
  /// A kept connection may have died unnoticed: then a new one hears the same.
  result<void> again_or(error e) {
    if (!reused_ || heard_any_) return lose(e);
    note_loss(e);
    sent_any_ = false;
    line_.close();
    pool_->drop_idle();
    since_ns_ = deadline::now_ns();
    auto made = pool_->fresh();
    if (!made) return fail(made.error());
    use(std::move(*made));
    return {};
  }
  result<progress> finish(bool keep = true) {
    at_ = stage::idle;
    pool_->give_back(keep && pool_->limits().keep ? std::move(line_) : line());
    line_.close();
    return progress::done;
  }
  error lose(error e, bool answered = false) {
    if (!answered) note_loss(e);
    line_.close();
    pool_->give_back({});
    return fail(e);
  }
  void note_loss(error e) noexcept {
    if (sent_any_ && e != error_kind::peer_lost) in_flight_ = true;  // silence, a network that is gone, no memory: the other end did not close
  }
  error fail(error e) {
    at_ = stage::failed;
    failure_ = e;
    return e;
  }

  std::shared_ptr<line_pool> pool_;
  dialogue* what_ = nullptr;
  line line_;
  std::vector<iovec> parts_;
  std::size_t part_ = 0;
  std::int64_t since_ns_ = 0, patient_until_ns_ = INT64_MAX;
  error failure_{error_kind::misconfigured, "the exchange was not begun"};
  stage at_ = stage::idle;
  bool reused_ = false, heard_any_ = false, sent_any_ = false, in_flight_ = false;
  bool heard_more_ = true;  ///< since we last waited
  bool granted_ = false;  ///< with the pool's lock: it has a place, and perhaps a connection
  line granted_line_;
};

inline void line_pool::give_back(line kept) {
  bool told = false;
  {
    std::scoped_lock const lock(mutex_);
    if (!waiting_.empty()) {
      exchange& next = *waiting_.front();
      waiting_.pop_front();
      next.granted_line_ = std::move(kept);
      next.granted_ = told = true;
    } else {
      --busy_;
      if (kept) idle_.push_back(std::move(kept));
    }
  }
  if (told && served_ != nullptr) served_(whom_);
}

}  // namespace detail::net

OMNICONN_END_NAMESPACE
