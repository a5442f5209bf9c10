// SPDX-License-Identifier: Apache-2.0
// A connector, composed at compile time from four policies.
#pragma once

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
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/detail/block_source.hpp>
#include <omniconn/detail/get_driver.hpp>
#include <omniconn/keying/concept.hpp>
#include <omniconn/serializer/concept.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Defaults of every put and get of a connector.
struct connector_defaults {
  /// Names of the readers of each object; empty: `reader_count` readers, first come first served.
  std::vector<std::string> readers;
  std::uint32_t reader_count = 1;
  /// The reader name of this connector's gets; empty: the transport's default.
  std::string reader;
  std::chrono::nanoseconds lease{std::chrono::seconds(60)};
  on_existing existing = on_existing::fail;
  /// Made on put and verified on get wherever bytes leave the process.
  bool checksum = true;
  /// The biggest payload that a get accepts: sizes come from outside and are checked before memory is allocated.
  std::uint64_t max_get_size = ~std::uint64_t{0};
};

namespace detail {

template <class T>
inline constexpr bool borrows = std::is_same_v<T, const_bytes> || std::is_same_v<T, tensor_view> || std::is_same_v<T, std::string_view>;

/// One sentence per combination that cannot work.
template <class Transport, class Allocator>
consteval bool explain_composition() {
  constexpr bool carves = region_allocator<Allocator>;
  static_assert(!Transport::caps.own_memory || carves,
                "omniconn: this transport sends only from its own memory; choose an allocator that carves it, such as arena_allocator or pool_allocator");
  static_assert(Transport::caps.own_memory || free_allocator<Allocator>,
                "omniconn: this transport has no memory to carve; choose heap_allocator");
  return true;
}

}  // namespace detail

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
  class view {
   public:
    view() noexcept = default;
    view(view&& other) noexcept : found_(std::move(other.found_)), serializer_(other.serializer_), held_(std::exchange(other.held_, false)) {}
    view& operator=(view&& other) noexcept {
      if (this != &other) {
        release();
        found_ = std::move(other.found_);
        serializer_ = other.serializer_;
        held_ = std::exchange(other.held_, false);
      }
      return *this;
    }
    ~view() { release(); }

    [[nodiscard]] const_bytes bytes() const noexcept { return held_ ? found_.bytes : const_bytes{}; }
    [[nodiscard]] object_info const& info() const noexcept { return found_.info; }
    explicit operator bool() const noexcept { return held_; }

    /// The object as a `T`, by reference where `T` can borrow: then it is valid until the view ends.
    template <class T>
      requires deserializes<Serializer, T>
    [[nodiscard]] result<T> as() const {
      if (!held_) return {error_kind::closed, "the view is empty: it was released, given back or moved from"};
      return serializer_.template decode<T>(encoded{found_.info.kind, bytes()});
    }

    void release() noexcept { end(disposition::consumed); }
    void give_back() noexcept { end(disposition::give_back); }

   private:
    friend class connector;
    void end(disposition how) noexcept {
      if (!std::exchange(held_, false)) return;
      found_.claim.finish(how);
      found_.landed.reset();
    }

    detail::found_object<Transport, Allocator> found_;
    [[no_unique_address]] Serializer serializer_{typename Serializer::options{}};
    bool held_ = false;
  };

  /// Memory of the connector for one object that the caller writes in place.
  class reservation {
   public:
    reservation() noexcept = default;
    [[nodiscard]] mutable_bytes bytes() const noexcept { return block_.data() == nullptr ? mutable_bytes() : mutable_bytes(block_.data(), size_); }
    /// Gives up the tail. \requires `size <= bytes().size()`
    void shrink(std::size_t size) noexcept { size_ = size < size_ ? size : size_; }

   private:
    friend class connector;
    std::shared_ptr<core> keeper_;  // the block may be the transport's memory
    detail::owned_block<Transport, Allocator> block_;
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
    auto transport = Transport::open(o.transport);
    if (!transport) return std::move(transport.error());
    if (o.defaults.readers.empty() ? o.defaults.reader_count == 0 || o.defaults.reader_count > caps.max_readers : o.defaults.readers.size() > caps.max_readers)
      return diagnosis(error_kind::misconfigured, "the number of readers must be between 1 and " + std::to_string(caps.max_readers) + ", the most that transport " + std::string(caps.name) + " can do");
    if (!o.defaults.readers.empty() && !caps.named_readers)
      return diagnosis(error_kind::misconfigured, "transport " + std::string(caps.name) + " cannot tell readers by name; remove `readers`");
    return connector(std::make_shared<core>(std::move(*transport), o));
  }

  // --- put ------------------------------------------------------------------------------------------------------------------------

  /// Publishes one payload under a key. Success means: reachable, whole, and it outlives this process where `caps.survives` says so.
  /// A failed put leaves nothing behind.
  /// \errors already_exists, no_space, too_large, misconfigured (readers), malformed (payload), closed, and what the transport says.
  template <class Payload>
    requires serializes<Serializer, Payload>
  result<receipt> put(edge e, std::string_view key, Payload const& payload, put_options const& o = {}) {
    gather_list parts;
    auto kind = core_->serializer.encode(payload, parts);
    if (!kind) return fail(kind.error());
    result<receipt> out(std::in_place);
    if (auto done = publish(*out, e, key, *kind, parts.parts(), parts.size(), o); !done) out = fail(done.error());
    return out;
  }

  /// Memory for `size` bytes that the caller fills and hands to `commit`: the put without a copy.
  result<reservation> reserve(std::size_t size) {
    if (size > caps.max_object) return fail(error{error_kind::too_large, "the payload is larger than this transport's limit"});
    auto block = core_->memory->carve(size);
    if (!block) return fail(block.error());
    reservation out;
    out.keeper_ = core_;
    out.block_ = std::move(*block);
    out.size_ = size;
    return out;
  }

  /// Publishes what the caller wrote into a reservation of this connector. `kind` says whether it is raw or serialized. The reservation is used up,
  /// also on failure.
  result<receipt> commit(edge e, std::string_view key, reservation r, put_options const& o = {}, payload_kind kind = payload_kind::raw) {
    if (r.block_.source() != core_->memory.get()) return fail(error{error_kind::misconfigured, "the reservation is of another connector, or empty"});
    object_info info = new_info(kind, r.size_, o);
    if (info.checksum_by != checksum_kind::none) info.checksum = checksum(const_bytes(r.block_.data(), r.size_));
    result<receipt> out(std::in_place);
    if (auto done = publish_block(*out, e, key, r.block_, info, o, [](mutable_bytes, object_info&) noexcept {}); !done) out = fail(done.error());
    return out;
  }

  // --- get ------------------------------------------------------------------------------------------------------------------------

  /// The object by reference, as soon as it is there. A failed get consumes nothing.
  /// \errors timed_out, cancelled, not_found (only with `deadline::immediate()`), consumed, stale_handle, lease_expired, corrupt (checksum), closed.
  result<view> get_view(edge e, std::string_view key, get_options const& o = {}) {
    key_scratch scratch;
    auto wire = core_->keying.make(e, key, scratch, caps.max_key);
    if (!wire) return fail(wire.error());
    detail::get_driver<Transport, Allocator> driver(core_->transport, *core_->memory, core_->parked);
    result<view> out(std::in_place);
    auto& found = out->found_;
    auto done = driver.run(found, *wire, find_options{o.where, o.reader.empty() ? std::string_view(core_->defaults.reader) : o.reader}, o.until, o.stop, core_->defaults.max_get_size);
    if (!done) {
      out = fail(done.error());
    } else if (out->serializer_ = core_->serializer, out->held_ = true; found.info.size > core_->defaults.max_get_size) {
      out->give_back();  // read in place: nobody asked for memory, so nobody has compared it yet
      out = fail(error{error_kind::too_large, "the object is larger than max_get_size"});
    } else if (caps.leaves_process && core_->defaults.checksum && found.info.checksum_by == checksum_kind::xxh3_64 && checksum(found.bytes) != found.info.checksum) {
      out->give_back();
      out = fail(error{error_kind::corrupt, "the payload's checksum is wrong: its bytes changed after the put"});
    }
    return out;
  }

  /// The object as a `T` that owns everything it refers to. For views into the object, see `get_view` and `view::as`.
  template <class T>
    requires deserializes<Serializer, T>
  result<T> get(edge e, std::string_view key, get_options const& o = {}) {
    static_assert(!detail::borrows<T>, "omniconn: this type borrows from the object's memory; use get_view and view::as");
    auto got = get_view(e, key, o);
    if (!got) return got.error();
    auto decoded = got->template as<T>();
    if (!decoded) {
      got->give_back();
      return fail(decoded.error());
    }
    if constexpr (std::is_same_v<T, value>) {
      return decoded->to_owned();
    } else {
      return decoded;
    }
  }

  /// `get` that does not wait: `not_found` where nothing is there.
  template <class T>
    requires deserializes<Serializer, T>
  result<T> try_get(edge e, std::string_view key, get_options o = {}) {
    o.until = deadline::immediate();
    return get<T>(e, key, o);
  }

  /// The object's bytes into the caller's memory, one copy. `too_large`: it does not fit, and stays where it is.
  result<object_info> get_into(edge e, std::string_view key, mutable_bytes into, get_options const& o = {}) {
    auto got = get_view(e, key, o);
    if (!got) return got.error();
    if (got->bytes().size() > into.size()) {
      got->give_back();
      return fail(error{error_kind::too_large, "the object is larger than the memory given to get_into"});
    }
    if (!got->bytes().empty()) std::memcpy(into.data(), got->bytes().data(), got->bytes().size());
    return got->info();
  }

  // --- beside the data path -------------------------------------------------------------------------------------------------------

  /// Whether an unread object of that key is there now.
  result<bool> exists(edge e, std::string_view key) {
    key_scratch scratch;
    auto wire = core_->keying.make(e, key, scratch, caps.max_key);
    if (!wire) return fail(wire.error());
    return counted(core_->transport.exists(*wire));
  }

  /// Drops the object of exactly this key. \returns how many were dropped; 0 is no error.
  result<std::size_t> cleanup(edge e, std::string_view key) {
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
  [[nodiscard]] result<receipt> from_metadata(value const& metadata) const {
    auto const* size = metadata.find("size");
    if (size == nullptr) return {error_kind::malformed, "the metadata has no size"};
    auto const n = size->as_uint64();
    if (!n) return n.error();
    auto where = core_->transport.parse(metadata);
    if (!where) return where.error();
    return receipt{*n, *where};
  }

  [[nodiscard]] capabilities const& facts() const noexcept { return caps; }

  [[nodiscard]] health_report health() const {
    health_report out = core_->transport.report();
    out.errors = core_->errors.all();
    if (auto const usage = core_->memory->usage(); usage.capacity != 0) out.memory.used = usage.used;
    return out;
  }

  /// Wakes waiters with `closed`; unread objects begin their lease. Views stay readable. Idempotent.
  void close() noexcept {
    core_->transport.close();
    core_->parked.drain(core_->transport);
  }

  /// The policies, for what a transport can do beyond the contract.
  [[nodiscard]] Transport& transport() noexcept { return core_->transport; }
  [[nodiscard]] Serializer const& serializer() const noexcept { return core_->serializer; }
  [[nodiscard]] Keying const& keying() const noexcept { return core_->keying; }
  [[nodiscard]] connector_defaults const& defaults() const noexcept { return core_->defaults; }

 private:
  struct core {
    core(Transport t, options const& o)
        : transport(std::move(t)), serializer(o.serializer), keying(o.keying), memory(std::make_shared<detail::block_source<Transport, Allocator>>(transport, o.allocator)), defaults(o.defaults) {
      for (auto const& name : defaults.readers) reader_names.push_back(name);
    }
    ~core() {
      transport.close();
      parked.drain(transport);
      memory->detach();  // views may still return blocks; there is nothing behind them any more
    }
    Transport transport;
    [[no_unique_address]] Serializer serializer;
    [[no_unique_address]] Keying keying;
    std::shared_ptr<detail::block_source<Transport, Allocator>> memory;
    detail::parked_gets<Transport, Allocator> parked;
    connector_defaults defaults;
    std::vector<std::string_view> reader_names;
    error_counters errors;
  };

  explicit connector(std::shared_ptr<core> c) noexcept : core_(std::move(c)) {}

  error fail(error e) const noexcept {
    core_->errors.count(e.kind());
    return e;
  }
  template <class T>
  result<T>&& counted(result<T>&& r) const noexcept {
    if (!r) core_->errors.count(r.error().kind());
    return std::move(r);
  }

  object_info new_info(payload_kind kind, std::size_t size, put_options const& o) const noexcept {
    object_info info;
    info.size = size;
    info.kind = kind;
    info.trace = o.trace;
    if (caps.leaves_process && caps.carries_info && o.checksum.value_or(core_->defaults.checksum)) info.checksum_by = checksum_kind::xxh3_64;
    return info;
  }

  // Inlined into put and commit by force: as calls of their own, their parameters and results cost a 64-byte put 10 ns.
  [[gnu::always_inline]] result<void> publish(receipt& out, edge e, std::string_view key, payload_kind kind, pieces parts, std::size_t size, put_options const& o) {
    if (size > caps.max_object) return {error_kind::too_large, "the payload is larger than this transport's limit"};
    auto block = core_->memory->carve(size);
    if (!block) return block.error();
    return publish_block(out, e, key, *block, new_info(kind, size, o), o, [parts](mutable_bytes to, object_info& info) noexcept {
      // One pass: each piece is summed while it is in the cache for the copy.
      std::byte* at = to.data();
      if (info.checksum_by == checksum_kind::none) {
        for (auto const& piece : parts) {
          if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
          at += piece.size();
        }
        return;
      }
      checksum_state sum;
      for (auto const& piece : parts) {
        if (!piece.empty()) copy_with_checksum(at, piece, sum);
        at += piece.size();
      }
      info.checksum = sum.digest();
    });
  }

  template <class Fill>
  [[gnu::always_inline]] result<void> publish_block(receipt& out, edge e, std::string_view key, detail::owned_block<Transport, Allocator>& block, object_info info, put_options const& o, Fill fill) {
    auto& c = *core_;
    key_scratch scratch;
    auto wire = c.keying.make(e, key, scratch, caps.max_key);
    if (!wire) return wire.error();
    publish_options how;
    if (o.readers) {
      how.readers = *o.readers;
    } else {
      how.readers = {c.defaults.reader_count, c.reader_names};
    }
    if (how.readers.size() == 0) return {error_kind::misconfigured, "an object needs at least one reader"};
    if (!how.readers.names.empty() && !caps.named_readers) return {error_kind::unsupported, "this transport cannot tell readers by name; give their number"};
    if (how.readers.size() > caps.max_readers) return {error_kind::too_large, "more readers of one object than this transport can do"};
    how.lease = o.lease.value_or(c.defaults.lease);
    how.existing = o.existing.value_or(c.defaults.existing);
    if (how.existing == on_existing::replace && !caps.can_replace) return {error_kind::unsupported, "this transport cannot replace an object; clean it up first"};

    const_bytes const piece(block.data(), static_cast<std::size_t>(info.size));
    outgoing const payload{piece.empty() ? pieces{} : pieces(&piece, 1), block.token(), block.dispose()};
    typename Transport::put_op op;
    // Before the copy: a taken key costs no copy, and a transport may wake its readers while we write.
    auto begun = c.transport.begin(op, *wire, payload, info, how);
    if (!begun) return begun.error();
    std::byte* const target = block.data();
    block.handed_over();
    if (*begun == progress::pending)
      if (auto done = finish(op, o); !done) return done;
    fill(mutable_bytes(target, static_cast<std::size_t>(info.size)), info);
    auto now = c.transport.commit(op, info);
    if (!now) return now.error();
    if (*now == progress::pending)
      if (auto done = finish(op, o); !done) return done;
    out.size = info.size;
    ::new (static_cast<void*>(&out.where)) locator(op.where());  // made in place: a copy would wait for its own stores, 5 ns
    return {};
  }

  /// Drives a put that is under way. One that is given up is quiet afterwards.
  result<void> finish(typename Transport::put_op& op, put_options const& o) {
    auto& transport = core_->transport;
    operation* const ops[]{&op};
    for (;;) {
      if (auto woken = transport.wait(ops, o.until, o.stop); !woken) {
        auto quiet = transport.cancel(op);
        while (quiet && *quiet == progress::pending) {
          if (!transport.wait(ops, deadline::never(), {})) break;
          quiet = transport.step(op);
        }
        return woken.error();
      }
      auto now = transport.step(op);
      if (!now) return now.error();
      if (*now != progress::pending) return {};
    }
  }

  std::shared_ptr<core> core_;
};

OMNICONN_END_NAMESPACE
