// SPDX-License-Identifier: Apache-2.0
// What the suite for all transports does not ask of shared memory: its leases, its directory, its limits, puts that meet halfway.
#include <omniconn/transport/shm.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/testing/conformance/transport_side.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;
namespace shm = omniconn::detail::shm;

// The format: sizes are what docs/transports/shm.md says, whatever the compiler.
static_assert(sizeof(shm::header) == 128 && sizeof(shm::participant) == 128 && sizeof(shm::slot) == 256);
static_assert(alignof(shm::slot) == 64 && std::is_standard_layout_v<shm::slot> && offsetof(shm::slot, checksum) == 64 && offsetof(shm::slot, room) == 128);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint16_t>::is_always_lock_free, "words between processes cannot hide a lock");
static_assert(transport_policy<shm_transport> && std::is_nothrow_move_constructible_v<shm_transport> && std::is_nothrow_move_constructible_v<shm_transport::hold>);

class shm_test : public testing::Test {
 protected:
  using side = transport_side<shm_transport>;

  std::unique_ptr<side> open(shm_transport::options const& o) {
    auto t = shm_transport::open(o);
    if (!t) {
      ADD_FAILURE() << t.error().message();
      std::abort();
    }
    return std::make_unique<side>(std::move(*t), deadline::after(std::chrono::seconds(60)));
  }
  std::unique_ptr<side> open() { return open(options()); }
  shm_transport::options options() {
    auto o = space.options();
    o.max_keys = 64;
    o.memory_pool_size = std::uint64_t{64} << 20U;
    return o;
  }
  /// The directory of the namespace, looked at from outside.
  shm::directory directory() {
    auto d = shm::directory::open(space.paths(), {}, false);
    if (!d) {
      ADD_FAILURE() << d.error().message();
      std::abort();
    }
    d->open_gate();
    return std::move(*d);
  }
  static result<side::received> look(side& s, std::string_view key, std::string_view reader = {}, locator const* where = nullptr) {
    find_options how;
    how.wait = false;
    how.reader = reader;
    how.where = where;
    return s.get(key, deadline::immediate(), how);
  }
  static void read(side& s, std::string_view key, const_bytes data) {
    auto got = look(s, key);
    ASSERT_TRUE(got) << key << ": " << got.error().message();
    EXPECT_TRUE(same_bytes(got->bytes, data)) << key;
    got->hold.finish(disposition::consumed);
  }

  ::shm_test::fresh_space space;
};

