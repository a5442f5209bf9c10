// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/tensor_value.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

using namespace omniconn;

namespace {

value tensor_map(value type, value shape, value data) {
  return value::object({{"__tensor__", true}, {"dtype", std::move(type)}, {"shape", std::move(shape)}, {"data", std::move(data)}});
}
blob zeros(std::size_t size) { return blob::copy(std::vector<std::byte>(size)); }
std::string why(value const& v) {
  auto const t = as_tensor(v);
  return t ? "a tensor" : t.error().message();
}

TEST(tensor_value, has_the_fields_of_the_wire_in_order) {
  std::vector<float> const numbers{1, 2, 3, 4, 5, 6};
  auto const v = to_value(*tensor_view::make(dtype::float32, {2, 3}, std::as_bytes(std::span(numbers))));
  ASSERT_TRUE(v.is_map());
  EXPECT_EQ(v, tensor_map("float32", value::list({2, 3}), blob::borrow(std::as_bytes(std::span(numbers)))));
  EXPECT_EQ(v.find("data")->if_binary()->bytes().data(), std::as_bytes(std::span(numbers)).data()) << "borrowed, not copied";
}

TEST(tensor_value, is_a_view_of_the_map) {
  std::vector<float> const numbers{1, 2, 3, 4, 5, 6};
  auto const v = to_value(*tensor_view::make(dtype::float32, {2, 3}, std::as_bytes(std::span(numbers))));
  auto const t = as_tensor(v);
  ASSERT_TRUE(t) << t.error().message();
  EXPECT_TRUE(is_tensor(v));
  EXPECT_EQ(t->type(), dtype::float32);
  EXPECT_EQ(t->order(), byte_order::little);
  EXPECT_TRUE(t->shape() == (dims{2, 3}));
  EXPECT_EQ(t->as<float>()->data(), numbers.data());
}

TEST(tensor_value, every_dtype_comes_back) {
  for (std::size_t i = 0; i != dtype_count; ++i) {
    auto const type = static_cast<dtype>(i);
    std::vector<std::byte> const bytes(size_of(type) * 3, std::byte{1});
    auto const v = to_owned_value(*tensor_view::make(type, {3}, bytes));
    auto const t = as_tensor(v);
    ASSERT_TRUE(t) << to_string(type);
    EXPECT_EQ(t->type(), type);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), t->bytes().begin(), t->bytes().end()));
  }
}

TEST(tensor_value, scalars_and_empty_tensors_keep_their_shape) {
  auto const empty = to_value(*tensor_view::make(dtype::float16, {0, 4}, {}));
  EXPECT_EQ(empty, tensor_map("float16", value::list({0, 4}), blob()));
  EXPECT_TRUE(as_tensor(empty)->shape() == (dims{0, 4}));
  std::int64_t const seven = 7;
  auto const scalar = to_value(*tensor_view::make(dtype::int64, {}, std::as_bytes(std::span(&seven, 1))));
  EXPECT_EQ(scalar.find("shape")->size(), 0U);
  EXPECT_EQ(as_tensor(scalar)->rank(), 0U);
}

TEST(tensor_value, owned_and_shared_outlive_the_source) {
  auto numbers = std::make_shared<std::vector<float>>(std::vector<float>{1, 2});
  auto const view = tensor_view::of(std::span<float const>(*numbers));
  std::weak_ptr<std::vector<float>> const alive = numbers;
  auto const owned = to_owned_value(view);
  auto shared = to_value(view, numbers);
  numbers.reset();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ((*as_tensor(shared)->as<float>())[1], 2.0F);
  EXPECT_EQ(as_tensor(shared)->data(), view.data());
  shared = value();
  EXPECT_TRUE(alive.expired());
  EXPECT_EQ((*as_tensor(owned)->as<float>())[0], 1.0F);
}

TEST(tensor_value, other_layouts_and_byte_orders_are_copied) {
  std::vector<std::int16_t> const numbers{0, 1, 2, 3};
  auto const reversed = to_value(*tensor_view::strided(dtype::int16, {4}, {-2}, std::as_bytes(std::span(numbers)), 6));
  auto const t = as_tensor(reversed);
  ASSERT_TRUE(t);
  EXPECT_EQ(std::vector<std::int16_t>(t->as<std::int16_t>()->begin(), t->as<std::int16_t>()->end()),
            (std::vector<std::int16_t>{3, 2, 1, 0}));

  std::array<std::uint8_t, 16> const big{0x3f, 0x80, 0, 0, 0x40, 0, 0, 0, 0x40, 0x40, 0, 0, 0x40, 0x80, 0, 0};  // 1 + 2i, 3 + 4i
  auto const complex = to_value(*tensor_view::make(dtype::complex64, {2}, std::as_bytes(std::span(big)), byte_order::big));
  auto const c = as_tensor(complex);
  ASSERT_TRUE(c);
  std::array<float, 4> parts{};
  std::memcpy(parts.data(), c->data(), sizeof parts);
  EXPECT_EQ(parts, (std::array<float, 4>{1, 2, 3, 4}));
}

