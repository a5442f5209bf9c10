// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/checksum.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

// An independent implementation to compare with, where it is installed. The literal answers below come from it.
#if __has_include(<xxhash.h>)
#define XXH_INLINE_ALL
#define XXH_VECTOR 0  // its scalar code; GCC 12 warns about its own AVX-512 header under -march=native
#include <xxhash.h>
#endif

namespace {

using omniconn::detail::xxh3_path;
using bytes = std::vector<std::byte>;

static_assert(std::is_trivially_copyable_v<omniconn::checksum_state>);
static_assert(std::is_nothrow_default_constructible_v<omniconn::checksum_state>);

constexpr std::size_t largest = 100000;

bytes make_bytes(std::size_t size, std::uint64_t state = 2463534242) {
  bytes made(size);
  for (std::byte& byte : made) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56);
  }
  return made;
}

std::vector<xxh3_path> paths() {
  std::vector<xxh3_path> found;
  for (xxh3_path const path : omniconn::detail::xxh3_all_paths) {
    if (omniconn::detail::xxh3_supported(path)) found.push_back(path);
  }
  return found;
}

std::uint64_t sum_on(xxh3_path path, std::span<std::byte const> input, std::uint64_t seed = 0) {
  return omniconn::detail::xxh3_seeded(input.data(), input.size(), seed, path);
}

struct known_answer {
  std::size_t size;
  std::uint64_t seed;
  std::uint64_t sum;
};

