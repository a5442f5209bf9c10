// SPDX-License-Identifier: Apache-2.0
// The way of a put: take a slot, describe the object, reserve the key, publish.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <type_traits>
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

/// The numbers of the readers of an object.
struct reader_numbers {
  std::uint32_t count = 0;
  bool named = false;
  bool kept = false;
  std::array<std::uint16_t, max_claims> names{};

  static result<reader_numbers> of(auto& s, reader_set const& readers, deadline until) {
    reader_numbers out;
    std::uint32_t const places = s.dir().layout().readers;
    out.kept = readers.anybody;
    out.count = out.kept ? places : readers.size();
    out.named = !out.kept && !readers.names.empty();
    if (out.count == 0) return {error_kind::misconfigured, "an object needs at least one reader"};
    if (out.count > max_claims) return {error_kind::misconfigured, "an object in shared memory may have 64 readers at most"};
    if (out.count > places) return {error_kind::misconfigured, "the namespace was made for fewer readers of one object; who opens it first needs max_readers"};
    if (!out.named) return out;
    for (std::uint32_t i = 0; i != readers.names.size(); ++i) {
      auto id = s.name_id(readers.names[i], until);
      if (!id) return id.error();
      for (std::uint32_t k = 0; k != i; ++k)
        if (out.names[k] == *id) return {error_kind::misconfigured, "a reader is named twice"};
      out.names[i] = *id;
    }
    return out;
  }
};

/// Takes a slot and writes all of it but the payload. The slot is `writing` afterwards, but nothing leads to it.
template <class Session> result<std::uint32_t> describe_object(basic_endpoint<Session>& e, wire_key key, std::uint64_t hash, const_bytes payload, outgoing const& out, object_info const& info,
                                             reader_numbers const& readers, publish_options const& o) {
  std::unique_lock lock(e.put_mutex);
  auto& writer = e.writer;
  if (o.flow != nullptr && o.flow->from != e.put_for) {
    lock.unlock();  // a new name may have to wait for the gate; other threads put meanwhile
    auto const id = e.session->stage_id(o.flow->from, deadline::immediate());
    if (id) e.session->puts_for(*id);
    lock.lock();
    if (id || e.session->has_no_place_for_stages()) e.put_for.assign(o.flow->from);  // else the gate was held: asked again by the next put
  }
  auto const lies = writer.place_of(payload);  // under this lock, or the memory may be taken back
  if (!lies) return {error_kind::misconfigured, "the payload does not lie in the transport's memory; write it into a reserved block, or adopt the memory"};
  writer.expect_token();
  auto const& dir = e.session->dir();
  auto const full = [&]() noexcept {
    return (o.max_objects != 0 && writer.objects_out() >= o.max_objects) || (o.max_bytes != 0 && writer.bytes_out() + payload.size() > o.max_bytes);
  };
  if (o.max_bytes != 0 && payload.size() > o.max_bytes) return {error_kind::too_large, "the payload alone is larger than max_unread_bytes"};
  if (full()) {
    writer.collect();
    if (full()) return {error_kind::quota_exceeded, "max_unread_objects or max_unread_bytes is reached; let readers keep up, or set on_full to wait or drop_oldest"};
  }
  for (;;) {
    auto taken = writer.take_slot();
    if (!taken) return taken.error();
    std::uint32_t const index = *taken;
    auto& s = dir.slot_at(index);
    std::uint64_t word = s.ctl.load();
    std::uint64_t const generation = control::generation(word);
    // Before the state: whoever sees `writing` judges by these three, even if it came here for the slot's last object. The slot is ours already.
    s.hash.store(hash, std::memory_order_relaxed);
    s.replaces.store(o.existing == on_existing::replace ? 1 : 0, std::memory_order_relaxed);
    s.owner.store(e.session->me(), std::memory_order_relaxed);
    failpoint("shm.put.slot_named");
    if (!s.ctl.compare_exchange_strong(word, control::make(generation, slot_state::writing))) continue;  // only where somebody wrote into the directory
    failpoint("shm.put.writing");
    if (key.size() > inline_key) {
      if (auto const stored = writer.store_key(index, key); !stored) {
        writer.return_slot(index);
        return stored.error();
      }
      failpoint("shm.put.key_stored");
    } else {
      s.key.store(key.data(), key.size());
    }
    s.key_size = static_cast<std::uint16_t>(key.size());
    s.arena = payload.empty() ? writer.arena_id() : lies->arena;
    s.offset = lies->offset;
    s.size = payload.size();
    s.trace = info.trace;
    s.kind = static_cast<std::uint16_t>(info.kind);
    s.lease = o.lease.count() <= 0 || !lies->survives ? 0 : static_cast<std::uint64_t>(o.lease.count());
    s.expires.store(0, std::memory_order_relaxed);
    s.readers.store(readers.kept ? s.kept : static_cast<std::uint16_t>(readers.count), std::memory_order_relaxed);
    if (readers.kept) s.touched.store(0, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i != readers.count; ++i)
      dir.claim_at(index, i).store(claim::make(generation, 0, readers.named ? readers.names[i] : claim::anyone, readers.named, claim::state::empty), std::memory_order_relaxed);
    failpoint("shm.put.described");
    writer.set_token(index, generation, payload.size(), lies->arena, out);
    return index;
  }
}

