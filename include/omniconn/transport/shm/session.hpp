// SPDX-License-Identifier: Apache-2.0
// One participant of a namespace: its place in the directory, the reader names it knows and the arenas it has mapped.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/call_gate.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/transport/shm/arenas.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/layout.hpp>
#include <omniconn/transport/shm/listen.hpp>
#include <omniconn/transport/shm/probe.hpp>
#include <omniconn/transport/shm/protocol.hpp>
#include <omniconn/transport/shm/recovery.hpp>
#include <omniconn/transport/shm/warden.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Lives as long as the transport object or any of its holds: a hold needs the participant's lock, which says that it is alive. In a forked child
/// it is a thing of the past: it changes nothing any more.
/// \threadsafety all members.
class session {
 public:
  session(directory dir, names where) : dir_(std::move(dir)), where_(std::move(where)) {}
  session(session const&) = delete;
  session& operator=(session const&) = delete;

  /// Opens the namespace's directory, as `directory::open` does, and joins the namespace.
  static result<std::shared_ptr<session>, diagnosis> open(names const& where, std::string_view name, bounds const& wanted, bool create, deadline until) {
    watch_forks();
    for (int round = 0;; ++round) {
      std::uint32_t const forked = children_forked.load();
      auto dir = directory::open(where, wanted, create, until);
      if (!dir) return std::move(dir.error());
      auto out = std::make_shared<session>(std::move(*dir), where);
      // A child that came before the session was known to forks has the directory open, and with it our life.
      if (children_forked.load() == forked || round == 1000) return enter(std::move(out), where, name);
      out->dir_.open_gate();
    }
  }
  /// Joins the namespace. \requires `dir`'s gate is held; it is open afterwards.
  static result<std::shared_ptr<session>, diagnosis> join(directory dir, names const& where, std::string_view name) {
    return enter(std::make_shared<session>(std::move(dir), where), where, name);
  }

  ~session() {
    if (me_ == none || inherited()) return;
    if (warden_ != nullptr) warden_->stop();
    settle(dir_, where_, me_);
    failpoint("shm.leave.settled");
    byte_lock::unlock(dir_.fd(), me_ + 1);
    failpoint("shm.leave.unlocked");
    std::uint32_t const me = std::exchange(me_, none);
    // Retired between our last look and the unlock: nobody else could get the lock.
    if (dir_.participant_at(me).state.load() == participant_state::orphan) sweep_one(dir_, where_, me);
    leave();
    let_go();  // while forks are still told of: a child of a moment later would keep copies
  }

  [[nodiscard]] bool inherited() const noexcept { return forks_.inherited(); }
  [[nodiscard]] directory const& dir() const noexcept { return dir_; }
  [[nodiscard]] names const& where() const noexcept { return where_; }
  [[nodiscard]] std::uint32_t me() const noexcept { return me_; }
  [[nodiscard]] participant& record() const noexcept { return dir_.participant_at(me_); }

  /// The number of a stage's or reader's name, interned on first use.
  /// `places`: a new one gets a place among the first so many.
  /// \errors `misconfigured`: longer than 56 bytes; `no_space`: the places are in use; `peer_stalled`: somebody is stopped who has the gate, which a new
  /// name needs.
  result<std::uint16_t> name_id(std::string_view name, deadline until = {}, std::uint32_t places = max_names) {
    if (name.size() > max_name_size) return {error_kind::misconfigured, "the name of a reader or stage may have 56 bytes at most"};
    for (lock_patience patience(until);;) {
      if (auto id = try_name_id(name, places)) return *id;
      if (ending_.load()) return closed_error();
      if (!patience.wait()) return patience.gate_error();
    }
  }
  /// Calls that wait for the gate end with `closed`.
  void end_waits() noexcept { ending_.store(true); }

  /// Runs `f` with the gate held. \returns false: somebody else has it now
  template <class F> bool try_in_gate(F&& f) {
    std::scoped_lock const lock(mutex_);  // the kernel's lock does not tell threads of one description apart
    if (!dir_.try_close_gate()) return false;
    f();
    dir_.open_gate();
    return true;
  }
  /// Waits until nobody has the gate. \errors `peer_stalled`: somebody has held it until then, or for 5 s; `closed`
  result<void> wait_for_gate(deadline until) {
    for (lock_patience patience(until);;) {
      if (try_in_gate([]() noexcept {})) return {};
      if (ending_.load()) return closed_error();
      if (!patience.wait()) return patience.gate_error();
    }
  }

