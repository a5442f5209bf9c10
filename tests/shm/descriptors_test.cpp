// SPDX-License-Identifier: Apache-2.0
// A process that has no file descriptor left: each call says so and how to mend it, nothing is lost by it, and all works as soon as there is one again.
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>

#include <shm/stage.hpp>

// The undefined-behaviour sanitizer, which comes with this one here, opens a pipe to see whether an object may be looked at, and takes it for broken where
// there is no descriptor.
#ifndef __SANITIZE_ADDRESS__

namespace {

using namespace shm_test;
using omniconn::const_bytes;
using omniconn::deadline;
using omniconn::error_kind;
using connector = omniconn::shm_connector<>;

constexpr omniconn::edge hop{"producer", "consumer"};

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
int open_descriptors() {
  int n = 0;
  for (int fd = 0; fd != 1024; ++fd) n += is_open(fd) ? 1 : 0;
  return n;
}

/// As long as it lives this process can open only so many more.
class few_descriptors {
 public:
  explicit few_descriptors(int left) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit limit = before_;
    limit.rlim_cur = 0;
    for (; left >= 0; ++limit.rlim_cur)
      if (!is_open(static_cast<int>(limit.rlim_cur)) && left-- == 0) break;
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  few_descriptors(few_descriptors const&) = delete;
  few_descriptors& operator=(few_descriptors const&) = delete;
  ~few_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

template <class Error>
void expect_said(Error const& e) {
  EXPECT_EQ(e.kind(), error_kind::no_space) << e.message();
  EXPECT_NE(e.message().find("ulimit -n"), std::string::npos) << e.message();
}

class shm_descriptors : public process_test {
 protected:
  [[nodiscard]] connector::options options() const {
    connector::options o;
    o.transport = space.options();
    o.transport.memory_pool_size = std::uint64_t{1} << 20U;
    return o;
  }
  [[nodiscard]] connector open() const {
    auto c = connector::open(options());
    EXPECT_TRUE(c) << c.error().message();
    return std::move(*c);
  }
  [[nodiscard]] stage::program program(std::vector<std::string> words) const {
    words.insert(words.end(), {OMNICONN_TEST_BIN_DIR "/shm_stage", space.name()});
    return {std::move(words), false};
  }

