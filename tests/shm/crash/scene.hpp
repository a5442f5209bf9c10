// SPDX-License-Identifier: Apache-2.0
// A namespace in which processes die, and the count of what went wrong.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <shm/crash/audit.hpp>
#include <shm/crash/counts.hpp>
#include <shm/crash/program.hpp>
#include <shm/support.hpp>

namespace crash {

inline constexpr double one_second = 1000;  // ms

/// Totals of a run.
struct totals {
  unsigned kills = 0, leaked = 0, lost = 0, torn = 0, left = 0, waiters = 0, broken = 0;
  double slowest_ms = 0;
  std::string first;  // what went wrong first

  void wrong(unsigned& count, std::string const& what) {
    ++count;
    if (first.empty()) first = what;
  }
  void report(outcome& out) const {
    EXPECT_EQ(first, "");
    out.exactly("acknowledged objects lost", lost, 0);
    out.exactly("torn or foreign reads", torn, 0);
    out.exactly("unacknowledged objects seen", left, 0);
    out.exactly("opens that failed", broken, 0);
    out.exactly("leaked slots, claims, arenas, records", leaked, 0);
    out.at_most("slowest open or clean-up (ms)", slowest_ms, one_second);
  }
};

/// A namespace in which processes die. With a witness, somebody is in it all the time.
class scene {
 public:
  scene(bool with_witness, std::uint32_t slots) : slots_(slots) {
    if (with_witness) witness_ = connect("witness");
  }

  [[nodiscard]] std::string const& name() const noexcept { return space_.name(); }
  [[nodiscard]] omniconn::shm_transport::options options() const {
    auto o = space_.options();
    o.max_keys = slots_;
    return o;
  }
  /// For the programs: whoever makes the namespace anew makes it of this size.
  [[nodiscard]] std::string slots() const { return "slots=" + std::to_string(slots_); }
  [[nodiscard]] std::optional<connector> connect(std::string const& reader) const {
    connector::options o;
    o.transport = options();
    o.transport.reader = reader;
    auto c = connector::open(o);
    if (!c) {
      ADD_FAILURE() << c.error().message();
      return std::nullopt;
    }
    return std::move(*c);
  }

  /// Somebody tidies up after a death; then nothing may be left that nobody has a right to.
  void clean(totals& t, std::string const& after) const {
    std::int64_t const before = omniconn::deadline::now_ns();
    auto const done = omniconn::shm_transport::collect(options());
    double const ms = static_cast<double>(omniconn::deadline::now_ns() - before) / 1e6;
    if (ms > t.slowest_ms) t.slowest_ms = ms;
    if (!done) t.wrong(t.leaked, after + ": collect: " + std::string(done.error().message()));
    look_for_leaks(t, after);
  }
  void look_for_leaks(totals& t, std::string const& after) const {
    auto const found = audited([](leaks const& l) { return l.all() == 0; });
    if (found.all() != 0) t.wrong(t.leaked, after + ": " + found.first);
    t.waiters += found.waiters;
  }
  /// Nothing is unread any more: nothing may be in use.
  void empty(totals& t, std::string const& after) const {
    {
      auto c = connect("emptier");
      if (c) (void)c->transport().erase_if([](omniconn::wire_key) { return true; });
    }
    auto const found = audited([](leaks const& l) { return l.all() == 0 && l.in_use == 0; });
    if (found.all() != 0 || found.in_use != 0)
      t.wrong(t.leaked, after + ", emptied: " + (found.first.empty() ? std::to_string(found.in_use) + " slots are in use" : found.first));
  }

 private:
  /// Anybody alive tidies up, perhaps at this moment: a leak is what is still there after a second.
  template <class Good>
  leaks audited(Good good) const {
    auto const end = omniconn::deadline::after(std::chrono::seconds(1));
    for (;;) {
      auto found = audit(options());
      if ((good(found) && !found.dying) || end.passed()) return found;
      std::this_thread::yield();
    }
  }

  shm_test::fresh_space space_;
  std::uint32_t slots_;
  std::optional<connector> witness_;
};

/// The failpoints whose names begin with one of these.
inline std::vector<std::string> names_with(std::vector<std::string_view> const& prefixes) {
  std::vector<std::string> out;
  for (auto const name : omniconn::failpoint_names)
    for (auto const prefix : prefixes)
      if (name.starts_with(prefix)) out.emplace_back(name);
  return out;
}

/// Where each kind of victim dies. Every failpoint is in one of these at least: a test says so.
inline std::vector<std::string> steps_of_producers() {
  return names_with({"shm.put.", "shm.replace.", "shm.abort.", "shm.lock.", "shm.adopt.", "shm.whole.", "shm.arena.", "shm.retire.", "shm.drain.", "shm.withdraw.", "shm.close."});
}
inline std::vector<std::string> steps_of_consumers() { return names_with({"shm.get.", "shm.follow.", "shm.release.", "shm.retire.", "shm.open.", "shm.name.", "shm.listen."}); }
inline std::vector<std::string> steps_of_cleaners() {
  return names_with({"shm.directory.", "shm.open.", "shm.name.", "shm.recovery.", "shm.leave.", "shm.close.shut", "shm.close.withdrawn", "shm.drain.", "shm.withdraw.", "shm.retire.", "shm.listen.un"});
}

}  // namespace crash
