// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// omniconn-test: together
// omniconn-test: costly
// Masters and nodes that die, come back, are full, are stopped, or are something else. No call hangs, and each says what is wrong.
#include <future>
#include <thread>

#include "client.hpp"

namespace {

using namespace mooncake_real;

/// Mooncake itself needs up to 10 s for some of these; ours has its limits above.
constexpr std::chrono::seconds soon{5};

template <class F>
std::chrono::milliseconds time_of(F f) {
  auto const before = deadline::now_ns();
  f();
  return std::chrono::milliseconds((deadline::now_ns() - before) / 1'000'000);
}
/// Tries until it works.
template <class F>
bool works_within(std::chrono::nanoseconds span, F f) {
  for (auto const end = deadline::after(span); !end.passed(); std::this_thread::sleep_for(std::chrono::milliseconds(20)))
    if (f()) return true;
  return false;
}

TEST(mooncake_faults, a_master_that_is_killed_and_comes_back) {
  master m;
  node const storage(m);
  auto c = open(m);
  auto const data = test_pattern(5000, 1);
  ASSERT_TRUE(c.put(hop, "old", const_bytes(data)));
  auto waiting = std::async(std::launch::async, [&c] { return c.get_view(hop, "never", within(std::chrono::seconds(60))).error().kind(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  m.kill();
  EXPECT_LT(time_of([&] {
              auto const why = waiting.get();
              EXPECT_TRUE(why == error_kind::unreachable || why == error_kind::peer_lost) << to_string(why) << ": peer_lost where the question was on its way";
            }),
            soon);
  EXPECT_LT(time_of([&] {
              EXPECT_TRUE(c.put(hop, "k", const_bytes(data)) == error_kind::unreachable);
              EXPECT_TRUE(c.get_view(hop, "old", within(soon)) == error_kind::unreachable);
              EXPECT_TRUE(c.exists(hop, "old") == error_kind::unreachable);
              EXPECT_TRUE(c.cleanup(hop, "old") == error_kind::unreachable);
            }),
            soon);
  ASSERT_TRUE(m.start());
  EXPECT_TRUE(works_within(soon, [&] { return static_cast<bool>(c.put(hop, "new", const_bytes(data))); })) << "the node comes back by itself";
  auto const got = c.get_view(hop, "new", within(soon));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_TRUE(same_bytes(got->bytes(), data));
  EXPECT_TRUE(c.get_view(hop, "old", {deadline::immediate()}) == error_kind::not_found) << "the master has forgotten it";
}

TEST(mooncake_faults, our_node_comes_back_to_a_master_that_was_restarted) {
  master m;
  auto o = options_for(m);
  o.transport.segment = std::uint64_t{64} << 20U;
  auto c = open(o);
  auto const data = test_pattern(5000, 1);
  ASSERT_TRUE(c.put(hop, "old", const_bytes(data)));
  m.kill();
  ASSERT_TRUE(m.start());
  EXPECT_TRUE(works_within(soon, [&] { return static_cast<bool>(c.put(hop, "new", const_bytes(data))); }));
  EXPECT_TRUE(c.get_view(hop, "new", within(soon)));
}

TEST(mooncake_faults, a_storage_node_that_is_killed) {
  master m;
  auto first = std::make_unique<node>(m);
  auto c = open(m);
  auto const data = test_pattern(100'000, 1);
  ASSERT_TRUE(c.put(hop, "k", const_bytes(data)));
  first->kill();
  EXPECT_LT(time_of([&] {
              auto const got = c.get_view(hop, "k", within(std::chrono::seconds(20)));
              ASSERT_FALSE(got);
              EXPECT_TRUE(got == error_kind::unreachable || got == error_kind::peer_lost) << got.error().message();
              auto const put = c.put(hop, "other", const_bytes(data));
              ASSERT_FALSE(put);
              EXPECT_TRUE(put == error_kind::unreachable || put == error_kind::peer_lost) << put.error().message();
            }),
            soon);
  node const second(m);
  EXPECT_TRUE(works_within(std::chrono::seconds(20), [&] { return static_cast<bool>(c.put(hop, "other", const_bytes(data))); })) << "once the master gives the dead one up; what failed has left nothing";
}

TEST(mooncake_faults, a_storage_node_that_is_stopped) {
  master m(std::chrono::seconds(10), {"--client_ttl=60"});
  node storage(m);
  auto c = open(m);
  auto const data = test_pattern(std::size_t{16} << 20U, 1);
  ASSERT_TRUE(c.put(hop, "k", const_bytes(data)));
  storage.stop();
  EXPECT_LT(time_of([&] { EXPECT_TRUE(c.get_view(hop, "k", within(std::chrono::seconds(20))) == error_kind::peer_stalled); }), soon);
  EXPECT_LT(time_of([&] { EXPECT_TRUE(c.get_view(hop, "k", within(std::chrono::milliseconds(50))) == error_kind::timed_out); }), std::chrono::seconds(2)) << "the deadline is the caller's";
  storage.go_on();
  auto const got = c.get_view(hop, "k", within(std::chrono::seconds(20)));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_TRUE(same_bytes(got->bytes(), data));
}

TEST(mooncake_faults, no_node_and_no_room) {
  master m;
  auto c = open(m);
  auto const none = c.put(hop, "k", test_pattern(100, 1));
  ASSERT_TRUE(none == error_kind::no_space);
  EXPECT_EQ(none.error().native(), -200);
  node const storage(m, "64 MB");
  ASSERT_TRUE(works_within(soon, [&] { return static_cast<bool>(c.put(hop, "k", test_pattern(100, 1))); }));
  EXPECT_TRUE(c.put(hop, "too large", test_pattern(std::size_t{65} << 20U, 1)) == error_kind::no_space);
  EXPECT_FALSE(c.exists(hop, "too large").value_or(true));
  EXPECT_TRUE(c.put(hop, "empty", const_bytes{}) == error_kind::unsupported);
}

TEST(mooncake_faults, a_full_store_evicts) {
  master m(soon);  // a lease begins with the first get: what is only put can be evicted
  node const storage(m, "64 MB");
  auto c = open(m);
  auto const data = test_pattern(std::size_t{4} << 20U, 1);
  unsigned stored = 0;
  for (int i = 0; i != 60; ++i) stored += works_within(soon, [&] { return static_cast<bool>(c.put(hop, "k" + std::to_string(i), const_bytes(data))); }) ? 1 : 0;
  EXPECT_EQ(stored, 60U) << "240 MiB through 64: what nobody has a lease on makes way";
  unsigned there = 0;
  for (int i = 0; i != 60; ++i) {
    auto const got = c.get_view(hop, "k" + std::to_string(i), {deadline::immediate()});
    if (got) {
      EXPECT_TRUE(same_bytes(got->bytes(), data));
      ++there;
    } else {
      EXPECT_TRUE(got == error_kind::not_found) << got.error().message();
    }
  }
  EXPECT_GT(there, 0U);
  EXPECT_LT(there, 60U);
}

TEST(mooncake_faults, a_lease_that_is_too_short_is_told) {
  master m(std::chrono::milliseconds(0));
  node const storage(m);
  auto c = open(m);
  ASSERT_TRUE(c.put(hop, "k", test_pattern(std::size_t{32} << 20U, 1)));
  EXPECT_TRUE(c.get_view(hop, "k", within(std::chrono::seconds(20))) == error_kind::lease_expired);
}

TEST(mooncake_faults, a_lease_is_renewed_while_a_slow_read_goes_on) {
  master m(std::chrono::milliseconds(300));
  node storage(m);
  auto c = open(m);
  auto const data = test_pattern(std::size_t{64} << 20U, 1);
  ASSERT_TRUE(c.put(hop, "k", const_bytes(data)));
  std::atomic<bool> end{false};
  std::thread brake([&] {  // most of the time nothing comes
    while (!end) {
      storage.stop();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      storage.go_on();
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  });
  auto const before = deadline::now_ns();
  auto const got = c.get_view(hop, "k", within(std::chrono::seconds(60)));
  end = true;
  brake.join();
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_TRUE(same_bytes(got->bytes(), data));
  EXPECT_GT(deadline::now_ns() - before, 300'000'000) << "longer than a lease";
}

TEST(mooncake_faults, what_is_no_master_is_not_taken_for_one) {
  plain::options o;
  o.transport.connect_timeout = std::chrono::milliseconds(500);
  o.transport.silence_timeout = std::chrono::milliseconds(500);
  o.transport.master = "127.0.0.1:" + std::to_string(free_port());
  EXPECT_TRUE(plain::open(o) == error_kind::unreachable);
  master const m;
  o.transport.master = "127.0.0.1:" + std::to_string(m.admin());  // speaks HTTP
  auto const other = plain::open(o);
  EXPECT_TRUE(other == error_kind::malformed || other == error_kind::peer_lost || other == error_kind::peer_stalled) << other.error().message();
  for (auto const* wrong : {"", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", ":50051", "no.such.host.invalid:50051"}) {
    o.transport.master = wrong;
    EXPECT_FALSE(plain::open(o)) << wrong;
  }
}

TEST(mooncake_faults, other_metadata_modes_are_told) {
  std::uint16_t const port = free_port();
  std::string const url = "http://127.0.0.1:" + std::to_string(port) + "/metadata";
  auto m = std::make_unique<master>(std::chrono::seconds(10), std::vector<std::string>{"--enable_http_metadata_server=true", "--http_metadata_server_host=127.0.0.1", "--http_metadata_server_port=" + std::to_string(port)});
  node const storage(*m);  // of the other mode
  auto o = options_for(*m);
  o.transport.metadata_server = url;
  auto c = open(o);
  auto const put = c.put(hop, "k", test_pattern(100, 1));
  EXPECT_TRUE(put == error_kind::unreachable) << (put ? "" : put.error().message());
  EXPECT_FALSE(c.exists(hop, "k").value_or(true));
  o.transport.metadata_server = "http://127.0.0.1:" + std::to_string(free_port()) + "/metadata";
  auto gone = open(o);
  EXPECT_TRUE(gone.put(hop, "k", test_pattern(100, 1)) == error_kind::unreachable) << "no metadata server";
}

}  // namespace
