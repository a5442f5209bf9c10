// SPDX-License-Identifier: Apache-2.0
// kill -9 of those who tidy up, who come and who leave: alone, where every step is reached in order, and among seven others who come and leave.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <shm/crash/counts.hpp>
#include <shm/crash/scene.hpp>
#include <shm/crash/victim.hpp>

namespace {

using namespace crash;

/// Somebody dies and leaves a mess; one who tidies up dies at it. \returns whether it died where it should.
bool cleaner_dies(scene const& where, std::string const& step, unsigned hit, std::uint64_t seed, bool leased, bool enter, totals& t, outcome& out) {
  if (!step.starts_with("shm.directory.")) {
    victim mess("cleaner", where.name(), {"mode=mess", where.slots(), "seed=" + std::to_string(seed), leased ? "lease_ms=60000" : "lease_ms=0"});
    EXPECT_TRUE(mess.join()) << mess.said();
  }
  victim v("cleaner", where.name(), {enter ? "mode=enter" : "mode=collect", where.slots(), "die=" + step + ":" + std::to_string(hit), "seed=" + std::to_string(seed)});
  v.join();
  std::string const after = step + " #" + std::to_string(hit) + " seed " + std::to_string(seed) + (enter ? ", entering" : ", collecting") + (leased ? ", leased" : "");
  if (v.killed()) {
    ++t.kills;
    out.hit(v.hit());
  }
  if (v.said().find("no ") != std::string::npos) t.wrong(t.broken, after + ": " + v.said());
  where.clean(t, after);
  std::int64_t const before = omniconn::deadline::now_ns();
  auto next = where.connect("next");
  double const ms = static_cast<double>(omniconn::deadline::now_ns() - before) / 1e6;
  if (!next) t.wrong(t.broken, after + ": nobody can open");
  if (ms > t.slowest_ms) t.slowest_ms = ms;
  if (next && leased && !step.starts_with("shm.directory.") && next->transport().report().objects.used != 1 && !enter)
    t.wrong(t.lost, after + ": " + std::to_string(next->transport().report().objects.used) + " objects instead of the one that is leased");
  where.empty(t, after);
  return v.killed();
}

CRASH_TEST(cleaner_dies_at_every_step) {
  outcome out(results, "one that tidies up after another's death is killed at the n-th hit of each step of open, sweep, close, collect; nobody else is there");
  totals t;
  scene const small(false, 64), usual(false, 4096);
  unsigned const lives = rounds(scale, 2, 52);
  for (auto const& step : steps_of_cleaners())
    for (unsigned i = 0; i != lives && t.first.empty(); ++i) {
      auto const& where = i % 4 == 3 ? usual : small;
      std::uint64_t const seed = 1 + i;
      bool died = false;
      for (unsigned way = i; way != i + 8 && !died && t.first.empty(); ++way) {
        died = cleaner_dies(where, step, way < i + 4 ? 1 + i % 3 : 1, seed, way % 2 == 0, way / 2 % 2 == 0, t, out);
      }
      if (!died && t.first.empty()) ADD_FAILURE() << step << " is not reached";
    }
  std::uint32_t least = ~0U;
  for (auto const& step : steps_of_cleaners()) least = std::min(least, out.hits(step));
  out.at_least("fewest deaths at a step", least, lives);
  out.at_least("deaths", t.kills, lives * static_cast<unsigned>(steps_of_cleaners().size()));
  t.report(out);
}

CRASH_TEST(cleaner_dies_among_seven_others) {
  outcome out(results, "a process that opens, leaves a mess, closes, collects is killed at a step or at any time, while seven others open, put, get, close all the time");
  totals t;
  scene const where(false, 512);
  auto const steps = steps_of_cleaners();
  numbers random(3);
  unsigned const wanted = rounds(scale, 20, 1000);
  unsigned opens = 0, bad = 0;
  while (t.kills < wanted && t.first.empty()) {
    std::vector<std::unique_ptr<victim>> others;
    for (unsigned k = 0; k != 7; ++k)
      others.push_back(std::make_unique<victim>("cleaner", where.name(), std::vector<std::string>{"mode=others", "slots=512", "lease_ms=0", "seed=" + std::to_string(1 + k)}));
    unsigned const until = std::min(wanted, t.kills + 100);
    for (unsigned i = 0; t.kills < until && i != 1000 && t.first.empty(); ++i) {
      std::vector<std::string> options{"mode=loop", "slots=512", "lease_ms=0", "ops=6", "seed=" + std::to_string(i)};
      bool const anywhere = i % 4 == 3;
      if (!anywhere) options.push_back("die=" + steps[random.below(static_cast<unsigned>(steps.size()))] + ":" + std::to_string(1 + random.below(3)));
      victim v("cleaner", where.name(), options);
      if (anywhere) {
        std::this_thread::sleep_for(std::chrono::microseconds(2000 + random.below(10'000)));
        v.kill();
      }
      v.join();
      if (v.killed()) {
        ++t.kills;
        if (auto const hit = v.hit(); !hit.empty()) out.hit(hit);
      }
      if (v.said().find("no ") != std::string::npos) t.wrong(t.broken, v.said());
    }
    for (auto& other : others) other->end_input();
    for (auto& other : others) {
      other->join();
      std::istringstream words(other->said());
      std::string word, first;
      unsigned n = 0, wrong = 0;
      double us = 0;
      words >> word >> n >> word >> us >> word >> wrong;
      std::getline(words, first);
      opens += n;
      bad += wrong;
      if (wrong != 0 || n == 0) t.wrong(t.broken, "another: " + other->said());
      t.slowest_ms = std::max(t.slowest_ms, us / 1000);
    }
    where.clean(t, "all have ended");
    if (auto const left = omniconn::shm_transport::files(where.options()); !left.empty()) t.wrong(t.leaked, left.front() + " is left");
  }
  out.at_least("deaths", t.kills, wanted);
  out.note("opens of the others meanwhile", opens);
  out.exactly("opens, puts, gets of the others that failed", bad, 0);
  t.report(out);
}

}  // namespace
