// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// The messages of sealed memory, as bytes and back. No sockets here: what a stranger sends is judged before anything is done with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

/// Both ends run on one machine, so numbers travel in its byte order; the magic tells the other order as well.
inline constexpr std::uint32_t wire_magic = 0x4C534D4FU;  // "OMSL"
inline constexpr std::uint8_t wire_version = 1;
inline constexpr std::size_t header_size = 64;
inline constexpr std::size_t max_name = 255;     ///< bytes of a reader's or stage's name
inline constexpr std::size_t max_list = 30'000;  ///< bytes of keys in one `keys`
inline constexpr std::size_t max_message = header_size + max_list + max_key_size + 2;

/// Below 16: a consumer asks. From 16 on: a producer tells.
enum class message_type : std::uint8_t {
  get = 1,     ///< key, text: the reader's name, flag: wait; generation: only this one
  end,         ///< the get `id`, waiting or granted, is over; flag: consumed, else given back
  exists,      ///< key
  erase,       ///< key
  list,        ///< keys after `key` where flag is set, else from the first on
  ping,
  hello = 16,  ///< id: of the producer
  name,        ///< text: a stage that it puts for
  queued,      ///< the get `id` waits
  grant,       ///< the get `id` has its object: one descriptor, generation, info
  refusal,     ///< the get `id` ends without one; flag: why
  number,      ///< the answer to `id`, in info.size
  keys,        ///< the answer to a list, in text; flag: there are more
  pong,
  bye,         ///< the producer leaves in order
  refused,     ///< this producer does not serve us; flag: why; generation: the user that it takes us for
};

/// Why a get ends without an object.
enum class refusal : std::uint8_t { absent = 1, consumed, stale, too_many };
/// Why a producer serves somebody not at all.
enum class refused_for : std::uint8_t { user = 1, full };

/// One message. Texts refer to the bytes that it was read from, or that the sender brings.
struct message {
  message_type type = message_type::ping;
  std::uint8_t flag = 0;
  std::uint64_t id = 0;
  std::uint64_t generation = 0;
  object_info info{};
  std::string_view key{};
  std::string_view text{};
};

/// What a type of message may hold; all else is zero, so that there is one way to write each message.
struct message_shape {
  std::uint8_t flags = 0;  ///< the largest flag
  bool id = false, generation = false, size = false, info = false;
  std::size_t key = 0, text = 0;  ///< the longest
};

/// \returns false for a type that is none.
constexpr bool shape_of(std::uint8_t type, message_shape& out) noexcept {
  out = {};
  switch (static_cast<message_type>(type)) {
    case message_type::get: out = {1, true, true, false, false, max_key_size, max_name}; return true;
    case message_type::end: out = {1, true, false, false, false, 0, 0}; return true;
    case message_type::exists:
    case message_type::erase: out = {0, true, false, false, false, max_key_size, 0}; return true;
    case message_type::list: out = {1, true, false, false, false, max_key_size, 0}; return true;
    case message_type::ping:
    case message_type::pong:
    case message_type::queued:
    case message_type::hello: out = {0, true, false, false, false, 0, 0}; return true;
    case message_type::name: out = {0, false, false, false, false, 0, max_name}; return true;
    case message_type::grant: out = {0, true, true, true, true, 0, 0}; return true;
    case message_type::refusal: out = {4, true, false, false, false, 0, 0}; return true;
    case message_type::number: out = {0, true, false, true, false, 0, 0}; return true;
    case message_type::keys: out = {1, true, false, false, false, 0, max_list + max_key_size + 2}; return true;
    case message_type::bye: return true;
    case message_type::refused: out = {2, false, true, false, false, 0, 0}; return true;
  }
  return false;
}

namespace wire {
template <class Number>
void put(std::byte* base, std::size_t at, Number n) noexcept {
  std::memcpy(base + at, &n, sizeof n);
}
template <class Number>
Number take(std::byte const* base, std::size_t at) noexcept {
  Number n{};
  std::memcpy(&n, base + at, sizeof n);
  return n;
}
}  // namespace wire

