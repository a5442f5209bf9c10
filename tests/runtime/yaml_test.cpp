// SPDX-License-Identifier: Apache-2.0
#include <omniconn/runtime/yaml.hpp>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/detail/yaml_scalar.hpp>
#include <omniconn/runtime/transfer_config.hpp>

namespace {

using namespace omniconn;
using namespace std::string_literals;

value parsed(std::string_view text) {
  auto const out = parse_yaml(text, "doc.yaml");
  EXPECT_TRUE(out) << out.error().message() << "\n" << text;
  return out ? out->root : value("FAILED");
}

void expect_refused(std::string_view text, std::string_view said, error_kind kind = error_kind::malformed,
                    document_limits const& limits = {}) {
  auto const out = parse_yaml(text, "doc.yaml", limits);
  ASSERT_FALSE(out) << text.substr(0, 200) << "\nexpected: " << said;
  EXPECT_EQ(out.error().kind(), kind) << out.error().message();
  EXPECT_EQ(out.error().detail().rfind("doc.yaml:", 0), 0U) << out.error().detail();
  EXPECT_NE(out.error().detail().find(said), std::string::npos) << out.error().detail() << "\nexpected: " << said;
}

// --- plain scalars: the results of PyYAML 6.0.2's safe_load, frozen (dates excepted, which are texts here) ------------------

struct scalar_case {
  char const* text;
  char const* expected;
};
// clang-format off
constexpr scalar_case pyyaml_scalars[]{
    {"~", "null"}, {"null", "null"}, {"Null", "null"}, {"NULL", "null"}, {"nUll", "str"}, {"yes", "true"}, {"Yes", "true"},
    {"YES", "true"}, {"yEs", "str"}, {"no", "false"}, {"No", "false"}, {"NO", "false"}, {"on", "true"}, {"On", "true"}, {"ON", "true"},
    {"off", "false"}, {"Off", "false"}, {"OFF", "false"}, {"true", "true"}, {"True", "true"}, {"TRUE", "true"}, {"false", "false"},
    {"False", "false"}, {"FALSE", "false"}, {"y", "str"}, {"n", "str"}, {"Y", "str"}, {"N", "str"}, {"t", "str"}, {"f", "str"},
    {"0", "int 0"}, {"1", "int 1"}, {"-1", "int -1"}, {"+1", "int 1"}, {"00", "int 0"}, {"07", "int 7"}, {"08", "str"}, {"010", "int 8"},
    {"-010", "int -8"}, {"+010", "int 8"}, {"0_7", "int 7"}, {"0o17", "str"}, {"0x1F", "int 31"}, {"0X1F", "str"}, {"0xff", "int 255"},
    {"-0xff", "int -255"}, {"+0x_f_f", "int 255"}, {"0x", "str"}, {"0b101", "int 5"}, {"0b", "str"}, {"-0b11", "int -3"}, {"0b2", "str"},
    {"1_000", "int 1000"}, {"1_", "int 1"}, {"_1", "str"}, {"1__0", "int 10"}, {"-_1", "str"}, {"+-1", "str"}, {"12e3", "str"},
    {"1e5", "str"}, {"1E5", "str"}, {"1.5e3", "str"}, {"1.5e+3", "float 1500.0"}, {"1.5E-3", "float 0.0015"},
    {"1.e+5", "float 100000.0"}, {"1.", "float 1.0"}, {".5", "float 0.5"}, {"-.5", "str"}, {"+.5", "str"}, {"._5", "str"},
    {".5_5", "float 0.55"}, {"1._5", "float 1.5"}, {"1_0.5_0", "float 10.5"}, {"-1.5", "float -1.5"}, {"+1.5", "float 1.5"},
    {"1.5.5", "str"}, {".", "str"}, {"..", "str"}, {"-", "str"}, {"+", "str"}, {"-.", "str"}, {"+.", "str"}, {"1.5e", "str"},
    {"1.5e+", "str"}, {"1.5e+_1", "str"}, {".e+1", "str"}, {".inf", "float inf"}, {".Inf", "float inf"}, {".INF", "float inf"},
    {"-.inf", "float -inf"}, {"+.inf", "float inf"}, {".InF", "str"}, {"inf", "str"}, {"nan", "str"}, {".nan", "float nan"},
    {".NaN", "float nan"}, {".NAN", "float nan"}, {"-.nan", "str"}, {"NaN", "str"}, {"1:30", "int 90"}, {"1:30:15", "int 5415"},
    {"01:30", "str"}, {"1:60", "str"}, {"1:5:5", "int 3905"}, {"1:05", "int 65"}, {"-1:30", "int -90"}, {"+1:30", "int 90"},
    {"0:30", "str"}, {"190:20:30", "int 685230"}, {"190:20:30.15", "float 685230.15"}, {"1:30.5", "float 90.5"}, {"1:2.", "float 62.0"},
    {"1:2.5e+3", "str"}, {"1:2:3.4_5", "float 3723.45"}, {"1_0:30", "int 630"}, {"10.0.0.1", "str"}, {"10.0.0.1:50051", "str"},
    {"127.0.0.1", "str"}, {"::1", "str"}, {"0.0.0.0", "str"}, {"2001-12-14", "str"}, {"2001-12-14T21:59:43.10-05:00", "str"},
    {"9223372036854775807", "int 9223372036854775807"}, {"9223372036854775808", "int 9223372036854775808"},
    {"-9223372036854775808", "int -9223372036854775808"}, {"-9223372036854775809", "BIG"},
    {"18446744073709551615", "int 18446744073709551615"}, {"18446744073709551616", "BIG"},
    {"0xffffffffffffffff", "int 18446744073709551615"}, {"0x10000000000000000", "BIG"}, {"1.0e+400", "float inf"},
    {"-1.0e+400", "float -inf"}, {"1.0e-400", "float 0.0"}, {"4.9e-324", "float 5e-324"},
    {"1.7976931348623157e+308", "float 1.7976931348623157e+308"}, {"1.7976931348623159e+308", "float inf"}, {"0.1", "float 0.1"},
    {"3.14", "float 3.14"}, {"1e400", "str"}, {"1.0e+99999999999999999999", "float inf"}, {"1.0e-99999999999999999999", "float 0.0"},
    {"0.0", "float 0.0"}, {"-0.0", "float -0.0"}, {"-0", "int 0"}, {"abc", "str"}, {"auto", "str"}, {"http://x:80", "str"},
    {"1024k", "str"}, {"64MiB", "str"}, {"=", "str"}, {"<<", "str"}, {"1:1:1:1:1:1:1:1:1:1:1:1", "BIG"}, {"1:59", "int 119"},
    {"1:6", "int 66"}, {"1:9", "int 69"}, {"1::1", "str"}, {"1:", "str"}, {":1", "str"}, {"0.0e+99999999999999999999", "float 0.0"},
    {"00.5", "float 0.5"}, {"0_0.5", "float 0.5"}, {"0x1.5", "str"}, {"0b1.1", "str"}, {"", "null"}};
// clang-format on

void expect_scalar(value const& got, std::string_view expected, std::string_view text) {
  if (expected == "str") {
    EXPECT_EQ(got, value(text)) << text;
  } else if (expected == "null") {
    EXPECT_TRUE(got.is_nil()) << text;
  } else if (expected == "true" || expected == "false") {
    EXPECT_EQ(got, value(expected == "true")) << text;
  } else if (expected.substr(0, 4) == "int ") {
    auto const number = std::string(expected.substr(4));
    value const wanted = number[0] == '-' ? value(static_cast<std::int64_t>(std::strtoll(number.c_str(), nullptr, 10)))
                                          : value(static_cast<std::uint64_t>(std::strtoull(number.c_str(), nullptr, 10)));
    EXPECT_EQ(got, wanted) << text;
  } else {
    ASSERT_EQ(expected.substr(0, 6), "float ") << text;
    double const wanted = std::strtod(std::string(expected.substr(6)).c_str(), nullptr);
    ASSERT_NE(got.if_double(), nullptr) << text;
    double const number = *got.if_double();
    EXPECT_TRUE(std::isnan(wanted) ? std::isnan(number) : number == wanted && std::signbit(number) == std::signbit(wanted))
        << text << " is " << number << ", expected " << wanted;
  }
}

TEST(yaml_scalars, are_what_python_reads) {
  for (auto const& [text, expected] : pyyaml_scalars) {
    bool fits = true;
    value const got = detail::resolve_plain_scalar(text, fits);
    EXPECT_EQ(fits, std::string_view(expected) != "BIG") << text;
    if (fits) expect_scalar(got, expected, text);
  }
}

TEST(yaml_scalars, are_resolved_in_documents_and_quotes_make_texts) {
  for (auto const& [text, expected] : pyyaml_scalars) {
    std::string_view const word = text;
    if (word.empty() || word == "-" || word.substr(0, 1) == ":" || word.substr(0, 1) == "=" || word.back() == ':')
      continue;  // syntax, not scalars
    auto const out = parse_yaml("- " + std::string(word), "doc.yaml");
    if (std::string_view(expected) == "BIG") {
      ASSERT_FALSE(out) << word;
      EXPECT_EQ(out.error().detail(),
                "doc.yaml:1:3: the integer '" + std::string(word) + "' does not fit 64 bits; put it in quotes if it is a text");
    } else {
      ASSERT_TRUE(out) << word << out.error().message();
      expect_scalar((*out->root.if_array())[0], expected, word);
    }
    EXPECT_EQ(parsed("- '" + std::string(word) + "'\n- \"" + std::string(word) + "\""), value::list({word, word})) << word;
  }
}

// --- structure ----------------------------------------------------------------------------------------------------------------

TEST(yaml, maps_lists_and_texts) {
  EXPECT_EQ(parsed("a: 1\nb: [x, 2.5, {c: ~}]\nd:\n  - e: f\n    g:\n  -\n  - - h\n"),
            value::object({{"a", 1},
                           {"b", value::list({"x", 2.5, value::object({{"c", {}}})})},
                           {"d", value::list({value::object({{"e", "f"}, {"g", {}}}), {}, value::list({"h"})})}}));
  EXPECT_EQ(parsed("a:\n- 1\n- 2\nb: 3"), value::object({{"a", value::list({1, 2})}, {"b", 3}}));
  EXPECT_EQ(parsed("a: 'it''s'\nb: \"x\\ty\\u00e9\\x41\\n\"\nc: plain # comment\nd: a#b\ne: \"a\\\n   b\""), value::object({{"a", "it's"},
                                                                                                                            {"b",
                                                                                                                             "x\ty\xc3\xa9"
                                                                                                                             "A\n"},
                                                                                                                            {"c", "plain"},
                                                                                                                            {"d", "a#b"},
                                                                                                                            {"e", "ab"}}));
  EXPECT_EQ(parsed("{a, b: , ? c : d}"), value::object({{"a", {}}, {"b", {}}, {"c", "d"}}));
  EXPECT_EQ(parsed("[a: b]"), value::list({value::object({{"a", "b"}})}));
  EXPECT_EQ(parsed("? a\n: b\nc:\n  d\n? e\n: - f\n"), value::object({{"a", "b"}, {"c", "d"}, {"e", value::list({"f"})}}));
  EXPECT_EQ(parsed("1: a\ntrue: b\n1.5: c\n'1': d"), value(value::map{{1, "a"}, {true, "b"}, {1.5, "c"}, {"1", "d"}}));
}

TEST(yaml, block_scalars_keep_their_ends) {
  EXPECT_EQ(parsed("a: |\n  text\n   more\nb: >-\n  folded\n  line\n"), value::object({{"a", "text\n more\n"}, {"b", "folded line"}}));
  EXPECT_EQ(parsed("a: |\n  text"), value::object({{"a", "text"}}));
  EXPECT_EQ(parsed("a: |\n  text\n"), value::object({{"a", "text\n"}}));
  EXPECT_EQ(parsed("a: |+\n  text\n\n\n"), value::object({{"a", "text\n\n\n"}}));
  EXPECT_EQ(parsed("a: |-\n  text\n\n"), value::object({{"a", "text"}}));
  EXPECT_EQ(parsed("a: >\n x\n\n y\n"), value::object({{"a", "x\ny\n"}}));
  EXPECT_EQ(parsed("a: x > y | z"), value::object({{"a", "x > y | z"}}));
}

TEST(yaml, whole_documents) {
  EXPECT_EQ(parsed(""), value());
  EXPECT_EQ(parsed("# nothing\n"), value());
  EXPECT_EQ(parsed("---\n"), value());
  EXPECT_EQ(parsed("%YAML 1.1\n---\na: 1\n...\n"), value::object({{"a", 1}}));
  EXPECT_EQ(parsed("just a text"), value("just a text"));
  EXPECT_EQ(parsed("\xef\xbb\xbf"
                   "a: 1"),
            value::object({{"a", 1}}));
  EXPECT_EQ(parsed("a: \"x\r\ny\"\r\nb: 1\r\n"), value::object({{"a", "x y"}, {"b", 1}}));
  EXPECT_EQ(parsed("a: x\rb: y\r"), value::object({{"a", "x"}, {"b", "y"}}));
  EXPECT_EQ(parsed("k: \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), value::object({{"k", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"}}));
}

