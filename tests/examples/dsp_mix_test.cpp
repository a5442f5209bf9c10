// SPDX-License-Identifier: Apache-2.0
#include "dsp/mix.hpp"
#include "dsp/snr.hpp"
#include "dsp/wav.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <tuple>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

TEST(dsp_mix, reaches_the_wanted_ratio) {
  const audio speech = as_audio(sine(30000, 440.0, 48000.0, 0.3), 48000);
  for (const std::size_t noise_size : {std::size_t{100}, std::size_t{29999}, std::size_t{30000}, std::size_t{90000}}) {
    const audio noise = as_audio(white_noise(noise_size, 0.02F, 51), 48000);
    for (const double wanted : {-20.0, -5.0, 0.0, 3.3, 20.0}) {
      const mixture mixed = mix_at_snr(speech, noise, wanted);
      ASSERT_EQ(mixed.sound.samples.size(), speech.samples.size());
      EXPECT_EQ(mixed.sound.rate, 48000U);
      EXPECT_NEAR(ratio_db(speech.samples, mixed.sound.samples), wanted, 0.01);
      float peak = 0.0F;
      for (const float sample : mixed.sound.samples) {
        peak = std::max(peak, std::abs(sample));
      }
      EXPECT_EQ(mixed.peak, peak);
    }
  }
}

TEST(dsp_mix, repeats_a_short_noise) {
  const audio speech = as_audio(std::vector<float>(10, 1.0F), 8000);
  const audio noise = as_audio({1.0F, -1.0F, 0.0F}, 8000);
  const mixture mixed = mix_at_snr(speech, noise, 0.0);
  const auto gain = static_cast<float>(mixed.noise_gain);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(mixed.sound.samples[i], 1.0F + gain * noise.samples[i % 3], 1e-6F);
  }
}

TEST(dsp_mix, brings_the_noise_to_the_rate_of_the_speech) {
  const audio speech = as_audio(white_noise(48000, 0.1F, 61), 48000);
  const audio noise = as_audio(sine(16000, 1000.0, 16000.0), 16000);
  const mixture mixed = mix_at_snr(speech, noise, 10.0);
  EXPECT_NEAR(ratio_db(speech.samples, mixed.sound.samples), 10.0, 0.01);
  std::vector<float> added(mixed.sound.samples.size());
  for (std::size_t n = 0; n < added.size(); ++n) {
    added[n] = mixed.sound.samples[n] - speech.samples[n];
  }
  const std::vector<float> expected = sine(48000, 1000.0, 48000.0);
  EXPECT_GT(measure_snr(expected, added, {16, true}).db, 40.0);
}

TEST(dsp_mix, errors) {
  const audio good = as_audio(std::vector<float>(100, 0.5F), 8000);
  const audio none = as_audio({}, 8000);
  const audio no_rate = as_audio({0.1F}, 0);
  const audio silent = as_audio(std::vector<float>(100, 0.0F), 8000);
  const audio broken = as_audio({not_a_number}, 8000);
  audio late = as_audio(std::vector<float>(200, 0.0F), 8000);
  late.samples.back() = 1.0F;
  const auto error = [](const audio& speech, const audio& noise, double snr) {
    return error_of([&] { std::ignore = mix_at_snr(speech, noise, snr); });
  };
  EXPECT_EQ(error(none, good, 0), "mix: the speech has no samples or no sampling rate");
  EXPECT_EQ(error(good, no_rate, 0), "mix: the noise has no samples or no sampling rate");
  EXPECT_EQ(error(silent, good, 0), "mix: the speech is silent, so no ratio can be set");
  EXPECT_EQ(error(good, silent, 0), "mix: the noise is silent, so no ratio can be set");
  EXPECT_EQ(error(good, broken, 0), "mix: the noise holds a sample that is not finite, so no ratio can be set");
  EXPECT_EQ(error(good, late, 0), "mix: the part of the noise that lies under the speech is silent, so no ratio can be set");
  EXPECT_EQ(error(good, good, std::numeric_limits<double>::infinity()), "mix: the wanted ratio of inf dB is outside of -120 to 120");
  EXPECT_EQ(error(good, good, 121), "mix: the wanted ratio of 121.000000 dB is outside of -120 to 120");
}

}  // namespace
