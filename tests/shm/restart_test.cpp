// SPDX-License-Identifier: Apache-2.0
// A producer that dies and starts again, and again, where there is room for its pool and for nothing else.
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <shm/crash/counts.hpp>
#include <shm/crash/scene.hpp>
#include <shm/crash/victim.hpp>
#include <shm/tmpfs.hpp>

namespace {

using namespace crash;

CRASH_TEST(restarts_in_a_file_system_of_one_pool) {
  outcome out(results, "a producer replaces four objects of 1 MiB, begins a fifth and is killed; pool 6 MiB on a tmpfs of 6 MiB and 512 KiB");
  shm_test::own_folder const folder;
  unsigned restarts = 0, failed = 0, lost = 0, torn = 0;
  double slowest_ms = 0;
  std::string first;
  bool const mounted = shm_test::on_tmpfs(folder.path(), "size=6656k", [&] {
    shm_test::fresh_space const space(folder.path());
    auto o = space.options();
    o.max_keys = 64;
    for (; restarts != rounds(scale, 50, 1000) && first.empty(); ++restarts) {
      std::int64_t const before = omniconn::deadline::now_ns();
      victim v("producer", space.name(), {"mode=restart", "directory=" + folder.path(), "memory=6291456", "size=1048576", "ops=4", "seed=" + std::to_string(restarts)});
      v.join();
      double const ms = static_cast<double>(omniconn::deadline::now_ns() - before) / 1e6;
      if (ms > slowest_ms) slowest_ms = ms;
      account const a(v.lines());
      if (!v.killed() || !a.done || a.acknowledged.size() != 4) {
        ++failed;
        first = "start " + std::to_string(restarts) + ": " + v.said();
      }
      if (restarts % 10 != 0) continue;
      connector::options how;
      how.transport = o;
      auto c = connector::open(how);
      for (auto const& [key, object] : a.acknowledged) {
        omniconn::get_options now;
        now.until = omniconn::deadline::immediate();
        auto view = c ? c->get_view(hop, key_name(key), now) : connector::view();
        if (!view) {
          ++lost;
          continue;
        }
        if (!is_object(view->bytes(), object.seed, object.size)) ++torn;
        view->give_back();
      }
    }
    EXPECT_TRUE(space.files().size() == 2 || !first.empty()) << "a directory and the arena of the last one";
  });
  if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs";
  EXPECT_EQ(first, "");
  out.at_least("restarts", restarts, rounds(scale, 50, 1000));
  out.exactly("failed starts", failed, 0);
  out.exactly("acknowledged objects lost", lost, 0);
  out.exactly("torn or foreign reads", torn, 0);
  out.note("slowest life of a producer (ms)", slowest_ms);
}

}  // namespace
