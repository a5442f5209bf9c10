// SPDX-License-Identifier: Apache-2.0
// How the few threads of this library start.
#pragma once

#include <cstddef>

#include <pthread.h>
#include <signal.h>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Starts a thread that calls `run(with)`, with little stack (256 KiB) and all signals blocked: signals are the program's business, its handlers must not
/// run here. \returns an errno; 0: `out` is to be joined
inline int start_quiet_thread(pthread_t& out, void* (*run)(void*), void* with) noexcept {
  pthread_attr_t how;
  if (int const rc = ::pthread_attr_init(&how); rc != 0) return rc;
  ::pthread_attr_setstacksize(&how, std::size_t{256} << 10U);
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited by who is made
  int const rc = ::pthread_create(&out, &how, run, with);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_attr_destroy(&how);
  return rc;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
