// SPDX-License-Identifier: Apache-2.0
#include "dsp/mix.hpp"
#include "dsp/resample.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "dsp_support.hpp"

namespace {

using namespace dsp_testing;

TEST(dsp_resample, keeps_a_tone) {
  for (const auto& [from, to] : {std::pair(16000U, 48000U), std::pair(44100U, 48000U), std::pair(48000U, 44100U), std::pair(48000U, 16000U),
                                 std::pair(8000U, 11025U)}) {
    const std::vector<float> out = resample(sine(from, 1234.0, from), from, to);
    ASSERT_EQ(out.size(), to);
    const std::vector<float> expected = sine(to, 1234.0, to);
    // Away from the ends, where the filter reaches beyond the signal.
    const std::size_t edge = to / 50;
    EXPECT_GT(ratio_db(std::span(expected).subspan(edge, to - 2 * edge), std::span(out).subspan(edge, to - 2 * edge)), 55.0)
        << from << " " << to;
  }
}

TEST(dsp_resample, removes_what_the_lower_rate_cannot_carry) {
  const std::vector<float> out = resample(sine(48000, 11000.0, 48000.0), 48000, 16000);
  EXPECT_LT(rms(std::span(out).subspan(200, 15600)), 0.5 / std::sqrt(2.0) * 0.002);
}

TEST(dsp_resample, same_rate_is_a_copy_and_zero_is_an_error) {
  const std::vector<float> x{1.0F, 2.0F};
  EXPECT_EQ(resample(x, 8000, 8000), x);
  EXPECT_TRUE(resample({}, 8000, 48000).empty());
  EXPECT_EQ(error_of([&] { std::ignore = resample(x, 0, 8000); }), "resample: cannot go from 0 Hz to 8000 Hz");
}

}  // namespace
