// SPDX-License-Identifier: Apache-2.0
// Tensors, NumPy arrays and images as views of a `value` map, in the layout that vLLM-Omni's serializer gives them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/dtype.hpp>
#include <omniconn/core/numpy_type.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/core/value.hpp>

OMNICONN_BEGIN_NAMESPACE

// The field names of the wire, in the order in which they are written.
inline constexpr std::string_view tensor_marker = "__tensor__";
inline constexpr std::string_view ndarray_marker = "__ndarray__";
inline constexpr std::string_view image_marker = "__pil_image__";

namespace detail {

// What such a map says, before any of it is believed. Filled from a `value` here and straight from bytes by decoders,
// so that both give the same reasons.
struct array_fields {
  bool is_map = false;
  bool marked = false;
  result<std::string_view> type{error_kind::malformed, "the map has no \"dtype\""};
  result<dims> shape{error_kind::malformed, "the map has no \"shape\""};
  result<const_bytes> data{error_kind::malformed, "the map has no \"data\""};

  static constexpr error bad_type{error_kind::malformed, "\"dtype\" is not a text"};
  static constexpr error bad_shape{error_kind::malformed, "\"shape\" is not an array"};
  static constexpr error bad_size{error_kind::malformed, "\"shape\" holds something else than 64-bit integers"};
  static constexpr error bad_rank{error_kind::too_large, "a tensor may have 16 dimensions at most"};
  static constexpr error bad_data{error_kind::malformed, "\"data\" is not binary"};
};

inline result<dims> shape_of(value const& item) noexcept {
  auto const* sizes = item.if_array();
  if (sizes == nullptr) return array_fields::bad_shape;
  if (sizes->size() > max_rank) return array_fields::bad_rank;
  dims out;
  for (auto const& size : *sizes) {
    auto const number = size.as_int64();
    if (!number) return array_fields::bad_size;
    out.push_back(*number);
  }
  return out;
}

inline array_fields fields_of(value const& v, std::string_view marker, std::string_view type_key) noexcept {
  array_fields out;
  out.is_map = v.is_map();
  if (auto const* mark = v.find(marker))
    if (auto const* flag = mark->if_bool()) out.marked = *flag;
  if (!out.marked) return out;
  if (auto const* type = v.find(type_key)) {
    if (auto const* text = type->if_string()) {
      out.type = std::string_view(*text);
    } else {
      out.type = array_fields::bad_type;
    }
  }
  if (auto const* shape = v.find("shape")) out.shape = shape_of(*shape);
  if (auto const* data = v.find("data")) {
    if (auto const* bytes = data->if_binary()) {
      out.data = bytes->bytes();
    } else {
      out.data = array_fields::bad_data;
    }
  }
  return out;
}

inline result<tensor_view> tensor_from(array_fields const& fields) noexcept {
  if (!fields.is_map) return {error_kind::malformed, "a tensor is a map; this is another kind of value"};
  if (!fields.marked) return {error_kind::malformed, "the map is no tensor: it has no \"__tensor__\": true"};
  if (!fields.type) return fields.type.error();
  auto const type = dtype_of(*fields.type);
  if (!type) return type.error();
  if (!fields.shape) return fields.shape.error();
  if (!fields.data) return fields.data.error();
  return tensor_view::make(*type, *fields.shape, *fields.data, byte_order::little);
}

// The elements in C order, without gaps, little-endian: by reference where they lie so already, else copied.
inline blob little_endian_bytes(tensor_view const& t, bool always_copy = false) {
  bool const foreign = t.order() != byte_order::little && component_size(t.type()) > 1;
  std::size_t const size = t.size_bytes();
  if (size == 0) return {};
  if (!always_copy && !foreign && t.is_contiguous()) return blob::borrow(t.bytes());
  auto owner = std::make_shared_for_overwrite<std::byte[]>(size);
  t.copy_to(mutable_bytes(owner.get(), size));
  if (foreign) {
    std::size_t const step = component_size(t.type());
    for (std::byte* at = owner.get(); at != owner.get() + size; at += step)
      for (std::size_t k = 0; k != step / 2; ++k) std::swap(at[k], at[step - 1 - k]);
  }
  const_bytes const bytes(owner.get(), size);
  return blob::share(bytes, std::move(owner));
}

inline value array_value(std::string_view marker, std::string_view type_key, std::string_view type, dims const& shape, blob data) {
  value::map out;
  out.reserve(4);
  out.emplace_back(marker, true);
  out.emplace_back(type_key, type);
  out.emplace_back("shape", value::array(shape.begin(), shape.end()));
  out.emplace_back("data", std::move(data));
  return out;
}

}  // namespace detail

