// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"
#include "noise_floor.hpp"
#include "stft.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace pipeline {

struct denoise_config {
  stft_config stft;              ///< as the frames were made
  std::uint32_t rate = 48000;    ///< of the signal, in Hz
  double startup_seconds = 0.5;  ///< how much of the mixture is heard before the first frame is given
  float smoothing = 0.96F;       ///< share of the previous frame in the a-priori ratio
  float gain_floor = 0.05F;      ///< least gain of a bin (-26 dB); a little noise sounds better than holes

  /// Throws `dsp_error` that says which value is unusable.
  void check() const {
    stft.check();
    if (rate == 0) {
      throw dsp_error("denoise: the sampling rate is 0 Hz");
    }
    if (!(startup_seconds >= 0.05 && startup_seconds <= 10.0)) {
      throw dsp_error("denoise: startup_seconds is " + std::to_string(startup_seconds) + "; use 0.05 to 10");
    }
    if (!(smoothing >= 0.0F && smoothing < 1.0F)) {
      throw dsp_error("denoise: smoothing is " + std::to_string(smoothing) + "; use 0 up to, but not, 1");
    }
    if (!(gain_floor >= 0.0F && gain_floor <= 1.0F)) {
      throw dsp_error("denoise: gain_floor is " + std::to_string(gain_floor) + "; use 0 to 1");
    }
  }

  [[nodiscard]] std::size_t startup_frames() const noexcept {
    const double frames = startup_seconds * static_cast<double>(rate) / static_cast<double>(stft.hop);
    return std::max<std::size_t>(1, static_cast<std::size_t>(frames));
  }
};

/// Takes steady noise out of speech, frame by frame; hears nothing but the mixture.
///
/// Each coefficient is multiplied by a Wiener gain xi / (1 + xi). xi, the ratio of speech to noise, is estimated by the
/// two-step decision-directed rule: what was kept of the previous frame predicts this one, and the result is refined
/// once by itself; then it is averaged with its two neighbours in time. Following the past removes the lone specks of
/// noise ("musical noise") that plain spectral subtraction leaves, and the refinement keeps the onsets of speech. Where a
/// whole neighbourhood of bins shows no speech, the gain goes to its floor. The noise power comes from `noise_floor`.
///
/// Latency: the first frame is given when `startup_seconds` of the mixture were heard (the first noise estimate needs
/// gaps of the speech); after that frame t is given when frame t + 1 was pushed; `finish()` gives the rest. As many frames come out as went in, and what they hold does not depend on how they were cut into chunks.
/// One thread. Memory: the frames waiting, at most the start-up and what was not taken.
class denoiser {
 public:
  /// Throws `dsp_error` for an unusable config.
  explicit denoiser(const denoise_config& config)
      : config_((config.check(), config)),
        noise_(config.stft, config.rate),
        kept_(config.stft.bins(), 0.0F),
        smooth_(config.stft.bins(), 0.0F) {}

  [[nodiscard]] const denoise_config& config() const noexcept { return config_; }

