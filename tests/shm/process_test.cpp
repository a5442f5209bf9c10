// SPDX-License-Identifier: Apache-2.0
// Shared memory between real processes: each stage is a program of its own, started, asked, stopped and killed by the test.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/transport/shm.hpp>

#include <shm/stage.hpp>
#include <shm/support.hpp>

namespace {

using namespace shm_test;
using omniconn::shm_transport;

class shm_process : public process_test {};

TEST_F(shm_process, content_crosses_processes) {
  auto const producer = start();
  auto const consumer = start();
  std::uint64_t seed = 1;
  for (std::size_t const size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{1} << 20U, std::size_t{16} << 20U}) {
    std::string const key = "object-" + std::to_string(size), n = std::to_string(size), s = std::to_string(++seed);
    EXPECT_EQ(producer->ask("put " + key + " " + s + " " + n), "ok " + n);
    std::string const got = consumer->ask("get " + key + " r 60000 " + s);
    EXPECT_TRUE(got.starts_with("got " + n + " good ")) << got;
    EXPECT_EQ(place_in(got) == "none", size == 0) << got;
  }
  // The comparison itself can fail.
  EXPECT_EQ(producer->ask("put other 1 4096"), "ok 4096");
  EXPECT_TRUE(consumer->ask("get other r 60000 2").starts_with("got 4096 bad "));
  EXPECT_EQ(producer->quit(), 0);
  EXPECT_EQ(consumer->quit(), 0);
}

TEST_F(shm_process, unread_objects_outlive_a_producer_that_exits) {
  auto const producer = start();
  for (int i = 0; i != 20; ++i) EXPECT_EQ(producer->ask("put k" + std::to_string(i) + " " + std::to_string(i) + " 10000"), "ok 10000");
  std::string const long_key(1000, 'k');  // its bytes lie in the producer's arena, too
  EXPECT_EQ(producer->ask("put " + long_key + " 77 500"), "ok 500");
  EXPECT_EQ(producer->quit(), 0);
  EXPECT_EQ(left().size(), 2U) << "the directory and the producer's arena";

  auto const consumer = start();
  for (int i = 0; i != 20; ++i) {
    std::string const got = consumer->ask("get k" + std::to_string(i) + " r 0 " + std::to_string(i));
    EXPECT_TRUE(got.starts_with("got 10000 good ")) << got;
  }
  EXPECT_EQ(left().size(), 2U) << "one object is unread";
  EXPECT_TRUE(consumer->ask("get " + long_key + " r 0 77").starts_with("got 500 good "));
  EXPECT_EQ(left().size(), 1U) << "the last read ends the arena";
  EXPECT_EQ(consumer->quit(), 0);
  EXPECT_EQ(left().size(), 0U) << "the last participant ends the directory";
}

TEST_F(shm_process, named_readers_see_one_block_that_is_reused_after_the_last) {
  // Room for one such object: a second one needs the first one's block.
  auto const producer = start({"memory=1048576"});
  EXPECT_EQ(producer->ask("put shared 5 700000 a,b,c"), "ok 700000");
  std::vector<std::unique_ptr<stage>> readers;
  std::vector<std::string> places;
  for (std::string const name : {"a", "b", "c"}) {
    readers.push_back(start());
    std::string const got = readers.back()->ask("hold shared " + name + " 60000 5");
    EXPECT_TRUE(got.starts_with("got 700000 good ")) << got;
    places.push_back(place_in(got));
  }
  EXPECT_NE(places[0], "none");
  EXPECT_EQ(places[1], places[0]);
  EXPECT_EQ(places[2], places[0]);
  for (auto const& reader : readers) {
    EXPECT_EQ(producer->ask("put next 6 700000"), "error no_space");
    EXPECT_EQ(reader->ask("release"), "ok");
  }
  EXPECT_EQ(producer->ask("put next 6 700000"), "ok 700000");
  std::string const again = readers[0]->ask("get next any 60000 6");
  EXPECT_EQ(again, "got 700000 good " + places[0]);
  EXPECT_EQ(readers[0]->ask("get shared a 0 5"), "error not_found");
  EXPECT_EQ(producer->quit(), 0);
  for (auto const& reader : readers) EXPECT_EQ(reader->quit(), 0);
}

