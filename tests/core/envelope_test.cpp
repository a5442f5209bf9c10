// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/envelope.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

object_info an_info(std::uint64_t size) {
  object_info info;
  info.size = size;
  info.checksum = 0x0123'4567'89ab'cdefU;
  info.trace = 0xfedc'ba98'7654'3210U;
  info.kind = payload_kind::object;
  info.checksum_by = checksum_kind::xxh3_64;
  return info;
}

std::vector<std::byte> stored(object_info const& info) {
  std::vector<std::byte> out(envelope_size + info.size, std::byte{0x55});
  write_envelope(out.data(), info);
  return out;
}

TEST(envelope, says_what_was_written) {
  for (std::uint64_t const size : {0U, 1U, 1000U}) {
    auto const bytes = stored(an_info(size));
    auto const read = read_envelope(bytes);
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(read->size, size);
    EXPECT_EQ(read->checksum, an_info(size).checksum);
    EXPECT_EQ(read->trace, an_info(size).trace);
    EXPECT_EQ(read->kind, payload_kind::object);
    EXPECT_EQ(read->checksum_by, checksum_kind::xxh3_64);
  }
}

// The bytes are a format: a machine of another byte order and a later version must find the same.
TEST(envelope, has_this_layout) {
  auto const bytes = stored(an_info(0x0302));
  EXPECT_EQ(text_of(const_bytes(bytes).first(8)), "omniconn");
  std::array<unsigned, 32> const expected{1,    0,    1,    0,    1,    0,    0,    0,     // version, kind, checksum kind, 0
                                          0x02, 0x03, 0,    0,    0,    0,    0,    0,     // size
                                          0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,  // checksum
                                          0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
  for (std::size_t i = 0; i != expected.size(); ++i) EXPECT_EQ(std::to_integer<unsigned>(bytes[8 + i]), expected[i]) << "byte " << 8 + i;
  for (std::size_t i = 40; i != 56; ++i) EXPECT_EQ(bytes[i], std::byte{0}) << "byte " << i;
  EXPECT_EQ(detail::get_little<std::uint64_t>(bytes.data() + 56), checksum(const_bytes(bytes).first(56)));
}

TEST(envelope, every_flipped_bit_is_noticed) {
  auto bytes = stored(an_info(10));
  for (std::size_t bit = 0; bit != envelope_size * 8; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(read_envelope(bytes)) << "bit " << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  EXPECT_TRUE(read_envelope(bytes));
}

TEST(envelope, every_other_length_is_noticed) {
  auto const bytes = stored(an_info(100));
  for (std::size_t size = 0; size != bytes.size(); ++size)
    EXPECT_TRUE(read_envelope(const_bytes(bytes).first(size)) == (size < envelope_size ? error_kind::malformed : error_kind::corrupt)) << size;
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_TRUE(read_envelope(longer) == error_kind::corrupt);
}

TEST(envelope, another_version_is_told_from_damage_and_from_no_envelope) {
  std::vector<std::byte> const foreign(200, std::byte{'x'});
  EXPECT_TRUE(read_envelope(foreign) == error_kind::malformed);
  EXPECT_TRUE(read_envelope({}) == error_kind::malformed);
  auto bytes = stored(an_info(10));
  auto const resum = [&] { detail::put_little(bytes.data() + 56, checksum(const_bytes(bytes).first(56))); };
  bytes[8] = std::byte{2};
  resum();
  EXPECT_TRUE(read_envelope(bytes) == error_kind::version_mismatch);
  for (std::size_t const field : {10U, 12U}) {
    bytes = stored(an_info(10));
    bytes[field] = std::byte{2};
    resum();
    EXPECT_TRUE(read_envelope(bytes) == error_kind::version_mismatch) << "a value of a later version in byte " << field;
  }
}

}  // namespace
