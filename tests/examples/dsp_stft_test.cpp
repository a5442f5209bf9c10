// SPDX-License-Identifier: Apache-2.0
#include "dsp/fft.hpp"
#include "dsp/stft.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

TEST(dsp_stft, reconstructs_what_was_not_changed) {
  for (const stft_config& config : {stft_config{512, 128}, stft_config{512, 256}, stft_config{1024, 256}, stft_config{2048, 512},
                                    stft_config{60, 20}, stft_config{64, 8}}) {
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{2}, config.hop - 1, config.hop, config.hop + 1, config.frame, std::size_t{10007}}) {
      std::vector<float> samples = white_noise(size, 0.3F, 7);
      for (float& sample : samples) {
        sample = std::clamp(sample, -1.0F, 1.0F);
      }
      const std::vector<float> frames = analyse(config, samples);
      ASSERT_EQ(config.frames_in(frames.size()), config.frames_for(size));
      const std::vector<float> back = synthesise(config, frames, size);
      ASSERT_EQ(back.size(), size);
      float worst = 0.0F;
      for (std::size_t n = 0; n < size; ++n) {
        worst = std::max(worst, std::abs(back[n] - samples[n]));
      }
      EXPECT_LT(worst, 1e-5F) << config.frame << "/" << config.hop << " size " << size;
    }
  }
}

TEST(dsp_stft, chunk_sizes_do_not_matter) {
  const stft_config config{512, 128};
  const std::vector<float> samples = white_noise(9001, 0.2F, 3);
  const std::vector<float> whole = analyse(config, samples);
  const std::vector<float> sound = synthesise(config, whole, samples.size());
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100}, std::size_t{128}, std::size_t{513}, std::size_t{4000}}) {
    for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, std::size_t{32}}) {
      stft_analysis analysis(config);
      stft_synthesis synthesis(config);
      std::vector<float> frames;
      std::vector<float> back;
      const auto drain = [&] {
        for (std::vector<float> next = analysis.take_chunk(chunk); !next.empty(); next = analysis.take_chunk(chunk)) {
          append(frames, next);
          append(back, synthesis.push(next));
        }
      };
      for (std::size_t at = 0; at < samples.size(); at += piece) {
        analysis.push(std::span(samples).subspan(at, std::min(piece, samples.size() - at)));
        drain();
      }
      EXPECT_EQ(analysis.samples_pushed(), samples.size());
      analysis.finish();
      drain();
      append(back, synthesis.finish(analysis.samples_pushed()));
      EXPECT_EQ(frames, whole) << piece << " " << chunk;
      EXPECT_EQ(back, sound) << piece << " " << chunk;
    }
  }
}

TEST(dsp_stft, frames_come_as_soon_as_they_are_known) {
  const stft_config config{512, 128};
  stft_analysis analysis(config);
  const std::vector<float> samples(128, 0.1F);
  analysis.push(std::span(samples).first(127));
  EXPECT_EQ(analysis.frames_ready(), 0U);
  analysis.push(std::span(samples).first(1));
  EXPECT_EQ(analysis.frames_ready(), 1U);
  EXPECT_TRUE(analysis.take_chunk(2).empty());
  std::vector<float> room(3 * config.row(), 42.0F);
  EXPECT_EQ(analysis.take(room), 1U);
  EXPECT_EQ(room[config.row()], 42.0F);
  EXPECT_EQ(analysis.take(room), 0U);
}

TEST(dsp_stft, a_sine_falls_into_its_bin) {
  const stft_config config{512, 128};
  // Bin 32 of 512 at 16 kHz is 1 kHz. A frame of it sums to amplitude / 2 times the sum of the window, 2 / pi per sample.
  const std::vector<float> frames = analyse(config, sine(8192, 1000.0, 16000.0, 0.5));
  const std::span<const float> row = std::span(frames).subspan(20 * config.row(), config.row());
  const auto magnitude = [&](std::size_t bin) { return std::hypot(row[2 * bin], row[2 * bin + 1]); };
  EXPECT_NEAR(magnitude(32), 0.25 * 512.0 * 2.0 / std::numbers::pi, 0.1);
  EXPECT_LT(magnitude(40), 0.01F * magnitude(32));
  EXPECT_LT(magnitude(100), 0.001F * magnitude(32));
}

