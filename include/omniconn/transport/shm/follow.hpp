// SPDX-License-Identifier: Apache-2.0
// Reading an object while it is being written: a get that waits claims it as soon as its producer has announced it, and sums or fetches behind the copy. It ends when the object is whole.
//
// The claim keeps the memory, whatever becomes of the producer, and the object cannot be another's. What was read counts only once the description says that it lies where it was read.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
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
  return op.verifies_ && std::uint16_t{s.checksum_kind} == static_cast<std::uint16_t>(checksum_kind::xxh3_64);
}

/// Whether an object that is being written is worth it. Looks at the line only that who waits has anyway.
template <class Session> bool is_worth_following(basic_endpoint<Session>& e, basic_get_operation<Session> const& op, auto const& s, std::uint64_t word) noexcept {
  if (!op.may_follow_ || control::state(word) != slot_state::writing) return false;
  std::uint64_t const size = s.size;
  return size >= e.follow_from && (size <= most_to_fetch || will_be_verified(op, s));
}

/// Claims an object that is being written. \returns false: it is not the one, or all its places are taken.
template <class Session> bool start_following(basic_endpoint<Session>& e, basic_get_operation<Session>& op, std::uint32_t index, std::uint64_t word) {
  auto const& dir = e.session->dir();
  auto& s = dir.slot_at(index);
  std::uint16_t const key_size = s.key_size;
  if (key_size != op.key_.size() || key_size > slot_room || !s.room.begins_with(op.key_.data(), op.key_.size())) return false;  // a long key lies elsewhere, and can wait
  std::uint64_t const size = s.size, where = s.arena, offset = s.offset;
  std::uint32_t const owner = s.owner.load(std::memory_order_relaxed);
  std::uint32_t claimed = 0;
  if (take_claim(dir, index, word, static_cast<std::uint16_t>(e.session->me()), op.reader_, claimed) != claim_outcome::taken) return false;
  basic_object_hold<Session> held(e.session, index, control::generation(word), claimed);
  failpoint("shm.follow.claimed");
  if (std::uint64_t{s.sum} != dir.sum(s, control::generation(word))) return false;  // damaged, or about to be whole
  auto& f = op.following_;
  if (where != in_slot) {
    auto arena = e.session->arena(owner, where);
    if (!arena || !(*arena)->contains(offset, size)) return false;  // the description is damaged: found when it is whole
    auto const bytes = (*arena)->at(offset, size);
    held.set_bytes(std::move(*arena), bytes);
  }
  f.bytes = held.bytes();
  f.index = index;
  f.word = word;
  f.done = 0;
  f.sum.reset();
  if (will_be_verified(op, s)) f.sum.emplace();
  f.on = true;
  op.hold_ = std::move(held);
  return true;
}

/// Whether a whole object of that hash is there.
inline bool is_there(auto const& dir, std::uint64_t hash) noexcept {
  return for_each_of(dir, hash, [&](std::uint32_t index, std::uint64_t word) {
    return control::state(word) == slot_state::ready && dir.slot_at(index).hash.load(std::memory_order_relaxed) == hash;
  });
}

/// An operation that ends without its object keeps nothing of it. \requires it is locked
template <class Session> void let_go(basic_get_operation<Session>& op) noexcept {
  op.following_.on = false;
  op.hold_.finish(disposition::give_back);
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

/// One step. \returns nothing: it will never be whole; the claim is given back.
template <class Session> std::optional<result<progress>> follow_on(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  constexpr std::size_t at_once = std::size_t{64} << 10U;  // between two looks at deadlines
  auto& f = op.following_;
  auto const& s = e.session->dir().slot_at(f.index);
  std::uint64_t const word = s.ctl.load();
  if (word == f.word) {
    std::size_t const there = std::size_t{s.advanced.load(std::memory_order_acquire)} * grain;
    if (f.done < there && f.done < f.bytes.size()) {
      read_on(f, there < f.bytes.size() ? there : f.bytes.size(), at_once);
      failpoint("shm.follow.read");
      return progress::pending;
    }
    // Two puts that replace: the other may be whole before this one.
    if (!is_there(e.session->dir(), op.hash_)) return progress::pending;
  }
  f.on = false;
  if (word != control::become(f.word, slot_state::ready)) {
    let_go(op);
    failpoint("shm.follow.let_go");
    return std::nullopt;
  }
  failpoint("shm.follow.whole");
  auto const adopted = adopt(e, op, f.index, std::exchange(op.hold_, {}));
  if (!adopted) return op.fail(adopted.error());
  if (!*adopted) return std::nullopt;
  if (f.sum && op.hold_.bytes().data() == f.bytes.data() && op.hold_.bytes().size() == f.bytes.size()) {
    read_on(f, f.bytes.size(), f.bytes.size());
    op.digest_ = f.sum->digest();
  }
  return progress::done;
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
