// SPDX-License-Identifier: Apache-2.0
// A type that borrows from the object's memory cannot come out of `get`, which ends the object.
// expect-error 1: use get_view and view::as
#include <omniconn/runtime/builtin.hpp>

using namespace omniconn;

std::size_t read(inproc_connector<>& c);
std::size_t read(inproc_connector<>& c) {
#if !defined(OMNICONN_EXPECT_ERROR)
  auto view = c.get_view({"a", "b"}, "key");
  return view ? view->as<const_bytes>()->size() : 0;
#else
  auto bytes = c.get<const_bytes>({"a", "b"}, "key");
  return bytes ? bytes->size() : 0;
#endif
}
