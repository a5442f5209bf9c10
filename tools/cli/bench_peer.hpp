// SPDX-License-Identifier: Apache-2.0
// The second process of a bench, seen from the first.
#pragma once

#include <string>

#include <sys/types.h>

#include <omniconn/core/deadline.hpp>
#include <omniconn/detail/posix.hpp>

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
  /// When the next object was got. \errors what the process says; `peer_lost`: it ended; `timed_out`.
  result<std::uint64_t, diagnosis> answer(omniconn::deadline until);

 private:
  bench_peer() = default;
  outcome read(void* to, std::size_t size, omniconn::deadline until);
  diagnosis ended();

  pid_t pid_ = -1;
  omniconn::detail::unique_fd orders_;
  omniconn::detail::unique_fd answers_;
};

}  // namespace tool
