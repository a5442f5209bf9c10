// SPDX-License-Identifier: Apache-2.0
// How the two processes of a bench talk: the first sends how many objects come, the second answers with a time for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tool {

/// "objects `first` to `first + count - 1` come next".
struct bench_order {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// One object was got: the clock of `std::chrono::steady_clock`, which all processes of a machine share. A `kind` other than 0 is the end: a
/// text of `at_ns` bytes follows, and says why.
struct bench_answer {
  std::uint64_t at_ns = 0;
  std::uint64_t kind = 0;
};

/// The key of one object; all of a run are one request, so that one call cleans up.
inline std::string bench_key(std::string const& run, std::uint64_t number) { return run + "_" + std::to_string(number); }

}  // namespace tool
