// SPDX-License-Identifier: Apache-2.0
// A receipt from the metadata that a control plane carried.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/serializer/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Of metadata as the transport describes it, of the same wrapped once in a map, and of an object that came as it is, `{"inline": object}`: its payload goes
/// to the transport, which keeps it until the get.
template <class Transport, class Serializer>
result<receipt> receipt_of(Transport const& transport, Serializer const& serializer, value const& metadata) {
  auto const* size = metadata.find("size");
  auto const* map = metadata.if_map();
  bool const wraps = map != nullptr && map->size() == 1 && map->front().second.is_map();
  if constexpr (serializes<Serializer, value>)
    if (auto const* object = metadata.find("inline"); object != nullptr && !(wraps && object->find("size") != nullptr)) {
      gather_list parts;
      if (auto const kind = serializer.encode(*object, parts); !kind) return kind.error();
      std::vector<std::byte> payload;
      payload.reserve(parts.size());
      parts.for_each([&payload](const_bytes piece) { payload.insert(payload.end(), piece.begin(), piece.end()); });
      std::uint64_t const length = payload.size();
      return receipt_of(transport, serializer, value::object({{"inline_bytes", blob::copy(payload)}, {"size", length}}));
    }
  if (size == nullptr && wraps) return receipt_of(transport, serializer, map->front().second);
  if (size == nullptr) return {error_kind::malformed, "the metadata has no size"};
  auto const n = size->as_uint64();
  if (!n) return n.error();
  auto where = transport.parse(metadata);
  if (!where) return where.error();
  return receipt{*n, *where};
}

}  // namespace detail

OMNICONN_END_NAMESPACE
