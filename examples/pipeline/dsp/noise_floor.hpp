// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"
#include "stft.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pipeline {

/// Learns the power of the noise per frequency bin from a mixture of speech and noise, frame by frame.
///
/// Three ideas, none of which ever sees the clean speech:
/// 1. `start()` is given the first frames (about half a second). Their mean is too much by what speech they hold; but
///    speech has gaps, between words and between the harmonics of a voice, and noise has not. Four rounds of weighting
///    every coefficient by how likely it is noise alone, given the estimate so far, find the gaps.
/// 2. `update()` moves the estimate towards each new frame by the same weight, first fast and then with a time constant
///    of half a second.
/// 3. Noise that grows louder looks like speech to 2. Whatever stays loud for longer than a voice holds one frequency
///    (0.8 to 1.6 s without falling) is noise, so the minimum over that time lifts the estimate.
///
/// One thread. Rows of power have `config.bins()` floats.
class noise_floor {
 public:
  noise_floor(const stft_config& config, std::uint32_t rate) : config_(config) {
    config_.check();
    if (rate == 0) {
      throw dsp_error("denoise: the sampling rate is 0 Hz");
    }
    const double hop_seconds = static_cast<double>(config.hop) / static_cast<double>(rate);
    slowest_ = static_cast<float>(std::min(1.0, hop_seconds / 0.5));
    minimum_frames_ = static_cast<std::size_t>(std::ceil(0.8 / hop_seconds));

    const std::size_t bins = config.bins();
    raw_.assign(bins, tiny);
    floor_.assign(bins, tiny);
    weight_.assign(bins, 0.0F);
    steady_.assign(bins, 0.0F);
    minimum_.assign(bins, infinite);
    minimum_before_.assign(bins, infinite);
  }

  /// First estimate from `powers`, whole rows, at least one. Frames that lie partly before the signal should be left
  /// out by the caller.
  void start(std::span<const float> powers) {
    const std::size_t bins = config_.bins();
    const std::size_t frames = powers.size() / bins;
    const auto row = [&](std::size_t t) { return powers.subspan(t * bins, bins); };

    std::vector<float> sum(bins);
    std::vector<float> weights(bins);
    for (int round = 0; round < 5; ++round) {
      std::ranges::fill(sum, 0.0F);
      std::ranges::fill(weights, 0.0F);
      for (std::size_t t = 0; t < frames; ++t) {
        for (std::size_t b = 0; b < bins; ++b) {
          const float w = round == 0 ? 1.0F : noise_alone(row(t), b) + 1e-4F;
          sum[b] += w * row(t)[b];
          weights[b] += w;
        }
      }
      for (std::size_t b = 0; b < bins; ++b) {
        raw_[b] = sum[b] / weights[b];
        weight_[b] = weights[b] * independent;
      }
      smooth();
    }
    for (std::size_t t = 0; t < frames; ++t) {
      follow_minimum(row(t));
    }
  }

  /// Takes the next frame into account.
  void update(std::span<const float> power) {
    for (std::size_t b = 0; b < power.size(); ++b) {
      const float w = noise_alone(power, b);
      weight_[b] += independent * w;
      const float rate = std::max(slowest_, independent / (1.0F + weight_[b]));
      raw_[b] += rate * w * (power[b] - raw_[b]);
    }
    follow_minimum(power);
    smooth();
  }

  /// The noise power per bin, always above 0.
  [[nodiscard]] std::span<const float> power() const noexcept { return floor_; }

 private:
  // Power of nothing: far below the rounding noise of 16-bit samples under any window (about 1e-8).
  static constexpr float tiny = 1e-10F;
  static constexpr float infinite = 3e38F;
  // Neighbouring frames share three quarters of their samples; one frame tells as much as 0.4 independent ones.
  static constexpr float independent = 0.4F;

  /// Probability that bin `b` of this frame holds no speech, for speech 10 dB over the noise that is there half of
  /// the time: the ratio of two exponential laws. The mean of three bins steadies it.
  [[nodiscard]] float noise_alone(std::span<const float> power, std::size_t b) const {
    const std::size_t last = power.size() - 1;
    const float mean = b == 0 || b == last ? power[b] : (power[b - 1] + power[b] + power[b + 1]) / 3.0F;
    constexpr float speech = 10.0F;
    const float excess = std::min(mean / floor_[b] * (speech / (1.0F + speech)), 60.0F);
    const float odds = (1.0F + speech) * std::exp(-excess);
    return odds / (1.0F + odds);
  }

  void follow_minimum(std::span<const float> power) {
    for (std::size_t b = 0; b < power.size(); ++b) {
      steady_[b] = seen_ == 0 ? power[b] : 0.85F * steady_[b] + 0.15F * power[b];
      minimum_[b] = std::min(minimum_[b], steady_[b]);
    }
    ++seen_;
    // The first stretch must be complete before its minimum means anything.
    if (seen_ % minimum_frames_ == 0) {
      minimum_before_.swap(minimum_);
      std::ranges::fill(minimum_, infinite);
      whole_stretches_ = true;
    }
    if (!whole_stretches_) {
      return;
    }
    for (std::size_t b = 0; b < power.size(); ++b) {
      // The minimum of such an average lies 2 to 4 dB below the mean of steady noise; 1.5 stays on the safe side.
      const float lifted = 1.5F * std::min(minimum_[b], minimum_before_[b]);
      if (lifted > raw_[b]) {
        raw_[b] = lifted;
        weight_[b] = 0.0F;
      }
    }
  }

  /// Averages the logarithm over neighbouring bins: real noise is smooth over frequency, and the logarithm keeps one
  /// bin that caught speech from lifting the others. Not wider than a third of the frequency to either side, because
  /// the lowest bins, where noise is often loudest, differ by many dB.
  void smooth() {
    log_.resize(raw_.size());
    std::ranges::transform(raw_, log_.begin(), [](float power) { return std::log(std::max(power, tiny)); });
    const std::size_t last = raw_.size() - 1;
    for (std::size_t b = 0; b < raw_.size(); ++b) {
      const std::size_t half = std::min({b / 3, std::size_t{4}, last - b});
      float sum = 0.0F;
      for (std::size_t i = b - half; i <= b + half; ++i) {
        sum += log_[i];
      }
      floor_[b] = std::exp(sum / static_cast<float>(2 * half + 1));
    }
  }

  stft_config config_;
  float slowest_ = 0.0F;
  std::size_t minimum_frames_ = 0;
  std::vector<float> raw_;
  std::vector<float> floor_;
  std::vector<float> weight_;  // independent frames of noise each bin's estimate rests on
  std::vector<float> log_;
  std::vector<float> steady_;
  std::vector<float> minimum_;
  std::vector<float> minimum_before_;
  std::size_t seen_ = 0;
  bool whole_stretches_ = false;
};

}  // namespace pipeline