TEST_F(shm_process, one_of_two_racing_puts_wins) {
  auto const first = start();
  auto const second = start();
  auto const reader = start();
  for (int round = 0; round != 300; ++round) {
    std::string const key = "raced-" + std::to_string(round);
    first->send("put " + key + " 1 64");
    second->send("put " + key + " 2 64");
    std::string const one = first->answer();
    std::string const two = second->answer();
    ASSERT_NE(one == "ok 64", two == "ok 64") << key << ": " << one << ", " << two;
    ASSERT_EQ(one == "ok 64" ? two : one, "error already_exists") << key;
    std::string const got = reader->ask("get " + key + " r 0 " + (one == "ok 64" ? "1" : "2"));
    ASSERT_TRUE(got.starts_with("got 64 good ")) << key << ": " << got;
    ASSERT_EQ(reader->ask("get " + key + " r 0 0"), "error not_found") << key;
  }
  EXPECT_EQ(first->quit(), 0);
  EXPECT_EQ(second->quit(), 0);
  EXPECT_EQ(reader->quit(), 0);
}

TEST_F(shm_process, a_waiting_consumer_is_woken_by_a_producer_that_starts_later) {
  auto const consumer = start();
  consumer->send("get late r 50000 9");
  // Until it has counted itself among those who wait, so that the put meets a sleeper.
  {
    auto directory = omniconn::detail::shm::directory::open(space.paths(), {}, false);
    ASSERT_TRUE(directory) << directory.error().message();
    directory->open_gate();
    EXPECT_TRUE(eventually([&] {
      for (std::uint32_t i = 0; i != directory->layout().slots; ++i)
        if (directory->slot_at(i).sleepers.load() != 0) return true;
      return false;
    }));
  }
  auto const producer = start();
  EXPECT_EQ(producer->ask("put late 9 4096"), "ok 4096");
  std::string const got = consumer->answer();
  EXPECT_TRUE(got.starts_with("got 4096 good ")) << got;
  EXPECT_EQ(producer->quit(), 0);
  EXPECT_EQ(consumer->quit(), 0);
}

TEST_F(shm_process, acknowledged_objects_survive_the_kill_of_their_producer) {
  auto const producer = start();
  for (int i = 0; i != 20; ++i) EXPECT_EQ(producer->ask("put k" + std::to_string(i) + " " + std::to_string(i) + " 100000"), "ok 100000");
  auto const witness = start();  // in the namespace all the time
  EXPECT_EQ(producer->kill(), status_killed);
  auto const later = start();
  for (int i = 0; i != 20; ++i) {
    std::string const got = (i % 2 == 0 ? witness : later)->ask("get k" + std::to_string(i) + " r 0 " + std::to_string(i));
    EXPECT_TRUE(got.starts_with("got 100000 good ")) << got;
  }
  EXPECT_EQ(witness->quit(), 0);
  EXPECT_EQ(later->quit(), 0);
}

TEST_F(shm_process, what_a_killed_producer_left_can_be_erased) {
  auto const producer = start();
  for (int i = 0; i != 5; ++i) EXPECT_EQ(producer->ask("put k" + std::to_string(i) + " 1 1000"), "ok 1000");
  EXPECT_EQ(producer->crash(), status_killed);
  collect();
  EXPECT_EQ(left().size(), 2U) << "the leases have not ended";
  auto const other = start();
  EXPECT_EQ(other->ask("erase"), "ok 5");
  EXPECT_EQ(other->ask("get k0 r 0 1"), "error not_found");
  EXPECT_EQ(other->quit(), 0);
}

