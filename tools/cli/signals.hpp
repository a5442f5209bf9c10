// SPDX-License-Identifier: Apache-2.0
// Ctrl-C while the tool waits: the wait ends, the connector closes, nothing is left behind.
#pragma once

#include <csignal>
#include <stop_token>
#include <thread>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <omniconn/detail/posix.hpp>

namespace tool {

/// While one lives, SIGINT, SIGTERM and SIGHUP request a stop instead of ending the process; before and after they do what they always do.
class stop_on_signal {
 public:
  stop_on_signal() : end_(::eventfd(0, EFD_CLOEXEC)) {
    sigset_t wanted;
    ::sigemptyset(&wanted);
    for (int const signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&wanted, signal);
    ::pthread_sigmask(SIG_BLOCK, &wanted, &before_);
    signals_ = omniconn::detail::unique_fd(::signalfd(-1, &wanted, SFD_CLOEXEC));
    watcher_ = std::thread([this] {
      pollfd fds[]{{signals_.get(), POLLIN, 0}, {end_.get(), POLLIN, 0}};
      while (::poll(fds, 2, -1) < 0) {
      }
      if ((fds[0].revents & POLLIN) == 0) return;
      signalfd_siginfo taken{};
      [[maybe_unused]] auto const got = ::read(signals_.get(), &taken, sizeof taken);
      source_.request_stop();
    });
  }
  stop_on_signal(stop_on_signal const&) = delete;
  stop_on_signal& operator=(stop_on_signal const&) = delete;
  ~stop_on_signal() {
    std::uint64_t const one = 1;
    [[maybe_unused]] auto const told = ::write(end_.get(), &one, sizeof one);
    watcher_.join();
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

  [[nodiscard]] std::stop_token token() const noexcept { return source_.get_token(); }

 private:
  omniconn::detail::unique_fd end_;
  omniconn::detail::unique_fd signals_;
  sigset_t before_{};
  std::stop_source source_;
  std::thread watcher_;
};

}  // namespace tool
