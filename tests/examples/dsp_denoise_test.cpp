// SPDX-License-Identifier: Apache-2.0
#include "dsp/denoise.hpp"
#include "dsp/mix.hpp"
#include "dsp/snr.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

TEST(dsp_denoise, chunk_sizes_do_not_matter) {
  const denoise_config config = denoise_for(16000);
  std::vector<float> samples = white_noise(40000, 0.05F, 81);
  const std::vector<float> tone = sine(8000, 440.0, 16000.0);
  for (std::size_t n = 0; n < tone.size(); ++n) {
    samples[20000 + n] += tone[n];
  }
  const std::vector<float> frames = analyse(config.stft, samples);
  const std::vector<float> whole = denoise_frames(config, frames);
  ASSERT_EQ(whole.size(), frames.size());
  const std::size_t row = config.stft.row();
  for (const std::size_t chunk : {std::size_t{1}, std::size_t{5}, std::size_t{62}, std::size_t{63}, std::size_t{200}}) {
    denoiser cleaner(config);
    std::vector<float> out;
    const auto drain = [&] {
      for (std::vector<float> next = cleaner.take_chunk(chunk); !next.empty(); next = cleaner.take_chunk(chunk)) {
        append(out, next);
      }
    };
    for (std::size_t at = 0; at < frames.size(); at += chunk * row) {
      cleaner.push(std::span(frames).subspan(at, std::min(chunk * row, frames.size() - at)));
      drain();
    }
    cleaner.finish();
    drain();
    EXPECT_EQ(cleaner.frames_ready(), 0U);
    EXPECT_EQ(out, whole) << chunk;
  }
}

TEST(dsp_denoise, latency_is_the_start_up_and_then_one_frame) {
  const denoise_config config = denoise_for(16000);
  ASSERT_EQ(config.startup_frames(), 62U);
  const std::vector<float> frames = analyse(config.stft, white_noise(20000, 0.05F, 82));
  denoiser cleaner(config);
  for (std::size_t pushed = 1; pushed <= 100; ++pushed) {
    cleaner.push(std::span(frames).subspan((pushed - 1) * config.stft.row(), config.stft.row()));
    EXPECT_EQ(cleaner.frames_ready(), pushed < 62 ? 0U : pushed - 1);
  }
  cleaner.finish();
  EXPECT_EQ(cleaner.frames_ready(), 100U);
}

TEST(dsp_denoise, short_signals_come_out_whole) {
  const denoise_config config = denoise_for(16000);
  const std::vector<float> samples = white_noise(3000, 0.05F, 83);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{3000}}) {
    const std::vector<float> out = denoise_samples(config, std::span(samples).first(size));
    EXPECT_EQ(out.size(), size);
    EXPECT_TRUE(std::ranges::all_of(out, [](float sample) { return std::isfinite(sample); }));
  }
}

TEST(dsp_denoise, steady_noise_goes_and_silence_stays) {
  const denoise_config config = denoise_for(16000);
  const std::vector<float> noise = white_noise(48000, 0.05F, 84);
  EXPECT_LT(rms(denoise_samples(config, noise)), 0.1 * rms(noise));
  const std::vector<float> silence(48000, 0.0F);
  EXPECT_EQ(denoise_samples(config, silence), silence);
}

TEST(dsp_denoise, changes_little_where_there_is_no_noise) {
  const denoise_config config = denoise_for(16000);
  std::vector<float> tone = sine(48000, 440.0, 16000.0);
  // On for a quarter, off for a quarter of a second, as syllables are; a trace of hiss.
  const std::vector<float> hiss = white_noise(tone.size(), 1e-5F, 85);
  for (std::size_t n = 0; n < tone.size(); ++n) {
    tone[n] = (n / 4000 % 2 == 0 ? 0.0F : tone[n]) + hiss[n];
  }
  EXPECT_GT(measure_snr(tone, denoise_samples(config, tone)).db, 25.0);
}

TEST(dsp_denoise, leading_digital_silence_does_not_spoil_the_estimate) {
  const denoise_config config = denoise_for(16000);
  std::vector<float> samples(16000, 0.0F);
  const std::vector<float> noise = white_noise(32000, 0.05F, 86);
  append(samples, noise);
  const std::vector<float> out = denoise_samples(config, samples);
  ASSERT_EQ(out.size(), samples.size());
  EXPECT_LT(rms(std::span(out).subspan(16000 + config.stft.frame)), 0.1 * rms(noise));
}

TEST(dsp_denoise, a_bad_coefficient_is_refused_and_nothing_else_is_lost) {
  const denoise_config config = denoise_for(16000);
  const std::vector<float> frames = analyse(config.stft, white_noise(20000, 0.05F, 87));
  std::vector<float> broken(frames.begin(), frames.begin() + static_cast<std::ptrdiff_t>(3 * config.stft.row()));
  for (const float bad : {not_a_number, std::numeric_limits<float>::infinity(), 1e30F}) {
    broken[2 * config.stft.row() + 9] = bad;
    denoiser cleaner(config);
    cleaner.push(std::span(frames).first(10 * config.stft.row()));
    EXPECT_EQ(error_of([&] { cleaner.push(broken); }), "denoise: bin 4 of frame 12 is not a usable number");
    cleaner.push(std::span(frames).subspan(10 * config.stft.row()));
    cleaner.finish();
    EXPECT_EQ(cleaner.take_chunk(cleaner.frames_ready()), denoise_frames(config, frames));
  }
}

TEST(dsp_denoise, errors) {
  denoise_config config = denoise_for(16000);
  const auto with = [&](auto change) {
    denoise_config changed = config;
    change(changed);
    return error_of([&] { denoiser cleaner(changed); });
  };
  EXPECT_EQ(with([](auto& c) { c.rate = 0; }), "denoise: the sampling rate is 0 Hz");
  EXPECT_EQ(with([](auto& c) { c.startup_seconds = 0.0; }), "denoise: startup_seconds is 0.000000; use 0.05 to 10");
  EXPECT_EQ(with([](auto& c) { c.smoothing = 1.0F; }), "denoise: smoothing is 1.000000; use 0 up to, but not, 1");
  EXPECT_EQ(with([](auto& c) { c.gain_floor = not_a_number; }), "denoise: gain_floor is nan; use 0 to 1");
  EXPECT_EQ(with([](auto& c) { c.stft.hop = 0; }), "stft: hop is 0; it must divide the frame of 512 into 2 or more parts");
  denoiser cleaner(config);
  const std::vector<float> half(7, 0.0F);
  EXPECT_EQ(error_of([&] { cleaner.push(half); }), "stft: 7 floats are not a whole number of frames of 257 bins x 2");
  cleaner.finish();
  cleaner.finish();
  EXPECT_EQ(error_of([&] { cleaner.push({}); }), "denoise: push after finish");
}

}  // namespace
