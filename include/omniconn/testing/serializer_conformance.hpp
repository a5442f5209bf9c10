// SPDX-License-Identifier: Apache-2.0
// The tests that every Serializer has to pass, yours too:
//
//     #include <omniconn/testing/serializer_conformance.hpp>
//     using namespace omniconn;
//     INSTANTIATE_TYPED_TEST_SUITE_P(mine, serializer_conformance, my_serializer);
//
// A case skips, saying "capability: ...", only where `serializes` or `deserializes` says that the model lacks what it is about.
#pragma once

#if !__has_include(<gtest/gtest.h>)
#error "omniconn: the conformance suites need GoogleTest: install Debian's package libgtest-dev and link GTest::gtest_main"
#endif
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/dtype.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/core/tensor_value.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/serializer/concept.hpp>
#include <omniconn/testing/payloads.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The options a model is tested with. Specialise it where the defaults are not what you want tested.
template <class S>
struct serializer_conformance_options {
  static typename S::options make() { return {}; }
};

template <class S>
class serializer_conformance : public ::testing::Test {
 protected:
  using serializer = S;
  static constexpr bool reads_bytes = deserializes<S, const_bytes> || deserializes<S, std::vector<std::byte>>;
  static constexpr bool values = serializes<S, value> && deserializes<S, value>;
  static constexpr bool tensors = serializes<S, tensor_view> && deserializes<S, tensor_view>;

  static S make() { return S(serializer_conformance_options<S>::make()); }

  template <class P>
  static detail::delivered encode(P const& payload) {
    gather_list list;
    auto const kind = make().encode(payload, list);
    EXPECT_TRUE(kind.has_value()) << kind.error().message();
    std::size_t sum = 0;
    for (auto const& part : list.parts()) sum += part.size();
    EXPECT_EQ(list.size(), sum);
    return {kind.value_or(payload_kind::raw), list};
  }

  static result<std::vector<std::byte>> decode_bytes(encoded from) {
    if constexpr (deserializes<S, std::vector<std::byte>>) {
      return make().template decode<std::vector<std::byte>>(from);
    } else {
      auto const bytes = make().template decode<const_bytes>(from);
      if (!bytes) return bytes.error();
      return std::vector<std::byte>(bytes->begin(), bytes->end());
    }
  }

  /// Decodes as everything that the model can; what comes is a value or an error that speaks of the bytes.
  static void decode_hostile(encoded from) {
    auto const check = [](auto const& got) {
      if (got) return;
      switch (got.error().kind()) {
        case error_kind::malformed:
        case error_kind::corrupt:
        case error_kind::too_large:
        case error_kind::version_mismatch:
        case error_kind::unsupported: return;
        default: ADD_FAILURE() << "an error kind that does not speak of the bytes: " << got.error().message();
      }
    };
    if constexpr (deserializes<S, const_bytes>) check(make().template decode<const_bytes>(from));
    if constexpr (deserializes<S, std::vector<std::byte>>) check(make().template decode<std::vector<std::byte>>(from));
    if constexpr (deserializes<S, value>) check(make().template decode<value>(from));
    if constexpr (deserializes<S, tensor_view>) check(make().template decode<tensor_view>(from));
    if constexpr (deserializes<S, std::string>) check(make().template decode<std::string>(from));
    if constexpr (deserializes<S, std::vector<float>>) check(make().template decode<std::vector<float>>(from));
  }

  /// One payload of each sort that the model writes.
  static std::vector<detail::delivered> samples() {
    std::vector<detail::delivered> out;
    detail::test_numbers numbers(2);
    auto const bytes = numbers.bytes(600);
    out.push_back(encode(const_bytes(bytes)));
    if constexpr (serializes<S, value>)
      out.push_back(encode(value::object({{"n", 300},
                                          {"x", 0.5},
                                          {"t", std::string(40, 't')},
                                          {"b", blob::borrow(const_bytes(bytes).first(20))},
                                          {"e", extension{5, blob::borrow(const_bytes(bytes).first(9))}},
                                          {"l", value::list({nullptr, true, -70000})}})));
    if constexpr (serializes<S, tensor_view>)
      out.push_back(encode(*tensor_view::make(dtype::float32, {5, 3}, const_bytes(bytes).first(60))));
    return out;
  }
};

TYPED_TEST_SUITE_P(serializer_conformance);

TYPED_TEST_P(serializer_conformance, models_the_concept) {
  static_assert(explain_serializer<TypeParam>());
  EXPECT_FALSE(std::string_view(TypeParam::name).empty());
  auto const one = this->make();
  auto const copy = one;
  std::array<std::byte, 3> const bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  gather_list a, b;
  ASSERT_TRUE(one.encode(const_bytes(bytes), a));
  ASSERT_TRUE(copy.encode(const_bytes(bytes), b));
  EXPECT_TRUE(detail::same_bytes(detail::delivered(payload_kind::raw, a).bytes(), detail::delivered(payload_kind::raw, b).bytes()));
}

