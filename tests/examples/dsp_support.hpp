// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dsp/denoise.hpp"
#include "dsp/error.hpp"
#include "dsp/stft.hpp"
#include "dsp/wav.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <numbers>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

/// What the tests of examples/pipeline/dsp share.
namespace dsp_testing {

using namespace pipeline;

inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

class scratch_folder {
 public:
  scratch_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "dsp_test_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw std::runtime_error("no scratch folder");
    }
    path_ = name;
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const dsp_error& error) {
    return error.what();
  }
  return "(no error)";
}

inline std::vector<float> white_noise(std::size_t size, float level, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0F, level);
  std::vector<float> samples(size);
  std::ranges::generate(samples, [&] { return normal(engine); });
  return samples;
}

inline std::vector<float> sine(std::size_t size, double hz, double rate, double level = 0.5) {
  std::vector<float> samples(size);
  for (std::size_t n = 0; n < size; ++n) {
    samples[n] = static_cast<float>(level * std::sin(2.0 * std::numbers::pi * hz * static_cast<double>(n) / rate));
  }
  return samples;
}

inline void append(std::vector<float>& to, const std::vector<float>& more) { to.insert(to.end(), more.begin(), more.end()); }

inline std::vector<float> analyse(const stft_config& config, std::span<const float> samples) {
  stft_analysis analysis(config);
  analysis.push(samples);
  analysis.finish();
  return analysis.take_chunk(analysis.frames_ready());
}

inline std::vector<float> synthesise(const stft_config& config, std::span<const float> frames, std::uint64_t total) {
  stft_synthesis synthesis(config);
  std::vector<float> samples = synthesis.push(frames);
  append(samples, synthesis.finish(total));
  return samples;
}

inline std::vector<float> denoise_frames(const denoise_config& config, std::span<const float> frames) {
  denoiser cleaner(config);
  cleaner.push(frames);
  cleaner.finish();
  return cleaner.take_chunk(cleaner.frames_ready());
}

inline denoise_config denoise_for(std::uint32_t rate) {
  denoise_config config;
  config.stft = stft_config::for_rate(rate);
  config.rate = rate;
  return config;
}

inline std::vector<float> denoise_samples(const denoise_config& config, std::span<const float> samples) {
  return synthesise(config.stft, denoise_frames(config, analyse(config.stft, samples)), samples.size());
}

inline double ratio_db(std::span<const float> signal, std::span<const float> noisy) {
  double power = 0.0;
  double error = 0.0;
  for (std::size_t n = 0; n < signal.size(); ++n) {
    const double d = static_cast<double>(noisy[n]) - static_cast<double>(signal[n]);
    power += static_cast<double>(signal[n]) * static_cast<double>(signal[n]);
    error += d * d;
  }
  return 10.0 * std::log10(power / error);
}

inline audio as_audio(std::vector<float> samples, std::uint32_t rate) {
  audio sound;
  sound.samples = std::move(samples);
  sound.rate = rate;
  return sound;
}

}  // namespace dsp_testing
