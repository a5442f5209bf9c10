// SPDX-License-Identifier: Apache-2.0
// How the few threads of this library start.
#pragma once

#include <cstddef>
#include <cstring>

#include <pthread.h>
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
#define OMNICONN_SIGNALS_BY_ATTRIBUTE  // <signal.h> costs every user 500 lines
#else
#include <signal.h>
#endif

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Starts a thread that calls `run(with)`, with little stack (256 KiB) and all signals blocked: signals are the program's business, its handlers must not
/// run here. \returns an errno; 0: `out` is to be joined
inline int start_quiet_thread(pthread_t& out, void* (*run)(void*), void* with) noexcept {
  pthread_attr_t how;
  if (int const rc = ::pthread_attr_init(&how); rc != 0) return rc;
  ::pthread_attr_setstacksize(&how, std::size_t{256} << 10U);
#if defined(OMNICONN_SIGNALS_BY_ATTRIBUTE)
  __sigset_t all;
  std::memset(&all, 0xff, sizeof all);  // the C library leaves its own out
  int rc = ::pthread_attr_setsigmask_np(&how, &all);
  if (rc == 0) rc = ::pthread_create(&out, &how, run, with);
#else
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited by who is made
  int const rc = ::pthread_create(&out, &how, run, with);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
  ::pthread_attr_destroy(&how);
  return rc;
}

}  // namespace detail

OMNICONN_END_NAMESPACE

#undef OMNICONN_SIGNALS_BY_ATTRIBUTE
