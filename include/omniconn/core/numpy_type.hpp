// SPDX-License-Identifier: Apache-2.0
// NumPy's dtype strings: byte order, kind, item size and, for dates, the unit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/dtype.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {
/// Bytes that the byte order turns around: half an element of complex types, else the element.
constexpr std::size_t component_size(dtype type) noexcept {
  return type == dtype::complex64 || type == dtype::complex128 ? size_of(type) / 2 : size_of(type);
}
}  // namespace detail

/// What a dtype string such as `<f4`, `|u1`, `<U3` or `<M8[s]` says. Holds its text: no allocation, nothing borrowed.
class numpy_type {
 public:
  /// `|u1`
  constexpr numpy_type() noexcept = default;

  /// Reads NumPy's `dtype.str`.
  /// \errors `malformed`: not of that form, or a width which the kind does not have; `unsupported`: objects and structures
  /// (`|O`, `|V8`), whose bytes mean nothing elsewhere.
  [[nodiscard]] static constexpr result<numpy_type> parse(std::string_view text) noexcept {
    constexpr error bad(error_kind::malformed, "unknown NumPy dtype; it reads byte order, kind, size, as <f4, |u1, <U3 or <M8[s]");
    if (text.size() < 2 || text.size() > max_text || std::string_view("<>|").find(text[0]) == text.npos) return bad;
    numpy_type out;
    out.kind_ = text[1];
    if (out.kind_ == 'O' || out.kind_ == 'V')
      return {error_kind::unsupported,
              "NumPy arrays of objects or structures cannot travel as bytes; send their fields as arrays of their own"};
    std::size_t at = 2;
    std::uint64_t number = 0;
    for (; at != text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      number = number * 10 + static_cast<std::uint64_t>(text[at] - '0');
      if (number > max_number) return bad;
    }
    if (at == 2) return bad;
    std::string_view const rest = text.substr(at);
    bool const dated = out.kind_ == 'M' || out.kind_ == 'm';
    if (!valid_size(out.kind_, number) || !(rest.empty() || (dated && valid_unit(rest)))) return bad;
    out.item_size_ = out.kind_ == 'U' ? number * 4 : number;
    // '|' is for items without a byte order only.
    if (text[0] == '|' && out.kind_ != 'S' && out.item_size_ > 1) return bad;
    out.order_ = text[0];
    out.unit_at_ = rest.empty() ? 0 : at + 1;
    out.text_size_ = text.size();
    text.copy(out.text_.data(), text.size());
    return out;
  }

  /// The dtype string of a tensor's elements. \errors `unsupported`: bfloat16 and float8, which NumPy does not have.
  [[nodiscard]] static constexpr result<numpy_type> of(dtype type, byte_order order = byte_order::native) noexcept {
    for (auto const& [element, name] : names)
      if (element == type) {
        std::array<char, 4> text{'|', name[0], name[1], name.size() > 2 ? name[2] : '\0'};
        if (size_of(type) > 1) text[0] = order == byte_order::little ? '<' : '>';
        return parse(std::string_view(text.data(), name.size() + 1));
      }
    return {error_kind::unsupported, "NumPy has no dtype for these elements (bfloat16 or float8); send them as a tensor"};
  }

  /// The string itself.
  [[nodiscard]] constexpr std::string_view text() const noexcept { return {text_.data(), text_size_}; }
  /// NumPy's letter: b bool, i u integers, f c floats, S bytes, U text in UCS-4, M date, m time span.
  [[nodiscard]] constexpr char kind() const noexcept { return kind_; }
  /// Bytes of one item; four for each character of `U`.
  [[nodiscard]] constexpr std::size_t item_size() const noexcept { return item_size_; }
  /// Big only where the string says `>`.
  [[nodiscard]] constexpr byte_order order() const noexcept { return order_ == '>' ? byte_order::big : byte_order::little; }
  /// The unit of dates and time spans: "s", "25us"; empty where there is none.
  [[nodiscard]] constexpr std::string_view unit() const noexcept {
    return unit_at_ == 0 ? std::string_view() : text().substr(unit_at_, text_size_ - unit_at_ - 1);
  }

  /// The tensor dtype of the items. \errors `unsupported`: texts, dates, long doubles.
  [[nodiscard]] constexpr result<dtype> element() const noexcept {
    for (auto const& [type, name] : names)
      if (name[0] == kind_ && size_of(type) == item_size_) return type;
    return {error_kind::unsupported, "no tensor dtype corresponds to this NumPy dtype; read the array's bytes"};
  }

  friend constexpr bool operator==(numpy_type const& a, numpy_type const& b) noexcept { return a.text() == b.text(); }

 private:
  struct pair_of_names {
    dtype type;
    std::string_view name;
  };
  static constexpr std::array<pair_of_names, 14> names{{{dtype::boolean, "b1"},
                                                        {dtype::uint8, "u1"},
                                                        {dtype::int8, "i1"},
                                                        {dtype::uint16, "u2"},
                                                        {dtype::int16, "i2"},
                                                        {dtype::uint32, "u4"},
                                                        {dtype::int32, "i4"},
                                                        {dtype::uint64, "u8"},
                                                        {dtype::int64, "i8"},
                                                        {dtype::float16, "f2"},
                                                        {dtype::float32, "f4"},
                                                        {dtype::float64, "f8"},
                                                        {dtype::complex64, "c8"},
                                                        {dtype::complex128, "c16"}}};
  static constexpr std::size_t max_text = 31;
  static constexpr std::uint64_t max_number = 0x7fffffff;  // NumPy's own limit of an item

  static constexpr bool valid_size(char kind, std::uint64_t n) noexcept {
    switch (kind) {
      case 'b': return n == 1;
      case 'i':
      case 'u': return n == 1 || n == 2 || n == 4 || n == 8;
      case 'f': return n == 2 || n == 4 || n == 8 || n == 16;
      case 'c': return n == 8 || n == 16 || n == 32;
      case 'M':
      case 'm': return n == 8;
      case 'S': return true;
      case 'U': return n <= max_number / 4;
      default: return false;
    }
  }
  static constexpr bool valid_unit(std::string_view text) noexcept {
    if (text.size() < 3 || text.front() != '[' || text.back() != ']') return false;
    for (char const c : text.substr(1, text.size() - 2))
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '/')) return false;
    return true;
  }

  std::array<char, max_text + 1> text_{'|', 'u', '1'};
  std::size_t text_size_ = 3;
  std::size_t unit_at_ = 0;
  std::uint64_t item_size_ = 1;
  char order_ = '|';
  char kind_ = 'u';
};

OMNICONN_END_NAMESPACE