TEST_F(shm_process, what_a_killed_consumer_held_is_its_readers_again) {
  auto const producer = start();
  EXPECT_EQ(producer->ask("put held 3 5000 r,s"), "ok 5000");
  auto const victim = start();
  EXPECT_TRUE(victim->ask("hold held r 60000 3").starts_with("got 5000 good "));
  auto const other = start();
  EXPECT_EQ(other->ask("get held r 1 3"), "error timed_out") << "the place is taken while its holder lives";
  EXPECT_EQ(victim->kill(), status_killed);

  auto const heir = start();
  EXPECT_TRUE(heir->ask("get held r 60000 3").starts_with("got 5000 good "));
  EXPECT_EQ(heir->ask("get held r 0 3"), "error consumed");
  EXPECT_TRUE(other->ask("get held s 60000 3").starts_with("got 5000 good "));
  for (auto const& s : {producer.get(), other.get(), heir.get()}) EXPECT_EQ(s->quit(), 0);
}

TEST_F(shm_process, a_killed_consumer_does_not_lose_the_object_for_a_new_producer) {
  // Both die; the object is neither lost nor kept for ever.
  auto const producer = start();
  EXPECT_EQ(producer->ask("put held 4 5000"), "ok 5000");
  auto const victim = start();
  EXPECT_TRUE(victim->ask("hold held r 60000 4").starts_with("got 5000 good "));
  EXPECT_EQ(producer->kill(), status_killed);
  EXPECT_EQ(victim->kill(), status_killed);
  auto const heir = start();
  EXPECT_EQ(heir->ask("put held 5 10"), "error already_exists");
  EXPECT_TRUE(heir->ask("get held r 0 4").starts_with("got 5000 good "));
  EXPECT_EQ(heir->ask("put held 5 10"), "ok 10");
  EXPECT_TRUE(heir->ask("get held r 0 5").starts_with("got 10 good "));
  EXPECT_EQ(heir->quit(), 0);
}

TEST_F(shm_process, without_a_lease_objects_end_with_their_producer) {
  auto const witness = start();
  auto const producer = start({"lease_ms=0"});
  EXPECT_EQ(producer->ask("put k 1 1000"), "ok 1000");
  EXPECT_EQ(producer->quit(), 0);
  EXPECT_EQ(witness->ask("get k r 0 1"), "error not_found");
  EXPECT_EQ(left().size(), 1U) << "only the directory";

  auto const killed = start({"lease_ms=0"});
  EXPECT_EQ(killed->ask("put k 2 1000"), "ok 1000");
  EXPECT_EQ(killed->kill(), status_killed);
  collect();  // unless the witness is at it already
  EXPECT_TRUE(eventually([this] { return left().size() == 1; })) << "only the directory";
  EXPECT_EQ(witness->ask("get k r 0 2"), "error not_found");
  EXPECT_EQ(witness->quit(), 0);
}

TEST_F(shm_process, what_a_reader_holds_outlives_a_producer_without_a_lease) {
  auto const reader = start();
  auto const producer = start({"lease_ms=0"});
  EXPECT_EQ(producer->ask("put k 1 1000"), "ok 1000");
  EXPECT_TRUE(reader->ask("hold k r 60000 1").starts_with("got 1000 good "));
  EXPECT_EQ(producer->quit(), 0);
  EXPECT_EQ(left().size(), 2U) << "the arena stays while somebody reads in it";
  EXPECT_EQ(reader->ask("release"), "ok");
  EXPECT_EQ(left().size(), 1U);
  EXPECT_EQ(reader->quit(), 0);
}

TEST_F(shm_process, nothing_is_left_once_a_short_lease_has_ended) {
  auto const producer = start({"lease_ms=1"});
  EXPECT_EQ(producer->ask("put k 1 1000"), "ok 1000");
  EXPECT_EQ(producer->quit(), 0);
  EXPECT_TRUE(eventually([this] {
    collect();
    return left().empty();
  }));

  auto const killed = start({"lease_ms=1"});
  EXPECT_EQ(killed->ask("put k 1 1000"), "ok 1000");
  EXPECT_EQ(killed->crash(), status_killed);
  EXPECT_EQ(left().size(), 2U) << "nobody has looked since";
  EXPECT_TRUE(eventually([this] {
    collect();
    return left().empty();
  }));
}

}  // namespace
