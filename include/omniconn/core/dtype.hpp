// SPDX-License-Identifier: Apache-2.0
// Element types of tensors, by the names that PyTorch gives them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Element type of a tensor. Numbers are stable inside one major version only; the names travel.
enum class dtype : std::uint8_t {
  boolean,
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  uint64,
  int64,
  float16,
  bfloat16,
  float32,
  float64,
  complex64,
  complex128,
  float8_e4m3fn,
  float8_e4m3fnuz,
  float8_e5m2,
  float8_e5m2fnuz,
};

namespace detail {
struct dtype_facts {
  std::string_view name;
  std::uint8_t size;
};
inline constexpr std::array<dtype_facts, 19> dtype_table{{
    {"bool", 1},
    {"uint8", 1},
    {"int8", 1},
    {"uint16", 2},
    {"int16", 2},
    {"uint32", 4},
    {"int32", 4},
    {"uint64", 8},
    {"int64", 8},
    {"float16", 2},
    {"bfloat16", 2},
    {"float32", 4},
    {"float64", 8},
    {"complex64", 8},
    {"complex128", 16},
    {"float8_e4m3fn", 1},
    {"float8_e4m3fnuz", 1},
    {"float8_e5m2", 1},
    {"float8_e5m2fnuz", 1},
}};
}  // namespace detail

/// Number of dtypes; their values are `[0, dtype_count)`.
inline constexpr std::size_t dtype_count = detail::dtype_table.size();

/// "float32", "bfloat16", ... as `str(torch.dtype)` without "torch.".
constexpr std::string_view to_string(dtype type) noexcept { return detail::dtype_table[static_cast<std::size_t>(type)].name; }

/// Bytes of one element.
constexpr std::size_t size_of(dtype type) noexcept { return detail::dtype_table[static_cast<std::size_t>(type)].size; }

/// The dtype of that name; `malformed` for a name that no dtype has.
constexpr result<dtype> dtype_of(std::string_view name) noexcept {
  for (std::size_t i = 0; i != dtype_count; ++i)
    if (detail::dtype_table[i].name == name) return static_cast<dtype>(i);
  return {error_kind::malformed, "unknown dtype name; the names are PyTorch's without 'torch.', such as float32 or bfloat16"};
}

/// The dtype that a C++ element type stands for. Half-precision types have none: use `tensor_view::bytes`.
template <class T>
inline constexpr bool has_dtype = false;
template <class T>
inline constexpr dtype dtype_for = dtype::uint8;

#define OMNICONN_DTYPE(type, name)                       \
  template <>                                            \
  inline constexpr bool has_dtype<type> = true;          \
  template <>                                            \
  inline constexpr dtype dtype_for<type> = dtype::name
OMNICONN_DTYPE(bool, boolean);
OMNICONN_DTYPE(std::uint8_t, uint8);
OMNICONN_DTYPE(std::int8_t, int8);
OMNICONN_DTYPE(std::uint16_t, uint16);
OMNICONN_DTYPE(std::int16_t, int16);
OMNICONN_DTYPE(std::uint32_t, uint32);
OMNICONN_DTYPE(std::int32_t, int32);
OMNICONN_DTYPE(std::uint64_t, uint64);
OMNICONN_DTYPE(std::int64_t, int64);
OMNICONN_DTYPE(float, float32);
OMNICONN_DTYPE(double, float64);
#undef OMNICONN_DTYPE

OMNICONN_END_NAMESPACE
