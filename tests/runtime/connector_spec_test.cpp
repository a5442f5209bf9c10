// SPDX-License-Identifier: Apache-2.0
#include <omniconn/runtime/connector_spec.hpp>

#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;
using namespace std::chrono_literals;

auto const env = [](char const* name) -> char const* {
  std::string_view const key = name;
  if (key == "NAME") return "thinker";
  if (key == "PORT") return "50051";
  if (key == "NEGATIVE") return "-5";
  if (key == "YES") return "true";
  if (key == "SIZE") return "64 MiB";
  if (key == "TIME") return "250 ms";
  if (key == "WORD") return "many";
  return nullptr;
};

std::string problem_of(option_reader const& reader) {
  auto const done = reader.done();
  if (done) return "";
  EXPECT_EQ(done.error().kind(), error_kind::misconfigured);
  return done.error().detail();
}

TEST(connector_spec, has_empty_options_and_compares) {
  connector_spec const plain{"ShmConnector"};
  EXPECT_TRUE(plain.extra.is_map());
  EXPECT_EQ(plain.extra.size(), 0U);
  EXPECT_EQ(plain, (connector_spec{"ShmConnector", value::object({})}));
  EXPECT_NE(plain, (connector_spec{"ShmConnector", value::object({{"a", 1}})}));
  EXPECT_NE(plain, connector_spec{"Other"});
}

TEST(option_reader, takes_what_is_there) {
  value const options = value::object({{"text", "a$NAME"},
                                       {"raw", "pa$$word"},
                                       {"count", 5},
                                       {"huge", UINT64_MAX},
                                       {"offset", -3},
                                       {"on", true},
                                       {"mode", "tcp"},
                                       {"readers", value::list({"talker", "$NAME"})},
                                       {"port", "${PORT}"},
                                       {"flag", "$YES"},
                                       {"low", "$NEGATIVE"}});
  option_reader reader(options, "edge 0->1", env);
  EXPECT_EQ(reader.take_string("text"), "athinker");
  EXPECT_EQ(reader.take_raw_string("raw"), "pa$$word");
  EXPECT_EQ(reader.take_uint("count"), 5U);
  EXPECT_EQ(reader.take_uint("huge"), UINT64_MAX);
  EXPECT_EQ(reader.take_int("offset"), -3);
  EXPECT_EQ(reader.take_bool("on"), true);
  EXPECT_EQ(reader.take_choice("mode", {"tcp", "rdma"}, "rdma"), "tcp");
  EXPECT_EQ(reader.take_strings("readers"), (std::vector<std::string>{"talker", "thinker"}));
  EXPECT_EQ(reader.take_uint("port", 1, 1, 65535), 50051U);
  EXPECT_EQ(reader.take_bool("flag"), true);
  EXPECT_EQ(reader.take_int("low"), -5);
  EXPECT_EQ(reader.require_string("text"), "athinker");
  EXPECT_TRUE(reader.done());
  EXPECT_TRUE(reader.unknown().empty());
}

TEST(option_reader, absent_and_null_give_the_fallback) {
  value const options = value::object({{"null", value()}});
  for (auto const key : {"null", "absent"}) {
    option_reader reader(options, "", env);
    EXPECT_EQ(reader.take_string(key), std::nullopt);
    EXPECT_EQ(reader.take_string(key, "auto"), "auto");
    EXPECT_EQ(reader.take_raw_string(key), std::nullopt);
    EXPECT_EQ(reader.take_choice(key, {"a"}, "b"), "b");
    EXPECT_TRUE(reader.take_strings(key).empty());
    EXPECT_EQ(reader.take_uint(key), std::nullopt);
    EXPECT_EQ(reader.take_uint(key, 7, 0, 5), 7U);  // a fallback is the caller's word
    EXPECT_EQ(reader.take_int(key), std::nullopt);
    EXPECT_EQ(reader.take_int(key, -7), -7);
    EXPECT_EQ(reader.take_bool(key), std::nullopt);
    EXPECT_TRUE(reader.take_bool(key, true));
    EXPECT_EQ(reader.take_bytes_size(key), std::nullopt);
    EXPECT_EQ(reader.take_bytes_size(key, 9), 9U);
    EXPECT_EQ(reader.take_duration_seconds(key), std::nullopt);
    EXPECT_EQ(reader.take_duration_seconds(key, 60s), 60s);
    EXPECT_TRUE(reader.done());
  }
  value const nothing;
  option_reader reader(nothing);
  EXPECT_EQ(reader.take_uint("x", 3), 3U);
  EXPECT_TRUE(reader.done());
  EXPECT_TRUE(reader.unknown().empty());
}

