// SPDX-License-Identifier: Apache-2.0
// What the calls of one transport object share, and the operations that they drive.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/call_gate.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/staged_operation.hpp>
#include <omniconn/detail/traffic_counter.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/hold.hpp>
#include <omniconn/transport/shm/listen.hpp>
#include <omniconn/transport/shm/placement.hpp>
#include <omniconn/transport/shm/producer.hpp>
#include <omniconn/transport/shm/session.hpp>
#include <omniconn/transport/shm/spin_time.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// What a locator holds.
struct place {
  std::uint64_t directory;
  std::uint64_t generation;
  std::uint64_t hash;
  std::uint64_t index;

  [[nodiscard]] locator pack() const noexcept { return locator::pack(locator_tag::shm, *this); }
};

inline error damaged_error() noexcept { return {error_kind::corrupt, "the namespace's directory has an object whose description was changed after the put; clean it up and put it again"}; }
inline error stale_error() noexcept { return {error_kind::stale_handle, "the locator is of an object that is gone; search by key, or ask for a new receipt"}; }

/// The part of a transport that does not move.
template <class Session> struct basic_endpoint : call_gate {
  basic_endpoint(std::shared_ptr<Session> s, std::uint64_t pool_size, std::uint16_t reader_id, std::int64_t wanted_spin, placement const& wanted = {})
      : session(std::move(s)), writer(*session, pool_size, wanted), reader(reader_id), spin(wanted_spin), follow_ns(spin.usual > spin_time::by_itself() ? spin.usual : spin_time::by_itself()) {}

  std::shared_ptr<Session> session;
  basic_producer<Session> writer;
  std::uint16_t reader;
  spin_time spin;
  std::int64_t follow_ns;                            ///< how long it stays awake for a writer that does not get on; 0: one processor, which the writer needs
  std::size_t follow_from = std::size_t{16} << 10U;  ///< bytes of a payload from which on a waiting get reads it while it is being written; less is there before it has looked
  std::mutex put_mutex;  ///< of `writer`, `put_for` and `event`
  std::string put_for;   ///< the stage of the last put
  std::uint32_t crowded_home = everywhere;  ///< of the last put's key, where it found no slot near it: room elsewhere is none. Under the put mutex
  unique_fd event;       ///< for foreign event loops; made when asked for
  std::stop_source closing;
  traffic_counter sent, got;

  result<int> native_fd() {
    std::scoped_lock const lock(put_mutex);
    if (!event) {
      event = make_event();
      if (!event) return errno_error("making a descriptor for event loops failed; raise the limit of open files");
      session->listen(event.get());
    }
    return event.get();
  }
  /// \requires nobody is inside: the transport closes. Who polls learns of it.
  void end_events() noexcept {
    if (!event) return;
    session->unlisten();
    raise_event(event.get());
  }

  /// Drains a ready slot of that generation.
  bool drain_index(std::uint32_t index, std::uint64_t generation) noexcept {
    auto const& dir = session->dir();
    std::uint32_t const owner = dir.slot_at(index).owner.load(std::memory_order_relaxed);
    if (!drain(dir, index, generation)) return false;
    session->retired_of(owner);
    return true;
  }

  /// Drains a ready slot of that hash. Two keys of one 64-bit hash count as one here: 1 in 10^19.
  bool drain_if(std::uint32_t index, std::uint64_t hash) noexcept {
    auto& s = session->dir().slot_at(index);
    std::uint64_t const word = s.ctl.load();
    if (control::state(word) != slot_state::ready || s.hash.load(std::memory_order_relaxed) != hash) return false;
    return drain_index(index, control::generation(word));
  }
};

using endpoint = basic_endpoint<session>;

/// An object that a get has claimed while it is being written.
struct followed {
  bool on = false;
  std::uint32_t index = 0;
  std::uint64_t word = 0;         ///< the slot's, when it was claimed
  const_bytes bytes;              ///< where it comes to lie
  std::uint64_t arena = 0, offset = 0;
  std::size_t done = 0;           ///< bytes that were read, or that who reads while it grows knows to be there
  std::uint32_t owner = 0;        ///< who writes it, in which use of its record
  std::uint32_t epoch = 0;
  std::optional<checksum_state> sum;  ///< of them, where who waits wants it
};

template <class Session> struct basic_put_operation : staged_operation {
  ~basic_put_operation();
  [[nodiscard]] locator where() const noexcept { return where_.directory == 0 ? locator() : where_.pack(); }

  basic_endpoint<Session>* owner_ = nullptr;
  place where_{};
  std::uint64_t hash_ = 0;
  std::uint64_t serial_ = 0;  // of the producer's list
  std::uint64_t generation_ = 0;
  std::uint32_t index_ = 0;
  on_existing existing_ = on_existing::fail;
  bool growing_ = false;  // readers are told of each step
  deadline until_;  // of the locks of a replacing put
};
using put_operation = basic_put_operation<session>;

template <class Session> struct basic_get_operation : staged_operation {
  basic_get_operation() noexcept { is_get_ = true; }  // NOLINT(cppcoreguidelines-pro-type-member-init): `short_` is written before it is read
  [[nodiscard]] object_info info() const noexcept { return info_; }
  [[nodiscard]] locator where() const noexcept { return where_.directory == 0 ? locator() : where_.pack(); }
  /// Of an object that grows: the bytes that are there, and whether that is all.
  [[nodiscard]] const_bytes so_far() const noexcept { return following_.on ? following_.bytes.first(following_.done) : hold_.bytes(); }
  [[nodiscard]] bool is_whole() const noexcept { return is(stage::found) && !following_.on; }
  /// The payload's checksum, where it was read while it was being written.
  [[nodiscard]] std::optional<std::uint64_t> digest() const noexcept { return digest_; }
  [[nodiscard]] basic_object_hold<Session> take() noexcept {
    locked_operation const lock(*this);
    if (lock.at() == stage::found) become(stage::idle);
    if (following_.on) let_go();  // it is not whole, and may never be
    return std::move(hold_);
  }

  /// Of what it follows. \requires the operation is locked
  void let_go() noexcept {
    following_.on = false;
    hold_.finish(disposition::give_back);
  }

  /// The caller's key may end with the call; a get that is done at once needs no copy of it, and one that waits none on the heap: freeing it would come after the object.
  void keep(wire_key key) {
    if (key.size() <= short_.size()) {
      std::memcpy(short_.data(), key.data(), key.size());
      key_ = {short_.data(), key.size()};
    } else {
      long_.assign(key);
      key_ = long_;
    }
  }

  wire_key key_;
  std::array<char, slot_room> short_;
  std::string long_;
  std::uint64_t hash_ = 0;
  std::uint16_t reader_ = 0;
  std::uint16_t awaited_ = 0;   ///< the stage whose death ends the wait, as the number of its name + 1
  bool watches_ = false;        ///< for the end of the object, instead of the object
  bool by_locator_ = false;
  std::uint32_t index_ = 0;
  std::uint64_t generation_ = 0;
  bool verifies_ = false;       ///< the caller will want the checksum
  bool growing_ = false;        ///< found as soon as it is announced, and again when more of it is there
  std::uint64_t wanted_ = 0;    ///< bytes of such a one
  std::uint64_t unfit_ = 0;     ///< control word of an object that is being written and cannot be followed: it is waited for
  bool moved_ = false;          ///< the last look saw an object of the key that was just going
  bool may_follow_ = false;     ///< one thread waits for this object alone, and spins
  object_info info_;
  place where_{};
  basic_object_hold<Session> hold_;
  followed following_;
  std::optional<std::uint64_t> digest_;
};
using get_operation = basic_get_operation<session>;

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
