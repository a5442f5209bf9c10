// SPDX-License-Identifier: Apache-2.0
// What is known of an object besides its bytes, and how a put and a get are asked for.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/locator.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What the bytes of a payload are: bytes as they came (or one tensor's elements), or the output of a Serializer.
enum class payload_kind : std::uint16_t { raw = 0, object = 1 };

/// How the checksum in `object_info` was made; `none`: there is none to check.
enum class checksum_kind : std::uint16_t { none = 0, xxh3_64 = 1 };

/// Travels beside the payload: out of band where the transport carries it, in an envelope elsewhere.
struct object_info {
  std::uint64_t size = 0;                         ///< payload bytes
  std::uint64_t checksum = 0;                     ///< of the payload
  std::uint64_t trace = 0;                        ///< the caller's trace id, 0 = none
  payload_kind kind = payload_kind::raw;
  checksum_kind checksum_by = checksum_kind::none;
};

/// The acknowledgement of a put: trivially copyable. As a map, for a control plane: `metadata(receipt)`.
struct receipt {
  std::uint64_t size = 0;  ///< payload bytes
  locator where;
};
static_assert(std::is_trivially_copyable_v<receipt>);

/// What a put of a key that exists already does.
enum class on_existing : std::uint8_t {
  fail,     ///< `already_exists`
  replace,  ///< readers that hold the old object keep it; nobody gets it any more
};

/// Who may read an object: `count` readers, first come first served, each reader name once; or exactly the named ones; or anybody, any number of times.
struct reader_set {
  std::uint32_t count = 1;
  std::span<std::string_view const> names{};  ///< where not empty, `count` is their number
  bool anybody = false;                       ///< until it is erased, replaced or dropped for room; then nothing else counts. Where `caps.keeps`

  /// For a cache: nobody consumes it.
  [[nodiscard]] static constexpr reader_set until_cleaned_up() noexcept { return {1, {}, true}; }

  [[nodiscard]] constexpr std::uint32_t size() const noexcept { return anybody ? 1 : names.empty() ? count : static_cast<std::uint32_t>(names.size()); }
};

/// What a Transport is told with a put.
struct publish_options {
  reader_set readers{};
  std::chrono::nanoseconds lease{std::chrono::seconds(60)};  ///< how long an unread object outlives its producer; 0: not at all
  on_existing existing = on_existing::fail;
  std::uint64_t max_objects = 0;  ///< of this transport object that may be unread at once, else `quota_exceeded`; 0: no limit. Where `transport_room`
  std::uint64_t max_bytes = 0;    ///< the same of payload bytes
  bool growing = false;         ///< readers may begin before it is whole, and are told of each step; see `transport_growing`
  edge const* flow = nullptr;   ///< the edge, for the time of the call; where `caps.hears_death`, gets of the same learn of the sender's death
  deadline until{};             ///< until when it waits for a lock that a stopped process has (`peer_stalled`); the transport has a limit of its own
};

/// What a Transport is told with a get.
struct find_options {
  locator const* where = nullptr;  ///< the receipt's locator; null: search by key
  std::string_view reader{};       ///< who asks; empty: the transport's default name
  bool wait = true;                ///< false: end in `not_found` as soon as the transport knows that nothing is there now
  edge const* flow = nullptr;      ///< the edge, for the time of the call; where `caps.hears_death`, the sender's death ends the wait with `peer_lost`. Null: wait on
  bool alone = false;              ///< nobody but the caller knows the operation: another thread neither cancels nor waits for it
  bool growing = false;            ///< the operation ends as soon as the object is announced, and again with each `await_bytes`; see `transport_growing`
  bool verifies = false;           ///< who asks will compare the payload's checksum, if it has one; a transport that reads the payload while it is being written makes it then
  deadline until{};                ///< until when `find` waits for a lock that a stopped process has (`peer_stalled`); for the object, `wait` waits
};

OMNICONN_END_NAMESPACE