  /// The arena of participant `owner`, or memory that it lends.
  result<std::shared_ptr<mapped_arena const>> arena(std::uint32_t owner, std::uint64_t id) { return arenas_.get(dir_, where_, owner, id); }

  /// Frees what retirement of an orphan's slot may have made free.
  void retired_of(std::uint32_t owner) noexcept {
    if (owner >= max_participants || dir_.participant_at(owner).state.load() != participant_state::orphan) return;
    std::scoped_lock const lock(sweeping_);  // the kernel's lock does not tell threads of one description apart
    sweep_one(dir_, where_, owner);
  }

  /// The number of a stage's name, or nothing where there is no place for it: then deaths are not heard, and all else works. Long names are told
  /// apart by their hash.
  std::optional<std::uint16_t> stage_id(std::string_view name, deadline until = {}) {
    if (name.empty()) return std::nullopt;
    char cut[max_name_size + 1];
    if (name.size() > max_name_size) {
      constexpr std::size_t kept = max_name_size - 16;
      std::memcpy(cut, name.data(), kept);
      std::snprintf(cut + kept, sizeof cut - kept, "%016llx", static_cast<unsigned long long>(checksum(bytes_of(name))));
      name = std::string_view(cut, max_name_size);
    }
    auto const id = name_id(name, until, max_names / 2);  // the other half is for readers, who cannot do without
    return id ? std::optional(*id) : std::nullopt;
  }
  [[nodiscard]] bool has_no_place_for_stages() const noexcept { return dir_.name_at(max_names / 2 - 1).size.load() != 0; }
  /// From now on this participant puts for that stage.
  void puts_for(std::uint16_t stage) noexcept {
    if (record().puts.has(stage)) return;
    std::scoped_lock const lock(mutex_);
    record().puts.add(stage);
  }

  void gets_for(std::uint16_t stage) noexcept {
    if (record().gets.has(stage)) return;
    std::scoped_lock const lock(mutex_);
    record().gets.add(stage);
  }

  /// Who puts, or gets, for that stage died, and nobody else does now.
  enum class side : std::uint8_t { puts, gets };
  [[nodiscard]] bool lost(std::uint16_t stage, side which) const noexcept {
    if (dir_.head().deaths.load() == 0) return false;
    bool died = false;
    for (std::uint32_t i = 0; i != max_participants; ++i) {
      auto const& p = dir_.participant_at(i);
      if (!(which == side::puts ? p.puts : p.gets).has(stage)) continue;
      if (p.state.load() == participant_state::live) return false;
      died = died || p.died.load() != 0;
    }
    return died;
  }

  /// Asks those who put, or get, for that stage whether they run, and whether one of them did not answer.
  void ask(std::uint16_t stage, side which) noexcept { probe_.ask(dir_, me_, stage, which == side::puts); }
  [[nodiscard]] bool stalled(std::uint16_t stage, side which) noexcept { return probe_.unanswered(dir_, stage, which == side::puts); }
  static constexpr std::int64_t patience_ns = probe::patience_ns;

  /// A word that somebody of this process sleeps on: moved and woken when a participant ends.
  class sleeper {
   public:
    sleeper(session& s, std::atomic<std::uint32_t>& word) : session_(s), word_(&word) {
      std::scoped_lock const lock(session_.sleepers_mutex_);
      session_.sleepers_.push_back(word_);
    }
    sleeper(sleeper const&) = delete;
    sleeper& operator=(sleeper const&) = delete;
    ~sleeper() {
      std::scoped_lock const lock(session_.sleepers_mutex_);
      auto& all = session_.sleepers_;
      std::size_t i = 0;
      while (all[i] != word_) ++i;  // one of those that sleep on this word, whichever
      all[i] = all.back();
      all.pop_back();
    }

   private:
    session& session_;
    std::atomic<std::uint32_t>* word_;
  };

  /// From now on `event` is raised with everything that happens in the namespace; until `unlisten`. In a child it is another one.
  void listen(int event) noexcept {
    event_.store(event);
    start_listening(dir_, me_);
  }
  /// The event may be closed afterwards.
  void unlisten() noexcept {
    stop_listening(dir_, me_);
    std::scoped_lock const lock(sleepers_mutex_);
    event_.store(no_event);
  }

  void sweep_all() noexcept {
    std::scoped_lock const lock(sweeping_);
    sweep(dir_, where_, me_);
  }

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  static constexpr int no_event = -1;
  static constexpr std::size_t shown_name = 23;  // bytes of a participant's name that others are shown

