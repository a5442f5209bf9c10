// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// The producer's side: its objects, the socket at which consumers ask for them, and the thread that answers.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/flat_map.hpp>
#include <omniconn/core/function_ref.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/bell.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/quiet_thread.hpp>
#include <omniconn/transport/shm_sealed/channel.hpp>
#include <omniconn/transport/shm_sealed/folder.hpp>
#include <omniconn/transport/shm_sealed/protocol.hpp>
#include <omniconn/transport/shm_sealed/vault.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

/// \threadsafety every call, but `close` once and last.
class house final {
 public:
  static constexpr std::size_t max_customers = 256;
  static constexpr std::size_t max_stages = 64;     ///< names under which one producer is known; more are served and not heard of
  static constexpr std::size_t most_unanswered = 64;  ///< messages of one customer that are taken before they are answered
  static constexpr std::size_t max_remembered = 16;  ///< of those who were turned away

  explicit house(meeting_place const& place) : place_(place) {}
  house(house const&) = delete;
  house& operator=(house const&) = delete;
  ~house() { close(); }

  /// Names the socket and starts the thread, once. Consumers that never put need neither.
  result<void> open() {
    std::scoped_lock const lock(mutex_);
    if (id_ != 0) return {};
    if (!bell_) return {error_kind::no_space, "no descriptor is left for serving consumers; raise `ulimit -n`", EMFILE};
    std::uint64_t id = 0;
    while (id == 0) id = random_u64();
    {
      fork_pause const no_child;  // which would listen in our place
      auto door = place_.listen(id);
      if (!door) return door.error();
      door_ = std::move(*door);
    }
    if (int const code = start(); code != 0) {
      place_.remove(id);
      door_.reset();
      return error{error_kind::no_space, "starting the thread that serves consumers failed; the limit of threads is reached", code};
    }
    id_ = id;
    return {};
  }
  /// 0: it was not opened.
  [[nodiscard]] std::uint64_t id() const {
    std::scoped_lock const lock(mutex_);
    return id_;
  }

  /// Ends the service in order: consumers are told, and keep what they hold.
  void close() noexcept {
    if (forks_.inherited()) return;  // socket, thread and objects are the parent's
    {
      std::scoped_lock const lock(mutex_);
      if (id_ == 0 || stop_) return;
      stop_ = true;
    }
    bell_.ring();
    ::pthread_join(thread_, nullptr);
    std::scoped_lock const lock(mutex_);
    place_.remove(id_);
    door_.reset();
    message bye;
    bye.type = message_type::bye;
    for (auto& c : customers_) static_cast<void>(c->line.send(bye));
    customers_.clear();
    ghosts_.clear();
    vault_ = vault();
  }

  // --- the producer's own calls -------------------------------------------------------------------------------------------------

  /// \errors already_exists
  result<void> begin(wire_key key, bool replaces, std::string_view stage) {
    std::scoped_lock const lock(mutex_);
    announce(stage);
    if (vault_.begin(key, replaces)) return {};
    hear_all();  // who has just read it may have said so already
    if (vault_.begin(key, replaces)) return {};
    return {error_kind::already_exists, "the key is taken; choose another, erase it, or put with on_existing::replace"};
  }
  void abandon(std::string const& key) {
    std::scoped_lock const lock(mutex_);
    vault_.abandon(key);
  }
  result<std::uint64_t> commit(std::string const& key, std::shared_ptr<item> object, bool replaces) {
    std::scoped_lock const lock(mutex_);
    std::uint64_t const generation = vault_.commit(key, std::move(object), replaces);
    ring_if_crowded();
    if (generation == 0) return {error_kind::already_exists, "a put with on_existing::replace took the key between begin and commit of this one"};
    return generation;
  }
  std::size_t erase(wire_key key) {
    std::scoped_lock const lock(mutex_);
    std::size_t const n = vault_.erase(key);
    ring_if_crowded();
    return n;
  }
  std::size_t erase_if(function_ref<bool(wire_key)> match) {
    std::scoped_lock const lock(mutex_);
    std::size_t const n = vault_.erase_if(match);
    ring_if_crowded();
    return n;
  }
  [[nodiscard]] bool exists(wire_key key) {
    std::scoped_lock const lock(mutex_);
    if (!vault_.exists(key)) return false;
    hear_all();
    return vault_.exists(key);
  }
  struct figures {
    std::uint64_t objects = 0, bytes = 0;
    std::vector<peer> served;
    std::vector<std::string> turned_away;
  };
  [[nodiscard]] figures look() const {
    std::scoped_lock const lock(mutex_);
    figures out{vault_.objects(), vault_.bytes(), {}, turned_away_};
    for (auto const& c : customers_) out.served.push_back(c->who);
    return out;
  }

