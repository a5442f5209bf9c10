// SPDX-License-Identifier: Apache-2.0
// Runs threads one step at a time, in every order and with every value that the memory allows: depth first, each execution anew from the
// start along a list of choices. A state that was seen before ends an execution.
//
// The state of a thread is what it has read and done so far, because it is deterministic otherwise; so the state of the whole is a number per
// thread that sums up its accesses, the messages they met included. Two orders of accesses that do not touch each other give the same state.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <model/fiber.hpp>
#include <model/memory.hpp>
#include <model/seen_set.hpp>

namespace model {

/// Faults that are put into the accesses themselves; each takes away what one rule of the protocol gives.
enum class fault : std::uint8_t {
  none,
  claims_before_ctl,     ///< the claims of a slot are read before its control word
  no_second_look,        ///< the control word is not read again after a claim
  undo_by_store,         ///< a late claim is taken back whatever stands there now
  claim_no_generation,   ///< claims of all generations look alike
  writing_overlooked,      ///< who tidies up for the dead takes an unfinished object for a free slot
};

struct bounds {
  int preemptions = -1;  ///< switches away from a thread that could go on; -1: any number
  int stale = -1;        ///< reads of something other than the newest value; -1: any number
  int kills = 0;
  bool coarse = false;   ///< threads are not switched before relaxed accesses
  std::uint64_t executions = ~std::uint64_t{0};
  double seconds = 1e9;
};

struct verdict {
  bool found = false;     ///< a violation
  bool complete = false;  ///< everything within the bounds was seen
  std::string what;
  std::string trace;
  std::uint64_t executions = 0, states = 0, cut = 0, steps = 0;
  double seconds = 0;
};

class machine;
inline machine* vm = nullptr;

class machine {
 public:
  using body = void (*)(void*);

  enum class phase : std::uint8_t { build, setup, run, final };
  enum class status : std::uint8_t { waiting, runnable, asleep, paused, finished, dead };

  struct thread {
    char const* name = "";
    void (*entry)(void*) = nullptr;
    void* argument = nullptr;
    bool (*starts)(void*) = nullptr;  // null: at once
    bool mortal = false;
    bool tidies = false;
    status at = status::finished;
    std::uint32_t participant = 0;
    view known, floor;
    std::uint64_t history = 0;
    std::uint32_t asleep_on = 0;
    std::uint64_t writes_at_pause = 0;
    context where;
    // of the faults
    int skip_look = -1;
    int cached_slot = -1;
    std::array<std::uint64_t, 16> cached{};  // claims of one slot
    std::array<std::uint64_t, 64> last_ctl{};  // by slot
  };

  fault wrong = fault::none;
  weakening weak;
  bounds limit;
  std::uint32_t step_limit = 4000;

  machine() {
    locations_.reserve(2048);
    for (auto& s : stacks_) s = std::make_unique<std::byte[]>(stack_size);
  }

  // --- locations -----------------------------------------------------------------------------------------------------------------
  std::uint32_t add() {
    locations_.emplace_back();
    return static_cast<std::uint32_t>(locations_.size() - 1);
  }
  void name(std::uint32_t id, kind what, std::size_t slot = 0, std::size_t part = 0) {
    auto& l = locations_[id];
    l.what = what;
    l.slot = static_cast<std::uint8_t>(slot);
    l.part = static_cast<std::uint8_t>(part);
  }
  std::uint64_t newest(std::uint32_t id) const { return value_of(locations_[id], locations_[id].count); }

  // --- threads -------------------------------------------------------------------------------------------------------------------
  thread& spawn(char const* name, std::uint32_t participant, body entry, void* argument) {
    if (threads_ == max_threads) give_up("too many threads");
    auto& t = thread_[threads_++];
    t = thread{};
    t.name = name;
    t.entry = entry;
    t.argument = argument;
    t.participant = participant;
    t.history = 0x1234567 * (threads_ + 1);
    return t;
  }
  [[nodiscard]] std::size_t threads() const noexcept { return threads_; }
  [[nodiscard]] thread const& thread_at(std::size_t i) const noexcept { return thread_[i]; }
  [[nodiscard]] thread& current() noexcept { return thread_[current_]; }
  [[nodiscard]] bool running() const noexcept { return phase_ == phase::run; }
  [[nodiscard]] std::uint64_t writes() const noexcept { return writes_; }

