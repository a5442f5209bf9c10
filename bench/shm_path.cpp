// SPDX-License-Identifier: Apache-2.0
// Where the time of one hand-over goes: when each step of a put and of the get that waits for it is reached, from the call of put on.
//
//     shm_path [--rounds N] [--json FILE]
//
// Producer on CPU 0, consumer on CPU 1, processes of their own. The steps are the library's failpoints, at each of which the time is noted; that costs some nanoseconds each, so the
// sum is more than what shm_bench sees. Then what a page of a large object costs. Times are those of the processor's counter, which both CPUs share; where there is none, of the clock.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <omniconn/detail/failpoint.hpp>

#include "processes.hpp"
#include "support.hpp"

namespace {

using namespace omniconn;

struct step {
  char const* failpoint;  // null: noted by hand
  char const* name;
  bool of_consumer = false;
};
constexpr step steps[] = {
    {nullptr, "put is called"},
    {"shm.put.key_locked", "producer: has the key's lock"},
    {"shm.put.described", "producer: has described the object in its slot"},
    {"shm.put.announced", "producer: has announced it, the copy begins"},
    {"shm.put.copied", "producer: the copy is made"},
    {"shm.whole.ready", "producer: has published it"},
    {"shm.put.ready", "producer: has published it"},
    {nullptr, "producer: put returns"},
    {"shm.follow.claimed", "consumer: has claimed what is being written", true},
    {"shm.follow.whole", "consumer: sees that it is whole", true},
    {"shm.get.found", "consumer: sees it", true},
    {"shm.get.claimed", "consumer: has claimed it", true},
    {"shm.get.adopted", "consumer: has checked what describes it", true},
    {nullptr, "consumer: get returns", true},
    {nullptr, "consumer: has read every byte", true},
};
constexpr std::size_t start = 0, put_returns = 7, get_returns = 13, is_read = 14;
using times = std::array<std::int64_t, std::size(steps)>;
times noted;

std::int64_t ticks() noexcept {
#if defined(__x86_64__)
  return static_cast<std::int64_t>(__rdtsc());
#else
  return bench::now_ns();
#endif
}

double ns_of_a_tick() {
  auto const from = bench::now_ns(), first = ticks();
  while (bench::now_ns() < from + 20'000'000) {
  }
  return static_cast<double>(bench::now_ns() - from) / static_cast<double>(ticks() - first);
}

/// By where the failpoint's name lies: a search would take longer than the steps.
std::array<std::uint8_t, 8192> step_at;
char const* first_name = nullptr;
void find_names() {
  first_name = std::min_element(std::begin(failpoint_names), std::end(failpoint_names), [](auto a, auto b) { return a.data() < b.data(); })->data();
  for (auto const name : failpoint_names)
    for (std::size_t i = 0; i != std::size(steps); ++i)
      if (steps[i].failpoint != nullptr && name == steps[i].failpoint) step_at.at(static_cast<std::size_t>(name.data() - first_name)) = static_cast<std::uint8_t>(i + 1);
}
void note(std::string_view name) noexcept {
  auto const at = static_cast<std::size_t>(name.data() - first_name);
  if (at < step_at.size() && step_at[at] != 0) noted[step_at[at] - 1U] = ticks();
}

struct control {
  std::atomic<std::uint32_t> taken;
  std::uint32_t count;
  times seen;
};

bench::shm_connector open(std::string const& space) {
  bench::shm_connector::options o;
  o.transport.space = space;
  o.defaults.checksum = false;
  return bench::open_connector(o);
}

int consumer(control& c, std::string const& space) {
  bench::end_with_parent();
  bench::pin_to(1);
  find_names();
  auto mine = open(space);
  set_failpoint_hook(&note);
  for (std::uint32_t i = 0; i != c.count; ++i) {
    noted = {};
    auto view = mine.get_view(bench::between, bench::key_of(i), {deadline::after(std::chrono::seconds(60))});
    noted[get_returns] = ticks();
    if (!view) bench::failed("consumer", view.error().message());
    bench::keep(bench::sum(view->bytes()));
    noted[is_read] = ticks();
    view->release();
    c.seen = noted;
    c.taken.store(i + 1, std::memory_order_release);
  }
  return 0;
}

/// Medians in nanoseconds since the call of put; negative: not reached.
std::array<double, std::size(steps)> one_round(std::size_t size, double tick) {
  static int rounds = 0;
  std::uint32_t const count = size > 100'000 ? 300 : 3000;
  int const fd = bench::make_shared("path-control", sizeof(control));
  auto& c = bench::map_shared<control>(fd);
  c.count = count;
  std::string const space = "path-" + std::to_string(::getpid()) + "-" + std::to_string(++rounds);
  auto mine = open(space);
  pid_t const child = bench::start_again({"--role", "consumer", "--control", std::to_string(fd), "--space", space});
  bench::pin_to(0);
  std::vector<std::byte> payload(size);
  std::array<std::vector<double>, std::size(steps)> all;
  for (std::uint32_t i = 0; i != count; ++i) {
    auto const rest = bench::now_ns() + (i == 0 ? 100'000'000 : 5'000);  // the consumer waits
    while (bench::now_ns() < rest) detail::cpu_relax();
    noted = {};
    set_failpoint_hook(&note);
    noted[start] = ticks();
    auto const done = mine.put(bench::between, bench::key_of(i), const_bytes(payload));
    noted[put_returns] = ticks();
    set_failpoint_hook(nullptr);
    if (!done) bench::failed("producer", done.error().message());
    while (c.taken.load(std::memory_order_acquire) <= i) detail::cpu_relax();
    if (i < count / 10) continue;  // warm-up
    for (std::size_t k = 0; k != all.size(); ++k)
      if (auto const at = steps[k].of_consumer ? c.seen[k] : noted[k]; at != 0) all[k].push_back(static_cast<double>(at - noted[start]) * tick);
  }
  if (!bench::ended_well(child)) bench::failed("consumer", "it failed");
  ::close(fd);
  std::array<double, std::size(steps)> out;
  for (std::size_t k = 0; k != out.size(); ++k) out[k] = all[k].size() < count / 2 ? -1 : bench::median(all[k]);
  return out;
}

/// Nanoseconds for each page of 4 KiB of an object of 64 MiB, put and read by one thread: the first time its memory is used, and the second.
std::array<double, 4> pages_of_one_round() {
  constexpr std::size_t size = std::size_t{64} << 20U, pages = size / 4096;
  static int rounds = 0;
  std::string const space = "pages-" + std::to_string(::getpid()) + "-" + std::to_string(++rounds);
  auto producer = open(space), consumer = open(space);
  std::vector<std::byte> const payload(size, std::byte{7});
  std::array<double, 4> out;
  for (std::uint32_t i = 0; i != 2; ++i) {
    auto const before = bench::now_ns();
    auto const done = producer.put(bench::between, bench::key_of(i), const_bytes(payload));
    auto const put = bench::now_ns();
    if (!done) bench::failed("pages", done.error().message());
    auto const view = consumer.get_view(bench::between, bench::key_of(i));
    if (!view) bench::failed("pages", view.error().message());
    bench::keep(bench::sum(view->bytes()));
    auto const read = bench::now_ns();
    out[i] = static_cast<double>(put - before) / pages;
    out[2 + i] = static_cast<double>(read - put) / pages;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (std::string_view(bench::option(argc, argv, "--role", "")) == "consumer")
    return consumer(bench::map_shared<control>(std::atoi(bench::option(argc, argv, "--control", "-1"))), bench::option(argc, argv, "--space", ""));
  int const rounds = std::atoi(bench::option(argc, argv, "--rounds", "7"));
  find_names();
  double const tick = ns_of_a_tick();
  struct column {
    std::size_t size;
    char const* name;
  };
  constexpr column columns[] = {{64, "64 B"}, {4096, "4 KiB"}, {65536, "64 KiB"}, {std::size_t{1} << 20U, "1 MiB"}};
  std::array<std::array<std::vector<double>, std::size(steps)>, std::size(columns)> all;
  for (int r = 0; r != rounds; ++r)
    for (std::size_t i = 0; i != std::size(columns); ++i) {
      auto const medians = one_round(columns[i].size, tick);
      for (std::size_t k = 0; k != medians.size(); ++k)
        if (medians[k] >= 0) all[i][k].push_back(medians[k]);
    }
  std::vector<bench::figure> figures;
  for (std::size_t k = 1; k != std::size(steps); ++k)
    for (std::size_t i = 0; i != std::size(columns); ++i)
      if (all[i][k].size() == static_cast<std::size_t>(rounds)) figures.push_back(bench::figure_of(std::string(steps[k].name) + ": " + columns[i].name, "ns", all[i][k]));
  std::array<std::vector<double>, 4> pages;
  for (int r = 0; r != rounds; ++r)
    for (std::size_t k = 0; auto const value : pages_of_one_round()) pages[k++].push_back(value);
  constexpr char const* names[] = {"a page of 64 MiB, put: the first time", "a page of 64 MiB, put: again", "a page of 64 MiB, read: the first time", "a page of 64 MiB, read: again"};
  for (std::size_t k = 0; k != pages.size(); ++k) figures.push_back(bench::figure_of(names[k], "ns", pages[k]));
  bench::report("the path of an object", "nanoseconds since put was called; hybrid waiting, checksum off", rounds, figures, bench::option(argc, argv, "--json", nullptr));
  return 0;
}
