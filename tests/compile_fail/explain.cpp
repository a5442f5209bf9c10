// SPDX-License-Identifier: Apache-2.0
// Authors of policies are told in one sentence what is missing.
// expect-error 1: a transport needs find and land
// expect-error 2: a serializer needs `result<payload_kind> encode
// expect-error 3: a keying needs `bool belongs
// expect-error 4: an allocator needs `options`
#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

using namespace omniconn;

struct no_find : inproc_transport {
  result<progress> find(get_op&) = delete;
  result<progress> land(get_op&) = delete;
};
struct no_encode {
  struct options {};
  explicit no_encode(options const&) {}
  static constexpr std::string_view name = "none";
};
struct no_belongs {
  struct options {};
  explicit no_belongs(options const&) {}
  static constexpr std::string_view name = "none";
  static constexpr bool injective = false;
  result<wire_key> make(edge, std::string_view key, key_scratch&, std::size_t) const { return wire_key(key); }
};
struct no_allocator {};

#if !defined(OMNICONN_EXPECT_ERROR)
static_assert(explain_transport<inproc_transport>() && explain_transport<shm_transport>());
static_assert(explain_serializer<raw_serializer>() && explain_keying<namespaced_keying>() && explain_allocator<heap_allocator>());
#elif OMNICONN_EXPECT_ERROR == 1
static_assert(explain_transport<no_find>());
#elif OMNICONN_EXPECT_ERROR == 2
static_assert(explain_serializer<no_encode>());
#elif OMNICONN_EXPECT_ERROR == 3
static_assert(explain_keying<no_belongs>());
#else
static_assert(explain_allocator<no_allocator>());
#endif