  /// The execution is wrong: it ends here.
  void violation(std::string const& what) {
    outside const o;
    if (!violated_) what_.assign(what.data(), what.size());  // a copy: the text is in the execution's memory
    violated_ = true;
    if (phase_ == phase::run) leave();
  }

  // --- accesses ------------------------------------------------------------------------------------------------------------------
  std::uint64_t load(std::uint32_t id, std::memory_order order) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return newest(id);
    auto& t = current();
    if (wrong != fault::none) {
      if (wrong == fault::no_second_look && l.what == kind::ctl && t.skip_look == l.slot) {
        t.skip_look = -1;
        return t.last_ctl[l.slot];
      }
      if (wrong == fault::claims_before_ctl && l.what == kind::ctl) {
        t.cached_slot = -1;
        for (std::uint32_t i = 0; i != claims_cached; ++i) t.cached[i] = read(claim_of_(l.slot, i), order);
        t.cached_slot = l.slot;
      }
      if (l.what == kind::claim && t.cached_slot == l.slot && l.part < claims_cached) return t.cached[l.part];
    }
    std::uint64_t v = read(id, order);
    if (l.what == kind::ctl) {
      if (wrong == fault::writing_overlooked && t.tidies && (v & 0xffU) == 1) v = v & ~std::uint64_t{0xff};
      t.last_ctl[l.slot] = v;
    }
    if (wrong == fault::claim_no_generation && l.what == kind::claim) v = with_stamp(v, stamp_of(t.last_ctl[l.slot]));
    return v;
  }

