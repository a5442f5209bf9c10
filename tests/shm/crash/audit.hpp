// SPDX-License-Identifier: Apache-2.0
// What lies in a namespace that nobody has a right to: looked up in the words themselves, beside the library's own accounting.
#pragma once

#include <csignal>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <omniconn/transport/shm.hpp>

namespace crash {

struct leaks {
  unsigned records = 0;  ///< of participants that are dead
  unsigned slots = 0;    ///< in use, but neither leased nor a live process'
  unsigned homes = 0;    ///< that do not know how far away an object of theirs lies
  unsigned claims = 0;   ///< of readers that are dead
  unsigned files = 0;    ///< of nobody
  unsigned waiters = 0;  ///< counted, though nobody waits. \requires nobody waits
  unsigned in_use = 0;   ///< slots that are rightly in use
  std::string first;     ///< what was found first

  bool dying = false;    ///< a dead process' record is live: somebody has its lock and buries it
  [[nodiscard]] unsigned all() const noexcept { return records + slots + homes + claims + files; }
};

/// \requires nothing moves meanwhile.
inline leaks audit(omniconn::shm_transport::options const& o) {
  namespace shm = omniconn::detail::shm;
  leaks out;
  auto const note = [&out](unsigned& count, std::string const& what) {
    ++count;
    if (out.first.empty()) out.first = what;
  };
  shm::names const where(o.directory, o.space);
  auto const files = omniconn::shm_transport::files(o);
  auto opened = shm::directory::open(where, {}, false);
  if (!opened) {
    for (auto const& file : files) note(out.files, file + " without a directory: " + opened.error().message());
    return out;
  }
  auto const& dir = *opened;
  dir.open_gate();
  using shm::control, shm::claim, shm::slot_state, shm::participant_state;

  auto const state_of = [&](std::uint32_t i) { return i < shm::max_participants ? dir.participant_at(i).state.load() : participant_state::free; };
  auto const alive = [&](std::uint32_t i) { return state_of(i) == participant_state::live && shm::byte_lock::held_elsewhere(dir.fd(), i + 1); };
  std::set<std::string> wanted;
  std::vector<unsigned> slots_of(shm::max_participants, 0);
  std::uint64_t const now = omniconn::detail::boot_time_ns();

  for (std::uint32_t i = 0; i != dir.layout().slots; ++i) {
    auto const& s = dir.slot_at(i);
    std::uint64_t const word = s.ctl.load();
    std::uint32_t const owner = s.owner.load();
    std::string const name = "slot " + std::to_string(i) + " state " + std::to_string(static_cast<unsigned>(control::state(word))) + " of " + std::to_string(owner);
    bool held = false;
    for (std::uint32_t k = 0; k != shm::readers_of(dir, s); ++k) {
      std::uint64_t const c = dir.claim_at(i, k).load();
      if (control::state(word) == slot_state::free || !claim::of_generation(c, control::generation(word)) || claim::state_of(c) != claim::state::hold) continue;
      if (alive(claim::participant(c))) {
        held = true;
      } else {
        note(out.claims, name + ": claim of the dead participant " + std::to_string(claim::participant(c)));
      }
    }
    bool right = true;
    switch (control::state(word)) {
      case slot_state::free: continue;
      case slot_state::writing:
      case slot_state::beaten: right = alive(owner); break;
      case slot_state::ready:
        right = alive(owner) || (state_of(owner) == participant_state::orphan && (held || (s.expires.load() != 0 && now < s.expires.load())));
        break;
      case slot_state::draining:
      case slot_state::withdrawn: right = held; break;
      default: right = false;
    }
    if (!right) note(out.slots, name);
    if (control::is_object(word)) {
      std::uint32_t const home = dir.home_of(s.hash.load()), distance = (i - home) & (dir.layout().slots - 1);
      if (distance != 0 && shm::spread::reach(dir.slot_at(home).spread.load()) < distance) note(out.homes, name + " far from its home " + std::to_string(home));
      ++out.in_use;
      if (owner < shm::max_participants) ++slots_of[owner];
    }
  }
  for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
    auto const state = state_of(i);
    std::string const name = "participant " + std::to_string(i) + " state " + std::to_string(static_cast<unsigned>(state));
    if (state == participant_state::free) continue;
    if (state == participant_state::live && ::kill(static_cast<pid_t>(std::uint32_t{dir.participant_at(i).pid}), 0) != 0) out.dying = true;
    if (state == participant_state::live ? !alive(i) : slots_of[i] == 0) note(out.records, name);
    auto const& p = dir.participant_at(i);
    if (std::uint64_t const id = p.arena; id != 0)
      for (std::uint32_t k = 0; k <= p.regions; ++k) wanted.insert(where.arena_path(id | k));
    if (state == participant_state::live) wanted.insert(where.fifo_path(i));
  }
  std::uint32_t listeners = 0;
  for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
    if (dir.participant_at(i).listens.load() == 0) continue;
    listeners |= 1U << (i / shm::listener_group);
    if (!alive(i)) note(out.records, "participant " + std::to_string(i) + ", which does not live, is rung");
  }
  if (listeners != dir.head().listeners.load()) note(out.records, "listeners " + std::to_string(dir.head().listeners.load()) + " instead of " + std::to_string(listeners));
  out.waiters = dir.head().multi_waiters.load();
  for (std::uint32_t i = 0; i != dir.layout().slots; ++i) out.waiters += dir.slot_at(i).sleepers.load();
  for (auto const& file : files)
    if (!file.ends_with(".dir") && !wanted.contains(file)) note(out.files, file);
  return out;
}

}  // namespace crash
