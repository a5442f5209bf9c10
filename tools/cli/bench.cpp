// SPDX-License-Identifier: Apache-2.0
// bench: how fast objects of some sizes cross an edge to a second process of this machine.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <deque>
#include <utility>

#include <unistd.h>

#include <omniconn/detail/posix.hpp>
#include <omniconn/runtime/json.hpp>

#include "bench_peer.hpp"
#include "edges.hpp"
#include "files.hpp"
#include "payload.hpp"

namespace tool {

namespace {

using omniconn::deadline;

struct figures {
  std::uint64_t size = 0;
  std::uint64_t objects = 0;
  std::vector<double> latency_us;  ///< sorted
  double seconds = 0;
  double per_second = 0;  ///< objects
};

double quantile(std::vector<double> const& sorted, double q) { return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)]; }

std::string fixed(double number, int digits) {
  char text[64];
  return {text, std::to_chars(text, text + sizeof text, number, std::chars_format::fixed, digits).ptr};
}

class progress_bar {
 public:
  progress_bar() : shown_(::isatty(2) == 1) {}
  progress_bar(progress_bar const&) = delete;
  progress_bar& operator=(progress_bar const&) = delete;
  ~progress_bar() {
    if (shown_) note("\r\033[K");
  }
  void at(std::uint64_t size, char const* what, std::uint64_t done, std::uint64_t all) {
    constexpr std::size_t width = 30;
    std::size_t const ticks = static_cast<std::size_t>(done * width / all);
    if (!shown_ || (ticks == last_ && done != 0)) return;
    last_ = ticks;
    note("\r[" + std::string(ticks, '#') + std::string(width - ticks, '.') + "] " + shown_size(size) + " " + what + "\033[K");
  }

 private:
  bool shown_;
  std::size_t last_ = 0;
};

class run_of_bench {
 public:
  run_of_bench(bench_command const& o, omniconn::any_connector& connector, bench_peer& peer, std::string name) : o_(o), connector_(connector), peer_(peer), name_(std::move(name)) {}

  result<figures, diagnosis> measure(std::uint64_t size) {
    figures out;
    out.size = size;
    constexpr std::uint64_t volume = 256U << 20U;
    out.objects = o_.count != 0 ? o_.count : std::clamp<std::uint64_t>(volume / std::max<std::uint64_t>(size, 1), 10, 2000);
    payload_.assign(static_cast<std::size_t>(size), std::byte{0x5a});

    // One at a time: from before the put to the moment the other process has the view.
    if (auto told = peer_.order({next_, out.objects}); !told) return std::move(told.error());
    for (std::uint64_t i = 0; i != out.objects; ++i) {
      bar_.at(size, "latency", i, out.objects);
      std::int64_t const before = deadline::now_ns();
      if (auto sent = put(); !sent) return std::move(sent.error());
      auto const got = peer_.answer(limit());
      if (!got) return got.error();
      out.latency_us.push_back(static_cast<double>(static_cast<std::int64_t>(*got) - before) * 1e-3);
    }
    std::sort(out.latency_us.begin(), out.latency_us.end());

    // Several at once, as many as fit a part of a default arena.
    constexpr std::uint64_t in_flight = 256U << 20U;
    std::uint64_t const window = std::clamp<std::uint64_t>(in_flight / std::max<std::uint64_t>(size, 1), 1, 64);
    if (auto told = peer_.order({next_, out.objects}); !told) return std::move(told.error());
    std::int64_t const start = deadline::now_ns();
    std::uint64_t end = 0;
    for (std::uint64_t sent = 0, answered = 0; answered != out.objects;) {
      bar_.at(size, "throughput", answered, out.objects);
      if (sent != out.objects && sent - answered != window) {
        if (auto done = put(); !done) return std::move(done.error());
        ++sent;
        continue;
      }
      auto const got = peer_.answer(limit());
      if (!got) return got.error();
      end = *got;
      ++answered;
    }
    out.seconds = std::max(static_cast<double>(static_cast<std::int64_t>(end) - start) * 1e-9, 1e-9);
    out.per_second = static_cast<double>(out.objects) / out.seconds;
    return out;
  }

