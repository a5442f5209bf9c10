// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// The Serializer that vLLM-Omni's Python stages speak: plain MessagePack, tensors as maps.
#pragma once

#include <omniconn/serializer/msgpack/library.hpp>

#include <concepts>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/core/tensor_value.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/serializer/concept.hpp>
#include <omniconn/serializer/msgpack/check.hpp>
#include <omniconn/serializer/msgpack/read.hpp>
#include <omniconn/serializer/msgpack/typed.hpp>
#include <omniconn/serializer/msgpack/write.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {
template <class P>
concept msgpack_binary_out = std::same_as<P, const_bytes> || std::same_as<P, mutable_bytes> || std::same_as<P, std::vector<std::byte>>;
template <class P>
concept msgpack_binary_in = std::same_as<P, const_bytes> || std::same_as<P, std::vector<std::byte>>;
}  // namespace detail

/// Types are matched exactly, so what a call means never depends on a conversion: bytes become a bin, a `value` itself, a
/// `tensor_view` its map, anything else goes through msgpack-cxx's adaptors.
template <class P>
concept msgpack_encodable =
    std::same_as<P, value> || std::same_as<P, tensor_view> || std::same_as<P, blob> || detail::msgpack_binary_out<P> || msgpack_writable<P>;
template <class P>
concept msgpack_decodable = std::same_as<P, value> || std::same_as<P, tensor_view> || detail::msgpack_binary_in<P> || msgpack_readable<P>;

/// Byte-compatible with upstream's OmniSerializer in both directions: integers and lengths in their shortest form, a float as
/// float 32, a double as float 64 even where it is whole, fields of a tensor in their fixed order, ext types as they came.
///
/// Texts should be UTF-8, as Python refuses others; it is not checked. \threadsafety all calls may run together.
class omni_msgpack_serializer {
 public:
  using options = msgpack_limits;
  static constexpr std::string_view name = "omni_msgpack";
  static constexpr payload_kind writes = payload_kind::object;

  omni_msgpack_serializer() noexcept = default;
  explicit omni_msgpack_serializer(options const& limits) noexcept : limits_(limits) {}

  /// Writes one payload of kind `object`.
  /// \copies headers and bodies below 512 bytes. Bigger binaries, texts and tensors are referenced; a tensor that is not
  /// contiguous or big-endian is copied once, into memory that `out` keeps. Other members of structures are copied, because
  /// an adaptor may write from a temporary. \lifetime the payload must outlive `out`.
  /// \errors `too_large`: deeper than `max_depth`, more values than `max_nodes`, or a part of 2^32 bytes or items; `malformed`: an adaptor
  /// threw; `no_space`: no memory for the headers. After an error `out` holds a torn payload: drop it.
  template <class P>
    requires msgpack_encodable<P>
  [[nodiscard]] result<payload_kind> encode(P const& payload, gather_list& out) const {
    return detail::without_exceptions([&]() -> result<payload_kind> {
      detail::gather_packer packer(out, limits_);
      if constexpr (std::same_as<P, value>) {
        packer.any(payload);
      } else if constexpr (std::same_as<P, tensor_view>) {
        packer.tensor(payload);
      } else if constexpr (std::same_as<P, blob>) {
        packer.binary(payload);
      } else if constexpr (detail::msgpack_binary_out<P>) {
        packer.binary(const_bytes(payload));
      } else {
        packer.pack(payload);
      }
      if (packer.failure()) return *packer.failure();
      packer.flush();
      return payload_kind::object;
    });
  }

