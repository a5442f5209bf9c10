// SPDX-License-Identifier: Apache-2.0
// Producers that cannot be asked now: their lines have no room, they have no place, or we have no descriptor. None of that is "no such object".
#include <atomic>
#include <chrono>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include "impostor.hpp"
#include "support.hpp"

namespace {

using namespace sealed_test;

struct shm_sealed_unreached : sealed_test::beside_false_producers {
  /// A consumer's line to a producer that greeted and reads nothing, with so many gets and their ends that there is no room.
  raw_line crowded(shm_sealed_transport& consumer, false_producer& producer) {
    shm_sealed_transport::get_op first;
    EXPECT_TRUE(consumer.find(first, "another", {}));
    auto line = producer.accept();
    line.send(of_type(message_type::hello, producer.id()));
    EXPECT_TRUE(consumer.cancel(first));
    crowd(consumer);
    return line;
  }
  static void crowd(shm_sealed_transport& consumer) {
    for (int i = 0; i != 1000; ++i) {
      shm_sealed_transport::get_op other;
      EXPECT_TRUE(consumer.find(other, "another", {}));
      EXPECT_TRUE(consumer.cancel(other));
    }
  }
  /// Takes all the places where connections wait to be accepted.
  std::vector<raw_line> fill_backlog(false_producer const& producer) {
    std::vector<raw_line> out;
    for (;;) {
      unique_fd fd;
      peer who;
      if (place.connect(producer.name(), fd, who) != meeting_place::outcome::connected) return out;
      out.emplace_back(std::move(fd));
    }
  }
  static bool grant(raw_line& line, std::uint64_t id, std::uint64_t generation = 7) {
    auto const memory = seal_pieces(std::vector<const_bytes>{bytes_of("text")}, 4);
    message m = of_type(message_type::grant, id);
    m.generation = generation;
    m.info.size = 4;
    return memory && line.send(m, {memory->get()});
  }
  /// Greets who comes next, and grants what it asks for.
  static void grant_one(false_producer& producer) {
    auto line = producer.accept();
    line.send(of_type(message_type::hello, producer.id()));
    message m;
    EXPECT_TRUE(line.receive(m, message_type::get));
    EXPECT_TRUE(grant(line, m.id));
  }
  static result<progress> outcome(shm_sealed_transport& t, shm_sealed_transport::get_op& op, deadline until = deadline::after(std::chrono::seconds(20))) {
    operation* const one[]{&op};
    if (auto const woken = t.wait(one, until, {}); !woken) return woken.error();
    return t.step(op);
  }
  /// A get by locator of an object of that producer.
  static result<progress> find(shm_sealed_transport& t, shm_sealed_transport::get_op& op, std::uint64_t producer, bool waits) {
    locator const where = locator::pack(locator_tag::shm_sealed, omniconn::detail::sealed::place{producer, 7});
    find_options how;
    how.where = &where;
    how.wait = waits;
    return t.find(op, "key", how);
  }
  static void refuse(raw_line& line, refused_for why) {
    message m = of_type(message_type::refused);
    m.flag = static_cast<std::uint8_t>(why);
    line.send(m);
  }
};

TEST_F(shm_sealed_unreached, exists_asks_when_there_is_room_again) {
  auto consumer = open();
  false_producer producer(place);
  auto line = crowded(consumer, producer);
  EXPECT_TRUE(consumer.exists("key") == error_kind::peer_stalled) << "nobody reads";
  std::thread reads([&] {
    message m;
    std::string last;
    while (last != "key" && line.receive(m, message_type::exists)) last = m.key;
    message yes = of_type(message_type::number, m.id);
    yes.info.size = 1;
    line.send(yes);
  });
  auto const found = consumer.exists("key");
  reads.join();
  EXPECT_TRUE(found && *found) << (found ? "no" : found.error().message());
}

TEST_F(shm_sealed_unreached, a_clean_up_of_a_crowded_producer_is_stalled) {
  auto consumer = open();
  false_producer producer(place);
  auto const line = crowded(consumer, producer);
  EXPECT_TRUE(consumer.erase("key") == error_kind::peer_stalled);
  EXPECT_TRUE(consumer.erase_if([](wire_key) { return true; }) == error_kind::peer_stalled);
}

TEST_F(shm_sealed_unreached, who_has_no_place_for_us_may_have_the_object) {
  auto consumer = open();
  false_producer producer(place);
  auto const others = fill_backlog(producer);
  ASSERT_FALSE(others.empty());
  EXPECT_TRUE(consumer.exists("key") == error_kind::peer_stalled);
  EXPECT_TRUE(consumer.erase_if([](wire_key) { return true; }) == error_kind::peer_stalled);
}

TEST_F(shm_sealed_unreached, who_serves_as_many_as_it_can_is_asked_again) {
  auto consumer = open();
  false_producer producer(place);
  std::thread serves([&] {
    for (int i = 0; i != 2; ++i) {
      auto line = producer.accept();
      refuse(line, refused_for::full);
    }
    auto line = producer.accept();
    line.send(of_type(message_type::hello, producer.id()));
    message m;
    EXPECT_TRUE(line.receive(m, message_type::exists));
    message yes = of_type(message_type::number, m.id);
    yes.info.size = 1;
    line.send(yes);
    while (line.receive(m)) {
    }
  });
  auto const found = consumer.exists("key");
  EXPECT_TRUE(found && *found) << (found ? "no" : found.error().message());
  consumer.close();
  serves.join();
}

TEST_F(shm_sealed_unreached, our_own_producer_without_a_place_for_us_is_nobody) {
  auto consumer = open();
  {
    const_bytes const piece = bytes_of("text");
    object_info info;
    info.size = piece.size();
    shm_sealed_transport::put_op op;
    ASSERT_TRUE(consumer.begin(op, "key", {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, {}));
    ASSERT_TRUE(consumer.commit(op, info));
  }
  std::vector<raw_line> lines;
  message answer;
  for (std::size_t i = 0; i != house::max_customers; ++i) {
    lines.push_back(false_consumer(place));
    ASSERT_TRUE(lines.back().receive(answer, message_type::hello)) << i;
  }
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "none", {}));
  operation* const ops[]{&op};
  static_cast<void>(consumer.wait(ops, deadline::after(std::chrono::milliseconds(100)), {}));  // in which it hears that it is refused
  EXPECT_FALSE(consumer.exists("none").value_or(true));
}

