// SPDX-License-Identifier: Apache-2.0
// bench: how fast objects of some sizes cross an edge to a second process of this machine.
#include <algorithm>
#include <chrono>
#include <utility>

#include <unistd.h>

#include "bench_figures.hpp"
#include "bench_limits.hpp"
#include "bench_peer.hpp"
#include "edges.hpp"
#include "files.hpp"
#include "payload.hpp"

namespace tool {

namespace {

using omniconn::deadline;

class progress_bar {
 public:
  progress_bar() : shown_(::isatty(2) == 1) {}
  progress_bar(progress_bar const&) = delete;
  progress_bar& operator=(progress_bar const&) = delete;
  ~progress_bar() {
    if (shown_) note("\r\033[K");
  }
  /// Seldom drawn: what is measured waits for it.
  void at(std::uint64_t size, char const* what, std::uint64_t done, std::uint64_t all) {
    if (!shown_) return;
    std::int64_t const now = deadline::now_ns();
    if (done != 0 && now - drawn_ns_ < 100'000'000) return;
    drawn_ns_ = now;
    constexpr std::size_t width = 30;
    std::size_t const ticks = static_cast<std::size_t>(done * width / all);
    note("\r[" + std::string(ticks, '#') + std::string(width - ticks, '.') + "] " + shown_size(size) + " " + what + "\033[K");
  }

 private:
  bool shown_;
  std::int64_t drawn_ns_ = 0;
};

class run_of_bench {
 public:
  run_of_bench(bench_command const& o, omniconn::any_connector& connector, bench_peer& peer, std::string name) : o_(o), connector_(connector), peer_(peer), name_(std::move(name)) {}

  result<bench_figures, diagnosis> measure(std::uint64_t size) {
    bench_figures out;
    out.size = size;
    constexpr std::uint64_t volume = 256U << 20U;
    out.objects = o_.count != 0 ? o_.count : std::clamp<std::uint64_t>(volume / std::max<std::uint64_t>(size, 1), 10, 2000);
    payload_.assign(static_cast<std::size_t>(size), std::byte{0x5a});
    out.copy_and_sum = copy_and_sum(payload_);

    // Memory and code that have never been used would be slow: not counted, as many objects as will ever be there at once, and some more alone.
    constexpr std::uint64_t in_flight = 256U << 20U;  // fits a part of a default arena
    std::uint64_t const window = std::clamp<std::uint64_t>(in_flight / std::max<std::uint64_t>(size, 1), 1, 64);
    bench_figures dropped;
    if (auto done = several_at_once(std::min(out.objects, window), window); !done) return std::move(done.error());
    if (auto done = one_at_a_time(std::clamp<std::uint64_t>(out.objects / 10, 1, 50), dropped); !done) return std::move(done.error());

    if (auto done = one_at_a_time(out.objects, out); !done) return std::move(done.error());
    auto const per_second = several_at_once(out.objects, window);
    if (!per_second) return per_second.error();
    out.per_second = *per_second;
    return out;
  }

 private:
  [[nodiscard]] deadline limit() const { return deadline::after(std::chrono::duration<double>(o_.timeout)); }

  [[nodiscard]] std::uint64_t objects_read() const { return peer_.board().progress.load(std::memory_order_acquire) / 2; }

  /// From the call of put, when the reader is in get, to what it notes.
  outcome one_at_a_time(std::uint64_t count, bench_figures& out) {
    if (auto told = peer_.order({bench_work::objects, next_, count}); !told) return told;
    bench_board const& board = peer_.board();
    out.view.reserve(count);
    out.read.reserve(count);
    for (std::uint64_t i = 0; i != count; ++i) {
      bar_.at(payload_.size(), "latency", i, count);
      if (auto there = peer_.wait_for_progress(2 * next_ + 1, limit()); !there) return there;
      peer_.linger();
      auto const called = put();
      if (!called) return called.error();
      if (auto done = peer_.wait_for_progress(2 * next_, limit()); !done) return done;
      auto const us = [&](std::atomic<std::int64_t> const& at) { return static_cast<double>(at.load(std::memory_order_relaxed) - *called) * 1e-3; };
      out.view.push_back(us(board.view_ns));
      out.read.push_back(us(board.read_ns));
      if (auto done = tidy(next_); !done) return done;
    }
    std::sort(out.view.begin(), out.view.end());
    std::sort(out.read.begin(), out.read.end());
    return {};
  }

