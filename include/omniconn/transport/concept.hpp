// SPDX-License-Identifier: Apache-2.0
// The contract of a Transport; docs/concepts/transport.md has it as a table with the reasons.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/function_ref.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/metrics.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Where an operation stands. None of these is a failure; failures are errors.
enum class progress : std::uint8_t {
  done,          ///< finished; asking again gives `done` again
  pending,       ///< `wait` for it, or `step` it again later
  needs_memory,  ///< a get knows its size: give it memory with `land`
};

/// Who wakes a waiting call.
enum class wake_up : std::uint8_t {
  notify,  ///< the peer rings: no delay, no cost while nothing happens
  server,  ///< the service holds the request until the object comes
  poll,    ///< nobody: the transport looks again with back-off; its documentation says how late that can be
};

/// How long an acknowledged, unread object lives.
enum class survival : std::uint8_t {
  producer,       ///< as long as the producer's transport object
  producer_exit,  ///< beyond the producer's process, until the lease ends
  node,           ///< beyond the loss of the producer's node
  service,        ///< as long as the store keeps it
};

/// What a transport can do, as data: the connector picks its way with `if constexpr`, the erased wrapper reports the same facts.
struct capabilities {
  std::string_view name;                          ///< "inproc", "shm", ...
  wake_up wait = wake_up::notify;
  survival survives = survival::producer;
  std::uint32_t max_readers = 1;                  ///< readers of one object
  std::uint32_t max_key = max_key_size;           ///< bytes of a wire key
  std::uint64_t max_object = ~std::uint64_t{0};   ///< payload bytes
  std::uint32_t max_pieces = 1;                   ///< pieces that `begin` takes
  bool any_key = true;           ///< wire keys are any bytes; false: what the transport's page says
  bool empty_objects = true;     ///< payloads of 0 bytes; false: `unsupported`
  bool gathers = false;          ///< `commit` copies the pieces, so that they may be the caller's own memory: they are not used once it is done
  bool own_memory = false;       ///< payloads must lie in `memory()`; false: any memory that stays until it is disposed of
  bool leaves_process = true;    ///< bytes cross a border worth a checksum
  bool zero_copy_get = false;    ///< `find` ends in `done` with the bytes in place; false: it asks for memory
  bool hears_death = false;      ///< a wait for a producer that died ends with `peer_lost`; with one that is stopped, at its deadline with `peer_stalled`
  bool quiet_cancel = true;      ///< `cancel` and the destructor of an operation are immediate
  bool progressive = false;      ///< `advance` lets readers run behind the writer
  bool carries_info = true;      ///< object_info travels out of band; false: the connector adds an envelope, or nothing on foreign edges
  bool can_replace = true;       ///< `on_existing::replace` works
  bool can_erase = true;         ///< `erase` works
  bool can_list = true;          ///< `erase_if` works
  bool named_readers = true;     ///< `reader_set::names` works
  bool keeps = false;            ///< `reader_set::until_cleaned_up()` works
  bool counts_readers = true;    ///< reading consumes; false: it does not know who has read what, and every object is for anybody until it is cleaned up
  bool shared_keys = true;       ///< a key is one object's over all producers; false: each producer's keys are its own, and a get takes any of that key
};

/// The base of `put_op` and `get_op`: owned by the caller, never moved, never allocated by the transport.
///
/// An operation serves one put or get at a time and may be used again after it ended. Its destructor gives up what is unfinished: a put is
/// aborted, a get gives its object back. Where `caps.quiet_cancel` is false, the caller cancels and waits before it destroys one.
struct operation {
  operation() = default;
  operation(operation const&) = delete;
  operation& operator=(operation const&) = delete;
};

/// Memory that a transport can send from and land in. `[base, base + committed)` may be used now, up to `reserved` after `grow`.
struct memory_region {
  std::byte* base = nullptr;
  std::size_t committed = 0;
  std::size_t reserved = 0;
};

/// A payload handed to a transport. The pieces stay untouched until the transport is done with them, which it says once: by calling `dispose`
/// from any thread, or, where that is null, by passing `token` to the sink of `reclaim`.
struct outgoing {
  pieces parts;
  std::uint64_t token = 0;
  void (*dispose)(std::uint64_t token) noexcept = nullptr;
};

