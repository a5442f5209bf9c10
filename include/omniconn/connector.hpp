// SPDX-License-Identifier: Apache-2.0
// A connector, composed at compile time from four policies.
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/allocator/concept.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/connector_defaults.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/envelope.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/detail/block_source.hpp>
#include <omniconn/detail/claimed_view.hpp>
#include <omniconn/detail/composition.hpp>
#include <omniconn/detail/consumed_if_decoded.hpp>
#include <omniconn/detail/drive.hpp>
#include <omniconn/detail/gather_into.hpp>
#include <omniconn/detail/get_driver.hpp>
#include <omniconn/detail/get_many.hpp>
#include <omniconn/detail/open_found.hpp>
#include <omniconn/detail/receipt_of.hpp>
#include <omniconn/detail/room.hpp>
#include <omniconn/keying/concept.hpp>
#include <omniconn/serializer/concept.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {
struct growing_access;  // growing.hpp
}

/// Moves keyed objects over the edges of a pipeline.
///
/// put: Keying makes the wire key, Serializer a gather list, Allocator a block; one pass copies and sums; Transport commits.
/// get: Transport finds, waiting if need be; the checksum is verified; Serializer decodes by reference.
/// \copies shared memory: 1 on put, 0 with `reserve`/`commit`, 0 on `get_view`. \threadsafety all calls may run together. \lifetime views and reservations may
/// outlive the connector. Errors are counted by kind in `health()`.
template <transport_policy Transport, serializer_policy Serializer, keying_policy Keying, allocator_policy Allocator>
class connector {
  static_assert(detail::explain_composition<Transport, Allocator>());

  struct core;

 public:
  using transport_type = Transport;
  using serializer_type = Serializer;
  using keying_type = Keying;
  using allocator_type = Allocator;

  struct options {
    typename Transport::options transport{};
    typename Serializer::options serializer{};
    typename Keying::options keying{};
    typename Allocator::options allocator{};
    connector_defaults defaults{};
  };

  static constexpr capabilities const& caps = Transport::caps;

  /// The bytes of an object, and this reader's claim on them.
  using view = detail::claimed_view<Transport, Serializer, Allocator>;

  /// Memory of the connector for one object that the caller writes in place.
  class reservation {
   public:
    reservation() noexcept = default;
    [[nodiscard]] mutable_bytes bytes() const noexcept { return block_.data() == nullptr ? mutable_bytes() : mutable_bytes(block_.data() + room_, size_); }
    /// Gives up the tail. \requires `size <= bytes().size()`
    void shrink(std::size_t size) noexcept { size_ = size < size_ ? size : size_; }

   private:
    friend class connector;
    std::shared_ptr<core> keeper_;  // the block may be the transport's memory
    detail::owned_block<Transport, Allocator> block_;
    std::size_t room_ = 0;  // of the envelope, in front
    std::size_t size_ = 0;
  };

  connector(connector&&) noexcept = default;
  connector& operator=(connector&& other) noexcept {
    if (this != &other) {
      if (core_ != nullptr) close();
      core_ = std::move(other.core_);
    }
    return *this;
  }
  /// Closes, also where a reservation still keeps the memory.
  ~connector() {
    if (core_ != nullptr) close();
  }

  /// A usable connector or the reason why not, with the way to mend it.
  [[nodiscard]] static result<connector, diagnosis> open(options const& o = {}) {
    auto how = o.transport;
    std::size_t const readers = o.defaults.readers.empty() ? o.defaults.reader_count : o.defaults.readers.size();
    if constexpr (requires { Transport::usual_readers; how.max_readers; })  // so that whoever opens it first makes room for its own readers
      if (how.max_readers == 0 && readers > Transport::usual_readers && readers <= caps.max_readers) how.max_readers = static_cast<std::uint32_t>(readers);
    auto transport = Transport::open(how);
    if (!transport) return std::move(transport.error());
    if (auto const can = detail::can_serve(caps, transport_room<Transport>, o.defaults); !can) return can.error();
    return connector(std::make_shared<core>(std::move(*transport), o));
  }

  // --- put ------------------------------------------------------------------------------------------------------------------------

