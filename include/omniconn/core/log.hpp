// SPDX-License-Identifier: Apache-2.0
// What the library has to say that is no error of any call.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <unistd.h>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

enum class log_level : std::uint8_t {
  note,     ///< something could be better; said once per process
  warning,  ///< something is wrong, and the library goes on
};

/// Takes a sentence without a line end. Called from any thread, also from several at once; must not call the library.
using log_sink = void (*)(log_level, std::string_view) noexcept;

/// The sink at the start: a line on standard error. The environment variable OMNICONN_LOG=off silences it.
inline void log_to_stderr(log_level level, std::string_view text) noexcept {
  char const* const set = std::getenv("OMNICONN_LOG");
  if (set != nullptr && std::string_view(set) == "off") return;
  // Not stdio's stream: one system call a line, so that the lines of several threads do not mix.
  ::dprintf(STDERR_FILENO, "omniconn: %s: %.*s\n", level == log_level::note ? "note" : "warning", static_cast<int>(text.size()), text.data());
}

namespace detail {
inline std::atomic<log_sink> current_log_sink{&log_to_stderr};
}

/// Where notes and warnings go from now on; null: nowhere. \returns the sink before.
inline log_sink set_log_sink(log_sink sink) noexcept { return detail::current_log_sink.exchange(sink); }

inline void log(log_level level, std::string_view text) noexcept {
  if (log_sink const sink = detail::current_log_sink.load()) sink(level, text);
}

OMNICONN_END_NAMESPACE
