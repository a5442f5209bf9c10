// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// Writing MessagePack into a gather list: headers and small bodies copied, big bodies by reference.
#pragma once

#include <omniconn/serializer/msgpack/library.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/core/tensor_value.hpp>
#include <omniconn/core/value.hpp>

OMNICONN_BEGIN_NAMESPACE
namespace detail {

// Bodies from this size on are referenced. A piece costs about as much as copying a few hundred bytes, here and in the
// loop that joins the list.
inline constexpr std::size_t msgpack_reference_from = 512;

constexpr std::uint32_t big_endian(std::uint32_t n) noexcept { return byte_order::native == byte_order::big ? n : __builtin_bswap32(n); }
constexpr std::uint64_t big_endian(std::uint64_t n) noexcept { return byte_order::native == byte_order::big ? n : __builtin_bswap64(n); }

// The stream that msgpack-cxx writes to. It copies: an adaptor may well write from a temporary. Headers come byte by byte;
// they are gathered here first, because the list's own copy costs more than they do.
class gather_stream {
 public:
  explicit gather_stream(gather_list& out) noexcept : out_(&out) {}
  void write(char const* data, std::size_t size) {
    if (size > staged_.size() - used_) {
      flush();
      if (size > staged_.size()) return out_->copy(std::as_bytes(std::span(data, size)));
    }
    std::memcpy(staged_.data() + used_, data, size);
    used_ += size;
  }
  // A type byte and a big-endian number: one check and two stores.
  template <class Number>
  void number(char type, Number bits) {
    if (1 + sizeof bits > staged_.size() - used_) flush();
    staged_[used_] = type;
    bits = big_endian(bits);
    std::memcpy(staged_.data() + used_ + 1, &bits, sizeof bits);
    used_ += 1 + sizeof bits;
  }
  void flush() {
    out_->copy(std::as_bytes(std::span(staged_.data(), used_)));
    used_ = 0;
  }

 protected:
  gather_list* out_;

 private:
  std::size_t used_ = 0;
  std::array<char, 1024> staged_;  // not initialised: only what was written is read
};

}  // namespace detail
OMNICONN_END_NAMESPACE

// msgpack-cxx writes a float that happens to be whole as an integer. A Python peer would then see another type (and
// torch another dtype), so for our stream floats stay floats; typed structures come through here too.
template <>
msgpack::v1::packer<omniconn::detail::gather_stream>& msgpack::v1::packer<omniconn::detail::gather_stream>::pack_float(float number);
template <>
msgpack::v1::packer<omniconn::detail::gather_stream>& msgpack::v1::packer<omniconn::detail::gather_stream>::pack_double(double number);

OMNICONN_BEGIN_NAMESPACE
namespace detail {

// The packer, with what the stream interface cannot say: bytes that outlive the list, and a failure. Every
// packer<gather_stream> is one of these; the adaptors of our own types rely on it.
class gather_packer : private gather_stream, public msgpack::packer<gather_stream> {
  using packer = msgpack::packer<gather_stream>;

 public:
  gather_packer(gather_list& out, msgpack_limits const& limits) noexcept
      : gather_stream(out), packer(static_cast<gather_stream&>(*this)), depth_left_(limits.depth()), nodes_left_(limits.max_nodes) {}

  static gather_packer& of(packer& p) noexcept { return static_cast<gather_packer&>(p); }

  [[nodiscard]] std::optional<error> const& failure() const noexcept { return failure_; }
  void fail(error_kind kind, char const* text) noexcept {
    if (!failure_) failure_ = error(kind, text);
  }

  using gather_stream::flush;  // at the end: what was written last reaches the list
  using gather_stream::number;

