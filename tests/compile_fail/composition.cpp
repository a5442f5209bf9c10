// SPDX-License-Identifier: Apache-2.0
// Compositions that cannot work are refused with one sentence that says what to choose instead.
// expect-error 1: choose an allocator that carves it
// expect-error 2: choose heap_allocator
// expect-error 3: transport_policy
#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

using namespace omniconn;

#if !defined(OMNICONN_EXPECT_ERROR)
template class omniconn::connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>;
template class omniconn::connector<inproc_transport, raw_serializer, namespaced_keying, heap_allocator>;
#elif OMNICONN_EXPECT_ERROR == 1
template class omniconn::connector<shm_transport, raw_serializer, namespaced_keying, heap_allocator>;
#elif OMNICONN_EXPECT_ERROR == 2
template class omniconn::connector<inproc_transport, raw_serializer, namespaced_keying, arena_allocator>;
#else
template class omniconn::connector<raw_serializer, raw_serializer, namespaced_keying, heap_allocator>;
#endif