/// The first 64 bytes; key and text follow them. \requires the message has the shape of its type
inline std::array<std::byte, header_size> write_header(message const& m) noexcept {
  std::array<std::byte, header_size> out{};
  std::byte* const to = out.data();
  wire::put(to, 0, wire_magic);
  wire::put(to, 4, wire_version);
  wire::put(to, 5, m.type);
  wire::put(to, 6, m.flag);
  wire::put(to, 8, static_cast<std::uint16_t>(m.key.size()));
  wire::put(to, 10, static_cast<std::uint16_t>(m.text.size()));
  wire::put(to, 12, m.info.kind);
  wire::put(to, 14, m.info.checksum_by);
  wire::put(to, 16, m.id);
  wire::put(to, 24, m.generation);
  wire::put(to, 32, m.info.size);
  wire::put(to, 40, m.info.checksum);
  wire::put(to, 48, m.info.trace);
  return out;
}

/// Takes the keys of a `keys` message one after the other. \returns false where they do not fill its text exactly.
template <class Each>
bool for_each_key(std::string_view text, Each each) {
  while (!text.empty()) {
    std::uint16_t size = 0;
    if (text.size() < sizeof size) return false;
    std::memcpy(&size, text.data(), sizeof size);
    text.remove_prefix(sizeof size);
    if (size > text.size() || size > max_key_size) return false;
    each(text.substr(0, size));
    text.remove_prefix(size);
  }
  return true;
}

/// Reads what a stranger sent. \lifetime key and text refer to `bytes`.
/// \errors `version_mismatch`: of another version of this format; `malformed`: anything else that is not exactly a message.
inline result<message> read_message(const_bytes bytes) noexcept {
  constexpr auto wrong = [](char const* what) noexcept { return error(error_kind::malformed, what, 0, severity::connection); };
  if (bytes.size() < header_size) return wrong("a message of sealed memory is shorter than its header; the other side is no omniconn, or damaged");
  std::byte const* const from = bytes.data();
  if (wire::take<std::uint32_t>(from, 0) != wire_magic) return wrong("a message of sealed memory does not begin as one; the other side is no omniconn, or damaged");
  if (wire::take<std::uint8_t>(from, 4) != wire_version)
    return error(error_kind::version_mismatch, "the other side speaks another version of sealed memory; run the same version of omniconn on both", 0, severity::connection);
  auto const type = wire::take<std::uint8_t>(from, 5);
  message_shape shape;
  if (!shape_of(type, shape)) return wrong("a message of sealed memory has a type that is none");
  message out;
  out.type = static_cast<message_type>(type);
  out.flag = wire::take<std::uint8_t>(from, 6);
  std::size_t const key = wire::take<std::uint16_t>(from, 8), text = wire::take<std::uint16_t>(from, 10);
  out.id = wire::take<std::uint64_t>(from, 16);
  out.generation = wire::take<std::uint64_t>(from, 24);
  out.info.size = wire::take<std::uint64_t>(from, 32);
  out.info.checksum = wire::take<std::uint64_t>(from, 40);
  out.info.trace = wire::take<std::uint64_t>(from, 48);
  auto const kind = wire::take<std::uint16_t>(from, 12), checksum_by = wire::take<std::uint16_t>(from, 14);
  if (key > shape.key || text > shape.text || bytes.size() != header_size + key + text) return wrong("a message of sealed memory has not the length that it says");
  bool const more_info = out.info.checksum != 0 || out.info.trace != 0 || kind != 0 || checksum_by != 0;
  if (out.flag > shape.flags || (out.id != 0 && !shape.id) || (out.generation != 0 && !shape.generation) || (out.info.size != 0 && !shape.size) || (more_info && !shape.info) ||
      wire::take<std::uint8_t>(from, 7) != 0 || wire::take<std::uint64_t>(from, 56) != 0)
    return wrong("a message of sealed memory holds something that its type does not have");
  if (kind > static_cast<std::uint16_t>(payload_kind::object) || checksum_by > static_cast<std::uint16_t>(checksum_kind::xxh3_64))
    return wrong("a grant of sealed memory is of an unknown kind of payload or checksum");
  if ((out.type == message_type::refusal || out.type == message_type::refused) && out.flag == 0) return wrong("a refusal of sealed memory has no reason");
  out.info.kind = static_cast<payload_kind>(kind);
  out.info.checksum_by = static_cast<checksum_kind>(checksum_by);
  std::string_view const texts = text_of(bytes.subspan(header_size));
  out.key = texts.substr(0, key);
  out.text = texts.substr(key);
  if (out.type == message_type::keys && !for_each_key(out.text, [](std::string_view) noexcept {})) return wrong("a list of keys of sealed memory does not fill its message");
  return out;
}

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
