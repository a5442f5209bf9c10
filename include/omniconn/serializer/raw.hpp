// SPDX-License-Identifier: Apache-2.0
// A Serializer that adds nothing: the payload is the caller's bytes.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/detail/memory.hpp>
#include <omniconn/serializer/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

template <class T>
inline constexpr bool is_view_v = false;
template <class C, class Traits>
inline constexpr bool is_view_v<std::basic_string_view<C, Traits>> = true;
template <class T, std::size_t N>
inline constexpr bool is_view_v<std::span<T, N>> = true;

template <class T>
inline constexpr bool is_vector_v = false;
template <class T, class A>
inline constexpr bool is_vector_v<std::vector<T, A>> = true;

template <class T>
inline constexpr bool is_span_v = false;
template <class T, std::size_t N>
inline constexpr bool is_span_v<std::span<T, N>> = true;

}  // namespace detail

/// Elements whose bytes mean the same in another process of the same machine type: trivially copyable, and neither pointers nor
/// views. (What a structure holds inside cannot be seen: one with a pointer in it is the caller's mistake.)
template <class T>
concept raw_element = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_member_pointer_v<T> &&
                      !std::is_null_pointer_v<T> && !detail::is_view_v<T> && !std::same_as<T, tensor_view>;

/// What `raw_serializer` writes: `const_bytes` and other spans, vectors of elements, texts, blobs, one tensor.
template <class P>
concept raw_encodable = std::same_as<P, tensor_view> || std::same_as<P, blob> || std::same_as<P, std::string> ||
    std::same_as<P, std::string_view> ||
    ((detail::is_span_v<P> || detail::is_vector_v<P>)&&raw_element<typename P::value_type> && !std::same_as<P, std::vector<bool>>);

/// What `raw_serializer` reads: `const_bytes` by reference; `std::string` and vectors of elements as copies.
template <class P>
concept raw_decodable = std::same_as<P, const_bytes> || std::same_as<P, std::string> ||
    (detail::is_vector_v<P>&& raw_element<typename P::value_type> && !std::same_as<P, std::vector<bool>> &&
     std::default_initializable<typename P::value_type>);

/// Bytes as they are, kind `raw`.
///
/// A tensor travels without its dtype and shape: only its elements, in C order and in its own byte order. \threadsafety all calls
/// may run together.
class raw_serializer {
 public:
  struct options {};
  static constexpr std::string_view name = "raw";
  static constexpr payload_kind writes = payload_kind::raw;

  raw_serializer() noexcept = default;
  explicit raw_serializer(options const&) noexcept {}

  /// Puts the payload's bytes into `out`. Never fails.
  /// \copies none; a tensor that is not contiguous is copied once, into memory that `out` keeps.
  /// \lifetime the payload must outlive `out` (a blob is kept alive by it).
  template <class P>
    requires raw_encodable<P>
  [[nodiscard]] result<payload_kind> encode(P const& payload, gather_list& out) const {
    if constexpr (std::same_as<P, tensor_view>) {
      if (payload.is_contiguous()) {
        out.reference(payload.bytes());
      } else {
        auto owner = std::make_shared_for_overwrite<std::byte[]>(payload.size_bytes());
        mutable_bytes const bytes(owner.get(), payload.size_bytes());
        payload.copy_to(bytes);
        out.keep(blob::share(bytes, std::move(owner)));
      }
    } else if constexpr (std::same_as<P, blob>) {
      out.keep(payload);
    } else if constexpr (std::same_as<P, std::string> || std::same_as<P, std::string_view>) {
      out.reference(bytes_of(std::string_view(payload)));
    } else {
      out.reference(std::as_bytes(std::span(payload)));
    }
    return payload_kind::raw;
  }

  /// Gives the payload's bytes. `const_bytes` and vectors of `std::byte` take a payload of any kind: its bytes are what they are.
  /// \copies none for `const_bytes`, which is valid as long as `from.bytes`; else every byte once.
  /// \errors `malformed`: the payload is a serialized object, whose bytes are no text and no elements; or its size is not a
  /// multiple of the element's. `no_space`: no memory for the copy.
  template <class P>
    requires raw_decodable<P>
  [[nodiscard]] result<P> decode(encoded from) const {
    if constexpr (std::same_as<P, const_bytes>) {
      return from.bytes;
    } else {
      return decode_owned<P>(from);
    }
  }

  /// The same for a `P` that owns its bytes. \copies every byte once.
  template <class P>
    requires(raw_decodable<P> && !std::same_as<P, const_bytes>)
  [[nodiscard]] result<P> decode_owned(encoded from) const {
    using element = typename P::value_type;
    if constexpr (!std::same_as<element, std::byte>)
      if (from.kind != payload_kind::raw)
        return {error_kind::malformed, "the payload is a serialized object; read it with the serializer that wrote it, or as bytes"};
    if (from.bytes.size() % sizeof(element) != 0)
      return {error_kind::malformed, "the payload's size is not a multiple of the element's size"};
    return detail::while_memory_lasts([&]() -> result<P> {
      P out(from.bytes.size() / sizeof(element), element());
      if (!from.bytes.empty()) std::memcpy(out.data(), from.bytes.data(), from.bytes.size());
      return out;
    });
  }
};

static_assert(serializer_policy<raw_serializer>);

OMNICONN_END_NAMESPACE
