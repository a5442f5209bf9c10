// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "canvas.hpp"
#include "error.hpp"
#include "stft.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

namespace pipeline {

struct spectrogram_config {
  stft_config stft;
  std::uint32_t rate = 48000;
  double max_hz = 12000.0;   ///< top of the frequency axis; the Nyquist frequency if that is lower
  double range_db = 70.0;    ///< from the brightest to the darkest colour
  std::size_t width = 1280;  ///< of the picture, in dots
  std::size_t height = 900;

  /// Throws `dsp_error` that says which value is unusable.
  void check() const {
    stft.check();
    if (rate == 0) {
      throw dsp_error("spectrogram: the sampling rate is 0 Hz");
    }
    if (!(max_hz >= 10.0) || !(range_db >= 1.0 && range_db <= 300.0)) {
      throw dsp_error("spectrogram: max_hz is " + std::to_string(max_hz) + " (use 10 or more), range_db is " + std::to_string(range_db) +
                      " (use 1 to 300)");
    }
    if (width < 480 || height < 360 || width > 16384 || height > 16384) {
      throw dsp_error("spectrogram: a picture of " + std::to_string(width) + " x " + std::to_string(height) +
                      " dots; use 480 x 360 to 16384 x 16384");
    }
  }
};

/// Words around the picture; ASCII.
struct spectrogram_labels {
  std::string title = "Spectrogram";
  std::string before = "before";
  std::string after = "after";
};

/// Collects the frames of a signal before and after a treatment and draws both as one picture, one panel above the
/// other, with the same time axis, frequency axis and colour scale. 0 dB is the loudest point of both.
///
/// Memory is bounded: beyond 4096 columns, neighbouring ones are merged (mean power), however long the signal is.
/// The two signals may come in any order and in any chunks. One thread.
class spectrogram {
 public:
  enum class panel : std::size_t { before = 0, after = 1 };

  /// Throws `dsp_error` for an unusable config.
  explicit spectrogram(const spectrogram_config& config) : config_(config) {
    config_.check();
    const double bin_hz = static_cast<double>(config.rate) / static_cast<double>(config.stft.frame);
    top_hz_ = std::min(config.max_hz, static_cast<double>(config.rate) / 2.0);
    kept_bins_ = std::min(config.stft.bins(), static_cast<std::size_t>(std::ceil(top_hz_ / bin_hz)) + 2);
  }

