// SPDX-License-Identifier: Apache-2.0
// The inner loop of XXH3 over whole 64-byte stripes, once per instruction set, and the choice between them at run time.
//
// The vectors are compiler extensions instead of <immintrin.h>, which alone would cost half of core's include budget.
// Each vector loop is its own function with a target attribute, so a plain -O2 build has all of them. They cannot share
// one template: GCC splits wide vectors before it inlines, hence by the flags of the template and not of its caller.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

inline constexpr std::size_t xxh3_stripe_size = 64;    // input bytes per step of the eight lanes
inline constexpr std::size_t xxh3_block_stripes = 16;  // steps between two scrambles of the lanes
inline constexpr std::size_t xxh3_secret_size = 192;
inline constexpr std::size_t xxh3_secret_step = 8;  // the secret's window moves on by this much with each stripe
inline constexpr std::size_t xxh3_scramble_offset = xxh3_secret_size - xxh3_stripe_size;
inline constexpr std::uint64_t xxh3_scramble_prime = 0x9E3779B1;

using xxh3_lanes = std::array<std::uint64_t, 8>;

/// Which loop runs. Every path gives the same sum; naming one by hand is for tests and benchmarks.
enum class xxh3_path : std::uint8_t { scalar = 1, sse2 = 2, avx2 = 3, avx512 = 4 };

inline constexpr std::array xxh3_all_paths{xxh3_path::scalar, xxh3_path::sse2, xxh3_path::avx2, xxh3_path::avx512};

/// Reads a little-endian integer at any alignment.
template <class Integer>
[[gnu::always_inline]] inline Integer xxh3_read(void const* from) noexcept {
  static_assert(sizeof(Integer) == 4 || sizeof(Integer) == 8);
  Integer value;
  std::memcpy(&value, from, sizeof(value));
  if constexpr (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) {
    if constexpr (sizeof(Integer) == 4) {
      return __builtin_bswap32(value);
    } else {
      return __builtin_bswap64(value);
    }
  }
  return value;
}

// All loops below compute the same thing. A lane gains the product of the two halves of (word xor secret), and its
// neighbour gains the word; after the sixteenth stripe of a block all lanes are scrambled. Two liberties keep the chain
// of dependent instructions short, and addition modulo 2^64 allows both: a block is summed up from zero, so only the
// scramble waits for the block before; and plain words are summed up first and handed to the neighbour once per block.

template <bool Copies>
inline void xxh3_accumulate_scalar(xxh3_lanes& lanes, std::byte const* input, std::size_t stripes, std::size_t position,
                                   std::byte const* secret, std::byte* target) noexcept {
  while (stripes != 0) {
    std::size_t const room = xxh3_block_stripes - position;
    std::size_t const run = stripes < room ? stripes : room;
    std::size_t const run_bytes = run * xxh3_stripe_size;
    // Two lanes at a time over the whole run: their four sums stay in registers, all sixteen would not.
    for (std::size_t lane = 0; lane != lanes.size(); lane += 2) {
      std::byte const* key = secret + position * xxh3_secret_step + lane * 8;
      std::uint64_t words[2]{}, products[2]{};
      for (std::size_t at = lane * 8; at < run_bytes; at += xxh3_stripe_size, key += xxh3_secret_step) {
        std::uint64_t const word0 = xxh3_read<std::uint64_t>(input + at);
        std::uint64_t const word1 = xxh3_read<std::uint64_t>(input + at + 8);
        std::uint64_t const keyed0 = word0 ^ xxh3_read<std::uint64_t>(key);
        std::uint64_t const keyed1 = word1 ^ xxh3_read<std::uint64_t>(key + 8);
        words[0] += word0, words[1] += word1;
        products[0] += (keyed0 & 0xFFFFFFFF) * (keyed0 >> 32), products[1] += (keyed1 & 0xFFFFFFFF) * (keyed1 >> 32);
      }
      lanes[lane] += products[0] + words[1];
      lanes[lane + 1] += products[1] + words[0];
    }
    if constexpr (Copies) {
      std::memcpy(target, input, run_bytes);
      target += run_bytes;
    }
    input += run_bytes;
    stripes -= run;
    position += run;
    if (position == xxh3_block_stripes) {
      position = 0;
      for (std::size_t lane = 0; lane != lanes.size(); ++lane) {
        std::uint64_t const key = xxh3_read<std::uint64_t>(secret + xxh3_scramble_offset + lane * 8);
        lanes[lane] = (lanes[lane] ^ (lanes[lane] >> 47) ^ key) * xxh3_scramble_prime;
      }
    }
  }
}

#if defined(__x86_64__)

