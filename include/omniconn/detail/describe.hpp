// SPDX-License-Identifier: Apache-2.0
// How texts and values from outside are shown in an error: short, in quotes, with nothing that could fake a second line.
#pragma once

#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/value.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// The text in single quotes, control bytes as \xNN, at most `most` bytes of it.
inline std::string in_quotes(std::string_view text, std::size_t most = 64) {
  constexpr std::string_view hex = "0123456789abcdef";
  bool const cut = text.size() > most;
  if (cut) {
    text = text.substr(0, most);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0U) == 0x80U) text.remove_suffix(1);  // whole characters
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xc0U) text.remove_suffix(1);
  }
  std::string out = "'";
  for (char const c : text) {
    auto const byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t') {
      out.append(c == '\n' ? "\\n" : "\\t");
    } else if (byte < 0x20U || byte == 0x7fU) {
      out.append("\\x").push_back(hex[byte >> 4U]);
      out.push_back(hex[byte & 15U]);
    } else {
      out.push_back(c);
    }
  }
  return out.append(cut ? "...'" : "'");
}

/// A name as it stands where it is a plain word, else in quotes.
inline std::string shown_name(std::string_view name) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  bool const is_plain = !name.empty() && name.size() <= 64 && name.find_first_not_of(plain) == std::string_view::npos;
  return is_plain ? std::string(name) : in_quotes(name);
}

inline std::string number_text(double number) {
  char text[32];
  auto const [end, failed] = std::to_chars(text, text + sizeof text, number);
  return failed == std::errc{} ? std::string(text, end) : std::string("?");
}

/// "the text 'abc'", "the integer 5", "a list", "nothing (null)": what stands where something else was expected.
inline std::string describe(value const& item) {
  switch (item.kind()) {
    case value_kind::nil: return "nothing (null)";
    case value_kind::boolean: return *item.if_bool() ? "the bool true" : "the bool false";
    case value_kind::int64: return "the integer " + std::to_string(*item.as_int64());
    case value_kind::uint64: return "the integer " + std::to_string(*item.as_uint64());
    case value_kind::float32:
    case value_kind::float64: return "the number " + number_text(*item.as_double());
    case value_kind::string: return "the text " + in_quotes(*item.if_string());
    case value_kind::binary: return "binary data";
    case value_kind::ext: return "a msgpack extension";
    case value_kind::array: return "a list";
    case value_kind::map: return "a map";
  }
  return "something unknown";
}

}  // namespace detail

OMNICONN_END_NAMESPACE
