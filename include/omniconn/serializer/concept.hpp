// SPDX-License-Identifier: Apache-2.0
// The contract of a Serializer; docs/concepts/serializer.md has it as a table.
#pragma once

#include <concepts>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The bytes of one object as a transport delivered them: what a Serializer decodes.
struct encoded {
  payload_kind kind = payload_kind::raw;
  const_bytes bytes;
};

/// What every Serializer has. A Serializer is a value: copyable, without state that calls change, so that all calls may run together.
template <class S>
concept serializer_basics = std::copyable<S> && std::default_initializable<typename S::options> && requires(typename S::options const& o) {
  S(o);
  { S::name } -> std::convertible_to<std::string_view>;
};

/// `S` can write a `P`: headers are copied into the list, big parts are referenced and must outlive it. \returns the payload's kind.
template <class S, class P>
concept serializes = requires(S const& s, P const& payload, gather_list& out) {
  { s.encode(payload, out) } -> std::same_as<result<payload_kind>>;
};

/// `S` can read a `P`. Everything in `from` is hostile until checked. A `P` that borrows (views, `value`) is valid as long as `from.bytes`.
template <class S, class P>
concept deserializes = requires(S const& s, encoded from) {
  { s.template decode<P>(from) } -> std::same_as<result<P>>;
};

/// `S` can read a `P` that needs nothing of `from.bytes` afterwards. \errors as `decode`, and `misconfigured` where a part of `P` can only borrow.
template <class S, class P>
concept deserializes_owned = requires(S const& s, encoded from) {
  { s.template decode_owned<P>(from) } -> std::same_as<result<P>>;
};

/// The contract: at least bytes go in; what else does is asked with `serializes` and `deserializes`.
template <class S>
concept serializer_policy = serializer_basics<S> && serializes<S, const_bytes>;

template <class S>
consteval bool explain_serializer() {
  static_assert(serializer_basics<S>, "omniconn: a serializer needs `options`, a constructor from them, a static `name` and must be copyable; see docs/concepts/serializer.md");
  static_assert(serializes<S, const_bytes>, "omniconn: a serializer needs `result<payload_kind> encode(const_bytes const&, gather_list&) const`; see docs/concepts/serializer.md");
  return serializer_policy<S>;
}

OMNICONN_END_NAMESPACE
