// SPDX-License-Identifier: Apache-2.0
// Producers that cannot be asked now: their lines have no room, they have no place, or we have no descriptor. None of that is "no such object".
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "impostor.hpp"
#include "support.hpp"

namespace {

using namespace sealed_test;

struct shm_sealed_unreached : ::testing::Test {
  sealed_test::directory directory;
  meeting_place place = open_place(directory.path());

  shm_sealed_transport open() {
    shm_sealed_transport::options o;
    o.directory = directory.path();
    o.space = "default";
    auto opened = shm_sealed_transport::open(o);
    EXPECT_TRUE(opened);
    return std::move(*opened);
  }
  ~shm_sealed_unreached() override { place.leave(); }

  /// A consumer's line to a producer that greeted and reads nothing, with so many gets and their ends that there is no room.
  raw_line crowded(shm_sealed_transport& consumer, false_producer& producer) {
    shm_sealed_transport::get_op first;
    EXPECT_TRUE(consumer.find(first, "another", {}));
    auto line = producer.accept();
    line.send(of_type(message_type::hello, producer.id()));
    EXPECT_TRUE(consumer.cancel(first));
    for (int i = 0; i != 1000; ++i) {
      shm_sealed_transport::get_op other;
      EXPECT_TRUE(consumer.find(other, "another", {}));
      EXPECT_TRUE(consumer.cancel(other));
    }
    return line;
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

}  // namespace
