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
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::segment {

inline constexpr std::string_view lock_prefix = "shm_", lock_suffix = "_lockfile.lock", signature = "omniconn";
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
inline bool same_file(struct stat const& a, struct stat const& b) noexcept { return a.st_ino == b.st_ino && a.st_dev == b.st_dev; }

/// Whether the path leads to the file that is open there.
inline bool is_at(std::string const& path, int fd) noexcept {
  struct stat open {}, named {};
  return ::fstat(fd, &open) == 0 && ::lstat(path.c_str(), &named) == 0 && same_file(open, named);
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
      if (!out.fd_) return errno_error("opening a segment's lock file failed");
      struct stat st {};
      if (::fstat(out.fd_.get(), &st) != 0) return errno_error("reading the attributes of a lock file failed");
      if (auto own = check_owner(st); !own) return own.error();
      if (::flock(out.fd_.get(), LOCK_EX | LOCK_NB) != 0) return error{error_kind::peer_stalled, "another process has the segment's lock", errno};
      out.show(who);
      // Whoever had it before may have removed the file: then the lock is on a file that nobody else will open.
      if (is_at(path, out.fd_.get())) return out;
    }
    return {error_kind::peer_stalled, "another process removes the segment's lock file again and again"};
  }

  /// A lock file of our own in place of one that another of our processes has locked: it keeps its lock on a file without a name.
  static result<key_lock> replace(std::string const& folder, std::string const& path, role who) noexcept {
    key_lock out;
    out.fd_ = unique_fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!out.fd_) return errno_error("creating a lock file failed");
    static_cast<void>(::flock(out.fd_.get(), LOCK_EX | LOCK_NB));
    out.show(who);
    if (auto named = name_over(out.fd_.get(), folder, path); !named) return named.error();
    return out;
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

  /// Leaves a word in the lock file that the writer was one of ours. Python's side writes nothing and looks at nothing.
  void sign() const noexcept {
    struct stat st {};
    if (::fstat(fd_.get(), &st) == 0 && st.st_size == 0) static_cast<void>(!::pwrite(fd_.get(), signature.data(), signature.size(), 0));
  }
  [[nodiscard]] bool is_signed() const noexcept {
    char word[signature.size()];
    return ::pread(fd_.get(), word, sizeof word, 0) == static_cast<ssize_t>(sizeof word) && std::string_view(word, sizeof word) == signature;
  }

  [[nodiscard]] bool held() const noexcept { return static_cast<bool>(fd_); }
  /// The lock file is still the one that others will open.
  [[nodiscard]] bool counts(std::string const& path) const noexcept { return fd_ && is_at(path, fd_.get()); }
  void release() noexcept { fd_.reset(); }
  /// Removes the lock file while it is locked, so that whoever opens it later makes a new one.
  void remove(std::string const& path) noexcept {
    if (counts(path)) ::unlink(path.c_str());
    fd_.reset();
  }

  /// Gives an unnamed file a name, over whatever has it now. For an instant it has a second name, which starts with a dot.
  static result<void> name_over(int fd, std::string const& folder, std::string const& path) noexcept {
    char self[64], second[64];
    std::snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    std::snprintf(second, sizeof second, "/.omniconn-%016llx", static_cast<unsigned long long>(random_u64()));
    std::string const other = folder + second;
    if (::linkat(AT_FDCWD, self, AT_FDCWD, other.c_str(), AT_SYMLINK_FOLLOW) != 0) return errno_error("naming a segment failed");
    if (::rename(other.c_str(), path.c_str()) == 0) return {};
    auto const failed = errno_error("naming a segment failed");
    ::unlink(other.c_str());
    return failed;
  }

 private:
  static struct flock byte_of(role who) noexcept {
    struct flock l {};
    l.l_type = F_WRLCK;
    l.l_whence = SEEK_SET;
    l.l_start = static_cast<off_t>(who);
    l.l_len = 1;
    return l;
  }
  void show(role who) const noexcept {
    struct flock l = byte_of(who);
    static_cast<void>(::fcntl(fd_.get(), F_OFD_SETLK, &l));
  }
  unique_fd fd_;
};

/// Writes a whole segment without a name. \errors no_space: the file system is full; nothing is left of it then.
inline result<unique_fd> write_segment(std::string const& folder, pieces parts, std::uint64_t size) noexcept {
  unique_fd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
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