TEST(yaml, aliases_are_copies) {
  EXPECT_EQ(parsed("a: &x {k: v}\nb: *x\nc: [*x, &y 5, *y]\n*y : z"),
            value(value::map{{"a", value::object({{"k", "v"}})},
                             {"b", value::object({{"k", "v"}})},
                             {"c", value::list({value::object({{"k", "v"}}), 5, 5})},
                             {5, "z"}}));
  EXPECT_EQ(parsed("a: &x\nb: *x"), value::object({{"a", {}}, {"b", {}}}));
}

TEST(yaml, merge_keys_as_python_has_them) {
  EXPECT_EQ(parsed("base: &b {name: X, extra: {a: 1}}\nuse:\n  extra: {b: 2}\n  <<: *b\n"),
            value::object({{"base", value::object({{"name", "X"}, {"extra", value::object({{"a", 1}})}})},
                           {"use", value::object({{"name", "X"}, {"extra", value::object({{"b", 2}})}})}}));
  EXPECT_EQ(parsed("<<: [{a: 1, b: 1}, {a: 2, c: 3}]\nc: 4"), value::object({{"a", 1}, {"c", 4}, {"b", 1}}))
      << "of several the first counts";
  EXPECT_EQ(parsed("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, z: 3}").find("c")->size(), 3U);
  EXPECT_EQ(parsed("'<<': {a: 1}"), value::object({{"<<", value::object({{"a", 1}})}}));
  EXPECT_EQ(parsed("a: <<"), value::object({{"a", "<<"}}));
  expect_refused("<<: 5", "doc.yaml:1:5: << takes an alias of a map or a list of such aliases");
  expect_refused("<<: [{a: 1}, 5]", "<< takes an alias of a map or a list of such aliases");
  expect_refused("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a", "doc.yaml:4:3: the key '<<' stands twice in one map, first in line 3; keep one");
}

