// SPDX-License-Identifier: Apache-2.0
// The words that processes share, and in which order they are changed: publication, claims, release, retirement.
//
// Life of a slot: free → (writing →) ready → (draining →) free, or writing → withdrawn → free, with the next generation. A producer that has the lock describes its object in a free one near the key's home; anybody
// may drain and retire. A reader claims first and validates afterwards: the claim is a sequentially consistent RMW, and so is the retirement after which claims are scanned, so that one of
// the two sees the other.
//
// `dir` is a `directory`, or what the model checker takes for one: all that is asked of the system is asked through it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/layout.hpp>
#include <omniconn/transport/shm/listen.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Tells everybody who sleeps until something happens to a key with this home, or waits for several keys, to look again.
///
/// Who waits counts itself in, reads the bell, looks, sleeps; we change the slot, then read the count. All sequentially consistent, so that either it sees the change or we see it. Who
/// spins looks at the slot itself, and a bell that nobody sleeps on is left alone: the line is the one that changes hands.
inline void ring(auto const& dir, std::uint64_t hash) noexcept {
  auto& home = dir.slot_at(dir.home_of(hash));
  if (home.sleepers.load() != 0) {
    home.bell.fetch_add(1);
    dir.wake(home.bell);
  }
  if (auto& head = dir.head(); head.multi_waiters.load() != 0) {
    head.multi_seq.fetch_add(1);
    dir.wake(head.multi_seq);
  }
  ring_listeners(dir);
}

/// Wakes everybody who sleeps. For a process that died: it may have changed something and not come to ring for it.
inline void ring_all(auto const& dir) noexcept {
  auto const wake = [&dir](auto& bell, auto const& sleepers) {
    if (sleepers.load() == 0) return;
    bell.fetch_add(1);
    dir.wake(bell);
  };
  for (std::uint32_t i = 0; i != dir.layout().slots; ++i) wake(dir.slot_at(i).bell, dir.slot_at(i).sleepers);
  wake(dir.head().multi_seq, dir.head().multi_waiters);
  ring_listeners(dir);
}

/// Calls `visit(index, control word)` for each slot that may have an object of this hash, until it returns true.
template <class Directory, class Visit>
[[gnu::always_inline]] inline bool for_each_of(Directory const& dir, std::uint64_t hash, Visit&& visit) {
  std::uint32_t const home = dir.home_of(hash), last = dir.layout().slots - 1;
  std::uint32_t reach = 0;
  for (std::uint32_t distance = 0; distance <= reach && distance <= last; ++distance) {
    std::uint32_t const index = (home + distance) & last;
    std::uint64_t const word = dir.slot_at(index).ctl.load();
    if (control::tag(word) == control::tag_of(hash) && control::is_object(word) && visit(index, word)) return true;
    if (distance == 0) reach = spread::reach(dir.slot_at(home).spread.load());  // mostly 0
  }
  return false;
}

/// Before the object in slot `index` can be seen: whoever looks for a key of that hash looks so far.
inline void widen(auto const& dir, std::uint64_t hash, std::uint32_t index) noexcept {
  std::uint32_t const home = dir.home_of(hash);
  if (index == home) return;
  auto& word = dir.slot_at(home).spread;
  std::uint32_t w = word.load();
  while (!word.compare_exchange_weak(w, spread::raised(w, (index - home) & (dir.layout().slots - 1)))) {
  }
  failpoint("shm.put.widened");
}
/// After its end, by the one who ended it.
inline void narrow(auto const& dir, std::uint64_t hash, std::uint32_t index) noexcept {
  std::uint32_t const home = dir.home_of(hash);
  if (index == home || ((index - home) & (dir.layout().slots - 1)) >= window) return;  // a flipped bit names another home, mostly one that is far away
  auto& word = dir.slot_at(home).spread;
  std::uint32_t w = word.load();
  while (!word.compare_exchange_weak(w, spread::lowered(w))) {
  }
}

/// Number of places for readers of a slot's object, whatever the shared word says.
inline std::uint32_t readers_of(auto const& dir, auto const& s) noexcept {
  std::uint32_t const n = s.readers.load(std::memory_order_relaxed) & ~unsigned{s.named};
  return n <= dir.layout().readers ? n : dir.layout().readers;
}

/// Whether the places of an object are of readers with names.
inline bool is_named(auto const& s) noexcept { return (s.readers.load(std::memory_order_relaxed) & s.named) != 0; }

/// For anybody, any number of times: each place is one that holds it now.
inline bool is_kept(auto const& s) noexcept { return s.readers.load(std::memory_order_relaxed) == s.kept; }

/// Participant `i` may have room again. Sequentially consistent like what made it: it counts itself in, looks, sleeps; we make room, then read the count.
inline void tell_of_room(auto const& dir, std::uint32_t i) noexcept {
  if (i >= std::remove_cvref_t<decltype(dir)>::most_participants) return;
  auto& p = dir.participant_at(i);
  if (p.wants_room.load() == 0) return;
  p.room_seq.fetch_add(1);
  dir.wake(p.room_seq);
}

