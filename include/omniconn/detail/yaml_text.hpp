// SPDX-License-Identifier: Apache-2.0
// What must hold of a text before a YAML parser sees it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// The code point at `at` and its length; length 0 where the bytes are not UTF-8 (cut, overlong, a surrogate, beyond U+10FFFF).
struct code_point {
  std::uint32_t number = 0;
  std::size_t size = 0;
};
constexpr code_point decode_utf8(std::string_view text, std::size_t at) noexcept {
  auto const byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at + i])); };
  std::uint32_t const lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  std::size_t const size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at < size) return {};
  std::uint32_t number = lead & (0xffU >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return {};
    number = (number << 6U) | (byte(i) & 0x3fU);
  }
  constexpr std::uint32_t least[]{0, 0, 0x80, 0x800, 0x10000};
  if (number < least[size] || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) return {};
  return {number, size};
}

/// "pipeline.yaml:3:5" from an offset.
inline std::string place_in_text(std::string_view source, std::string_view text, std::size_t at) {
  auto const before = text.substr(0, at);
  std::size_t const newline = before.rfind('\n');
  std::size_t const column = newline == std::string_view::npos ? at + 1 : at - newline;
  return std::string(source) + ":" + std::to_string(std::count(before.begin(), before.end(), '\n') + 1) + ":" + std::to_string(column);
}

/// Refuses what is not UTF-8 and characters that YAML does not allow, or that its parsers read differently. yaml-cpp would take a byte
/// 4 for the end of the file and guess UTF-16 from NULs.
inline std::optional<diagnosis> check_yaml_characters(std::string_view text, std::string_view source) {
  auto const flaw = [&](std::size_t at, std::string_view what) {
    return diagnosis(error_kind::malformed, place_in_text(source, text, at) + ": " + std::string(what));
  };
  for (std::size_t at = 0; at < text.size();) {
    auto const [number, size] = decode_utf8(text, at);
    if (size == 0) return flaw(at, "is not UTF-8; save the file as UTF-8");
    if (number < 0x20 && number != '\t' && number != '\n' && number != '\r')
      return flaw(at, number == 0 ? "is a NUL byte; save the file as UTF-8 text"
                                  : "is a control character; remove it, or write it as \\xNN in double quotes");
    if ((number >= 0x7f && number <= 0x9f) || number == 0xfffe || number == 0xffff)
      return flaw(at, "is a character that YAML does not allow; write it as \\uNNNN in double quotes");
    if (number == 0x2028 || number == 0x2029)
      return flaw(at, "is a line separator that YAML parsers read differently; write it as \\u2028 in double quotes");
    at += size;
  }
  return std::nullopt;
}

/// Line ends as '\n', as the parser counts them.
inline std::string with_plain_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n') continue;
    out.push_back(text[at] == '\r' ? '\n' : text[at]);
  }
  return out;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