// --- tensors ------------------------------------------------------------------------------------------------------------

/// The map of a tensor: `{"__tensor__": true, "dtype": "float32", "shape": [2, 3], "data": <little-endian bytes>}`.
/// \copies none of a contiguous, little-endian tensor; every byte once of any other. \lifetime where nothing was copied, the
/// value borrows the tensor's bytes.
[[nodiscard]] inline value to_value(tensor_view const& t) {
  return detail::array_value(tensor_marker, "dtype", to_string(t.type()), t.shape(), detail::little_endian_bytes(t));
}
/// The same, and `owner` keeps the tensor's bytes alive as long as the value or a copy of it lives.
[[nodiscard]] inline value to_value(tensor_view const& t, std::shared_ptr<void const> owner) {
  blob data = detail::little_endian_bytes(t);
  if (!data.owns()) data = blob::share(data.bytes(), std::move(owner));
  return detail::array_value(tensor_marker, "dtype", to_string(t.type()), t.shape(), std::move(data));
}
/// The same with bytes of its own. \copies every byte once.
[[nodiscard]] inline value to_owned_value(tensor_view const& t) {
  return detail::array_value(tensor_marker, "dtype", to_string(t.type()), t.shape(), detail::little_endian_bytes(t, true));
}

/// The tensor that a map describes, by reference. Fields may come in any order and others may lie between them.
/// \errors `malformed`: no map, no `"__tensor__": true`, a field is missing or of another kind, no such dtype, a negative
/// dimension, shape × dtype is not the number of bytes; `too_large`: more than 16 dimensions, or 2^63 bytes.
/// \lifetime as the value's binaries.
[[nodiscard]] inline result<tensor_view> as_tensor(value const& v) noexcept {
  return detail::tensor_from(detail::fields_of(v, tensor_marker, "dtype"));
}
/// True where `as_tensor` gives one. A user's map that only looks like a tensor is none, and stays what it is.
[[nodiscard]] inline bool is_tensor(value const& v) noexcept { return as_tensor(v).has_value(); }

// --- NumPy arrays ---------------------------------------------------------------------------------------------------------

/// A C-contiguous NumPy array that somebody else owns: any dtype that travels as bytes, so also texts and dates.
class ndarray_view {
 public:
  ndarray_view() noexcept = default;

  /// \errors `malformed`: shape × item size is not `bytes.size()`, or a dimension is negative; `too_large`: 2^63 bytes or more.
  [[nodiscard]] static result<ndarray_view> make(numpy_type const& type, dims const& shape, const_bytes bytes) noexcept {
    auto const need = byte_count(shape, type.item_size());
    if (!need) return need.error();
    if (*need != bytes.size()) return {error_kind::malformed, "the array's shape times its item size is not the number of its bytes"};
    ndarray_view out;
    out.type_ = type;
    out.shape_ = shape;
    out.bytes_ = bytes;
    return out;
  }
  /// A tensor as an array, by reference. \errors `unsupported`: NumPy has no such dtype; `malformed`: not contiguous.
  [[nodiscard]] static result<ndarray_view> of(tensor_view const& t) noexcept {
    auto const type = numpy_type::of(t.type(), t.order());
    if (!type) return type.error();
    if (!t.is_contiguous()) return {error_kind::malformed, "the tensor is not contiguous; copy it with copy_to"};
    return make(*type, t.shape(), t.bytes());
  }

  [[nodiscard]] numpy_type const& type() const noexcept { return type_; }
  [[nodiscard]] dims const& shape() const noexcept { return shape_; }
  [[nodiscard]] const_bytes bytes() const noexcept { return bytes_; }

  /// The array as a tensor, by reference. \errors `unsupported`: a text, a date or a width that no tensor dtype has.
  [[nodiscard]] result<tensor_view> tensor() const noexcept {
    auto const element = type_.element();
    if (!element) return element.error();
    return tensor_view::make(*element, shape_, bytes_, type_.order());
  }

 private:
  numpy_type type_;
  dims shape_{0};
  const_bytes bytes_;
};

/// The map of a NumPy array: `{"__ndarray__": true, "dtype": "<f4", "shape": [...], "data": <bytes>}`. Borrows the bytes.
[[nodiscard]] inline value to_value(ndarray_view const& a) {
  return detail::array_value(ndarray_marker, "dtype", a.type().text(), a.shape(), blob::borrow(a.bytes()));
}
/// The array that a map describes, by reference. \errors as `as_tensor`; `unsupported`: arrays of objects or structures.
[[nodiscard]] inline result<ndarray_view> as_ndarray(value const& v) noexcept {
  auto const fields = detail::fields_of(v, ndarray_marker, "dtype");
  if (!fields.is_map) return {error_kind::malformed, "a NumPy array is a map; this is another kind of value"};
  if (!fields.marked) return {error_kind::malformed, "the map is no NumPy array: it has no \"__ndarray__\": true"};
  if (!fields.type) return fields.type.error();
  auto const type = numpy_type::parse(*fields.type);
  if (!type) return type.error();
  if (!fields.shape) return fields.shape.error();
  if (!fields.data) return fields.data.error();
  return ndarray_view::make(*type, *fields.shape, *fields.data);
}
[[nodiscard]] inline bool is_ndarray(value const& v) noexcept { return as_ndarray(v).has_value(); }