  /// Publishes one payload under a key. Success means: reachable, whole, and it outlives this process where `caps.survives` says so.
  /// A failed put leaves nothing behind.
  /// \errors already_exists, no_space, too_large, misconfigured (readers), malformed (payload), closed, and what the transport says.
  template <class Payload>
    requires serializes<Serializer, Payload>
  result<receipt> put(edge const& e, std::string_view key, Payload const& payload, put_options const& o) {
    result<receipt> out = encode_and_publish(e, key, payload, o);
    if constexpr (transport_room<Transport>)  // a lambda that refers to the arguments costs other transports 7 instructions, too, even unused
      again_in_room(out, e, o, [&]() { return encode_and_publish(e, key, payload, o); });
    if (!out) count(out.error());
    return out;
  }

  /// A put with the connector's defaults. No default argument: options made for each call cost a small put and get 1 ns each.
  template <class Payload>
    requires serializes<Serializer, Payload>
  result<receipt> put(edge const& e, std::string_view key, Payload const& payload) {
    return put(e, key, payload, core_->plain_put);
  }

  /// Memory for `size` bytes that the caller fills and hands to `commit`: the put without a copy.
  result<reservation> reserve(std::size_t size) { return reserve(size, core_->plain_put); }
  /// The same, with the deadline and stop token of a put: where `on_full` is not `fail`, it waits for memory or drops for it.
  result<reservation> reserve(std::size_t size, put_options const& o) {
    auto const attempt = [&]() { return carve_reservation(size, o.until); };
    auto out = attempt();
    again_in_room(out, edge{}, o, attempt);
    if (!out) count(out.error());
    return out;
  }
  /// Memory for several objects, or for none of them.
  result<std::vector<reservation>> reserve_all(std::span<std::size_t const> sizes, put_options const& o) {
    std::vector<reservation> out;
    std::size_t total = 0;
    for (std::size_t const size : sizes) total = size > ~std::size_t{0} - total ? ~std::size_t{0} : total + size;
    auto const carve_all = [&]() -> result<bool> {
      out.clear();
      for (std::size_t const size : sizes) {
        auto one = carve_reservation(size, o.until);
        if (!one) {
          auto const why = one.error();
          out.clear();
          auto const ever = core_->memory->could_hold(total);
          return ever ? why : ever.error();
        }
        out.push_back(std::move(*one));
      }
      return true;
    };
    auto done = carve_all();
    again_in_room(done, edge{}, o, carve_all);
    if (!done) return fail(done.error());
    return out;
  }

  /// Publishes what the caller wrote into a reservation of this connector. `kind` says whether it is raw or serialized. The reservation is used up,
  /// also on failure.
  result<receipt> commit(edge const& e, std::string_view key, reservation r, put_options const& o = {}, payload_kind kind = payload_kind::raw) {
    if (r.block_.source() != core_->memory.get()) return fail(error{error_kind::misconfigured, "the reservation is of another connector, or empty"});
    object_info info = new_info(kind, r.size_, o);
    if (info.checksum_by != checksum_kind::none) info.checksum = checksum(r.bytes());
    auto const attempt = [&]() {
      if constexpr (transport_put_whole<Transport>) {
        return publish_written(e, key, r.block_, info, o);
      } else {
        return publish(e, key, r.block_, info, o, [](mutable_bytes, object_info&, auto const&) noexcept {});
      }
    };
    result<receipt> out = attempt();
    again_in_room(out, e, o, attempt, [&r]() noexcept { return r.block_.data() != nullptr; });
    if (!out) count(out.error());
    return out;
  }

  /// The caller's own memory, from which objects are sent in place; what kinds, and how long they live, the transport's page says. It stays as it is, and the bytes of an
  /// object untouched, until nobody needs them (`wait_consumed`). \returns the region, for `forget`. \errors `unsupported`: other processes cannot reach it; reserve instead.
  template <transport_adopt T = Transport>  // templates, these: clang 14 makes members of an explicit instantiation whatever they require
  result<std::uint64_t> adopt(mutable_bytes memory) {
    return counted(core_->transport.adopt_region(memory));
  }
  /// Takes it back. \errors `misconfigured`: no such region, or objects in it are still with readers.
  template <transport_adopt T = Transport>
  result<void> forget(std::uint64_t region) {
    return counted(core_->transport.forget_region(region));
  }
  /// Publishes bytes of adopted memory where they lie. \copies none. \errors as put; `misconfigured`: they do not lie in memory that was adopted.
  template <transport_adopt T = Transport>
  result<receipt> put_adopted(edge const& e, std::string_view key, const_bytes bytes, put_options const& o = {}, payload_kind kind = payload_kind::raw) {
    gather_list parts;
    parts.reference(bytes);
    auto const attempt = [&]() { return publish_pieces(e, key, parts, new_info(kind, bytes.size(), o), o); };
    result<receipt> out = attempt();
    again_in_room(out, e, o, attempt);
    if (!out) count(out.error());
    return out;
  }