  /// Copies whole frames in. Throws `dsp_error` for half a frame, for a coefficient that is not finite (it would
  /// poison every later estimate; nothing of this call is taken then), and after `finish()`.
  void push(std::span<const float> frames) {
    if (finished_) {
      throw dsp_error("denoise: push after finish");
    }
    const std::size_t row = config_.stft.row();
    const std::size_t count = config_.stft.frames_in(frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      if (!(std::abs(frames[i]) < 1e15F)) {
        throw dsp_error("denoise: bin " + std::to_string(i % row / 2) + " of frame " + std::to_string(pushed_ + i / row) +
                        " is not a usable number");
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      accept(frames.subspan(i * row, row));
    }
    pushed_ += count;
  }

  /// Says that no frame follows, so that the frames still waiting can be taken. A second call does nothing.
  void finish() {
    if (finished_) {
      return;
    }
    finished_ = true;
    if (!started_) {
      start();
    }
    while (!waiting_.empty()) {
      give();
    }
  }

  /// Frames that can be taken now.
  [[nodiscard]] std::size_t frames_ready() const noexcept { return (done_.size() - taken_) / config_.stft.row(); }

  /// Writes as many frames as fit into `out` (a whole number of rows) and are ready; returns how many.
  std::size_t take(std::span<float> out) {
    const std::size_t count = std::min(config_.stft.frames_in(out.size()), frames_ready());
    const auto from = done_.begin() + static_cast<std::ptrdiff_t>(taken_);
    const auto length = static_cast<std::ptrdiff_t>(count * config_.stft.row());
    std::copy(from, from + length, out.begin());
    taken_ += count * config_.stft.row();
    if (taken_ == done_.size()) {
      done_.clear();
      taken_ = 0;
    }
    return count;
  }

  /// The next chunk of exactly `frames` frames; the last one after `finish()` may be shorter. Empty when there are
  /// not enough yet, or when all was taken.
  [[nodiscard]] std::vector<float> take_chunk(std::size_t frames) {
    const std::size_t ready = frames_ready();
    if (ready < frames && !finished_) {
      return {};
    }
    std::vector<float> chunk(std::min(ready, frames) * config_.stft.row());
    take(chunk);
    return chunk;
  }

  /// The present estimate of the noise power per bin.
  [[nodiscard]] std::span<const float> noise_power() const noexcept { return noise_.power(); }

 private:
  struct entry {
    std::vector<float> row;    // the mixture's coefficients
    std::vector<float> power;  // their squared magnitudes
    std::vector<float> ratio;  // xi; empty until judged
  };

  void accept(std::span<const float> row) {
    entry next;
    next.row.assign(row.begin(), row.end());
    next.power.resize(config_.stft.bins());
    float loudest = 0.0F;
    for (std::size_t b = 0; b < next.power.size(); ++b) {
      next.power[b] = row[2 * b] * row[2 * b] + row[2 * b + 1] * row[2 * b + 1];
      loudest = std::max(loudest, next.power[b]);
    }
    if (!started_ && waiting_.empty() && loudest <= 0.0F) {
      // Digital silence before the recording says nothing about its noise, and is clean already.
      done_.insert(done_.end(), row.begin(), row.end());
      return;
    }
    waiting_.push_back(std::move(next));
    if (!started_) {
      if (waiting_.size() >= config_.startup_frames()) {
        start();
      }
      return;
    }
    noise_.update(waiting_.back().power);
    advance();
  }

  void start() {
    started_ = true;
    if (waiting_.empty()) {
      return;
    }
    // The first frames lie partly before the signal, where there is no noise yet; leave them out if there are others.
    const std::size_t partial = config_.stft.lead() / config_.stft.hop;
    const std::size_t first = waiting_.size() > 2 * partial ? partial : 0;
    std::vector<float> powers;
    for (std::size_t t = first; t < waiting_.size(); ++t) {
      powers.insert(powers.end(), waiting_[t].power.begin(), waiting_[t].power.end());
    }
    noise_.start(powers);
    advance();
  }

  /// Judges every frame that waits and gives all but the newest, whose successor is still to come.
  void advance() {
    while (judged_ < waiting_.size()) {
      judge();
    }
    while (waiting_.size() > 1) {
      give();
    }
  }

  /// Estimates xi of the first frame that has none yet.
  void judge() {
    entry& now = waiting_[judged_];
    const std::span<const float> noise = noise_.power();
    now.ratio.resize(now.power.size());
    for (std::size_t b = 0; b < now.power.size(); ++b) {
      const float posterior = now.power[b] / noise[b];
      const float guess = config_.smoothing * kept_[b] + (1.0F - config_.smoothing) * std::max(posterior - 1.0F, 0.0F);
      const float first = guess / (1.0F + guess);
      const float ratio = first * first * posterior;
      const float gain = ratio / (1.0F + ratio);
      kept_[b] = gain * gain * posterior;
      now.ratio[b] = ratio;
    }
    ++judged_;
  }

  /// Applies the gain to the oldest frame; xi is averaged with its two neighbours in time.
  void give() {
    entry& now = waiting_.front();
    const std::size_t bins = now.power.size();
    const std::vector<float>& after = judged_ > 1 ? waiting_[1].ratio : now.ratio;
    const std::vector<float>& before = ratio_before_.empty() ? now.ratio : ratio_before_;
    running_.assign(1, 0.0F);
    for (std::size_t b = 0; b < bins; ++b) {
      smooth_[b] = 0.5F * now.ratio[b] + 0.25F * (before[b] + after[b]);
      running_.push_back(running_.back() + std::min(smooth_[b], 100.0F));
    }
    for (std::size_t b = 0; b < bins; ++b) {
      // About 280 Hz to either side: wide enough to hold a harmonic of any voice if there is one.
      const std::size_t from = b < 12 ? 0 : b - 12;
      const std::size_t to = std::min(b + 13, bins);
      const float around = (running_[to] - running_[from]) / static_cast<float>(to - from);
      const float wiener = smooth_[b] / (1.0F + smooth_[b]);
      const float gain = std::max(wiener * voiced(around), config_.gain_floor);
      now.row[2 * b] *= gain;
      now.row[2 * b + 1] *= gain;
    }
    done_.insert(done_.end(), now.row.begin(), now.row.end());
    ratio_before_ = std::move(now.ratio);
    waiting_.pop_front();
    --judged_;
  }

  /// 0 when the neighbourhood lies below -12 dB of speech to noise, 1 above -8 dB. Speech comes in groups of bins; a
  /// lone speck that passes the Wiener gain is noise. This costs no signal-to-noise ratio and is what is heard least.
  [[nodiscard]] static float voiced(float around) {
    const float db = 10.0F * std::log10(std::max(around, 1e-9F));
    return std::clamp((db + 12.0F) / 4.0F, 0.0F, 1.0F);
  }

  denoise_config config_;
  noise_floor noise_;
  std::deque<entry> waiting_;  // frames not given yet; the first `judged_` have their xi
  std::size_t judged_ = 0;
  std::vector<float> kept_;          // speech power kept of the frame judged last, in units of the noise
  std::vector<float> ratio_before_;  // xi of the frame given last
  std::vector<float> smooth_;        // scratch: xi over three frames, and its running sum over the bins
  std::vector<float> running_;
  std::vector<float> done_;
  std::size_t taken_ = 0;
  std::uint64_t pushed_ = 0;
  bool started_ = false;
  bool finished_ = false;
};

}  // namespace pipeline
