// SPDX-License-Identifier: Apache-2.0
// One way through shared memory: producer process on CPU 0, consumer process (exec'ed) on CPU 1, the consumer reads every byte once.
//
//     shm_bench [--rounds N] [--json FILE]
//
// Peers of the same run, interleaved round by round: half a futex round trip (the limit of a blocking wake-up), half a spinning one, memcpy + sum in one
// process, and the consumer's sum over bytes that the producer's CPU wrote last.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include <sys/mman.h>
#include <unistd.h>

#include "processes.hpp"
#include "support.hpp"

namespace {

using namespace omniconn;
using bench::between;
using bench::key_of;
using bench::sleep_until_not;
using bench::wake;
using bench_connector = bench::shm_connector;

enum class job : std::uint32_t { none, futex_ping, spin_ping, objects, plain_memory, quit };

/// What the two processes share besides the library's own memory.
struct control {
  std::atomic<std::uint32_t> job_seq;  // futex: a new job
  std::atomic<std::uint32_t> ack;      // futex: one object done
  std::atomic<std::uint32_t> ping;     // futex
  std::atomic<std::uint32_t> ready;    // the consumer has opened what the job needs
  job what;
  std::uint32_t count;
  std::uint32_t first_key;
  std::uint32_t spin;                  // consumer: 0 blocks at once, 1 spins as by default
  std::uint32_t checksum;
  std::uint64_t size;
  std::uint64_t expected_sum;
  std::atomic<std::uint32_t> wrong;
  std::array<std::int64_t, 4096> ends;
};

bench_connector open_connector(std::string const& space, bool spin, bool checksum) {
  bench_connector::options o;
  o.transport.space = space;
  o.transport.spin = std::chrono::nanoseconds(spin ? -1 : 0);
  o.defaults.checksum = checksum;
  return bench::open_connector(o);
}

int consumer(int fd, std::string const& space, int memory_fd) {
  bench::end_with_parent();
  bench::pin_to(1);
  control& c = bench::map_shared<control>(fd);
  std::unique_ptr<bench_connector> open[2][2];
  std::byte* plain = nullptr;
  std::uint32_t seen = 0;
  for (;;) {
    sleep_until_not(c.job_seq, seen, false);
    seen = c.job_seq.load();
    bool const spin = c.spin != 0;
    switch (c.what) {
      case job::futex_ping:
      case job::spin_ping:
        c.ready.store(seen);
        for (std::uint32_t i = 0; i != c.count; ++i) {
          sleep_until_not(c.ping, 2 * i, c.what == job::spin_ping);
          c.ping.store(2 * i + 2, std::memory_order_release);
          if (c.what == job::futex_ping) wake(c.ping);
        }
        break;
      case job::objects: {
        auto& mine = open[spin ? 1 : 0][c.checksum];
        if (mine == nullptr) mine = std::make_unique<bench_connector>(open_connector(space, spin, c.checksum != 0));
        c.ready.store(seen);
        for (std::uint32_t i = 0; i != c.count; ++i) {
          auto view = mine->get_view(between, key_of(c.first_key + i), {deadline::after(std::chrono::seconds(30))});
          if (!view) bench::failed("consumer", view.error().message());
          if (bench::sum(view->bytes()) != c.expected_sum) c.wrong.fetch_add(1);
          c.ends[i] = bench::now_ns();
          view->release();
          c.ack.fetch_add(1, std::memory_order_release);
          if (!spin) wake(c.ack);
        }
        break;
      }
      case job::plain_memory:
        // Pages shared without the library: what the sum alone costs when the other CPU wrote the bytes.
        if (plain == nullptr) plain = static_cast<std::byte*>(::mmap(nullptr, std::size_t{256} << 20U, PROT_READ, MAP_SHARED | MAP_POPULATE, memory_fd, 0));
        c.ready.store(seen);
        for (std::uint32_t i = 0; i != c.count; ++i) {
          sleep_until_not(c.ping, 2 * i, true);
          std::int64_t const start = bench::now_ns();
          if (bench::sum({plain, c.size}) != c.expected_sum) c.wrong.fetch_add(1);
          c.ends[i] = bench::now_ns() - start;
          c.ping.store(2 * i + 2, std::memory_order_release);
        }
        break;
      default: return 0;
    }
  }
}

struct bench_run {
  control& c;
  std::string space;
  std::byte* plain;
  std::unique_ptr<bench_connector> open[2]{};
  std::vector<std::byte> source = std::vector<std::byte>(std::size_t{256} << 20U);
  std::vector<std::byte> target = std::vector<std::byte>(std::size_t{256} << 20U);
  std::uint32_t next_key = 0;