// An operation may be used for one get after another.
TEST_F(shm_test, an_operation_that_is_used_again_has_nothing_of_the_last_object) {
  auto producer = open();
  auto consumer = open();
  for (std::size_t const size : {std::size_t{100}, std::size_t{100'000}}) {
    shm_transport::get_op op;
    auto const get = [&](std::string_view key) {
      find_options how;
      how.wait = false;
      auto const now = (*consumer)->find(op, key, how);
      EXPECT_TRUE(now && *now == progress::done);
      return op.take();
    };
    ASSERT_TRUE(producer->put("full", test_pattern(size, 1)));
    auto first = get("full");
    EXPECT_EQ(first.bytes().size(), size);
    first.finish(disposition::consumed);
    ASSERT_TRUE(producer->put("empty", {}));
    auto second = get("empty");
    EXPECT_EQ(second.bytes().size(), 0U);
    EXPECT_EQ(second.arena(), nullptr);
    second.finish(disposition::consumed);
  }
}

// One that one thread has takes its user in before there is an object.
TEST_F(shm_test, an_operation_that_finds_nothing_leaves_what_it_had_found_before_alone) {
  auto producer = open();
  auto consumer = open();
  ASSERT_TRUE(producer->put("a key", test_pattern(100, 1)));
  shm_transport::get_op op;
  find_options how;
  how.wait = false;
  how.alone = true;
  auto now = (*consumer)->find(op, "a key", how);
  ASSERT_TRUE(now && *now == progress::done);
  auto first = op.take();
  EXPECT_TRUE((*consumer)->find(op, "another", how) == error_kind::not_found);
  ASSERT_TRUE((*consumer)->cancel(op));
  EXPECT_TRUE(look(*consumer, "a key") == error_kind::not_found) << "it is still held";
  EXPECT_TRUE(same_bytes(first.bytes(), test_pattern(100, 1)));
  first.finish(disposition::give_back);
  read(*consumer, "a key", test_pattern(100, 1));
}

// It is used again, also with another transport, and keeps nobody meanwhile.
TEST_F(shm_test, an_operation_that_failed_keeps_no_participant) {
  ::shm_test::fresh_space elsewhere;
  auto first = open();
  auto second = shm_transport::open(elsewhere.options());
  ASSERT_TRUE(second);
  object_info info;
  info.size = 16;
  ASSERT_TRUE(second->put_whole("k", test_pattern(16, 1), info, {}));
  shm_transport::get_op op;
  find_options how;
  how.wait = false;
  how.alone = true;
  EXPECT_TRUE((*first)->find(op, "k", how) == error_kind::not_found);
  (*first)->close();
  EXPECT_TRUE(shm_transport::files(options()).empty()) << "it was the last, and has left";
  auto const now = second->find(op, "k", how);
  ASSERT_TRUE(now && *now == progress::done);
  op.take().finish(disposition::consumed);
  EXPECT_FALSE(second->exists("k").value_or(true));
}

TEST_F(shm_test, who_closes_is_the_last_also_where_others_wait) {
  auto consumer = open();
  shm_transport::get_op op;
  std::atomic<bool> waits = false, closed = false;
  std::jthread waiter([&] {
    find_options how;
    how.alone = true;
    auto const now = (*consumer)->find(op, "k", how);
    EXPECT_TRUE(now && *now == progress::pending);
    operation* const ops[]{&op};
    waits = true;
    EXPECT_TRUE((*consumer)->wait(ops, deadline::never(), {}) == error_kind::closed);
    while (!closed) std::this_thread::yield();  // with the operation
  });
  while (!waits) std::this_thread::yield();
  (*consumer)->close();
  EXPECT_TRUE(shm_transport::files(options()).empty());
  closed = true;
}

// A small object that is `plain` does without its slot's second line; what that says is of the one before.
TEST_F(shm_test, small_objects_with_and_without_details_take_turns_in_a_slot) {
  auto producer = open();
  auto consumer = open();
  auto const dir = directory();
  auto const data = test_pattern(40, 3);
  for (int round = 0; round != 3; ++round)
    for (int what = 0; what != 4; ++what) {
      object_info info;
      info.size = data.size();
      info.kind = payload_kind::object;
      if (what == 1) info.trace = 77;
      if (what == 2) {
        info.checksum_by = checksum_kind::xxh3_64;
        info.checksum = 5;
      }
      if (what == 3) {
        ASSERT_TRUE(producer->put("k", test_pattern(300, 9)));  // in a block
        read(*consumer, "k", test_pattern(300, 9));
      }
      publish_options how;
      ASSERT_TRUE((*producer)->put_whole("k", data, info, how));
      auto& s = dir.slot_at(dir.home_of(dir.hash("k")));
      bool const is_plain = (s.kind & shm::slot::plain) != 0;
      EXPECT_EQ(is_plain, what == 0 || what == 3);
      if (is_plain)
        for (auto* word : {&s.arena, &s.offset, &s.key_at, &s.trace, &s.checksum}) *word = 0xdead'beef;  // of anything
      shm_transport::get_op op;
      find_options wanted;
      wanted.wait = false;
      auto const now = (*consumer)->find(op, "k", wanted);
      ASSERT_TRUE(now && *now == progress::done) << what;
      EXPECT_EQ(op.info().trace, info.trace);
      EXPECT_EQ(op.info().checksum, info.checksum);
      EXPECT_EQ(op.info().checksum_by, info.checksum_by);
      EXPECT_EQ(op.info().kind, payload_kind::object);
      auto hold = op.take();
      EXPECT_TRUE(same_bytes(hold.bytes(), data));
      hold.finish(disposition::consumed);
    }
}

// Which of two generations is later has an answer as long as they are less than 2^23 apart.
TEST_F(shm_test, places_that_nobody_took_for_millions_of_objects_are_free) {
  auto producer = open();
  auto consumer = open();
  auto const dir = directory();
  std::uint32_t const home = dir.home_of(dir.hash("k"));
  std::uint64_t const generation = shm::claims_renewed_after * 9 - 1;
  dir.slot_at(home).ctl.store(shm::control::free(generation));
  dir.claim_at(home, 0).store(shm::claim::make(generation + 10, 3, 4, false, shm::claim::state::hold));  // or of 2^24 - 10 objects ago
  ASSERT_TRUE(producer->put("k", test_pattern(100, 1)));
  read(*consumer, "k", test_pattern(100, 1));
  EXPECT_EQ(dir.slot_at(home).ctl.load(), shm::control::free(generation + 1));
}

// --- puts that meet halfway ---------------------------------------------------------------------------------------------------

/// A put that stops between begin and commit.
struct half_put {
  half_put(transport_side<shm_transport>& s, wire_key key, const_bytes data, on_existing existing) : side(s), block(s.block(data.size())) {
    std::copy(data.begin(), data.end(), block->bytes.begin());
    piece = block->bytes;
    info.size = data.size();
    publish_options how;
    how.existing = existing;
    begun = s->begin(op, key, side.hand_over(piece, *block), info, how);
  }
  result<progress> commit() { return side->commit(op, info); }
  transport_side<shm_transport>& side;
  sent_block* block;
  const_bytes piece;
  object_info info;
  shm_transport::put_op op;
  result<progress> begun{error_kind::io, ""};
};

TEST_F(shm_test, a_replacing_put_beats_one_that_has_not_committed) {
  auto a = open();
  auto b = open();
  auto const first = test_pattern(100, 1), second = test_pattern(100, 2);
  half_put slow(*a, "key", first, on_existing::fail);
  ASSERT_TRUE(slow.begun);
  publish_options replacing;
  replacing.existing = on_existing::replace;
  auto const quick = b->put("key", second, replacing);
  ASSERT_TRUE(quick);
  EXPECT_TRUE(slow.commit() == error_kind::already_exists) << "never two objects under one key";
  EXPECT_TRUE(a->operator*().step(slow.op) == error_kind::already_exists);
  a->reclaim();
  EXPECT_EQ(slow.block->returned.load(), 1) << "its block comes back";
  read(*a, "key", second);
  EXPECT_TRUE(look(*a, "key") == error_kind::not_found);
  EXPECT_TRUE(a->put("key", first)) << "and the key is free";
  read(*b, "key", first);
}

TEST_F(shm_test, of_two_replacing_puts_the_later_commit_stays) {
  auto a = open();
  auto b = open();
  auto const first = test_pattern(100, 1), second = test_pattern(100, 2);
  half_put one(*a, "key", first, on_existing::replace);
  half_put two(*b, "key", second, on_existing::replace);
  ASSERT_TRUE(one.begun);
  ASSERT_TRUE(two.begun);
  ASSERT_TRUE(two.commit());
  ASSERT_TRUE(one.commit());
  read(*b, "key", first);
  EXPECT_TRUE(look(*b, "key") == error_kind::not_found);
  b->reclaim();
  EXPECT_EQ(two.block->returned.load(), 1);
}

TEST_F(shm_test, a_put_is_beaten_once_and_only_by_its_own_key) {
  auto a = open();
  half_put slow(*a, "key", test_pattern(100, 1), on_existing::fail);
  half_put other(*a, "other", test_pattern(100, 2), on_existing::fail);
  publish_options replacing;
  replacing.existing = on_existing::replace;
  for (std::uint64_t i = 0; i != 3; ++i) ASSERT_TRUE(a->put("key", test_pattern(50, i), replacing));
  EXPECT_TRUE(slow.commit() == error_kind::already_exists);
  EXPECT_TRUE(slow.commit() == error_kind::misconfigured) << "there is nothing left to commit";
  EXPECT_TRUE(other.commit());
  read(*a, "key", test_pattern(50, 2));
  read(*a, "other", test_pattern(100, 2));
  a->reclaim();
  EXPECT_EQ((*a)->report().objects.used, 0U) << "no slot is kept";
}

TEST_F(shm_test, close_gives_up_what_was_begun_even_if_a_view_keeps_the_session) {
  auto a = open();
  auto b = open();
  ASSERT_TRUE(a->put("held", test_pattern(100, 1)));
  auto held = look(*a, "held");
  ASSERT_TRUE(held);
  half_put slow(*a, "key", test_pattern(100, 2), on_existing::fail);
  ASSERT_TRUE(slow.begun);
  EXPECT_TRUE(b->put("key", test_pattern(100, 3)) == error_kind::already_exists);
  (*a)->close();
  EXPECT_TRUE(b->put("key", test_pattern(100, 3))) << "the key is free at once";
  EXPECT_TRUE(slow.commit() == error_kind::closed);
  (*a)->abort(slow.op);
  a->reclaim();
  EXPECT_EQ(slow.block->returned.load(), 1);
  EXPECT_TRUE(same_bytes(held->bytes, test_pattern(100, 1)));
  held->hold.finish(disposition::consumed);
  read(*b, "key", test_pattern(100, 3));
}

// --- leases -------------------------------------------------------------------------------------------------------------------

TEST_F(shm_test, a_lease_begins_with_the_end_of_the_producer_and_ends_in_time) {
  constexpr std::uint64_t lease_ns = 50'000'000;
  auto reader = open();
  auto producer = open();
  publish_options how;
  how.lease = std::chrono::nanoseconds(lease_ns);
  auto const data = test_pattern(5000, 1);
  ASSERT_TRUE(producer->put("read", data, how));
  auto const put = producer->put("unread", data, how);
  ASSERT_TRUE(put);
  auto held = look(*reader, "read");
  ASSERT_TRUE(held);
  std::uint64_t const before = omniconn::detail::boot_time_ns();
  while (omniconn::detail::boot_time_ns() < before + lease_ns) std::this_thread::yield();
  EXPECT_TRUE((*reader)->exists("unread").value_or(false)) << "while its producer lives, no time ends it";
  std::uint64_t const going = omniconn::detail::boot_time_ns();
  producer->destroy();
  std::uint64_t const gone = omniconn::detail::boot_time_ns();  // the lease began between the two
  for (;;) {
    std::uint64_t const asked = omniconn::detail::boot_time_ns();
    bool const there = (*reader)->exists("unread").value_or(false);
    std::uint64_t const answered = omniconn::detail::boot_time_ns();
    if (answered < going + lease_ns) {
      ASSERT_TRUE(there) << "not before the lease has ended";
    }
    if (asked >= gone + lease_ns) {
      ASSERT_FALSE(there);
      break;
    }
    std::this_thread::yield();
  }
  auto const late = look(*reader, "unread", {}, &put->where);
  EXPECT_TRUE(late == error_kind::lease_expired || late == error_kind::stale_handle) << "a locator that is late is told so";
  EXPECT_TRUE(look(*reader, "unread") == error_kind::not_found);
  EXPECT_TRUE(reader->put("unread", data)) << "what has expired does not take the key";
  EXPECT_TRUE(same_bytes(held->bytes, data)) << "no time ends a hold";
  held->hold.finish(disposition::consumed);
  EXPECT_EQ(space.files().size(), 2U) << "the directory and the reader's own arena";
}

TEST_F(shm_test, a_lease_of_nothing_ends_at_once_and_the_longest_does_not_wrap) {
  auto reader = open();
  auto producer = open();
  publish_options how;
  auto const data = test_pattern(100, 1);
  how.lease = std::chrono::nanoseconds(0);
  ASSERT_TRUE(producer->put("none", data, how));
  how.lease = std::chrono::nanoseconds(-5);
  ASSERT_TRUE(producer->put("negative", data, how));
  how.lease = std::chrono::nanoseconds::max();
  ASSERT_TRUE(producer->put("longest", data, how));
  producer->destroy();
  EXPECT_TRUE(look(*reader, "none") == error_kind::not_found);
  EXPECT_TRUE(look(*reader, "negative") == error_kind::not_found);
  read(*reader, "longest", data);
  EXPECT_EQ(space.files().size(), 1U) << "the arena went with its last object";
  reader->destroy();
  EXPECT_TRUE(space.files().empty()) << "the directory with its last user";
}

TEST_F(shm_test, what_was_handed_on_survives_several_generations_of_processes) {
  auto const data = test_pattern(1000, 1);
  auto o = options();
  {
    auto producer = open(o);
    for (int i = 0; i != 20; ++i) ASSERT_TRUE(producer->put("key " + std::to_string(i), data));
  }
  for (int i = 0; i != 20; ++i) {  // each joins, reads one, leaves
    auto reader = open(o);
    read(*reader, "key " + std::to_string(i), data);
    ASSERT_TRUE(reader->put("of reader " + std::to_string(i), data));
  }
  auto last = open(o);
  for (int i = 0; i != 20; ++i) read(*last, "of reader " + std::to_string(i), data);
  EXPECT_EQ(space.files().size(), 1U);
  EXPECT_EQ((*last)->report().objects.used, 0U);
}

TEST_F(shm_test, a_producer_that_is_idle_leaves_no_memory_and_no_slots_to_want) {
  auto o = options();
  o.max_keys = 64;
  constexpr int slots = 128;  // so few that all are near any key's home
  auto busy = open(o);
  auto reader = open(o);
  auto const data = test_pattern(1000, 1);
  for (int burst = 0; burst != 3; ++burst) {
    for (int i = 0; i != slots; ++i) ASSERT_TRUE(busy->put("key " + std::to_string(i), data)) << i;
    EXPECT_EQ((*reader)->report().objects.used, static_cast<std::uint64_t>(slots));
    for (int i = 0; i != slots; ++i) read(*reader, "key " + std::to_string(i), data);
    EXPECT_EQ((*busy)->report().objects.used, 0U) << "what was read is not in use, whether its producer has looked or not";
    // It never puts again; others take its slots.
    auto other = open(o);
    for (int i = 0; i != slots; ++i) ASSERT_TRUE(other->put("other " + std::to_string(i), data)) << i;
    EXPECT_TRUE(busy->put("one more", data) == error_kind::no_space) << "now they are the other's";
    busy->reclaim();
    EXPECT_EQ(busy->returned(), slots * (burst + 1) + burst) << "its own blocks came home all the same";
    for (int i = 0; i != slots; ++i) read(*reader, "other " + std::to_string(i), data);
    EXPECT_TRUE(busy->put("one more", data)) << "and are taken back";
    read(*reader, "one more", data);
    busy->reclaim();
    EXPECT_EQ(busy->returned(), slots * (burst + 1) + burst + 1);
  }
}

TEST_F(shm_test, producers_that_take_slots_from_one_another_lose_nothing) {
  auto o = options();
  o.max_keys = 16;  // 32 slots for three producers that want up to 24 each
  constexpr int threads = 3, rounds = 400;
  std::atomic<int> lost{0}, puts{0};
  std::vector<std::thread> all;
  for (int who = 0; who != threads; ++who)
    all.emplace_back([&, who] {
      auto mine = open(o);
      int sent = 0;
      for (int round = 0; round != rounds; ++round) {
        int const burst = 1 + (round * 7 + who * 5) % 24;
        int done = 0;
        for (; done != burst; ++done)
          if (!mine->put(std::to_string(who) + "/" + std::to_string(done), test_pattern(64, static_cast<std::uint64_t>(done)))) break;
        for (int i = 0; i != done; ++i) {
          auto got = look(*mine, std::to_string(who) + "/" + std::to_string(i));
          if (!got || !same_bytes(got->bytes, test_pattern(64, static_cast<std::uint64_t>(i)))) lost.fetch_add(1);
          if (got) got->hold.finish(disposition::consumed);
        }
        sent += done;
        if (round % 50 == 0) mine->reclaim();
      }
      mine->reclaim();
      if (mine->returned() != sent) lost.fetch_add(1000);
      puts.fetch_add(sent);
    });
  for (auto& t : all) t.join();
  EXPECT_EQ(lost.load(), 0);
  EXPECT_GT(puts.load(), rounds) << "they do not only refuse one another";
}

TEST_F(shm_test, a_producer_that_leaves_takes_its_memory_along_even_if_a_reader_has_it_mapped) {
  constexpr std::size_t size = std::size_t{32} << 20U;
  auto reader = open();
  int arena = -1;
  auto const blocks = [&arena] {
    struct stat st {};
    EXPECT_EQ(::fstat(arena, &st), 0);
    return st.st_blocks;
  };
  {
    auto producer = open();
    ASSERT_TRUE(producer->put("key", test_pattern(size, 1)));
    ASSERT_TRUE(look(*reader, "key"));  // maps the arena, gives the object back
    read(*reader, "key", test_pattern(size, 1));
    for (auto const& file : shm_transport::files(options()))
      if (!file.ends_with(".dir") && !::shm_test::is_fifo(file)) arena = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(arena, 0);
    EXPECT_GE(blocks(), static_cast<blkcnt_t>(size / 512));
  }
  EXPECT_EQ(blocks(), 0) << "the file has no name and is mapped, and has no memory";
  ::close(arena);
}

// --- the directory ------------------------------------------------------------------------------------------------------------

TEST_F(shm_test, ten_thousand_keys) {
  constexpr std::uint32_t count = 10'000;
  auto o = options();
  o.max_keys = 1U << 14U;
  auto producer = open(o);
  auto consumer = open(o);
  std::vector<std::uint32_t> order(count);
  for (std::uint32_t i = 0; i != count; ++i) {
    order[i] = i;
    ASSERT_TRUE(producer->put("key " + std::to_string(i), test_pattern(i % 100, i))) << i;
  }
  EXPECT_EQ((*consumer)->report().objects.used, count);
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  for (std::uint32_t n = 0; n != count / 2; ++n) read(*consumer, "key " + std::to_string(order[n]), test_pattern(order[n] % 100, order[n]));
  std::size_t const erased = (*consumer)->erase_if([](wire_key key) { return key.ends_with('7'); }).value_or(0);
  std::size_t left = 0;
  for (std::uint32_t n = count / 2; n != count; ++n) {
    bool const was_erased = order[n] % 10 == 7;
    left += was_erased ? 0 : 1;
    ASSERT_EQ((*producer)->exists("key " + std::to_string(order[n])).value_or(was_erased), !was_erased) << order[n];
  }
  EXPECT_EQ(erased, count / 2 - left);
  EXPECT_EQ((*producer)->erase_if([](wire_key) { return true; }).value_or(0), left);
  EXPECT_EQ((*producer)->erase_if([](wire_key) { return true; }).value_or(9), 0U);
  producer->reclaim();
  EXPECT_EQ((*producer)->report().objects.used, 0U);
}

TEST_F(shm_test, keys_of_one_home_lie_behind_one_another_until_there_is_no_place_near) {
  auto o = options();
  o.max_keys = 1024;
  auto producer = open(o);
  auto consumer = open(o);
  auto const dir = directory();
  constexpr std::size_t places = shm::window;
  std::vector<std::string> keys;
  std::uint32_t const home = dir.home_of(dir.hash("0"));
  for (std::uint32_t n = 0; keys.size() != places + 1; ++n)
    if (std::string key = std::to_string(n); dir.home_of(dir.hash(key)) == home) keys.push_back(std::move(key));
  std::string const too_many = keys.back();
  keys.pop_back();
  for (int round = 0; round != 2; ++round) {
    for (std::size_t i = 0; i != places; ++i) ASSERT_TRUE(producer->put(keys[i], test_pattern(20, i))) << i;
    auto const refused = producer->put(too_many, test_pattern(20, 0));
    ASSERT_TRUE(refused == error_kind::no_space);
    EXPECT_NE(std::string_view(refused.error().text()).find("max_keys"), std::string_view::npos) << refused.error().text();
    EXPECT_FALSE((*consumer)->exists(too_many).value_or(true));
    for (std::size_t i = places; i-- != 0;) read(*consumer, keys[i], test_pattern(20, i));
    EXPECT_EQ(dir.slot_at(home).spread.load(), 0U) << "and its home knows that they are gone";
    ASSERT_TRUE(producer->put(too_many, test_pattern(20, 0))) << "there is place again";
    read(*consumer, too_many, test_pattern(20, 0));
  }
}

TEST_F(shm_test, what_came_back_is_found_wherever_it_lies) {
  auto producer = open();
  auto reader = open();
  for (int i = 0; i != 20; ++i) ASSERT_TRUE(producer->put(std::to_string(i), test_pattern(200, 1)));
  producer->reclaim();
  EXPECT_EQ(producer->returned(), 0);
  read(*reader, "10", test_pattern(200, 1));
  producer->reclaim();
  EXPECT_EQ(producer->returned(), 1) << "among older and newer ones that are still out";
}

// Room elsewhere is none: what is dropped for a key lies in its way.
TEST_F(shm_test, what_is_dropped_for_a_slot_lies_near_the_keys_home) {
  auto o = options();
  o.max_keys = 1024;
  auto producer = open(o);
  auto const dir = directory();
  std::uint32_t const home = dir.home_of(dir.hash("0"));
  auto const distance = [&](std::string const& key) { return (dir.home_of(dir.hash(key)) - home) & (dir.layout().slots - 1); };
  std::vector<std::string> far, near;
  for (std::uint32_t n = 0; near.size() != shm::window + 1; ++n) {
    std::string key = std::to_string(n);
    if (far.size() != 50 && distance(key) >= 2 * shm::window && distance(key) < dir.layout().slots - shm::window) {
      far.push_back(std::move(key));
    } else if (distance(key) == 0) {
      near.push_back(std::move(key));
    }
  }
  std::string const wanted = near.back();
  near.pop_back();
  for (auto const& key : far) ASSERT_TRUE(producer->put(key, test_pattern(200, 1)));  // the oldest
  for (auto const& key : near) ASSERT_TRUE(producer->put(key, test_pattern(200, 1)));
  ASSERT_TRUE(producer->put(wanted, test_pattern(200, 1)) == error_kind::no_space);
  EXPECT_TRUE((*producer)->drop_oldest());
  EXPECT_TRUE(producer->put(wanted, test_pattern(200, 1))) << "one was enough";
  for (auto const& key : far) EXPECT_TRUE((*producer)->exists(key).value_or(false)) << key;
  EXPECT_FALSE((*producer)->exists(near.front()).value_or(true));
}

TEST_F(shm_test, what_is_replaced_all_the_time_is_nearly_always_found) {
  auto producer = open();
  auto consumer = open();
  std::atomic<bool> stop{false};
  publish_options how;
  how.readers = reader_set::until_cleaned_up();
  how.existing = on_existing::replace;
  object_info info;
  info.size = 8;
  ASSERT_TRUE((*producer)->put_whole("key", test_pattern(8, 1), info, how));
  std::thread writer([&] {
    while (!stop) (void)(*producer)->put_whole("key", test_pattern(8, 1), info, how);
  });
  int missed = 0, gone = 0;
  for (int i = 0; i != 100'000; ++i) {
    if (!look(*consumer, "key")) ++missed;
    if (!(*consumer)->exists("key").value_or(false)) ++gone;
  }
  stop = true;
  writer.join();
  EXPECT_LT(missed + gone, 20) << "one look misses it a hundred times and more";
}

TEST_F(shm_test, as_many_keys_as_were_asked_for_find_a_place_whatever_they_are) {
  auto o = options();
  o.max_keys = 4096;
  auto producer = open(o);
  for (std::uint32_t i = 0; i != 4096; ++i) ASSERT_TRUE(producer->put("any key " + std::to_string(i * 7919), test_pattern(8, i))) << i;
  EXPECT_EQ((*producer)->report().objects.capacity, 4096U);
}

TEST_F(shm_test, locks_that_nobody_alive_holds_are_taken_over) {
  auto producer = open();
  auto const dir = directory();
  std::uint32_t me = 0;
  while (dir.participant_at(me).state.load() != shm::participant_state::live) ++me;
  std::uint64_t const epoch = dir.participant_at(me).epoch.load();
  std::array<std::uint64_t, 4> const left_behind{
      (epoch - 1) << 32U | (me + 1U),               // an earlier user of our own record
      std::uint64_t{1} << 32U | (200U + 1U),        // a record that nobody uses
      std::uint64_t{1} << 32U | 0xffff'fff0U,       // no record at all
      std::uint64_t{0xdead'beef} << 32U | 0U};
  for (std::uint64_t const word : left_behind) {
    for (std::uint32_t i = 0; i != dir.layout().slots; i += shm::slots_of_a_lock) dir.lock_of(i).store(word);
    auto const data = test_pattern(10, word);
    auto const put = producer->put("key", data);
    ASSERT_TRUE(put) << std::hex << word << ": " << put.error().message();
    read(*producer, "key", data);
  }
}

// Only among the eights of somebody who is putting there is room: he may be about to fill it, and is waited for, but never with a lock in hand that he may want.
TEST_F(shm_test, the_last_free_slots_are_waited_for_where_others_are_putting) {
  auto o = options();
  o.max_keys = 16;
  auto producer = shm_transport::open(o), another = shm_transport::open(o);
  ASSERT_TRUE(producer && another);
  auto const dir = directory();
  ASSERT_EQ(dir.layout().slots, 32U);
  for (std::uint32_t i = 8; i != 32; ++i) dir.slot_at(i).ctl.store(shm::control::make(0, shm::slot_state::ready, 0));
  std::uint32_t who = 0;
  while (dir.participant_at(who).pid == 0) ++who;
  std::uint64_t const mark = std::uint64_t{dir.participant_at(who + 1).epoch.load()} << 32U | (who + 2U);
  std::string key = "key";
  while (dir.home_of(dir.hash(key)) < 8) key += "'";
  auto const data = test_pattern(10, 1);
  auto const put = [&](std::chrono::milliseconds patience) {
    const_bytes const piece(data);
    publish_options how;
    how.until = deadline::after(patience);
    return producer->put_whole(key, piece, {.size = data.size()}, how);
  };
  dir.lock_of(0).store(mark);
  EXPECT_TRUE(put(std::chrono::milliseconds(20)) == error_kind::peer_stalled);
  std::jthread const later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (std::uint32_t i = 8; i != 32; i += 8) EXPECT_EQ(dir.lock_of(i).load(), 0U) << "waits with nothing in hand";
    dir.lock_of(0).store(0);
  });
  auto const done = put(std::chrono::seconds(30));
  ASSERT_TRUE(done) << done.error().message();
  std::uint32_t found = 0;
  for (std::uint32_t i = 0; i != 8; ++i) found += shm::control::state(dir.slot_at(i).ctl.load()) == shm::slot_state::ready ? 1U : 0U;
  EXPECT_EQ(found, 1U);
  // Of two such the one whose process is stopped does not keep the other's room from us, whichever is nearer.
  for (std::uint32_t const stopped : {0U, 8U}) {
    key += "'";
    while (dir.home_of(dir.hash(key)) < 16) key += "'";
    for (std::uint32_t i = 8; i != 16; ++i) dir.slot_at(i).ctl.store(shm::control::free(1));
    dir.lock_of(0).store(mark);
    dir.lock_of(8).store(mark);
    std::jthread const goes_on([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      dir.lock_of(8 - stopped).store(0);
    });
    EXPECT_TRUE(put(std::chrono::milliseconds(500)));
    dir.lock_of(stopped).store(0);
  }
  another->close();
  key += "'";
  while (dir.home_of(dir.hash(key)) < 8) key += "'";
  dir.lock_of(0).store(mark);  // a dead one's
  EXPECT_TRUE(put(std::chrono::seconds(30)));
}

TEST_F(shm_test, participants_are_limited_and_their_places_are_used_again) {
  auto o = options();
  o.max_keys = 16;
  std::vector<shm_transport> all;
  for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
    auto t = shm_transport::open(o);
    ASSERT_TRUE(t) << i << ": " << t.error().message();
    all.push_back(std::move(*t));
  }
  auto const refused = shm_transport::open(o);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), error_kind::no_space);
  EXPECT_NE(refused.error().message().find("256 participants"), std::string::npos) << refused.error().message();
  EXPECT_EQ(all[0].report().peers.size(), shm::max_participants - 1);
  all.erase(all.begin() + 100);
  EXPECT_TRUE(shm_transport::open(o));
}