 private:
  [[nodiscard]] deadline limit() const { return deadline::after(std::chrono::duration<double>(o_.timeout)); }

  outcome put() {
    omniconn::put_options options;
    options.readers = omniconn::reader_set{};  // the second process alone, whatever the edge has otherwise
    options.lease = std::chrono::seconds(0);    // nothing stays if this process ends in the middle
    options.until = limit();
    auto const done = connector_.put(edge_of(o_.where), bench_key(name_, next_), payload_, options);
    if (!done) return diagnosis(done.error());
    ++next_;
    return {};
  }

  bench_command const& o_;
  omniconn::any_connector& connector_;
  bench_peer& peer_;
  std::string name_;
  std::vector<std::byte> payload_;
  std::uint64_t next_ = 0;
  progress_bar bar_;
};

value json_of(figures const& f) {
  auto const at = [&](double q) { return quantile(f.latency_us, q); };
  return value::object({{"size", f.size},
                        {"objects", f.objects},
                        {"latency_us", value::object({{"p50", at(0.5)}, {"p90", at(0.9)}, {"p99", at(0.99)}, {"max", at(1)}})},
                        {"objects_per_second", f.per_second},
                        {"bytes_per_second", f.per_second * static_cast<double>(f.size)}});
}

std::string table(std::vector<figures> const& all, omniconn::any_connector const& connector) {
  std::vector<std::vector<std::string>> rows{{"size", "objects", "p50 us", "p90 us", "p99 us", "max us", "objects/s", "MB/s"}};
  for (auto const& f : all) {
    std::vector<std::string> row{shown_size(f.size), std::to_string(f.objects)};
    for (double const q : {0.5, 0.9, 0.99, 1.0}) row.push_back(fixed(quantile(f.latency_us, q), 1));
    row.push_back(fixed(f.per_second, 0));
    row.push_back(fixed(f.per_second * static_cast<double>(f.size) * 1e-6, 0));
    rows.push_back(std::move(row));
  }
  std::string out = "transport " + std::string(connector.facts().name) + ", two processes, latency from the call of put to the view of the reader\n";
  for (auto const& row : rows) {
    for (std::size_t i = 0; i != row.size(); ++i) {
      std::size_t width = 0;
      for (auto const& other : rows) width = std::max(width, other[i].size());
      out.append(i == 0 ? 0 : 2, ' ').append(width - row[i].size(), ' ').append(row[i]);
    }
    out += '\n';
  }
  return out;
}

}  // namespace

outcome run(bench_command const& o) {
  auto connector = open_edge(o.where, omniconn::stage_role::sender);
  if (!connector) return std::move(connector.error());
  if (!connector->facts().leaves_process)
    return diagnosis(error_kind::unsupported, "transport " + std::string(connector->facts().name) + " does not leave the process, and bench measures between two; take another connector");

  std::string const name = "omniconn-bench-" + std::to_string(::getpid()) + "-" + std::to_string(omniconn::detail::random_u64());
  auto peer = bench_peer::start(o, name);
  if (!peer) return std::move(peer.error());
  if (auto ready = peer->answer(deadline::after(std::chrono::duration<double>(o.timeout))); !ready) return std::move(ready.error());

  std::vector<figures> all;
  {
    run_of_bench bench(o, *connector, *peer, name);
    for (auto const size : o.sizes) {
      auto measured = bench.measure(size);
      if (!measured) {
        [[maybe_unused]] auto const dropped = connector->cleanup(name);
        return std::move(measured.error());
      }
      all.push_back(std::move(*measured));
    }
  }
  if (!o.json) return print(table(all, *connector));
  value::array rows;
  for (auto const& f : all) rows.push_back(json_of(f));
  return print(omniconn::to_json(value::object({{"transport", connector->facts().name}, {"from", o.where.from}, {"to", o.where.to}, {"rows", std::move(rows)}}), 1) + "\n");
}

}  // namespace tool
