// SPDX-License-Identifier: Apache-2.0
// Which policies go together, and which puts a transport can do.
#pragma once

#include <omniconn/config.hpp>
#include <omniconn/allocator/concept.hpp>
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
  return {};
}

}  // namespace detail

OMNICONN_END_NAMESPACE