TEST(yaml, tags_of_plain_data) {
  EXPECT_EQ(parsed("[!!str 12, !!int '3', !!float 2, !!bool 'yes', !!null '', !!str , !!float .5]"),
            value::list({"12", 3, 2.0, true, {}, "", 0.5}));
  EXPECT_EQ(parsed("!!map {a: !!seq [b]}"), value::object({{"a", value::list({"b"})}}));
  expect_refused("a: !!python/object/apply:os.system ['x']",
                 "doc.yaml:1:4: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not supported", error_kind::unsupported);
  for (auto const text :
       {"a: !x y", "a: !!binary aGk=", "a: !!set {b}", "a: !!omap [b: c]", "a: !!timestamp 2001-01-01", "a: !<tag:x> y", "a: ! 12"})
    expect_refused(text, "is not supported: a configuration holds plain data only; remove the tag", error_kind::unsupported);
  expect_refused("a: !!int x", "doc.yaml:1:4: 'x' is no int; remove the tag !!int or correct the value");
  expect_refused("a: !!float x", "'x' is no float");
  expect_refused("a: !!bool 1", "'1' is no bool");
  expect_refused("a: !!null x", "'x' is no null");
}

TEST(yaml, lines_follow_the_values) {
  auto const out = parse_yaml("# c\na: 1\n\nb:\n  - x\n  - {y: z,\n     w: v}\nc: &m\n  k: 1\nd:\n  <<: *m\n  l: 2\n", "doc.yaml");
  ASSERT_TRUE(out);
  auto const& top = out->lines;
  ASSERT_EQ(top.children.size(), 4U);
  EXPECT_EQ(top.line, 2U);
  EXPECT_EQ(top.children[0].line, 2U);
  EXPECT_EQ(top.children[1].line, 4U);
  ASSERT_EQ(top.children[1].children.size(), 2U);
  EXPECT_EQ(top.children[1].children[0].line, 5U);
  EXPECT_EQ(top.children[1].children[1].line, 6U);
  EXPECT_EQ(top.children[1].children[1].children[1].line, 7U);
  EXPECT_EQ(top.children[2].children[0].line, 9U);
  EXPECT_EQ(top.children[3].line, 10U);
  EXPECT_EQ(top.children[3].children[0].line, 9U) << "a merged entry points to where it was written";
  EXPECT_EQ(top.children[3].children[1].line, 12U);
  EXPECT_EQ(out->source, "doc.yaml");
}

