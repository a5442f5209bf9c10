// SPDX-License-Identifier: Apache-2.0
// Bytes in and out: files, stdin and stdout, with an exact error for everything that can be wrong with them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <omniconn/detail/posix.hpp>

#include "common.hpp"

namespace tool {

/// Makes sure that 0, 1 and 2 are taken, so that no file of ours gets their numbers where the caller closed them; using one that was closed fails.
void guard_standard_streams();

/// All of a file, or of stdin where `path` is empty or "-".
/// \errors `not_found`, `unauthorized`, `io` (a directory, a failed read), `no_space` (memory).
result<std::vector<std::byte>, diagnosis> read_input(std::string const& path);

/// To stdout, at once and whole. \errors `io` (closed, broken pipe), `no_space`.
outcome print(std::string_view text);
outcome print(const_bytes bytes);

/// A warning or progress on stderr; nobody minds if it does not get there.
void note(std::string_view text) noexcept;

/// The error text of an errno.
std::string errno_text(int code);

/// Where a result goes: stdout where `path` is empty or "-"; a device or a pipe as it is; else a file that appears under its name only when
/// `finish` is called, so that neither an earlier file nor a reader sees half of it.
class output {
 public:
  /// Opens now, before anything is taken that would be lost if it could not be written.
  static result<output, diagnosis> open(std::string const& path);

  output(output&& other) noexcept;
  output& operator=(output&&) = delete;
  ~output();

  outcome write(const_bytes bytes);
  outcome finish();

 private:
  output() = default;

  omniconn::detail::unique_fd file_;  // none: stdout
  std::string shown_;
  std::string target_;
  std::string temporary_;  // still to be renamed to `target_`, or removed
};

}  // namespace tool
