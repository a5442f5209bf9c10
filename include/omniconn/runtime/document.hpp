// SPDX-License-Identifier: Apache-2.0
// A parsed configuration text: its values, where each of them stood, and where the text came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/value.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Lines of a parsed value, in its shape: one child per entry of a map or item of an array, in their order.
/// A child of a map has the line of its key. Without children the lines inside are not known.
struct source_lines {
  std::uint32_t line = 0;  ///< counted from 1; 0 where it is not known
  std::vector<source_lines> children;
};

/// What a parser makes of a text. Formats whose parser knows no lines leave `lines` empty.
struct document {
  value root;
  source_lines lines;
  std::string source;  ///< begins every message about it: a file name, usually
};

/// How much a document may ask of a parser; beyond it is `too_large`. The largest of upstream's own has 134 values in 5 KB.
struct document_limits {
  std::size_t max_bytes = 64 * 1024;  ///< size of the text
  std::size_t max_nodes = 4096;       ///< keys and values, those that aliases stand for included
  std::size_t max_depth = 64;         ///< maps and lists inside each other
};

OMNICONN_END_NAMESPACE