  static result<std::shared_ptr<session>, diagnosis> enter(std::shared_ptr<session> out, names const& where, std::string_view name) {
    auto const joined = out->take_record(name);
    out->dir_.open_gate();
    failpoint("shm.open.gate_open");
    if (!joined) {
      out->leave();  // we may have been the first
      return joined.error();
    }
    sweep(out->dir_, where, out->me_);
    out->warden_ = std::make_unique<warden<session>>(out->dir_, out->me_, out->fifo_.get(), *out);
    if (auto started = out->warden_->start(); !started) {
      out->warden_.reset();
      return diagnosis(started.error());
    }
    if (!out->ring_everybody()) return diagnosis(errno_error("telling the namespace's other users failed")).in(where.directory_path());
    return out;
  }

  result<void, diagnosis> take_record(std::string_view name) {
    // Records that say of a death are taken last: somebody may still want to know.
    for (std::uint32_t k = 0; k != 2 * max_participants; ++k) {
      std::uint32_t const i = k % max_participants;
      participant& p = dir_.participant_at(i);
      if (k < max_participants && (p.died.load() != 0 || p.state.load() == participant_state::orphan)) continue;
      if (!byte_lock::try_lock(dir_.fd(), i + 1)) continue;
      failpoint("shm.open.record_locked");
      if (p.state.load() == participant_state::live) bury(dir_, i);
      settle(dir_, where_, i);
      if (p.state.load() != participant_state::free || (k < max_participants && p.died.load() != 0)) {
        byte_lock::unlock(dir_.fd(), i + 1);
        continue;
      }
      failpoint("shm.open.record_taken");
      p.arena = 0;
      p.arena_size = 0;
      p.memory = 0;
      p.regions = 0;
      p.since_ns = boot_time_ns();
      p.pid = static_cast<std::uint32_t>(::getpid());
      p.epoch.fetch_add(1, std::memory_order_relaxed);
      p.name.store(name.data(), name.size() < shown_name ? name.size() : shown_name);
      failpoint("shm.open.described");
      p.process = process_id();
      p.died.store(0);
      p.puts.clear();
      p.gets.clear();
      p.wants_room.store(0);
      p.listens.store(0);
      p.state.store(participant_state::live);
      failpoint("shm.open.live");
      // After the state: whoever finds the record of a dead one removes its FIFO with it.
      auto fifo = make_own_fifo(i);
      if (!fifo) {
        settle(dir_, where_, i);
        byte_lock::unlock(dir_.fd(), i + 1);
        return fifo.error();
      }
      failpoint("shm.open.fifo_made");
      me_ = i;
      return {};
    }
    return diagnosis(error_kind::no_space, where_.directory_path() + ": 256 participants use this namespace already; take another one");
  }

  result<void, diagnosis> make_own_fifo(std::uint32_t i) {
    fork_pause const no_child;
    auto made = make_fifo(where_.fifo_path(i));
    if (!made) return std::move(made.error());
    fifo_ = std::move(*made);
    return {};
  }

  /// Drawn anew in each child: two children of one parent are strangers that have to hear of each other.
  static std::uint64_t process_id() noexcept {
    static std::uint32_t drawn_at = 0;
    static std::uint64_t drawn = 0;
    fork_pause const no_child;  // which would find a lock that nobody gives back
    if (std::uint32_t const now = fork_count.load(std::memory_order_relaxed); drawn == 0 || drawn_at != now) {
      drawn = random_u64() | 1U;
      drawn_at = now;
    }
    return drawn;
  }

  friend class warden<session>;
  /// So that they listen to us. \returns false: they could not be told, and would not hear of our death.
  bool ring_everybody() const noexcept {
    for (std::uint32_t i = 0; i != max_participants; ++i)
      if (auto const& p = dir_.participant_at(i); p.state.load() == participant_state::live && p.process != record().process && !dir_.ring_participant(i)) return false;
    return true;
  }

