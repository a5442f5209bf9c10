// SPDX-License-Identifier: Apache-2.0
// A connector whose policies are chosen at run time.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/any_growing.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/detail/all_or_none.hpp>
#include <omniconn/detail/consumed_if_decoded.hpp>
#include <omniconn/detail/memory.hpp>
#include <omniconn/growing.hpp>
#include <omniconn/serializer/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// A move-only object of any type, inside where it fits. Only its destructor and two calls are needed, so this stays smaller than a general any.
template <std::size_t Size>
class erased_claim {
 public:
  struct table {
    void (*move)(void* to, void* from) noexcept;
    void (*destroy)(void*) noexcept;
    void (*release)(void*) noexcept = nullptr;  // from here on null where a claim of its kind has no such call
    void (*give_back)(void*) noexcept = nullptr;
    result<value> (*as_value)(void const*) = nullptr;
    result<tensor_view> (*as_tensor)(void const*) = nullptr;
    mutable_bytes (*writable)(void const*) noexcept = nullptr;
  };

  erased_claim() noexcept = default;
  erased_claim(erased_claim&& other) noexcept { take(other); }
  erased_claim& operator=(erased_claim&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~erased_claim() { reset(); }

  template <class T>
  void emplace(T&& object, table const& calls) {
    using stored = std::remove_cvref_t<T>;
    static_assert(sizeof(stored) <= Size && alignof(stored) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<stored>,
                  "omniconn: this connector's view is too large for any_connector; keep a hold within 128 bytes and nothrow-movable");
    reset();
    ::new (static_cast<void*>(storage_)) stored(std::forward<T>(object));
    table_ = &calls;
  }
  [[nodiscard]] table const* calls() const noexcept { return table_; }
  [[nodiscard]] void* get() noexcept { return storage_; }
  [[nodiscard]] void const* get() const noexcept { return storage_; }
  void reset() noexcept {
    if (table_ != nullptr) table_->destroy(storage_);
    table_ = nullptr;
  }

 private:
  void take(erased_claim& other) noexcept {
    if (other.table_ == nullptr) return;
    other.table_->move(storage_, other.storage_);
    table_ = std::exchange(other.table_, nullptr);
  }
  alignas(std::max_align_t) std::byte storage_[Size];
  table const* table_ = nullptr;
};

}  // namespace detail

/// Any connector behind one type: what the factory makes and what programs configured by YAML hold.
///
/// Erased per operation, not per policy: a put is one indirect call, and views and reservations lie inside their handles without allocation. Payloads that cross are
/// bytes, `value` and `tensor_view`; typed structs go through their serializer at the caller (`view::as_with`). An empty one (default-constructed or moved
/// from) answers `closed`. \threadsafety as the connector inside.
class any_connector {
 public:
  /// The bytes of an object, and this reader's claim on them.
  class view {
   public:
    view() noexcept = default;
    view(view&& other) noexcept : claim_(std::move(other.claim_)), bytes_(std::exchange(other.bytes_, {})), info_(other.info_) {}
    view& operator=(view&& other) noexcept {
      claim_ = std::move(other.claim_);
      bytes_ = std::exchange(other.bytes_, {});
      info_ = other.info_;
      return *this;
    }

    [[nodiscard]] const_bytes bytes() const noexcept { return bytes_; }
    [[nodiscard]] object_info const& info() const noexcept { return info_; }
    explicit operator bool() const noexcept { return claim_.calls() != nullptr; }
    void release() noexcept { end(&claim::table::release); }
    void give_back() noexcept { end(&claim::table::give_back); }

