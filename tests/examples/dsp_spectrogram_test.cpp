// SPDX-License-Identifier: Apache-2.0
#include "dsp/canvas.hpp"
#include "dsp/font.hpp"
#include "dsp/spectrogram.hpp"

#include <gtest/gtest.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

spectrogram_config picture_config() {
  spectrogram_config config;
  config.stft = {512, 128};
  config.rate = 16000;
  config.width = 640;
  config.height = 480;
  return config;
}

TEST(dsp_spectrogram, the_png_opens_again_and_is_not_blank) {
  const scratch_folder folder;
  const std::string path = folder.file("a.png");
  spectrogram both(picture_config());
  both.add(spectrogram::panel::before, analyse({512, 128}, white_noise(16000, 0.1F, 91)));
  both.add(spectrogram::panel::after, analyse({512, 128}, sine(16000, 1000.0, 16000.0)));
  EXPECT_EQ(both.frames(spectrogram::panel::before), 128U);
  both.save(path, {"title", "above", "below"});

  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_file(&image, path.c_str()), 0) << image.message;
  EXPECT_EQ(image.width, 640U);
  EXPECT_EQ(image.height, 480U);
  image.format = PNG_FORMAT_RGB;
  std::vector<std::uint8_t> bytes(PNG_IMAGE_SIZE(image));
  ASSERT_NE(png_image_finish_read(&image, nullptr, bytes.data(), 0, nullptr), 0) << image.message;

  const canvas drawn = both.draw({"title", "above", "below"});
  std::set<std::tuple<int, int, int>> colours;
  for (std::size_t y = 0; y < 480; ++y) {
    for (std::size_t x = 0; x < 640; ++x) {
      const std::uint8_t* pixel = &bytes[3 * (y * 640 + x)];
      ASSERT_EQ((colour{pixel[0], pixel[1], pixel[2]}), drawn.at(x, y));
      colours.emplace(pixel[0], pixel[1], pixel[2]);
    }
  }
  EXPECT_GT(colours.size(), 100U);
}

/// Row of the brightest dot in the column at the middle of one panel; panels are parted at the middle of the picture.
std::size_t brightest_row(const canvas& picture, bool lower) {
  const std::size_t x = 300;
  std::size_t best = 0;
  int most = -1;
  for (std::size_t y = lower ? 290 : 90; y < (lower ? 410U : 210U); ++y) {
    const colour dot = picture.at(x, y);
    const int light = dot.red + dot.green + dot.blue;
    if (light > most) {
      most = light;
      best = y;
    }
  }
  return best;
}

TEST(dsp_spectrogram, higher_tones_are_drawn_higher_each_in_its_panel) {
  std::size_t above = 1000;
  for (const double hz : {500.0, 1000.0, 2000.0, 4000.0}) {
    spectrogram both(picture_config());
    both.add(spectrogram::panel::before, analyse({512, 128}, sine(16000, hz, 16000.0)));
    both.add(spectrogram::panel::after, analyse({512, 128}, sine(16000, 1000.0, 16000.0)));
    const canvas picture = both.draw();
    const std::size_t row = brightest_row(picture, false);
    EXPECT_LT(row, above) << hz;
    above = row;
    if (hz == 1000.0) {
      EXPECT_EQ(brightest_row(picture, true) - row, (480U - 84 - 66 - 62) / 2 + 66);
    }
  }
}

TEST(dsp_spectrogram, chunks_do_not_matter_and_long_signals_are_merged) {
  spectrogram_config config = picture_config();
  config.stft = {64, 16};
  const std::vector<float> frames = analyse(config.stft, white_noise(160000, 0.1F, 92));
  spectrogram whole(config);
  whole.add(spectrogram::panel::before, frames);
  EXPECT_GT(whole.frames(spectrogram::panel::before), 8192U);
  EXPECT_LE(whole.columns(spectrogram::panel::before), 4096U);
  EXPECT_GT(whole.columns(spectrogram::panel::before), 2047U);
  spectrogram pieces(config);
  const std::size_t step = 777 * config.stft.row();
  for (std::size_t at = 0; at < frames.size(); at += step) {
    pieces.add(spectrogram::panel::before, std::span(frames).subspan(at, std::min(step, frames.size() - at)));
  }
  const canvas a = whole.draw();
  const canvas b = pieces.draw();
  for (std::size_t y = 0; y < a.height(); ++y) {
    for (std::size_t x = 0; x < a.width(); ++x) {
      ASSERT_EQ(a.at(x, y), b.at(x, y));
    }
  }
}

TEST(dsp_spectrogram, errors) {
  const scratch_folder folder;
  spectrogram both(picture_config());
  EXPECT_EQ(error_of([&] { std::ignore = both.draw(); }), "spectrogram: there is nothing to draw, no frames were added");
  const std::vector<float> half(7, 0.0F);
  EXPECT_EQ(error_of([&] { both.add(spectrogram::panel::after, half); }),
            "stft: 7 floats are not a whole number of frames of 257 bins x 2");
  std::vector<float> broken(514, 0.0F);
  broken[6] = not_a_number;
  EXPECT_EQ(error_of([&] { both.add(spectrogram::panel::after, broken); }), "spectrogram: bin 3 of frame 0 is not a usable number");
  both.add(spectrogram::panel::after, std::vector<float>(514, 0.0F));
  EXPECT_EQ(both.frames(spectrogram::panel::after), 1U);
  const std::string nowhere = folder.file("no/a.png");
  EXPECT_TRUE(error_of([&] { both.save(nowhere); }).starts_with("png: " + nowhere + ": cannot be written: "));

  const auto with = [](auto change) {
    spectrogram_config changed = picture_config();
    change(changed);
    return error_of([&] { spectrogram drawn(changed); });
  };
  EXPECT_EQ(with([](auto& c) { c.rate = 0; }), "spectrogram: the sampling rate is 0 Hz");
  EXPECT_EQ(with([](auto& c) { c.width = 100; }), "spectrogram: a picture of 100 x 480 dots; use 480 x 360 to 16384 x 16384");
  EXPECT_TRUE(with([](auto& c) { c.range_db = 0.0; }).starts_with("spectrogram: max_hz is 12000"));
  EXPECT_EQ(error_of([] { canvas(0, 5, {}); }), "png: a picture of 0 x 5 dots is not possible; use 1 to 16384");
}

TEST(dsp_spectrogram, the_colour_scale_grows_lighter_evenly) {
  // Luma is a rough stand-in for lightness, good enough to notice a scale that turns back.
  double last = -1.0;
  for (int i = 0; i <= 64; ++i) {
    const colour c = heat(i / 64.0);
    const double luma = 0.299 * c.red + 0.587 * c.green + 0.114 * c.blue;
    EXPECT_GT(luma, last) << i;
    last = luma;
  }
  EXPECT_EQ(heat(-1.0), heat(0.0));
  EXPECT_EQ(heat(2.0), heat(1.0));
  EXPECT_GT(last, 230.0);
}

TEST(dsp_font, every_letter_of_a_label_has_its_own_picture) {
  const std::string_view all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?-+=/%()[]<>_'\"*";
  std::set<std::array<std::uint8_t, glyph_height>> pictures;
  for (const char letter : all) {
    EXPECT_EQ(glyph_of(letter).letter, letter);
    pictures.insert(glyph_of(letter).rows);
  }
  EXPECT_EQ(pictures.size(), all.size());
  EXPECT_EQ(glyph_of('\t').letter, '?');
  EXPECT_EQ(glyph_of(' ').rows, (std::array<std::uint8_t, glyph_height>{}));
}

}  // namespace
