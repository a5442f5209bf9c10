// SPDX-License-Identifier: Apache-2.0
// The transport between threads of one process: the bytes never move.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/inproc/engine.hpp>
#include <omniconn/transport/inproc/hub.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Models `transport_policy` between threads: a get is a view of the producer's own memory, a waiting get is handed its object by the thread
/// that commits it, and a put or get allocates nothing once its hub is warm.
///
/// An object lives until all its readers consumed it, it is erased or replaced, or its producer's transport closes; its block returns when the
/// last hold ends as well, on the thread that ends it (`dispose`) or at the producer's next `reclaim`. Tokens that return after their transport
/// was destroyed are dropped. A commit may answer `already_exists` when a replacing put came between it and its begin.
///
/// Readers are told apart by a seeded 64-bit hash of their names. A get whose object is held by all its readers waits: a hold may be given back.
/// \threadsafety as the contract says; operations must end before their transport is destroyed.
class inproc_transport {
  using engine = detail::inproc_engine;
  using op_state = engine::state;

 public:
  static constexpr capabilities caps{.name = "inproc",
                                     .wait = wake_up::notify,
                                     .survives = survival::producer,
                                     .max_readers = 65'536,
                                     .max_pieces = 1,
                                     .own_memory = false,
                                     .leaves_process = false,
                                     .zero_copy_get = true,
                                     .quiet_cancel = true,
                                     .keeps = true};

  struct options {
    std::shared_ptr<inproc_hub> hub{};  ///< null: a hub of its own, which nobody else sees
    std::string reader{};               ///< the name gets use that do not bring one
  };

  class put_op : public detail::inproc_operation {
   public:
    put_op() = default;
    ~put_op() {
      if (now() == state::writing) engine::abandon(*this);
    }
    /// Where the object is, once `commit` is done; empty before.
    [[nodiscard]] locator where() const noexcept { return place(); }

   private:
    friend class inproc_transport;
  };

  class hold {
   public:
    hold() noexcept = default;
    hold(hold&& other) noexcept : object_(std::exchange(other.object_, nullptr)), reader_(other.reader_) {}
    hold& operator=(hold&& other) noexcept {
      if (this != &other) {
        finish(disposition::give_back);
        object_ = std::exchange(other.object_, nullptr);
        reader_ = other.reader_;
      }
      return *this;
    }
    ~hold() { finish(disposition::give_back); }

    /// The producer's own bytes, until `finish`; empty afterwards.
    [[nodiscard]] const_bytes bytes() const noexcept { return object_ != nullptr ? object_->bytes : const_bytes(); }
    void finish(disposition how) noexcept {
      if (object_ != nullptr) engine::end_hold(std::exchange(object_, nullptr), reader_, how);
    }

   private:
    friend class inproc_transport;
    hold(detail::inproc_object* object, std::uint64_t reader) noexcept : object_(object), reader_(reader) {}
    detail::inproc_object* object_ = nullptr;
    std::uint64_t reader_ = 0;
  };

  class get_op : public detail::inproc_operation {
   public:
    get_op() = default;
    ~get_op() { engine::give_up(*this); }
    [[nodiscard]] object_info info() const noexcept { return info_; }
    [[nodiscard]] locator where() const noexcept { return place(); }
    /// The claim of a get that is done; empty otherwise and the second time.
    [[nodiscard]] hold take() noexcept {
      if (now() != state::done) return {};
      set(state::taken);
      return {std::exchange(object_, nullptr), reader_};
    }

   private:
    friend class inproc_transport;
  };

  /// \errors none; the result is there because every transport has one.
  [[nodiscard]] static result<inproc_transport, diagnosis> open(options const& o) {
    return inproc_transport(o.hub != nullptr ? o.hub : std::make_shared<inproc_hub>(), o.reader);
  }

  inproc_transport(inproc_transport&&) noexcept = default;
  inproc_transport& operator=(inproc_transport&& other) noexcept {
    if (this != &other) {
      leave();
      hub_ = std::move(other.hub_);
      member_ = std::move(other.member_);
    }
    return *this;
  }
  ~inproc_transport() { leave(); }