  bool peer_ended(std::uint32_t i, std::uint32_t epoch) noexcept {
    auto const& p = dir_.participant_at(i);
    auto const ended = [&p, epoch]() noexcept { return p.state.load() != participant_state::live || p.epoch.load() != epoch; };
    if (!ended()) {
      std::scoped_lock const lock(sweeping_);
      sweep(dir_, where_, me_);  // all: what it held may have been the last of an orphan, whom nobody else looks at now
    }
    if (!ended()) return false;
    arenas_.forget(i);
    std::scoped_lock const lock(sleepers_mutex_);
    for (auto* const word : sleepers_) {
      word->fetch_add(1);
      dir_.wake(*word);
    }
    raise();
    return true;
  }
  void rung() noexcept {
    std::scoped_lock const lock(sleepers_mutex_);
    raise();
  }
  /// \requires the mutex of the sleepers is locked: the event must not be closed meanwhile.
  void raise() const noexcept {
    if (int const event = event_.load(); event != no_event) raise_event(event);
  }
  /// In a forked child: the locks and the FIFO are the parent's life.
  void let_go() noexcept {
    dir_.let_go();
    fifo_.reset();
    // Who polls it here shall neither take the parent's events nor sleep for ever: one of its own under the same number, readable.
    if (int const event = event_.load(); event != no_event)
      if (auto const own = make_event()) static_cast<void>(::dup3(own.get(), event, O_CLOEXEC));
  }

  /// Removes the directory if this was the last participant.
  void leave() noexcept {
    for (lock_patience patience({}); !dir_.try_close_gate();)
      if (!patience.wait()) return;  // a later user tidies up
    failpoint("shm.leave.gate_held");
    sweep(dir_, where_, none);
    failpoint("shm.leave.swept");
    bool used = false;
    for (std::uint32_t i = 0; i != max_participants && !used; ++i) used = dir_.participant_at(i).state.load() != participant_state::free;
    // One that left at the same time may have removed it before we came to the gate: then the name is perhaps another directory's already.
    auto const st = stat_own_file(dir_.fd());
    if (!used && st && st->st_nlink != 0) {
      dir_.head().dead.store(1);
      failpoint("shm.leave.dead");
      ::unlink(where_.directory_path().c_str());
      failpoint("shm.leave.unlinked");
    }
    dir_.open_gate();
  }

  /// Nothing: somebody else has the gate. Threads of this process meet at the mutex, which none keeps while it waits.
  std::optional<result<std::uint16_t>> try_name_id(std::string_view name, std::uint32_t places) {
    std::scoped_lock const lock(mutex_);
    for (auto const& [known, id] : readers_)
      if (known == name) return id;
    auto id = find_name(name);
    if (!id && id.error().kind() == error_kind::not_found) {
      if (dir_.name_at(places - 1).size.load() != 0) return no_place();  // they fill up in order, and the gate costs system calls
      if (!dir_.try_close_gate()) return std::nullopt;
      failpoint("shm.name.gate_held");
      id = add_name(name, places);
      dir_.open_gate();
    }
    if (id) readers_.emplace_back(std::string(name), *id);
    return id;
  }

  result<std::uint16_t> find_name(std::string_view name) const noexcept {
    for (std::uint32_t i = 0; i != max_names; ++i) {
      auto const& entry = dir_.name_at(i);
      std::uint32_t const size = entry.size.load();
      if (size == 0) return {error_kind::not_found, ""};
      if (size == name.size() + 1 && std::string_view(entry.text.data(), name.size()) == name) return static_cast<std::uint16_t>(i);
    }
    return no_place();
  }

  result<std::uint16_t> add_name(std::string_view name, std::uint32_t places) noexcept {
    auto found = find_name(name);
    if (found || found.error().kind() != error_kind::not_found) return found;
    for (std::uint32_t i = 0; i != places; ++i) {
      auto& entry = dir_.name_at(i);
      if (entry.size.load() != 0) continue;
      if (!name.empty()) std::memcpy(entry.text.data(), name.data(), name.size());
      failpoint("shm.name.text_stored");
      entry.size.store(static_cast<std::uint32_t>(name.size() + 1));
      failpoint("shm.name.stored");
      return static_cast<std::uint16_t>(i);
    }
    return no_place();
  }
  static error no_place() noexcept { return {error_kind::no_space, "1,024 reader names are in use in this namespace; use fewer or another namespace"}; }

  directory dir_;
  names where_;
  std::uint32_t me_ = none;
  std::mutex mutex_;
  std::mutex sweeping_;
  std::mutex sleepers_mutex_;
  std::vector<std::atomic<std::uint32_t>*> sleepers_;
  std::atomic<int> event_{no_event};
  std::atomic<bool> ending_{false};
  probe probe_;
  unique_fd fifo_;
  std::unique_ptr<warden<session>> warden_;
  std::vector<std::pair<std::string, std::uint16_t>> readers_;
  arena_cache arenas_;
  fork_witness forks_{[](void* self) noexcept { static_cast<session*>(self)->let_go(); }, this};  // last: see there
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