  void store(std::uint32_t id, std::uint64_t value, std::memory_order order) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return direct(l, value);
    point(l, true, order);
    order = weakened(l, order, false);
    push(l, value, order, nullptr);
    note(l, action::store, order, value, l.count, l.count);
  }

  template <class F>
  std::uint64_t rmw(std::uint32_t id, std::memory_order order, action what, F change) {
    outside const o;
    auto& l = locations_[id];
    std::uint64_t const before_direct = newest(id);
    if (phase_ != phase::run) {
      direct(l, change(before_direct));
      return before_direct;
    }
    point(l, true);
    order = weakened(l, order, false);
    return exchange_at(l, order, what, change(newest(id)));
  }

  bool cas(std::uint32_t id, std::uint64_t& expected, std::uint64_t desired, std::memory_order order, bool weak_form) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) {
      if (newest(id) != expected) return expected = newest(id), false;
      direct(l, desired);
      return true;
    }
    auto& t = current();
    point(l, true);
    if (l.what == kind::claim || l.what == kind::ctl) t.cached_slot = -1;
    auto const write = weakened(l, order, false);
    auto const failed = weakened(l, order == std::memory_order_acq_rel || order == std::memory_order_release ? std::memory_order_acquire : order, true);
    std::uint64_t const latest = newest(id);
    bool const is_claim = l.what == kind::claim;
    bool const unmarked = is_claim && wrong == fault::claim_no_generation;
    bool const equal = unmarked ? (latest & low40) == (expected & low40) : latest == expected;
    bool const by_store = wrong == fault::undo_by_store && is_claim && !weak_form && (desired & 3U) == 0 && !t.tidies;
    // It may fail with something older that differs, as any load may read it.
    std::uint8_t const least = oldest(t, l, failed);
    std::array<std::uint8_t, max_messages + 1> from{};
    std::uint32_t n = 0;
    if (equal || by_store) from[n++] = 0xff;
    for (std::uint32_t i = l.count + 1U; i-- > least;) {
      std::uint64_t const v = value_of(l, static_cast<std::uint8_t>(i));
      bool const differs = unmarked ? (v & low40) != (expected & low40) : v != expected;
      if (differs && !by_store && (i == l.count || may_be_stale())) from[n++] = static_cast<std::uint8_t>(i);
    }
    std::uint32_t const taken = choose(n);
    if (from[taken] == 0xff) {
      if (is_claim && !weak_form && (desired & 3U) == 1) t.skip_look = l.slot;
      exchange_at(l, write, weak_form ? action::cas_weak : action::cas, unmarked ? with_stamp(desired, latest >> 40U) : desired);
      return true;
    }
    expected = take(t, l, from[taken], failed, weak_form ? action::cas_weak : action::cas);
    if (unmarked) expected = with_stamp(expected, stamp_of(t.last_ctl[l.slot]));
    return false;
  }

  // --- what the system does ------------------------------------------------------------------------------------------------------
  /// Locks are locations: 0, or 1 + who holds it. Taking and leaving one are as strong as anything.
  bool try_lock(std::uint32_t id, std::uint32_t who) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) {
      if (newest(id) != 0 && newest(id) != who + 1) return false;
      direct(l, who + 1);
      return true;
    }
    point(l, true);
    if (newest(id) != 0 && newest(id) != who + 1) return take(current(), l, l.count, std::memory_order_seq_cst, action::try_lock), false;
    exchange_at(l, std::memory_order_seq_cst, action::try_lock, who + 1);
    return true;
  }
  void unlock(std::uint32_t id) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return direct(l, 0);
    point(l, true);
    exchange_at(l, std::memory_order_seq_cst, action::unlock, 0);
  }
  std::uint64_t ask_lock(std::uint32_t id) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return newest(id);
    point(l, false);
    return take(current(), l, l.count, std::memory_order_seq_cst, action::ask_lock);
  }
  /// The kernel compares with the newest value and sleeps in one step.
  void sleep(std::uint32_t id, std::uint64_t expected) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return;
    point(l, true);
    note(l, action::sleep, std::memory_order_relaxed, expected, l.count, 0);
    if (newest(id) != expected) return;
    current().asleep_on = id;
    current().at = status::asleep;
    switch_away();
  }
  void wake(std::uint32_t id) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return;
    point(l, true);
    std::uint64_t woken = 0;
    for (std::size_t i = 0; i != threads_; ++i)
      if (thread_[i].at == status::asleep && thread_[i].asleep_on == id) {
        thread_[i].at = status::runnable;
        woken |= std::uint64_t{1} << i;
      }
    note(l, action::wake, std::memory_order_relaxed, woken, l.count, 0);
  }
  /// A moment of a loop that waits for others: what was written becomes visible in the end, and going round again without a write changes nothing.
  void pause() {
    outside const o;
    if (phase_ != phase::run) return;
    auto& t = current();
    for (std::size_t i = 0; i != tracked_.size(); ++i) t.floor.at[i + 1] = std::max(t.floor.at[i + 1], locations_[tracked_[i]].count);
    t.history = mix(t.history, 77 + writes_);
    if (tracing_) record("waits");
    if (t.writes_at_pause == writes_ + 1) {
      t.at = status::paused;
      switch_away();
    }
    t.writes_at_pause = writes_ + 1;
  }

  // --- payload: not atomic; a race is a violation ---------------------------------------------------------------------------------------
  void write_cell(std::uint32_t id, std::uint32_t looks, std::uint64_t value) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return direct(l, value);
    point(l, true);
    auto& t = current();
    if (known(t, l) != l.count) return violation(describe(l) + " is written by " + t.name + ", which does not know of the last write");
    for (std::uint32_t i = 0; i != max_threads; ++i)
      if (auto& r = locations_[looks + i]; known(t, r) != r.count)
        return violation(describe(l) + " is overwritten by " + t.name + " while " + thread_[i].name + " may still read it");
    push(l, value, std::memory_order_relaxed, nullptr);
    note(l, action::store, std::memory_order_relaxed, value, l.count, l.count);
  }
  std::uint64_t read_cell(std::uint32_t id, std::uint32_t looks) {
    outside const o;
    auto& l = locations_[id];
    if (phase_ != phase::run) return newest(id);
    point(l, false);
    auto& t = current();
    if (known(t, l) != l.count) {
      violation(std::string(t.name) + " reads " + describe(l) + ", which is being written: another object's bytes");
      return 0;
    }
    std::uint64_t const v = newest(id);
    note(l, action::load, std::memory_order_relaxed, v, l.count, 0);
    push(locations_[looks + current_], v, std::memory_order_relaxed, nullptr);
    return v;
  }

  // --- search --------------------------------------------------------------------------------------------------------------------------
  /// Forgets where threads meet and what was counted.
  void start_over() {
    for (auto& l : locations_) l.shared = l.written = false, l.users = 0;
    cut_ = longest_ = 0;
  }
  /// `set_up` makes the threads of one execution and what they start from; `check` looks at what they left.
  template <class SetUp, class Check>
  verdict explore(SetUp&& set_up, Check&& check) {
    auto const begin = std::chrono::steady_clock::now();
    auto const elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
    verdict out;
    start_over();
    // Where two threads meet is not known beforehand: random executions find most of it, and whatever the search finds starts it anew.
    random_ = 1;
    for (int i = 0; i != 400 && !violated_; ++i) execute(set_up, check);
    random_ = 0;
    violated_ = false;
    cut_ = longest_ = 0;
    fresh_sharing_ = true;
    for (;;) {
      if (fresh_sharing_) {
        fresh_sharing_ = false;
        stack_.clear();
        seen_.clear();
      }
      execute(set_up, check);
      ++out.executions;
      if (fresh_sharing_) {  // also where it went wrong: it could not be repeated
        violated_ = false;
        continue;
      }
      if (violated_) {
        out.found = true;
        out.what = what_;
        tracing_ = true;
        violated_ = false;
        auto const kept = stack_;
        log_.clear();
        execute(set_up, check);
        tracing_ = false;
        for (auto const& line : log_) out.trace += line + "\n";
        violated_ = false;
        break;
      }
      while (!stack_.empty() && stack_.back().taken + 1 == stack_.back().of) stack_.pop_back();
      if (stack_.empty()) {
        out.complete = true;
        break;
      }
      ++stack_.back().taken;
      if (out.executions >= limit.executions || (out.executions % 256 == 0 && elapsed() > limit.seconds)) break;
    }
    out.states = seen_.size();
    out.cut = cut_;
    out.steps = longest_;
    out.seconds = elapsed();
    return out;
  }

  std::uint32_t claims_cached = 2;
  std::uint32_t (*claim_of)(void*, std::uint32_t, std::uint32_t) = nullptr;
  void* claim_of_argument = nullptr;

 private:
  static constexpr std::size_t stack_size = 64 * 1024;
  static constexpr std::uint8_t death = 0x80;  // in a list of options
  static constexpr std::uint64_t low40 = (std::uint64_t{1} << 40U) - 1;

  struct choice {
    std::uint16_t of = 0, taken = 0;
  };

  static std::uint64_t mix(std::uint64_t h, std::uint64_t v) noexcept {
    h ^= v + 0x9e3779b97f4a7c15U + (h << 6U) + (h >> 2U);
    h *= 0xff51afd7ed558ccdU;
    return h ^ h >> 32U;
  }
  /// A claim's word has the generation after its object's: 0 is what was never written.
  static std::uint64_t stamp_of(std::uint64_t ctl) noexcept { return ((ctl >> 8U) + 1) & 0xffffffU; }
  static std::uint64_t with_stamp(std::uint64_t word, std::uint64_t stamp) noexcept { return word == 0 ? word : (word & low40) | stamp << 40U; }
  std::uint32_t claim_of_(std::uint32_t slot, std::uint32_t i) const { return claim_of(claim_of_argument, slot, i); }

  std::memory_order weakened(location const& l, std::memory_order order, bool is_load) const noexcept {
    if (order != std::memory_order_seq_cst || (weak.kinds >> static_cast<unsigned>(l.what) & 1U) == 0) return order;
    return is_load ? weak.load : weak.write;
  }

  // --- memory ------------------------------------------------------------------------------------------------------------------------
  std::uint64_t value_of(location const& l, std::uint8_t at) const { return at == 0 ? l.initial : pool_[l.messages[at - 1U]].value; }
  void touch(location& l) {
    if (!l.touched) {
      l.touched = true;
      touched_.push_back(static_cast<std::uint32_t>(&l - locations_.data()));
    }
  }
  void direct(location& l, std::uint64_t value) {
    touch(l);
    if (l.count == 0) {
      l.initial = value;
    } else {
      pool_[l.messages[l.count - 1U]].value = value;
    }
  }
  std::uint8_t known(thread const& t, location const& l) const { return l.tracked == 0 ? 0 : t.known.at[l.tracked]; }
  void track(location& l) {
    if (l.tracked != 0) return;
    if (tracked_.size() + 1 == max_tracked) give_up("too many locations are written");
    tracked_.push_back(static_cast<std::uint32_t>(&l - locations_.data()));
    l.tracked = static_cast<std::uint8_t>(tracked_.size());
  }
  static bool releases(std::memory_order o) { return o == std::memory_order_release || o == std::memory_order_acq_rel || o == std::memory_order_seq_cst; }
  static bool acquires(std::memory_order o) { return o == std::memory_order_acquire || o == std::memory_order_acq_rel || o == std::memory_order_seq_cst; }

  void push(location& l, std::uint64_t value, std::memory_order order, view const* handed_on) {
    touch(l);
    track(l);
    if (l.count == max_messages) {
      ++cut_;
      leave();
    }
    auto& t = current();
    pool_.emplace_back();
    auto& m = pool_.back();
    l.messages[l.count++] = static_cast<std::uint16_t>(pool_.size() - 1);
    t.known.at[l.tracked] = l.count;
    m.value = value;
    if (releases(order)) m.seen = t.known;
    if (handed_on != nullptr) m.seen.join(*handed_on);
    if (order == std::memory_order_seq_cst) agreed_.at[l.tracked] = l.count;
    ++writes_;
    for (std::size_t i = 0; i != threads_; ++i)
      if (thread_[i].at == status::paused) thread_[i].at = status::runnable;
  }
  std::uint8_t oldest(thread const& t, location const& l, std::memory_order order) const {
    if (l.tracked == 0) return 0;
    std::uint8_t least = std::max(t.known.at[l.tracked], t.floor.at[l.tracked]);
    if (order == std::memory_order_seq_cst) least = std::max(least, agreed_.at[l.tracked]);
    return least;
  }
  [[nodiscard]] bool may_be_stale() const noexcept { return limit.stale < 0 || stale_ < limit.stale; }
  /// Reads message `at`.
  std::uint64_t take(thread& t, location& l, std::uint8_t at, std::memory_order order, action what) {
    std::uint64_t const v = value_of(l, at);
    if (at != l.count) ++stale_;
    if (l.tracked != 0) {
      t.known.at[l.tracked] = std::max(t.known.at[l.tracked], at);
      if (acquires(order) && at != 0) t.known.join(pool_[l.messages[at - 1U]].seen);
      if (order == std::memory_order_seq_cst) agreed_.at[l.tracked] = std::max(agreed_.at[l.tracked], at);
    }
    note(l, what, order, v, at, 0);
    return v;
  }
  std::uint64_t read(std::uint32_t id, std::memory_order order) {
    auto& l = locations_[id];
    point(l, false, order);
    auto& t = current();
    order = weakened(l, order, true);
    std::uint8_t const least = oldest(t, l, order);
    std::uint32_t const n = may_be_stale() ? 1U + l.count - least : 1U;
    return take(t, l, static_cast<std::uint8_t>(l.count - choose(n)), order, action::load);
  }
  std::uint64_t exchange_at(location& l, std::memory_order order, action what, std::uint64_t value) {
    auto& t = current();
    std::uint64_t const before = value_of(l, l.count);
    view const* handed_on = nullptr;
    view copy;
    if (l.tracked != 0 && l.count != 0) {
      copy = pool_[l.messages[l.count - 1U]].seen;
      handed_on = &copy;
      if (acquires(order)) t.known.join(copy);
    }
    std::uint8_t const from = l.count;
    push(l, value, order, handed_on);
    note(l, what, order, value, from, l.count);
    return before;
  }

  /// Sums the access up, and writes it down where somebody wants to read it.
  void note(location& l, action what, std::memory_order order, std::uint64_t value, std::uint8_t from, std::uint8_t made) {
    auto& t = current();
    auto const id = static_cast<std::uint64_t>(&l - locations_.data());
    t.history = mix(t.history, id << 32U | static_cast<std::uint64_t>(what) << 24U | std::uint64_t{from} << 8U | made);
    t.history = mix(t.history, value);
    if (tracing_ && (l.shared || made != 0)) record(line_of(l, what, order, value, from, made));
  }

  // --- order ----------------------------------------------------------------------------------------------------------------------------
  std::uint32_t choose(std::uint32_t n) {
    if (n <= 1) return 0;
    if (random_ != 0) return static_cast<std::uint32_t>((random_ = mix(random_, n)) >> 33U) % n;
    if (depth_ == stack_.size()) stack_.push_back({static_cast<std::uint16_t>(n), 0});
    if (stack_[depth_].of != n) give_up("an execution does not repeat itself");
    return stack_[depth_++].taken;
  }

  /// Before an access: another thread may come first, or the thread may die.
  void point(location& l, bool writes, std::memory_order order = std::memory_order_seq_cst) {
    auto const me = static_cast<std::uint8_t>(1U << current_);
    if ((l.users & me) == 0 || (writes && !l.written)) {
      l.users |= me;
      l.written = l.written || writes;
      if (!l.shared && l.written && (l.users & (l.users - 1)) != 0) {
        l.shared = true;
        fresh_sharing_ = true;
      }
    }
    if (++step_ > step_limit) {
      ++cut_;
      leave();
    }
    if (!l.shared || (limit.coarse && order == std::memory_order_relaxed)) return;
    std::array<std::uint8_t, 2 * max_threads> options{};
    std::uint32_t n = 0;
    options[n++] = static_cast<std::uint8_t>(current_);
    if (limit.preemptions < 0 || preemptions_ < limit.preemptions)
      for (std::size_t i = 0; i != threads_; ++i)
        if (i != current_ && can_run(i)) options[n++] = static_cast<std::uint8_t>(i);
    n = deaths(options, n);
    if (n == 1) return;
    prune();
    auto const next = options[choose(n)];
    if (next >= death) return kill(next - death);
    if (next == current_) return;
    ++preemptions_;
    switch_to(next);
  }
  /// Any thread that may die may do so now, wherever it is.
  std::uint32_t deaths(std::array<std::uint8_t, 2 * max_threads>& options, std::uint32_t n) const {
    if (kills_ < limit.kills)
      for (std::size_t i = 0; i != threads_; ++i)
        if (auto const& t = thread_[i]; t.mortal && (t.at == status::runnable || t.at == status::asleep || t.at == status::paused)) options[n++] = static_cast<std::uint8_t>(death + i);
    return n;
  }
  void kill(std::size_t i) {
    std::size_t const was = current_;
    current_ = i;
    die();
    current_ = was;
    if (was == i || current().at != status::runnable) switch_away();  // does not come back to a dead one
  }
  bool can_run(std::size_t i) {
    auto& t = thread_[i];
    if (t.at == status::waiting && (t.starts == nullptr || t.starts(t.argument))) return true;
    return t.at == status::runnable;
  }
  void die() {
    auto& t = current();
    ++kills_;
    t.at = status::dead;
    if (tracing_) record("dies");
    // The kernel drops its locks; who takes one or asks for it afterwards sees all that the dead one did.
    for (auto const id : locks_)
      if (newest(id) == t.participant + 1) exchange_at(locations_[id], std::memory_order_seq_cst, action::unlock, 0);
    t.history = mix(t.history, 13);
  }
  void switch_away() {
    std::array<std::uint8_t, 2 * max_threads> options{};
    std::uint32_t n = 0;
    for (std::size_t i = 0; i != threads_; ++i)
      if (can_run(i)) options[n++] = static_cast<std::uint8_t>(i);
    n = deaths(options, n);
    if (n == 0)  // nobody else can do anything: time passes for those who wait in a loop
      for (std::size_t i = 0; i != threads_; ++i)
        if (thread_[i].at == status::paused) {
          thread_[i].at = status::runnable;
          options[n++] = static_cast<std::uint8_t>(i);
        }
    if (n == 0) leave();
    if (n > 1) prune();
    auto const next = options[choose(n)];
    next >= death ? kill(next - death) : switch_to(next);
  }
  void switch_to(std::size_t next) {
    if (next == current_) return;
    auto& from = thread_[current_];
    current_ = next;
    auto& to = thread_[next];
    if (to.at == status::waiting) start(next);
    context::change(from.where, to.where);
  }
  void start(std::size_t i) {
    auto& t = thread_[i];
    t.at = status::runnable;
    t.where.prepare(stacks_[i].get(), stack_size, [] {
      auto& m = *vm;
      auto& self = m.current();
      arena::inside = true;
      self.entry(self.argument);
      arena::inside = false;
      m.current().at = status::finished;
      if (m.tracing_) m.record("ends");
      m.current().history = mix(m.current().history, 11);
      m.switch_away();
    });
  }
  /// Ends the execution.
  void leave() {
    arena::inside = false;
    context::change(thread_[current_].where, main_);
  }
  void prune() {
    if (random_ != 0 || depth_ != stack_.size()) return;
    std::uint64_t h = limit.preemptions < 0 ? 0 : current_ + 1;
    if (limit.stale >= 0) h = mix(h, static_cast<std::uint64_t>(stale_));
    for (std::size_t i = 0; i != threads_; ++i) h = mix(h, mix(thread_[i].history, static_cast<std::uint64_t>(thread_[i].at)));
    if (!seen_.add(h, static_cast<std::uint8_t>(limit.preemptions < 0 ? 0 : preemptions_))) leave();
  }

  template <class SetUp, class Check>
  void execute(SetUp& set_up, Check& check) {
    vm = this;
    for (auto const id : touched_) {
      auto& l = locations_[id];
      l.initial = 0;
      l.count = 0;
      l.touched = false;
    }
    touched_.clear();
    pool_.clear();
    arena::used = 0;
    agreed_ = {};
    threads_ = 0;
    depth_ = 0;
    step_ = 0;
    writes_ = 0;
    stale_ = preemptions_ = kills_ = 0;
    phase_ = phase::setup;
    current_ = max_threads;
    arena::inside = true;
    set_up();
    arena::inside = false;
    phase_ = phase::run;
    for (std::size_t i = 0; i != threads_; ++i) thread_[i].at = status::waiting;
    std::array<std::uint8_t, max_threads> options{};
    std::uint32_t n = 0;
    for (std::size_t i = 0; i != threads_; ++i)
      if (can_run(i)) options[n++] = static_cast<std::uint8_t>(i);
    current_ = options[choose(n)];
    start(current_);
    context::change(main_, thread_[current_].where);
    phase_ = phase::final;
    longest_ = std::max<std::uint64_t>(longest_, step_);
    bool ended = true;
    for (std::size_t i = 0; i != threads_; ++i) ended = ended && !can_run(i);
    if (violated_ || !ended || step_ > step_limit) return;  // a cut one has a thread that could go on
    arena::inside = true;
    check();
    arena::inside = false;
  }

  // --- texts -----------------------------------------------------------------------------------------------------------------------
  void record(std::string text) {
    if (log_.size() < 2000) log_.push_back(std::string(current().name) + ": " + std::move(text));
  }
  static std::string describe(location const& l) {
    static constexpr char const* names[] = {"word", "ctl", "claim", "hash", "expires", "owner", "readers", "replaces", "touched", "bell", "sleepers", "key lock", "spread",
                                            "room_seq", "wants_room", "participant.state", "epoch", "head", "lock of the system", "bytes of block", "look", "participant.listens", "head.listeners", "fifo"};
    return std::string(names[static_cast<std::size_t>(l.what)]) + "[" + std::to_string(l.slot) + (l.part != 0 || l.what == kind::claim ? "." + std::to_string(l.part) : "") + "]";
  }
  static std::string show(location const& l, std::uint64_t v) {
    static constexpr char const* states[] = {"free", "writing", "ready", "draining", "beaten", "withdrawn", "?"};
    if (l.what == kind::ctl) return std::to_string(v << 12U >> 20U) + "." + states[std::min<std::uint64_t>(v & 0xffU, 6)];
    if (l.what == kind::claim) {
      static constexpr char const* marks[] = {"empty", "hold", "done", "?"};
      return (v >> 40U == 0 ? "never" : std::to_string((v >> 40U) - 1)) + "." + marks[v & 3U] + ((v & 3U) != 0 ? " by " + std::to_string(v >> 24U & 0xffffU) : "");
    }
    char text[32];
    std::snprintf(text, sizeof text, v < 1000 ? "%llu" : "%#llx", static_cast<unsigned long long>(v));
    return text;
  }
  std::string line_of(location const& l, action what, std::memory_order order, std::uint64_t value, std::uint8_t from, std::uint8_t made) const {
    static constexpr char const* names[] = {"reads", "writes", "exchanges", "cas", "cas", "adds", "subtracts", "sets bits of", "clears bits of", "locks", "unlocks", "asks for", "sleeps on", "wakes", "waits"};
    static constexpr char const* orders[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
    std::string out = std::string(names[static_cast<std::size_t>(what)]) + " " + describe(l);
    if (what == action::cas || what == action::cas_weak)
      out += made != 0 ? " " + show(l, value_of(l, from)) + " -> " + show(l, value) : " fails on " + show(l, value);
    else if (what == action::sleep || what == action::wake)
      out += what == action::sleep ? (newest_of(l) == value ? " at " : ", which is not ") + show(l, value) : "";
    else
      out += (made != 0 ? " := " : " = ") + show(l, value);
    if (made == 0 && from != l.count && what != action::sleep && what != action::wake) out += " (old: " + show(l, newest_of(l)) + " stands there)";
    return out + "  [" + orders[static_cast<std::size_t>(order)] + "]";
  }
  std::uint64_t newest_of(location const& l) const { return value_of(l, l.count); }

 public:
  std::vector<std::uint32_t> locks_;  // locations that stand for locks of the system

 private:
  std::vector<location> locations_;
  std::vector<message> pool_;
  std::vector<std::uint32_t> touched_, tracked_;
  std::array<thread, max_threads> thread_;
  std::array<std::unique_ptr<std::byte[]>, max_threads> stacks_;
  std::size_t threads_ = 0, current_ = 0;
  context main_;
  view agreed_;  // by sequentially consistent accesses
  phase phase_ = phase::build;
  std::vector<choice> stack_;
  seen_set seen_;
  std::vector<std::string> log_;
  std::string what_;
  std::size_t depth_ = 0;
  std::uint64_t random_ = 0, writes_ = 0, cut_ = 0, longest_ = 0;
  std::uint32_t step_ = 0;
  int stale_ = 0, preemptions_ = 0, kills_ = 0;
  bool violated_ = false, tracing_ = false, fresh_sharing_ = false;
};

}  // namespace model