  std::vector<std::byte> payload = std::vector<std::byte>(1000, std::byte{7});
};

TEST_F(shm_descriptors, open_says_so_until_there_are_enough) {
  int const before = open_descriptors();
  int left = 0;
  for (; left != 10; ++left) {
    std::optional<connector> c;
    {
      few_descriptors const few(left);
      auto opened = connector::open(options());
      if (opened) {
        c.emplace(std::move(*opened));
      } else {
        expect_said(opened.error());
      }
    }
    if (c) {
      EXPECT_TRUE(c->put(hop, "k", const_bytes(payload))) << "now that there are more";
      EXPECT_TRUE(c->get_view(hop, "k"));
      break;
    }
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_EQ(all_files(), std::vector<std::string>{}) << "nothing half-made is left, with " << left;
  }
  EXPECT_GT(left, 0);
  EXPECT_LT(left, 5) << "a directory, a FIFO, and one for a moment";
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(shm_descriptors, a_first_get_says_so_and_the_object_stays) {
  auto const producer = start();
  ASSERT_EQ(producer->ask("put k 1 1000"), "ok 1000");
  auto consumer = open();
  (void)consumer.get_view(hop, "nothing", {deadline::immediate()});
  int const before = open_descriptors();
  {
    few_descriptors const none(0);
    for (int i = 0; i != 100; ++i) {
      auto const got = consumer.get_view(hop, "k");
      ASSERT_FALSE(got);
      expect_said(got.error());
      ASSERT_TRUE(consumer.exists(hop, "k").value_or(false));
    }
  }
  EXPECT_LE(open_descriptors(), before + 1) << "one more where the thread that hears of deaths came later";
  auto const got = consumer.get_view(hop, "k");
  EXPECT_TRUE(got) << got.error().message();
}

TEST_F(shm_descriptors, a_first_put_says_so_and_leaves_nothing) {
  for (auto const full : {omniconn::on_full::fail, omniconn::on_full::wait, omniconn::on_full::drop_oldest}) {
    auto o = options();
    o.defaults.full = full;
    auto producer = connector::open(o);
    ASSERT_TRUE(producer);
    int const before = open_descriptors();
    {
      few_descriptors const none(0);
      for (int i = 0; i != 10; ++i) {
        auto const put = producer->put(hop, "k", const_bytes(payload));
        ASSERT_FALSE(put);
        expect_said(put.error());
        ASSERT_FALSE(producer->exists(hop, "k").value_or(true));
      }
    }
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_TRUE(producer->put(hop, "k", const_bytes(payload)));
    EXPECT_TRUE(producer->get_view(hop, "k"));
  }
}

TEST_F(shm_descriptors, a_get_that_waits_says_so_when_the_object_comes) {
  auto const producer = start();
  auto consumer = open();
  std::optional<few_descriptors> none(0);
  std::thread waiting([&] {
    auto const got = consumer.get_view(hop, "k");
    ASSERT_FALSE(got);
    expect_said(got.error());
  });
  EXPECT_EQ(producer->ask("put k 1 1000"), "ok 1000");
  waiting.join();
  EXPECT_TRUE(consumer.exists(hop, "k").value_or(false));
  none.reset();
  EXPECT_TRUE(consumer.get_view(hop, "k"));
}

// The thread that hears of deaths has no descriptor for the FIFO of one who comes now. It asks for the lock instead.
TEST_F(shm_descriptors, the_death_of_one_who_came_when_there_was_none_is_heard) {
  stage producer(program({"sh", "-c", R"(read go; exec "$0" "$@")"}));
  auto consumer = open();
  few_descriptors const none(0);
  EXPECT_EQ(producer.ask("go"), "ready");
  EXPECT_EQ(producer.ask("put a 1 10"), "ok 10");
  std::thread waiting([&] {
    auto const got = consumer.get_view(hop, "b");
    EXPECT_TRUE(got == error_kind::peer_lost) << (got ? "got" : got.error().message());
  });
  EXPECT_EQ(producer.kill(), status_killed);
  waiting.join();
  EXPECT_EQ(consumer.cleanup(hop, "a").value_or(0), 1U);
}

// Who cannot tell the others that it has come would die unheard.
TEST_F(shm_descriptors, who_comes_with_few_is_heard_or_refused) {
  auto const consumer = start();
  unsigned refused = 0, heard = 0;
  for (int limit = 3; limit != 12; ++limit) {
    stage producer(program({"sh", "-c", "exec 2>/dev/null; ulimit -n " + std::to_string(limit) + R"(; exec "$0" "$@")"}));
    if (auto const greeting = producer.answer(); greeting != "ready") {
      refused += greeting == "error no_space" ? 1 : 0;  // or the system could not even start it
      continue;
    }
    if (auto const put = producer.ask("put a 1 10"); put != "ok 10") {
      EXPECT_EQ(put, "error no_space") << "the thread that hears of deaths was quicker to take the last one";
      continue;
    }
    EXPECT_TRUE(consumer->ask("get a r 60000 1").starts_with("got 10 good"));
    consumer->send("get b r 600000 1");
    EXPECT_EQ(producer.kill(), status_killed);
    EXPECT_EQ(consumer->answer(), "error peer_lost") << limit;
    ++heard;
  }
  EXPECT_GT(refused, 0U);
  EXPECT_GT(heard, 0U);
}

TEST_F(shm_descriptors, an_end_needs_none) {
  auto c = std::make_unique<connector>(open());
  EXPECT_TRUE(c->put(hop, "k", const_bytes(payload)));
  EXPECT_TRUE(c->get_view(hop, "k"));
  {
    few_descriptors const none(0);
    c.reset();
  }
  EXPECT_EQ(all_files(), std::vector<std::string>{});
}

}  // namespace

#endif
