// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace pipeline {

/// What every function of this folder throws for input it cannot use. The text names the file or the value that is
/// wrong and, where there is one, the mend; it is meant to be printed as it is.
class dsp_error : public std::runtime_error {
 public:
  explicit dsp_error(const std::string& text) : std::runtime_error(text) {}
};

}  // namespace pipeline
