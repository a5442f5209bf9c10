// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// Where an object of the store lies, as a locator; and which places we can read.
#pragma once

#include <cstdint>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/mooncake/master.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// A replica as the master numbers it. A number is used again after the master was restarted, and where an object was replaced in place.
struct place {
  std::uint64_t id = 0, size = 0, address = 0, endpoint = 0, key = 0;

  [[nodiscard]] locator pack() const noexcept { return locator::pack(locator_tag::mooncake_store, *this); }
  friend bool operator==(place const&, place const&) = default;
};

/// FNV-1a: names that differ are told apart, and nobody gains by making two that do not.
inline std::uint64_t name_hash(std::string_view name) noexcept {
  std::uint64_t h = 0xcbf2'9ce4'8422'2325U;
  for (char const c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3U;
  return h;
}
inline place place_of(std::string_view key, replica const& r) noexcept { return {r.id, r.size, r.address, name_hash(r.endpoint), name_hash(key)}; }

/// \errors `unsupported`: not in memory, or not reached by tcp
inline result<void> check_memory(replica const& r) noexcept {
  switch (r.where) {
    case replica::kind::memory:
      if (r.protocol == "tcp") return {};
      return error(error_kind::unsupported, "the Mooncake store keeps the object where only another protocol than tcp reaches it; start its nodes with --protocol=tcp");
    case replica::kind::nvme_of: return error(error_kind::unsupported, "the Mooncake store keeps the object on an NVMe-oF volume, which this library does not read; keep it in memory");
    case replica::kind::disk: return error(error_kind::unsupported, "the Mooncake store keeps the object on disk, which this library does not read; keep it in memory");
    case replica::kind::local_disk: return error(error_kind::unsupported, "the Mooncake store keeps the object on a node's local disk, which this library does not read; keep it in memory");
    default: return error(error_kind::unsupported, "the Mooncake store keeps the object in a distributed file system, which this library does not read; keep it in memory");
  }
}

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
