// SPDX-License-Identifier: Apache-2.0
#include <omniconn/keying/request_rule.hpp>

#include <string_view>

#include <gtest/gtest.h>

namespace {

using omniconn::key_of_request;
using namespace std::string_view_literals;

TEST(request_rule, the_request_itself) {
  EXPECT_TRUE(key_of_request("r1", "r1"));
  EXPECT_FALSE(key_of_request("r1", "r2"));
  EXPECT_FALSE(key_of_request("r", "r1"));
}

TEST(request_rule, parts_of_the_request) {
  EXPECT_TRUE(key_of_request("r1_0_7", "r1"));
  EXPECT_TRUE(key_of_request("r1_", "r1"));
  EXPECT_TRUE(key_of_request("omni_0_to_1_kv_cache_r1", "r1"));
  EXPECT_TRUE(key_of_request("_r1", "r1"));
  EXPECT_TRUE(key_of_request("r1__cfg_text", "r1"));
}

TEST(request_rule, neighbours_stay) {
  EXPECT_FALSE(key_of_request("r10", "r1"));
  EXPECT_FALSE(key_of_request("r10_0", "r1"));
  EXPECT_FALSE(key_of_request("kv_ar1", "r1"));
  EXPECT_FALSE(key_of_request("x_r1_y", "r1")) << "in the middle it is somebody else's";
  EXPECT_FALSE(key_of_request("r1-0", "r1"));
}

TEST(request_rule, any_bytes) {
  EXPECT_TRUE(key_of_request(""sv, ""sv));
  EXPECT_TRUE(key_of_request("_x"sv, ""sv));
  EXPECT_TRUE(key_of_request("x_"sv, ""sv));
  EXPECT_FALSE(key_of_request("x"sv, ""sv));
  EXPECT_TRUE(key_of_request("a\0b_1"sv, "a\0b"sv));
  EXPECT_FALSE(key_of_request("a\0c_1"sv, "a\0b"sv));
  EXPECT_TRUE(key_of_request("__"sv, "_"sv));
}

static_assert(key_of_request("r_1", "r"));

}  // namespace
