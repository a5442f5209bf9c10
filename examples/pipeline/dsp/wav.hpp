// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"

#include <sndfile.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace pipeline {

/// A mono recording; full scale is -1 to 1.
struct audio {
  std::vector<float> samples;
  std::uint32_t rate = 0;  ///< samples per second

  [[nodiscard]] double seconds() const noexcept {
    return rate == 0 ? 0.0 : static_cast<double>(samples.size()) / static_cast<double>(rate);
  }
};

enum class wav_format { pcm16, float32 };

namespace detail {

struct sound_close {
  void operator()(SNDFILE* file) const noexcept { sf_close(file); }
};
using sound_file = std::unique_ptr<SNDFILE, sound_close>;

[[noreturn]] inline void wav_fail(const std::string& path, const std::string& what) { throw dsp_error("wav: " + path + ": " + what); }

/// What libsndfile has to say, without its prefix and full stop.
[[nodiscard]] inline std::string sound_error(SNDFILE* file) {
  std::string text = sf_strerror(file);
  constexpr std::string_view prefix = "System error : ";
  if (text.starts_with(prefix)) {
    text.erase(0, prefix.size());
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) {
    text.pop_back();
  }
  return text;
}

inline void require_name(const std::string& path) {
  if (path.empty()) {
    throw dsp_error("wav: the file name is empty");
  }
  if (path.find('\0') != std::string::npos) {
    throw dsp_error("wav: the file name contains a NUL character");
  }
}

/// libsndfile reads a file that lost its end as if it were whole; the size in the RIFF header tells.
/// Programs that write into a pipe do not know the size and put a number of 2 GiB or more there; that is no loss, nor is a pad byte left out.
inline void require_whole(const std::string& path, std::uint64_t bytes) {
  std::array<unsigned char, 8> head{};
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(head.data()), head.size()) || head[0] != 'R' || head[1] != 'I' || head[2] != 'F' ||
      head[3] != 'F') {
    return;
  }
  const std::uint64_t promised =
      8U + (std::uint64_t{head[4]} | std::uint64_t{head[5]} << 8U | std::uint64_t{head[6]} << 16U | std::uint64_t{head[7]} << 24U);
  if (promised > bytes + 1 && promised < 0x7FFF0000U) {
    wav_fail(path, "is cut short: its header promises " + std::to_string(promised) + " bytes, the file has " + std::to_string(bytes));
  }
}

/// libsndfile answers most troubles with "unknown format"; what the file system knows is clearer.
inline void require_readable_file(const std::string& path) {
  require_name(path);
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    wav_fail(path, errno == ENOENT ? std::string("no such file") : std::string(std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) {
    wav_fail(path, S_ISDIR(info.st_mode) ? "is a directory, not a WAV file" : "is not a regular file");
  }
  if (info.st_size == 0) {
    wav_fail(path, "the file is empty (0 bytes)");
  }
  require_whole(path, static_cast<std::uint64_t>(info.st_size));
}

inline void require_wav(const std::string& path, const SF_INFO& info) {
  const int container = info.format & SF_FORMAT_TYPEMASK;
  if (container != SF_FORMAT_WAV && container != SF_FORMAT_WAVEX && container != SF_FORMAT_RF64) {
    wav_fail(path, "is a sound file but not a WAV; convert it to WAV first");
  }
  switch (info.format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_U8:
    case SF_FORMAT_PCM_16:
    case SF_FORMAT_PCM_24:
    case SF_FORMAT_PCM_32:
    case SF_FORMAT_FLOAT:
    case SF_FORMAT_DOUBLE: break;
    default: wav_fail(path, "is a WAV with compressed samples; convert it to PCM first");
  }
  if (info.frames <= 0) {
    wav_fail(path, "is a WAV without a single sample (zero frames)");
  }
  if (info.channels < 1 || info.samplerate < 1) {
    wav_fail(path, "has a header with " + std::to_string(info.channels) + " channels at " + std::to_string(info.samplerate) + " Hz");
  }
}

}  // namespace detail