TEST(option_reader, unknown_options_are_kept_in_order) {
  value const options(value::map{{"b", 1}, {"a", value::object({{"deep", true}})}, {value(7), "seven"}, {"known", "x"}});
  option_reader reader(options);
  EXPECT_EQ(reader.take_string("known"), "x");
  EXPECT_EQ(value(reader.unknown()), value(value::map{{"b", 1}, {"a", value::object({{"deep", true}})}, {value(7), "seven"}}));
  EXPECT_TRUE(reader.done()) << "unknown options are no error";
}

TEST(option_reader, a_wrong_type_names_key_value_expectation_and_mend) {
  value const options = value::object({{"k", 5}});
  option_reader reader(options, "pipeline.yaml:3: connector 'shm'");
  EXPECT_EQ(reader.take_string("k", "fallback"), "fallback");
  EXPECT_EQ(problem_of(reader), "pipeline.yaml:3: connector 'shm': k is the integer 5, expected a text; put it in quotes");

  struct {
    value wrong;
    char const* shown;
  } const kinds[]{{true, "the bool true"},       {false, "the bool false"},      {-1, "the integer -1"},
                  {1.5, "the number 1.5"},       {1.5F, "the number 1.5"},       {value::list({}), "a list"},
                  {value::object({}), "a map"},  {value(blob()), "binary data"}, {value(extension{1, {}}), "a msgpack extension"},
                  {"a'b\n", "the text 'a'b\\n'"}};
  for (auto const& [wrong, shown] : kinds) {
    value const map = value::object({{"key", wrong}});
    option_reader each(map);
    bool const text = wrong.is_string();
    if (!text) {
      EXPECT_EQ(each.take_string("key"), std::nullopt);
      EXPECT_EQ(each.take_raw_string("key"), std::nullopt);
      EXPECT_EQ(each.take_choice("key", {"a"}, "a"), "a");
    }
    if (wrong.kind() != value_kind::boolean) {
      EXPECT_EQ(each.take_bool("key"), std::nullopt);
    }
    EXPECT_EQ(each.take_uint("key"), std::nullopt);
    if (wrong.kind() != value_kind::int64) {
      EXPECT_EQ(each.take_int("key"), std::nullopt);
    }
    EXPECT_EQ(each.take_bytes_size("key"), std::nullopt);
    auto const text_of_it = problem_of(each);
    EXPECT_NE(text_of_it.find(std::string("key is ") + shown + ", expected"), std::string::npos) << text_of_it;
  }
}

TEST(option_reader, all_problems_come_at_once) {
  value const options = value::object({{"a", 1}, {"b", "x"}, {"c", "good"}});
  option_reader reader(options, "shm");
  EXPECT_EQ(reader.take_string("a"), std::nullopt);
  EXPECT_EQ(reader.take_uint("b"), std::nullopt);
  EXPECT_EQ(reader.take_string("c"), "good");
  EXPECT_EQ(reader.require_string("d"), "");
  reader.problem("a and b exclude each other; keep one");
  EXPECT_EQ(
      problem_of(reader),
      "shm: a is the integer 1, expected a text; put it in quotes; b is the text 'x', expected an integer of at least 0; write a whole "
      "number in digits, without quotes; d is missing or empty; give it a text; a and b exclude each other; keep one");
}

