// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// The consumer's side: connections to all producers of a namespace, and the gets that ask them. It has no thread: whoever calls takes what has arrived.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/flat_map.hpp>
#include <omniconn/core/function_ref.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/call_gate.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/sleepers.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_sealed/folder.hpp>
#include <omniconn/transport/shm_sealed/house.hpp>
#include <omniconn/transport/shm_sealed/memory.hpp>
#include <omniconn/transport/shm_sealed/operations.hpp>
#include <omniconn/transport/shm_sealed/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

inline error stale_error() noexcept {
  return {error_kind::stale_handle, "the object behind the locator was read up, replaced or erased, or its producer ended; search by key instead"};
}
inline error lost_error() noexcept { return {error_kind::peer_lost, "the producer died, and its objects with it; have it put again", 0, severity::connection}; }
inline error stalled_error() noexcept { return {error_kind::peer_stalled, "a producer does not answer; it is stopped or hangs. Nothing was dropped", 0, severity::connection}; }

/// \threadsafety every call.
class desk {
 public:
  static constexpr std::size_t max_links = 1024;       ///< producers of one namespace
  static constexpr std::size_t max_stages = 64;        ///< that one of them may say it puts for
  static constexpr std::size_t max_dead_stages = 256;  ///< that are remembered; the oldest are forgotten
  static constexpr std::size_t max_described = 64;     ///< of those that are not spoken to
  static constexpr std::int64_t soon_ns = 10'000'000;        ///< when the folder is read again, where nothing tells us of changes
  static constexpr std::size_t most_tries = 256;             ///< to connect, in one look
  static constexpr std::int64_t longest_look_ns = 5'000'000; ///< without the reading of the folder
  static constexpr std::int64_t patience_ns = 100'000'000;   ///< who owes an answer for longer is stalled
  static constexpr std::int64_t inquiry_ns = 1'000'000'000;  ///< how long `exists` and `erase` wait for answers

  explicit desk(meeting_place const& place) : place_(place) {}
  desk(desk const&) = delete;
  desk& operator=(desk const&) = delete;

