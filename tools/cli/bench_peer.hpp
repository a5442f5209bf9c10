// SPDX-License-Identifier: Apache-2.0
// The second process of a bench, seen from the first.
#pragma once

#include <chrono>
#include <string>

#include <sys/types.h>

#include <omniconn/core/deadline.hpp>
#include <omniconn/detail/posix.hpp>

#include "bench_board.hpp"
#include "bench_pipe.hpp"
#include "commands.hpp"

namespace tool {

/// The tool itself, started anew: a plain fork would share this process's connector. Its destructor ends the process.
class bench_peer {
 public:
  static result<bench_peer, diagnosis> start(bench_command const& o, std::string const& run);
  bench_peer(bench_peer&& other) noexcept;
  bench_peer& operator=(bench_peer&&) = delete;
  ~bench_peer();

  outcome order(bench_order const& o);
  /// Returns when the process is there. \errors what it says; `peer_lost`: it ended; `timed_out`.
  outcome answer(omniconn::deadline until);

  /// The second process has gone to its CPU when it is there; the first has to.
  [[nodiscard]] bench_cpus const& cpus() const noexcept { return cpus_; }
  [[nodiscard]] bench_board& board() const noexcept { return *reinterpret_cast<bench_board*>(board_.base()); }

  /// Returns when `done()`, which asks the board: looks for a while, and then from time to time, so that a transport that needs this CPU gets it.
  /// \errors as `answer`
  template <class Done>
  outcome wait(Done const& done, omniconn::deadline until) {
    for (std::int64_t rests_from = 0;;) {
      for (int look = 0; look != 64; ++look) {
        if (done()) return {};
        before_next_look(cpus_.alone);
      }
      std::int64_t const now = omniconn::deadline::now_ns();
      if (rests_from == 0) rests_from = now + 200'000;
      if (now < rests_from) continue;
      if (auto heard = listen(std::chrono::microseconds(100), until); !heard) return heard;
    }
  }
  outcome wait_for_progress(std::uint64_t wanted, omniconn::deadline until) {
    return wait([&] { return board().progress.load(std::memory_order_acquire) >= wanted; }, until);
  }

  /// Sleeps that long, but not longer than the process lives. \errors as `answer`
  outcome listen(std::chrono::nanoseconds most, omniconn::deadline until);

  /// The moment that the other needs until it waits for what comes: to enter get, to sleep on a futex. Shorter than the 20 us that a get spins by default.
  void linger() const noexcept;

 private:
  bench_peer() = default;
  outcome read(void* to, std::size_t size, omniconn::deadline until);
  diagnosis ended();

  pid_t pid_ = -1;
  bench_cpus cpus_ = choose_cpus();
  omniconn::detail::unique_fd orders_;
  omniconn::detail::unique_fd answers_;
  omniconn::detail::file_mapping board_;
};

}  // namespace tool