// Of the first `size` bytes of make_bytes(largest).
constexpr std::array known_answers{
    known_answer{0, 0, 0x2D06800538D394C2},
    known_answer{1, 0, 0x58D67C52D2B05B30},
    known_answer{2, 0, 0xCB3B71F38526DDF6},
    known_answer{3, 0, 0x9BDC8ACB929A2457},
    known_answer{4, 0, 0x479043EDF61686FF},
    known_answer{5, 0, 0xC590AF56534211ED},
    known_answer{7, 0, 0x6D8BF5ADEFA76F1B},
    known_answer{8, 0, 0x3374239046595F72},
    known_answer{9, 0, 0x69DF3FBB803538E6},
    known_answer{12, 0, 0x9010D285F2894E1C},
    known_answer{15, 0, 0x8FE5F045CFF22358},
    known_answer{16, 0, 0x48D71DB022D6D57E},
    known_answer{17, 0, 0x361CAA388D640C5A},
    known_answer{31, 0, 0x4B8D3BE189A0D2E1},
    known_answer{32, 0, 0xC3D8D5F4ACF72A58},
    known_answer{33, 0, 0x3BACFCFEA1E70287},
    known_answer{64, 0, 0x2C320E992A61BF90},
    known_answer{65, 0, 0x6EF6FBCE29091999},
    known_answer{96, 0, 0x3DCC514B512DF009},
    known_answer{97, 0, 0xE777DC740E9E5B6C},
    known_answer{127, 0, 0xB7BF07C4BA0B7B1A},
    known_answer{128, 0, 0xF49C3EB7BCE30DBE},
    known_answer{129, 0, 0x7ED9737C05C1B617},
    known_answer{144, 0, 0x455F39314DA95AA3},
    known_answer{160, 0, 0x602ECBCBDE8F4B9D},
    known_answer{192, 0, 0x649AA2253FD4FDAA},
    known_answer{239, 0, 0xF5127BD923D13E76},
    known_answer{240, 0, 0x9222638AD5A0D4E4},
    known_answer{241, 0, 0x0EFD84BDE386C196},
    known_answer{255, 0, 0x6CED1F8F1943EFF1},
    known_answer{256, 0, 0x81D800667A8FC8EE},
    known_answer{257, 0, 0x5CB4882CF560DFF9},
    known_answer{511, 0, 0x6142155812753FCB},
    known_answer{512, 0, 0x11B311BCC05B1217},
    known_answer{1023, 0, 0x29E23F2C9A1572C0},
    known_answer{1024, 0, 0x9E991FF0212D81A0},
    known_answer{1025, 0, 0x1560D28015E9F591},
    known_answer{1087, 0, 0xA2BEF44B82D4440A},
    known_answer{1088, 0, 0xFBE66A81A951C8F6},
    known_answer{1089, 0, 0x2EA9BE4D0E692A25},
    known_answer{2047, 0, 0xFBAA88994347C9ED},
    known_answer{2048, 0, 0xAF79E30149124054},
    known_answer{2049, 0, 0x2206AD5A76E1C9CD},
    known_answer{4095, 0, 0x617785320644F6CE},
    known_answer{4096, 0, 0x14917BFFAEBCB2B4},
    known_answer{4097, 0, 0x3947E3C2F7F1BAFC},
    known_answer{65536, 0, 0x9399E4AD539D0FCD},
    known_answer{99999, 0, 0xEA21AD9430643FE5},
    known_answer{100000, 0, 0x3AA156FBE48D7DE0},
    known_answer{0, 0x9E3779B185EBCA8D, 0xA8A6B918B2F0364A},
    known_answer{1, 0x9E3779B185EBCA8D, 0x042C21669E1B1D4C},
    known_answer{3, 0x9E3779B185EBCA8D, 0x5122206A5FDA44CE},
    known_answer{4, 0x9E3779B185EBCA8D, 0x7C57C012E1F64648},
    known_answer{8, 0x9E3779B185EBCA8D, 0x29954794F6B65FCA},
    known_answer{9, 0x9E3779B185EBCA8D, 0xBDD3E0BDF2AC18B5},
    known_answer{16, 0x9E3779B185EBCA8D, 0x8D886091E464092E},
    known_answer{17, 0x9E3779B185EBCA8D, 0xF61652AF76FFDCDD},
    known_answer{128, 0x9E3779B185EBCA8D, 0x76A65BD8C9016DDD},
    known_answer{129, 0x9E3779B185EBCA8D, 0xE83102871535365C},
    known_answer{240, 0x9E3779B185EBCA8D, 0x22F2763F68E0C924},
    known_answer{241, 0x9E3779B185EBCA8D, 0x786F83144793FB68},
    known_answer{1024, 0x9E3779B185EBCA8D, 0x0C84FC0DA181D21D},
    known_answer{1025, 0x9E3779B185EBCA8D, 0x5BF036F9B53370A3},
    known_answer{100000, 0x9E3779B185EBCA8D, 0xC0C76930E18ADCDD},
    known_answer{6, 0x1, 0x14F974CEE7632BA6},
    known_answer{14, 0xFFFFFFFFFFFFFFFF, 0x5C48ECC0023A7633},
    known_answer{1000, 0xFFFFFFFFFFFFFFFF, 0x2A23A405833D5829},
};

TEST(checksum, known_answers) {
  bytes const input = make_bytes(largest);
  for (known_answer const& known : known_answers) {
    SCOPED_TRACE("size " + std::to_string(known.size) + ", seed " + std::to_string(known.seed));
    std::span<std::byte const> const part = std::span(input).first(known.size);
    EXPECT_EQ(omniconn::seeded_hash(part, known.seed), known.sum);
    if (known.seed == 0) {
      EXPECT_EQ(omniconn::checksum(part), known.sum);
    }
    for (xxh3_path const path : paths()) EXPECT_EQ(sum_on(path, part, known.seed), known.sum) << static_cast<int>(path);
  }
}

TEST(checksum, of_nothing) {
  EXPECT_EQ(omniconn::checksum({}), 0x2D06800538D394C2U);
  EXPECT_EQ(omniconn::checksum_state().digest(), 0x2D06800538D394C2U);
}