TEST(tensor_value, fields_may_come_in_any_order_with_others_between) {
  auto const v =
      value::object({{"data", zeros(8)}, {"device", "cuda:0"}, {"shape", value::list({2})}, {"dtype", "int32"}, {"__tensor__", true}});
  EXPECT_TRUE(is_tensor(v));
}

TEST(tensor_value, says_exactly_what_is_wrong) {
  auto const good = value::list({2});
  EXPECT_EQ(why(tensor_map("int32", good, zeros(8))), "a tensor");
  EXPECT_NE(why(1).find("a tensor is a map"), std::string::npos);
  EXPECT_NE(why(value::object({{"dtype", "int32"}})).find("\"__tensor__\": true"), std::string::npos);
  EXPECT_NE(why(value::object({{"__tensor__", false}})).find("\"__tensor__\": true"), std::string::npos);
  EXPECT_NE(why(value::object({{"__tensor__", 1}})).find("\"__tensor__\": true"), std::string::npos);
  EXPECT_NE(why(value::object({{"__tensor__", true}})).find("no \"dtype\""), std::string::npos);
  EXPECT_NE(why(value::object({{"__tensor__", true}, {"dtype", "int32"}})).find("no \"shape\""), std::string::npos);
  EXPECT_NE(why(value::object({{"__tensor__", true}, {"dtype", "int32"}, {"shape", good}})).find("no \"data\""), std::string::npos);
  EXPECT_NE(why(tensor_map(1, good, zeros(8))).find("\"dtype\" is not a text"), std::string::npos);
  EXPECT_NE(why(tensor_map("torch.int32", good, zeros(8))).find("unknown dtype"), std::string::npos);
  EXPECT_NE(why(tensor_map("int32", 2, zeros(8))).find("\"shape\" is not an array"), std::string::npos);
  EXPECT_NE(why(tensor_map("int32", value::list({2.0}), zeros(8))).find("64-bit integers"), std::string::npos);
  EXPECT_NE(why(tensor_map("int32", value::list({UINT64_MAX}), zeros(8))).find("64-bit integers"), std::string::npos);
  EXPECT_NE(why(tensor_map("int32", value::list({-2}), zeros(8))).find("negative"), std::string::npos);
  EXPECT_NE(why(tensor_map("int32", good, "12345678")).find("\"data\" is not binary"), std::string::npos);
  EXPECT_NE(why(tensor_map("int32", good, zeros(7))).find("not the number of its bytes"), std::string::npos);
  EXPECT_NE(why(tensor_map("int32", good, zeros(9))).find("not the number of its bytes"), std::string::npos);
}

TEST(tensor_value, limits_are_kinds_of_their_own) {
  EXPECT_TRUE(is_tensor(tensor_map("int8", value::array(16, value(1)), zeros(1))));
  EXPECT_TRUE(as_tensor(tensor_map("int8", value::array(17, value(1)), zeros(1))) == error_kind::too_large);
  EXPECT_TRUE(as_tensor(tensor_map("int8", value::array(3, value(std::int64_t{1} << 40)), zeros(1))) == error_kind::too_large);
  EXPECT_TRUE(as_tensor(tensor_map("int8", value::list({-1}), zeros(1))) == error_kind::malformed);
}

TEST(ndarray_value, goes_there_and_back) {
  std::vector<std::byte> const bytes(24, std::byte{5});
  auto const array = ndarray_view::make(*numpy_type::parse("<U3"), {2}, bytes);
  ASSERT_TRUE(array);
  auto const v = to_value(*array);
  EXPECT_EQ(v, value::object({{"__ndarray__", true}, {"dtype", "<U3"}, {"shape", value::list({2})}, {"data", blob::borrow(bytes)}}));
  auto const back = as_ndarray(v);
  ASSERT_TRUE(back);
  EXPECT_TRUE(is_ndarray(v));
  EXPECT_FALSE(is_tensor(v));
  EXPECT_EQ(back->type().text(), "<U3");
  EXPECT_EQ(back->bytes().data(), bytes.data());
  EXPECT_TRUE(back->shape() == (dims{2}));
  EXPECT_TRUE(back->tensor() == error_kind::unsupported);
}

TEST(ndarray_value, converts_to_and_from_tensors) {
  std::vector<double> const numbers{1, 2};
  auto const array = ndarray_view::of(tensor_view::of(std::span(numbers)));
  ASSERT_TRUE(array);
  EXPECT_EQ(array->type().text(), "<f8");
  EXPECT_EQ(array->tensor()->as<double>()->data(), numbers.data());
  std::array<std::uint8_t, 4> const big{0, 0, 1, 0};
  auto const foreign = ndarray_view::make(*numpy_type::parse(">i4"), {1}, std::as_bytes(std::span(big)));
  EXPECT_EQ(foreign->tensor()->order(), byte_order::big);
  auto const swapped = to_value(*foreign->tensor());
  EXPECT_EQ((*as_tensor(swapped)->as<std::int32_t>())[0], 256);
  EXPECT_TRUE(ndarray_view::of(*tensor_view::make(dtype::bfloat16, {0}, {})) == error_kind::unsupported);
  EXPECT_TRUE(ndarray_view::of(*tensor_view::strided(dtype::int8, {2}, {2}, std::as_bytes(std::span(big)))) == error_kind::malformed);
}

