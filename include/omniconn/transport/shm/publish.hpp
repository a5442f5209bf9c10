// SPDX-License-Identifier: Apache-2.0
// The way of a put: take the key's lock, describe the object in a free slot near its home, publish.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
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
#include <omniconn/transport/shm/key_lock.hpp>
#include <omniconn/transport/shm/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// The numbers of the readers of an object.
struct reader_numbers {
  std::uint32_t count = 0;
  bool named = false;
  bool kept = false;
  std::array<std::uint16_t, max_claims> names;  ///< where `named`; else as they came: clearing them would cost a small put 4 ns

  reader_numbers() noexcept {}  // NOLINT(modernize-use-equals-default,cppcoreguidelines-pro-type-member-init)
  result<void> assign(auto& s, reader_set const& readers, deadline until) {
    std::uint32_t const places = s.dir().layout().readers;
    kept = readers.anybody;
    count = kept ? places : readers.size();
    named = !kept && !readers.names.empty();
    if (count == 0) return {error_kind::misconfigured, "an object needs at least one reader"};
    if (count > max_claims) return {error_kind::misconfigured, "an object in shared memory may have 64 readers at most"};
    if (count > places) return {error_kind::misconfigured, "the namespace was made for fewer readers of one object; who opens it first needs max_readers"};
    return named ? assign_names(s, readers, until) : result<void>();
  }

 private:
  result<void> assign_names(auto& s, reader_set const& readers, deadline until) {
    for (std::uint32_t i = 0; i != readers.names.size(); ++i) {
      auto id = s.name_id(readers.names[i], until);
      if (!id) return id.error();
      for (std::uint32_t k = 0; k != i; ++k)
        if (names[k] == *id) return {error_kind::misconfigured, "a reader is named twice"};
      names[i] = *id;
    }
    return {};
  }
};

/// Says of all places of a slot that nobody has them, and whose they are. \requires as `describe`
[[gnu::noinline]] inline void write_claims(auto const& dir, std::uint32_t index, std::uint64_t generation, reader_numbers const& readers) noexcept {
  for (std::uint32_t i = 0; i != dir.layout().readers; ++i) {
    bool const named = readers.named && i < readers.count;
    dir.claim_at(index, i).store(claim::make(generation, 0, named ? readers.names[i] : claim::anyone, named, claim::state::empty), std::memory_order_relaxed);
  }
}

/// Where a payload and a key lie for readers.
struct object_place {
  payload_place payload;
  std::uint32_t key_page = no_page;
  std::uint64_t key_at = 0;
};

/// Whether nothing of an object is left for its slot's second line, if its payload lies in the slot.
inline bool is_plain(object_info const& info) noexcept { return (info.checksum | info.trace | static_cast<std::uint64_t>(info.checksum_by)) == 0; }

/// What is known before a slot is found. `beside_key`: the payload comes to lie in it.
[[gnu::always_inline]] inline description described(std::uint32_t me, wire_key key, std::uint64_t hash, object_place const& lies, bool beside_key, object_info const& info, reader_numbers const& readers, publish_options const& o) noexcept {
  std::uint64_t const lease = o.lease.count() <= 0 || !lies.payload.survives ? 0 : static_cast<std::uint64_t>(o.lease.count());
  return {.hash = hash, .size = info.size, .checksum = info.checksum, .trace = info.trace, .arena = lies.payload.arena, .offset = lies.payload.offset, .key_at = lies.key_at, .lease = lease, .owner = me,
          .key_size = static_cast<std::uint16_t>(key.size()), .readers = readers.kept ? slot::kept : static_cast<std::uint16_t>(readers.count | (readers.named ? slot::named : 0U)),
          .kind = static_cast<std::uint8_t>(static_cast<unsigned>(info.kind) | (beside_key && is_plain(info) ? slot::plain : 0U)), .checksum_kind = static_cast<std::uint8_t>(info.checksum_by), .replaces = o.existing == on_existing::replace};
}

