// SPDX-License-Identifier: Apache-2.0
// A producer that stops in the middle of a put: it says "begun" and waits to be killed, or dies of itself.
//
//   shm_half_put NAMESPACE KEY SIZE stay|crash       the slot is taken, the key is reserved, half of the payload is written
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <unistd.h>

#include <omniconn/transport/shm.hpp>

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  omniconn::shm_transport::options o;
  o.space = argv[1];
  auto transport = omniconn::shm_transport::open(o);
  if (!transport) return 3;
  auto const size = static_cast<std::size_t>(std::strtoull(argv[3], nullptr, 10));
  auto const memory = transport->grow(size);
  if (!memory) return 4;
  omniconn::const_bytes const piece(memory->base, size);
  omniconn::object_info info;
  info.size = size;
  omniconn::shm_transport::put_op op;
  if (!transport->begin(op, argv[2], {omniconn::pieces(&piece, 1), 1, nullptr}, info, {})) return 5;
  std::memset(memory->base, 0x5a, size / 2);
  std::puts("begun");
  std::fflush(stdout);
  if (std::string_view(argv[4]) == "crash") std::raise(SIGKILL);
  for (;;) ::pause();
}
