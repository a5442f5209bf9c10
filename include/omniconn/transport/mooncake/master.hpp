// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The calls of a Mooncake master (release 0.3.13.post1) that a client and a storage node make: arguments in, results out. No sockets here.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/mooncake/rpc.hpp>
#include <omniconn/transport/mooncake/struct_pack.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// Names a client or a segment: 16 bytes that nobody else has.
using uuid = std::array<char, 16>;

/// Who calls, and whose keys are meant: a master that was not started with tenants knows this one only.
struct caller {
  uuid client{};
  std::string tenant = "default";
};

/// Where a put may go, and how long it stays. The other members of the release's ReplicateConfig are left at their defaults.
struct replicate_config {
  std::uint64_t replicas = 1;
  bool hard_pin = false;
  std::uint64_t soft_pin_ms = 0;  ///< 0: none asked for
  std::vector<std::string> preferred_segments{};
};

/// Where bytes of an object lie.
struct replica {
  enum class kind : std::uint8_t { memory = 0, nvme_of = 1, disk = 2, local_disk = 3, distributed_file = 4 };
  std::uint64_t id = 0;
  kind where = kind::memory;
  std::uint64_t size = 0, address = 0;  ///< in the node's memory
  std::string protocol, endpoint;       ///< of the node's transfer engine: "tcp", the name of a segment
  std::int32_t status = 0;

  static constexpr std::int32_t allocated = 2, complete = 3;
  friend bool operator==(replica const&, replica const&) = default;
};

struct found_object {
  std::vector<replica> replicas;
  std::uint64_t lease_ms = 0;  ///< how long from the request on the bytes stay where they are
};

/// Memory of a storage node that the master gives out.
struct segment {
  uuid id{};
  std::string name, endpoint;  ///< of the node's transfer engine
  std::uint64_t base = 0, size = 0;
};

/// The code for an object whose put has not ended.
inline constexpr std::int32_t not_complete = -703;

/// What a code of the store's own means. \returns nothing for 0.
inline error store_error(std::int32_t code) noexcept {
  switch (code) {
    case -101: return {error_kind::no_space, "no segment of the Mooncake store is usable; start a storage node", code};
    case -200: return {error_kind::no_space, "the Mooncake store has no room for the object, or no storage node; start nodes with larger segments, or let it evict", code};
    case -400: return {error_kind::misconfigured, "the Mooncake store refuses the key", code};
    case -600: return {error_kind::misconfigured, "the Mooncake store refuses the arguments", code};
    case not_complete: return {error_kind::not_found, "the object is not complete", code};
    case -704: return {error_kind::not_found, "no such object in the Mooncake store", code};
    case -705: return {error_kind::already_exists, "the key is taken; choose another, clean it up, or put with on_existing::replace", code};
    case -706: return {error_kind::peer_stalled, "somebody has a lease on the object, as every get and exists takes one; try again when it has ended, or remove it by force", code};
    case -707: return {error_kind::lease_expired, "the lease of the object ended", code};
    case -710:
    case -712: return {error_kind::lost, "no node of the Mooncake store has the object any more", code};
    case -800: return {error_kind::peer_lost, "a storage node of the Mooncake store does not answer", code};
    case -801: return {error_kind::corrupt, "the Mooncake store found another checksum than the object's", code};
    default: return {error_kind::io, "the Mooncake store failed", code};
  }
}

namespace types {
inline constexpr auto id = wire_type_of("fd04048989ff");
inline constexpr auto memory_segment = wire_type_of("fd") + id + wire_type_of("800c0404800c800c800cff");
inline constexpr auto put_start = wire_type_of("fd") + id + wire_type_of("800c04fd0404040685040b84800c800c84800c0b06800c8584800cff800cff");
inline constexpr auto put_end = wire_type_of("fd") + id + wire_type_of("fd800c8504ff01800cff");
inline constexpr auto put_revoke = wire_type_of("fd") + id + wire_type_of("800c01800cff");
inline constexpr auto key = wire_type_of("fd800c800cff");
inline constexpr auto remove = wire_type_of("fd800c0b800cff");
inline constexpr auto mount = wire_type_of("fd") + memory_segment + id + wire_type_of("ff");
inline constexpr auto remount = wire_type_of("fd84") + memory_segment + id + wire_type_of("ff");
inline constexpr auto ping = id;
inline constexpr auto unmount = wire_type_of("fd") + id + id + wire_type_of("ff");

inline constexpr auto one_replica =
    wire_type_of("fd0486fdfd0404800c800cfffffdfd0404800c800cfffffd800c04fffd") + id + wire_type_of("04800cfffd800c04040401ffff01ff");
inline constexpr auto nothing = wire_type_of("87fa01");
inline constexpr auto boolean = wire_type_of("870b01");
inline constexpr auto text = wire_type_of("87800c01");
inline constexpr auto pong = wire_type_of("87fd0301ff01");
inline constexpr auto replicas = wire_type_of("8784") + one_replica + wire_type_of("01");
inline constexpr auto found = wire_type_of("87fd84") + one_replica + wire_type_of("048504ff01");
}  // namespace types