TEST_F(shm_test, reader_names_are_limited_and_said) {
  auto c = open();
  ASSERT_TRUE(c->put("key", test_pattern(10, 1)));
  EXPECT_TRUE(look(*c, "key", std::string(57, 'r')) == error_kind::misconfigured);
  publish_options how;
  std::array<std::string_view, 2> names{"fine", ""};
  std::string const long_name(57, 'n');
  names[1] = long_name;
  how.readers = reader_set{2, names};
  EXPECT_TRUE(c->put("other", test_pattern(10, 1), how) == error_kind::misconfigured);
  names[1] = std::string_view();  // the empty name is a name
  ASSERT_TRUE(c->put("other", test_pattern(10, 1), how));
  result<side::received> got{error_kind::io, ""};
  std::uint32_t n = 0;
  for (; n != shm::max_names; ++n) {
    got = look(*c, "other", "reader " + std::to_string(n));
    if (!(got == error_kind::not_found)) break;
  }
  EXPECT_TRUE(got == error_kind::no_space) << "1,024 names, some of them in use before";
  EXPECT_GE(n, shm::max_names - 4);
  EXPECT_TRUE(look(*c, "other", "fine")) << "names that are known still work";
}

TEST_F(shm_test, namespaces_are_apart_and_the_environment_names_one) {
  ::shm_test::fresh_space elsewhere;
  auto here = open();
  auto there = open(elsewhere.options());
  ASSERT_TRUE(here->put("key", test_pattern(10, 1)));
  EXPECT_TRUE(look(*there, "key") == error_kind::not_found);
  ASSERT_EQ(::setenv("OMNICONN_NAMESPACE", elsewhere.name().c_str(), 1), 0);
  {
    auto named = open({});
    ASSERT_TRUE(named->put("key", test_pattern(10, 2)));
  }
  ::unsetenv("OMNICONN_NAMESPACE");
  read(*there, "key", test_pattern(10, 2));
  read(*here, "key", test_pattern(10, 1));
}

