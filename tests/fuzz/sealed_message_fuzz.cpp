// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as a message of sealed memory: understood in exactly one way, or refused with its kind.
// Build: clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/sealed_message_fuzz.cpp
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <omniconn/transport/shm_sealed/protocol.hpp>

namespace {

void demand(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace omniconn;
  const_bytes const bytes(reinterpret_cast<std::byte const*>(data), size);
  auto const m = detail::sealed::read_message(bytes);
  if (!m) {
    demand(m == error_kind::malformed || m == error_kind::version_mismatch);
    return 0;
  }
  auto const header = detail::sealed::write_header(*m);
  demand(size == header.size() + m->key.size() + m->text.size());
  demand(std::memcmp(header.data(), data, header.size()) == 0);
  demand(m->key.empty() || std::memcmp(m->key.data(), data + header.size(), m->key.size()) == 0);
  demand(m->text.empty() || std::memcmp(m->text.data(), data + header.size() + m->key.size(), m->text.size()) == 0);
  return 0;
}
