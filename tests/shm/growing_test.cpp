// SPDX-License-Identifier: Apache-2.0
// Objects that are read while they grow: what is there is seen, who sleeps is woken by each step, and an end that does not come is told apart from one that does.
#include <omniconn/transport/shm.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/allocator/pool.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/growing.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>

#include <shm/stage.hpp>
#include <shm/support.hpp>

namespace {

using namespace omniconn;
namespace shm = omniconn::detail::shm;
using connector_type = connector<shm_transport, raw_serializer, namespaced_keying, pool_allocator>;
constexpr edge hop{"speaker", "listener"};
constexpr std::size_t room = 50'000;
deadline soon() { return deadline::after(std::chrono::seconds(30)); }
deadline in_a_moment() { return deadline::after(std::chrono::milliseconds(20)); }

std::atomic<int> waiting{0}, claims{0};
void count_waits(std::string_view name) noexcept {
  if (name == "shm.get.waiting") waiting.fetch_add(1);
}

class shm_growing : public testing::Test {
 protected:
  shm_growing() {
    for (std::size_t i = 0; i != room; ++i) data[i] = static_cast<std::byte>(i * 31 + i / 251);
  }
  ~shm_growing() override { set_failpoint_hook(nullptr); }

  std::optional<connector_type> open(std::string reader = {}) {
    connector_type::options o;
    o.transport = space.options();
    o.transport.spin = spin;
    o.defaults.checksum = checksum;
    o.defaults.reader = std::move(reader);
    auto c = connector_type::open(o);
    EXPECT_TRUE(c) << c.error().message();
    return c ? std::optional(std::move(*c)) : std::nullopt;
  }
  /// Both ends of "k".
  void begin(put_options const& o = {}) {
    producer = open();
    consumer = open();
    auto announced = put_growing(*producer, hop, "k", room, o);
    ASSERT_TRUE(announced) << announced.error().message();
    writer = std::move(*announced);
    view = find();
  }
  growing_view<connector_type> find() {
    auto found = get_growing(*consumer, hop, "k", {soon()});
    EXPECT_TRUE(found) << found.error().message();
    return found ? std::move(*found) : growing_view<connector_type>();
  }
  void write(std::size_t to) {
    std::copy(data.begin() + static_cast<std::ptrdiff_t>(writer.announced()), data.begin() + static_cast<std::ptrdiff_t>(to), writer.bytes().begin() + static_cast<std::ptrdiff_t>(writer.announced()));
    auto const told = writer.advance(to);
    EXPECT_TRUE(told) << told.error().message();
  }
  [[nodiscard]] bool is_data(const_bytes got, std::size_t size) const { return got.size() == size && std::equal(got.begin(), got.end(), data.begin()); }

