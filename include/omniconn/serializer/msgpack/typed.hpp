// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// Structures through msgpack-cxx's adaptors, and adaptors for our own types, so that a structure may hold a tensor.
#pragma once

#include <omniconn/serializer/msgpack/library.hpp>

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/core/tensor_value.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/serializer/msgpack/check.hpp>
#include <omniconn/serializer/msgpack/read.hpp>
#include <omniconn/serializer/msgpack/write.hpp>

OMNICONN_BEGIN_NAMESPACE

/// True for a type whose adaptors (`msgpack::adaptor::pack` and `convert`) are specialised outside of it: whether they are
/// cannot be found out, so the author says it. Types with MSGPACK_DEFINE, MSGPACK_DEFINE_MAP or MSGPACK_DEFINE_ARRAY inside
/// need nothing.
///
///     template <> inline constexpr bool omniconn::msgpack_adapted<my::color> = true;
template <class T>
inline constexpr bool msgpack_adapted = false;

namespace detail {

template <class T>
concept msgpack_struct_out = std::is_class_v<T> && requires(T const& v, msgpack::packer<gather_stream>& p) {
  v.msgpack_pack(p);
};
template <class T>
concept msgpack_struct_in = std::is_class_v<T> && requires(T& v, msgpack::object const& o) {
  v.msgpack_unpack(o);
};

// What may stand in a structure: numbers, texts, our own types, structures, and standard containers of these.
struct typed_rules {
  template <class T, bool Out>
  struct allowed : std::bool_constant<std::is_arithmetic_v<T> || std::is_same_v<T, std::string> || std::is_same_v<T, value> ||
                                      std::is_same_v<T, tensor_view> || std::is_same_v<T, blob> || std::is_same_v<T, std::byte> ||
                                      msgpack_adapted<T> || (Out ? msgpack_struct_out<T> : msgpack_struct_in<T>)> {};
  template <class T, class A, bool Out>
  struct allowed<std::vector<T, A>, Out> : allowed<T, Out> {};
  template <class T, std::size_t N, bool Out>
  struct allowed<std::array<T, N>, Out> : allowed<T, Out> {};
  template <class T, bool Out>
  struct allowed<std::optional<T>, Out> : allowed<T, Out> {};
  template <class... Ts, bool Out>
  struct allowed<std::tuple<Ts...>, Out> : std::conjunction<allowed<Ts, Out>...> {};
  template <class A, class B, bool Out>
  struct allowed<std::pair<A, B>, Out> : std::conjunction<allowed<A, Out>, allowed<B, Out>> {};
  template <class K, class V, class C, class A, bool Out>
  struct allowed<std::map<K, V, C, A>, Out> : std::conjunction<allowed<K, Out>, allowed<V, Out>> {};
  template <class K, class V, class H, class E, class A, bool Out>
  struct allowed<std::unordered_map<K, V, H, E, A>, Out> : std::conjunction<allowed<K, Out>, allowed<V, Out>> {};
};

}  // namespace detail

/// A type that msgpack-cxx can write, and not one of those that `omni_msgpack_serializer` writes itself.
template <class T>
concept msgpack_writable = detail::typed_rules::allowed<T, true>::value && !std::is_same_v<T, value> && !std::is_same_v<T, tensor_view> &&
                           !std::is_same_v<T, blob> && !std::is_same_v<T, std::vector<std::byte>>;
/// A type that msgpack-cxx can read, likewise.
template <class T>
concept msgpack_readable = detail::typed_rules::allowed<T, false>::value && !std::is_same_v<T, value> && !std::is_same_v<T, tensor_view> &&
                           !std::is_same_v<T, blob> && !std::is_same_v<T, std::vector<std::byte>>;

namespace detail {

template <class Stream>
gather_packer& our_packer(msgpack::packer<Stream>& p) noexcept {
  static_assert(
      std::is_same_v<Stream, gather_stream>,
      "omniconn: a structure that holds a tensor_view, blob or value is written with omni_msgpack_serializer, which refers to its bytes; "
      "msgpack::pack cannot");
  return gather_packer::of(p);
}

// What a structure's members do with the payload's bytes. Adaptors have no parameter for it, so it is the thread's.
inline thread_local bool members_own = false;

/// For the time of one conversion.
class owning_members {
 public:
  owning_members() noexcept : before_(std::exchange(members_own, true)) {}
  owning_members(owning_members const&) = delete;
  owning_members& operator=(owning_members const&) = delete;
  ~owning_members() { members_own = before_; }

