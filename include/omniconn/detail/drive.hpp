// SPDX-License-Identifier: Apache-2.0
// Waiting for one operation, and giving one up.
#pragma once

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Gives an operation up, and returns when nobody writes to its memory any more.
template <class Transport, class Op>
void make_quiet(Transport& transport, Op& op) {
  operation* const ops[]{&op};
  for (auto now = transport.cancel(op); now && *now == progress::pending; now = transport.cancel(op))
    if (!transport.wait(ops, deadline::never(), {})) break;  // closed: nothing is written after that
}

/// Waits for the end of an operation that asks for no memory. One that is given up, at the deadline or by the token, is quiet afterwards; or done, where that was too late. Apart, so that calls
/// that are done at once do not carry it.
template <class Transport, class Op>
[[gnu::noinline]] result<void> drive_to_end(Transport& transport, Op& op, deadline until, stop_token const& stop) {
  operation* const ops[]{&op};
  for (;;) {
    if (auto const woken = transport.wait(ops, until, stop); !woken) {
      make_quiet(transport, op);
      auto const late = transport.step(op);
      return late && *late == progress::done ? result<void>() : woken.error();
    }
    auto const now = transport.step(op);
    if (!now) return now.error();
    if (*now != progress::pending) return {};
  }
}
/// The same after a call that said `now`.
template <class Transport, class Op>
[[gnu::always_inline]] inline result<void> drive_on(Transport& transport, Op& op, result<progress> const& now, deadline until, stop_token const& stop) {
  if (!now) return now.error();
  return *now == progress::pending ? drive_to_end(transport, op, until, stop) : result<void>();
}

}  // namespace detail

OMNICONN_END_NAMESPACE