/// Frees the slot if nobody needs the object of this generation any more. Anyone may call it, any number of times.
/// \returns true for the one caller that retired it.
inline bool try_retire(auto const& dir, std::uint32_t index, std::uint64_t generation) noexcept {
  auto& s = dir.slot_at(index);
  for (;;) {
    std::uint64_t c = s.ctl.load();
    if (control::generation(c) != generation) return false;
    auto const state = control::state(c);
    if (state != slot_state::ready && !control::is_going(c)) return false;
    // Claims are scanned after ctl was read: a claim made in between re-reads ctl and finds it changed, or is found here.
    bool needed = state == slot_state::ready && is_kept(s);
    for (std::uint32_t i = 0, n = readers_of(dir, s); i != n && !needed; ++i) {
      auto const held = claim::state_of(claim::as_of(dir.claim_at(index, i).load(), generation, is_named(s)));
      needed = state == slot_state::ready ? held != claim::state::done : held == claim::state::hold;
    }
    if (needed) return false;
    // Read before the slot is anybody else's.
    std::uint64_t const hash = s.hash.load(std::memory_order_relaxed);
    std::uint32_t const owner = s.owner.load(std::memory_order_relaxed);
    failpoint("shm.retire.unneeded");
    if (!s.ctl.compare_exchange_strong(c, control::free(generation + 1))) continue;
    failpoint("shm.retire.freed");
    narrow(dir, hash, index);
    tell_of_room(dir, owner);  // its block is free; it sees so by the generation
    failpoint("shm.retire.owner_told");
    ring(dir, hash);  // who waits by locator learns that it is gone
    return true;
  }
}

/// Nobody finds the object any more; who holds it keeps it. \returns true for the one caller that took it away.
inline bool drain(auto const& dir, std::uint32_t index, std::uint64_t generation) noexcept {
  auto& s = dir.slot_at(index);
  std::uint64_t c = s.ctl.load();
  std::uint64_t const hash = s.hash.load(std::memory_order_relaxed);
  if (control::generation(c) != generation || control::state(c) != slot_state::ready || !s.ctl.compare_exchange_strong(c, control::become(c, slot_state::draining))) return false;
  failpoint("shm.drain.draining");
  ring(dir, hash);
  try_retire(dir, index, generation);
  return true;
}

/// An object that will never be whole: its producer gave it up, or died. Whoever reads it already keeps the memory until it notices. For anybody, any number of times.
inline void withdraw(auto const& dir, std::uint32_t index, std::uint64_t generation) noexcept {
  auto& s = dir.slot_at(index);
  std::uint64_t c = s.ctl.load();
  std::uint64_t const hash = s.hash.load(std::memory_order_relaxed);
  do {
    if (control::generation(c) != generation || (control::state(c) != slot_state::writing && control::state(c) != slot_state::beaten)) return;
  } while (!s.ctl.compare_exchange_strong(c, control::become(c, slot_state::withdrawn)));
  failpoint("shm.withdraw.draining");
  ring(dir, hash);
  try_retire(dir, index, generation);
}

inline bool expired(auto const& s, std::uint64_t now) noexcept {
  std::uint64_t const end = s.expires.load();
  return end != 0 && now >= end;
}

/// The producer is gone and the lease has ended. No checksum covers when it ends, because that is written later than the rest: what a flipped bit says of a living
/// producer's object, which has no lease yet, is not believed.
///
/// The producer is asked about first: who comes to an object that was put just now has that line, and does not have the one with the end of the lease yet.
inline bool lease_is_over(auto const& dir, auto const& s) noexcept {
  std::uint32_t const owner = s.owner.load(std::memory_order_relaxed);
  if (owner >= std::remove_cvref_t<decltype(dir)>::most_participants || dir.participant_at(owner).state.load() == participant_state::live) return false;
  return expired(s, dir.now());
}

/// What became of an attempt to claim.
enum class claim_outcome : std::uint8_t {
  taken,     ///< the caller holds it
  gone,      ///< it ended meanwhile
  waiting,   ///< all places are taken, but some may be given back
  not_ours,  ///< every place belongs to another reader name
  consumed,  ///< this reader name has had its share
};

/// A place of a slot, chosen for a reader; nothing is written.
struct chosen_place {
  claim_outcome outcome = claim_outcome::gone;  ///< `taken`: `place` may be taken
  std::uint32_t place = 0;
  std::uint64_t seen = 0;  ///< what the place's word was
};