 private:
  bool before_;
};

inline blob blob_of(msgpack::object const& o) {
  if (o.type != msgpack::type::BIN) throw msgpack::type_error();
  const_bytes const bytes = msgpack_bytes(o.via.bin.ptr, o.via.bin.size);
  return members_own ? blob::copy(bytes) : blob::borrow(bytes);
}

// Recursive: the depth was checked before the object tree was built.
inline value value_of(msgpack::object const& o) {
  switch (o.type) {
    case msgpack::type::BOOLEAN: return o.via.boolean;
    case msgpack::type::POSITIVE_INTEGER: return o.via.u64;
    case msgpack::type::NEGATIVE_INTEGER: return o.via.i64;
    case msgpack::type::FLOAT32: return static_cast<float>(o.via.f64);
    case msgpack::type::FLOAT64: return o.via.f64;
    case msgpack::type::STR: return msgpack_text(o.via.str.ptr, o.via.str.size);
    case msgpack::type::BIN: return blob_of(o);
    case msgpack::type::EXT: return msgpack_ext(o.via.ext.ptr, std::size_t{o.via.ext.size} + 1);
    case msgpack::type::ARRAY: {
      value::array out;
      out.reserve(o.via.array.size);
      for (auto const& item : std::span(o.via.array.ptr, o.via.array.size)) out.push_back(value_of(item));
      return out;
    }
    case msgpack::type::MAP: {
      value::map out;
      out.reserve(o.via.map.size);
      for (auto const& entry : std::span(o.via.map.ptr, o.via.map.size)) out.emplace_back(value_of(entry.key), value_of(entry.val));
      return out;
    }
    default: return {};
  }
}

inline tensor_view tensor_of(msgpack::object const& o) {
  if (members_own) throw borrowing_member();
  // Straight from the object: a `value` would be gone before the view.
  array_fields fields;
  fields.is_map = o.type == msgpack::type::MAP;
  if (fields.is_map) {
    auto const find = [&o](std::string_view name) -> msgpack::object const* {
      for (auto const& entry : std::span(o.via.map.ptr, o.via.map.size))
        if (entry.key.type == msgpack::type::STR && msgpack_text(entry.key.via.str.ptr, entry.key.via.str.size) == name) return &entry.val;
      return nullptr;
    };
    if (auto const* mark = find(tensor_marker)) fields.marked = mark->type == msgpack::type::BOOLEAN && mark->via.boolean;
    if (auto const* type = find("dtype"); type != nullptr && type->type == msgpack::type::STR)
      fields.type = msgpack_text(type->via.str.ptr, type->via.str.size);
    if (auto const* shape = find("shape"); shape != nullptr && shape->type == msgpack::type::ARRAY && shape->via.array.size <= max_rank)
      fields.shape = shape_of(value_of(*shape));
    if (auto const* data = find("data"); data != nullptr && data->type == msgpack::type::BIN)
      fields.data = msgpack_bytes(data->via.bin.ptr, data->via.bin.size);
  }
  auto const tensor = tensor_from(fields);
  if (!tensor) throw msgpack::type_error();
  return *tensor;
}

}  // namespace detail
OMNICONN_END_NAMESPACE

// Inside structures our types look as they do alone: a tensor is its map, bytes are a bin. Both are written by reference. Read by `decode`
// they refer to the payload, so a structure read from a view is valid as long as the view; read by `decode_owned` they own what they hold.
namespace msgpack {
MSGPACK_API_VERSION_NAMESPACE(MSGPACK_DEFAULT_API_NS) {
  namespace adaptor {

  template <>
  struct pack<omniconn::tensor_view> {
    template <class Stream>
    packer<Stream>& operator()(packer<Stream>& p, omniconn::tensor_view const& t) const {
      omniconn::detail::our_packer(p).tensor(t);
      return p;
    }
  };
  template <>
  struct pack<omniconn::value> {
    template <class Stream>
    packer<Stream>& operator()(packer<Stream>& p, omniconn::value const& v) const {
      omniconn::detail::our_packer(p).any(v);
      return p;
    }
  };
  template <>
  struct pack<omniconn::blob> {
    template <class Stream>
    packer<Stream>& operator()(packer<Stream>& p, omniconn::blob const& b) const {
      omniconn::detail::our_packer(p).binary(b);
      return p;
    }
  };
  template <>
  struct convert<omniconn::tensor_view> {
    msgpack::object const& operator()(msgpack::object const& o, omniconn::tensor_view& t) const {
      t = omniconn::detail::tensor_of(o);
      return o;
    }
  };
  template <>
  struct convert<omniconn::value> {
    msgpack::object const& operator()(msgpack::object const& o, omniconn::value& v) const {
      v = omniconn::detail::value_of(o);
      if (omniconn::detail::members_own) v = v.to_owned();
      return o;
    }
  };
  template <>
  struct convert<omniconn::blob> {
    msgpack::object const& operator()(msgpack::object const& o, omniconn::blob& b) const {
      b = omniconn::detail::blob_of(o);
      return o;
    }
  };

  }  // namespace adaptor
}
}  // namespace msgpack
