// SPDX-License-Identifier: Apache-2.0
// The files of one object in vLLM-Omni's layout: a segment named like the key, and a lock file beside it.
//
// As vllm-omni 0.30.0's SharedMemoryConnector has it: `<folder>/<key>` is the payload and nothing else; `<folder>/shm_<key>_lockfile.lock` is
// locked with flock by whoever writes or reads it. A reader takes the lock without waiting, copies, removes segment and lock file.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::segment {

inline constexpr std::string_view lock_prefix = "shm_", lock_suffix = "_lockfile.lock";
inline constexpr char const* second_prefix = ".omniconn-";  ///< of the name that a file has for an instant before it is renamed
/// The lock file's name has 18 bytes more than the key, and file names end at 255.
inline constexpr std::size_t max_key = 255 - lock_prefix.size() - lock_suffix.size();
static_assert(max_key == 237);

/// Keys that both sides can turn into file names.
inline result<void> check_key(wire_key key) noexcept {
  if (key.empty()) return {error_kind::misconfigured, "an empty key is no file name; this layout needs keys of 1 to 237 bytes"};
  if (key.size() > max_key) return {error_kind::too_large, "keys of this layout have 237 bytes at most, because a file name is made of them; use shorter request ids"};
  if (key == "." || key == "..") return {error_kind::misconfigured, "'.' and '..' are folders; choose another key"};
  for (char const c : key) {
    if (c == '/' || c == '\0') return {error_kind::misconfigured, "keys of this layout are file names and cannot hold '/' or a zero byte; replace them, for example by '_'"};
    if (static_cast<unsigned char>(c) >= 0x80) return {error_kind::misconfigured, "keys of this layout are ASCII: Python's side cannot read others; escape them"};
  }
  return {};
}

struct object_paths {
  std::string segment, lock;
  object_paths() = default;
  object_paths(std::string_view folder, wire_key key) {
    segment.reserve(folder.size() + 1 + key.size());
    segment.append(folder).append("/").append(key);
    lock.reserve(folder.size() + 1 + lock_prefix.size() + key.size() + lock_suffix.size());
    lock.append(folder).append("/").append(lock_prefix).append(key).append(lock_suffix);
  }
};

/// The key that a lock file is of; empty for other files.
inline std::string_view key_of_lock(std::string_view file) noexcept {
  if (!file.starts_with(lock_prefix) || !file.ends_with(lock_suffix) || file.size() <= lock_prefix.size() + lock_suffix.size()) return {};
  return file.substr(lock_prefix.size(), file.size() - lock_prefix.size() - lock_suffix.size());
}