// --- what is refused -------------------------------------------------------------------------------------------------------

TEST(yaml_errors, duplicate_keys) {
  expect_refused("a: 1\nb: 2\n\na: 3", "doc.yaml:4:1: the key 'a' stands twice in one map, first in line 1; keep one");
  expect_refused("{a: b, a: c}", "the key 'a' stands twice in one map, first in line 1");
  expect_refused("1: a\n0x1: b", "doc.yaml:2:1: the key 'the integer 1' stands twice in one map");
  EXPECT_EQ(parsed("a: {a: 1}\nb: {a: 1}").size(), 2U);
}

TEST(yaml_errors, keys_that_are_none) {
  for (auto const text : {"? [a]\n: 1", "{[a]: 1}", "{{a: b}: 1}", "~: 1", ": 1", "- : z", "{, a: 1}", "a: &x [1]\n*x : 2", "? \n: k"})
    expect_refused(text, "a key is missing here, or is a map or a list; keys are texts, numbers or bools");
}

TEST(yaml_errors, more_than_one_document) {
  for (auto const text : {"a: 1\n---\nb: 2\n", "---\na: 1\n---\n", "a: 1\n...\nb: 2", "- a\n-b\n", "\"a\" \"b\"", "[a] b"})
    expect_refused(text, "a second document begins here, or a text that belongs to nothing; a configuration is one document");
}

