// SPDX-License-Identifier: Apache-2.0
// Every macro of the library that a translation unit may see, each one overridable before the first include.
#pragma once

#if defined(__has_include)
#if __has_include(<omniconn/user_config.hpp>)
#include <omniconn/user_config.hpp>
#endif
#endif

#include <omniconn/version.hpp>

#if !defined(__linux__)
#error "omniconn needs Linux: it uses futexes, open-file-description locks and /dev/shm"
#endif
#if !defined(__cplusplus) || __cplusplus < 202002L
#error "omniconn needs C++20: compile with -std=c++20 or newer"
#endif

// Everything public lives in omniconn::v0. The inline namespace names the ABI: objects of two incompatible
// versions in one program fail to link instead of misbehaving.
#define OMNICONN_BEGIN_NAMESPACE \
  namespace omniconn {           \
  inline namespace v0 {
#define OMNICONN_END_NAMESPACE \
  }                            \
  }