    /// `const_bytes`, `value` or `tensor_view`, by reference: valid until the view ends.
    /// \errors `unsupported`: this connector's serializer cannot make one.
    template <class T>
      requires(std::is_same_v<T, const_bytes> || std::is_same_v<T, value> || std::is_same_v<T, tensor_view>)
    [[nodiscard]] result<T> as() const {
      if (claim_.calls() == nullptr) return {error_kind::closed, "the view is empty: it was released, given back or moved from"};
      if constexpr (std::is_same_v<T, const_bytes>) {
        return bytes_;
      } else if constexpr (std::is_same_v<T, value>) {
        return claim_.calls()->as_value(claim_.get());
      } else {
        return claim_.calls()->as_tensor(claim_.get());
      }
    }
    /// A `T` through a serializer that the caller brings.
    template <class T, class Serializer>
      requires deserializes<Serializer, T>
    [[nodiscard]] result<T> as_with(Serializer const& serializer) const {
      if (claim_.calls() == nullptr) return {error_kind::closed, "the view is empty: it was released, given back or moved from"};
      return serializer.template decode<T>(encoded{info_.kind, bytes_});
    }

   private:
    friend class any_connector;
    using claim = detail::erased_claim<192>;
    void end(void (*claim::table::*how)(void*) noexcept) noexcept {
      if (claim_.calls() != nullptr) (claim_.calls()->*how)(claim_.get());
      claim_.reset();
      bytes_ = {};
    }
    claim claim_;
    const_bytes bytes_;
    object_info info_;
  };

  class reservation {
   public:
    reservation() noexcept = default;
    [[nodiscard]] mutable_bytes bytes() const noexcept { return claim_.calls() == nullptr ? mutable_bytes{} : claim_.calls()->writable(claim_.get()); }

   private:
    friend class any_connector;
    detail::erased_claim<64> claim_;
  };

  any_connector() noexcept = default;

  /// Wraps a connector. One allocation.
  template <class C>
    requires(!std::is_same_v<C, any_connector> && connector_like<C>)  // in this order: the concept asks whether C can be moved
  any_connector(C connector) : impl_(std::make_unique<model<C>>(std::move(connector))) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const noexcept { return impl_ != nullptr; }

  result<receipt> put(edge e, std::string_view key, const_bytes bytes, put_options const& o = {}) { return impl_ ? impl_->put(e, key, bytes, o) : none(); }
  /// \errors also `unsupported`: the connector's serializer writes no such payload.
  result<receipt> put(edge e, std::string_view key, value const& v, put_options const& o = {}) { return impl_ ? impl_->put(e, key, v, o) : none(); }
  result<receipt> put(edge e, std::string_view key, tensor_view const& t, put_options const& o = {}) { return impl_ ? impl_->put(e, key, t, o) : none(); }
  /// A payload that the caller's serializer writes; it is gathered once, into the block.
  template <class Serializer, class Payload>
    requires serializes<Serializer, Payload>
  result<receipt> put_with(Serializer const& serializer, edge e, std::string_view key, Payload const& payload, put_options const& o = {}) {
    gather_list parts;
    auto kind = serializer.encode(payload, parts);
    if (!kind) return kind.error();
    auto room = reserve(parts.size(), o);
    if (!room) return room.error();
    std::byte* at = room->bytes().data();
    for (auto const& piece : parts.parts()) {
      if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
      at += piece.size();
    }
    return commit(e, key, std::move(*room), o, *kind);
  }

  result<reservation> reserve(std::size_t size, put_options const& o = {}) { return impl_ ? impl_->reserve(size, o) : none(); }
  /// Memory for several objects, or for none of them.
  result<std::vector<reservation>> reserve_all(std::span<std::size_t const> sizes, put_options const& o = {}) { return impl_ ? impl_->reserve_all(sizes, o) : none(); }
  result<receipt> commit(edge e, std::string_view key, reservation r, put_options const& o = {}, payload_kind kind = payload_kind::raw) {
    return impl_ ? impl_->commit(e, key, std::move(r), o, kind) : none();
  }

