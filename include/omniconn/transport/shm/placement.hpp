// SPDX-License-Identifier: Apache-2.0
// Where a producer's payload memory comes from: pages of 2 MiB, and the NUMA node that has them.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

inline constexpr std::size_t small_page = 4096;
inline constexpr std::size_t huge_page = std::size_t{2} << 20U;  // of x86-64, and of arm64 with pages of 4 KiB
inline constexpr std::uint32_t max_nodes = 1024;                 // Linux is built for no more

/// The memory of that range comes from the node from now on, and from others where it has none left: bound to the node alone, the kernel would end a process when the node is full, where
/// `no_space` is promised. Shared memory keeps this with its file, so that it counts for whoever touches a page first, and for fallocate. \returns an errno
inline int prefer_node(void* base, std::size_t size, std::uint32_t node) noexcept {
  constexpr std::size_t bits = 8 * sizeof(unsigned long);
  unsigned long nodes[max_nodes / bits] = {};
  if (node >= max_nodes) return EINVAL;
  nodes[node / bits] = 1UL << node % bits;
  return ::syscall(SYS_mbind, base, size, MPOL_PREFERRED, nodes, std::size_t{max_nodes} + 1, 0U) == 0 ? 0 : errno;  // + 1: the call takes one off
}

/// The nodes that this process may have memory of, as the kernel writes them: "0-1,4". Empty: it does not say.
inline std::string nodes_allowed() {
  std::string text;
  unique_fd const status(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  char some[4096];
  for (ssize_t n = 0; status && (n = ::read(status.get(), some, sizeof some)) > 0;) text.append(some, static_cast<std::size_t>(n));
  constexpr std::string_view before = "\nMems_allowed_list:\t";
  auto const at = text.find(before);
  return at == std::string::npos ? std::string() : text.substr(at + before.size(), text.find('\n', at + 1) - at - before.size());
}

/// Tries whether memory of that node can be had. Where placing memory is not offered, the only node that there is can be had without.
/// \errors `misconfigured`: there is no such node, or it is not for this process; `unauthorized`: mbind is forbidden here
inline result<void, diagnosis> check_node(std::uint32_t node) {
  void* const page = ::mmap(nullptr, small_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return diagnosis(errno_error("mapping a page failed"));
  int const rc = prefer_node(page, small_page, node);
  ::munmap(page, small_page);
  if (rc == 0) return {};
  std::string const number = std::to_string(node), allowed = nodes_allowed();
  if ((rc == EPERM || rc == ENOSYS) && (number == allowed || (rc == ENOSYS && node == 0))) return {};
  if (rc == EPERM)
    return diagnosis(error_kind::unauthorized, "numa_node needs the system call mbind, which is forbidden here, mostly by a container's seccomp filter: give it the capability SYS_NICE (docker run "
                                               "--cap-add SYS_NICE), or leave numa_node out and confine the container to a node (docker run --cpuset-mems " + number + ")");
  if (rc == ENOSYS) return diagnosis(error_kind::misconfigured, "numa_node is " + number + ", but this kernel knows of no nodes; leave numa_node out, or set it to 0");
  return diagnosis(error_kind::misconfigured, "numa_node is " + number + ", but this process may have memory of " + (allowed.empty() ? "other nodes only" : "the nodes " + allowed + " only") +
                                                  ", as far as they have any (/sys/devices/system/node/has_memory); set it to one of them, or leave it out");
}

/// How a producer wants its payload memory.
struct placement {
  bool huge_pages = false;
  std::optional<std::uint32_t> node;

  /// So many bytes in whole pages of the size that is wanted.
  [[nodiscard]] constexpr std::uint64_t whole(std::uint64_t bytes) const noexcept {
    std::uint64_t const page = huge_pages ? huge_page : small_page;
    return (bytes + page - 1) / page * page;
  }
  [[nodiscard]] result<file_mapping> map(int fd, std::size_t size) const noexcept {
    return huge_pages ? file_mapping::map_aligned(fd, size, PROT_READ | PROT_WRITE, huge_page) : file_mapping::map(fd, size, PROT_READ | PROT_WRITE);
  }
  /// Before there is memory behind the range. \errors `misconfigured`: the node was there when `check_node` looked
  [[nodiscard]] result<void> prepare(std::byte* base, std::size_t size) const noexcept {
    if (!node) return {};
    int const rc = prefer_node(base, size, *node);
    if (rc == 0 || rc == EPERM || rc == ENOSYS) return {};  // `check_node` knows better
    return error{error_kind::misconfigured, "memory of the node that numa_node names can no longer be had: it, or this process's right to it, was taken away; set another one and open anew", rc};
  }
  /// After there is memory behind the range. fallocate looks at no mapping, so that advice in advance (MADV_HUGEPAGE) would change nothing: what it took small is joined
  /// now, where Linux can (6.1). What stays small does as well.
  void settle(std::byte* base, std::size_t size) const noexcept {
    constexpr int collapse = 25;  // MADV_COLLAPSE: older headers lack the name
    if (!huge_pages) return;
    // Linux up to 6.18 at least maps a huge page that fallocate took and nobody has touched as it is, and empties it when the next process maps it: what was written is lost.
    for (std::size_t at = 0; at < size; at += huge_page) (void)*static_cast<std::byte const volatile*>(base + at);
    (void)::madvise(base, size, collapse);
  }
};

/// For reading, so that huge pages can be mapped as such: an arena that may have some is a whole number of them.
inline result<file_mapping> map_arena(int fd, std::size_t size) noexcept {
  return size % huge_page == 0 ? file_mapping::map_aligned(fd, size, PROT_READ, huge_page) : file_mapping::map(fd, size, PROT_READ);
}

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
