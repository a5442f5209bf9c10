// SPDX-License-Identifier: Apache-2.0
// The sum of the peers in C++, for those in Python: numpy's is three times as fast, and would be taken for the transport's merit.
#include "support.hpp"

extern "C" std::uint64_t sum_of_bytes(std::byte const* bytes, std::size_t size);
std::uint64_t sum_of_bytes(std::byte const* bytes, std::size_t size) { return bench::sum({bytes, size}); }
