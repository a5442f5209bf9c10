// SPDX-License-Identifier: Apache-2.0
// Real processes: objects that cross, deaths of either side, a producer that is stopped.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "impostor.hpp"
#include "stage.hpp"
#include "support.hpp"

namespace {

using omniconn::deadline;
using omniconn::detail::sealed::message;
using omniconn::detail::sealed::message_type;
using sealed_test::stage;

struct shm_sealed_process : ::testing::Test {
  sealed_test::directory directory;
  std::string const& where = directory.path();
};

TEST_F(shm_sealed_process, objects_of_every_size_cross) {
  stage source(where, "source"), sink(where, "sink");
  for (char const* size : {"0", "1", "16384", "16385", "1000000", "50000000"}) {
    EXPECT_EQ(source.ask(std::string("put key ") + size), "done");
    EXPECT_EQ(sink.ask("get key 20"), "right") << size;
  }
}

TEST_F(shm_sealed_process, a_get_waits_for_a_producer_that_starts_later) {
  stage sink(where, "sink");
  sink.send("get key 40");
  stage source(where, "source");
  EXPECT_EQ(source.ask("put key 100000"), "done");
  EXPECT_EQ(sink.answer(), "right");
}

TEST_F(shm_sealed_process, a_waiting_get_hears_of_its_producers_death) {
  stage sink(where, "sink");
  {
    stage source(where, "source");
    ASSERT_EQ(source.ask("put first 10"), "done");
    ASSERT_EQ(sink.ask("get first 20"), "right");
    sink.send("get key 40");
    source.kill();
    EXPECT_EQ(sink.answer(), "peer_lost");
  }
  EXPECT_EQ(sink.ask("get key 40"), "peer_lost") << "who asks later is told as well";
  stage again(where, "source");
  ASSERT_EQ(again.ask("put key 10"), "done");
  EXPECT_EQ(sink.ask("get key 20"), "right");
  sink.send("get more 0.2");
  EXPECT_EQ(sink.answer(), "timed_out") << "it lives";
}

TEST_F(shm_sealed_process, objects_die_with_their_producer_and_views_do_not) {
  stage sink(where, "sink");
  stage source(where, "source");
  ASSERT_EQ(source.ask("put held 300000"), "done");
  ASSERT_EQ(source.ask("put unread 300000"), "done");
  ASSERT_EQ(sink.ask("hold held 20"), "right");
  source.kill();
  EXPECT_EQ(sink.ask("exists unread"), "no");
  EXPECT_EQ(sink.ask("check"), "right");
  EXPECT_EQ(sink.ask("get unread 40"), "peer_lost");
  EXPECT_EQ(sink.ask("check"), "right");
}

TEST_F(shm_sealed_process, a_producer_that_leaves_is_not_lost) {
  stage sink(where, "sink"), source(where, "source");
  ASSERT_EQ(source.ask("put first 10"), "done");
  ASSERT_EQ(sink.ask("get first 20"), "right");
  sink.send("get key 0.3");
  ASSERT_EQ(source.ask("close"), "done");
  EXPECT_EQ(sink.answer(), "timed_out");
}

TEST_F(shm_sealed_process, the_share_of_a_dead_consumer_is_there_again) {
  stage source(where, "source"), next(where, "sink");
  stage first(where, "sink");
  ASSERT_EQ(source.ask("put key 100000"), "done");
  ASSERT_EQ(first.ask("hold key 20"), "right");
  next.send("get key 40");
  first.kill();
  EXPECT_EQ(next.answer(), "right");
  EXPECT_EQ(source.ask("exists key"), "no");
}

TEST_F(shm_sealed_process, what_a_consumer_read_before_it_died_is_consumed) {
  stage source(where, "source"), next(where, "sink"), first(where, "sink");
  ASSERT_EQ(source.ask("put key 10"), "done");
  ASSERT_EQ(first.ask("get key 20"), "right");
  ASSERT_EQ(first.ask("crash"), "ended");
  EXPECT_EQ(next.ask("get key 0.2"), "timed_out");
}

TEST_F(shm_sealed_process, a_stopped_producer_is_stalled_at_the_deadline) {
  stage sink(where, "sink"), source(where, "source");
  ASSERT_EQ(source.ask("put first 10"), "done");
  ASSERT_EQ(sink.ask("get first 20"), "right");
  source.stop();
  EXPECT_EQ(sink.ask("get key 0.4"), "peer_stalled");
  source.signal(SIGCONT);
  ASSERT_EQ(source.ask("put key 10"), "done");
  EXPECT_EQ(sink.ask("get key 20"), "right") << "nothing was dropped";
}

/// Whether a process sleeps: the one that gets, once its wait has begun.
bool sleeps(pid_t process) {
  std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
  std::string line;
  std::getline(stat, line);
  auto const name_ends = line.rfind(')');
  return name_ends != std::string::npos && line.substr(name_ends + 2, 1) == "S";
}

/// A get of a process that sleeps from before the last 100 ms of its wait, in which producers are pinged, until after its deadline. \returns how it ends
std::string overslept(std::string const& where, bool answers) {
  auto const place = sealed_test::open_place(where);
  std::string out;
  {
    sealed_test::false_producer producer(place);
    stage sink(where, "sink");
    sink.send("get key 0.4");
    auto line = producer.accept();
    message m;
    EXPECT_TRUE(line.receive(m, message_type::get));
    std::uint64_t const asked = m.id;
    auto const soon = deadline::after(std::chrono::milliseconds(200));
    while (!sleeps(sink.pid()) && !soon.passed()) std::this_thread::yield();  // a wait that begins after its deadline asks nobody
    sink.stop();
    auto const late = deadline::after(std::chrono::milliseconds(450));
    line.send(sealed_test::of_type(message_type::hello, producer.id()));
    m = sealed_test::of_type(message_type::name);
    m.text = "source";
    line.send(m);
    line.send(sealed_test::of_type(message_type::queued, asked));
    while (!late.passed()) std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the clock is the event
    sink.signal(SIGCONT);
    bool asks = false;
    while (!asks && line.receive(m) && m.type != message_type::end) asks = m.type == message_type::ping;
    if (asks && answers) line.send(sealed_test::of_type(message_type::pong, m.id));
    out = sink.answer();
    if (!asks) out += " without asking";
  }
  place.leave();
  return out;
}

TEST_F(shm_sealed_process, who_overslept_its_deadline_asks_before_it_judges) {
  // On a busy machine this thread may be late as well: to stop the other, and to answer it.
  std::string lives, stopped;
  for (int attempt = 0; attempt != 10 && lives != "timed_out"; ++attempt) lives = overslept(where, true);
  EXPECT_EQ(lives, "timed_out") << "the producer has its time to answer";
  for (int attempt = 0; attempt != 10 && stopped != "peer_stalled"; ++attempt) stopped = overslept(where, false);
  EXPECT_EQ(stopped, "peer_stalled");
}

TEST_F(shm_sealed_process, grants_under_way_to_one_consumer_are_bounded) {
  constexpr std::uint64_t asked = 200;
  auto const place = sealed_test::open_place(where);
  {
    stage source(where, "source"), sink(where, "sink");
    for (std::uint64_t id = 1; id <= asked; ++id) ASSERT_EQ(source.ask("put key" + std::to_string(id) + " 100"), "done");
    auto line = sealed_test::false_consumer(place);
    message m;
    ASSERT_TRUE(line.send(sealed_test::of_type(message_type::list, 1000)));
    ASSERT_TRUE(line.receive(m, message_type::keys));
    std::vector<std::string> keys;
    ASSERT_TRUE(sealed_test::for_each_key(m.text, [&keys](std::string_view key) { keys.emplace_back(key); }));
    ASSERT_EQ(keys.size(), asked);
    for (std::uint64_t id = 1; id <= asked; ++id) {
      m = sealed_test::of_type(message_type::get, id);
      m.key = keys[id - 1];
      ASSERT_TRUE(line.send(m));
    }
    ASSERT_EQ(source.ask("put other 100"), "done");
    EXPECT_EQ(sink.ask("get other 20"), "right") << "others are served, and the producer has seen all that";
    source.stop();
    std::uint64_t under_way = 0;
    while (line.receive(m, 0)) under_way += m.type == message_type::grant && line.fd_of_last ? 1 : 0;
    EXPECT_GE(under_way, 16U);
    EXPECT_LE(under_way, 100U) << "descriptors that a consumer leaves unread count against all that the producer's user may have under way";
    source.signal(SIGCONT);
    while (under_way != asked && line.receive(m, message_type::grant)) ++under_way;
    EXPECT_EQ(under_way, asked) << "who reads again is served";
  }
  place.leave();
}

TEST_F(shm_sealed_process, a_killed_producers_socket_is_removed_by_the_next) {
  stage sink(where, "sink");
  stage source(where, "source");
  ASSERT_EQ(source.ask("put key 10"), "done");
  std::string const folder = where + "/" + sealed_test::entries(where).front();
  ASSERT_EQ(sealed_test::entries(folder).size(), 1U);
  source.kill();
  EXPECT_EQ(sealed_test::entries(folder).size(), 1U);
  EXPECT_EQ(sink.ask("exists key"), "no");
  EXPECT_EQ(sealed_test::entries(folder).size(), 0U);
}

}  // namespace
