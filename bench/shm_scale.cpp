// SPDX-License-Identifier: Apache-2.0
// What scale costs in shared memory: live keys, consumers that sleep, readers of one object, and the bytes that a namespace takes.
//
//     shm_scale [--rounds N] [--most-keys N] [--json FILE]
//
// Producer on CPU 0, readers (exec'ed) on the others, sleeping consumers (exec'ed) anywhere. Every point has a namespace of its own, and all are there at once, so that rounds go
// through all points one after the other. Ratios and differences are of the same round, against the point with the fewest.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include "processes.hpp"
#include "support.hpp"

namespace {

using namespace omniconn;
using bench::between;
using bench::key_of;

constexpr std::size_t small = 64, large = std::size_t{1} << 20U;
constexpr std::uint32_t most_readers = 4;
constexpr std::uint32_t most_objects = 4096;  // of one job

/// What the processes share besides the library's own memory.
struct control {
  std::atomic<std::uint32_t> job_seq;  // futex: a new job
  std::atomic<std::uint32_t> ready;    // readers that have begun it
  std::atomic<std::uint32_t> done;     // futex: reads
  std::atomic<std::uint32_t> asleep;   // consumers of other keys
  std::atomic<std::uint32_t> wrong;
  std::array<char, 64> space;
  std::uint32_t readers;  // 0: the end
  std::uint32_t count;
  std::uint32_t first_key;
  std::uint32_t spin;  // 0 blocks at once, 1 spins as by default
  std::uint64_t expected_sum;
  std::array<std::array<std::int64_t, most_objects>, most_readers> ends;
};

std::string reader_name(std::uint32_t i) { return "reader-" + std::to_string(i); }
std::string sleeper_key(std::uint32_t i) { return "never-" + std::to_string(i); }

std::unique_ptr<bench::shm_connector> open(std::string const& space, bool spin, std::uint32_t max_keys = 0, std::string const& reader = "default") {
  bench::shm_connector::options o;
  o.transport.space = space;
  o.transport.max_keys = max_keys;
  o.transport.reader = reader;
  o.transport.spin = std::chrono::nanoseconds(spin ? -1 : 0);
  o.defaults.checksum = false;
  return std::make_unique<bench::shm_connector>(bench::open_connector(o));
}

int reader(control& c, std::uint32_t me) {
  bench::end_with_parent();
  bench::pin_to(1 + static_cast<int>(me) % (static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)) - 1));
  std::map<std::pair<std::string, bool>, std::unique_ptr<bench::shm_connector>> connectors;
  for (std::uint32_t seen = 0;;) {
    bench::sleep_until_not(c.job_seq, seen, false);
    seen = c.job_seq.load();
    if (c.readers == 0) return 0;
    bool const spin = c.spin != 0, reads = me < c.readers;
    std::uint32_t const count = c.count;
    auto& mine = connectors[{c.space.data(), spin}];
    if (reads && mine == nullptr) mine = open(c.space.data(), spin, 0, reader_name(me));
    c.ready.fetch_add(1);
    for (std::uint32_t i = 0; reads && i != count; ++i) {
      auto view = mine->get_view(between, key_of(c.first_key + i), {deadline::after(std::chrono::seconds(30))});
      if (!view) bench::failed("reader", view.error().message());
      if (bench::sum(view->bytes()) != c.expected_sum) c.wrong.fetch_add(1);
      c.ends[me][i] = bench::now_ns();
      view->release();
      c.done.fetch_add(1, std::memory_order_release);
      if (!spin) bench::wake(c.done);
    }
  }
}

/// Waits for a key that comes at the end of all.
int sleeper(control& c, std::string const& space, std::uint32_t me) {
  bench::end_with_parent();
  auto mine = open(space, false);
  c.asleep.fetch_add(1);
  auto const view = mine->get_view(between, sleeper_key(me));
  return view ? 0 : 1;
}

/// Who puts, in one namespace.
class point {
 public:
  point(std::string space, std::uint32_t max_keys) : space_(std::move(space)), mine_(open(space_, true, max_keys)) {}
  [[nodiscard]] std::string const& space() const noexcept { return space_; }

