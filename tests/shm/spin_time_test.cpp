// SPDX-License-Identifier: Apache-2.0
// To wake takes longer than many an object to come: what came soon after its reader slept is looked for longer the next time. Where that is in vain, as the producer waits for this processor, not always.
#include <omniconn/transport/shm/spin_time.hpp>

#include <cstdint>

#include <sched.h>

#include <gtest/gtest.h>

namespace {

using omniconn::detail::shm::spin_time;

constexpr std::int64_t us = 1000;

/// Looks in vain, and has the object `waited` after it began to wait.
void sleep_over(spin_time& spin, std::int64_t waited) { spin.was_in_vain(spin.now(), waited); }

TEST(spin_time, what_is_asked_for_stays) {
  for (std::int64_t const wanted : {std::int64_t{0}, 5 * us, 500 * us}) {
    spin_time spin(wanted);
    EXPECT_EQ(spin.now(), wanted);
    sleep_over(spin, 30 * us);
    EXPECT_EQ(spin.now(), wanted);
    spin.was_worth(spin.now());
    EXPECT_EQ(spin.now(), wanted);
  }
}

TEST(spin_time, a_thread_that_is_bound_to_a_processor_of_its_own_looks_as_long_as_any) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  spin_time const bound(-1);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(bound.now(), spin_time(-1).now());
}

TEST(spin_time, where_there_is_one_processor_nobody_looks_and_nothing_is_learnt) {
  spin_time spin(-1, 0);
  EXPECT_EQ(spin.now(), 0);
  sleep_over(spin, 30 * us);
  EXPECT_EQ(spin.now(), 0);
}

class learning : public testing::Test {
 protected:
  /// Chances that are not taken before the next that is.
  int skipped() {
    for (int n = 0;; ++n) {
      sleep_over(spin, 30 * us);
      if (spin.now() == spin_time::longest) return n;
    }
  }
  spin_time spin{-1, 20 * us};
};

TEST_F(learning, an_object_that_came_soon_makes_the_next_look_longer) {
  sleep_over(spin, spin_time::longest - 1);
  EXPECT_EQ(spin.now(), spin_time::longest);
  spin.was_worth(spin.now());
  EXPECT_EQ(spin.now(), spin_time::longest) << "as long as it is worth it";
}

TEST_F(learning, an_object_that_came_late_and_one_that_did_not_come_do_not) {
  sleep_over(spin, spin_time::longest);
  EXPECT_EQ(spin.now(), spin.usual);
  sleep_over(spin, std::int64_t{3'600'000'000} * us);
  EXPECT_EQ(spin.now(), spin.usual);
}

TEST_F(learning, each_longer_look_in_vain_makes_the_next_rarer) {
  EXPECT_EQ(skipped(), 0);
  for (int const expected : {1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 1023, 1023}) {
    sleep_over(spin, 60 * us);
    ASSERT_EQ(spin.now(), spin.usual) << "in vain";
    ASSERT_EQ(skipped(), expected);
  }
}

TEST_F(learning, one_that_another_thread_found_worth_it_counts_at_once) {
  for (int i = 0; i != 10; ++i) {
    skipped();
    sleep_over(spin, spin_time::longest);
  }
  spin.was_worth(spin_time::longest);
  EXPECT_EQ(skipped(), 0);
}

TEST_F(learning, one_that_was_worth_it_makes_up_for_all_that_were_not) {
  for (int i = 0; i != 5; ++i) {
    skipped();
    sleep_over(spin, spin_time::longest);
  }
  EXPECT_EQ(skipped(), 31);
  spin.was_worth(spin.now());
  sleep_over(spin, spin_time::longest);
  EXPECT_EQ(skipped(), 1);
}

}  // namespace