TEST(yaml_errors, what_yaml_cpp_alone_lets_through) {
  expect_refused("h: 'ite\n", "doc.yaml:2:1: the text ends inside quotes, brackets or a key");
  expect_refused("h: \"ite", "doc.yaml:1:8: the text ends inside quotes, brackets or a key");
  expect_refused("a: 1\nb: [1, 2\n", "the text ends inside quotes, brackets or a key");
  expect_refused("a: 1\nname:foo\n", "doc.yaml:2:1");
  expect_refused("a: 1\nname", "doc.yaml:2:1");
  expect_refused("x:\n  a: 1\n  name:foo\n", "the ': ' after each key");
  expect_refused("[1,,2]", "doc.yaml:1:4: a value is missing before the comma; write null, or remove the comma");
  expect_refused("[,1]", "a value is missing before the comma");
  EXPECT_EQ(parsed("[1,]"), value::list({1}));
  expect_refused("stages:\nplain text\n", "doc.yaml:2:1: the value of 'stages' is not indented deeper than its key");
  expect_refused("i:\n\"text\"\n", "the value of 'i' is not indented deeper than its key");
  expect_refused("a:\n  b:\n  {c: d}\n", "doc.yaml:3:3: the value of 'b' is not indented deeper than its key");
  EXPECT_EQ(parsed("d:   &x\n  k:\n    v\n"), value::object({{"d", value::object({{"k", "v"}})}}));
  expect_refused("a: \"x\\_y\"", "the escapes \\N and \\_ are not supported; write \\u0085 or \\u00a0");
  expect_refused("a: \"\\N\"", "the escapes \\N and \\_ are not supported");
}

