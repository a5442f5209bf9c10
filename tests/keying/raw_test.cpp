// SPDX-License-Identifier: Apache-2.0
#include <omniconn/keying/raw.hpp>

#include <string>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(explain_keying<raw_keying>());
static_assert(!raw_keying::injective);
static_assert(raw_keying::name == "raw");
static_assert(sizeof(raw_keying) == 1, "copied with every connector, and nothing but one choice");
static_assert(!keying_policy<int>);

TEST(raw_keying, gives_the_caller_s_own_bytes) {
  key_scratch scratch;
  std::string const key = "req7_0_3";
  auto const wire = raw_keying{}.make({"encoder", "thinker"}, key, scratch, 64);
  ASSERT_TRUE(wire);
  EXPECT_EQ(wire->data(), key.data()) << "nothing is copied";
  EXPECT_EQ(wire.value(), key);
}

TEST(raw_keying, ignores_the_edge) {
  key_scratch a, b;
  EXPECT_EQ(raw_keying{}.make({"x", "y"}, "k", a, 64).value(), raw_keying{}.make({"y", "z"}, "k", b, 64).value());
}

TEST(raw_keying, limits) {
  key_scratch scratch;
  std::string const longest(max_key_size, 'k');
  EXPECT_TRUE(raw_keying{}.make({}, longest, scratch, max_key_size));
  EXPECT_EQ(raw_keying{}.make({}, longest + "k", scratch, 2 * max_key_size), error_kind::too_large);
  EXPECT_TRUE(raw_keying{}.make({}, "12345", scratch, 5));
  EXPECT_EQ(raw_keying{}.make({}, "123456", scratch, 5), error_kind::too_large);
  EXPECT_TRUE(raw_keying{}.make({}, "", scratch, 0)) << "the empty key is a key";
}

TEST(raw_keying, belongs) {
  EXPECT_TRUE(raw_keying{}.belongs("r_0", "r"));
  EXPECT_FALSE(raw_keying{}.belongs("r0", "r"));
}

TEST(raw_keying, exact_cleanup_takes_the_key_alone) {
  raw_keying const exact(raw_keying::options{.exact_cleanup = true}), affix;
  for (char const* key : {"r", "r_0", "kv_r", "r1", ""}) EXPECT_EQ(exact.belongs(key, "r"), std::string_view(key) == "r") << key;
  EXPECT_TRUE(affix.belongs("r_0", "r"));
}

}  // namespace