  // --- get ------------------------------------------------------------------------------------------------------------------------

  /// The object by reference, as soon as it is there. A failed get consumes nothing.
  /// \errors timed_out, cancelled, not_found (only with `deadline::immediate()`), consumed, stale_handle, lease_expired, corrupt (checksum), closed.
  result<view> get_view(edge const& e, std::string_view key, get_options const& o) {
    result<view> out = find_view(e, key, o);
    if (!out) count(out.error());
    return out;
  }

  /// A get with the connector's defaults.
  result<view> get_view(edge const& e, std::string_view key) { return get_view(e, key, core_->plain_get); }

  /// The object of whichever key is there first, and which one that is; where several are, the first of the list. The others stay untouched. One wait for any
  /// number of keys. A key that is in the list twice counts once.
  /// \errors timed_out, cancelled, closed, peer_stalled, not_found (`deadline::immediate()`: none is there): of the call, no key named. When no object is there, a key
  /// that cannot be had (consumed, corrupt, too_large, peer_lost, ...) ends the call with its error and its index: take it out of the list, or mend it, and call
  /// again. misconfigured: an empty list, or a locator in the options.
  result<keyed_view<view>, key_error> get_any_view(edge const& e, std::span<std::string_view const> keys, get_options const& o = {}) {
    find_options how;
    ask(how, e, o);
    auto out = detail::get_any<view>(core_->gets, keys, how, o, wire_of(e), opener());
    if (!out) count(out.error());
    return out;
  }

  /// The objects of all keys, in the order of the list, or none of them: when the call fails, what it had is given back and nothing is consumed. One wait for any
  /// number of keys. What came first is held while the rest is waited for: connectors that compete for the same objects can keep each other
  /// waiting until the deadline, so give each its own keys or readers.
  /// \errors as `get_view`, at once for the first key that fails, with its index; timed_out, cancelled, not_found, closed: with that of the first one missing.
  /// misconfigured: an empty list, a key that is in it twice, a locator in the options.
  result<std::vector<view>, key_error> get_all_views(edge const& e, std::span<std::string_view const> keys, get_options const& o = {}) {
    find_options how;
    ask(how, e, o);
    auto out = detail::get_all<view>(core_->gets, keys, how, o, wire_of(e), opener());
    if (!out) count(out.error());
    return out;
  }

  /// The object as a `T` that owns everything it refers to. For views into the object, see `get_view` and `view::as`. What cannot be decoded stays where it is.
  /// \errors as `get_view`; malformed, and what else the serializer says; misconfigured: a part of `T` can only borrow.
  template <class T>
    requires deserializes<Serializer, T>
  result<T> get(edge const& e, std::string_view key, get_options const& o = {}) {
    static_assert(deserializes_owned<Serializer, T>, "omniconn: this type borrows from the object's memory; use get_view and view::as");
    auto got = get_view(e, key, o);
    if (!got) return got.error();
    detail::consumed_if_decoded<view> kept(*got);
    result<T> out = core_->serializer.template decode_owned<T>(encoded{got->info().kind, got->bytes()});
    if (!out) return fail(out.error());
    kept.decoded();
    return out;
  }

  /// `get` that does not wait: `not_found` where nothing is there.
  template <class T>
    requires deserializes<Serializer, T>
  result<T> try_get(edge const& e, std::string_view key, get_options o = {}) {
    o.until = deadline::immediate();
    return get<T>(e, key, o);
  }