TYPED_TEST_P(serializer_conformance, bytes_of_any_size_and_alignment_come_back) {
  if constexpr (!TestFixture::reads_bytes) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " cannot decode bytes";
  } else {
    for (std::size_t const size : {0U, 1U, 2U, 7U, 31U, 32U, 255U, 256U, 511U, 512U, 513U, 4095U, 65535U, 65536U, 1U << 20}) {
      detail::test_numbers numbers(size);
      auto const memory = numbers.bytes(size + 8);
      for (std::size_t const offset : {0U, 1U, 3U, 8U}) {
        auto const source = const_bytes(memory).subspan(offset, size);
        auto const payload = this->encode(source);
        auto const got = this->decode_bytes(payload.get());
        ASSERT_TRUE(got.has_value()) << size << " bytes: " << got.error().message();
        EXPECT_TRUE(detail::same_bytes(*got, source)) << size << " bytes at offset " << offset;
      }
    }
  }
}

TYPED_TEST_P(serializer_conformance, encodes_behind_what_the_list_holds) {
  auto const bytes = detail::test_numbers(3).bytes(3000);
  auto const alone = this->encode(const_bytes(bytes));
  gather_list list;
  list.copy(bytes_of(std::string_view("before")));
  ASSERT_TRUE(this->make().encode(const_bytes(bytes), list));
  detail::delivered const both(alone.kind(), list);
  ASSERT_EQ(both.bytes().size(), alone.bytes().size() + 6);
  EXPECT_EQ(text_of(both.bytes().first(6)), "before");
  EXPECT_TRUE(detail::same_bytes(both.bytes().subspan(6), alone.bytes()));
}

TYPED_TEST_P(serializer_conformance, big_parts_are_referenced) {
  auto const bytes = detail::test_numbers(4).bytes(1 << 20);
  gather_list list;
  ASSERT_TRUE(this->make().encode(const_bytes(bytes), list));
  std::size_t copied = 0;
  for (auto const& part : list.parts())
    if (!detail::lies_inside(part, bytes)) copied += part.size();
  EXPECT_LE(copied, 4096U) << "the list holds copies of the source";
}

TYPED_TEST_P(serializer_conformance, decoded_bytes_borrow_the_payload) {
  if constexpr (!deserializes<TypeParam, const_bytes>) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " cannot decode bytes by reference";
  } else {
    auto const bytes = detail::test_numbers(5).bytes(100000);
    auto const payload = this->encode(const_bytes(bytes));
    auto const got = this->make().template decode<const_bytes>(payload.get());
    ASSERT_TRUE(got.has_value()) << got.error().message();
    EXPECT_TRUE(detail::lies_inside(*got, payload.bytes()));
    EXPECT_TRUE(detail::same_bytes(*got, bytes));
  }
}

TYPED_TEST_P(serializer_conformance, truncated_payloads_are_an_error_or_a_value) {
  for (auto const& whole : this->samples())
    for (std::size_t size = 0; size != whole.bytes().size(); ++size) {
      detail::delivered const part(whole.kind(), whole.bytes().first(size));
      this->decode_hostile(part.get());
    }
}

TYPED_TEST_P(serializer_conformance, damaged_payloads_are_an_error_or_a_value) {
  detail::test_numbers numbers(6);
  for (auto const& whole : this->samples())
    for (int i = 0; i != 3000; ++i) {
      std::vector<std::byte> bytes(whole.bytes().begin(), whole.bytes().end());
      for (std::uint64_t hits = numbers.next() % 4 + 1; hits != 0; --hits)
        bytes[numbers.next() % bytes.size()] = static_cast<std::byte>(numbers.next());
      detail::delivered const damaged(whole.kind(), bytes);
      this->decode_hostile(damaged.get());
    }
}

TYPED_TEST_P(serializer_conformance, random_bytes_are_an_error_or_a_value) {
  detail::test_numbers numbers(7);
  for (int i = 0; i != 3000; ++i) {
    detail::delivered const noise(i % 2 == 0 ? payload_kind::object : payload_kind::raw, numbers.bytes(numbers.next() % 64));
    this->decode_hostile(noise.get());
  }
}

TYPED_TEST_P(serializer_conformance, values_come_back) {
  if constexpr (!TestFixture::values) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " does not carry values";
  } else {
    for (auto const& sent : detail::test_values()) {
      auto const payload = this->encode(sent);
      auto const got = this->make().template decode<value>(payload.get());
      ASSERT_TRUE(got.has_value()) << to_string(sent.kind()) << ": " << got.error().message();
      EXPECT_TRUE(*got == sent) << to_string(sent.kind()) << " of " << sent.size() << " parts";
      EXPECT_TRUE(detail::same_bytes(this->encode(*got).bytes(), payload.bytes())) << "encoding again gives other bytes";
    }
  }
}

