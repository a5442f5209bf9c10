// SPDX-License-Identifier: Apache-2.0
// The lock of a key, and which free slot an object comes to lie in.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/layout.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Keeps two puts of one key apart, and two that would write to one free slot: a word for eight slots and the keys whose homes they are. Readers never take it.
template <class Directory> class basic_key_lock {
  using word = std::remove_reference_t<decltype(std::declval<Directory const&>().lock_of(0))>;

 public:
  /// \param i the key's home \errors `peer_stalled`: a stopped process has held it until the deadline, or for a second. The lock of a dead one is taken over: what it protects
  /// is changed by single stores, so there is nothing to repair; a slot that it was describing is still free.
  [[nodiscard]] static result<basic_key_lock> acquire(Directory const& dir, std::uint32_t i, std::uint32_t participant, deadline until = {}) noexcept {
    auto& lock = dir.lock_of(i);
    std::uint64_t const mine = mark_of(dir, participant);
    for (std::uint32_t attempt = 0;; ++attempt) {
      std::uint64_t seen = 0;
      if (lock.compare_exchange_strong(seen, mine)) return basic_key_lock(lock, mine);
      if (attempt == 2 * Directory::patience) until = for_locks(until);  // whoever comes so far sleeps
      // Asked once before the first yield: where others want to run, a hundred of them take a second.
      if (attempt == Directory::patience || attempt >= 2 * Directory::patience) {
        auto const holder = static_cast<std::uint32_t>(seen) - 1U;
        // The epoch tells the holder from whoever uses its record now.
        bool const alive = holder < max_participants && seen >> 32U == dir.participant_at(holder).epoch.load(std::memory_order_relaxed) &&
                           (holder == participant || dir.held_elsewhere(holder + 1));
        if (!alive) {
          lock.compare_exchange_strong(seen, 0);
          failpoint("shm.lock.taken_from_the_dead");
          continue;
        }
        if (attempt >= 2 * Directory::patience && until.passed()) return {error_kind::peer_stalled, "until the deadline another process was in the middle of a put of a key that shares this key's lock: it is stopped, or has no processor"};
        if (attempt >= 12 * Directory::patience) return {error_kind::peer_stalled, "another process is stopped in the middle of a put of a key that shares this key's lock"};
      }
      dir.pause(attempt);
    }
  }
  /// The same without waiting. False: somebody else has it.
  [[nodiscard]] static basic_key_lock try_acquire(Directory const& dir, std::uint32_t i, std::uint32_t participant) noexcept {
    auto& lock = dir.lock_of(i);
    std::uint64_t seen = 0;
    std::uint64_t const mine = mark_of(dir, participant);
    return lock.compare_exchange_strong(seen, mine) ? basic_key_lock(lock, mine) : basic_key_lock();
  }
  basic_key_lock() noexcept = default;
  basic_key_lock(basic_key_lock&& other) noexcept : word_(std::exchange(other.word_, nullptr)), mine_(other.mine_) {}
  basic_key_lock& operator=(basic_key_lock&& other) noexcept {
    release();
    word_ = std::exchange(other.word_, nullptr);
    mine_ = other.mine_;
    return *this;
  }
  explicit operator bool() const noexcept { return word_ != nullptr; }
  ~basic_key_lock() { release(); }
  void release() noexcept {
    if (word_ == nullptr) return;
    std::uint64_t mine = mine_;
    word_->compare_exchange_strong(mine, 0);
    word_ = nullptr;
  }

 private:
  basic_key_lock(word& w, std::uint64_t mine) noexcept : word_(&w), mine_(mine) {}
  static std::uint64_t mark_of(Directory const& dir, std::uint32_t participant) noexcept {
    return std::uint64_t{dir.participant_at(participant).epoch.load(std::memory_order_relaxed)} << 32U | (participant + 1U);
  }
  word* word_ = nullptr;
  std::uint64_t mine_ = 0;
};
using key_lock = basic_key_lock<directory>;

/// What came of looking for a slot.
enum class slot_search : std::uint8_t {
  found,  ///< the caller may write to it
  busy,   ///< the free ones lie among the eights of others, who are putting just now
  none,
};

/// Finds a free slot near a key's home: the nearest, but for those that others may be about to write to. \requires the caller has the key's lock; where the slot is not one of that lock's eight, `beside` takes the other.
/// \param index of the slot that was found, or of the nearest that is busy
template <class Directory>
[[gnu::always_inline]] inline slot_search find_slot(Directory const& dir, std::uint64_t hash, std::uint32_t participant, std::uint32_t& index, basic_key_lock<Directory>& beside) noexcept {
  std::uint32_t const home = dir.home_of(hash), last = dir.layout().slots - 1;
  auto out = slot_search::none;
  for (std::uint32_t d = 0; d != window && d <= last; ++d) {
    std::uint32_t const i = (home + d) & last;
    auto const is_free = [&dir, i]() noexcept { return control::state(dir.slot_at(i).ctl.load()) == slot_state::free; };
    if (!is_free()) continue;
    if (&dir.lock_of(i) != &dir.lock_of(home)) {
      beside = basic_key_lock<Directory>::try_acquire(dir, i, participant);  // who waited for it could wait for one who waits for ours
      if (!beside) {
        if (out == slot_search::none) index = i;
        out = slot_search::busy;
        continue;
      }
      failpoint("shm.put.beside_locked");
      if (!is_free()) {
        beside.release();
        continue;
      }
    }
    index = i;
    return slot_search::found;
  }
  return out;
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