typedef std::uint64_t xxh3_v2 __attribute__((vector_size(16)));
typedef std::uint64_t xxh3_v4 __attribute__((vector_size(32)));
typedef std::uint64_t xxh3_v8 __attribute__((vector_size(64)));
// The same in memory that is not ours: at any address, and whatever type was stored there. GCC drops aligned(1) where
// it shares an attribute list with vector_size and where a pointer to such a type is declared `auto`; hence the two
// steps, and the types in full below.
typedef xxh3_v2 xxh3_v2_at __attribute__((aligned(1), may_alias));
typedef xxh3_v4 xxh3_v4_at __attribute__((aligned(1), may_alias));
typedef xxh3_v8 xxh3_v8_at __attribute__((aligned(1), may_alias));

// The product of the low halves of each lane. Clang makes one pmuludq of the masked multiplication, and newer ones have
// no builtin for it; GCC 12 makes three and some shifts of it, so there the instruction has to be named.

[[gnu::always_inline]] inline xxh3_v2 xxh3_multiply(xxh3_v2 a, xxh3_v2 b) noexcept {
#if defined(__clang__)
  return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#else
  typedef int halves __attribute__((vector_size(16)));
  return reinterpret_cast<xxh3_v2>(__builtin_ia32_pmuludq128(reinterpret_cast<halves>(a), reinterpret_cast<halves>(b)));
#endif
}

[[gnu::always_inline, gnu::target("avx2")]] inline xxh3_v4 xxh3_multiply(xxh3_v4 a, xxh3_v4 b) noexcept {
#if defined(__clang__)
  return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#else
  typedef int halves __attribute__((vector_size(32)));
  return reinterpret_cast<xxh3_v4>(__builtin_ia32_pmuludq256(reinterpret_cast<halves>(a), reinterpret_cast<halves>(b)));
#endif
}

[[gnu::always_inline, gnu::target("avx512f")]] inline xxh3_v8 xxh3_multiply(xxh3_v8 a, xxh3_v8 b) noexcept {
#if defined(__clang__)
  return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#else
  typedef int halves __attribute__((vector_size(64)));
  typedef long long lanes __attribute__((vector_size(64)));
  return reinterpret_cast<xxh3_v8>(
      __builtin_ia32_pmuludq512_mask(reinterpret_cast<halves>(a), reinterpret_cast<halves>(b), lanes{}, static_cast<unsigned char>(0xFF)));
#endif
}

[[gnu::always_inline]] inline void xxh3_scramble(xxh3_v2& sum, std::byte const* secret) noexcept {
  xxh3_v2 const prime = xxh3_v2{} + xxh3_scramble_prime;
  xxh3_v2 const mixed = sum ^ (sum >> 47) ^ *reinterpret_cast<xxh3_v2_at const*>(secret);
  sum = xxh3_multiply(mixed, prime) + (xxh3_multiply(mixed >> 32, prime) << 32);
}

[[gnu::always_inline, gnu::target("avx2")]] inline void xxh3_scramble(xxh3_v4& sum, std::byte const* secret) noexcept {
  xxh3_v4 const prime = xxh3_v4{} + xxh3_scramble_prime;
  xxh3_v4 const mixed = sum ^ (sum >> 47) ^ *reinterpret_cast<xxh3_v4_at const*>(secret);
  sum = xxh3_multiply(mixed, prime) + (xxh3_multiply(mixed >> 32, prime) << 32);
}

[[gnu::always_inline, gnu::target("avx512f")]] inline void xxh3_scramble(xxh3_v8& sum, std::byte const* secret) noexcept {
  xxh3_v8 const prime = xxh3_v8{} + xxh3_scramble_prime;
  xxh3_v8 const mixed = sum ^ (sum >> 47) ^ *reinterpret_cast<xxh3_v8_at const*>(secret);
  sum = xxh3_multiply(mixed, prime) + (xxh3_multiply(mixed >> 32, prime) << 32);
}

