// SPDX-License-Identifier: Apache-2.0
// Reading an object while it is being written: a get that waits claims it as soon as its producer has announced it, and sums or fetches behind the copy. It ends when the object is whole.
//
// The claim keeps the memory, whatever becomes of the producer, and the object cannot be another's. What was read counts only once the description says that it lies where it was read.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/adopt.hpp>
#include <omniconn/transport/shm/endpoint.hpp>
#include <omniconn/transport/shm/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// More is not in the processor's own cache any more when whoever waits comes to read it; to sum it pays all the same.
inline constexpr std::uint64_t most_to_fetch = std::uint64_t{1} << 20U;

/// Whether the object has a sum that who waits is going to compare.
template <class Session> bool will_be_verified(basic_get_operation<Session> const& op, auto const& s) noexcept {
  return op.verifies_ && std::uint8_t{s.checksum_kind} == static_cast<std::uint8_t>(checksum_kind::xxh3_64);
}

/// Whether an object that is being written is worth it. Looks at the line only that who waits has anyway.
template <class Session> bool is_worth_following(basic_endpoint<Session>& e, basic_get_operation<Session> const& op, auto const& s, std::uint64_t word) noexcept {
  if (control::state(word) != slot_state::writing || word == op.unfit_) return false;
  if (op.growing_) return true;
  if (!op.may_follow_) return false;
  std::uint64_t const size = s.size;
  return size >= e.follow_from && (size <= most_to_fetch || will_be_verified(op, s));
}

/// Claims an object that is being written. \returns false: all its places are taken, or it is not to be followed: then it is waited for, as its end decides what it is.
/// \errors where it grows, why its memory cannot be had
template <class Session> result<bool> start_following(basic_endpoint<Session>& e, basic_get_operation<Session>& op, std::uint32_t index, std::uint64_t word) {
  auto const& dir = e.session->dir();
  auto& s = dir.slot_at(index);
  std::uint16_t const key_size = s.key_size;
  std::uint64_t const size = s.size, where = s.arena, offset = s.offset;
  std::uint32_t const owner = s.owner.load(std::memory_order_relaxed);
  if (owner >= std::remove_cvref_t<decltype(dir)>::most_participants) return false;
  std::uint32_t const epoch = dir.participant_at(owner).epoch.load();  // before the claim, which says that the object is still this one's
  std::uint32_t claimed = 0;
  if (take_claim(dir, index, word, static_cast<std::uint16_t>(e.session->me()), op.reader_, claimed) != claim_outcome::taken) return false;
  auto& held = op.hold_;
  held.begin(e.session, index, control::generation(word), claimed);
  claim_guard<Session> guard{&held};
  failpoint("shm.follow.claimed");
  op.unfit_ = word;  // unless it comes to the end of this. Not claimed again: each claim that is given back rings, for us too
  if (std::uint64_t{s.sum} != dir.sum(s, control::generation(word))) {  // damaged, which is found when it is whole, or about to be whole
    op.moved_ = true;
    return false;
  }
  auto& f = op.following_;
  std::shared_ptr<mapped_arena const> mapped;
  if (where != in_slot) {
    auto arena = e.session->arena(owner, where);
    if (!arena && op.growing_) return arena.error();
    if (!arena || !(*arena)->contains(offset, size)) return false;
    mapped = std::move(*arena);
  }
  if (auto const same = has_key(e, op, s, key_size, where, mapped); !same || !*same) return false;
  op.unfit_ = 0;
  if (mapped != nullptr) {
    auto const bytes = mapped->at(offset, size);
    held.set_bytes(std::move(mapped), bytes);
  }
  f = {.on = true, .index = index, .word = word, .bytes = held.bytes(), .arena = where, .offset = offset, .done = 0, .owner = owner, .epoch = epoch, .sum = std::nullopt};
  if (will_be_verified(op, s)) f.sum.emplace();
  op.info_ = {size, 0, s.trace, static_cast<payload_kind>(std::uint8_t{s.kind}), checksum_kind::none};
  guard.held = nullptr;
  return true;
}