/// Whether a live object or an unfinished put has the key. \requires the bucket's lock is held.
template <class Session> bool key_is_taken(basic_endpoint<Session>& e, std::uint64_t hash) {
  auto const& dir = e.session->dir();
  return for_each_ref(dir, hash, [&](std::uint32_t index) {
    auto const& s = dir.slot_at(index);
    std::uint64_t const word = s.ctl.load();
    auto const now = control::state(word);
    if (s.hash.load(std::memory_order_relaxed) != hash) return false;
    if (now == slot_state::writing) return true;
    if (now != slot_state::ready) return false;
    if (!lease_is_over(dir, s)) return true;
    e.drain_index(index, control::generation(word));
    failpoint("shm.put.expired_drained");
    return false;
  });
}

/// Takes the key from a put that has not committed yet, unless it replaces, too.
inline bool beat(auto const& dir, std::uint32_t index, std::uint64_t hash) noexcept {
  auto& s = dir.slot_at(index);
  std::uint64_t word = s.ctl.load();
  if (control::state(word) != slot_state::writing || s.hash.load(std::memory_order_relaxed) != hash || s.replaces.load(std::memory_order_relaxed) != 0) return false;
  return s.ctl.compare_exchange_strong(word, control::make(control::generation(word), slot_state::beaten));
}

/// Ends a put that was begun: the key is free, the block on its way home.
template <class Session> void give_up(basic_put_operation<Session>& op) noexcept {
  auto& owner = *op.owner_;
  op.fail(cancelled_error());
  if (owner.inherited()) return;  // the parent's put, which goes on; and who has the locks here may be a thread of the parent
  call const entered(&owner);
  if (entered) {
    auto const& dir = owner.session->dir();
    remove_ref(dir, op.hash_, control::generation(dir.slot_at(op.index_).ctl.load()), op.index_);
  }
  failpoint("shm.abort.ref_removed");
  std::scoped_lock const lock(owner.put_mutex);
  owner.writer.release_token(op.index_);
  if (entered) owner.writer.return_slot(op.index_);  // else close has freed it
  failpoint("shm.abort.slot_returned");
}

template <class Session> basic_put_operation<Session>::~basic_put_operation() {
  if (at_.load(std::memory_order_relaxed) == stage::begun) give_up(*this);
}

