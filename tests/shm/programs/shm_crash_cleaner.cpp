// SPDX-License-Identifier: Apache-2.0
// One that opens, closes and collects a namespace, and dies at the N-th hit of a failpoint, or is killed, or comes to its end.
//
//   shm_crash_cleaner NAMESPACE mode=MODE [die=FAILPOINT:N] [seed=S] [ops=ROUNDS] [slots=N] [lease_ms=N]
//
//   mess      leaves whatever a participant can leave, in two participants, and kills itself: done
//   collect   tidies up: done
//   enter     opens, puts, closes: done
//   loop      all of these again and again, as often as `ops` says
//   others    opens, puts, gets, closes until stdin ends; then: opens N slowest MICROSECONDS bad N WHAT
#include <chrono>
#include <string>
#include <utility>

#include <poll.h>

#include <shm/crash/program.hpp>

namespace {

using namespace crash;
using omniconn::deadline;

std::string message(omniconn::diagnosis const& d) { return std::string(to_string(d.kind())) + " " + std::string(d.message()); }
std::string message(omniconn::error const& e) { return std::string(to_string(e.kind())) + " " + std::string(e.message()); }

/// Unread objects, a begun put, a claim, a reader's name, two arenas and two records, one of them of a listener.
bool make_mess(settings const& s, std::uint64_t round, bool die) {
  auto producer = s.open();
  auto consumer = s.open();
  if (!producer || !consumer || !consumer->native_fd()) return false;
  std::string const payload = object(round, 100);
  std::string const prefix = std::to_string(::getpid()) + "-" + std::to_string(round) + "-";
  omniconn::put_options at_once;
  at_once.lease = std::chrono::nanoseconds(0);
  (void)producer->put(hop, prefix + "leased", view_of(payload));
  (void)producer->put(hop, prefix + "gone", view_of(payload), at_once);
  (void)producer->put(hop, prefix + "held", view_of(payload), at_once);
  (void)producer->put(hop, prefix + "read" + std::string(100, 'k'), view_of(payload));
  (void)consumer->put(hop, prefix + "of the other", view_of(payload), at_once);
  omniconn::shm_transport::put_op begun;
  (void)producer->transport().begin(begun, prefix + "begun", {}, {}, {});
  omniconn::get_options o;
  o.until = deadline::immediate();
  o.reader = "cleaner";
  auto const held = consumer->get_view(hop, prefix + "held", o);
  {
    auto const read = consumer->get_view(hop, prefix + "read" + std::string(100, 'k'), o);
  }
  if (die) {
    say("done");
    ::kill(::getpid(), SIGKILL);
  }
  return held.has_value();
}

int others(settings const& s) {
  numbers random(s.seed);
  std::uint64_t opens = 0;
  std::int64_t slowest = 0;
  unsigned bad = 0;
  std::string what = "-";
  auto const complain = [&](std::string text) {
    if (bad++ == 0) what = std::move(text);
  };
  pollfd end{STDIN_FILENO, POLLIN, 0};
  while (::poll(&end, 1, static_cast<int>(random.below(12))) == 0) {
    std::int64_t const before = deadline::now_ns();
    auto c = s.open();
    std::int64_t const took = deadline::now_ns() - before;
    ++opens;
    if (took > slowest) slowest = took;
    if (!c) {
      complain("open " + message(c.error()));
      continue;
    }
    std::uint64_t const seed = s.seed << 32U | opens;
    std::size_t const size = 16 + random.below(3000);
    std::string const key = "other-" + std::to_string(::getpid()) + "-" + std::to_string(opens), payload = object(seed, size);
    if (auto const done = c->put(hop, key, view_of(payload)); !done) {
      complain("put " + message(done.error()));
      continue;
    }
    omniconn::get_options o;
    o.until = deadline::immediate();
    auto const view = c->get_view(hop, key, o);
    if (!view) {
      complain("get " + message(view.error()));
    } else if (!is_object(view->bytes(), seed, size)) {
      complain("torn");
    }
  }
  say("opens " + std::to_string(opens) + " slowest " + std::to_string(slowest / 1000) + " bad " + std::to_string(bad) + " " + what);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  settings const s(argc, argv);
  if (s.mode == "others") return others(s);
  if (s.mode == "mess") return make_mess(s, s.seed, true) ? 0 : 4;
  bool const loop = s.mode == "loop";
  for (unsigned round = 0; round != (loop ? s.ops : 1U); ++round) {
    if (loop) (void)make_mess(s, round, false);
    if (loop || s.mode == "enter") {
      if (auto c = s.open(); c) {
        std::string const payload = object(s.seed, 1000), reader = "cleaner-" + std::to_string(s.seed % 7);
        (void)c->put(hop, "entered", view_of(payload));
        omniconn::get_options o;
        o.until = deadline::immediate();
        o.reader = reader;
        (void)c->get_view(hop, "entered", o);
      } else {
        say("no " + message(c.error()));
      }
    }
    if (loop || s.mode == "collect")
      if (auto const done = omniconn::shm_transport::collect(s.transport()); !done) say("no " + message(done.error()));
  }
  say("done");
  return 0;
}
