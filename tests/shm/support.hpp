// SPDX-License-Identifier: Apache-2.0
// What the tests of shared memory share: namespaces that nobody else has, and a look at what lies on the file system.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dirent.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/transport/shm.hpp>

namespace shm_test {

/// Where tests put shared memory: tests/run gives a folder that it removes, whatever became of the tests.
inline std::string root() {
  char const* const given = std::getenv("OMNICONN_SHM_DIRECTORY");
  return given != nullptr && *given != '\0' ? given : "/dev/shm";
}

/// A participant's FIFO: it takes no memory and is there as long as its process has the namespace open.
inline bool is_fifo(std::string const& path) {
  auto const dot = path.rfind('.');
  return dot != path.npos && path.size() > dot + 2 && path[dot + 1] == 'p' && path.find_first_not_of("0123456789", dot + 2) == path.npos;
}

/// A namespace of its own for one test. At its end unread objects are erased; files that are left then are a failure of that test.
class fresh_space {
 public:
  fresh_space() : fresh_space(root()) {}
  explicit fresh_space(std::string directory) : directory_(std::move(directory)) {
    static std::atomic<int> count{0};
    name_ = "test-" + std::to_string(::getpid()) + "-" + std::to_string(count.fetch_add(1));
  }
  fresh_space(fresh_space const&) = delete;
  fresh_space& operator=(fresh_space const&) = delete;
  ~fresh_space() {
    if (!holds_foreign_files && !all_files().empty()) empty();
    for (auto const& file : all_files()) {
      if (holds_foreign_files) ::unlink((directory_ + "/" + file).c_str());
      if (!holds_foreign_files) ADD_FAILURE() << directory_ << "/" << file << " is left";
    }
  }

  [[nodiscard]] std::string const& name() const noexcept { return name_; }
  [[nodiscard]] omniconn::shm_transport::options options() const {
    omniconn::shm_transport::options o;
    o.space = name_;
    o.directory = directory_;
    return o;
  }
  /// A connector here, with the options that it has anyway. Ends the program where there is none.
  template <class Connector>
  [[nodiscard]] Connector connect() const {
    typename Connector::options o;
    o.transport = options();
    auto made = Connector::open(o);
    EXPECT_TRUE(made) << made.error().message();
    return std::move(*made);
  }
  [[nodiscard]] omniconn::detail::shm::names paths() const { return {directory_, name_}; }

  /// The files of this namespace that take memory, sorted: directory and arenas.
  [[nodiscard]] std::vector<std::string> files() const {
    auto out = all_files();
    std::erase_if(out, is_fifo);
    return out;
  }
  [[nodiscard]] std::vector<std::string> all_files() const {
    std::vector<std::string> out;
    std::string const stem = paths().stem;
    DIR* const folder = ::opendir(directory_.c_str());
    if (folder == nullptr) return out;
    while (dirent const* const entry = ::readdir(folder))
      if (std::string_view(entry->d_name).starts_with(stem)) out.emplace_back(entry->d_name);
    ::closedir(folder);
    std::sort(out.begin(), out.end());
    return out;
  }

  /// Ends the leases of what nobody read, so that whoever leaves last takes the files away.
  void empty() const {
    auto last = omniconn::shm_transport::open(options());
    if (!last || !last->erase_if([](omniconn::wire_key) { return true; })) ADD_FAILURE() << name_ << " cannot be emptied";
  }

  /// Set by tests that put files of their own in the way.
  bool holds_foreign_files = false;

 private:
  std::string directory_;
  std::string name_;
};

}  // namespace shm_test
