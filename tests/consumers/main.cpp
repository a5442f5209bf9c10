// SPDX-License-Identifier: Apache-2.0
// The program of every consumer project. It must compile with the core alone.
#include <omniconn/omniconn.hpp>

bool read_in_another_translation_unit(omniconn::shm_connector<>& connector);

int main() {
  omniconn::shm_connector<>::options o;
  o.transport.space = "consumer-" + std::to_string(::getpid());
  auto connector = omniconn::shm_connector<>::open(o);
  if (!connector) return 1;
  if (!connector->put({"a", "b"}, "key", omniconn::bytes_of("hello"))) return 2;
  return read_in_another_translation_unit(*connector) ? 0 : 3;
}
