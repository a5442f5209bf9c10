// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// Objects in a Mooncake store, spoken natively: no header, library or Python of Mooncake's is needed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/metrics.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/call_gate.hpp>
#include <omniconn/detail/net/endpoint.hpp>
#include <omniconn/detail/net/http.hpp>
#include <omniconn/detail/staged_operation.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/mooncake/key.hpp>
#include <omniconn/transport/mooncake/store/get.hpp>
#include <omniconn/transport/mooncake/store/interest.hpp>
#include <omniconn/transport/mooncake/store/node.hpp>
#include <omniconn/transport/mooncake/store/place.hpp>
#include <omniconn/transport/mooncake/store/put.hpp>
#include <omniconn/transport/mooncake/store/session.hpp>

OMNICONN_BEGIN_NAMESPACE

/// A client of a Mooncake store of release 0.3.13.post1 over TCP.
///
/// A put sends the caller's bytes to a storage node, without a copy of our own; a get reads them into memory that the caller chooses. Objects belong to
/// nobody: reading does not end them, the store keeps them until they are cleaned up or evicted. Nobody rings, so a get that waits asks the master after
/// 1, 2, 4 … `longest_pause`. A get and `exists` give the object a lease (10 s, as the master is started), for which it stays where it is.
/// \threadsafety every call.
class mooncake_store_transport {
 public:
  struct options {
    /// HOST:PORT of the master.
    std::string master = "127.0.0.1:50051";
    /// Who knows where storage nodes are: "P2PHANDSHAKE" (they say it themselves), or "http://HOST:PORT/metadata". The same for all of a cluster.
    std::string metadata_server = "P2PHANDSHAKE";
    /// Bytes of this process's memory that it brings into the store, as a storage node: objects of anybody lie there, and are gone when the transport closes.
    /// 0: none. 16 MiB or more, in steps of 4 MiB.
    std::uint64_t segment = 0;
    /// The address of this machine under which other nodes and clients reach that memory.
    std::string host = "127.0.0.1";
    /// Copies of each object, on different nodes.
    std::uint32_t replicas = 1;
    /// The store does not evict what this client puts.
    bool pin = false;
    /// For so long after a put, it evicts other objects before those of this client. 0: all are alike. At most what the master was started with as --max_kv_soft_pin_ttl.
    std::chrono::milliseconds soft_pin{0};
    /// Segments (by name) where objects should lie if there is room.
    std::vector<std::string> preferred_segments{};
    /// `on_existing::replace`: true replaces at once, and an object of the same size in place, under the eyes of whoever reads it; false waits for the end of
    /// readers' leases, until the put's deadline.
    bool replace_in_place = false;
    /// `erase`: true removes at once, under the eyes of whoever reads; false only what nobody has a lease on, else `peer_stalled`.
    bool force_remove = true;
    /// The longest time between two looks of a get that waits.
    std::chrono::nanoseconds longest_pause{std::chrono::milliseconds(50)};
    /// How long a peer may take to take a connection, and to answer or to read anything at all.
    std::chrono::nanoseconds connect_timeout{std::chrono::seconds(3)}, silence_timeout{std::chrono::seconds(10)};
    /// Connections at once to the master and to each node. They are kept.
    std::uint32_t connections = 16;
  };

  static constexpr capabilities caps{.name = "mooncake_store",
                                     .wait = wake_up::poll,
                                     .survives = survival::service,
                                     .max_readers = UINT32_MAX,
                                     .max_key = max_key_size,
                                     .max_pieces = UINT32_MAX,
                                     .empty_objects = false,
                                     .gathers = true,
                                     .leaves_process = true,
                                     .carries_info = false,
                                     .can_list = false,
                                     .named_readers = false,
                                     .keeps = true,
                                     .counts_readers = false};

  using hold = detail::mooncake::store_hold;
  using put_op = detail::mooncake::put_operation;
  using get_op = detail::mooncake::get_operation;