 private:
  struct guest : customer {
    peer who;
    std::size_t unanswered = 0;  ///< of its messages among the jobs
    bool gone = false;
  };
  /// A message that has to wait until all that came before it is done.
  struct job {
    guest* from;
    message what;
    std::string key, text;
    bool over = false;
  };

  int start() noexcept {
    return start_quiet_thread(thread_, [](void* self) -> void* {
      static_cast<house*>(self)->serve();
      return nullptr;
    }, this);
  }

  void serve() {
    std::vector<pollfd> polled;
    for (;;) {
      bool full = false, held_up = false;
      {
        std::scoped_lock const lock(mutex_);
        if (stop_) return;
        full = no_descriptor_;
        polled.assign({{bell_.fd(), POLLIN, 0}, {full ? -1 : door_.get(), POLLIN, 0}});
        for (auto const& c : customers_) {
          polled.push_back({c->line.fd(), events_of(*c), 0});
          held_up = held_up || c->line.held_up();
        }
      }
      static_cast<void>(::poll(polled.data(), polled.size(), held_up ? 5 : full ? 20 : -1));
      std::scoped_lock const lock(mutex_);
      if (stop_) return;
      if ((polled[0].revents & POLLIN) != 0) bell_.hush();
      if (held_up)
        for (auto const& c : customers_) c->line.settle();
      std::erase_if(ghosts_, [](auto const& g) { return g->line.settle(); });
      std::size_t i = 2;  // only this thread adds and removes customers
      for (auto& c : customers_) {
        if (polled[i].revents != 0 || c->line.held_up()) static_cast<void>(c->line.flush());  // where it is gone: what it said before is heard first, and its end after that
        if ((polled[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) hear(*c);
        ++i;
      }
      if (!jobs_.empty()) hear_all();
      work();
      for (auto& c : customers_) {
        if (!c->gone) continue;
        vault_.leave(*c);
        if (c->line.shut()) ghosts_.push_back(std::move(c));
      }
      std::erase_if(customers_, [](auto const& c) { return c == nullptr || c->gone; });
      if (full || (polled[1].revents & POLLIN) != 0) welcome();
    }
  }
  /// Who does not read its answers is not asked for more.
  static short events_of(guest const& c) {
    return static_cast<short>((c.line.crowded() ? 0 : POLLIN) | (c.line.unsent() != 0 && !c.line.held_up() ? POLLOUT : 0));
  }
  /// The thread looks for room only where it knows that some is needed.
  void ring_if_crowded() const {
    for (auto const& c : customers_)
      if (c->line.unsent() != 0) return bell_.ring();
  }

  // --- those who come -----------------------------------------------------------------------------------------------------------

  void welcome() {
    no_descriptor_ = false;
    for (int n = 0; n != 16; ++n) {
      auto fresh = std::make_unique<guest>();
      channel& line = fresh->line;
      {
        fork_pause const no_child;  // which would keep the consumer's end from being heard
        unique_fd fd(::accept4(door_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd) {
          no_descriptor_ = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;  // else it would wake us without end
          return;
        }
        int const room = channel::socket_room;
        static_cast<void>(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room));  // else it is more
        fresh->who = peer::of(fd.get());
        line.open(std::move(fd), budget_of(fresh->who.user));
      }
      peer const who = fresh->who;
      message m;
      bool const stranger = !place_.allows(who.user);
      bool const full = customers_.size() == max_customers;
      if (stranger || full || served_of(who.user) >= place_.share_of(who.user, max_customers)) {
        m.type = message_type::refused;
        m.flag = static_cast<std::uint8_t>(stranger ? refused_for::user : refused_for::full);
        m.generation = who.user;
        static_cast<void>(line.send(m));
        turn_away(who, stranger ? "not an allowed user" : full ? "more consumers than can be served" : "more consumers than its user's share");
        continue;
      }
      customers_.push_back(std::move(fresh));
      m.type = message_type::hello;
      m.id = id_;
      static_cast<void>(line.send(m));
      m.id = 0;
      m.type = message_type::name;
      for (auto const& stage : stages_) {
        m.text = stage;
        static_cast<void>(line.send(m));
      }
    }
  }
  [[nodiscard]] std::size_t served_of(std::uint32_t user) const noexcept {
    std::size_t n = 0;
    for (auto const& c : customers_) n += c->who.user == user ? 1 : 0;
    return n;
  }
  /// What consumers of another user may leave unread. All other users together an eighth: our user may have several producers.
  std::shared_ptr<fd_budget> budget_of(std::uint32_t user) {
    rlimit most{};
    if (user == place_.own_user() || !place_.allows(user) || ::getrlimit(RLIMIT_NOFILE, &most) != 0) return nullptr;
    auto& out = budgets_[user];
    if (out == nullptr) out = std::make_shared<fd_budget>();
    out->most = place_.share_of(user, static_cast<std::size_t>(most.rlim_cur / 8));
    return out;
  }
  void turn_away(peer const& who, std::string_view why) {
    if (turned_away_.size() == max_remembered) turned_away_.erase(turned_away_.begin());
    turned_away_.push_back(who.text() + ": " + std::string(why));
  }
  /// Says for whom we put: who waits for that stage hears when we die.
  void announce(std::string_view stage) {
    if (stage.empty() || stage.size() > max_name || stages_.size() == max_stages) return;
    for (auto const& known : stages_)
      if (known == stage) return;
    stages_.emplace_back(stage);
    message m;
    m.type = message_type::name;
    m.text = stage;
    for (auto& c : customers_) static_cast<void>(c->line.send(m));
  }

  // --- what they say ------------------------------------------------------------------------------------------------------------

  /// Takes what one has said. Ends are done at once and all else later: an object that was given back before somebody asked for it is there for them,
  /// whichever connection is read first.
  void hear(guest& c) {
    for (int n = 0; n != 64 && !c.gone && c.unanswered < most_unanswered; ++n) {
      auto const got = c.line.receive(buffer_, false);
      if (got.what == arrival::kind::nothing) return;
      if (got.what == arrival::kind::ended) {
        c.gone = true;
        return;
      }
      auto const m = got.cut ? result<message>(error_kind::malformed, "a message of sealed memory is longer than any") : read_message(got.bytes);
      if (!m || m->type >= message_type::hello) {
        turn_away(c.who, m ? "speaks as a producer" : m.error().text());
        c.gone = true;
        return;
      }
      if (m->type != message_type::end) {
        c.unanswered += m->type == message_type::list ? most_unanswered : 1;  // whose answer is long
        jobs_.push_back({&c, *m, std::string(m->key), std::string(m->text)});
        continue;
      }
      for (job& j : jobs_)
        if (j.from == &c && j.what.id == m->id && j.what.type == message_type::get) j.over = true;
      vault_.end(c, m->id, m->flag != 0);
    }
  }
  /// Takes what all have said by now.
  void hear_all() {
    scratch_.clear();
    for (auto const& c : customers_) scratch_.push_back({c->gone || c->line.crowded() ? -1 : c->line.fd(), POLLIN, 0});
    if (::poll(scratch_.data(), scratch_.size(), 0) <= 0) return;
    std::size_t i = 0;
    for (auto& c : customers_)
      if (scratch_[i++].revents != 0) hear(*c);
    bell_.ring();  // where another thread heard it, ours has work
  }
  void work() {
    for (job& j : jobs_) {
      guest& c = *j.from;
      if (c.gone || j.over) continue;
      j.what.key = j.key;
      j.what.text = j.text;
      switch (j.what.type) {
        case message_type::get:
          if (!vault_.get(c, j.what)) {
            turn_away(c.who, "used the number of a request twice");
            c.gone = true;
          }
          break;
        case message_type::exists: vault::tell(c, message_type::number, j.what.id, vault_.exists(j.what.key) ? 1 : 0); break;
        case message_type::erase: vault::tell(c, message_type::number, j.what.id, vault_.erase(j.what.key)); break;
        case message_type::list: vault_.list(c, j.what); break;
        case message_type::ping: vault::tell(c, message_type::pong, j.what.id); break;
        default: break;
      }
    }
    jobs_.clear();
    for (auto const& c : customers_) c->unanswered = 0;
  }

  meeting_place const& place_;
  mutable std::mutex mutex_;
  vault vault_;
  std::vector<std::unique_ptr<guest>> customers_;
  std::vector<std::unique_ptr<guest>> ghosts_;  ///< gone, with descriptors that they never read
  flat_map<std::uint32_t, std::shared_ptr<fd_budget>> budgets_;
  std::vector<std::string> stages_;
  std::vector<std::string> turned_away_;
  std::vector<job> jobs_;
  std::vector<pollfd> scratch_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(max_message);
  unique_fd door_;
  bell bell_;
  pthread_t thread_{};
  std::uint64_t id_ = 0;
  bool stop_ = false, no_descriptor_ = false;
  fork_witness forks_{[](void* self) noexcept { static_cast<house*>(self)->door_.reset(); }, this};
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
