// SPDX-License-Identifier: Apache-2.0
// A process whose clock of the day jumps forward or back by a year with every look at it.
//
//   shm_clock_steps NAMESPACE
//
//   self                                          1          one look, counted
//   put | get | wait | wait_for_two | blocked     OUTCOME N      N: looks at that clock meanwhile; the last three have a deadline of 20 ms
//   quit
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <omniconn/runtime/builtin.hpp>

namespace {

std::atomic<unsigned> looks{0};
constexpr time_t year = 31'536'000;

time_t step() { return looks.fetch_add(1) % 2 == 0 ? year : -year; }

}  // namespace

// In place of the C library's: the standard library's clocks come here as well.
extern "C" int clock_gettime(clockid_t which, timespec* out) noexcept {
  long const rc = ::syscall(SYS_clock_gettime, which, out);
  if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE || which == CLOCK_TAI) out->tv_sec += step();
  return static_cast<int>(rc);
}
extern "C" int gettimeofday(timeval* __restrict out, void* __restrict) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  *out = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}
extern "C" time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  using connector = omniconn::shm_connector<>;
  constexpr omniconn::edge hop{"producer", "consumer"};
  connector::options o;
  o.transport.space = argv[1];
  o.defaults.full = omniconn::on_full::wait;
  o.defaults.max_unread_objects = 1;
  auto c = connector::open(o);
  if (!c) return 1;
  std::cout << "ready" << std::endl;
  std::array<std::byte, 100> const payload{};
  auto const soon = [] { return omniconn::deadline::after(std::chrono::milliseconds(20)); };
  auto const put = [&](char const* key) {
    omniconn::put_options how;
    how.until = soon();
    auto const done = c->put(hop, key, omniconn::const_bytes(payload), how);
    return std::string(done ? "ok" : to_string(done.error().kind()));
  };
  auto const get = [&](char const* key) {
    auto const got = c->get_view(hop, key, {soon()});
    return std::string(got ? "ok" : to_string(got.error().kind()));
  };
  for (std::string command; std::getline(std::cin, command) && command != "quit";) {
    looks = 0;
    std::string outcome;
    if (command == "self") static_cast<void>(std::chrono::system_clock::now());
    if (command == "put") outcome = put("k");
    if (command == "get") outcome = get("k");
    if (command == "wait") outcome = get("not there");
    if (command == "wait_for_two") {
      auto& t = c->transport();
      omniconn::shm_transport::get_op one, two;
      omniconn::find_options const how;
      std::array<omniconn::operation*, 2> const both{&one, &two};
      if (t.find(one, "1", how) && t.find(two, "2", how)) {
        auto const done = t.wait(both, soon(), {});
        outcome = done ? "ok" : to_string(done.error().kind());
      }
    }
    if (command == "blocked") {
      outcome = put("first") == "ok" ? put("second") : "full";
      static_cast<void>(get("first"));
    }
    std::cout << outcome << (outcome.empty() ? "" : " ") << looks << std::endl;
  }
  return 0;
}
