// SPDX-License-Identifier: Apache-2.0
// What a put does that finds no room, and how a producer learns that it was read.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/any_connector.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/runtime/builtin.hpp>

#include <shm/stage.hpp>

namespace {

using namespace shm_test;
using namespace omniconn;
using connector_type = shm_connector<>;
constexpr edge hop{"producer", "consumer"};

class shm_room : public process_test {
 protected:
  [[nodiscard]] connector_type open(on_full full, std::uint64_t objects, std::uint64_t bytes = 0, std::uint64_t memory = std::uint64_t{8} << 20U) const {
    connector_type::options o;
    o.transport = space.options();
    o.transport.memory_pool_size = memory;
    o.defaults.full = full;
    o.defaults.max_unread_objects = objects;
    o.defaults.max_unread_bytes = bytes;
    auto made = connector_type::open(o);
    EXPECT_TRUE(made) << made.error().message();
    return std::move(*made);
  }
  /// One that may use all that the namespace has, of which the first one to open sets the limit.
  [[nodiscard]] connector_type open_limited(std::uint64_t limit, on_full full = on_full::fail) const {
    connector_type::options o;
    o.transport = space.options();
    o.transport.max_namespace_bytes = limit;
    o.defaults.full = full;
    o.defaults.lease = std::chrono::nanoseconds(0);
    auto made = connector_type::open(o);
    EXPECT_TRUE(made) << made.error().message();
    return std::move(*made);
  }
  /// Until a producer sleeps for want of room.
  [[nodiscard]] bool until_somebody_waits() const {
    auto const directory = detail::shm::directory::open(space.paths(), {}, false);
    if (!directory) return false;
    directory->open_gate();
    return shm_test::eventually([&] {
      for (std::uint32_t i = 0; i != detail::shm::max_participants; ++i)
        if (directory->participant_at(i).wants_room.load() != 0) return true;
      return false;
    });
  }
  static result<receipt> put(connector_type& c, std::string const& key, std::size_t size = 100, deadline until = deadline::after(std::chrono::seconds(60))) {
    std::vector<std::byte> const payload(size, std::byte{7});
    put_options o;
    o.until = until;
    return c.put(hop, key, const_bytes(payload), o);
  }
  static bool read(connector_type& c, std::string const& key) { return static_cast<bool>(c.get_view(hop, key, {deadline::immediate()})); }
};

TEST_F(shm_room, a_limit_is_kept_and_forgets_what_was_read) {
  auto producer = open(on_full::fail, 2), consumer = open(on_full::fail, 0);
  for (int round = 0; round != 50; ++round) {
    ASSERT_TRUE(put(producer, "a"));
    ASSERT_TRUE(put(producer, "b"));
    auto const refused = put(producer, "c");
    ASSERT_TRUE(refused == error_kind::quota_exceeded) << round;
    EXPECT_FALSE(*consumer.exists(hop, "c"));
    EXPECT_TRUE(read(consumer, "a"));
    EXPECT_TRUE(put(producer, "c"));
    EXPECT_TRUE(read(consumer, "b"));
    EXPECT_TRUE(read(consumer, "c"));
  }
  EXPECT_EQ(producer.health().errors[index(error_kind::quota_exceeded)], 50U);
}

TEST_F(shm_room, bytes_are_limited_as_well) {
  auto producer = open(on_full::fail, 0, 1000), consumer = open(on_full::fail, 0);
  EXPECT_TRUE(put(producer, "whole", 1000));
  EXPECT_TRUE(put(producer, "more", 1) == error_kind::quota_exceeded);
  EXPECT_TRUE(put(producer, "never", 1001) == error_kind::too_large);
  EXPECT_TRUE(read(consumer, "whole"));
  EXPECT_TRUE(put(producer, "more", 1));
  EXPECT_TRUE(read(consumer, "more"));
}

// The room is reserved before anything is put.
TEST_F(shm_room, a_put_through_any_connector_waits_until_its_deadline) {
  constexpr std::size_t most = std::size_t{1} << 20U;
  auto consumer = open(on_full::fail, 0);
  any_connector producer(open(on_full::wait, 0, 0, most));
  std::vector<std::byte> const payload(most / 4 * 3, std::byte{7});
  ASSERT_TRUE(producer.put_with(raw_serializer(), hop, "first", const_bytes(payload)));
  std::atomic<bool> ended{false};
  std::thread rescuer([&] {  // of a put that has no deadline
    auto const limit = deadline::after(std::chrono::seconds(20));
    while (!ended.load() && !limit.passed()) std::this_thread::yield();
    if (!ended.load()) read(consumer, "first");
  });
  put_options o;
  o.until = deadline::after(std::chrono::milliseconds(30));
  auto const late = producer.put_with(raw_serializer(), hop, "second", const_bytes(payload), o);
  ended.store(true);
  rescuer.join();
  EXPECT_TRUE(late == error_kind::timed_out) << (late ? "put" : late.error().message());
  EXPECT_TRUE(read(consumer, "first"));
}

TEST_F(shm_room, a_put_waits_until_somebody_reads) {
  auto producer = open(on_full::wait, 1), consumer = open(on_full::fail, 0);
  constexpr int count = 200;
  std::thread reader([&] {
    for (int i = 0; i != count; ++i) {
      auto const got = consumer.get_view(hop, std::to_string(i), {deadline::after(std::chrono::seconds(60))});
      EXPECT_TRUE(got) << got.error().message();
    }
  });
  for (int i = 0; i != count; ++i) {
    auto const done = put(producer, std::to_string(i));
    EXPECT_TRUE(done) << done.error().message();
  }
  reader.join();
}

TEST_F(shm_room, memory_is_waited_for_too) {
  auto producer = open(on_full::wait, 0, 0, std::uint64_t{4} << 20U), consumer = open(on_full::fail, 0);
  std::size_t const large = std::size_t{3} << 20U;
  std::thread reader([&] {
    for (int i = 0; i != 10; ++i) EXPECT_TRUE(consumer.get_view(hop, std::to_string(i), {deadline::after(std::chrono::seconds(60))}));
  });
  for (int i = 0; i != 10; ++i) {
    auto const done = put(producer, std::to_string(i), large);
    EXPECT_TRUE(done) << done.error().message();
  }
  reader.join();
  EXPECT_TRUE(put(producer, "larger than all memory", std::size_t{5} << 20U) == error_kind::no_space) << "nothing that could come back would help";
}

TEST_F(shm_room, what_can_never_fit_neither_waits_nor_drops) {
  constexpr std::size_t mib = std::size_t{1} << 20U;
  for (auto const full : {on_full::wait, on_full::drop_oldest}) {
    auto producer = open(full, 0, 0, 4 * mib), consumer = open(on_full::fail, 0);
    ASSERT_TRUE(put(producer, "unread", mib));
    auto const refused = put(producer, "larger than all memory", 5 * mib, deadline::never());
    ASSERT_TRUE(refused == error_kind::no_space);
    EXPECT_NE(refused.error().message().find("memory_pool_size"), std::string::npos);
    EXPECT_TRUE(producer.reserve(5 * mib, {}) == error_kind::no_space);
    std::size_t const together[]{2 * mib, 2 * mib, mib};
    EXPECT_TRUE(producer.reserve_all(together, {}) == error_kind::no_space);
    std::size_t const endless[]{~std::size_t{0}, 2};
    EXPECT_FALSE(producer.reserve_all(endless, {}));
    EXPECT_TRUE(read(consumer, "unread")) << "nothing was dropped for what cannot be";
  }
}

TEST_F(shm_room, a_wait_for_room_has_an_end) {
  auto producer = open(on_full::wait, 1), consumer = open(on_full::fail, 0);
  ASSERT_TRUE(put(producer, "a"));
  EXPECT_TRUE(put(producer, "b", 100, deadline::after(std::chrono::milliseconds(20))) == error_kind::timed_out);
  std::stop_source stop;
  std::thread canceller([&] { stop.request_stop(); });
  put_options o;
  o.stop = stop.get_token();
  std::vector<std::byte> const payload(100);
  EXPECT_TRUE(producer.put(hop, "b", const_bytes(payload), o) == error_kind::cancelled);
  canceller.join();
  std::thread closer([&] { producer.close(); });
  auto const closed = put(producer, "b");
  EXPECT_TRUE(closed == error_kind::closed) << to_string(closed.error().kind());
  closer.join();
  EXPECT_TRUE(read(consumer, "a"));
}

// A slot is anybody's, and its last user tells only its owner that it is free.
TEST_F(shm_room, a_put_that_waits_for_a_slot_gets_one_that_belonged_to_another) {
  connector_type::options o;
  o.transport = space.options();
  o.transport.max_keys = 16;
  o.defaults.full = on_full::wait;
  o.defaults.lease = std::chrono::nanoseconds(0);
  auto made = connector_type::open(o), other = connector_type::open(o);
  ASSERT_TRUE(made && other);
  ASSERT_TRUE(put(*made, "mine"));
  int n = 0;
  while (put(*other, std::to_string(n), 8, deadline::after(std::chrono::milliseconds(1)))) ++n;
  EXPECT_EQ(n, 31);
  std::thread reader([&] {
    ASSERT_TRUE(until_somebody_waits());
    EXPECT_TRUE(read(*other, "0"));
  });
  EXPECT_TRUE(put(*made, "second"));
  reader.join();
}

TEST_F(shm_room, the_oldest_goes_that_nobody_reads) {
  auto producer = open(on_full::drop_oldest, 3), consumer = open(on_full::fail, 0);
  ASSERT_TRUE(put(producer, "0"));
  auto held = consumer.get_view(hop, "0", {deadline::immediate()});
  ASSERT_TRUE(held);
  for (int i = 1; i != 100; ++i) ASSERT_TRUE(put(producer, std::to_string(i))) << i;
  EXPECT_EQ(std::to_integer<int>(held->bytes()[99]), 7) << "what is being read stays";
  EXPECT_FALSE(read(consumer, "97"));
  EXPECT_TRUE(read(consumer, "98"));
  EXPECT_TRUE(read(consumer, "99"));
  held->give_back();
  EXPECT_TRUE(read(consumer, "0")) << "it was not dropped";
}

// An embedding cache: objects for anybody, of which the producer drops what nobody asked for lately.
TEST_F(shm_room, a_cache_keeps_what_is_read_within_its_budget) {
  auto producer = open(on_full::drop_oldest, 0, 400), consumer = open(on_full::fail, 0);
  put_options kept;
  kept.readers = reader_set::until_cleaned_up();
  kept.lease = std::chrono::nanoseconds(0);  // the files go with the test
  std::vector<std::byte> const payload(100, std::byte{7});
  auto const store = [&](std::string const& key) { return producer.put(hop, key, const_bytes(payload), kept); };
  for (auto const* key : {"a", "b", "c", "d"}) ASSERT_TRUE(store(key));
  EXPECT_TRUE(read(consumer, "a"));
  EXPECT_TRUE(read(consumer, "a")) << "reading does not use it up";
  auto const held = consumer.get_view(hop, "b");
  ASSERT_TRUE(held);
  ASSERT_TRUE(store("e"));
  EXPECT_TRUE(*consumer.exists(hop, "a")) << "read lately";
  EXPECT_TRUE(*consumer.exists(hop, "b")) << "in somebody's hand";
  EXPECT_FALSE(*consumer.exists(hop, "c")) << "the oldest that nobody wanted";
  ASSERT_TRUE(store("f"));
  EXPECT_FALSE(*consumer.exists(hop, "d"));
  ASSERT_TRUE(store("g"));
  EXPECT_FALSE(*consumer.exists(hop, "a") && *consumer.exists(hop, "e")) << "its second chance is over, unless it was read again";
  EXPECT_EQ(held->bytes().size(), 100U);
  EXPECT_TRUE(producer.cleanup(hop, "b").value_or(0) == 1);
  EXPECT_FALSE(*consumer.exists(hop, "b"));
  EXPECT_EQ(held->bytes()[99], std::byte{7}) << "cleaned up, but held";
}

TEST_F(shm_room, a_cache_of_many_objects_stays_within_its_budget) {
  auto producer = open(on_full::drop_oldest, 100), consumer = open(on_full::fail, 0);
  put_options kept;
  kept.readers = reader_set::until_cleaned_up();
  kept.lease = std::chrono::nanoseconds(0);  // the files go with the test
  std::vector<std::byte> const payload(10);
  ASSERT_TRUE(producer.put(hop, "popular", const_bytes(payload), kept));
  for (int i = 0; i != 5000; ++i) {
    ASSERT_TRUE(producer.put(hop, std::to_string(i), const_bytes(payload), kept)) << i;
    if (i % 20 == 0) {
      ASSERT_TRUE(read(consumer, "popular")) << i;
    }
    ASSERT_LE(producer.health().objects.used, 100U);
  }
  EXPECT_TRUE(*consumer.exists(hop, "4999"));
  EXPECT_FALSE(*consumer.exists(hop, "0"));
}

// As many as the namespace has places for may hold it at once; the next one waits for a place.
TEST_F(shm_room, a_kept_object_is_held_by_so_many_at_once) {
  auto producer = open(on_full::fail, 0), consumer = open(on_full::fail, 0);
  put_options kept;
  kept.readers = reader_set::until_cleaned_up();
  kept.lease = std::chrono::nanoseconds(0);  // the files go with the test
  std::vector<std::byte> const payload(10);
  ASSERT_TRUE(producer.put(hop, "k", const_bytes(payload), kept));
  std::vector<connector_type::view> views;
  for (int i = 0; i != 16; ++i) {
    auto got = consumer.get_view(hop, "k");
    ASSERT_TRUE(got) << i;
    views.push_back(std::move(*got));
  }
  EXPECT_TRUE(consumer.get_view(hop, "k", {deadline::immediate()}) == error_kind::not_found);
  std::thread waiting([&] { EXPECT_TRUE(consumer.get_view(hop, "k", {deadline::after(std::chrono::seconds(60))})); });
  views.pop_back();
  waiting.join();
}

TEST_F(shm_room, the_holds_of_a_dead_reader_do_not_keep_a_kept_object) {
  auto producer = open(on_full::fail, 0);
  put_options kept;
  kept.readers = reader_set::until_cleaned_up();
  kept.lease = std::chrono::nanoseconds(0);  // the files go with the test
  std::vector<std::byte> const payload(1000);
  auto const reader = start();
  ASSERT_TRUE(producer.put(hop, "k", const_bytes(payload), kept));
  ASSERT_TRUE(reader->ask("hold k r 60000 1").starts_with("got 1000"));
  EXPECT_EQ(reader->kill(), status_killed);
  EXPECT_TRUE(*producer.exists(hop, "k")) << "it is there for others";
  EXPECT_TRUE(producer.get_view(hop, "k"));
  EXPECT_EQ(producer.cleanup(hop, "k").value_or(0), 1U);
  EXPECT_TRUE(eventually([&] { return producer.health().objects.used == 0; })) << "nobody that lives has it";
}

// --- the namespace's limit ------------------------------------------------------------------------------------------------------------

TEST_F(shm_room, the_memory_of_a_namespace_is_limited) {
  constexpr std::uint64_t mib = std::uint64_t{1} << 20U;
  auto first = open_limited(10 * mib);
  {
    auto second = open_limited(1000 * mib);  // who comes later has no say
    EXPECT_TRUE(put(second, "b", 6 * mib));
    EXPECT_TRUE(put(first, "a", 5 * mib) == error_kind::quota_exceeded);
    EXPECT_FALSE(*second.exists(hop, "a"));
    EXPECT_TRUE(put(first, "a", 3 * mib)) << "less does fit";
    EXPECT_TRUE(put(second, "c", 5 * mib) == error_kind::quota_exceeded);
    EXPECT_TRUE(read(first, "b"));
    EXPECT_TRUE(put(second, "c", 5 * mib)) << "from its own memory";
    EXPECT_TRUE(read(first, "c"));
  }
  EXPECT_TRUE(put(first, "d", 6 * mib)) << "what the second had is free since it left";
}

TEST_F(shm_room, a_namespace_can_be_filled_to_its_limit) {
  constexpr std::uint64_t mib = std::uint64_t{1} << 20U;
  auto only = open_limited(5 * mib);
  EXPECT_TRUE(put(only, "more than there is", 5 * mib + 1) == error_kind::quota_exceeded);
  EXPECT_TRUE(put(only, "all", 5 * mib));
  EXPECT_TRUE(put(only, "one", 129) == error_kind::quota_exceeded);
  EXPECT_TRUE(read(only, "all"));
  EXPECT_TRUE(put(only, "all", 5 * mib));
  EXPECT_TRUE(read(only, "all"));
}

TEST_F(shm_room, who_waits_for_memory_of_the_namespace_hears_of_a_neighbour_that_leaves) {
  constexpr std::uint64_t mib = std::uint64_t{1} << 20U;
  auto first = open_limited(8 * mib, on_full::wait);
  std::optional second = open_limited(0);
  ASSERT_TRUE(put(first, "unread", mib));  // so that waiting may help
  ASSERT_TRUE(put(*second, "large", 6 * mib));
  std::thread leaver([&] {
    EXPECT_TRUE(until_somebody_waits());
    second.reset();
  });
  auto const done = put(first, "more", 5 * mib, deadline::after(std::chrono::seconds(60)));
  EXPECT_TRUE(done) << done.error().message();
  leaver.join();
}

TEST_F(shm_room, who_is_about_to_wait_for_memory_of_the_namespace_hears_too) {
  auto first = open_limited(std::uint64_t{8} << 20U);
  ASSERT_TRUE(put(first, "unread", 100));
  std::optional second = open_limited(0);
  ASSERT_TRUE(put(*second, "large", 100));
  auto const seen = first.transport().room_seen();
  second.reset();  // between an attempt that found no room and the wait for some
  EXPECT_TRUE(first.transport().wait_for_room(seen, {}, deadline::after(std::chrono::seconds(60)), {}));
  EXPECT_TRUE(read(first, "unread"));
}

TEST_F(shm_room, who_dies_while_it_waits_for_memory_of_the_namespace_is_tidied_up) {
  auto first = open_limited(std::uint64_t{1} << 20U);
  auto const waiter = start({"waits_for_room=1"});
  ASSERT_EQ(waiter->ask("put unread 1 100"), "ok 100");
  ASSERT_TRUE(put(first, "large", std::size_t{900} << 10U));
  waiter->send("put more 1 500000");
  EXPECT_TRUE(until_somebody_waits());
  EXPECT_EQ(waiter->kill(), status_killed);
  static_cast<void>(open_limited(0));  // who opens tidies up, and comes to an end with it
  EXPECT_TRUE(read(first, "unread")) << "what was acknowledged stays";
  EXPECT_TRUE(read(first, "large"));
}

TEST_F(shm_room, what_does_not_fit_takes_nothing_from_others) {
  constexpr std::size_t mib = std::size_t{1} << 20U;
  auto first = open_limited(8 * mib), second = open_limited(0);
  ASSERT_TRUE(put(first, "large", 6 * mib));
  EXPECT_TRUE(put(first, "too large", 5 * mib) == error_kind::quota_exceeded);
  EXPECT_TRUE(put(second, "small", mib)) << "there are 2 MiB that nobody has";
  EXPECT_TRUE(read(first, "large"));
  EXPECT_TRUE(read(first, "small"));
}

// A put is in line from its begin on, and may be asked for before its commit: it must not leave the line for that.
TEST_F(shm_room, an_object_that_was_being_written_is_dropped_later) {
  auto producer = open(on_full::fail, 0);
  auto& transport = producer.transport();
  shm_transport::put_op slow;
  ASSERT_TRUE(transport.begin(slow, "slow", {}, {}, {}));
  ASSERT_TRUE(put(producer, "quick"));
  EXPECT_TRUE(transport.drop_oldest()) << "the quick one: it is there";
  EXPECT_FALSE(transport.drop_oldest());
  ASSERT_TRUE(transport.commit(slow, {}));
  EXPECT_TRUE(transport.drop_oldest()) << "now it is there, too";
  EXPECT_FALSE(*transport.exists("slow"));
}

TEST_F(shm_room, where_all_is_held_dropping_makes_no_room) {
  auto producer = open(on_full::drop_oldest, 1), consumer = open(on_full::fail, 0);
  ASSERT_TRUE(put(producer, "a"));
  auto const held = consumer.get_view(hop, "a", {deadline::immediate()});
  ASSERT_TRUE(held);
  EXPECT_TRUE(put(producer, "b") == error_kind::quota_exceeded);
}

TEST_F(shm_room, a_put_that_waits_learns_that_its_reader_died) {
  auto producer = open(on_full::wait, 1);
  {
    auto const consumer = start();
    ASSERT_TRUE(put(producer, "a"));
    EXPECT_TRUE(consumer->ask("get a r 60000 1").starts_with("got 100"));
    EXPECT_EQ(consumer->ask("get nothing r 1 1"), "error timed_out") << "known as a reader of the edge since it waited";
    ASSERT_TRUE(put(producer, "b"));
    std::thread killer([&] { EXPECT_EQ(consumer->kill(), status_killed); });
    auto const stuck = put(producer, "c", 100, deadline::never());
    EXPECT_TRUE(stuck == error_kind::peer_lost);
    killer.join();
  }
  auto const next = start();
  EXPECT_TRUE(next->ask("get b r 60000 1").starts_with("got 100")) << "nothing is lost by it";
  EXPECT_TRUE(put(producer, "c"));
  EXPECT_TRUE(next->ask("get c r 60000 1").starts_with("got 100"));
}

TEST_F(shm_room, several_reservations_or_none) {
  auto producer = open(on_full::fail, 0, 0, std::uint64_t{4} << 20U), consumer = open(on_full::fail, 0);
  std::size_t const third[]{std::size_t{1} << 20U, std::size_t{1} << 20U, std::size_t{1} << 20U};
  std::size_t const more[]{std::size_t{1} << 20U, std::size_t{1} << 20U};
  {
    auto const first = producer.reserve_all(third, {});
    ASSERT_TRUE(first) << first.error().message();
    EXPECT_EQ(first->size(), 3U);
    EXPECT_TRUE(producer.reserve_all(more, {}) == error_kind::no_space);
    EXPECT_TRUE(producer.reserve(std::size_t{1} << 19U)) << "the failed one kept nothing";
  }
  EXPECT_TRUE(producer.reserve_all(third, {}));
}

TEST_F(shm_room, a_receipt_tells_when_it_was_read) {
  auto producer = open(on_full::fail, 0), consumer = open(on_full::fail, 0);
  auto const receipt = put(producer, "a");
  ASSERT_TRUE(receipt);
  EXPECT_TRUE(producer.wait_consumed(hop, *receipt, deadline::after(std::chrono::milliseconds(10))) == error_kind::timed_out);
  auto view = consumer.get_view(hop, "a", {deadline::immediate()});
  ASSERT_TRUE(view);
  EXPECT_TRUE(producer.wait_consumed(hop, *receipt, deadline::after(std::chrono::milliseconds(10))) == error_kind::timed_out) << "it is being read";
  std::thread reader([&] { view->release(); });
  auto const done = producer.wait_consumed(hop, *receipt, deadline::never());
  EXPECT_TRUE(done) << done.error().message();
  reader.join();
  EXPECT_TRUE(producer.wait_consumed(hop, *receipt, deadline::never())) << "asked again, it is still so";
  auto const dropped = put(producer, "b");
  ASSERT_TRUE(dropped);
  EXPECT_EQ(*producer.cleanup(hop, "b"), 1U);
  EXPECT_TRUE(producer.wait_consumed(hop, *dropped, deadline::never()));
}

TEST_F(shm_room, a_receipt_tells_that_its_reader_died) {
  auto producer = open(on_full::fail, 0);
  auto const consumer = start();
  EXPECT_EQ(consumer->ask("get nothing r 1 1"), "error timed_out");
  auto const receipt = put(producer, "a");
  ASSERT_TRUE(receipt);
  std::thread killer([&] { EXPECT_EQ(consumer->kill(), status_killed); });
  EXPECT_TRUE(producer.wait_consumed(hop, *receipt, deadline::never()) == error_kind::peer_lost);
  killer.join();
  EXPECT_EQ(*producer.cleanup(hop, "a"), 1U);
}

}  // namespace
