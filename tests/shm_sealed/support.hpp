// SPDX-License-Identifier: Apache-2.0
// A folder in which producers and consumers of one test meet, and a count of this process's descriptors.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/transport/shm_sealed.hpp>

namespace sealed_test {

/// What lies in a folder, without `.` and `..`.
inline std::vector<std::string> entries(std::string const& path) {
  std::vector<std::string> out;
  DIR* const d = ::opendir(path.c_str());
  if (d == nullptr) return out;
  while (dirent const* const entry = ::readdir(d))
    if (std::string_view const name = entry->d_name; name != "." && name != "..") out.emplace_back(name);
  ::closedir(d);
  return out;
}

class directory {
 public:
  directory() {
    char const* const root = std::getenv("OMNICONN_SHM_DIRECTORY");
    path_ = std::string(root != nullptr && *root != '\0' ? root : "/dev/shm") + "/omniconn-sealed-test-XXXXXX";
    EXPECT_NE(::mkdtemp(path_.data()), nullptr) << path_;
  }
  directory(directory const&) = delete;
  directory& operator=(directory const&) = delete;
  /// What a test leaves on purpose, it removes itself or says here.
  ~directory() {
    for (auto const& folder : entries(path_)) {
      std::string const inner = path_ + "/" + folder;
      for (auto const& name : entries(inner)) {
        if (!may_keep_files) ADD_FAILURE() << inner << "/" << name << " is left";
        if (std::string const file = inner + "/" + name; ::unlink(file.c_str()) != 0) ::rmdir(file.c_str());
      }
      if (::rmdir(inner.c_str()) != 0) ::unlink(inner.c_str());
    }
    EXPECT_EQ(::rmdir(path_.c_str()), 0) << path_;
  }
  [[nodiscard]] std::string const& path() const noexcept { return path_; }

  bool may_keep_files = false;

 private:
  std::string path_;
};

/// How many descriptors this process has open.
inline std::size_t descriptors() { return entries("/proc/self/fd").size(); }

/// Leaves this process so many descriptors, as long as it lives. Nothing is open above the ones that are: what a test closes meanwhile does not count.
class few_descriptors {
 public:
  explicit few_descriptors(std::size_t left) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    for (std::size_t next = 0; next != left + 1; ++next) {  // the limit is of numbers, which may have holes
      int const fd = ::open("/", O_PATH | O_CLOEXEC);
      EXPECT_GE(fd, 0);
      held_.push_back(fd);
    }
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(held_.back());
    for (int const fd : held_) ::close(fd);
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  few_descriptors(few_descriptors const&) = delete;
  few_descriptors& operator=(few_descriptors const&) = delete;
  ~few_descriptors() { end(); }
  void end() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
  std::vector<int> held_;
};

}  // namespace sealed_test
