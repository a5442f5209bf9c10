// SPDX-License-Identifier: Apache-2.0
// What a get gives: bytes, and the right to read them.
#pragma once

#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/block_source.hpp>
#include <omniconn/serializer/concept.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// The view of a composed connector: the bytes of an object, and this reader's claim on them.
template <class Transport, class Serializer, class Allocator>
class claimed_view {
  using hold = typename Transport::hold;
  using landing = landing_block<Transport, Allocator>;

 public:
  claimed_view() noexcept = default;
  /// What a get operation found. Made where the caller wants it: each move of a claim waits for its own stores, and those for the object's lines.
  claimed_view(auto& op, landing& landed, Serializer const& serializer) noexcept
      : claim_(op.take()), landed_(std::move(landed)), info_(op.info()), serializer_(serializer), held_(true) {
    bytes_ = landed_.data() == nullptr ? claim_.bytes() : const_bytes(landed_.data(), static_cast<std::size_t>(info_.size));
  }
  claimed_view(claimed_view&& other) noexcept
      : claim_(std::move(other.claim_)), landed_(std::move(other.landed_)), bytes_(other.bytes_), info_(other.info_), serializer_(other.serializer_), held_(std::exchange(other.held_, false)) {}
  claimed_view& operator=(claimed_view&& other) noexcept {
    if (this != &other) {
      release();
      claim_ = std::move(other.claim_);
      landed_ = std::move(other.landed_);
      bytes_ = other.bytes_;
      info_ = other.info_;
      serializer_ = other.serializer_;
      held_ = std::exchange(other.held_, false);
    }
    return *this;
  }
  ~claimed_view() { release(); }

  [[nodiscard]] const_bytes bytes() const noexcept { return held_ ? bytes_ : const_bytes{}; }
  [[nodiscard]] object_info const& info() const noexcept { return info_; }
  explicit operator bool() const noexcept { return held_; }

  /// The object as a `T`, by reference where `T` can borrow: then it is valid until the view ends.
  template <class T>
    requires deserializes<Serializer, T>
  [[nodiscard]] result<T> as() const {
    if (!held_) return {error_kind::closed, "the view is empty: it was released, given back or moved from"};
    return serializer_.template decode<T>(encoded{info_.kind, bytes()});
  }

  void release() noexcept { end(disposition::consumed); }
  void give_back() noexcept { end(disposition::give_back); }

 private:
  void end(disposition how) noexcept {
    if (!std::exchange(held_, false)) return;
    claim_.finish(how);
    landed_.reset();
  }

  friend struct found_opener;

  hold claim_;
  [[no_unique_address]] landing landed_;
  const_bytes bytes_;
  object_info info_;
  [[no_unique_address]] Serializer serializer_{typename Serializer::options{}};
  bool held_ = false;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
