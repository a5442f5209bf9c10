// SPDX-License-Identifier: Apache-2.0
// A program that forks whenever it likes, whatever its other threads are at.
#include <atomic>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/detail/forks.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;

/// \returns the exit status of a child that does `act`; what ends it otherwise is a failure.
template <class Act>
int in_child(Act act) {
  pid_t const child = ::fork();
  if (child == 0) ::_exit(act());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(shm_fork, a_mark_tells_what_came_from_the_parent) {
  (void)detail::watch_forks();
  detail::fork_mark const old;
  EXPECT_FALSE(old.inherited());
  EXPECT_EQ(in_child([&old]() noexcept { return old.inherited() && !detail::fork_mark().inherited() ? 0 : 1; }), 0);
  EXPECT_FALSE(old.inherited()) << "the parent is no child";
}

TEST(shm_fork, a_witness_is_told_as_long_as_it_lives) {
  int told = 0;
  auto const tell = [](void* n) noexcept { ++*static_cast<int*>(n); };
  {
    detail::fork_witness const first(tell, &told);
    detail::fork_witness const second(tell, &told);
    EXPECT_EQ(in_child([&told]() noexcept { return told; }), 2);
  }
  EXPECT_EQ(in_child([&told]() noexcept { return told; }), 0);
  EXPECT_EQ(told, 0) << "only children are told";
}

// The child runs the handlers of what other threads were just making or unmaking.
TEST(shm_fork, while_another_thread_opens_and_closes_harms_no_child) {
  shm_test::fresh_space space;
  std::atomic<bool> end{false};
  std::atomic<unsigned> opened{0};
  std::thread user([&] {
    while (!end.load()) {
      auto t = shm_transport::open(space.options());
      EXPECT_TRUE(t) << t.error().message();
      opened.fetch_add(1);
    }
  });
  for (int i = 0; i != 2000; ++i)
    if (in_child([]() noexcept { return 0; }) != 0) break;
  end.store(true);
  user.join();
  EXPECT_GT(opened.load(), 0U);
}

}  // namespace