/// Takes the tokens of blocks that nobody can touch any more.
using reclaim_sink = function_ref<void(std::uint64_t token)>;

/// Where a get lands, in order.
using mutable_pieces = std::span<mutable_bytes const>;

/// How a hold ends.
enum class disposition : std::uint8_t {
  consumed,   ///< this reader has had its share
  give_back,  ///< as if it had never been taken: decoding failed, the call was given up
};

/// Construction: a usable object or a reason. `options` is an aggregate whose defaults work.
template <class T>
concept transport_open = std::movable<T> && std::default_initializable<typename T::options> && requires(typename T::options const& o) {
  { T::open(o) } -> std::same_as<result<T, diagnosis>>;
  requires std::same_as<std::remove_cvref_t<decltype(T::caps)>, capabilities>;
};

/// A reader's claim on readable bytes. Move-only; outlives the transport object that made it; its destructor gives the object back.
template <class H>
concept transport_hold = std::movable<H> && std::default_initializable<H> && !std::copyable<H> && requires(H& h, H const& c) {
  { c.bytes() } noexcept -> std::same_as<const_bytes>;
  { h.finish(disposition::consumed) } noexcept;
};

/// The operations, which the caller owns.
template <class T>
concept transport_operations =
    std::derived_from<typename T::put_op, operation> && std::derived_from<typename T::get_op, operation> &&
    transport_hold<typename T::hold> && requires(typename T::put_op const& p, typename T::get_op& g) {
      { p.where() } noexcept -> std::same_as<locator>;
      { g.info() } noexcept -> std::same_as<object_info>;
      { g.where() } noexcept -> std::same_as<locator>;
      { g.take() } noexcept -> std::same_as<typename T::hold>;
    };

/// Memory. The caller serialises these three calls among themselves; they run beside all others.
template <class T>
concept transport_memory = requires(T& t, std::size_t n, reclaim_sink sink) {
  { t.memory() } noexcept -> std::same_as<memory_region>;
  { t.grow(n) } -> std::same_as<result<memory_region>>;
  { t.reclaim(sink) } -> std::same_as<std::size_t>;
};

/// put: begin, fill, commit. `done` from `commit` is the acknowledgement.
template <class T>
concept transport_put = requires(T& t, typename T::put_op& op, wire_key k, outgoing out, object_info i, publish_options const& o, std::uint64_t n) {
  { t.begin(op, k, out, i, o) } -> std::same_as<result<progress>>;
  { t.advance(op, n) } noexcept;
  { t.commit(op, i) } -> std::same_as<result<progress>>;
  { t.abort(op) } noexcept;
};

/// get: find, land where asked, take.
template <class T>
concept transport_get = requires(T& t, typename T::get_op& op, wire_key k, find_options const& o, mutable_pieces to) {
  { t.find(op, k, o) } -> std::same_as<result<progress>>;
  { t.land(op, to) } -> std::same_as<result<progress>>;
};

/// Driving operations. `wait` is the only call of a transport that sleeps.
template <class T>
concept transport_drive = requires(T& t, typename T::put_op& p, typename T::get_op& g, std::span<operation* const> ops, deadline d, stop_token s) {
  { t.step(p) } -> std::same_as<result<progress>>;
  { t.step(g) } -> std::same_as<result<progress>>;
  { t.wait(ops, d, s) } -> std::same_as<result<std::size_t>>;
  { t.cancel(p) } -> std::same_as<result<progress>>;
  { t.cancel(g) } -> std::same_as<result<progress>>;
};

/// Everything beside the data path.
template <class T>
concept transport_admin = requires(T& t, T const& c, wire_key k, function_ref<bool(wire_key)> match, locator const& l, value const& v) {
  { t.erase(k) } -> std::same_as<result<std::size_t>>;
  { t.erase_if(match) } -> std::same_as<result<std::size_t>>;
  { t.exists(k) } -> std::same_as<result<bool>>;
  { c.describe(l) } -> std::same_as<value>;
  { c.parse(v) } -> std::same_as<result<locator>>;
  { c.report() } -> std::same_as<health_report>;
  { t.close() } noexcept;
};

/// The whole contract. Optional abilities are concepts of their own below, so that it can grow without touching a model.
template <class T>
concept transport_policy = transport_open<T> && transport_operations<T> && transport_memory<T> && transport_put<T> && transport_get<T> &&
                           transport_drive<T> && transport_admin<T>;