  /// Adds whole frames. Throws `dsp_error` for half a frame, or a coefficient that is not finite (nothing of this call
  /// is taken then).
  void add(panel which, std::span<const float> frames) {
    track& to = tracks_[static_cast<std::size_t>(which)];
    const std::size_t row = config_.stft.row();
    const std::size_t count = config_.stft.frames_in(frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      if (!(std::abs(frames[i]) < 1e15F)) {
        throw dsp_error("spectrogram: bin " + std::to_string(i % row / 2) + " of frame " + std::to_string(to.frames + i / row) +
                        " is not a usable number");
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      to.add(frames.subspan(i * row, 2 * kept_bins_));
    }
  }

  [[nodiscard]] std::uint64_t frames(panel which) const noexcept { return tracks_[static_cast<std::size_t>(which)].frames; }

  /// Columns held for one signal; never more than 4096.
  [[nodiscard]] std::size_t columns(panel which) const noexcept { return tracks_[static_cast<std::size_t>(which)].columns.size(); }

  /// Draws the picture. A panel that got no frames says so. Throws `dsp_error` when neither got any.
  [[nodiscard]] canvas draw(const spectrogram_labels& labels = {}) const {
    const std::uint64_t longest = std::max(tracks_[0].frames, tracks_[1].frames);
    if (longest == 0) {
      throw dsp_error("spectrogram: there is nothing to draw, no frames were added");
    }
    canvas picture(config_.width, config_.height, paper);
    const layout place(config_.width, config_.height);
    const double loudest = std::max({tracks_[0].loudest(), tracks_[1].loudest(), 1e-20});
    const double seconds =
        static_cast<double>(longest * config_.stft.hop - std::min<std::uint64_t>(config_.stft.lead(), (longest - 1) * config_.stft.hop)) /
        static_cast<double>(config_.rate);

    picture.text(place.left, 16, labels.title, ink, 3);
    const std::array<const std::string*, 2> names{&labels.before, &labels.after};
    for (std::size_t p = 0; p < 2; ++p) {
      const std::size_t y = place.top + p * (place.panel_height + place.gap);
      picture.text(place.left, y - 26, *names[p], ink);
      picture.bar(place.left, y, place.panel_width, place.panel_height, heat(0.0));
      if (tracks_[p].frames == 0) {
        picture.text(place.left + 20, y + 20, "no frames", paper);
      } else {
        paint(picture, place, y, tracks_[p], seconds, loudest);
      }
      picture.frame(place.left, y, place.panel_width, place.panel_height, ink);
      frequency_axis(picture, place, y);
      time_axis(picture, place, y, seconds, p == 1);
    }
    colour_scale(picture, place);
    return picture;
  }

  /// Draws the picture and writes it as a PNG file. Throws `dsp_error` as `draw`, or when it cannot be written.
  void save(const std::string& path, const spectrogram_labels& labels = {}) const { draw(labels).save_png(path); }

 private:
  static constexpr colour paper{255, 255, 255};
  static constexpr colour ink{40, 40, 48};
  static constexpr std::size_t most_columns = 4096;

  /// One signal: columns of mean power over `per_column` frames each.
  struct track {
    std::vector<std::vector<float>> columns;
    std::vector<float> partial;
    std::size_t in_partial = 0;
    std::size_t per_column = 1;
    std::uint64_t frames = 0;

    void add(std::span<const float> row) {
      partial.resize(row.size() / 2, 0.0F);
      for (std::size_t b = 0; b < partial.size(); ++b) {
        partial[b] += row[2 * b] * row[2 * b] + row[2 * b + 1] * row[2 * b + 1];
      }
      ++frames;
      if (++in_partial == per_column) {
        for (float& power : partial) {
          power /= static_cast<float>(per_column);
        }
        columns.push_back(partial);
        std::ranges::fill(partial, 0.0F);
        in_partial = 0;
        if (columns.size() == most_columns) {
          merge();
        }
      }
    }

    void merge() {
      for (std::size_t c = 0; c < columns.size() / 2; ++c) {
        for (std::size_t b = 0; b < partial.size(); ++b) {
          columns[c][b] = 0.5F * (columns[2 * c][b] + columns[2 * c + 1][b]);
        }
      }
      columns.resize(columns.size() / 2);
      per_column *= 2;
    }

    [[nodiscard]] double loudest() const {
      float most = 0.0F;
      for (const auto& column : columns) {
        most = std::max(most, *std::ranges::max_element(column));
      }
      return static_cast<double>(most);
    }

    /// Mean power over a box of columns and bins; between their centres it is interpolated.
    [[nodiscard]] double power(double column, double columns_wide, double bin, double bins_high) const {
      const auto over = [&](const std::vector<float>& of) {
        return sample(of.size(), bin, bins_high, [&](std::size_t b) { return static_cast<double>(of[b]); });
      };
      return sample(columns.size(), column, columns_wide, [&](std::size_t c) { return over(columns[c]); });
    }

    template <class Get>
    static double sample(std::size_t size, double centre, double wide, Get get) {
      const auto last = static_cast<double>(size - 1);
      if (wide > 1.0) {
        const auto from = static_cast<std::size_t>(std::clamp(std::ceil(centre - wide / 2.0), 0.0, last));
        const auto to = static_cast<std::size_t>(std::clamp(std::floor(centre + wide / 2.0), 0.0, last));
        double sum = 0.0;
        for (std::size_t i = from; i <= std::max(from, to); ++i) {
          sum += get(i);
        }
        return sum / static_cast<double>(std::max(from, to) - from + 1);
      }
      const double at = std::clamp(centre, 0.0, last);
      const auto below = static_cast<std::size_t>(at);
      const double share = at - static_cast<double>(below);
      return share > 0.0 ? (1.0 - share) * get(below) + share * get(below + 1) : get(below);
    }
  };

  struct layout {
    std::size_t left = 92;
    std::size_t top = 84;
    std::size_t gap = 66;
    std::size_t right = 130;
    std::size_t bottom = 62;
    std::size_t panel_width;
    std::size_t panel_height;

    layout(std::size_t width, std::size_t height) : panel_width(width - left - right), panel_height((height - top - gap - bottom) / 2) {}
  };

  void paint(canvas& picture, const layout& place, std::size_t y, const track& from, double seconds, double loudest) const {
    if (from.columns.empty()) {
      return;
    }
    std::array<colour, 256> colours{};
    for (std::size_t i = 0; i < colours.size(); ++i) {
      colours[i] = heat(static_cast<double>(i) / 255.0);
    }
    const auto rate = static_cast<double>(config_.rate);
    const auto hop = static_cast<double>(config_.stft.hop);
    const auto per_column = static_cast<double>(from.per_column);
    const auto half = static_cast<double>(config_.stft.frame) / 2.0;
    const double columns_wide = seconds * rate / hop / per_column / static_cast<double>(place.panel_width);
    const double bin_hz = rate / static_cast<double>(config_.stft.frame);
    for (std::size_t i = 0; i < place.panel_width; ++i) {
      const double when = (static_cast<double>(i) + 0.5) / static_cast<double>(place.panel_width) * seconds;
      // Frame f is centred on sample f * hop + hop - frame / 2.
      const double frame = (when * rate - hop + half) / hop;
      if (frame > static_cast<double>(from.frames)) {
        break;
      }
      const double column = (frame - (per_column - 1.0) / 2.0) / per_column;
      for (std::size_t j = 0; j < place.panel_height; ++j) {
        const double lower = hz_at(static_cast<double>(place.panel_height - j - 1), place) / bin_hz;
        const double upper = hz_at(static_cast<double>(place.panel_height - j), place) / bin_hz;
        const double power = from.power(column, columns_wide, (lower + upper) / 2.0, upper - lower);
        const double db = 10.0 * std::log10(std::max(power / loudest, 1e-30));
        const double level = std::clamp(1.0 + db / config_.range_db, 0.0, 1.0);
        picture.dot(place.left + i, y + j, colours[static_cast<std::size_t>(std::lround(level * 255.0))]);
      }
    }
  }

  /// The least of 1, 2, 5, 10, 20 ... times a power of ten that cuts `span` into at most `most` parts.
  [[nodiscard]] static double tick_step(double span, double most) {
    double step = std::pow(10.0, std::floor(std::log10(span / most)));
    for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
      if (span / (step * factor) <= most) {
        return step * factor;
      }
    }
    return step * 10.0;
  }

