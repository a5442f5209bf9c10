// SPDX-License-Identifier: Apache-2.0
// A stage as a process of its own, as a test drives it.
#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>
#include <support/child.hpp>

namespace shm_test {

using omniconn::shm_transport;
inline constexpr int answer_limit_ms = 60'000;  // only a hang reaches it
inline constexpr int status_killed = -1;

/// A `shm_stage` process. What the test leaves running is killed.
class stage {
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
  explicit stage(program p) {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      ADD_FAILURE() << "no socket pair";
      return;
    }
    line_ = ends[0];
    process_ = test::child(std::move(p.words), ends[1], ends[1]);
    ::close(ends[1]);
    if (process_.runs() && p.greets) {
      EXPECT_EQ(answer(), "ready");
    }
  }
  stage(stage const&) = delete;
  stage& operator=(stage const&) = delete;
  ~stage() {
    if (line_ >= 0) ::close(line_);
  }

  void send(std::string command) {
    command += '\n';
    // No SIGPIPE: a dead stage is a failed expectation, not the end of the test program.
    EXPECT_EQ(::send(line_, command.data(), command.size(), MSG_NOSIGNAL), static_cast<ssize_t>(command.size()));
  }
  std::string answer() {
    for (;;) {
      if (auto const end = read_.find('\n'); end != read_.npos) {
        std::string out = read_.substr(0, end);
        read_.erase(0, end + 1);
        return out;
      }
      pollfd p{line_, POLLIN, 0};
      int const ready = ::poll(&p, 1, answer_limit_ms);
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) return "no answer";
      char some[4096];
      ssize_t const n = ::recv(line_, some, sizeof some, 0);
      if (n <= 0) return "ended";
      read_.append(some, static_cast<std::size_t>(n));
    }
  }
  std::string ask(std::string command) {
    send(std::move(command));
    return answer();
  }

  /// Normal end. \returns the exit status.
  int quit() {
    send("quit");
    EXPECT_EQ(answer(), "ended");
    return reap();
  }
  /// Death in the middle of anything, from outside.
  int kill() {
    process_.signal(SIGKILL);
    return reap();
  }
  void signal(int which) const { process_.signal(which); }
  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }
  /// Gives it a command in the course of which it stops itself, and waits until it has.
  void stop(std::string command, std::string const& failpoint) {
    EXPECT_EQ(ask("stop_at " + failpoint), "ok");
    EXPECT_EQ(ask(std::move(command)), "stopped");
    EXPECT_TRUE(process_.await_stop());
  }
  int crash() {
    send("crash");
    EXPECT_EQ(answer(), "ended");
    return reap();
  }

 private:
  int reap() {
    int const status = process_.reap();
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return status_killed;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  test::child process_;
  int line_ = -1;
  std::string read_;
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
