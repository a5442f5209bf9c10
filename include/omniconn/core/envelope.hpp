// SPDX-License-Identifier: Apache-2.0
// The 64 bytes in front of a payload on a store that keeps bytes and nothing else, so that kind, checksum and trace travel with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// One cache line, so that a payload behind it is aligned as its block is.
inline constexpr std::size_t envelope_size = 64;

namespace detail {

// offset  bytes, little-endian
//      0  8      "omniconn"
//      8  2      version, 1
//     10  2      payload_kind
//     12  2      checksum_kind
//     14  2      0
//     16  8      payload bytes behind the envelope
//     24  8      checksum of the payload
//     32  8      trace id
//     40  16     0
//     56  8      XXH3-64 of the 56 bytes before
inline constexpr std::uint64_t envelope_magic = 0x6e6e'6f63'696e'6d6fU;
inline constexpr std::size_t envelope_sum_at = envelope_size - sizeof(std::uint64_t);

template <class T>
constexpr void put_little(std::byte* at, T n) noexcept {
  for (std::size_t i = 0; i != sizeof n; ++i) at[i] = static_cast<std::byte>(n >> (8U * i));
}
template <class T>
constexpr T get_little(std::byte const* at) noexcept {
  T n = 0;
  for (std::size_t i = 0; i != sizeof n; ++i) n = static_cast<T>(n | static_cast<T>(static_cast<T>(at[i]) << (8U * i)));
  return n;
}

}  // namespace detail

/// Writes the envelope of a payload of `info.size` bytes. \requires `envelope_size` writable bytes at `at`.
inline void write_envelope(std::byte* at, object_info const& info) noexcept {
  using namespace detail;
  for (std::size_t i = 0; i != envelope_size; ++i) at[i] = std::byte{0};
  put_little(at, envelope_magic);
  put_little(at + 8, std::uint16_t{1});
  put_little(at + 10, static_cast<std::uint16_t>(info.kind));
  put_little(at + 12, static_cast<std::uint16_t>(info.checksum_by));
  put_little(at + 16, info.size);
  put_little(at + 24, info.checksum);
  put_little(at + 32, info.trace);
  put_little(at + envelope_sum_at, checksum({at, envelope_sum_at}));
}

/// What the envelope at the beginning of a stored object of `stored` bytes says; the payload is the rest. `begin` is as much of the object as there is at hand.
/// \errors malformed: the object has no envelope; version_mismatch: one of another version; corrupt: its bytes changed, or some are missing.
inline result<object_info> read_envelope(const_bytes begin, std::uint64_t stored) noexcept {
  using namespace detail;
  std::byte const* const at = begin.data();
  if (begin.size() < envelope_size || get_little<std::uint64_t>(at) != envelope_magic)
    return {error_kind::malformed, "the object has no envelope: its producer is not omniconn or was opened with envelope: false; open this connector with envelope: false, too"};
  if (get_little<std::uint16_t>(at + 8) != 1) return {error_kind::version_mismatch, "the object's envelope is of another version; update the older of producer and consumer"};
  if (get_little<std::uint64_t>(at + envelope_sum_at) != checksum({at, envelope_sum_at})) return {error_kind::corrupt, "the object's envelope is damaged: its bytes changed after the put"};
  object_info info;
  info.size = get_little<std::uint64_t>(at + 16);
  info.checksum = get_little<std::uint64_t>(at + 24);
  info.trace = get_little<std::uint64_t>(at + 32);
  auto const kind = get_little<std::uint16_t>(at + 10), summed = get_little<std::uint16_t>(at + 12);
  if (kind > static_cast<std::uint16_t>(payload_kind::object) || summed > static_cast<std::uint16_t>(checksum_kind::xxh3_64))
    return {error_kind::version_mismatch, "the object's envelope names a payload kind or checksum that this version does not know; update the consumer"};
  info.kind = static_cast<payload_kind>(kind);
  info.checksum_by = static_cast<checksum_kind>(summed);
  if (info.size != stored - envelope_size) return {error_kind::corrupt, "the object is shorter or longer than its envelope says"};
  return info;
}
/// Of an object that is at hand as a whole.
inline result<object_info> read_envelope(const_bytes stored) noexcept { return read_envelope(stored, stored.size()); }

OMNICONN_END_NAMESPACE
