// SPDX-License-Identifier: Apache-2.0
// What every connector can do, composed or erased: options, receipts and the concept.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/metrics.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

/// How one put differs from the connector's defaults. What it refers to must live for the call.
struct put_options {
  std::optional<reader_set> readers{};               ///< who may read it
  std::optional<std::chrono::nanoseconds> lease{};   ///< how long it outlives its producer, unread
  std::optional<on_existing> existing{};             ///< what a key that is taken does
  std::optional<bool> checksum{};
  deadline until{};                                  ///< for room (`on_full::wait`), a service's answer, or a process that is stopped where ours must pass (`peer_stalled`)
  stop_token stop{};
  std::uint64_t trace = 0;                           ///< travels with the object
};

/// How one get is done.
struct get_options {
  deadline until{};                ///< `deadline::immediate()`: `not_found` instead of waiting
  stop_token stop{};
  locator const* where = nullptr;  ///< the receipt's locator, where the caller has it
  std::string_view reader{};       ///< who asks; empty: the connector's reader name
};

/// Bytes of one object, kept readable. Move-only RAII: the destructor consumes this reader's share, as `release` does.
template <class V>
concept object_view = std::movable<V> && !std::copyable<V> && std::default_initializable<V> && requires(V& v, V const& c) {
  { c.bytes() } noexcept -> std::same_as<const_bytes>;
  { c.info() } noexcept -> std::same_as<object_info const&>;
  { v.release() } noexcept;    // consumed; the bytes are gone
  { v.give_back() } noexcept;  // as if it had never been taken
};

/// Memory of the connector that the caller fills before `commit`. Move-only RAII: the destructor gives the memory back.
template <class R>
concept object_reservation = std::movable<R> && !std::copyable<R> && requires(R& r, R const& c) {
  { c.bytes() } noexcept -> std::same_as<mutable_bytes>;
};

/// What `get_any_view` found: the view, and which of the keys it is of.
template <class View>
struct keyed_view {
  std::size_t index = 0;  ///< position in the list that was asked for
  View view;
};

/// Why a get of several keys failed, and which of them it was.
class key_error : public error {
 public:
  static constexpr std::size_t no_key = ~std::size_t{0};

  constexpr key_error(error e, std::size_t which = no_key) noexcept : error(e), which_(which) {}  // NOLINT(google-explicit-constructor): errors widen silently

  /// Position in the list that was asked for; `no_key` where the call failed as a whole.
  [[nodiscard]] constexpr std::size_t index() const noexcept { return which_; }
  /// "key 2: corrupt: the payload's checksum is wrong".
  [[nodiscard]] std::string message() const { return which_ == no_key ? error::message() : "key " + std::to_string(which_) + ": " + error::message(); }

 private:
  std::size_t which_;
};

/// The contract that `connector<...>` and `any_connector` share. Code written against it runs on either.
template <class C>
concept connector_like =
    std::movable<C> && object_view<typename C::view> && object_reservation<typename C::reservation> &&
    requires(C& c, C const& k, edge e, std::string_view key, const_bytes bytes, mutable_bytes into, put_options const& p, get_options const& g,
             typename C::reservation r, receipt const& done, value const& metadata, std::size_t n, std::span<std::size_t const> sizes,
             std::span<std::string_view const> keys) {
      { c.put(e, key, bytes, p) } -> std::same_as<result<receipt>>;
      { c.reserve(n) } -> std::same_as<result<typename C::reservation>>;
      { c.reserve(n, p) } -> std::same_as<result<typename C::reservation>>;
      { c.reserve_all(sizes, p) } -> std::same_as<result<std::vector<typename C::reservation>>>;
      { c.commit(e, key, std::move(r), p) } -> std::same_as<result<receipt>>;
      { c.get_view(e, key, g) } -> std::same_as<result<typename C::view>>;
      { c.get_any_view(e, keys, g) } -> std::same_as<result<keyed_view<typename C::view>, key_error>>;
      { c.get_all_views(e, keys, g) } -> std::same_as<result<std::vector<typename C::view>, key_error>>;
      { c.get_into(e, key, into, g) } -> std::same_as<result<object_info>>;
      { c.exists(e, key) } -> std::same_as<result<bool>>;
      { c.cleanup(e, key) } -> std::same_as<result<std::size_t>>;
      { c.cleanup(key) } -> std::same_as<result<std::size_t>>;
      { k.metadata(done) } -> std::same_as<value>;
      { k.from_metadata(metadata) } -> std::same_as<result<receipt>>;
      { k.facts() } -> std::same_as<capabilities const&>;
      { k.health() } -> std::same_as<health_report>;
      { c.close() } noexcept;
    };

OMNICONN_END_NAMESPACE
