// SPDX-License-Identifier: Apache-2.0
// Memory that a producer lends instead of copying out of it: where it lies, and how readers of other processes reach it.
//
// A file of the folder's own file system gets one more name beside the arenas, and is then what an arena is. A memfd cannot have a name: a symbolic link that
// nobody follows says in its text whose descriptor it is, `lent:<pid>:<fd>:<device>:<inode>`, and a reader opens /proc/<pid>/fd/<fd>, which ends with the producer.
#pragma once

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// A file that shows the memory of a range of addresses.
struct lent_memory {
  unique_fd fd;                 ///< a duplicate: it stays open as long as the memory is lent
  std::uint64_t offset = 0;     ///< of the range in the file
  std::uint64_t device = 0, inode = 0;
  bool is_private = false;      ///< nobody but its user may open the file
  bool survives = false;        ///< it has a name that stays when the producer ends
};

inline error not_shareable() noexcept {
  return {error_kind::unsupported, "other processes cannot reach this memory: map a memfd or a file of /dev/shm with MAP_SHARED, or reserve memory of the connector and write there"};
}

/// The mapping of a range in /proc/self/maps: one shared file for all of it. \errors `unsupported`.
inline result<lent_memory> mapping_of(mutable_bytes range) {
  unique_fd const maps(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  if (!maps) return errno_error("reading /proc/self/maps failed");
  std::string text;
  char some[4096];
  for (;;) {
    ssize_t const n = ::read(maps.get(), some, sizeof some);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(some, static_cast<std::size_t>(n));
  }
  lent_memory out;
  auto const begin = reinterpret_cast<std::uintptr_t>(range.data());
  auto at = begin;  // so far all belongs to one file
  for (char const* line = text.c_str(); *line != '\0' && at < begin + range.size();) {
    unsigned long long first = 0, last = 0, offset = 0, inode = 0;
    unsigned major = 0, minor = 0;
    char rights[5] = {};
    if (std::sscanf(line, "%llx-%llx %4s %llx %x:%x %llu", &first, &last, rights, &offset, &major, &minor, &inode) != 7) return not_shareable();
    if (char const* const end = std::strchr(line, '\n'); end != nullptr) line = end + 1;
    else line += std::strlen(line);
    if (at < first || at >= last) continue;
    std::uint64_t const device = ::makedev(major, minor), here = offset + (at - first);
    if (rights[0] != 'r' || rights[3] != 's' || inode == 0) return not_shareable();
    if (at == begin) {
      out.offset = here;
      out.device = device;
      out.inode = inode;
    } else if (device != out.device || inode != out.inode || here != out.offset + (at - begin)) {
      return not_shareable();
    }
    at = last;
  }
  if (at < begin + range.size()) return not_shareable();
  return out;
}

/// A duplicate of a descriptor of that file, which this process still has open. \errors `unsupported`: it has none.
inline result<unique_fd> descriptor_of(std::uint64_t device, std::uint64_t inode) {
  DIR* const folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return errno_error("reading /proc/self/fd failed");
  auto const is_it = [=](struct stat const& st) noexcept { return st.st_dev == device && st.st_ino == inode; };
  unique_fd found;
  while (dirent const* const entry = ::readdir(folder)) {
    // By name: the descriptors of other threads are not ours to touch, and they may close them meanwhile.
    struct stat st {};
    if (entry->d_name[0] == '.' || ::fstatat(::dirfd(folder), entry->d_name, &st, 0) != 0 || !is_it(st)) continue;
    found = unique_fd(::fcntl(std::atoi(entry->d_name), F_DUPFD_CLOEXEC, 0));
    if (found && ::fstat(found.get(), &st) == 0 && is_it(st)) break;
    bool const closed = found || errno == EBADF;
    auto const none_left = errno_error("keeping a descriptor of the adopted memory failed");
    found.reset();
    if (closed) continue;
    ::closedir(folder);
    return none_left;
  }
  ::closedir(folder);
  if (!found) return {error_kind::unsupported, "this process has no descriptor of the file behind this memory any more; keep it open until the memory is adopted"};
  return found;
}

inline std::string text_of_lent(int fd, std::uint64_t device, std::uint64_t inode) {
  return "lent:" + std::to_string(::getpid()) + ":" + std::to_string(fd) + ":" + std::to_string(device) + ":" + std::to_string(inode);
}

/// Finds the file behind `range`. \errors `unsupported`, `unauthorized`, `misconfigured`: the range reaches beyond the file's end.
inline result<lent_memory> find_shared(mutable_bytes range) {
  auto out = mapping_of(range);
  if (!out) return out.error();
  auto fd = descriptor_of(out->device, out->inode);
  if (!fd) return fd.error();
  struct stat st {};
  if (::fstat(fd->get(), &st) != 0) return errno_error("reading the attributes of the memory's file failed");
  if (!S_ISREG(st.st_mode) || st.st_uid != ::geteuid()) return {error_kind::unauthorized, "the file behind this memory is not a plain file of this user"};
  if (out->offset + range.size() > static_cast<std::uint64_t>(st.st_size)) return {error_kind::misconfigured, "the memory reaches beyond the end of its file; make the file longer first"};
  out->is_private = (st.st_mode & 0077U) == 0;
  out->fd = std::move(*fd);
  return out;
}

/// Gives lent memory the name `path`, by which readers find it.
inline result<void> name_lent(lent_memory& m, std::string const& path) {
  // A file that can shrink is a SIGBUS for those who read it. Not every one can be sealed, and then its owner has to keep it as it is.
  (void)::fcntl(m.fd.get(), F_ADD_SEALS, F_SEAL_SHRINK);
  char self[64];
  std::snprintf(self, sizeof self, "/proc/self/fd/%d", m.fd.get());
  m.survives = m.is_private && ::linkat(AT_FDCWD, self, AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0;
  if (!m.survives && ::symlink(text_of_lent(m.fd.get(), m.device, m.inode).c_str(), path.c_str()) != 0) return errno_error("naming the adopted memory failed");
  return {};
}

/// The reader's way to memory whose name is a link. What the link says is believed only as far as the file behind it is the one that it names.
inline result<unique_fd> open_lent(std::string const& path) {
  char text[128];
  ssize_t const n = ::readlink(path.c_str(), text, sizeof text);
  std::string_view rest(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  error const no_link{error_kind::corrupt, "the name of a producer's memory is a symbolic link that no producer made"};
  if (!rest.starts_with("lent:")) return no_link;
  rest.remove_prefix(5);
  std::uint64_t numbers[4]{};
  for (std::size_t i = 0; i != 4; ++i) {
    auto const [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), numbers[i]);
    if (problem != std::errc() || (i != 3 && (end == rest.data() + rest.size() || *end != ':')) || (i == 3 && end != rest.data() + rest.size())) return no_link;
    if (i != 3) rest.remove_prefix(static_cast<std::size_t>(end - rest.data()) + 1);
  }
  std::string const there = "/proc/" + std::to_string(numbers[0]) + "/fd/" + std::to_string(numbers[1]);
  struct stat st {};
  // Looked at before it is opened: another process may have the number by now, and the descriptor may be a device.
  if (::stat(there.c_str(), &st) != 0 || st.st_dev != numbers[2] || st.st_ino != numbers[3])
    return {error_kind::lost, "the object lay in memory of a process that has ended, or that is of another pid namespace"};
  unique_fd fd(::open(there.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return errno_error("opening the memory of another process failed");
  if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || st.st_dev != numbers[2] || st.st_ino != numbers[3])
    return {error_kind::unauthorized, "the memory that the object lies in is not a plain file of this user"};
  return fd;
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
