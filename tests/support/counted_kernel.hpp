// SPDX-License-Identifier: Apache-2.0
// What a piece of work asks of the kernel: every system call of a process and all its threads, seen from outside, and its page faults.
#pragma once

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <functional>
#include <map>
#include <new>
#include <set>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <support/quiet_fork.hpp>

namespace test {

struct kernel_work {
  bool traced = false;  // false: this system lets nobody look
  bool well = true;     // every process ended with 0
  long calls = 0;
  long page_faults = 0;
  std::string which;  // numbers of the calls, and how often each was made
};

/// What a process counts of itself while its window is open. It opens when all other threads sleep: who has just been started, or told of something, is not done yet.
class kernel_window {
 public:
  explicit kernel_window(std::atomic<long>& faults) noexcept : faults_(faults) {}
  template <class Body>
  void operator()(Body body) const {
    for (int looks = 0; looks != 3; looks = others_sleep() ? looks + 1 : 0) ::usleep(1000);
    long const before = faults_so_far();
    ::syscall(opens);
    body();
    ::syscall(closes);
    faults_.fetch_add(faults_so_far() - before);
  }
  static constexpr long opens = SYS_getppid, closes = SYS_getpgid;  // marks for who looks from outside

 private:
  static long faults_so_far() noexcept {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return used.ru_minflt + used.ru_majflt;
  }
  std::atomic<long>& faults_;
};

/// A process for each of `works`, which returns its exit status. Counted is while all their windows are open.
class kernel_counter {
 public:
  using work = std::function<int(kernel_window const&)>;

  static kernel_work count(std::vector<work> const& works) {
    kernel_counter c(works.size());
    void* const at = ::mmap(nullptr, sizeof(std::atomic<long>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto& faults = *new (at) std::atomic<long>(0);
    for (auto const& mine : works)
      if (!c.start(mine, faults)) c.out_.well = false;
    c.watch();
    c.out_.page_faults = faults.load();
    ::munmap(at, sizeof faults);
    for (auto const& [number, n] : c.calls_) c.out_.which += " " + std::to_string(number) + " (" + std::to_string(n) + "x)";
    return c.out_;
  }

 private:
  static constexpr int not_allowed = 77;

  explicit kernel_counter(std::size_t processes) : processes_(processes) {}

  bool start(work const& mine, std::atomic<long>& faults) {
    pid_t const child = quiet_fork();
    if (child == 0) {
      if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(not_allowed);
      ::raise(SIGSTOP);
      ::_exit(mine(kernel_window(faults)));
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return WIFEXITED(status) && WEXITSTATUS(status) == not_allowed;
    out_.traced = true;
    leaders_.insert(child);
    if (::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL) != 0) return false;
    go_on(child, 0);
    return true;
  }
  /// To its next system call. One that was killed meanwhile says so later.
  static void go_on(pid_t thread, long signal) { static_cast<void>(::ptrace(PTRACE_SYSCALL, thread, nullptr, signal)); }

  void watch() {
    while (!leaders_.empty()) {
      int status = 0;
      pid_t const thread = ::waitpid(-1, &status, __WALL);
      if (thread < 0 && errno == EINTR) continue;
      if (thread < 0) return;
      if (WIFEXITED(status) || WIFSIGNALED(status)) {
        if (leaders_.erase(thread) != 0 && status != 0) out_.well = false;
        continue;
      }
      int const why = WSTOPSIG(status);
      if (why == (SIGTRAP | 0x80)) {
        look(thread);
        go_on(thread, 0);
      } else {  // the beginning of a thread is an event or a SIGSTOP: nobody's signal
        go_on(thread, why == SIGTRAP || why == SIGSTOP ? 0 : why);
      }
    }
  }

  void look(pid_t thread) {
    __ptrace_syscall_info call{};
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof call, &call) <= 0 || call.op != PTRACE_SYSCALL_INFO_ENTRY) return;
    auto const number = static_cast<long>(call.entry.nr);
    if (number == kernel_window::opens) ++open_;
    if (number == kernel_window::closes && open_ != 0) --open_;
    if (open_ != processes_ || number == kernel_window::opens) return;
    if (number == SYS_clock_gettime) return;  // of a clock that this machine's C library cannot read by itself
    ++out_.calls;
    ++calls_[number];
  }

  std::size_t processes_;
  std::size_t open_ = 0;
  std::set<pid_t> leaders_;
  std::map<long, long> calls_;
  kernel_work out_;
};

}  // namespace test