TEST(checksum, best_path_is_supported_and_no_slower_one_is_chosen) {
  auto const found = paths();
  auto const best = omniconn::detail::xxh3_best_path();
  EXPECT_NE(std::find(found.begin(), found.end(), best), found.end());
  EXPECT_EQ(best, omniconn::detail::xxh3_best_path());
#if defined(__x86_64__)
  EXPECT_GE(best, omniconn::detail::xxh3_supported(xxh3_path::avx2) ? xxh3_path::avx2 : xxh3_path::sse2);
#else
  EXPECT_EQ(best, xxh3_path::scalar);
#endif
}

TEST(checksum, every_path_agrees_at_every_length) {
  // A block of exactly the right size each time, so that AddressSanitizer sees a read beyond it.
  for (std::size_t size = 0; size <= 2100; ++size) {
    bytes const input = make_bytes(size, size);
    std::uint64_t const expected = sum_on(xxh3_path::scalar, input);
    std::uint64_t const expected_seeded = sum_on(xxh3_path::scalar, input, size + 1);
    ASSERT_EQ(omniconn::checksum(input), expected) << size;
    ASSERT_EQ(omniconn::seeded_hash(input, 0), expected) << size;
    ASSERT_EQ(omniconn::seeded_hash(input, size + 1), expected_seeded) << size;
    ASSERT_NE(expected, expected_seeded) << size;
    for (xxh3_path const path : paths()) {
      ASSERT_EQ(sum_on(path, input), expected) << size << " on path " << static_cast<int>(path);
      ASSERT_EQ(sum_on(path, input, size + 1), expected_seeded) << size << " on path " << static_cast<int>(path);
    }
  }
}

TEST(checksum, start_address_does_not_matter) {
  bytes const input = make_bytes(3000);
  bytes shifted(input.size() + 64);
  for (xxh3_path const path : paths()) {
    for (std::size_t const size : {5U, 100U, 200U, 241U, 1024U, 1025U, 3000U}) {
      std::uint64_t const expected = sum_on(path, std::span(input).first(size));
      for (std::size_t shift = 0; shift != 64; ++shift) {
        auto const place = shifted.begin() + static_cast<std::ptrdiff_t>(shift);
        std::copy_n(input.begin(), size, place);
        ASSERT_EQ(sum_on(path, std::span<std::byte const>(shifted).subspan(shift, size)), expected)
            << size << " bytes, shifted by " << shift << ", path " << static_cast<int>(path);
      }
    }
  }
}

#if defined(XXH_INLINE_ALL)
TEST(checksum, agrees_with_libxxhash_at_every_length) {
  bytes const input = make_bytes(2101);
  for (std::size_t size = 0; size <= 2100; ++size) {
    for (std::uint64_t const seed : {std::uint64_t{0}, std::uint64_t{1}, 0x8000000000000000U + size}) {
      std::uint64_t const expected = XXH3_64bits_withSeed(input.data() + 1, size, seed);
      for (xxh3_path const path : paths()) {
        ASSERT_EQ(sum_on(path, std::span(input).subspan(1, size), seed), expected)
            << size << " bytes, seed " << seed << ", path " << static_cast<int>(path);
      }
    }
  }
}

TEST(checksum, agrees_with_libxxhash_at_large_random_sizes) {
  bytes const input = make_bytes(1U << 20U);
  std::uint64_t state = 42;
  for (int round = 0; round != 60; ++round) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::size_t const start = (state >> 20U) % 4096;
    std::size_t const size = (state >> 32U) % (input.size() - 4096);
    auto const part = std::span(input).subspan(start, size);
    std::uint64_t const expected = XXH3_64bits(part.data(), size);
    ASSERT_EQ(omniconn::checksum(part), expected) << size;
    for (xxh3_path const path : paths()) ASSERT_EQ(sum_on(path, part), expected) << size << ", " << static_cast<int>(path);
    omniconn::checksum_state stream;
    for (std::size_t at = 0; at != size;) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      std::size_t const piece = std::min<std::size_t>(size - at, (state >> 32U) % 5000);
      stream.update(part.subspan(at, piece));
      at += piece;
    }
    ASSERT_EQ(stream.digest(), expected) << size;
  }
}
#endif

