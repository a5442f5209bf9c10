// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// omniconn-test: together
// omniconn-test: costly
// What docs/transports/mooncake_store.md promises of replacing, removing, replicas and pins.
#include <memory>
#include <optional>
#include <thread>

#include "client.hpp"

namespace {

using namespace mooncake_real;

constexpr std::chrono::seconds soon{10};

/// Drives an operation of the transport to where it waits for its caller.
template <class Op>
result<progress> drive(mooncake_store_transport& t, Op& op, result<progress> now) {
  operation* const one[]{&op};
  while (now && *now == progress::pending) {
    if (auto const woken = t.wait(one, deadline::after(soon), {}); !woken) return woken.error();
    now = t.step(op);
  }
  return now;
}
/// A put that has room and is not committed.
struct begun_put {
  mooncake_store_transport& t;
  std::vector<std::byte> data = test_pattern(4096, 9);
  const_bytes piece{data};
  object_info info{};
  mooncake_store_transport::put_op op{};

  result<progress> begin(std::string_view key, on_existing existing = on_existing::fail) {
    info.size = data.size();
    publish_options how;
    how.readers = reader_set::until_cleaned_up();
    how.existing = existing;
    return t.begin(op, key, {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, how);
  }
};

TEST(mooncake_rules, replacing_waits_for_leases_until_its_deadline) {
  master const m(std::chrono::seconds(60));
  node const storage(m);
  auto c = open(m);
  auto const old = test_pattern(100, 1);
  ASSERT_TRUE(c.put(hop, "k", const_bytes(old)));
  ASSERT_TRUE(c.get_view(hop, "k", within(soon))) << "takes a lease";
  put_options how;
  how.existing = on_existing::replace;
  how.until = deadline::after(std::chrono::milliseconds(100));
  EXPECT_TRUE(c.put(hop, "k", test_pattern(100, 2), how) == error_kind::timed_out);
  auto const got = c.get_view(hop, "k", within(soon));
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes(), old)) << "nothing is lost";
}

TEST(mooncake_rules, what_has_a_lease_is_removed_by_force_only) {
  master const m(std::chrono::seconds(60));
  node const storage(m);
  auto o = options_for(m);
  o.transport.force_remove = false;
  auto careful = open(o), other = open(m);
  ASSERT_TRUE(careful.put(hop, "k", test_pattern(100, 1)));
  ASSERT_TRUE(careful.get_view(hop, "k", within(soon)));
  EXPECT_TRUE(careful.cleanup(hop, "k") == error_kind::peer_stalled);
  EXPECT_TRUE(careful.exists(hop, "k").value_or(false));
  EXPECT_EQ(other.cleanup(hop, "k").value_or(0), 1U);
  EXPECT_FALSE(careful.exists(hop, "k").value_or(true));
}

TEST(mooncake_rules, a_put_that_is_given_up_takes_no_other_put_s_room) {
  auto c = open(cluster::shared().master);
  auto& t = c.transport();
  for (int round = 0; round != 20; ++round) {
    begun_put first{t};
    auto const begun = drive(t, first.op, first.begin("contested"));
    ASSERT_TRUE(begun) << begun.error().message();
    {
      begun_put second{t};
      auto const taken = second.begin("contested");  // the answer may be there at once
      EXPECT_TRUE(taken || taken == error_kind::already_exists) << taken.error().message();
      if (round % 2 == 0) t.abort(second.op);
    }
    auto const done = drive(t, first.op, t.commit(first.op, first.info));
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(t.erase("contested").value_or(0), 1U);
  }
}

/// A store with one node that is stopped while a put is on its way there.
class mooncake_stopped_node : public testing::Test {
 protected:
  master const m{std::chrono::seconds(10), {"--client_ttl=60"}};
  node storage{m};

