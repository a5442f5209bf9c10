// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// Memory that nobody can change any more: made and sealed by a producer, checked and mapped by a consumer.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

/// Neither shorter nor longer, no byte different, and these seals for ever. F_SEAL_WRITE cannot be had while anybody can still write through a mapping.
inline constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

inline result<unique_fd> new_memfd() noexcept {
  constexpr unsigned without_exec = 8;  // MFD_NOEXEC_SEAL, since Linux 6.3; hosts may insist on it (vm.memfd_noexec = 2)
  int fd = ::memfd_create("omniconn-sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC);
  if (fd < 0 && errno == EACCES) fd = ::memfd_create("omniconn-sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC | without_exec);
  if (fd >= 0) return unique_fd(fd);
  int const code = errno;
  if (code == EMFILE || code == ENFILE)
    return error(error_kind::no_space, "no descriptor is left for the object: each unread one needs one; raise `ulimit -n`, or let readers read", code);
  return error(kind_of_errno(code), "creating sealed memory failed", code);
}

/// Appends the first `size` bytes of the pieces to a file. \requires there are as many \returns an errno
inline int write_pieces(int fd, pieces parts, std::size_t size) noexcept {
  std::size_t part = 0, offset = 0;  // what is written next
  while (size != 0) {
    iovec batch[64];
    int count = 0;
    std::size_t room = size, from = offset;
    for (std::size_t p = part; p != parts.size() && count != 64 && room != 0; ++p) {
      std::size_t const left = parts[p].size() - from, n = left < room ? left : room;
      batch[count++] = {const_cast<std::byte*>(parts[p].data()) + from, n};  // NOLINT(cppcoreguidelines-pro-type-const-cast): writev reads
      room -= n;
      from = 0;
    }
    if (room == size) {  // 64 empty pieces in a row
      part += static_cast<std::size_t>(count);
      offset = 0;
      continue;
    }
    ssize_t const written = ::writev(fd, batch, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    auto left = static_cast<std::size_t>(written);
    size -= left;
    while (left != 0) {
      std::size_t const here = parts[part].size() - offset;
      if (left < here) {
        offset += left;
        break;
      }
      left -= here;
      ++part;
      offset = 0;
    }
  }
  return 0;
}

/// The put's one copy: the first `size` bytes of the pieces in memory of their own, sealed.
/// \errors `no_space`: memory or descriptors are used up; `unsupported`: the host has no seals.
inline result<unique_fd> seal_pieces(pieces parts, std::size_t size) noexcept {
  auto fd = new_memfd();
  if (!fd) return fd;
  if (int const code = write_pieces(fd->get(), parts, size); code != 0)
    return error(code == EFBIG ? error_kind::too_large : kind_of_errno(code), "filling sealed memory failed; free memory, or raise the memory limit of the control group", code);
  if (::fcntl(fd->get(), F_ADD_SEALS, all_seals) != 0) return error(error_kind::unsupported, "this kernel cannot seal memory; use ShmConnector", errno);
  return fd;
}

/// Whether a descriptor that somebody sent is memory of exactly that size that nobody can change or take away. The kernel is asked, nothing is believed.
/// \errors `corrupt`
inline result<void> check_sealed(int fd, std::uint64_t size) noexcept {
  constexpr auto wrong = [](char const* what) noexcept { return error(error_kind::corrupt, what, 0, severity::connection); };
  struct stat st {};
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return wrong("the producer sent a descriptor that is no memory");
  int const seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & all_seals) != all_seals) return wrong("the producer sent memory that is not sealed: it could change or cut it while it is read");
  if (st.st_size < 0 || static_cast<std::uint64_t>(st.st_size) != size) return wrong("the producer sent memory of another size than it says");
  // Huge pages can be memory, too, but do not say where their holes are; and a host may have none left for a look at one.
  struct statfs home {};
  if (::fstatfs(fd, &home) != 0 || home.f_type != TMPFS_MAGIC) return wrong("the producer sent memory of another kind than memfd_create makes without flags");
  // A page that is not there yet would be taken from us at our first look at it, or kill us where there is none. Blocks do not tell: some may lie behind the end.
  if (size != 0 && ::lseek(fd, 0, SEEK_HOLE) < st.st_size) return wrong("the producer sent memory with holes: reading it would take memory of ours");
  return {};
}

/// The bytes of a granted object, in place. Small ones are copied: to map, touch and unmap a page takes 5 us, to read 4 KiB 0.5 us.
class sealed_bytes {
 public:
  static constexpr std::size_t copied_up_to = 16'384;

  /// \requires `check_sealed` said yes
  static result<sealed_bytes> of(int fd, std::uint64_t size) {
    sealed_bytes out;
    auto const n = static_cast<std::size_t>(size);
    if (n > copied_up_to) {
      auto mapping = file_mapping::map(fd, n, PROT_READ);
      if (!mapping) return mapping.error();
      out.mapping_ = std::move(*mapping);
      return out;
    }
    out.copy_ = std::make_unique_for_overwrite<std::byte[]>(n);
    out.copy_size_ = n;
    if (ssize_t const got = ::pread(fd, out.copy_.get(), n, 0); got < 0 || static_cast<std::size_t>(got) != n) return errno_error("reading sealed memory failed");
    return out;
  }
  [[nodiscard]] const_bytes get() const noexcept { return copy_ != nullptr ? const_bytes(copy_.get(), copy_size_) : const_bytes(mapping_.base(), mapping_.size()); }
  /// Page tables in one call instead of a fault every 64 KiB; older kernels do without.
  void populate() const noexcept {
    if (mapping_.size() > 65'536) ::madvise(mapping_.base(), mapping_.size(), MADV_POPULATE_READ);
  }

 private:
  file_mapping mapping_;
  std::unique_ptr<std::byte[]> copy_;
  std::size_t copy_size_ = 0;
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
