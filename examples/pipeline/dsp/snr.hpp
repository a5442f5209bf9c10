// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"
#include "fft.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace pipeline {

struct snr_options {
  std::size_t max_lag = 4800;  ///< how far the signal may lie before or after the reference, in samples
  bool fit_gain = false;       ///< first scale the signal by the factor that fits the reference best
};

struct snr_result {
  double db = 0.0;         ///< +infinity when the signal is the reference itself
  std::ptrdiff_t lag = 0;  ///< samples by which the signal comes later than the reference
  double gain = 1.0;       ///< factor applied to the signal; 1 unless `fit_gain`
};

namespace detail {

/// Zero-padded spectrum of `signal` (interleaved, for a transform of `fft.size()` points).
inline std::vector<float> spectrum_of(real_fft& fft, std::span<const float> signal) {
  std::ranges::fill(fft.time(), 0.0F);
  std::ranges::copy(signal, fft.time().begin());
  fft.forward();
  return {fft.spectrum().begin(), fft.spectrum().end()};
}

}  // namespace detail

/// The lag of at most `max_lag` samples either way at which `signal` resembles `reference` most: the peak of their
/// cross-correlation (computed through one FFT, so long files cost no more than n log n). Positive: the signal is late.
/// Of equal peaks the smallest lag wins. Throws `dsp_error` when one of the two is empty.
[[nodiscard]] inline std::ptrdiff_t find_lag(std::span<const float> reference, std::span<const float> signal, std::size_t max_lag) {
  if (reference.empty() || signal.empty()) {
    throw dsp_error("snr: the " + std::string(reference.empty() ? "reference" : "signal") + " has no samples");
  }
  // Lags at which the two no longer overlap need no room in the circular correlation.
  max_lag = std::min(max_lag, std::max(reference.size(), signal.size()) - 1);
  real_fft fft(std::bit_ceil(std::max(reference.size(), signal.size()) + max_lag + 1));
  const std::vector<float> ref = detail::spectrum_of(fft, reference);
  const std::vector<float> sig = detail::spectrum_of(fft, signal);
  const std::span<float> cross = fft.spectrum();
  for (std::size_t i = 0; i < cross.size(); i += 2) {
    cross[i] = ref[i] * sig[i] + ref[i + 1] * sig[i + 1];
    cross[i + 1] = ref[i] * sig[i + 1] - ref[i + 1] * sig[i];
  }
  fft.inverse();

  const std::span<const float> correlation = fft.time();
  std::ptrdiff_t best = 0;
  float peak = correlation[0];
  for (std::size_t lag = 1; lag <= max_lag; ++lag) {
    if (correlation[lag] > peak) {
      peak = correlation[lag];
      best = static_cast<std::ptrdiff_t>(lag);
    }
    if (correlation[fft.size() - lag] > peak) {
      peak = correlation[fft.size() - lag];
      best = -static_cast<std::ptrdiff_t>(lag);
    }
  }
  return best;
}

/// Signal-to-noise ratio of `signal` against the clean `reference`, in dB: 10 log10(sum s^2 / sum (y - s)^2).
///
/// The signal is first shifted by `find_lag`. The sums run over every sample of the reference; where the shifted signal
/// has no sample it counts as 0, so a piece that was lost costs as much as it should. No gain is fitted unless asked
/// for. Throws `dsp_error` when one of the two is empty, silent as the reference, or not finite.
[[nodiscard]] inline snr_result measure_snr(std::span<const float> reference, std::span<const float> signal,
                                            const snr_options& options = {}) {
  snr_result result;
  result.lag = find_lag(reference, signal, options.max_lag);
  const auto shifted = [&](std::size_t n) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(n) + result.lag;
    return at < 0 || at >= static_cast<std::ptrdiff_t>(signal.size()) ? 0.0 : static_cast<double>(signal[static_cast<std::size_t>(at)]);
  };

  double power = 0.0;
  double own = 0.0;
  double shared = 0.0;
  for (std::size_t n = 0; n < reference.size(); ++n) {
    const auto s = static_cast<double>(reference[n]);
    const double y = shifted(n);
    power += s * s;
    own += y * y;
    shared += s * y;
  }
  if (!std::isfinite(power) || !std::isfinite(own)) {
    throw dsp_error("snr: the " + std::string(std::isfinite(power) ? "signal" : "reference") +
                    " holds a sample that is not a finite number");
  }
  if (power <= 0.0) {
    throw dsp_error("snr: the reference is silent, so there is no ratio to it");
  }
  if (options.fit_gain && own > 0.0) {
    result.gain = shared / own;
  }

  double error = 0.0;
  for (std::size_t n = 0; n < reference.size(); ++n) {
    const double difference = result.gain * shifted(n) - static_cast<double>(reference[n]);
    error += difference * difference;
  }
  result.db = error > 0.0 ? 10.0 * std::log10(power / error) : std::numeric_limits<double>::infinity();
  return result;
}

}  // namespace pipeline