  shm_test::fresh_space space;
  std::chrono::nanoseconds spin = std::chrono::microseconds(20);
  bool checksum = true;
  std::vector<std::byte> data = std::vector<std::byte>(room);
  std::optional<connector_type> producer, consumer;
  growing_put<connector_type> writer;
  growing_view<connector_type> view;
};

TEST_F(shm_growing, what_is_there_is_seen_and_the_rest_when_it_comes) {
  begin();
  EXPECT_EQ(view.room(), room);
  EXPECT_TRUE(view.bytes().empty());
  EXPECT_FALSE(view.whole());
  std::size_t asked = 0;
  for (std::size_t const to : {std::size_t{1}, std::size_t{100}, std::size_t{4097}, std::size_t{40'000}}) {
    write(to);
    auto const there = view.wait_for(asked + 1, soon());
    ASSERT_TRUE(there) << there.error().message();
    EXPECT_TRUE(is_data(*there, to));
    EXPECT_FALSE(view.whole());
    EXPECT_TRUE(view.wait_for(to + 1, in_a_moment()) == error_kind::timed_out) << "and may be asked again";
    asked = to;
  }
  auto const done = writer.commit();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->size, 40'000U) << "as long as was announced";
  auto const all = view.wait_for(room, soon());
  ASSERT_TRUE(all);
  EXPECT_TRUE(is_data(*all, 40'000));
  EXPECT_TRUE(view.whole());
  auto whole = view.finish(soon());
  ASSERT_TRUE(whole) << whole.error().message();
  EXPECT_TRUE(is_data(whole->bytes(), 40'000));
  EXPECT_EQ(whole->info().checksum, omniconn::checksum(whole->bytes()));
  EXPECT_TRUE(view.bytes().empty());
  whole->release();
  EXPECT_FALSE(*consumer->exists(hop, "k")) << "it was consumed";
}

// The room of one that reads is asleep when the bytes come: each step wakes it, and so does the end.
TEST_F(shm_growing, who_sleeps_is_woken_by_each_step) {
  spin = std::chrono::nanoseconds(0);
  begin();
  set_failpoint_hook(&count_waits);
  for (std::size_t step = 1; step <= 5; ++step) {
    waiting = 0;
    std::jthread const later([&] {
      while (waiting == 0) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      write(step * 10'000);
    });
    auto const there = view.wait_for(step * 10'000 - 1, soon());
    ASSERT_TRUE(there) << there.error().message();
    EXPECT_TRUE(is_data(*there, step * 10'000));
  }
  waiting = 0;
  std::jthread const later([&] {
    while (waiting == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_TRUE(writer.commit());
  });
  EXPECT_TRUE(view.finish(soon()));
}

TEST_F(shm_growing, one_that_is_given_up_is_aborted_for_its_readers_and_its_key_is_free) {
  begin();
  write(10);
  ASSERT_TRUE(view.wait_for(10, soon()));
  writer.abort();
  EXPECT_TRUE(view.wait_for(11, soon()) == error_kind::aborted);
  EXPECT_TRUE(view.bytes().empty());
  EXPECT_FALSE(view.whole());
  EXPECT_TRUE(view.finish(soon()) == error_kind::aborted) << "for good";
  EXPECT_TRUE(writer.advance(20) == error_kind::closed);
  EXPECT_TRUE(writer.commit() == error_kind::closed);
  EXPECT_TRUE(writer.bytes().empty());
  EXPECT_TRUE(producer->put(hop, "k", const_bytes(data)));
  EXPECT_TRUE(consumer->get_view(hop, "k"));
  EXPECT_EQ(producer->health().objects.used, 0U);
}

TEST_F(shm_growing, one_that_is_dropped_or_overwritten_is_aborted) {
  begin();
  { auto const dropped = std::move(writer); }
  EXPECT_TRUE(view.wait_for(1, soon()) == error_kind::aborted);
  auto again = put_growing(*producer, hop, "k", room);
  ASSERT_TRUE(again);
  view = find();
  *again = growing_put<connector_type>();
  EXPECT_TRUE(view.wait_for(1, soon()) == error_kind::aborted);
}

// Its memory is nobody else's as long as somebody may be reading it.
TEST_F(shm_growing, the_memory_of_an_aborted_one_stays_while_somebody_reads_it) {
  begin();
  write(room);
  ASSERT_TRUE(view.wait_for(room, soon()));
  auto const before = view.bytes();
  writer.abort();
  for (int i = 0; i != 20; ++i) EXPECT_TRUE(producer->put(hop, "other-" + std::to_string(i), const_bytes(std::vector<std::byte>(room))));
  EXPECT_TRUE(is_data(before, room));
}

TEST_F(shm_growing, every_other_get_waits_until_it_is_whole) {
  begin();
  auto other = open();
  EXPECT_TRUE(other->get_view(hop, "k", {deadline::immediate()}) == error_kind::not_found);
  EXPECT_TRUE(other->get_view(hop, "k", {in_a_moment()}) == error_kind::timed_out);
  view = {};  // gives its claim back
  std::jthread const later([&] {
    for (std::size_t to = 10'000; to <= room; to += 10'000) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      write(to);
    }
    EXPECT_TRUE(writer.commit());
  });
  auto const got = other->get_view(hop, "k", {soon()});
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_TRUE(is_data(got->bytes(), room));
}

TEST_F(shm_growing, one_that_was_put_in_one_piece_is_there_as_a_whole) {
  producer = open();
  consumer = open();
  EXPECT_TRUE(get_growing(*consumer, hop, "k", {deadline::immediate()}) == error_kind::not_found);
  EXPECT_TRUE(get_growing(*consumer, hop, "k", {in_a_moment()}) == error_kind::timed_out);
  for (std::size_t const size : {std::size_t{0}, std::size_t{10}, room}) {
    ASSERT_TRUE(producer->put(hop, "k", const_bytes(data).first(size)));
    view = find();
    EXPECT_TRUE(view.whole());
    EXPECT_TRUE(is_data(view.bytes(), size));
    auto const there = view.wait_for(room, soon());
    ASSERT_TRUE(there);
    EXPECT_EQ(there->size(), size);
    auto const whole = view.finish(soon());
    ASSERT_TRUE(whole);
    EXPECT_TRUE(is_data(whole->bytes(), size));
  }
}

TEST_F(shm_growing, who_does_not_wait_finds_what_was_announced) {
  begin();
  view = {};
  EXPECT_TRUE(get_growing(*consumer, hop, "k", {deadline::immediate()}));
}

TEST_F(shm_growing, who_was_there_before_is_told_when_it_is_announced) {
  producer = open();
  consumer = open();
  std::jthread const later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    writer = *put_growing(*producer, hop, "k", room);
  });
  view = find();
  EXPECT_EQ(view.room(), room);
}

TEST_F(shm_growing, each_reader_reads_for_itself) {
  put_options o;
  o.readers = reader_set{3, {}};
  begin(o);
  auto ann = open("ann"), bob = open("bob");
  auto const at_once = [&](connector_type& c) { return *get_growing(c, hop, "k", {soon()}); };
  auto anns = at_once(*ann), bobs = at_once(*bob);
  write(room);
  ASSERT_TRUE(anns.wait_for(room, soon()) && bobs.wait_for(1, soon()));
  EXPECT_TRUE(is_data(anns.bytes(), room) && is_data(bobs.bytes(), room));
  bobs = {};  // had enough: its share is there for it again
  ASSERT_TRUE(writer.commit());
  EXPECT_TRUE(anns.finish(soon()));
  EXPECT_TRUE(view.finish(soon()));
  EXPECT_TRUE(*consumer->exists(hop, "k"));
  EXPECT_TRUE(bob->get_view(hop, "k", {soon()}));
  EXPECT_FALSE(*consumer->exists(hop, "k"));
}

TEST_F(shm_growing, keys_of_any_length_and_rooms_of_none) {
  producer = open();
  consumer = open();
  for (std::size_t const length : {1U, 100U, 200U, 3000U})
    for (std::size_t const size : {std::size_t{0}, std::size_t{10}}) {
      std::string const key(length, 'k');
      auto growing = put_growing(*producer, hop, key, size);
      ASSERT_TRUE(growing) << growing.error().message();
      auto found = get_growing(*consumer, hop, key, {soon()});
      ASSERT_TRUE(found);
      EXPECT_EQ(found->room(), size);
      if (size != 0) std::copy_n(data.begin(), size, growing->bytes().begin());
      ASSERT_TRUE(growing->advance(size));
      ASSERT_TRUE(growing->commit());
      auto const whole = found->finish(soon());
      ASSERT_TRUE(whole) << whole.error().message();
      EXPECT_TRUE(is_data(whole->bytes(), size));
    }
}

TEST_F(shm_growing, steps_go_forward_and_stay_in_the_room) {
  begin();
  write(10);
  EXPECT_TRUE(writer.advance(9) == error_kind::misconfigured);
  EXPECT_TRUE(writer.advance(room + 1) == error_kind::misconfigured);
  EXPECT_EQ(writer.announced(), 10U);
  EXPECT_TRUE(writer.advance(10));
  EXPECT_TRUE(writer.commit());
  EXPECT_TRUE(view.finish(soon()));
}

TEST_F(shm_growing, its_key_is_taken_and_who_replaces_it_ends_it) {
  begin();
  EXPECT_TRUE(producer->put(hop, "k", const_bytes(data)) == error_kind::already_exists);
  EXPECT_TRUE(put_growing(*producer, hop, "k", 1) == error_kind::already_exists);
  put_options o;
  o.existing = on_existing::replace;
  ASSERT_TRUE(producer->put(hop, "k", const_bytes(data), o));
  EXPECT_TRUE(view.wait_for(1, soon()) == error_kind::aborted);
  EXPECT_TRUE(writer.commit() == error_kind::already_exists);
  auto const got = consumer->get_view(hop, "k", {soon()});
  ASSERT_TRUE(got);
  EXPECT_TRUE(is_data(got->bytes(), room));
}

// What was announced was summed then: a byte that changes later is found, by who reads on and by who comes afterwards.
TEST_F(shm_growing, bytes_that_change_after_they_were_announced_are_corrupt) {
  begin();
  write(room);
  writer.bytes()[7] ^= std::byte{1};
  ASSERT_TRUE(view.wait_for(room, soon()));
  ASSERT_TRUE(writer.commit());
  EXPECT_TRUE(view.finish(soon()) == error_kind::corrupt);
  EXPECT_TRUE(consumer->get_view(hop, "k", {soon()}) == error_kind::corrupt);
}

TEST_F(shm_growing, without_a_checksum_nothing_is_summed) {
  checksum = false;
  begin();
  write(100);
  ASSERT_TRUE(view.wait_for(100, soon()));
  EXPECT_TRUE(is_data(view.bytes(), 100));
  write(room);
  ASSERT_TRUE(writer.commit());
  auto const whole = view.finish(soon());
  ASSERT_TRUE(whole);
  EXPECT_TRUE(is_data(whole->bytes(), room));
  EXPECT_EQ(whole->info().checksum_by, checksum_kind::none);
}

TEST_F(shm_growing, a_wait_is_cancelled_and_may_be_asked_again) {
  begin();
  std::stop_source stop;
  std::jthread const later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    stop.request_stop();
  });
  EXPECT_TRUE(view.wait_for(1, soon(), stop.get_token()) == error_kind::cancelled);
  write(1);
  EXPECT_TRUE(view.wait_for(1, soon()));
}

TEST_F(shm_growing, both_ends_may_be_closed_in_the_middle) {
  begin();
  write(10);
  ASSERT_TRUE(view.wait_for(10, soon()));
  consumer->close();
  EXPECT_TRUE(view.wait_for(11, soon()) == error_kind::closed);
  EXPECT_TRUE(view.bytes().empty());
  consumer = open();
  view = find();
  producer->close();
  EXPECT_TRUE(view.wait_for(11, soon()) == error_kind::aborted);
  EXPECT_TRUE(writer.advance(20)) << "nobody hears it";
  EXPECT_TRUE(writer.commit() == error_kind::closed);
  auto const errors = consumer->health().errors;
  EXPECT_FALSE(errors.empty());
}

TEST_F(shm_growing, both_ends_may_outlive_their_connectors) {
  begin();
  producer.reset();
  EXPECT_TRUE(view.wait_for(1, soon()) == error_kind::aborted);
  EXPECT_TRUE(writer.commit() == error_kind::closed);
  producer = open();
  writer = *put_growing(*producer, hop, "k", room);
  view = find();
  consumer.reset();
  EXPECT_TRUE(view.wait_for(1, soon()) == error_kind::closed);
}

TEST_F(shm_growing, one_beyond_the_memory_is_refused_and_leaves_nothing) {
  producer = open();
  EXPECT_TRUE(put_growing(*producer, hop, "k", std::size_t{1} << 40U) == error_kind::no_space);
  EXPECT_TRUE(producer->put(hop, "k", const_bytes(data)));
}

// Whatever somebody writes there: no more is read than there is room for.
TEST_F(shm_growing, a_step_beyond_the_room_is_not_believed) {
  checksum = false;  // a sum would not be made of more
  begin();
  auto dir = shm::directory::open(space.paths(), {}, false);
  ASSERT_TRUE(dir);
  dir->open_gate();
  for (std::uint32_t i = 0; i != dir->layout().slots; ++i)
    if (shm::control::is_object(dir->slot_at(i).ctl.load())) dir->slot_at(i).advanced.store(~std::uint64_t{0} - 5);
  auto const there = view.wait_for(room, soon());
  ASSERT_TRUE(there);
  EXPECT_EQ(there->size(), room);
}

// --- what a review found ----------------------------------------------------------------------------------------------------

// It was whole, and its claim was held: who drops it then takes it from those who come later.
TEST_F(shm_growing, one_that_is_dropped_when_it_is_whole_is_its_readers) {
  begin();
  write(room);
  ASSERT_TRUE(view.wait_for(room, soon()));
  ASSERT_TRUE(writer.commit());
  EXPECT_EQ(*consumer->cleanup(hop, "k"), 1U);
  auto const whole = view.finish(soon());
  ASSERT_TRUE(whole) << whole.error().message();
  EXPECT_TRUE(is_data(whole->bytes(), room));
}

// Arenas that have not been read for long are unmapped, but not those that somebody reads in.
TEST_F(shm_growing, bytes_that_were_there_stay_where_they_are) {
  begin();
  write(room);
  ASSERT_TRUE(view.wait_for(room, soon()));
  auto const before = view.bytes();
  std::vector<void*> mapped;
  for (int i = 0; i != 10; ++i) {  // more than a reader keeps mapped of one producer
    int const fd = ::memfd_create("lent", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(fd, 4096), 0);
    void* const at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(at, MAP_FAILED);
    mutable_bytes const lent(static_cast<std::byte*>(at), 4096);
    auto const region = producer->adopt(lent);
    ASSERT_TRUE(region) << region.error().message();
    std::string const key = "lent-" + std::to_string(i);
    ASSERT_TRUE(producer->put_adopted(hop, key, lent.first(100)));
    ASSERT_TRUE(consumer->get_view(hop, key, {soon()}));
    ::close(fd);
    mapped.push_back(at);
  }
  ASSERT_TRUE(writer.commit());
  auto const whole = view.finish(soon());
  ASSERT_TRUE(whole) << whole.error().message();
  EXPECT_EQ(whole->bytes().data(), before.data());
  EXPECT_TRUE(is_data(whole->bytes(), room));
  for (void* const at : mapped) ::munmap(at, 4096);
}

// Each claim that is given back rings; who rang itself all the time never came to look at its deadline.
TEST_F(shm_growing, who_cannot_follow_waits_and_ends_at_its_deadline) {
  begin();
  view = {};
  auto dir = shm::directory::open(space.paths(), {}, false);
  ASSERT_TRUE(dir);
  dir->open_gate();
  for (std::uint32_t i = 0; i != dir->layout().slots; ++i)
    if (auto& s = dir->slot_at(i); shm::control::is_object(s.ctl.load())) s.lease = s.lease ^ 1U;
  set_failpoint_hook([](std::string_view name) noexcept {
    if (name == "shm.follow.claimed") claims.fetch_add(1);
  });
  claims = 0;
  EXPECT_TRUE(get_growing(*consumer, hop, "k", {in_a_moment()}) == error_kind::timed_out);
  EXPECT_TRUE(consumer->get_view(hop, "k", {in_a_moment()}) == error_kind::timed_out);
  EXPECT_LE(claims, 2) << "once each is enough";
  // And what changed meanwhile is not signed.
  EXPECT_TRUE(writer.commit() == error_kind::corrupt);
  EXPECT_TRUE(producer->put(hop, "k", const_bytes(data)));
}

TEST_F(shm_growing, its_end_outlasts_the_deadline_of_its_beginning) {
  put_options o;
  o.existing = on_existing::replace;
  o.until = in_a_moment();
  begin(o);
  write(room);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  auto dir = shm::directory::open(space.paths(), {}, false);
  ASSERT_TRUE(dir);
  dir->open_gate();
  std::uint32_t slot = 0, other = 0;
  while (!shm::control::is_object(dir->slot_at(slot).ctl.load())) ++slot;
  while (dir->participant_at(other).state.load() != shm::participant_state::live || other == dir->slot_at(slot).owner.load()) ++other;
  auto& lock = dir->lock_of(dir->home_of(dir->slot_at(slot).hash.load()));
  lock.store(std::uint64_t{dir->participant_at(other).epoch.load()} << 32U | (other + 1U));
  std::jthread const later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    lock.store(0);
  });
  auto const done = writer.commit();
  EXPECT_TRUE(done) << done.error().message();
}

TEST_F(shm_growing, a_closed_connector_gives_no_memory) {
  begin();
  write(room);
  ASSERT_TRUE(view.wait_for(room, soon()));
  auto const before = view.bytes();
  producer->close();
  writer.abort();
  EXPECT_TRUE(producer->reserve(100) == error_kind::closed);
  EXPECT_TRUE(is_data(before, room));
}

TEST_F(shm_growing, more_than_a_get_may_be_is_refused) {
  begin();
  connector_type::options o;
  o.transport = space.options();
  o.defaults.max_get_size = room - 1;
  auto const small = connector_type::open(o);
  ASSERT_TRUE(small);
  view = {};
  EXPECT_TRUE(get_growing(const_cast<connector_type&>(*small), hop, "k", {soon()}) == error_kind::too_large);
  view = find();
}

// Users of the transport alone.
TEST_F(shm_growing, one_that_is_taken_before_it_is_whole_is_given_back) {
  begin();
  view = {};
  key_scratch scratch;
  auto const wire = consumer->keying().make(hop, "k", scratch, max_key_size);
  find_options how;
  how.growing = true;
  shm_transport::get_op op;
  auto const found = consumer->transport().find(op, *wire, how);
  ASSERT_TRUE(found && *found == progress::done);
  auto hold = op.take();
  EXPECT_TRUE(hold.bytes().empty());
  hold.finish(disposition::consumed);
  EXPECT_TRUE(op.so_far().empty());
  ASSERT_TRUE(writer.commit());
  EXPECT_TRUE(consumer->get_view(hop, "k", {soon()}));
  EXPECT_TRUE(producer->put(hop, "k", const_bytes(data)));
}

// Each end a program of its own.
class shm_growing_process : public shm_test::process_test {};

TEST_F(shm_growing_process, it_is_read_while_another_process_writes_it) {
  auto const speaker = start(), listener = start(), late = start();
  EXPECT_EQ(speaker->ask("grow speech 5 3000000"), "ok");
  EXPECT_EQ(listener->ask("find speech 5"), "ok 3000000");
  EXPECT_EQ(listener->ask("wait 1 20"), "error timed_out");
  for (std::size_t const to : {1U, 1000U, 100'000U, 2'000'000U}) {
    std::string const n = std::to_string(to);
    listener->send("wait " + n + " 60000");
    EXPECT_EQ(speaker->ask("advance " + n), "ok");
    EXPECT_EQ(listener->answer(), "there " + n + " good");
  }
  late->send("get speech r 60000 5");
  listener->send("finish 0 60000");
  EXPECT_EQ(speaker->ask("commit"), "ok 2000000");
  EXPECT_EQ(listener->answer(), "whole 2000000 good");
  EXPECT_EQ(speaker->ask("put speech 5 100"), "ok 100") << "it was consumed";
  EXPECT_TRUE(late->answer().starts_with("got 100 good "));
  for (auto const* const each : {&speaker, &listener, &late}) EXPECT_EQ((*each)->quit(), 0);
}

TEST_F(shm_growing_process, the_death_of_its_producer_is_heard_and_its_memory_comes_back) {
  auto const witness = start();
  for (int round = 0; round != 5; ++round) {
    auto const speaker = start(), listener = start();
    EXPECT_EQ(speaker->ask("grow speech 5 3000000"), "ok");
    EXPECT_EQ(speaker->ask("advance 1000"), "ok");
    EXPECT_EQ(listener->ask("find speech 5"), "ok 3000000");
    EXPECT_EQ(listener->ask("wait 1000 60000"), "there 1000 good");
    listener->send("wait 1001 60000");
    EXPECT_EQ(speaker->kill(), shm_test::status_killed);
    EXPECT_EQ(listener->answer(), "error peer_lost");
    EXPECT_EQ(listener->ask("wait 1 60000"), "error peer_lost") << "and stays so";
    EXPECT_EQ(listener->quit(), 0);
  }
  EXPECT_TRUE(shm_test::eventually([this] { return left().size() == 1; })) << "the directory";
  EXPECT_EQ(witness->quit(), 0);
}

TEST_F(shm_growing_process, the_death_of_its_reader_leaves_it_to_the_next) {
  auto const speaker = start();
  EXPECT_EQ(speaker->ask("grow speech 5 3000000"), "ok");
  EXPECT_EQ(speaker->ask("advance 1000"), "ok");
  {
    auto const listener = start();
    EXPECT_EQ(listener->ask("find speech 5"), "ok 3000000");
    EXPECT_EQ(listener->kill(), shm_test::status_killed);
  }
  auto const next = start();
  EXPECT_EQ(next->ask("find speech 5"), "ok 3000000");
  EXPECT_EQ(speaker->ask("commit"), "ok 1000");
  EXPECT_EQ(next->ask("finish 0 60000"), "whole 1000 good");
  EXPECT_EQ(speaker->quit(), 0);
  EXPECT_EQ(next->quit(), 0);
}

TEST_F(shm_growing_process, one_whose_producer_is_stopped_says_so_at_the_deadline_and_goes_on_afterwards) {
  auto const speaker = start(), listener = start();
  EXPECT_EQ(speaker->ask("grow speech 5 3000000"), "ok");
  EXPECT_EQ(listener->ask("find speech 5"), "ok 3000000");
  speaker->stop("advance 1000", "shm.put.advanced");
  EXPECT_EQ(listener->ask("wait 1000 60000"), "there 1000 good") << "it was there before it was stopped";
  EXPECT_EQ(listener->ask("wait 1001 500"), "error peer_stalled");
  speaker->signal(SIGCONT);
  EXPECT_EQ(speaker->answer(), "ok");
  EXPECT_EQ(speaker->ask("commit"), "ok 1000");
  EXPECT_EQ(listener->ask("finish 0 60000"), "whole 1000 good");
  EXPECT_EQ(speaker->quit(), 0);
  EXPECT_EQ(listener->quit(), 0);
}

}  // namespace
