// SPDX-License-Identifier: Apache-2.0
// The stories that the checker plays through: small pipelines whose stages meet at one or two slots.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <model/machine.hpp>
#include <model/world.hpp>

namespace model {

/// What stands at the beginning of an execution, and what its threads share. Made anew for each.
struct world {
  explicit world(directory const& d) : dir(d) { d.clock = 1000; }

  directory const& dir;
  std::array<std::unique_ptr<stage>, participants> stages;
  std::array<std::uint64_t, participants> got{};
  bool may_stay = false;  // an object that nobody has read yet
  bool may_grow = false;  // an object that nobody has finished yet
  std::uint32_t lease_of = participants;

  stage& add(std::uint32_t i, std::uint64_t first_block = 0, std::uint64_t n = 0, char reader = 0) {
    stages[i] = std::make_unique<stage>(dir, i, reader != 0 ? reader : static_cast<char>('a' + i));
    if (n != 0) stages[i]->own(first_block, n);
    return *stages[i];
  }
  [[nodiscard]] stage& at(std::uint32_t i) { return *stages[i]; }

  struct part {
    world* w;
    void (*run)(world&);
    std::uint32_t watches;
  };
  std::array<part, max_threads> parts{};

  machine::thread& run(char const* name, std::uint32_t participant, void (*f)(world&)) {
    auto& p = parts[vm->threads()];
    p = {this, f, 0};
    return vm->spawn(name, participant, [](void* self) { static_cast<part*>(self)->run(*static_cast<part*>(self)->w); }, &p);
  }
  void run_mortal(char const* name, std::uint32_t participant, void (*f)(world&)) { run(name, participant, f).mortal = true; }
  /// Starts when thread `watched` has died.
  machine::thread& run_after_death(char const* name, std::uint32_t participant, std::uint32_t watched, void (*f)(world&)) {
    auto& t = run(name, participant, f);
    parts[vm->threads() - 1].watches = watched;
    t.starts = [](void* self) { return vm->thread_at(static_cast<part*>(self)->watches).at == machine::status::dead; };
    t.tidies = true;
    return t;
  }
  [[nodiscard]] bool died(std::uint32_t participant) const {
    for (std::size_t i = 0; i != vm->threads(); ++i)
      if (vm->thread_at(i).participant == participant && vm->thread_at(i).at == machine::status::dead) return true;
    return false;
  }
};

struct scenario {
  char const* name;
  char const* story;
  void (*begin)(world&);
  void (*check)(world&);  // before the common rules; may be null
  bounds quick, full;
};

/// The rules that hold at the end of every story.
inline void check_end(world& w) {
  auto const& dir = w.dir;
  auto const fail = [](std::string const& what) { vm->violation(what); };
  for (std::size_t i = 0; i != vm->threads(); ++i) {
    auto const& t = vm->thread_at(i);
    if (t.at == machine::status::asleep) return fail(std::string(t.name) + " sleeps for ever: a wake-up is lost");
    if (t.at == machine::status::paused) return fail(std::string(t.name) + " waits for ever for a lock");
  }
  bool someone_died = false;
  for (std::uint32_t i = 0; i != participants; ++i) someone_died = someone_died || w.died(i);
  // The living take back what came home; leases that began end.
  dir.clock += 1'000'000;
  for (std::uint32_t i = 0; i != participants; ++i) {
    if (w.stages[i] == nullptr) continue;
    dir.acting = i;
    if (!w.died(i) && !w.at(i).left()) w.at(i).reclaim();
  }
  for (std::uint32_t i = 0; i != participants; ++i)
    if (dir.participant_at(i).state.load() == shm::participant_state::orphan) {
      dir.acting = participants - 1;
      shm::sweep_one(dir, shm::names{}, i);
    }
  std::array<std::uint32_t, participants> kept{};
  for (std::uint32_t i = 0; i != dir.layout().slots; ++i) {
    auto& s = dir.slot_at(i);
    auto const word = s.ctl.load();
    auto const name = "slot " + std::to_string(i);
    switch (shm::control::state(word)) {
      case shm::slot_state::free: break;
      case shm::slot_state::ready: {
        bool wanted = false;
        for (std::uint32_t k = 0; k != shm::readers_of(dir, s); ++k) {
          auto const c = shm::claim::as_of(dir.claim_at(i, k).load(), shm::control::generation(word), shm::is_named(s));
          if (shm::claim::state_of(c) == shm::claim::state::hold) return fail(name + " is held by nobody that lives");
          wanted = wanted || shm::claim::state_of(c) == shm::claim::state::empty;
        }
        if (!wanted) return fail(name + " is read by all and not retired");
        if (!w.may_stay) return fail(name + " is left `ready`");
        if (auto const owner = s.owner.load(); owner < participants && (s.kind & s.plain) == 0 && label::block(s.trace) != label::in_slot) ++kept[owner];
        break;
      }
      case shm::slot_state::writing:
        if (w.may_grow) {
          if (auto const owner = s.owner.load(); owner < participants) ++kept[owner];
          break;
        }
        [[fallthrough]];
      default: {
        static constexpr char const* names[] = {"free", "writing", "ready", "draining", "beaten", "withdrawn"};
        return fail(name + " is left `" + names[static_cast<std::size_t>(shm::control::state(word))] + "`: it is lost");
      }
    }
  }
  for (std::uint32_t h = 0; h != dir.layout().slots; ++h) {
    std::uint32_t elsewhere = 0, farthest = 0;
    for (std::uint32_t i = 0; i != dir.layout().slots; ++i) {
      auto const& s = dir.slot_at(i);
      if (i == h || !shm::control::is_object(s.ctl.load()) || dir.home_of(s.hash.load()) != h) continue;
      ++elsewhere;
      farthest = std::max(farthest, (i - h) & (dir.layout().slots - 1));
    }
    auto const spread = dir.slot_at(h).spread.load();
    if (shm::spread::count(spread) < elsewhere || shm::spread::reach(spread) < farthest) return fail("an object is not found from its home " + std::to_string(h));
    if (!someone_died && shm::spread::count(spread) != elsewhere) return fail("home " + std::to_string(h) + " counts objects that are gone");
    if (!someone_died && dir.lock_of(h).load() != 0) return fail("a key stays locked");
    if (!someone_died && dir.slot_at(h).sleepers.load() != 0) return fail("sleepers are counted that are gone");
  }
  bool heard = false;
  for (std::uint32_t i = 0; i != participants; ++i) {
    if (dir.participant_at(i).listens.load() == 0) continue;
    heard = true;
    if (w.died(i)) return fail("a dead participant is still rung");
  }
  if (heard != (dir.head().listeners.load() != 0)) return fail(heard ? "somebody listens and is not counted" : "a listener is counted that is none");
  for (std::uint32_t i = 0; i != participants; ++i) {
    if (w.stages[i] == nullptr) continue;
    auto const life = dir.participant_at(i).state.load();
    if (w.died(i) || w.at(i).left()) {
      if (life != shm::participant_state::free) return fail("participant " + std::to_string(i) + " is gone and was not settled");
    } else if (!w.at(i).left() && w.at(i).blocks_at_home() + kept[i] != w.at(i).blocks_owned()) {
      return fail("participant " + std::to_string(i) + " lost a block");
    }
  }
  // Whoever uses a dead participant's record next can put.
  for (std::uint32_t i = 0; i != participants; ++i)
    if (w.died(i) && kept == std::array<std::uint32_t, participants>{}) {
      stage next(dir, i, 'z');
      next.own(blocks - 1, 1);
      if (next.put("5z", 9, 1)) return fail("who uses the record of a dead participant cannot put");
      next.erase("5z");
      next.reclaim();
      if (next.blocks_at_home() != 1) return fail("who uses the record of a dead participant loses a block");
    }
}

// --- the stories: participant 0 produces, 1 and 2 read, 3 tidies up -----------------------------------------------------------------

inline constexpr std::string_view key = "1k", other_key = "1m";  // of one home

inline void published(world& w, std::uint64_t tag, std::uint32_t readers, std::int64_t lease = 0) {
  if (w.at(0).put(key, tag, readers, on_existing::fail, lease)) give_up("the first put of a story failed");
}

/// Bounds: switches away from a thread that could go on, values read that are not the newest, deaths; -1: any number. `coarse` and `quick` do not
/// switch before relaxed accesses.
constexpr bounds full(int preemptions, int stale, int kills) { return {preemptions, stale, kills, false}; }
constexpr bounds coarse(int preemptions, int stale, int kills) { return {preemptions, stale, kills, true}; }
constexpr bounds quick(int preemptions, int stale, int kills) { return coarse(preemptions, stale, kills); }

inline scenario const stories[] = {
    {"put, get, reuse", "one producer puts twice into one slot; two readers take one share each", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         v.at(0).put(key, 1, 1);
         v.at(0).reclaim();
         v.at(0).put(key, 2, 1);
       });
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, false); });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"two readers share", "an object for two readers is read by both, then its slot is used again", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       published(w, 1, 2);
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, false); });
       w.run("producer", 0, [](world& v) {
         v.at(0).reclaim();
         v.at(0).put(key, 2, 1);
       });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"erase against claim", "an object is erased while a reader claims it; its slot is used again and erased again", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       published(w, 1, 1);
       w.run("reader", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("eraser", 2, [](world& v) { v.at(2).erase(key); });
       w.run("producer", 0, [](world& v) {
         v.at(0).reclaim();
         if (!v.at(0).put(key, 2, 1)) v.at(0).erase(key);
       });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"late claims undone", "two readers and an eraser race for an object; the next one in its slot must have its claims", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       published(w, 1, 1);
       w.run("late reader", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("producer", 0, [](world& v) {
         v.at(0).erase(key);
         v.at(0).reclaim();
         if (v.at(0).put(key, 2, 1)) return;
         v.at(0).erase(key);
         v.at(0).use_blocks();
       });
       w.run("next reader", 2, [](world& v) { v.at(2).get(key, false, disposition::give_back); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 1, 0)},

    {"a share ends, another begins", "of two shares one ends while the other begins; then the object is erased and its slot used again", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       published(w, 1, 2);
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, false); });
       w.run("producer", 0, [](world& v) {
         v.at(0).erase(key);
         v.at(0).reclaim();
         v.at(0).put(key, 2, 1);
       });
     },
     nullptr, quick(2, 1, 0), coarse(4, 1, 0)},

    {"kept and erased", "two readers of a kept object come and go; it is erased and its slot used again", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       published(w, 1, for_anybody);
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, false); });
       w.run("producer", 0, [](world& v) {
         v.at(0).erase(key);
         v.at(0).reclaim();
         v.at(0).put(key, 2, 1);
       });
     },
     nullptr, coarse(3, 1, 0), coarse(4, 1, 0)},

    {"kept, and a reader dies", "a reader of a kept object dies anywhere; it is erased, and nothing of it is left", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.add(3);
       published(w, 1, for_anybody);
       w.run_mortal("reader", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("eraser", 2, [](world& v) {
         v.at(2).get(key, false);
         v.at(2).erase(key);
       });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(1); });
     },
     nullptr, coarse(2, 1, 1), coarse(4, 1, 1)},

    {"reader dies", "a reader dies anywhere; what it held is read by another, or erased", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.add(3);
       w.may_stay = true;
       published(w, 1, 1);
       w.run_mortal("reader", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("producer", 0, [](world& v) {
         v.at(0).erase(key);
         v.at(0).reclaim();
         v.at(0).put(key, 2, 1);
       });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(1); });
     },
     nullptr, quick(2, 1, 1), coarse(-1, -1, 1)},

    {"producer dies", "a producer dies anywhere in a put; what was acknowledged is kept until its lease ends", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(3);
       w.may_stay = true;
       w.run_mortal("producer", 0, [](world& v) {
         if (!v.at(0).put(key, 1, 1, on_existing::fail, 5000)) v.got[0] = 1;
       });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(0); });
       w.run("reader", 1, [](world& v) { v.got[1] = v.at(1).get(key, false); });
     },
     [](world& w) {
       if (w.got[0] == 0 || w.got[1] != 0) return;
       auto& s = w.dir.slot_at(1);
       if (shm::control::state(s.ctl.load()) != shm::slot_state::ready) vm->violation("an acknowledged object is gone before its lease");
       if (w.died(0) && s.expires.load() != 1000 + 5000) vm->violation("the lease of a dead producer's object did not begin");
     },
     quick(2, 1, 1), full(-1, -1, 1)},

    {"producer leaves", "a producer says goodbye while a reader has its last object, which has a lease", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       published(w, 1, 2, 5000);
       w.run("producer", 0, [](world& v) { v.at(0).leave(); });
       w.run("reader 1", 1, [](world& v) { v.got[1] = v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.got[2] = v.at(2).get(key, false); });
     },
     [](world& w) {
       auto const life = w.dir.participant_at(0).state.load();
       if (w.got[1] == 0 || w.got[2] == 0) vm->violation("an object with a lease is gone with its producer");
       if (life != shm::participant_state::free) vm->violation("nothing of a producer is left, but nobody settled it");
     },
     quick(2, 1, 0), coarse(4, 2, 0)},

    {"cleaner dies", "who tidies up after a dead reader dies at it; another goes on", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.add(3);
       w.may_stay = true;
       published(w, 1, 1);
       w.run_mortal("reader", 1, [](world& v) { v.at(1).get(key, false); });
       auto& first = w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(1); });
       first.mortal = true;
       w.run_after_death("second cleaner", 2, 1, [](world& v) {
         v.at(2).sweep(1);
         v.at(2).sweep(3);
       });
       w.run("producer", 0, [](world& v) { v.at(0).erase(key); });
     },
     nullptr, quick(1, 0, 2), coarse(3, 1, 2)},

    {"cleaner of a producer dies", "who tidies up after a dead producer dies at it; another goes on", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(2);
       w.add(3);
       published(w, 1, 1);
       w.run_mortal("producer", 0, [](world& v) {
         v.at(0).put(other_key, 2, 1);
         v.got[0] = 1;
         v.at(0).erase(key);
         v.at(0).erase(other_key);
       });
       auto& first = w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(0); });
       first.mortal = true;
       w.run_after_death("second cleaner", 2, 1, [](world& v) {
         v.at(2).sweep(0);
         v.at(2).sweep(3);
       });
       w.run("reader", 1, [](world& v) { v.at(1).get(key, false); });
     },
     nullptr, quick(1, 0, 1), coarse(1, 1, 2)},

    {"waiter is woken", "two readers wait for an object, asleep or about to be", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, true); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, true); });
       w.run("producer", 0, [](world& v) { v.at(0).put(key, 1, 2); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 2, 0)},

    {"given back", "the only share is given back while another reader waits for it", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       published(w, 1, 1);
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, false, disposition::give_back); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, true); });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"dead reader's share", "a reader dies with the only share while another waits for it", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.add(3);
       published(w, 1, 1);
       w.run_mortal("reader 1", 1, [](world& v) { v.got[1] = v.at(1).get(key, false, disposition::give_back); });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(1); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, true); });
     },
     nullptr, quick(2, 1, 1), full(-1, -1, 1)},

    {"one of two keys", "a reader waits for two keys at once and a producer puts one of them", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.run("reader", 1, [](world& v) { v.at(1).get_any("2k", "3k"); });
       w.run("producer", 0, [](world& v) { v.at(0).put("3k", 1, 1); });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"listener is rung", "a reader begins to listen, then steps whenever it is rung; a producer puts, another reader gives an object back", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(2);
       published(w, 1, 1);
       w.run("listener", 1, [](world& v) {
         v.at(1).listen();
         v.got[1] = v.at(1).get_when_rung(key);
       });
       w.run("reader", 2, [](world& v) { v.at(2).get(key, false, disposition::give_back); });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"listener beside others", "a reader begins to listen while its neighbour ends to; a producer puts", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.at(2).listen();
       w.run("listener", 1, [](world& v) {
         v.at(1).listen();
         v.at(1).get_when_rung(key);
       });
       w.run("neighbour", 2, [](world& v) { v.at(2).stop_listening(); });
       w.run("producer", 0, [](world& v) { v.at(0).put(key, 1, 1); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 1, 0)},

    {"listener dies", "a listener dies while it begins or ends to be one, beside another that begins; a producer puts", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.add(3);
       w.run("listener", 1, [](world& v) {
         v.at(1).listen();
         v.at(1).get_when_rung(key);
       });
       w.run_mortal("neighbour", 2, [](world& v) {
         v.at(2).listen();
         v.at(2).stop_listening();
       });
       w.run_after_death("cleaner", 3, 1, [](world& v) { v.at(3).sweep(2); });
       w.run("producer", 0, [](world& v) { v.at(0).put(key, 1, 1); });
     },
     nullptr, quick(1, 1, 1), coarse(2, 1, 1)},

    {"listener of the dead", "a reader dies with the only share while a listener waits for it", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.add(3);
       published(w, 1, 1);
       w.run_mortal("reader", 1, [](world& v) { v.at(1).get(key, false, disposition::give_back); });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(1); });
       w.run("listener", 2, [](world& v) {
         v.at(2).listen();
         v.at(2).get_when_rung(key);
       });
     },
     nullptr, quick(2, 1, 1), full(-1, -1, 1)},

    {"replace against claim", "an object is replaced while a reader claims it", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       published(w, 1, 1);
       w.run("producer", 0, [](world& v) {
         v.at(0).put(key, 2, 2, on_existing::replace);
         v.at(0).use_blocks();
         v.got[0] = 1;
       });
       w.run("reader 1", 1, [](world& v) { v.got[1] = v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.got[2] = v.at(2).get(key, true); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 1, 0)},

    {"two puts of one key", "two producers put one key; one of them may replace the other's", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(4, 1, 1);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         if (!v.at(0).put(key, 1, 1)) v.got[0] = 1;
       });
       w.run("replacing producer", 4, [](world& v) {
         if (!v.at(4).put(key, 2, 1, on_existing::replace)) v.got[4] = 1;
       });
       w.run("reader", 1, [](world& v) { v.got[1] = v.at(1).get(key, false); });
     },
     [](world& w) {
       if (w.got[4] == 0) return vm->violation("a replacing put failed");
       std::uint32_t there = 0;
       for (std::uint32_t i = 0; i != w.dir.layout().slots; ++i)
         if (shm::control::state(w.dir.slot_at(i).ctl.load()) == shm::slot_state::ready) ++there;
       if (there > 1) vm->violation("one key has two objects");
     },
     quick(2, 1, 0), coarse(4, 1, 0)},

    {"dead holder of a key", "a producer dies anywhere, also with the lock of a key; another puts the same key", [](world& w) {
       w.add(0, 0, 1);
       w.add(3);
       w.add(4, 1, 1);
       w.may_stay = true;
       w.run_mortal("producer", 0, [](world& v) { v.at(0).put(key, 1, 1); });
       w.run("other producer", 4, [](world& v) { v.at(4).put(key, 2, 1); });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(0); });
     },
     nullptr, quick(1, 1, 1), coarse(2, 1, 1)},

    {"a slot changes hands", "what a producer put was read, and another puts into its slot before the first looks for its block", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(4, 1, 1);
       w.may_stay = true;
       published(w, 1, 1);
       w.run("reader", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("first", 0, [](world& v) {
         v.at(0).reclaim();
         v.at(0).put(other_key, 2, 1);
         v.at(0).use_blocks();
       });
       w.run("second", 4, [](world& v) { v.at(4).put(key, 3, 1); });
     },
     nullptr, quick(2, 1, 0), coarse(3, 2, 0)},

    {"one home, two keys", "two producers put keys of one home, so that one lies elsewhere; a reader waits for both, one after the other", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(4, 1, 1);
       w.run("producer", 0, [](world& v) { v.at(0).put(key, 1, 1); });
       w.run("other producer", 4, [](world& v) { v.at(4).put(other_key, 2, 1); });
       w.run("reader", 1, [](world& v) {
         v.got[1] = v.at(1).get(other_key, true);
         v.got[2] = v.at(1).get(key, true);
       });
     },
     [](world& w) {
       if (w.got[1] != 2 || w.got[2] != 1) vm->violation("a reader has not had what it waited for");
     },
     quick(2, 1, 0), coarse(3, 2, 0)},

    {"two homes give way", "objects that lie beside their homes come and go; what stays is found", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(4, 2, 1);
       published(w, 1, 1);
       if (w.at(0).put(other_key, 2, 1)) give_up("the second put of a story failed");
       w.run("eraser", 0, [](world& v) { v.at(0).erase(key); });
       w.run("producer", 4, [](world& v) {
         v.at(4).put("1n", 3, 1);
         v.at(4).erase("1n");
       });
       w.run("reader", 1, [](world& v) { v.got[1] = v.at(1).get(other_key, false); });
     },
     [](world& w) {
       if (w.got[1] != 2) vm->violation("an object that was there all the time was not found");
     },
     quick(2, 1, 0), coarse(3, 2, 0)},

    {"producer at a home dies", "a producer dies anywhere in the put of a key whose home is taken; another key of that home is found all the time", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(3);
       w.add(4, 1, 2);
       w.may_stay = true;
       published(w, 1, 1);
       if (w.at(4).put(other_key, 2, 1)) give_up("the second put of a story failed");
       w.run_mortal("producer", 0, [](world& v) { v.at(0).put_short("1n", 3, 1); });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(0); });
       w.run("reader", 1, [](world& v) { v.got[1] = v.at(1).get(other_key, false, disposition::give_back); });
     },
     [](world& w) {
       if (w.got[1] != 2) vm->violation("an object that was there all the time was not found");
     },
     quick(2, 1, 1), coarse(3, 1, 1)},

    {"short puts", "one producer puts twice into one slot, payloads beside their keys; two readers take one share each", [](world& w) {
       w.add(0);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         v.at(0).put_short(key, 1, 1);
         v.at(0).put_short(key, 2, 1);
       });
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, false); });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"puts at once", "one producer puts two blocks that were written before, under two keys of one home, another erases one of them; two readers", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         v.at(0).put_written(key, 1, 1);
         v.at(0).use_blocks();
         v.at(0).put_written(other_key, 2, 1);
       });
       w.run("reader", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("eraser", 2, [](world& v) { v.at(2).erase(key); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 1, 0)},

    {"short put wakes", "two readers wait for a short object, asleep or about to be", [](world& w) {
       w.add(0);
       w.add(1);
       w.add(2);
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, true); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, true); });
       w.run("producer", 0, [](world& v) { v.at(0).put_short(key, 1, 2); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 2, 0)},

    {"short put dies", "a producer dies anywhere in a short put; what was acknowledged is kept until its lease ends, and another puts the same key", [](world& w) {
       w.add(0);
       w.add(1);
       w.add(3);
       w.add(4, 0, 1);
       w.may_stay = true;
       w.run_mortal("producer", 0, [](world& v) {
         if (!v.at(0).put_short(key, 1, 1, on_existing::fail, 5000)) v.got[0] = 1;
       });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(0); });
       w.run("other producer", 4, [](world& v) { v.got[4] = v.at(4).put(key, 2, 1) ? 1 : 2; });
     },
     [](world& w) {
       if (w.got[0] == 0) return;
       bool there = false;
       for (std::uint32_t i = 0; i != w.dir.layout().slots; ++i) there = there || shm::control::state(w.dir.slot_at(i).ctl.load()) == shm::slot_state::ready;
       if (w.got[4] != 1) vm->violation("one key has two objects");
       if (!there) vm->violation("an acknowledged object is gone before its lease");
     },
     quick(2, 1, 1), coarse(3, 1, 1)},

    {"named put dies", "a producer dies anywhere in a put for a reader with a name; the next object in that slot is for anyone", [](world& w) {
       w.add(0);
       w.add(1);
       w.add(2);
       w.add(3);
       w.may_stay = true;
       w.run_mortal("producer", 0, [](world& v) { v.at(0).put_named(key, 1, "x"); });
       w.run("another", 2, [](world& v) { v.at(2).get("1m", false); });  // so that the first may be interrupted, and die then
       w.run_after_death("other producer", 1, 0, [](world& v) {
         v.at(3).sweep(0);
         v.at(1).erase(key);
         if (!v.at(1).put_short(key, 2, 1)) v.got[1] = v.at(2).get(key, false) + 1;
       });
     },
     [](world& w) {
       if (w.got[1] != 0 && w.got[1] != 3) vm->violation("an object for anyone is read by nobody");
     },
     quick(1, 0, 1), coarse(2, 1, 1)},

    {"plain objects take turns", "two objects without a second line, one after the other in a slot; two readers take one share each", [](world& w) {
       w.add(0);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         v.at(0).put_plain(key, 1, 1);
         v.at(0).put_plain(key, 2, 1);
       });
       w.run("reader 1", 1, [](world& v) { v.got[1] = v.at(1).get_plain(key, false); });
       w.run("reader 2", 2, [](world& v) { v.got[2] = v.at(2).get_plain(key, false); });
     },
     [](world& w) {
       if (w.got[1] != 0 && w.got[1] == w.got[2]) vm->violation("two readers of one have had it");
       if (w.got[1] > 2 || w.got[2] > 2) vm->violation("who reads has what nobody put");
     },
     quick(2, 1, 0), coarse(3, 1, 0)},

    {"plain object wakes", "two readers, each with an operation of its own, wait for an object for both", [](world& w) {
       w.add(0);
       w.add(1);
       w.add(2);
       w.run("reader 1", 1, [](world& v) { v.got[1] = v.at(1).get_plain(key, true); });
       w.run("reader 2", 2, [](world& v) { v.got[2] = v.at(2).get_plain(key, true); });
       w.run("producer", 0, [](world& v) { v.at(0).put_plain(key, 1, 2); });
     },
     [](world& w) {
       if (w.got[1] != 1 || w.got[2] != 1) vm->violation("a reader has not had what it waited for");
     },
     quick(1, 1, 0), coarse(2, 1, 0)},

    {"short replaces against claim", "an object is replaced by a short one while a reader claims it", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       published(w, 1, 1);
       w.run("producer", 0, [](world& v) {
         v.at(0).put_short(key, 2, 2, on_existing::replace);
         v.at(0).use_blocks();
       });
       w.run("reader 1", 1, [](world& v) { v.at(1).get(key, false); });
       w.run("reader 2", 2, [](world& v) { v.at(2).get(key, true); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 1, 0)},

    {"followed while it is written", "two readers of one share claim an object while it is being written, one of them for a moment only; then its slot is used again", [](world& w) {
       w.add(0, 0, 2);
       w.add(1);
       w.add(2);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         v.at(0).put(key, 1, 1);
         v.at(0).use_blocks();
         v.at(0).put(key, 2, 1);
       });
       w.run("reader", 1, [](world& v) { v.at(1).follow(key, true); });
       w.run("looker", 2, [](world& v) { v.at(2).follow(key, false, disposition::give_back); });
     },
     nullptr, quick(2, 1, 0), coarse(4, 1, 0)},

    {"followed and given up", "a put is given up while a reader follows it; the block is used again only when the reader has let go", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         v.at(0).begin_and_give_up(key, 1, 1);
         v.at(0).use_blocks();
         v.at(0).put(key, 2, 1);
       });
       w.run("reader", 1, [](world& v) { v.at(1).follow(key, false); });
     },
     nullptr, quick(2, 1, 0), full(-1, -1, 0)},

    {"followed and replaced", "a put is beaten by one that replaces, while a reader waits and follows", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(4, 1, 1);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) { v.at(0).put(key, 1, 1); });
       w.run("replacing producer", 4, [](world& v) { v.at(4).put(key, 2, 1, on_existing::replace); });
       w.run("reader", 1, [](world& v) { v.got[1] = v.at(1).follow(key, true); });
     },
     [](world& w) {
       if (w.got[1] == 0) vm->violation("a reader has not had what it waited for");
     },
     quick(2, 1, 0), coarse(3, 1, 0)},

    {"writer that is followed dies", "a producer dies anywhere in a put that a reader follows", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(3);
       w.may_stay = true;
       w.run_mortal("producer", 0, [](world& v) { v.at(0).put(key, 1, 1, on_existing::fail, 5000); });
       w.run_after_death("cleaner", 3, 0, [](world& v) { v.at(3).sweep(0); });
       w.run("reader", 1, [](world& v) { v.at(1).follow(key, false, disposition::give_back); });
     },
     nullptr, quick(2, 1, 1), full(-1, -1, 1)},

    {"follower dies", "a reader dies anywhere while it follows a put, which is given up or comes to its end", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(3);
       w.may_stay = true;
       w.run("producer", 0, [](world& v) {
         v.at(0).begin_and_give_up(key, 1, 1);
         v.at(0).put(key, 2, 1);
       });
       w.run_mortal("reader", 1, [](world& v) { v.at(1).follow(key, false); });
       w.run_after_death("cleaner", 3, 1, [](world& v) { v.at(3).sweep(1); });
     },
     nullptr, quick(2, 1, 1), coarse(4, 1, 1)},

    {"read while it grows", "who reads an object that is never finished is woken by its step, wherever it was", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.may_grow = true;
       w.run("producer", 0, [](world& v) { v.at(0).grow(key, 1); });
       w.run("reader", 1, [](world& v) { v.got[1] = v.at(1).read_growing(key); });
     },
     [](world& w) {
       if (w.got[1] != 1) vm->violation("a reader has not had what was there");
     },
     quick(2, 1, 0), full(-1, -1, 0)},

    {"writer of a growing object dies", "who waits for more of an object is woken when its producer dies", [](world& w) {
       w.add(0, 0, 1);
       w.add(1);
       w.add(3);
       w.may_grow = w.may_stay = true;
       w.run_mortal("producer", 0, [](world& v) { v.at(0).grow(key, 1); });
       w.run_after_death("cleaner", 3, 0, [](world& v) {
         v.at(3).sweep(0);
         v.at(3).put_short(key, 2, 1);
       });
       w.run("reader", 1, [](world& v) { v.at(1).read_growing(key); });
     },
     [](world& w) {
       if (w.at(1).given_up) vm->violation("a reader is told that a writer gave up that died");
     },
     quick(2, 1, 1), coarse(4, 1, 1)},
};

}  // namespace model
