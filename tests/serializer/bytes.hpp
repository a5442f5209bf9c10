// SPDX-License-Identifier: Apache-2.0
// Bytes as hexadecimal texts, payloads as one block: for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/core/buffer.hpp>

namespace test {

inline std::vector<std::byte> from_hex(std::string_view hex) {
  std::vector<std::byte> out;
  int half = -1;
  for (char const c : hex) {
    int const digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) continue;  // blanks between groups
    if (half < 0) {
      half = digit;
    } else {
      out.push_back(static_cast<std::byte>(half * 16 + digit));
      half = -1;
    }
  }
  return out;
}

inline std::string to_hex(omniconn::const_bytes bytes) {
  std::string out;
  for (auto const b : bytes) {
    out += "0123456789abcdef"[std::to_integer<unsigned>(b) >> 4];
    out += "0123456789abcdef"[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

inline std::vector<std::byte> joined(omniconn::gather_list const& list) {
  std::vector<std::byte> out;
  for (auto const& part : list.parts()) out.insert(out.end(), part.begin(), part.end());
  return out;
}

/// The pairs of a file with one `"name": "hex"` per line.
inline std::vector<std::pair<std::string, std::vector<std::byte>>> read_vectors(std::string const& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  std::vector<std::pair<std::string, std::vector<std::byte>>> out;
  for (std::string line; std::getline(file, line);) {
    auto const a = line.find('"'), b = line.find('"', a + 1), c = line.find('"', b + 1), d = line.find('"', c + 1);
    if (d == line.npos) continue;
    out.emplace_back(line.substr(a + 1, b - a - 1), from_hex(std::string_view(line).substr(c + 1, d - c - 1)));
  }
  return out;
}

}  // namespace test