  void begin(job what, std::uint32_t count, std::size_t size = 0, bool spin = false, bool checksum = false) {
    c.what = what;
    c.count = count;
    c.size = size;
    c.spin = spin ? 1 : 0;
    c.checksum = checksum ? 1 : 0;
    c.first_key = next_key;
    c.ack.store(0);
    c.ping.store(0);
    c.expected_sum = bench::sum({source.data(), size});
    std::uint32_t const seq = c.job_seq.fetch_add(1) + 1;
    wake(c.job_seq);
    while (what != job::quit && c.ready.load() != seq) std::this_thread::sleep_for(std::chrono::microseconds(200));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  /// Half a round trip of one word, in us.
  double ping(bool spin) {
    constexpr std::uint32_t count = 1000;
    begin(spin ? job::spin_ping : job::futex_ping, count);
    std::vector<double> half;
    for (std::uint32_t i = 0; i != count; ++i) {
      std::int64_t const start = bench::now_ns();
      c.ping.store(2 * i + 1, std::memory_order_release);
      if (!spin) wake(c.ping);
      while (c.ping.load(std::memory_order_acquire) != 2 * i + 2) sleep_until_not(c.ping, 2 * i + 1, spin);
      half.push_back(static_cast<double>(bench::now_ns() - start) / 2e3);
    }
    return bench::median(half);
  }

  enum class way { put, reserve };

  /// From before the put until after the consumer's sum, in us. `p99`, where given, takes the 99th percentile.
  double one_way(std::size_t size, std::uint32_t count, bool spin, bool checksum, way how = way::put, double* p99 = nullptr) {
    auto& mine = open[checksum ? 1 : 0];
    if (mine == nullptr) mine = std::make_unique<bench_connector>(open_connector(space, true, checksum));
    begin(job::objects, count, size, spin, checksum);
    std::vector<double> us;
    for (std::uint32_t i = 0; i != count; ++i) {
      std::string const key = key_of(next_key++);
      std::int64_t start = 0;
      result<receipt> done{error_kind::closed, ""};
      if (how == way::put) {
        start = bench::now_ns();
        done = mine->put(between, key, const_bytes(source.data(), size));
      } else {
        auto room = mine->reserve(size);
        if (room) {
          std::memcpy(room->bytes().data(), source.data(), size);  // the caller's own work, outside the time
          start = bench::now_ns();
          done = mine->commit(between, key, std::move(*room));
        }
      }
      if (!done) bench::failed("producer", done.error().message());
      while (c.ack.load(std::memory_order_acquire) == i) sleep_until_not(c.ack, i, spin);
      us.push_back(static_cast<double>(c.ends[i] - start) / 1e3);
    }
    if (p99 != nullptr) *p99 = bench::quantile(us, 0.99);
    return bench::median(us);
  }

  double memcpy_and_sum(std::size_t size, std::uint32_t count) {
    std::vector<double> us;
    for (std::uint32_t i = 0; i != count; ++i) {
      std::int64_t const start = bench::now_ns();
      std::memcpy(target.data(), source.data(), size);
      auto const s = bench::sum({target.data(), size});
      us.push_back(static_cast<double>(bench::now_ns() - start) / 1e3);
      if (s == 42) std::printf(" ");
    }
    return bench::median(us);
  }

  double sum_alone(std::size_t size, std::uint32_t count) {
    begin(job::plain_memory, count, size);
    std::vector<double> us;
    for (std::uint32_t i = 0; i != count; ++i) {
      std::memcpy(plain, source.data(), size);
      c.ping.store(2 * i + 1, std::memory_order_release);
      while (c.ping.load(std::memory_order_acquire) != 2 * i + 2) detail::cpu_relax();
      us.push_back(static_cast<double>(c.ends[i]) / 1e3);
    }
    return bench::median(us);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (std::string_view(bench::option(argc, argv, "--role", "")) == "consumer")
    return consumer(std::atoi(bench::option(argc, argv, "--control", "-1")), bench::option(argc, argv, "--space", ""), std::atoi(bench::option(argc, argv, "--memory", "-1")));

  int const rounds = std::atoi(bench::option(argc, argv, "--rounds", "7"));
  std::size_t const plain_size = std::size_t{256} << 20U;
  int const control_fd = bench::make_shared("bench-control", sizeof(control)), memory_fd = bench::make_shared("bench-memory", plain_size);
  std::string const space = "bench-" + std::to_string(::getpid());
  pid_t const child = bench::start_again({"--role", "consumer", "--control", std::to_string(control_fd), "--memory", std::to_string(memory_fd), "--space", space});

  bench::pin_to(0);
  bench_run b{bench::map_shared<control>(control_fd), space, static_cast<std::byte*>(::mmap(nullptr, plain_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_fd, 0))};
  for (std::size_t i = 0; i != b.source.size(); ++i) b.source[i] = static_cast<std::byte>(i * 2654435761U >> 13U);

  std::map<std::string, std::vector<double>> r;
  auto const mib = [](std::size_t n) { return n << 20U; };
  struct big_size {
    char const* name;
    std::size_t size;
    std::uint32_t count;
    double put_bar, reserve_bar;
  };
  big_size const sizes[]{{"64 KiB", std::size_t{64} << 10U, 500, 0, 0}, {"1 MiB", mib(1), 100, 0, 1.15}, {"16 MiB", mib(16), 12, 1, 1.15}, {"256 MiB", mib(256), 3, 1, 1.15}};
  for (int round = -1; round != rounds; ++round) {
    auto add = [&](std::string const& name, double value) {
      if (round >= 0) r[name].push_back(value);  // round -1 warms memory and code
    };
    double const futex = b.ping(false), spinning = b.ping(true);
    add("half a futex round trip", futex);
    add("half a spinning round trip", spinning);
    for (auto const& [name, size] : {std::pair{"64 B", std::size_t{64}}, std::pair{"4 KiB", std::size_t{4096}}})
      for (bool const checksum : {false, true}) {
        std::string const suffix = checksum ? ", checksum" : "";
        double p99 = 0;
        double const blocking = b.one_way(size, 1000, false, checksum);
        add(std::string(name) + " blocking" + suffix, blocking);
        add(std::string(name) + " blocking" + suffix + " / futex", blocking / futex);
        add(std::string(name) + " hybrid" + suffix, b.one_way(size, 2000, true, checksum, bench_run::way::put, &p99));
        add(std::string(name) + " hybrid" + suffix + " p99", p99);
      }
    for (auto const& s : sizes) {
      double const base = b.memcpy_and_sum(s.size, s.count);
      double const alone = b.sum_alone(s.size, s.count);
      add(std::string(s.name) + " memcpy + sum", base);
      add(std::string(s.name) + " sum alone", alone);
      double plain = 0;
      for (bool const checksum : {false, true}) {
        std::string const suffix = checksum ? ", checksum" : "";
        double const put = b.one_way(s.size, s.count, true, checksum);
        add(std::string(s.name) + " put" + suffix, put);
        add(std::string(s.name) + " put" + suffix + " / (memcpy + sum)", put / base);
        if (!checksum) plain = put;
        if (checksum) add(std::string(s.name) + " put, checksum / put", put / plain);
      }
      double const reserved = b.one_way(s.size, s.count, true, false, bench_run::way::reserve);
      add(std::string(s.name) + " reserve", reserved);
      add(std::string(s.name) + " reserve / sum alone", reserved / alone);
    }
    std::fprintf(stderr, "round %d of %d\n", round + 1, rounds);
  }
  b.begin(job::quit, 0);
  bool const well = bench::ended_well(child);

  std::vector<bench::figure> figures;
  auto show = [&](std::string const& name, char const* unit, double bar = 0) { figures.push_back(bench::figure_of(name, unit, r[name], bar)); };
  show("half a futex round trip", "us");
  show("half a spinning round trip", "us");
  for (std::string const name : {"64 B", "4 KiB"})
    for (std::string const suffix : {"", ", checksum"}) {
      show(name + " blocking" + suffix, "us");
      show(name + " blocking" + suffix + " / futex", "x", 1.25);
      show(name + " hybrid" + suffix, "us");
      show(name + " hybrid" + suffix + " p99", "us");
    }
  for (auto const& s : sizes) {
    std::string const name = s.name;
    show(name + " memcpy + sum", "us");
    show(name + " sum alone", "us");
    for (std::string const suffix : {"", ", checksum"}) {
      show(name + " put" + suffix, "us");
      show(name + " put" + suffix + " / (memcpy + sum)", "x", suffix.empty() ? s.put_bar : 0);
    }
    show(name + " put, checksum / put", "x", 1.5);
    show(name + " reserve", "us");
    show(name + " reserve / sum alone", "x", s.reserve_bar);
  }
  bench::report("shm one way", "defaults of the README unless a row says otherwise; one reader; checksum off unless named", rounds, figures, bench::option(argc, argv, "--json", nullptr));
  if (b.c.wrong.load() != 0) {
    std::fprintf(stderr, "%u sums were wrong\n", b.c.wrong.load());
    return 1;
  }
  return well ? 0 : 1;
}
