// SPDX-License-Identifier: Apache-2.0
// What benchmarks of several processes share: the connector that is measured, words that they wait on, and this program started anew in another role.
#pragma once

#include <atomic>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <linux/futex.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/shm.hpp>

namespace bench {

using shm_connector = omniconn::connector<omniconn::shm_transport, omniconn::raw_serializer, omniconn::namespaced_keying, omniconn::arena_allocator>;

inline constexpr omniconn::edge between{"producer", "consumer"};
inline std::string key_of(std::uint32_t i) { return "request-" + std::to_string(1'000'000'000U + i) + "_layer"; }  // about 30 bytes on the wire

[[noreturn]] inline void failed(char const* who, std::string const& why) {
  std::fprintf(stderr, "%s: %s\n", who, why.c_str());
  std::exit(1);
}

inline shm_connector open_connector(shm_connector::options const& o) {
  auto c = shm_connector::open(o);
  if (!c) failed("open", c.error().message());
  return std::move(*c);
}

inline void wake(std::atomic<std::uint32_t>& word) { ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }
inline void sleep_until_not(std::atomic<std::uint32_t>& word, std::uint32_t old, bool spin) {
  while (word.load(std::memory_order_acquire) == old) {
    if (spin) {
      omniconn::detail::cpu_relax();
    } else {
      ::syscall(SYS_futex, &word, FUTEX_WAIT, old, nullptr, nullptr, 0);
    }
  }
}

/// Memory that those who are started later inherit. \returns its descriptor
inline int make_shared(char const* name, std::size_t size) {
  int const fd = ::memfd_create(name, 0);  // no CLOEXEC
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0) failed(name, "no memory to share");
  return fd;
}
template <class T>
T& map_shared(int fd) {
  void* const at = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (at == MAP_FAILED) failed("mmap", "no memory to share");
  return *static_cast<T*>(at);
}

/// This program anew, exec'ed and not forked: `words` are its arguments.
inline pid_t start_again(std::vector<std::string> words) {
  words.insert(words.begin(), "/proc/self/exe");
  std::vector<char*> args;
  for (auto& word : words) args.push_back(word.data());
  args.push_back(nullptr);
  pid_t child = 0;
  if (::posix_spawn(&child, args[0], nullptr, nullptr, args.data(), environ) != 0) failed("posix_spawn", "no process can be started");
  return child;
}
/// For who was started so: it does not outlive who started it.
inline void end_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }
inline bool ended_well(pid_t child) {
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Page faults of all threads of this process so far.
inline long page_faults() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return used.ru_minflt + used.ru_majflt;
}

}  // namespace bench
