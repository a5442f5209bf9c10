// SPDX-License-Identifier: Apache-2.0
// Plays the stories, with and without faults that must be noticed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <model/scenarios.hpp>

namespace model {

constexpr std::uint64_t of(kind k) { return std::uint64_t{1} << static_cast<unsigned>(k); }

/// The same protocol with one rule taken away, and a story in which that shows.
struct mutant {
  char const* name;
  int trap;  // number in the list of what a protocol like this one gets wrong; docs/model-checking.md has it
  char const* story;
  bounds within;
  fault wrong;
  weakening weak;
};

inline mutant const mutants[] = {
    {"claims are scanned before the control word is read", 1, "a share ends, another begins", coarse(3, 0, 0), fault::claims_before_ctl, {}},
    {"the control word is not read again after the claim", 2, "erase against claim", coarse(2, 0, 0), fault::no_second_look, {}},
    {"a late claim is undone by a store", 3, "late claims undone", coarse(5, 0, 0), fault::undo_by_store, {}},
    {"claims have no generation", 4, "one home, two keys", coarse(1, 0, 0), fault::claim_no_generation, {}},
    {"recovery overlooks what the dead were writing", 5, "producer dies", coarse(1, 0, 1), fault::writing_overlooked, {}},
    {"claims and control word only acquire and release", 6, "erase against claim", coarse(2, 1, 0), fault::none,
     {of(kind::ctl) | of(kind::claim), std::memory_order_acquire, std::memory_order_acq_rel}},
    {"claims only acquire and release", 6, "erase against claim", coarse(2, 1, 0), fault::none,
     {of(kind::claim), std::memory_order_acquire, std::memory_order_acq_rel}},
    {"claims are relaxed", 6, "erase against claim", coarse(2, 1, 0), fault::none, {of(kind::claim), std::memory_order_relaxed, std::memory_order_relaxed}},
    {"the control word is relaxed", 6, "put, get, reuse", coarse(1, 1, 0), fault::none, {of(kind::ctl), std::memory_order_relaxed, std::memory_order_relaxed}},
    {"the bell only acquires and releases", 17, "waiter is woken", coarse(2, 1, 0), fault::none,
     {of(kind::bell) | of(kind::sleepers), std::memory_order_acquire, std::memory_order_acq_rel}},
    {"the bits of listeners only acquire and release", 17, "listener is rung", coarse(2, 1, 0), fault::none,
     {of(kind::listeners), std::memory_order_acquire, std::memory_order_acq_rel}},
};

/// Plays a story within bounds, with or without a fault.
inline verdict play(scenario const& s, bounds const& within, fault wrong = fault::none, weakening const& weak = {}) {
  machine m;
  vm = &m;
  directory const dir;
  m.limit = within;
  m.wrong = wrong;
  m.weak = weak;
  world* w = nullptr;
  auto out = m.explore(
      [&] {
        w = new world(dir);
        s.begin(*w);
      },
      [&] {
        if (s.check != nullptr) s.check(*w);
        check_end(*w);
      });
  vm = nullptr;
  return out;
}
inline scenario const& story(std::string_view name) {
  for (auto const& s : stories)
    if (s.name == name) return s;
  give_up("no story is called that");
}

/// "2 preemptions, any number of stale reads, 1 death"
inline std::string text_of(bounds const& b) {
  auto const number = [](int n, char const* one, char const* many) {
    return (n < 0 ? std::string("any number of ") : std::to_string(n) + " ") + (n == 1 ? one : many);
  };
  return number(b.preemptions, "preemption", "preemptions") + ", " + number(b.stale, "stale read", "stale reads") + (b.kills != 0 ? ", " + number(b.kills, "death", "deaths") : "") +
         (b.coarse ? ", none at relaxed accesses" : "");
}

}  // namespace model
