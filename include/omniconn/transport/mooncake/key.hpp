// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// Keys of a store are texts: Python's clients know nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/key.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// Whether bytes are UTF-8 (RFC 3629).
inline bool is_utf8(std::string_view s) noexcept {
  for (std::size_t i = 0; i < s.size();) {
    auto const lead = static_cast<unsigned char>(s[i]);
    std::size_t const n = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
    if (n == 0 || n > s.size() - i) return false;
    for (std::size_t k = 1; k != n; ++k) {
      auto const c = static_cast<unsigned char>(s[i + k]);
      // Overlong forms, surrogates, and beyond U+10FFFF show in the second byte.
      unsigned const least = k != 1 ? 0x80U : lead == 0xe0 ? 0xa0U : lead == 0xf0 ? 0x90U : 0x80U, most = k != 1 ? 0xbfU : lead == 0xed ? 0x9fU : lead == 0xf4 ? 0x8fU : 0xbfU;
      if (c < least || c > most) return false;
    }
    i += n;
  }
  return true;
}

/// In front of the hexadecimal digits of a key that is no text.
inline constexpr std::string_view escaped_prefix = "omniconn-bytes:";

/// A key as the store has it: itself where it is a text, so that Python's side has the same; else its bytes in hexadecimal digits behind a prefix, as is a
/// text that begins with that prefix. No two keys become one.
inline std::string store_key(wire_key key) {
  if (!key.empty() && is_utf8(key) && !key.starts_with(escaped_prefix)) return std::string(key);
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out(escaped_prefix);
  for (char const c : key) out.append({digits[static_cast<unsigned char>(c) >> 4U], digits[static_cast<unsigned char>(c) & 15U]});
  return out;
}

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
