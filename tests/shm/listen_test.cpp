// SPDX-License-Identifier: Apache-2.0
// The descriptor for foreign event loops. Every loop here sleeps in poll and looks only when that says so: an event that is not told is a test that fails.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>

#include <shm/stage.hpp>
#include <support/quiet_fork.hpp>

namespace {

using namespace omniconn;
using connector_type = shm_connector<>;
constexpr edge hop{"producer", "consumer"};
constexpr std::byte payload[8]{};

static_assert(transport_fd<shm_transport>);

bool is_readable(int fd, int limit_ms) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, limit_ms) == 1 && (p.revents & POLLIN) != 0;
}
bool read_event(int fd) {
  std::uint64_t n = 0;
  return ::read(fd, &n, sizeof n) == static_cast<ssize_t>(sizeof n);
}

class shm_listen : public shm_test::process_test {
 protected:
  /// The descriptor, with what made it readable at first read.
  static int quiet_fd(connector_type& c) {
    auto const fd = c.native_fd();
    EXPECT_TRUE(fd) << fd.error().message();
    EXPECT_TRUE(is_readable(*fd, 0)) << "what came before is found by the first look";
    EXPECT_TRUE(read_event(*fd));
    return *fd;
  }
  /// A get that waits, for the same wire key as the connector's.
  static void begin(connector_type& c, shm_transport::get_op& op, std::string_view key, locator const* where = nullptr) {
    key_scratch scratch;
    auto const wire = c.keying().make(hop, key, scratch, max_key_size);
    ASSERT_TRUE(wire);
    find_options how;
    how.flow = &hop;
    how.where = where;
    auto const now = c.transport().find(op, *wire, how);
    ASSERT_TRUE(now && *now == progress::pending);
  }
  /// What becomes of an operation, as an event loop sees it.
  static result<progress> driven(connector_type& c, int fd, shm_transport::get_op& op) {
    for (;;) {
      if (!is_readable(fd, shm_test::answer_limit_ms)) return {error_kind::io, "nothing told the loop"};
      read_event(fd);
      if (auto const now = c.transport().step(op); !now || *now != progress::pending) return now;
    }
  }
  [[nodiscard]] std::uint32_t listeners() const {
    auto d = detail::shm::directory::open(space.paths(), {}, false);
    EXPECT_TRUE(d) << d.error().message();
    d->open_gate();
    return d->head().listeners.load();
  }
};

TEST_F(shm_listen, a_put_of_another_process_is_told) {
  auto const producer = start();
  auto c = space.connect<connector_type>();
  int const fd = quiet_fd(c);
  EXPECT_EQ(c.native_fd().value_or(-1), fd) << "one descriptor, however often it is asked for";
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  for (int round = 0; round != 50; ++round) {
    std::string const key = "k" + std::to_string(round);
    shm_transport::get_op op;
    begin(c, op, key);
    producer->send("put " + key + " 1 100");
    auto const done = driven(c, fd, op);
    ASSERT_TRUE(done) << done.error().message();
    auto hold = op.take();
    EXPECT_EQ(hold.bytes().size(), 100U);
    hold.finish(disposition::consumed);
    EXPECT_EQ(producer->answer(), "ok 100");
  }
}

TEST_F(shm_listen, several_gets_are_served_as_their_objects_come_whoever_puts) {
  auto c = space.connect<connector_type>(), other = space.connect<connector_type>();
  int const fd = quiet_fd(c);
  constexpr std::size_t gets = 6;
  shm_transport::get_op ops[gets];
  for (std::size_t i = 0; i != gets; ++i) begin(c, ops[i], "k" + std::to_string(i));
  std::atomic<std::size_t> turn{0};
  std::thread putter([&] {
    for (std::size_t n = 0; n != gets; ++n) {
      for (std::size_t seen = turn.load(); seen != n; seen = turn.load()) turn.wait(seen);
      // By turns one of another participant and one of the same.
      EXPECT_TRUE((n % 2 == 0 ? other : c).put(hop, "k" + std::to_string(gets - 1 - n), const_bytes(payload)));
    }
  });
  for (std::size_t n = 0; n != gets; ++n) {
    auto const done = driven(c, fd, ops[gets - 1 - n]);
    EXPECT_TRUE(done) << n << ": " << done.error().message();
    for (std::size_t i = 0; i != gets - 1 - n; ++i) EXPECT_TRUE(c.transport().step(ops[i]).value_or(progress::done) == progress::pending) << i;
    ops[gets - 1 - n].take().finish(disposition::consumed);
    turn.store(n + 1);
    turn.notify_one();
  }
  putter.join();
}

TEST_F(shm_listen, what_is_given_back_consumed_and_removed_is_told) {
  auto c = space.connect<connector_type>(), other = space.connect<connector_type>();
  int const fd = quiet_fd(c);
  auto const first = other.put(hop, "k", const_bytes(payload));
  ASSERT_TRUE(first);
  auto held = other.get_view(hop, "k");
  ASSERT_TRUE(held);
  shm_transport::get_op op;
  begin(c, op, "k");
  held->give_back();
  EXPECT_TRUE(driven(c, fd, op));

  // By its locator, while another reader has it.
  op.take().finish(disposition::give_back);
  held = other.get_view(hop, "k");
  ASSERT_TRUE(held);
  begin(c, op, "k", &first->where);
  shm_transport::get_op end;
  ASSERT_TRUE(c.transport().watch(end, first->where).value_or(progress::done) == progress::pending);
  held->release();
  EXPECT_TRUE(driven(c, fd, op) == error_kind::stale_handle);
  EXPECT_TRUE(c.transport().step(end).value_or(progress::pending) == progress::done) << "every reader is done with it";

  auto const second = other.put(hop, "k", const_bytes(payload));
  ASSERT_TRUE(second);
  shm_transport::get_op gone;
  ASSERT_TRUE(c.transport().watch(gone, second->where).value_or(progress::done) == progress::pending);
  EXPECT_EQ(other.cleanup(hop, "k").value_or(0), 1U);
  EXPECT_TRUE(driven(c, fd, gone)) << "nobody needs it any more";
}

