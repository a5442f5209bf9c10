// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace pipeline {

namespace detail {

/// One tap of the low-pass filter: a sinc under a Hann window that ends `reach` input samples away.
inline double windowed_sinc(double distance, double cutoff, double reach) {
  if (std::abs(distance) >= reach) {
    return 0.0;
  }
  const double x = std::numbers::pi * distance * cutoff;
  const double sinc = std::abs(x) < 1e-9 ? 1.0 : std::sin(x) / x;
  return cutoff * sinc * (0.5 + 0.5 * std::cos(std::numbers::pi * distance / reach));
}

}  // namespace detail

/// Changes the sampling rate with a windowed-sinc filter (48 zero crossings each side, cut-off at 95 % of the lower
/// Nyquist frequency). Keeps the time axis: output sample n lies at input position n * from / to; the result has
/// ceil(size * to / from) samples. Offline quality, not real-time speed. Throws `dsp_error` for a rate of 0.
[[nodiscard]] inline std::vector<float> resample(std::span<const float> input, std::uint32_t from, std::uint32_t to) {
  if (from == 0 || to == 0) {
    throw dsp_error("resample: cannot go from " + std::to_string(from) + " Hz to " + std::to_string(to) + " Hz");
  }
  if (from == to) {
    return {input.begin(), input.end()};
  }
  const std::uint64_t common = std::gcd(from, to);
  const std::uint64_t up = to / common;
  const std::uint64_t down = from / common;
  const double cutoff = 0.95 * std::min(1.0, static_cast<double>(to) / static_cast<double>(from));
  const double reach = 48.0 / cutoff;
  const auto half = static_cast<std::ptrdiff_t>(std::ceil(reach));
  const std::size_t taps = 2 * static_cast<std::size_t>(half) + 1;

  // Only `up` different fractions between two input samples occur; the filter of each is made once, when met first.
  std::vector<std::vector<float>> filters(std::min<std::uint64_t>(up, 4096));
  const auto filter_for = [&](std::uint64_t phase) -> const std::vector<float>& {
    const auto slot = static_cast<std::size_t>(phase * filters.size() / up);
    std::vector<float>& filter = filters[slot];
    if (filter.empty()) {
      const double fraction = static_cast<double>(slot) / static_cast<double>(filters.size());
      double sum = 0.0;
      std::vector<double> exact(taps);
      for (std::size_t k = 0; k < taps; ++k) {
        const double offset = static_cast<double>(static_cast<std::ptrdiff_t>(k) - half);
        exact[k] = detail::windowed_sinc(offset - fraction, cutoff, reach);
        sum += exact[k];
      }
      filter.resize(taps);
      std::ranges::transform(exact, filter.begin(), [sum](double tap) { return static_cast<float>(tap / sum); });
    }
    return filter;
  };

  std::vector<float> output(static_cast<std::size_t>((input.size() * up + down - 1) / down));
  for (std::size_t n = 0; n < output.size(); ++n) {
    const std::uint64_t position = n * down;
    const auto centre = static_cast<std::ptrdiff_t>(position / up);
    const std::vector<float>& filter = filter_for(position % up);
    const std::ptrdiff_t first = std::max<std::ptrdiff_t>(centre - half, 0);
    const std::ptrdiff_t last = std::min(centre + half, static_cast<std::ptrdiff_t>(input.size()) - 1);
    double sum = 0.0;
    for (std::ptrdiff_t i = first; i <= last; ++i) {
      sum += static_cast<double>(input[static_cast<std::size_t>(i)]) *
             static_cast<double>(filter[static_cast<std::size_t>(i - centre + half)]);
    }
    output[n] = static_cast<float>(sum);
  }
  return output;
}

}  // namespace pipeline
