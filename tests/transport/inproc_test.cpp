// SPDX-License-Identifier: Apache-2.0
#include <omniconn/transport/inproc.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {
std::atomic<std::size_t> allocations{0};

// Not inlined: g++ would see free() on what came from new, and warn.
[[gnu::noinline]] void release(void* p) noexcept { std::free(p); }

[[gnu::noinline]] void* count_and_allocate(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const p = std::malloc(size == 0 ? 1 : size)) return p;
  std::abort();  // not bad_alloc: this is built without exceptions, too
}
}  // namespace

void* operator new(std::size_t size) { return count_and_allocate(size); }
void* operator new[](std::size_t size) { return count_and_allocate(size); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }

namespace {

using namespace omniconn;
using transport = inproc_transport;

static_assert(explain_transport<transport>());
static_assert(!transport_adopt<transport> && !transport_watch<transport> && !transport_fd<transport>);
static_assert(sizeof(transport::hold) <= 32, "any_connector keeps holds of this size without an allocation");

/// A block whose return is counted, and on which thread it happened.
struct block {
  std::array<std::byte, 64> bytes{};
  std::atomic<int> returned{0};
  std::thread::id by;
  transport* asks = nullptr;  // dispose may call the transport
  bool answer = false;

  static void dispose(std::uint64_t token) noexcept {
    auto* const b = reinterpret_cast<block*>(static_cast<std::uintptr_t>(token));  // NOLINT(performance-no-int-to-ptr)
    b->by = std::this_thread::get_id();
    if (b->asks != nullptr) b->answer = b->asks->exists("some key").has_value();
    b->returned.fetch_add(1);
  }
  [[nodiscard]] std::uint64_t token() const { return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this)); }
};

result<progress> put(transport& t, wire_key key, block& b, publish_options const& how = {}, bool by_token = false) {
  const_bytes const piece(b.bytes);
  object_info info;
  info.size = piece.size();
  transport::put_op op;
  if (auto begun = t.begin(op, key, {pieces(&piece, 1), b.token(), by_token ? nullptr : &block::dispose}, info, how); !begun) return begun;
  return t.commit(op, info);
}

std::optional<transport::hold> get(transport& t, wire_key key, std::string_view reader = {}) {
  transport::get_op op;
  find_options how;
  how.reader = reader;
  auto const found = t.find(op, key, how);
  if (!found || *found != progress::done) return std::nullopt;
  return op.take();
}

struct inproc : ::testing::Test {
  std::shared_ptr<inproc_hub> hub = std::make_shared<inproc_hub>();
  std::deque<block> blocks_;  // outlive the transports of a test
  block& make() { return blocks_.emplace_back(); }
  transport open(std::string reader = "reader") { return transport::open({hub, std::move(reader)}).value(); }
};

TEST(inproc_hub, is_found_by_name_while_somebody_has_it) {
  auto const a = inproc_hub::named("inproc_test a");
  EXPECT_EQ(inproc_hub::named("inproc_test a"), a);
  EXPECT_NE(inproc_hub::named("inproc_test b"), a);
  block b;
  auto first = transport::open({inproc_hub::named("inproc_test c"), "x"}).value();
  auto second = transport::open({inproc_hub::named("inproc_test c"), "y"}).value();
  ASSERT_TRUE(put(first, "key", b));
  EXPECT_TRUE(second.exists("key").value_or(false));
  first.close();
  first = transport::open({}).value();
  second = transport::open({}).value();
  EXPECT_FALSE(transport::open({inproc_hub::named("inproc_test c"), "z"}).value().exists("key").value_or(true))
      << "a new hub of an old name is empty";
}

TEST(inproc_hub, of_default_options_is_private) {
  block one;
  auto a = transport::open({}).value();
  auto b = transport::open({}).value();
  ASSERT_TRUE(put(a, "key", one));
  EXPECT_TRUE(a.exists("key").value_or(false));
  EXPECT_FALSE(b.exists("key").value_or(true));
}

TEST_F(inproc, a_get_is_the_producers_memory) {
  auto p = open(), c = open();
  block& b = make();
  ASSERT_TRUE(put(p, "key", b));
  auto h = get(c, "key");
  ASSERT_TRUE(h);
  EXPECT_EQ(h->bytes().data(), b.bytes.data());
  EXPECT_EQ(h->bytes().size(), b.bytes.size());
  h->finish(disposition::consumed);
  EXPECT_TRUE(h->bytes().empty());
}

TEST_F(inproc, blocks_return_on_the_thread_that_ends_the_last_hold) {
  auto p = open(), c = open();
  block& b = make();
  ASSERT_TRUE(put(p, "key", b));
  auto h = get(c, "key");
  ASSERT_TRUE(h);
  p.close();
  EXPECT_EQ(b.returned, 0) << "the producer's end does not pull the bytes away";
  std::thread other([&] { h->finish(disposition::give_back); });
  auto const id = other.get_id();
  other.join();
  EXPECT_EQ(b.returned, 1);
  EXPECT_EQ(b.by, id);
}

