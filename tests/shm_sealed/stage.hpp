// SPDX-License-Identifier: Apache-2.0
// A process of its own that puts and gets over sealed memory: programs/sealed_stage.cpp.
#pragma once

#include <cerrno>
#include <csignal>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace sealed_test {

/// A sealed_stage, driven line by line.
class stage {
 public:
  /// With users: it becomes the first one, and allows the second.
  stage(std::string const& directory, char const* name, char const* user = nullptr, char const* allowed = nullptr) {
    int in[2], out[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::execl(OMNICONN_TEST_BIN_DIR "/sealed_stage", "sealed_stage", directory.c_str(), name, user, allowed, nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_ = in[1];
    from_ = out[0];
    EXPECT_EQ(answer(), "ready");
  }
  stage(stage const&) = delete;
  stage& operator=(stage const&) = delete;
  ~stage() {
    ::close(to_);
    signal(SIGCONT);
    reap();
    ::close(from_);
  }

  void tell(std::string const& line) {
    std::string const text = line + "\n";
    EXPECT_EQ(::write(to_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::string answer() {
    std::string line;
    for (char c = 0;; line.push_back(c)) {
      pollfd p{from_, POLLIN, 0};
      if (::poll(&p, 1, 50'000) != 1) return "no answer";
      if (::read(from_, &c, 1) != 1) return "gone";
      if (c == '\n') return line;
    }
  }
  std::string ask(std::string const& line) {
    tell(line);
    return answer();
  }
  void signal(int which) const {
    if (pid_ > 0) ::kill(pid_, which);
  }
  void kill() {
    signal(SIGKILL);
    reap();
  }

 private:
  void reap() {
    if (pid_ <= 0) return;
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
};

}  // namespace sealed_test
