// SPDX-License-Identifier: Apache-2.0
// Wakes a thread that sleeps in `poll`.
#pragma once

#include <cstdint>

#include <sys/eventfd.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// An eventfd. \threadsafety every call.
class bell {
 public:
  bell() noexcept : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  void ring() const noexcept {
    std::uint64_t const one = 1;
    static_cast<void>(!::write(fd_.get(), &one, sizeof one));  // fails only where it is rung already
  }
  void hush() const noexcept {
    std::uint64_t rung = 0;
    static_cast<void>(!::read(fd_.get(), &rung, sizeof rung));  // fails only where it was not rung
  }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

 private:
  unique_fd fd_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