  /// Objects per second, with up to `window` of them under way, each of which is read.
  result<double, diagnosis> several_at_once(std::uint64_t count, std::uint64_t window) {
    std::uint64_t const end = next_ + count;
    if (auto told = peer_.order({bench_work::objects, next_, count}); !told) return std::move(told.error());
    if (auto there = peer_.wait_for_progress(2 * next_ + 1, limit()); !there) return std::move(there.error());
    std::int64_t const start = deadline::now_ns();
    while (next_ != end) {
      bar_.at(payload_.size(), "throughput", count - (end - next_), count);
      std::uint64_t const enough = next_ + 1 - std::min(window, next_ + 1);
      if (objects_read() < enough)
        if (auto room = peer_.wait_for_progress(2 * enough, limit()); !room) return std::move(room.error());
      std::uint64_t const read = objects_read();
      if (auto done = tidy(read); !done) return std::move(done.error());
      if (auto done = put(); !done) {
        if (done.error().kind() != error_kind::no_space || read == next_) return std::move(done.error());
        window = next_ - read;  // so many fill what the connector may have
      }
    }
    if (auto done = peer_.wait_for_progress(2 * end, limit()); !done) return std::move(done.error());
    std::int64_t const took = peer_.board().read_ns.load(std::memory_order_relaxed) - start;
    if (auto done = tidy(end); !done) return std::move(done.error());
    return static_cast<double>(count) * 1e9 / static_cast<double>(std::max<std::int64_t>(took, 1));
  }

  /// Object number `next_`. \returns when put was called
  result<std::int64_t, diagnosis> put() {
    std::string const key = bench_key(name_, next_);
    omniconn::put_options options;
    options.readers = counts_readers_ ? omniconn::reader_set{} : omniconn::reader_set::until_cleaned_up();  // the second process alone, whatever the edge has otherwise
    options.lease = std::chrono::seconds(0);    // nothing stays if this process ends in the middle
    options.until = limit();
    std::int64_t const called = deadline::now_ns();
    auto const done = connector_.put(edge_of(o_.where), key, payload_, options);
    if (!done) {  // perhaps because the reader is gone, which then is what has to be told
      if (auto heard = peer_.listen(std::chrono::nanoseconds(0), deadline::never()); !heard) return std::move(heard.error());
      return diagnosis(done.error());
    }
    ++next_;
    return called;
  }

  /// Where reading consumes nothing, nobody else makes room: objects before number `end`, all of which have been read.
  outcome tidy(std::uint64_t end) {
    for (; !counts_readers_ && tidied_ < end; ++tidied_)
      if (auto const done = connector_.cleanup(edge_of(o_.where), bench_key(name_, tidied_)); !done) return diagnosis(done.error());
    return {};
  }

  bench_command const& o_;
  omniconn::any_connector& connector_;
  bench_peer& peer_;
  std::string name_;
  std::vector<std::byte> payload_;
  bool counts_readers_ = connector_.facts().counts_readers;
  std::uint64_t next_ = 0;
  std::uint64_t tidied_ = 0;
  progress_bar bar_;
};

}  // namespace

outcome run(bench_command const& o) {
  auto connector = open_edge(o.where, omniconn::stage_role::sender);
  if (!connector) return std::move(connector.error());
  if (!connector->facts().leaves_process)
    return diagnosis(error_kind::unsupported, "transport " + std::string(connector->facts().name) + " does not leave the process, and bench measures between two; take another connector");

  std::string const name = "omniconn-bench-" + std::to_string(::getpid()) + "-" + std::to_string(omniconn::detail::random_u64());
  auto peer = bench_peer::start(o, name);
  if (!peer) return std::move(peer.error());
  if (auto ready = peer->answer(deadline::after(std::chrono::duration<double>(o.timeout))); !ready) return ready;
  run_on(peer->cpus().sender);
  auto const limits = measure_limits(*peer, o.timeout);
  if (!limits) return limits.error();

  bench_report report{connector->facts().name, o.where, *limits, {}};
  {
    run_of_bench bench(o, *connector, *peer, name);
    for (auto const size : o.sizes) {
      auto measured = bench.measure(size);
      if (!measured) {
        [[maybe_unused]] auto const dropped = connector->cleanup(name);
        return std::move(measured.error());
      }
      report.sizes.push_back(std::move(*measured));
    }
  }
  return print(o.json ? bench_json(report) : bench_table(report));
}

}  // namespace tool