  /// The object's bytes into the caller's memory. \copies one; none where a transport reads into memory (a store, a network) and can stop at once.
  /// \errors as `get_view`, when `into` may have been written to; too_large: it does not fit, and stays where it is.
  result<object_info> get_into(edge const& e, std::string_view key, mutable_bytes into, get_options const& o = {}) {
    if constexpr (detail::get_driver<Transport, Allocator>::lands_anywhere) {
      auto& c = *core_;
      key_scratch scratch;
      auto const wire = c.keying.make(e, key, scratch, caps.max_key);
      if (!wire) return fail(wire.error());
      find_options how;
      ask(how, e, o);
      std::array<std::byte, envelope_size> front;
      return counted(c.gets.run_into(*wire, how, o, {mutable_bytes(front).first(c.room()), into}, [&c](const_bytes begin, const_bytes payload, auto const& op) -> result<object_info> {
        object_info info = op.info();
        auto const good = detail::verify_found(c, info, begin, payload, op);
        return good ? result<object_info>(info) : good.error();
      }));
    } else {
      auto got = get_view(e, key, o);
      if (!got) return got.error();
      if (got->bytes().size() > into.size()) {
        got->give_back();
        return fail(error{error_kind::too_large, "the object is larger than the memory given to get_into"});
      }
      if (!got->bytes().empty()) std::memcpy(into.data(), got->bytes().data(), got->bytes().size());
      return got->info();
    }
  }

  /// Waits until nobody needs the object of a receipt any more: every reader is done with it, or it was dropped.
  /// \errors timed_out, cancelled, closed; peer_lost: the process that reads the edge died, the object stays until its lease ends; peer_stalled.
  template <transport_watch T = Transport>
  result<void> wait_consumed(edge const& e, receipt const& r, deadline until, stop_token stop = {}) {
    typename Transport::get_op op;
    auto const now = core_->transport.watch(op, r.where, core_->defaults.report_lost_peer ? e.to : std::string_view{});
    return counted(detail::drive_on(core_->transport, op, now, until, stop));
  }

  // --- beside the data path -------------------------------------------------------------------------------------------------------

  /// Whether an unread object of that key is there now.
  result<bool> exists(edge const& e, std::string_view key) {
    key_scratch scratch;
    auto wire = core_->keying.make(e, key, scratch, caps.max_key);
    if (!wire) return fail(wire.error());
    return counted(core_->transport.exists(*wire));
  }

  /// Drops the object of exactly this key. \returns how many were dropped; 0 is no error.
  result<std::size_t> cleanup(edge const& e, std::string_view key) {
    key_scratch scratch;
    auto wire = core_->keying.make(e, key, scratch, caps.max_key);
    if (!wire) return fail(wire.error());
    return counted(core_->transport.erase(*wire));
  }

  /// Drops every object of a request, on all edges: keys that are `request`, begin with `request_` or end with `_request`.
  result<std::size_t> cleanup(std::string_view request) {
    auto const& keying = core_->keying;
    return counted(core_->transport.erase_if([&](wire_key w) { return keying.belongs(w, request); }));
  }

  /// The receipt as a map for a control plane, and back.
  [[nodiscard]] value metadata(receipt const& r) const {
    value out = core_->transport.describe(r.where);
    out.set("size", r.size);
    return out;
  }
  /// Also of metadata that is wrapped once in a map, as `{key: metadata}`, and of the object itself, `{"inline": object}`, as early versions of vLLM-Omni made it.
  [[nodiscard]] result<receipt> from_metadata(value const& metadata) const {
    return detail::receipt_of(core_->transport, core_->serializer, metadata);
  }

  [[nodiscard]] capabilities const& facts() const noexcept { return caps; }

  /// The transport's descriptor for foreign event loops; what may be done with it is said there.
  template <transport_fd T = Transport>
  [[nodiscard]] result<int> native_fd() { return counted(core_->transport.native_fd()); }

  [[nodiscard]] health_report health() const {
    health_report out = core_->transport.report();
    out.errors = core_->errors.all();
    // Where the transport copies, its own figure counts: blocks are out for the time of a put only.
    if (auto const usage = core_->memory->usage(); !caps.gathers && usage.capacity != 0) out.memory.used = usage.used;
    return out;
  }

  /// Wakes waiters with `closed`; unread objects begin their lease. Views stay readable. Idempotent.
  void close() noexcept {
    core_->memory->close();
    core_->transport.close();
    core_->gets.drain();
  }

  /// The policies, for what a transport can do beyond the contract.
  [[nodiscard]] Transport& transport() noexcept { return core_->transport; }
  [[nodiscard]] Serializer const& serializer() const noexcept { return core_->serializer; }
  [[nodiscard]] Keying const& keying() const noexcept { return core_->keying; }
  [[nodiscard]] connector_defaults const& defaults() const noexcept { return core_->defaults; }

