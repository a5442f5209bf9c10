// SPDX-License-Identifier: Apache-2.0
#include "dsp/wav.hpp"

#include <gtest/gtest.h>
#include <sndfile.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

TEST(dsp_wav, sixteen_bit_round_trip_is_exact) {
  const scratch_folder folder;
  std::vector<float> samples;
  for (int value = -32768; value <= 32767; value += 7) {
    samples.push_back(static_cast<float>(value) / 32768.0F);
  }
  samples.push_back(32767.0F / 32768.0F);
  EXPECT_EQ(write_wav(folder.file("a.wav"), samples, 44100), 0U);
  const audio back = read_wav(folder.file("a.wav"));
  EXPECT_EQ(back.rate, 44100U);
  EXPECT_EQ(back.samples, samples);
  EXPECT_NEAR(back.seconds(), static_cast<double>(samples.size()) / 44100.0, 1e-12);
}

TEST(dsp_wav, float_round_trip_keeps_what_exceeds_full_scale) {
  const scratch_folder folder;
  const std::vector<float> samples{0.1F, -3.5F, 1e-7F, 1.0F, -1.0F};
  EXPECT_EQ(write_wav(folder.file("a.wav"), samples, 8000, wav_format::float32), 1U);
  EXPECT_EQ(read_wav(folder.file("a.wav")).samples, samples);
}

TEST(dsp_wav, sixteen_bit_clips_and_counts) {
  const scratch_folder folder;
  const std::vector<float> samples{0.5F, 1.5F, -1.5F, 1.0F};
  EXPECT_EQ(write_wav(folder.file("a.wav"), samples, 8000), 2U);
  const std::vector<float> expected{0.5F, 32767.0F / 32768.0F, -1.0F, 32767.0F / 32768.0F};
  EXPECT_EQ(read_wav(folder.file("a.wav")).samples, expected);
}

void write_interleaved(const std::string& path, int format, int rate, int channels, const std::vector<float>& samples) {
  SF_INFO info{};
  info.samplerate = rate;
  info.channels = channels;
  info.format = format;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  ASSERT_NE(file, nullptr) << sf_strerror(nullptr);
  const auto frames = static_cast<sf_count_t>(samples.size()) / channels;
  EXPECT_EQ(sf_writef_float(file, samples.data(), frames), frames);
  EXPECT_EQ(sf_close(file), 0);
}

TEST(dsp_wav, every_pcm_width_and_any_channels_become_mono) {
  const scratch_folder folder;
  const std::string path = folder.file("a.wav");
  for (const auto& [format, tolerance] :
       {std::pair(SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 1.0F / 64), std::pair(SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1.0F / 16384),
        std::pair(SF_FORMAT_WAV | SF_FORMAT_PCM_24, 1e-6F), std::pair(SF_FORMAT_WAV | SF_FORMAT_PCM_32, 1e-6F),
        std::pair(SF_FORMAT_WAVEX | SF_FORMAT_PCM_16, 1.0F / 16384), std::pair(SF_FORMAT_WAV | SF_FORMAT_FLOAT, 1e-7F),
        std::pair(SF_FORMAT_WAV | SF_FORMAT_DOUBLE, 1e-7F)}) {
    for (const int channels : {1, 2, 6}) {
      for (const int rate : {8000, 22050, 96000}) {
        std::vector<float> samples;
        for (int n = 0; n < 100; ++n) {
          for (int c = 0; c < channels; ++c) {
            samples.push_back(0.005F * static_cast<float>(n) - 0.1F * static_cast<float>(c));
          }
        }
        write_interleaved(path, format, rate, channels, samples);
        const audio back = read_wav(path);
        ASSERT_EQ(back.samples.size(), 100U);
        EXPECT_EQ(back.rate, static_cast<std::uint32_t>(rate));
        for (int n = 0; n < 100; ++n) {
          const float mean = 0.005F * static_cast<float>(n) - 0.05F * static_cast<float>(channels - 1);
          ASSERT_NEAR(back.samples[static_cast<std::size_t>(n)], mean, tolerance) << std::hex << format << " x" << channels;
        }
      }
    }
  }
}

TEST(dsp_wav, longer_than_one_block) {
  const scratch_folder folder;
  const std::vector<float> samples = white_noise(50001, 0.1F, 1);
  write_wav(folder.file("a.wav"), samples, 48000, wav_format::float32);
  EXPECT_EQ(read_wav(folder.file("a.wav")).samples, samples);
}