TEST(yaml_errors, syntax_names_line_and_column) {
  expect_refused("a: 1\n b: 2\n", "doc.yaml:2:3: illegal map value; check indentation, quotes and brackets");
  expect_refused("a:\n\tb: 1\n", "doc.yaml:2:3");
  expect_refused("a: }\n", "doc.yaml:1:4");
  expect_refused("a: @x", "doc.yaml:1:4");
  expect_refused("a: *nobody", "doc.yaml:1:4: the referenced anchor is not defined");
  expect_refused("a: \"\\q\"", "unknown escape character");
  expect_refused("a: \"\\ud800\"", "invalid unicode");
  expect_refused("a: 'b' c", "doc.yaml:1:8");
  expect_refused("a: b: c", "doc.yaml:1:5");
}

TEST(yaml_errors, characters) {
  expect_refused("a: 1\nb: \0"s, "doc.yaml:2:4: is a NUL byte; save the file as UTF-8 text");
  expect_refused("a: 1\x04\nb: 2", "doc.yaml:1:5: is a control character");
  expect_refused(
      "\xff\xfe"
      "a\0:\0"s,
      "doc.yaml:1:1: is not UTF-8; save the file as UTF-8");
  expect_refused("a\0:\0 \0"s, "is a NUL byte");
  for (auto const bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3",
                         "\xe2\x82", "\xf0\x9f\x98", "\xff"})
    expect_refused("a: "s + bad, "doc.yaml:1:4: is not UTF-8");
  expect_refused("a: \x7f", "is a character that YAML does not allow");
  expect_refused("a: \xc2\x85", "is a character that YAML does not allow");
  expect_refused("a: \xef\xbf\xbf", "is a character that YAML does not allow");
  expect_refused("a: \xe2\x80\xa8", "is a line separator that YAML parsers read differently");
}

// --- hostile texts ----------------------------------------------------------------------------------------------------------

std::string repeated(std::string_view what, std::size_t times) {
  std::string out;
  out.reserve(what.size() * times);
  for (std::size_t i = 0; i < times; ++i) out += what;
  return out;
}

TEST(yaml_hostile, nesting) {
  constexpr document_limits wide{1U << 20U, 1U << 20U, 64};
  expect_refused(repeated("[", 100000), "more than 65536", error_kind::too_large);
  expect_refused(repeated("[", 50000), "more commas, brackets or quotes than 4096 keys and values need", error_kind::too_large);
  for (auto const open : {"[", "{a: ", "- ", "{a: [", "[{a: "}) EXPECT_FALSE(parse_yaml(repeated(open, 100000), "doc.yaml", wide)) << open;
  expect_refused("a: " + repeated("[", 65) + repeated("]", 65),
                 "maps and lists are nested more than 64 deep; raise document_limits::max_depth", error_kind::too_large);
  expect_refused("a: " + repeated("[", 64) + repeated("]", 64), "nested more than 64 deep", error_kind::too_large);
  EXPECT_EQ(parsed("a: " + repeated("[", 63) + repeated("]", 63)).size(), 1U);
  expect_refused(repeated("- ", 100000), "nested more than 64 deep", error_kind::too_large, wide);
  std::string indented;
  for (std::size_t i = 0; i < 300; ++i) indented += std::string(i, ' ') + "a:\n";
  expect_refused(indented, "doc.yaml:65:65: maps and lists are nested more than 64 deep", error_kind::too_large);
}

