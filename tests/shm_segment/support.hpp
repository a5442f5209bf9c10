// SPDX-License-Identifier: Apache-2.0
// A folder of shared memory that one test has to itself, and a look at what lies in it.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace segment_test {

class folder {
 public:
  folder() {
    char const* const root = std::getenv("OMNICONN_SHM_DIRECTORY");
    path_ = std::string(root != nullptr && *root != '\0' ? root : "/dev/shm") + "/omniconn-segments-XXXXXX";
    EXPECT_NE(::mkdtemp(path_.data()), nullptr) << path_;
  }
  folder(folder const&) = delete;
  folder& operator=(folder const&) = delete;
  /// What a test leaves in it on purpose, it removes itself or says here.
  ~folder() {
    auto const left = files();
    if (!may_keep_files)
      for (auto const& file : left)
        if (!file.ends_with("_lockfile.lock")) ADD_FAILURE() << path_ << "/" << file << " is left";
    for (auto const& file : left) ::unlink((path_ + "/" + file).c_str()) != 0 ? ::rmdir((path_ + "/" + file).c_str()) : 0;
    EXPECT_EQ(::rmdir(path_.c_str()), 0) << path_;
  }
  [[nodiscard]] std::string const& path() const noexcept { return path_; }
  [[nodiscard]] std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  [[nodiscard]] std::string lock(std::string_view key) const { return path_ + "/shm_" + std::string(key) + "_lockfile.lock"; }
  [[nodiscard]] bool has(std::string_view name) const {
    struct stat st {};
    return ::lstat(file(name).c_str(), &st) == 0;
  }
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> out;
    DIR* const d = ::opendir(path_.c_str());
    if (d == nullptr) return out;
    while (dirent const* const entry = ::readdir(d))
      if (std::string_view const name = entry->d_name; name != "." && name != "..") out.emplace_back(name);
    ::closedir(d);
    std::sort(out.begin(), out.end());
    return out;
  }
  /// As a program without our library makes it.
  void write(std::string_view name, std::string_view content) const { std::ofstream(file(name), std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size())); }
  [[nodiscard]] std::string read(std::string_view name) const {
    std::ifstream in(file(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  bool may_keep_files = false;

 private:
  std::string path_;
};

}  // namespace segment_test
