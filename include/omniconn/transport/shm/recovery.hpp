// SPDX-License-Identifier: Apache-2.0
// Putting in order what a participant left behind, whether it said goodbye or died. Everything here is idempotent and may be cut off
// anywhere: the next one that gets the participant's lock goes on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/detail/algorithm.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/layout.hpp>
#include <omniconn/transport/shm/listen.hpp>
#include <omniconn/transport/shm/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// A dead reader holds nothing: its claims are free again. What it began and did not end with a slot is ended for it.
inline void drop_claims(auto const& dir, std::uint32_t participant) noexcept {
  for (std::uint32_t i = 0; i != dir.layout().slots; ++i) {
    auto& s = dir.slot_at(i);
    std::uint64_t const c = s.ctl.load();
    if (!control::is_object(c)) continue;
    for (std::uint32_t k = 0; k != dir.layout().readers; ++k) {
      auto& word = dir.claim_at(i, k);
      std::uint64_t w = word.load();
      if (claim::state_of(w) != claim::state::hold || claim::participant(w) != participant) continue;
      if (!word.compare_exchange_strong(w, claim::emptied(w))) continue;
      failpoint("shm.recovery.claim_dropped");
      ring(dir, s.hash.load(std::memory_order_relaxed));
    }
    try_retire(dir, i, control::generation(c));  // also where it died between its last word and this
    failpoint("shm.recovery.claims_of_slot_dropped");
  }
  ring_all(dir);
}

/// Frees what nobody needs of participant `i`'s slots and starts the leases of the rest. \returns the number of slots still in use.
inline std::uint32_t settle_slots(auto const& dir, std::uint32_t i) noexcept {
  std::uint32_t in_use = 0;
  std::uint64_t const now = dir.now();
  bool const begins = dir.participant_at(i).state.load() == participant_state::live;
  for (std::uint32_t k = 0; k != dir.layout().slots; ++k) {
    auto& s = dir.slot_at(k);
    std::uint64_t const word = s.ctl.load();
    auto const state = control::state(word);
    if (state == slot_state::free) continue;
    if (s.owner.load() != i) continue;
    if (state == slot_state::ready) {
      std::uint64_t const lease = s.lease, end = lease == 0 ? now : now + lease < now ? ~std::uint64_t{0} : now + lease;
      std::uint64_t said = s.expires.load();
      // It begins with its producer's end: what was said before is of another object, of a settler that died, or a bit that flipped. And none ends later than one that begins now.
      while ((begins || said == 0 || said > end) && !s.expires.compare_exchange_strong(said, end)) {
      }
      failpoint("shm.recovery.lease_begun");
      if (expired(s, now)) drain(dir, k, control::generation(word));
    } else if (control::is_going(word)) {
      try_retire(dir, k, control::generation(word));  // who drained it may have died before it could
    } else {
      withdraw(dir, k, control::generation(word));
      failpoint("shm.recovery.withdrawn");
    }
    std::uint64_t const left = s.ctl.load();
    if (control::generation(left) == control::generation(word) && control::state(left) != slot_state::free) ++in_use;
  }
  return in_use;
}

/// Whole pages of an arena.
struct page_range {
  std::uint64_t first = 0, last = 0;
};

/// Gives an arena's memory back, also where readers still map the file, and removes its name. \requires nobody holds an object in it.
inline void remove_arena(names const& where, std::uint64_t id) noexcept {
  auto const path = where.arena_path(id);
  unique_fd const fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (auto st = stat_own_file(fd.get()); fd && st) (void)::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st->st_size);
  failpoint("shm.recovery.arena_emptied");
  ::unlink(path.c_str());
  failpoint("shm.recovery.arena_removed");
}

/// The names only: what a producer lent is not ours to empty.
inline void remove_regions(names const& where, std::uint64_t arena, std::uint32_t regions) noexcept {
  for (std::uint32_t k = 1; k <= regions && k <= region_mask; ++k) ::unlink(where.arena_path(arena | k).c_str());
}

/// In place of a number of bytes: nobody could look.
inline constexpr std::uint64_t unknown_memory = ~std::uint64_t{0};

/// Gives the pages of an orphan's arena back that none of its objects needs: they are all that a producer that starts again may find room in.
/// \requires the caller holds the lock of participant `i`, and nobody writes in the arena. \returns bytes that are needed, or `unknown_memory`.
inline std::uint64_t give_back_memory(auto const& dir, names const& where, std::uint32_t i, std::uint64_t arena, std::uint32_t in_use) noexcept {
  constexpr std::uint64_t page = 4096;
  unique_fd const fd(::open(where.arena_path(arena).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return unknown_memory;
  auto const st = stat_own_file(fd.get());
  std::unique_ptr<page_range[]> const needed(new (std::nothrow) page_range[2 * std::size_t{in_use}]);
  if (!st || needed == nullptr) return unknown_memory;  // as well when the next object has been read
  auto const size = static_cast<std::uint64_t>(st->st_size);
  std::size_t n = 0;
  auto const need = [&](std::uint64_t at, std::uint64_t length) {
    if (length == 0 || at > size || length > size - at || n == 2 * std::size_t{in_use}) return;
    needed[n++] = {at / page * page, (at + length + page - 1) / page * page};
  };
  for (std::uint32_t k = 0; k != dir.layout().slots; ++k) {
    auto const& s = dir.slot_at(k);
    std::uint64_t const word = s.ctl.load();
    object_details const more = details_of(s);
    if ((control::state(word) != slot_state::ready && !control::is_going(word)) || s.owner.load() != i || (more.arena & ~region_mask) != arena) continue;
    // Somebody may read as far as the writer had said, whatever it was about to say of the size.
    // No checksum covers that: what cannot be is not believed.
    if (std::uint64_t const at = more.offset, whole = s.size, said = s.advanced.load(std::memory_order_relaxed); more.arena == arena) need(at, said > whole && at <= size && said <= size - at ? said : whole);
    if (s.key_size > slot_room) need(more.key_at, key_cell);
  }
  sort(needed.get(), n, [](page_range const& a, page_range const& b) { return a.first < b.first; });
  std::uint64_t pages = 0;
  for (std::size_t k = 0, end = 0; k != n; ++k) {
    if (needed[k].first > end) end = needed[k].first;
    if (needed[k].last <= end) continue;
    pages += (needed[k].last - end) / page;
    end = needed[k].last;
  }
  if (static_cast<std::uint64_t>(st->st_blocks) * 512 <= pages * page) return pages * page;  // so that most looks cost no calls
  std::uint64_t at = 0;
  auto const punch_until = [&](std::uint64_t end) {
    if (end > at) (void)::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at), static_cast<off_t>(end - at));
  };
  for (std::size_t k = 0; k != n; ++k) {
    punch_until(needed[k].first);
    if (needed[k].last > at) at = needed[k].last;
  }
  punch_until(size);
  return pages * page;
}

