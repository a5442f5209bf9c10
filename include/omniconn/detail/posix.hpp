// SPDX-License-Identifier: Apache-2.0
// Owners of descriptors and mappings, and what errno means to us.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// The kind that an errno of the file calls stands for.
inline error_kind kind_of_errno(int code) noexcept {
  switch (code) {
    case ENOSPC:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EDQUOT: return error_kind::no_space;
    case EACCES:
    case EPERM:
    case ELOOP: return error_kind::unauthorized;
    case ENOENT: return error_kind::not_found;
    case EEXIST: return error_kind::already_exists;
    default: return error_kind::io;
  }
}

/// `text` says what failed; where descriptors ran out, that is what has to be mended.
inline error errno_error(char const* text) noexcept {
  int const code = errno;
  if (code == EMFILE) text = "no file descriptor is left in this process; close some, or raise its limit of open files (ulimit -n)";
  if (code == ENFILE) text = "no file descriptor is left on this machine; end what uses them, or raise fs.file-max";
  return {kind_of_errno(code), text, code};
}

/// Owns a file descriptor.
class unique_fd {
 public:
  unique_fd() noexcept = default;
  explicit unique_fd(int fd) noexcept : fd_(fd) {}
  unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    unique_fd moved(std::move(other));
    std::swap(fd_, moved.fd_);
    return *this;
  }
  ~unique_fd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void reset() noexcept {
    if (int const fd = std::exchange(fd_, -1); fd >= 0) ::close(fd);  // forgotten first: a fork in between closes what has the number by then
  }

 private:
  int fd_ = -1;
};

/// Owns a shared mapping of a whole file.
class file_mapping {
 public:
  file_mapping() noexcept = default;
  file_mapping(file_mapping&& other) noexcept : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  file_mapping& operator=(file_mapping&& other) noexcept {
    file_mapping moved(std::move(other));
    std::swap(base_, moved.base_);
    std::swap(size_, moved.size_);
    return *this;
  }
  ~file_mapping() {
    if (base_ != nullptr) ::munmap(base_, size_);
  }

  /// Maps `[0, size)`. Pages beyond what is allocated in the file may be mapped but must not be touched.
  [[nodiscard]] static result<file_mapping> map(int fd, std::size_t size, int protection) noexcept {
    void* const base = ::mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return errno_error("mapping shared memory failed");
    return file_mapping(static_cast<std::byte*>(base), size);
  }
  /// The same at a multiple of `alignment`, a power of two from a page on; anywhere where the address space has no room to choose.
  [[nodiscard]] static result<file_mapping> map_aligned(int fd, std::size_t size, int protection, std::size_t alignment) noexcept {
    void* const room = ::mmap(nullptr, size + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return map(fd, size, protection);
    auto* const first = static_cast<std::byte*>(room);
    std::size_t const before = (alignment - reinterpret_cast<std::uintptr_t>(first) % alignment) % alignment;
    if (::mmap(first + before, size, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
      auto const failure = errno_error("mapping shared memory failed");
      ::munmap(first, size + alignment);
      return failure;
    }
    constexpr std::size_t page = 4096;
    std::size_t const end = (before + size + page - 1) / page * page;
    if (before != 0) ::munmap(first, before);
    if (end < size + alignment) ::munmap(first + end, size + alignment - end);
    return file_mapping(first + before, size);
  }

  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  file_mapping(std::byte* base, std::size_t size) noexcept : base_(base), size_(size) {}

  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

/// Nanoseconds since boot, suspend included: leases go on while a machine sleeps, and no NTP step moves them.
inline std::uint64_t boot_time_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Unpredictable 64 bits: names of OS objects and hash seeds.
inline std::uint64_t random_u64() noexcept {
  std::uint64_t out = 0;
  // 8 bytes are never delivered in part; before the pool is ready (early boot) the clock still separates two processes.
  if (::getrandom(&out, sizeof out, 0) != static_cast<ssize_t>(sizeof out)) out = boot_time_ns() ^ (static_cast<std::uint64_t>(::getpid()) << 32U);
  return out;
}

/// Shows `visit` the name of each file in a folder; none where that cannot be read.
inline void for_each_file(std::string const& folder, auto const& visit) {
  DIR* const open = ::opendir(folder.c_str());
  if (open == nullptr) return;
  while (dirent const* const entry = ::readdir(open)) visit(std::string_view(entry->d_name));
  ::closedir(open);
}

}  // namespace detail

OMNICONN_END_NAMESPACE