/// Which file something is, whatever its name: tells an object from the next one under the same key.
struct file_id {
  std::uint64_t inode = 0;
  std::uint64_t born = 0;  ///< inode numbers are used again; the change time of a segment is not
  friend bool operator==(file_id const&, file_id const&) = default;
};
inline std::uint64_t change_time(struct stat const& st) noexcept {
  return static_cast<std::uint64_t>(st.st_mtim.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(st.st_mtim.tv_nsec);
}
inline file_id id_of(struct stat const& st) noexcept { return {st.st_ino, change_time(st)}; }

/// Whether the path leads to that file. One folder is one file system: the inode is enough.
inline bool is_at(std::string const& path, std::uint64_t inode) noexcept {
  struct stat named {};
  return ::lstat(path.c_str(), &named) == 0 && named.st_ino == inode;
}

/// Whether somebody has the file open to write it: the kernel gives no lease then.
inline bool is_being_written(int fd) noexcept {
  // A lease that is broken in the instant that we have it sends a signal. This one does nothing by default; SIGIO would end the process.
  constexpr int urg = 23;  // SIGURG on x86 and ARM; <csignal> would cost every user 450 lines for it
  if (::fcntl(fd, F_SETSIG, urg) != 0) return false;
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  static_cast<void>(::fcntl(fd, F_SETLEASE, F_UNLCK));
  return false;
}

/// Gives a file without a name its name. \returns 0 or errno.
inline int link_file(int fd, std::string const& path) noexcept {
  if (::linkat(fd, "", AT_FDCWD, path.c_str(), AT_EMPTY_PATH) == 0) return 0;
  if (errno != ENOENT) return errno;
  char self[64];  // kernels before 6.10 want a right for that
  std::snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  return ::linkat(AT_FDCWD, self, AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

inline result<void> check_owner(struct stat const& st) noexcept {
  if (!S_ISREG(st.st_mode)) return {error_kind::unauthorized, "the key's name is taken by something that is not a plain file; remove it"};
  if (st.st_uid != ::geteuid()) return {error_kind::unauthorized, "the key's segment belongs to another user; stages of one pipeline run as one user"};
  return {};
}

/// The lock of a key. Ours also hold an open-file-description lock on its first byte (readers) or its second (writers), which Python's do not: that
/// tells who has it. The kernel drops both with the process.
class key_lock {
 public:
  key_lock() noexcept = default;

  enum class missing : std::uint8_t { make, leave };
  enum class role : std::uint8_t { reader = 0, writer = 1, foreign };

  /// Takes the lock without waiting. \errors `peer_stalled`: somebody has it; `not_found`: there is none and none was to be made.
  static result<key_lock> try_take(std::string const& path, role who, missing what) noexcept {
    for (int round = 0; round != 100; ++round) {
      int const flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | (what == missing::make ? O_CREAT : 0);
      key_lock out;
      out.fd_ = unique_fd(::open(path.c_str(), flags, 0600));
      if (!out.fd_ && (errno == EISDIR || errno == ELOOP || errno == ENXIO)) return {error_kind::unauthorized, "the name of the key's lock file is taken by something that is not a plain file; remove it", errno};
      if (!out.fd_) return errno_error("opening a segment's lock file failed");
      struct stat st {};
      if (::fstat(out.fd_.get(), &st) != 0) return errno_error("reading the attributes of a lock file failed");
      if (auto own = check_owner(st); !own) return own.error();
      out.inode_ = st.st_ino;
      if (::flock(out.fd_.get(), LOCK_EX | LOCK_NB) != 0) return error{error_kind::peer_stalled, "another process has the segment's lock", errno};
      out.show(who);
      // Whoever had it before may have removed the file: then the lock is on a file that nobody else will open.
      if (is_at(path, out.inode_)) return out;
    }
    return {error_kind::peer_stalled, "another process removes the segment's lock file again and again"};
  }

  /// A lock file of our own in place of one that another of our processes has locked: it keeps its lock on a file without a name.
  static result<key_lock> replace(std::string const& folder, std::string const& path, role who) noexcept {
    // Born with a name and renamed: the close of a file that was born without one is told without a name, and would wake nobody.
    std::string const other = second_name(folder);
    key_lock out;
    out.fd_ = unique_fd(::open(other.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!out.fd_) return errno_error("creating a lock file failed");
    struct stat st {};
    if (::fstat(out.fd_.get(), &st) == 0 && ::flock(out.fd_.get(), LOCK_EX | LOCK_NB) == 0) {
      out.inode_ = st.st_ino;
      out.show(who);
      if (::rename(other.c_str(), path.c_str()) == 0) return out;
    }
    auto const failed = errno_error("naming a lock file failed");
    ::unlink(other.c_str());
    return failed;
  }

  /// Who holds a lock that is held.
  static role holder(std::string const& path) noexcept {
    unique_fd const fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    for (role const who : {role::reader, role::writer}) {
      struct flock l = byte_of(who);
      if (fd && ::fcntl(fd.get(), F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK) return who;
    }
    return role::foreign;
  }

  [[nodiscard]] bool held() const noexcept { return static_cast<bool>(fd_); }
  /// The lock file is still the one that others will open.
  [[nodiscard]] bool counts(std::string const& path) const noexcept { return fd_ && is_at(path, inode_); }
  /// Free at once, also where a forked child has a copy of the descriptor, which would keep the lock.
  void release() noexcept {
    if (fd_ && children_forked.load(std::memory_order_relaxed) != 0 && !born_.inherited()) unlock();
    fd_.reset();
  }
  /// Until its end nobody puts another file under a name of the key: between looking what has the name and removing it, that would lose an object.
  void take_turn() const noexcept { static_cast<void>(turn(fd_.get())); }
  /// Removes the lock file while it is locked, so that whoever opens it later makes a new one.
  void remove(std::string const& path) noexcept {
    if (born_.inherited()) return fd_.reset();
    if (fd_) take_turn();
    if (counts(path)) ::unlink(path.c_str());
    fd_.reset();
  }
  /// Removes the lock file, and the segment that it is of.
  void remove_both(object_paths const& paths, file_id segment) noexcept {
    if (born_.inherited()) return fd_.reset();
    take_turn();
    // As long as the lock file counts, nobody of ours has put another segment there; Python's may have removed it under us.
    bool const ours = counts(paths.lock);
    if (ours || is_at(paths.segment, segment.inode)) ::unlink(paths.segment.c_str());
    if (ours) ::unlink(paths.lock.c_str());
    fd_.reset();
  }
  /// The turn of somebody who has not the lock and replaces it; it ends with the file.
  static unique_fd turn_of(std::string const& path) noexcept {
    for (int round = 0; round != 100; ++round) {
      unique_fd fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
      struct stat st {};
      if (!fd || !turn(fd.get()) || ::fstat(fd.get(), &st) != 0 || is_at(path, st.st_ino)) return fd;
    }
    return {};
  }

  static std::string second_name(std::string const& folder) {
    char name[64];
    std::snprintf(name, sizeof name, "/%s%016llx", second_prefix, static_cast<unsigned long long>(random_u64()));
    return folder + name;
  }
  /// Gives an unnamed file a name, over whatever has it now. For an instant it has a second name, which starts with a dot.
  static result<void> name_over(int fd, std::string const& folder, std::string const& path) noexcept {
    std::string const other = second_name(folder);
    if (link_file(fd, other) != 0) return errno_error("naming a segment failed");
    if (::rename(other.c_str(), path.c_str()) == 0) return {};
    auto const failed = errno_error("naming a segment failed");
    ::unlink(other.c_str());
    return failed;
  }

 private:
  static struct flock byte_at(off_t where) noexcept {
    struct flock l {};
    l.l_type = F_WRLCK;
    l.l_whence = SEEK_SET;
    l.l_start = where;
    l.l_len = 1;
    return l;
  }
  static struct flock byte_of(role who) noexcept { return byte_at(static_cast<off_t>(who)); }
  /// The third byte: whoever changes what the names lead to. Held for some system calls.
  static bool turn(int fd) noexcept {
    struct flock l = byte_at(2);
    int done = -1;
    do done = ::fcntl(fd, F_OFD_SETLKW, &l);
    while (done != 0 && errno == EINTR);
    return done == 0;
  }
  void unlock() const noexcept {
    struct flock all {};
    all.l_type = F_UNLCK;
    all.l_whence = SEEK_SET;
    static_cast<void>(::fcntl(fd_.get(), F_OFD_SETLK, &all));
    static_cast<void>(::flock(fd_.get(), LOCK_UN));
  }
  void show(role who) const noexcept {
    struct flock l = byte_of(who);
    static_cast<void>(::fcntl(fd_.get(), F_OFD_SETLK, &l));
  }
  unique_fd fd_;
  std::uint64_t inode_ = 0;
  fork_mark born_;  // in a forked child the lock is the parent's, and so is what it locks
};

/// Segments of ours carry the sticky bit, which means nothing on a file. Python's side makes its own with mode 0600 and never writes into ours.
inline constexpr mode_t our_mode = S_ISVTX | 0600;
inline bool is_ours(struct stat const& st) noexcept { return (st.st_mode & S_ISVTX) != 0; }

/// Writes a whole segment without a name. \errors no_space: the file system is full; nothing is left of it then.
inline result<unique_fd> write_segment(std::string const& folder, pieces parts, std::uint64_t size) noexcept {
  unique_fd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, our_mode));
  if (!fd) return errno_error("creating a segment failed");
  std::uint64_t left = size;
  for (auto const& part : parts) {
    std::byte const* at = part.data();
    for (std::uint64_t n = part.size() < left ? part.size() : left; n != 0;) {
      // tmpfs allocates and copies a page at a time here; through a mapping each page would cost a fault as well.
      ssize_t const done = ::write(fd.get(), at, static_cast<std::size_t>(n < (1U << 30U) ? n : 1U << 30U));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return error{kind_of_errno(errno), "writing the segment failed; free space on the shared-memory file system or make it larger", errno};
      at += done;
      n -= static_cast<std::uint64_t>(done);
      left -= static_cast<std::uint64_t>(done);
    }
  }
  return fd;
}

}  // namespace detail::segment

OMNICONN_END_NAMESPACE