TEST_F(shm_test, the_environment_names_the_folder_where_files_lie) {
  std::string folder = ::shm_test::root() + "/folder-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  char const* const before = std::getenv("OMNICONN_SHM_DIRECTORY");
  std::string const kept = before != nullptr ? before : "";
  ASSERT_EQ(::setenv("OMNICONN_SHM_DIRECTORY", folder.c_str(), 1), 0);
  {
    auto there = open({});
    auto const files = shm_transport::files({});
    ASSERT_EQ(files.size(), 2U) << "the directory and a FIFO";
    EXPECT_TRUE(files.front().starts_with(folder + "/")) << files.front();
  }
  before != nullptr ? ::setenv("OMNICONN_SHM_DIRECTORY", kept.c_str(), 1) : ::unsetenv("OMNICONN_SHM_DIRECTORY");
  EXPECT_EQ(::rmdir(folder.c_str()), 0) << "nothing is left in it";
}

TEST_F(shm_test, a_locator_of_another_directory_is_stale) {
  ::shm_test::fresh_space elsewhere;
  auto here = open();
  auto const mine = here->put("key", test_pattern(10, 1));
  ASSERT_TRUE(mine);
  {
    auto there = open(elsewhere.options());
    auto const theirs = there->put("key", test_pattern(10, 2));
    ASSERT_TRUE(theirs);
    EXPECT_TRUE(look(*here, "key", {}, &theirs->where) == error_kind::stale_handle);
    EXPECT_TRUE(look(*there, "key", {}, &mine->where) == error_kind::stale_handle);
    read(*there, "key", test_pattern(10, 2));
  }
  here->destroy();
  auto again = open();  // the same name, another directory after the first went away with its lease
  auto const got = look(*again, "key", {}, &mine->where);
  EXPECT_TRUE(got.has_value() || got == error_kind::stale_handle) << "the lease keeps the directory, else it is another";
}

