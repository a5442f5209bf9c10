// SPDX-License-Identifier: Apache-2.0
#include <omniconn/serializer/raw.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/core/value.hpp>

#include "bytes.hpp"

using namespace omniconn;

namespace {

struct point {
  std::int32_t x = 0, y = 0;
  friend bool operator==(point const&, point const&) = default;
};

static_assert(serializer_policy<raw_serializer> && explain_serializer<raw_serializer>());
static_assert(serializes<raw_serializer, std::vector<float>> && deserializes<raw_serializer, std::vector<float>>);
static_assert(serializes<raw_serializer, std::vector<point>> && deserializes<raw_serializer, std::vector<point>>);
static_assert(serializes<raw_serializer, std::span<float const>> && serializes<raw_serializer, std::span<int, 3>>);
static_assert(serializes<raw_serializer, std::string_view> && !deserializes<raw_serializer, std::string_view>);
static_assert(serializes<raw_serializer, tensor_view> && !deserializes<raw_serializer, tensor_view>);
// What has no bytes of its own, or not here.
static_assert(!serializes<raw_serializer, value> && !serializes<raw_serializer, int> && !serializes<raw_serializer, char const*>);
static_assert(!serializes<raw_serializer, std::vector<std::string>> && !serializes<raw_serializer, std::vector<bool>>);
static_assert(!serializes<raw_serializer, std::vector<char const*>> && !serializes<raw_serializer, std::vector<std::string_view>>);
static_assert(!serializes<raw_serializer, std::span<std::span<int> const>> && !deserializes<raw_serializer, std::vector<int*>>);

template <class P>
std::string sent(P const& payload) {
  gather_list list;
  auto const kind = raw_serializer().encode(payload, list);
  EXPECT_TRUE(kind && *kind == payload_kind::raw);
  auto const bytes = test::joined(list);
  return std::string(text_of(bytes));
}

TEST(raw_serializer, sends_bytes_and_texts_as_they_are) {
  std::string const text("a\0b", 3);
  EXPECT_EQ(sent(text), text);
  EXPECT_EQ(sent(std::string_view(text)), text);
  EXPECT_EQ(sent(const_bytes(bytes_of(text))), text);
  EXPECT_EQ(sent(blob::copy(bytes_of(text))), text);
  EXPECT_EQ(sent(std::string()), "");
  gather_list list;
  ASSERT_TRUE(raw_serializer().encode(text, list));
  EXPECT_EQ(list.parts()[0].data(), bytes_of(text).data());
}

TEST(raw_serializer, sends_elements_by_reference) {
  std::vector<point> const points{{1, 2}, {3, 4}};
  gather_list list;
  ASSERT_TRUE(raw_serializer().encode(points, list));
  ASSERT_EQ(list.parts().size(), 1U);
  EXPECT_EQ(list.parts()[0].data(), std::as_bytes(std::span(points)).data());
  EXPECT_EQ(list.size(), 16U);
  std::array<std::uint16_t, 2> numbers{1, 2};
  EXPECT_EQ(sent(std::span(numbers)), std::string("\1\0\2\0", 4));
}

TEST(raw_serializer, sends_the_elements_of_a_tensor) {
  std::vector<std::uint8_t> const numbers{1, 2, 3, 4};
  auto const whole = tensor_view::of(std::span(numbers));
  gather_list list;
  ASSERT_TRUE(raw_serializer().encode(whole, list));
  EXPECT_EQ(list.parts()[0].data(), whole.data());
  gather_list copied;
  {
    auto const transposed = *tensor_view::strided(dtype::uint8, {2, 2}, {1, 2}, std::as_bytes(std::span(numbers)));
    ASSERT_TRUE(raw_serializer().encode(transposed, copied));
  }
  EXPECT_EQ(test::to_hex(test::joined(copied)), "01030204");
  EXPECT_EQ(sent(tensor_view()), "");
}

TEST(raw_serializer, keeps_a_blob_alive) {
  auto owner = std::make_shared<std::string>("alive");
  std::weak_ptr<std::string> const alive = owner;
  gather_list list;
  ASSERT_TRUE(raw_serializer().encode(blob::share(bytes_of(*owner), owner), list));
  owner.reset();
  EXPECT_FALSE(alive.expired());
}

TEST(raw_serializer, reads_bytes_of_any_payload) {
  std::string const text = "12345";
  for (auto const kind : {payload_kind::raw, payload_kind::object}) {
    encoded const from{kind, bytes_of(text)};
    auto const view = raw_serializer().decode<const_bytes>(from);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->data(), bytes_of(text).data());
    EXPECT_EQ(view->size(), 5U);
    auto const copy = raw_serializer().decode<std::vector<std::byte>>(from);
    ASSERT_TRUE(copy);
    EXPECT_EQ(text_of(*copy), text);
  }
}

TEST(raw_serializer, reads_texts_and_elements_of_raw_payloads_only) {
  std::vector<point> const points{{1, 2}, {3, 4}};
  auto const bytes = std::as_bytes(std::span(points));
  EXPECT_EQ(*raw_serializer().decode<std::vector<point>>({payload_kind::raw, bytes}), points);
  EXPECT_EQ(raw_serializer().decode<std::string>({payload_kind::raw, bytes})->size(), 16U);
  EXPECT_TRUE(raw_serializer().decode<std::vector<point>>({payload_kind::object, bytes}) == error_kind::malformed);
  EXPECT_TRUE(raw_serializer().decode<std::string>({payload_kind::object, bytes}) == error_kind::malformed);
}

TEST(raw_serializer, a_part_of_an_element_is_malformed) {
  std::vector<std::byte> const bytes(15);
  EXPECT_TRUE(raw_serializer().decode<std::vector<point>>({payload_kind::raw, bytes}) == error_kind::malformed);
  EXPECT_TRUE(raw_serializer().decode<std::vector<double>>({payload_kind::raw, bytes}) == error_kind::malformed);
  EXPECT_TRUE(raw_serializer().decode<std::vector<std::uint8_t>>({payload_kind::raw, bytes}));
  EXPECT_TRUE(raw_serializer().decode<std::vector<double>>({payload_kind::raw, {}})->empty());
}

TEST(raw_serializer, reads_elements_from_any_address) {
  std::vector<std::byte> const memory(17, std::byte{1});
  auto const numbers = raw_serializer().decode<std::vector<std::uint64_t>>({payload_kind::raw, const_bytes(memory).subspan(1)});
  ASSERT_TRUE(numbers);
  EXPECT_EQ((*numbers)[1], 0x0101010101010101U);
}

}  // namespace