  // --- memory: any memory will do -------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept { return {}; }
  [[nodiscard]] result<memory_region> grow(std::size_t) {
    return {error_kind::unsupported, "inproc has no memory of its own; send from any memory that stays until it is disposed of"};
  }
  /// Works after `close`, too: holds end later than their transport.
  std::size_t reclaim(reclaim_sink sink) {
    std::vector<std::uint64_t> tokens;
    {
      std::lock_guard const guard(member_->lock);
      tokens.swap(member_->returned);
    }
    for (std::uint64_t const t : tokens) sink(t);
    return tokens.size();
  }

  // --- put ------------------------------------------------------------------------------------------------------------

  /// Reserves the key. On success the block belongs to the transport until it comes back; on failure it stays the caller's.
  result<progress> begin(put_op& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& how) {
    if (op.busy()) return {error_kind::misconfigured, "the put operation is still in use; commit or abort it first"};
    if (key.size() > caps.max_key) return op.fail({error_kind::too_large, "the key is longer than 4096 bytes"});
    if (out.parts.size() > caps.max_pieces)
      return op.fail({error_kind::misconfigured, "inproc sends one piece; gather the payload into one block first"});
    if (info.size > total_size(out.parts))
      return op.fail({error_kind::misconfigured, "object_info.size is larger than the pieces; give pieces of at least that size"});
    if (how.readers.size() == 0)
      return op.fail({error_kind::misconfigured, "readers is 0: nobody could ever read the object; give a count of at least 1 or names"});
    if (how.readers.size() > caps.max_readers)
      return op.fail({error_kind::misconfigured, "more readers than the 65536 that inproc allows for one object"});
    std::vector<detail::inproc_claim> named;
    if (!how.readers.anybody && !how.readers.names.empty()) {
      named.reserve(how.readers.names.size());
      for (std::string_view const name : how.readers.names) named.push_back({core().hash_of(name), detail::inproc_claim::state::open});
      auto const by_reader = [](auto const& a, auto const& b) { return a.reader < b.reader; };
      detail::sort(named.data(), named.size(), by_reader);
      for (std::size_t i = 1; i < named.size(); ++i)
        if (named[i - 1].reader == named[i].reader)
          return op.fail({error_kind::misconfigured, "readers names somebody twice; each reader has one share"});
    }
    return engine::begin(core(), *member_, op, key, out, info, how, named);
  }
  void advance(put_op&, std::uint64_t) noexcept {}
  /// Shows the object to readers. Never `pending`. `info.size` may be less than begun with, never more than the pieces.
  result<progress> commit(put_op& op, object_info const& info) {
    if (op.now() != op_state::writing) return {error_kind::misconfigured, "commit without a begun put"};
    if (info.size > op.object_->bytes.size())
      return {error_kind::misconfigured, "object_info.size is larger than the pieces that begin got"};
    return engine::commit(op, info);
  }
  void abort(put_op& op) noexcept {
    if (op.now() != op_state::writing) return;
    engine::abandon(op);
    op.fail(engine::cancelled());
  }