  /// A connector that has been there, so that it need not ask for the way.
  plain open_known(plain::options const& o) {
    auto c = open(o);
    EXPECT_TRUE(c.put(hop, "first", test_pattern(1, 1)));
    EXPECT_EQ(c.cleanup(hop, "first").value_or(0), 1U);
    return c;
  }
  /// Of a put that has room, bytes are sent, and nobody answers.
  void send(mooncake_store_transport& t, begun_put& put) {
    storage.stop();
    auto const now = t.commit(put.op, put.info);
    ASSERT_TRUE(now) << now.error().message();
    operation* const one[]{&put.op};
    EXPECT_TRUE(t.wait(one, deadline::after(std::chrono::milliseconds(200)), {}) == error_kind::timed_out) << "a node that is stopped answered";
  }
};

TEST_F(mooncake_stopped_node, a_put_is_given_up_when_the_node_has_heard_so) {
  for (bool const in_place : {false, true})
    for (bool const exists : {false, true}) {
      if (exists && !in_place) continue;  // takes its time until the old one is gone
      SCOPED_TRACE(in_place);
      SCOPED_TRACE(exists);
      auto o = options_for(m);
      o.transport.replace_in_place = in_place;
      auto c = open_known(o);
      auto& t = c.transport();
      if (exists) {
        ASSERT_TRUE(c.put(hop, "k", test_pattern(4096, 1)));
      }
      begun_put put{t};
      ASSERT_TRUE(drive(t, put.op, put.begin("k", in_place ? on_existing::replace : on_existing::fail)));
      ASSERT_NO_FATAL_FAILURE(send(t, put));
      std::thread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        storage.go_on();
      });
      t.abort(put.op);
      later.join();
      EXPECT_TRUE(t.step(put.op) == error_kind::cancelled);
      EXPECT_FALSE(c.exists(hop, "k").value_or(true)) << "neither the old nor the new";
      ASSERT_TRUE(c.put(hop, "k", test_pattern(50, 2))) << "the room came back";
      EXPECT_EQ(c.cleanup(hop, "k").value_or(0), 1U);
    }
}

TEST_F(mooncake_stopped_node, what_it_has_not_read_is_never_written_over_another_object) {
  auto c = open_known(options_for(m));
  auto& t = c.transport();
  begun_put put{t};
  put.data = test_pattern(64U << 10U, 9);
  put.piece = put.data;
  ASSERT_TRUE(drive(t, put.op, put.begin("stuck")));
  ASSERT_NO_FATAL_FAILURE(send(t, put));
  t.abort(put.op);
  EXPECT_TRUE(c.put(hop, "stuck", test_pattern(50, 2)) == error_kind::already_exists) << "until the master takes it back";
  storage.go_on();
  auto const data = test_pattern(64U << 10U, 3);
  for (int i = 0; i != 8; ++i) ASSERT_TRUE(c.put(hop, "other" + std::to_string(i), const_bytes(data)));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  for (int i = 0; i != 8; ++i) {
    auto const got = c.get_view(hop, "other" + std::to_string(i), within(soon));
    ASSERT_TRUE(got);
    EXPECT_TRUE(same_bytes(got->bytes(), data)) << i;
  }
}

TEST_F(mooncake_stopped_node, to_replace_what_is_not_finished_waits_and_does_not_hammer) {
  auto c = open_known(options_for(m));
  auto& t = c.transport();
  begun_put put{t};
  ASSERT_TRUE(drive(t, put.op, put.begin("k")));
  auto other = open(m);
  put_options how;
  how.existing = on_existing::replace;
  how.until = deadline::after(std::chrono::milliseconds(300));
  auto const before = m.requests();
  auto const done = other.put(hop, "k", test_pattern(50, 2), how);
  EXPECT_TRUE(done == error_kind::timed_out || done == error_kind::already_exists) << (done ? "" : done.error().message());
  EXPECT_LT(m.requests() - before, 30U) << "after 1, 2, 4 ... 50 ms";
}

TEST_F(mooncake_stopped_node, who_was_sent_nothing_has_nothing_to_write) {
  auto c = open(m);  // does not know the way yet
  auto& t = c.transport();
  begun_put put{t};
  ASSERT_TRUE(drive(t, put.op, put.begin("k")));
  ASSERT_NO_FATAL_FAILURE(send(t, put));
  t.abort(put.op);
  storage.go_on();
  EXPECT_TRUE(c.put(hop, "k", test_pattern(50, 2))) << "the room came back at once";
}