TEST(ndarray_value, says_what_is_wrong) {
  auto const map = [](value type, value shape, value data) {
    return value::object({{"__ndarray__", true}, {"dtype", std::move(type)}, {"shape", std::move(shape)}, {"data", std::move(data)}});
  };
  EXPECT_TRUE(is_ndarray(map("<i4", value::list({2}), zeros(8))));
  EXPECT_TRUE(as_ndarray(map("float32", value::list({2}), zeros(8))) == error_kind::malformed);
  EXPECT_TRUE(as_ndarray(map("|O", value::list({1}), zeros(8))) == error_kind::unsupported);
  EXPECT_TRUE(as_ndarray(map("<i4", value::list({3}), zeros(8))) == error_kind::malformed);
  EXPECT_TRUE(as_ndarray(map("<i4", value::list({-1}), zeros(8))) == error_kind::malformed);
  EXPECT_TRUE(as_ndarray(map("<i4", value::array(17, value(1)), zeros(4))) == error_kind::too_large);
  EXPECT_TRUE(as_ndarray(map("<i4", nullptr, zeros(8))) == error_kind::malformed);
  EXPECT_TRUE(as_ndarray(map("<i4", value::list({2}), nullptr)) == error_kind::malformed);
  EXPECT_TRUE(as_ndarray(map(nullptr, value::list({2}), zeros(8))) == error_kind::malformed);
  EXPECT_TRUE(as_ndarray(value::list({})) == error_kind::malformed);
  EXPECT_TRUE(as_ndarray(tensor_map("int8", value::list({2}), zeros(2))) == error_kind::malformed);
}

TEST(image_value, goes_there_and_back) {
  std::vector<std::byte> const pixels(18, std::byte{9});
  auto const image = image_view::make("RGB", {2, 3, 3}, pixels);
  ASSERT_TRUE(image);
  auto const v = to_value(*image);
  EXPECT_EQ(v,
            value::object({{"__pil_image__", true}, {"mode", "RGB"}, {"shape", value::list({2, 3, 3})}, {"data", blob::borrow(pixels)}}));
  auto const back = as_image(v);
  ASSERT_TRUE(back);
  EXPECT_TRUE(is_image(v));
  EXPECT_EQ(back->mode(), "RGB");
  EXPECT_EQ(back->height(), 2);
  EXPECT_EQ(back->width(), 3);
  EXPECT_EQ(back->channels(), 3);
  EXPECT_EQ(back->tensor().elements(), 18U);
  EXPECT_EQ(back->bytes().data(), pixels.data());
  EXPECT_EQ(image_view::make("L", {3, 6}, pixels)->channels(), 1);
  EXPECT_TRUE(image_view::make("some new mode", {3, 6}, pixels));
}

TEST(image_value, says_what_is_wrong) {
  std::vector<std::byte> const pixels(18);
  EXPECT_TRUE(image_view::make("RGB", {18}, pixels) == error_kind::malformed);
  EXPECT_TRUE(image_view::make("RGB", {1, 2, 3, 3}, pixels) == error_kind::malformed);
  EXPECT_TRUE(image_view::make("RGB", {3, 6}, pixels) == error_kind::malformed);
  EXPECT_TRUE(image_view::make("L", {3, 6, 1}, pixels) == error_kind::malformed);
  EXPECT_TRUE(image_view::make("RGBA", {2, 3, 3}, pixels) == error_kind::malformed);
  EXPECT_TRUE(image_view::make("RGB", {2, 2, 3}, pixels) == error_kind::malformed);
  EXPECT_TRUE(image_view::make("RGB", {-2, -3, 3}, pixels) == error_kind::malformed);
  EXPECT_TRUE(as_image(1) == error_kind::malformed);
  EXPECT_TRUE(as_image(value::object({{"mode", "L"}})) == error_kind::malformed);
  auto const map = [](value mode, value shape, value data) {
    return value::object({{"__pil_image__", true}, {"mode", std::move(mode)}, {"shape", std::move(shape)}, {"data", std::move(data)}});
  };
  EXPECT_TRUE(as_image(map(1, value::list({1, 1}), zeros(1))) == error_kind::malformed);
  EXPECT_TRUE(as_image(map("L", 1, zeros(1))) == error_kind::malformed);
  EXPECT_TRUE(as_image(map("L", value::list({1, 1}), "x")) == error_kind::malformed);
  EXPECT_TRUE(is_image(map("L", value::list({1, 1}), zeros(1))));
}

TEST(array_views, a_map_that_only_looks_like_one_stays_what_it_is) {
  value const v = value::object({{"__tensor__", true}, {"note", "mine"}});
  value const copy = v;
  EXPECT_FALSE(is_tensor(v));
  EXPECT_FALSE(is_ndarray(v));
  EXPECT_FALSE(is_image(v));
  EXPECT_EQ(v, copy);
}

}  // namespace
