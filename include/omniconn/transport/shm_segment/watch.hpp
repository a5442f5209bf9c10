// SPDX-License-Identifier: Apache-2.0
// Sleeping until a file of a folder may have changed. Python's side rings no bell; the kernel tells of its closes, renames and removals.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::segment {

/// What one waiting call needs to sleep. Watching costs the writers of the folder about 1 us per object.
class folder_watch {
 public:
  folder_watch() noexcept : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), bell_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

  /// From here on every event counts. What came before is forgotten: look once after it.
  void start(std::string const& folder) noexcept {
    // A lock is free when its file is closed, also by a death; that comes last in every put. Others close or move in what they wrote. Creations are
    // left out: nothing can be claimed then, and each would wake the sleeper for nothing, 10 us of the writer's time. So are removals: a close follows.
    if (watch_ >= 0) {
      forget();
    } else if (inotify_) {
      watch_ = ::inotify_add_watch(inotify_.get(), folder.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR);
    }
  }
  void stop() noexcept {
    if (watch_ >= 0) ::inotify_rm_watch(inotify_.get(), watch_);
    watch_ = -1;
    forget();
  }

  /// Wakes the sleeper, from any thread.
  void ring() const noexcept {
    std::uint64_t const one = 1;
    static_cast<void>(!::write(bell_.get(), &one, sizeof one));  // fails only where it is rung already
  }

  /// Sleeps until one of these files may have changed, the bell, or the deadline; `restless`: a millisecond at most. \returns false for the deadline.
  bool sleep(std::vector<std::string_view> const& files, deadline until, bool restless) noexcept {
    for (;;) {
      // Without a watch (a user may have 128) it looks every millisecond.
      bool const blind = watch_ < 0 || restless;
      std::int64_t left = until.is_never() ? 3'600'000'000'000 : until.nanoseconds() - deadline::now_ns();
      if (left <= 0) return false;
      if (blind && left > 1'000'000) left = 1'000'000;
      pollfd all[]{{bell_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};
      timespec const span{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
      int const n = ::ppoll(all, blind ? 1 : 2, &span, nullptr);
      if (n > 0 && (all[0].revents & POLLIN) != 0) {
        hush();
        return true;
      }
      if (blind || (n > 0 && read_events(files))) return true;
    }
  }

 private:
  void forget() noexcept {
    hush();
    static_cast<void>(read_events({}));
  }
  void hush() noexcept {
    std::uint64_t rung = 0;
    static_cast<void>(!::read(bell_.get(), &rung, sizeof rung));  // fails only where it was not rung
  }
  /// Whether one of these files has an event, or events were lost.
  bool read_events(std::vector<std::string_view> const& files) noexcept {
    bool hit = false;
    alignas(inotify_event) char buffer[4096];
    constexpr ssize_t largest = sizeof(inotify_event) + 256;
    ssize_t size = sizeof buffer;
    while (size > static_cast<ssize_t>(sizeof buffer) - largest) {  // less: the next event would have had room, so there is none
      size = ::read(inotify_.get(), buffer, sizeof buffer);
      for (char const* at = buffer; at < buffer + size;) {
        auto const* event = reinterpret_cast<inotify_event const*>(at);
        at += sizeof(inotify_event) + event->len;
        if ((event->mask & (IN_Q_OVERFLOW | IN_IGNORED)) != 0) hit = true;
        if ((event->mask & IN_IGNORED) != 0) watch_ = -1;  // the folder is gone; perhaps there is another one of that name
        if (event->len == 0) continue;
        for (std::string_view const file : files) hit = hit || file == event->name;
      }
    }
    return hit;
  }

  unique_fd inotify_, bell_;
  int watch_ = -1;
};

/// Watches that are not in use: a user may have 128 of them at once, so they are kept for the next wait. The last one goes on watching, because to start
/// and stop takes longer than to forget what came meanwhile; the kernel keeps 16,384 events for it at most.
class watch_pool {
 public:
  [[nodiscard]] std::unique_ptr<folder_watch> take() {
    std::scoped_lock const lock(mutex_);
    if (idle_.empty()) return std::make_unique<folder_watch>();
    auto out = std::move(idle_.back());
    idle_.pop_back();
    return out;
  }
  void put_back(std::unique_ptr<folder_watch> w) {
    std::scoped_lock const lock(mutex_);
    if (!idle_.empty()) idle_.back()->stop();
    if (idle_.size() == 4) idle_.erase(idle_.begin());
    idle_.push_back(std::move(w));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<folder_watch>> idle_;
};

}  // namespace detail::segment

OMNICONN_END_NAMESPACE
