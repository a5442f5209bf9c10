// SPDX-License-Identifier: Apache-2.0
// Named places in the library at which a test may stop, delay or kill the process.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What runs when a failpoint is reached: on the thread that reached it, in the middle of a protocol step, perhaps with a lock held. It may kill the
/// process, sleep, or count; it may not throw. Calls into the library from here are the test's own risk.
using failpoint_hook = void (*)(std::string_view name) noexcept;

/// Every failpoint that there is: "<transport>.<what is done>.<how far it has come>". A name that is not here does not compile.
inline constexpr std::string_view failpoint_names[]{
    "shm.put.key_stored", "shm.put.key_locked", "shm.put.beside_locked", "shm.put.described", "shm.put.widened", "shm.put.writing", "shm.put.announced", "shm.put.advanced",
    "shm.put.copied", "shm.put.finished", "shm.put.ready", "shm.put.rung", "shm.put.expired_drained", "shm.whole.ready", "shm.whole.rung", "shm.replace.key_locked", "shm.replace.ready", "shm.replace.old_drained",
    "shm.abort.withdrawn", "shm.withdraw.draining", "shm.lock.taken_from_the_dead", "shm.adopt.recorded", "shm.adopt.named",
    "shm.arena.made", "shm.arena.recorded", "shm.arena.linked", "shm.arena.grown", "shm.arena.key_page", "shm.get.found", "shm.get.claimed", "shm.get.validated", "shm.get.undone", "shm.get.adopting", "shm.get.adopted", "shm.get.arena_mapped",
    "shm.get.waiting", "shm.follow.claimed", "shm.follow.read", "shm.follow.whole", "shm.follow.let_go",
    "shm.release.begun", "shm.release.claim_ended", "shm.retire.unneeded", "shm.retire.freed", "shm.retire.owner_told", "shm.drain.draining",
    "shm.directory.made", "shm.directory.filled", "shm.directory.linked", "shm.open.gate_held", "shm.open.mapped", "shm.open.record_locked", "shm.open.record_taken", "shm.open.described", "shm.open.live", "shm.open.fifo_made",
    "shm.open.gate_open", "shm.name.gate_held", "shm.name.text_stored", "shm.name.stored",
    "shm.listen.marked", "shm.listen.counted", "shm.listen.unmarked", "shm.listen.uncounted", "shm.close.shut", "shm.close.withdrawn", "shm.close.object_withdrawn",
    "shm.leave.settled", "shm.leave.unlocked", "shm.leave.gate_held", "shm.leave.swept", "shm.leave.dead", "shm.leave.unlinked",
    "shm.recovery.death_noted", "shm.recovery.claim_dropped", "shm.recovery.claims_of_slot_dropped", "shm.recovery.lease_begun", "shm.recovery.withdrawn", "shm.recovery.arena_emptied", "shm.recovery.arena_removed", "shm.recovery.slots_settled", "shm.recovery.arena_forgotten", "shm.recovery.record_freed", "shm.recovery.memory_returned", "shm.recovery.orphaned",
    "shm.recovery.locked", "shm.recovery.claims_dropped", "shm.recovery.unlocked"};

namespace detail {

/// A constant, so no initialisation at run time; null unless a test set it.
inline constinit std::atomic<failpoint_hook> failpoint_hook_now{nullptr};

void no_such_failpoint_add_it_to_failpoint_names();  // not defined, not constexpr: its call is the error

/// A failpoint's place in `failpoint_names`, found by the compiler.
struct failpoint_id {
  std::uint16_t index = 0;
  consteval failpoint_id(char const* name) {  // NOLINT(google-explicit-constructor): stands for the name
    std::string_view const wanted = name;
    while (index != std::size(failpoint_names) && failpoint_names[index] != wanted) ++index;
    if (index == std::size(failpoint_names)) no_such_failpoint_add_it_to_failpoint_names();
  }
};

[[gnu::cold, gnu::noinline]] inline void reach_failpoint(std::uint16_t index) noexcept {
  if (auto const hook = failpoint_hook_now.load(std::memory_order_acquire); hook != nullptr) hook(failpoint_names[index]);
}

/// One relaxed load and a branch that is predicted as long as no hook is set.
[[gnu::always_inline]] inline void failpoint(failpoint_id id) noexcept {
  if (failpoint_hook_now.load(std::memory_order_relaxed) != nullptr) [[unlikely]] reach_failpoint(id.index);
}

}  // namespace detail

/// Sets what runs at every failpoint of this process; null, the initial state: nothing. For tests. \threadsafety any; a thread that is on its way
/// through the library may still call the hook of before.
inline void set_failpoint_hook(failpoint_hook hook) noexcept { detail::failpoint_hook_now.store(hook, std::memory_order_release); }

OMNICONN_END_NAMESPACE
