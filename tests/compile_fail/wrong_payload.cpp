// SPDX-License-Identifier: Apache-2.0
// A payload that the serializer cannot write, a type that it cannot read, and something erased that is no connector.
// expect-error 1: serializes
// expect-error 2: deserializes
// expect-error 3: connector_like|no matching
#include <omniconn/any_connector.hpp>
#include <omniconn/runtime/builtin.hpp>

using namespace omniconn;

struct unknown {
  std::string text;
};

void use(inproc_connector<>& c);
void use(inproc_connector<>& c) {
#if !defined(OMNICONN_EXPECT_ERROR)
  (void)c.put({"a", "b"}, "key", bytes_of("payload"));
  (void)c.get<std::string>({"a", "b"}, "key");
  any_connector erased(std::move(c));
#elif OMNICONN_EXPECT_ERROR == 1
  (void)c.put({"a", "b"}, "key", unknown{});
#elif OMNICONN_EXPECT_ERROR == 2
  (void)c.get<unknown>({"a", "b"}, "key");
#else
  any_connector erased(unknown{});
  (void)c, (void)erased;
  static_assert(connector_like<unknown>);
#endif
}
