// SPDX-License-Identifier: Apache-2.0
// What a bench has measured, and how it is shown.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench_limits.hpp"
#include "commands.hpp"

namespace tool {

/// One size. Times in us, from the call of put, sorted.
struct bench_figures {
  std::uint64_t size = 0;
  std::uint64_t objects = 0;
  std::vector<double> view;  ///< until the reader's get returned
  std::vector<double> read;  ///< until it had read every byte once
  double copy_and_sum = 0;
  double per_second = 0;  ///< objects, several at once
};

struct bench_report {
  std::string_view transport;
  edge_options const& where;
  bench_limits limits;
  std::vector<bench_figures> sizes;
};

std::string bench_table(bench_report const& report);
std::string bench_json(bench_report const& report);

}  // namespace tool
