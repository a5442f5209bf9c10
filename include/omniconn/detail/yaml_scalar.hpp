// SPDX-License-Identifier: Apache-2.0
// What an unquoted word of YAML 1.1 means: the rules that PyYAML's safe_load applies, so that both sides read one file alike.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/value.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// True where all characters, at least one, are in `allowed`.
constexpr bool only(std::string_view text, std::string_view allowed) noexcept {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

/// Digits in a base, underscores ignored. `fits` becomes false beyond 64 bits; nullopt where no digit is left.
inline std::optional<std::uint64_t> yaml_digits(std::string_view text, std::uint64_t base, bool& fits) noexcept {
  std::optional<std::uint64_t> number;
  for (char const c : text) {
    if (c == '_') continue;
    auto const digit = static_cast<std::uint64_t>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    std::uint64_t const before = number.value_or(0);
    if (before > (UINT64_MAX - digit) / base) fits = false;
    number = before * base + digit;
  }
  return number;
}

/// The pieces of `1:30:00` after the first: a colon, at most one digit up to 5, and a digit. Sets `colon` to where they begin.
constexpr bool is_sexagesimal(std::string_view text, std::size_t& colon) noexcept {
  colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  for (std::size_t at = colon; at < text.size();) {
    if (text[at] != ':') return false;
    std::size_t const end = std::min(text.find(':', at + 1), text.size());
    auto const piece = text.substr(at + 1, end - at - 1);
    if (piece.empty() || piece.size() > 2 || !only(piece, "0123456789") || (piece.size() == 2 && piece[0] > '5')) return false;
    at = end;
  }
  return true;
}

/// The magnitude of an unsigned integer of YAML 1.1; nullopt where the text is none. `fits` becomes false beyond 64 bits.
inline std::optional<std::uint64_t> yaml_magnitude(std::string_view text, bool& fits) noexcept {
  if (text.empty() || !is_digit(text[0])) return std::nullopt;
  auto const rest = text.substr(std::min<std::size_t>(2, text.size()));
  if (text.rfind("0b", 0) == 0) return only(rest, "01_") ? yaml_digits(rest, 2, fits) : std::nullopt;
  if (text.rfind("0x", 0) == 0) return only(rest, "0123456789abcdefABCDEF_") ? yaml_digits(rest, 16, fits) : std::nullopt;
  if (text[0] == '0') return only(text, "01234567_") ? yaml_digits(text, 8, fits) : std::nullopt;
  std::size_t colon = 0;
  if (!is_sexagesimal(text, colon)) return only(text, "0123456789_") ? yaml_digits(text, 10, fits) : std::nullopt;
  if (!only(text.substr(0, colon), "0123456789_")) return std::nullopt;
  std::uint64_t number = *yaml_digits(text.substr(0, colon), 10, fits);
  while (colon < text.size()) {
    std::size_t const end = std::min(text.find(':', colon + 1), text.size());
    std::uint64_t const piece = *yaml_digits(text.substr(colon + 1, end - colon - 1), 10, fits);
    if (number > (UINT64_MAX - piece) / 60) fits = false;
    number = number * 60 + piece;
    colon = end;
  }
  return number;
}

/// A decimal fraction without sign and underscores, rounded as Python does: to infinity and to zero at the ends of the range.
inline double decimal_fraction(std::string const& text) noexcept {
  double number = 0;
  auto const [stop, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc::result_out_of_range) return number;
  // from_chars does not say at which end: 10^(digits before the point, or minus zeros after it) times 10^exponent does.
  std::size_t const mark = std::min(text.find_first_of("eE"), text.size());
  std::int64_t exponent = 0;
  if (mark < text.size()) {
    std::size_t const digits = mark + (text[mark + 1] == '+' ? 2 : 1);
    if (std::from_chars(text.data() + digits, text.data() + text.size(), exponent).ec != std::errc{})
      exponent = text[mark + 1] == '-' ? INT32_MIN : INT32_MAX;
  }
  auto const point = static_cast<std::int64_t>(std::min(text.find('.'), mark));
  auto const first = static_cast<std::int64_t>(std::min(text.find_first_of("123456789"), mark));
  exponent = std::clamp<std::int64_t>(exponent, INT32_MIN, INT32_MAX) + point - first;
  return exponent > 0 ? std::numeric_limits<double>::infinity() : 0.0;
}

/// The magnitude of an unsigned float of YAML 1.1: it needs a point, and its exponent a sign.
inline std::optional<double> yaml_fraction(std::string_view text, bool was_signed) {
  if (text == ".inf" || text == ".Inf" || text == ".INF") return std::numeric_limits<double>::infinity();
  if (!was_signed && (text == ".nan" || text == ".NaN" || text == ".NAN")) return std::numeric_limits<double>::quiet_NaN();
  std::size_t const point = text.find('.');
  if (point == std::string_view::npos) return std::nullopt;
  auto const whole = text.substr(0, point);
  auto tail = text.substr(point + 1);
  std::size_t colon = 0;
  bool const sexagesimal = is_sexagesimal(whole, colon);
  auto const first = sexagesimal ? whole.substr(0, colon) : whole;
  if (first.empty() ? was_signed || tail.empty() || !is_digit(tail[0]) : !is_digit(first[0]) || !only(first, "0123456789_"))
    return std::nullopt;
  std::size_t const mark = tail.find_first_of("eE");
  std::string digits;
  if (mark != std::string_view::npos) {
    auto const exponent = tail.substr(mark + 1);
    if (sexagesimal || exponent.size() < 2 || (exponent[0] != '+' && exponent[0] != '-') || !only(exponent.substr(1), "0123456789"))
      return std::nullopt;
  }
  if (auto const decimals = tail.substr(0, mark); !decimals.empty() && !only(decimals, "0123456789_")) return std::nullopt;
  for (char const c : sexagesimal ? text.substr(whole.rfind(':') + 1) : text)
    if (c != '_') digits.push_back(c);
  double number = decimal_fraction(digits);
  if (!sexagesimal) return number;
  double base = 60;
  for (std::size_t end = whole.rfind(':'); end != std::string_view::npos && end != 0;) {
    std::size_t const begin = end == colon ? std::string_view::npos : whole.rfind(':', end - 1);
    std::string piece;
    for (char const c : whole.substr(begin + 1, end - begin - 1))
      if (c != '_') piece.push_back(c);
    number += decimal_fraction(piece) * base;
    base *= 60;
    end = begin;
  }
  return number;
}

/// What a plain scalar stands for. `fits` becomes false for an integer that needs more than 64 bits; the result is then a text.
/// Dates stay texts, unlike in Python: nothing in a configuration is one.
inline value resolve_plain_scalar(std::string_view text, bool& fits) {
  fits = true;
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  for (auto const word : {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
    if (text == word) return true;
  for (auto const word : {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
    if (text == word) return false;
  bool const negative = text[0] == '-';
  bool const has_sign = negative || text[0] == '+';
  auto const body = text.substr(has_sign ? 1 : 0);
  if (auto const number = yaml_magnitude(body, fits)) {
    constexpr std::uint64_t lowest = std::uint64_t{1} << 63U;
    if (fits && !negative) return *number;
    if (fits && *number < lowest) return -static_cast<std::int64_t>(*number);
    if (fits && *number == lowest) return std::numeric_limits<std::int64_t>::min();
    fits = false;
    return text;
  }
  if (auto const number = yaml_fraction(body, has_sign)) return negative ? -*number : *number;
  return text;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
