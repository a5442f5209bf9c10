// SPDX-License-Identifier: Apache-2.0
// The harness' side of the programs in tests/shm/programs/shm_crash_*: exec'ed, listened to, killed.
#pragma once

#include <cerrno>
#include <csignal>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <support/child.hpp>

namespace crash {

/// A running program. What it says is read when it has ended.
class victim {
 public:
  victim(std::string const& program, std::string const& space, std::vector<std::string> const& options) {
    int out[2] = {-1, -1}, in[2] = {-1, -1};
    if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(in, O_CLOEXEC) != 0) {
      ADD_FAILURE() << "no pipe";
      return;
    }
    // Nobody reads before it has ended; what it says must not make it wait.
    ::fcntl(out[1], F_SETPIPE_SZ, 1 << 20);
    from_ = out[0];
    to_ = in[1];
    std::vector<std::string> words{OMNICONN_TEST_BIN_DIR "/shm_crash_" + program, space};
    words.insert(words.end(), options.begin(), options.end());
    process_ = test::child(std::move(words), in[0], out[1]);
    ::close(out[1]);
    ::close(in[0]);
  }
  victim(victim const&) = delete;
  victim& operator=(victim const&) = delete;
  ~victim() {
    if (from_ >= 0) ::close(from_);
    end_input();
  }

  void end_input() {
    if (to_ >= 0) ::close(std::exchange(to_, -1));
  }
  /// Waits until it has said so much that a line is there.
  void await_a_line() {
    pollfd p{from_, POLLIN, 0};
    while (::poll(&p, 1, 60'000) < 0 && errno == EINTR) {
    }
  }
  void kill() {
    process_.signal(SIGKILL);
    reap();
  }
  /// Reads until it ends by itself. \returns whether it was killed.
  bool join() {
    char some[8192];
    for (;;) {
      ssize_t const n = ::read(from_, some, sizeof some);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      said_.append(some, static_cast<std::size_t>(n));
    }
    if (process_.runs()) reap();
    return killed_;
  }
  [[nodiscard]] bool killed() const noexcept { return killed_; }
  /// What it said, line by line. \requires it has ended.
  [[nodiscard]] std::vector<std::string> lines() {
    if (process_.runs() || said_.empty()) join();
    std::vector<std::string> out;
    std::istringstream text(said_);
    for (std::string line; std::getline(text, line);) out.push_back(line);
    return out;
  }
  [[nodiscard]] std::string const& said() const noexcept { return said_; }
  /// The failpoint at which it died, as itself reported; "" where none.
  [[nodiscard]] std::string hit() {
    for (auto const& line : lines())
      if (line.starts_with("hit ")) return line.substr(4);
    return "";
  }

 private:
  void reap() {
    int const status = process_.reap();
    killed_ = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!killed_ && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) ADD_FAILURE() << "a program ended with status " << status << ": " << said_;
  }

  test::child process_;
  int from_ = -1;
  int to_ = -1;
  bool killed_ = false;
  std::string said_;
};

/// What a producer has told of an object.
struct told_object {
  std::uint64_t seed = 0;
  std::size_t size = 0;
};

/// What must be there after a producer's death, from what it said.
struct account {
  std::map<unsigned, told_object> acknowledged;  ///< by key
  std::string pending;                           ///< what it tried and did not end: "put", "replace", "take", "erase", "end", ""
  unsigned key = 0;                              ///< of `pending`
  told_object next;                              ///< what it tried to put
  std::string hit;
  bool done = false;

  explicit account(std::vector<std::string> const& lines) {
    std::map<unsigned, unsigned> shares;
    unsigned next_shares = 1;
    for (auto const& line : lines) {
      std::istringstream words(line);
      std::string word;
      words >> word;
      if (word == "hit") words >> hit;
      if (word == "done") done = true;
      if (word == "try") words >> pending >> key >> next.seed >> next.size >> next_shares;
      if (word == "ok") {
        if (pending == "put" || pending == "replace") {
          acknowledged[key] = next;
          shares[key] = next_shares;
        }
        if (pending == "take" && --shares[key] == 0) acknowledged.erase(key);
        if (pending == "erase" || pending == "end") acknowledged.erase(key);
      }
      if (word == "ok" || word == "no") pending.clear();
    }
  }
};

}  // namespace crash
