// SPDX-License-Identifier: Apache-2.0
// The memory of other participants, mapped for reading.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/layout.hpp>
#include <omniconn/transport/shm/lent.hpp>
#include <omniconn/transport/shm/placement.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Another participant's arena, mapped read-only.
struct mapped_arena {
  std::uint64_t id = 0;
  file_mapping mapping;

  /// The bytes at `offset`, or nothing where they would lie outside the file.
  [[nodiscard]] bool contains(std::uint64_t offset, std::uint64_t size) const noexcept {
    return offset <= mapping.size() && size <= mapping.size() - offset;
  }
  [[nodiscard]] const_bytes at(std::uint64_t offset, std::uint64_t size) const noexcept {
    return {mapping.base() + offset, static_cast<std::size_t>(size)};
  }
};

/// Each is mapped on first use and kept, so that a get costs no system call. \threadsafety all members.
class arena_cache {
 public:
  /// It stays mapped, but its producer takes the memory out of it when it leaves.
  /// \errors `corrupt`, `unauthorized`; `lost`, `unsupported`: memory that a producer lent and that cannot be reached (any more).
  result<std::shared_ptr<mapped_arena const>> get(directory const& dir, names const& where, std::uint32_t owner, std::uint64_t id) {
    if (owner >= max_participants || (id & ~region_mask) == 0) return {error_kind::corrupt, "the namespace's directory names an impossible arena"};
    std::scoped_lock const lock(mutex_);
    auto& known = arenas_[owner];
    for (auto const& one : known)
      if (one->id == id) return one;
    auto fd = open(where.arena_path(id), (id & region_mask) != 0);
    if (fd == error_kind::lost && dir.held_elsewhere(owner + 1))
      return {error_kind::unsupported, "the object lies in a memfd of a process of another pid namespace, where this one cannot reach it; adopt a file of /dev/shm, or reserve"};
    if (!fd) return fd.error();
    struct stat about {};
    if (::fstat(fd->get(), &about) != 0) return errno_error("reading the attributes of a producer's memory failed");
    if (about.st_size == 0) return {error_kind::corrupt, "a producer's arena is empty: somebody cut the file"};
    auto const size = static_cast<std::size_t>(about.st_size);
    auto mapping = (id & region_mask) == 0 ? map_arena(fd->get(), size) : file_mapping::map(fd->get(), size, PROT_READ);
    if (!mapping) return mapping.error();
    failpoint("shm.get.arena_mapped");
    auto fresh = std::make_shared<mapped_arena>();
    fresh->id = id;
    fresh->mapping = std::move(*mapping);
    if (known.size() == most_of_one) known.erase(known.begin());  // it stays mapped while holds refer to it, as does that of the record's earlier user
    known.push_back(fresh);
    return std::shared_ptr<mapped_arena const>(std::move(fresh));
  }

  /// Participant `owner` has ended: what it lent is not kept for nothing. Holds keep theirs.
  void forget(std::uint32_t owner) noexcept {
    std::scoped_lock const lock(mutex_);
    arenas_[owner].clear();
  }

 private:
  static constexpr std::size_t most_of_one = 8;

  static result<unique_fd> open(std::string const& path, bool may_be_lent) {
    unique_fd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));  // a FIFO in its place must not keep us
    if (!fd && errno == ELOOP && may_be_lent) return open_lent(path);
    if (!fd && errno == ENOENT) return {error_kind::corrupt, "the namespace's directory names an arena that is not there: somebody removed the file"};
    if (!fd && (errno == ELOOP || errno == ENXIO)) return not_a_plain_file(errno);
    if (!fd) return errno_error("opening a producer's arena failed");
    if (auto const st = stat_own_file(fd.get()); !st) return st.error();
    return fd;
  }

  std::mutex mutex_;
  std::vector<std::vector<std::shared_ptr<mapped_arena const>>> arenas_{max_participants};
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
