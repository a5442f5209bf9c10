// SPDX-License-Identifier: Apache-2.0
// A real producer dies between begin and commit: nobody ever sees the object, and the next who comes tidies up.
#include <csignal>
#include <cstdint>
#include <string>

#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/stage.hpp>
#include <shm/support.hpp>
#include <support/child.hpp>

namespace {

using namespace omniconn;

/// Runs `shm_half_put` until it has begun. \returns its pid.
test::child begun_put(std::string const& space, std::string const& key, std::string const& how) {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  test::child program({OMNICONN_TEST_BIN_DIR "/shm_half_put", space, key, "1000000", how}, STDIN_FILENO, ends[1]);
  ::close(ends[1]);
  char said[6] = {};
  std::size_t got = 0;
  while (program.runs() && got != sizeof said) {
    ssize_t const n = ::read(ends[0], said + got, sizeof said - got);
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  ::close(ends[0]);
  EXPECT_EQ(std::string_view(said, got), "begun\n");
  return program;
}

void expect_killed(test::child& program) {
  int const status = program.reap();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

transport_side<shm_transport> opened(shm_test::fresh_space const& space) {
  auto t = shm_transport::open(space.options());
  EXPECT_TRUE(t) << t.error().message();
  return {std::move(*t), deadline::after(std::chrono::seconds(60))};
}

bool there(transport_side<shm_transport>& s, std::string_view key) {
  find_options how;
  how.wait = false;
  return s.get(key, deadline::immediate(), how).has_value();
}

TEST(shm_interrupted_put, is_seen_by_nobody_and_cleaned_by_the_next) {
  shm_test::fresh_space space;
  auto witness = opened(space);
  auto const data = test_pattern(100, 1);
  for (std::string const& key : {std::string("key"), std::string(1000, 'k')}) {
    for (std::string const how : {"crash", "stay"}) {
      auto victim = begun_put(space.name(), key, how);
      ASSERT_TRUE(victim.runs());
      if (how == "stay") {
        EXPECT_FALSE(there(witness, key)) << "it is not whole";
        EXPECT_FALSE(witness->exists(key).value_or(true));
        EXPECT_TRUE(witness.put(key, data) == error_kind::already_exists) << "the key is reserved while its producer lives";
        EXPECT_EQ(witness->erase(key).value_or(9), 0U);
        victim.signal(SIGKILL);
      }
      expect_killed(victim);
      EXPECT_FALSE(there(witness, key)) << "and never will be";
      auto next = opened(space);  // comes, and tidies up, unless the witness is at it
      EXPECT_TRUE(shm_test::eventually([&] {
        auto const health = witness->report();
        EXPECT_TRUE(health.status == health_status::ready || !health.why.empty()) << "the dead are named until then";
        return health.status == health_status::ready && health.objects.used == 0;
      }));
      auto const put = next.put(key, data);
      ASSERT_TRUE(put) << put.error().message();
      EXPECT_TRUE(there(witness, key));
      EXPECT_TRUE(witness->erase(key));
    }
  }
  EXPECT_EQ(space.files().size(), 2U) << "the directory and the arena of the witness, who has put: none of the dead is left";
}

TEST(shm_interrupted_put, leaves_nothing_where_nobody_else_is) {
  shm_test::fresh_space space;
  auto victim = begun_put(space.name(), "key", "crash");
  ASSERT_TRUE(victim.runs());
  expect_killed(victim);
  EXPECT_EQ(space.files().size(), 2U) << "the directory and the arena of the dead";
  EXPECT_TRUE(shm_transport::collect(space.options()));
  EXPECT_TRUE(space.files().empty());
}

}  // namespace
