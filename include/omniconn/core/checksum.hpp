// SPDX-License-Identifier: Apache-2.0
// The payload checksum: XXH3-64, and a copy that computes it on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <omniconn/config.hpp>
#include <omniconn/detail/xxh3.hpp>

OMNICONN_BEGIN_NAMESPACE

/// XXH3-64 of the bytes under seed 0: the same number on every machine, in every version of the library. It detects
/// accidents (a torn copy, a flipped bit, the wrong block), not forgery. Any thread may call it; it keeps nothing.
/// The widest vector instructions of the machine are used, whatever flags the program was compiled with.
[[nodiscard]] inline std::uint64_t checksum(std::span<std::byte const> bytes) noexcept {
  if (bytes.size() <= detail::xxh3_short_size) return detail::xxh3_short(bytes.data(), bytes.size(), 0);
  return detail::xxh3_long(bytes.data(), bytes.size(), detail::xxh3_secret_bytes(), detail::xxh3_best_path());
}

/// XXH3-64 of the bytes under a seed, for hash tables of keys: a random seed keeps a sender from choosing keys that
/// collide. Made for short inputs (240 bytes and fewer need no set-up); right for all. `seeded_hash(bytes, 0)` equals
/// `checksum(bytes)`. Any thread may call it; it keeps nothing.
[[nodiscard]] inline std::uint64_t seeded_hash(std::span<std::byte const> bytes, std::uint64_t seed) noexcept {
  if (bytes.size() <= detail::xxh3_short_size) return detail::xxh3_short(bytes.data(), bytes.size(), seed);
  return detail::xxh3_seeded(bytes.data(), bytes.size(), seed, detail::xxh3_best_path());
}

/// The checksum of bytes that lie in several places or arrive one after another: `digest()` equals `checksum()` of all
/// bytes given to `update()` since construction or `reset()`, in that order and however they were cut. Holds no memory
/// outside itself and no pointer to the bytes, which may be gone after `update()`; a copy goes on by itself. One thread
/// at a time may use an object.
class checksum_state {
 public:
  void update(std::span<std::byte const> bytes) noexcept { stream_.update(bytes.data(), bytes.size(), detail::xxh3_best_path()); }

  /// The checksum so far. Changes nothing: more bytes may follow.
  [[nodiscard]] std::uint64_t digest() const noexcept { return stream_.digest(detail::xxh3_best_path()); }

  /// Forgets all bytes.
  void reset() noexcept { stream_ = {}; }

 private:
  friend void copy_with_checksum(std::byte*, std::span<std::byte const>, checksum_state&) noexcept;

  detail::xxh3_stream stream_;
};

/// Copies `source` to `target` and feeds it to `state` in one pass over memory; faster than a copy and a checksum one
/// after the other, and from 64 KiB up hardly slower than a plain copy. Requires room for `source.size()` bytes at
/// `target` and no overlap of the two. The stores are plain ones: a release store afterwards publishes them. Nobody may
/// write to `source` meanwhile, or copy and sum may disagree.
inline void copy_with_checksum(std::byte* target, std::span<std::byte const> source, checksum_state& state) noexcept {
  state.stream_.update<true>(source.data(), source.size(), detail::xxh3_best_path(), target);
}

OMNICONN_END_NAMESPACE
