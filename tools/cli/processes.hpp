// SPDX-License-Identifier: Apache-2.0
// What /proc says of other processes. A pid from shared memory is a hint: in another pid namespace it is somebody else's.
#pragma once

#include <string>
#include <vector>

#include <sys/stat.h>
#include <sys/types.h>

namespace tool {

/// Whether that process has that file open; only processes of the same user can be asked.
bool has_open(pid_t pid, struct stat const& file);

/// Every process that has that file open and can be seen.
std::vector<pid_t> openers_of(struct stat const& file);

/// Stopped by a signal or by a debugger.
bool is_stopped(pid_t pid);

/// "pid 12, pid 13", or nothing.
std::string pids_text(std::vector<pid_t> const& pids);

}  // namespace tool