template <class Session> result<progress> begin_put(basic_endpoint<Session>& e, basic_put_operation<Session>& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
  if (op.at_.load(std::memory_order_relaxed) == stage::begun) return {error_kind::misconfigured, "the put operation is in use"};
  if (key.size() > max_key_size) return {error_kind::too_large, "the wire key is longer than 4,096 bytes"};
  if (out.parts.size() > 1) return {error_kind::misconfigured, "a payload in shared memory is one piece; gather it first"};
  const_bytes const payload = out.parts.empty() ? const_bytes{} : out.parts.front();
  if (info.size > payload.size()) return {error_kind::misconfigured, "object_info.size is larger than the payload's piece"};
  auto const readers = reader_numbers::of(*e.session, o.readers, o.until);
  if (!readers) return readers.error();

  auto const& dir = e.session->dir();
  std::uint64_t const hash = dir.hash(key);
  auto const described = describe_object(e, key, hash, payload, out, info, *readers, o);
  if (!described) return described.error();
  std::uint32_t const index = *described;
  std::uint64_t const generation = control::generation(dir.slot_at(index).ctl.load(std::memory_order_relaxed));

  auto locked = basic_bucket_lock<std::remove_cvref_t<decltype(dir)>>::acquire(dir, dir.home_of(hash), e.session->me(), o.until);
  if (locked) failpoint("shm.put.bucket_locked");
  error failure{error_kind::peer_stalled};
  bool inserted = false;
  if (!locked) {
    failure = locked.error();
  } else if (o.existing == on_existing::fail && key_is_taken(e, hash)) {
    failure = {error_kind::already_exists, "an object with this key exists; wait until it is consumed, clean it up, or put with on_existing::replace"};
  } else if (inserted = insert_ref(dir, hash, generation, index); !inserted) {
    failure = {error_kind::no_space, "too many keys share a bucket of the namespace; raise max_keys"};
  }
  if (!inserted) {
    std::scoped_lock const lock(e.put_mutex);
    e.writer.forget_token(index);  // the caller keeps the block of a put that did not begin
    e.writer.return_slot(index);
    return failure;
  }
  failpoint("shm.put.ref_inserted");
  op.owner_ = &e;
  op.at_.store(stage::begun, std::memory_order_relaxed);
  op.index_ = index;
  op.hash_ = hash;
  op.existing_ = o.existing;
  op.until_ = o.until;
  op.where_ = locator::pack(locator_tag::shm, place{dir.id(), generation, hash, index, 0});
  return progress::done;
}

template <class Session> result<progress> commit_put(basic_endpoint<Session>& e, basic_put_operation<Session>& op, object_info const& info) {
  if (op.at_.load(std::memory_order_relaxed) != stage::begun) return {error_kind::misconfigured, "commit without begin"};
  auto const& dir = e.session->dir();
  failpoint("shm.put.copied");
  auto& s = dir.slot_at(op.index_);
  if (info.size > s.size) return {error_kind::misconfigured, "commit of more bytes than begin was given"};
  s.size = info.size;
  s.checksum = info.checksum;
  s.checksum_kind = static_cast<std::uint16_t>(info.checksum_by);
  s.kind = static_cast<std::uint16_t>(info.kind);
  s.trace = info.trace;
  std::uint64_t const generation = control::generation(s.ctl.load(std::memory_order_relaxed));
  s.sum = dir.sum(s, generation);
  auto& home = dir.home_of(op.hash_);
  std::uint64_t unfinished = control::make(generation, slot_state::writing);
  std::uint64_t const ready = control::make(generation, slot_state::ready);
  failpoint("shm.put.finished");
  if (op.existing_ == on_existing::replace) {
    auto locked = basic_bucket_lock<std::remove_cvref_t<decltype(dir)>>::acquire(dir, home, e.session->me(), op.until_);
    if (!locked) {
      give_up(op);
      return op.fail(locked.error());
    }
    failpoint("shm.replace.bucket_locked");
    s.ctl.store(ready);
    failpoint("shm.replace.ready");
    for_each_ref(dir, op.hash_, [&](std::uint32_t other) {
      if (other != op.index_ && !beat(dir, other, op.hash_)) e.drain_if(other, op.hash_);
      failpoint("shm.replace.old_drained");
      return false;
    });
  } else if (!s.ctl.compare_exchange_strong(unfinished, ready)) {
    give_up(op);
    return op.fail({error_kind::already_exists, "a put with on_existing::replace took the key between begin and commit of this one"});
  }
  failpoint("shm.put.ready");
  ring(dir, home);
  failpoint("shm.put.rung");
  op.at_.store(stage::found, std::memory_order_relaxed);
  e.puts.fetch_add(1, std::memory_order_relaxed);
  e.put_bytes.fetch_add(info.size, std::memory_order_relaxed);
  return progress::done;
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
