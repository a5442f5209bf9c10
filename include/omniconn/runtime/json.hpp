// SPDX-License-Identifier: Apache-2.0
// omniconn-part: json
// Values from and to JSON text: configuration, metadata, reports.
#pragma once

#if !__has_include(<nlohmann/json.hpp>)
#error "omniconn: <nlohmann/json.hpp> was not found: install Debian's package nlohmann-json3-dev and link the CMake target omniconn::json"
#endif
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/base64.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What a JSON text may ask for, and how it is read.
struct json_options {
  std::size_t max_depth = 128;                    ///< arrays and objects inside each other; at most 1,024
  std::size_t max_nodes = std::size_t{16} << 20;  ///< values in one text; each costs 48 bytes
  bool restore = false;                           ///< turn the forms that `to_json` writes back into what they stand for
};

namespace detail {

// Forms for what JSON lacks: an object with one entry of such a name.
inline constexpr std::array<std::string_view, 4> json_forms{"__bytes__", "__ext__", "__float__", "__map__"};
inline bool is_json_form(std::string_view key) noexcept { return std::find(json_forms.begin(), json_forms.end(), key) != json_forms.end(); }

// Counts what the parser has read: its callbacks do not say where they are.
class counting_iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = char const*;
  using reference = char const&;

  counting_iterator(char const* at, char const** furthest) noexcept : at_(at), furthest_(furthest) {}
  reference operator*() const noexcept { return *at_; }
  counting_iterator& operator++() noexcept {
    *furthest_ = ++at_;
    return *this;
  }
  counting_iterator operator++(int) noexcept {
    counting_iterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(counting_iterator const& a, counting_iterator const& b) noexcept { return a.at_ == b.at_; }
  friend bool operator!=(counting_iterator const& a, counting_iterator const& b) noexcept { return a.at_ != b.at_; }

 private:
  char const* at_;
  char const** furthest_;
};

class json_builder {
 public:
  json_builder(json_options const& options) : options_(options) {}

  [[nodiscard]] value take() noexcept { return std::move(root_); }
  [[nodiscard]] error_kind kind() const noexcept { return kind_; }
  [[nodiscard]] std::string const& reason() const noexcept { return reason_; }