TEST(mooncake_rules, a_put_that_the_master_has_acknowledged_is_done_however_late_it_is_given_up) {
  auto c = open(cluster::shared().master);
  auto& t = c.transport();
  auto const one_put = [&](std::string const& key, std::size_t size, std::optional<std::chrono::nanoseconds> limit) {
    begun_put put{t};
    put.data = test_pattern(size, 9);
    put.piece = put.data;
    EXPECT_TRUE(drive(t, put.op, put.begin(key)));
    EXPECT_TRUE(t.commit(put.op, put.info));
    operation* const one[]{&put.op};
    static_cast<void>(t.wait(one, limit ? deadline::after(*limit) : deadline::after(soon), {}));
    if (!limit) static_cast<void>(drive(t, put.op, t.step(put.op)));
    t.abort(put.op);
    bool const done = static_cast<bool>(t.step(put.op));
    EXPECT_EQ(c.exists(hop, key).value_or(!done), done) << key;
    EXPECT_EQ(t.erase(key).value_or(2), done ? 1U : 0U);
    return done;
  };
  auto const start = deadline::now_ns();
  for (int i = 0; i != 10; ++i) EXPECT_TRUE(one_put("whole" + std::to_string(i), 1U << 20U, std::nullopt));
  auto const usual = (deadline::now_ns() - start) / 10;
  int done = 0;
  for (int i = 0; i != 100; ++i) done += one_put("late" + std::to_string(i), 1U << 20U, std::chrono::nanoseconds(usual * i / 50)) ? 1 : 0;  // from nothing to twice as long as it takes
  EXPECT_GT(done, 0);  // and where the node is slow, not all of them
}

TEST(mooncake_rules, a_put_whose_end_is_on_its_way_is_done_when_it_is_given_up) {
  master m;
  node const storage(m);
  auto c = open(m);
  ASSERT_TRUE(c.put(hop, "first", test_pattern(1, 1)));  // now it knows the way
  auto& t = c.transport();
  begun_put put{t};
  ASSERT_TRUE(drive(t, put.op, put.begin("k")));
  m.stop();
  ASSERT_TRUE(t.commit(put.op, put.info));
  operation* const one[]{&put.op};
  EXPECT_TRUE(t.wait(one, deadline::after(std::chrono::milliseconds(300)), {}) == error_kind::timed_out) << "a master that is stopped answered";
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    m.go_on();
  });
  t.abort(put.op);
  later.join();
  auto const end = t.step(put.op);
  EXPECT_TRUE(end && *end == progress::done) << (end ? "" : end.error().message());
  EXPECT_TRUE(c.exists(hop, "k").value_or(false));
}

TEST(mooncake_rules, a_put_across_a_restart_of_the_master_is_lost) {
  master m;
  node const storage(m);
  auto c = open(m);
  auto& t = c.transport();
  begun_put put{t};
  ASSERT_TRUE(drive(t, put.op, put.begin("k")));
  m.kill();
  ASSERT_TRUE(m.start());
  for (auto const end = deadline::after(soon); m.segments() == 0 && !end.passed();) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  auto const done = drive(t, put.op, t.commit(put.op, put.info));
  ASSERT_FALSE(done);
  EXPECT_TRUE(done == error_kind::lost) << done.error().message();
  EXPECT_FALSE(t.exists("k").value_or(true));
}

TEST(mooncake_rules, a_replica_serves_where_the_other_s_node_died) {
  master const m(std::chrono::seconds(60), {"--client_ttl=60"});
  auto o = options_for(m);
  o.transport.replicas = 2;
  std::vector<std::unique_ptr<node>> nodes;
  for (int i = 0; i != 2; ++i) nodes.push_back(std::make_unique<node>(m));
  auto c = open(o);
  auto const data = test_pattern(1U << 20U, 1);
  ASSERT_TRUE(c.put(hop, "k", const_bytes(data)));
  for (std::size_t dead = 0; dead != 2; ++dead) {
    SCOPED_TRACE(dead);
    nodes[dead]->stop();  // one of them is read first: its silence must not be the object's
    auto const got = c.get_view(hop, "k", within(std::chrono::seconds(20)));
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_TRUE(same_bytes(got->bytes(), data));
    nodes[dead]->go_on();
  }
  nodes[0]->kill();
  ASSERT_TRUE(c.get_view(hop, "k", within(std::chrono::seconds(20))));
  nodes[1]->kill();
  EXPECT_FALSE(c.get_view(hop, "k", within(std::chrono::seconds(20))));
}

