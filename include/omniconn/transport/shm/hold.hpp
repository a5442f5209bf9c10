// SPDX-License-Identifier: Apache-2.0
// A reader's claim on an object in shared memory.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/session.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// A claim on an object, and with it on its producer's memory. Keeps the participant alive.
template <class Session> class basic_object_hold {
 public:
  basic_object_hold() noexcept = default;
  basic_object_hold(basic_object_hold&& other) noexcept
      : session_(std::move(other.session_)), arena_(std::move(other.arena_)), bytes_(other.bytes_), generation_(other.generation_), index_(other.index_), place_(other.place_) {}
  basic_object_hold& operator=(basic_object_hold&& other) noexcept {
    if (this != &other) {
      finish(disposition::give_back);
      session_ = std::move(other.session_);
      arena_ = std::move(other.arena_);
      bytes_ = other.bytes_;
      generation_ = other.generation_;
      index_ = other.index_;
      place_ = other.place_;
    }
    return *this;
  }
  ~basic_object_hold() { finish(disposition::give_back); }

  /// Who will claim, said before there is something: to count the participant's users in is a locked instruction, which right behind a claim would wait for the object's lines.
  void expect(std::shared_ptr<Session> const& claimer) noexcept {
    if (session_ != nullptr) return;
    session_ = claimer;
    place_ = no_place;
  }
  /// Of what was expected nothing has come: the participant may leave without us.
  void expect_no_more() noexcept {
    if (place_ == no_place) session_.reset();
  }
  /// A claim was made. \requires there is none
  void begin(std::shared_ptr<Session> const& claimer, std::uint32_t index, std::uint64_t generation, std::uint32_t place) noexcept {
    expect(claimer);
    arena_.reset();
    bytes_ = {};
    index_ = index;
    generation_ = generation;
    place_ = place;
  }
  /// What is claimed, and the mapping that it lies in.
  void set_bytes(std::shared_ptr<mapped_arena const> arena, const_bytes bytes) noexcept {
    arena_ = std::move(arena);
    bytes_ = bytes;
  }
  [[nodiscard]] const_bytes bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::shared_ptr<mapped_arena const> const& arena() const noexcept { return arena_; }
  [[nodiscard]] std::uint32_t index() const noexcept { return index_; }
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }

  /// Ends the claim; later calls do nothing. The bytes must not be touched any more.
  void finish(disposition how) noexcept {
    if (session_ == nullptr) return;
    if (place_ == no_place || session_->inherited()) return session_.reset();  // nothing has come; the parent's claim
    auto const& dir = session_->dir();
    std::uint32_t const owner = dir.slot_at(index_).owner.load(std::memory_order_relaxed);
    if (release_claim(dir, index_, generation_, place_, how == disposition::consumed)) session_->retired_of(owner);
    bytes_ = {};
    arena_.reset();
    session_.reset();
  }

 private:
  static constexpr std::uint32_t no_place = ~std::uint32_t{0};

  std::shared_ptr<Session> session_;
  std::shared_ptr<mapped_arena const> arena_;
  const_bytes bytes_;
  std::uint64_t generation_ = 0;
  std::uint32_t index_ = 0;
  std::uint32_t place_ = no_place;
};
using object_hold = basic_object_hold<session>;

/// Gives a claim back, unless `held` is cleared before.
template <class Session> struct claim_guard {
  basic_object_hold<Session>* held;
  ~claim_guard() {
    if (held != nullptr) held->finish(disposition::give_back);
  }
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