// --- images -----------------------------------------------------------------------------------------------------------------

/// An image that somebody else owns: rows of 8-bit pixels with the channels side by side, as PIL and NumPy hold them.
class image_view {
 public:
  image_view() noexcept = default;

  /// \param mode PIL's name: "L", "RGB", ...; it is kept by reference. \param shape height, width and, where the mode has
  /// several channels, their number. \errors `malformed`: another rank, a number of channels which the mode does not have, or
  /// a shape that is not `bytes.size()`. A mode unknown here is taken as it comes.
  [[nodiscard]] static result<image_view> make(std::string_view mode, dims const& shape, const_bytes bytes) noexcept {
    if (shape.rank() != 2 && shape.rank() != 3)
      return {error_kind::malformed, "an image's shape is [height, width] or [height, width, channels]"};
    auto const need = byte_count(shape, 1);
    if (!need) return need.error();
    if (*need != bytes.size()) return {error_kind::malformed, "the image's shape is not the number of its bytes"};
    std::int64_t const channels = shape.rank() == 3 ? shape[2] : 1;
    for (auto const& known : modes)
      if (known.name == mode && (channels != known.channels || (known.channels == 1) != (shape.rank() == 2)))
        return {error_kind::malformed, "the image's mode has another number of channels than its shape"};
    image_view out;
    out.mode_ = mode;
    out.shape_ = shape;
    out.bytes_ = bytes;
    return out;
  }

  [[nodiscard]] std::string_view mode() const noexcept { return mode_; }
  [[nodiscard]] dims const& shape() const noexcept { return shape_; }
  [[nodiscard]] std::int64_t height() const noexcept { return shape_[0]; }
  [[nodiscard]] std::int64_t width() const noexcept { return shape_[1]; }
  [[nodiscard]] std::int64_t channels() const noexcept { return shape_.rank() == 3 ? shape_[2] : 1; }
  [[nodiscard]] const_bytes bytes() const noexcept { return bytes_; }
  /// The pixels as a tensor of uint8, by reference.
  [[nodiscard]] tensor_view tensor() const noexcept { return *tensor_view::make(dtype::uint8, shape_, bytes_); }

 private:
  struct mode_facts {
    std::string_view name;
    std::int64_t channels;
  };
  static constexpr std::array<mode_facts, 13> modes{{{"1", 1},
                                                     {"L", 1},
                                                     {"P", 1},
                                                     {"I", 1},
                                                     {"F", 1},
                                                     {"LA", 2},
                                                     {"PA", 2},
                                                     {"RGB", 3},
                                                     {"YCbCr", 3},
                                                     {"LAB", 3},
                                                     {"HSV", 3},
                                                     {"RGBA", 4},
                                                     {"CMYK", 4}}};
  std::string_view mode_ = "L";
  dims shape_{0, 0};
  const_bytes bytes_;
};

/// The map of an image: `{"__pil_image__": true, "mode": "RGB", "shape": [h, w, 3], "data": <bytes>}`. Borrows the bytes.
[[nodiscard]] inline value to_value(image_view const& i) {
  return detail::array_value(image_marker, "mode", i.mode(), i.shape(), blob::borrow(i.bytes()));
}
/// The image that a map describes, by reference (its mode too). \errors as `as_tensor`, and those of `image_view::make`.
[[nodiscard]] inline result<image_view> as_image(value const& v) noexcept {
  auto const fields = detail::fields_of(v, image_marker, "mode");
  if (!fields.is_map) return {error_kind::malformed, "an image is a map; this is another kind of value"};
  if (!fields.marked) return {error_kind::malformed, "the map is no image: it has no \"__pil_image__\": true"};
  if (!fields.type) return {error_kind::malformed, "the map has no text \"mode\""};
  if (!fields.shape) return fields.shape.error();
  if (!fields.data) return fields.data.error();
  return image_view::make(*fields.type, *fields.shape, *fields.data);
}
[[nodiscard]] inline bool is_image(value const& v) noexcept { return as_image(v).has_value(); }

OMNICONN_END_NAMESPACE
