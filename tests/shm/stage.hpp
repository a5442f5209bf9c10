// SPDX-License-Identifier: Apache-2.0
// A stage as a process of its own, as a test drives it.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>

#include <gtest/gtest.h>

#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>
#include <support/spoken_child.hpp>

namespace shm_test {

using omniconn::shm_transport;
using test::answer_limit_ms;
inline constexpr int status_killed = -1;

/// A `shm_stage` process. What the test leaves running is killed.
class stage : public test::spoken_child {
 public:
  /// `before`: words of a program that starts the stage.
  explicit stage(std::string const& space, std::vector<std::string> const& more = {}, std::vector<std::string> const& before = {})
      : stage([&] {
          std::vector<std::string> words = before;
          words.insert(words.end(), {OMNICONN_TEST_BIN_DIR "/shm_stage", space});
          words.insert(words.end(), more.begin(), more.end());
          return program{std::move(words)};
        }()) {}
  /// Any other program that says "ready", and ends with "quit". Where it may say something else first, or later, the test asks for the answer.
  struct program {
    std::vector<std::string> words;
    bool greets = true;
  };
  explicit stage(program p) : spoken_child(std::move(p.words), p.greets) {}

  /// Normal end. \returns the exit status.
  int quit() {
    send("quit");
    EXPECT_EQ(answer(), "ended");
    return status_of(reap());
  }
  int kill() { return status_of(spoken_child::kill()); }
  /// Gives it a command in the course of which it stops itself, and waits until it has.
  void stop(std::string command, std::string const& failpoint) {
    EXPECT_EQ(ask("stop_at " + failpoint), "ok");
    EXPECT_EQ(ask(std::move(command)), "stopped");
    await_stop();
  }
  int crash() {
    send("crash");
    EXPECT_EQ(answer(), "ended");
    return status_of(reap());
  }

 private:
  static int status_of(int status) {
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return status_killed;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
};

/// Looks until the condition holds: for what the kernel or the clock brings about, without an event to wait for.
template <class Condition>
bool eventually(Condition holds) {
  auto const end = std::chrono::steady_clock::now() + std::chrono::milliseconds(answer_limit_ms);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

inline std::string place_in(std::string const& answer) { return answer.substr(answer.rfind(' ') + 1); }

class process_test : public testing::Test {
 protected:
  [[nodiscard]] std::unique_ptr<stage> start(std::vector<std::string> const& options = {}) const { return std::make_unique<stage>(space.name(), options); }
  void collect() const {
    auto const done = shm_transport::collect(space.options());
    EXPECT_TRUE(done) << done.error().message();
  }
  [[nodiscard]] std::vector<std::string> all_files() const { return omniconn::shm_transport::files(space.options()); }
  /// The directory and the arenas: what takes memory.
  [[nodiscard]] std::vector<std::string> left() const {
    auto out = all_files();
    std::erase_if(out, is_fifo);
    return out;
  }
  /// Every stage has ended; what they left unread is read or erased: nothing remains of the namespace.
  void TearDown() override {
    collect();
    EXPECT_EQ(all_files(), std::vector<std::string>{});
    if (!all_files().empty()) space.empty();  // a test that failed leaves no memory behind either
  }

  fresh_space space;
};

}  // namespace shm_test