TEST_F(inproc, dispose_may_call_the_transport) {
  std::array<block, 40> blocks;
  auto p = open(), c = open();
  for (auto& b : blocks) b.asks = &c;
  ASSERT_TRUE(put(p, "some key", blocks[0]));
  get(c, "some key")->finish(disposition::consumed);
  ASSERT_TRUE(put(p, "some key", blocks[1]));
  EXPECT_EQ(p.erase("some key").value_or(0), 1U);
  publish_options replace;
  replace.existing = on_existing::replace;
  ASSERT_TRUE(put(p, "some key", blocks[2]));
  ASSERT_TRUE(put(p, "some key", blocks[3], replace));
  for (std::size_t i = 4; i != blocks.size(); ++i) ASSERT_TRUE(put(p, std::to_string(i), blocks[i]));
  EXPECT_EQ(p.erase_if([](wire_key key) { return key.size() == 2; }).value_or(0), 30U);
  p.close();
  for (auto& b : blocks) {
    EXPECT_EQ(b.returned, 1);
    EXPECT_TRUE(b.answer);
  }
}

TEST_F(inproc, a_hold_outlives_the_hub) {
  for (bool const by_token : {false, true}) {
    block& b = make();
    block& unread = make();
    std::optional<transport::hold> h, second;
    {
      auto p = open(), c = open();
      publish_options how;
      how.readers.count = 2;
      ASSERT_TRUE(put(p, "key", b, how, by_token));
      ASSERT_TRUE(put(p, "unread", unread, {}, by_token));
      h = get(c, "key", "a");
      second = get(c, "key", "b");
      ASSERT_TRUE(h && second);
      hub.reset();
    }
    EXPECT_EQ(h->bytes().data(), b.bytes.data());
    h->finish(disposition::consumed);
    EXPECT_EQ(b.returned, 0);
    EXPECT_EQ(second->bytes().data(), b.bytes.data());
    second->finish(disposition::give_back);
    // Tokens of a transport that is gone are dropped: nobody is left who knows what they mean.
    EXPECT_EQ(b.returned, by_token ? 0 : 1);
    EXPECT_EQ(unread.returned, by_token ? 0 : 1);
    hub = std::make_shared<inproc_hub>();
  }
}

TEST_F(inproc, a_put_that_outlives_its_transport_still_returns_its_block) {
  block& b = make();
  auto op = std::make_unique<transport::put_op>();
  {
    auto p = open();
    const_bytes const piece(b.bytes);
    object_info info;
    info.size = piece.size();
    ASSERT_TRUE(p.begin(*op, "key", {pieces(&piece, 1), b.token(), &block::dispose}, info, {}));
    hub.reset();
  }
  EXPECT_EQ(b.returned, 0);
  op.reset();
  EXPECT_EQ(b.returned, 1);
}

TEST_F(inproc, who_waits_longest_is_served_first) {
  auto p = open(), c = open();
  transport::get_op first, second;
  find_options as_a, as_b;
  as_a.reader = "a";
  as_b.reader = "b";
  ASSERT_EQ(c.find(first, "key", as_b).value_or(progress::done), progress::pending);
  ASSERT_EQ(c.find(second, "key", as_a).value_or(progress::done), progress::pending);
  block& b = make();
  ASSERT_TRUE(put(p, "key", b));
  EXPECT_EQ(c.step(first).value_or(progress::pending), progress::done);
  EXPECT_EQ(c.step(second).value_or(progress::done), progress::pending);
  first.take().finish(disposition::give_back);
  EXPECT_EQ(c.step(second).value_or(progress::pending), progress::done) << "handed over, not fetched";
}

TEST_F(inproc, a_waiting_get_of_a_reader_that_has_had_its_share_fails) {
  auto p = open(), c = open("a");
  transport::get_op first, second;
  ASSERT_TRUE(c.find(first, "key", {}));
  ASSERT_TRUE(c.find(second, "key", {}));
  block& b = make();
  publish_options how;
  how.readers.count = 2;
  ASSERT_TRUE(put(p, "key", b, how));
  ASSERT_EQ(c.step(first).value_or(progress::pending), progress::done);
  ASSERT_EQ(c.step(second).value_or(progress::done), progress::pending) << "the first may still give it back";
  first.take().finish(disposition::consumed);
  EXPECT_TRUE(c.step(second) == error_kind::consumed);
}

TEST_F(inproc, a_commit_that_must_not_replace_loses_to_one_that_may) {
  auto p = open(), c = open();
  block& mine = make();
  block& theirs = make();
  const_bytes const piece(mine.bytes);
  object_info info;
  info.size = piece.size();
  transport::put_op op;
  ASSERT_TRUE(p.begin(op, "key", {pieces(&piece, 1), mine.token(), &block::dispose}, info, {}));
  publish_options replace;
  replace.existing = on_existing::replace;
  ASSERT_TRUE(put(c, "key", theirs, replace));
  EXPECT_TRUE(p.commit(op, info) == error_kind::already_exists);
  EXPECT_EQ(mine.returned, 1);
  EXPECT_EQ(theirs.returned, 0);
  EXPECT_EQ(get(c, "key")->bytes().data(), theirs.bytes.data());
}

