// SPDX-License-Identifier: Apache-2.0
// Configuration files: what they are by name, and their text.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The formats that a configuration may have.
enum class config_format : std::uint8_t { yaml, json };

/// The format that the file's suffix names: .yaml, .yml or .json in any case. Else `misconfigured`, naming the suffix.
[[nodiscard]] inline result<config_format, diagnosis> config_format_of(std::string_view path) {
  std::string_view const name = path.substr(path.rfind('/') + 1);
  std::size_t const dot = name.rfind('.');
  // As for Python's Path.suffix: the dot of ".yaml" and of "pipeline." begins none.
  bool const has_suffix = dot != std::string_view::npos && dot != 0 && dot + 1 != name.size();
  std::string suffix(has_suffix ? name.substr(dot) : std::string_view());
  std::string lower = suffix;
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  if (lower == ".yaml" || lower == ".yml") return config_format::yaml;
  if (lower == ".json") return config_format::json;
  return diagnosis(error_kind::misconfigured,
                   "Unsupported config file format: " + (suffix.empty() ? "no suffix" : detail::in_quotes(suffix)) + " (" +
                       detail::in_quotes(path, 256) + "); name it .yaml, .yml or .json");
}

/// The whole text of a regular file of at most `max_bytes`, without a byte order mark of UTF-8.
///
/// Errors, each naming the path: `not_found` "Config file not found: ...", `unauthorized`, `io` (a directory or another kind of file, a
/// failed read), `too_large`, `malformed` for a file that holds nothing. Never blocks on a FIFO or a device. \threadsafety free.
[[nodiscard]] inline result<std::string, diagnosis> read_config_file(std::string const& path, std::size_t max_bytes = 64 * 1024) {
  std::string const shown = detail::in_quotes(path, 256);
  auto const failure = [&](std::string_view text, int code) {
    return diagnosis(detail::kind_of_errno(code), std::string(text) + shown, code);
  };
  if (path.find('\0') != std::string::npos)
    return diagnosis(error_kind::misconfigured, "the path of the config file holds a NUL byte: " + shown + "; remove it");
  detail::unique_fd const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR)
      return diagnosis(error_kind::not_found, "Config file not found: " + shown + "; check the path", errno);
    return failure("Config file cannot be read, check its permissions: ", errno);
  }
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return failure("Config file cannot be read: ", errno);
  if (S_ISDIR(about.st_mode)) return diagnosis(error_kind::io, "Config file is a directory: " + shown + "; name a file in it", EISDIR);
  if (!S_ISREG(about.st_mode))
    return diagnosis(error_kind::io, "Config file is no regular file: " + shown + "; copy its text into one", EINVAL);

  std::string text;
  for (;;) {
    if (text.size() > max_bytes)
      return diagnosis(error_kind::too_large, "Config file has more than " + std::to_string(max_bytes) + " bytes: " + shown +
                                                  "; is it a configuration? raise document_limits::max_bytes");
    std::size_t const before = text.size();
    text.resize(before + 16 * 1024);
    ssize_t const got = ::read(file.get(), text.data() + before, text.size() - before);
    int const code = errno;
    text.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) break;
    if (got < 0 && code != EINTR) return failure("Config file cannot be read: ", code);
  }
  if (text.rfind("\xef\xbb\xbf", 0) == 0) text.erase(0, 3);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos)
    return diagnosis(error_kind::malformed, "Config file is empty: " + shown + "; list the pipeline's stages in it");
  return text;
}

OMNICONN_END_NAMESPACE
