// SPDX-License-Identifier: Apache-2.0
// What simulated transports share: time, chance, the network, and the test's hands on all three.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/metrics.hpp>
#include <omniconn/testing/sim/virtual_clock.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

class sim_world;

namespace detail {

inline constexpr std::int64_t sim_never = std::numeric_limits<std::int64_t>::max();

struct sim_flight;

/// One transport object as the world knows it. All fields belong to the world's lock.
struct sim_endpoint {
  std::uint64_t id = 0;
  std::string name;
  bool closed = false;
  bool dead = false;
  bool stalled = false;
  std::vector<std::function<void()>> parked;  // what would have happened, had it not stalled
  std::vector<std::uint64_t> returned;        // tokens for `reclaim`
  traffic moved;
  std::vector<std::weak_ptr<sim_flight>> flights;
};

enum class sim_state : std::uint8_t { idle, pending, needs_memory, writing, done, taken, failed };

/// The part of an operation that the network knows: it may outlive the operation, as a work request outlives the call that posted it.
struct sim_flight {
  sim_flight() = default;
  sim_flight(sim_flight const&) = delete;
  sim_flight& operator=(sim_flight const&) = delete;
  virtual ~sim_flight() = default;

  sim_state state = sim_state::idle;
  error failure{error_kind::misconfigured, "the operation was never started; call begin or find first"};
  std::shared_ptr<sim_endpoint> home;
  std::int64_t next_look = sim_never;  // of one that polls
  std::uint64_t seen = 0;              // the world's version at the last look: as long as it stands, looking again is idle

  virtual void look() {}
  virtual void closing() {}  // the transport closes: whatever this is doing stops now

  [[nodiscard]] bool pending() const noexcept { return state == sim_state::pending; }
  error fail(error e) noexcept {
    failure = e;
    state = sim_state::failed;
    next_look = sim_never;
    return e;
  }
  [[nodiscard]] result<progress> outcome() const noexcept {
    switch (state) {
      case sim_state::pending: return progress::pending;
      case sim_state::needs_memory: return progress::needs_memory;
      case sim_state::writing:
      case sim_state::done:
      case sim_state::taken: return progress::done;
      case sim_state::idle:
      case sim_state::failed: break;
    }
    return failure;
  }
};

class sim_operation : public operation {
 protected:
  friend class omniconn::sim_world;
  std::shared_ptr<sim_flight> flight_;
};

}  // namespace detail

/// Time, a seeded source of chance, and a network for all simulated transports that were opened on it. With one thread every run of a program is
/// the same; with several it is still correct. \threadsafety all calls may run together.
class sim_world {
 public:
  explicit sim_world(std::uint64_t seed = 1) noexcept : chance_(seed * 2 + 1) {}
  sim_world(sim_world const&) = delete;
  sim_world& operator=(sim_world const&) = delete;
  ~sim_world() {
    for (auto const& e : endpoints_) e->parked.clear();  // what is parked refers back to its endpoint
  }

  virtual_clock clock;

  // --- the test's hands -----------------------------------------------------------------------------------------------

  /// The process behind that reader name dies: its objects are gone, what is under way from it ends in `peer_lost`.
  void kill(std::string_view name) {
    locked const lock(*this);
    for (auto const& e : endpoints_)
      if (e->name == name) {
        e->dead = true;
        unpark(*e);
        for (auto const& hook : on_death_) hook(*e);
      }
    changed();
  }
  /// Nothing comes from that peer any more, and nothing is lost, until `resume`.
  void stall(std::string_view name) {
    each(name, [](detail::sim_endpoint& e) { e.stalled = true; });
  }
  void resume(std::string_view name) {
    each(name, [this](detail::sim_endpoint& e) {
      e.stalled = false;
      unpark(e);
    });
  }
  /// The next messages are lost and arrive with their repetition, 10 ms later.
  void lose(unsigned messages) {
    locked const lock(*this);
    lose_ += messages;
  }
  /// How often a caller destroyed an operation whose memory was still being written to.
  [[nodiscard]] std::size_t violations() const noexcept { return violations_.load(); }
  /// Events that wait for their time: 0 when the network is silent.
  [[nodiscard]] std::size_t under_way() {
    locked const lock(*this);
    return events_.size();
  }

