// SPDX-License-Identifier: Apache-2.0
// The XXH3 hash with a 64-bit result: short inputs, long inputs, and a stream whose pieces arrive one after another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <omniconn/config.hpp>
#include <omniconn/detail/xxh3_kernels.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

inline constexpr std::size_t xxh3_short_size = 240;  // up to here a formula without lanes
inline constexpr std::uint64_t xxh3_prime32_1 = 0x9E3779B1;
inline constexpr std::uint64_t xxh3_prime32_2 = 0x85EBCA77;
inline constexpr std::uint64_t xxh3_prime32_3 = 0xC2B2AE3D;
inline constexpr std::uint64_t xxh3_prime64_1 = 0x9E3779B185EBCA87;
inline constexpr std::uint64_t xxh3_prime64_2 = 0xC2B2AE3D27D4EB4F;
inline constexpr std::uint64_t xxh3_prime64_3 = 0x165667B19E3779F9;
inline constexpr std::uint64_t xxh3_prime64_4 = 0x85EBCA77C2B2AE63;
inline constexpr std::uint64_t xxh3_prime64_5 = 0x27D4EB2F165667C5;
inline constexpr std::uint64_t xxh3_prime_short_1 = 0x165667919E3779F9;
inline constexpr std::uint64_t xxh3_prime_short_2 = 0x9FB21C651E98DF25;

/// The default secret of the format.
alignas(64) inline constexpr std::array<std::uint8_t, xxh3_secret_size> xxh3_secret{
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90,
    0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d,
    0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28,
    0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e,
    0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b,
    0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83,
    0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16,
    0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e};

inline std::byte const* xxh3_secret_bytes() noexcept { return reinterpret_cast<std::byte const*>(xxh3_secret.data()); }

inline std::uint64_t xxh3_read64(std::byte const* from) noexcept { return xxh3_read<std::uint64_t>(from); }
inline std::uint64_t xxh3_read32(std::byte const* from) noexcept { return xxh3_read<std::uint32_t>(from); }

inline void xxh3_write64(std::byte* to, std::uint64_t value) noexcept {
  value = xxh3_read<std::uint64_t>(&value);  // on a big-endian machine this swaps the bytes
  std::memcpy(to, &value, sizeof(value));
}

