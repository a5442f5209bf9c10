// SPDX-License-Identifier: Apache-2.0
// The words that processes share, and in which order they are changed: publication, claims, release, retirement.
//
// Life of a slot: free → taken → writing → ready → (draining →) retired → free with the next generation. Only the owner of its chunk takes it
// from free to ready and from retired to free; anybody may drain and retire. A reader claims first and validates afterwards: the claim is a
// sequentially consistent RMW, and so is the retirement after which claims are scanned, so that one of the two sees the other.
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

/// Tells everybody who waits for a key of this bucket, or for several keys, to look again.
inline void ring(auto const& dir, auto& home) noexcept {
  // The waiter counts itself in, reads seq, looks, sleeps; we change the slot, then seq, then read the count. All sequentially
  // consistent, so that either it sees the change or we see the waiter.
  home.seq.fetch_add(1);
  if (home.waiters.load() != 0) dir.wake(home.seq);
  if (auto& head = dir.head(); head.multi_waiters.load() != 0) {
    head.multi_seq.fetch_add(1);
    dir.wake(head.multi_seq);
  }
  ring_listeners(dir);
}

/// Wakes everybody who sleeps. For a process that died: it may have changed something and not come to ring for it.
inline void ring_all(auto const& dir) noexcept {
  auto const wake = [&dir](auto& seq, auto const& waiters) {
    if (waiters.load() == 0) return;
    seq.fetch_add(1);
    dir.wake(seq);
  };
  for (std::uint32_t i = 0; i != dir.layout().buckets; ++i) wake(dir.bucket_at(i).seq, dir.bucket_at(i).waiters);
  wake(dir.head().multi_seq, dir.head().multi_waiters);
  ring_listeners(dir);
}

/// As `ring`, where nothing was published: only for those who sleep already. Who counts itself in later looks later, and sees the change.
inline void ring_sleepers(auto const& dir, auto& home) noexcept {
  if (home.waiters.load() != 0 || dir.head().multi_waiters.load() != 0 || dir.head().listeners.load() != 0) ring(dir, home);
}

/// Calls `visit(index)` for the slot of every entry that may belong to this hash, until it returns true.
template <class Directory, class Visit>
bool for_each_ref(Directory const& dir, std::uint64_t hash, Visit&& visit) {
  auto const& home = dir.home_of(hash);
  std::uint32_t reach = home.reach.load();
  if (reach > max_reach) reach = max_reach;  // hostile until checked
  auto const first = static_cast<std::uint32_t>(hash);
  for (std::uint32_t d = 0; d <= reach; ++d)
    for (auto const& entry : dir.bucket_at(first + d).refs) {
      std::uint64_t const ref = entry.load();
      if (!slot_ref::may_match(ref, hash)) continue;
      std::uint32_t const index = slot_ref::slot(ref);
      if (index < dir.layout().slots && visit(index)) return true;
    }
  return false;
}

/// false: no place for another key near its bucket.
inline bool insert_ref(auto const& dir, std::uint64_t hash, std::uint64_t generation, std::uint32_t index) noexcept {
  auto& home = dir.home_of(hash);
  auto const first = static_cast<std::uint32_t>(hash);
  std::uint64_t const ref = slot_ref::make(hash, generation, index);
  for (std::uint32_t d = 0; d <= max_reach; ++d)
    for (auto& entry : dir.bucket_at(first + d).refs) {
      if (entry.load(std::memory_order_relaxed) != 0) continue;
      // Before the entry: a reader that sees the entry's bell must look far enough.
      std::uint32_t reach = home.reach.load();
      while (reach < d && !home.reach.compare_exchange_weak(reach, d)) {
      }
      failpoint("shm.put.reach_raised");
      std::uint64_t expected = 0;
      if (entry.compare_exchange_strong(expected, ref)) return true;
    }
  return false;
}

/// Idempotent; anybody may call it.
inline void remove_ref(auto const& dir, std::uint64_t hash, std::uint64_t generation, std::uint32_t index) noexcept {
  std::uint64_t const ref = slot_ref::make(hash, generation, index);
  auto const& home = dir.home_of(hash);
  std::uint32_t reach = home.reach.load();
  if (reach > max_reach) reach = max_reach;
  auto const first = static_cast<std::uint32_t>(hash);
  for (std::uint32_t d = 0; d <= reach; ++d)
    for (auto& entry : dir.bucket_at(first + d).refs) {
      std::uint64_t expected = ref;
      if (entry.compare_exchange_strong(expected, 0)) return;
    }
}

