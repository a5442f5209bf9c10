// SPDX-License-Identifier: Apache-2.0
// A program that a test talks to, line by line.
#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <support/child.hpp>

namespace test {

inline constexpr int answer_limit_ms = 60'000;  // only a hang reaches it

/// Reads commands from its standard input and answers each with a line. Killed where it still runs at the end.
class spoken_child {
 public:
  /// `greets`: it says "ready" first, which is waited for.
  explicit spoken_child(std::vector<std::string> words, bool greets = true) {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      ADD_FAILURE() << "no socket pair";
      return;
    }
    line_ = ends[0];
    process_ = child(std::move(words), ends[1], ends[1]);
    ::close(ends[1]);
    if (process_.runs() && greets) {
      EXPECT_EQ(answer(), "ready");
    }
  }
  spoken_child(spoken_child const&) = delete;
  spoken_child& operator=(spoken_child const&) = delete;
  ~spoken_child() { close_line(); }

  void send(std::string command) {
    command += '\n';
    // No SIGPIPE: a dead program is a failed expectation, not the end of the test.
    EXPECT_EQ(::send(line_, command.data(), command.size(), MSG_NOSIGNAL), static_cast<ssize_t>(command.size()));
  }
  /// The next line; "no answer" where none comes, "ended" where it is gone.
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

  [[nodiscard]] bool runs() const noexcept { return process_.runs(); }
  void signal(int which) const { process_.signal(which); }
  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }
  /// Waits until it has stopped.
  void await_stop() const { EXPECT_TRUE(process_.await_stop()); }
  /// Death in the middle of anything, from outside. \returns what waitpid says of its end
  int kill() {
    process_.signal(SIGKILL);
    return process_.reap();
  }
  int reap() { return process_.reap(); }
  /// Ends its input and waits for its end. \returns what waitpid says of that
  int hang_up() {
    close_line();
    return process_.reap();
  }

 private:
  void close_line() noexcept {
    if (int const line = std::exchange(line_, -1); line >= 0) ::close(line);
  }
  child process_;
  int line_ = -1;
  std::string read_;
};

}  // namespace test
