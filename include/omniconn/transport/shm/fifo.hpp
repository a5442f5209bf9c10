// SPDX-License-Identifier: Apache-2.0
// A FIFO per participant: who has it open hears at once that its owner ended, also from another pid namespace, and anybody can wake the owner.
#pragma once

#include <cerrno>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Refuses what is no FIFO of this user: a squatter's file is never trusted.
inline unique_fd open_fifo(std::string const& path, int mode) noexcept {
  unique_fd fd(::open(path.c_str(), mode | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0 || !S_ISFIFO(st.st_mode) || st.st_uid != ::geteuid()) return {};
  return fd;
}

/// The owner's end, open in both directions: it is the only writer that stays. \requires the caller has the participant's lock: what has the name is
/// a dead one's. \errors `unauthorized`: or a stranger's, or a folder, which stays.
inline result<unique_fd, diagnosis> make_fifo(std::string const& path) {
  ::unlink(path.c_str());
  if (::mkfifo(path.c_str(), 0600) == 0) {
    if (unique_fd fd = open_fifo(path, O_RDWR)) return fd;
    int const code = errno;
    ::unlink(path.c_str());
    errno = code;
  } else if (errno == EEXIST) {
    return diagnosis(error_kind::unauthorized, path + ": the name of a participant's FIFO is taken by something that we may not remove; remove it, or take another namespace or folder", EEXIST);
  }
  return diagnosis(errno_error("making a FIFO beside the shared memory failed")).in(path);
}

/// An end that reports POLLHUP when the owner is gone.
inline unique_fd listen_to_fifo(std::string const& path) noexcept { return open_fifo(path, O_RDONLY); }

/// Wakes the owner. Opened in both directions: a write without a reader would send a signal to us. \returns false: no descriptor was left, which `errno` says.
inline bool ring_fifo(std::string const& path) noexcept {
  errno = 0;
  unique_fd const fd = open_fifo(path, O_RDWR);
  if (!fd) return errno != EMFILE && errno != ENFILE;  // otherwise it is gone
  static_cast<void>(!::write(fd.get(), "", 1));        // full: rung more than enough
  return true;
}

/// Forgets what was written. \returns whether there was something.
inline bool drain_fifo(int fd) noexcept {
  char buffer[256];
  bool any = false;
  for (;;) {
    ssize_t const n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) any = true;
    if (n < static_cast<ssize_t>(sizeof buffer) && !(n < 0 && errno == EINTR)) return any;
  }
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