template <bool Copies>
inline void xxh3_accumulate_sse2(xxh3_lanes& lanes, std::byte const* input, std::size_t stripes, std::size_t position,
                                 std::byte const* secret, std::byte* target) noexcept {
  xxh3_v2_at* const stored = reinterpret_cast<xxh3_v2_at*>(lanes.data());
  xxh3_v2 sum0 = stored[0], sum1 = stored[1], sum2 = stored[2], sum3 = stored[3];
  while (stripes != 0) {
    std::size_t const room = xxh3_block_stripes - position;
    std::size_t const run = stripes < room ? stripes : room;
    std::byte const* const end = input + run * xxh3_stripe_size;
    std::byte const* key = secret + position * xxh3_secret_step;
    xxh3_v2 words0{}, words1{}, words2{}, words3{};
    xxh3_v2 products0{}, products1{}, products2{}, products3{};
    for (; input != end; input += xxh3_stripe_size, key += xxh3_secret_step) {
      xxh3_v2_at const* const from = reinterpret_cast<xxh3_v2_at const*>(input);
      xxh3_v2_at const* const with = reinterpret_cast<xxh3_v2_at const*>(key);
      xxh3_v2 const word0 = from[0], word1 = from[1], word2 = from[2], word3 = from[3];
      if constexpr (Copies) {
        xxh3_v2_at* const to = reinterpret_cast<xxh3_v2_at*>(target);
        to[0] = word0, to[1] = word1, to[2] = word2, to[3] = word3;
        target += xxh3_stripe_size;
      }
      xxh3_v2 const keyed0 = word0 ^ with[0], keyed1 = word1 ^ with[1];
      xxh3_v2 const keyed2 = word2 ^ with[2], keyed3 = word3 ^ with[3];
      words0 += word0, words1 += word1, words2 += word2, words3 += word3;
      products0 += xxh3_multiply(keyed0, keyed0 >> 32), products1 += xxh3_multiply(keyed1, keyed1 >> 32);
      products2 += xxh3_multiply(keyed2, keyed2 >> 32), products3 += xxh3_multiply(keyed3, keyed3 >> 32);
    }
    sum0 += products0 + __builtin_shufflevector(words0, words0, 1, 0);
    sum1 += products1 + __builtin_shufflevector(words1, words1, 1, 0);
    sum2 += products2 + __builtin_shufflevector(words2, words2, 1, 0);
    sum3 += products3 + __builtin_shufflevector(words3, words3, 1, 0);
    stripes -= run;
    position += run;
    if (position == xxh3_block_stripes) {
      position = 0;
      xxh3_scramble(sum0, secret + xxh3_scramble_offset);
      xxh3_scramble(sum1, secret + xxh3_scramble_offset + 16);
      xxh3_scramble(sum2, secret + xxh3_scramble_offset + 32);
      xxh3_scramble(sum3, secret + xxh3_scramble_offset + 48);
    }
  }
  stored[0] = sum0, stored[1] = sum1, stored[2] = sum2, stored[3] = sum3;
}

template <bool Copies>
[[gnu::target("avx2")]] inline void xxh3_accumulate_avx2(xxh3_lanes& lanes, std::byte const* input, std::size_t stripes,
                                                         std::size_t position, std::byte const* secret, std::byte* target) noexcept {
  xxh3_v4_at* const stored = reinterpret_cast<xxh3_v4_at*>(lanes.data());
  xxh3_v4 sum0 = stored[0], sum1 = stored[1];
  while (stripes != 0) {
    std::size_t const room = xxh3_block_stripes - position;
    std::size_t const run = stripes < room ? stripes : room;
    std::byte const* const end = input + run * xxh3_stripe_size;
    std::byte const* key = secret + position * xxh3_secret_step;
    xxh3_v4 words0{}, words1{}, products0{}, products1{};
    for (; input != end; input += xxh3_stripe_size, key += xxh3_secret_step) {
      xxh3_v4_at const* const from = reinterpret_cast<xxh3_v4_at const*>(input);
      xxh3_v4_at const* const with = reinterpret_cast<xxh3_v4_at const*>(key);
      xxh3_v4 word0 = from[0], word1 = from[1];
      __asm__("" : "+x"(word0), "+x"(word1));  // GCC would load each word twice, which costs a fifteenth of the speed
      if constexpr (Copies) {
        xxh3_v4_at* const to = reinterpret_cast<xxh3_v4_at*>(target);
        to[0] = word0, to[1] = word1;
        target += xxh3_stripe_size;
      }
      xxh3_v4 const keyed0 = word0 ^ with[0], keyed1 = word1 ^ with[1];
      words0 += word0, words1 += word1;
      products0 += xxh3_multiply(keyed0, keyed0 >> 32), products1 += xxh3_multiply(keyed1, keyed1 >> 32);
    }
    sum0 += products0 + __builtin_shufflevector(words0, words0, 1, 0, 3, 2);
    sum1 += products1 + __builtin_shufflevector(words1, words1, 1, 0, 3, 2);
    stripes -= run;
    position += run;
    if (position == xxh3_block_stripes) {
      position = 0;
      xxh3_scramble(sum0, secret + xxh3_scramble_offset);
      xxh3_scramble(sum1, secret + xxh3_scramble_offset + 32);
    }
  }
  stored[0] = sum0, stored[1] = sum1;
}

/// A copy alone. \requires `xxh3_supported(xxh3_path::avx2)`, 32 bytes at least
[[gnu::target("avx2")]] inline void copy_by_vectors(std::byte* to, std::byte const* from, std::size_t size) noexcept {
  for (std::size_t at = 0; at < size; at += 32) {
    std::size_t const last = size - 32, here = at < last ? at : last;  // some of it for the second time
    *reinterpret_cast<xxh3_v4_at*>(to + here) = *reinterpret_cast<xxh3_v4_at const*>(from + here);
  }
}