  // --- for the transports ---------------------------------------------------------------------------------------------

  /// The world's lock. What came back while it was held is disposed of after it was released: `dispose` is foreign code.
  class locked {
   public:
    explicit locked(sim_world& w) : world_(w), lock_(w.mutex_) {}
    locked(locked const&) = delete;
    locked& operator=(locked const&) = delete;
    ~locked() {
      auto const out = std::exchange(world_.returns_, {});
      lock_.unlock();
      for (auto const& [dispose, token] : out) dispose(token);
    }
    template <class Until>
    void sleep(std::condition_variable& on, Until&& until) {
      on.wait(lock_, until);
    }

   private:
    sim_world& world_;
    std::unique_lock<std::mutex> lock_;
  };

  [[nodiscard]] std::shared_ptr<detail::sim_endpoint> enter(std::string_view name) {
    locked const lock(*this);
    auto e = std::make_shared<detail::sim_endpoint>();
    e->id = ++last_id_;
    e->name = name;
    endpoints_.push_back(e);
    return e;
  }

  // The rest of this section relies on the lock.

  void leave(detail::sim_endpoint const& gone) {
    std::erase_if(endpoints_, [&](auto const& e) { return e.get() == &gone; });
  }
  [[nodiscard]] std::uint64_t next_generation() noexcept { return ++last_generation_; }
  [[nodiscard]] std::uint64_t id() const noexcept { return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this)); }
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  [[nodiscard]] std::vector<peer_info> peers(detail::sim_endpoint const& of) const {
    std::vector<peer_info> out;
    for (auto const& e : endpoints_)
      if (e.get() != &of) out.push_back({e->name, !e->dead && !e->closed});
    return out;
  }
  [[nodiscard]] bool is_dead(std::uint64_t endpoint) const {
    for (auto const& e : endpoints_)
      if (e->id == endpoint) return e->dead;
    return false;
  }
  /// What several transports of one kind share: made by the first who asks.
  template <class Shared>
  [[nodiscard]] Shared& shared(std::size_t slot) {
    if (shared_[slot] == nullptr) shared_[slot] = std::make_shared<Shared>(*this);
    return *static_cast<Shared*>(shared_[slot].get());
  }
  /// Remembers an operation for as long as it lasts, so that closing can end it.
  void launch(std::shared_ptr<detail::sim_flight> const& flight) {
    auto& all = flight->home->flights;
    if (all.size() >= 64 && (all.size() & (all.size() - 1)) == 0) std::erase_if(all, [](auto const& f) { return f.expired(); });
    all.push_back(flight);
  }
  /// Ends an endpoint: true the first time.
  bool close(detail::sim_endpoint& e) {
    if (std::exchange(e.closed, true)) return false;
    unpark(e);
    for (auto const& weak : std::exchange(e.flights, {}))
      if (auto const flight = weak.lock()) flight->closing();
    changed();
    return true;
  }
  void on_death(std::function<void(detail::sim_endpoint&)> hook) { on_death_.push_back(std::move(hook)); }
  void violation() noexcept { violations_.fetch_add(1); }

  /// Something that others may wait for has changed.
  void changed() {
    ++version_;
    woken_.notify_all();
  }
  /// A message from a peer, which may have stalled.
  void send_from(std::shared_ptr<detail::sim_endpoint> const& peer, std::function<void()> arrival) {
    send([peer, arrival = std::move(arrival)]() mutable {
      if (peer->stalled) {
        peer->parked.push_back(std::move(arrival));
      } else {
        arrival();
      }
    });
  }
  /// Does something after a while.
  void after(std::int64_t ns, std::function<void()> what) {
    events_.push_back({clock.now_ns() + ns, ++last_event_, std::move(what)});
    std::push_heap(events_.begin(), events_.end(), later);
    woken_.notify_all();
  }
  /// Sends a message; chance decides how long it takes.
  void send(std::function<void()> arrival) {
    std::int64_t delay = between(5'000, 50'000);
    if (lose_ != 0) {
      --lose_;
      delay += 10'000'000;
    }
    after(delay, std::move(arrival));
  }
  [[nodiscard]] std::int64_t between(std::int64_t low, std::int64_t high) noexcept {
    chance_ ^= chance_ << 13U;
    chance_ ^= chance_ >> 7U;
    chance_ ^= chance_ << 17U;
    return low + static_cast<std::int64_t>(chance_ % static_cast<std::uint64_t>(high - low));
  }
  /// Gives a block back to its producer.
  void give_back(detail::sim_endpoint& producer, std::uint64_t token, void (*dispose)(std::uint64_t) noexcept) {
    if (dispose != nullptr) {
      returns_.emplace_back(dispose, token);
    } else {
      producer.returned.push_back(token);
    }
    woken_.notify_all();
  }
  /// What is due happens now.
  void run_due() {
    while (!events_.empty() && events_.front().at <= clock.now_ns()) {
      std::pop_heap(events_.begin(), events_.end(), later);
      auto const what = std::move(events_.back().what);
      events_.pop_back();
      what();
    }
  }

  // Takes the lock.
  result<progress> step(detail::sim_operation& op) {
    locked const lock(*this);
    if (op.flight_ == nullptr) return error(error_kind::misconfigured, "the operation was never started; call begin or find first");
    run_due();
    look(*op.flight_);
    return op.flight_->outcome();
  }

  // Takes the lock. The only place where time moves.
  result<std::size_t> wait(detail::sim_endpoint& home, std::span<operation* const> ops, deadline until, stop_token const& stop) {
    std::stop_callback const ring(stop, [this] {
      locked const lock(*this);
      woken_.notify_all();
    });
    for (;;) {
      locked lock(*this);
      if (home.closed) return error(error_kind::closed, "the transport was closed; open a new one", 0, severity::transport);
      run_due();
      std::int64_t next = events_.empty() ? detail::sim_never : events_.front().at;
      for (std::size_t i = 0; i != ops.size(); ++i) {
        auto const& flight = static_cast<detail::sim_operation*>(ops[i])->flight_;
        if (flight == nullptr) return i;
        look(*flight);
        if (!flight->pending()) return i;
        if (flight->seen != version_) next = std::min(next, flight->next_look);
      }
      if (stop.stop_requested()) return error(error_kind::cancelled, "the operation was cancelled");
      if (clock.passed(until)) return error(error_kind::timed_out, "nothing came before the deadline");
      if (ops.empty() && until.is_never() && !stop.stop_possible())
        return error(error_kind::misconfigured, "a wait for nothing that nothing can end; give it operations, a deadline or a stop token");
      if (!returns_.empty()) continue;  // the lock's end disposes of them
      if (!until.is_never()) next = std::min(next, until.nanoseconds());
      if (next != detail::sim_never) {
        clock.advance_to(next);
      } else {
        // Nothing will ever happen by itself: only another thread can help.
        std::uint64_t const before = version_;
        lock.sleep(woken_, [&] { return version_ != before || !events_.empty() || home.closed || stop.stop_requested(); });
      }
    }
  }

 private:
  struct event {
    std::int64_t at;
    std::uint64_t order;
    std::function<void()> what;
  };
  static bool later(event const& a, event const& b) noexcept { return a.at != b.at ? a.at > b.at : a.order > b.order; }

  void look(detail::sim_flight& f) {
    if (f.pending() && f.next_look <= clock.now_ns()) f.look();
  }
  void unpark(detail::sim_endpoint& e) {
    for (auto& what : std::exchange(e.parked, {})) send(std::move(what));
  }
  template <class F>
  void each(std::string_view name, F&& f) {
    locked const lock(*this);
    for (auto const& e : endpoints_)
      if (e->name == name) f(*e);
    changed();
  }

  std::mutex mutex_;
  std::condition_variable woken_;
  std::uint64_t version_ = 1;
  std::uint64_t chance_;
  std::uint64_t last_id_ = 0, last_event_ = 0, last_generation_ = 0;
  unsigned lose_ = 0;
  std::atomic<std::size_t> violations_{0};
  std::vector<event> events_;  // a heap, the next on top
  std::vector<std::shared_ptr<detail::sim_endpoint>> endpoints_;
  std::vector<std::function<void(detail::sim_endpoint&)>> on_death_;
  std::array<std::shared_ptr<void>, 2> shared_;
  std::vector<std::pair<void (*)(std::uint64_t) noexcept, std::uint64_t>> returns_;
};

OMNICONN_END_NAMESPACE
