// SPDX-License-Identifier: Apache-2.0
// A program that a test starts, signals and reaps.
#pragma once

#include <cerrno>
#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace test {

/// Exec'ed, not forked: a copy of the test would have its memory, locks and descriptors. Killed where it still runs at the end.
class child {
 public:
  child() noexcept = default;
  child(std::vector<std::string> words, int input, int output) {
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    int const rc = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (rc == 0) return;
    pid_ = none;
    ADD_FAILURE() << argv[0] << " cannot be started: error " << rc;
  }
  child(child&& other) noexcept : pid_(std::exchange(other.pid_, none)) {}
  child& operator=(child&& other) noexcept {
    if (this != &other) {
      end();
      pid_ = std::exchange(other.pid_, none);
    }
    return *this;
  }
  ~child() { end(); }

  [[nodiscard]] bool runs() const noexcept { return pid_ != none; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  /// Refuses where there is no child: the number that stands for none means "everybody" to the system.
  void signal(int which) const {
    ASSERT_TRUE(runs()) << "nobody to send signal " << which << " to";
    ::kill(pid_, which);
  }
  /// Waits until it has stopped. \returns false where it ended instead, or there is none.
  [[nodiscard]] bool await_stop() const {
    int status = 0;
    while (runs() && ::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
    }
    return WIFSTOPPED(status);
  }
  /// Waits for its end. \returns what waitpid says of it.
  int reap() {
    int status = -1;
    if (!runs()) {
      ADD_FAILURE() << "nobody to wait for";
      return status;
    }
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = none;
    return status;
  }

 private:
  static constexpr pid_t none = -1;
  void end() {
    if (!runs()) return;
    ::kill(pid_, SIGKILL);
    reap();
  }

  pid_t pid_ = none;
};

}  // namespace test