TEST(option_reader, required_texts) {
  value const options = value::object({{"empty", ""}, {"number", 4}, {"null", value()}});
  for (auto const key : {"empty", "null", "absent"}) {
    option_reader reader(options);
    EXPECT_EQ(reader.require_string(key), "");
    EXPECT_EQ(problem_of(reader), std::string(key) + " is missing or empty; give it a text");
  }
  option_reader reader(options);
  EXPECT_EQ(reader.require_string("number"), "");
  EXPECT_EQ(problem_of(reader), "number is the integer 4, expected a text; put it in quotes");
}

TEST(option_reader, numbers_have_limits) {
  value const options =
      value::object({{"port", 70000}, {"low", -2}, {"env", "$WORD"}, {"quoted", "12"}, {"unset", "$NOPE"}, {"plus", "$NEGATIVE"}});
  auto const said = [&](auto take) {
    option_reader reader(options, "", env);
    take(reader);
    return problem_of(reader);
  };
  EXPECT_EQ(said([](option_reader& r) { EXPECT_EQ(r.take_uint("port", 1, 1, 65535), 1U); }),
            "port is 70000, expected an integer from 1 to 65535");
  EXPECT_EQ(said([](option_reader& r) { EXPECT_EQ(r.take_int("low", 0, -1, 9), 0); }), "low is -2, expected an integer from -1 to 9");
  EXPECT_NE(
      said([](option_reader& r) { EXPECT_EQ(r.take_uint("low", 3), 3U); }).find("low is the integer -2, expected an integer of at least 0"),
      std::string::npos);
  EXPECT_NE(said([](option_reader& r) { EXPECT_EQ(r.take_uint("env", 3), 3U); }).find("env is the text 'many', expected"),
            std::string::npos);
  EXPECT_NE(said([](option_reader& r) { EXPECT_EQ(r.take_uint("plus", 3), 3U); }).find("plus is the text '-5', expected"),
            std::string::npos);
  EXPECT_NE(said([](option_reader& r) { EXPECT_EQ(r.take_uint("quoted", 3), 3U); }).find("without quotes"), std::string::npos);
  EXPECT_NE(
      said([](option_reader& r) { EXPECT_EQ(r.take_uint("unset", 3), 3U); }).find("unset references unset environment variable(s): NOPE"),
      std::string::npos);
}

TEST(option_reader, bools_are_bools) {
  value const options = value::object({{"text", "true"}, {"number", 1}, {"env", "$WORD"}, {"unset", "$NOPE"}});
  for (auto const key : {"text", "number", "env", "unset"}) {
    option_reader reader(options, "", env);
    EXPECT_FALSE(reader.take_bool(key, false)) << key;
    EXPECT_NE(problem_of(reader), "") << key;
  }
}

TEST(option_reader, choices_list_the_words) {
  value const options = value::object({{"layout", "omnicon"}});
  option_reader reader(options);
  EXPECT_EQ(reader.take_choice("layout", {"omniconn", "upstream"}, "upstream"), "upstream");
  EXPECT_EQ(problem_of(reader), "layout is 'omnicon', which is none of: omniconn, upstream");
}

