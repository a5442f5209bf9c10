// SPDX-License-Identifier: Apache-2.0
// Clocks: a lease that never ends, machines whose clocks since boot differ, and a clock of the day that jumps.
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <shm/stage.hpp>

namespace {

using namespace shm_test;

class shm_time : public process_test {};

TEST_F(shm_time, a_lease_of_all_the_time_there_is_does_not_end) {
  auto const producer = start({"lease_ns=9223372036854775807"});
  ASSERT_EQ(producer->ask("put k 1 1000"), "ok 1000");
  ASSERT_EQ(producer->ask("put l 2 1000"), "ok 1000");
  EXPECT_EQ(producer->kill(), status_killed);
  for (int i = 0; i != 3; ++i) collect();
  EXPECT_EQ(left().size(), 2U) << "nobody uses it, and it stays";
  auto const consumer = start();
  EXPECT_TRUE(consumer->ask("get k r 0 1").starts_with("got 1000 good"));
  EXPECT_TRUE(consumer->ask("get l r 0 2").starts_with("got 1000 good"));
  EXPECT_EQ(consumer->quit(), 0);
  EXPECT_EQ(left(), std::vector<std::string>{}) << "read, it goes";
}

TEST_F(shm_time, a_lease_below_nothing_is_none) {
  auto const producer = start({"lease_ns=-1"});
  ASSERT_EQ(producer->ask("put k 1 1000"), "ok 1000");
  EXPECT_EQ(producer->kill(), status_killed);
  auto const consumer = start();
  EXPECT_EQ(consumer->ask("get k r 0 1"), "error not_found");
}

// Leases are on the clock that goes on while a machine sleeps, waits are on the one that stands still. Where the two lie years apart, and in either direction,
// whoever took one for the other would see a lease end at once, or never, or a wait that does not end.
TEST_F(shm_time, clocks_that_lie_apart_are_not_taken_for_each_other) {
  if (std::system("unshare --time --boottime 1000 --fork true 2>/dev/null") != 0) GTEST_SKIP() << "needs root to make a time namespace";
  constexpr char const* year = "31536000";
  for (char const* clock : {"--boottime", "--monotonic"}) {
    std::vector<std::string> const elsewhere{"unshare", "--time", clock, year, "--fork", "--kill-child"};
    auto const begin = [&](std::vector<std::string> const& options) { return std::make_unique<stage>(space.name(), options, elsewhere); };
    auto const consumer = begin({}), patient = begin({"patient=1"});
    {
      auto const producer = begin({});
      ASSERT_EQ(producer->ask("put kept 1 1000"), "ok 1000");
      EXPECT_TRUE(producer->ask("get nothing r 20 1").starts_with("error timed_out")) << clock;
      EXPECT_EQ(producer->kill(), status_killed);
    }
    EXPECT_EQ(consumer->ask("get nothing r 600000 1"), "error peer_lost") << clock;
    EXPECT_TRUE(consumer->ask("get kept r 0 1").starts_with("got 1000 good")) << clock << ": its lease goes on";
    {
      auto const producer = begin({"lease_ms=1"});
      ASSERT_EQ(producer->ask("put short 1 1000"), "ok 1000");
      EXPECT_EQ(producer->kill(), status_killed);
    }
    EXPECT_EQ(consumer->ask("get nothing r 600000 1"), "error peer_lost") << clock << ": the lease begins at the latest now";
    EXPECT_EQ(patient->ask("get nothing r 20 1"), "error timed_out") << clock;
    EXPECT_EQ(consumer->ask("get short r 0 1"), "error not_found") << clock << ": its lease ended";
    EXPECT_EQ(patient->quit(), 0);
    EXPECT_EQ(consumer->quit(), 0);
  }
}

// The program has a clock of the day that jumps by years with every look, and counts who looks.
TEST_F(shm_time, nobody_looks_at_the_clock_of_the_day) {
  stage steps(stage::program{{OMNICONN_TEST_BIN_DIR "/shm_clock_steps", space.name()}});
  EXPECT_EQ(steps.ask("self"), "1") << "a look is counted";
  EXPECT_EQ(steps.ask("wait"), "timed_out 0");
  EXPECT_EQ(steps.ask("wait_for_two"), "timed_out 0");
  EXPECT_EQ(steps.ask("blocked"), "timed_out 0");
  EXPECT_EQ(steps.ask("put"), "ok 0");
  EXPECT_EQ(steps.ask("get"), "ok 0");
  EXPECT_EQ(steps.quit(), 0);
}

}  // namespace