  /// \requires no operation of the transport is unfinished, as for its destruction.
  mooncake_store_transport(mooncake_store_transport&&) noexcept = default;
  mooncake_store_transport& operator=(mooncake_store_transport&& other) noexcept {
    if (this != &other) {
      close();
      node_ = std::move(other.node_);
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~mooncake_store_transport() { close(); }

  /// Speaks to the master once, to see that it is there and of the release that this library knows.
  /// \errors `misconfigured`, `unreachable`, `version_mismatch`: another release
  static result<mooncake_store_transport, diagnosis> open(options const& o) {
    using namespace detail;
    auto const where = net::parse_endpoint(o.master);
    if (!where) return diagnosis(error_kind::misconfigured, "master is '" + o.master + "', expected HOST:PORT as in 127.0.0.1:50051");
    mooncake::initiator::options engine;
    if (o.metadata_server != "P2PHANDSHAKE") {
      auto url = net::parse_http_url(o.metadata_server);
      if (!url) return diagnosis(error_kind::misconfigured, "metadata_server is '" + o.metadata_server + "', expected P2PHANDSHAKE or http://HOST:PORT/metadata");
      engine.metadata = std::move(*url);
    }
    if (o.replicas == 0) return diagnosis(error_kind::misconfigured, "replicas must be 1 or more");
    if (o.connections == 0) return diagnosis(error_kind::misconfigured, "connections must be 1 or more");
    if (o.longest_pause.count() <= 0 || o.connect_timeout.count() <= 0 || o.silence_timeout.count() <= 0)
      return diagnosis(error_kind::misconfigured, "longest_pause, connect_timeout and silence_timeout must be longer than 0");
    if (o.soft_pin.count() < 0) return diagnosis(error_kind::misconfigured, "soft_pin must not be shorter than 0");
    auto const address = net::resolve(*where);
    if (!address) return diagnosis(address.error()).in("master " + o.master);
    net::line_limits limits;
    limits.lines = o.connections;
    limits.connect_ns = o.connect_timeout.count();
    limits.silence_ns = o.silence_timeout.count();
    engine.lines = limits;
    mooncake::replicate_config config;
    config.replicas = o.replicas;
    config.hard_pin = o.pin;
    config.soft_pin_ms = static_cast<std::uint64_t>(o.soft_pin.count());
    config.preferred_segments = o.preferred_segments;
    auto state = std::make_unique<mooncake::session>(*address, limits, std::move(engine), std::move(config));
    state->replace_in_place = o.replace_in_place;
    state->force_remove = o.force_remove;
    state->longest_pause_ns = o.longest_pause.count();
    if (auto const known = state->check_release(); !known) return known.error().in("master " + o.master);
    mooncake_store_transport out(std::move(state));
    if (o.segment == 0) return out;
    if (o.segment < mooncake::storage_node::least) return diagnosis(error_kind::misconfigured, "segment must be 16 MiB or more, or 0 for a client that stores nothing");
    out.node_ = std::make_unique<mooncake::storage_node>(*out.state_);
    if (auto const mounted = out.node_->open(o.host, o.segment); !mounted) return diagnosis(mounted.error()).in("segment of " + std::to_string(o.segment) + " bytes");
    return out;
  }

  // --- memory: any memory will do ---------------------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept { return {}; }
  result<memory_region> grow(std::size_t) { return {error_kind::unsupported, "a Mooncake store has no memory of its own here; put sends from any memory"}; }
  std::size_t reclaim(reclaim_sink sink) {
    if (state_ == nullptr) return 0;
    auto const home = state_->take_returned();
    for (auto const token : home) sink(token);
    return home.size();
  }

  // --- put ------------------------------------------------------------------------------------------------------------------------

  result<progress> begin(put_op& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& how) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (key.size() > caps.max_key) return key_error();
    if (how.readers.size() == 0) return {error_kind::misconfigured, "an object needs at least one reader"};
    if (!how.readers.anybody)
      return {error_kind::unsupported, "a Mooncake store does not know who has read an object; put with reader_set::until_cleaned_up()"};
    return op.begin(*state_, detail::mooncake::store_key(key), out, info, how);
  }
  void advance(put_op&, std::uint64_t) noexcept {}
  result<progress> commit(put_op& op, object_info const& info) {
    detail::call const entered(state_.get());
    if (!entered) return closed(op);
    return op.commit(info);
  }
  void abort(put_op& op) noexcept { static_cast<void>(cancel(op)); }

  // --- get ------------------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& how) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (key.size() > caps.max_key) return key_error();
    return op.begin(*state_, detail::mooncake::store_key(key), how);
  }
  result<progress> land(get_op& op, mutable_pieces to) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    return op.land(to);
  }

  // --- drive ----------------------------------------------------------------------------------------------------------------------

  result<progress> step(put_op& op) { return op.step(); }
  result<progress> step(get_op& op) { return op.step(); }
  /// Waits up to a second for a node that was sent something, and up to two for the master, where the put has asked it for room.
  result<progress> cancel(put_op& op) {
    op.abort();
    if (state_ != nullptr) state_->ring_all();
    return progress::done;
  }
  result<progress> cancel(get_op& op) {
    op.cancel();
    if (state_ != nullptr) state_->ring_all();
    return progress::done;
  }
  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token stop) {
    using namespace detail;
    call const entered(state_.get());
    if (!entered) return closed_error();
    std::optional<mooncake::session::sleeper> sleeper;
    std::optional<std::stop_callback<ring>> stopper;
    mooncake::interest_list interest;
    for (;;) {
      interest.clear();
      for (std::size_t i = 0; i != ops.size(); ++i) {
        auto& op = static_cast<staged_operation&>(*ops[i]);
        if (op.is(stage::busy)) continue;  // another thread gives it up, which may take it a second or two, and rings then
        auto const now = op.is_get_ ? static_cast<get_op&>(op).step() : static_cast<put_op&>(op).step();
        if (state_->closed.load()) return closed_error();
        if (!now || *now != progress::pending) return i;
        op.is_get_ ? static_cast<get_op&>(op).add_interest(interest) : static_cast<put_op&>(op).add_interest(interest);
      }
      if (state_->closed.load()) return closed_error();
      if (auto const may = may_sleep(ops, until, stop); !may) return may.error();
      if (!sleeper) {  // seen by who rings before the next look
        sleeper.emplace(*state_);
        if (stop.stop_possible()) stopper.emplace(stop, ring{&sleeper->own()});
        continue;
      }
      if (!until.is_never()) interest.not_later_than(until.nanoseconds());
      if (sleeper->own()) {
        interest.add({sleeper->own().fd(), POLLIN, 0});
      } else {
        interest.not_later_than(deadline::now_ns() + 10'000'000);  // no descriptor was left for a bell
      }
      interest.poll();
      sleeper->own().hush();
    }
  }

  // --- administration: each asks the master, and waits for its answer, 5 s at most ------------------------------------------------------

  result<std::size_t> erase(wire_key key) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (key.size() > caps.max_key) return key_error();
    auto const reply = state_->ask(detail::mooncake::remove(state_->self, detail::mooncake::store_key(key), state_->force_remove));
    if (!reply) return reply.error();
    auto const gone = detail::mooncake::read_nothing(*reply);
    if (gone) return std::size_t{1};
    if (gone.error().kind() == error_kind::not_found) return std::size_t{0};
    return gone.error();
  }
  result<std::size_t> erase_if(function_ref<bool(wire_key)>) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    return error(error_kind::unsupported, "the keys of a Mooncake store are not listed here; clean them up one by one");
  }
  /// Gives the object a lease.
  result<bool> exists(wire_key key) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (key.size() > caps.max_key) return key_error();
    auto const reply = state_->ask(detail::mooncake::exist_key(state_->self, detail::mooncake::store_key(key)));
    if (!reply) return reply.error();
    auto const there = detail::mooncake::read_flag(*reply);
    if (!there && there.error().kind() == error_kind::not_found) return false;
    return there;
  }
  [[nodiscard]] value describe(locator const& l) const {
    auto const at = l.unpack<detail::mooncake::place>(locator_tag::mooncake_store);
    if (!at) return {};
    return value::object({{"transport", caps.name}, {"replica", at->id}, {"stored", at->size}, {"address", at->address}, {"endpoint", at->endpoint}, {"key", at->key}});
  }
  [[nodiscard]] result<locator> parse(value const& map) const {
    value const* const name = map.find("transport");
    if (name == nullptr || !(*name == value(caps.name))) return {error_kind::malformed, "the metadata is not of an object in a Mooncake store; get by key alone"};
    bool whole = true;
    auto const number = [&](std::string_view field) {
      value const* const v = map.find(field);
      auto const n = v == nullptr ? result<std::uint64_t>(error_kind::malformed, "") : v->as_uint64();
      whole = whole && n;
      return n.value_or(0);
    };
    detail::mooncake::place at;
    at.id = number("replica");
    at.size = number("stored");
    at.address = number("address");
    at.endpoint = number("endpoint");
    at.key = number("key");
    if (!whole) return {error_kind::malformed, "the metadata of an object in a Mooncake store has replica, stored, address, endpoint and key"};
    return at.pack();
  }
  [[nodiscard]] health_report report() const {
    health_report out;
    detail::call const entered(state_.get());
    if (state_ != nullptr) out.moved = {state_->puts.load(), state_->put_bytes.load(), state_->gets.load(), state_->get_bytes.load()};
    if (!entered) {
      out.status = health_status::closed;
      out.why = "closed";
    }
    return out;
  }
  void close() noexcept {
    if (state_ == nullptr || !state_->shut() || state_->inherited()) return;
    state_->ring_all();
    state_->wait_until_empty();
    if (node_ != nullptr) node_->close();
  }
  /// Connections made so far: to the master, and to storage nodes.
  [[nodiscard]] std::uint64_t connections_opened() const { return state_ == nullptr ? 0 : state_->master->opened() + state_->engines.opened(); }

 private:
  struct ring {
    detail::bell const* whom;
    void operator()() const noexcept { whom->ring(); }
  };
  explicit mooncake_store_transport(std::unique_ptr<detail::mooncake::session> s) noexcept : state_(std::move(s)) {}
  static error key_error() noexcept { return {error_kind::too_large, "the key is longer than caps.max_key"}; }
  static error closed(put_op& op) noexcept {
    static_cast<void>(op.step());
    return detail::closed_error();
  }

  std::unique_ptr<detail::mooncake::session> state_;
  std::unique_ptr<detail::mooncake::storage_node> node_;  // ends before what it speaks through
};

static_assert(transport_policy<mooncake_store_transport>);

OMNICONN_END_NAMESPACE
