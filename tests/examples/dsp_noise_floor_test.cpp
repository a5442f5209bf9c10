// SPDX-License-Identifier: Apache-2.0
#include "dsp/denoise.hpp"
#include "dsp/stft.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

/// Mean difference of an estimated floor to a white noise of the given level, in dB, over all bins but the outermost.
double floor_error_db(std::span<const float> power, const stft_config& config, double level) {
  // A root-Hann window has a mean square of 1/2.
  const double expected = level * level * static_cast<double>(config.frame) / 2.0;
  double sum = 0.0;
  for (std::size_t b = 4; b + 4 < power.size(); ++b) {
    sum += 10.0 * std::log10(static_cast<double>(power[b]) / expected);
  }
  return sum / static_cast<double>(power.size() - 8);
}

TEST(dsp_noise_floor, learns_white_noise_and_follows_its_level) {
  const denoise_config config = denoise_for(16000);
  std::vector<float> samples = white_noise(3 * 16000, 0.01F, 71);
  append(samples, white_noise(4 * 16000, 0.04F, 72));
  append(samples, white_noise(4 * 16000, 0.005F, 73));
  const std::vector<float> frames = analyse(config.stft, samples);
  denoiser cleaner(config);
  auto push_until = [&, done = std::size_t{0}](double seconds) mutable {
    const auto until = static_cast<std::size_t>(seconds * 16000.0) / config.stft.hop;
    cleaner.push(std::span(frames).subspan(done * config.stft.row(), (until - done) * config.stft.row()));
    done = until;
  };
  push_until(0.6);
  EXPECT_NEAR(floor_error_db(cleaner.noise_power(), config.stft, 0.01), 0.0, 1.5);
  push_until(3.0);
  EXPECT_NEAR(floor_error_db(cleaner.noise_power(), config.stft, 0.01), 0.0, 1.0);
  // 12 dB louder looks like speech until it has lasted for two stretches of 0.8 s.
  push_until(7.0);
  EXPECT_NEAR(floor_error_db(cleaner.noise_power(), config.stft, 0.04), 0.0, 1.5);
  push_until(11.0);
  EXPECT_NEAR(floor_error_db(cleaner.noise_power(), config.stft, 0.005), 0.0, 1.5);
}

}  // namespace
