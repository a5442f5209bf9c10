// SPDX-License-Identifier: Apache-2.0
// Which policies go together.
#pragma once

#include <omniconn/config.hpp>
#include <omniconn/allocator/concept.hpp>

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

}  // namespace detail

OMNICONN_END_NAMESPACE
