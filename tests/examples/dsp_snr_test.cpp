// SPDX-License-Identifier: Apache-2.0
#include "dsp/mix.hpp"
#include "dsp/snr.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <tuple>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

TEST(dsp_snr, known_ratios) {
  const std::vector<float> s = white_noise(20000, 0.1F, 11);
  EXPECT_EQ(measure_snr(s, s).db, std::numeric_limits<double>::infinity());
  for (const double wanted : {-10.0, 0.0, 5.0, 20.0, 60.0}) {
    std::vector<float> y = white_noise(s.size(), 1.0F, 12);
    const double scale = rms(s) / rms(y) * std::pow(10.0, -wanted / 20.0);
    for (std::size_t n = 0; n < s.size(); ++n) {
      y[n] = static_cast<float>(static_cast<double>(s[n]) + scale * static_cast<double>(y[n]));
    }
    const snr_result result = measure_snr(s, y);
    EXPECT_NEAR(result.db, wanted, 1e-3);
    EXPECT_EQ(result.lag, 0);
    EXPECT_EQ(result.gain, 1.0);
  }
}

TEST(dsp_snr, finds_the_lag_either_way) {
  const std::vector<float> s = white_noise(6000, 0.1F, 21);
  for (const std::ptrdiff_t lag : {std::ptrdiff_t{0}, std::ptrdiff_t{1}, std::ptrdiff_t{777}, std::ptrdiff_t{4800}}) {
    std::vector<float> late(static_cast<std::size_t>(lag), 0.0F);
    append(late, s);
    EXPECT_EQ(measure_snr(s, late).lag, lag);
    EXPECT_EQ(measure_snr(s, late).db, std::numeric_limits<double>::infinity());
    // The other way round the reference begins with silence that the signal lacks.
    EXPECT_EQ(measure_snr(late, s).lag, -lag);
    EXPECT_EQ(measure_snr(late, s).db, std::numeric_limits<double>::infinity());
  }
  std::vector<float> later(4801, 0.0F);
  append(later, s);
  EXPECT_LT(measure_snr(s, later).db, 1.0);
  EXPECT_EQ(find_lag(s, later, 5000), 4801);
  EXPECT_EQ(find_lag(std::vector<float>{1.0F}, std::vector<float>{1.0F}, 4800), 0);
}

TEST(dsp_snr, a_lag_out_of_reach_does_not_come_back_round_the_circle) {
  // The strong click is 3904 samples early; in a circle of 4096 that looks like 192 late.
  std::vector<float> s(4095, 0.0F);
  std::vector<float> y(4095, 0.0F);
  s[4000] = y[96] = 1.0F;
  s[2000] = y[2000] = 0.3F;
  EXPECT_EQ(find_lag(s, y, 1000), 0);
  EXPECT_EQ(find_lag(s, y, 4000), -3904);
}

TEST(dsp_snr, what_is_missing_counts) {
  const std::vector<float> s = white_noise(40000, 0.1F, 31);
  const std::span<const float> half = std::span(s).first(20000);
  EXPECT_NEAR(measure_snr(s, half).db, 3.01, 0.1);
  EXPECT_NEAR(measure_snr(s, std::vector<float>(40000, 0.0F)).db, 0.0, 1e-9);
}

TEST(dsp_snr, gain_is_fitted_only_when_asked) {
  const std::vector<float> s = white_noise(5000, 0.1F, 41);
  std::vector<float> y = s;
  for (float& sample : y) {
    sample *= 0.5F;
  }
  EXPECT_NEAR(measure_snr(s, y).db, 6.0206, 1e-3);
  const snr_result fitted = measure_snr(s, y, {4800, true});
  EXPECT_NEAR(fitted.gain, 2.0, 1e-9);
  EXPECT_GT(fitted.db, 120.0);
}

TEST(dsp_snr, errors) {
  const std::vector<float> s(100, 0.5F);
  const std::vector<float> silent(100, 0.0F);
  const std::vector<float> broken(100, not_a_number);
  const auto error = [](std::span<const float> a, std::span<const float> b) { return error_of([&] { std::ignore = measure_snr(a, b); }); };
  EXPECT_EQ(error({}, s), "snr: the reference has no samples");
  EXPECT_EQ(error(s, {}), "snr: the signal has no samples");
  EXPECT_EQ(error(silent, s), "snr: the reference is silent, so there is no ratio to it");
  EXPECT_EQ(error(broken, s), "snr: the reference holds a sample that is not a finite number");
  EXPECT_EQ(error(s, broken), "snr: the signal holds a sample that is not a finite number");
}

}  // namespace
