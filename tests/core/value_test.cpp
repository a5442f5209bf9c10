// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/value.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

using namespace omniconn;

namespace {

TEST(value, literals_become_their_kind) {
  EXPECT_EQ(value().kind(), value_kind::nil);
  EXPECT_EQ(value(nullptr).kind(), value_kind::nil);
  EXPECT_EQ(value(true).kind(), value_kind::boolean);
  EXPECT_EQ(value(1).kind(), value_kind::int64);
  EXPECT_EQ(value(1U).kind(), value_kind::int64);
  EXPECT_EQ(value(std::uint64_t{INT64_MAX}).kind(), value_kind::int64);
  EXPECT_EQ(value(std::uint64_t{INT64_MAX} + 1).kind(), value_kind::uint64);
  EXPECT_EQ(value(1.0F).kind(), value_kind::float32);
  EXPECT_EQ(value(1.0).kind(), value_kind::float64);
  EXPECT_EQ(value("x").kind(), value_kind::string);
  EXPECT_EQ(value(std::string("x")).kind(), value_kind::string);
  EXPECT_EQ(value(std::string_view("x")).kind(), value_kind::string);
  EXPECT_EQ(value(blob()).kind(), value_kind::binary);
  EXPECT_EQ(value(extension{}).kind(), value_kind::ext);
  EXPECT_EQ(value(value::array{}).kind(), value_kind::array);
  EXPECT_EQ(value(value::map{}).kind(), value_kind::map);
  for (auto const kind : {value_kind::nil, value_kind::boolean, value_kind::int64, value_kind::uint64, value_kind::float32,
                          value_kind::float64, value_kind::string, value_kind::binary, value_kind::ext, value_kind::array, value_kind::map})
    EXPECT_FALSE(to_string(kind).empty());
  EXPECT_EQ(to_string(value_kind::map), "map");
}

TEST(value, conversions_say_why_not) {
  EXPECT_EQ(*value(true).as_bool(), true);
  EXPECT_TRUE(value(1).as_bool() == error_kind::malformed);
  EXPECT_EQ(*value(INT64_MIN).as_int64(), INT64_MIN);
  EXPECT_TRUE(value(UINT64_MAX).as_int64() == error_kind::malformed);
  EXPECT_STRNE(value(UINT64_MAX).as_int64().error().text(), value("1").as_int64().error().text());
  EXPECT_EQ(*value(UINT64_MAX).as_uint64(), UINT64_MAX);
  EXPECT_EQ(*value(7).as_uint64(), 7U);
  EXPECT_TRUE(value(-1).as_uint64() == error_kind::malformed);
  EXPECT_STRNE(value(-1).as_uint64().error().text(), value("1").as_uint64().error().text());
  EXPECT_TRUE(value(1.0).as_int64() == error_kind::malformed);
  EXPECT_EQ(*value(1.5F).as_double(), 1.5);
  EXPECT_EQ(*value(-3).as_double(), -3.0);
  EXPECT_EQ(*value(UINT64_MAX).as_double(), 18446744073709551616.0);
  EXPECT_TRUE(value("1").as_double() == error_kind::malformed);
  EXPECT_EQ(*value("text").as_string(), "text");
  EXPECT_TRUE(value(blob()).as_string() == error_kind::malformed);
}

TEST(value, maps_keep_order_any_key_and_repeats) {
  value const v = value::map{{"b", 1}, {2, "two"}, {"a", nullptr}, {"b", 2}};
  ASSERT_EQ(v.size(), 4U);
  EXPECT_EQ((*v.if_map())[0].first, "b");
  EXPECT_EQ((*v.if_map())[1].first, 2);
  ASSERT_NE(v.find("b"), nullptr);
  EXPECT_EQ(*v.find("b"), 1) << "the first of a repeated key";
  EXPECT_EQ(v.find("c"), nullptr);
  EXPECT_EQ(value(1).find("c"), nullptr);
  EXPECT_FALSE(v == value(value::map{{2, "two"}, {"b", 1}, {"a", nullptr}, {"b", 2}})) << "order counts";
}

TEST(value, set_replaces_or_appends) {
  value v;
  v.set("a", 1);
  v.set("b", 2);
  v.set("a", "new");
  EXPECT_EQ(v, value::object({{"a", "new"}, {"b", 2}}));
  v.set("c", value::list({})) = 5;
  EXPECT_EQ(*v.find("c"), 5);
  *v.find("b") = 7;
  EXPECT_EQ(*v.find("b"), 7);
}

TEST(value, compares_kind_and_content) {
  EXPECT_EQ(value(1), value(std::uint8_t{1}));
  EXPECT_FALSE(value(1) == value(1.0));
  EXPECT_FALSE(value(1.0) == value(1.0F));
  EXPECT_FALSE(value("a") == value(blob::copy(bytes_of(std::string_view("a")))));
  EXPECT_FALSE(value(std::nan("")) == value(std::nan("")));
  EXPECT_EQ(value(extension{1, blob::copy(bytes_of(std::string_view("e")))}),
            value(extension{1, blob::copy(bytes_of(std::string_view("e")))}));
  EXPECT_FALSE(value(extension{1, {}}) == value(extension{2, {}}));
  EXPECT_EQ(value::list({1, "a"}), value::list({1, "a"}));
  EXPECT_FALSE(value::list({1}) == value::list({1, 1}));
}

TEST(value, copies_share_binaries) {
  auto const bytes = blob::copy(bytes_of(std::string_view("shared")));
  value const a = value::list({bytes});
  value const b = a;
  EXPECT_EQ((*b.if_array())[0].if_binary()->bytes().data(), bytes.bytes().data());
}

TEST(value, to_owned_outlives_what_was_borrowed) {
  value owned;
  {
    auto const memory = std::make_unique<std::string>("borrowed bytes");
    auto const part = blob::borrow(bytes_of(*memory));
    value const v = value::map{{"list", value::list({part, 1, "t"})}, {part, extension{3, part}}};
    owned = v.to_owned();
    EXPECT_EQ(owned, v);
    memory->assign(14, 'x');
  }
  auto const& entries = *owned.if_map();
  EXPECT_EQ(text_of((*entries[0].second.if_array())[0].if_binary()->bytes()), "borrowed bytes");
  EXPECT_EQ(text_of(entries[1].first.if_binary()->bytes()), "borrowed bytes");
  EXPECT_EQ(text_of(entries[1].second.if_ext()->data.bytes()), "borrowed bytes");
  EXPECT_EQ(entries[1].second.if_ext()->type, 3);
}

TEST(value, to_owned_shares_what_is_owned_already) {
  auto const bytes = blob::copy(bytes_of(std::string_view("own")));
  EXPECT_EQ(value(bytes).to_owned().if_binary()->bytes().data(), bytes.bytes().data());
}

TEST(value, size_counts_parts) {
  EXPECT_EQ(value::list({1, 2, 3}).size(), 3U);
  EXPECT_EQ(value("text").size(), 0U);
  EXPECT_TRUE(value("text").is_string());
  EXPECT_TRUE(value::list({}).is_array());
  EXPECT_TRUE(value::object({}).is_map());
  EXPECT_TRUE(value().is_nil());
}

}  // namespace
