// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// omniconn-test: costly
// The suite for connectors whose serializer writes values and tensors, too.
#include <omniconn/testing/connector_conformance.hpp>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/allocator/pool.hpp>
#include <omniconn/any_connector.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/edge_suffix.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>

#include <connector/harness.hpp>

namespace {

using namespace omniconn;

struct inproc_msgpack : connector_test::inproc_harness<connector<inproc_transport, omni_msgpack_serializer, namespaced_keying, heap_allocator>> {};
struct shm_pool_colon_msgpack : connector_test::shm_harness<connector<shm_transport, omni_msgpack_serializer, colon_keying, pool_allocator>, any_connector> {
  static constexpr std::size_t longest_key = max_key_size - std::string_view(":from_to").size();
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(inproc_msgpack, connector_conformance, inproc_msgpack);
INSTANTIATE_TYPED_TEST_SUITE_P(shm_pool_colon_msgpack, connector_conformance, shm_pool_colon_msgpack);
}  // namespace omniconn
