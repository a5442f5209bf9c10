// SPDX-License-Identifier: Apache-2.0
// What the two processes of a bench say through pipes: the first gives orders, the second says that it is there, and why it ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tool {

/// What the second process has to do next, with the board (bench_board.hpp) between both.
enum class bench_work : std::uint64_t {
  objects,        ///< gets objects `first` to `first + count - 1`
  spinning_ball,  ///< gives the ball back at once, until it is told that this is over
  sleeping_ball,  ///< the same, and sleeps until the ball comes
};

struct bench_order {
  bench_work work = bench_work::objects;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// "I am there", or with a `kind` other than 0 the end: a text of `size` bytes follows, and says why.
struct bench_answer {
  std::uint64_t size = 0;
  std::uint64_t kind = 0;
};

/// The key of one object; all of a run are one request, so that one call cleans up.
inline std::string bench_key(std::string const& run, std::uint64_t number) { return run + "_" + std::to_string(number); }

}  // namespace tool
