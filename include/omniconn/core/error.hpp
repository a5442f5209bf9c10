// SPDX-License-Identifier: Apache-2.0
// What can go wrong, in one small trivially copyable object.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The reason of a failure. `docs/errors.md` has the table from condition to kind; the numbers are stable and are
/// what metrics and exit codes are indexed by.
enum class error_kind : std::uint8_t {
  not_found = 1,     ///< nothing there, and the call did not wait
  timed_out,         ///< the deadline passed while the call waited
  cancelled,         ///< the caller's stop token fired
  already_exists,    ///< the key is taken and `on_existing::fail` is in force
  consumed,          ///< this reader has had its share already
  aborted,           ///< the producer gave up before the object was whole
  lost,              ///< the store says that the object is gone
  stale_handle,      ///< a locator, block or handle from an earlier use of its place
  lease_expired,     ///< the lease ended before the call
  peer_stalled,      ///< the peer does not move; nothing was dropped
  peer_lost,         ///< the peer process or connection is dead
  unreachable,       ///< nobody answers there
  corrupt,           ///< bytes differ from what was written (checksum, magic, impossible offsets)
  malformed,         ///< bytes are whole but do not follow their format
  too_large,         ///< over a limit of the transport, of the caller or of the format
  no_space,          ///< memory or slots are used up; the text names the option that raises the limit
  quota_exceeded,    ///< the configured quota of the edge or namespace is used up
  unauthorized,      ///< wrong owner, wrong permissions, missing or wrong key
  version_mismatch,  ///< the other side speaks another version of the format
  closed,            ///< the object was closed before or during the call
  misconfigured,     ///< the configuration or the arguments cannot work; the text says what to change
  unsupported,       ///< this transport or build cannot do it; the text says what can
  io,                ///< the operating system refused; `native` holds errno
};

/// Number of kinds, for arrays indexed by `index(kind)`.
inline constexpr std::size_t error_kind_count = 23;

/// Position of a kind in `[0, error_kind_count)`.
constexpr std::size_t index(error_kind kind) noexcept { return static_cast<std::size_t>(kind) - 1; }

/// The kind's name as it appears in messages, metrics and the command line: "not_found", "timed_out", ...
constexpr std::string_view to_string(error_kind kind) noexcept {
  constexpr std::array<std::string_view, error_kind_count> names{
      "not_found",     "timed_out",      "cancelled", "already_exists",   "consumed",  "aborted",       "lost",
      "stale_handle",  "lease_expired",  "peer_stalled", "peer_lost",     "unreachable", "corrupt",     "malformed",
      "too_large",     "no_space",       "quota_exceeded", "unauthorized", "version_mismatch", "closed", "misconfigured",
      "unsupported",   "io"};
  return index(kind) < names.size() ? names[index(kind)] : std::string_view("unknown");
}

/// What died: the one call, the connection to one peer, or the whole transport. Recovery is decided from it:
/// retry the call, reconnect, or open a new connector.
enum class severity : std::uint8_t { operation, connection, transport };

constexpr std::string_view to_string(severity s) noexcept {
  return s == severity::operation ? "operation" : s == severity::connection ? "connection" : "transport";
}

/// A failure: trivially copyable, never allocates. `text()` is a sentence with static storage duration that says what
/// is wrong and, where the caller can mend it, how.
class error {
 public:
  constexpr error(error_kind kind, char const* text = "", int native = 0,  // NOLINT(google-explicit-constructor): a kind is an error
                  severity level = severity::operation) noexcept
      : text_(text), native_(native), kind_(kind), level_(level) {}

  [[nodiscard]] constexpr error_kind kind() const noexcept { return kind_; }
  [[nodiscard]] constexpr severity level() const noexcept { return level_; }
  /// errno, a verbs status or a store's return code; 0 where there is none.
  [[nodiscard]] constexpr int native() const noexcept { return native_; }
  [[nodiscard]] constexpr char const* text() const noexcept { return text_; }

  /// "no_space: the arena is full; raise memory_pool_size (native code 28)".
  [[nodiscard]] std::string message() const { return message_of(text_); }

  /// Same kind: texts are for people and take no part in comparison.
  friend constexpr bool operator==(error const& e, error_kind kind) noexcept { return e.kind_ == kind; }

 protected:
  [[nodiscard]] std::string message_of(std::string_view text) const {
    std::string out(to_string(kind_));
    if (!text.empty()) out.append(": ").append(text);
    if (native_ != 0) out.append(" (native code ").append(std::to_string(native_)).append(")");
    return out;
  }

 private:
  char const* text_;
  std::int32_t native_;
  error_kind kind_;
  severity level_;
};

static_assert(std::is_trivially_copyable_v<error> && sizeof(error) <= 16);

/// An error of a cold path (opening, configuration, the command line) whose text is composed: which file and line,
/// which option, which value, how to mend it. Slices to `error` without losing kind, level and code.
class diagnosis : public error {
 public:
  diagnosis(error_kind kind, std::string detail, int native = 0, severity level = severity::transport)
      : error(kind, "", native, level), detail_(std::move(detail)) {}
  diagnosis(error e) : error(e), detail_(e.text()) {}  // NOLINT(google-explicit-constructor): errors widen silently

  [[nodiscard]] std::string const& detail() const noexcept { return detail_; }
  /// Hides `error::text`, which would lose the composed sentence.
  [[nodiscard]] char const* text() const noexcept { return detail_.c_str(); }

  [[nodiscard]] std::string message() const { return message_of(detail_); }

  /// The same failure with a prefix that says where it happened: `in("edge 0->1")` → "edge 0->1: ...".
  [[nodiscard]] diagnosis in(std::string_view where) const {
    std::string text(where);
    text.append(": ").append(detail_);
    return {kind(), std::move(text), native(), level()};
  }

 private:
  std::string detail_;
};

OMNICONN_END_NAMESPACE
