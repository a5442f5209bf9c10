// SPDX-License-Identifier: Apache-2.0
// kill -9 of producers and consumers at every named step, and at any time: what was acknowledged is there, of the rest nothing is left.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <shm/crash/counts.hpp>
#include <shm/crash/program.hpp>
#include <shm/crash/scene.hpp>
#include <shm/crash/victim.hpp>

namespace {

using namespace crash;
using omniconn::deadline;
using omniconn::error_kind;

enum class seen { absent, good, bad };

/// Whether an object is there; it stays.
seen look(connector& c, unsigned key, told_object const* what, told_object const* or_what = nullptr) {
  omniconn::get_options o;
  o.until = deadline::immediate();
  o.reader = "judge";
  auto view = c.get_view(hop, key_name(key), o);
  if (!view) return view.error().kind() == error_kind::not_found ? seen::absent : seen::bad;
  bool const good = (what != nullptr && is_object(view->bytes(), what->seed, what->size)) || (or_what != nullptr && is_object(view->bytes(), or_what->seed, or_what->size));
  view->give_back();
  return good ? seen::good : seen::bad;
}

// --- producers --------------------------------------------------------------------------------------------------------------------------

/// Before this the object of a put cannot be seen, from then on it is there.
bool is_published(std::string_view hit) { return hit.ends_with(".ready") || hit.ends_with(".rung"); }
/// Steps at which a put has surely not been published.
bool is_unpublished(std::string_view hit) {
  for (std::string_view const prefix : {"shm.put.", "shm.whole.", "shm.arena.", "shm.lock.", "shm.abort.", "shm.withdraw."})
    if (hit.starts_with(prefix)) return !is_published(hit);
  return false;
}

/// What a producer said against what is there.
void judge(scene const& where, account const& a, totals& t, std::string const& after) {
  auto c = where.connect("judge");
  if (!c) return;
  for (auto const& [key, object] : a.acknowledged) {
    if (!a.pending.empty() && a.pending != "nothing" && a.key == key) continue;
    auto const got = look(*c, key, &object);
    if (got == seen::absent) t.wrong(t.lost, after + ": key " + std::to_string(key) + " is lost");
    if (got == seen::bad) t.wrong(t.torn, after + ": key " + std::to_string(key) + " has other bytes");
  }
  if (a.pending.empty() || a.pending == "nothing") return;
  auto const old = a.acknowledged.find(a.key);
  told_object const* const before = old == a.acknowledged.end() ? nullptr : &old->second;
  bool const puts = a.pending == "put" || a.pending == "replace";
  auto const got = look(*c, a.key, before, puts ? &a.next : nullptr);
  std::string const what = after + ": " + a.pending + " of key " + std::to_string(a.key);
  if (got == seen::bad) t.wrong(t.torn, what + " has other bytes");
  if (puts && is_unpublished(a.hit) && got == seen::good && before == nullptr) t.wrong(t.left, what + " is seen");
  if (puts && is_unpublished(a.hit) && before != nullptr && look(*c, a.key, before) != seen::good) t.wrong(t.lost, what + ": the old object is lost");
  if (puts && is_published(a.hit) && got == seen::absent) t.wrong(t.lost, what + " was published and is lost");
  if (a.pending == "take" && (std::string_view(a.hit).starts_with("shm.get.") || a.hit == "shm.release.begun") && got == seen::absent)
    t.wrong(t.lost, what + ": its share did not come back");
}

/// One life of a producer. \returns whether it died where it should.
bool producer_dies(scene const& where, std::string const& failpoint, unsigned hit, std::uint64_t seed, totals& t, outcome& out) {
  if (failpoint == "shm.lock.taken_from_the_dead") {  // somebody has to die with the lock first
    victim first("producer", where.name(), {"die=shm.put.key_locked:1", where.slots(), "seed=" + std::to_string(seed)});
    first.join();
    if (first.hit() == "shm.put.key_locked") out.hit("shm.put.key_locked");
    hit = 1;
  }
  victim v("producer", where.name(), {"die=" + failpoint + ":" + std::to_string(hit), where.slots(), "seed=" + std::to_string(seed)});
  v.join();
  account const a(v.lines());
  std::string const after = failpoint + " #" + std::to_string(hit) + " seed " + std::to_string(seed);
  if (v.killed()) {
    ++t.kills;
    out.hit(a.hit);
  } else if (!a.done) {
    t.wrong(t.lost, after + ": ended early: " + v.said());
  }
  where.clean(t, after);
  judge(where, a, t, after);
  where.empty(t, after);
  return v.killed();
}

TEST(shm_faults, at_every_failpoint_somebody_dies) {
  std::set<std::string> covered;
  for (auto const& steps : {steps_of_producers(), steps_of_consumers(), steps_of_cleaners()}) covered.insert(steps.begin(), steps.end());
  for (auto const name : omniconn::failpoint_names) EXPECT_TRUE(covered.contains(std::string(name))) << name;
}

CRASH_TEST(producer_dies_at_every_step) {
  outcome out(results, "a producer is killed at the n-th hit of each step, every second time with nobody else in the namespace");
  totals t;
  scene const alone(false, 16), watched(true, 16);  // so few slots that keys often lie beside their homes
  unsigned const lives = rounds(scale, 2, 52);
  for (auto const& step : steps_of_producers())
    for (unsigned i = 0; i != lives && t.first.empty(); ++i) {
      auto const& where = i % 2 == 0 ? alone : watched;
      std::uint64_t const seed = 1 + i;
      bool died = producer_dies(where, step, 1 + i % 4, seed, t, out);
      for (std::uint64_t again = 0; again != 8 && !died; ++again) died = producer_dies(where, step, 1, seed + 1000 * again, t, out);  // not every life comes there
      if (!died) ADD_FAILURE() << step << " is not reached";
    }
  std::uint32_t least = ~0U;
  for (auto const& step : steps_of_producers()) least = std::min(least, out.hits(step));
  out.at_least("fewest deaths at a step", least, lives);
  out.at_least("deaths", t.kills, lives * static_cast<unsigned>(steps_of_producers().size()));
  t.report(out);
}

CRASH_TEST(producer_dies_at_any_time) {
  outcome out(results, "a producer is killed from outside while it puts, replaces, reads, erases, gives up; sizes 0 B to 300 kB");
  totals t;
  scene const alone(false, 64), watched(true, 64);
  numbers random(7);
  for (unsigned i = 0; t.kills != rounds(scale, 60, 1000); ++i) {
    auto const& where = i % 2 == 0 ? alone : watched;
    victim v("producer", where.name(), {"mode=forever", "seed=" + std::to_string(i)});
    v.await_a_line();
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(4000)));
    v.kill();
    account const a(v.lines());
    if (v.killed()) ++t.kills;
    std::string const after = "life " + std::to_string(i);
    where.clean(t, after);
    judge(where, a, t, after);
    where.empty(t, after);
    if (!t.first.empty()) break;
  }
  out.at_least("deaths", t.kills, rounds(scale, 60, 1000));
  t.report(out);
}

