// SPDX-License-Identifier: Apache-2.0
// omniconn-part: json
#include <omniconn/runtime/json.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/core/tensor_value.hpp>

using namespace omniconn;

namespace {

value parsed(std::string_view text, json_options const& options = {}) {
  auto const v = parse_json(text, options);
  EXPECT_TRUE(v.has_value()) << text << ": " << v.error().message();
  return v ? *v : value("not parsed");
}
std::string why(std::string_view text, json_options const& options = {}) {
  auto const v = parse_json(text, options);
  return v ? "parsed" : v.error().message();
}

TEST(parse_json, reads_every_kind) {
  EXPECT_EQ(parsed("null"), value());
  EXPECT_EQ(parsed(" true "), true);
  EXPECT_EQ(parsed("[]"), value(value::array{}));
  EXPECT_EQ(parsed("{}"), value(value::map{}));
  EXPECT_EQ(parsed("-5"), -5);
  EXPECT_EQ(parsed("5.0"), 5.0);
  EXPECT_EQ(parsed("1e3"), 1000.0);
  EXPECT_EQ(parsed("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(parsed("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(parsed("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(parsed(R"("a\u00e9\n\ud83d\ude00")"), "a\xc3\xa9\n\xf0\x9f\x98\x80");
  EXPECT_EQ(parsed(R"({"b": [1, {"x": null}], "a": "t"})"),
            value::object({{"b", value::list({1, value::object({{"x", nullptr}})})}, {"a", "t"}}))
      << "keys keep their order";
}

TEST(parse_json, says_where_and_what) {
  EXPECT_EQ(why("{\n  \"a\": 1,\n  \"a\": 2\n}"), "malformed: line 3, column 5: the key \"a\" comes twice in one object");
  EXPECT_EQ(why("[1, 99999999999999999999]"),
            "too_large: line 1, column 25: the integer 99999999999999999999 does not fit 64 bits; write it as a text");
  EXPECT_EQ(why("[1,\n nul]").find("malformed: line 2, column 5: "), 0U) << why("[1,\n nul]");
  EXPECT_EQ(why("").find("malformed: line 1, column 1: "), 0U);
  EXPECT_EQ(why("[1, 2").find("malformed: line 1, column "), 0U);
  EXPECT_EQ(why(std::string_view("[1]\n\0 hidden", 12)), "malformed: line 2, column 1: the text holds a NUL byte");
  for (auto const* text : {"{",  "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "[1] 2",    "'x'",   "\"\xff\"", "\"\\ud800\"", "\"\n\"",
                           "01", "1.",   "+1",      ".5",       "NaN",   "Infinity", "1e999", "// c\n1",  "tru",         "\"open"}) {
    auto const v = parse_json(text);
    ASSERT_FALSE(v.has_value()) << text;
    EXPECT_EQ(v.error().kind(), error_kind::malformed) << text;
    EXPECT_NE(v.error().detail().find("line "), std::string::npos) << text;
    EXPECT_EQ(v.error().detail().find("json.exception"), std::string::npos) << v.error().detail();
  }
  EXPECT_EQ(why("-9223372036854775809").find("too_large"), 0U);
  EXPECT_EQ(why("18446744073709551616").find("too_large"), 0U);
}

TEST(parse_json, finds_repeated_keys_in_big_objects_too) {
  std::string text = "{";
  for (int i = 0; i != 1000; ++i) text += "\"k" + std::to_string(i) + "\": " + std::to_string(i) + ",\n";
  EXPECT_EQ(parsed(text + "\"last\": 1}").size(), 1001U);
  EXPECT_EQ(why(text + "\"k3\": 1}").find("malformed: line 1001, column 4: the key \"k3\" comes twice"), 0U) << why(text + "\"k3\": 1}");
  EXPECT_EQ(why(text + "\"k999\": 1}").find("malformed"), 0U);
  EXPECT_EQ(why(R"([{"a": 1}, {"a": 1}, {"b": {"a": 1}, "a": 2}])"), "parsed");
}

TEST(parse_json, depth_and_number_of_values_are_limited) {
  EXPECT_EQ(why(std::string(128, '[') + std::string(128, ']')), "parsed");
  EXPECT_EQ(why(std::string(129, '[') + std::string(129, ']')).find("too_large: line 1, column 129"), 0U);
  EXPECT_EQ(why(std::string(1 << 20, '[')).find("too_large"), 0U);
  EXPECT_EQ(why("[[]]", {.max_depth = 1}).find("too_large"), 0U);
  EXPECT_EQ(why("[1, 2]", {.max_nodes = 3}), "parsed");
  EXPECT_EQ(why("[1, 2, 3]", {.max_nodes = 3}).find("too_large"), 0U);
}

TEST(to_json, writes_what_json_has) {
  value const v = value::object({{"n", nullptr},
                                 {"b", true},
                                 {"i", -5},
                                 {"u", UINT64_MAX},
                                 {"d", 0.1},
                                 {"f", 0.1F},
                                 {"whole", 2.0},
                                 {"big", 1e300},
                                 {"t", "a\"\\\n\t\x7f\xc3\xa9"},
                                 {"l", value::list({1, value::list({})})},
                                 {"m", value::object({})}});
  EXPECT_EQ(to_json(v),
            "{\"n\":null,\"b\":true,\"i\":-5,\"u\":18446744073709551615,\"d\":0.1,\"f\":0.1,\"whole\":2.0,\"big\":1e+300,"
            "\"t\":\"a\\\"\\\\\\n\\u0009\\u007f\xc3\xa9\",\"l\":[1,[]],\"m\":{}}");
  EXPECT_EQ(to_json(value::object({{"a", value::list({1, 2})}, {"b", value::array{}}}), 2),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}");
  EXPECT_EQ(to_json(value::object({{"a", 1}}), 0), "{\n\"a\": 1\n}");
}

TEST(to_json, has_forms_for_what_json_lacks) {
  EXPECT_EQ(to_json(blob::copy(bytes_of(std::string_view("hello")))), R"({"__bytes__":"aGVsbG8="})");
  EXPECT_EQ(to_json(extension{-1, blob::copy(bytes_of(std::string_view("abc")))}), R"({"__ext__":[-1,"YWJj"]})");
  EXPECT_EQ(to_json(std::numeric_limits<double>::infinity()), R"({"__float__":"inf"})");
  EXPECT_EQ(to_json(-std::numeric_limits<float>::infinity()), R"({"__float__":"-inf"})");
  EXPECT_EQ(to_json(std::nan("")), R"({"__float__":"nan"})");
  EXPECT_EQ(to_json(value::map{{1, "one"}, {"two", 2}}), R"({"__map__":[[1,"one"],["two",2]]})");
  EXPECT_EQ(to_json(value::map{{"same", 1}, {"same", 2}}), R"({"__map__":[["same",1],["same",2]]})");
  EXPECT_EQ(to_json(value::object({{"__bytes__", "a user's own"}})), R"({"__map__":[["__bytes__","a user's own"]]})");
}

TEST(to_json, tensors_are_maps_with_bytes) {
  std::int32_t const one = 1;
  auto const v = to_value(*tensor_view::make(dtype::int32, {1}, std::as_bytes(std::span(&one, 1))));
  EXPECT_EQ(to_json(v), R"({"__tensor__":true,"dtype":"int32","shape":[1],"data":{"__bytes__":"AQAAAA=="}})");
  EXPECT_TRUE(is_tensor(parsed(to_json(v), {.restore = true})));
}

TEST(to_json, never_writes_anything_but_utf8) {
  for (auto const& [bad, good] :
       std::vector<std::pair<std::string, std::string>>{{"\xff", "\xef\xbf\xbd"},
                                                        {"a\xc3", "a\xef\xbf\xbd"},
                                                        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
                                                        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                                                        {"\xe0\x80\x80x", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx"},
                                                        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                                                        {"\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80"},
                                                        {std::string("\0", 1), "\\u0000"}}) {
    EXPECT_EQ(to_json(bad), "\"" + good + "\"");
    EXPECT_TRUE(parse_json(to_json(bad)).has_value());
  }
}

TEST(to_json, restore_reads_everything_back) {
  std::vector<std::byte> bytes;
  for (std::size_t size = 0; size != 70; ++size) {
    value const v =
        value::map{{"bytes", blob::borrow(bytes)},
                   {"ext", extension{static_cast<std::int8_t>(size), blob::borrow(bytes)}},
                   {"floats", value::list({std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), 0.1, -0.0,
                                           5e-324, 1.7976931348623157e308})},
                   {"keys", value::map{{1, 2}, {nullptr, value::map{{blob::borrow(bytes), value::array{}}}}}},
                   {"looks like a form", value::list({value::object({{"__bytes__", 5}}), value::object({{"__map__", value::list({})}}),
                                                      value::object({{"__float__", "x"}}), value::object({{"__ext__", nullptr}})})},
                   {"twice", 1},
                   {"twice", 2}};
    for (int const indent : {-1, 0, 3}) EXPECT_EQ(parsed(to_json(v, indent), {.restore = true}), v) << to_json(v);
    bytes.push_back(static_cast<std::byte>(size * 41 + 7));
  }
  EXPECT_TRUE(std::isnan(*parsed(to_json(std::nan("")), {.restore = true}).as_double()));
}

TEST(parse_json, restores_only_what_it_is_told_to) {
  EXPECT_EQ(parsed(R"({"__bytes__": "YQ=="})"), value::object({{"__bytes__", "YQ=="}}));
  for (auto const* text :
       {R"({"__bytes__": "YQ="})", R"({"__bytes__": "YR=="})", R"({"__bytes__": "Y*=="})", R"({"__bytes__": "YQ==YQ=="})",
        R"({"__bytes__": 5})", R"({"__ext__": [1]})", R"({"__ext__": [200, ""]})", R"({"__ext__": ["", ""]})", R"({"__float__": 1})",
        R"({"__float__": "1"})", R"({"__map__": 1})", R"({"__map__": [1]})", R"({"__map__": [[1]]})"})
    EXPECT_EQ(why(text, {.restore = true}).find("malformed: line 1, column "), 0U) << text;
  EXPECT_EQ(why(R"({"__bytes__": "x", "other": 1})", {.restore = true}), "parsed");
}

}  // namespace