/// Whether a whole object of that hash is there.
inline bool is_there(auto const& dir, std::uint64_t hash) noexcept {
  return for_each_of(dir, hash, [&](std::uint32_t index, std::uint64_t word) {
    return control::state(word) == slot_state::ready && dir.slot_at(index).hash.load(std::memory_order_relaxed) == hash;
  });
}

/// Reads on, `most` bytes at most.
inline void read_on(followed& f, std::size_t until, std::size_t most) noexcept {
  if (until <= f.done) return;
  const_bytes const now = f.bytes.subspan(f.done, until - f.done < most ? until - f.done : most);
  if (f.sum) {
    f.sum->update(now);
  } else {
    constexpr std::size_t line = 64;
    for (std::size_t i = 0; i < now.size(); i += line) static_cast<void>(*static_cast<std::byte const volatile*>(now.data() + i));  // so that it comes into our cache
  }
  f.done += now.size();
}

/// Bytes that are there; all at most, whatever somebody wrote there.
inline std::size_t bytes_there(followed const& f, auto const& s) noexcept {
  std::uint64_t const said = s.advanced.load();
  return said < f.bytes.size() ? static_cast<std::size_t>(said) : f.bytes.size();
}

/// Makes the object, which is whole, the operation's. What was read is summed already. \returns nothing: it is another
template <class Session> std::optional<result<progress>> adopt_followed(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  auto& f = op.following_;
  auto const& s = e.session->dir().slot_at(f.index);
  if (s.arena != f.arena || s.offset != f.offset) {  // what was read lies elsewhere
    op.let_go();
    return op.fail(damaged_error());
  }
  auto const adopted = adopt(e, op);
  if (!adopted) return op.fail(adopted.error());
  if (!*adopted) return std::nullopt;
  auto const whole = op.hold_.bytes();
  if (f.sum && whole.size() >= f.done && whole.size() <= f.bytes.size()) {
    read_on(f, whole.size(), whole.size());
    op.digest_ = f.sum->digest();
  }
  return progress::done;
}

/// One step of who reads an object that grows: `done` when as much is there as is wanted, or all.
template <class Session> result<progress> grow_on(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  auto& f = op.following_;
  auto const& dir = e.session->dir();
  auto const& s = dir.slot_at(f.index);
  std::uint64_t const word = s.ctl.load();
  if (word == f.word) {
    std::size_t const there = bytes_there(f, s);
    if (f.sum) {
      read_on(f, there, f.bytes.size());
    } else if (there > f.done) {
      f.done = there;
    }
    if (f.done < op.wanted_) return progress::pending;
    op.become(stage::found);
    return progress::done;
  }
  f.on = false;
  // Also one that was dropped when it was whole: it is ours.
  if (word == control::become(f.word, slot_state::ready) || word == control::become(f.word, slot_state::draining))
    if (auto const whole = adopt_followed(e, op)) return *whole;
  op.let_go();
  failpoint("shm.follow.let_go");
  auto const& writer = dir.participant_at(f.owner);
  if (writer.epoch.load() != f.epoch || writer.died.load() != 0) return op.fail({error_kind::peer_lost, "the process that was writing the object has died", 0, severity::connection});
  return op.fail({error_kind::aborted, "the producer gave the object up before it was whole"});
}

/// One step. \returns nothing: it will never be whole; the claim is given back.
template <class Session> std::optional<result<progress>> follow_on(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  constexpr std::size_t at_once = std::size_t{64} << 10U;  // between two looks at deadlines
  auto& f = op.following_;
  auto const& s = e.session->dir().slot_at(f.index);
  std::uint64_t const word = s.ctl.load();
  if (word == f.word) {
    if (std::size_t const there = bytes_there(f, s); f.done < there) {
      read_on(f, there, at_once);
      failpoint("shm.follow.read");
      return progress::pending;
    }
    // Two puts that replace: the other may be whole before this one.
    if (!is_there(e.session->dir(), op.hash_)) return progress::pending;
  }
  f.on = false;
  if (word != control::become(f.word, slot_state::ready)) {
    op.let_go();
    failpoint("shm.follow.let_go");
    return std::nullopt;
  }
  failpoint("shm.follow.whole");
  return adopt_followed(e, op);
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
