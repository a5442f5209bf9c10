// SPDX-License-Identifier: Apache-2.0
// A producer that dies and starts again, and again, where there is room for its pool and for nothing else.
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <shm/crash/counts.hpp>
#include <shm/crash/scene.hpp>
#include <shm/crash/victim.hpp>
#include <shm/tmpfs.hpp>

namespace {

using namespace crash;

/// Bytes of memory behind the arenas of a namespace.
std::uint64_t memory_of(omniconn::shm_transport::options const& o) {
  std::uint64_t out = 0;
  for (auto const& file : omniconn::shm_transport::files(o)) {
    struct stat st {};
    if (!file.ends_with(".dir") && ::stat(file.c_str(), &st) == 0) out += static_cast<std::uint64_t>(st.st_blocks) * 512;
  }
  return out;
}

TEST(shm_orphan, keeps_the_pages_of_its_unread_objects_and_no_others) {
  shm_test::fresh_space const space;
  connector::options how;
  how.transport = space.options();
  auto producer = connector::open(how), consumer = connector::open(how);
  ASSERT_TRUE(producer && consumer);
  omniconn::get_options now;
  now.until = omniconn::deadline::immediate();
  constexpr std::size_t size = 250'000;  // no whole number of pages
  constexpr unsigned objects = 9;  // a third of them with long keys
  for (unsigned key = 0; key != objects; ++key) ASSERT_TRUE(producer->put(hop, key_name(key), view_of(object(key, size))));
  for (unsigned const key : {0U, 3U, 4U}) ASSERT_TRUE(consumer->get_view(hop, key_name(key), now));
  EXPECT_GE(memory_of(space.options()), 9 * size) << "its producer may use it again";
  producer->close();
  constexpr std::uint64_t each = size + 3 * 4096;  // its first and last page, and one of a long key
  EXPECT_LE(memory_of(space.options()), 6 * each);
  for (unsigned left = 6; unsigned const key : {7U, 1U, 5U, 2U, 8U, 6U}) {
    auto const view = consumer->get_view(hop, key_name(key), now);
    ASSERT_TRUE(view) << key;
    EXPECT_TRUE(is_object(view->bytes(), key, size)) << key;
    EXPECT_LE(memory_of(space.options()), left * each);
    --left;
  }
  EXPECT_EQ(memory_of(space.options()), 0U);
}

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