TYPED_TEST_P(serializer_conformance, values_share_big_binaries) {
  if constexpr (!TestFixture::values) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " does not carry values";
  } else {
    auto const bytes = detail::test_numbers(8).bytes(1 << 20);
    value const sent = value::object({{"a", 1}, {"data", blob::borrow(bytes)}, {"z", 2}});
    gather_list list;
    auto const kind = this->make().encode(sent, list);
    ASSERT_TRUE(kind.has_value()) << kind.error().message();
    std::size_t copied = 0;
    for (auto const& part : list.parts())
      if (!detail::lies_inside(part, bytes)) copied += part.size();
    EXPECT_LE(copied, 4096U);
    detail::delivered const payload(*kind, list);
    auto const got = this->make().template decode<value>(payload.get());
    ASSERT_TRUE(got.has_value()) << got.error().message();
    ASSERT_NE(got->find("data"), nullptr);
    ASSERT_NE(got->find("data")->if_binary(), nullptr);
    EXPECT_TRUE(detail::lies_inside(got->find("data")->if_binary()->bytes(), payload.bytes()));
  }
}

TYPED_TEST_P(serializer_conformance, tensors_of_every_dtype_come_back) {
  if constexpr (!TestFixture::tensors) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " does not carry tensors";
  } else {
    for (std::size_t t = 0; t != dtype_count; ++t) {
      auto const type = static_cast<dtype>(t);
      for (dims const& shape : {dims{}, dims{0}, dims{1}, dims{2, 3}, dims{0, 4}, dims{1, 2, 1, 5}, dims{64, 64}}) {
        auto const bytes = detail::test_numbers(t).bytes(static_cast<std::size_t>(*byte_count(shape, size_of(type))));
        auto const sent = *tensor_view::make(type, shape, bytes);
        auto const payload = this->encode(sent);
        auto const got = this->make().template decode<tensor_view>(payload.get());
        ASSERT_TRUE(got.has_value()) << to_string(type) << ": " << got.error().message();
        EXPECT_EQ(got->type(), type);
        EXPECT_TRUE(got->shape() == shape) << to_string(type) << " of rank " << shape.rank();
        EXPECT_TRUE(detail::same_bytes(got->bytes(), bytes)) << to_string(type);
        EXPECT_TRUE(bytes.empty() || detail::lies_inside(got->bytes(), payload.bytes())) << "the decoded tensor is a copy";
      }
    }
  }
}

TYPED_TEST_P(serializer_conformance, tensors_of_any_layout_come_back_contiguous) {
  if constexpr (!TestFixture::tensors) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " does not carry tensors";
  } else {
    std::vector<std::int32_t> const numbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    std::vector<std::int32_t> const expected{11, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0};  // transposed and reversed
    auto const sent = *tensor_view::strided(dtype::int32, {4, 3}, {-4, -16}, std::as_bytes(std::span(numbers)), 44);
    auto const payload = this->encode(sent);
    auto const got = this->make().template decode<tensor_view>(payload.get());
    ASSERT_TRUE(got.has_value()) << got.error().message();
    ASSERT_TRUE(got->shape() == (dims{4, 3}));
    EXPECT_TRUE(detail::same_bytes(got->bytes(), std::as_bytes(std::span(expected))));
  }
}

TYPED_TEST_P(serializer_conformance, big_tensors_are_referenced) {
  if constexpr (!serializes<TypeParam, tensor_view>) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " does not encode tensors";
  } else {
    std::vector<float> const numbers(1 << 18, 1.5F);
    gather_list list;
    ASSERT_TRUE(this->make().encode(tensor_view::of(std::span(numbers)), list));
    std::size_t copied = 0;
    for (auto const& part : list.parts())
      if (!detail::lies_inside(part, std::as_bytes(std::span(numbers)))) copied += part.size();
    EXPECT_LE(copied, 4096U);
  }
}

TYPED_TEST_P(serializer_conformance, calls_run_together) {
  if constexpr (!TestFixture::reads_bytes) {
    GTEST_SKIP() << "capability: " << TypeParam::name << " cannot decode bytes";
  } else {
    auto const shared = this->make();
    std::array<std::vector<std::byte>, 4> sources;
    for (std::size_t i = 0; i != sources.size(); ++i) sources[i] = detail::test_numbers(i).bytes(1000 + i);
    std::array<int, 4> good{};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i != sources.size(); ++i)
      threads.emplace_back([&, i] {
        for (int n = 0; n != 200; ++n) {
          gather_list list;
          auto const kind = shared.encode(const_bytes(sources[i]), list);
          if (!kind) continue;
          detail::delivered const payload(*kind, list);
          auto const got = this->decode_bytes(payload.get());
          if (got && detail::same_bytes(*got, sources[i])) ++good[i];
        }
      });
    for (auto& t : threads) t.join();
    EXPECT_EQ(good, (std::array{200, 200, 200, 200}));
  }
}

REGISTER_TYPED_TEST_SUITE_P(serializer_conformance, models_the_concept, bytes_of_any_size_and_alignment_come_back,
                            encodes_behind_what_the_list_holds, big_parts_are_referenced, decoded_bytes_borrow_the_payload,
                            truncated_payloads_are_an_error_or_a_value, damaged_payloads_are_an_error_or_a_value,
                            random_bytes_are_an_error_or_a_value, values_come_back, values_share_big_binaries,
                            tensors_of_every_dtype_come_back, tensors_of_any_layout_come_back_contiguous, big_tensors_are_referenced,
                            calls_run_together);

OMNICONN_END_NAMESPACE
