// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// omniconn-test: costly
#include <omniconn/serializer/omni_msgpack.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bytes.hpp"

using namespace omniconn;
using test::from_hex;
using test::to_hex;

namespace {

encoded object(const_bytes bytes) { return {payload_kind::object, bytes}; }

template <class P>
std::string hex_of(P const& payload) {
  gather_list list;
  auto const kind = omni_msgpack_serializer().encode(payload, list);
  if (!kind) return kind.error().message();
  EXPECT_EQ(*kind, payload_kind::object);
  return to_hex(test::joined(list));
}
template <class P = value>
result<P> read(const_bytes bytes, msgpack_limits const& limits = {}) {
  return omni_msgpack_serializer(limits).decode<P>(object(bytes));
}
// The value must own its binaries, as the bytes are gone.
value read_hex(std::string_view hex) {
  auto const bytes = from_hex(hex);
  auto const got = read(bytes);
  EXPECT_TRUE(got.has_value()) << hex << ": " << got.error().message();
  return got ? got->to_owned() : value();
}
template <class T>
std::vector<std::byte> bytes_from(std::vector<T> const& numbers) {
  auto const bytes = std::as_bytes(std::span(numbers));
  return {bytes.begin(), bytes.end()};
}

// --- the vectors that vLLM-Omni's serializer wrote ----------------------------------------------------------------------

std::map<std::string, std::vector<std::byte>> const& golden() {
  static auto const vectors = [] {
    std::map<std::string, std::vector<std::byte>> out;
    for (auto& [name, bytes] : test::read_vectors(OMNICONN_TEST_SOURCE_DIR "/data/golden_serializer.json"))
      out.emplace(name, std::move(bytes));
    return out;
  }();
  return vectors;
}

TEST(omni_msgpack_golden, all_are_there_and_encode_to_the_same_bytes) {
  EXPECT_EQ(golden().size(), 37U);
  for (auto const& [name, bytes] : golden()) {
    auto const v = read(bytes);
    ASSERT_TRUE(v.has_value()) << name << ": " << v.error().message();
    EXPECT_EQ(hex_of(*v), to_hex(bytes)) << name;
  }
}

TEST(omni_msgpack_golden, tensors_hold_zero_to_five_of_their_dtype) {
  std::map<std::string, std::vector<std::byte>> const expected{
      {"bool", bytes_from<std::uint8_t>({0, 1, 1, 1, 1, 1})},
      {"uint8", bytes_from<std::uint8_t>({0, 1, 2, 3, 4, 5})},
      {"int8", bytes_from<std::int8_t>({0, 1, 2, 3, 4, 5})},
      {"int16", bytes_from<std::int16_t>({0, 1, 2, 3, 4, 5})},
      {"int32", bytes_from<std::int32_t>({0, 1, 2, 3, 4, 5})},
      {"int64", bytes_from<std::int64_t>({0, 1, 2, 3, 4, 5})},
      {"float16", bytes_from<std::uint16_t>({0, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500})},
      {"float32", bytes_from<float>({0, 1, 2, 3, 4, 5})},
      {"float64", bytes_from<double>({0, 1, 2, 3, 4, 5})},
      {"complex64", bytes_from<float>({0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0})},
      // The vectors' author had no such numbers and wrote counting bit patterns.
      {"bfloat16", bytes_from<std::uint16_t>({0, 1, 2, 3, 4, 5})},
      {"float8_e4m3fn", bytes_from<std::uint8_t>({0, 1, 2, 3, 4, 5})},
  };
  for (auto const& [name, bytes] : expected) {
    ASSERT_TRUE(golden().count("tensor_" + name)) << name;
    auto const& payload = golden().at("tensor_" + name);
    auto const v = read(payload);
    ASSERT_TRUE(v.has_value()) << name;
    auto const t = as_tensor(*v);
    ASSERT_TRUE(t.has_value()) << name << ": " << t.error().message();
    EXPECT_EQ(to_string(t->type()), name);
    EXPECT_TRUE(t->shape() == (dims{2, 3})) << name;
    EXPECT_EQ(to_hex(t->bytes()), to_hex(bytes)) << name;
    // The same tensor on its own, in both directions.
    auto const direct = read<tensor_view>(payload);
    ASSERT_TRUE(direct.has_value()) << name;
    EXPECT_EQ(direct->data(), t->data());
    EXPECT_EQ(hex_of(*tensor_view::make(t->type(), {2, 3}, bytes)), to_hex(payload)) << name;
  }
}

TEST(omni_msgpack_golden, scalar_and_empty_tensors) {
  auto const scalar = read<tensor_view>(golden().at("tensor_scalar"));
  ASSERT_TRUE(scalar.has_value());
  EXPECT_EQ(scalar->type(), dtype::int64);
  EXPECT_EQ(scalar->rank(), 0U);
  std::int64_t seven = 0;
  scalar->copy_to(std::as_writable_bytes(std::span(&seven, 1)));
  EXPECT_EQ(seven, 7);
  auto const empty = read<tensor_view>(golden().at("tensor_empty"));
  ASSERT_TRUE(empty.has_value());
  EXPECT_EQ(empty->type(), dtype::float16);
  EXPECT_TRUE(empty->shape() == (dims{0, 3}));
  EXPECT_EQ(hex_of(*empty), to_hex(golden().at("tensor_empty")));
}

TEST(omni_msgpack_golden, arrays_are_zeros_of_their_dtype) {
  std::map<std::string, std::size_t> const items{{"?", 1},   {"u1", 1},  {"<i2", 2},  {"<i4", 4}, {"<i8", 8}, {"<f2", 2},   {"<f4", 4},
                                                 {"<f8", 8}, {"<c8", 8}, {"<U3", 12}, {"S2", 2},  {">i4", 4}, {"<M8[s]", 8}};
  for (auto const& [name, size] : items) {
    ASSERT_TRUE(golden().count("nd_" + name)) << name;
    auto const v = read(golden().at("nd_" + name));
    ASSERT_TRUE(v.has_value()) << name;
    auto const a = as_ndarray(*v);
    ASSERT_TRUE(a.has_value()) << name << ": " << a.error().message();
    EXPECT_EQ(a->type().text(), name == "?" ? "|b1" : name == "u1" || name == "S2" ? "|" + name : name);
    EXPECT_EQ(a->type().item_size(), size) << name;
    EXPECT_TRUE(a->shape() == (dims{2, 2})) << name;
    EXPECT_EQ(to_hex(a->bytes()), std::string(8 * size, '0')) << name;
    EXPECT_EQ(hex_of(to_value(*a)), to_hex(golden().at("nd_" + name))) << name;
  }
}

TEST(omni_msgpack_golden, images_are_black) {
  std::map<std::string, std::int64_t> const channels{{"L", 1}, {"RGB", 3}, {"RGBA", 4}, {"P", 1}, {"1", 1},
                                                     {"I", 1}, {"F", 1},   {"CMYK", 4}, {"LA", 2}};
  for (auto const& [mode, count] : channels) {
    ASSERT_TRUE(golden().count("pil_" + mode)) << mode;
    auto const v = read(golden().at("pil_" + mode));
    ASSERT_TRUE(v.has_value()) << mode;
    auto const image = as_image(*v);
    ASSERT_TRUE(image.has_value()) << mode << ": " << image.error().message();
    EXPECT_EQ(image->mode(), mode);
    EXPECT_EQ(image->height(), 2);
    EXPECT_EQ(image->width(), 3);
    EXPECT_EQ(image->channels(), count);
    EXPECT_EQ(to_hex(image->bytes()), std::string(static_cast<std::size_t>(12 * count), '0')) << mode;
    EXPECT_EQ(hex_of(to_value(*image)), to_hex(golden().at("pil_" + mode))) << mode;
  }
}

TEST(omni_msgpack_golden, mix_holds_one_of_each) {
  value const expected = value::object({
      {"a", value::list({1, -1, 127, 128, -33, 255, 256, 65535, 65536, std::int64_t{1} << 32, INT64_MAX, INT64_MIN, UINT64_MAX})},
      {"s", value::list({"", std::string(31, 'x'), std::string(32, 'x'), std::string(256, 'x')})},
      {"b", blob()},
      {"n", nullptr},
      {"t", true},
      {"f", 0.1},
      {"nested", value::object({{"1", value::object({})}, {"2", value::list({})}})},
      {"tuple", value::list({1, value::list({2})})},
      {"set", value::list({1})},
      {"slice", value::list({nullptr, 3, nullptr})},
  });
  EXPECT_EQ(*read(golden().at("mix")), expected);
  EXPECT_EQ(hex_of(expected), to_hex(golden().at("mix")));
}

// --- shortest forms ---------------------------------------------------------------------------------------------------------

TEST(omni_msgpack, scalars_take_their_shortest_form) {
  std::vector<std::pair<value, char const*>> const cases{{nullptr, "c0"},
                                                         {false, "c2"},
                                                         {true, "c3"},
                                                         {0, "00"},
                                                         {127, "7f"},
                                                         {128, "cc80"},
                                                         {255, "ccff"},
                                                         {256, "cd0100"},
                                                         {65535, "cdffff"},
                                                         {65536, "ce00010000"},
                                                         {std::int64_t{0xffffffff}, "ceffffffff"},
                                                         {std::int64_t{1} << 32, "cf0000000100000000"},
                                                         {UINT64_MAX, "cfffffffffffffffff"},
                                                         {-1, "ff"},
                                                         {-32, "e0"},
                                                         {-33, "d0df"},
                                                         {-128, "d080"},
                                                         {-129, "d1ff7f"},
                                                         {-32768, "d18000"},
                                                         {-32769, "d2ffff7fff"},
                                                         {INT32_MIN, "d280000000"},
                                                         {std::int64_t{INT32_MIN} - 1, "d3ffffffff7fffffff"},
                                                         {INT64_MIN, "d38000000000000000"},
                                                         // Floats stay floats, also where they are whole.
                                                         {1.0F, "ca3f800000"},
                                                         {-2.0F, "cac0000000"},
                                                         {0.0, "cb0000000000000000"},
                                                         {1.0, "cb3ff0000000000000"},
                                                         {-1e15, "cbc30c6bf526340000"},
                                                         {std::numeric_limits<double>::infinity(), "cb7ff0000000000000"},
                                                         {std::numeric_limits<float>::infinity(), "ca7f800000"},
                                                         {"", "a0"},
                                                         {"abc", "a3616263"},
                                                         {blob(), "c400"},
                                                         {value::array{}, "90"},
                                                         {value::map{}, "80"}};
  for (auto const& [v, hex] : cases) {
    EXPECT_EQ(hex_of(v), hex);
    EXPECT_EQ(read_hex(hex), v) << hex;
  }
}

TEST(omni_msgpack, lengths_take_their_shortest_header) {
  auto const head = [](value const& v, std::size_t size) { return hex_of(v).substr(0, size * 2); };
  EXPECT_EQ(head(std::string(31, 'x'), 1), "bf");
  EXPECT_EQ(head(std::string(32, 'x'), 2), "d920");
  EXPECT_EQ(head(std::string(255, 'x'), 2), "d9ff");
  EXPECT_EQ(head(std::string(256, 'x'), 3), "da0100");
  EXPECT_EQ(head(std::string(65535, 'x'), 3), "daffff");
  EXPECT_EQ(head(std::string(65536, 'x'), 5), "db00010000");
  EXPECT_EQ(head(blob::copy(std::vector<std::byte>(255)), 2), "c4ff");
  EXPECT_EQ(head(blob::copy(std::vector<std::byte>(256)), 3), "c50100");
  EXPECT_EQ(head(blob::copy(std::vector<std::byte>(65536)), 5), "c600010000");
  EXPECT_EQ(head(value::array(15, value()), 1), "9f");
  EXPECT_EQ(head(value::array(16, value()), 3), "dc0010");
  EXPECT_EQ(head(value::array(65536, value()), 5), "dd00010000");
  EXPECT_EQ(head(value::map(15, {1, 2}), 1), "8f");
  EXPECT_EQ(head(value::map(16, {1, 2}), 3), "de0010");
  EXPECT_EQ(head(value::map(65536, {1, 2}), 5), "df00010000");
}

TEST(omni_msgpack, ext_types_and_timestamps_stay) {
  std::vector<std::pair<std::string, std::string>> const cases{{"c700 05", ""},
                                                               {"d405 aa", "aa"},
                                                               {"d5ff aabb", "aabb"},
                                                               {"c703 80 aabbcc", "aabbcc"},
                                                               {"d6ff 00000001", "00000001"},
                                                               {"d7ff 0000000100000002", "0000000100000002"},
                                                               {"c70cff 000000010000000000000002", "000000010000000000000002"},
                                                               {"d87f " + std::string(32, 'a'), std::string(32, 'a')},
                                                               {"c8 0100 07" + std::string(512, 'b'), std::string(512, 'b')},
                                                               {"c9 00010000 07" + std::string(131072, 'c'), std::string(131072, 'c')}};
  for (auto const& [hex, body] : cases) {
    auto const v = read_hex(hex);
    ASSERT_NE(v.if_ext(), nullptr) << hex.substr(0, 20);
    EXPECT_EQ(to_hex(v.if_ext()->data.bytes()), body);
    EXPECT_EQ(hex_of(v), to_hex(from_hex(hex)));
  }
  EXPECT_EQ(read_hex("d6ff00000001").if_ext()->type, -1) << "a timestamp";
  EXPECT_EQ(read_hex("c70380aabbcc").if_ext()->type, -128);
}

TEST(omni_msgpack, not_a_number_keeps_its_bits) {
  for (auto const* hex :
       {"cb7ff8000000000000", "cbfff8000000000001", "cb7ff8dead0000beef", "cb7ff0000000000001", "ca7fc00001", "ca7f800001", "caffc12345"})
    EXPECT_EQ(hex_of(read_hex(hex)), hex);
}

TEST(omni_msgpack, long_forms_are_read_and_shortened) {
  EXPECT_EQ(read_hex("cc05"), 5);
  EXPECT_EQ(read_hex("d005"), 5) << "a positive number as a signed byte";
  EXPECT_EQ(read_hex("d3000000000000007f"), 127);
  EXPECT_EQ(hex_of(read_hex("d3000000000000007f")), "7f");
  EXPECT_EQ(read_hex("db00000001 61"), "a");
  EXPECT_EQ(read_hex("c600000001 61").if_binary()->size(), 1U);
  EXPECT_EQ(read_hex("dd00000001 01"), value::list({1}));
  EXPECT_EQ(read_hex("df00000001 01 02"), value(value::map{{1, 2}}));
}

// --- values ------------------------------------------------------------------------------------------------------------------

TEST(omni_msgpack, maps_of_users_survive_whatever_they_look_like) {
  for (value const& v : {value::object({{"__tensor__", true}}),
                         value::object({{"__tensor__", true}, {"dtype", "int8"}, {"shape", value::list({2})}, {"data", "no bytes"}}),
                         value::object({{"finished", true}, {"images", value::list({})}, {"final_output_type", "x"}}),
                         value::object({{"request_id", 1}, {"prompt", 2}, {"prompt_token_ids", 3}, {"outputs", 4}, {"finished", 5}}),
                         value(value::map{{"same", 1}, {"same", 2}, {1, 1}, {nullptr, nullptr}, {value::list({1}), value::map{}}})}) {
    auto const bytes = to_msgpack(v);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(*from_msgpack(*bytes), v);
  }
}

TEST(omni_msgpack, binaries_borrow_and_texts_are_copies) {
  auto const bytes = from_hex("93 c403 010203 a3 616263 c70305 aabbcc");
  auto const v = read(bytes);
  ASSERT_TRUE(v.has_value());
  auto const& items = *v->if_array();
  EXPECT_EQ(items[0].if_binary()->bytes().data(), bytes.data() + 3);
  EXPECT_FALSE(items[0].if_binary()->owns());
  EXPECT_EQ(items[2].if_ext()->data.bytes().data(), bytes.data() + 13);
  EXPECT_EQ(items[1], "abc");
}

TEST(omni_msgpack, from_msgpack_owns_everything) {
  value v;
  {
    auto const bytes = std::make_unique<std::vector<std::byte>>(from_hex("92 c403 010203 c70305 aabbcc"));
    v = *from_msgpack(*bytes);
  }
  EXPECT_EQ(hex_of(v), "92c403010203c70305aabbcc");
  EXPECT_TRUE(from_msgpack({}) == error_kind::malformed);
}

TEST(omni_msgpack, big_bodies_are_referenced_and_small_ones_copied) {
  std::string const big(512, 'b');
  value const v = value::object({{"text", big},
                                 {"bytes", blob::copy(bytes_of(big))},
                                 {"small", blob::copy(bytes_of(std::string_view("s")))},
                                 {"ext", extension{1, blob::copy(bytes_of(big))}}});
  gather_list list;
  ASSERT_TRUE(omni_msgpack_serializer().encode(v, list));
  EXPECT_EQ(list.parts().size(), 6U) << "heads, text, heads, bytes, heads, ext";
  EXPECT_EQ(list.parts()[1].data(), bytes_of(*v.find("text")->if_string()).data());
  EXPECT_EQ(list.parts()[3].data(), v.find("bytes")->if_binary()->bytes().data());
  EXPECT_EQ(list.parts()[5].data(), v.find("ext")->if_ext()->data.bytes().data());
}

TEST(omni_msgpack, tensors_of_other_layouts_are_written_little_endian_in_order) {
  std::array<std::uint8_t, 4> const big{0, 1, 0, 2};
  auto const foreign = *tensor_view::make(dtype::int16, {2}, std::as_bytes(std::span(big)), byte_order::big);
  std::array<std::int16_t, 2> const native{1, 2};
  auto const expected = hex_of(*tensor_view::make(dtype::int16, {2}, std::as_bytes(std::span(native))));
  EXPECT_EQ(hex_of(foreign), expected);
  std::vector<std::int32_t> numbers(2000);
  for (std::size_t i = 0; i != numbers.size(); ++i) numbers[i] = static_cast<std::int32_t>(i);
  gather_list list;
  {
    auto const even = *tensor_view::strided(dtype::int32, {1000}, {8}, std::as_bytes(std::span(numbers)));
    ASSERT_TRUE(omni_msgpack_serializer().encode(even, list));
  }
  auto const bytes = test::joined(list);
  auto const back = read<tensor_view>(bytes);
  ASSERT_TRUE(back.has_value());
  std::vector<std::int32_t> got(1000);
  back->copy_to(std::as_writable_bytes(std::span(got)));
  EXPECT_EQ(got[999], 1998);
  EXPECT_EQ(got[1], 2);
}

TEST(omni_msgpack, bytes_are_one_bin) {
  auto const source = from_hex("0102");
  EXPECT_EQ(hex_of(const_bytes(source)), "c4020102");
  EXPECT_EQ(hex_of(source), "c4020102");
  EXPECT_EQ(hex_of(blob::borrow(source)), "c4020102");
  auto const payload = from_hex("c4020102");
  EXPECT_EQ(read<const_bytes>(payload)->data(), payload.data() + 2);
  EXPECT_EQ(to_hex(*read<std::vector<std::byte>>(payload)), "0102");
  for (auto const* hex : {"a20102", "01", "c0", "91c4020102", "81c40101c40102", "d50102aa"}) {
    EXPECT_TRUE(read<const_bytes>(from_hex(hex)) == error_kind::malformed) << hex;
    EXPECT_TRUE(read<std::vector<std::byte>>(from_hex(hex)) == error_kind::malformed) << hex;
  }
}

TEST(omni_msgpack, raw_payloads_are_bytes_without_description) {
  auto const bytes = from_hex("93010203");
  encoded const raw{payload_kind::raw, bytes};
  omni_msgpack_serializer const s;
  EXPECT_EQ(s.decode<const_bytes>(raw)->data(), bytes.data());
  EXPECT_EQ(to_hex(*s.decode<std::vector<std::byte>>(raw)), "93010203");
  EXPECT_EQ(s.decode<value>(raw)->if_binary()->bytes().data(), bytes.data());
  EXPECT_TRUE(s.decode<tensor_view>(raw) == error_kind::malformed);
  EXPECT_TRUE(s.decode<std::vector<int>>(raw) == error_kind::malformed);
}

// --- bad input ---------------------------------------------------------------------------------------------------------------

// What the value borrows is gone on return: only the message is used.
template <class P = value>
std::string why(std::string_view hex, msgpack_limits const& limits = {}) {
  auto const got = read<P>(from_hex(hex), limits);
  return got ? "read" : got.error().message();
}

TEST(omni_msgpack, says_exactly_what_is_wrong_with_bytes) {
  EXPECT_EQ(why("").find("malformed: the payload is empty"), 0U);
  EXPECT_EQ(why("c1").find("malformed: the payload holds the byte 0xc1"), 0U);
  EXPECT_EQ(why("9201c1").find("malformed: the payload holds the byte 0xc1"), 0U);
  EXPECT_EQ(why("0102").find("malformed: bytes follow"), 0U);
  EXPECT_EQ(why("9101 00").find("malformed: bytes follow"), 0U);
  for (auto const* hex : {"cc",         "cd01",
                          "ce010203",   "cf01020304050607",
                          "ca010203",   "cb01",
                          "a2 61",      "d9",
                          "d901",       "da00",
                          "db000000",   "c4",
                          "c402 01",    "c5",
                          "c6000000",   "c7",
                          "c700",       "c7 02 01 aa",
                          "d4 01",      "d8 01 00",
                          "92 01 c402", "83 01 02 03 04 05 cc"})
    EXPECT_EQ(why(hex).find("malformed: the payload ends in the middle"), 0U) << hex << " " << why(hex);
  for (auto const* hex :
       {"91", "81", "8101", "dc", "ddffffffff", "dfffffffff", "dfffffffff c0c0c0c0", "df7fffffff c0", "dd80000000 c0", "9f 01", "8f 01 02"})
    EXPECT_EQ(why(hex).find("malformed"), 0U) << hex;
  EXPECT_EQ(why("ddffffffff").find("malformed: the payload claims more msgpack values"), 0U) << "five bytes that ask for 96 GB";
  EXPECT_EQ(why("9101"), "read");
}

TEST(omni_msgpack, depth_is_limited) {
  auto const nested = [](std::size_t depth, std::string_view open) {
    std::string hex;
    for (std::size_t i = 0; i != depth; ++i) hex += open;
    return hex + "00";
  };
  EXPECT_EQ(why(nested(128, "91")), "read");
  EXPECT_EQ(why(nested(129, "91")).find("too_large: the payload is nested deeper than max_depth"), 0U);
  EXPECT_EQ(why(nested(128, "81c0")), "read");
  EXPECT_EQ(why(nested(129, "81c0")).find("too_large"), 0U);
  EXPECT_EQ(why(nested(100000, "91")).find("too_large"), 0U);
  EXPECT_EQ(why(nested(3, "91"), {.max_depth = 2}).find("too_large"), 0U);
  EXPECT_EQ(why(nested(2, "91"), {.max_depth = 2}), "read");
  EXPECT_EQ(why("05", {.max_depth = 0}), "read");
  EXPECT_EQ(why(nested(1025, "91"), {.max_depth = 1000000}).find("too_large"), 0U) << "1,024 at most, whatever is asked for";
  EXPECT_EQ(why("92 9105 9105", {.max_depth = 2}), "read") << "side by side is not deeper";
}

TEST(omni_msgpack, number_of_values_is_limited) {
  EXPECT_EQ(why("93 01 02 03", {.max_nodes = 4}), "read");
  EXPECT_EQ(why("93 01 02 03", {.max_nodes = 3}).find("too_large: the payload has more values than max_nodes"), 0U);
  EXPECT_EQ(why("81 01 02", {.max_nodes = 2}).find("too_large"), 0U);
  EXPECT_EQ(why("01", {.max_nodes = 0}).find("too_large"), 0U);
}

TEST(omni_msgpack, encoding_keeps_the_same_limits) {
  value deep = 1;
  for (int i = 0; i != 128; ++i) deep = value::list({std::move(deep)});
  EXPECT_EQ(why(hex_of(deep)), "read");
  deep = value::object({{"one more", std::move(deep)}});
  EXPECT_EQ(hex_of(deep).find("too_large: the value is nested deeper than max_depth"), 0U);
  gather_list list;
  EXPECT_TRUE(omni_msgpack_serializer({.max_nodes = 3}).encode(value::list({1, 2, 3}), list) == error_kind::too_large);
  gather_list fits;
  EXPECT_TRUE(omni_msgpack_serializer({.max_nodes = 4}).encode(value::list({1, 2, 3}), fits));
  // Nothing is read of these: their size alone is refused.
  std::byte const one{};
  const_bytes const huge(&one, std::size_t{1} << 32);
  EXPECT_EQ(hex_of(huge).find("too_large: msgpack cannot hold"), 0U);
  EXPECT_EQ(hex_of(value(blob::borrow(huge))).find("too_large"), 0U);
  EXPECT_EQ(hex_of(value(extension{1, blob::borrow(huge)})).find("too_large"), 0U);
  EXPECT_EQ(hex_of(*tensor_view::make(dtype::int8, {std::int64_t{1} << 32}, huge)).find("too_large"), 0U);
}

TEST(omni_msgpack, tensors_say_what_is_wrong_whether_read_directly_or_from_a_value) {
  auto const map = [](value type, value shape, value data) {
    return value::object({{"__tensor__", true}, {"dtype", std::move(type)}, {"shape", std::move(shape)}, {"data", std::move(data)}});
  };
  auto const four = blob::copy(std::vector<std::byte>(4));
  value const shape = value::list({4});
  for (value const& v : {map("int8", shape, four),
                         value(1),
                         value("__tensor__"),
                         value::list({map("int8", shape, four)}),
                         value::object({}),
                         value::object({{"__tensor__", false}}),
                         value::object({{"__tensor__", 1}}),
                         value::object({{"__tensor__", true}}),
                         map(1, shape, four),
                         map("int9", shape, four),
                         map("int8", 4, four),
                         map("int8", value::list({4.0}), four),
                         map("int8", value::list({nullptr}), four),
                         map("int8", value::list({value::list({4})}), four),
                         map("int8", value::list({-4}), four),
                         map("int8", value::list({UINT64_MAX}), four),
                         map("int8", value::list({"4"}), four),
                         map("int8", value::array(16, value(1)), four),
                         map("int8", value::array(17, value(1)), four),
                         map("int8", value::array(17, value("x")), four),
                         map("int8", shape, "four"),
                         map("int8", shape, nullptr),
                         map("int8", shape, value::list({four})),
                         map("int8", value::list({5}), four),
                         map("int8", value::object({{"shape", value::list({4})}}), four),
                         map(value::object({{"data", four}}), shape, four),
                         value::object({{"__tensor__", true},
                                        {"__tensor__", false},
                                        {"dtype", "int8"},
                                        {"dtype", 5},
                                        {"shape", shape},
                                        {"shape", nullptr},
                                        {"data", four},
                                        {"data", 1}}),
                         value::object({{"__tensor__", false}, {"__tensor__", true}, {"dtype", "int8"}, {"shape", shape}, {"data", four}}),
                         value(value::map{{value::list({"dtype"}), "int16"},
                                          {"__tensor__", true},
                                          {1, 2},
                                          {"dtype", "int8"},
                                          {"shape", shape},
                                          {"x", map("int16", 1, 2)},
                                          {"data", four}}),
                         value::object({{"shape", value::list({4})}, {"data", four}, {"dtype", "int8"}, {"__tensor__", true}})}) {
    auto const bytes = to_msgpack(v);
    ASSERT_TRUE(bytes);
    auto const direct = read<tensor_view>(*bytes);
    auto const viewed = as_tensor(v);
    ASSERT_EQ(direct.has_value(), viewed.has_value()) << to_hex(*bytes);
    if (direct) {
      EXPECT_EQ(direct->type(), viewed->type());
      EXPECT_TRUE(direct->shape() == viewed->shape());
      EXPECT_EQ(to_hex(direct->bytes()), to_hex(viewed->bytes()));
    } else {
      EXPECT_EQ(direct.error().message(), viewed.error().message()) << to_hex(*bytes);
    }
  }
}

}  // namespace