  // desk_calls.hpp
  result<progress> find(get_operation& op, wire_key key, find_options const& o, std::string_view default_reader);
  result<progress> step(get_operation& op);
  void cancel(get_operation& op);
  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token const& stop);
  result<std::uint64_t> count(message_type what, wire_key key, std::uint64_t except);
  result<std::size_t> erase_if(function_ref<bool(wire_key)> match, std::uint64_t except);
  void close();

  [[nodiscard]] bool inherited() const noexcept { return born_.inherited(); }
  /// Those that we are connected to, and those that we will not speak to, with the reason.
  void describe(std::vector<peer_info>& out) const {
    std::scoped_lock const lock(mutex_);
    for (auto const& [id, l] : links_) out.push_back({"producer " + l->name + " (" + l->who.text() + ")", true});
    std::size_t named = 0;  // a folder may be full of them
    for (auto const& [name, t] : troubles_)
      if (!t.why.empty() && ++named <= max_described) out.push_back({"producer " + name + ": " + t.why, false});
    if (named > max_described) out.push_back({"and " + std::to_string(named - max_described) + " more that are not spoken to", false});
  }
  [[nodiscard]] traffic moved() const {
    std::scoped_lock const lock(mutex_);
    return moved_;
  }

 private:
  static constexpr std::int64_t for_ever = std::numeric_limits<std::int64_t>::max();

  /// Why a socket is let alone, and until when.
  struct trouble {
    std::int64_t until_ns = for_ever;
    bool refused = false;
    std::string why{};
    std::int64_t pause_ns = 0;  ///< the last one, where the next one is longer
  };
  /// A question to one or all producers that is not a get.
  struct inquiry {
    message_type type;
    std::vector<link*> asked{};  ///< and have not answered
    std::uint64_t sum = 0;
    std::vector<std::string> keys{};
    bool more = false;
  };
  /// A thread that sleeps. Others ring when they took what may be for it.
  class sleeper {
   public:
    explicit sleeper(desk& d) : desk_(d), bell_(d.sleepers_.enter()) {}
    sleeper(sleeper const&) = delete;
    sleeper& operator=(sleeper const&) = delete;
    /// \requires the desk's lock, as for construction
    ~sleeper() { desk_.sleepers_.leave(bell_); }
    [[nodiscard]] bell const& own() const noexcept { return bell_; }

   private:
    desk& desk_;
    bell const& bell_;
  };

  void ring_all(bell const* but = nullptr) const noexcept { sleepers_.ring_all(but); }

  // --- what arrives: all with the lock --------------------------------------------------------------------------------------------

  /// Takes what is there, without sleeping.
  void pump(bell const* own = nullptr) {
    if (closed_) return;
    bool look = false;
    if (!epoll_) {
      epoll_ = unique_fd(::epoll_create1(EPOLL_CLOEXEC));
      watch_ = place_.watch();
      if (watch_ && !listen_to(watch_.get(), 0)) watch_.reset();
      look = true;
    }
    std::array<epoll_event, 32> events{};
    int const n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < n; ++i) {
      std::uint64_t const id = events[static_cast<std::size_t>(i)].data.u64;
      if (id == 0) {
        char discarded[4096];
        while (::read(watch_.get(), discarded, sizeof discarded) > 0) {
        }
        look = true;
      } else if (auto const at = links_.find(id); at != links_.end()) {
        hear(std::shared_ptr<link>(at->second));
      }
    }
    if (look) {
      behind_ = true;
      look_again_ns_ = not_before_ns_ < look_again_ns_ ? not_before_ns_ : look_again_ns_;
    }
    if (deadline::now_ns() >= look_again_ns_) look_around();
    push();
    if (std::exchange(changed_, false)) ring_all(own);
  }
  /// \returns false for want of memory, or where the user listens to as many as he may
  [[nodiscard]] bool listen_to(int fd, std::uint64_t id) const noexcept {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = id;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0;
  }
  /// Connects to a producer, for that line, or to know whether somebody is there. No child gets the socket, of whatever thread: the producer would not hear
  /// of our end, and we not of its.
  meeting_place::outcome connect(std::string const& name, peer& who, channel* line) const {
    fork_pause const no_child;
    unique_fd fd;
    auto const out = place_.connect(name, fd, who);
    if (out == meeting_place::outcome::connected && line != nullptr) line->open(std::move(fd));
    return out;
  }
  /// Sends what there was no room for, and listens for room where there is none yet.
  void push() {
    crowded_ = false;
    for (auto const& [id, l] : links_) {
      bool waits = l->line.unsent() != 0;
      if (waits) {
        static_cast<void>(l->line.flush());  // a line that is gone is noticed when it is read
        waits = l->line.unsent() != 0;
      }
      if (waits && l->line.held_up()) {
        crowded_ = true;
        waits = false;
      }
      if (waits == l->awaits_room) continue;
      epoll_event e{};
      e.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN;
      e.data.u64 = id;
      if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, l->line.fd(), &e) == 0) l->awaits_room = waits;
      crowded_ = crowded_ || waits != l->awaits_room;
    }
    if (!std::exchange(unasked_, false)) return;
    for (auto const& [id, op] : gets_)
      for (auto& a : op->asks_)
        if (!a.sent) send_ask(*op, a);
  }

  // desk_look.hpp
  void look_around();
  void meet(std::string const& name);
  [[nodiscard]] std::size_t known_of(std::uint32_t user) const noexcept;

  void hear(std::shared_ptr<link> const& from) {
    for (int n = 0; n != 64 && !from->dropped; ++n) {
      auto got = from->line.receive(buffer_, true);
      if (got.what == arrival::kind::nothing) return;
      if (got.what == arrival::kind::ended) return drop(from, nullptr);
      auto const m = got.cut ? result<message>(error_kind::malformed, "a producer sent a longer message, or more descriptors, than there are") : read_message(got.bytes);
      auto const done = m ? handle(from, *m, got) : result<void>(m.error());
      if (!done) return drop(from, &done.error());
    }
  }

  /// \errors what the producer did wrong: it is dropped, and every get that asks it fails with that.
  result<void> handle(std::shared_ptr<link> const& from, message const& m, arrival& with) {
    constexpr auto wrong = [](char const* what) noexcept { return error(error_kind::malformed, what, 0, severity::connection); };
    if (m.type < message_type::hello) return wrong("a producer asks instead of answering; it is no omniconn, or damaged");
    if (!from->greeted && m.type != message_type::hello && m.type != message_type::refused) return wrong("a producer did not say who it is before all else");
    if ((with.fds != 0 || with.lacking) && m.type != message_type::grant) return wrong("a producer sent a descriptor where none belongs");
    switch (m.type) {
      case message_type::hello:
        if (from->greeted || m.id != from->id) return wrong("a producer calls itself another than its socket does");
        from->greeted = true;
        break;
      case message_type::name:
        if (from->stages.size() == max_stages) return wrong("a producer puts for more stages than it may name");
        if (!from->puts_for(m.text)) from->stages.emplace_back(m.text);
        std::erase(dead_stages_, m.text);
        break;
      case message_type::queued:
        if (auto* const op = get_of(m.id); op != nullptr) {
          for (auto& a : op->asks_) a.answered = a.answered || a.whom == from;
          end_if_nowhere(*op);
          if (op->now_ == get_operation::state::looking) end_if_lost(*op);
        }
        break;
      case message_type::grant: return granted(from, m, with);
      case message_type::refusal: return refused(from, m);
      case message_type::number:
      case message_type::keys:
        if (auto const at = inquiries_.find(m.id); at != inquiries_.end()) {
          inquiry& q = *at->second;
          if ((m.type == message_type::keys) != (q.type == message_type::list)) return wrong("a producer answers something else than it was asked");
          if (std::erase(q.asked, from.get()) == 0) break;
          q.sum += m.info.size != 0 ? 1 : 0;  // at most one object has the key, whatever it says
          q.more = m.flag != 0;
          if (m.type == message_type::keys) for_each_key(m.text, [&q](std::string_view key) { q.keys.emplace_back(key); });
          changed_ = true;
        }
        break;
      case message_type::pong:
        if (m.id == from->ping) from->ping = 0;
        break;
      case message_type::bye: from->left = true; break;
      case message_type::refused: {
        bool const user = m.flag == static_cast<std::uint8_t>(refused_for::user);
        from->left = true;
        troubles_[from->name] = {user ? for_ever : deadline::now_ns() + 50'000'000, user,
                                 from->who.text() + (user ? ": does not allow user " + std::to_string(m.generation) + "; name it in allow_users there" : ": serves as many consumers as it can")};
        drop(from, nullptr);
        break;
      }
      default: break;
    }
    return {};
  }

  result<void> granted(std::shared_ptr<link> const& from, message const& m, arrival& with) {
    auto* const op = get_of(m.id);
    if (op == nullptr) return {};  // given up while it was on its way; the producer knows by now
    bool asked = false;
    for (auto const& a : op->asks_) asked = asked || (a.whom == from && a.sent);
    if (!asked || (op->wanted_.generation != 0 && op->wanted_.generation != m.generation))
      return error(error_kind::malformed, "a producer grants what it was not asked for", 0, severity::connection);
    if (with.lacking) {  // who granted it has it back
      fail(*op, {error_kind::no_space, "no descriptor is left for the object's memory; raise `ulimit -n`, or close some, and get it again", EMFILE});
      return {};
    }
    if (with.fds != 1)
      return error(error_kind::malformed, with.fds == 0 ? "a producer granted an object and sent no memory" : "a producer sent more than one descriptor for an object", 0, severity::connection);
    if (auto const sealed = check_sealed(with.fd.get(), m.info.size); !sealed) return sealed;
    auto bytes = sealed_bytes::of(with.fd.get(), m.info.size);
    if (!bytes) {  // for want of something of ours: who granted it has it back
      fail(*op, bytes.error());
      return {};
    }
    std::erase_if(op->asks_, [&from](auto const& a) { return a.whom == from; });
    withdraw(*op);
    op->hold_ = sealed_hold(from, m.id, std::move(*bytes));
    op->info_ = m.info;
    op->where_ = locator::pack(locator_tag::shm_sealed, place{from->id, m.generation});
    op->now_ = get_operation::state::found;
    ++moved_.gets;
    moved_.get_bytes += m.info.size;
    changed_ = true;
    return {};
  }
  result<void> refused(std::shared_ptr<link> const& from, message const& m) {
    auto* const op = get_of(m.id);
    if (op == nullptr || std::erase_if(op->asks_, [&from](auto const& a) { return a.whom == from; }) == 0) return {};
    auto const why = static_cast<refusal>(m.flag);
    error const e = why == refusal::consumed ? error(error_kind::consumed, "this reader has had its share of the object; give every reader a name of its own, or raise readers at the put")
                    : why == refusal::too_many
                        ? error(error_kind::quota_exceeded, "this consumer has 1024 objects of the producer, or 1024 gets that wait for it; finish some first")
                        : stale_error();
    if (op->wanted_.producer != 0 && why != refusal::absent) {
      fail(*op, e);  // nobody else has that object
      return {};
    }
    if (why == refusal::consumed || why == refusal::too_many) {
      bool const sender = !op->stage_.empty() && from->puts_for(op->stage_);
      if (!op->refused_ || (sender && !op->sender_refused_)) op->failure_ = e;
      op->refused_ = true;
      op->sender_refused_ = op->sender_refused_ || sender;
    }
    end_if_nowhere(*op);
    return {};
  }

  /// A producer is gone, or did wrong (`why`) and is not spoken to again.
  void drop(std::shared_ptr<link> const& l, error const* why) {
    if (std::exchange(l->dropped, true)) return;
    bool const died = why == nullptr && !l->left;
    links_.erase(l->id);
    if (l->line.fd() >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, l->line.fd(), nullptr);
    l->line.close();
    if (why != nullptr) troubles_[l->name] = {for_ever, false, l->who.text() + ": " + why->text()};
    if (died) {
      for (auto const& stage : l->stages) {
        std::erase(dead_stages_, stage);
        if (dead_stages_.size() == max_dead_stages) dead_stages_.erase(dead_stages_.begin());
        dead_stages_.push_back(stage);
      }
      // Its socket goes at once; if it lives it threw us out, and is not asked again at once.
      peer who;
      if (connect(l->name, who, nullptr) != meeting_place::outcome::gone) troubles_[l->name] = {deadline::now_ns() + 5'000'000};
    }
    look_again_ns_ = 0;
    for (auto const& [id, q] : inquiries_) std::erase(q->asked, l.get());
    std::vector<get_operation*> asking;
    for (auto const& [id, op] : gets_)
      if (std::erase_if(op->asks_, [&l](auto const& a) { return a.whom == l; }) != 0) asking.push_back(op);
    for (auto* const op : asking) {
      if (why != nullptr) {
        fail(*op, *why);
      } else if (op->wanted_.producer != 0) {
        died ? fail(*op, lost_error()) : end_if_unreachable(*op);
      } else {
        end_if_nowhere(*op);
      }
    }
    std::vector<get_operation*> all;
    for (auto const& [id, op] : gets_) all.push_back(op);
    for (auto* const op : all) end_if_lost(*op);
    changed_ = true;
  }

  // --- gets: all with the lock ------------------------------------------------------------------------------------------------------

  [[nodiscard]] get_operation* get_of(std::uint64_t id) const noexcept {
    auto const at = gets_.find(id);
    return at == gets_.end() ? nullptr : at->second;
  }
  [[nodiscard]] bool is_dead(std::string_view stage) const noexcept {
    for (auto const& s : dead_stages_)
      if (s == stage) return true;
    return false;
  }
  void ask(get_operation& op, std::shared_ptr<link> const& whom) {
    if (op.wanted_.producer != 0 && op.wanted_.producer != whom->id) return;
    op.asks_.push_back({whom, deadline::now_ns(), false, false});
    send_ask(op, op.asks_.back());
  }
  void send_ask(get_operation const& op, get_operation::ask& a) {
    if (a.whom->line.crowded()) {
      unasked_ = true;
      return;
    }
    message m;
    m.type = message_type::get;
    m.id = op.id_;
    m.flag = op.waits_ ? 1 : 0;
    m.generation = op.wanted_.generation;
    m.key = op.key_;
    m.text = op.reader_;
    static_cast<void>(a.whom->line.send(m));  // a line that is gone is noticed when it is read
    a.sent = true;
  }
  /// Ends the get everywhere. Where a grant is on its way, the producer takes it back.
  void withdraw(get_operation& op) {
    message m;
    m.type = message_type::end;
    m.id = op.id_;
    for (auto const& a : op.asks_)
      if (a.sent) static_cast<void>(a.whom->line.send(m));
    op.asks_.clear();
    gets_.erase(op.id_);
  }
  void fail(get_operation& op, error e) {
    withdraw(op);
    op.fail(e);
    changed_ = true;
  }
  /// A get by locator whose producer we have no connection to: as long as it may be there a get that waits goes on.
  void end_if_unreachable(get_operation& op) {
    if (op.wanted_.producer == 0 || !op.asks_.empty()) return;
    auto const at = troubles_.find(socket_name(op.wanted_.producer));
    bool const known = at != troubles_.end(), later = known && at->second.until_ns != for_ever;
    if (!later && !blind_ && behind_) return;  // nobody knows yet
    if (!later && !blind_) return fail(op, known && at->second.refused ? not_allowed_error() : stale_error());
    if (!op.waits_) fail(op, later ? stalled_error() : blind_error());
  }
  /// A get that does not wait, once all have answered; and one that waits and was refused, once nobody is left who may still bring the object: keys are each
  /// producer's own, so one that had it says nothing of the others. Where the edge's sender refused, only others who put for that stage may.
  void end_if_nowhere(get_operation& op) {
    if (op.waits_ ? !op.refused_ : behind_) return;
    for (auto const& a : op.asks_)
      if (!op.waits_ || !a.answered || !op.sender_refused_ || a.whom->puts_for(op.stage_)) return;
    fail(op, op.refused_ ? op.failure_ : unless_refused({error_kind::not_found, "no such object now"}));
  }
  /// A get whose sender died, once all who are left have answered that they have nothing.
  void end_if_lost(get_operation& op) {
    if (!op.waits_ || op.stage_.empty() || !is_dead(op.stage_) || (op.wanted_.producer != 0 && op.asks_.empty())) return;
    for (auto const& a : op.asks_)
      if (!a.answered) return;
    for (auto const& [id, l] : links_)
      if (l->puts_for(op.stage_)) return;
    fail(op, lost_error());
  }
  static error not_allowed_error() noexcept { return {error_kind::unauthorized, "the producers of this namespace do not allow our user; name it in their allow_users"}; }
  [[nodiscard]] error blind_error() const noexcept {
    if (links_.size() == max_links) return {error_kind::no_space, "a consumer listens to 1,024 producers at most, and the namespace has more; use several namespaces"};
    return {error_kind::no_space, "no descriptor is left for finding producers; raise `ulimit -n`, or close some", EMFILE};
  }
  /// Nothing came. Where nobody serves us because nobody may, or because we cannot look for them, that is the reason.
  [[nodiscard]] error unless_refused(error e) const noexcept {
    if (blind_) return blind_error();
    if (links_.empty())
      for (auto const& [name, t] : troubles_)
        if (t.refused) return not_allowed_error();
    return e;
  }
  [[nodiscard]] error late(std::span<operation* const> ops) const;
  static std::int64_t idle_since(std::span<operation* const> ops, std::int64_t now);
  bool send_pings(std::span<operation* const> ops);
  bool sleep(std::unique_lock<std::mutex>& lock, bell const& own, std::int64_t until_ns);
  result<void> inquire(std::unique_lock<std::mutex>& lock, inquiry& q, message m, link const* only, std::uint64_t except);
  /// Somebody is or may be there whom we cannot ask now, but for that one.
  [[nodiscard]] bool unreached(std::uint64_t except) const {
    if (blind_ || behind_) return true;
    for (auto const& [name, t] : troubles_)
      if (t.until_ns != for_ever && id_of_name(name) != except) return true;
    return false;
  }

  meeting_place const& place_;
  fork_mark const born_ = watch_forks();
  mutable std::mutex mutex_;
  unique_fd epoll_, watch_;
  flat_map<std::uint64_t, std::shared_ptr<link>> links_;
  flat_map<std::string, trouble> troubles_;
  flat_map<std::uint64_t, get_operation*> gets_;
  flat_map<std::uint64_t, inquiry*> inquiries_;
  std::vector<std::string> dead_stages_;
  sleepers sleepers_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(max_message);
  std::int64_t look_again_ns_ = for_ever, not_before_ns_ = 0;
  std::string look_from_;
  std::uint64_t last_id_ = 0;
  traffic moved_;
  bool closed_ = false, changed_ = false;
  bool crowded_ = false;  ///< something could not be sent, and nothing tells when it can
  bool unasked_ = false;  ///< a get among it
  bool behind_ = false;   ///< the folder was not looked at in full since it changed
  bool blind_ = false;    ///< for want of descriptors, or of places for links, we do not know of all producers
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