  result<view> get_view(edge e, std::string_view key, get_options const& o = {}) { return impl_ ? impl_->get_view(e, key, o) : none(); }
  /// See `connector::get_any_view`.
  result<keyed_view<view>, key_error> get_any_view(edge e, std::span<std::string_view const> keys, get_options const& o = {}) { return impl_ ? impl_->get_any_view(e, keys, o) : none(); }
  /// See `connector::get_all_views`.
  result<std::vector<view>, key_error> get_all_views(edge e, std::span<std::string_view const> keys, get_options const& o = {}) { return impl_ ? impl_->get_all_views(e, keys, o) : none(); }
  /// The object as a `value` that owns everything.
  template <class T>
    requires std::is_same_v<T, value>
  result<T> get(edge e, std::string_view key, get_options const& o = {}) {
    auto got = get_view(e, key, o);
    if (!got) return got.error();
    detail::consumed_if_decoded<view> kept(*got);
    auto out = detail::while_memory_lasts([&]() -> result<value> {
      auto decoded = got->template as<value>();
      if (!decoded) return decoded.error();
      return decoded->to_owned();
    });
    if (out) kept.decoded();
    return out;
  }
  template <class T>
    requires std::is_same_v<T, value>
  result<T> try_get(edge e, std::string_view key, get_options o = {}) {
    o.until = deadline::immediate();
    return get<T>(e, key, o);
  }
  result<object_info> get_into(edge e, std::string_view key, mutable_bytes into, get_options const& o = {}) { return impl_ ? impl_->get_into(e, key, into, o) : none(); }

  /// Waits until nobody needs the object of a receipt any more: every reader is done with it, or it was dropped.
  /// \errors as `connector::wait_consumed`; unsupported: the transport is not told of it.
  result<void> wait_consumed(edge e, receipt const& r, deadline until, stop_token stop = {}) { return impl_ ? impl_->wait_consumed(e, r, until, std::move(stop)) : none(); }

  result<bool> exists(edge e, std::string_view key) { return impl_ ? impl_->exists(e, key) : none(); }
  result<std::size_t> cleanup(edge e, std::string_view key) { return impl_ ? impl_->cleanup(e, key) : none(); }
  result<std::size_t> cleanup(std::string_view request) { return impl_ ? impl_->cleanup(request) : none(); }
  [[nodiscard]] value metadata(receipt const& r) const { return impl_ ? impl_->metadata(r) : value{}; }
  [[nodiscard]] result<receipt> from_metadata(value const& m) const { return impl_ ? impl_->from_metadata(m) : none(); }
  [[nodiscard]] capabilities const& facts() const noexcept {
    static constexpr capabilities nothing{.name = "none"};
    return impl_ ? impl_->facts() : nothing;
  }
  [[nodiscard]] health_report health() const {
    if (impl_) return impl_->health();
    health_report out;
    out.status = health_status::closed;
    out.why = "no connector inside";
    return out;
  }
  void close() noexcept {
    if (impl_) impl_->close();
  }

 private:
  friend result<any_growing_put> put_growing(any_connector&, edge, std::string_view, std::size_t, put_options const&, payload_kind);
  friend result<any_growing_view_as<view>> get_growing(any_connector&, edge, std::string_view, get_options const&);

  static error none() noexcept { return {error_kind::closed, "there is no connector inside this any_connector", 0, severity::transport}; }

  struct interface {
    virtual ~interface() = default;
    virtual result<receipt> put(edge, std::string_view, const_bytes, put_options const&) = 0;
    virtual result<receipt> put(edge, std::string_view, value const&, put_options const&) = 0;
    virtual result<receipt> put(edge, std::string_view, tensor_view const&, put_options const&) = 0;
    virtual result<reservation> reserve(std::size_t, put_options const&) = 0;
    virtual result<std::vector<reservation>> reserve_all(std::span<std::size_t const>, put_options const&) = 0;
    virtual result<receipt> commit(edge, std::string_view, reservation, put_options const&, payload_kind) = 0;
    virtual result<view> get_view(edge, std::string_view, get_options const&) = 0;
    virtual result<keyed_view<view>, key_error> get_any_view(edge, std::span<std::string_view const>, get_options const&) = 0;
    virtual result<std::vector<view>, key_error> get_all_views(edge, std::span<std::string_view const>, get_options const&) = 0;
    virtual result<void> wait_consumed(edge, receipt const&, deadline, stop_token) = 0;
    virtual result<any_growing_put> begin_growing(edge, std::string_view, std::size_t, put_options const&, payload_kind) = 0;
    virtual result<any_growing_view_as<view>> find_growing(edge, std::string_view, get_options const&) = 0;
    virtual result<object_info> get_into(edge, std::string_view, mutable_bytes, get_options const&) = 0;
    virtual result<bool> exists(edge, std::string_view) = 0;
    virtual result<std::size_t> cleanup(edge, std::string_view) = 0;
    virtual result<std::size_t> cleanup(std::string_view) = 0;
    virtual value metadata(receipt const&) const = 0;
    virtual result<receipt> from_metadata(value const&) const = 0;
    virtual capabilities const& facts() const noexcept = 0;
    virtual health_report health() const = 0;
    virtual void close() noexcept = 0;
  };

