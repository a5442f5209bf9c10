// SPDX-License-Identifier: Apache-2.0
// Words that all files of the tool share.
#pragma once

#include <omniconn/core/buffer.hpp>
#include <omniconn/core/error.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>

namespace tool {

using omniconn::const_bytes;
using omniconn::diagnosis;
using omniconn::error_kind;
using omniconn::result;
using omniconn::value;

/// How a command ends: well, or with the kind that becomes the exit code and the sentence for stderr.
using outcome = result<void, diagnosis>;

}  // namespace tool