// --- gets by locator: "stale" is said only where the object cannot be there any more -------------------------------------------------

TEST_F(shm_sealed_unreached, a_get_by_locator_without_a_descriptor_is_our_own_lack) {
  auto consumer = open();
  static_cast<void>(consumer.wait({}, deadline::after(std::chrono::milliseconds(1)), {}));  // makes the bell, and looks into the folder
  false_producer producer(place);
  shm_sealed_transport::get_op now, op;
  {
    few_descriptors const few(1);
    EXPECT_TRUE(find(consumer, now, producer.id(), false) == error_kind::no_space);
    ASSERT_TRUE(find(consumer, op, producer.id(), true)) << "it may come";
    EXPECT_TRUE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(30))) == error_kind::no_space);
  }
  std::thread serves([&] {
    grant_one(producer);
  });
  EXPECT_TRUE(outcome(consumer, op));
  serves.join();
}

TEST_F(shm_sealed_unreached, a_producer_more_than_there_are_links_is_our_own_lack) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit many = before;
  many.rlim_cur = 3 * desk::max_links;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &many), 0);
  auto consumer = open();
  std::deque<false_producer> producers;
  while (producers.size() != desk::max_links) producers.emplace_back(place);
  auto const all = [&consumer] { return consumer.report().peers.size() == desk::max_links; };
  for (auto const until = deadline::after(std::chrono::seconds(20)); !all() && !until.passed();) static_cast<void>(consumer.wait({}, deadline::after(std::chrono::milliseconds(1)), {}));
  ASSERT_TRUE(all());
  false_producer more(place);
  {
    shm_sealed_transport::get_op now, waits;
    auto const found = find(consumer, now, more.id(), false);
    EXPECT_TRUE((found ? outcome(consumer, now) : found) == error_kind::no_space) << "at once, or once it has looked";
    ASSERT_TRUE(find(consumer, waits, more.id(), true)) << "one may leave";
    EXPECT_TRUE(outcome(consumer, waits, deadline::after(std::chrono::milliseconds(30))) == error_kind::no_space);
    producers.pop_back();
    std::thread serves([&] { grant_one(more); });
    EXPECT_TRUE(outcome(consumer, waits));
    serves.join();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(shm_sealed_unreached, a_get_by_locator_waits_for_a_place) {
  auto consumer = open();
  false_producer producer(place);
  auto const others = fill_backlog(producer);
  shm_sealed_transport::get_op now, op;
  EXPECT_TRUE(find(consumer, now, producer.id(), false) == error_kind::peer_stalled);
  ASSERT_TRUE(find(consumer, op, producer.id(), true));
  EXPECT_TRUE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(20))) == error_kind::peer_stalled);
  std::thread serves([&] {
    for (std::size_t i = 0; i != others.size(); ++i) static_cast<void>(producer.accept());
    {
      auto full = producer.accept();
      refuse(full, refused_for::full);
    }
    grant_one(producer);
  });
  EXPECT_TRUE(outcome(consumer, op));
  serves.join();
}