TEST(checksum, a_flipped_bit_changes_the_sum) {
  for (std::size_t const size : {1U, 2U, 3U, 4U, 8U, 9U, 16U, 17U, 100U, 128U, 129U, 240U, 241U, 256U, 1024U, 1025U, 2500U}) {
    bytes input = make_bytes(size);
    std::uint64_t const before = omniconn::checksum(input);
    for (std::size_t bit = 0; bit != size * 8; ++bit) {
      std::byte const mask{static_cast<unsigned char>(1U << (bit % 8))};
      input[bit / 8] ^= mask;
      ASSERT_NE(omniconn::checksum(input), before) << "bit " << bit << " of " << size << " bytes";
      input[bit / 8] ^= mask;
    }
    EXPECT_EQ(omniconn::checksum(input), before);
  }
}

TEST(checksum, length_is_part_of_the_sum) {
  bytes const zeros(2000);
  std::vector<std::uint64_t> sums;
  for (std::size_t size = 0; size <= zeros.size(); ++size) sums.push_back(omniconn::checksum(std::span(zeros).first(size)));
  std::sort(sums.begin(), sums.end());
  EXPECT_EQ(std::adjacent_find(sums.begin(), sums.end()), sums.end());
}

TEST(checksum, many_threads_at_once) {
  bytes const input = make_bytes(5000);
  std::uint64_t const expected = sum_on(xxh3_path::scalar, input);
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i != 8; ++i) {
    threads.emplace_back([&] { right += omniconn::checksum(input) == expected ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 8);
}

TEST(checksum_state, any_two_pieces) {
  bytes const input = make_bytes(2500);
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 400; ++size) sizes.push_back(size);
  for (std::size_t const size : {511U, 512U, 513U, 1023U, 1024U, 1025U, 1088U, 1280U, 2047U, 2048U, 2049U, 2100U, 2500U}) {
    sizes.push_back(size);
  }
  for (xxh3_path const path : paths()) {
    for (std::size_t const size : sizes) {
      std::uint64_t const expected = sum_on(path, std::span(input).first(size));
      for (std::size_t cut = 0; cut <= size; ++cut) {
        omniconn::detail::xxh3_stream stream;
        stream.update(input.data(), cut, path);
        stream.update(input.data() + cut, size - cut, path);
        ASSERT_EQ(stream.digest(path), expected) << cut << " of " << size << " bytes, path " << static_cast<int>(path);
      }
    }
  }
}

TEST(checksum_state, every_prefix_byte_by_byte) {
  bytes const input = make_bytes(2200);
  omniconn::checksum_state state;
  for (std::size_t size = 0; size != input.size(); ++size) {
    ASSERT_EQ(state.digest(), omniconn::checksum(std::span(input).first(size))) << size;
    ASSERT_EQ(state.digest(), state.digest()) << size;
    state.update(std::span(input).subspan(size, 1));
  }
  EXPECT_EQ(state.digest(), omniconn::checksum(input));
}

TEST(checksum_state, pieces_of_one_size) {
  bytes const input = make_bytes(9000);
  std::uint64_t const expected = omniconn::checksum(input);
  for (std::size_t piece = 1; piece <= 1100; ++piece) {
    omniconn::checksum_state state;
    for (std::size_t at = 0; at < input.size(); at += piece) {
      state.update(std::span(input).subspan(at, std::min(piece, input.size() - at)));
    }
    ASSERT_EQ(state.digest(), expected) << "pieces of " << piece;
  }
}

TEST(checksum_state, empty_pieces_change_nothing) {
  bytes const input = make_bytes(700);
  omniconn::checksum_state state;
  for (std::size_t at = 0; at != input.size(); at += 50) {
    state.update({});
    state.update(std::span(input).subspan(at, 50));
    state.update(std::span(input).subspan(at, 0));
  }
  EXPECT_EQ(state.digest(), omniconn::checksum(input));
}