TEST_F(shm_listen, a_death_is_told_and_the_next_step_says_whose) {
  auto const producer = start();
  auto c = space.connect<connector_type>();
  EXPECT_EQ(producer->ask("put a 1 10"), "ok 10");
  ASSERT_TRUE(c.get_view(hop, "a"));
  int const fd = quiet_fd(c);
  shm_transport::get_op op;
  begin(c, op, "b");
  EXPECT_EQ(producer->ask("put kept 1 10"), "ok 10");
  EXPECT_EQ(producer->kill(), shm_test::status_killed);
  EXPECT_TRUE(driven(c, fd, op) == error_kind::peer_lost);
  EXPECT_TRUE(c.get_view(hop, "kept")) << "what it acknowledged is there";
}

TEST_F(shm_listen, closing_is_told_and_the_descriptor_stays_good) {
  std::optional<connector_type> c(space.connect<connector_type>());
  int const fd = quiet_fd(*c);
  shm_transport::get_op op;
  begin(*c, op, "k");
  EXPECT_NE(listeners(), 0U);
  std::thread closer([&c] { c->close(); });
  EXPECT_TRUE(driven(*c, fd, op) == error_kind::closed);
  closer.join();
  EXPECT_GE(::fcntl(fd, F_GETFD), 0) << "a loop may still poll it";
  EXPECT_TRUE(c->native_fd() == error_kind::closed);
  c.reset();
  EXPECT_LT(::fcntl(fd, F_GETFD), 0) << "it ends with the transport";
}

TEST_F(shm_listen, who_closes_is_rung_no_more_and_others_are) {
  std::optional<connector_type> first(space.connect<connector_type>());
  auto second = space.connect<connector_type>(), producer = space.connect<connector_type>();
  EXPECT_EQ(listeners(), 0U);
  ASSERT_TRUE(producer.put(hop, "held", const_bytes(payload)));
  auto held = first->get_view(hop, "held");
  ASSERT_TRUE(held);
  (void)quiet_fd(*first);
  int const fd = quiet_fd(second);
  EXPECT_NE(listeners(), 0U);
  first->close();
  EXPECT_NE(listeners(), 0U);
  shm_transport::get_op op;
  begin(second, op, "k");
  ASSERT_TRUE(producer.put(hop, "k", const_bytes(payload)));
  EXPECT_TRUE(driven(second, fd, op));
  op.take().finish(disposition::consumed);
  second.close();
  EXPECT_EQ(listeners(), 0U) << "the view keeps the first one's place, but nobody listens there";
  held->release();
}

TEST_F(shm_listen, a_listener_that_is_killed_is_rung_no_more) {
  auto c = space.connect<connector_type>();
  auto const one = start(), other = start();
  EXPECT_EQ(one->ask("listen"), "ok");
  EXPECT_EQ(one->ask("listen"), "ok");
  EXPECT_EQ(other->ask("listen"), "ok");
  std::uint32_t const both = listeners();
  EXPECT_NE(both, 0U);
  EXPECT_EQ(one->kill(), shm_test::status_killed);
  EXPECT_TRUE(shm_test::eventually([&c] { return c.health().peers.size() == 1; }));
  EXPECT_EQ(listeners(), both) << "its neighbour still listens";
  EXPECT_EQ(other->kill(), shm_test::status_killed);
  EXPECT_TRUE(shm_test::eventually([this] { return listeners() == 0; }));
  EXPECT_TRUE(c.put(hop, "k", const_bytes(payload)));
  EXPECT_TRUE(c.cleanup(hop, "k"));
}

TEST_F(shm_listen, a_child_has_an_event_of_its_own_and_takes_none_of_its_parent) {
  auto c = space.connect<connector_type>(), other = space.connect<connector_type>();
  int const fd = quiet_fd(c);
  shm_transport::get_op op;
  begin(c, op, "k");
  ASSERT_TRUE(other.put(hop, "k", const_bytes(payload)));
  ASSERT_TRUE(is_readable(fd, shm_test::answer_limit_ms));
  pid_t const child = test::quiet_fork();
  if (child == 0) {
    bool const told = is_readable(fd, 0) && read_event(fd) && !is_readable(fd, 0);
    ::_exit(told && c.transport().step(op) == error_kind::closed && c.native_fd() == error_kind::closed ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(is_readable(fd, 0)) << "the child read its own";
  EXPECT_TRUE(driven(c, fd, op));
  op.take().finish(disposition::consumed);
}

TEST_F(shm_listen, without_a_descriptor_left_it_is_no_space_and_nobody_is_rung) {
  auto c = space.connect<connector_type>();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  auto const refused = c.native_fd();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(refused == error_kind::no_space);
  EXPECT_EQ(listeners(), 0U);
  EXPECT_TRUE(c.native_fd()) << "later there is one";
}

}  // namespace