  void body(const_bytes bytes) {
    if (bytes.size() >= msgpack_reference_from) {
      flush();
      out_->reference(bytes);
    } else if (!bytes.empty()) {
      write(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    }
  }
  void body(blob bytes) {
    if (bytes.size() >= msgpack_reference_from && bytes.owns()) {
      flush();
      out_->keep(std::move(bytes));
    } else {
      body(bytes.bytes());
    }
  }

  void text(std::string_view s) {
    if (!fits(s.size())) return;
    pack_str(static_cast<std::uint32_t>(s.size()));
    body(bytes_of(s));
  }
  template <class Bytes>
  void binary(Bytes bytes) {
    if (!fits(bytes.size())) return;
    pack_bin(static_cast<std::uint32_t>(bytes.size()));
    body(std::move(bytes));
  }

  void tensor(tensor_view const& t) {
    pack_map(4);
    text(tensor_marker);
    pack_true();
    text("dtype");
    text(to_string(t.type()));
    text("shape");
    pack_array(static_cast<std::uint32_t>(t.rank()));
    for (auto const size : t.shape()) pack_int64(size);
    text("data");
    // What had to be copied is kept by the list; what is borrowed is the caller's, who keeps it.
    binary(little_endian_bytes(t));
  }

  void any(value const& v) {
    if (failure_) return;
    if (nodes_left_ == 0)
      return fail(error_kind::too_large, "the value has more parts than max_nodes; raise it on both sides, or send numbers as a tensor");
    --nodes_left_;
    switch (v.kind()) {
      case value_kind::nil: pack_nil(); return;
      case value_kind::boolean: *v.if_bool() ? pack_true() : pack_false(); return;
      case value_kind::int64: pack_int64(v.as_int64().value()); return;
      case value_kind::uint64: pack_uint64(v.as_uint64().value()); return;
      case value_kind::float32: pack_float(*v.if_float()); return;
      case value_kind::float64: pack_double(*v.if_double()); return;
      case value_kind::string: text(*v.if_string()); return;
      case value_kind::binary: binary(v.if_binary()->bytes()); return;
      case value_kind::ext:
        if (!fits(v.if_ext()->data.size())) return;
        pack_ext(v.if_ext()->data.size(), v.if_ext()->type);
        return body(v.if_ext()->data.bytes());
      case value_kind::array:
        if (!enter(v.size())) return;
        pack_array(static_cast<std::uint32_t>(v.size()));
        for (auto const& item : *v.if_array()) any(item);
        ++depth_left_;
        return;
      case value_kind::map:
        if (!enter(v.size())) return;
        pack_map(static_cast<std::uint32_t>(v.size()));
        for (auto const& [key, item] : *v.if_map()) {
          any(key);
          any(item);
        }
        ++depth_left_;
        return;
    }
  }

 private:
  bool fits(std::size_t size) noexcept {
    if (size <= UINT32_MAX) return true;
    fail(error_kind::too_large, "msgpack cannot hold a text, binary, array or map of 2^32 parts or more; split it, or send it raw");
    return false;
  }
  bool enter(std::size_t size) noexcept {
    if (depth_left_ == 0) {
      fail(error_kind::too_large, "the value is nested deeper than max_depth");
      return false;
    }
    if (!fits(size)) return false;
    --depth_left_;
    return true;
  }

  std::size_t depth_left_;
  std::size_t nodes_left_;
  std::optional<error> failure_;
};

}  // namespace detail
OMNICONN_END_NAMESPACE

template <>
inline msgpack::v1::packer<omniconn::detail::gather_stream>& msgpack::v1::packer<omniconn::detail::gather_stream>::pack_float(
    float number) {
  omniconn::detail::gather_packer::of(*this).number('\xca', std::bit_cast<std::uint32_t>(number));
  return *this;
}
template <>
inline msgpack::v1::packer<omniconn::detail::gather_stream>& msgpack::v1::packer<omniconn::detail::gather_stream>::pack_double(
    double number) {
  omniconn::detail::gather_packer::of(*this).number('\xcb', std::bit_cast<std::uint64_t>(number));
  return *this;
}