TEST(yaml_hostile, aliases) {
  expect_refused("&a [*a]", "doc.yaml:1:5: the alias stands inside what it refers to; write the value itself");
  expect_refused("a: &a\n  b: *a", "the alias stands inside what it refers to");
  std::string laughs = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (char c = 'b'; c <= 'n'; ++c) {
    char const before = static_cast<char>(c - 1);
    laughs += std::string(1, c) + ": &" + c + " [" + repeated("*"s + before + ",", 9) + "]\n";
  }
  expect_refused(laughs, "the document holds more than 4096 keys and values, aliases included; raise document_limits::max_nodes",
                 error_kind::too_large);
  expect_refused("a: &a \"" + std::string(20000, 'x') + "\"\nb: [*a, *a, *a, *a]",
                 "aliases stand for more than 65536 bytes; raise document_limits::max_bytes", error_kind::too_large);
  std::string merges = "a: &a {";
  for (int i = 0; i < 500; ++i) merges += "k" + std::to_string(i) + ": 1, ";
  merges += "}\n";
  for (int i = 0; i < 100; ++i) merges += "b" + std::to_string(i) + ": {<<: *a}\n";
  expect_refused(merges, "more than 4096 keys and values", error_kind::too_large);
}

TEST(yaml_hostile, sizes) {
  expect_refused(std::string(65537, ' '),
                 "the text has 65537 bytes, more than 65536; is it a configuration? raise document_limits::max_bytes",
                 error_kind::too_large);
  expect_refused(repeated("- a\n", 5000), "the document holds more than 4096 keys and values", error_kind::too_large);
  expect_refused(repeated("\"\" ", 10000), "more commas, brackets or quotes", error_kind::too_large);
  EXPECT_EQ(parsed(repeated("- a\n", 4095)).size(), 4095U);
  EXPECT_TRUE(parse_yaml(repeated("- a\n", 5000), "doc.yaml", {1U << 20U, 6000, 64}));
  EXPECT_FALSE(parse_yaml("a: 1", "doc.yaml", {0, 0, 0}));
  EXPECT_FALSE(parse_yaml("a: 1", "doc.yaml", {100, 0, 64}));
  EXPECT_FALSE(parse_yaml("a: 1", "doc.yaml", {100, 100, 0}));
}

// Whatever the bytes are, the answer is a value or an error that names the source.
void expect_clean(std::string const& text, document_limits const& limits = {}) {
  auto const out = parse_yaml(text, "doc.yaml", limits);
  if (out) {
    auto const config = make_transfer_config(*out, {}, [](char const*) -> char const* { return nullptr; });
    EXPECT_TRUE(config || config.error().detail().rfind("doc.yaml", 0) == 0) << config.error().message();
    return;
  }
  auto const kind = out.error().kind();
  EXPECT_TRUE(kind == error_kind::malformed || kind == error_kind::too_large || kind == error_kind::unsupported) << out.error().message();
  EXPECT_EQ(out.error().detail().rfind("doc.yaml", 0), 0U) << out.error().message();
  EXPECT_LT(out.error().detail().size(), 600U);
}

TEST(yaml_hostile, garbage) {
  std::mt19937 random(20240817);
  document_limits const wide{2U << 20U, 1U << 20U, 64};
  std::string bytes(1U << 20U, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  expect_clean(bytes);
  expect_clean(bytes, wide);
  for (char& c : bytes) c = static_cast<char>(32 + random() % 95);
  expect_clean(bytes);
  expect_clean(bytes, wide);

  constexpr std::string_view marks = "abc: -'\"[]{}&*!|>#%@,?\n\n\n   ~<=0.";
  for (int round = 0; round < 3000; ++round) {
    std::string text(random() % 60, ' ');
    for (char& c : text) c = marks[random() % marks.size()];
    expect_clean(text);
  }
}

constexpr std::string_view good = R"(# a pipeline
runtime:
  connectors:
    shm: &shm
      name: SharedMemoryConnector
      extra: {shm_threshold_bytes: 65536, note: "it's \x41"}
    rdma:
      <<: *shm
      name: 'MooncakeTransferEngineConnector'
  edges:
    - {from: 0, to: 1, window_size: -1}
    - from: 1
      to: 2
stage_args:
  - stage_id: 0
    output_connectors:
      to_stage_1: shm
  - stage_id: 1
    input_connectors: {from_stage_0: shm}
    prompt: |
      some text
        indented
  - stage_id: 2
    engine_input_source: [1]
)";

