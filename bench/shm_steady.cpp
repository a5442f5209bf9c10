// SPDX-License-Identifier: Apache-2.0
// What the steady state asks of the kernel: page faults and system calls of 10^5 puts, each of a new key, to a consumer that spins and reads every byte.
//
//     shm_steady [--rounds N] [--json FILE]
//
// Producer and consumer are processes of their own. Page faults are those that getrusage counts from the end of the warm-up on. System calls: `strace -f -c` counts those of
// both processes from their start to their end, once with so many puts and once with twice as many; the difference is what the puts made,
// give or take one or two that depend on who ends first.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <unistd.h>

#include "processes.hpp"
#include "support.hpp"

namespace {

using namespace omniconn;

constexpr std::uint32_t per = 100'000;  // puts that the figures are of

struct control {
  std::atomic<std::uint32_t> ready;
  std::atomic<std::uint32_t> taken;  // objects that the consumer is done with
  std::uint32_t warm_up;
  std::uint32_t count;
  std::uint64_t expected_sum;
  long faults_of_consumer;
};

bench::shm_connector open(std::string const& space) {
  bench::shm_connector::options o;
  o.transport.space = space;
  o.transport.spin = std::chrono::hours(1);
  return bench::open_connector(o);
}

int consumer(control& c, std::string const& space) {
  bench::end_with_parent();
  bench::pin_to(1);
  auto mine = open(space);
  c.ready.store(1);
  long before = 0;
  for (std::uint32_t i = 0; i != c.warm_up + c.count; ++i) {
    if (i == c.warm_up) before = bench::page_faults();
    auto view = mine.get_view(bench::between, bench::key_of(i), {deadline::after(std::chrono::seconds(60))});
    if (!view || bench::sum(view->bytes()) != c.expected_sum) {
      c.taken.store(UINT32_MAX);  // nobody waits for us
      bench::failed("consumer", view ? "wrong bytes" : view.error().message());
    }
    view->release();
    c.taken.store(i + 1, std::memory_order_release);
  }
  c.faults_of_consumer = bench::page_faults() - before;
  return 0;
}

/// Prints the page faults of both. No wait in it sleeps, so that two runs make the same system calls.
int producer(std::string const& space, std::size_t size, std::uint32_t warm_up, std::uint32_t count) {
  int const fd = bench::make_shared("steady-control", sizeof(control));
  auto& c = bench::map_shared<control>(fd);
  std::vector<std::byte> payload(size);
  for (std::size_t i = 0; i != size; ++i) payload[i] = static_cast<std::byte>(i * 2654435761U >> 13U);
  c.warm_up = warm_up;
  c.count = count;
  c.expected_sum = bench::sum(payload);
  auto mine = open(space);  // one after the other: who meets the other at the gate makes more calls
  pid_t const child = bench::start_again({"--role", "consumer", "--control", std::to_string(fd), "--space", space});
  bench::pin_to(0);
  while (c.ready.load() == 0) detail::cpu_relax();
  long before = 0;
  for (std::uint32_t i = 0; i != warm_up + count; ++i) {
    if (i == warm_up) before = bench::page_faults();
    if (auto const done = mine.put(bench::between, bench::key_of(i), const_bytes(payload)); !done) bench::failed("producer", done.error().message());
    while (c.taken.load(std::memory_order_acquire) <= i) detail::cpu_relax();
  }
  long const faults = bench::page_faults() - before;
  if (!bench::ended_well(child)) return 1;
  std::printf("%ld %ld\n", faults, c.faults_of_consumer);
  return 0;
}

struct counted {
  long calls = 0;
  long faults_of_producer = 0;
  long faults_of_consumer = 0;
};

/// The calls are those of the whole run.
counted traced_run(std::size_t size, std::uint32_t warm_up, std::uint32_t count) {
  static int runs = 0;
  std::string const name = "steady-" + std::to_string(::getpid()) + "-" + std::to_string(++runs), trace = "/tmp/omniconn-" + name;
  std::array<char, 4096> self{};
  if (::readlink("/proc/self/exe", self.data(), self.size() - 1) < 0) bench::failed("readlink", "no name of this program");
  std::string const command = "strace -f -c -o " + trace + " '" + self.data() + "' --role producer --space " + name + " --size " + std::to_string(size) +  //
                              " --warm-up " + std::to_string(warm_up) + " --count " + std::to_string(count);
  counted out;
  bool good = false;
  if (FILE* const said = ::popen(command.c_str(), "r")) {
    good = std::fscanf(said, "%ld %ld", &out.faults_of_producer, &out.faults_of_consumer) == 2;
    good = ::pclose(said) == 0 && good;
  }
  // The last line: percents, seconds, microseconds for each, calls, errors where there are any, "total".
  std::ifstream lines(trace);
  std::string last;
  for (std::string line; std::getline(lines, line);) last = line;
  ::unlink(trace.c_str());
  good = good && last.ends_with(" total") && std::sscanf(last.c_str(), "%*s %*s %*s %ld", &out.calls) == 1;
  if (!good) bench::failed("shm_steady", "this failed, or said nothing: " + command);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::string const role = bench::option(argc, argv, "--role", ""), space = bench::option(argc, argv, "--space", "");
  auto const number = [&](char const* name, char const* fallback) { return static_cast<std::uint32_t>(std::strtoul(bench::option(argc, argv, name, fallback), nullptr, 10)); };
  if (role == "consumer") return consumer(bench::map_shared<control>(static_cast<int>(number("--control", "0"))), space);
  if (role == "producer") return producer(space, number("--size", "64"), number("--warm-up", "1000"), number("--count", "1000"));
  if (std::system("strace -V > /dev/null 2>&1") != 0) bench::failed("shm_steady", "strace is missing, which counts the system calls: apt-get install strace");

  struct measured_size {
    char const* name;
    std::size_t size;
    std::uint32_t warm_up, count;
  };
  measured_size const sizes[]{{"64 B", 64, 10'000, per}, {"4 KiB", 4096, 10'000, per}, {"64 KiB", 65'536, 5'000, per}, {"1 MiB", 1'048'576, 1'000, per / 5}};
  int const rounds = std::atoi(bench::option(argc, argv, "--rounds", "3"));
  std::map<std::string, std::vector<double>> r;
  for (int round = 0; round != rounds; ++round) {
    for (auto const& s : sizes) {
      auto const once = traced_run(s.size, s.warm_up, s.count), twice = traced_run(s.size, s.warm_up, 2 * s.count);
      auto const add = [&](char const* what, long n, std::uint32_t puts) { r[std::string(s.name) + ": " + what].push_back(static_cast<double>(n) * per / puts); };
      add("system calls of both", twice.calls - once.calls, s.count);
      add("page faults of the producer", twice.faults_of_producer, 2 * s.count);
      add("page faults of the consumer", twice.faults_of_consumer, 2 * s.count);
    }
    std::fprintf(stderr, "round %d of %d\n", round + 1, rounds);
  }
  std::vector<bench::figure> figures;
  for (auto const& s : sizes)
    for (std::string const what : {"system calls of both", "page faults of the producer", "page faults of the consumer"}) {
      std::string const name = std::string(s.name) + ": " + what;
      figures.push_back(bench::figure_of(name, "", r[name], 10));
    }
  bench::report("shm steady state", "in 100,000 puts of new keys to a consumer that spins; defaults of the README, checksum on", rounds, figures, bench::option(argc, argv, "--json", nullptr));
  return 0;
}
