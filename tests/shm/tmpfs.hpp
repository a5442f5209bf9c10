// SPDX-License-Identifier: Apache-2.0
// A folder of a test's own, and a small file system on it.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <shm/support.hpp>

namespace shm_test {

/// A folder of the test's own on the same tmpfs, so that nothing of anybody else is touched. Files in it are planted by the test.
class own_folder {
 public:
  own_folder() {
    std::string path = root() + "/hostile-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) ADD_FAILURE() << "no folder " << path << ": error " << errno;
    path_ = path;
  }
  own_folder(own_folder const&) = delete;
  own_folder& operator=(own_folder const&) = delete;
  ~own_folder() {
    for (auto const& path : planted_)
      if (::unlink(path.c_str()) != 0) ::rmdir(path.c_str());
    EXPECT_EQ(::rmdir(path_.c_str()), 0) << path_ << " is not empty";
  }
  [[nodiscard]] std::string const& path() const noexcept { return path_; }
  [[nodiscard]] std::string planted(std::string path) {
    planted_.push_back(path);
    return path;
  }

 private:
  std::string path_;
  std::vector<std::string> planted_;
};

/// Runs `body` in a thread with a mount namespace of its own and a tmpfs of `size` on `folder`; the mount ends with the thread, whatever happens.
/// \returns false: this machine does not let us.
template <class Body>
bool on_tmpfs(std::string const& folder, char const* size, Body body) {
  bool mounted = false;
  std::thread([&] {
    mounted = ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
              ::mount("tmpfs", folder.c_str(), "tmpfs", 0, size) == 0;
    if (mounted) body();
  }).join();
  return mounted;
}

}  // namespace shm_test