TEST_F(shm_test, forged_locators_get_nothing) {
  auto c = open();
  auto const put = c->put("key", test_pattern(100, 1));
  ASSERT_TRUE(put);
  value const honest = (*c)->describe(put->where);
  std::mt19937_64 numbers(11);
  std::size_t refused = 0;
  for (int i = 0; i != 20'000; ++i) {
    value forged = honest;
    auto& entry = (*forged.if_map())[1 + numbers() % (honest.size() - 1)];  // all but the transport's name
    std::uint64_t const old = entry.second.as_uint64().value_or(0);
    std::uint64_t const wrong = i % 3 == 0 ? numbers() : i % 3 == 1 ? old + 1 + numbers() % 100 : old ^ (std::uint64_t{1} << (numbers() % 64));
    if (wrong == old) continue;
    entry.second = value(wrong);
    auto const where = (*c)->parse(forged);
    if (!where) {
      ASSERT_TRUE(where == error_kind::malformed);
      ++refused;
      continue;
    }
    auto const got = look(*c, "key", {}, &*where);
    ASSERT_FALSE(got) << i;
    ASSERT_EQ(got.error().kind(), error_kind::stale_handle) << i;
  }
  EXPECT_LT(refused, 20'000U);
  read(*c, "key", test_pattern(100, 1));
}

// --- waiting ------------------------------------------------------------------------------------------------------------------

TEST_F(shm_test, a_wait_for_many_keys_hears_every_home) {
  constexpr std::size_t keys = 20;
  auto producer = open();
  auto consumer = open();
  std::array<shm_transport::get_op, keys> ops;
  std::array<operation*, keys> all{};
  for (std::size_t i = 0; i != keys; ++i) {
    ASSERT_TRUE((*consumer)->find(ops[i], "key " + std::to_string(i), {}));
    all[i] = &ops[i];
  }
  std::vector<std::size_t> order(keys);
  for (std::size_t i = 0; i != keys; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(3));
  // One put per answer: each has to wake a waiter that sleeps on all.
  std::atomic<std::size_t> turn{0};
  std::thread putter([&] {
    for (std::size_t n = 0; n != keys; ++n) {
      for (std::size_t seen = turn.load(); seen != n; seen = turn.load()) turn.wait(seen);
      EXPECT_TRUE(producer->put("key " + std::to_string(order[n]), test_pattern(64, order[n])));
    }
  });
  for (std::size_t n = 0; n != keys; ++n) {
    auto const which = (*consumer)->wait(all, deadline::after(std::chrono::seconds(60)), {});
    EXPECT_TRUE(which);
    if (!which) break;
    EXPECT_EQ(*which, order[n]);
    auto got = consumer->finish_get(ops[*which], progress::done, deadline::immediate());
    EXPECT_TRUE(got && same_bytes(got->bytes, test_pattern(64, order[n])));
    if (got) got->hold.finish(disposition::consumed);
    EXPECT_TRUE((*consumer)->find(ops[*which], "never " + std::to_string(n), {}));
    turn.store(n + 1);
    turn.notify_one();
  }
  turn.store(keys);
  turn.notify_one();
  putter.join();
}

TEST_F(shm_test, a_get_that_never_spins_is_woken_as_well) {
  auto o = options();
  o.spin = std::chrono::nanoseconds(0);
  auto consumer = open(o);
  auto producer = open();
  for (int round = 0; round != 100; ++round) {
    std::string const key = "key " + std::to_string(round);
    bool arrived = false;
    std::atomic<bool> looking{false};
    std::thread waiter([&] {
      looking.store(true);
      looking.notify_one();
      auto got = consumer->get(key, deadline::after(std::chrono::seconds(60)));
      arrived = got.has_value();
      if (got) got->hold.finish(disposition::consumed);
    });
    looking.wait(false);
    auto const put = producer->put(key, test_pattern(8, 1));
    waiter.join();
    ASSERT_TRUE(put);
    ASSERT_TRUE(arrived) << round;
  }
}

TEST_F(shm_test, collect_where_there_is_nothing_is_no_error) {
  EXPECT_TRUE(shm_transport::collect(options()));
  EXPECT_TRUE(space.files().empty());
  auto o = options();
  o.directory = "/nowhere/at/all";
  EXPECT_TRUE(shm_transport::collect(o));
}

}  // namespace
