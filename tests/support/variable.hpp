// SPDX-License-Identifier: Apache-2.0
// An environment variable as a test wants it, and as it was before when the test is over.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace test_support {

class variable {
 public:
  /// `text` null: not set.
  variable(char const* name, char const* text) : name_(name) {
    if (char const* const before = std::getenv(name); before != nullptr) before_ = before;
    set(text);
  }
  variable(variable const&) = delete;
  variable& operator=(variable const&) = delete;
  ~variable() { set(before_ ? before_->c_str() : nullptr); }

  void set(char const* text) const { static_cast<void>(text != nullptr ? ::setenv(name_, text, 1) : ::unsetenv(name_)); }

 private:
  char const* name_;
  std::optional<std::string> before_;
};

}  // namespace test_support
