// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/tensor.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

using namespace omniconn;

namespace {

std::vector<std::int32_t> counted(std::size_t size) {
  std::vector<std::int32_t> out(size);
  std::iota(out.begin(), out.end(), 0);
  return out;
}
template <class T>
const_bytes of(std::vector<T> const& v) {
  return std::as_bytes(std::span(v));
}
std::vector<std::int32_t> copied(tensor_view const& t) {
  std::vector<std::int32_t> out(t.elements());
  t.copy_to(std::as_writable_bytes(std::span(out)));
  return out;
}

TEST(dims, hold_up_to_sixteen) {
  std::vector<std::int64_t> const sixteen(16, 1), seventeen(17, 1);
  ASSERT_TRUE(dims::of(sixteen));
  EXPECT_EQ(dims::of(sixteen)->rank(), 16U);
  EXPECT_TRUE(dims::of(seventeen) == error_kind::too_large);
  dims d{2, 3};
  d.push_back(4);
  EXPECT_TRUE(d == (dims{2, 3, 4}));
  EXPECT_FALSE(d == (dims{2, 3}));
  EXPECT_FALSE(d == (dims{2, 3, 5}));
  EXPECT_EQ(std::accumulate(d.begin(), d.end(), std::int64_t{0}), 9);
}

TEST(byte_count, is_checked_at_every_step) {
  EXPECT_EQ(*byte_count({}, 4), 4U);
  EXPECT_EQ(*byte_count({2, 3}, 4), 24U);
  EXPECT_EQ(*byte_count({0, std::numeric_limits<std::int64_t>::max()}, 8), 0U);
  EXPECT_TRUE(byte_count({2, -1}, 4) == error_kind::malformed);
  EXPECT_TRUE(byte_count({0, -1}, 4) == error_kind::malformed);
  EXPECT_TRUE(byte_count({std::int64_t{1} << 62, 2}, 1) == error_kind::too_large);
  EXPECT_TRUE(byte_count({std::int64_t{1} << 32, std::int64_t{1} << 32}, 1) == error_kind::too_large);
  EXPECT_TRUE(byte_count({std::int64_t{1} << 32, std::int64_t{1} << 32, std::int64_t{1} << 32}, 1) == error_kind::too_large);
  EXPECT_EQ(*byte_count({std::numeric_limits<std::int64_t>::max()}, 1),
            static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  EXPECT_TRUE(byte_count({std::numeric_limits<std::int64_t>::max()}, 2) == error_kind::too_large);
}

TEST(tensor_view, is_made_over_exactly_its_bytes) {
  auto const numbers = counted(6);
  auto const t = tensor_view::make(dtype::int32, {2, 3}, of(numbers));
  ASSERT_TRUE(t);
  EXPECT_EQ(t->elements(), 6U);
  EXPECT_EQ(t->size_bytes(), 24U);
  EXPECT_EQ(t->rank(), 2U);
  EXPECT_TRUE(t->byte_strides() == (dims{12, 4}));
  EXPECT_TRUE(t->is_contiguous());
  EXPECT_EQ(t->data(), of(numbers).data());
  EXPECT_EQ(t->bytes().size(), 24U);
  EXPECT_TRUE(tensor_view::make(dtype::int32, {2, 2}, of(numbers)) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::make(dtype::int32, {3, 3}, of(numbers)) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::make(dtype::int32, {-2, -3}, of(numbers)) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::make(dtype::int32, {std::int64_t{1} << 61}, of(numbers)) == error_kind::too_large);
}

TEST(tensor_view, scalars_and_empty_ones) {
  std::int64_t const seven = 7;
  auto const scalar = tensor_view::make(dtype::int64, {}, std::as_bytes(std::span(&seven, 1)));
  ASSERT_TRUE(scalar);
  EXPECT_EQ(scalar->elements(), 1U);
  EXPECT_EQ((*scalar->as<std::int64_t>())[0], 7);
  auto const empty = tensor_view::make(dtype::float16, {0, 4}, {});
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->elements(), 0U);
  EXPECT_TRUE(empty->is_contiguous());
  EXPECT_TRUE(empty->bytes().empty());
  EXPECT_TRUE(tensor_view().bytes().empty());
  EXPECT_EQ(tensor_view().elements(), 0U);
}

TEST(tensor_view, as_gives_elements_or_says_why_not) {
  auto const numbers = counted(6);
  auto const t = tensor_view::of(std::span(numbers));
  ASSERT_TRUE(t.as<std::int32_t>());
  EXPECT_EQ(t.as<std::int32_t>()->data(), numbers.data());
  EXPECT_EQ(t.as<std::int32_t>()->size(), 6U);
  EXPECT_TRUE(t.as<float>() == error_kind::malformed);
  auto const foreign = tensor_view::make(dtype::int32, {6}, of(numbers), byte_order::big);
  EXPECT_TRUE(foreign->as<std::int32_t>() == error_kind::malformed);
  auto const strided = tensor_view::strided(dtype::int32, {3}, {8}, of(numbers));
  EXPECT_TRUE(strided->as<std::int32_t>() == error_kind::malformed);
  auto const askew = tensor_view::make(dtype::int32, {5}, of(numbers).subspan(1, 20));
  EXPECT_TRUE(askew->as<std::int32_t>() == error_kind::misconfigured);
}

TEST(tensor_view, strides_are_followed_and_copied_in_order) {
  auto const numbers = counted(12);  // 3 x 4
  auto const transposed = tensor_view::strided(dtype::int32, {4, 3}, {4, 16}, of(numbers));
  ASSERT_TRUE(transposed);
  EXPECT_FALSE(transposed->is_contiguous());
  EXPECT_TRUE(transposed->bytes().empty());
  EXPECT_EQ(copied(*transposed), (std::vector<std::int32_t>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  auto const columns = tensor_view::strided(dtype::int32, {3, 2}, {16, 4}, of(numbers), 4);
  EXPECT_EQ(copied(*columns), (std::vector<std::int32_t>{1, 2, 5, 6, 9, 10}));
  auto const reversed = tensor_view::strided(dtype::int32, {12}, {-4}, of(numbers), 44);
  EXPECT_EQ(copied(*reversed), (std::vector<std::int32_t>{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}));
  auto const repeated = tensor_view::strided(dtype::int32, {2, 3}, {0, 4}, of(numbers));
  EXPECT_EQ(copied(*repeated), (std::vector<std::int32_t>{0, 1, 2, 0, 1, 2}));
  auto const same = tensor_view::strided(dtype::int32, {3, 4}, {16, 4}, of(numbers));
  EXPECT_TRUE(same->is_contiguous());
  EXPECT_EQ(copied(*same), numbers);
}

TEST(tensor_view, dimensions_of_one_do_not_break_contiguity) {
  auto const numbers = counted(4);
  auto const t = tensor_view::strided(dtype::int32, {1, 4, 1}, {1000, 4, -8}, of(numbers));
  ASSERT_TRUE(t);
  EXPECT_TRUE(t->is_contiguous());
  EXPECT_EQ(t->bytes().size(), 16U);
}

TEST(tensor_view, strides_may_not_reach_outside) {
  auto const numbers = counted(12);
  auto const all = of(numbers);
  constexpr auto huge = std::numeric_limits<std::int64_t>::max();
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {12}, {4}, all));
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {13}, {4}, all) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {12}, {4}, all, 1) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {2}, {-4}, all) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {3}, {huge}, all) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {2, 2}, {huge, huge}, all) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {2, 2}, {huge, -huge}, all) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {1}, {4}, all, 45) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {1}, {4}, all, std::numeric_limits<std::size_t>::max()) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {2}, {4, 4}, all) == error_kind::malformed);
  EXPECT_TRUE(tensor_view::strided(dtype::int32, {-2}, {4}, all) == error_kind::malformed);
  auto const empty = tensor_view::strided(dtype::int32, {0, 5}, {huge, huge}, {}, 99);
  ASSERT_TRUE(empty) << "an empty tensor touches nothing";
  EXPECT_EQ(empty->elements(), 0U);
}

}  // namespace
