// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// The second pass: from checked bytes to a value, one tensor or one binary. Binaries borrow the input.
#pragma once

#include <omniconn/serializer/msgpack/library.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/core/tensor_value.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/serializer/msgpack/check.hpp>

OMNICONN_BEGIN_NAMESPACE
namespace detail {

inline const_bytes msgpack_bytes(char const* data, std::size_t size) noexcept { return std::as_bytes(std::span(data, size)); }
inline std::string_view msgpack_text(char const* data, std::size_t size) noexcept {
  return size == 0 ? std::string_view() : std::string_view(data, size);
}
// msgpack-cxx hands over the type byte and the body in one.
inline extension msgpack_ext(char const* data, std::size_t size) noexcept {
  return {static_cast<std::int8_t>(*data), blob::borrow(msgpack_bytes(data + 1, size - 1))};
}

// Builds a value. Containers get their exact capacity at once, so addresses inside them stay valid while they fill up.
class value_builder : public msgpack::null_visitor {
 public:
  [[nodiscard]] value take() noexcept { return std::move(root_); }

  bool visit_nil() { return put(value()); }
  bool visit_boolean(bool b) { return put(b); }
  bool visit_positive_integer(std::uint64_t n) { return put(n); }
  bool visit_negative_integer(std::int64_t n) { return put(n); }
  bool visit_float32(float f) { return put(f); }
  bool visit_float64(double d) { return put(d); }
  bool visit_str(char const* data, std::uint32_t size) { return put(msgpack_text(data, size)); }
  bool visit_bin(char const* data, std::uint32_t size) { return put(blob::borrow(msgpack_bytes(data, size))); }
  bool visit_ext(char const* data, std::uint32_t size) { return put(msgpack_ext(data, size)); }
  bool start_array(std::uint32_t items) {
    auto& array = *place(value::array()).if_array();
    array.reserve(items);
    open_.push_back({&array, nullptr, false});
    return true;
  }
  bool start_map(std::uint32_t entries) {
    auto& map = *place(value::map()).if_map();
    map.reserve(entries);
    open_.push_back({nullptr, &map, false});
    return true;
  }
  bool start_map_key() noexcept {
    open_.back().at_key = true;
    return true;
  }
  bool start_map_value() noexcept {
    open_.back().at_key = false;
    return true;
  }
  bool end_array() noexcept { return close(); }
  bool end_map() noexcept { return close(); }

 private:
  struct container {
    value::array* array;
    value::map* map;
    bool at_key;
  };

  template <class Item>
  bool put(Item&& item) {
    place(std::forward<Item>(item));
    return true;
  }
  // Made where it belongs, not moved there: half of the time of a list of numbers.
  template <class Item>
  value& place(Item&& item) {
    if (open_.empty()) return root_ = value(std::forward<Item>(item));
    container const& parent = open_.back();
    if (parent.array != nullptr) return parent.array->emplace_back(std::forward<Item>(item));
    if (parent.at_key) return parent.map->emplace_back(std::forward<Item>(item), value()).first;
    return parent.map->back().second = value(std::forward<Item>(item));
  }
  bool close() noexcept {
    open_.pop_back();
    return true;
  }

  value root_;
  std::vector<container> open_;
};

// Reads the fields of one tensor map without building anything, so that a payload which is none costs no memory.
class tensor_reader : public msgpack::null_visitor {
 public:
  [[nodiscard]] array_fields const& fields() const noexcept { return fields_; }

  bool visit_boolean(bool b) noexcept {
    if (here(field::marker)) fields_.marked = b;
    return other();
  }
  bool visit_positive_integer(std::uint64_t n) noexcept {
    return n > static_cast<std::uint64_t>(INT64_MAX) ? other() : visit_negative_integer(static_cast<std::int64_t>(n));
  }
  bool visit_negative_integer(std::int64_t n) noexcept {
    if (!in_shape_ || depth_ != 2) return other();
    if (fields_.shape) fields_.shape->push_back(n);
    return true;
  }
  bool visit_nil() noexcept { return other(); }
  bool visit_float32(float) noexcept { return other(); }
  bool visit_float64(double) noexcept { return other(); }
  bool visit_ext(char const*, std::uint32_t) noexcept { return other(); }
  bool visit_str(char const* data, std::uint32_t size) noexcept {
    std::string_view const text = msgpack_text(data, size);
    if (depth_ == 1 && at_key_) {
      field_ = field_of(text);
      return true;
    }
    if (!here(field::type)) return other();
    fields_.type = text;
    return true;
  }
  bool visit_bin(char const* data, std::uint32_t size) noexcept {
    if (!here(field::data)) return other();
    fields_.data = msgpack_bytes(data, size);
    return true;
  }
  bool start_array(std::uint32_t items) noexcept {
    if (here(field::shape)) {
      fields_.shape = dims();
      if (items > max_rank) fields_.shape = array_fields::bad_rank;
      in_shape_ = true;
    } else {
      other();
    }
    ++depth_;
    return true;
  }
  bool start_map(std::uint32_t) noexcept {
    if (depth_ == 0) fields_.is_map = true;
    other();
    ++depth_;
    return true;
  }
  bool end_array() noexcept {
    --depth_;
    if (depth_ == 1) in_shape_ = false;
    return true;
  }
  bool end_map() noexcept {
    --depth_;
    return true;
  }
  bool start_map_key() noexcept {
    if (depth_ == 1) {
      at_key_ = true;
      field_ = field::none;
    }
    return true;
  }
  // Of a key that comes twice the first counts, as in `value::find`.
  bool start_map_value() noexcept {
    if (depth_ != 1) return true;
    at_key_ = false;
    auto const bit = 1U << static_cast<unsigned>(field_);
    if ((seen_ & bit) != 0) field_ = field::none;
    seen_ |= bit;
    return true;
  }

 private:
  enum class field : unsigned { none, marker, type, shape, data };

  static field field_of(std::string_view name) noexcept {
    return name == tensor_marker ? field::marker
           : name == "dtype"     ? field::type
           : name == "shape"     ? field::shape
           : name == "data"      ? field::data
                                 : field::none;
  }
  [[nodiscard]] bool here(field f) const noexcept { return depth_ == 1 && !at_key_ && field_ == f; }
  // A value where one of another kind belongs.
  bool other() noexcept {
    if (here(field::type)) fields_.type = array_fields::bad_type;
    if (here(field::shape)) fields_.shape = array_fields::bad_shape;
    if (here(field::data)) fields_.data = array_fields::bad_data;
    if (in_shape_ && depth_ == 2 && fields_.shape) fields_.shape = array_fields::bad_size;
    return true;
  }

  array_fields fields_;
  std::size_t depth_ = 0;
  unsigned seen_ = 0;
  field field_ = field::none;
  bool at_key_ = false;
  bool in_shape_ = false;
};

// The one binary that the payload is.
class binary_reader : public msgpack::null_visitor {
 public:
  [[nodiscard]] std::optional<const_bytes> const& bytes() const noexcept { return bytes_; }
  bool visit_bin(char const* data, std::uint32_t size) noexcept {
    bytes_ = msgpack_bytes(data, size);
    return true;
  }
  // A container: whatever it holds is not the payload itself.
  bool start_array(std::uint32_t) noexcept { return false; }
  bool start_map(std::uint32_t) noexcept { return false; }

 private:
  std::optional<const_bytes> bytes_;
};

}  // namespace detail
OMNICONN_END_NAMESPACE
