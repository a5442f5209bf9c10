// SPDX-License-Identifier: Apache-2.0
// A place in a parsed configuration that knows its own address: "pipeline.yaml:12: runtime.edges[2]".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/algorithm.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/runtime/document.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Refers to the document; copied freely while walking it.
class config_cursor {
 public:
  explicit config_cursor(document const& from) : item_(&from.root), lines_(&from.lines), line_(from.lines.line), source_(from.source) {}

  [[nodiscard]] value const& item() const noexcept { return *item_; }
  [[nodiscard]] std::uint32_t line() const noexcept { return line_; }

  /// Entry `index` of a map or item `index` of an array.
  [[nodiscard]] config_cursor child(std::size_t index) const {
    config_cursor out = *this;
    out.lines_ = lines_ != nullptr && index < lines_->children.size() ? &lines_->children[index] : nullptr;
    out.line_ = out.lines_ != nullptr ? out.lines_->line : 0;
    if (auto const* const entries = item_->if_map()) {
      auto const& [key, item] = (*entries)[index];
      out.item_ = &item;
      out.path_.append(path_.empty() ? "" : ".").append(key_text(key));
    } else {
      out.item_ = &(*item_->if_array())[index];
      out.path_.append("[").append(std::to_string(index)).append("]");
    }
    return out;
  }
  /// The entry of a map under a text key, unless it is absent.
  [[nodiscard]] std::optional<config_cursor> entry(std::string_view key) const {
    if (auto const* const entries = item_->if_map())
      for (std::size_t i = 0; i < entries->size(); ++i)
        if (auto const* const text = (*entries)[i].first.if_string(); text != nullptr && *text == key) return child(i);
    return std::nullopt;
  }
  /// The same, unless it is absent or null: YAML makes null of a key without a value.
  [[nodiscard]] std::optional<config_cursor> find(std::string_view key) const {
    auto out = entry(key);
    if (out && out->item().is_nil()) out.reset();
    return out;
  }

  /// "pipeline.yaml:12": for pointing at a second place.
  [[nodiscard]] std::string place() const { return line_ == 0 ? source_ : source_ + ":" + std::to_string(line_); }
  /// "pipeline.yaml:12: runtime.edges[2]".
  [[nodiscard]] std::string where() const { return path_.empty() ? place() : place() + ": " + path_; }
  [[nodiscard]] std::string const& path() const noexcept { return path_; }

  [[nodiscard]] diagnosis problem(std::string_view text, error_kind kind = error_kind::misconfigured) const {
    return {kind, where().append(": ").append(text)};
  }
  /// "... is the integer 5, expected a map; write {a: b}".
  [[nodiscard]] diagnosis wrong_type(std::string_view expected, std::string_view mend) const {
    return problem("is " + describe(*item_) + ", expected " + std::string(expected) + "; " + std::string(mend));
  }

 private:
  static std::string key_text(value const& key) {
    auto const* const text = key.if_string();
    return text == nullptr ? describe(key) : shown_name(*text);
  }

  value const* item_;
  source_lines const* lines_;  // null where the lines of this place are not known
  std::uint32_t line_;
  std::string source_;
  std::string path_;
};

/// A key that stands twice in one map anywhere in the document, or nesting beyond `depth`.
inline std::optional<diagnosis> check_document(config_cursor const& at, std::size_t depth) {
  value const& item = at.item();
  if (item.size() == 0) return std::nullopt;
  if (depth == 0) return at.problem("is nested too deeply; a configuration needs no more than 64 levels", error_kind::too_large);
  if (auto const* const entries = item.if_map()) {
    std::vector<std::pair<std::string_view, std::size_t>> keys;
    for (std::size_t i = 0; i < entries->size(); ++i)
      if (auto const* const text = (*entries)[i].first.if_string()) keys.emplace_back(*text, i);
    sort(keys.data(), keys.size());
    for (std::size_t i = 1; i < keys.size(); ++i) {
      if (keys[i - 1].first != keys[i].first) continue;
      auto const first = at.child(keys[i - 1].second);
      return at.child(keys[i].second)
          .problem("stands twice in one map" + (first.line() == 0 ? "" : ", first in line " + std::to_string(first.line())) + "; keep one",
                   error_kind::malformed);
    }
  }
  for (std::size_t i = 0; i < item.size(); ++i)
    if (auto bad = check_document(at.child(i), depth - 1)) return bad;
  return std::nullopt;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