// --- consumers --------------------------------------------------------------------------------------------------------------------------

/// Objects for the victim: for anyone, counted, named. `shares`: by whom else each may be read.
class objects {
 public:
  static constexpr unsigned keys = 6;
  static constexpr std::size_t size = 1 << 16U;

  /// `leave`: the producer is gone before they are read.
  objects(scene const& where, bool leave) : where_(where) {
    connector::options o;
    o.transport = where.options();
    o.transport.memory_pool_size = keys * (size + 4096);  // no room for a seventh
    auto c = connector::open(o);
    if (!c) {
      ADD_FAILURE() << c.error().message();
      return;
    }
    producer_ = std::move(*c);
    if (!put()) ADD_FAILURE() << "no room for the objects";
    other_ = where.connect("other");
    omniconn::get_options how;
    how.until = deadline::immediate();
    for (unsigned const key : {3U, 5U}) {  // read all the time by somebody who lives
      auto view = other_->get_view(hop, key_name(key), how);
      if (!view) {
        ADD_FAILURE() << view.error().message();
        continue;
      }
      held_.push_back(std::move(*view));
    }
    if (leave) producer_.reset();
  }

  /// What must be so after the victim's death.
  void judge(std::vector<std::string> const& lines, totals& t, std::string const& after) {
    std::vector<std::string> state(keys, "there");  // "there", "taken", "either", "gone or there"
    std::string pending, hit;
    unsigned key = 0;
    for (auto const& line : lines) {
      std::istringstream words(line);
      std::string word;
      words >> word;
      if (word == "hit") words >> hit;
      if (word == "try") words >> pending >> key;
      if (word == "bad") t.wrong(t.torn, after + ": key " + std::to_string(key) + " has other bytes");
      if (word == "ok" && pending == "take") state[key] = "taken";
      if (word == "no" && pending != "erase" && state[key] == "there") t.wrong(t.lost, after + ": key " + std::to_string(key) + ": " + line);
      if (pending == "erase") state[key] = "erased";
      if (word == "ok" || word == "no" || word == "bad") pending.clear();
    }
    if (pending == "take") state[key] = hit.starts_with("shm.get.") || hit == "shm.release.begun" ? "there" : "either";

    for (unsigned const k : {3U, 5U}) {  // others are unaffected
      auto& view = held_[k == 3 ? 0 : 1];
      if (!is_object(view.bytes(), k, size)) t.wrong(t.torn, after + ": the bytes that another holds have changed");
      view.release();
    }
    auto heir = where_.connect("victim");
    if (!heir) return;
    for (unsigned k = 0; k != keys; ++k) {
      std::string const name = after + ": key " + std::to_string(k) + ", " + state[k];
      auto const got = share(*heir, k, "victim", t, name);
      bool const there = !got;
      if (state[k] == "there" && !there) t.wrong(t.lost, name + ": not readable again");
      if (state[k] == "taken" && there) t.wrong(t.left, name + ": read twice by one reader");
      if (state[k] == "erased") continue;
      if (k == 2 && share(*heir, k, "x", t, name)) t.wrong(t.lost, name + ": another's share is lost");
      if (k == 5 && share(*heir, k, "x", t, name)) t.wrong(t.lost, name + ": another's share is lost");
      if (!share(*heir, k, "y", t, name)) t.wrong(t.left, name + ": one share too many");
    }
  }

