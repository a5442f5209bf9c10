// SPDX-License-Identifier: Apache-2.0
#include <omniconn/detail/call_gate.hpp>

#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

namespace {

using omniconn::detail::call;
using omniconn::detail::call_gate;

TEST(call_gate, nobody_enters_once_it_is_shut) {
  call_gate gate;
  EXPECT_TRUE(call(&gate));
  EXPECT_TRUE(gate.shut());
  EXPECT_FALSE(gate.shut()) << "once";
  EXPECT_FALSE(call(&gate));
  EXPECT_FALSE(call(nullptr));
  std::jthread([&gate] { EXPECT_FALSE(call(&gate)); }).join();
  gate.wait_until_empty();
}

/// Whether `wait_until_empty` waits for a call of the thread that comes as number `which`, and for one inside of that.
void waits_for(int which) {
  call_gate gate;
  if (which == 2) static_cast<void>(call(&gate));  // the first thread is another one
  std::atomic<bool> entered = false, leave = false, closed = false;
  std::jthread caller([&] {
    call const outer(&gate);
    EXPECT_TRUE(outer);
    EXPECT_TRUE(call(&gate)) << "inside of the first";
    entered = true;
    while (!leave) std::this_thread::yield();
  });
  while (!entered) std::this_thread::yield();
  EXPECT_TRUE(gate.shut());
  std::jthread closer([&] {
    gate.wait_until_empty();
    closed = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(closed) << "a call was under way";
  leave = true;
  closer.join();
  EXPECT_TRUE(closed);
}

TEST(call_gate, who_closes_waits_for_a_call_of_the_first_thread) { waits_for(1); }
TEST(call_gate, who_closes_waits_for_a_call_of_another_thread) { waits_for(2); }

// What calls made is seen by who waited for them: a thread sanitizer would say if not.
TEST(call_gate, calls_of_several_threads_are_over_once_it_is_empty) {
  for (int round = 0; round != 200; ++round) {
    call_gate gate;
    int made[3]{};
    std::atomic<bool> go = false;
    {
      std::jthread threads[3];
      for (int i = 0; i != 3; ++i)
        threads[i] = std::jthread([&, i] {
          while (!go) std::this_thread::yield();
          for (int k = 0; k != 50; ++k)
            if (call const in(&gate); in) ++made[i];
        });
      go = true;
      for (int k = 0; k != round; ++k) std::this_thread::yield();
      gate.shut();
      gate.wait_until_empty();
      int const seen = made[0] + made[1] + made[2];
      EXPECT_LE(seen, 150);
      for (int i = 0; i != 3; ++i) made[i] = 0;  // nobody is inside any more
    }
    EXPECT_EQ(made[0] + made[1] + made[2], 0);
  }
}

}  // namespace
