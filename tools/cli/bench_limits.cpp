// SPDX-License-Identifier: Apache-2.0
#include "bench_limits.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <vector>

namespace tool {

namespace {

using omniconn::deadline;

deadline limit(double timeout) { return deadline::after(std::chrono::duration<double>(timeout)); }

double median(std::vector<double> samples) {
  auto const middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

void pass(std::atomic<std::uint32_t>& ball, std::uint32_t turn, bool sleeps) noexcept {
  ball.store(turn, std::memory_order_release);
  if (sleeps) omniconn::detail::futex_wake_all(ball);
}

/// Until the ball is no longer at `turn`.
outcome await_ball(bench_peer& peer, std::uint32_t turn, bool sleeps, deadline until) {
  auto& ball = peer.board().ball;
  auto const passed = [&] { return ball.load(std::memory_order_acquire) != turn; };
  if (!sleeps) return peer.wait(passed, until);
  while (!passed())
    if (!omniconn::detail::futex_wait(ball, turn, std::min(until, deadline::after(std::chrono::milliseconds(100)))))
      if (auto heard = peer.listen(std::chrono::nanoseconds(0), until); !heard) return heard;
  return {};
}

result<double, diagnosis> half_trip(bench_peer& peer, bool sleeps, double timeout) {
  auto& ball = peer.board().ball;
  if (auto told = peer.order({sleeps ? bench_work::sleeping_ball : bench_work::spinning_ball, 0, 0}); !told) return std::move(told.error());

  // Spinning, one trip is not much longer than a look at the clock; asleep, the other needs a moment until it sleeps again.
  std::uint32_t const trips = sleeps ? 1 : 100;
  constexpr std::size_t most = 300, dropped = 30;
  auto const enough = deadline::after(std::chrono::milliseconds(300));  // a machine that is busy
  std::vector<double> us;
  std::uint32_t turn = 0;
  for (std::size_t i = 0; i != most && (us.empty() || !enough.passed()); ++i) {
    if (sleeps) peer.linger();
    std::int64_t const before = deadline::now_ns();
    for (std::uint32_t n = 0; n != trips; ++n) {
      pass(ball, ++turn, sleeps);
      if (auto back = await_ball(peer, turn, sleeps, limit(timeout)); !back) return std::move(back.error());
      ++turn;
    }
    if (i >= dropped || enough.passed()) us.push_back(static_cast<double>(deadline::now_ns() - before) / (2e3 * trips));
  }
  pass(ball, bench_board::ball_is_over, sleeps);
  if (auto over = await_ball(peer, bench_board::ball_is_over, sleeps, limit(timeout)); !over) return std::move(over.error());
  return median(std::move(us));
}

}  // namespace

result<bench_limits, diagnosis> measure_limits(bench_peer& peer, double timeout) {
  bench_limits out;
  out.cpus = peer.cpus();
  auto const wake_up = half_trip(peer, true, timeout);
  if (!wake_up) return wake_up.error();
  out.wake_up = *wake_up;
  if (out.cpus.alone) return out;
  auto const line = half_trip(peer, false, timeout);
  if (!line) return line.error();
  out.line = *line;
  return out;
}

outcome return_ball(bench_board& board, bool sleeps, double timeout) {
  auto& ball = board.ball;
  for (std::uint32_t had = 0;;) {  // the ball is at the first process
    deadline const until = limit(timeout);
    for (std::uint64_t looks = 1; ball.load(std::memory_order_acquire) == had; ++looks) {
      if (sleeps ? !omniconn::detail::futex_wait(ball, had, until) : looks % 65536 == 0 && until.passed()) return diagnosis(error_kind::timed_out, "the first process does not go on");
      if (!sleeps) before_next_look(looks > 65536);  // the other is not running
    }
    std::uint32_t const turn = ball.load(std::memory_order_acquire);
    had = turn == bench_board::ball_is_over ? 0 : turn + 1;
    pass(ball, had, sleeps);
    if (had == 0) return {};
  }
}

double copy_and_sum(const_bytes from) {
  // Several at once where one is not much longer than a look at the clock.
  std::size_t const size = std::max<std::size_t>(from.size(), 1);
  std::size_t const together = std::clamp<std::size_t>((std::size_t{64} << 10U) / size, 1, 1024);
  std::size_t const samples = std::clamp<std::size_t>((std::size_t{256} << 20U) / size, 5, 200);
  std::vector<std::byte> to(size);
  std::vector<double> us;
  for (std::size_t i = 0; i != samples; ++i) {
    std::int64_t const before = deadline::now_ns();
    for (std::size_t n = 0; n != together; ++n) {
      if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
      keep(sum_of(const_bytes(to.data(), from.size())));
    }
    us.push_back(static_cast<double>(deadline::now_ns() - before) / (1e3 * static_cast<double>(together)));
  }
  return median(std::move(us));
}

std::uint64_t sum_of(const_bytes bytes) noexcept {
  std::array<std::uint64_t, 8> sums{};  // so that the loads and not one chain of additions are the limit
  std::size_t i = 0;
  for (; i + 64 <= bytes.size(); i += 64) {
    std::array<std::uint64_t, 8> words;
    std::memcpy(words.data(), bytes.data() + i, 64);
    for (std::size_t k = 0; k != 8; ++k) sums[k] += words[k];
  }
  std::uint64_t total = 0;
  for (auto const sum : sums) total += sum;
  for (; i != bytes.size(); ++i) total += static_cast<std::uint64_t>(bytes[i]);
  return total;
}

}  // namespace tool