/// Our own place decides at once; otherwise the first free place of anyone.
[[gnu::always_inline]] inline chosen_place choose_place(auto const& dir, std::uint32_t index, std::uint64_t generation, std::uint16_t reader) noexcept {
  std::uint32_t const n = readers_of(dir, dir.slot_at(index));
  bool const named = is_named(dir.slot_at(index));
  chosen_place out{claim_outcome::not_ours, 0, 0};
  for (std::uint32_t i = 0; i != n; ++i) {
    std::uint64_t const word = dir.claim_at(index, i).load(), w = claim::as_of(word, generation, named);
    if (claim::is_later(word, generation)) return {};
    if (claim::reader(w) == reader) {
      if (claim::state_of(w) == claim::state::hold) return {claim_outcome::waiting, 0, 0};
      if (claim::state_of(w) != claim::state::done) return {claim_outcome::taken, i, word};
      // Where all are done the object is gone: whoever had the last share is about to retire it.
      for (std::uint32_t k = 0; k != n; ++k) {
        std::uint64_t const other = dir.claim_at(index, k).load();
        if (claim::is_later(other, generation)) return {};
        if (claim::state_of(claim::as_of(other, generation, named)) != claim::state::done) return {claim_outcome::consumed, 0, 0};
      }
      return {};
    }
    if (out.outcome == claim_outcome::taken) continue;
    if (claim::state_of(w) == claim::state::hold && !claim::named(w)) out.outcome = claim_outcome::waiting;
    if (claim::reader(w) == claim::anyone && claim::state_of(w) == claim::state::empty) out = {claim_outcome::taken, i, word};
  }
  return out;
}

/// Of a kept object, any place that nobody holds.
inline chosen_place choose_any_place(auto const& dir, std::uint32_t index, std::uint64_t generation) noexcept {
  for (std::uint32_t i = 0, n = readers_of(dir, dir.slot_at(index)); i != n; ++i) {
    std::uint64_t const word = dir.claim_at(index, i).load();
    if (claim::is_later(word, generation)) return {};
    if (claim::state_of(claim::as_of(word, generation, false)) == claim::state::empty) return {claim_outcome::taken, i, word};
  }
  return {claim_outcome::waiting, 0, 0};
}

/// Takes a place at the object that `word`, seen as a slot's control word, is of for reader `reader`. On `taken`, the bytes are pinned and `place` names the claim word; the object is
/// whole, or still being written.
[[gnu::always_inline]] inline claim_outcome take_claim(auto const& dir, std::uint32_t index, std::uint64_t word, std::uint16_t participant,
                                std::uint16_t reader, std::uint32_t& place) noexcept {
  auto& s = dir.slot_at(index);
  std::uint64_t const generation = control::generation(word);
  for (;;) {
    if (!control::may_be_claimed(s.ctl.load(), word)) return claim_outcome::gone;
    bool const kept = is_kept(s), named = is_named(s);
    auto chosen = kept ? choose_any_place(dir, index, generation) : choose_place(dir, index, generation, reader);
    if (chosen.outcome != claim_outcome::taken) return chosen.outcome;
    // The place was read before this: what it says is of no later object, however long we had been stopped, and where it changes now the next line fails.
    if (!control::may_be_claimed(s.ctl.load(), word)) return claim_outcome::gone;
    auto& place_word = dir.claim_at(index, chosen.place);
    std::uint64_t const mine = claim::make(generation, participant, kept ? claim::anyone : reader, named, claim::state::hold, dir.claim_time());
    if (!place_word.compare_exchange_strong(chosen.seen, mine)) continue;

    failpoint("shm.get.claimed");
    // Two takers of one reader name (two threads, two replicas) may each have found a free place. Who sees the other yields: whichever came
    // second sees the first, in whatever order the places became free. Both may yield; then both look again and choose the same place.
    bool twice = false;
    for (std::uint32_t i = 0, n = kept ? 0 : readers_of(dir, s); i != n && !twice; ++i) {
      if (i == chosen.place) continue;
      twice = claim::reader(claim::as_of(dir.claim_at(index, i).load(), generation, named)) == reader;
    }
    if (!twice && control::may_be_claimed(s.ctl.load(), word)) {
      failpoint("shm.get.validated");
      if (kept && s.touched.load(std::memory_order_relaxed) == 0) s.touched.store(1, std::memory_order_relaxed);
      place = chosen.place;
      return claim_outcome::taken;
    }
    // By CAS, not by a store: the word may belong to the next generation already.
    std::uint64_t undo = mine;
    place_word.compare_exchange_strong(undo, claim::emptied(mine));
    failpoint("shm.get.undone");
    ring(dir, s.hash.load(std::memory_order_relaxed));  // whoever saw the place taken looks again
    try_retire(dir, index, generation);
  }
}

/// Ends a claim. \returns true where this retired the slot.
inline bool release_claim(auto const& dir, std::uint32_t index, std::uint64_t generation, std::uint32_t place, bool consumed) noexcept {
  auto& word = dir.claim_at(index, place);
  consumed = consumed && !is_kept(dir.slot_at(index));  // whoever reads a kept object leaves it to the next
  failpoint("shm.release.begun");
  std::uint64_t w = word.load();
  while (claim::of_generation(w, generation) && claim::state_of(w) == claim::state::hold) {
    std::uint64_t const next = consumed ? (w & ~std::uint64_t{3}) | static_cast<std::uint64_t>(claim::state::done) : claim::emptied(w);
    if (word.compare_exchange_weak(w, next)) break;
  }
  failpoint("shm.release.claim_ended");
  std::uint64_t const hash = dir.slot_at(index).hash.load(std::memory_order_relaxed);
  bool const retired = try_retire(dir, index, generation);
  if (!retired) ring(dir, hash);
  return retired;
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
