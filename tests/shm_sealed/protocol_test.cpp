// SPDX-License-Identifier: Apache-2.0
#include <omniconn/transport/shm_sealed/protocol.hpp>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <support/slower.hpp>

namespace {

using namespace omniconn;
using namespace omniconn::detail::sealed;

std::vector<std::byte> written(message const& m) {
  auto const header = write_header(m);
  std::vector<std::byte> out(header.begin(), header.end());
  for (auto const text : {m.key, m.text})
    for (char const c : text) out.push_back(static_cast<std::byte>(c));
  return out;
}

/// One of each type, with everything in it that it may hold.
std::vector<message> all_messages() {
  static std::string const long_key(max_key_size, 'k'), long_name(max_name, 'n');
  static std::string list;
  if (list.empty()) {
    for (std::string const& key : {std::string("a"), std::string(), long_key}) {
      auto const size = static_cast<std::uint16_t>(key.size());
      list.append(reinterpret_cast<char const*>(&size), sizeof size).append(key);
    }
  }
  std::vector<message> out;
  for (int type = 0; type != 256; ++type) {
    message_shape shape;
    if (!shape_of(static_cast<std::uint8_t>(type), shape)) continue;
    message m;
    m.type = static_cast<message_type>(type);
    m.flag = shape.flags;
    if (shape.id) m.id = 0x0123456789abcdefU;
    if (shape.generation) m.generation = ~std::uint64_t{0};
    if (shape.size) m.info.size = std::uint64_t{1} << 40U;
    if (shape.info) {
      m.info.checksum = 77;
      m.info.trace = 78;
      m.info.kind = payload_kind::object;
      m.info.checksum_by = checksum_kind::xxh3_64;
    }
    if (shape.key != 0) m.key = long_key;
    if (shape.text != 0) m.text = m.type == message_type::keys ? std::string_view(list) : std::string_view(long_name);
    out.push_back(m);
  }
  return out;
}

TEST(shm_sealed_protocol, every_message_comes_back) {
  auto const all = all_messages();
  EXPECT_EQ(all.size(), 16U);
  for (auto const& m : all) {
    SCOPED_TRACE(static_cast<int>(m.type));
    auto const bytes = written(m);
    EXPECT_LE(bytes.size(), max_message);
    auto const back = read_message(bytes);
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_EQ(back->type, m.type);
    EXPECT_EQ(back->flag, m.flag);
    EXPECT_EQ(back->id, m.id);
    EXPECT_EQ(back->generation, m.generation);
    EXPECT_EQ(back->info.size, m.info.size);
    EXPECT_EQ(back->info.checksum, m.info.checksum);
    EXPECT_EQ(back->info.trace, m.info.trace);
    EXPECT_EQ(back->info.kind, m.info.kind);
    EXPECT_EQ(back->info.checksum_by, m.info.checksum_by);
    EXPECT_EQ(back->key, m.key);
    EXPECT_EQ(back->text, m.text);
  }
}

TEST(shm_sealed_protocol, a_message_of_any_other_length_is_malformed) {
  for (auto const& m : all_messages()) {
    auto bytes = written(m);
    for (std::size_t size = 0; size < bytes.size(); size += size < 80 ? 1 : 61) EXPECT_TRUE(read_message(const_bytes(bytes).first(size)) == error_kind::malformed) << size;
    bytes.push_back(std::byte{0});
    EXPECT_TRUE(read_message(bytes) == error_kind::malformed);
  }
}

TEST(shm_sealed_protocol, another_version_says_so) {
  auto bytes = written(all_messages().front());
  bytes[4] = std::byte{2};
  EXPECT_TRUE(read_message(bytes) == error_kind::version_mismatch);
  bytes[0] ^= std::byte{1};
  EXPECT_TRUE(read_message(bytes) == error_kind::malformed) << "who does not begin as we do has no version either";
}

TEST(shm_sealed_protocol, what_a_type_does_not_have_must_be_zero) {
  for (auto const& m : all_messages()) {
    message_shape shape;
    ASSERT_TRUE(shape_of(static_cast<std::uint8_t>(m.type), shape));
    message empty;
    empty.type = m.type;
    empty.flag = m.type == message_type::refusal || m.type == message_type::refused ? 1 : 0;
    ASSERT_TRUE(read_message(written(empty)));
    auto const refused = [&](std::size_t at) {
      auto bytes = written(empty);
      bytes[at] = std::byte{1};
      return read_message(bytes) == error_kind::malformed;
    };
    EXPECT_TRUE(refused(7));
    EXPECT_TRUE(refused(56));
    EXPECT_EQ(refused(16), !shape.id);
    EXPECT_EQ(refused(24), !shape.generation);
    EXPECT_EQ(refused(32), !shape.size);
    for (std::size_t const at : {12U, 14U, 40U, 48U}) EXPECT_EQ(refused(at), !shape.info) << at;
    empty.flag = static_cast<std::uint8_t>(shape.flags + 1);
    EXPECT_TRUE(read_message(written(empty)) == error_kind::malformed);
  }
  message grant;
  grant.type = message_type::grant;
  auto bytes = written(grant);
  bytes[12] = std::byte{2};
  EXPECT_TRUE(read_message(bytes) == error_kind::malformed) << "an unknown kind of payload";
  bytes[12] = std::byte{0};
  bytes[14] = std::byte{2};
  EXPECT_TRUE(read_message(bytes) == error_kind::malformed) << "an unknown checksum";
  for (auto const type : {message_type::refusal, message_type::refused}) {
    message m;
    m.type = type;
    EXPECT_TRUE(read_message(written(m)) == error_kind::malformed) << "a refusal without a reason";
  }
}

TEST(shm_sealed_protocol, texts_over_their_limit_are_malformed) {
  std::string const text(max_key_size + 1, 'x');
  message m;
  m.type = message_type::get;
  m.key = text;
  EXPECT_TRUE(read_message(written(m)) == error_kind::malformed);
  m.key = {};
  m.text = std::string_view(text).substr(0, max_name + 1);
  EXPECT_TRUE(read_message(written(m)) == error_kind::malformed);
  m.type = message_type::ping;
  m.text = "x";
  EXPECT_TRUE(read_message(written(m)) == error_kind::malformed);
}

TEST(shm_sealed_protocol, a_list_must_fill_its_message) {
  message m;
  m.type = message_type::keys;
  for (std::string const& text : {std::string("\x05\x00key", 5), std::string("\x03", 1), std::string("\x03\x00keyx", 6), std::string("\xff\xff", 2)}) {
    m.text = text;
    EXPECT_TRUE(read_message(written(m)) == error_kind::malformed) << text.size();
  }
  std::string const two("\x03\x00key\x00\x00", 7);
  m.text = two;
  auto const bytes = written(m);
  auto const back = read_message(bytes);
  ASSERT_TRUE(back);
  std::vector<std::string> keys;
  EXPECT_TRUE(for_each_key(back->text, [&keys](std::string_view key) { keys.emplace_back(key); }));
  EXPECT_EQ(keys, (std::vector<std::string>{"key", ""}));
}

/// What is understood at all was written in the one way that there is; the reader sees every byte and none beyond (run under AddressSanitizer).
TEST(shm_sealed_protocol, fuzz_flipped_and_random_bytes) {
  std::mt19937_64 random(7);
  auto const all = all_messages();
  int understood = 0;
  for (int round = 0; round != 200'000 / static_cast<int>(test::slower); ++round) {
    auto bytes = written(all[random() % all.size()]);
    if (random() % 2 == 0) bytes.resize(random() % (bytes.size() + 1));
    if (random() % 4 == 0) bytes.resize(std::min<std::size_t>(bytes.size(), 64 + random() % 40));
    for (auto n = random() % 4; n != 0 && !bytes.empty(); --n) bytes[random() % (random() % 2 == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 64))] ^= static_cast<std::byte>(1U << random() % 8);
    std::vector<std::byte> const exact(bytes.begin(), bytes.end());
    auto const m = read_message(exact);
    if (!m) {
      EXPECT_TRUE(m == error_kind::malformed || m == error_kind::version_mismatch);
      continue;
    }
    ++understood;
    ASSERT_EQ(written(*m), exact);
  }
  EXPECT_GT(understood, 1000);
}

}  // namespace