// --- requests ---------------------------------------------------------------------------------------------------------------------

inline std::string_view text_of(uuid const& id) noexcept { return {id.data(), id.size()}; }
using omniconn::text_of;

inline rpc_request service_ready() { return rpc_request(function_of("ServiceReady")); }

inline rpc_request start_request(std::uint32_t function, caller const& who, std::string_view key, std::uint64_t size, replicate_config const& config) {
  rpc_request out(function);
  std::size_t longest = std::max(key.size(), who.tenant.size());
  for (auto const& s : config.preferred_segments) longest = std::max(longest, s.size());
  packer p(out.body(), types::put_start, std::max(longest, config.preferred_segments.size()));
  p.raw(text_of(who.client)).text(key).u64(size);
  p.u64(config.replicas).u64(0).u64(0);
  config.soft_pin_ms == 0 ? p.u8(0).flag(false) : p.u8(1).flag(true).u64(config.soft_pin_ms);  // 0: an object that is there keeps its own
  p.flag(config.hard_pin);
  p.count(config.preferred_segments.size());
  for (auto const& s : config.preferred_segments) p.text(s);
  p.text({}).count(0).flag(false).u8(0).text({}).flag(false);
  p.text(who.tenant);
  return out;
}
/// Asks for room. The object is nobody's until `put_end`.
inline rpc_request put_start(caller const& who, std::string_view key, std::uint64_t size, replicate_config const& config) {
  return start_request(function_of("PutStart"), who, key, size, config);
}
/// The same for a key that may be taken: the old object goes, where the sizes are equal in place, whoever reads it.
inline rpc_request upsert_start(caller const& who, std::string_view key, std::uint64_t size, replicate_config const& config) {
  return start_request(function_of("UpsertStart"), who, key, size, config);
}

inline constexpr std::int32_t every_replica = 4;

inline rpc_request end_request(std::uint32_t function, caller const& who, std::string_view key) {
  rpc_request out(function);
  packer(out.body(), types::put_end, std::max(key.size(), who.tenant.size())).raw(text_of(who.client)).text(key).flag(false).i32(every_replica).text(who.tenant);
  return out;
}
inline rpc_request put_end(caller const& who, std::string_view key) { return end_request(function_of("PutEnd"), who, key); }
inline rpc_request upsert_end(caller const& who, std::string_view key) { return end_request(function_of("UpsertEnd"), who, key); }
inline rpc_request revoke_request(std::uint32_t function, caller const& who, std::string_view key) {
  rpc_request out(function);
  packer(out.body(), types::put_revoke, std::max(key.size(), who.tenant.size())).raw(text_of(who.client)).text(key).i32(every_replica).text(who.tenant);
  return out;
}
/// Gives up what `put_start` began, of this client and key.
inline rpc_request put_revoke(caller const& who, std::string_view key) { return revoke_request(function_of("PutRevoke"), who, key); }
/// The same after `upsert_start`. The old object does not come back.
inline rpc_request upsert_revoke(caller const& who, std::string_view key) { return revoke_request(function_of("UpsertRevoke"), who, key); }
inline rpc_request key_request(std::uint32_t function, caller const& who, std::string_view key) {
  rpc_request out(function);
  packer(out.body(), types::key, std::max(key.size(), who.tenant.size())).text(key).text(who.tenant);
  return out;
}
/// Takes a lease where the object is complete.
inline rpc_request get_replica_list(caller const& who, std::string_view key) { return key_request(function_of("GetReplicaList"), who, key); }
/// Takes a lease, too.
inline rpc_request exist_key(caller const& who, std::string_view key) { return key_request(function_of("ExistKey"), who, key); }
inline rpc_request remove(caller const& who, std::string_view key, bool force) {
  rpc_request out(function_of("Remove"));
  packer(out.body(), types::remove, std::max(key.size(), who.tenant.size())).text(key).flag(force).text(who.tenant);
  return out;
}

inline std::size_t longest_of(segment const& s) noexcept { return std::max({s.name.size(), s.endpoint.size(), std::size_t{16}}); }
inline void write(packer& p, segment const& s) { p.raw(text_of(s.id)).text(s.name).u64(s.base).u64(s.size).text(s.endpoint).text("tcp").text({}); }