  /// Everybody has had their share: the producer has its memory again.
  void end(totals& t, std::string const& after) {
    if (producer_ && !put()) t.wrong(t.leaked, after + ": a block has not come back");
    producer_.reset();
    other_.reset();
  }

 private:
  bool put() {
    constexpr std::array<std::string_view, 2> two{"victim", "other"};
    constexpr std::array<std::string_view, 1> one{"victim"};
    for (unsigned key = 0; key != keys; ++key) {
      omniconn::put_options o;
      o.readers = omniconn::reader_set{key == 2 ? 2U : key == 5 ? 3U : 1U, {}};
      if (key == 3) o.readers = omniconn::reader_set{2, two};
      if (key == 4) o.readers = omniconn::reader_set{1, one};
      auto block = producer_->reserve(size);
      if (!block) return false;
      std::string const payload = object(key, size);
      std::copy(payload.begin(), payload.end(), reinterpret_cast<char*>(block->bytes().data()));
      if (!producer_->commit(hop, key_name(key), std::move(*block), o)) return false;
    }
    return true;
  }
  /// Reads one share. \returns why not, or nothing.
  static std::optional<error_kind> share(connector& c, unsigned key, std::string_view reader, totals& t, std::string const& name) {
    omniconn::get_options o;
    o.until = deadline::immediate();
    o.reader = reader;
    auto view = c.get_view(hop, key_name(key), o);
    if (!view) return view.error().kind();
    if (!is_object(view->bytes(), key, size)) t.wrong(t.torn, name + ": other bytes");
    return std::nullopt;
  }

  scene const& where_;
  std::optional<connector> producer_, other_;
  std::vector<connector::view> held_;
};

bool consumer_dies(scene const& where, std::string const& failpoint, unsigned hit, std::uint64_t seed, bool left, totals& t, outcome& out) {
  objects o(where, left);
  victim v("consumer", where.name(), {"die=" + failpoint + ":" + std::to_string(hit), "seed=" + std::to_string(seed), "ops=" + std::to_string(objects::keys)});
  v.join();
  std::string const after = failpoint + " #" + std::to_string(hit) + " seed " + std::to_string(seed) + (left ? ", its producer gone" : "");
  if (v.killed()) {
    ++t.kills;
    out.hit(v.hit());
  }
  where.clean(t, after);
  o.judge(v.lines(), t, after);
  where.look_for_leaks(t, after);
  o.end(t, after);
  where.empty(t, after);
  return v.killed();
}

CRASH_TEST(consumer_dies_at_every_step) {
  outcome out(results, "a consumer is killed at the n-th hit of each step of get, release, open; six objects of 64 KiB, one to three readers, counted and named; every second time their producer is gone");
  totals t;
  scene const where(false, 64);
  unsigned const lives = rounds(scale, 2, 52);
  for (auto const& step : steps_of_consumers())
    for (unsigned i = 0; i != lives && t.first.empty(); ++i) {
      std::uint64_t const seed = 1 + i;
      bool died = consumer_dies(where, step, 1 + i % 3, seed, i % 2 == 1, t, out);
      for (std::uint64_t again = 0; again != 8 && !died; ++again) died = consumer_dies(where, step, 1, seed + 1000 * again, i % 2 == 1, t, out);
      if (!died) ADD_FAILURE() << step << " is not reached";
    }
  std::uint32_t least = ~0U;
  for (auto const& step : steps_of_consumers()) least = std::min(least, out.hits(step));
  out.at_least("fewest deaths at a step", least, lives);
  out.at_least("deaths", t.kills, lives * static_cast<unsigned>(steps_of_consumers().size()));
  t.report(out);
  out.note("waiters that are counted though dead", t.waiters);
}

CRASH_TEST(consumer_dies_at_any_time) {
  outcome out(results, "a consumer is killed from outside while it gets, holds, releases, gives back six objects of 64 KiB");
  totals t;
  scene const where(false, 64);
  numbers random(11);
  for (unsigned i = 0; t.kills != rounds(scale, 40, 1000); ++i) {
    objects o(where, i % 2 == 1);
    victim v("consumer", where.name(), {"seed=" + std::to_string(i), "ops=" + std::to_string(objects::keys)});
    v.await_a_line();
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(2500)));
    v.kill();
    if (v.killed()) ++t.kills;
    std::string const after = "life " + std::to_string(i);
    where.clean(t, after);
    o.judge(v.lines(), t, after);
    where.look_for_leaks(t, after);
    o.end(t, after);
    where.empty(t, after);
    if (!t.first.empty()) break;
  }
  out.at_least("deaths", t.kills, rounds(scale, 40, 1000));
  t.report(out);
}

}  // namespace