TEST_F(shm_sealed_unreached, a_get_by_locator_of_a_producer_that_serves_as_many_as_it_can_is_stalled) {
  auto consumer = open();
  false_producer producer(place);
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(find(consumer, op, producer.id(), false)) << "it was asked";
  auto line = producer.accept();
  refuse(line, refused_for::full);
  EXPECT_TRUE(outcome(consumer, op) == error_kind::peer_stalled);
}

TEST_F(shm_sealed_unreached, a_get_by_locator_of_a_producer_that_does_not_allow_us_is_unauthorized) {
  auto consumer = open();
  false_producer producer(place), other(place);
  shm_sealed_transport::get_op op, again;
  ASSERT_TRUE(find(consumer, op, producer.id(), true));
  auto line = producer.accept();
  refuse(line, refused_for::user);
  EXPECT_TRUE(outcome(consumer, op) == error_kind::unauthorized);
  EXPECT_TRUE(find(consumer, again, producer.id(), true) == error_kind::unauthorized) << "it is not asked again";
  EXPECT_TRUE(find(consumer, again, producer.id() ^ 1U, true) == error_kind::stale_handle) << "nobody has that number";
}

// --- waiting -------------------------------------------------------------------------------------------------------------------------

TEST_F(shm_sealed_unreached, who_waits_for_room_sleeps) {
  auto consumer = open();
  false_producer producer(place);
  auto const line = crowded(consumer, producer);
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "key", {}));
  auto const sleeps = [] {
    rusage used{};
    ::getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
  };
  auto const before = sleeps();
  EXPECT_TRUE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(300))) == error_kind::peer_stalled);
  EXPECT_LT(sleeps() - before, 50) << "it wakes for room, and does not look for it each millisecond";
}

TEST_F(shm_sealed_unreached, a_wait_after_its_deadline_asks_nobody) {
  auto consumer = open();
  false_producer producer(place);
  edge const flow{"source", "sink"};
  find_options how;
  how.flow = &flow;
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "key", how));
  auto line = producer.accept();
  message m;
  ASSERT_TRUE(line.receive(m, message_type::get));
  line.send(of_type(message_type::hello, producer.id()));
  message name = of_type(message_type::name);
  name.text = "source";
  line.send(name);
  line.send(of_type(message_type::queued, m.id));
  deadline const late = deadline::after(std::chrono::milliseconds(150));
  while (!late.passed()) std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the clock is the event
  EXPECT_TRUE(outcome(consumer, op, late) == error_kind::timed_out);
  EXPECT_FALSE(line.receive(m, 0)) << "a look at what is there costs no time";
}

// --- the end ------------------------------------------------------------------------------------------------------------------------

TEST_F(shm_sealed_unreached, who_waits_while_another_thread_closes_is_not_held_up_by_who_does_not_read) {
  auto consumer = open();
  false_producer producer(place);
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(find(consumer, op, producer.id(), true));
  auto line = producer.accept();
  line.send(of_type(message_type::hello, producer.id()));
  message m;
  ASSERT_TRUE(line.receive(m, message_type::get));
  std::uint64_t const granted = m.id;
  ASSERT_TRUE(grant(line, granted));
  ASSERT_TRUE(outcome(consumer, op));
  crowd(consumer);
  op.take().finish(disposition::consumed);
  std::thread waits([&] {
    shm_sealed_transport::get_op other;
    auto const begun = consumer.find(other, "never", {});
    EXPECT_TRUE((begun ? outcome(consumer, other) : begun) == error_kind::closed);
  });
  std::thread reads([&] {
    waits.join();
    bool said = false;
    while (!said && line.receive(m)) said = m.type == message_type::end && m.id == granted && m.flag == 1;
    EXPECT_TRUE(said) << "the wait ends first, and what is to be said has its second from then on";
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // so that the other one waits
  consumer.close();
  reads.join();
}

}  // namespace