std::string read_error(const std::string& path) {
  return error_of([&] { std::ignore = read_wav(path); });
}

TEST(dsp_wav, read_errors_name_the_file_and_the_trouble) {
  const scratch_folder folder;
  const std::string path = folder.file("a.wav");
  EXPECT_EQ(read_error(path), "wav: " + path + ": no such file");
  EXPECT_EQ(read_error(path + "/b.wav"), "wav: " + path + "/b.wav: no such file");
  EXPECT_EQ(read_error(""), "wav: the file name is empty");
  EXPECT_EQ(read_error(std::string("a\0b", 3)), "wav: the file name contains a NUL character");
  EXPECT_EQ(read_error(folder.file(".")), "wav: " + folder.file(".") + ": is a directory, not a WAV file");
  EXPECT_EQ(read_error("/dev/null"), "wav: /dev/null: is not a regular file");

  std::ofstream(path).flush();
  EXPECT_EQ(read_error(path), "wav: " + path + ": the file is empty (0 bytes)");
  std::ofstream(path) << "this is a letter, not a sound\n";
  EXPECT_EQ(read_error(path), "wav: " + path + ": cannot be read as a WAV file (Format not recognised)");
  std::ofstream(path) << "RIF";
  EXPECT_TRUE(read_error(path).starts_with("wav: " + path + ": cannot be read as a WAV file (")) << read_error(path);

  write_interleaved(path, SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 8000, 1, {0.1F, 0.2F});
  EXPECT_EQ(read_error(path), "wav: " + path + ": is a sound file but not a WAV; convert it to WAV first");
  write_interleaved(path, SF_FORMAT_WAV | SF_FORMAT_ULAW, 8000, 1, {0.1F, 0.2F});
  EXPECT_EQ(read_error(path), "wav: " + path + ": is a WAV with compressed samples; convert it to PCM first");
  write_interleaved(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 1, {});
  EXPECT_EQ(read_error(path), "wav: " + path + ": is a WAV without a single sample (zero frames)");
  write_interleaved(path, SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, {0.1F, 0.2F, not_a_number});
  EXPECT_EQ(read_error(path), "wav: " + path + ": sample 2 is not a finite number");
}

TEST(dsp_wav, a_file_that_lost_its_end_is_refused) {
  const scratch_folder folder;
  const std::string path = folder.file("a.wav");
  write_wav(path, std::vector<float>(1000, 0.25F), 8000);
  ASSERT_EQ(std::filesystem::file_size(path), 2044U);
  std::filesystem::resize_file(path, 1000);
  EXPECT_EQ(read_error(path), "wav: " + path + ": is cut short: its header promises 2044 bytes, the file has 1000");
  std::filesystem::resize_file(path, 20);
  EXPECT_EQ(read_error(path), "wav: " + path + ": is cut short: its header promises 2044 bytes, the file has 20");
}

TEST(dsp_wav, a_streamed_header_without_a_size_is_no_loss) {
  const scratch_folder folder;
  const std::string path = folder.file("a.wav");
  write_wav(path, std::vector<float>(1000, 0.25F), 8000);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const std::string unknown(4, '\xFF');
  file.seekp(4).write(unknown.data(), 4);
  file.seekp(40).write(unknown.data(), 4);
  file.close();
  EXPECT_EQ(read_wav(path).samples.size(), 1000U);
}

TEST(dsp_wav, write_errors_name_the_file_and_the_trouble) {
  const scratch_folder folder;
  const std::string path = folder.file("a.wav");
  const std::vector<float> one{0.1F};
  EXPECT_EQ(error_of([&] { write_wav(path, one, 0); }), "wav: " + path + ": cannot be written with a rate of 0 Hz");
  EXPECT_EQ(error_of([&] { write_wav(path, {}, 8000); }), "wav: " + path + ": not written: there are no samples");
  EXPECT_EQ(error_of([&] {
              write_wav(path, std::vector<float>{0.0F, not_a_number}, 8000);
            }),
            "wav: " + path + ": not written: sample 1 is not a finite number");
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(error_of([&] { write_wav(path + "/no/b.wav", one, 8000); }),
            "wav: " + path + "/no/b.wav: cannot be written: No such file or directory");
  EXPECT_EQ(error_of([&] { write_wav("", one, 8000); }), "wav: the file name is empty");
}

}  // namespace
