// SPDX-License-Identifier: Apache-2.0
// omniconn-part: yaml
// A strict reader of YAML configuration: yaml-cpp finds the structure, everything else is decided and limited here.
#pragma once

#if !__has_include(<yaml-cpp/yaml.h>)
#error "omniconn: yaml-cpp is missing: install libyaml-cpp-dev and link omniconn::yaml (or yaml-cpp)"
#endif

#include <cstddef>
#include <exception>
#include <istream>
#include <new>
#include <optional>
#include <streambuf>
#include <string>
#include <string_view>
#include <utility>

#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/yaml_builder.hpp>
#include <omniconn/detail/yaml_text.hpp>
#include <omniconn/runtime/document.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// A text as an input stream, without a copy of it.
class text_buffer final : public std::streambuf {
 public:
  explicit text_buffer(std::string_view text) {
    char* const begin = const_cast<char*>(text.data());  // the get area of a streambuf is never written to
    setg(begin, begin, begin + text.size());
  }
};

// yaml-cpp makes about three tokens of a bracket or comma and keeps those of a whole line, or of a whole bracketed document, before the
// first event. So they are counted first, wherever they stand: more of them than values allowed means more values than allowed.
inline std::optional<diagnosis> check_yaml_size(std::string_view text, std::string_view source, document_limits const& limits) {
  if (text.size() > limits.max_bytes)
    return diagnosis(error_kind::too_large, std::string(source) + ": the text has " + std::to_string(text.size()) + " bytes, more than " +
                                                std::to_string(limits.max_bytes) +
                                                "; is it a configuration? raise document_limits::max_bytes");
  std::size_t separators = 0;
  std::size_t marks = 0;
  for (char const c : text) {
    if (c == ',' || c == '[' || c == '{') ++separators;
    if (std::string_view("\"'!&*?:").find(c) != std::string_view::npos) ++marks;
  }
  if (separators > limits.max_nodes || marks / 4 > limits.max_nodes)
    return diagnosis(error_kind::too_large, std::string(source) + ": the text has more commas, brackets or quotes than " +
                                                std::to_string(limits.max_nodes) +
                                                " keys and values need; raise document_limits::max_nodes");
  return std::nullopt;
}

// One pass of yaml-cpp over a text that has been checked. What begins at `end` was added by us.
inline result<document, diagnosis> run_yaml_parser(std::string_view text, std::size_t end, std::string_view source,
                                                   document_limits const& limits) {
  yaml_builder builder(text, end, source, limits);
  try {
    text_buffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    // The second call finds a second document, or reports the rest of the text that the first one did not use.
    if (parser.HandleNextDocument(builder)) parser.HandleNextDocument(builder);
    return builder.take();
  } catch (yaml_stop const& stopped) {
    return stopped.why;
  } catch (YAML::Exception const& failure) {
    constexpr std::string_view mend = "; check indentation, quotes and brackets here and in the lines before, and the ': ' after each key";
    if (failure.mark.pos >= 0 && static_cast<std::size_t>(failure.mark.pos) >= end)
      return diagnosis(error_kind::malformed, place_in_text(source, text, end) +
                                                  ": the text ends inside quotes, brackets or a key: " + failure.msg + std::string(mend));
    return builder.problem(failure.mark, failure.msg + std::string(mend));
  } catch (std::bad_alloc const&) {
    return diagnosis(error_kind::no_space, "memory ran out over a YAML text; close what else runs");
  } catch (std::exception const& failure) {
    return builder.problem(YAML::Mark::null_mark(), std::string(failure.what()) + "; check indentation, quotes and brackets");
  }
}

}  // namespace detail

/// Reads one YAML document as PyYAML's safe_load does, only stricter: plain scalars by the rules of YAML 1.1, aliases and merge keys
/// within limits, dates as texts; no duplicate keys, no second document, no tags but those of plain data, UTF-8 only.
///
/// An empty text is null. `source` names the text in messages. Errors: `malformed` with source, line and column, `too_large` naming
/// the limit, `unsupported` for tags. \threadsafety free. \copies the values own their texts.
[[nodiscard]] inline result<document, diagnosis> parse_yaml(std::string_view text, std::string_view source = "configuration",
                                                            document_limits const& limits = {}) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  if (auto bad = detail::check_yaml_size(text, source, limits)) return std::move(*bad);
  if (auto bad = detail::check_yaml_characters(text, source)) return std::move(*bad);
  // At the end of a file yaml-cpp 0.7 takes open quotes for closed and a word without a colon for a key. A comment and an end mark after
  // the text make it say so. They may change the end of a block scalar: where there can be one, a second pass reads the text as it is.
  std::string const plain = detail::with_plain_newlines(text);
  auto out = detail::run_yaml_parser(plain + "\n#\n...\n", plain.size(), source, limits);
  if (!out || plain.find_first_of("|>") == std::string::npos) return out;
  return detail::run_yaml_parser(plain, plain.size(), source, limits);
}

OMNICONN_END_NAMESPACE
