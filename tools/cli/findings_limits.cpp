// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <string>

#include <pthread.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/resource.h>

#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/shm.hpp>

#include "files.hpp"
#include "findings.hpp"
#include "payload.hpp"

namespace tool {

namespace {

std::string limit_text(rlim_t limit) { return limit == RLIM_INFINITY ? "no limit" : std::to_string(limit); }

/// The soft limit; "no limit" where it cannot be asked.
rlim_t limit_of(__rlimit_resource what) noexcept {
  rlimit limit{};
  return ::getrlimit(what, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

/// A file of this process' control group, version 2.
std::optional<std::string> control_group(char const* file) {
  auto const own = first_line("/proc/self/cgroup");
  if (!own || !own->starts_with("0::")) return std::nullopt;
  auto found = first_line("/sys/fs/cgroup" + own->substr(3) + "/" + file);
  return found ? found : first_line(std::string("/sys/fs/cgroup/") + file);  // in a container its group is the root
}

std::optional<std::uint64_t> number_of(std::optional<std::string> const& text) {
  std::uint64_t number = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc()) return std::nullopt;
  return number;
}

void descriptors(findings& out) {
  // One for each of 255 other participants, and some of the program's own.
  constexpr rlim_t enough = omniconn::detail::shm::max_participants + 64;
  rlim_t const limit = limit_of(RLIMIT_NOFILE);
  if (limit >= enough) return out.fine("descriptors", limit_text(limit));
  out.wrong(error_kind::no_space, "descriptors", std::to_string(limit) + " for each process: a participant needs one for each other participant to hear of its death", "ulimit -n 4096, or LimitNOFILE= of the service");
}

void threads(findings& out) {
  std::string const text = limit_text(limit_of(RLIMIT_NPROC)) + " for the user, " + control_group("pids.max").value_or("no limit") + " for the control group";
  pthread_t thread{};
  int const code = ::pthread_create(&thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
  if (code != 0) return out.wrong(error_kind::no_space, "threads", "starting a thread failed: " + errno_text(code) + "; limits: " + text, "ulimit -u, --pids-limit of the container, or pids.max of its control group");
  ::pthread_join(thread, nullptr);
  out.fine("threads", text);
}

void inotify(std::string const& folder, findings& out) {
  std::string const text = first_line("/proc/sys/fs/inotify/max_user_instances").value_or("?") + " instances and " + first_line("/proc/sys/fs/inotify/max_user_watches").value_or("?") + " watches for each user";
  omniconn::detail::unique_fd const fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (fd && ::inotify_add_watch(fd.get(), folder.c_str(), IN_MOVED_TO) >= 0) return out.fine("inotify", text);
  int const code = errno;
  if (fd && code != ENOSPC) return out.note("inotify", "not tried: watching " + folder + " failed: " + errno_text(code), "");
  out.wrong(error_kind::no_space, "inotify", text + ", all in use: waits of upstream's layout look again and again instead of being woken",
            fd ? "sysctl fs.inotify.max_user_watches=524288" : "sysctl fs.inotify.max_user_instances=1024");
}

void memory(findings& out) {
  std::uint64_t const pool = omniconn::shm_transport::options().memory_pool_size;
  auto const limit = number_of(control_group("memory.max")), used = number_of(control_group("memory.current"));
  if (!limit) {
    out.fine("memory", "no limit of the control group");
  } else if (std::uint64_t const left = *limit - std::min(*limit, used.value_or(0)); left < pool) {
    out.note("memory", shown_size(left) + " of " + shown_size(*limit) + " are left to the control group, less than one memory_pool_size of " + shown_size(pool),
             "objects in shared memory count as memory of whoever wrote them first: raise the container's memory limit, or lower memory_pool_size");
  } else {
    out.fine("memory", shown_size(left) + " of " + shown_size(*limit) + " are left to the control group");
  }
  rlim_t const locked = limit_of(RLIMIT_MEMLOCK);
  if (locked == RLIM_INFINITY || locked >= pool) return out.fine("memlock", locked == RLIM_INFINITY ? "no limit" : shown_size(locked));
  out.note("memlock", shown_size(locked) + ": enough for shared memory, too little to register a whole arena with a network card", "ulimit -l unlimited, or --ulimit memlock=-1 of the container");
}

void processors(findings& out) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  int const n = ::sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 0;
  if (n == 0) return out.note("cpus", "more than can be counted, or none that could be asked for", "");
  if (n > 1) return out.fine("cpus", std::to_string(n));
  out.note("cpus", "one: a waiting get sleeps at once, because who spins keeps the producer from running", "give the process a second one for latency");
}

}  // namespace

std::optional<std::string> first_line(std::string const& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

void look_at_limits(std::string const& folder, findings& out) {
  descriptors(out);
  threads(out);
  inotify(folder, out);
  memory(out);
  processors(out);
}

}  // namespace tool
