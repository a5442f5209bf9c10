// SPDX-License-Identifier: Apache-2.0
// A process of its own that puts and gets over sealed memory: programs/sealed_stage.cpp.
#pragma once

#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include <support/spoken_child.hpp>

namespace sealed_test {

/// A sealed_stage, driven line by line.
class stage : public test::spoken_child {
 public:
  /// With users: it becomes the first one, and allows the second.
  stage(std::string const& directory, std::string const& name, std::vector<std::string> const& users = {})
      : spoken_child([&] {
          std::vector<std::string> words{OMNICONN_TEST_BIN_DIR "/sealed_stage", directory, name};
          words.insert(words.end(), users.begin(), users.end());
          return words;
        }()) {}
  /// In order, also where it is stopped: its connector is closed and its socket removed.
  ~stage() {
    if (!runs()) return;
    signal(SIGCONT);
    hang_up();
  }
  /// Stops it, and waits until it has: a process that was only sent the signal may still answer.
  void stop() const {
    signal(SIGSTOP);
    await_stop();
  }
};

}  // namespace sealed_test