/// Writes all of a free slot but payload and control word. \requires the caller has the lock of its eight
[[gnu::always_inline]] inline void describe(auto const& dir, auto& s, std::uint32_t index, std::uint64_t generation, wire_key key, description const& d, reader_numbers const& readers) noexcept {
  if ((d.kind & slot::plain) == 0) {
    s.checksum = d.checksum;
    s.trace = d.trace;
    s.arena = d.arena;
    s.offset = d.offset;
    s.key_at = d.key_at;
    s.advanced.store(0, std::memory_order_relaxed);
  }
  if (key.size() <= slot_room) s.room.store_at(0, key.data(), key.size());
  if (readers.named || (generation + 1) % claims_renewed_after == 0) [[unlikely]] write_claims(dir, index, generation, readers);
  // Last the line that who waits looks at, which it takes from us meanwhile.
  s.hash.store(d.hash, std::memory_order_relaxed);
  s.lease = d.lease;
  s.owner.store(d.owner, std::memory_order_relaxed);
  s.size = d.size;
  s.sum = d.sum;
  s.key_size = d.key_size;
  s.kind = d.kind;
  s.checksum_kind = d.checksum_kind;
  s.replaces.store(d.replaces, std::memory_order_relaxed);
  s.touched.store(0, std::memory_order_relaxed);
  s.readers.store(d.readers, std::memory_order_relaxed);
}

inline constexpr char const* taken_text = "an object with this key exists; wait until it is consumed, clean it up, or put with on_existing::replace";
/// \requires the put mutex is held
template <class Session> error no_slot(basic_endpoint<Session>& e, std::uint64_t hash) noexcept {
  e.crowded_home = e.session->dir().home_of(hash);
  return {error_kind::no_space, "every slot near the key's is in use; raise max_keys, or let readers keep up"};
}

/// Tells others whom we put for. \requires `lock` holds the put mutex, and holds it afterwards; no lock that others wait for is held
template <class Session> [[gnu::noinline]] void name_stage(basic_endpoint<Session>& e, std::unique_lock<std::mutex>& lock, publish_options const& o) {
  lock.unlock();  // a new name may have to wait for the gate; other threads put meanwhile
  auto const id = e.session->stage_id(o.flow->from, deadline::immediate());
  if (id) e.session->puts_for(*id);
  lock.lock();
  if (id || e.session->has_no_place_for_stages()) e.put_for.assign(o.flow->from);  // else the gate was held: asked again by the next put
}

/// What every put has to know first. \requires the put mutex is held
template <class Session> [[gnu::always_inline]] inline result<void> admit(basic_endpoint<Session>& e, std::uint64_t size, publish_options const& o) {
  auto& writer = e.writer;
  writer.expect_object();
  e.crowded_home = everywhere;
  auto const full = [&]() noexcept {
    return (o.max_objects != 0 && writer.objects_out() >= o.max_objects) || (o.max_bytes != 0 && writer.bytes_out() + size > o.max_bytes);
  };
  if (o.max_bytes != 0 && size > o.max_bytes) return {error_kind::too_large, "the payload alone is larger than max_unread_bytes"};
  if (full()) {
    writer.collect_all();
    if (full()) return {error_kind::quota_exceeded, "max_unread_objects or max_unread_bytes is reached; let readers keep up, or set on_full to wait or drop_oldest"};
  }
  return {};
}

/// Where key and payload come to lie. \requires the put mutex is held \errors as `describe_object`
template <class Session> result<object_place> place_object(basic_endpoint<Session>& e, wire_key key, const_bytes payload) {
  auto& writer = e.writer;
  object_place lies;
  auto const at = writer.place_of(payload);  // under this lock, or the memory may be taken back
  if (!at) return {error_kind::misconfigured, "the payload does not lie in the transport's memory; write it into a reserved block, or adopt the memory"};
  lies.payload = *at;
  if (key.size() > slot_room) {
    auto const page = writer.take_key_page();
    if (!page) return page.error();
    lies.key_page = *page;
    lies.key_at = writer.store_key(*page, key);
    if (payload.empty()) lies.payload.arena = writer.arena_id();
    failpoint("shm.put.key_stored");
  } else if (payload.empty()) {
    lies.payload.arena = in_slot;
  }
  return lies;
}

