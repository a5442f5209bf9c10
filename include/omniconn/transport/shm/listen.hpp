// SPDX-License-Identifier: Apache-2.0
// Participants that hear of every event, because somebody of theirs sleeps in an event loop of its own and not in a futex.
//
// `header::listeners` has a bit for each group of participants. Bits are set and cleared by single words and repeated by whoever buries one that died in
// between, where a count would be one too high or too low for ever.
#pragma once

#include <cstdint>

#include <sys/eventfd.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/shm/layout.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

inline constexpr std::uint32_t listener_group = max_participants / 32;

/// The listeners of one bit: those that `visit` returns true for end the search.
template <class Directory, class Visit> bool for_each_listener(Directory const& dir, std::uint32_t bit, Visit&& visit) noexcept {
  for (std::uint32_t i = bit * listener_group; i != (bit + 1) * listener_group && i < Directory::most_participants; ++i)
    if (dir.participant_at(i).listens.load() != 0 && visit(i)) return true;
  return false;
}

[[gnu::cold, gnu::noinline]] inline void ring_listeners(auto const& dir, std::uint32_t groups) noexcept {
  for (; groups != 0; groups &= groups - 1)
    for_each_listener(dir, static_cast<std::uint32_t>(__builtin_ctz(groups)), [&dir](std::uint32_t i) { return dir.ring_participant(i), false; });
}
/// Tells the listeners, if there are any, that something changed. Sequentially consistent like the change: a listener sets its bit, then looks; we change,
/// then read the bits.
inline void ring_listeners(auto const& dir) noexcept {
  if (std::uint32_t const groups = dir.head().listeners.load(); groups != 0) [[unlikely]] ring_listeners(dir, groups);
}

inline void start_listening(auto const& dir, std::uint32_t i) noexcept {
  dir.participant_at(i).listens.store(1);
  failpoint("shm.listen.marked");
  dir.head().listeners.fetch_or(1U << (i / listener_group));
  failpoint("shm.listen.counted");
}

/// Idempotent: who dies in here is buried by somebody who does it again.
inline void stop_listening(auto const& dir, std::uint32_t i) noexcept {
  auto& groups = dir.head().listeners;
  std::uint32_t const bit = i / listener_group, mask = 1U << bit;
  auto const anybody = [](std::uint32_t) { return true; };
  dir.participant_at(i).listens.store(0);
  failpoint("shm.listen.unmarked");
  if (!for_each_listener(dir, bit, anybody)) groups.fetch_and(~mask);
  failpoint("shm.listen.uncounted");
  // Who began to listen meanwhile may have missed something.
  if (for_each_listener(dir, bit, anybody) && (groups.fetch_or(mask) & mask) == 0) ring_listeners(dir, mask);
}

/// What a foreign event loop sleeps on. Readable at first: whatever came before it was made is found by the first look.
inline unique_fd make_event() noexcept { return unique_fd(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)); }
inline void raise_event(int fd) noexcept {
  std::uint64_t const one = 1;
  static_cast<void>(!::write(fd, &one, sizeof one));  // refused: raised more than enough
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