TEST(checksum_state, reset_forgets) {
  bytes const input = make_bytes(5000);
  omniconn::checksum_state state;
  state.update(input);
  state.reset();
  EXPECT_EQ(state.digest(), omniconn::checksum({}));
  state.update(std::span(input).first(300));
  EXPECT_EQ(state.digest(), omniconn::checksum(std::span(input).first(300)));
}

TEST(checksum_state, a_copy_goes_on_by_itself) {
  bytes const input = make_bytes(4000);
  omniconn::checksum_state first;
  first.update(std::span(input).first(1500));
  omniconn::checksum_state second = first;
  first.update(std::span(input).subspan(1500));
  EXPECT_EQ(first.digest(), omniconn::checksum(input));
  EXPECT_EQ(second.digest(), omniconn::checksum(std::span(input).first(1500)));
  second.update(std::span(input).subspan(1500, 10));
  EXPECT_EQ(second.digest(), omniconn::checksum(std::span(input).first(1510)));
}

/// Copies on one path and checks the sum, each byte, and that nothing around the target was touched.
void check_copy(xxh3_path path, std::span<std::byte const> source, std::size_t shift, std::size_t cut) {
  constexpr std::byte untouched{0xA5};
  bytes target(source.size() + shift + 64, untouched);
  std::byte* const at = target.data() + shift;
  omniconn::detail::xxh3_stream stream;
  stream.update<true>(source.data(), cut, path, at);
  stream.update<true>(source.data() + cut, source.size() - cut, path, at + cut);
  EXPECT_EQ(stream.digest(path), sum_on(path, source));
  EXPECT_TRUE(std::equal(source.begin(), source.end(), at));
  auto const is_untouched = [](std::byte byte) { return byte == untouched; };
  EXPECT_TRUE(std::all_of(target.data(), at, is_untouched));
  EXPECT_TRUE(std::all_of(at + source.size(), target.data() + target.size(), is_untouched));
}

TEST(copy_with_checksum, every_path_copies_exactly) {
  bytes const input = make_bytes(1400);
  for (xxh3_path const path : paths()) {
    for (std::size_t size = 0; size <= 1300; ++size) {
      SCOPED_TRACE(std::to_string(size) + " bytes on path " + std::to_string(static_cast<int>(path)));
      check_copy(path, std::span(input).subspan(size % 67, size), size % 64, size / 3);
      if (HasFailure()) return;
    }
  }
}

TEST(copy_with_checksum, large_and_in_pieces) {
  bytes const input = make_bytes(300001);
  for (xxh3_path const path : paths()) {
    SCOPED_TRACE(static_cast<int>(path));
    for (std::size_t const cut : {0U, 1U, 63U, 64U, 65U, 1000U, 65536U, 300000U, 300001U}) check_copy(path, input, 1, cut);
  }
}

TEST(copy_with_checksum, gathers_several_sources) {
  bytes const input = make_bytes(20000);
  bytes target(input.size());
  omniconn::checksum_state state;
  std::size_t at = 0;
  for (std::size_t const size : {7U, 0U, 57U, 64U, 192U, 1U, 4096U, 255U, 10000U, 5328U}) {
    omniconn::copy_with_checksum(target.data() + at, std::span(input).subspan(at, size), state);
    at += size;
    ASSERT_EQ(state.digest(), omniconn::checksum(std::span(input).first(at)));
  }
  ASSERT_EQ(at, input.size());
  EXPECT_EQ(target, input);
}

TEST(copy_with_checksum, of_nothing_needs_no_target) {
  omniconn::checksum_state state;
  omniconn::copy_with_checksum(nullptr, {}, state);
  EXPECT_EQ(state.digest(), omniconn::checksum({}));
}

}  // namespace
