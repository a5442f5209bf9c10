// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// The suite for connectors of every transport and allocator, composed and erased. Those with MessagePack are in conformance_msgpack_test.cpp.
#include <omniconn/testing/connector_conformance.hpp>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/allocator/pool.hpp>
#include <omniconn/any_connector.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/edge_suffix.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>

#include <connector/harness.hpp>

namespace {

using namespace omniconn;

struct inproc_namespaced : connector_test::inproc_harness<connector<inproc_transport, raw_serializer, namespaced_keying, heap_allocator>> {};
struct inproc_raw_key : connector_test::inproc_harness<connector<inproc_transport, raw_serializer, raw_keying, heap_allocator>> {
  static constexpr bool keys_per_edge = false;
};
struct shm_arena_namespaced : connector_test::shm_harness<connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>> {};
struct shm_pool_at : connector_test::shm_harness<connector<shm_transport, raw_serializer, at_keying, pool_allocator>> {
  static constexpr std::size_t longest_key = max_key_size - std::string_view("@from_to").size();
};
struct any_inproc : connector_test::inproc_harness<connector<inproc_transport, raw_serializer, namespaced_keying, heap_allocator>, any_connector> {};
struct any_shm : connector_test::shm_harness<connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>, any_connector> {};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(inproc_namespaced, connector_conformance, inproc_namespaced);
INSTANTIATE_TYPED_TEST_SUITE_P(inproc_raw_key, connector_conformance, inproc_raw_key);
INSTANTIATE_TYPED_TEST_SUITE_P(shm_arena_namespaced, connector_conformance, shm_arena_namespaced);
INSTANTIATE_TYPED_TEST_SUITE_P(shm_pool_at, connector_conformance, shm_pool_at);
INSTANTIATE_TYPED_TEST_SUITE_P(any_inproc, connector_conformance, any_inproc);
INSTANTIATE_TYPED_TEST_SUITE_P(any_shm, connector_conformance, any_shm);
}  // namespace omniconn
