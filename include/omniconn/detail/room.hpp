// SPDX-License-Identifier: Apache-2.0
// What a put does that finds no room: fails, waits, or drops what is oldest.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/connector_defaults.hpp>
#include <omniconn/core/error.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// There is no room now, but there may be. EFBIG: there will never be any.
inline bool lacks_room(error const& e) noexcept { return (e.kind() == error_kind::no_space || e.kind() == error_kind::quota_exceeded) && e.native() != EFBIG; }

/// Makes room and tries again until it worked, failed for another reason, or no room is to be had.
template <class Transport, class Attempt, class May>
[[gnu::noinline]] auto attempt_with_room(Transport& transport, connector_defaults const& defaults, edge const& e, put_options const& o, Attempt const& attempt, May const& may) -> decltype(attempt()) {
  for (;;) {
    std::uint32_t const seen = transport.room_seen();  // before the attempt: what comes back while it fails is not slept over
    auto out = attempt();
    if (out || !lacks_room(out.error()) || !may()) return out;
    if (defaults.full == on_full::drop_oldest) {
      if (!transport.drop_oldest()) return out;
    } else if (auto const room = transport.wait_for_room(seen, defaults.report_lost_peer ? e.to : std::string_view{}, o.until, o.stop); !room) {
      if (room == error_kind::no_space) return out;  // nothing can come back: why there is no room is what helps
      return room.error();
    }
  }
}

struct always {
  constexpr bool operator()() const noexcept { return true; }
};

/// After a first attempt that found no room, where `on_full` is not `fail`: `attempt()` is made again, as long as `may()` says that it can. The first one is the
/// caller's own, so that a small put does not pay for it.
template <class Transport, class Out, class Attempt, class May = always>
[[gnu::always_inline]] inline void again_in_room(Transport& transport, connector_defaults const& defaults, Out& out, edge const& e, put_options const& o, Attempt const& attempt, May const& may = {}) {
  if constexpr (transport_room<Transport>)
    if (!out && defaults.full != on_full::fail && lacks_room(out.error()) && may()) [[unlikely]]
      out = attempt_with_room(transport, defaults, e, o, attempt, may);
}

}  // namespace detail

OMNICONN_END_NAMESPACE
