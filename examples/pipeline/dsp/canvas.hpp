// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"
#include "font.hpp"

#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pipeline {

struct colour {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;

  friend constexpr bool operator==(const colour&, const colour&) = default;
};

namespace detail {

inline double gamma_encoded(double linear) { return linear <= 0.0031308 ? 12.92 * linear : 1.055 * std::pow(linear, 1.0 / 2.4) - 0.055; }

/// Linear sRGB of a colour given by OKLab lightness, chroma and hue (Ottosson's published matrices).
inline std::array<double, 3> linear_srgb(double lightness, double chroma, double hue) {
  const double a = chroma * std::cos(hue);
  const double b = chroma * std::sin(hue);
  const auto cube = [](double x) { return x * x * x; };
  const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  return {4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
          -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
}

}  // namespace detail

/// A colour scale from near black over violet and orange to pale yellow; `level` 0 to 1. Perceived lightness grows
/// evenly with the level, so equal steps of the value look like equal steps, in grey print as well.
[[nodiscard]] inline colour heat(double level) {
  const double t = std::clamp(level, 0.0, 1.0);
  const double lightness = 0.10 + 0.87 * t;
  const double hue = (285.0 + 175.0 * t) * 3.14159265358979 / 180.0;
  std::array<double, 3> rgb{};
  // Screens cannot show every chroma at every lightness: take the strongest up to the wanted one.
  for (double chroma = 0.05 + 0.44 * t * (1.0 - t); chroma >= 0.0; chroma -= 0.002) {
    rgb = detail::linear_srgb(lightness, chroma, hue);
    if (std::ranges::all_of(rgb, [](double v) { return v >= 0.0 && v <= 1.0; })) {
      break;
    }
  }
  const auto byte = [](double linear) {
    return static_cast<std::uint8_t>(std::lround(255.0 * detail::gamma_encoded(std::clamp(linear, 0.0, 1.0))));
  };
  return {byte(rgb[0]), byte(rgb[1]), byte(rgb[2])};
}

/// A picture in memory: dots, bars and text. Whatever lies outside of it is not drawn.
class canvas {
 public:
  canvas(std::size_t width, std::size_t height, colour background) : width_(width), height_(height) {
    // Far above any screen, far below what would overflow the row arithmetic of PNG.
    if (width == 0 || height == 0 || width > 16384 || height > 16384) {
      throw dsp_error("png: a picture of " + std::to_string(width) + " x " + std::to_string(height) +
                      " dots is not possible; use 1 to 16384");
    }
    pixels_.assign(width * height, background);
  }

  [[nodiscard]] std::size_t width() const noexcept { return width_; }
  [[nodiscard]] std::size_t height() const noexcept { return height_; }
  [[nodiscard]] colour at(std::size_t x, std::size_t y) const noexcept { return pixels_[y * width_ + x]; }

  void dot(std::size_t x, std::size_t y, colour ink) noexcept {
    if (x < width_ && y < height_) {
      pixels_[y * width_ + x] = ink;
    }
  }

  void bar(std::size_t x, std::size_t y, std::size_t wide, std::size_t high, colour ink) noexcept {
    for (std::size_t j = 0; j < high; ++j) {
      for (std::size_t i = 0; i < wide; ++i) {
        dot(x + i, y + j, ink);
      }
    }
  }

  /// Outline one dot thick, just outside of the given box.
  void frame(std::size_t x, std::size_t y, std::size_t wide, std::size_t high, colour ink) noexcept {
    bar(x - 1, y - 1, wide + 2, 1, ink);
    bar(x - 1, y + high, wide + 2, 1, ink);
    bar(x - 1, y, 1, high, ink);
    bar(x + wide, y, 1, high, ink);
  }

  /// Text whose top left corner is (x, y).
  void text(std::size_t x, std::size_t y, std::string_view line, colour ink, std::size_t scale = 2) noexcept {
    write(line, scale, [&](std::size_t along, std::size_t down) { bar(x + along, y + down, scale, scale, ink); });
  }

  /// Text that reads upwards; (x, y) is the corner where its first letter begins: left and lowest.
  void text_upwards(std::size_t x, std::size_t y, std::string_view line, colour ink, std::size_t scale = 2) noexcept {
    write(line, scale, [&](std::size_t along, std::size_t down) { bar(x + down, y - along - scale, scale, scale, ink); });
  }

  [[nodiscard]] static constexpr std::size_t text_width(std::string_view line, std::size_t scale = 2) noexcept {
    return line.empty() ? 0 : (line.size() * (glyph_width + 1) - 1) * scale;
  }

  /// Writes the picture as a PNG file. Throws `dsp_error` that names the file and what went wrong.
  void save_png(const std::string& path) const {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(pixels_.size() * 3);
    for (const colour& pixel : pixels_) {
      bytes.insert(bytes.end(), {pixel.red, pixel.green, pixel.blue});
    }
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(width_);
    image.height = static_cast<png_uint_32>(height_);
    image.format = PNG_FORMAT_RGB;
    if (png_image_write_to_file(&image, path.c_str(), 0, bytes.data(), 0, nullptr) == 0) {
      throw dsp_error("png: " + path + ": cannot be written: " + image.message);
    }
  }

 private:
  template <class Block>
  static void write(std::string_view line, std::size_t scale, Block block) noexcept {
    for (std::size_t n = 0; n < line.size(); ++n) {
      const glyph picture = glyph_of(line[n]);
      for (std::size_t row = 0; row < glyph_height; ++row) {
        for (std::size_t column = 0; column < glyph_width; ++column) {
          if ((picture.rows[row] >> (glyph_width - 1 - column) & 1U) != 0U) {
            block((n * (glyph_width + 1) + column) * scale, row * scale);
          }
        }
      }
    }
  }

  std::size_t width_;
  std::size_t height_;
  std::vector<colour> pixels_;
};

}  // namespace pipeline
