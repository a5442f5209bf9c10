// SPDX-License-Identifier: Apache-2.0
// Single elements of tensors as text, and from numbers.
#pragma once

#include <string>

#include <omniconn/core/dtype.hpp>

#include "common.hpp"

namespace tool {

/// One element, little-endian. Those of 8-bit floats as hexadecimal digits.
std::string element_text(omniconn::dtype type, std::byte const* at);

/// Appends one element. \errors `malformed`: not such a number; `unsupported`: complex numbers and 8-bit floats.
outcome append_element(omniconn::dtype type, value const& number, std::vector<std::byte>& out);

}  // namespace tool