/// Number of places for readers of a slot's object, whatever the shared word says.
inline std::uint32_t readers_of(auto const& dir, auto const& s) noexcept {
  std::uint32_t const n = s.readers.load(std::memory_order_relaxed);
  return n <= dir.layout().readers ? n : dir.layout().readers;
}

/// For anybody, any number of times: each place is one that holds it now.
inline bool is_kept(auto const& s) noexcept { return s.readers.load(std::memory_order_relaxed) == s.kept; }

/// No slot of the chunk has anything that somebody may still want.
inline bool chunk_is_idle(auto const& dir, std::uint32_t n) noexcept {
  for (std::uint32_t i = n * chunk_slots; i != (n + 1) * chunk_slots; ++i)
    if (auto const state = control::state(dir.slot_at(i).ctl.load()); state != slot_state::free && state != slot_state::retired) return false;
  return true;
}

/// Participant `i` has something to take back.
inline void count_return(auto const& dir, std::uint32_t i) noexcept {
  if (i >= max_participants) return;
  auto& p = dir.participant_at(i);
  p.returned_seq.fetch_add(1);
  if (p.wants_room.load() != 0) dir.wake(p.returned_seq);  // it counts itself in, looks, sleeps; we change, then read the count
}

/// Tells the keeper of the slot's chunk that the slot is its again; `except` knows. Whoever puts may have lost its chunk to another meanwhile.
inline void give_to_keeper(auto const& dir, std::uint32_t index, std::uint32_t except) noexcept {
  auto& c = dir.chunk_at(index / chunk_slots);
  c.returned.fetch_or(1U << (index % chunk_slots));
  failpoint("shm.retire.bit_set");
  if (std::uint32_t const keeper = c.owner.load() - 1; keeper != except) count_return(dir, keeper);
}

/// Tells the producer of a retired slot that it may take it back. Idempotent: recovery repeats it for one who died on the way here.
inline void give_to_owner(auto const& dir, std::uint32_t index, std::uint64_t generation, std::uint64_t hash, std::uint32_t owner) noexcept {
  remove_ref(dir, hash, generation, index);
  failpoint("shm.retire.ref_removed");
  give_to_keeper(dir, index, owner);
  count_return(dir, owner);
}

/// Retires the slot if nobody needs this generation any more. Anyone may call it, any number of times.
/// \returns true for the one caller that retired it.
inline bool try_retire(auto const& dir, std::uint32_t index, std::uint64_t generation) noexcept {
  auto& s = dir.slot_at(index);
  for (;;) {
    std::uint64_t c = s.ctl.load();
    if (control::generation(c) != generation) return false;
    auto const state = control::state(c);
    if (state != slot_state::ready && state != slot_state::draining) return false;
    // Claims are scanned after ctl was read: a claim made in between re-reads ctl and finds it changed, or is found here.
    bool needed = state == slot_state::ready && is_kept(s);
    for (std::uint32_t i = 0, n = readers_of(dir, s); i != n && !needed; ++i) {
      std::uint64_t const w = dir.claim_at(index, i).load();
      if (!claim::of_generation(w, generation)) continue;
      auto const held = claim::state_of(w);
      needed = state == slot_state::ready ? held != claim::state::done : held == claim::state::hold;
    }
    if (needed) return false;
    // Read before the slot is anybody else's.
    std::uint64_t const hash = s.hash.load(std::memory_order_relaxed);
    std::uint32_t const owner = s.owner.load(std::memory_order_relaxed);
    failpoint("shm.retire.unneeded");
    if (!s.ctl.compare_exchange_strong(c, control::make(generation, slot_state::retired))) continue;
    failpoint("shm.retire.retired");
    give_to_owner(dir, index, generation, hash, owner);
    failpoint("shm.retire.owner_told");
    ring_sleepers(dir, dir.home_of(hash));  // who waits by locator learns that it is gone
    return true;
  }
}

