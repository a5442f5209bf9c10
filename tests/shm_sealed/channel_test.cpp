// SPDX-License-Identifier: Apache-2.0
#include <omniconn/transport/shm_sealed/channel.hpp>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <support/quiet_fork.hpp>

#include "impostor.hpp"

namespace {

using namespace sealed_test;

struct ends {
  unique_fd ours, theirs;
  ends() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    ours = unique_fd(pair[0]);
    theirs = unique_fd(pair[1]);
  }
};

TEST(shm_sealed_channel, what_waits_for_room_is_bounded_in_messages_and_bytes) {
  for (std::size_t const size : {std::size_t{0}, std::size_t{30'000}}) {
    ends e;
    channel line(std::move(e.ours));
    raw_line other(std::move(e.theirs));
    std::string text;
    while (text.size() < size) text += std::string("\x0a\0", 2) + "ten bytes.";
    message m = of_type(message_type::keys, 0);
    m.text = text;
    std::uint64_t sent = 0;
    while (!line.crowded()) {
      m.id = ++sent;
      ASSERT_TRUE(line.send(m));
      ASSERT_LT(sent, 10'000U);
    }
    EXPECT_LE(line.unsent(), channel::most_waiting);
    EXPECT_LE((line.unsent() - 1) * text.size(), channel::most_waiting_bytes);
    message got;
    for (std::uint64_t id = 1; id <= sent; ++id) {
      ASSERT_TRUE(line.flush());
      ASSERT_TRUE(other.receive(got));
      ASSERT_EQ(got.id, id) << "all of it, in order";
      ASSERT_EQ(got.text.size(), text.size());
    }
    EXPECT_EQ(line.unsent(), 0U);
    EXPECT_FALSE(line.crowded());
  }
}

/// Sends until there is no room. \returns how many
std::uint64_t fill(channel& line) {
  message m = of_type(message_type::ping);
  std::uint64_t sent = 0;
  while (line.unsent() == 0) {
    m.id = ++sent;
    EXPECT_TRUE(line.send(m));
  }
  return sent;
}

TEST(shm_sealed_channel, what_found_no_room_goes_with_the_next_message) {
  ends e;
  channel line(std::move(e.ours));
  raw_line other(std::move(e.theirs));
  std::uint64_t const full = fill(line);
  line.send_patiently(of_type(message_type::end, 1));  // nobody reads: it gives up
  line.send_patiently(of_type(message_type::end, 2));
  EXPECT_EQ(line.unsent(), 3U);
  message m;
  for (std::uint64_t i = 1; i != full; ++i) ASSERT_TRUE(other.receive(m, 0));
  ASSERT_FALSE(other.receive(m, 0)) << "nobody has flushed";
  ASSERT_TRUE(line.send(of_type(message_type::end, 3)));
  EXPECT_EQ(line.unsent(), 0U);
  for (std::uint64_t const id : {full, std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}}) {
    ASSERT_TRUE(other.receive(m, 0));
    EXPECT_EQ(m.id, id);
  }
}

TEST(shm_sealed_channel, room_is_waited_for) {
  ends e;
  channel line(std::move(e.ours));
  raw_line other(std::move(e.theirs));
  std::uint64_t const full = fill(line);
  EXPECT_FALSE(line.flush_until(deadline::now_ns() + 1'000'000)) << "nobody reads";
  std::thread reader([&] {
    message m;
    for (std::uint64_t i = 1; i <= full; ++i) EXPECT_TRUE(other.receive(m));
  });
  EXPECT_TRUE(line.flush_until(deadline::now_ns() + 20'000'000'000));
  reader.join();
  other.close();
  EXPECT_FALSE(line.flush_until(deadline::now_ns() + 20'000'000'000) && line.send(of_type(message_type::end, 1))) << "gone, and nothing is waited for";
}

TEST(shm_sealed_channel, what_waits_when_the_other_end_is_gone_is_not_sent) {
  ends e;
  channel line(std::move(e.ours));
  raw_line other(std::move(e.theirs));
  static_cast<void>(fill(line));
  other.close();
  EXPECT_FALSE(line.send(of_type(message_type::end, 1)));
}

/// In a process that is no root, which would have no limit. \returns what `what` does there
int as_nobody(int (*what)()) {
  pid_t const child = test::quiet_fork();
  EXPECT_GE(child, 0);
  if (child == 0) {
    if (::geteuid() == 0 && (::setresgid(61'236, 61'236, 61'236) != 0 || ::setresuid(61'236, 61'236, 61'236) != 0)) ::_exit(200);
    ::_exit(what());
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 300;
}

TEST(shm_sealed_channel, too_many_descriptors_under_way_are_tried_again_and_not_waited_for) {
  EXPECT_EQ(as_nobody([] {
              ends e;
              channel line(std::move(e.ours));
              raw_line other(std::move(e.theirs));
              auto const fd = std::make_shared<unique_fd const>(::open("/", O_PATH | O_CLOEXEC));
              rlimit const few{20, 20};
              if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
              message m = of_type(message_type::grant);
              for (m.id = 1; m.id != 60; ++m.id)
                if (!line.send(m, fd)) return 2;
              if (line.unsent() == 0) return 3;
              if (!line.held_up()) return 4;
              pollfd room{line.fd(), POLLOUT, 0};
              if (::poll(&room, 1, 0) != 1) return 5;  // "there is room", says the kernel, and a loop would turn on it
              message got;
              for (std::uint64_t id = 1; id != 60; ++id) {
                if (!line.flush()) return 6;
                if (!other.receive(got, 0) || got.id != id) return 7;
              }
              return line.unsent() == 0 && !line.held_up() ? 0 : 8;
            }),
            0);
}

}  // namespace
