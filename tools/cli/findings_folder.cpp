// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <omniconn/detail/describe.hpp>
#include <omniconn/transport/shm.hpp>
#include <omniconn/transport/shm_segment/files.hpp>

#include "files.hpp"
#include "findings.hpp"
#include "payload.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;
using omniconn::detail::unique_fd;

constexpr char const* larger = "make it larger: docker run --shm-size=4g, in Kubernetes an emptyDir with medium: Memory mounted there, else mount -o remount,size=4g; or a smaller memory_pool_size";

std::string hex_of(std::uint64_t number) {
  char text[20];
  std::snprintf(text, sizeof text, "%016" PRIx64, number);
  return text;
}

struct mounted {
  std::string type = "an unknown file system", at = "?", how;
};

/// "36 35 0:32 / /dev/shm rw,nosuid shared:4 - tmpfs tmpfs rw,size=65536k"; the last line of a device is the mount on top.
mounted mount_of(struct stat const& about) {
  std::string const device = std::to_string(major(about.st_dev)) + ":" + std::to_string(minor(about.st_dev));
  mounted out;
  std::ifstream lines("/proc/self/mountinfo");
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, number, root, at, how, word;
    words >> id >> parent >> number >> root >> at >> how;
    if (number != device) continue;
    while (words >> word && word != "-") {
    }
    std::string type, source, options;
    words >> type >> source >> options;
    out = {type, at, options};
  }
  return out;
}

void look_at_mount(std::string const& folder, struct stat const& about, findings& out) {
  struct statfs fs {};
  constexpr long tmpfs = 0x01021994, ramfs = 0x858458f6;
  bool const in_memory = ::statfs(folder.c_str(), &fs) == 0 && (fs.f_type == tmpfs || fs.f_type == ramfs);
  auto const mount = mount_of(about);
  std::string const where = folder + " is " + mount.type + ", mounted on " + mount.at + (mount.how.empty() ? "" : " with " + mount.how);
  if (in_memory) {
    out.fine("tmpfs", where);
  } else {
    out.wrong(error_kind::misconfigured, "tmpfs", where + ": objects would go to a disk", "name a tmpfs with OMNICONN_SHM_DIRECTORY, or mount one: mount -t tmpfs -o size=4g,mode=1777 tmpfs " + folder);
  }
  out.fine("mount", "device " + std::to_string(major(about.st_dev)) + ":" + std::to_string(minor(about.st_dev)) + ", inode " + std::to_string(about.st_ino),
           "processes in two containers meet only where omniconn doctor shows the same device and inode in both; else start the second with --ipc container:FIRST (or both with --ipc host), or mount one tmpfs volume into both");
}

bool look_at_rights(std::string const& folder, struct stat const& about, findings& out) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(about.st_mode & 07777U));
  std::string const what = folder + " has mode " + mode + " and belongs to the user " + std::to_string(about.st_uid);
  if (::access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    int const code = errno;
    out.wrong(code == EROFS ? error_kind::misconfigured : error_kind::unauthorized, "rights", what + ": the user " + std::to_string(::geteuid()) + " cannot use it (" + errno_text(code) + ")",
              code == EROFS ? "mount it writable" : "chmod 1777 " + folder + ", or name a folder of this user with OMNICONN_SHM_DIRECTORY");
    return false;
  }
  if ((about.st_mode & S_IWOTH) != 0 && (about.st_mode & S_ISVTX) == 0) {
    out.wrong(error_kind::unauthorized, "rights", what + ": any user may remove files of others", "chmod +t " + folder);
  } else {
    out.fine("rights", what);
  }
  return true;
}

void look_at_room(std::string const& folder, findings& out) {
  struct statfs fs {};
  if (::statfs(folder.c_str(), &fs) != 0) return out.wrong(error_kind::io, "room", "asking for the room failed: " + errno_text(errno), "");
  std::uint64_t const pool = omniconn::shm_transport::options().memory_pool_size;
  std::uint64_t const block = static_cast<std::uint64_t>(fs.f_bsize), all = fs.f_blocks * block, available = fs.f_bavail * block;
  std::string const text = shown_size(available) + " of " + shown_size(all) + " are free";
  if (all == 0) {
    out.fine("room", "no limit");
  } else if (all < pool) {
    out.wrong(error_kind::no_space, "room", text + ", and memory_pool_size is " + shown_size(pool) + " for each producer unless a configuration says less", larger);
  } else if (available < pool) {
    out.wrong(error_kind::no_space, "room", text + ", less than one memory_pool_size of " + shown_size(pool), "omniconn gc --all removes what the dead left, omniconn stat shows who uses the rest");
  } else {
    out.fine("room", text);
  }
  // Each participant needs a FIFO and an arena.
  if (fs.f_files != 0 && fs.f_ffree < 64) {
    out.wrong(error_kind::no_space, "inodes", std::to_string(fs.f_ffree) + " of " + std::to_string(fs.f_files) + " are free", "omniconn gc --all; else mount -o remount,nr_inodes=1m");
  } else {
    out.fine("inodes", fs.f_files == 0 ? "no limit" : std::to_string(fs.f_ffree) + " of " + std::to_string(fs.f_files) + " are free");
  }
}