 private:
  struct core {
    core(Transport t, options const& o)
        : transport(std::move(t)), serializer(o.serializer), keying(o.keying), memory(std::make_shared<detail::block_source<Transport, Allocator>>(transport, o.allocator)), defaults(o.defaults), gets(transport, *memory, defaults.max_get_size, room()) {
      for (auto const& name : defaults.readers) reader_names.push_back(name);
      usual.readers = {defaults.reader_count, reader_names, defaults.keep || !caps.counts_readers};
      usual.lease = defaults.lease;
      usual.existing = defaults.existing;
      usual.max_objects = defaults.max_unread_objects;
      usual.max_bytes = defaults.max_unread_bytes;
    }
    ~core() {
      transport.close();
      gets.drain();
      memory->detach();  // views may still return blocks; there is nothing behind them any more
    }
    /// Bytes in front of each payload.
    [[nodiscard]] std::size_t room() const noexcept {
      if constexpr (caps.carries_info) {
        return 0;
      } else {
        return defaults.envelope ? envelope_size : 0;
      }
    }

    // In the order in which a put and a get need them: small ones feel each cache line.
    Transport transport;
    [[no_unique_address]] Serializer serializer;
    [[no_unique_address]] Keying keying;
    std::shared_ptr<detail::block_source<Transport, Allocator>> memory;
    publish_options usual;  // of a put that asks for nothing else; `open` has checked the readers
    put_options const plain_put{};
    get_options const plain_get{};
    connector_defaults defaults;
    detail::get_driver<Transport, Allocator> gets;
    std::vector<std::string_view> reader_names;
    error_counters errors;
  };

  friend struct detail::growing_access;

  explicit connector(std::shared_ptr<core> c) noexcept : core_(std::move(c)) {}

  // Apart, so that calls that succeed do not carry it.
  [[gnu::noinline]] void count(error const& e) const noexcept { core_->errors.count(e.kind()); }
  error fail(error e) const noexcept {
    count(e);
    return e;
  }
  template <class T>
  result<T>&& counted(result<T>&& r) const noexcept {
    if (!r) count(r.error());
    return std::move(r);
  }

  object_info new_info(payload_kind kind, std::size_t size, put_options const& o) const noexcept {
    object_info info;
    info.size = size;
    info.kind = kind;
    info.trace = o.trace;
    if (caps.leaves_process && (caps.carries_info || core_->defaults.envelope) && o.checksum.value_or(core_->defaults.checksum)) info.checksum_by = checksum_kind::xxh3_64;
    return info;
  }

  static error too_large() noexcept { return {error_kind::too_large, "the payload is larger than this transport's limit"}; }

  // The steps of put, commit and get_view are inlined by force, and make their result where the caller wants it: as calls of their own, and with a copy, they
  // cost a 64-byte put 10 ns.
  template <class Payload>
  [[gnu::always_inline]] result<receipt> encode_and_publish(edge const& e, std::string_view key, Payload const& payload, put_options const& o) {
    gather_list parts;
    auto const kind = core_->serializer.encode(payload, parts);
    if (!kind) return kind.error();
    std::size_t const size = parts.size(), room = core_->room();
    if (size > caps.max_object - room) return too_large();
    if constexpr (caps.gathers) return publish_pieces(e, key, parts, new_info(*kind, size, o), o);
    if constexpr (transport_put_whole<Transport>)
      if (size <= Transport::short_payload) return publish_short(e, key, parts, new_info(*kind, size, o), o);
    return publish_in_block(e, key, parts, new_info(*kind, size, o), o);
  }

  /// A payload that has room beside its key, unless that is long.
  template <transport_put_whole T = Transport>
  [[gnu::always_inline]] result<receipt> publish_short(edge const& e, std::string_view key, gather_list const& parts, object_info info, put_options const& o) {
    addressed to(*core_, e, key);
    if (auto const can = ask(to, e, o); !can) return can.error();
    std::size_t const size = static_cast<std::size_t>(info.size);
    if (!T::fits_whole(to.wire->size(), size)) return publish_in_block(e, key, parts, info, o);
    std::array<std::byte, T::short_payload> bytes;
    detail::gather_into<caps.leaves_process>(parts, mutable_bytes(bytes).first(size), info);
    return core_->transport.put_whole(*to.wire, const_bytes(bytes).first(size), info, to.how);
  }

