// SPDX-License-Identifier: Apache-2.0
// Lines of a JSON text that has been parsed already: its parser gives none, and errors should point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/runtime/document.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// \requires the text is valid JSON; nests as deeply as the text does.
class json_line_reader {
 public:
  explicit json_line_reader(std::string_view text) noexcept : text_(text) {}

  source_lines read() {
    skip_blanks();
    source_lines out;
    out.line = line_;
    char const first = peek();
    if (first == '{' || first == '[') {
      ++at_;
      read_children(out, first == '{');
    } else {
      skip_scalar();
    }
    return out;
  }

 private:
  char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }

  void read_children(source_lines& parent, bool is_object) {
    for (;;) {
      skip_blanks();
      if (at_ >= text_.size()) return;
      if (peek() == '}' || peek() == ']') {
        ++at_;
        return;
      }
      if (peek() == ',') {
        ++at_;
        continue;
      }
      std::uint32_t const key_line = line_;
      if (is_object) {
        skip_scalar();
        skip_blanks();
        ++at_;  // ':'
      }
      source_lines child = read();
      if (is_object) child.line = key_line;
      parent.children.push_back(std::move(child));
    }
  }

  void skip_blanks() noexcept {
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\n') ++line_;
      if (std::string_view(" \t\r\n").find(text_[at_]) == std::string_view::npos) return;
    }
  }
  void skip_scalar() noexcept {
    if (peek() != '"') {
      std::size_t const end = text_.find_first_of(",:]} \t\r\n", at_);
      at_ = end == std::string_view::npos ? text_.size() : end == at_ ? at_ + 1 : end;
      return;
    }
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_)
      if (text_[at_] == '\\') ++at_;
    ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
