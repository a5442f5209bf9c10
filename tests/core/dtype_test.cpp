// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/dtype.hpp>

#include <gtest/gtest.h>

#include <set>
#include <string>

#include <omniconn/core/numpy_type.hpp>

using namespace omniconn;

namespace {

TEST(dtype, names_and_sizes_are_those_of_torch) {
  EXPECT_EQ(to_string(dtype::boolean), "bool");
  EXPECT_EQ(to_string(dtype::bfloat16), "bfloat16");
  EXPECT_EQ(to_string(dtype::float8_e4m3fn), "float8_e4m3fn");
  EXPECT_EQ(to_string(dtype::float8_e5m2fnuz), "float8_e5m2fnuz");
  EXPECT_EQ(to_string(dtype::complex128), "complex128");
  EXPECT_EQ(size_of(dtype::boolean), 1U);
  EXPECT_EQ(size_of(dtype::float16), 2U);
  EXPECT_EQ(size_of(dtype::bfloat16), 2U);
  EXPECT_EQ(size_of(dtype::float8_e5m2), 1U);
  EXPECT_EQ(size_of(dtype::int64), 8U);
  EXPECT_EQ(size_of(dtype::complex64), 8U);
  EXPECT_EQ(size_of(dtype::complex128), 16U);
}

TEST(dtype, every_name_leads_back_to_its_dtype) {
  std::set<std::string> names;
  for (std::size_t i = 0; i != dtype_count; ++i) {
    auto const type = static_cast<dtype>(i);
    names.emplace(to_string(type));
    ASSERT_TRUE(dtype_of(to_string(type)));
    EXPECT_EQ(*dtype_of(to_string(type)), type);
  }
  EXPECT_EQ(names.size(), dtype_count);
}

TEST(dtype, other_names_are_malformed) {
  for (auto const* name : {"", "float", "Float32", "torch.float32", "float32 ", "float33", "uint4"})
    EXPECT_TRUE(dtype_of(name) == error_kind::malformed) << name;
}

TEST(dtype, element_types_have_theirs) {
  static_assert(dtype_for<float> == dtype::float32 && dtype_for<double> == dtype::float64 && dtype_for<bool> == dtype::boolean);
  static_assert(dtype_for<std::int8_t> == dtype::int8 && dtype_for<std::uint64_t> == dtype::uint64);
  static_assert(has_dtype<float> && !has_dtype<long double> && !has_dtype<char*>);
  EXPECT_EQ(size_of(dtype_for<std::int16_t>), sizeof(std::int16_t));
}

struct numpy_case {
  char const* text;
  char kind;
  std::size_t size;
  byte_order order;
  char const* unit;
};

TEST(numpy_type, reads_what_numpy_writes) {
  for (auto const& c : {numpy_case{"|b1", 'b', 1, byte_order::little, ""}, numpy_case{"|u1", 'u', 1, byte_order::little, ""},
                        numpy_case{"<i2", 'i', 2, byte_order::little, ""}, numpy_case{">i4", 'i', 4, byte_order::big, ""},
                        numpy_case{"<f8", 'f', 8, byte_order::little, ""}, numpy_case{"<f16", 'f', 16, byte_order::little, ""},
                        numpy_case{"<c8", 'c', 8, byte_order::little, ""}, numpy_case{"<c32", 'c', 32, byte_order::little, ""},
                        numpy_case{"<U3", 'U', 12, byte_order::little, ""}, numpy_case{"<U0", 'U', 0, byte_order::little, ""},
                        numpy_case{"|S2", 'S', 2, byte_order::little, ""}, numpy_case{"|S1000", 'S', 1000, byte_order::little, ""},
                        numpy_case{"<M8[s]", 'M', 8, byte_order::little, "s"}, numpy_case{">m8[25us]", 'm', 8, byte_order::big, "25us"},
                        numpy_case{"<M8", 'M', 8, byte_order::little, ""}}) {
    auto const type = numpy_type::parse(c.text);
    ASSERT_TRUE(type.has_value()) << c.text << ": " << type.error().message();
    EXPECT_EQ(type->text(), c.text);
    EXPECT_EQ(type->kind(), c.kind) << c.text;
    EXPECT_EQ(type->item_size(), c.size) << c.text;
    EXPECT_EQ(type->order(), c.order) << c.text;
    EXPECT_EQ(type->unit(), c.unit) << c.text;
  }
}

TEST(numpy_type, refuses_the_rest) {
  for (auto const* text : {"",
                           "<",
                           "<f",
                           "f4",
                           "=f4",
                           "<f3",
                           "<f4 ",
                           "<f4[s]",
                           "|f4",
                           "|U3",
                           "<b2",
                           "<i16",
                           "<x4",
                           "<M4[s]",
                           "<M8[",
                           "<M8[]",
                           "<M8[s",
                           "<M8[s]x",
                           "<M8[s;]",
                           "<S99999999999",
                           "<U2147483647",
                           "<M8[this unit is far too long to be one]"})
    EXPECT_TRUE(numpy_type::parse(text) == error_kind::malformed) << text;
  EXPECT_TRUE(numpy_type::parse("|O") == error_kind::unsupported);
  EXPECT_TRUE(numpy_type::parse("|V8") == error_kind::unsupported);
}

TEST(numpy_type, corresponds_to_dtypes) {
  for (std::size_t i = 0; i != dtype_count; ++i) {
    auto const type = static_cast<dtype>(i);
    auto const name = numpy_type::of(type, byte_order::little);
    if (to_string(type).find("float8") != std::string_view::npos || type == dtype::bfloat16) {
      EXPECT_TRUE(name == error_kind::unsupported) << to_string(type);
      continue;
    }
    ASSERT_TRUE(name.has_value()) << to_string(type);
    EXPECT_EQ(name->item_size(), size_of(type));
    ASSERT_TRUE(name->element().has_value()) << name->text();
    EXPECT_EQ(*name->element(), type);
  }
  EXPECT_EQ(numpy_type::of(dtype::float32, byte_order::big)->text(), ">f4");
  EXPECT_EQ(numpy_type::of(dtype::int8, byte_order::big)->text(), "|i1");
  EXPECT_EQ(numpy_type::of(dtype::complex128, byte_order::little)->text(), "<c16");
  for (auto const* text : {"<U1", "|S1", "<f16", "<c32", "<M8[s]", "<m8[ns]"})
    EXPECT_TRUE(numpy_type::parse(text)->element() == error_kind::unsupported) << text;
}

}  // namespace
