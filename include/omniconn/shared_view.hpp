// SPDX-License-Identifier: Apache-2.0
// One object that several parts of a process use at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/error.hpp>
#include <omniconn/core/object.hpp>

OMNICONN_BEGIN_NAMESPACE

/// A view that can be copied: it counts its holders, and when the last of them ends the object is consumed, once. To the transport all of them are one reader, so
/// the object needs no more readers than before.
///
/// Made by `share(std::move(view))` from the view of any connector; views that are not shared pay nothing for it. One allocation, none per holder.
/// \threadsafety different holders may be used, copied and released by different threads at once; one and the same holder is a plain object. \lifetime the bytes, and
/// what `as` decoded by reference, stay until the last holder ends; holders may outlive the connector. \copies none
template <object_view View>
class shared_view {
 public:
  using view_type = View;

  /// Nobody's: no bytes, 0 holders.
  shared_view() noexcept = default;
  /// The first holder. An empty view makes an empty one. Where memory runs out, it throws std::bad_alloc and the view is what it was.
  explicit shared_view(View&& view) {
    if constexpr (requires { static_cast<bool>(view); })
      if (!static_cast<bool>(view)) return;
    held_ = new shared(std::move(view));
  }
  shared_view(shared_view const& other) noexcept : held_(other.held_) {
    // Relaxed: whoever copies has a holder, so the count cannot reach 0 meanwhile.
    if (held_ != nullptr) held_->holders.fetch_add(1, std::memory_order_relaxed);
  }
  shared_view(shared_view&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  shared_view& operator=(shared_view const& other) noexcept {
    if (held_ != other.held_) *this = shared_view(other);
    return *this;
  }
  shared_view& operator=(shared_view&& other) noexcept {
    if (this != &other) {
      release();
      held_ = std::exchange(other.held_, nullptr);
    }
    return *this;
  }
  ~shared_view() { release(); }

  /// One holder more, as a copy is.
  [[nodiscard]] shared_view retain() const noexcept { return *this; }
  /// Ends this holder. With the last one the object is consumed. The second time: nothing.
  void release() noexcept {
    auto* const mine = std::exchange(held_, nullptr);
    // What every holder has read was read before the object is consumed and its memory written again.
    if (mine != nullptr && mine->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete mine;
  }
  /// The view itself, where this is its only holder: to give the object back, say. Otherwise an empty view, and this holder stays.
  [[nodiscard]] View unshare() noexcept {
    if (held_ == nullptr || held_->holders.load(std::memory_order_acquire) != 1) return View();
    View out = std::move(held_->view);
    delete std::exchange(held_, nullptr);
    return out;
  }

  /// The object's bytes; none where this holder is empty.
  [[nodiscard]] const_bytes bytes() const noexcept { return held_ != nullptr ? held_->view.bytes() : const_bytes(); }
  /// What is known of the object; all zero where this holder is empty.
  [[nodiscard]] object_info const& info() const noexcept {
    static constexpr object_info nothing{};
    return held_ != nullptr ? held_->view.info() : nothing;
  }
  explicit operator bool() const noexcept { return held_ != nullptr; }
  /// How many there are at this moment, this one included.
  [[nodiscard]] std::uint64_t holders() const noexcept { return held_ != nullptr ? held_->holders.load(std::memory_order_relaxed) : 0; }

  /// As the view's `as`: a `T` by reference, valid until the last holder ends. \errors as there; `closed` where this holder is empty.
  template <class T, class V = View>
  [[nodiscard]] auto as() const -> decltype(std::declval<V const&>().template as<T>()) {
    if (held_ == nullptr) return empty();
    return held_->view.template as<T>();
  }
  /// As the view's `as_with`, where it has one.
  template <class T, class Serializer, class V = View>
  [[nodiscard]] auto as_with(Serializer const& serializer) const -> decltype(std::declval<V const&>().template as_with<T>(serializer)) {
    if (held_ == nullptr) return empty();
    return held_->view.template as_with<T>(serializer);
  }

 private:
  struct shared {
    explicit shared(View&& v) noexcept : view(std::move(v)) {}
    View view;
    std::atomic<std::uint64_t> holders{1};
  };

  static error empty() noexcept { return {error_kind::closed, "the shared view is empty: it was released or moved from"}; }

  shared* held_ = nullptr;
};

/// Makes a view one that can be copied. See `shared_view`.
template <class View>
  requires object_view<View>
[[nodiscard]] shared_view<View> share(View&& view) {
  return shared_view<View>(std::move(view));
}

OMNICONN_END_NAMESPACE