  /// A payload that lies in its block already. On failure the block is the caller's.
  template <transport_put_whole T = Transport>
  result<receipt> publish_written(edge const& e, std::string_view key, detail::owned_block<Transport, Allocator>& block, object_info const& info, put_options const& o) {
    addressed to(*core_, e, key);
    if (auto const can = ask(to, e, o); !can) return can.error();
    const_bytes const piece(block.data(), static_cast<std::size_t>(info.size));
    auto out = core_->transport.put_written(*to.wire, outgoing{piece.empty() ? pieces{} : pieces(&piece, 1), block.token(), block.dispose()}, info, to.how);
    if (out) block.handed_over();
    return out;
  }

  [[gnu::always_inline]] result<receipt> publish_in_block(edge const& e, std::string_view key, gather_list const& parts, object_info const& info, put_options const& o) {
    std::size_t const size = static_cast<std::size_t>(info.size), room = core_->room();
    auto carved = core_->memory->carve(room + size, o.until);
    if (!carved) return carved.error();
    auto block = std::move(*carved);
    if constexpr (transport_put_whole<Transport>)
      if (size < detail::progress_from) {  // nobody would read behind the writer: one call instead of two
        object_info filled = info;
        detail::gather_into<caps.leaves_process>(parts, mutable_bytes(block.data() + room, size), filled);
        return publish_written(e, key, block, filled, o);
      }
    return publish(e, key, block, info, o, [&parts](mutable_bytes to, object_info& filled, auto const& advance) noexcept {
      if constexpr (caps.progressive)
        if (to.size() >= detail::progress_from) return detail::gather_in_steps(parts, to, filled, advance);
      detail::gather_into<caps.leaves_process>(parts, to, filled);
    });
  }

  /// Where an attempt found no room: what `how` (attempt, may it be made again) makes of it. See detail/room.hpp.
  template <class Out, class... How>
  [[gnu::always_inline]] void again_in_room(Out& out, edge const& e, put_options const& o, How const&... how) const {
    detail::again_in_room(core_->transport, core_->defaults, out, e, o, how...);
  }

  result<reservation> carve_reservation(std::size_t size, deadline until) {
    std::size_t const room = core_->room();
    if (size > caps.max_object - room) return too_large();
    auto block = core_->memory->carve(room + size, until);
    if (!block) return block.error();
    reservation out;
    out.keeper_ = core_;
    out.block_ = std::move(*block);
    out.room_ = room;
    out.size_ = size;
    return out;
  }

  /// Where a put goes, and what it asks for.
  struct addressed {
    [[gnu::always_inline]] addressed(core const& c, edge const& e, std::string_view key) : wire(c.keying.make(e, key, scratch, caps.max_key)), how(c.usual) {}
    key_scratch scratch;
    result<wire_key> wire;  // as it was made: a copy would wait for its own stores, 4 ns
    publish_options how;
  };

  /// What a put asks of the transport beyond what is usual. \requires `e` lives as long as `to`.
  [[gnu::always_inline]] result<void> ask(addressed& to, edge const& e, put_options const& o) const {
    if (!to.wire) return to.wire.error();
    auto& how = to.how;
    how.until = o.until;
    if constexpr (caps.hears_death) how.flow = &e;
    if (o.readers) {
      how.readers = *o.readers;
      if (auto const can = detail::can_serve(caps, how.readers); !can) return can;
    }
    if (o.lease) how.lease = *o.lease;
    if (o.existing) how.existing = *o.existing;
    if (how.existing == on_existing::replace && !caps.can_replace) return {error_kind::unsupported, "this transport cannot replace an object; clean it up first"};
    return {};
  }