TEST(dsp_stft, an_empty_signal_has_no_frames) {
  const stft_config config;
  EXPECT_EQ(config.frames_for(0), 0U);
  EXPECT_TRUE(analyse(config, {}).empty());
  EXPECT_TRUE(synthesise(config, {}, 0).empty());
}

TEST(dsp_stft, without_a_total_only_silence_is_added) {
  const stft_config config{512, 128};
  const std::vector<float> samples = white_noise(1000, 0.2F, 5);
  stft_synthesis synthesis(config);
  std::vector<float> back = synthesis.push(analyse(config, samples));
  append(back, synthesis.finish());
  ASSERT_GE(back.size(), samples.size());
  ASSERT_LT(back.size(), samples.size() + config.hop);
  for (std::size_t n = 0; n < back.size(); ++n) {
    ASSERT_NEAR(back[n], n < samples.size() ? samples[n] : 0.0F, 1e-5F);
  }
}

TEST(dsp_stft, geometry_follows_the_rate) {
  for (const auto& [rate, frame] : {std::pair(8000U, 256U), std::pair(16000U, 512U), std::pair(22050U, 1024U), std::pair(44100U, 2048U),
                                    std::pair(48000U, 2048U), std::pair(96000U, 4096U), std::pair(1U, 64U), std::pair(0U, 64U)}) {
    const stft_config config = stft_config::for_rate(rate);
    EXPECT_EQ(config.frame, frame) << rate;
    EXPECT_EQ(config.hop, frame / 4);
    config.check();
  }
}

TEST(dsp_stft, errors) {
  EXPECT_EQ(error_of([] { stft_analysis(stft_config{513, 128}); }), "stft: frame is 513; it must be even and 4 to 1048576");
  EXPECT_EQ(error_of([] { stft_analysis(stft_config{2, 1}); }), "stft: frame is 2; it must be even and 4 to 1048576");
  EXPECT_EQ(error_of([] { stft_synthesis(stft_config{512, 0}); }), "stft: hop is 0; it must divide the frame of 512 into 2 or more parts");
  EXPECT_EQ(error_of([] {
              stft_synthesis(stft_config{512, 512});
            }),
            "stft: hop is 512; it must divide the frame of 512 into 2 or more parts");
  EXPECT_EQ(error_of([] {
              stft_synthesis(stft_config{512, 100});
            }),
            "stft: hop is 100; it must divide the frame of 512 into 2 or more parts");

  const stft_config config{512, 128};
  const std::vector<float> some(600, 0.0F);
  stft_analysis analysis(config);
  std::vector<float> room(513, 0.0F);
  EXPECT_EQ(error_of([&] { analysis.take(room); }), "stft: 513 floats are not a whole number of frames of 257 bins x 2");
  analysis.finish();
  analysis.finish();
  EXPECT_EQ(error_of([&] { analysis.push(some); }), "stft: push after finish");

  stft_synthesis synthesis(config);
  EXPECT_EQ(error_of([&] { std::ignore = synthesis.push(some); }), "stft: 600 floats are not a whole number of frames of 257 bins x 2");
  std::ignore = synthesis.push(std::vector<float>(10 * config.row(), 0.0F));
  EXPECT_EQ(error_of([&] { std::ignore = synthesis.finish(2000); }),
            "stft: the frames make up 768 to 896 samples, not 2000; frames were lost or come from another signal");
  EXPECT_EQ(error_of([&] { std::ignore = synthesis.finish(800); }), "stft: finish called twice");
  EXPECT_EQ(error_of([&] { std::ignore = synthesis.push({}); }), "stft: push after finish");

  EXPECT_EQ(error_of([] { real_fft(0); }), "fft: a transform of 0 points is not possible");
}

}  // namespace
