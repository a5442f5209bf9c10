// SPDX-License-Identifier: Apache-2.0
#include "dsp/denoise.hpp"
#include "dsp/mix.hpp"
#include "dsp/resample.hpp"
#include "dsp/snr.hpp"
#include "dsp/spectrogram.hpp"
#include "dsp/stft.hpp"
#include "dsp/wav.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

// Debian's alsa-utils; a missing file fails the test by its error text, it is not skipped.
const std::string alsa = "/usr/share/sounds/alsa/";

double gain_of(const audio& speech, const audio& noise, double mix_db) {
  const mixture mixed = mix_at_snr(speech, noise, mix_db);
  const std::vector<float> out = denoise_samples(denoise_for(speech.rate), mixed.sound.samples);
  const snr_result before = measure_snr(speech.samples, mixed.sound.samples);
  const snr_result after = measure_snr(speech.samples, out);
  EXPECT_NEAR(before.db, mix_db, 0.01);
  EXPECT_LE(std::abs(after.lag), 1);
  return after.db - before.db;
}

TEST(dsp_real_sound, the_main_example_gains_well_over_five_decibels) {
  const double gain = gain_of(read_wav(alsa + "Front_Center.wav"), read_wav(alsa + "Noise.wav"), 0.0);
  RecordProperty("gain_db", std::to_string(gain));
  EXPECT_GT(gain, 8.0);
}

TEST(dsp_real_sound, every_voice_gains_five_decibels) {
  const audio noise = read_wav(alsa + "Noise.wav");
  for (const std::string name :
       {"Front_Center", "Front_Left", "Front_Right", "Rear_Center", "Rear_Left", "Rear_Right", "Side_Left", "Side_Right"}) {
    const audio speech = read_wav(alsa + name + ".wav");
    for (const double mix_db : {-5.0, 0.0, 6.0}) {
      EXPECT_GT(gain_of(speech, noise, mix_db), 5.0) << name << " at " << mix_db;
    }
  }
}

TEST(dsp_real_sound, other_rates_gain_as_well) {
  const audio speech = read_wav(alsa + "Front_Center.wav");
  const audio noise = read_wav(alsa + "Noise.wav");
  for (const std::uint32_t rate : {16000U, 22050U, 44100U}) {
    EXPECT_GT(gain_of(as_audio(resample(speech.samples, speech.rate, rate), rate), noise, 0.0), 5.0) << rate;
  }
}

TEST(dsp_real_sound, the_whole_chain_through_files_in_small_chunks) {
  const scratch_folder folder;
  const audio speech = read_wav(alsa + "Front_Center.wav");
  const mixture mixed = mix_at_snr(speech, read_wav(alsa + "Noise.wav"), 0.0);
  const denoise_config config = denoise_for(speech.rate);
  spectrogram_config look;
  look.stft = config.stft;
  look.rate = speech.rate;

  stft_analysis analysis(config.stft);
  denoiser cleaner(config);
  stft_synthesis synthesis(config.stft);
  spectrogram picture(look);
  std::vector<float> out;
  const auto clean = [&](std::size_t frames) {
    for (std::vector<float> chunk = cleaner.take_chunk(frames); !chunk.empty(); chunk = cleaner.take_chunk(frames)) {
      picture.add(spectrogram::panel::after, chunk);
      append(out, synthesis.push(chunk));
    }
  };
  const auto drain = [&] {
    for (std::vector<float> chunk = analysis.take_chunk(16); !chunk.empty(); chunk = analysis.take_chunk(16)) {
      picture.add(spectrogram::panel::before, chunk);
      cleaner.push(chunk);
      clean(16);
    }
  };
  for (std::size_t at = 0; at < mixed.sound.samples.size(); at += 1000) {
    analysis.push(std::span(mixed.sound.samples).subspan(at, std::min<std::size_t>(1000, mixed.sound.samples.size() - at)));
    drain();
  }
  analysis.finish();
  drain();
  cleaner.finish();
  clean(16);
  append(out, synthesis.finish(analysis.samples_pushed()));
  ASSERT_EQ(out.size(), speech.samples.size());
  EXPECT_EQ(out, denoise_samples(config, mixed.sound.samples));

  EXPECT_EQ(write_wav(folder.file("out.wav"), out, speech.rate), 0U);
  EXPECT_EQ(write_wav(folder.file("mixture.wav"), mixed.sound.samples, speech.rate), 0U);
  const double before = measure_snr(speech.samples, read_wav(folder.file("mixture.wav")).samples).db;
  const double after = measure_snr(speech.samples, read_wav(folder.file("out.wav")).samples).db;
  EXPECT_GT(after - before, 8.0);
  picture.save(folder.file("a.png"));
  EXPECT_EQ(picture.frames(spectrogram::panel::before), picture.frames(spectrogram::panel::after));
}

}  // namespace