  /// A tick's value with just the decimals its step needs.
  [[nodiscard]] static std::string number(double value, double step) {
    const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
    return text.data();
  }

  /// The frequency axis is linear below and logarithmic above 700 Hz, as the ear is; the harmonics of a voice would
  /// else share a tenth of the picture.
  [[nodiscard]] static double ear(double hz) { return std::log1p(hz / 700.0); }

  /// Frequency at a height over the lower edge of a panel, in dots.
  [[nodiscard]] double hz_at(double up, const layout& place) const {
    return 700.0 * std::expm1(up / static_cast<double>(place.panel_height) * ear(top_hz_));
  }

  void frequency_axis(canvas& picture, const layout& place, std::size_t y) const {
    const auto high = static_cast<double>(place.panel_height);
    double last = -100.0;
    for (const double hz : {0.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 12000.0, 16000.0, 24000.0, 48000.0}) {
      const double up = ear(hz) / ear(top_hz_) * (high - 1.0);
      if (hz > top_hz_ * 1.0001 || up < last + 18.0) {
        continue;
      }
      last = up;
      const auto down = static_cast<std::size_t>(std::lround(high - 1.0 - up));
      picture.bar(place.left - 8, y + down, 7, 1, ink);
      const bool whole = hz >= 1000.0 || hz <= 0.0;
      const std::string label = number(hz / 1000.0, whole ? 1.0 : 0.1);
      picture.text(place.left - 14 - canvas::text_width(label), y + down - 6, label, ink);
    }
    const std::string name = "frequency [kHz]";
    picture.text_upwards(14, y + place.panel_height / 2 + canvas::text_width(name) / 2, name, ink);
  }

  static void time_axis(canvas& picture, const layout& place, std::size_t y, double seconds, bool named) {
    const std::size_t below = y + place.panel_height;
    const double step = tick_step(seconds, std::max(2.0, static_cast<double>(place.panel_width) / 75.0));
    for (int n = 0; n * step <= seconds * 1.0001; ++n) {
      const auto along = static_cast<std::size_t>(std::lround(n * step / seconds * static_cast<double>(place.panel_width - 1)));
      picture.bar(place.left + along, below + 1, 1, 7, ink);
      const std::string label = number(n * step, step);
      picture.text(place.left + along - canvas::text_width(label) / 2, below + 12, label, ink);
    }
    if (named) {
      const std::string name = "time [s]";
      picture.text(place.left + (place.panel_width - canvas::text_width(name)) / 2, below + 36, name, ink);
    }
  }

  void colour_scale(canvas& picture, const layout& place) const {
    const std::size_t x = place.left + place.panel_width + 26;
    const std::size_t high = 2 * place.panel_height + place.gap;
    constexpr std::size_t wide = 20;
    for (std::size_t j = 0; j < high; ++j) {
      picture.bar(x, place.top + j, wide, 1, heat(1.0 - static_cast<double>(j) / static_cast<double>(high - 1)));
    }
    picture.frame(x, place.top, wide, high, ink);
    const double step = tick_step(config_.range_db, 8.0);
    for (int n = 0; n * step <= config_.range_db * 1.0001; ++n) {
      const auto down = static_cast<std::size_t>(std::lround(n * step / config_.range_db * static_cast<double>(high - 1)));
      picture.bar(x + wide + 1, place.top + down, 7, 1, ink);
      picture.text(x + wide + 13, place.top + down - 6, number(n == 0 ? 0.0 : -n * step, step), ink);
    }
    picture.text(x, place.top - 26, "dB", ink);
  }

  spectrogram_config config_;
  double top_hz_ = 0.0;
  std::size_t kept_bins_ = 0;
  std::array<track, 2> tracks_;
};

}  // namespace pipeline