/// Nobody finds the object any more; who holds it keeps it. \returns true for the one caller that took it away.
inline bool drain(auto const& dir, std::uint32_t index, std::uint64_t generation) noexcept {
  std::uint64_t c = control::make(generation, slot_state::ready);
  if (!dir.slot_at(index).ctl.compare_exchange_strong(c, control::make(generation, slot_state::draining))) return false;
  failpoint("shm.drain.draining");
  ring_sleepers(dir, dir.home_of(dir.slot_at(index).hash.load(std::memory_order_relaxed)));
  try_retire(dir, index, generation);
  return true;
}

inline bool expired(auto const& s, std::uint64_t now) noexcept {
  std::uint64_t const end = s.expires.load();
  return end != 0 && now >= end;
}

/// The producer is gone and the lease has ended. No checksum covers when it ends, because that is written later than the rest: what a flipped bit says of a living
/// producer's object, which has no lease yet, is not believed.
inline bool lease_is_over(auto const& dir, auto const& s) noexcept {
  std::uint64_t const end = s.expires.load();
  if (end == 0 || dir.now() < end) return false;
  std::uint32_t const owner = s.owner.load(std::memory_order_relaxed);
  return owner < std::remove_cvref_t<decltype(dir)>::most_participants && dir.participant_at(owner).state.load() != participant_state::live;
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
  std::uint64_t seen = 0;
};

/// Our own place decides at once; otherwise the first free place of anyone.
inline chosen_place choose_place(auto const& dir, std::uint32_t index, std::uint64_t generation, std::uint16_t reader) noexcept {
  std::uint32_t const n = readers_of(dir, dir.slot_at(index));
  chosen_place out{claim_outcome::not_ours, 0, 0};
  for (std::uint32_t i = 0; i != n; ++i) {
    std::uint64_t const w = dir.claim_at(index, i).load();
    if (!claim::of_generation(w, generation)) return {};
    if (claim::reader(w) == reader) {
      if (claim::state_of(w) == claim::state::hold) return {claim_outcome::waiting, 0, 0};
      if (claim::state_of(w) != claim::state::done) return {claim_outcome::taken, i, w};
      // Where all are done the object is gone: whoever had the last share is about to retire it.
      for (std::uint32_t k = 0; k != n; ++k)
        if (claim::state_of(dir.claim_at(index, k).load()) != claim::state::done) return {claim_outcome::consumed, 0, 0};
      return {};
    }
    if (out.outcome == claim_outcome::taken) continue;
    if (claim::state_of(w) == claim::state::hold && !claim::named(w)) out.outcome = claim_outcome::waiting;
    if (claim::reader(w) == claim::anyone && claim::state_of(w) == claim::state::empty) out = {claim_outcome::taken, i, w};
  }
  return out;
}

/// Of a kept object, any place that nobody holds.
inline chosen_place choose_any_place(auto const& dir, std::uint32_t index, std::uint64_t generation) noexcept {
  for (std::uint32_t i = 0, n = readers_of(dir, dir.slot_at(index)); i != n; ++i) {
    std::uint64_t const w = dir.claim_at(index, i).load();
    if (!claim::of_generation(w, generation)) return {};
    if (claim::state_of(w) == claim::state::empty) return {claim_outcome::taken, i, w};
  }
  return {claim_outcome::waiting, 0, 0};
}

