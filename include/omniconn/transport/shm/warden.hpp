// SPDX-License-Identifier: Apache-2.0
// The thread of a participant that hears at once when another one ends. It sleeps until something happens, and touches nothing on the data path.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include <poll.h>
#include <pthread.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/quiet_thread.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/fifo.hpp>
#include <omniconn/transport/shm/layout.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Tells its owner, on its own thread:
/// - `bool peer_ended(i, epoch) noexcept`: participant `i` of that epoch has let its FIFO go. False where it is still on its way out: asked again in a moment.
/// - `void rung() noexcept`: somebody wrote into our FIFO.
/// \threadsafety `start` once, `stop` once.
template <class Owner> class warden {
 public:
  warden(directory const& dir, std::uint32_t me, int own, Owner& owner) noexcept
      : dir_(dir), owner_(owner), me_(me), process_(dir.participant_at(me).process) {
    polled_[0] = {own, POLLIN, 0};
  }
  warden(warden const&) = delete;
  warden& operator=(warden const&) = delete;

  result<void> start() noexcept {
    int const rc = start_quiet_thread(thread_, [](void* self) -> void* {
      static_cast<warden*>(self)->run();
      return nullptr;
    }, this);
    if (rc != 0) return error{error_kind::no_space, "starting the thread that hears of deaths failed; the limit of threads is reached", rc};
    return {};
  }
  void stop() noexcept {
    stop_.store(true);
    static_cast<void>(!::write(polled_[0].fd, "", 1));
    ::pthread_join(thread_, nullptr);
  }

 private:
  static constexpr int soon_ms = 2, unheard_ms = 5;

  struct peer {
    unique_fd fd;
    std::uint32_t index = 0, epoch = 0;
    bool suspect = false;  ///< let its FIFO go, and is not yet settled
  };

  void run() noexcept {
    look_around();
    for (;;) {
      int const limit = suspects_ ? soon_ms : unheard_ ? unheard_ms : -1;
      static_cast<void>(!::poll(polled_.data(), count_ + 1, limit));
      if (stop_.load()) return;
      bool const woken = (polled_[0].revents & POLLIN) != 0;
      if (woken) {
        drain_fifo(polled_[0].fd);
        dir_.participant_at(me_).answers.fetch_add(1);
        owner_.rung();
      }
      mourn();
      if (woken || unheard_) look_around();
    }
  }

  /// Asks the owner about those that let go.
  void mourn() noexcept {
    suspects_ = false;
    for (std::uint32_t k = 0; k != count_;) {
      peer& p = peers_[k];
      bool const ended = p.suspect || (polled_[k + 1].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
      if (!ended) {
        ++k;
      } else if (owner_.peer_ended(p.index, p.epoch)) {
        forget(k);
      } else {
        p.suspect = suspects_ = true;
        polled_[k + 1].fd = -1;
        ++k;
      }
    }
  }

  /// Listens to those that it does not know yet.
  void look_around() noexcept {
    unheard_ = false;
    for (std::uint32_t i = 0; i != max_participants; ++i) {
      auto const& p = dir_.participant_at(i);
      if (p.state.load() != participant_state::live || p.process == process_) continue;  // who ends with us needs no descriptor
      std::uint32_t const epoch = p.epoch.load();
      if (knows(i, epoch)) continue;
      peer fresh;
      fresh.index = i;
      fresh.epoch = epoch;
      fresh.fd = listen_to_fifo(dir_.fifo_path(i));
      // After it was opened: a FIFO whose owner ended before tells nothing.
      if (!dir_.held_elsewhere(i + 1) && owner_.peer_ended(i, epoch)) continue;
      if (!fresh.fd) {  // no descriptor left, or the owner is on its way out: its lock tells as well, but has to be asked
        unheard_ = true;
        continue;
      }
      if (count_ == peers_.size()) continue;
      polled_[count_ + 1] = {fresh.fd.get(), 0, 0};
      peers_[count_++] = std::move(fresh);
    }
  }

  [[nodiscard]] bool knows(std::uint32_t index, std::uint32_t epoch) noexcept {
    for (std::uint32_t k = 0; k != count_; ++k)
      if (peers_[k].index == index) {
        if (peers_[k].epoch == epoch) return true;
        forget(k);
        return false;
      }
    return false;
  }
  void forget(std::uint32_t k) noexcept {
    --count_;
    if (k != count_) {
      peers_[k] = std::move(peers_[count_]);
      polled_[k + 1] = polled_[count_ + 1];
    }
    peers_[count_] = peer();
  }

  directory const& dir_;
  Owner& owner_;
  std::uint32_t me_;
  std::uint64_t process_;
  pthread_t thread_{};
  std::atomic<bool> stop_{false};
  bool suspects_ = false, unheard_ = false;
  std::uint32_t count_ = 0;
  std::array<peer, max_participants> peers_;
  std::array<pollfd, max_participants + 1> polled_{};
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
