// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648, with padding): bytes inside texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>

OMNICONN_BEGIN_NAMESPACE
namespace detail {

inline constexpr std::string_view base64_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

inline void append_base64(std::string& out, const_bytes bytes) {
  out.reserve(out.size() + (bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::size_t const rest = bytes.size() - i;
    std::uint32_t word = std::to_integer<std::uint32_t>(bytes[i]) << 16;
    if (rest > 1) word |= std::to_integer<std::uint32_t>(bytes[i + 1]) << 8;
    if (rest > 2) word |= std::to_integer<std::uint32_t>(bytes[i + 2]);
    out += base64_alphabet[word >> 18];
    out += base64_alphabet[(word >> 12) & 63];
    out += rest > 1 ? base64_alphabet[(word >> 6) & 63] : '=';
    out += rest > 2 ? base64_alphabet[word & 63] : '=';
  }
}

// Exactly what `append_base64` writes: nothing else is accepted, so one text stands for one sequence of bytes.
inline std::optional<std::vector<std::byte>> parse_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::vector<std::byte> out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i != text.size(); i += 4) {
    bool const last = i + 4 == text.size();
    std::size_t const pad = last && text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
    std::uint32_t word = 0;
    for (std::size_t k = 0; k != 4; ++k) {
      std::size_t const digit = k >= 4 - pad ? 0 : base64_alphabet.find(text[i + k]);
      if (digit == base64_alphabet.npos) return std::nullopt;
      word = word << 6 | static_cast<std::uint32_t>(digit);
    }
    if ((pad == 1 && (word & 0xff) != 0) || (pad == 2 && (word & 0xffff) != 0)) return std::nullopt;
    for (std::size_t k = 0; k != 3 - pad; ++k) out.push_back(static_cast<std::byte>((word >> (16 - 8 * k)) & 0xff));
  }
  return out;
}

}  // namespace detail
OMNICONN_END_NAMESPACE
