// SPDX-License-Identifier: Apache-2.0
// A waiting get learns that its producer died or is stopped. Nothing here waits for a time: where the news did not come, the answer would be another one.
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>

#include <shm/stage.hpp>

namespace {

using namespace shm_test;

class shm_death : public process_test {};

TEST_F(shm_death, a_waiting_get_ends_when_its_producer_dies) {
  auto const producer = start(), consumer = start();
  EXPECT_EQ(producer->ask("put first 1 1000"), "ok 1000");
  EXPECT_TRUE(consumer->ask("get first r 60000 1").starts_with("got 1000 good"));
  consumer->send("get next r 600000 1");
  EXPECT_EQ(producer->kill(), status_killed);
  EXPECT_EQ(consumer->answer(), "error peer_lost");
  EXPECT_EQ(consumer->ask("get next r 600000 1"), "error peer_lost") << "asked later, it is no longer news";
  EXPECT_EQ(consumer->ask("get next r 0 1"), "error not_found") << "who does not wait is told what is there";
}

TEST_F(shm_death, what_the_dead_acknowledged_comes_first) {
  auto const producer = start(), consumer = start();
  EXPECT_EQ(producer->ask("put kept 7 5000"), "ok 5000");
  EXPECT_EQ(producer->kill(), status_killed);
  EXPECT_TRUE(consumer->ask("get kept r 600000 7").starts_with("got 5000 good"));
  EXPECT_EQ(consumer->ask("get more r 600000 7"), "error peer_lost");
}

TEST_F(shm_death, as_long_as_another_one_puts_for_the_stage_nothing_is_lost) {
  auto const consumer = start();
  auto first = start(), second = start();
  EXPECT_EQ(first->ask("put a 1 10"), "ok 10");
  EXPECT_EQ(second->ask("put b 2 10"), "ok 10");
  EXPECT_EQ(first->kill(), status_killed);
  consumer->send("get c r 600000 3");
  EXPECT_EQ(second->ask("put c 3 10"), "ok 10");
  EXPECT_TRUE(consumer->answer().starts_with("got 10 good"));
  consumer->send("get d r 600000 4");
  EXPECT_EQ(second->kill(), status_killed);
  EXPECT_EQ(consumer->answer(), "error peer_lost");
  EXPECT_TRUE(consumer->ask("get a r 0 1").starts_with("got 10 good"));
  EXPECT_TRUE(consumer->ask("get b r 0 2").starts_with("got 10 good"));
}

TEST_F(shm_death, who_said_goodbye_is_not_lost) {
  auto const producer = start(), consumer = start();
  EXPECT_EQ(producer->ask("put a 1 10"), "ok 10");
  EXPECT_EQ(producer->quit(), 0);
  EXPECT_TRUE(consumer->ask("get a r 0 1").starts_with("got 10 good"));
  EXPECT_EQ(consumer->ask("get b r 20 1"), "error timed_out");
}

TEST_F(shm_death, a_producer_that_is_started_again_is_waited_for) {
  auto const consumer = start();
  {
    auto const first = start();
    EXPECT_EQ(first->ask("put a 1 10"), "ok 10");
    EXPECT_EQ(first->kill(), status_killed);
  }
  EXPECT_TRUE(consumer->ask("get a r 600000 1").starts_with("got 10 good"));
  EXPECT_EQ(consumer->ask("get b r 600000 1"), "error peer_lost");
  auto const again = start();
  EXPECT_EQ(again->ask("put b 2 10"), "ok 10");
  EXPECT_TRUE(consumer->ask("get b r 600000 2").starts_with("got 10 good"));
  consumer->send("get c r 600000 3");
  EXPECT_EQ(again->ask("put c 3 10"), "ok 10");
  EXPECT_TRUE(consumer->answer().starts_with("got 10 good"));
}

TEST_F(shm_death, who_asked_to_wait_on_waits_for_the_next_producer) {
  auto const consumer = start({"patient=1"});
  auto const first = start();
  EXPECT_EQ(first->ask("put a 1 10"), "ok 10");
  EXPECT_TRUE(consumer->ask("get a r 600000 1").starts_with("got 10 good"));
  consumer->send("get b r 600000 2");
  EXPECT_EQ(first->kill(), status_killed);
  auto const again = start();
  EXPECT_EQ(again->ask("put b 2 10"), "ok 10");
  EXPECT_TRUE(consumer->answer().starts_with("got 10 good"));
}

TEST_F(shm_death, who_is_stopped_is_reported_at_the_deadline_and_loses_nothing) {
  auto const producer = start(), consumer = start();
  EXPECT_EQ(producer->ask("put a 1 10"), "ok 10");
  EXPECT_TRUE(consumer->ask("get a r 60000 1").starts_with("got 10 good"));
  producer->signal(SIGSTOP);
  EXPECT_EQ(consumer->ask("get b r 400 2"), "error peer_stalled");
  producer->signal(SIGCONT);
  EXPECT_EQ(producer->ask("put b 2 10"), "ok 10");
  EXPECT_TRUE(consumer->ask("get b r 60000 2").starts_with("got 10 good"));
  EXPECT_EQ(consumer->ask("get c r 200 3"), "error timed_out") << "it runs again";
}

// The child has the parent's descriptors, and with them, as the kernel sees it, the parent's life.
TEST_F(shm_death, a_forked_child_neither_uses_the_connector_nor_keeps_its_parent_alive) {
  auto const producer = start(), consumer = start();
  EXPECT_EQ(producer->ask("put a 1 10"), "ok 10");
  EXPECT_TRUE(producer->ask("hold a r 0 1").starts_with("got 10 good"));
  EXPECT_EQ(producer->ask("fork"), "ok closed");
  EXPECT_EQ(consumer->ask("get a r 20 1"), "error timed_out") << "the child released its parent's view";
  EXPECT_EQ(producer->ask("back"), "ok");
  EXPECT_TRUE(consumer->ask("get a r 60000 1").starts_with("got 10 good"));
  EXPECT_EQ(producer->ask("put b 2 10"), "ok 10") << "the parent goes on";
  EXPECT_TRUE(consumer->ask("get b r 60000 2").starts_with("got 10 good"));
  consumer->send("get c r 600000 3");
  EXPECT_EQ(producer->kill(), status_killed);
  EXPECT_EQ(consumer->answer(), "error peer_lost") << "heard, though the child lives on";
}

// It may have held the last object of a producer that is gone: who hears of it is the only one who can tidy up after both.
TEST_F(shm_death, of_a_reader_in_the_middle_of_a_release_leaves_nothing_of_a_producer_that_is_gone) {
  auto const living = shm_transport::open(space.options());
  ASSERT_TRUE(living);
  auto const reader = start();
  {
    auto const producer = start();
    EXPECT_EQ(producer->ask("put k 1 1000"), "ok 1000");
    EXPECT_TRUE(reader->ask("hold k r 60000 1").starts_with("got 1000 good"));
    EXPECT_EQ(producer->quit(), 0);
  }
  EXPECT_EQ(left().size(), 2U) << "the directory, and the arena that the object lies in";
  reader->stop("release", "shm.release.claim_ended");
  EXPECT_EQ(reader->kill(), status_killed);
  EXPECT_TRUE(eventually([this] { return left().size() == 1; })) << "the arena stays as long as nobody else comes";
}

// Another thread may fork at any moment, also while the connector opens.
TEST_F(shm_death, a_child_that_came_in_the_midst_of_open_does_not_keep_its_parent_alive) {
  for (std::string const where : {"shm.open.gate_held", "shm.open.mapped", "shm.open.record_locked", "shm.open.live", "shm.open.fifo_made", "shm.open.gate_open"}) {
    auto const producer = start({"fork_at=" + where}), consumer = start();
    EXPECT_EQ(producer->ask("put a 1 10"), "ok 10");
    EXPECT_TRUE(consumer->ask("get a r 60000 1").starts_with("got 10 good"));
    consumer->send("get b r 600000 2");
    EXPECT_EQ(producer->kill(), status_killed);
    EXPECT_EQ(consumer->answer(), "error peer_lost") << where;
  }
}

// A name of a stage may have 255 bytes, and there may be more of them than places for names.
TEST_F(shm_death, stages_with_long_names_and_more_names_than_places_work_as_before) {
  omniconn::shm_connector<>::options o;
  o.transport = space.options();
  auto producer = omniconn::shm_connector<>::open(o), consumer = omniconn::shm_connector<>::open(o);
  ASSERT_TRUE(producer && consumer);
  for (int n = 0; n != 1100; ++n) {
    std::string const from = std::string(200, 'f') + std::to_string(n), to = std::string(200, 't') + std::to_string(n);
    omniconn::edge const flow{from, to};
    std::byte const payload[8]{};
    ASSERT_TRUE(producer->put(flow, "k", omniconn::const_bytes(payload))) << n;
    auto const missing = consumer->get_view(flow, "none", {omniconn::deadline::after(std::chrono::microseconds(1))});
    ASSERT_TRUE(missing == omniconn::error_kind::timed_out) << n;
    ASSERT_TRUE(consumer->get_view(flow, "k", {omniconn::deadline::immediate()})) << n;
  }
  omniconn::get_options how;
  how.until = omniconn::deadline::immediate();
  how.reader = "another";
  auto const absent = consumer->get_view({"f", "t"}, "none", how);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind(), omniconn::error_kind::not_found) << absent.error().message() << ": readers still find a place";
}

// Pids mean nothing across pid namespaces; locks and FIFOs do. Where this machine makes no namespace for us it is the first test in other words.
TEST_F(shm_death, is_heard_across_pid_namespaces) {
  auto const consumer = start();
  bool const may = std::system("unshare --pid --fork true 2>/dev/null") == 0;
  std::vector<std::string> const apart = may ? std::vector<std::string>{"unshare", "--pid", "--fork", "--kill-child"} : std::vector<std::string>{};
  stage producer(space.name(), {}, apart);
  EXPECT_EQ(producer.ask("put a 1 10"), "ok 10");
  EXPECT_TRUE(consumer->ask("get a r 60000 1").starts_with("got 10 good"));
  consumer->send("get b r 600000 2");
  EXPECT_EQ(producer.kill(), status_killed);
  EXPECT_EQ(consumer->answer(), "error peer_lost");
}

}  // namespace