  void put(std::string const& key, const_bytes payload, std::uint32_t readers = 1) {
    put_options o;
    o.readers = reader_set{readers};
    o.lease = std::chrono::seconds(0);  // nothing stays when this process ends
    if (auto const done = mine_->put(between, key, payload, o); !done) bench::failed("producer", done.error().message());
  }
  void fill(std::uint32_t keys, const_bytes payload) {
    for (std::uint32_t i = 0; i != keys; ++i) put("live-" + std::to_string(i), payload);
  }

 private:
  std::string space_;
  std::unique_ptr<bench::shm_connector> mine_;
};

class bench_run {
 public:
  bench_run(control& c, int fd, std::string space) : c_(c), fd_(fd), space_(std::move(space)) {
    for (std::size_t i = 0; i != source_.size(); ++i) source_[i] = static_cast<std::byte>(i * 2654435761U >> 13U);
    for (std::uint32_t i = 0; i != most_readers; ++i) children_.push_back(start("reader", i, ""));
  }

  [[nodiscard]] const_bytes payload(std::size_t size) const noexcept { return {source_.data(), size}; }
  [[nodiscard]] std::string space_of(std::string const& what) const { return space_ + "-" + what; }

  void add_sleepers(point const& at, std::uint32_t n) {
    std::uint32_t const before = c_.asleep.load();
    for (std::uint32_t i = 0; i != n; ++i) children_.push_back(start("sleeper", i, at.space()));
    while (c_.asleep.load() != before + n) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void wake_sleepers(point& at, std::uint32_t n) {
    for (std::uint32_t i = 0; i != n; ++i) at.put(sleeper_key(i), payload(small));
  }

  /// From before the put until the last reader has read every byte, in us: the median.
  double one_way(point& at, std::size_t size, std::uint32_t count, bool spin, std::uint32_t readers = 1) {
    begin(at.space(), size, count, spin, readers);
    std::vector<double> us;
    for (std::uint32_t i = 0; i != count; ++i) {
      std::string const key = key_of(next_key_++);
      std::int64_t const start = bench::now_ns();
      at.put(key, payload(size), readers);
      for (std::uint32_t n = c_.done.load(); n != readers * (i + 1); n = c_.done.load()) bench::sleep_until_not(c_.done, n, spin);
      std::int64_t end = 0;
      for (std::uint32_t r = 0; r != readers; ++r) end = std::max(end, c_.ends[r][i]);
      us.push_back(static_cast<double>(end - start) / 1e3);
    }
    return bench::median(us);
  }
  /// Objects enough for who waits to have been in every part of a directory: one above 16 MiB is not mapped at once, and each first look into a part is a page fault.
  /// \returns the time of the first 4,096, with those faults
  double go_round(point& at, std::uint32_t objects) {
    double const first = one_way(at, small, most_objects, true);
    for (std::uint32_t n = most_objects; n < objects; n += most_objects) one_way(at, small, most_objects, true);
    return first;
  }

  /// One put, and a get and a release by each reader, all in this thread: ns.
  double by_one_thread(std::uint32_t readers) {
    std::string const space = space_of("thread");
    point at(space, 0);
    auto const from = open(space, true);
    constexpr std::uint32_t batch = 100, batches = 40;  // a batch is shorter than a time slice, so that most run undisturbed
    std::array<std::string, most_readers> names;
    for (std::uint32_t r = 0; r != most_readers; ++r) names[r] = reader_name(r);
    std::vector<double> ns;
    std::int64_t start = bench::now_ns();
    for (std::uint32_t i = 0; i != batch * batches; ++i) {
      std::string const key = key_of(i);
      at.put(key, payload(small), readers);
      for (std::uint32_t r = 0; r != readers; ++r) {
        get_options o;
        o.until = deadline::immediate();
        o.reader = names[r];
        auto view = from->get_view(between, key, o);
        if (!view) bench::failed("reader", view.error().message());
        bench::keep(*view);
      }
      if (i % batch != batch - 1) continue;
      std::int64_t const now = bench::now_ns();
      ns.push_back(static_cast<double>(now - start) / batch);
      start = now;
    }
    return bench::median(ns);
  }

  /// \returns whether all went well
  bool end() {
    c_.readers = 0;
    c_.job_seq.fetch_add(1);
    bench::wake(c_.job_seq);
    bool well = c_.wrong.load() == 0;
    for (pid_t const child : children_) well = bench::ended_well(child) && well;
    return well;
  }

 private:
  pid_t start(char const* role, std::uint32_t number, std::string const& space) const {
    return bench::start_again({"--role", role, "--control", std::to_string(fd_), "--number", std::to_string(number), "--space", space});
  }
  void begin(std::string const& space, std::size_t size, std::uint32_t count, bool spin, std::uint32_t readers) {
    std::snprintf(c_.space.data(), c_.space.size(), "%s", space.c_str());
    c_.readers = readers;
    c_.count = count;
    c_.first_key = next_key_;
    c_.spin = spin ? 1 : 0;
    c_.expected_sum = bench::sum(payload(size));
    c_.done.store(0);
    c_.ready.store(0);
    c_.job_seq.fetch_add(1);
    bench::wake(c_.job_seq);
    while (c_.ready.load() != most_readers) std::this_thread::sleep_for(std::chrono::microseconds(200));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  control& c_;
  int fd_;
  std::string space_;
  std::vector<pid_t> children_;
  std::vector<std::byte> source_ = std::vector<std::byte>(large);
  std::uint32_t next_key_ = 0;
};

/// MiB of the namespace's files: how long they are, and the memory that they have.
struct file_sizes {
  double directory = 0, directory_allocated = 0, arena = 0, arena_allocated = 0;

  explicit file_sizes(std::string const& space) {
    shm_transport::options o;
    o.space = space;
    for (auto const& path : shm_transport::files(o)) {
      struct stat st {};
      if (::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
      bool const is_directory = path.ends_with(".dir");
      (is_directory ? directory : arena) += static_cast<double>(st.st_size) / (1 << 20);
      (is_directory ? directory_allocated : arena_allocated) += static_cast<double>(st.st_blocks) * 512 / (1 << 20);
    }
  }
};

std::string with_commas(std::uint32_t n) {
  std::string out = std::to_string(n);
  for (std::size_t i = out.size(); i > 3; i -= 3) out.insert(i - 3, ",");
  return out;
}

struct pair_of_times {
  double blocking = 0, hybrid = 0;
};

/// Figures in the order in which they were first seen.
class figures {
 public:
  void add(std::string const& name, char const* unit, double value, double bar = 0) {
    if (!rounds_.contains(name)) order_.push_back({name, unit, bar});
    rounds_[name].push_back(value);
  }
  /// What they are against the first of their kind in the same round, too.
  void add_pair(std::string const& row, pair_of_times now, pair_of_times fewest, bool is_first) {
    add(row + ": blocking", "us", now.blocking);
    if (!is_first) add(row + ": blocking / fewest", "x", now.blocking / fewest.blocking, 1.3);
    add(row + ": hybrid", "us", now.hybrid);
    if (!is_first) add(row + ": hybrid - fewest", "us", now.hybrid - fewest.hybrid, 0.5);
  }
  [[nodiscard]] std::vector<bench::figure> all() const {
    std::vector<bench::figure> out;
    for (auto const& one : order_) out.push_back(bench::figure_of(one.name, one.unit, rounds_.at(one.name), one.bar));
    return out;
  }

 private:
  struct column {
    std::string name, unit;
    double bar;
  };
  std::vector<column> order_;
  std::map<std::string, std::vector<double>> rounds_;
};

void measure_bytes(figures& out, bench_run const& b, std::uint32_t most) {
  for (std::uint32_t const keys : {16U, 128U, 1024U, 4096U, 16'384U, 131'072U, 1'048'576U}) {
    if (keys > most) break;
    std::string const row = "max_keys " + with_commas(keys);
    for (std::size_t const size : {small, std::size_t{256}}) {
      std::string const space = b.space_of("bytes-" + std::to_string(keys) + "-" + std::to_string(size));
      point at(space, keys);
      if (size == small) {
        out.add(row + ": directory", "MiB", file_sizes(space).directory);
        out.add(row + ": allocated when made", "MiB", file_sizes(space).directory_allocated);
      }
      at.fill(keys, b.payload(size));
      if (size == small) out.add(row + ": full of 64 B", "MiB", file_sizes(space).directory_allocated);
      if (size != small) out.add(row + ": arena of as many of 256 B", "MiB", file_sizes(space).arena);
      if (size != small) out.add(row + ": arena, allocated", "MiB", file_sizes(space).arena_allocated);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string const role = bench::option(argc, argv, "--role", "");
  auto const number = [&](char const* name, char const* fallback) { return static_cast<std::uint32_t>(std::strtoul(bench::option(argc, argv, name, fallback), nullptr, 10)); };
  if (!role.empty()) {
    auto& c = bench::map_shared<control>(static_cast<int>(number("--control", "0")));
    return role == "reader" ? reader(c, number("--number", "0")) : sleeper(c, bench::option(argc, argv, "--space", ""), number("--number", "0"));
  }
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) bench::failed("shm_scale", "two processors are needed, one for the producer");

  int const rounds = static_cast<int>(number("--rounds", "7"));
  std::uint32_t const most_keys = number("--most-keys", "1000000");
  struct fullness {
    std::uint32_t live, max_keys;
  };
  std::vector<fullness> keys;
  std::vector<std::uint32_t> const consumers{1, 2, 4, 8, 16, 32, 64};
  std::vector<std::string> key_rows, consumer_rows;
  for (std::uint32_t n = 10; n <= most_keys; n *= 10) {
    keys.push_back({n, std::bit_ceil(n + 1)});
    key_rows.push_back(with_commas(n) + " live keys");
  }
  std::uint32_t const most = keys.back().max_keys;
  keys.push_back({10, most});  // what the size alone costs
  key_rows.push_back("10 live keys, max_keys " + with_commas(most));
  for (std::uint32_t const n : consumers) consumer_rows.push_back(std::to_string(n) + (n == 1 ? " consumer" : " consumers"));

  int const fd = bench::make_shared("scale-control", sizeof(control));
  bench_run b(bench::map_shared<control>(fd), fd, "scale-" + std::to_string(::getpid()));
  bench::pin_to(0);
  figures out;
  {
    std::vector<point> with_keys, with_consumers;
    std::vector<double> first_us;
    for (auto const& k : keys) {
      auto& at = with_keys.emplace_back(b.space_of("keys-" + std::to_string(k.live) + "-of-" + std::to_string(k.max_keys)), k.max_keys);
      at.fill(k.live, b.payload(small));
      first_us.push_back(b.go_round(at, k.max_keys / 4));
    }
    for (std::uint32_t const n : consumers) b.add_sleepers(with_consumers.emplace_back(b.space_of("consumers-" + std::to_string(n)), 0), n - 1);
    point shared(b.space_of("readers"), 0);

    for (int round = -1; round != rounds; ++round) {
      figures warm_up;  // round -1 warms memory and code
      figures& now = round < 0 ? warm_up : out;
      auto const measure = [&](std::vector<point>& points, std::vector<std::string> const& names) {
        std::vector<pair_of_times> us(points.size());
        for (std::size_t k = 0; k != points.size(); ++k) {  // another one first each round: who follows whom is not part of the figure
          std::size_t const i = (k + static_cast<std::size_t>(round + 1)) % points.size();
          us[i] = {b.one_way(points[i], small, 1000, false), b.one_way(points[i], small, 2000, true)};
        }
        for (std::size_t i = 0; i != points.size(); ++i) now.add_pair(names[i], us[i], us[0], i == 0);
      };
      measure(with_keys, key_rows);
      measure(with_consumers, consumer_rows);
      for (std::uint32_t const n : {1U, 2U, 4U}) {
        std::string const row = std::to_string(n) + (n == 1 ? " reader" : " readers");
        now.add(row + ": 64 B, blocking", "us", b.one_way(shared, small, 500, false, n));
        now.add(row + ": 64 B, hybrid", "us", b.one_way(shared, small, 1000, true, n));
        now.add(row + ": 1 MiB, blocking", "us", b.one_way(shared, large, 50, false, n));
        now.add(row + ": 1 MiB, hybrid", "us", b.one_way(shared, large, 50, true, n));
        now.add(row + ": 64 B, one thread", "ns", b.by_one_thread(n));
      }
      std::fprintf(stderr, "round %d of %d\n", round + 1, rounds);
    }
    for (std::size_t i = 0; i != keys.size(); ++i) out.add(key_rows[i] + ": hybrid, first 4,096", "us", first_us[i]);
    for (std::size_t i = 0; i != consumers.size(); ++i) b.wake_sleepers(with_consumers[i], consumers[i] - 1);
    if (!b.end()) bench::failed("shm_scale", "a reader failed, or sums were wrong");
  }
  measure_bytes(out, b, most);
  bench::report("shm with scale", "one way of 64 B unless a row says otherwise; checksum off; bytes and first objects measured once", rounds, out.all(), bench::option(argc, argv, "--json", nullptr));
  return 0;
}
