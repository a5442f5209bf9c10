// SPDX-License-Identifier: Apache-2.0
#include "elements.hpp"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <omniconn/detail/describe.hpp>

namespace tool {

namespace {

using omniconn::dtype;

static_assert(std::endian::native == std::endian::little, "tensors travel little-endian and are read here as they lie");

template <class T>
T load(std::byte const* at) noexcept {
  T out;
  std::memcpy(&out, at, sizeof out);
  return out;
}

template <class T>
std::string number_text(T number) {
  char text[48];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

float from_half(std::uint16_t bits) noexcept {
  float const sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
  int const exponent = bits >> 10U & 31;
  auto const fraction = static_cast<float>(bits & 1023U);
  if (exponent == 31) return fraction != 0 ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

/// Nearest, ties to even, as every FPU does it.
std::uint16_t to_half(double number) noexcept {
  auto const sign = static_cast<std::uint16_t>(std::signbit(number) ? 0x8000 : 0);
  double const size = std::fabs(number);
  if (std::isnan(number)) return 0x7e00;
  if (size >= 65520) return static_cast<std::uint16_t>(sign | 0x7c00);
  if (size < 0x1p-14) return static_cast<std::uint16_t>(sign | static_cast<int>(std::nearbyint(size * 0x1p24)));
  int exponent = 0;
  double const fraction = std::frexp(size, &exponent);  // [0.5, 1)
  auto const mantissa = static_cast<int>(std::nearbyint(fraction * 2048));  // 1024..2048: a carry moves on into the exponent
  return static_cast<std::uint16_t>(sign | (((exponent + 14) << 10) + mantissa - 1024));
}

std::uint16_t to_brain(float number) noexcept {
  auto const bits = std::bit_cast<std::uint32_t>(number);
  if (std::isnan(number)) return 0x7fc0;
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16U & 1U)) >> 16U);
}

float from_brain(std::uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U); }

template <class T>
void append(std::vector<std::byte>& out, T const& element) {
  auto const* at = reinterpret_cast<std::byte const*>(&element);
  out.insert(out.end(), at, at + sizeof element);
}

diagnosis not_a(dtype type, value const& number) {
  return {error_kind::malformed, "\"data\" holds " + omniconn::detail::describe(number) + ", which is no " + std::string(to_string(type))};
}

template <class T>
outcome append_integer(dtype type, value const& number, std::vector<std::byte>& out) {
  if constexpr (std::is_signed_v<T>) {
    auto const n = number.as_int64();
    if (!n || *n < std::numeric_limits<T>::min() || *n > std::numeric_limits<T>::max()) return not_a(type, number);
    append(out, static_cast<T>(*n));
  } else {
    auto const n = number.as_uint64();
    if (!n || *n > std::numeric_limits<T>::max()) return not_a(type, number);
    append(out, static_cast<T>(*n));
  }
  return {};
}

}  // namespace

std::string element_text(dtype type, std::byte const* at) {
  switch (type) {
    case dtype::boolean: return load<std::uint8_t>(at) != 0 ? "true" : "false";
    case dtype::uint8: return number_text(load<std::uint8_t>(at));
    case dtype::int8: return number_text(load<std::int8_t>(at));
    case dtype::uint16: return number_text(load<std::uint16_t>(at));
    case dtype::int16: return number_text(load<std::int16_t>(at));
    case dtype::uint32: return number_text(load<std::uint32_t>(at));
    case dtype::int32: return number_text(load<std::int32_t>(at));
    case dtype::uint64: return number_text(load<std::uint64_t>(at));
    case dtype::int64: return number_text(load<std::int64_t>(at));
    case dtype::float16: return number_text(from_half(load<std::uint16_t>(at)));
    case dtype::bfloat16: return number_text(from_brain(load<std::uint16_t>(at)));
    case dtype::float32: return number_text(load<float>(at));
    case dtype::float64: return number_text(load<double>(at));
    case dtype::complex64: return "(" + number_text(load<float>(at)) + "," + number_text(load<float>(at + 4)) + ")";
    case dtype::complex128: return "(" + number_text(load<double>(at)) + "," + number_text(load<double>(at + 8)) + ")";
    case dtype::float8_e4m3fn:
    case dtype::float8_e4m3fnuz:
    case dtype::float8_e5m2:
    case dtype::float8_e5m2fnuz: {
      constexpr char const* hex = "0123456789abcdef";
      auto const byte = load<std::uint8_t>(at);
      return {'0', 'x', hex[byte >> 4U], hex[byte & 15U]};
    }
  }
  return "?";
}

outcome append_element(dtype type, value const& number, std::vector<std::byte>& out) {
  switch (type) {
    case dtype::boolean: {
      auto const* const yes = number.if_bool();
      if (yes == nullptr) return not_a(type, number);
      out.push_back(static_cast<std::byte>(*yes ? 1 : 0));
      return {};
    }
    case dtype::uint8: return append_integer<std::uint8_t>(type, number, out);
    case dtype::int8: return append_integer<std::int8_t>(type, number, out);
    case dtype::uint16: return append_integer<std::uint16_t>(type, number, out);
    case dtype::int16: return append_integer<std::int16_t>(type, number, out);
    case dtype::uint32: return append_integer<std::uint32_t>(type, number, out);
    case dtype::int32: return append_integer<std::int32_t>(type, number, out);
    case dtype::uint64: return append_integer<std::uint64_t>(type, number, out);
    case dtype::int64: return append_integer<std::int64_t>(type, number, out);
    default: break;
  }
  auto const real = number.as_double();
  if (!real) return not_a(type, number);
  switch (type) {
    case dtype::float16: append(out, to_half(*real)); return {};
    case dtype::bfloat16: append(out, to_brain(static_cast<float>(*real))); return {};
    case dtype::float32: append(out, static_cast<float>(*real)); return {};
    case dtype::float64: append(out, *real); return {};
    default: break;
  }
  return diagnosis(error_kind::unsupported, "elements of " + std::string(to_string(type)) + " cannot be listed; give \"data\" as {\"__bytes__\": \"<base64>\"}");
}

}  // namespace tool
