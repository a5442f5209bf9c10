// SPDX-License-Identifier: Apache-2.0
// A failure cannot be ignored by accident.
// expect-error 1: nodiscard
#include <omniconn/runtime/builtin.hpp>

using namespace omniconn;

#pragma GCC diagnostic error "-Wunused-result"

void write(inproc_connector<>& c);
void write(inproc_connector<>& c) {
#if !defined(OMNICONN_EXPECT_ERROR)
  if (!c.put({"a", "b"}, "key", bytes_of("payload"))) return;
#else
  c.put({"a", "b"}, "key", bytes_of("payload"));
#endif
}