/// Participant `i` ended without saying goodbye: who waits for it is told so. Its claims and what it began are undone. \requires the caller holds its lock.
inline void bury(auto const& dir, std::uint32_t i) noexcept {
  dir.participant_at(i).died.store(1);
  dir.head().deaths.fetch_add(1);
  failpoint("shm.recovery.death_noted");
  drop_claims(dir, i);
}

/// Memory of participant `i` was given back: where the namespace has a limit, others may have asked for it in vain. All are told, as one may be about to sleep.
inline void tell_others_of_room(auto const& dir, std::uint32_t i) noexcept {
  if (dir.head().bytes_limit == 0) return;
  for (std::uint32_t k = 0; k != max_participants; ++k)
    if (auto& p = dir.participant_at(k); k != i && p.state.load() == participant_state::live) {
      p.room_seq.fetch_add(1);
      if (p.wants_room.load() != 0) dir.wake(p.room_seq);
    }
}

/// Objects of participant `i`.
inline std::uint32_t slots_in_use(auto const& dir, std::uint32_t i) noexcept {
  std::uint32_t n = 0;
  for (std::uint32_t k = 0; k != dir.layout().slots; ++k)
    if (auto& s = dir.slot_at(k); control::is_object(s.ctl.load()) && s.owner.load() == i) ++n;
  return n;
}

/// Settles participant `i`, whose lock the caller holds. \requires nobody else of this process does the same. \returns its objects that stay
inline std::uint32_t settle(auto const& dir, names const& where, std::uint32_t i) noexcept {
  auto& p = dir.participant_at(i);
  if (p.state.load() == participant_state::free) return 0;
  stop_listening(dir, i);
  dir.remove_fifo(i);
  for (;;) {
    std::uint32_t const in_use = settle_slots(dir, i);
    failpoint("shm.recovery.slots_settled");
    if (in_use == 0) {
      if (std::uint64_t const arena = p.arena & ~region_mask; arena != 0) {
        remove_regions(where, arena, p.regions);
        remove_arena(where, arena);
      }
      p.arena = 0;
      p.regions = 0;
      p.memory = 0;
      failpoint("shm.recovery.arena_forgotten");
      tell_others_of_room(dir, i);  // before the state: whoever finds us dead in between tells again
      p.state.store(participant_state::free);
      failpoint("shm.recovery.record_freed");
      return 0;
    }
    if (std::uint64_t const arena = p.arena & ~region_mask; arena != 0)
      if (std::uint64_t const left = give_back_memory(dir, where, i, arena, in_use); left != unknown_memory) p.memory = left;
    failpoint("shm.recovery.memory_returned");
    tell_others_of_room(dir, i);
    p.state.store(participant_state::orphan);
    failpoint("shm.recovery.orphaned");
    // Whoever retired a slot meanwhile saw `live` and left the rest to us.
    if (slots_in_use(dir, i) == in_use) return in_use;
  }
}

/// Settles participant `i` if it is dead or an orphan and nobody else is at it.
inline void sweep_one(auto const& dir, names const& where, std::uint32_t i) noexcept {
  auto& p = dir.participant_at(i);
  for (;;) {
    auto const state = p.state.load();
    if (state == participant_state::free || !dir.try_lock(i + 1)) return;
    failpoint("shm.recovery.locked");
    if (p.state.load() == participant_state::live) bury(dir, i);
    failpoint("shm.recovery.claims_dropped");
    std::uint32_t const left = settle(dir, where, i);
    dir.unlock(i + 1);
    failpoint("shm.recovery.unlocked");
    // A slot retired between our last look and the unlock: its retirer could not get the lock, so it is ours.
    if (p.state.load() != participant_state::orphan || slots_in_use(dir, i) == left) return;
  }
}

/// Settles every dead participant and every orphan but `except`.
inline void sweep(auto const& dir, names const& where, std::uint32_t except) noexcept {
  // Twice: the dead of the first round may have held objects of orphans that come before them.
  for (int round = 0; round != 2; ++round)
    for (std::uint32_t i = 0; i != max_participants; ++i)
      if (i != except && dir.participant_at(i).state.load() != participant_state::free) sweep_one(dir, where, i);
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
