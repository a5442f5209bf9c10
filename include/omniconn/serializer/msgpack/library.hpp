// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// The msgpack-cxx library, without Boost.
#pragma once

#if !__has_include(<msgpack.hpp>)
#error \
    "omniconn: <msgpack.hpp> was not found: install Debian's package libmsgpack-cxx-dev (libmsgpack-dev brings it too) and link the CMake target omniconn::msgpack"
#endif
// Works on both of its forms since version 4, and compiles in half the time.
#ifndef MSGPACK_NO_BOOST
#define MSGPACK_NO_BOOST
#endif
#include <msgpack.hpp>

#include <cstddef>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What a document may ask for; both sides of an edge should agree.
struct msgpack_limits {
  /// Arrays and maps inside each other. Values are destroyed and compared recursively, so more than 1,024 counts as 1,024.
  std::size_t max_depth = 128;
  /// Values in one document, keys counted. Each costs 48 bytes once decoded, whatever its size on the wire (1 byte or more).
  std::size_t max_nodes = std::size_t{16} << 20;

  static constexpr std::size_t deepest = 1024;
  [[nodiscard]] constexpr std::size_t depth() const noexcept { return max_depth < deepest ? max_depth : deepest; }
};

OMNICONN_END_NAMESPACE
