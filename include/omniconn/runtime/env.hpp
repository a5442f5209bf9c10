// SPDX-License-Identifier: Apache-2.0
// References to environment variables in configuration texts, and the words that mean "choose the address yourself".
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/function_ref.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/describe.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Looks a variable up: its text, or null where it is not set. A test gives its own.
using env_lookup = function_ref<char const*(char const* name)>;

/// The environment of this process. \threadsafety as `getenv`: no other thread may change the environment meanwhile.
struct process_environment {
  char const* operator()(char const* name) const noexcept { return std::getenv(name); }
};
inline constexpr process_environment process_env{};

namespace detail {

// Letters, digits and '_' of ASCII only: what may follow a '$' does not depend on the locale.
constexpr bool is_env_name_char(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// Replaces each `$NAME` and `${NAME}` that is set, keeps the others as they stand and reports their names.
inline std::string expand_references(std::string_view text, env_lookup lookup, function_ref<void(std::string_view)> unset) {
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t const dollar = text.find('$', at);
    out.append(text.substr(at, dollar - at));
    if (dollar == std::string_view::npos) break;
    std::size_t end = dollar + 1;
    std::string_view name;
    if (end < text.size() && text[end] == '{') {
      std::size_t const brace = text.find('}', end);
      if (brace != std::string_view::npos) {
        name = text.substr(end + 1, brace - end - 1);
        end = brace + 1;
      }
    } else {
      while (end < text.size() && is_env_name_char(text[end])) ++end;
      name = text.substr(dollar + 1, end - dollar - 1);
    }
    // A NUL would cut the name short and find another variable.
    bool const possible = !name.empty() && name.find('\0') == std::string_view::npos;
    if (char const* const found = possible ? lookup(std::string(name).c_str()) : nullptr; found != nullptr) {
      out.append(found);  // not looked at again: a variable's text is data
    } else {
      if (!name.empty()) unset(name);
      out.append(text.substr(dollar, end - dollar));
    }
    at = end;
  }
  return out;
}

}  // namespace detail

/// `$NAME` and `${NAME}` replaced by the variables' texts, once. What is not set stays as it stands, and so do `$$`, a `$` before
/// another character and an unclosed `${`: the rules of Python's os.path.expandvars.
[[nodiscard]] inline std::string expand_env_lenient(std::string_view text, env_lookup lookup = process_env) {
  return detail::expand_references(text, lookup, [](std::string_view) {});
}

/// As `expand_env_lenient`, but a reference to a variable that is not set is `misconfigured`; the text names `field`, every such
/// variable once, and the original.
[[nodiscard]] inline result<std::string, diagnosis> expand_env(std::string_view text, std::string_view field,
                                                               env_lookup lookup = process_env) {
  std::string missing;
  std::string seen = "\n";
  auto const note = [&](std::string_view name) {
    std::string const line = std::string(name) + "\n";
    if (seen.find("\n" + line) != std::string::npos) return;
    seen += line;
    std::string const shown = detail::in_quotes(name);
    missing.append(missing.empty() ? "" : ", ").append(shown, 1, shown.size() - 2);
  };
  std::string out = detail::expand_references(text, lookup, note);
  if (missing.empty()) return out;
  return diagnosis(error_kind::misconfigured, std::string(field) + " references unset environment variable(s): " + missing +
                                                  ". Original value: " + detail::in_quotes(text) + "; set them, or write the value itself");
}

/// An integer, or a text that is one after expansion: `zmq_port: ${BASE_PORT}`. Else `misconfigured`, naming `field` and what was found.
[[nodiscard]] inline result<std::int64_t, diagnosis> expand_env_int(value const& item, std::string_view field,
                                                                    env_lookup lookup = process_env) {
  if (auto const number = item.as_int64()) return *number;
  auto const wrong = [&](std::string const& found) {
    return diagnosis(error_kind::misconfigured,
                     std::string(field) + " must be an integer after environment expansion, got " + found + "; write a whole number");
  };
  auto const* const text = item.if_string();
  if (text == nullptr) return wrong(detail::describe(item));
  auto expanded = expand_env(*text, field, lookup);
  if (!expanded) return expanded.error();
  std::int64_t number = 0;
  char const* const end = expanded->data() + expanded->size();
  auto const [stop, failed] = std::from_chars(expanded->data(), end, number);
  if (failed != std::errc{} || stop != end) return wrong("the text " + detail::in_quotes(*expanded));
  return number;
}

/// True for the texts that leave the choice of an address to the connector: "", "auto" (any case), "*", "0.0.0.0", "::".
[[nodiscard]] constexpr bool is_auto_host(std::string_view host) noexcept {
  constexpr std::string_view word = "auto";
  if (host.empty() || host == "*" || host == "0.0.0.0" || host == "::") return true;
  if (host.size() != word.size()) return false;
  for (std::size_t i = 0; i < word.size(); ++i)
    if ((host[i] | 0x20) != word[i]) return false;
  return true;
}

OMNICONN_END_NAMESPACE
