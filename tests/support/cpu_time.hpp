// SPDX-License-Identifier: Apache-2.0
// How busy a process is: what tells a thread that sleeps from one that asks again and again.
#pragma once

#include <time.h>

namespace test {

/// Milliseconds of processor time that all threads of this process have had.
inline long cpu_time_ms() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1'000'000;
}

}  // namespace test