/// 160 MiB, where there is room for 64.
void fill(plain& c, const_bytes data) {
  for (int i = 0; i != 40; ++i) {
    bool done = false;
    for (auto const end = deadline::after(soon); !done && !end.passed();) {
      done = static_cast<bool>(c.put(hop, "k" + std::to_string(i), data));
      if (!done) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_TRUE(done) << i;
  }
}

TEST(mooncake_rules, what_is_pinned_is_not_evicted) {
  master const m(soon);  // a lease begins with the first get: what is only put can be evicted
  node const storage(m, "64 MB");
  auto o = options_for(m);
  o.transport.pin = true;
  auto pins = open(o), fills = open(m);
  auto const data = test_pattern(4U << 20U, 1);
  ASSERT_TRUE(pins.put(hop, "pinned", const_bytes(data)));
  ASSERT_NO_FATAL_FAILURE(fill(fills, data));
  EXPECT_TRUE(fills.get_view(hop, "k0", {deadline::immediate()}) == error_kind::not_found) << "what is not, is";
  auto const got = fills.get_view(hop, "pinned", {deadline::immediate()});
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_TRUE(same_bytes(got->bytes(), data));
}

TEST(mooncake_rules, what_is_softly_pinned_is_evicted_last) {
  master const m(soon);  // a lease begins with the first get: what is only put can be evicted
  node const storage(m, "64 MB");
  auto o = options_for(m);
  o.transport.soft_pin = std::chrono::seconds(60);
  auto pins = open(o), fills = open(m);
  auto const data = test_pattern(4U << 20U, 1);
  ASSERT_TRUE(pins.put(hop, "pinned", const_bytes(data)));
  ASSERT_NO_FATAL_FAILURE(fill(fills, data));
  EXPECT_TRUE(fills.get_view(hop, "k0", {deadline::immediate()}) == error_kind::not_found) << "what is not, is";
  EXPECT_TRUE(fills.get_view(hop, "pinned", {deadline::immediate()}));
  o.transport.soft_pin = std::chrono::hours(24 * 365);
  auto greedy = open(o);
  auto const refused = greedy.put(hop, "too long", const_bytes(data));
  EXPECT_TRUE(refused == error_kind::misconfigured) << (refused ? "" : refused.error().message());
}

TEST(mooncake_rules, an_object_lies_where_it_is_wanted) {
  master const m;
  auto o = options_for(m);
  o.transport.segment = std::uint64_t{32} << 20U;
  auto one = open(o), other = open(o);
  auto const names = http_get(m.admin(), "/get_all_segments").value_or("");
  ASSERT_EQ(m.segments(), 2U);
  for (std::size_t at = 0; at < names.size();) {
    auto const end = std::min(names.find('\n', at), names.size());
    std::string const wanted = names.substr(at, end - at);
    at = end + 1;
    if (wanted.empty()) continue;
    auto how = options_for(m);
    how.transport.preferred_segments = {wanted};
    auto c = open(how);
    for (int i = 0; i != 8; ++i) {
      std::string const key = wanted + std::to_string(i);
      ASSERT_TRUE(c.put(hop, key, test_pattern(1000, 1)));
      auto const lies = http_get(m.admin(), "/query_key", "key=" + key).value_or("nothing");
      auto const where = lies.find(wanted);
      EXPECT_TRUE(where != lies.npos && (where + wanted.size() == lies.size() || lies[where + wanted.size()] < '0' || lies[where + wanted.size()] > '9')) << lies;
    }
  }
}

}  // namespace
