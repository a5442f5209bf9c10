// SPDX-License-Identifier: Apache-2.0
// Which policies go together, and which puts a transport can do.
#pragma once

#include <cstddef>
#include <string>

#include <omniconn/config.hpp>
#include <omniconn/allocator/concept.hpp>
#include <omniconn/connector_defaults.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// One sentence per combination that cannot work.
template <class Transport, class Allocator>
consteval bool explain_composition() {
  constexpr bool carves = region_allocator<Allocator>;
  static_assert(!Transport::caps.own_memory || carves,
                "omniconn: this transport sends only from its own memory; choose an allocator that carves it, such as arena_allocator or pool_allocator");
  static_assert(Transport::caps.own_memory || free_allocator<Allocator>,
                "omniconn: this transport has no memory to carve; choose heap_allocator");
  return true;
}

/// Whether a transport can serve the readers that a put asks for.
inline result<void> can_serve(capabilities const& caps, reader_set const& readers) noexcept {
  if (readers.anybody && !caps.keeps) return {error_kind::unsupported, "this transport cannot keep objects that are read; give their readers"};
  if (readers.size() == 0) return {error_kind::misconfigured, "an object needs at least one reader"};
  if (!readers.names.empty() && !caps.named_readers) return {error_kind::unsupported, "this transport cannot tell readers by name; give their number"};
  if (readers.size() > caps.max_readers) return {error_kind::too_large, "more readers of one object than this transport can do"};
  if (!caps.counts_readers && !readers.anybody)
    return {error_kind::unsupported, "this transport does not know who has read an object: it is for anybody until it is cleaned up; put without readers"};
  return {};
}

/// Whether a transport can do what a connector's puts are to be like. `room`: it is a `transport_room`.
inline result<void, diagnosis> can_serve(capabilities const& caps, bool room, connector_defaults const& defaults) {
  std::string const name = "transport " + std::string(caps.name);
  std::size_t const readers = defaults.readers.empty() ? defaults.reader_count : defaults.readers.size();
  if (defaults.keep && !caps.keeps) return diagnosis(error_kind::unsupported, name + " cannot keep objects that are read; give their readers");
  if (readers == 0 || readers > caps.max_readers)
    return diagnosis(error_kind::misconfigured, "the number of readers must be between 1 and " + std::to_string(caps.max_readers) + ", the most that " + name + " can do");
  if (!defaults.readers.empty() && !caps.named_readers) return diagnosis(error_kind::misconfigured, name + " cannot tell readers by name; remove `readers`");
  if (!caps.counts_readers && readers != 1)
    return diagnosis(error_kind::unsupported, name + " does not know who has read an object: each is for anybody until it is cleaned up; remove the number of readers");
  if (!room && (defaults.full != on_full::fail || defaults.max_unread_objects != 0 || defaults.max_unread_bytes != 0))
    return diagnosis(error_kind::unsupported, name + " can neither wait for room nor limit what is unread; remove on_full, max_unread_objects and max_unread_bytes");
  return {};
}

}  // namespace detail

OMNICONN_END_NAMESPACE
