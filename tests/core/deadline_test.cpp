// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/deadline.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;
using namespace std::chrono_literals;

static_assert(std::is_trivially_copyable_v<deadline> && sizeof(deadline) == sizeof(std::int64_t));
static_assert(deadline() == deadline::never(), "a forgotten deadline waits");
static_assert(deadline::never().is_never() && !deadline::never().is_immediate());
static_assert(deadline::immediate().is_immediate() && !deadline::immediate().is_never());
static_assert(deadline::immediate() < deadline::at(deadline::clock::time_point{}) && deadline::at(deadline::clock::time_point{}) < deadline::never());

TEST(deadline, never_has_not_passed_and_immediate_has) {
  EXPECT_FALSE(deadline::never().passed());
  EXPECT_TRUE(deadline::immediate().passed());
}

TEST(deadline, is_a_point_of_the_steady_clock) {
  deadline const d = deadline::at(deadline::clock::time_point(5s));
  EXPECT_EQ(d.nanoseconds(), 5'000'000'000);
  auto const before = deadline::now_ns();
  auto const in_an_hour = deadline::after(1h).nanoseconds();
  auto const after = deadline::now_ns();
  constexpr std::int64_t hour = 3'600'000'000'000;
  EXPECT_GE(in_an_hour, before + hour);
  EXPECT_LE(in_an_hour, after + hour);
  EXPECT_FALSE(deadline::after(1h).passed());
}

TEST(deadline, zero_and_negative_spans_have_passed_but_are_not_immediate) {
  for (auto const span : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(-1), std::chrono::nanoseconds(-1h), std::chrono::nanoseconds::min()}) {
    deadline const d = deadline::after(span);
    EXPECT_TRUE(d.passed()) << span.count();
    EXPECT_FALSE(d.is_immediate()) << "it waited and was late: timed_out, not not_found";
    EXPECT_FALSE(d.is_never());
    EXPECT_GE(d.nanoseconds(), 0);
  }
  EXPECT_LT(deadline::after(-1h), deadline::after(0ns));
}

TEST(deadline, long_spans_saturate_to_never) {
  EXPECT_TRUE(deadline::after(std::chrono::nanoseconds::max()).is_never());
  EXPECT_TRUE(deadline::after(std::chrono::nanoseconds::max() - 1us).is_never()) << "fits, but not from now";
  EXPECT_TRUE(deadline::after(std::chrono::hours::max()).is_never());
  EXPECT_TRUE(deadline::after(std::chrono::duration<double>(1e300)).is_never());
  EXPECT_TRUE(deadline::after(std::chrono::duration<double>(std::numeric_limits<double>::infinity())).is_never());
  EXPECT_TRUE(deadline::after(std::chrono::duration<double>(std::nan(""))).is_never()) << "no number of seconds";
  EXPECT_FALSE(deadline::after(std::chrono::hours(24 * 365 * 100)).is_never()) << "a century is a time like any other";
}

TEST(deadline, short_spans_saturate_to_the_past) {
  EXPECT_EQ(deadline::after(std::chrono::hours::min()).nanoseconds(), 0);
  EXPECT_EQ(deadline::after(std::chrono::duration<double>(-std::numeric_limits<double>::infinity())).nanoseconds(), 0);
}

TEST(deadline, takes_spans_of_any_unit) {
  auto const now = deadline::now_ns();
  EXPECT_GE(deadline::after(std::chrono::duration<double>(1.5)).nanoseconds(), now + 1'500'000'000);
  EXPECT_GE(deadline::after(std::chrono::duration<float, std::milli>(2.5F)).nanoseconds(), now + 2'500'000);
}

}  // namespace
