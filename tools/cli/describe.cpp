// SPDX-License-Identifier: Apache-2.0
// A payload as people read it, and tensors from listed elements.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <memory>
#include <utility>

#include <omniconn/core/tensor_value.hpp>
#include <omniconn/detail/describe.hpp>

#include "elements.hpp"
#include "payload.hpp"

namespace tool {

namespace {

constexpr std::size_t first_elements = 8;
constexpr std::size_t first_bytes = 16;
constexpr std::size_t longest_text = 200;

std::string hex_text(const_bytes bytes) {
  constexpr char const* hex = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i != std::min(bytes.size(), first_bytes); ++i) {
    auto const byte = std::to_integer<unsigned>(bytes[i]);
    out.append(out.empty() ? "" : " ").push_back(hex[byte >> 4U]);
    out.push_back(hex[byte & 15U]);
  }
  return out.append(bytes.size() > first_bytes ? " ..." : "");
}

/// Bytes of the code point at the start; 0 where it is none that may be shown as it is.
std::size_t shown_point(std::string_view text) noexcept {
  auto const at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  auto const tail = [&](std::size_t i) { return (at(i) & 0xc0U) == 0x80U; };
  unsigned const c = at(0);
  if (c >= 0x20 && c < 0x7f) return 1;
  if (c == 0xc2) return at(1) >= 0xa0 && tail(1) ? 2 : 0;  // below are the controls of ISO 6429
  if (c > 0xc2 && c < 0xe0) return tail(1) ? 2 : 0;
  if (c >= 0xe0 && c < 0xf0) return tail(1) && tail(2) && !(c == 0xe0 && at(1) < 0xa0) && !(c == 0xed && at(1) >= 0xa0) ? 3 : 0;
  if (c >= 0xf0 && c < 0xf5) return tail(1) && tail(2) && tail(3) && !(c == 0xf0 && at(1) < 0x90) && !(c == 0xf4 && at(1) >= 0x90) ? 4 : 0;
  return 0;
}

void append_shown(std::string& out, std::string_view text, std::string_view escaped) {
  constexpr char const* hex = "0123456789abcdef";
  while (!text.empty()) {
    std::size_t const size = shown_point(text);
    auto const byte = static_cast<unsigned char>(text.front());
    if (size != 0) {
      if (escaped.find(text.front()) != std::string_view::npos) out += '\\';
      out.append(text.substr(0, size));
    } else if (byte == '\n' || byte == '\t') {
      out.append(byte == '\n' ? "\\n" : "\\t");
    } else {
      out.append("\\x").push_back(hex[byte >> 4U]);
      out.push_back(hex[byte & 15U]);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
}

std::string shape_text(omniconn::dims const& shape) {
  std::string out = "[";
  for (auto const size : shape) out.append(out.size() == 1 ? "" : ", ").append(std::to_string(size));
  return out + "]";
}

std::string elements_text(omniconn::tensor_view const& t) {
  std::size_t const step = size_of(t.type());
  std::size_t const count = t.elements();
  const_bytes const bytes = t.bytes();
  std::string out;
  for (std::size_t i = 0; i != std::min(count, first_elements); ++i) {
    std::byte element[16];
    std::copy_n(bytes.data() + i * step, step, element);
    if (t.order() == omniconn::byte_order::big) {
      std::size_t const part = omniconn::detail::component_size(t.type());
      for (std::size_t at = 0; at != step; at += part) std::reverse(element + at, element + at + part);
    }
    out.append(" ").append(element_text(t.type(), element));
  }
  return out.append(count > first_elements ? " ..." : "");
}

class printer {
 public:
  [[nodiscard]] std::string take() { return std::move(out_ += "\n"); }

  void any(value const& v, std::size_t level) {
    switch (v.kind()) {
      case omniconn::value_kind::nil: out_ += "nil"; return;
      case omniconn::value_kind::boolean: out_ += *v.if_bool() ? "true" : "false"; return;
      case omniconn::value_kind::int64: out_ += std::to_string(*v.as_int64()); return;
      case omniconn::value_kind::uint64: out_ += std::to_string(*v.as_uint64()); return;
      case omniconn::value_kind::float32: return real(*v.if_float());
      case omniconn::value_kind::float64: return real(*v.if_double());
      case omniconn::value_kind::string: out_ += shown_text(*v.if_string(), longest_text); return;
      case omniconn::value_kind::binary: out_ += "bin of " + bytes_text(v.if_binary()->bytes()); return;
      case omniconn::value_kind::ext: out_ += "ext " + std::to_string(v.if_ext()->type) + " of " + bytes_text(v.if_ext()->data.bytes()); return;
      case omniconn::value_kind::array: return list(*v.if_array(), level);
      case omniconn::value_kind::map: return map(v, level);
    }
  }

 private:
  static std::string bytes_text(const_bytes bytes) {
    std::string const count = std::to_string(bytes.size()) + (bytes.size() == 1 ? " byte" : " bytes");
    return bytes.empty() ? count : count + ": " + hex_text(bytes);
  }
  static bool is_short(value const& v) noexcept {
    return v.kind() <= omniconn::value_kind::float64 || (v.is_string() && v.if_string()->size() <= 16);
  }
  template <class Real>
  void real(Real r) {
    char text[48];
    std::size_t const start = out_.size();
    out_.append(text, std::to_chars(text, text + sizeof text, r).ptr);
    if (out_.find_first_not_of("-0123456789", start) == std::string::npos) out_ += ".0";
  }
  void line(std::size_t level) { out_.append("\n").append(2 * level, ' '); }

  void list(value::array const& items, std::size_t level) {
    out_ += "list of " + std::to_string(items.size());
    if (items.empty()) return;
    if (std::all_of(items.begin(), items.end(), is_short)) {
      out_ += ": [";
      for (std::size_t i = 0; i != items.size() && i != 4 * first_elements; ++i) {
        if (i != 0) out_ += ", ";
        any(items[i], level);
      }
      out_ += items.size() > 4 * first_elements ? ", ...]" : "]";
      return;
    }
    for (auto const& item : items) {
      line(level + 1);
      out_ += "- ";
      any(item, level + 1);
    }
  }
  void map(value const& v, std::size_t level) {
    if (auto const t = omniconn::as_tensor(v)) {
      out_ += "tensor " + std::string(to_string(t->type())) + " " + shape_text(t->shape()) + ":" + elements_text(*t);
      return more(v, 4, level);
    }
    if (auto const a = omniconn::as_ndarray(v)) {
      out_ += "ndarray " + shown_text(a->type().text(), 64) + " " + shape_text(a->shape()) + ":";
      auto const t = a->tensor();
      out_ += t ? elements_text(*t) : " " + bytes_text(a->bytes());
      return more(v, 4, level);
    }
    if (auto const i = omniconn::as_image(v)) {
      out_ += "image " + shown_text(i->mode(), 64) + " " + shape_text(i->shape()) + ": " + bytes_text(i->bytes());
      return more(v, 4, level);
    }
    auto const& entries = *v.if_map();
    out_ += "map of " + std::to_string(entries.size());
    for (auto const& [key, item] : entries) {
      line(level + 1);
      any(key, level + 1);
      out_ += ": ";
      any(item, level + 1);
    }
  }
  /// What somebody put beside the fields of a tensor.
  void more(value const& v, std::size_t known, std::size_t level) {
    if (v.size() == known) return;
    for (auto const& [key, item] : *v.if_map()) {
      auto const name = key.as_string().value_or("");
      if (name == omniconn::tensor_marker || name == omniconn::ndarray_marker || name == omniconn::image_marker || name == "dtype" || name == "mode" || name == "shape" || name == "data") continue;
      line(level + 1);
      any(key, level + 1);
      out_ += ": ";
      any(item, level + 1);
    }
  }

  std::string out_;
};

outcome fill_tensor(value& v) {
  auto const* const marker = v.find(omniconn::tensor_marker);
  if (marker == nullptr || marker->if_bool() == nullptr || !*marker->if_bool()) return {};
  auto const *data = v.find("data"), *type = v.find("dtype"), *shape = v.find("shape");
  if (data == nullptr || !data->is_array()) return {};
  if (type == nullptr || !type->is_string()) return diagnosis(error_kind::malformed, "a tensor has no text \"dtype\"");
  auto const element = omniconn::dtype_of(*type->if_string());
  if (!element) return diagnosis(element.error());
  auto bytes = std::make_shared<std::vector<std::byte>>();
  for (auto const& number : *data->if_array())
    if (auto added = append_element(*element, number, *bytes); !added) return added;
  if (shape == nullptr) v.set("shape", value::list({static_cast<std::uint64_t>(data->size())}));
  v.set("data", omniconn::blob::share(*bytes, bytes));
  if (auto const t = omniconn::as_tensor(v); !t) return diagnosis(t.error());
  return {};
}

}  // namespace

std::string describe_payload(value const& v) {
  printer out;
  out.any(v, 0);
  return out.take();
}

outcome fill_tensors(value& v) {
  if (auto* const items = v.if_array())
    for (auto& item : *items)
      if (auto done = fill_tensors(item); !done) return done;
  auto* const entries = v.if_map();
  if (entries == nullptr) return {};
  for (auto& [key, item] : *entries)
    if (auto done = fill_tensors(item); !done) return done;
  return fill_tensor(v);
}

std::string shown_text(std::string_view text, std::size_t most) {
  std::string out = "\"";
  append_shown(out, text.substr(0, most), "\"\\");
  out += '"';
  return text.size() > most ? out + "... (" + std::to_string(text.size()) + " bytes)" : out;
}

std::string one_line(std::string_view text) {
  std::string out;
  append_shown(out, text, "");
  return out;
}

std::string shown_size(std::uint64_t bytes) {
  constexpr char const* units[]{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  auto size = static_cast<double>(bytes);
  for (; size >= 1024 && unit != 6; ++unit) size /= 1024;
  char text[32];
  bool const whole = unit == 0 || size == static_cast<double>(static_cast<std::uint64_t>(size));
  auto const end = std::to_chars(text, text + sizeof text, size, std::chars_format::fixed, whole ? 0 : 1).ptr;
  return std::string(text, end) + " " + units[unit];
}

}  // namespace tool
