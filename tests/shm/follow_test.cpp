// SPDX-License-Identifier: Apache-2.0
// Reading an object while it is being written: who waits claims it, sums behind the copy, and has it the moment it is whole. Nothing here is left to chance: the writer goes on when
// the failpoint says that it is followed.
#include <omniconn/transport/shm.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/allocator/pool.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;
namespace shm = omniconn::detail::shm;
using connector_type = connector<shm_transport, raw_serializer, raw_keying, pool_allocator>;
constexpr edge hop{"producer", "consumer"};
constexpr std::size_t size = 100'000;

std::function<void()>* on_claim = nullptr;
std::atomic<int> claimed{0}, whole{0}, let_go{0}, read_behind{0}, waiting{0};

void at_failpoint(std::string_view name) noexcept {
  if (name == "shm.follow.whole") whole.fetch_add(1);
  if (name == "shm.follow.let_go") let_go.fetch_add(1);
  if (name == "shm.follow.read") read_behind.fetch_add(1);
  if (name == "shm.get.waiting") waiting.fetch_add(1);
  if (name != "shm.follow.claimed") return;
  claimed.fetch_add(1);
  if (on_claim == nullptr) return;
  auto* const once = std::exchange(on_claim, nullptr);
  (*once)();
}

class shm_follow : public testing::Test {
 protected:
  shm_follow() {
    claimed = whole = let_go = read_behind = waiting = 0;
    for (std::size_t i = 0; i != size; ++i) data[i] = static_cast<std::byte>(i * 31 + i / 251);
    set_failpoint_hook(&at_failpoint);
  }
  ~shm_follow() override {
    set_failpoint_hook(nullptr);
    on_claim = nullptr;
  }
  std::optional<connector_type> open(std::chrono::nanoseconds spin = std::chrono::seconds(10)) {
    connector_type::options o;
    o.transport = space.options();
    o.transport.spin = spin;
    auto c = connector_type::open(o);
    EXPECT_TRUE(c) << c.error().message();
    return c ? std::optional(std::move(*c)) : std::nullopt;
  }
  /// Begins a put of `data` under "k".
  void begin(shm_transport::put_op& op, on_existing existing = on_existing::fail, std::uint32_t readers = 1) {
    block = *producer->reserve(size);
    const_bytes const piece = block.bytes();
    publish_options how;
    how.existing = existing;
    how.readers = {readers, {}};
    object_info info;
    info.size = size;
    info.checksum_by = checksum_kind::xxh3_64;
    auto const begun = producer->transport().begin(op, "k", {pieces(&piece, 1), 0, [](std::uint64_t) noexcept { returned.fetch_add(1); }}, info, how);
    ASSERT_TRUE(begun) << begun.error().message();
  }
  void write(shm_transport::put_op& op, std::size_t from, std::size_t to) {
    std::copy(data.begin() + static_cast<std::ptrdiff_t>(from), data.begin() + static_cast<std::ptrdiff_t>(to), block.bytes().begin() + static_cast<std::ptrdiff_t>(from));
    producer->transport().advance(op, to);
  }
  result<progress> commit(shm_transport::put_op& op) {
    object_info info;
    info.size = size;
    info.checksum_by = checksum_kind::xxh3_64;
    info.checksum = checksum(data);
    return producer->transport().commit(op, info);
  }
  template <class Condition> static bool eventually(Condition const& holds) {
    auto const end = deadline::after(std::chrono::seconds(30));
    while (!holds() && !end.passed()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return holds();
  }
  void finish(shm_transport::put_op& op) {
    write(op, 0, size);
    EXPECT_TRUE(commit(op));
  }
  static get_options by(std::chrono::milliseconds patience) {
    get_options o;
    o.until = deadline::after(patience);
    return o;
  }
  [[nodiscard]] bool is_data(const_bytes got) const { return got.size() == size && std::equal(got.begin(), got.end(), data.begin()); }
  /// Waits for what was begun; another producer puts the key with `replace` as soon as it is followed.
  void get_what_replaces_it() {
    auto other = open();
    std::function<void()> go_on = [&] {
      put_options replacing;
      replacing.existing = on_existing::replace;
      ASSERT_TRUE(other->put(hop, "k", const_bytes(data), replacing));
    };
    on_claim = &go_on;
    auto const view = consumer->get_view(hop, "k", by(std::chrono::seconds(30)));
    ASSERT_TRUE(view) << view.error().message();
    EXPECT_TRUE(is_data(view->bytes()));
    EXPECT_EQ(let_go, 1);
  }
  [[nodiscard]] shm::claim::state place() const {
    auto dir = shm::directory::open(space.paths(), {}, false);
    EXPECT_TRUE(dir);
    dir->open_gate();
    auto state = shm::claim::state::empty;
    for (std::uint32_t i = 0; i != dir->layout().slots; ++i)
      if (shm::control::is_object(dir->slot_at(i).ctl.load())) state = shm::claim::state_of(dir->claim_at(i, 0).load());
    return state;
  }

  shm_test::fresh_space space;
  std::vector<std::byte> data = std::vector<std::byte>(size);
  std::optional<connector_type> producer = open(), consumer = open();
  connector_type::reservation block;
  static inline std::atomic<int> returned{0};
};

TEST_F(shm_follow, who_waits_has_the_object_when_it_is_whole) {
  shm_transport::put_op op;
  begin(op);
  std::function<void()> go_on = [&] {
    EXPECT_EQ(place(), shm::claim::state::hold) << "before it is whole";
    write(op, 0, 40'000);
    write(op, 40'000, size);
    EXPECT_TRUE(commit(op));
  };
  on_claim = &go_on;
  auto const view = consumer->get_view(hop, "k", by(std::chrono::seconds(30)));
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_TRUE(is_data(view->bytes()));
  EXPECT_EQ(claimed, 1);
  EXPECT_EQ(whole, 1);
  EXPECT_EQ(let_go, 0);
}

// What was read behind the writer is what the sum is made of, and no second look hides what it was.
TEST_F(shm_follow, bytes_that_change_after_they_were_read_are_found_by_the_sum_that_was_made_meanwhile) {
  shm_transport::put_op op;
  begin(op);
  std::function<void()> go_on = [&] {
    std::fill(block.bytes().begin(), block.bytes().end(), std::byte{1});
    producer->transport().advance(op, 65'536);
  };
  on_claim = &go_on;
  std::thread writer([&] {
    while (read_behind == 0) std::this_thread::yield();
    finish(op);
  });
  auto const view = consumer->get_view(hop, "k", by(std::chrono::seconds(30)));
  writer.join();
  EXPECT_TRUE(view == error_kind::corrupt);
  auto const again = consumer->get_view(hop, "k", by(std::chrono::seconds(30)));
  EXPECT_TRUE(again) << "it is there, and what is there now is right";
}

TEST_F(shm_follow, a_put_that_is_given_up_is_let_go_and_the_next_is_had) {
  shm_transport::put_op op;
  begin(op);
  std::function<void()> go_on = [&] {
    write(op, 0, 40'000);
    producer->transport().abort(op);
    EXPECT_EQ(place(), shm::claim::state::hold) << "the memory stays until who reads it has noticed";
    ASSERT_TRUE(producer->put(hop, "k", const_bytes(data)));
  };
  on_claim = &go_on;
  auto const view = consumer->get_view(hop, "k", by(std::chrono::seconds(30)));
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_TRUE(is_data(view->bytes()));
  EXPECT_EQ(let_go, 1);
}

TEST_F(shm_follow, an_object_that_another_replaces_is_let_go) {
  shm_transport::put_op op;
  begin(op);
  get_what_replaces_it();
  EXPECT_TRUE(commit(op) == error_kind::already_exists);
}

TEST_F(shm_follow, a_deadline_ends_it_and_the_share_is_anothers) {
  shm_transport::put_op op;
  begin(op);
  EXPECT_TRUE(consumer->get_view(hop, "k", by(std::chrono::milliseconds(200))) == error_kind::timed_out);
  EXPECT_EQ(claimed, 1);
  EXPECT_EQ(place(), shm::claim::state::empty);
  finish(op);
  auto another = by(std::chrono::seconds(30));
  another.reader = "another";
  EXPECT_TRUE(consumer->get_view(hop, "k", another));
}

TEST_F(shm_follow, cancelling_and_closing_end_it) {
  for (bool const closes : {false, true}) {
    shm_transport::put_op op;
    begin(op);
    std::stop_source stop;
    std::thread closer;
    std::function<void()> go_on = [&] {
      if (!closes) stop.request_stop();
      if (closes) closer = std::thread([&] { consumer->close(); });  // which waits for the get
    };
    on_claim = &go_on;
    auto o = by(std::chrono::seconds(30));
    o.stop = stop.get_token();
    EXPECT_TRUE(consumer->get_view(hop, "k", o) == (closes ? error_kind::closed : error_kind::cancelled));
    if (closer.joinable()) closer.join();
    EXPECT_EQ(place(), shm::claim::state::empty);
    producer->transport().abort(op);
  }
}

TEST_F(shm_follow, two_readers_follow_one_writer) {
  auto second = open();
  shm_transport::put_op op;
  begin(op, on_existing::fail, 2);
  std::thread writer([&] {
    while (claimed < 2) std::this_thread::yield();
    finish(op);
  });
  std::thread one([&] { EXPECT_TRUE(consumer->get_view(hop, "k", by(std::chrono::seconds(30)))); });
  auto o = by(std::chrono::seconds(30));
  o.reader = "second";
  auto const view = second->get_view(hop, "k", o);
  EXPECT_TRUE(view && is_data(view->bytes()));
  one.join();
  writer.join();
  EXPECT_EQ(whole, 2);
}

// It sleeps before the put begins, is woken by that, and then stays awake as long as the writer gets on.
TEST_F(shm_follow, who_sleeps_is_woken_when_a_put_begins) {
  auto sleeper = open(std::chrono::nanoseconds(0));
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) return;  // the writer needs it
  shm_transport::put_op op;
  std::thread writer([&] {
    while (waiting == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that it sleeps; else it sees the put by itself
    begin(op);
    EXPECT_TRUE(eventually([] { return claimed != 0; }));
    write(op, 0, 40'000);
    write(op, 40'000, size);
    EXPECT_TRUE(commit(op));
  });
  auto const view = sleeper->get_view(hop, "k", by(std::chrono::seconds(120)));
  writer.join();
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_TRUE(is_data(view->bytes()));
  EXPECT_EQ(claimed, 1);
}

// It has slept through the end of the writer: nobody else would tell it that the memory is wanted back.
TEST_F(shm_follow, who_sleeps_over_a_put_that_is_given_up_is_woken) {
  auto sleeper = open(std::chrono::nanoseconds(0));
  shm_transport::put_op op;
  begin(op);
  std::stop_source stop;
  auto o = by(std::chrono::seconds(60));
  o.stop = stop.get_token();
  std::thread waiter([&] { EXPECT_TRUE(sleeper->get_view(hop, "k", o) == error_kind::cancelled); });
  ASSERT_TRUE(eventually([&] { return waiting != 0 && (claimed != 0 || ::sysconf(_SC_NPROCESSORS_ONLN) < 2); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that it sleeps; else it notices by itself
  producer->transport().abort(op);
  EXPECT_TRUE(eventually([&] { return let_go == claimed; }));
  stop.request_stop();
  waiter.join();
}

// Two puts that replace do not beat each other: whichever is whole first is there.
TEST_F(shm_follow, an_object_that_is_there_is_not_missed_for_one_that_is_not) {
  shm_transport::put_op op;
  begin(op, on_existing::replace);
  get_what_replaces_it();
}

// An end that says fewer bytes than the beginning: what was summed is not what is there.
TEST_F(shm_follow, an_object_that_becomes_shorter_is_summed_anew) {
  shm_transport::put_op op;
  begin(op);
  std::function<void()> go_on = [&] {
    write(op, 0, size);
    object_info info;
    info.size = 50'000;
    info.checksum_by = checksum_kind::xxh3_64;
    info.checksum = checksum(const_bytes(data).first(50'000));
    EXPECT_TRUE(producer->transport().commit(op, info));
  };
  on_claim = &go_on;
  auto const view = consumer->get_view(hop, "k", by(std::chrono::seconds(30)));
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_EQ(view->bytes().size(), 50'000U);
}

TEST_F(shm_follow, a_get_into_memory_of_the_caller_follows_as_well) {
  shm_transport::put_op op;
  begin(op);
  std::function<void()> go_on = [&] {
    finish(op);
  };
  on_claim = &go_on;
  std::vector<std::byte> into(size);
  ASSERT_TRUE(consumer->get_into(hop, "k", into, by(std::chrono::seconds(30))));
  EXPECT_TRUE(is_data(into));
  EXPECT_EQ(claimed, 1);
}

TEST_F(shm_follow, what_is_told_of_a_put_that_has_ended_changes_nothing) {
  shm_transport::put_op op;
  begin(op);
  producer->transport().abort(op);
  producer->transport().advance(op, size);
  begin(op);
  finish(op);
  producer->transport().advance(op, 0);
  auto const view = consumer->get_view(hop, "k", by(std::chrono::seconds(30)));
  EXPECT_TRUE(view && is_data(view->bytes()));
  producer->close();
  producer->transport().advance(op, size);
}

TEST_F(shm_follow, the_block_of_a_put_that_is_refused_is_the_callers) {
  ASSERT_TRUE(producer->put(hop, "k", const_bytes(data)));
  returned = 0;
  shm_transport::put_op op;
  block = *producer->reserve(size);
  const_bytes const piece = block.bytes();
  EXPECT_TRUE(producer->transport().begin(op, "k", {pieces(&piece, 1), 7, [](std::uint64_t) noexcept { returned.fetch_add(1); }}, {.size = size}, {}) == error_kind::already_exists);
  producer->transport().reclaim([](std::uint64_t) {});
  EXPECT_EQ(returned, 0);
  EXPECT_EQ(producer->health().objects.used, 1U);
}

TEST_F(shm_follow, a_get_that_does_not_wait_takes_no_part) {
  shm_transport::put_op op;
  begin(op);
  EXPECT_TRUE(consumer->get_view(hop, "k", {deadline::immediate()}) == error_kind::not_found);
  EXPECT_EQ(claimed, 0);
}

// A put that ends while somebody reads it keeps its block until that has noticed.
TEST_F(shm_follow, the_block_of_a_put_that_was_given_up_comes_back_when_nobody_reads_it) {
  shm_transport::put_op op;
  begin(op);
  auto const count = [&] { return producer->transport().reclaim([](std::uint64_t) {}); };
  returned = 0;
  int while_read = 99;
  std::function<void()> go_on = [&] {
    producer->transport().abort(op);
    count();
    while_read = returned;
  };
  on_claim = &go_on;
  EXPECT_TRUE(consumer->get_view(hop, "k", by(std::chrono::milliseconds(50))) == error_kind::timed_out);
  EXPECT_EQ(while_read, 0);
  count();
  EXPECT_EQ(returned, 1);
  EXPECT_EQ(producer->health().objects.used, 0U);
}

}  // namespace