  /// The put of a transport that copies the pieces itself: they go to it as they are, and are the caller's again at the end.
  result<receipt> publish_pieces(edge const& e, std::string_view key, gather_list const& parts, object_info info, put_options const& o)
    requires(caps.gathers || (transport_adopt<Transport> && caps.carries_info))
  {
    auto& c = *core_;
    addressed to(*core_, e, key);
    if (auto const can = ask(to, e, o); !can) return can.error();
    if (info.checksum_by != checksum_kind::none) {
      checksum_state sum;
      parts.for_each([&sum](const_bytes piece) noexcept { sum.update(piece); });
      info.checksum = sum.digest();
    }
    object_info stored = info;
    stored.size += c.room();
    std::array<std::byte, envelope_size> envelope;
    std::vector<const_bytes> with_envelope;
    pieces all = parts.parts();
    if (c.room() != 0) {
      write_envelope(envelope.data(), info);
      with_envelope.reserve(all.size() + 1);
      with_envelope.emplace_back(envelope);
      with_envelope.insert(with_envelope.end(), all.begin(), all.end());
      all = with_envelope;
    }
    typename Transport::put_op op;
    auto const begun = c.transport.begin(op, *to.wire, outgoing{all, 0, [](std::uint64_t) noexcept {}}, stored, to.how);
    if (auto const done = detail::drive_on(c.transport, op, begun, o.until, o.stop); !done) return done.error();
    if (auto const done = detail::drive_on(c.transport, op, c.transport.commit(op, stored), o.until, o.stop); !done) return done.error();
    return receipt{info.size, op.where()};
  }

  template <class Fill>
  [[gnu::always_inline]] result<receipt> publish(edge const& e, std::string_view key, detail::owned_block<Transport, Allocator>& block, object_info info, put_options const& o, Fill fill) {
    auto& c = *core_;
    addressed to(*core_, e, key);
    if (auto const can = ask(to, e, o); !can) return can.error();
    std::size_t const room = c.room(), size = static_cast<std::size_t>(info.size);
    const_bytes const piece(block.data(), room + size);
    object_info stored = info;  // what the transport keeps; its size counts the envelope
    stored.size = piece.size();
    outgoing const payload{piece.empty() ? pieces{} : pieces(&piece, 1), block.token(), block.dispose()};
    typename Transport::put_op op;
    // Before the copy: a taken key costs no copy, and a transport may wake its readers while we write.
    auto begun = c.transport.begin(op, *to.wire, payload, stored, to.how);
    if (!begun) return begun.error();
    std::byte* const target = block.data();
    block.handed_over();
    if (auto const done = detail::drive_on(c.transport, op, begun, o.until, o.stop); !done) return done.error();
    fill(mutable_bytes(target + room, size), info, [&](std::uint64_t ready) noexcept { c.transport.advance(op, room + ready); });
    stored.checksum = info.checksum;
    if constexpr (!caps.carries_info)
      if (room != 0) write_envelope(target, info);
    if (auto const done = detail::drive_on(c.transport, op, c.transport.commit(op, stored), o.until, o.stop); !done) return done.error();
    return result<receipt>::from([&]() noexcept { return receipt{info.size, op.where()}; });  // a copy would wait for its own stores, 5 ns
  }

  [[gnu::always_inline]] result<view> find_view(edge const& e, std::string_view key, get_options const& o) {
    auto& c = *core_;
    key_scratch scratch;
    auto const wire = c.keying.make(e, key, scratch, caps.max_key);
    if (!wire) return wire.error();
    find_options how;
    ask(how, e, o);
    return c.gets.run(*wire, how, o, opener());
  }

  /// What a get asks of the transport. \requires `e` lives as long as `how`. Not returned: the copy would cost a small get 4 instructions.
  [[gnu::always_inline]] void ask(find_options& how, edge const& e, get_options const& o) const noexcept {
    how.where = o.where;
    if constexpr (caps.leaves_process) how.verifies = core_->defaults.checksum;
    how.reader = o.reader.empty() ? std::string_view(core_->defaults.reader) : o.reader;
    if constexpr (caps.hears_death)
      if (core_->defaults.report_lost_peer) how.flow = &e;
  }
  [[nodiscard]] auto wire_of(edge const& e) const noexcept {
    return [&c = *core_, &e](std::string_view key, key_scratch& scratch) { return c.keying.make(e, key, scratch, caps.max_key); };
  }

  /// What a get makes of bytes that it found.
  [[gnu::always_inline]] auto opener() const noexcept {
    auto const& c = *core_;
    return [&c](auto& op, auto& landed) -> result<view> { return detail::found_opener::open<view>(c, op, landed); };
  }

  std::shared_ptr<core> core_;
};

OMNICONN_END_NAMESPACE
