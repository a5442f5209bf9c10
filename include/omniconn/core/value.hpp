// SPDX-License-Identifier: Apache-2.0
// A dynamic value: what a MessagePack document, a JSON object or the metadata of a receipt holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Application-specific bytes with a type number, as MessagePack's ext. Timestamps are type -1 and stay as they are.
struct extension {
  std::int8_t type = 0;
  blob data;
  friend bool operator==(extension const&, extension const&) noexcept = default;
};

/// What a `value` holds.
enum class value_kind : std::uint8_t { nil, boolean, int64, uint64, float32, float64, string, binary, ext, array, map };

constexpr std::string_view to_string(value_kind kind) noexcept {
  constexpr std::string_view names[]{"nil", "bool", "int64", "uint64", "float", "double", "str", "bin", "ext", "array", "map"};
  return names[static_cast<std::size_t>(kind)];
}

/// Nil, bool, integer, float, text, bytes, extension, array or map.
///
/// A map keeps its entries in order, keys may be any value and may repeat: what came in goes out unchanged. Being a tensor is a *view* of a
/// map (`core/tensor_value.hpp`), never another kind, so that a user's map that merely looks like one survives.
/// Integers are `int64` where they fit and `uint64` above; the two compare by number. A float stays a float, a double a double.
/// \copies binaries are shared, not copied (`blob`); texts, arrays and maps are. \lifetime a decoded value borrows its binaries from the
/// view it was decoded from, until `to_owned`. \threadsafety const calls may run together.
class value {
 public:
  using array = std::vector<value>;
  using entry = std::pair<value, value>;
  using map = std::vector<entry>;

  value() noexcept = default;
  value(std::nullptr_t) noexcept {}                       // NOLINT(google-explicit-constructor): literals make values
  template <class T>
    requires(std::is_arithmetic_v<T>)
  value(T number) noexcept {                              // NOLINT(google-explicit-constructor)
    if constexpr (std::is_same_v<T, bool>) {
      data_ = number;
    } else if constexpr (std::is_same_v<T, float>) {
      data_ = number;
    } else if constexpr (std::is_floating_point_v<T>) {
      data_ = static_cast<double>(number);
    } else if constexpr (std::is_unsigned_v<T>) {
      if (static_cast<std::uint64_t>(number) > static_cast<std::uint64_t>(INT64_MAX)) {
        data_ = static_cast<std::uint64_t>(number);
      } else {
        data_ = static_cast<std::int64_t>(number);
      }
    } else {
      data_ = static_cast<std::int64_t>(number);
    }
  }
  value(char const* text) : data_(std::string(text)) {}       // NOLINT(google-explicit-constructor)
  value(std::string_view text) : data_(std::string(text)) {}  // NOLINT(google-explicit-constructor)
  value(std::string text) noexcept : data_(std::move(text)) {}  // NOLINT(google-explicit-constructor)
  value(blob bytes) noexcept : data_(std::move(bytes)) {}       // NOLINT(google-explicit-constructor)
  value(extension e) noexcept : data_(std::move(e)) {}          // NOLINT(google-explicit-constructor)
  value(array items) noexcept : data_(std::move(items)) {}      // NOLINT(google-explicit-constructor)
  value(map entries) noexcept : data_(std::move(entries)) {}    // NOLINT(google-explicit-constructor)

  /// `value::object({{"n", 1}, {"name", "x"}})`: a map from literals, without the ambiguity of nested braces.
  [[nodiscard]] static value object(std::initializer_list<entry> entries) { return map(entries); }
  [[nodiscard]] static value list(std::initializer_list<value> items) { return array(items); }

  [[nodiscard]] value_kind kind() const noexcept { return static_cast<value_kind>(data_.index()); }
  [[nodiscard]] bool is_nil() const noexcept { return kind() == value_kind::nil; }
  [[nodiscard]] bool is_map() const noexcept { return kind() == value_kind::map; }
  [[nodiscard]] bool is_array() const noexcept { return kind() == value_kind::array; }
  [[nodiscard]] bool is_string() const noexcept { return kind() == value_kind::string; }

