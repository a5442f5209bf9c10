// SPDX-License-Identifier: Apache-2.0
// The contract of a Keying; docs/concepts/keying.md has it as a table.
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// A Keying is a value: copyable, without state that calls change.
template <class K>
concept keying_basics = std::copyable<K> && std::default_initializable<typename K::options> && requires(typename K::options const& o) {
  K(o);
  { K::name } -> std::convertible_to<std::string_view>;
  { K::injective } -> std::convertible_to<bool>;  // different (edge, key) always give different wire keys
};

/// `make` writes the wire key into `scratch` or returns the caller's bytes. `max` is what the transport accepts.
/// \errors `too_large`: longer than `max`, and this Keying may not shorten.
template <class K>
concept keying_make = requires(K const& k, edge e, std::string_view key, key_scratch& scratch, std::size_t max) {
  { k.make(e, key, scratch, max) } -> std::same_as<result<wire_key>>;
};

/// `belongs` answers, for `cleanup`: was this wire key made from `request` or from one of its parts (`request_...`, `..._request`)?
template <class K>
concept keying_request = requires(K const& k, wire_key w, std::string_view request) {
  { k.belongs(w, request) } -> std::same_as<bool>;
};

template <class K>
concept keying_policy = keying_basics<K> && keying_make<K> && keying_request<K>;

template <class K>
consteval bool explain_keying() {
  static_assert(keying_basics<K>, "omniconn: a keying needs `options`, a constructor from them, static `name` and `injective`; see docs/concepts/keying.md");
  static_assert(keying_make<K>, "omniconn: a keying needs `result<wire_key> make(edge, std::string_view key, key_scratch&, std::size_t max) const`; see docs/concepts/keying.md");
  static_assert(keying_request<K>, "omniconn: a keying needs `bool belongs(wire_key, std::string_view request) const`; see docs/concepts/keying.md");
  return keying_policy<K>;
}

OMNICONN_END_NAMESPACE
