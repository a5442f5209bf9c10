// SPDX-License-Identifier: Apache-2.0
// Where memory runs out over somebody else's payload, that is an error like any other.
#pragma once

#include <new>
#include <stdexcept>

#include <omniconn/config.hpp>
#include <omniconn/core/error.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Calls, and turns the exceptions of containers into `no_space`. Where exceptions are off, the program ends instead, as it does everywhere else.
template <class Call>
auto while_memory_lasts(Call const& call) -> decltype(call()) {
#ifdef __cpp_exceptions
  try {
    return call();
  } catch (std::bad_alloc const&) {
    return {error_kind::no_space, "memory ran out over the payload; set max_get_size if such payloads are not wanted"};
  } catch (std::length_error const&) {
    return {error_kind::no_space, "the payload asks for a container larger than memory can be"};
  }
#else
  return call();
#endif
}

}  // namespace detail

OMNICONN_END_NAMESPACE