  template <class C>
  struct model final : interface {
    explicit model(C c) : inner(std::move(c)) {}

    template <class P>
    result<receipt> put_if_possible(edge e, std::string_view key, P const& payload, put_options const& o) {
      if constexpr (requires { inner.put(e, key, payload, o); }) return inner.put(e, key, payload, o);
      return {error_kind::unsupported, "this edge's serializer cannot write such a payload; put bytes, or configure a serializer that can (omni_msgpack)"};
    }
    result<receipt> put(edge e, std::string_view key, const_bytes b, put_options const& o) override { return inner.put(e, key, b, o); }
    result<receipt> put(edge e, std::string_view key, value const& v, put_options const& o) override { return put_if_possible(e, key, v, o); }
    result<receipt> put(edge e, std::string_view key, tensor_view const& t, put_options const& o) override { return put_if_possible(e, key, t, o); }

    static reservation wrap(typename C::reservation&& inside) {
      reservation out;
      out.claim_.emplace(std::move(inside), room_table);
      return out;
    }
    static view wrap(typename C::view&& inside) {
      view out;
      out.bytes_ = inside.bytes();
      out.info_ = inside.info();
      out.claim_.emplace(std::move(inside), view_table);
      return out;
    }

    result<reservation> reserve(std::size_t size, put_options const& o) override {
      auto inside = inner.reserve(size, o);
      if (!inside) return inside.error();
      return wrap(std::move(*inside));
    }
    result<std::vector<reservation>> reserve_all(std::span<std::size_t const> sizes, put_options const& o) override {
      auto inside = inner.reserve_all(sizes, o);
      if (!inside) return inside.error();
      std::vector<reservation> out;
      out.reserve(inside->size());
      for (auto& one : *inside) out.push_back(wrap(std::move(one)));
      return out;
    }
    result<receipt> commit(edge e, std::string_view key, reservation r, put_options const& o, payload_kind kind) override {
      if (r.claim_.calls() != &room_table) return inner.commit(e, key, inner_room(), o, kind);  // which says that it is empty or another's, and counts it
      return inner.commit(e, key, std::move(*static_cast<typename C::reservation*>(r.claim_.get())), o, kind);
    }
    result<view> get_view(edge e, std::string_view key, get_options const& o) override {
      auto inside = inner.get_view(e, key, o);
      if (!inside) return inside.error();
      return wrap(std::move(*inside));
    }
    result<keyed_view<view>, key_error> get_any_view(edge e, std::span<std::string_view const> keys, get_options const& o) override {
      auto inside = inner.get_any_view(e, keys, o);
      if (!inside) return inside.error();
      return keyed_view<view>{inside->index, wrap(std::move(inside->view))};
    }
    result<std::vector<view>, key_error> get_all_views(edge e, std::span<std::string_view const> keys, get_options const& o) override {
      detail::all_or_none<view> out(keys.size());  // before anything is had: where memory runs out, nothing is lost
      auto inside = inner.get_all_views(e, keys, o);
      if (!inside) return inside.error();
      for (std::size_t i = 0; i != inside->size(); ++i) out.views[i] = wrap(std::move((*inside)[i]));
      out.complete = true;
      return std::move(out.views);
    }
    result<void> wait_consumed(edge e, receipt const& r, deadline until, stop_token stop) override {
      if constexpr (requires { inner.wait_consumed(e, r, until, stop); }) return inner.wait_consumed(e, r, until, std::move(stop));
      return {error_kind::unsupported, "this transport is not told when an object was read; use shared memory in our layout (ShmConnector), or let the reader answer with a put of its own"};
    }
    static error cannot_grow() noexcept { return {error_kind::unsupported, "this transport's objects cannot be read while they grow; use shared memory in our layout (ShmConnector), or put each part under a key of its own"}; }
    result<any_growing_put> begin_growing(edge e, std::string_view key, std::size_t room, put_options const& o, payload_kind kind) override {
      if constexpr (growing_connector<C>) {
        auto inside = put_growing(inner, e, key, room, o, kind);
        return inside ? result<any_growing_put>(any_growing_put(std::move(*inside))) : inside.error();
      }
      return cannot_grow();
    }
    result<any_growing_view_as<view>> find_growing(edge e, std::string_view key, get_options const& o) override {
      if constexpr (growing_connector<C>) {
        auto inside = get_growing(inner, e, key, o);
        if (!inside) return inside.error();
        return any_growing_view_as<view>(std::move(*inside), static_cast<view (*)(typename C::view&&)>(&model::wrap));
      }
      return cannot_grow();
    }
    result<object_info> get_into(edge e, std::string_view key, mutable_bytes into, get_options const& o) override { return inner.get_into(e, key, into, o); }
    result<bool> exists(edge e, std::string_view key) override { return inner.exists(e, key); }
    result<std::size_t> cleanup(edge e, std::string_view key) override { return inner.cleanup(e, key); }
    result<std::size_t> cleanup(std::string_view request) override { return inner.cleanup(request); }
    value metadata(receipt const& r) const override { return inner.metadata(r); }
    result<receipt> from_metadata(value const& m) const override { return inner.from_metadata(m); }
    capabilities const& facts() const noexcept override { return inner.facts(); }
    health_report health() const override { return inner.health(); }
    void close() noexcept override { inner.close(); }