inline rpc_request mount_segment(segment const& s, uuid const& client) {
  rpc_request out(function_of("MountSegment"));
  packer p(out.body(), types::mount, longest_of(s));
  write(p, s);
  p.raw(text_of(client));
  return out;
}
/// After the master forgot its nodes.
inline rpc_request remount_segments(std::span<segment const> segments, uuid const& client) {
  rpc_request out(function_of("ReMountSegment"));
  std::size_t longest = segments.size();
  for (auto const& s : segments) longest = std::max(longest, longest_of(s));
  packer p(out.body(), types::remount, longest);
  p.count(segments.size());
  for (auto const& s : segments) write(p, s);
  p.raw(text_of(client));
  return out;
}
inline rpc_request unmount_segment(uuid const& id, uuid const& client) {
  rpc_request out(function_of("UnmountSegment"));
  packer(out.body(), types::unmount, 0).raw(text_of(id)).raw(text_of(client));
  return out;
}
/// Once a second, or the node counts as dead.
inline rpc_request ping(uuid const& client) {
  rpc_request out(function_of("Ping"));
  packer(out.body(), types::ping, 0).raw(text_of(client));
  return out;
}

// --- replies: the master's word for the caller, the protocol's errors for a stranger's bytes -----------------------------------------------

/// \returns the values of a result that has some, what the store's code means otherwise.
template <std::size_t N>
[[nodiscard]] result<unpacker> values_of(const_bytes reply, wire_type<N> const& type) noexcept {
  auto in = unpacker::of(reply, type);
  if (!in) return in.error();
  if (in->flag()) return in;
  std::int32_t const code = in->i32();
  if (auto const whole = in->end(); !whole) return whole.error();
  return store_error(code);
}
[[nodiscard]] inline result<void> read_nothing(const_bytes reply) noexcept {
  auto const in = values_of(reply, types::nothing);
  return in ? in->end() : result<void>(in.error());
}
[[nodiscard]] inline result<bool> read_flag(const_bytes reply) noexcept {
  auto in = values_of(reply, types::boolean);
  if (!in) return in.error();
  bool const out = in->flag();
  if (auto const whole = in->end(); !whole) return whole.error();
  return out;
}
[[nodiscard]] inline result<std::string> read_text(const_bytes reply) {
  auto in = values_of(reply, types::text);
  if (!in) return in.error();
  std::string out(in->text());
  if (auto const whole = in->end(); !whole) return whole.error();
  return out;
}
/// \returns whether the master knows the node; false: it wants its segments again.
[[nodiscard]] inline result<bool> read_pong(const_bytes reply) noexcept {
  auto in = values_of(reply, types::pong);
  if (!in) return in.error();
  static_cast<void>(in->u64());  // which view of the cluster
  std::int32_t const status = in->i32();
  if (status != 1 && status != 2) in->refuse();
  if (auto const whole = in->end(); !whole) return whole.error();
  return status == 1;
}

inline void read(unpacker& in, replica& out) {
  out.id = in.u64();
  std::uint8_t const kind = in.u8();
  out.where = static_cast<replica::kind>(kind);
  switch (out.where) {
    case replica::kind::memory:
    case replica::kind::nvme_of:
      out.size = in.u64();
      out.address = in.u64();
      out.protocol = in.text();
      out.endpoint = in.text();
      break;
    case replica::kind::disk:
      out.endpoint = in.text();
      out.size = in.u64();
      break;
    case replica::kind::local_disk:
      static_cast<void>(in.raw(sizeof(uuid)));
      out.size = in.u64();
      out.endpoint = in.text();
      break;
    case replica::kind::distributed_file:
      out.endpoint = in.text();
      out.size = in.u64();
      static_cast<void>(in.u64());
      static_cast<void>(in.u64());
      static_cast<void>(in.i32());
      break;
    default: in.refuse();
  }
  out.status = in.i32();
}
inline void read(unpacker& in, std::vector<replica>& out) {
  constexpr std::size_t least = 8 + 1 + 8 + 1 + 4;  // bytes of the smallest
  out.resize(in.count(least));
  for (auto& r : out) read(in, r);
}
[[nodiscard]] inline result<std::vector<replica>> read_replicas(const_bytes reply) {
  auto in = values_of(reply, types::replicas);
  if (!in) return in.error();
  std::vector<replica> out;
  read(*in, out);
  if (auto const whole = in->end(); !whole) return whole.error();
  return out;
}
[[nodiscard]] inline result<found_object> read_found(const_bytes reply) {
  auto in = values_of(reply, types::found);
  if (!in) return in.error();
  found_object out;
  read(*in, out.replicas);
  out.lease_ms = in->u64();
  if (in->flag()) static_cast<void>(in->u64());
  if (auto const whole = in->end(); !whole) return whole.error();
  return out;
}

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