/// Whether a live object or an unfinished put has the key. \requires its lock is held.
template <class Session> [[gnu::always_inline]] inline bool key_is_taken(basic_endpoint<Session>& e, std::uint64_t hash) {
  auto const& dir = e.session->dir();
  return for_each_of(dir, hash, [&](std::uint32_t index, std::uint64_t word) {
    auto const& s = dir.slot_at(index);
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

/// A slot of ours, with an object in it that nobody sees until the control word says so, and the locks that keep it ours until then.
template <class Session> struct described_slot {
  using lock = basic_key_lock<std::remove_cvref_t<decltype(std::declval<Session const&>().dir())>>;

  lock of_key, beside;  // `beside`: of the slot, where it is not one of the key's eight
  std::uint32_t index = 0;
  std::uint64_t generation = 0;
  std::uint64_t serial = 0;  // of the producer's list

  void release() noexcept {
    beside.release();
    of_key.release();
  }
};

/// Attempts to have the lock of a key and our own at once, before it waits for our own with the key's.
inline constexpr int most_attempts = 100;

/// Takes a key and a slot near its home, and describes the object there. `block`: what the payload lies in; null: it is copied into the slot.
///
/// What can be known before is made before, so that little is left to do with the slot's first line, which who waits takes from us again and again.
/// \requires `mine` holds the put mutex, and does so afterwards where this succeeds
template <class Session>
[[gnu::always_inline]] inline result<void> describe_object(basic_endpoint<Session>& e, std::unique_lock<std::mutex>& mine, described_slot<Session>& at, wire_key key, std::uint64_t hash, const_bytes payload,
                             outgoing const* block, object_info const& info, reader_numbers const& readers, publish_options const& o) {
  using lock = typename described_slot<Session>::lock;
  auto& writer = e.writer;
  auto const& dir = e.session->dir();
  std::uint32_t const me = e.session->me(), home = dir.home_of(hash);
  object_place lies;
  auto const prepare = [&](bool may_wait) -> result<void> {
    lies = {};
    lies.payload = {in_slot, 0, true};
    if (may_wait && o.flow != nullptr && o.flow->from != e.put_for) name_stage(e, mine, o);
    if (auto const may = admit(e, payload.size(), o); !may) return may;
    if (block == nullptr) return {};
    auto const placed = place_object(e, key, payload);
    if (!placed) return placed.error();
    lies = *placed;
    return {};
  };
  // Waits with nothing that our other threads need.
  auto const wait_for = [&](std::uint32_t i, deadline until) {
    writer.give_back_key_page(lies.key_page);
    mine.unlock();
    return lock::acquire(dir, i, me, until);
  };
  deadline limit = deadline::never();  // of waiting for slots
  for (int attempt = 0;; ++attempt) {
    if (attempt == 1) limit = for_locks(o.until);
    if (auto const ready = prepare(true); !ready) return ready.error();
    at.of_key = lock::try_acquire(dir, home, me);
    if (!at.of_key) {
      auto waited = wait_for(home, o.until);
      if (!waited) return waited.error();
      at.of_key = std::move(*waited);
      // And then not for them, who may be making memory: another process would take us for stopped.
      if (attempt >= most_attempts) {
        mine.lock();
      } else if (!mine.try_lock()) {
        at.of_key.release();
        mine.lock();
        continue;
      }
      if (auto const ready = prepare(false); !ready) return ready.error();
    }
    failpoint("shm.put.key_locked");
    description d = described(me, key, hash, lies, block == nullptr, info, readers, o);
    std::uint64_t const sum = dir.sum_before(d);
    if (o.existing == on_existing::fail && key_is_taken(e, hash)) {
      writer.give_back_key_page(lies.key_page);
      return {error_kind::already_exists, taken_text};
    }
    auto const search = find_slot(dir, hash, me, at.index, at.beside);
    if (search == slot_search::busy) {
      at.of_key.release();  // who has the other may want ours
      // Not long: there may be room elsewhere before that, and who has it may be stopped.
      if (bool const came_free = bool(wait_for(at.index, deadline::after(std::chrono::milliseconds(5)))); !came_free && (attempt >= most_attempts || limit.passed()))
        return {error_kind::peer_stalled, "the only free slots near the key's are among those that another process is just putting to: it is stopped, or has no processor; or raise max_keys"};
      mine.lock();
      continue;
    }
    if (search != slot_search::found) {
      writer.give_back_key_page(lies.key_page);
      return no_slot(e, hash);
    }
    auto& s = dir.slot_at(at.index);
    at.generation = control::generation(s.ctl.load(std::memory_order_relaxed));
    if (block == nullptr && !payload.empty()) s.room.store_at(behind_key(key.size()), payload.data(), payload.size());
    d.sum = dir.sum_after(sum, at.generation);
    describe(dir, s, at.index, at.generation, key, d, readers);
    failpoint("shm.put.described");
    widen(dir, hash, at.index);
    at.serial = block != nullptr ? writer.add_object(at.index, at.generation, payload.size(), lies.payload.arena, lies.key_page, *block) : writer.add_object(at.index, at.generation, payload.size());
    return {};
  }
}

/// Takes the key from a put that has not committed yet, unless it replaces, too.
inline bool beat(auto const& dir, std::uint32_t index, std::uint64_t hash) noexcept {
  auto& s = dir.slot_at(index);
  std::uint64_t word = s.ctl.load();
  if (control::state(word) != slot_state::writing || s.hash.load(std::memory_order_relaxed) != hash || s.replaces.load(std::memory_order_relaxed) != 0) return false;
  return s.ctl.compare_exchange_strong(word, control::become(word, slot_state::beaten));
}

/// Ends every other object of the key. \requires its lock is held, and the object in slot `index` is `ready`.
template <class Session> void replace_others(basic_endpoint<Session>& e, std::uint64_t hash, std::uint32_t index) {
  for_each_of(e.session->dir(), hash, [&](std::uint32_t other, std::uint64_t) {
    if (other != index && !beat(e.session->dir(), other, hash)) e.drain_if(other, hash);
    failpoint("shm.replace.old_drained");
    return false;
  });
}

inline result<void> check_put(wire_key key, outgoing const& out) noexcept {
  if (key.size() > max_key_size) return {error_kind::too_large, "the wire key is longer than 4,096 bytes"};
  if (out.parts.size() > 1) return {error_kind::misconfigured, "a payload in shared memory is one piece; gather it first"};
  return {};
}

/// Ends a put that was begun: the key is free, the block on its way home.
template <class Session> void give_up(basic_put_operation<Session>& op) noexcept {
  auto& owner = *op.owner_;
  op.fail(cancelled_error());
  if (owner.inherited()) return;  // the parent's put, which goes on; and who has the locks here may be a thread of the parent
  call const entered(&owner);
  if (entered) {  // its block comes home like that of an object that was read: somebody may be reading it
    withdraw(owner.session->dir(), op.index_, op.generation_);
    failpoint("shm.abort.withdrawn");
    return;
  }
  std::scoped_lock const lock(owner.put_mutex);  // close has withdrawn it
  owner.writer.drop_object(op.serial_);
}

template <class Session> basic_put_operation<Session>::~basic_put_operation() {
  if (at_.load(std::memory_order_relaxed) == stage::begun) give_up(*this);
}

template <class Session> result<progress> begin_put(basic_endpoint<Session>& e, basic_put_operation<Session>& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
  if (op.at_.load(std::memory_order_relaxed) == stage::begun) return {error_kind::misconfigured, "the put operation is in use"};
  if (auto const good = check_put(key, out); !good) return good.error();
  const_bytes const payload = out.parts.empty() ? const_bytes{} : out.parts.front();
  if (info.size > payload.size()) return {error_kind::misconfigured, "object_info.size is larger than the payload's piece"};
  reader_numbers readers;
  if (auto const good = readers.assign(*e.session, o.readers, o.until); !good) return good.error();

  auto const& dir = e.session->dir();
  std::uint64_t const hash = dir.hash(key);
  object_info stored = info;
  stored.size = payload.size();
  described_slot<Session> at;
  {
    std::unique_lock mine(e.put_mutex);
    if (auto const good = describe_object(e, mine, at, key, hash, payload, &out, stored, readers, o); !good) return good.error();
    dir.slot_at(at.index).ctl.store(control::make(at.generation, slot_state::writing, control::tag_of(hash)));
  }
  failpoint("shm.put.writing");
  at.release();
  if (o.growing || (payload.size() >= e.follow_from && e.follow_ns != 0)) ring(dir, hash);  // who sleeps wakes while we write
  failpoint("shm.put.announced");
  op.owner_ = &e;
  op.at_.store(stage::begun, std::memory_order_relaxed);
  op.index_ = at.index;
  op.generation_ = at.generation;
  op.serial_ = at.serial;
  op.hash_ = hash;
  op.existing_ = o.existing;
  op.growing_ = o.growing;
  op.until_ = o.until;
  op.where_ = {dir.id(), at.generation, hash, at.index};
  return progress::done;
}

/// So many bytes of the payload are there. Who reads an object that grows may sleep until it is told.
template <class Session> void advance_put(basic_endpoint<Session>& e, basic_put_operation<Session>& op, std::uint64_t ready) noexcept {
  auto const& dir = e.session->dir();
  auto& advanced = dir.slot_at(op.index_).advanced;
  if (!op.growing_) return advanced.store(ready, std::memory_order_release);
  advanced.store(ready);
  failpoint("shm.put.advanced");
  ring(dir, op.hash_);
}

template <class Session> result<progress> commit_put(basic_endpoint<Session>& e, basic_put_operation<Session>& op, object_info const& info) {
  if (op.at_.load(std::memory_order_relaxed) != stage::begun) return {error_kind::misconfigured, "commit without begin"};
  auto const& dir = e.session->dir();
  failpoint("shm.put.copied");
  auto& s = dir.slot_at(op.index_);
  if (info.size > s.size) return {error_kind::misconfigured, "commit of more bytes than begin was given"};
  if (std::uint64_t{s.sum} != dir.sum(s, op.generation_)) {  // what changed meanwhile must not be signed
    give_up(op);
    return op.fail(damaged_error());
  }
  s.size = info.size;
  s.checksum = info.checksum;
  s.checksum_kind = static_cast<std::uint8_t>(info.checksum_by);
  s.kind = static_cast<std::uint8_t>(info.kind);
  s.trace = info.trace;
  std::uint64_t const generation = op.generation_, tag = control::tag_of(op.hash_);
  s.sum = dir.sum(s, generation);
  std::uint64_t unfinished = control::make(generation, slot_state::writing, tag);
  std::uint64_t const ready = control::make(generation, slot_state::ready, tag);
  failpoint("shm.put.finished");
  if (op.existing_ == on_existing::replace) {
    // What grows may well outlast the deadline of its beginning; the lock has a limit of its own.
    auto locked = described_slot<Session>::lock::acquire(dir, dir.home_of(op.hash_), e.session->me(), op.growing_ ? deadline::never() : op.until_);
    if (!locked) {
      give_up(op);
      return op.fail(locked.error());
    }
    failpoint("shm.replace.key_locked");
    s.ctl.store(ready);
    failpoint("shm.replace.ready");
    replace_others(e, op.hash_, op.index_);
  } else if (!s.ctl.compare_exchange_strong(unfinished, ready)) {
    give_up(op);
    return op.fail({error_kind::already_exists, "a put with on_existing::replace took the key between begin and commit of this one"});
  }
  failpoint("shm.put.ready");
  ring(dir, op.hash_);
  failpoint("shm.put.rung");
  op.at_.store(stage::found, std::memory_order_relaxed);
  e.sent.add(info.size);
  return progress::done;
}

/// A payload that is there already: key and slot are taken and the object published in one. `block`: what the payload lies in; null: it is copied into the slot.
template <class Session>
result<receipt> put_at_once(basic_endpoint<Session>& e, wire_key key, const_bytes payload, outgoing const* block, object_info const& info, publish_options const& o) {
  if (info.size != payload.size()) return {error_kind::misconfigured, "object_info.size is not the payload's"};
  reader_numbers readers;
  if (auto const good = readers.assign(*e.session, o.readers, o.until); !good) return good.error();

  auto const& dir = e.session->dir();
  std::uint64_t const hash = dir.hash(key);
  dir.prefetch_to_write(dir.home_of(hash), block != nullptr || !is_plain(info));
  described_slot<Session> at;
  {
    std::unique_lock mine(e.put_mutex);
    if (auto const good = describe_object(e, mine, at, key, hash, payload, block, info, readers, o); !good) return good.error();
    dir.slot_at(at.index).ctl.store(control::make(at.generation, slot_state::ready, control::tag_of(hash)));
    failpoint("shm.whole.ready");
  }
  if (o.existing == on_existing::replace) replace_others(e, hash, at.index);
  at.release();
  ring(dir, hash);  // after that: who follows one that was beaten just now learns of it by this
  failpoint("shm.whole.rung");
  e.sent.add(info.size);
  return result<receipt>::from([&]() noexcept { return receipt{payload.size(), place{dir.id(), at.generation, hash, at.index}.pack()}; });
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
