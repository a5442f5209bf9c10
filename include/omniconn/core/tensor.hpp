// SPDX-License-Identifier: Apache-2.0
// A tensor by reference: dtype, shape, strides and where the bytes are.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/dtype.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The highest rank of a tensor view. Deep-learning tensors end at about 8; a rank above 16 is `too_large`.
inline constexpr std::size_t max_rank = 16;

/// Sizes (or byte strides) of each dimension, outermost first, inside the object: no allocation.
class dims {
 public:
  constexpr dims() noexcept = default;
  constexpr dims(std::initializer_list<std::int64_t> sizes) noexcept {
    for (auto const s : sizes)
      if (rank_ < max_rank) sizes_[rank_++] = s;
  }
  [[nodiscard]] static constexpr result<dims> of(std::span<std::int64_t const> sizes) noexcept {
    if (sizes.size() > max_rank) return {error_kind::too_large, "a tensor may have 16 dimensions at most"};
    dims out;
    for (auto const s : sizes) out.sizes_[out.rank_++] = s;
    return out;
  }
  [[nodiscard]] constexpr std::size_t rank() const noexcept { return rank_; }
  [[nodiscard]] constexpr std::int64_t operator[](std::size_t i) const noexcept { return sizes_[i]; }
  [[nodiscard]] constexpr std::int64_t& operator[](std::size_t i) noexcept { return sizes_[i]; }
  [[nodiscard]] constexpr std::int64_t const* begin() const noexcept { return sizes_.data(); }
  [[nodiscard]] constexpr std::int64_t const* end() const noexcept { return sizes_.data() + rank_; }
  /// \requires `rank() < max_rank`
  constexpr void push_back(std::int64_t size) noexcept { sizes_[rank_++] = size; }

  friend constexpr bool operator==(dims const& a, dims const& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (std::size_t i = 0; i != a.rank_; ++i)
      if (a.sizes_[i] != b.sizes_[i]) return false;
    return true;
  }

 private:
  std::array<std::int64_t, max_rank> sizes_{};
  std::size_t rank_ = 0;
};

/// Number of elements of a shape times `element_size`; `malformed` for a negative dimension, `too_large` when the product
/// does not fit 63 bits. Checked step by step: shapes come from outside.
constexpr result<std::uint64_t> byte_count(dims const& shape, std::size_t element_size) noexcept {
  std::uint64_t product = element_size;
  bool empty = false;
  for (auto const size : shape) {
    if (size < 0) return {error_kind::malformed, "a tensor dimension is negative"};
    if (size == 0) empty = true;
  }
  if (empty) return std::uint64_t{0};
  for (auto const size : shape)
    if (__builtin_mul_overflow(product, static_cast<std::uint64_t>(size), &product) || product > (std::uint64_t{1} << 63) - 1)
      return {error_kind::too_large, "the tensor's shape asks for more than 2^63 bytes"};
  return product;
}

/// The memory order of elements of more than one byte.
using byte_order = std::endian;

/// A tensor that somebody else owns. Copyable, 300 bytes, no allocation.
///
/// Strides are in bytes (as NumPy's) and may be negative or zero; `make` builds the C-contiguous ones. \lifetime valid as long as the
/// bytes it refers to. \threadsafety const calls may run together.
class tensor_view {
 public:
  tensor_view() noexcept = default;

  /// A C-contiguous tensor over `bytes`.
  /// \errors `malformed`: shape × dtype is not `bytes.size()`, or a dimension is negative; `too_large`: the product overflows.
  [[nodiscard]] static result<tensor_view> make(dtype type, dims const& shape, const_bytes bytes,
                                                byte_order order = byte_order::native) noexcept {
    auto const need = byte_count(shape, size_of(type));
    if (!need) return need.error();
    if (*need != bytes.size()) return {error_kind::malformed, "the tensor's shape times its element size is not the number of its bytes"};
    tensor_view out;
    out.data_ = bytes.data();
    out.shape_ = shape;
    out.strides_ = contiguous_strides(shape, size_of(type));
    out.type_ = type;
    out.order_ = order;
    return out;
  }

  /// A tensor of any layout whose every element lies inside `memory`; `origin` is the byte offset of element (0, 0, ...).
  /// \errors `malformed`: ranks differ or an element would lie outside `memory`.
  [[nodiscard]] static result<tensor_view> strided(dtype type, dims const& shape, dims const& byte_strides, const_bytes memory,
                                                   std::size_t origin = 0, byte_order order = byte_order::native) noexcept {
    if (shape.rank() != byte_strides.rank()) return {error_kind::malformed, "shape and strides have different ranks"};
    auto const need = byte_count(shape, size_of(type));
    if (!need) return need.error();
    if (*need != 0) {
      // Lowest and highest byte offset that any element touches, checked at each step: strides come from outside.
      auto low = static_cast<std::int64_t>(origin), high = low;
      bool wrong = origin > memory.size();
      for (std::size_t i = 0; i != shape.rank() && !wrong; ++i) {
        std::int64_t reach = 0;
        wrong = __builtin_mul_overflow(shape[i] - 1, byte_strides[i], &reach);
        std::int64_t& end = reach < 0 ? low : high;
        wrong = wrong || __builtin_add_overflow(end, reach, &end);
      }
      wrong = wrong || __builtin_add_overflow(high, static_cast<std::int64_t>(size_of(type)), &high);
      if (wrong || low < 0 || static_cast<std::uint64_t>(high) > memory.size())
        return {error_kind::malformed, "the tensor's strides reach outside its memory"};
    }
    tensor_view out;
    out.data_ = memory.data() + (*need == 0 ? 0 : origin);
    out.shape_ = shape;
    out.strides_ = byte_strides;
    out.type_ = type;
    out.order_ = order;
    return out;
  }