  // --- get ------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& how) {
    if (op.busy()) return {error_kind::misconfigured, "the get operation is still in use; take or cancel it first"};
    if (key.size() > caps.max_key) return op.fail({error_kind::too_large, "the key is longer than 4096 bytes"});
    std::uint64_t const reader = how.reader.empty() ? member_->reader : core().hash_of(how.reader);
    if (how.where == nullptr) return engine::find(core(), *member_, op, key, reader, nullptr, how.wait);
    auto const place = how.where->unpack<detail::inproc_place>(locator_tag::inproc);
    if (!place) return op.fail(place.error());
    if (place->hub != core().id || place->generation == 0 || place->key_hash != core().hash_of(key))
      return op.fail({error_kind::stale_handle,
                      "the locator belongs to another key, or to a hub that this transport is not on; use the receipt of this edge, or "
                      "search by key"});
    return engine::find(core(), *member_, op, key, reader, &*place, how.wait);
  }
  result<progress> land(get_op&, mutable_pieces) {
    return {error_kind::misconfigured, "inproc never asks for memory: the bytes are in place when find is done"};
  }

  // --- drive ----------------------------------------------------------------------------------------------------------

  result<progress> step(put_op& op) { return engine::outcome_of(op); }
  result<progress> step(get_op& op) { return engine::outcome_of(op); }
  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token stop) {
    return engine::wait(*member_, ops, until, stop);
  }
  result<progress> cancel(put_op& op) {
    abort(op);
    return progress::done;
  }
  result<progress> cancel(get_op& op) {
    engine::give_up(op);
    return progress::done;
  }

  // --- beside the data path -------------------------------------------------------------------------------------------

  result<std::size_t> erase(wire_key key) {
    if (is_closed()) return engine::closed();
    return engine::erase(core(), key);
  }
  /// `match` runs under a lock of the hub: it must not call a transport.
  result<std::size_t> erase_if(function_ref<bool(wire_key)> match) {
    if (is_closed()) return engine::closed();
    return engine::erase_if(core(), match);
  }
  result<bool> exists(wire_key key) {
    if (is_closed()) return engine::closed();
    return engine::exists(core(), key);
  }

  [[nodiscard]] value describe(locator const& where) const {
    auto const place = where.unpack<detail::inproc_place>(locator_tag::inproc);
    if (!place) return {};
    return value::object({{"transport", "inproc"}, {"hub", place->hub}, {"key_hash", place->key_hash}, {"generation", place->generation}});
  }
  [[nodiscard]] result<locator> parse(value const& map) const {
    value const* const name = map.find("transport");
    value const* const hub = map.find("hub");
    value const* const hash = map.find("key_hash");
    value const* const generation = map.find("generation");
    if (name == nullptr || name->if_string() == nullptr || *name->if_string() != "inproc" || hub == nullptr || hash == nullptr ||
        generation == nullptr)
      return {error_kind::malformed, "metadata of inproc has transport: inproc, hub, key_hash and generation"};
    auto const h = hub->as_uint64(), k = hash->as_uint64(), g = generation->as_uint64();
    if (!h || !k || !g) return {error_kind::malformed, "hub, key_hash and generation of inproc metadata are unsigned integers"};
    return locator::pack(locator_tag::inproc, detail::inproc_place{*h, *k, *g});
  }

  /// `moved` counts this transport (a get when its object is handed over, given back later or not), `memory` and `objects` the whole hub;
  /// there is no capacity. Errors are counted by the connector.
  [[nodiscard]] health_report report() const {
    health_report out;
    if (is_closed()) {
      out.status = health_status::closed;
      out.why = "closed";
    }
    detail::inproc_core& c = core();
    for (std::size_t i = 0; i != detail::inproc_shards; ++i) {
      std::lock_guard const guard(c.shards[i].lock);
      traffic const& t = member_->moved[i];
      out.moved.puts += t.puts;
      out.moved.put_bytes += t.put_bytes;
      out.moved.gets += t.gets;
      out.moved.get_bytes += t.get_bytes;
      out.memory.used += c.shards[i].bytes;
      out.objects.used += c.shards[i].objects;
    }
    std::lock_guard const guard(c.members_lock);
    for (detail::inproc_member const* m : c.members)
      if (m != member_.get()) out.peers.push_back({m->name, !m->closed.load(std::memory_order_relaxed)});
    return out;
  }

  void close() noexcept {
    if (member_ != nullptr) engine::close(core(), *member_);
  }

 private:
  inproc_transport(std::shared_ptr<inproc_hub> hub, std::string const& reader)
      : hub_(std::move(hub)), member_(std::make_unique<detail::inproc_member>()) {
    member_->name = reader;
    member_->reader = core().hash_of(reader);
    std::lock_guard const guard(core().members_lock);
    member_->id = ++core().last_member;
    core().members.push_back(member_.get());
  }

  void leave() noexcept {
    if (member_ == nullptr) return;
    close();
    {
      std::lock_guard const guard(core().members_lock);
      std::erase(core().members, member_.get());
    }
    member_.reset();
    hub_.reset();
  }

  [[nodiscard]] detail::inproc_core& core() const noexcept { return *hub_->core_; }
  [[nodiscard]] bool is_closed() const noexcept { return member_->closed.load(std::memory_order_acquire); }

  std::shared_ptr<inproc_hub> hub_;
  std::unique_ptr<detail::inproc_member> member_;
};

OMNICONN_END_NAMESPACE