/// Files with the names of a namespace that nobody has: what is left where the tool is killed, gc removes.
class trial {
 public:
  trial(std::string const& folder, findings& out) : out_(out) {
    where_.folder = folder;
    where_.stem = "omniconn-" + std::to_string(::geteuid()) + "-" + hex_of(omniconn::detail::random_u64());
    path_ = where_.arena_path(omniconn::detail::random_u64());
  }
  trial(trial const&) = delete;
  trial& operator=(trial const&) = delete;
  ~trial() {
    ::unlink(path_.c_str());
    ::unlink(where_.fifo_path(0).c_str());
  }

  void run() {
    constexpr std::size_t size = std::size_t{64} << 10U;
    unique_fd fd(::open(where_.folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    bool const unnamed = static_cast<bool>(fd);
    tell("O_TMPFILE", unnamed, "files without a name until they are whole");
    if (unnamed) {
      tell("linkat", static_cast<bool>(shm::link_file(fd.get(), path_)), "naming such a file; needs /proc");
    } else {
      fd = unique_fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!fd) return tell("create", false, "creating a file");
    }
    tell("fallocate", set_errno(shm::allocate_file(fd.get(), 0, size)), "reserving memory, so that a full file system is an error and no signal");
    tell("punch_hole", ::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) == 0, "giving memory back");
    tell("mmap", static_cast<bool>(omniconn::detail::file_mapping::map(fd.get(), size, PROT_READ | PROT_WRITE)), "mapping a file shared");
    try_locks(fd.get());
    try_fifo();
    try_memfd();
  }

 private:
  static bool set_errno(int code) noexcept {
    errno = code;
    return code == 0;
  }
  void tell(char const* name, bool works, char const* what) {
    if (works) return out_.fine(name, what);
    int const code = errno;
    auto const kind = omniconn::detail::kind_of_errno(code);
    bool const lasting = kind != error_kind::no_space && kind != error_kind::unauthorized;
    out_.wrong(lasting ? error_kind::unsupported : kind, name, std::string(what) + " failed: " + errno_text(code),
               lasting ? "name a tmpfs of a kernel that can do it with OMNICONN_SHM_DIRECTORY" : kind == error_kind::no_space ? "see room, inodes and descriptors" : "see rights; a seccomp filter may forbid it, too");
  }
  void try_locks(int fd) {
    unique_fd const other(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    errno = EOPNOTSUPP;
    tell("ofd_locks", other && shm::byte_lock::try_lock(fd, 1) && shm::byte_lock::held_elsewhere(other.get(), 1) && !shm::byte_lock::held_elsewhere(fd, 1), "locks that tell who lives");
    errno = EOPNOTSUPP;
    tell("leases", other && omniconn::detail::segment::is_being_written(other.get()), "asking whether a file is still being written");
  }
  void try_fifo() {
    auto own = shm::make_fifo(where_.fifo_path(0));
    if (!own) {
      set_errno(own.error().native());
      return tell("fifo", false, "a FIFO, by which a death is heard");
    }
    unique_fd const listening = shm::listen_to_fifo(where_.fifo_path(0));
    own->reset();
    pollfd heard{listening.get(), 0, 0};
    errno = EOPNOTSUPP;
    tell("fifo", listening && ::poll(&heard, 1, 1000) == 1 && (heard.revents & POLLHUP) != 0, "a FIFO, by which a death is heard");
  }
  void try_memfd() {
    unique_fd const fd(::memfd_create("omniconn-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    tell("memfd", fd && ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0, "memory without a folder, sealed");
  }

  findings& out_;
  shm::names where_;
  std::string path_;
};

}  // namespace

bool look_at_folder(std::string const& folder, findings& out) {
  struct stat about {};
  if (::stat(folder.c_str(), &about) != 0 || !S_ISDIR(about.st_mode)) {
    out.wrong(error_kind::misconfigured, "directory", S_ISREG(about.st_mode) ? folder + " is no folder" : folder + ": " + errno_text(errno),
              "mount a tmpfs there: mkdir -p " + folder + " && mount -t tmpfs -o size=4g,mode=1777 tmpfs " + folder + "; or name another folder with OMNICONN_SHM_DIRECTORY");
    return false;
  }
  look_at_mount(folder, about, out);
  look_at_room(folder, out);
  if (!look_at_rights(folder, about, out)) return false;
  trial(folder, out).run();
  return true;
}

}  // namespace tool