  bool null() { return put(value()); }
  bool boolean(bool b) { return put(b); }
  bool number_integer(std::int64_t n) { return put(n); }
  bool number_unsigned(std::uint64_t n) { return put(n); }
  bool number_float(double d, std::string const& text) {
    // What does not fit an integer comes as a double, silently rounded.
    if (text.find_first_of(".eE") == text.npos)
      return fail(error_kind::too_large, "the integer " + text.substr(0, 40) + " does not fit 64 bits; write it as a text");
    return put(d);
  }
  bool string(std::string& text) { return put(std::move(text)); }
  bool binary(std::vector<std::uint8_t>&) { return fail(error_kind::malformed, "JSON has no binary"); }
  bool start_object(std::size_t) { return open(value(value::map())); }
  bool start_array(std::size_t) { return open(value(value::array())); }
  bool key(std::string& name) {
    auto& object = open_.back();
    auto& entries = *object.at->if_map();
    // A handful of keys is compared; more are remembered, so that a hostile object does not cost its square.
    constexpr std::size_t few = 16;
    if (entries.size() < few ? object.at->find(name) != nullptr : (remember(object), !object.names.insert(name).second))
      return fail(error_kind::malformed, "the key \"" + name.substr(0, 80) + "\" comes twice in one object");
    entries.emplace_back(std::move(name), value());
    return true;
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool end_object() {
    value& object = *open_.back().at;
    open_.pop_back();
    return !options_.restore || restore(object);
  }
  template <class Exception>
  bool parse_error(std::size_t, std::string const&, Exception const& e) {
    // "[json.exception...] parse error at line 1, column 5: what is wrong": the place is said in our own words.
    std::string_view text = e.what();
    if (auto const column = text.find(", column "); column != text.npos) {
      if (auto const colon = text.find(": ", column); colon != text.npos) text = text.substr(colon + 2);
    } else if (auto const bracket = text.find("] "); bracket != text.npos) {
      text = text.substr(bracket + 2);
    }
    return fail(error_kind::malformed, std::string(text));
  }

 private:
  struct container {
    value* at;
    std::set<std::string> names;
  };

  static void remember(container& object) {
    if (!object.names.empty()) return;
    for (auto const& [name, item] : *object.at->if_map()) object.names.insert(*name.if_string());
  }
  bool fail(error_kind kind, std::string reason) {
    if (reason_.empty()) {
      kind_ = kind;
      reason_ = std::move(reason);
    }
    return false;
  }
  // Where the value lies. An open container is the last thing inside its parent, which does not grow meanwhile.
  value* place(value item) {
    if (++nodes_ > options_.max_nodes) {
      fail(error_kind::too_large, "the text has more values than max_nodes allows");
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(item);
      return &root_;
    }
    value& parent = *open_.back().at;
    if (auto* items = parent.if_array()) return &items->emplace_back(std::move(item));
    return &(parent.if_map()->back().second = std::move(item));
  }
  bool put(value item) { return place(std::move(item)) != nullptr; }
  bool open(value empty) {
    if (open_.size() >= std::min<std::size_t>(options_.max_depth, 1024))
      return fail(error_kind::too_large, "the text is nested deeper than max_depth allows");
    value* const at = place(std::move(empty));
    if (at != nullptr) open_.push_back({at, {}});
    return at != nullptr;
  }

  bool restore(value& object) {
    auto const& entries = *object.if_map();
    if (entries.size() != 1 || !is_json_form(*entries.front().first.if_string())) return true;
    auto restored = restored_form(*entries.front().first.if_string(), entries.front().second);
    if (!restored)
      return fail(error_kind::malformed,
                  "an object with the one key " + *entries.front().first.if_string() + " does not hold what to_json writes there");
    object = std::move(*restored);
    return true;
  }
  static std::optional<blob> bytes_in(value const& text) {
    if (auto const* base64 = text.if_string())
      if (auto bytes = parse_base64(*base64)) {
        auto const owner = std::make_shared<std::vector<std::byte>>(std::move(*bytes));
        return blob::share(*owner, owner);
      }
    return std::nullopt;
  }
  static std::optional<value> restored_form(std::string_view form, value const& content) {
    if (form == "__bytes__") {
      if (auto bytes = bytes_in(content)) return value(std::move(*bytes));
    } else if (form == "__float__") {
      auto const text = content.as_string().value_or(std::string_view());
      constexpr double inf = std::numeric_limits<double>::infinity();
      if (text == "nan") return value(std::numeric_limits<double>::quiet_NaN());
      if (text == "inf" || text == "-inf") return value(text == "inf" ? inf : -inf);
    } else if (form == "__ext__") {
      auto const* parts = content.if_array();
      if (parts == nullptr || parts->size() != 2) return std::nullopt;
      auto const type = (*parts)[0].as_int64();
      auto bytes = bytes_in((*parts)[1]);
      if (type && *type >= -128 && *type <= 127 && bytes) return value(extension{static_cast<std::int8_t>(*type), std::move(*bytes)});
    } else if (auto const* pairs = content.if_array()) {
      value::map out;
      for (auto const& pair : *pairs) {
        auto const* both = pair.if_array();
        if (both == nullptr || both->size() != 2) return std::nullopt;
        out.emplace_back((*both)[0], (*both)[1]);
      }
      return value(std::move(out));
    }
    return std::nullopt;
  }

  json_options options_;
  value root_;
  std::vector<container> open_;
  std::size_t nodes_ = 0;
  std::string reason_;
  error_kind kind_ = error_kind::malformed;
};

class json_writer {
 public:
  explicit json_writer(int indent) noexcept : indent_(indent) {}
  [[nodiscard]] std::string take() noexcept { return std::move(out_); }