  /// Reads one payload, which is checked as a whole first: before that nothing is allocated that grows with what it claims.
  ///
  /// `value`, `tensor_view`, `const_bytes` and our own types inside structures borrow from `from.bytes`; texts are copied. A raw payload
  /// is bytes without a description: it reads as bytes, or as a `value` that holds them.
  /// \errors `malformed`: not one whole msgpack value, or one of another type than `P`; `too_large`: over `options`; `no_space`: no memory.
  /// \note A structure is filled from a tree of 24 bytes per value, and msgpack-cxx sizes a vector before it looks at the
  /// items: with big items and foreign senders lower `max_nodes`.
  template <class P>
    requires msgpack_decodable<P>
  [[nodiscard]] result<P> decode(encoded from) const {
    return detail::without_exceptions([&]() -> result<P> {
      if (from.kind == payload_kind::raw) {
        if constexpr (std::same_as<P, value>) return value(blob::borrow(from.bytes));
        if constexpr (detail::msgpack_binary_in<P>) return P(from.bytes.begin(), from.bytes.end());
        return {error_kind::malformed, "the payload is raw bytes, not msgpack; read it as bytes or as a value"};
      }
      if (auto const ok = detail::check_msgpack(from.bytes, limits_); !ok) return ok.error();
      if constexpr (std::same_as<P, value>) {
        detail::value_builder builder;
        if (!detail::visit_msgpack(from.bytes, builder)) return changed();
        return builder.take();
      } else if constexpr (std::same_as<P, tensor_view>) {
        detail::tensor_reader reader;
        if (!detail::visit_msgpack(from.bytes, reader)) return changed();
        return detail::tensor_from(reader.fields());
      } else if constexpr (detail::msgpack_binary_in<P>) {
        detail::binary_reader reader;
        static_cast<void>(detail::visit_msgpack(from.bytes, reader));
        if (!reader.bytes()) return {error_kind::malformed, "the msgpack value is no binary"};
        return P(reader.bytes()->begin(), reader.bytes()->end());
      } else {
        msgpack::zone zone;
        std::size_t consumed = 0;
        bool referenced = false;
        msgpack::object const tree = msgpack::unpack(zone, reinterpret_cast<char const*>(from.bytes.data()), from.bytes.size(), consumed,
                                                     referenced, [](msgpack::type::object_type, std::size_t, void*) { return true; });
        return tree.as<P>();
      }
    });
  }

  /// The same for a `P` that owns everything it holds: values, blobs and texts are copies. \copies every byte once.
  /// \errors as `decode`, and `misconfigured`: a structure with a `tensor_view` in it, which can only borrow.
  template <class P>
    requires(msgpack_decodable<P> && !std::same_as<P, tensor_view> && !std::same_as<P, const_bytes>)
  [[nodiscard]] result<P> decode_owned(encoded from) const {
    return detail::without_exceptions([&]() -> result<P> {
      detail::owning_members const from_here;
      auto out = decode<P>(from);
      if constexpr (std::same_as<P, value>)
        if (out) return out->to_owned();
      return out;
    });
  }

  [[nodiscard]] options const& limits() const noexcept { return limits_; }

 private:
  // The bytes were whole in the first pass: somebody writes into them.
  static error changed() noexcept { return {error_kind::corrupt, "the payload's bytes changed while they were read"}; }

  options limits_;
};

static_assert(serializer_policy<omni_msgpack_serializer>);

/// A value as MessagePack bytes of its own, for metadata and other small documents. \copies every byte once. \errors as `encode`.
[[nodiscard]] inline result<std::vector<std::byte>> to_msgpack(value const& v, msgpack_limits const& limits = {}) {
  gather_list list;
  if (auto const done = omni_msgpack_serializer(limits).encode(v, list); !done) return done.error();
  std::vector<std::byte> out;
  out.reserve(list.size());
  for (auto const& part : list.parts()) out.insert(out.end(), part.begin(), part.end());
  return out;
}

/// The value in MessagePack bytes; it owns everything and outlives them. \errors as `decode`.
[[nodiscard]] inline result<value> from_msgpack(const_bytes bytes, msgpack_limits const& limits = {}) {
  auto const borrowed = omni_msgpack_serializer(limits).decode<value>({payload_kind::object, bytes});
  if (!borrowed) return borrowed.error();
  return borrowed->to_owned();
}

OMNICONN_END_NAMESPACE
