// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// Where producers and consumers meet: a folder with one socket per producer. Nothing in it is believed.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

/// Who is at the other end of a connection, as the kernel says.
struct peer {
  std::uint32_t user = 0;
  std::int32_t process = 0;

  [[nodiscard]] static peer of(int socket) noexcept {
    ucred c{};
    socklen_t size = sizeof c;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &c, &size) != 0) return {UINT32_MAX, 0};  // nobody's number
    return {c.uid, c.pid};
  }
  [[nodiscard]] std::string text() const { return "user " + std::to_string(user) + ", process " + std::to_string(process); }
};

/// The name of a producer's socket: 16 hex digits, never used twice.
inline std::string socket_name(std::uint64_t id) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(id));
  return text;
}
/// \returns 0 for a name that is none.
inline std::uint64_t id_of_name(std::string_view name) noexcept {
  if (name.size() != 16) return 0;
  std::uint64_t id = 0;
  for (char const c : name) {
    bool const digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
    if (!digit && !letter) return 0;
    id = id << 4U | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return id;
}

/// \threadsafety const members.
class meeting_place {
 public:
  /// What became of a wish to connect.
  enum class outcome : std::uint8_t {
    connected,
    gone,      ///< nobody listens there any more
    later,     ///< it has no room now
    lacking,   ///< we have no descriptor, or no memory
    stranger,  ///< not a socket of an allowed user
  };

  meeting_place() = default;

  /// Opens the folder of a namespace, and makes it where it is not there. With other users than our own it is one that they can write, sticky as /tmp.
  /// \errors `misconfigured`, `unauthorized`, `io`
  static result<meeting_place, diagnosis> open(std::string const& directory, std::string_view space, std::vector<std::uint32_t> users) {
    meeting_place out;
    out.users_ = std::move(users);
    out.own_ = ::geteuid();
    bool const shared = !out.users_.empty();
    unique_fd const above(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!above) return diagnosis(error_kind::misconfigured, "directory " + directory + " is no folder; name one that producers and consumers share, such as /dev/shm", errno);
    // The namespace is data: only its hash gets into a path.
    std::string const name = "omniconn-sealed-" + (shared ? std::string("shared") : std::to_string(out.own_)) + "-" + socket_name(checksum(bytes_of(space)));
    out.path_ = directory + "/" + name;
    for (int attempt = 0; attempt != 100; ++attempt) {
      out.folder_ = unique_fd(::openat(above.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (out.folder_ && (shared || out.stays(above.get(), name))) break;
      if (out.folder_) {
        errno = EBUSY;
        continue;
      }
      if (errno != ENOENT) break;
      if (int const code = make(above.get(), name, shared ? 01777 : 0700); code != 0 && code != EEXIST)
        return diagnosis(kind_of_errno(code), "making the folder " + out.path_ + " failed; name a `directory` that can be written", code);
    }
    if (!out.folder_) {
      int const code = errno;
      bool const taken = code == ENOTDIR || code == ELOOP || code == EACCES;
      return diagnosis(taken ? error_kind::unauthorized : kind_of_errno(code), out.path_ + " is no folder that we may open; remove it, or name another `directory`", code);
    }
    struct stat st {};
    if (::fstat(out.folder_.get(), &st) != 0) return diagnosis(error_kind::io, "reading the attributes of " + out.path_ + " failed", errno);
    if (st.st_uid != out.own_ && !(shared && (st.st_uid == 0 || out.allows(st.st_uid))))
      return diagnosis(error_kind::unauthorized, out.path_ + " belongs to user " + std::to_string(st.st_uid) + ", who is not allowed here; have it removed, or name another `directory`");
    if (!shared && (st.st_mode & 0077U) != 0) return diagnosis(error_kind::unauthorized, out.path_ + " is open to other users; it must have mode 0700");
    if ((st.st_mode & 0022U) != 0 && (st.st_mode & 01000U) == 0)
      return diagnosis(error_kind::unauthorized, out.path_ + " lets its users remove each other's sockets; it must be sticky (chmod +t)");
    return out;
  }

  /// The last one out removes the folder, unless it is one for several users.
  void leave() const noexcept {
    if (!users_.empty()) return;
    if (::flock(folder_.get(), LOCK_EX | LOCK_NB) == 0) ::rmdir(path_.c_str());
    ::flock(folder_.get(), LOCK_UN);  // a forked child may have the descriptor, and the lock with it, for longer
  }

  [[nodiscard]] std::string const& path() const noexcept { return path_; }
  [[nodiscard]] std::uint32_t own_user() const noexcept { return own_; }
  [[nodiscard]] bool allows(std::uint32_t user) const noexcept {
    if (user == own_) return true;
    for (auto const u : users_)
      if (u == user) return true;
    return false;
  }

  /// How many of `places` one user may take: we ourselves all, each other one an equal part, so that no other user's processes take the places of all.
  [[nodiscard]] std::size_t share_of(std::uint32_t user, std::size_t places) const noexcept {
    if (user == own_) return places;
    std::size_t const each = places / (users_.size() + 1);
    return each != 0 ? each : 1;
  }

  /// A socket that listens under that name. It has the name only when it listens, so that who finds a deaf one knows that its owner is dead.
  [[nodiscard]] result<unique_fd> listen(std::uint64_t id) const {
    unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return errno_error("making a socket failed");
    std::string const name = socket_name(id), young = young_prefix + name;
    sockaddr_un at{};
    if (!address(at, folder_.get(), young)) return error(error_kind::io, "a socket's name is too long");
    if (::bind(fd.get(), reinterpret_cast<sockaddr const*>(&at), sizeof at) != 0)
      return error(kind_of_errno(errno), "naming a socket failed; its folder must be there and writable, and /proc be mounted", errno);
    if (::fchmodat(folder_.get(), young.c_str(), users_.empty() ? 0600 : 0666, 0) != 0 || ::listen(fd.get(), 128) != 0 ||
        ::renameat(folder_.get(), young.c_str(), folder_.get(), name.c_str()) != 0) {
      auto const why = errno_error("opening a socket to consumers failed");
      ::unlinkat(folder_.get(), young.c_str(), 0);
      return why;
    }
    return fd;
  }
  void remove(std::uint64_t id) const noexcept { ::unlinkat(folder_.get(), socket_name(id).c_str(), 0); }

  /// Connects to a producer. The socket is looked at and then taken by the descriptor that was looked at, so that no link leads elsewhere.
  /// A deaf one of our own user is removed.
  outcome connect(std::string const& name, unique_fd& out, peer& who) const noexcept {
    unique_fd const seen(::openat(folder_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!seen) return errno == ENOENT ? outcome::gone : lacks(errno) ? outcome::lacking : outcome::later;
    struct stat st {};
    if (::fstat(seen.get(), &st) != 0) return outcome::later;
    who = {st.st_uid, 0};
    if (!S_ISSOCK(st.st_mode) || !allows(st.st_uid)) return outcome::stranger;
    unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un at{};
    if (!fd) return lacks(errno) ? outcome::lacking : outcome::later;
    if (!address(at, seen.get(), {})) return outcome::later;
    if (::connect(fd.get(), reinterpret_cast<sockaddr const*>(&at), sizeof at) != 0) {
      if (errno == EPROTOTYPE || errno == EACCES) return outcome::stranger;
      if (errno != ECONNREFUSED) return outcome::later;
      if (st.st_uid == own_) ::unlinkat(folder_.get(), name.c_str(), 0);
      return outcome::gone;
    }
    who = peer::of(fd.get());
    if (!allows(who.user)) return outcome::stranger;
    out = std::move(fd);
    return outcome::connected;
  }

  /// The names of all producers now. Removes what producers of our own user left that died before they listened. \returns false where the folder could
  /// not be read, for want of a descriptor: nothing is known then
  [[nodiscard]] bool names(std::vector<std::string>& out) const {
    out.clear();
    int const again = ::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const dir = again < 0 ? nullptr : ::fdopendir(again);  // which owns it from here on
    if (dir == nullptr) {
      int const code = errno;
      if (again >= 0) ::close(again);
      return !lacks(code);
    }
    // Whoever may write here may fill it; we look at so many.
    for (int n = 0; n != most_entries && out.size() != most_names; ++n) {
      dirent const* const entry = ::readdir(dir);
      if (entry == nullptr) break;
      std::string_view const name(entry->d_name);
      if (id_of_name(name) != 0) {
        out.emplace_back(name);
      } else if (name.starts_with(young_prefix)) {
        remove_if_old(entry->d_name);
      }
    }
    ::closedir(dir);
    return true;
  }

  /// A descriptor that is readable when producers came or went; empty where the user has no inotify instance left.
  [[nodiscard]] unique_fd watch() const noexcept {
    unique_fd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    char self[40];
    std::snprintf(self, sizeof self, "/proc/self/fd/%d", folder_.get());
    if (fd && ::inotify_add_watch(fd.get(), self, IN_MOVED_TO | IN_DELETE | IN_ONLYDIR) < 0) fd.reset();
    return fd;
  }

 private:
  static constexpr char const* young_prefix = ".new-";
  static constexpr int most_entries = 65'536;          ///< 10 ms of reading
  static constexpr std::size_t most_names = 16'384;    ///< those of sockets among them

  static bool lacks(int code) noexcept { return code == EMFILE || code == ENFILE || code == ENOMEM || code == ENOBUFS; }
  /// Keeps others from removing the folder. \returns false where one just does: it is another one then, or none.
  [[nodiscard]] bool stays(int above, std::string const& name) const noexcept {
    struct stat mine {}, named {};
    return ::flock(folder_.get(), LOCK_SH) == 0 && ::fstat(folder_.get(), &mine) == 0 && ::fstatat(above, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
  }
  /// As long as it is made nobody sees it: its permissions must be right from the first look on. \returns an errno
  static int make(int above, std::string const& name, unsigned mode) {
    std::string const young = "." + name + "-" + socket_name(random_u64());
    if (::mkdirat(above, young.c_str(), 0700) != 0) return errno;
    int code = 0;
    if (::fchmodat(above, young.c_str(), mode, 0) != 0 || ::renameat2(above, young.c_str(), above, name.c_str(), RENAME_NOREPLACE) != 0) code = errno;
    if (code != 0) ::unlinkat(above, young.c_str(), AT_REMOVEDIR);
    return code;
  }
  /// The path through an open descriptor: short, whatever the folder's is, and never another folder's.
  static bool address(sockaddr_un& out, int fd, std::string_view name) noexcept {
    out.sun_family = AF_UNIX;
    int const n = name.empty() ? std::snprintf(out.sun_path, sizeof out.sun_path, "/proc/self/fd/%d", fd)
                               : std::snprintf(out.sun_path, sizeof out.sun_path, "/proc/self/fd/%d/%.*s", fd, static_cast<int>(name.size()), name.data());
    return n > 0 && static_cast<std::size_t>(n) < sizeof out.sun_path;
  }
  void remove_if_old(char const* name) const noexcept {
    struct stat st {};
    if (::fstatat(folder_.get(), name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(st.st_mode) || st.st_uid != own_) return;
    if (st.st_ctim.tv_sec + 60 < ::time(nullptr)) ::unlinkat(folder_.get(), name, 0);
  }

  std::string path_;
  unique_fd folder_;
  std::vector<std::uint32_t> users_;
  std::uint32_t own_ = 0;
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
