// SPDX-License-Identifier: Apache-2.0
// What tests of Serializers have in common: repeatable bytes, payloads as delivered, values of every kind.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/serializer/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// The same bytes on every machine and in every run.
class test_numbers {
 public:
  explicit test_numbers(std::uint64_t seed) noexcept : state_(seed * 0x9e3779b97f4a7c15U + 1) {}
  std::uint64_t next() noexcept {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  std::vector<std::byte> bytes(std::size_t size) {
    std::vector<std::byte> out(size);
    for (auto& b : out) b = static_cast<std::byte>(next() >> 32);
    return out;
  }

 private:
  std::uint64_t state_;
};

inline bool lies_inside(const_bytes part, const_bytes whole) noexcept {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}
inline bool same_bytes(const_bytes a, const_bytes b) noexcept { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

/// A payload as a transport would hand it over: in memory of exactly its size, so that a sanitizer sees each byte read too far.
class delivered {
 public:
  delivered(payload_kind kind, const_bytes bytes) : kind_(kind), size_(bytes.size()), memory_(std::make_unique<std::byte[]>(bytes.size())) {
    std::copy(bytes.begin(), bytes.end(), memory_.get());
  }
  delivered(payload_kind kind, gather_list const& list)
      : kind_(kind), size_(list.size()), memory_(std::make_unique<std::byte[]>(list.size())) {
    auto* to = memory_.get();
    for (auto const& part : list.parts()) to = std::copy(part.begin(), part.end(), to);
  }
  [[nodiscard]] const_bytes bytes() const noexcept { return {memory_.get(), size_}; }
  [[nodiscard]] encoded get() const noexcept { return {kind_, bytes()}; }
  [[nodiscard]] payload_kind kind() const noexcept { return kind_; }

 private:
  payload_kind kind_;
  std::size_t size_;
  std::unique_ptr<std::byte[]> memory_;
};

/// Values that a serializer of values has to carry unchanged.
inline std::vector<value> test_values() {
  std::vector<value> out{nullptr,
                         true,
                         false,
                         "",
                         "text",
                         std::string(31, 'a'),
                         std::string(32, 'b'),
                         std::string(255, 'c'),
                         std::string(256, 'd'),
                         std::string(65535, 'e'),
                         std::string(65536, 'f'),
                         std::string("\0\xff", 2)};
  for (std::int64_t const n : {0L,  1L,   127L, 128L,  255L,  256L,    65535L,  65536L,       0xffffffffL,  0x100000000L, INT64_MAX,
                               -1L, -32L, -33L, -128L, -129L, -32768L, -32769L, -2147483648L, -2147483649L, INT64_MIN})
    out.emplace_back(n);
  out.emplace_back(std::uint64_t{INT64_MAX} + 1);
  out.emplace_back(UINT64_MAX);
  for (double const d : {0.0, 1.0, -1.0, 0.1, 1e300, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
    out.emplace_back(d);
    out.emplace_back(static_cast<float>(d > 1e30 ? 3.5 : d));
  }
  test_numbers numbers(1);
  for (std::size_t const size : {0U, 1U, 255U, 256U, 511U, 512U, 65535U, 65536U}) out.emplace_back(blob::copy(numbers.bytes(size)));
  for (std::size_t const size : {0U, 1U, 2U, 3U, 4U, 8U, 12U, 16U, 17U, 255U, 256U, 70000U})
    out.emplace_back(extension{static_cast<std::int8_t>(size % 256 - 128), blob::copy(numbers.bytes(size))});
  out.emplace_back(extension{-1, blob::copy(numbers.bytes(8))});
  // Long lists of numbers and of small texts, written across the borders of whatever a model gathers them in.
  value::array doubles, mixed;
  for (int i = 0; i != 3000; ++i) {
    doubles.emplace_back(i * 0.25);
    mixed.push_back(i % 3 == 0   ? value(static_cast<float>(i) * 1.5F)
                    : i % 3 == 1 ? value(i * 100)
                                 : value(std::string(static_cast<std::size_t>(i % 600), 'm')));
  }
  out.emplace_back(std::move(doubles));
  out.emplace_back(std::move(mixed));
  for (std::size_t const size : {0U, 1U, 15U, 16U, 65535U, 65536U}) out.emplace_back(value::array(size, value(7)));
  for (int const size : {0, 1, 15, 16, 300}) {
    value::map entries;
    for (int i = 0; i != size; ++i) entries.emplace_back("key" + std::to_string(size - i), i);
    out.emplace_back(std::move(entries));
  }
  // Keys of any kind, out of order, twice; maps that look like a tensor and are none.
  out.emplace_back(
      value::map{{2, "two"}, {1, "one"}, {2, "again"}, {1.5, nullptr}, {nullptr, 1}, {value::list({1, 2}), true}, {value::map{}, false}});
  out.push_back(value::object({{"__tensor__", true}}));
  out.push_back(value::object({{"__tensor__", true}, {"dtype", "none"}, {"shape", -1}, {"data", "text"}}));
  out.push_back(value::object({{"finished", true}, {"images", value::list({})}}));
  value deep = 1;
  for (int i = 0; i != 50; ++i) deep = i % 2 == 0 ? value::list({deep}) : value::object({{"in", deep}});
  out.push_back(deep);
  return out;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