/// Reads a WAV file (8 to 32 bit PCM or float, any rate, any number of channels); channels are averaged to mono.
///
/// Throws `dsp_error` whose text names the file and what is wrong with it: missing, a directory, empty, not a WAV,
/// compressed, without samples, cut short, or with a sample that is not a finite number.
[[nodiscard]] inline audio read_wav(const std::string& path) {
  detail::require_readable_file(path);
  SF_INFO info{};
  const detail::sound_file file(sf_open(path.c_str(), SFM_READ, &info));
  if (!file) {
    detail::wav_fail(path, "cannot be read as a WAV file (" + detail::sound_error(nullptr) + ")");
  }
  detail::require_wav(path, info);

  // Block by block: a header may promise more frames than there are bytes, memory is spent only on what is read.
  constexpr std::size_t block_frames = 16384;
  const auto channels = static_cast<std::size_t>(info.channels);
  std::vector<float> block(block_frames * channels);
  audio result;
  result.rate = static_cast<std::uint32_t>(info.samplerate);
  while (true) {
    const sf_count_t got = sf_readf_float(file.get(), block.data(), static_cast<sf_count_t>(block_frames));
    if (got <= 0) {
      break;
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
      double sum = 0.0;
      for (std::size_t c = 0; c < channels; ++c) {
        sum += static_cast<double>(block[i * channels + c]);
      }
      if (!std::isfinite(sum)) {
        detail::wav_fail(path, "sample " + std::to_string(result.samples.size()) + " is not a finite number");
      }
      result.samples.push_back(static_cast<float>(sum / static_cast<double>(channels)));
    }
  }
  if (sf_error(file.get()) != SF_ERR_NO_ERROR) {
    detail::wav_fail(path, "reading failed: " + detail::sound_error(file.get()));
  }
  return result;
}

/// Writes mono samples as a WAV file and replaces what was there. Returns how many samples lay outside of -1..1; with
/// `pcm16` those were clipped to full scale, with `float32` they are kept.
///
/// 16-bit samples that came from `read_wav` are written back bit for bit. Throws `dsp_error` that names the file for a
/// rate of 0, no samples, a sample that is not finite, a path that cannot be written, a full disk.
inline std::size_t write_wav(const std::string& path, std::span<const float> samples, std::uint32_t rate,
                             wav_format format = wav_format::pcm16) {
  detail::require_name(path);
  if (rate == 0 || rate > static_cast<std::uint32_t>(std::numeric_limits<int>::max())) {
    detail::wav_fail(path, "cannot be written with a rate of " + std::to_string(rate) + " Hz");
  }
  if (samples.empty()) {
    detail::wav_fail(path, "not written: there are no samples");
  }
  std::size_t outside = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (!std::isfinite(samples[i])) {
      detail::wav_fail(path, "not written: sample " + std::to_string(i) + " is not a finite number");
    }
    outside += std::abs(samples[i]) > 1.0F ? 1U : 0U;
  }

  SF_INFO info{};
  info.samplerate = static_cast<int>(rate);
  info.channels = 1;
  info.format = SF_FORMAT_WAV | (format == wav_format::pcm16 ? SF_FORMAT_PCM_16 : SF_FORMAT_FLOAT);
  detail::sound_file file(sf_open(path.c_str(), SFM_WRITE, &info));
  if (!file) {
    detail::wav_fail(path, "cannot be written: " + detail::sound_error(nullptr));
  }
  const auto count = static_cast<sf_count_t>(samples.size());
  sf_count_t written = 0;
  if (format == wav_format::pcm16) {
    std::vector<short> pcm(samples.size());
    std::ranges::transform(samples, pcm.begin(), [](float sample) {
      return static_cast<short>(std::lrint(std::clamp(static_cast<double>(sample) * 32768.0, -32768.0, 32767.0)));
    });
    written = sf_writef_short(file.get(), pcm.data(), count);
  } else {
    written = sf_writef_float(file.get(), samples.data(), count);
  }
  // sf_close writes the final header, so its verdict counts as well.
  if (written != count || sf_close(file.release()) != 0) {
    detail::wav_fail(path,
                     "writing failed after " + std::to_string(written) + " of " + std::to_string(count) + " samples; is the disk full?");
  }
  return outside;
}

}  // namespace pipeline
