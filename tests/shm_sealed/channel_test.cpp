// SPDX-License-Identifier: Apache-2.0
#include <omniconn/transport/shm_sealed/channel.hpp>

#include <string>
#include <utility>

#include <sys/socket.h>

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

}  // namespace