/// Takes a place at generation `generation` of a slot for reader `reader`. On `taken`, the bytes are pinned and `place` names the claim word.
inline claim_outcome take_claim(auto const& dir, std::uint32_t index, std::uint64_t generation, std::uint16_t participant,
                                std::uint16_t reader, std::uint32_t& place) noexcept {
  auto& s = dir.slot_at(index);
  std::uint64_t const ready = control::make(generation, slot_state::ready);
  for (;;) {
    if (s.ctl.load() != ready) return claim_outcome::gone;
    bool const kept = is_kept(s);
    auto chosen = kept ? choose_any_place(dir, index, generation) : choose_place(dir, index, generation, reader);
    if (chosen.outcome != claim_outcome::taken) return chosen.outcome;
    auto& word = dir.claim_at(index, chosen.place);
    std::uint64_t const mine = claim::make(generation, participant, kept ? claim::anyone : reader, claim::named(chosen.seen), claim::state::hold, dir.claim_time());
    if (!word.compare_exchange_strong(chosen.seen, mine)) continue;

    failpoint("shm.get.claimed");
    // Two takers of one reader name (two threads, two replicas) may each have found a free place. Who sees the other yields: whichever came
    // second sees the first, in whatever order the places became free. Both may yield; then both look again and choose the same place.
    bool twice = false;
    for (std::uint32_t i = 0, n = kept ? 0 : readers_of(dir, s); i != n && !twice; ++i) {
      if (i == chosen.place) continue;
      std::uint64_t const w = dir.claim_at(index, i).load();
      twice = claim::of_generation(w, generation) && claim::reader(w) == reader;
    }
    if (!twice && s.ctl.load() == ready) {
      failpoint("shm.get.validated");
      if (kept && s.touched.load(std::memory_order_relaxed) == 0) s.touched.store(1, std::memory_order_relaxed);
      place = chosen.place;
      return claim_outcome::taken;
    }
    // By CAS, not by a store: the word may belong to the next generation already.
    std::uint64_t undo = mine;
    word.compare_exchange_strong(undo, claim::emptied(mine));
    failpoint("shm.get.undone");
    ring(dir, dir.home_of(s.hash.load(std::memory_order_relaxed)));  // whoever saw the place taken looks again
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
  if (!retired) consumed ? ring_sleepers(dir, dir.home_of(hash)) : ring(dir, dir.home_of(hash));
  return retired;
}

/// Keeps two puts of one key apart. Readers never take it.
template <class Directory> class basic_bucket_lock {
  using bucket = std::remove_reference_t<decltype(std::declval<Directory const&>().bucket_at(0))>;

 public:
  /// \errors `peer_stalled`: a stopped process has held it until the deadline, or for a second. The lock of a dead one is taken over: what it protects
  /// is changed by single stores, so there is nothing to repair.
  [[nodiscard]] static result<basic_bucket_lock> acquire(Directory const& dir, bucket& home, std::uint32_t participant, deadline until = {}) noexcept {
    std::uint64_t const mine = std::uint64_t{dir.participant_at(participant).epoch.load(std::memory_order_relaxed)} << 32U | (participant + 1U);
    for (std::uint32_t i = 0;; ++i) {
      std::uint64_t seen = 0;
      if (home.lock.compare_exchange_strong(seen, mine)) return basic_bucket_lock(home, mine);
      // Asked once before the first yield: where others want to run, a hundred of them take a second.
      if (i == Directory::patience || i >= 2 * Directory::patience) {
        auto const holder = static_cast<std::uint32_t>(seen) - 1U;
        // The epoch tells the holder from whoever uses its record now.
        bool const alive = holder < max_participants && seen >> 32U == dir.participant_at(holder).epoch.load(std::memory_order_relaxed) &&
                           (holder == participant || dir.held_elsewhere(holder + 1));
        if (!alive) {
          home.lock.compare_exchange_strong(seen, 0);
          failpoint("shm.lock.taken_from_the_dead");
          continue;
        }
        if (i == 2 * Directory::patience) until = for_locks(until);  // whoever comes so far sleeps
        if (i >= 2 * Directory::patience && until.passed()) return {error_kind::peer_stalled, "until the deadline another process was in the middle of a put of a key that shares this key's bucket: it is stopped, or has no processor"};
        if (i >= 12 * Directory::patience) return {error_kind::peer_stalled, "another process is stopped in the middle of a put of a key that shares this key's bucket"};
      }
      dir.pause(i);
    }
  }
  basic_bucket_lock(basic_bucket_lock&& other) noexcept : home_(std::exchange(other.home_, nullptr)), mine_(other.mine_) {}
  basic_bucket_lock& operator=(basic_bucket_lock&&) = delete;
  ~basic_bucket_lock() { release(); }
  void release() noexcept {
    if (home_ == nullptr) return;
    std::uint64_t mine = mine_;
    home_->lock.compare_exchange_strong(mine, 0);
    home_ = nullptr;
  }

 private:
  basic_bucket_lock(bucket& home, std::uint64_t mine) noexcept : home_(&home), mine_(mine) {}
  bucket* home_;
  std::uint64_t mine_;
};
using bucket_lock = basic_bucket_lock<directory>;

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