/// Optional: the caller's own memory is sent in place. Removing the region waits for nobody: it fails while pieces of it are in use.
template <class T>
concept transport_adopt = transport_policy<T> && requires(T& t, mutable_bytes user) {
  { t.adopt_region(user) } -> std::same_as<result<std::uint64_t>>;
  { t.forget_region(std::uint64_t{}) } -> std::same_as<result<void>>;
};

/// Optional: a get operation that ends when every reader of the object behind a locator is done with it, or when those who get for a stage died.
template <class T>
concept transport_watch = transport_policy<T> && requires(T& t, typename T::get_op& op, locator const& l, std::string_view consumer) {
  { t.watch(op, l, consumer) } -> std::same_as<result<progress>>;
};

/// Optional: a put that found no room can wait until something came back since `room_seen` was read, or drop this producer's oldest unread object.
template <class T>
concept transport_room = transport_policy<T> && requires(T& t, std::uint32_t seen, std::string_view consumer, deadline d, stop_token s) {
  { t.room_seen() } noexcept -> std::same_as<std::uint32_t>;
  { t.wait_for_room(seen, consumer, d, s) } -> std::same_as<result<void>>;
  { t.drop_oldest() } -> std::same_as<bool>;
};

/// Optional: puts in one call. Short payloads go beside their keys, without a block; others have been written into their block before.
template <class T>
concept transport_put_whole = transport_policy<T> && T::caps.carries_info && requires(T& t, wire_key k, const_bytes payload, outgoing const& out, object_info const& i, publish_options const& o) {
  requires std::same_as<std::remove_cvref_t<decltype(T::short_payload)>, std::size_t>;
  { T::fits_whole(k.size(), payload.size()) } -> std::same_as<bool>;
  { t.put_whole(k, payload, i, o) } -> std::same_as<result<receipt>>;
  { t.put_written(k, out, i, o) } -> std::same_as<result<receipt>>;
};

/// Optional: objects that are read while they grow. A put that was begun with `publish_options::growing` tells its readers of each `advance`; a get that was asked for with
/// `find_options::growing` ends as soon as the object is announced, `so_far` are the bytes that are there, and `await_bytes` makes it wait for more. `take` gives the object back,
/// and has no bytes, until `is_whole`.
template <class T>
concept transport_growing = transport_policy<T> && T::caps.carries_info && requires(T& t, typename T::get_op& op, typename T::get_op const& c, std::uint64_t n) {
  { t.await_bytes(op, n) } -> std::same_as<result<progress>>;
  { c.so_far() } noexcept -> std::same_as<const_bytes>;
  { c.is_whole() } noexcept -> std::same_as<bool>;
};

/// Optional: a descriptor for foreign event loops, readable when `step` may find something new.
template <class T>
concept transport_fd = transport_policy<T> && requires(T& t) {
  { t.native_fd() } -> std::same_as<result<int>>;
};

/// For authors: `static_assert(explain_transport<my_transport>());` names what is missing in one sentence each.
template <class T>
consteval bool explain_transport() {
  static_assert(transport_open<T>, "omniconn: a transport needs `options`, `static constexpr capabilities caps` and `static result<T, diagnosis> open(options const&)`; see docs/concepts/transport.md");
  static_assert(transport_operations<T>, "omniconn: a transport needs put_op, get_op (derived from operation) and a move-only hold with bytes() and finish(); see docs/concepts/transport.md");
  static_assert(transport_memory<T>, "omniconn: a transport needs memory(), grow(n) and reclaim(sink), even if it has no memory of its own; see docs/concepts/transport.md");
  static_assert(transport_put<T>, "omniconn: a transport needs begin, advance, commit and abort; see docs/concepts/transport.md");
  static_assert(transport_get<T>, "omniconn: a transport needs find and land; see docs/concepts/transport.md");
  static_assert(transport_drive<T>, "omniconn: a transport needs step, wait and cancel; wait is the only call that may sleep; see docs/concepts/transport.md");
  static_assert(transport_admin<T>, "omniconn: a transport needs erase, erase_if, exists, describe, parse, report and close; see docs/concepts/transport.md");
  return transport_policy<T>;
}

OMNICONN_END_NAMESPACE
