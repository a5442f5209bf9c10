// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// MD5 (RFC 1321) of short texts at compile time: Mooncake's RPC names functions and argument types by it. Nothing here is about security.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// floor(2^32 * |sin(i + 1)|), as the RFC lists them.
inline constexpr std::array<std::uint32_t, 64> md5_sines{
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122,
    0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6,
    0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60,
    0xbebfbc70, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039,
    0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

/// The first four bytes of the MD5 of `a` followed by `b`, as a big-endian number.
constexpr std::uint32_t md5_head(std::string_view a, std::string_view b = {}) noexcept {
  std::size_t const size = a.size() + b.size(), padded = (size + 8) / 64 * 64 + 64;
  auto const byte_at = [&](std::size_t i) -> std::uint32_t {
    if (i < a.size()) return static_cast<unsigned char>(a[i]);
    if (i < size) return static_cast<unsigned char>(b[i - a.size()]);
    if (i == size) return 0x80;
    return i < padded - 8 ? 0 : static_cast<std::uint32_t>((std::uint64_t{size} * 8 >> 8 * (i - (padded - 8))) & 0xffU);
  };
  constexpr std::array<std::array<int, 4>, 4> turns{{{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}}};
  std::array<std::uint32_t, 4> sum{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  for (std::size_t block = 0; block != padded; block += 64) {
    auto [p, q, r, s] = sum;
    for (std::uint32_t i = 0; i != 64; ++i) {
      std::uint32_t f = 0, word = 0;
      switch (i / 16) {
        case 0: f = (q & r) | (~q & s), word = i; break;
        case 1: f = (s & q) | (~s & r), word = (5 * i + 1) % 16; break;
        case 2: f = q ^ r ^ s, word = (3 * i + 5) % 16; break;
        default: f = r ^ (q | ~s), word = 7 * i % 16; break;
      }
      std::size_t const at = block + 4 * std::size_t{word};
      std::uint32_t const m = byte_at(at) | byte_at(at + 1) << 8U | byte_at(at + 2) << 16U | byte_at(at + 3) << 24U;
      std::uint32_t const turned = std::rotl(f + p + md5_sines[i] + m, turns[i / 16][i % 4]);
      p = s;
      s = r;
      r = q;
      q += turned;
    }
    sum[0] += p;
    sum[1] += q;
    sum[2] += r;
    sum[3] += s;
  }
  std::uint32_t const head = sum[0];
  return head << 24U | (head & 0xff00U) << 8U | (head >> 8U & 0xff00U) | head >> 24U;
}

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
