// SPDX-License-Identifier: Apache-2.0
#include "processes.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <omniconn/detail/posix.hpp>

namespace tool {

namespace {

/// Calls `visit(name)` for each name in the folder that is a number, until it returns true.
template <class Visit>
bool for_each_number(std::string const& folder, Visit&& visit) {
  DIR* const listing = ::opendir(folder.c_str());
  if (listing == nullptr) return false;
  bool found = false;
  while (!found) {
    dirent const* const entry = ::readdir(listing);
    if (entry == nullptr) break;
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') found = visit(entry->d_name);
  }
  ::closedir(listing);
  return found;
}

}  // namespace

bool has_open(pid_t pid, struct stat const& file) {
  std::string const folder = "/proc/" + std::to_string(pid) + "/fd";
  return for_each_number(folder, [&](char const* fd) {
    struct stat about {};
    return ::stat((folder + "/" + fd).c_str(), &about) == 0 && about.st_dev == file.st_dev && about.st_ino == file.st_ino;
  });
}

std::vector<pid_t> openers_of(struct stat const& file) {
  std::vector<pid_t> out;
  for_each_number("/proc", [&](char const* name) {
    auto const pid = static_cast<pid_t>(std::strtol(name, nullptr, 10));
    if (pid != ::getpid() && has_open(pid, file)) out.push_back(pid);
    return false;
  });
  std::sort(out.begin(), out.end());
  return out;
}

bool is_stopped(pid_t pid) {
  omniconn::detail::unique_fd const fd(::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char text[256] = "";
  if (!fd || ::read(fd.get(), text, sizeof text - 1) <= 0) return false;
  char const* const end = std::strrchr(text, ')');  // the program's name may hold anything
  return end != nullptr && end[1] == ' ' && (end[2] == 'T' || end[2] == 't');
}

std::string pids_text(std::vector<pid_t> const& pids) {
  std::string out;
  for (auto const pid : pids) out += (out.empty() ? "pid " : ", pid ") + std::to_string(pid);
  return out;
}

}  // namespace tool