  // Pointers: null where the value holds something else.
  [[nodiscard]] bool const* if_bool() const noexcept { return std::get_if<bool>(&data_); }
  [[nodiscard]] std::string const* if_string() const noexcept { return std::get_if<std::string>(&data_); }
  [[nodiscard]] blob const* if_binary() const noexcept { return std::get_if<blob>(&data_); }
  [[nodiscard]] extension const* if_ext() const noexcept { return std::get_if<extension>(&data_); }
  [[nodiscard]] array const* if_array() const noexcept { return std::get_if<array>(&data_); }
  [[nodiscard]] map const* if_map() const noexcept { return std::get_if<map>(&data_); }
  [[nodiscard]] array* if_array() noexcept { return std::get_if<array>(&data_); }
  [[nodiscard]] map* if_map() noexcept { return std::get_if<map>(&data_); }
  [[nodiscard]] float const* if_float() const noexcept { return std::get_if<float>(&data_); }
  [[nodiscard]] double const* if_double() const noexcept { return std::get_if<double>(&data_); }

  // Conversions: `malformed` where the value is something else or does not fit.
  [[nodiscard]] result<bool> as_bool() const noexcept {
    if (auto const* b = if_bool()) return *b;
    return {error_kind::malformed, "expected a bool"};
  }
  [[nodiscard]] result<std::int64_t> as_int64() const noexcept {
    if (auto const* i = std::get_if<std::int64_t>(&data_)) return *i;
    return {error_kind::malformed, kind() == value_kind::uint64 ? "the integer does not fit 64 signed bits" : "expected an integer"};
  }
  [[nodiscard]] result<std::uint64_t> as_uint64() const noexcept {
    if (auto const* u = std::get_if<std::uint64_t>(&data_)) return *u;
    if (auto const* i = std::get_if<std::int64_t>(&data_); i != nullptr && *i >= 0) return static_cast<std::uint64_t>(*i);
    return {error_kind::malformed, kind() == value_kind::int64 ? "the integer is negative" : "expected an integer"};
  }
  /// Any number as a double; integers beyond 2^53 are rounded.
  [[nodiscard]] result<double> as_double() const noexcept {
    if (auto const* d = if_double()) return *d;
    if (auto const* f = if_float()) return static_cast<double>(*f);
    if (auto const* i = std::get_if<std::int64_t>(&data_)) return static_cast<double>(*i);
    if (auto const* u = std::get_if<std::uint64_t>(&data_)) return static_cast<double>(*u);
    return {error_kind::malformed, "expected a number"};
  }
  [[nodiscard]] result<std::string_view> as_string() const noexcept {
    if (auto const* s = if_string()) return std::string_view(*s);
    return {error_kind::malformed, "expected a string"};
  }

  /// The first entry of a map under that text key; null where there is none or this is no map. O(entries).
  [[nodiscard]] value const* find(std::string_view key) const noexcept {
    if (auto const* entries = if_map())
      for (auto const& [name, item] : *entries)
        if (auto const* text = name.if_string(); text != nullptr && *text == key) return &item;
    return nullptr;
  }
  [[nodiscard]] value* find(std::string_view key) noexcept { return const_cast<value*>(std::as_const(*this).find(key)); }

  /// Sets a text key of a map: replaces the first entry of that name or appends one. Turns nil into a map.
  /// \requires the value is a map or nil.
  value& set(std::string_view key, value item) {
    if (is_nil()) data_ = map{};
    if (auto* old = find(key)) return *old = std::move(item);
    auto& entries = std::get<map>(data_);
    entries.emplace_back(value(key), std::move(item));
    return entries.back().second;
  }

  /// Entries of a map, items of an array; 0 for anything else.
  [[nodiscard]] std::size_t size() const noexcept {
    if (auto const* a = if_array()) return a->size();
    if (auto const* m = if_map()) return m->size();
    return 0;
  }

  /// A value that outlives what it was decoded from: borrowed binaries are copied, owned ones shared.
  [[nodiscard]] value to_owned() const {
    switch (kind()) {
      case value_kind::binary: return if_binary()->owned();
      case value_kind::ext: return extension{if_ext()->type, if_ext()->data.owned()};
      case value_kind::array: {
        array out;
        out.reserve(size());
        for (auto const& item : *if_array()) out.push_back(item.to_owned());
        return out;
      }
      case value_kind::map: {
        map out;
        out.reserve(size());
        for (auto const& [k, v] : *if_map()) out.emplace_back(k.to_owned(), v.to_owned());
        return out;
      }
      default: return *this;
    }
  }

  /// Same kind and content, entries in the same order; integers compare by number, NaN equals nothing.
  friend bool operator==(value const& a, value const& b) noexcept { return a.data_ == b.data_; }

 private:
  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, float, double, std::string, blob, extension, array, map> data_;
};

OMNICONN_END_NAMESPACE