// No copying one: with 512-bit stores a copy takes 1.09 to 1.4 times a memcpy of 64 KiB to 2 MiB, with the AVX2
// loop 1.02 (Zen 4); and it is the stores that it waits for there.
[[gnu::target("avx512f")]] inline void xxh3_accumulate_avx512(xxh3_lanes& lanes, std::byte const* input, std::size_t stripes,
                                                              std::size_t position, std::byte const* secret) noexcept {
  xxh3_v8_at* const stored = reinterpret_cast<xxh3_v8_at*>(lanes.data());
  xxh3_v8 sum = *stored;
  while (stripes != 0) {
    std::size_t const room = xxh3_block_stripes - position;
    std::size_t const run = stripes < room ? stripes : room;
    std::byte const* const end = input + run * xxh3_stripe_size;
    std::byte const* key = secret + position * xxh3_secret_step;
    xxh3_v8 words{}, products{};
    for (; input != end; input += xxh3_stripe_size, key += xxh3_secret_step) {
      xxh3_v8 word = *reinterpret_cast<xxh3_v8_at const*>(input);
      __asm__("" : "+v"(word));  // GCC would load the word twice: 54 instead of 63 GiB/s in L2
      xxh3_v8 const keyed = word ^ *reinterpret_cast<xxh3_v8_at const*>(key);
      words += word;
      products += xxh3_multiply(keyed, keyed >> 32);
    }
    sum += products + __builtin_shufflevector(words, words, 1, 0, 3, 2, 5, 4, 7, 6);
    stripes -= run;
    position += run;
    if (position == xxh3_block_stripes) {
      position = 0;
      xxh3_scramble(sum, secret + xxh3_scramble_offset);
    }
  }
  *stored = sum;
}

#endif  // __x86_64__

/// Whether this machine can run a path.
inline bool xxh3_supported(xxh3_path path) noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();  // needed only before the constructors of the C run-time have run; cheap ever after
  switch (path) {
    case xxh3_path::scalar:
    case xxh3_path::sse2: return true;
    case xxh3_path::avx2: return __builtin_cpu_supports("avx2") != 0;
    case xxh3_path::avx512: return __builtin_cpu_supports("avx512f") != 0;
  }
  return false;
#else
  return path == xxh3_path::scalar;
#endif
}

/// The fastest path of this machine. Found once per process; the cache is a constant-initialised atomic byte.
inline xxh3_path xxh3_best_path() noexcept {
#if defined(__x86_64__)
  static constinit std::uint8_t cached = 0;  // two threads at once find the same answer, so relaxed is enough
  std::uint8_t known = __atomic_load_n(&cached, __ATOMIC_RELAXED);
  if (known == 0) {
    // Intel's processors before Ice Lake have AVX-512 but lower their clock for 512-bit multiplications, for everybody
    // on the core; those after it, and AMD's, also know VBMI2.
    bool const wide = xxh3_supported(xxh3_path::avx512) && __builtin_cpu_supports("avx512vbmi2") != 0;
    xxh3_path const best = wide ? xxh3_path::avx512 : xxh3_supported(xxh3_path::avx2) ? xxh3_path::avx2 : xxh3_path::sse2;
    known = static_cast<std::uint8_t>(best);
    __atomic_store_n(&cached, known, __ATOMIC_RELAXED);
  }
  return static_cast<xxh3_path>(known);
#else
  return xxh3_path::scalar;
#endif
}

/// Feeds `stripes` whole stripes at `input` to the lanes. `position` in [0, 16) is the number of stripes that the
/// current block has had already. Where `Copies`, the stripes go to `target` as well. Requires `xxh3_supported(path)`.
template <bool Copies = false>
inline void xxh3_accumulate(xxh3_path path, xxh3_lanes& lanes, std::byte const* input, std::size_t stripes, std::size_t position,
                            std::byte const* secret, std::byte* target = nullptr) noexcept {
  switch (path) {
#if defined(__x86_64__)
    case xxh3_path::avx512:
      if constexpr (!Copies) return xxh3_accumulate_avx512(lanes, input, stripes, position, secret);
      [[fallthrough]];
    case xxh3_path::avx2: return xxh3_accumulate_avx2<Copies>(lanes, input, stripes, position, secret, target);
    case xxh3_path::sse2: return xxh3_accumulate_sse2<Copies>(lanes, input, stripes, position, secret, target);
#endif
    default: return xxh3_accumulate_scalar<Copies>(lanes, input, stripes, position, secret, target);
  }
}

}  // namespace detail

OMNICONN_END_NAMESPACE
