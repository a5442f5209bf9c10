// SPDX-License-Identifier: Apache-2.0
#include <omniconn/keying/edge_suffix.hpp>

#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;
using namespace std::string_view_literals;

static_assert(explain_keying<at_keying>() && explain_keying<colon_keying>());
static_assert(!at_keying::injective && !colon_keying::injective);
static_assert(at_keying::name == "key@from_to" && colon_keying::name == "key:from_to");

TEST(edge_suffix_keying, writes_upstream_s_keys) {
  key_scratch scratch;
  EXPECT_EQ(at_keying{}.make({"0", "1"}, "req7_0_3", scratch, 64).value(), "req7_0_3@0_1");
  EXPECT_EQ(colon_keying{}.make({"encoder", "thinker"}, "req7", scratch, 64).value(), "req7:encoder_thinker");
  EXPECT_EQ(at_keying{}.make({"", ""}, "", scratch, 64).value(), "@_");
  EXPECT_EQ(at_keying{}.make({"a\0"sv, "b"}, "k\0y"sv, scratch, 64).value(), "k\0y@a\0_b"sv);
}

TEST(edge_suffix_keying, is_not_injective_and_says_so) {
  key_scratch one, two;
  EXPECT_EQ(at_keying{}.make({"a_b", "c"}, "k", one, 64).value(), at_keying{}.make({"a", "b_c"}, "k", two, 64).value());
}

TEST(edge_suffix_keying, refuses_instead_of_shortening) {
  key_scratch scratch;
  EXPECT_TRUE(at_keying{}.make({"a", "b"}, "12345", scratch, 9));
  EXPECT_EQ(at_keying{}.make({"a", "b"}, "12345", scratch, 8), error_kind::too_large);
  EXPECT_TRUE(at_keying{}.make({"a", "b"}, std::string(max_key_size, 'k'), scratch, max_key_size + 4));
  EXPECT_EQ(at_keying{}.make({"a", "b"}, std::string(max_key_size, 'k'), scratch, max_key_size), error_kind::too_large);
  EXPECT_EQ(at_keying{}.make({"a", "b"}, std::string(max_key_size + 1, 'k'), scratch, 100000), error_kind::too_large);
}

TEST(edge_suffix_keying, belongs_reads_the_key_part_only) {
  at_keying const keying;
  EXPECT_TRUE(keying.belongs("r@a_b", "r"));
  EXPECT_TRUE(keying.belongs("r_0@a_b", "r"));
  EXPECT_TRUE(keying.belongs("kv_r@a_b", "r"));
  EXPECT_FALSE(keying.belongs("k@a_r", "r")) << "a stage's name is no request";
  EXPECT_FALSE(keying.belongs("r_0:a_b", "r")) << "made by another keying";
  EXPECT_TRUE(keying.belongs("x@y_0@a_b", "x@y")) << "keys may contain the separator";
  EXPECT_FALSE(keying.belongs("x@y_0", "x@y")) << "key x on an edge y to 0";
}

}  // namespace
