// SPDX-License-Identifier: Apache-2.0
// What the puts and gets of a connector do where a call says nothing else.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/object.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What a put does that finds no room.
enum class on_full : std::uint8_t {
  fail,         ///< `no_space` or `quota_exceeded`
  wait,         ///< until readers made room, its deadline, or its stop token; `peer_lost` when they died
  drop_oldest,  ///< drops the connector's oldest object that nobody reads now; of those that are kept, one that nobody asked for lately
};

/// Defaults of every put and get of a connector.
struct connector_defaults {
  /// Names of the readers of each object; empty: `reader_count` readers, first come first served.
  std::vector<std::string> readers;
  std::uint32_t reader_count = 1;
  /// Objects are for anybody, any number of times, until they are cleaned up, replaced, or dropped for room (`full`): a cache. Then the two above do not count.
  bool keep = false;
  /// The reader name of this connector's gets; empty: the transport's default.
  std::string reader;
  std::chrono::nanoseconds lease{std::chrono::seconds(60)};
  on_existing existing = on_existing::fail;
  /// Made on put and verified on get wherever bytes leave the process.
  bool checksum = true;
  /// The biggest payload that a get accepts: sizes come from outside and are checked before memory is allocated.
  std::uint64_t max_get_size = ~std::uint64_t{0};
  /// On transports that keep bytes and nothing else (`caps.carries_info` false): 64 bytes in front of each payload carry its kind, checksum and trace.
  /// False where the other end is not ours; then nothing is verified, and every payload is of the kind that the serializer writes.
  bool envelope = true;
  /// What a put does that finds no room, or a limit below reached, on transports that can do more than fail (`transport_room`).
  on_full full = on_full::fail;
  /// The most objects and payload bytes of this connector that may be unread, or kept, at once; 0: as much as there is memory and keys. A connector for each edge makes them
  /// the edge's limits.
  std::uint64_t max_unread_objects = 0;
  std::uint64_t max_unread_bytes = 0;
  /// A waiting get ends with `peer_lost` when the process died that puts for the edge's sender and nobody else does, on transports that hear of it
  /// (`caps.hears_death`). False: it waits on, for a sender that is started again.
  bool report_lost_peer = true;
};

OMNICONN_END_NAMESPACE
