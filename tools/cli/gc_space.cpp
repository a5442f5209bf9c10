// SPDX-License-Identifier: Apache-2.0
#include "gc_space.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include <omniconn/transport/shm.hpp>

#include "files.hpp"
#include "leaks.hpp"
#include "processes.hpp"
#include "snapshot.hpp"
#include "space_files.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;
using omniconn::detail::unique_fd;

/// \requires the gate is held, so that no participant makes a FIFO meanwhile.
void remove_unnamed(shm::names const& where) {
  auto const files = files_of(where.folder, where.stem);
  auto const seen = snapshot::open(where.directory_path());
  if (!seen) return;
  for (auto const& file : files)
    if (!is_named(*seen, file) && !in_use(file)) ::unlink(file.path.c_str());
}

/// \errors `not_found`: there is no directory.
outcome settle(shm::names const& where) {
  auto opened = shm::directory::open(where, {}, false);
  if (!opened) return std::move(opened.error());
  remove_unnamed(where);
  // Whoever joins and leaves tidies; the directory goes with its last user.
  if (auto joined = shm::session::join(std::move(*opened), where, "omniconn gc"); !joined) return std::move(joined.error());
  return {};
}

/// Puts a directory there that is dead from the start and whose gate is ours: whoever comes waits for the gate, finds it removed and makes a new
/// one. FIFO names are used again, so that those left without a directory can only be removed while nobody can make a new one.
result<unique_fd, diagnosis> close_the_way(shm::names const& where) {
  auto const g = shm::geometry::of(shm::min_slots, shm::claims_of_a_line);
  auto fd = shm::unnamed_file(where.folder, g.size, sizeof(shm::header));
  if (!fd) return diagnosis(fd.error());
  shm::header head{};
  head.magic = shm::directory_magic;
  head.version = shm::format_version;
  head.slots = g.slots;
  head.file_size = g.size;
  head.dead.store(1);
  if (::pwrite(fd->get(), &head, sizeof head, 0) != static_cast<ssize_t>(sizeof head)) return diagnosis(omniconn::detail::errno_error("writing a shared-memory file failed"));
  if (!shm::byte_lock::try_lock(fd->get(), 0)) return diagnosis(error_kind::unsupported, "the file system has no locks of open file descriptions");
  if (auto linked = shm::link_file(fd->get(), where.directory_path()); !linked) return diagnosis(linked.error());
  return std::move(*fd);
}

bool has_directory(shm::names const& where) noexcept {
  struct stat about {};
  return ::lstat(where.directory_path().c_str(), &about) == 0;
}

/// Where there is no directory. \errors `already_exists`: there is one again.
outcome remove_orphans(shm::names const& where) {
  auto const files = files_of(where.folder, where.stem);
  // After they were listed: an arena that a directory named would have been there with it, and a name is used once.
  if (has_directory(where)) return diagnosis(error_kind::already_exists, "");
  bool fifos = false;
  for (auto const& file : files) {
    fifos = fifos || file.what == space_file::part::fifo;
    if (file.what == space_file::part::arena && !in_use(file)) ::unlink(file.path.c_str());
  }
  if (!fifos) return {};
  auto const gate = close_the_way(where);
  if (!gate) return gate.error();
  for (auto const& file : files_of(where.folder, where.stem))
    if (file.what == space_file::part::fifo && !in_use(file)) ::unlink(file.path.c_str());
  ::unlink(where.directory_path().c_str());
  return {};
}

bool lock_whole(int fd, int command) noexcept {
  struct flock l {};
  l.l_type = F_WRLCK;
  l.l_whence = SEEK_SET;
  return ::fcntl(fd, command, &l) == 0 && (command == F_OFD_SETLK || l.l_type == F_UNLCK);
}

}  // namespace

outcome collect_space(std::string const& folder, std::string const& stem) {
  shm::names where;
  where.folder = folder;
  where.stem = stem;
  // Others may make the directory or remove it meanwhile; each round saw that.
  for (int round = 0; round != 100; ++round) {
    auto settled = settle(where);
    if (settled ? has_directory(where) : settled.error().kind() != error_kind::not_found) return settled;
    auto removed = remove_orphans(where);
    if (removed || removed.error().kind() != error_kind::already_exists) return removed;
  }
  return {};
}

outcome remove_broken(std::string const& path, diagnosis const& problem, bool dry_run) {
  auto const refused = [&](std::string const& why) { return diagnosis(problem.kind(), problem.detail() + "; not removed: " + why, problem.native()); };
  struct stat named {};
  if (::lstat(path.c_str(), &named) != 0) return {};
  if (named.st_uid != ::geteuid()) return refused("it belongs to the user " + std::to_string(named.st_uid));
  if (S_ISDIR(named.st_mode)) return refused("it is a folder; remove it by hand");
  unique_fd const fd(S_ISREG(named.st_mode) ? ::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) : -1);
  if (S_ISREG(named.st_mode)) {
    if (!fd) return errno == ENOENT ? outcome() : refused("opening it failed: " + errno_text(errno));
    // Held until it is removed: whoever opened it meanwhile waits for the gate, and then finds that it has no name any more.
    if (!lock_whole(fd.get(), dry_run ? F_OFD_GETLK : F_OFD_SETLK)) {
      auto const who = pids_text(openers_of(named));
      return refused("it is in use by " + (who.empty() ? "a process that cannot be seen from here, perhaps of another container" : who) + "; end that first");
    }
    struct stat now {};
    if (::lstat(path.c_str(), &now) != 0 || now.st_ino != named.st_ino) return refused("somebody replaced it meanwhile");
  }
  if (dry_run || ::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return refused("removing it failed: " + errno_text(errno));
}

}  // namespace tool