TEST_F(inproc, ten_thousand_keys_find_their_objects) {
  constexpr std::size_t count = 10'000;
  std::vector<block> blocks(count);
  auto p = open(), c = open();
  for (std::size_t i = 0; i != count; ++i) ASSERT_TRUE(put(p, "key " + std::to_string(i), blocks[i]));
  EXPECT_EQ(p.report().objects.used, count);
  EXPECT_EQ(p.report().memory.used, count * 64);
  EXPECT_EQ(p.erase_if([](wire_key key) { return key.ends_with('7'); }).value_or(0), count / 10);
  for (std::size_t i = 0; i != count; ++i) {
    auto h = get(c, "key " + std::to_string(i));
    ASSERT_EQ(h.has_value(), i % 10 != 7) << i;
    if (!h) continue;
    EXPECT_EQ(h->bytes().data(), blocks[i].bytes.data());
    h->finish(disposition::consumed);
  }
  EXPECT_EQ(p.report().objects.used, 0U);
  EXPECT_EQ(p.report().memory.used, 0U);
  for (auto const& b : blocks) ASSERT_EQ(b.returned, 1);
}

TEST_F(inproc, a_warm_hub_allocates_nothing) {
  auto p = open(), c = open();
  block& b = make();
  std::array<std::string, 64> keys;
  for (std::size_t i = 0; i != keys.size(); ++i) keys[i] = "a key of usual length " + std::to_string(i);
  auto const round = [&] {
    for (auto const& key : keys) {
      transport::get_op waits;
      auto const found = c.find(waits, key, {});
      auto const done = put(p, key, b);
      auto const now = c.step(waits);
      if (!found || !done || !now || *now != progress::done) std::abort();
      waits.take().finish(disposition::consumed);
    }
  };
  round();
  round();
  std::size_t const before = allocations.load();
  for (int i = 0; i != 10; ++i) round();
  EXPECT_EQ(allocations.load() - before, 0U);
}

TEST_F(inproc, report_names_the_others) {
  auto p = open("p"), c = open("c");
  ASSERT_EQ(p.report().peers.size(), 1U);
  EXPECT_EQ(p.report().peers[0].name, "c");
  EXPECT_TRUE(p.report().peers[0].alive);
  c.close();
  EXPECT_FALSE(p.report().peers[0].alive);
  EXPECT_EQ(c.report().status, health_status::closed);
}

TEST_F(inproc, a_locator_of_another_hub_is_stale) {
  auto here = open();
  auto there = transport::open({}).value();
  block& b = make();
  block& same = make();
  transport::put_op op;
  const_bytes const piece(b.bytes);
  object_info info;
  info.size = piece.size();
  ASSERT_TRUE(there.begin(op, "key", {pieces(&piece, 1), b.token(), &block::dispose}, info, {}));
  EXPECT_TRUE(op.where().empty()) << "there is no place before commit";
  ASSERT_TRUE(there.commit(op, info));
  locator const where = op.where();
  find_options how;
  how.where = &where;
  ASSERT_TRUE(put(here, "key", same));
  transport::get_op look;
  EXPECT_TRUE(here.find(look, "key", how) == error_kind::stale_handle);
}

TEST_F(inproc, memory_is_the_callers) {
  auto t = open();
  EXPECT_EQ(t.memory().base, nullptr);
  EXPECT_TRUE(t.grow(1) == error_kind::unsupported);
}

TEST_F(inproc, tokens_come_back_after_close_and_once) {
  auto p = open(), c = open();
  block& read = make();
  block& unread = make();
  block& held = make();
  ASSERT_TRUE(put(p, "read", read, {}, true));
  ASSERT_TRUE(put(p, "unread", unread, {}, true));
  ASSERT_TRUE(put(p, "held", held, {}, true));
  get(c, "read")->finish(disposition::consumed);
  auto h = get(c, "held");
  std::vector<std::uint64_t> tokens;
  auto const sink = [&](std::uint64_t t) { tokens.push_back(t); };
  EXPECT_EQ(p.reclaim(sink), 1U);
  EXPECT_EQ(tokens, std::vector{read.token()});
  p.close();
  EXPECT_EQ(p.reclaim(sink), 1U);
  EXPECT_EQ(tokens.back(), unread.token());
  h->finish(disposition::give_back);
  EXPECT_EQ(p.reclaim(sink), 1U);
  EXPECT_EQ(tokens.back(), held.token());
  EXPECT_EQ(p.reclaim(sink), 0U);
}

}  // namespace