TEST(option_reader, lists_of_texts) {
  value const options = value::object({{"one", "talker"}, {"mixed", value::list({"a", 1, "b"})}, {"unset", value::list({"$NOPE"})}});
  option_reader reader(options, "", env);
  EXPECT_TRUE(reader.take_strings("one").empty());
  EXPECT_EQ(reader.take_strings("mixed"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(reader.take_strings("unset").empty());
  auto const text = problem_of(reader);
  EXPECT_NE(text.find("one is the text 'talker', expected a list of texts; write [a, b]"), std::string::npos) << text;
  EXPECT_NE(text.find("mixed is the integer 1, expected texts in its list"), std::string::npos) << text;
  EXPECT_NE(text.find("variable(s): NOPE"), std::string::npos) << text;
}

TEST(option_reader, sizes) {
  struct {
    value text;
    std::uint64_t size;
  } const good[]{{0, 0},
                 {4096, 4096},
                 {UINT64_MAX, UINT64_MAX},
                 {"0", 0},
                 {"17", 17},
                 {"17 B", 17},
                 {"2kB", 2000},
                 {"3 MB", 3000000},
                 {"4GB", 4000000000},
                 {"1 TB", 1000000000000},
                 {"1KiB", 1024},
                 {"64 MiB", 64U << 20U},
                 {"1GiB", 1U << 30U},
                 {"2 TiB", std::uint64_t{2} << 40U},
                 {"$SIZE", 64U << 20U},
                 {"18446744073709551615", UINT64_MAX}};
  for (auto const& [text, size] : good) {
    value const options = value::object({{"memory_pool_size", text}});
    option_reader reader(options, "", env);
    EXPECT_EQ(reader.take_bytes_size("memory_pool_size"), size) << detail::describe(text);
    EXPECT_TRUE(reader.done());
  }
  for (auto const& wrong :
       {value(-1), value(1.0), value("1e9"), value("1.5 GiB"), value("64 mib"), value("64  MiB"), value("MiB"), value(""), value("64 "),
        value("-1"), value("18446744073709551616"), value("16777216 TiB"), value("$NOPE"), value("$WORD"), value(true)}) {
    value const options = value::object({{"memory_pool_size", wrong}});
    option_reader reader(options, "", env);
    EXPECT_EQ(reader.take_bytes_size("memory_pool_size", 5), 5U) << detail::describe(wrong);
    EXPECT_EQ(problem_of(reader).rfind("memory_pool_size ", 0), 0U) << detail::describe(wrong);
  }
}

TEST(option_reader, durations) {
  struct {
    value text;
    std::chrono::nanoseconds time;
  } const good[]{{0, 0s},         {60, 60s},     {0.1, 100ms}, {1e-9, 1ns},     {2.5F, 2500ms}, {"250 ms", 250ms}, {"250ms", 250ms},
                 {"1.5", 1500ms}, {"5 us", 5us}, {"7ns", 7ns}, {"2 min", 120s}, {"1 h", 3600s}, {"3s", 3s},        {"$TIME", 250ms}};
  for (auto const& [text, time] : good) {
    value const options = value::object({{"lease", text}});
    option_reader reader(options, "", env);
    EXPECT_EQ(reader.take_duration_seconds("lease"), time) << detail::describe(text);
    EXPECT_TRUE(reader.done());
  }
  double const inf = std::numeric_limits<double>::infinity();
  for (auto const& wrong : {value(-1), value(-0.5), value(inf), value(std::nan("")), value(1e30), value("nan"), value("inf"), value("fast"),
                            value("5 days"), value(""), value(true), value("$NOPE"), value::list({})}) {
    value const options = value::object({{"lease", wrong}});
    option_reader reader(options, "", env);
    EXPECT_EQ(reader.take_duration_seconds("lease", 9s), 9s) << detail::describe(wrong);
    EXPECT_EQ(problem_of(reader).rfind("lease ", 0), 0U) << detail::describe(wrong);
  }
}

TEST(option_reader, options_that_are_no_map) {
  value const options = value::list({1});
  option_reader reader(options, "edge 0->1");
  EXPECT_EQ(reader.take_uint("x", 3), 3U);
  EXPECT_EQ(problem_of(reader), "edge 0->1: the options must be a map of names to values, not a list");
}

TEST(option_reader, reads_a_spec_under_its_name) {
  connector_spec const spec{"ShmConnector", value::object({{"max_keys", "x"}})};
  option_reader reader(spec);
  EXPECT_EQ(reader.take_uint("max_keys", 4096), 4096U);
  EXPECT_EQ(problem_of(reader).rfind("ShmConnector: max_keys is the text 'x'", 0), 0U);
}

TEST(option_reader, long_values_are_cut_at_a_character) {
  std::string long_text(63, 'a');
  long_text += "\xc3\xa9";
  value const options = value::object({{"k", long_text + long_text}});
  option_reader reader(options);
  EXPECT_EQ(reader.take_uint("k"), std::nullopt);
  EXPECT_EQ(problem_of(reader).rfind("k is the text '" + std::string(63, 'a') + "...', expected", 0), 0U) << problem_of(reader);
}

static_assert(!std::is_constructible_v<option_reader, value>, "a reader of a temporary would dangle");
static_assert(!std::is_constructible_v<option_reader, connector_spec>);

}  // namespace