/// Both halves of the 128-bit product, xored.
inline std::uint64_t xxh3_fold(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ typedef unsigned __int128 wide;
  wide const product = static_cast<wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

constexpr std::uint64_t xxh3_rotate(std::uint64_t value, unsigned by) noexcept { return (value << by) | (value >> (64 - by)); }

constexpr std::uint64_t xxh3_avalanche(std::uint64_t hash) noexcept {
  hash = (hash ^ (hash >> 37)) * xxh3_prime_short_1;
  return hash ^ (hash >> 32);
}

constexpr std::uint64_t xxh3_strong_avalanche(std::uint64_t hash) noexcept {
  hash = (hash ^ (hash >> 33)) * xxh3_prime64_2;
  hash = (hash ^ (hash >> 29)) * xxh3_prime64_3;
  return hash ^ (hash >> 32);
}

inline std::uint64_t xxh3_up_to_16(std::byte const* input, std::size_t size, std::uint64_t seed) noexcept {
  std::byte const* const secret = xxh3_secret_bytes();
  if (size > 8) {
    std::uint64_t const low_key = (xxh3_read64(secret + 24) ^ xxh3_read64(secret + 32)) + seed;
    std::uint64_t const high_key = (xxh3_read64(secret + 40) ^ xxh3_read64(secret + 48)) - seed;
    std::uint64_t const low = xxh3_read64(input) ^ low_key;
    std::uint64_t const high = xxh3_read64(input + size - 8) ^ high_key;
    return xxh3_avalanche(size + __builtin_bswap64(low) + high + xxh3_fold(low, high));
  }
  if (size >= 4) {
    seed ^= static_cast<std::uint64_t>(__builtin_bswap32(static_cast<std::uint32_t>(seed))) << 32;
    std::uint64_t const key = (xxh3_read64(secret + 8) ^ xxh3_read64(secret + 16)) - seed;
    std::uint64_t hash = (xxh3_read32(input + size - 4) + (xxh3_read32(input) << 32)) ^ key;
    hash = (hash ^ xxh3_rotate(hash, 49) ^ xxh3_rotate(hash, 24)) * xxh3_prime_short_2;
    hash = (hash ^ ((hash >> 35) + size)) * xxh3_prime_short_2;
    return hash ^ (hash >> 28);
  }
  if (size != 0) {
    auto const at = [input](std::size_t index) { return std::to_integer<std::uint64_t>(input[index]); };
    std::uint64_t const bytes = at(size - 1) | (size << 8) | (at(0) << 16) | (at(size >> 1) << 24);
    return xxh3_strong_avalanche(bytes ^ ((xxh3_read32(secret) ^ xxh3_read32(secret + 4)) + seed));
  }
  return xxh3_strong_avalanche(seed ^ xxh3_read64(secret + 56) ^ xxh3_read64(secret + 64));
}

inline std::uint64_t xxh3_mix(std::byte const* input, std::byte const* secret, std::uint64_t seed) noexcept {
  return xxh3_fold(xxh3_read64(input) ^ (xxh3_read64(secret) + seed), xxh3_read64(input + 8) ^ (xxh3_read64(secret + 8) - seed));
}

/// Pairs from both ends towards the middle; they overlap there, so no size needs a remainder.
[[gnu::always_inline]] inline std::uint64_t xxh3_17_to_128(std::byte const* input, std::size_t size, std::uint64_t seed) noexcept {
  std::byte const* const secret = xxh3_secret_bytes();
  std::byte const* const last = input + size - 16;
  std::uint64_t hash = size * xxh3_prime64_1;
  if (size > 96) hash += xxh3_mix(input + 48, secret + 96, seed) + xxh3_mix(last - 48, secret + 112, seed);
  if (size > 64) hash += xxh3_mix(input + 32, secret + 64, seed) + xxh3_mix(last - 32, secret + 80, seed);
  if (size > 32) hash += xxh3_mix(input + 16, secret + 32, seed) + xxh3_mix(last - 16, secret + 48, seed);
  hash += xxh3_mix(input, secret, seed) + xxh3_mix(last, secret + 16, seed);
  return xxh3_avalanche(hash);
}

inline std::uint64_t xxh3_129_to_240(std::byte const* input, std::size_t size, std::uint64_t seed) noexcept {
  std::byte const* const secret = xxh3_secret_bytes();
  std::uint64_t hash = size * xxh3_prime64_1;
  for (std::size_t at = 0; at != 128; at += 16) hash += xxh3_mix(input + at, secret + at, seed);
  hash = xxh3_avalanche(hash);
  // The second round uses the secret again, shifted by three bytes; the last 16 bytes have a place of their own.
  for (std::size_t at = 128; at + 16 <= size; at += 16) hash += xxh3_mix(input + at, secret + (at - 128) + 3, seed);
  return xxh3_avalanche(hash + xxh3_mix(input + size - 16, secret + 136 - 17, seed));
}

/// Requires `size <= xxh3_short_size`.
inline std::uint64_t xxh3_short(std::byte const* input, std::size_t size, std::uint64_t seed) noexcept {
  if (size <= 16) return xxh3_up_to_16(input, size, seed);
  return size <= 128 ? xxh3_17_to_128(input, size, seed) : xxh3_129_to_240(input, size, seed);
}

inline constexpr xxh3_lanes xxh3_first_lanes{xxh3_prime32_3, xxh3_prime64_1, xxh3_prime64_2, xxh3_prime64_3,
                                             xxh3_prime64_4, xxh3_prime32_2, xxh3_prime64_5, xxh3_prime32_1};

/// Ends a long input: its last 64 bytes once more under a key of their own, then the lanes folded into one number.
inline std::uint64_t xxh3_finish(xxh3_path path, xxh3_lanes& lanes, std::byte const* last_stripe, std::uint64_t size,
                                 std::byte const* secret) noexcept {
  xxh3_accumulate(path, lanes, last_stripe, 1, 0, secret + xxh3_scramble_offset - 7);
  std::uint64_t hash = size * xxh3_prime64_1;
  for (std::size_t lane = 0; lane != lanes.size(); lane += 2) {
    std::byte const* const key = secret + 11 + lane * 8;
    hash += xxh3_fold(lanes[lane] ^ xxh3_read64(key), lanes[lane + 1] ^ xxh3_read64(key + 8));
  }
  return xxh3_avalanche(hash);
}

/// Requires `size > xxh3_short_size`. The final stripe never goes in as a plain one, even where it is whole.
[[gnu::noinline]] inline std::uint64_t xxh3_long(std::byte const* input, std::size_t size, std::byte const* secret,
                                                 xxh3_path path) noexcept {
  xxh3_lanes lanes = xxh3_first_lanes;
  xxh3_accumulate(path, lanes, input, (size - 1) / xxh3_stripe_size, 0, secret);
  return xxh3_finish(path, lanes, input + size - xxh3_stripe_size, size, secret);
}

/// XXH3-64 under a seed. A long input derives its secret from the seed first, which takes 24 additions.
inline std::uint64_t xxh3_seeded(std::byte const* input, std::size_t size, std::uint64_t seed, xxh3_path path) noexcept {
  if (size <= xxh3_short_size) return xxh3_short(input, size, seed);
  std::byte const* const base = xxh3_secret_bytes();
  if (seed == 0) return xxh3_long(input, size, base, path);
  alignas(64) std::array<std::byte, xxh3_secret_size> secret;
  for (std::size_t at = 0; at != secret.size(); at += 16) {
    xxh3_write64(secret.data() + at, xxh3_read64(base + at) + seed);
    xxh3_write64(secret.data() + at + 8, xxh3_read64(base + at + 8) - seed);
  }
  return xxh3_long(input, size, secret.data(), path);
}

/// XXH3-64, seed 0, of bytes that arrive in pieces. Trivially copyable; holds up to 256 bytes back.
class xxh3_stream {
 public:
  /// Feeds the bytes; where `Copies`, they go to `target` as well, in the same pass.
  template <bool Copies = false>
  void update(std::byte const* input, std::size_t size, xxh3_path path, std::byte* target = nullptr) noexcept {
    total_ += size;
    if (size <= held_.size() - held_size_) {
      keep<Copies>(input, size, target);
      return;
    }
    // From here on the input is a long one, and a byte is left after any whole stripe that is fed below.
    if (held_size_ != 0) {
      std::size_t const fill = (held_.size() - held_size_) % xxh3_stripe_size;
      keep<Copies>(input, fill, target);
      input += fill;
      size -= fill;
      if constexpr (Copies) target += fill;
      feed<false>(held_.data(), held_size_ / xxh3_stripe_size, path, nullptr);
      held_size_ = 0;
    }
    std::size_t const stripes = (size - 1) / xxh3_stripe_size;
    if (stripes != 0) feed<Copies>(input, stripes, path, target);
    std::size_t const fed = stripes * xxh3_stripe_size;
    if constexpr (Copies) target += fed;
    keep<Copies>(input + fed, size - fed, target);
  }

  [[nodiscard]] std::uint64_t digest(xxh3_path path) const noexcept {
    if (total_ <= xxh3_short_size) return xxh3_short(held_.data(), held_size_, 0);
    std::byte const* const secret = xxh3_secret_bytes();
    xxh3_lanes lanes = lanes_;
    if (held_size_ >= xxh3_stripe_size) {
      xxh3_accumulate(path, lanes, held_.data(), (held_size_ - 1) / xxh3_stripe_size, position_, secret);
      return xxh3_finish(path, lanes, held_.data() + held_size_ - xxh3_stripe_size, total_, secret);
    }
    // The last 64 bytes began in what was fed already; its final stripe lies at the end of the buffer.
    std::array<std::byte, xxh3_stripe_size> last;
    std::memcpy(last.data(), held_.data() + held_.size() - (last.size() - held_size_), last.size() - held_size_);
    std::memcpy(last.data() + last.size() - held_size_, held_.data(), held_size_);
    return xxh3_finish(path, lanes, last.data(), total_, secret);
  }

 private:
  template <bool Copies>
  void keep(std::byte const* input, std::size_t size, std::byte* target) noexcept {
    if (size == 0) return;  // pointers to nothing may be null, which memcpy does not allow
    std::memcpy(held_.data() + held_size_, input, size);
    held_size_ += size;
    if constexpr (Copies) std::memcpy(target, input, size);
  }

  template <bool Copies>
  void feed(std::byte const* input, std::size_t stripes, xxh3_path path, std::byte* target) noexcept {
    xxh3_accumulate<Copies>(path, lanes_, input, stripes, position_, xxh3_secret_bytes(), target);
    position_ = (position_ + stripes) % xxh3_block_stripes;
    std::byte const* const last = input + (stripes - 1) * xxh3_stripe_size;
    std::byte* const place = held_.data() + held_.size() - xxh3_stripe_size;
    if (last != place) std::memcpy(place, last, xxh3_stripe_size);
  }

  xxh3_lanes lanes_ = xxh3_first_lanes;
  std::uint64_t total_ = 0;
  std::size_t held_size_ = 0;
  std::size_t position_ = 0;  // stripes that the current block has had
  std::array<std::byte, 4 * xxh3_stripe_size> held_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
