// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/metrics.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

TEST(metrics, counts_each_kind_by_itself) {
  error_counters c;
  for (auto const n : c.all()) EXPECT_EQ(n, 0U);
  for (std::size_t i = 0; i != error_kind_count; ++i)
    for (std::size_t k = 0; k <= i; ++k) c.count(static_cast<error_kind>(i + 1));
  auto const all = c.all();
  for (std::size_t i = 0; i != error_kind_count; ++i) {
    EXPECT_EQ(all[i], i + 1);
    EXPECT_EQ(c.of(static_cast<error_kind>(i + 1)), i + 1);
  }
}

TEST(metrics, a_kind_from_outside_is_counted_nowhere) {
  struct {
    std::array<std::uint64_t, 256> before{};
    error_counters c;
    std::array<std::uint64_t, 256> after{};
  } memory;
  memory.before.fill(7);
  memory.after.fill(7);
  auto& c = memory.c;
  for (int const outside : {0, 24, 255}) {
    c.count(static_cast<error_kind>(outside));
    EXPECT_EQ(c.of(static_cast<error_kind>(outside)), 0U);
  }
  for (auto const n : c.all()) EXPECT_EQ(n, 0U);
  for (auto const& neighbours : {memory.before, memory.after})
    for (auto const n : neighbours) EXPECT_EQ(n, 7U);
}

TEST(metrics, loses_no_count_among_threads) {
  error_counters c;
  constexpr std::uint64_t each = 20'000;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t != 4; ++t)
      threads.emplace_back([&c, t] {
        for (std::uint64_t i = 0; i != each; ++i) {
          c.count(error_kind::timed_out);
          c.count(t % 2 == 0 ? error_kind::corrupt : error_kind::io);
        }
      });
  }
  EXPECT_EQ(c.of(error_kind::timed_out), 4 * each);
  EXPECT_EQ(c.of(error_kind::corrupt), 2 * each);
  EXPECT_EQ(c.of(error_kind::io), 2 * each);
  EXPECT_EQ(c.of(error_kind::not_found), 0U);
}

TEST(metrics, a_fresh_report_is_ready_and_empty) {
  health_report const r;
  EXPECT_EQ(r.status, health_status::ready);
  EXPECT_TRUE(r.why.empty() && r.peers.empty());
  EXPECT_EQ(r.moved.puts + r.moved.put_bytes + r.moved.gets + r.moved.get_bytes + r.memory.used + r.memory.capacity + r.objects.used + r.objects.capacity, 0U);
  for (auto const n : r.errors) EXPECT_EQ(n, 0U);
  EXPECT_TRUE(peer_info{}.alive);
  EXPECT_EQ(to_string(health_status::ready), "ready");
  EXPECT_EQ(to_string(health_status::degraded), "degraded");
  EXPECT_EQ(to_string(health_status::closed), "closed");
}

}  // namespace