  void any(value const& v, int level) {
    switch (v.kind()) {
      case value_kind::nil: out_ += "null"; return;
      case value_kind::boolean: out_ += *v.if_bool() ? "true" : "false"; return;
      case value_kind::int64: return number(*v.as_int64());
      case value_kind::uint64: return number(*v.as_uint64());
      case value_kind::float32: return real(*v.if_float(), level);
      case value_kind::float64: return real(*v.if_double(), level);
      case value_kind::string: return text(*v.if_string());
      case value_kind::binary: return form("__bytes__", level, [&](int) { base64(v.if_binary()->bytes()); });
      case value_kind::ext:
        return form("__ext__", level, [&](int inner) {
          list('[', ']', 2, inner,
               [&](std::size_t i, int) { i == 0 ? number(std::int64_t{v.if_ext()->type}) : base64(v.if_ext()->data.bytes()); });
        });
      case value_kind::array: return list('[', ']', v.size(), level, [&](std::size_t i, int inner) { any((*v.if_array())[i], inner); });
      case value_kind::map: return map(*v.if_map(), level);
    }
  }

 private:
  void map(value::map const& entries, int level) {
    if (fits_object(entries))
      return list('{', '}', entries.size(), level, [&](std::size_t i, int inner) {
        key(*entries[i].first.if_string());
        any(entries[i].second, inner);
      });
    form("__map__", level, [&](int inner) {
      list('[', ']', entries.size(), inner, [&](std::size_t i, int deeper) {
        list('[', ']', 2, deeper, [&](std::size_t part, int deepest) { any(part == 0 ? entries[i].first : entries[i].second, deepest); });
      });
    });
  }
  // All keys texts, none twice, and not to be mistaken for one of our forms.
  static bool fits_object(value::map const& entries) {
    std::vector<std::string_view> names;
    names.reserve(entries.size());
    for (auto const& [name, item] : entries) {
      if (!name.is_string()) return false;
      names.emplace_back(*name.if_string());
    }
    if (names.size() == 1 && is_json_form(names.front())) return false;
    std::sort(names.begin(), names.end());
    return std::adjacent_find(names.begin(), names.end()) == names.end();
  }

  template <class Item>
  void list(char open, char close, std::size_t count, int level, Item const& item) {
    out_ += open;
    for (std::size_t i = 0; i != count; ++i) {
      if (i != 0) out_ += ',';
      line(level + 1);
      item(i, level + 1);
    }
    if (count != 0) line(level);
    out_ += close;
  }
  template <class Content>
  void form(std::string_view name, int level, Content const& content) {
    list('{', '}', 1, level, [&](std::size_t, int inner) {
      key(name);
      content(inner);
    });
  }
  void key(std::string_view name) {
    text(name);
    out_ += indent_ < 0 ? ":" : ": ";
  }
  void line(int level) {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(static_cast<std::size_t>(level) * static_cast<std::size_t>(indent_), ' ');
  }
  template <class Number>
  void number(Number n) {
    std::array<char, 40> digits;
    auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), n).ptr;
    out_.append(digits.data(), end);
  }
  template <class Real>
  void real(Real r, int level) {
    if (!std::isfinite(r)) return form("__float__", level, [&](int) { text(std::isnan(r) ? "nan" : r > 0 ? "inf" : "-inf"); });
    std::size_t const start = out_.size();
    number(r);
    // A whole number stays a floating one for whoever reads it.
    if (out_.find_first_of(".e", start) == out_.npos) out_ += ".0";
  }
  void base64(const_bytes bytes) {
    out_ += '"';
    append_base64(out_, bytes);
    out_ += '"';
  }
  void text(std::string_view s) {
    constexpr std::string_view hex = "0123456789abcdef";
    out_ += '"';
    for (std::size_t i = 0; i != s.size();) {
      auto const c = static_cast<unsigned char>(s[i]);
      if (c == '"' || c == '\\') {
        out_ += '\\';
        out_ += s[i++];
      } else if (c == '\n') {
        out_ += "\\n";
        ++i;
      } else if (c < 0x20 || c == 0x7f) {
        out_ += "\\u00";
        out_ += hex[c >> 4];
        out_ += hex[c & 15];
        ++i;
      } else if (std::size_t const size = utf8_size(s.substr(i)); size != 0) {
        out_ += s.substr(i, size);
        i += size;
      } else {
        out_ += "\xef\xbf\xbd";  // U+FFFD
        ++i;
      }
    }
    out_ += '"';
  }
  // Bytes of the code point at the start of `s`; 0 where it is not UTF-8 (overlong forms and surrogates included).
  static std::size_t utf8_size(std::string_view s) noexcept {
    auto const at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
    auto const tail = [&](std::size_t i) { return (at(i) & 0xc0U) == 0x80U; };
    unsigned const c = at(0);
    if (c < 0x80) return 1;
    if (c >= 0xc2 && c <= 0xdf) return tail(1) ? 2 : 0;
    if (c >= 0xe0 && c <= 0xef) {
      bool const wrong = (c == 0xe0 && at(1) < 0xa0) || (c == 0xed && at(1) > 0x9f);
      return tail(1) && tail(2) && !wrong ? 3 : 0;
    }
    if (c >= 0xf0 && c <= 0xf4) {
      bool const wrong = (c == 0xf0 && at(1) < 0x90) || (c == 0xf4 && at(1) > 0x8f);
      return tail(1) && tail(2) && tail(3) && !wrong ? 4 : 0;
    }
    return 0;
  }

