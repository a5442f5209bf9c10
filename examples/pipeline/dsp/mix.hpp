// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"
#include "resample.hpp"
#include "wav.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace pipeline {

/// Speech with noise added to it.
struct mixture {
  audio sound;              ///< as long as the speech, at its rate; may exceed full scale
  double noise_gain = 0.0;  ///< factor the noise was multiplied by
  float peak = 0.0F;        ///< largest absolute sample
};

/// Root of the mean square; 0 for no samples.
[[nodiscard]] inline double rms(std::span<const float> samples) noexcept {
  double sum = 0.0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * static_cast<double>(sample);
  }
  return samples.empty() ? 0.0 : std::sqrt(sum / static_cast<double>(samples.size()));
}

/// Adds noise to speech so that the ratio of their RMS over the whole file is `snr_db`.
///
/// The speech is not touched, so the mixture can be compared to the speech file sample by sample. The noise is brought
/// to the rate of the speech when the two differ, repeated or cut to its length, and scaled; its RMS is taken over the
/// part that is used. Throws `dsp_error` when either is empty, silent or has no rate, or the ratio is unusable.
[[nodiscard]] inline mixture mix_at_snr(const audio& speech, const audio& noise, double snr_db) {
  // Beyond 120 dB one of the two vanishes below the resolution of a float.
  if (!std::isfinite(snr_db) || std::abs(snr_db) > 120.0) {
    throw dsp_error("mix: the wanted ratio of " + std::to_string(snr_db) + " dB is outside of -120 to 120");
  }
  for (const audio* part : {&speech, &noise}) {
    const std::string name = part == &speech ? "speech" : "noise";
    if (part->samples.empty() || part->rate == 0) {
      throw dsp_error("mix: the " + name + " has no samples or no sampling rate");
    }
    const double level = rms(part->samples);
    if (!std::isfinite(level) || level <= 0.0) {
      throw dsp_error("mix: the " + name + (level <= 0.0 ? " is silent" : " holds a sample that is not finite") +
                      ", so no ratio can be set");
    }
  }

  const std::vector<float> source = resample(noise.samples, noise.rate, speech.rate);
  std::vector<float> added(speech.samples.size());
  for (std::size_t i = 0; i < added.size(); ++i) {
    added[i] = source[i % source.size()];
  }
  const double level = rms(added);
  if (level <= 0.0) {
    throw dsp_error("mix: the part of the noise that lies under the speech is silent, so no ratio can be set");
  }

  mixture result;
  result.noise_gain = rms(speech.samples) / level * std::pow(10.0, -snr_db / 20.0);
  result.sound.rate = speech.rate;
  result.sound.samples.resize(added.size());
  for (std::size_t i = 0; i < added.size(); ++i) {
    const double sum = static_cast<double>(speech.samples[i]) + result.noise_gain * static_cast<double>(added[i]);
    result.sound.samples[i] = static_cast<float>(sum);
    result.peak = std::max(result.peak, std::abs(result.sound.samples[i]));
  }
  return result;
}

}  // namespace pipeline