    using inner_view = typename C::view;
    using inner_room = typename C::reservation;

    template <class T>
    static result<T> view_as(void const* v) {
      if constexpr (requires(inner_view const& w) { w.template as<T>(); }) return static_cast<inner_view const*>(v)->template as<T>();
      return {error_kind::unsupported, "this edge's serializer cannot read such a payload; take bytes, or configure a serializer that can (omni_msgpack)"};
    }
    template <class T>
    static void relocate(void* to, void* from) noexcept {
      ::new (to) T(std::move(*static_cast<T*>(from)));
      static_cast<T*>(from)->~T();
    }

    static constexpr typename detail::erased_claim<192>::table view_table{
        .move = &relocate<inner_view>,
        .destroy = [](void* v) noexcept { static_cast<inner_view*>(v)->~inner_view(); },
        .release = [](void* v) noexcept { static_cast<inner_view*>(v)->release(); },
        .give_back = [](void* v) noexcept { static_cast<inner_view*>(v)->give_back(); },
        .as_value = &view_as<value>,
        .as_tensor = &view_as<tensor_view>,
    };
    static constexpr typename detail::erased_claim<64>::table room_table{
        .move = &relocate<inner_room>,
        .destroy = [](void* r) noexcept { static_cast<inner_room*>(r)->~inner_room(); },
        .writable = [](void const* r) noexcept -> mutable_bytes { return static_cast<inner_room const*>(r)->bytes(); },
    };

    C inner;
  };

  std::unique_ptr<interface> impl_;
};

static_assert(connector_like<any_connector>);

using any_growing_view = any_growing_view_as<any_connector::view>;

/// See `put_growing` of growing.hpp. \errors also `unsupported`: what this transport moves cannot be read while it grows; `closed`: there is no connector inside.
inline result<any_growing_put> put_growing(any_connector& by, edge e, std::string_view key, std::size_t room, put_options const& o = {}, payload_kind kind = payload_kind::raw) {
  return by.impl_ ? by.impl_->begin_growing(e, key, room, o, kind) : any_connector::none();
}
/// See `get_growing` of growing.hpp. \errors as above, too.
inline result<any_growing_view> get_growing(any_connector& by, edge e, std::string_view key, get_options const& o = {}) {
  return by.impl_ ? by.impl_->find_growing(e, key, o) : any_connector::none();
}

OMNICONN_END_NAMESPACE