  /// A one-dimensional tensor over the caller's elements.
  template <class T, std::size_t N>
    requires(has_dtype<std::remove_const_t<T>>)
  [[nodiscard]] static tensor_view of(std::span<T, N> elements) noexcept {
    return *make(dtype_for<std::remove_const_t<T>>, dims{static_cast<std::int64_t>(elements.size())}, std::as_bytes(elements));
  }

  [[nodiscard]] dtype type() const noexcept { return type_; }
  [[nodiscard]] byte_order order() const noexcept { return order_; }
  [[nodiscard]] dims const& shape() const noexcept { return shape_; }
  [[nodiscard]] dims const& byte_strides() const noexcept { return strides_; }
  [[nodiscard]] std::size_t rank() const noexcept { return shape_.rank(); }
  /// Address of element (0, 0, ...).
  [[nodiscard]] std::byte const* data() const noexcept { return data_; }
  /// Number of elements; 1 for rank 0.
  [[nodiscard]] std::size_t elements() const noexcept { return static_cast<std::size_t>(byte_count(shape_, 1).value_or(0)); }
  /// Bytes of the elements without gaps.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return elements() * size_of(type_); }

  /// True where the elements lie in C order without gaps. Dimensions of size 1 do not count, an empty tensor is contiguous.
  [[nodiscard]] bool is_contiguous() const noexcept {
    std::int64_t expected = static_cast<std::int64_t>(size_of(type_));
    if (elements() == 0) return true;
    for (std::size_t i = shape_.rank(); i-- != 0;) {
      if (shape_[i] == 1) continue;
      if (strides_[i] != expected) return false;
      expected *= shape_[i];
    }
    return true;
  }

  /// The bytes of a contiguous tensor; empty for any other (use `copy_to`).
  [[nodiscard]] const_bytes bytes() const noexcept { return is_contiguous() ? const_bytes(data_, size_bytes()) : const_bytes{}; }

  /// Writes the elements in C order without gaps. \requires `target.size() == size_bytes()`. \copies every byte once.
  void copy_to(mutable_bytes target) const noexcept {
    if (target.empty()) return;
    if (is_contiguous()) {
      std::memcpy(target.data(), data_, target.size());
    } else {
      copy_dimension(0, data_, target.data());
    }
  }

  /// The elements of a contiguous, native-order tensor as C++ objects, by reference.
  /// \errors `malformed`: another dtype, byte order or layout; `misconfigured`: the address is not aligned for `T`.
  template <class T>
    requires(has_dtype<T>)
  [[nodiscard]] result<std::span<T const>> as() const noexcept {
    if (type_ != dtype_for<T>) return {error_kind::malformed, "the tensor has another element type"};
    if (order_ != byte_order::native && sizeof(T) > 1) return {error_kind::malformed, "the tensor has the other byte order"};
    if (!is_contiguous()) return {error_kind::malformed, "the tensor is not contiguous; copy it with copy_to"};
    if (reinterpret_cast<std::uintptr_t>(data_) % alignof(T) != 0)
      return {error_kind::misconfigured, "the tensor's bytes are not aligned for this element type; copy it with copy_to"};
    return std::span<T const>(reinterpret_cast<T const*>(data_), elements());
  }

  [[nodiscard]] static constexpr dims contiguous_strides(dims const& shape, std::size_t element_size) noexcept {
    dims out = shape;
    auto step = static_cast<std::int64_t>(element_size);
    for (std::size_t i = shape.rank(); i-- != 0;) {
      out[i] = step;
      // Wrap-around is harmless: it can happen for empty tensors only, whose strides nobody follows.
      __builtin_mul_overflow(step, shape[i], &step);
    }
    return out;
  }

 private:
  std::byte* copy_dimension(std::size_t depth, std::byte const* from, std::byte* to) const noexcept {
    std::size_t const element = size_of(type_);
    if (depth == shape_.rank()) {
      std::memcpy(to, from, element);
      return to + element;
    }
    bool const rows = depth + 1 == shape_.rank() && strides_[depth] == static_cast<std::int64_t>(element);
    if (rows) {
      std::size_t const row = static_cast<std::size_t>(shape_[depth]) * element;
      std::memcpy(to, from, row);
      return to + row;
    }
    for (std::int64_t i = 0; i != shape_[depth]; ++i) to = copy_dimension(depth + 1, from + i * strides_[depth], to);
    return to;
  }

  std::byte const* data_ = nullptr;
  dims shape_{0};
  dims strides_{1};
  dtype type_ = dtype::uint8;
  byte_order order_ = byte_order::native;
};

OMNICONN_END_NAMESPACE
