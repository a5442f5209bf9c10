// SPDX-License-Identifier: Apache-2.0
#include <omniconn/runtime/env.hpp>

#include <map>
#include <string>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

struct fake_environment {
  std::map<std::string, std::string> variables;
  char const* operator()(char const* name) const {
    auto const found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  }
};

fake_environment const env{
    {{"HOST", "10.0.0.1"}, {"PORT", "50051"}, {"EMPTY", ""}, {"NESTED", "$HOST"}, {"A_1", "a"}, {"odd name", "odd"}, {"X", "x"}}};

TEST(env, lenient_expands_what_is_set_and_keeps_the_rest) {
  struct {
    char const* text;
    char const* expected;
  } const cases[]{
      {"", ""},
      {"plain", "plain"},
      {"$HOST", "10.0.0.1"},
      {"${HOST}", "10.0.0.1"},
      {"tcp://$HOST:${PORT}/x", "tcp://10.0.0.1:50051/x"},
      {"$HOST$PORT", "10.0.0.150051"},
      {"$A_1-", "a-"},
      {"[$EMPTY]", "[]"},
      {"${odd name}", "odd"},
      {"$NESTED", "$HOST"},  // not looked at again
      {"$NOPE", "$NOPE"},
      {"${NOPE}x", "${NOPE}x"},
      {"$", "$"},
      {"a$", "a$"},
      {"$$", "$$"},
      {"$$X", "$x"},
      {"$-X", "$-X"},
      {"${", "${"},
      {"${HOST", "${HOST"},
      {"${}", "${}"},
      {"${}$X", "${}x"},
      {"$1", "$1"},
      {"${$X}", "${$X}"},
      {"100%", "100%"},
      {"$X\xc3\xa9", "x\xc3\xa9"},
  };
  for (auto const& [text, expected] : cases) EXPECT_EQ(expand_env_lenient(text, env), expected) << text;
}

TEST(env, strict_expands_what_is_set) {
  auto const out = expand_env("${HOST}:$PORT", "master", env);
  ASSERT_TRUE(out);
  EXPECT_EQ(*out, "10.0.0.1:50051");
  EXPECT_EQ(*expand_env("costs $ 5, $$ and ${", "text", env), "costs $ 5, $$ and ${");
  EXPECT_EQ(*expand_env("$NESTED", "text", env), "$HOST");
}

TEST(env, strict_names_field_variables_and_original) {
  auto const out = expand_env("$NOPE/${HOST}/${MISSING}/$NOPE/$NO", "host", env);
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().kind(), error_kind::misconfigured);
  EXPECT_EQ(out.error().detail(),
            "host references unset environment variable(s): NOPE, MISSING, NO. Original value: '$NOPE/${HOST}/${MISSING}/$NOPE/$NO'; "
            "set them, or write the value itself");
}

TEST(env, a_nul_does_not_shorten_a_name) {
  using namespace std::string_literals;
  auto const text = "${X\0Y}"s;
  EXPECT_EQ(expand_env_lenient(text, env), text);
  auto const strict = expand_env(text, "host", env);
  ASSERT_FALSE(strict);
  EXPECT_NE(strict.error().detail().find("X\\x00Y"), std::string::npos) << strict.error().detail();
}

TEST(env, long_and_multi_line_originals_stay_one_short_line) {
  auto const out = expand_env("$NOPE\n" + std::string(10000, 'a'), "host", env);
  ASSERT_FALSE(out);
  EXPECT_LT(out.error().detail().size(), 300U);
  EXPECT_EQ(out.error().detail().find('\n'), std::string::npos);
}

TEST(env, integers_stand_as_such_or_in_variables) {
  EXPECT_EQ(*expand_env_int(value(7), "zmq_port", env), 7);
  EXPECT_EQ(*expand_env_int(value("$PORT"), "zmq_port", env), 50051);
  EXPECT_EQ(*expand_env_int(value("-12"), "zmq_port", env), -12);
  for (auto const& wrong : {value("${HOST}"), value(""), value("12 "), value(1.5), value(), value(true), value(UINT64_MAX),
                            value("9223372036854775808"), value::list({})}) {
    auto const out = expand_env_int(wrong, "zmq_port", env);
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().kind(), error_kind::misconfigured);
    EXPECT_EQ(out.error().detail().rfind("zmq_port must be an integer after environment expansion, got ", 0), 0U) << out.error().detail();
  }
  EXPECT_NE(expand_env_int(value("$NOPE"), "zmq_port", env).error().detail().find("unset environment variable(s): NOPE"),
            std::string::npos);
}

TEST(env, the_environment_of_the_process_is_the_default) {
  ASSERT_EQ(::setenv("OMNICONN_ENV_TEST", "here", 1), 0);
  EXPECT_EQ(expand_env_lenient("$OMNICONN_ENV_TEST"), "here");
  ASSERT_EQ(::unsetenv("OMNICONN_ENV_TEST"), 0);
  EXPECT_FALSE(expand_env("$OMNICONN_ENV_TEST", "host"));
}

TEST(env, auto_hosts) {
  for (auto const word : {"", "auto", "AUTO", "Auto", "*", "0.0.0.0", "::"}) EXPECT_TRUE(is_auto_host(word)) << word;
  for (auto const word : {"127.0.0.1", "automatic", "aut", "::1", "**", " ", "aut\x4f\x01"}) EXPECT_FALSE(is_auto_host(word)) << word;
}

}  // namespace