TEST(yaml_hostile, a_good_document_damaged_everywhere) {
  ASSERT_TRUE(make_transfer_config(*parse_yaml(good)));
  for (std::size_t i = 0; i < good.size(); ++i) {
    expect_clean(std::string(good.substr(0, i)));
    std::string text(good);
    text.erase(i, 1);
    expect_clean(text);
    constexpr std::string_view marks("\0\xff\n \t:-\"'[}&*!|#%,", 18);
    for (std::size_t k = 0; k < 6; ++k) {  // six at each place, all of them at every third
      text = good;
      text.insert(i, 1, marks[(i * 6 + k) % marks.size()]);
      expect_clean(text);
    }
  }
}

TEST(yaml_hostile, every_limit_at_its_edge) {
  for (std::size_t bytes = 0; bytes < 40; ++bytes)
    for (std::size_t nodes = 0; nodes < 12; ++nodes)
      for (std::size_t depth = 0; depth < 4; ++depth) expect_clean("a: &a [1, {b: c}]\nd: *a\n", {bytes, nodes, depth});
  EXPECT_TRUE(parse_yaml("a: &a [1, {b: c}]\nd: *a\n", "doc.yaml", {25, 22, 3}));
}

// --- configurations from YAML -----------------------------------------------------------------------------------------------

TEST(yaml_config, names_the_line) {
  auto const said = [](std::string_view text) {
    auto const out = make_transfer_config(*parse_yaml(text, "pipeline.yaml"), {}, [](char const*) -> char const* { return nullptr; });
    return out ? std::string("no error") : out.error().detail();
  };
  EXPECT_EQ(said("stages:\n  - stage_id: 0\n  - stage_id: 1\n    input_connectors:\n      from_stage_0: zz\n"),
            "pipeline.yaml:5: stages[1].input_connectors.from_stage_0: Undefined connector reference: 'zz'; the document defines no "
            "connectors: add it "
            "under connectors, or correct the name");
  EXPECT_EQ(said("runtime:\n  connectors:\n    shm:\n      extra: {}\n"),
            "pipeline.yaml:3: runtime.connectors.shm: has no name; write {name: SharedMemoryConnector, extra: {...}}");
  EXPECT_EQ(said("runtime:\n  edges:\n    - from: 0\n      to: 1\n    - form: 1\n      to: 2\n"),
            "pipeline.yaml:5: runtime.edges[1]: has no from; write - {from: 0, to: 1}");
  EXPECT_EQ(said("stages:\n- stage_id: 0\n  output_connectors: {to_stage_1: {name: A}}\n- stage_id: 1\n  input_connectors:\n    "
                 "from_stage_0: {name: B}\n"),
            "pipeline.yaml:6: stages[1].input_connectors.from_stage_0: Connector type mismatch for edge 0->1: previously registered as 'A' "
            "(pipeline.yaml:3: stages[0].output_connectors.to_stage_1), but input_connectors of stage 1 specifies 'B'; both ends of an "
            "edge need the "
            "same connector");
  EXPECT_EQ(said("stages:\n- stage_id: 0\n- stage_id: 0\n"),
            "pipeline.yaml:3: stages[1].stage_id: stage '0' is listed twice, first at pipeline.yaml:2; give each stage its own stage_id");
  EXPECT_EQ(said("stages: []\nstage_args: []\n"),
            "pipeline.yaml:2: stage_args: stands beside stages (pipeline.yaml:1); a document lists its stages once, keep one of the two");
  EXPECT_EQ(said(""),
            "pipeline.yaml: is nothing (null), expected a map with the pipeline's stages; write stages: (or runtime: and stage_args:) at "
            "the left margin");
}

TEST(yaml_config, connectors_shared_by_alias_and_merge) {
  auto const config = make_transfer_config(*parse_yaml(good, "pipeline.yaml"), {}, [](char const*) -> char const* { return nullptr; });
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->connectors.at({"0", "1"}).extra, value::object({{"shm_threshold_bytes", 65536}, {"note", "it's A"}}));
  EXPECT_EQ(config->connectors.at({"1", "2"}), connector_spec{"SharedMemoryConnector"});
  EXPECT_EQ(
      config->notes,
      (std::vector<std::string>{"pipeline.yaml:12: runtime.edges[1]: edge 1->2 names no connector and gets 'SharedMemoryConnector'"}));
}

}  // namespace
