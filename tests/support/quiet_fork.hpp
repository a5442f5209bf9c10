// SPDX-License-Identifier: Apache-2.0
// A fork at a moment when no other thread of the test does anything.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dirent.h>
#include <unistd.h>

namespace test {

/// Whether every other thread of this process sleeps now.
inline bool others_sleep() {
  bool sleep = true;
  DIR* const tasks = ::opendir("/proc/self/task");
  while (dirent const* const task = tasks == nullptr ? nullptr : ::readdir(tasks)) {
    if (task->d_name[0] == '.' || std::atoi(task->d_name) == static_cast<int>(::gettid())) continue;
    char path[300], text[300] = {};
    std::snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
    std::FILE* const file = std::fopen(path, "r");
    if (file == nullptr) continue;  // it has ended
    std::size_t const n = std::fread(text, 1, sizeof text - 1, file);
    std::fclose(file);
    char const* const name_end = n == 0 ? nullptr : std::strrchr(text, ')');
    if (name_end == nullptr || name_end[1] != ' ' || name_end[2] != 'S') sleep = false;
  }
  if (tasks != nullptr) ::closedir(tasks);
  return sleep;
}

/// For tests whose child allocates: the allocator of the address sanitizer (g++ 12) has locks that a child finds locked for ever where another thread was in it.
inline pid_t quiet_fork() {
  for (int i = 0; i != 5'000 && !others_sleep(); ++i) ::usleep(200);  // on a busy machine who has work may have no core for it
  return ::fork();
}

}  // namespace test
