// SPDX-License-Identifier: Apache-2.0
// What makes of a claim the object of a get.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/endpoint.hpp>
#include <omniconn/transport/shm/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// An object that cannot be claimed although nobody else has it, or whose hash is not the one that its control word has a part of: it may have been changed
/// after the put.
inline bool is_damaged(auto const& dir, std::uint32_t index, std::uint64_t word) noexcept {
  auto const& s = dir.slot_at(index);
  return std::uint64_t{s.sum} != dir.sum(s, control::generation(word)) && s.ctl.load() == word;
}

/// Whether the object that was claimed, whose hash is that of the key that is asked for, is of that key. `mapped`: the arena `where`. \errors `corrupt`: its key was changed
template <class Session>
[[gnu::always_inline]] inline result<bool> has_key(basic_endpoint<Session>& e, basic_get_operation<Session> const& op, auto const& s, std::uint16_t key_size, std::uint64_t where, std::shared_ptr<mapped_arena const> const& mapped) {
  if (key_size != op.key_.size()) return false;
  // Another key has the same hash; what is left of ours has not, or ends with what was zero.
  auto const is_another = [&](std::string_view stored) -> result<bool> {
    if (stored == op.key_ || e.session->dir().hash(stored) != op.hash_) return damaged_error();
    return false;
  };
  if (key_size <= slot_room) {
    if (s.room.begins_with(op.key_.data(), op.key_.size())) [[likely]] return true;
    auto const stored = s.room.load();
    return is_another({stored.data(), key_size});
  }
  auto keys = mapped;  // of memory that is lent they lie in its producer's arena
  if ((where & region_mask) != 0) {
    auto arena = e.session->arena(s.owner.load(std::memory_order_relaxed), where & ~region_mask);
    if (!arena) return arena.error();
    keys = std::move(*arena);
  }
  std::uint64_t const at = s.key_at;
  if (keys == nullptr || !keys->contains(at, key_size)) return {error_kind::corrupt, "the namespace's directory places a key outside its arena"};
  std::string_view const stored = text_of(keys->at(at, key_size));
  if (stored == op.key_) return true;
  return is_another(stored);
}

/// Validates what the operation has claimed, and makes it what was found. What is not is given back. false: another key with the same hash.
///
/// Each shared word is read once: the directory is writable by others, so what was checked must be what is used.
template <class Session> [[gnu::always_inline]] inline result<bool> adopt(basic_endpoint<Session>& e, basic_get_operation<Session>& op) {
  auto& held = op.hold_;  // filled where it lies: each move would wait for its own stores
  claim_guard<Session> guard{&held};
  auto const& dir = e.session->dir();
  auto const& s = dir.slot_at(held.index());
  std::uint64_t const generation = held.generation();
  failpoint("shm.get.adopting");
  if (std::uint64_t{s.sum} != dir.sum(s, generation)) return damaged_error();
  std::uint64_t const size = s.size;
  std::uint16_t const key_size = s.key_size;
  object_details const more = details_of(s);
  std::uint64_t const where = more.arena;
  std::shared_ptr<mapped_arena const> mapped;
  if (where == in_slot) {
    if (!fits_slot(key_size, static_cast<std::size_t>(size))) return {error_kind::corrupt, "the namespace's directory has an object in a slot that has no room for it"};
  } else if (held.arena() != nullptr && held.arena()->id == where) {
    mapped = held.arena();  // somebody may be reading in it
  } else {
    auto arena = e.session->arena(s.owner.load(std::memory_order_relaxed), where);
    if (!arena) return arena.error();
    mapped = std::move(*arena);
  }
  if (auto const same = has_key(e, op, s, key_size, where, mapped); !same || !*same) return same;
  if (mapped != nullptr) {
    std::uint64_t const at = more.offset;
    if (!mapped->contains(at, size)) return {error_kind::corrupt, "the namespace's directory places an object outside its arena"};
    auto const bytes = mapped->at(at, size);
    held.set_bytes(std::move(mapped), bytes);
  } else if (size != 0) {
    held.set_bytes(nullptr, {s.room.data() + behind_key(key_size), static_cast<std::size_t>(size)});
  }
  op.info_ = {size, more.checksum, more.trace, static_cast<payload_kind>(s.kind & ~unsigned{slot::plain}), static_cast<checksum_kind>(std::uint8_t{s.checksum_kind})};
  op.where_ = {dir.id(), generation, s.hash.load(std::memory_order_relaxed), held.index()};
  guard.held = nullptr;
  failpoint("shm.get.adopted");
  op.become(stage::found);
  e.got.add(size);
  return true;
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