  std::string out_;
  int indent_;
};

inline std::string place_in(std::string_view text, std::size_t offset) {
  std::string_view const before = text.substr(0, offset);
  auto const lines = std::count(before.begin(), before.end(), '\n');
  auto const last = before.rfind('\n');
  std::size_t const column = last == before.npos ? before.size() + 1 : before.size() - last;
  return "line " + std::to_string(lines + 1) + ", column " + std::to_string(column);
}

}  // namespace detail

/// Reads one JSON document. Objects become maps with their keys in order, whole numbers integers, others doubles.
/// Nothing in the text makes it throw. \threadsafety all calls may run together. \copies texts.
/// \errors `malformed`: no JSON, a key twice in one object, bytes after the document; `too_large`: an integer beyond 64 bits, or over
/// a limit of `options`. The text begins with "line 3, column 9: ", the place where the parser stopped.
[[nodiscard]] inline result<value, diagnosis> parse_json(std::string_view text, json_options const& options = {}) {
  char const* furthest = text.data();
  auto const failed = [&](error_kind kind, std::string_view why) {
    auto const read = static_cast<std::size_t>(furthest - text.data());
    return diagnosis(kind, std::string(why), 0, severity::operation).in(detail::place_in(text, read == 0 ? 0 : read - 1));
  };
  try {
    // The parser takes a NUL for the end of the text and would not see what follows.
    if (auto const nul = text.find('\0'); nul != text.npos) {
      furthest = text.data() + nul + 1;
      return failed(error_kind::malformed, "the text holds a NUL byte");
    }
    detail::json_builder builder(options);
    detail::counting_iterator const first(text.data(), &furthest), last(text.data() + text.size(), &furthest);
    if (!nlohmann::json::sax_parse(first, last, &builder)) return failed(builder.kind(), builder.reason());
    return builder.take();
  } catch (std::bad_alloc const&) {
    return diagnosis(error(error_kind::no_space, "memory ran out over the JSON text"));
  } catch (std::exception const& e) {
    return failed(error_kind::malformed, e.what());
  }
}

/// Writes a value as JSON; `indent` spaces per level, or all in one line where it is negative.
///
/// What JSON lacks becomes an object with one entry: binary `{"__bytes__": "<base64>"}`, ext `{"__ext__": [type, "<base64>"]}`, infinities and
/// NaN `{"__float__": "inf" | "-inf" | "nan"}`, and a map whose keys are not different texts (or that looks like one of these
/// forms) `{"__map__": [[key, item], ...]}`. `json_options::restore` reads all of them back. A float comes back as the double
/// of its shortest decimal form; bytes in texts that are not UTF-8 become U+FFFD.
[[nodiscard]] inline std::string to_json(value const& v, int indent = -1) {
  detail::json_writer writer(indent);
  writer.any(v, 0);
  return writer.take();
}

OMNICONN_END_NAMESPACE
