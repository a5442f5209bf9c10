// SPDX-License-Identifier: Apache-2.0
// A simulated pull transport: the reader asks for the size, brings memory, and the bytes land late, in pieces and out of order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/testing/sim/sim_store.hpp>
#include <omniconn/testing/sim/sim_world.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

/// A transport of the kind that RDMA and tcp make: payloads lie in a registered pool, a get is a query, memory, a number of writes in any order,
/// and a completion; a cancelled get is still written to until its connection is torn down. All of it in virtual time, all of it from a seed.
///
/// It is for testing what sits on top: connectors, drivers, token pools. A caller that frees landing memory too early writes into freed memory
/// (AddressSanitizer says so) and is counted in `sim_world::violations`. \threadsafety as the contract says.
class sim_pull_transport {
  using state = detail::sim_state;
  using locked = sim_world::locked;

 public:
  static constexpr capabilities caps{.name = "sim_pull",
                                     .wait = wake_up::notify,
                                     .survives = survival::producer,
                                     .max_readers = 64,
                                     .max_key = 1024,
                                     .max_object = std::uint64_t{1} << 30U,
                                     .max_pieces = 4,
                                     .own_memory = true,
                                     .zero_copy_get = false,
                                     .quiet_cancel = false,
                                     .can_replace = false};

  struct options {
    std::shared_ptr<sim_world> world{};                     ///< null: a world of its own
    std::string reader{};                                   ///< the name of this peer and of its gets
    std::size_t memory_pool_size = std::size_t{64} << 20U;  ///< how far `grow` goes
  };

 private:
  struct pool {
    explicit pool(std::size_t size) : bytes(std::make_unique_for_overwrite<std::byte[]>(size)), reserved(size) {}
    std::unique_ptr<std::byte[]> bytes;
    std::size_t reserved;
    std::size_t committed = 0;
  };

  struct put_flight : detail::sim_flight {
    std::shared_ptr<detail::sim_object> object;
    detail::sim_store* store = nullptr;

    void give_up(error why) {
      if (state != detail::sim_state::pending && state != detail::sim_state::writing) return;
      fail(why);
      store->withdraw(object);
      store->world().changed();
    }
    void closing() override {
      if (pending()) give_up(closed_error());
    }
  };

  struct get_flight : detail::sim_get, std::enable_shared_from_this<get_flight> {
    detail::sim_store* store = nullptr;
    std::vector<mutable_bytes> to;
    std::size_t chunks_left = 0;
    bool landing = false;
    bool cancelling = false;
    bool torn = false;  // the connection is gone: nothing of it writes any more

    [[nodiscard]] bool writing() const noexcept { return pending() && landing; }

    void give_back() { store->end(std::exchange(object, nullptr), reader, disposition::give_back); }
    void answer(detail::sim_outcome now) override {
      auto const self = shared_from_this();
      if (now != detail::sim_outcome::granted) {
        store->world().send([self, now] {
          if (self->pending()) self->fail(detail::sim_store::refusal(now));
          self->store->world().changed();
        });
        return;
      }
      store->world().send_from(object->producer, [self] {
        if (!self->pending()) return self->give_back();  // cancelled meanwhile
        if (gone(*self->object->producer)) return self->end_with(lost());
        self->info = self->object->info;
        self->state = detail::sim_state::needs_memory;
        self->store->world().changed();
      });
    }
    void end_with(error why) {
      fail(why);
      give_back();
    }
    void start() {
      auto const self = shared_from_this();
      std::size_t const size = static_cast<std::size_t>(info.size);
      std::size_t const chunks = std::min<std::size_t>(size, 8);
      chunks_left = chunks;
      if (chunks == 0) return finish();
      for (std::size_t c = 0; c != chunks; ++c)
        store->world().after(store->world().between(5'000, 300'000),
                             [self, at = size * c / chunks, end = size * (c + 1) / chunks] { self->write(at, end); });
    }
    void write(std::size_t at, std::size_t end) {
      if (torn) return;
      if (object->producer->stalled) {
        object->producer->parked.push_back([self = shared_from_this(), at, end] { self->write(at, end); });
        return;
      }
      if (!gone(*object->producer)) object->copy_range(at, end - at, to);
      if (--chunks_left == 0) store->world().after(1'000, [self = shared_from_this()] { self->finish(); });
    }
    void finish() {
      if (torn) return;
      torn = true;
      if (cancelling) return end_with(cancelled());
      if (gone(*object->producer)) return end_with(lost());
      state = detail::sim_state::done;
      ++home->moved.gets;
      home->moved.get_bytes += info.size;
      store->world().changed();
    }
    /// What every wire needs to stop: between the wish and the end, bytes still arrive.
    void tear_down() {
      if (std::exchange(torn, true)) return;
      end_with(cancelled());
    }
    void closing() override {
      if (!pending()) return;
      torn = true;
      bool const claimed = landing;
      fail(closed_error());
      if (claimed) give_back();
    }
  };

  struct place {
    std::uint64_t world = 0;
    std::uint64_t endpoint = 0;
    std::uint64_t generation = 0;
  };

 public:
  class put_op : public detail::sim_operation {
   public:
    put_op() = default;
    ~put_op() {
      if (world_ != nullptr) give_up(*this);
    }
    [[nodiscard]] locator where() const noexcept {
      if (world_ == nullptr) return {};
      locked const lock(*world_);
      auto const& f = static_cast<put_flight const&>(*flight_);
      return f.state == state::done ? locator::pack(locator_tag::sim, place{world_->id(), f.home->id, f.object->generation}) : locator();
    }

   private:
    friend class sim_pull_transport;
    std::shared_ptr<sim_world> world_;
  };

  class hold {
   public:
    hold() noexcept = default;
    hold(hold&& other) noexcept = default;
    hold& operator=(hold&& other) noexcept {
      if (this != &other) {
        finish(disposition::give_back);
        claim_ = std::move(other.claim_);
        world_ = std::move(other.world_);
        pool_ = std::move(other.pool_);
        bytes_ = other.bytes_;
      }
      return *this;
    }
    ~hold() { finish(disposition::give_back); }

    /// Where the bytes landed, if in one piece; empty otherwise and after `finish`.
    [[nodiscard]] const_bytes bytes() const noexcept { return claim_ != nullptr ? bytes_ : const_bytes(); }
    void finish(disposition how) noexcept {
      if (claim_ == nullptr) return;
      {
        locked const lock(*world_);
        auto const f = std::exchange(claim_, nullptr);
        world_->send([f, object = std::exchange(f->object, nullptr), how] { f->store->end(object, f->reader, how); });
      }
      world_.reset();
      pool_.reset();
    }

   private:
    friend class sim_pull_transport;
    std::shared_ptr<get_flight> claim_;
    std::shared_ptr<sim_world> world_;
    std::shared_ptr<pool> pool_;  // landed bytes outlive the transport
    const_bytes bytes_;
  };

  class get_op : public detail::sim_operation {
   public:
    get_op() = default;
    ~get_op() {
      if (world_ == nullptr) return;
      {
        locked const lock(*world_);
        if (flight().writing()) {
          world_->violation();
          flight().cancelling = true;  // the network goes on; the claim is given back at its end
          return;
        }
      }
      static_cast<void>(give_up(*this));
    }
    [[nodiscard]] object_info info() const noexcept {
      if (world_ == nullptr) return {};
      locked const lock(*world_);
      return flight().info;
    }
    [[nodiscard]] locator where() const noexcept {
      if (world_ == nullptr) return {};
      locked const lock(*world_);
      return flight().generation == 0 ? locator()
                                      : locator::pack(locator_tag::sim, place{world_->id(), flight().owner, flight().generation});
    }
    [[nodiscard]] hold take() noexcept {
      hold out;
      if (world_ == nullptr) return out;
      locked const lock(*world_);
      if (flight().state != state::done) return out;
      flight().state = state::taken;
      out.claim_ = std::static_pointer_cast<get_flight>(flight_);
      out.world_ = world_;
      out.pool_ = pool_;
      if (flight().to.size() == 1) out.bytes_ = flight().to.front();
      return out;
    }

   private:
    friend class sim_pull_transport;
    [[nodiscard]] get_flight& flight() const noexcept { return static_cast<get_flight&>(*flight_); }
    std::shared_ptr<sim_world> world_;
    std::shared_ptr<pool> pool_;
  };

  [[nodiscard]] static result<sim_pull_transport, diagnosis> open(options const& o) {
    return sim_pull_transport(o.world != nullptr ? o.world : std::make_shared<sim_world>(), o);
  }
  sim_pull_transport(sim_pull_transport&&) noexcept = default;
  sim_pull_transport& operator=(sim_pull_transport&& other) noexcept {
    if (this != &other) {
      leave();
      world_ = std::move(other.world_);
      home_ = std::move(other.home_);
      pool_ = std::move(other.pool_);
      store_ = other.store_;
    }
    return *this;
  }
  ~sim_pull_transport() { leave(); }

  // --- memory ---------------------------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept { return {pool_->bytes.get(), pool_->committed, pool_->reserved}; }
  [[nodiscard]] result<memory_region> grow(std::size_t more) {
    locked const lock(*world_);
    if (more > pool_->reserved - pool_->committed) return error(error_kind::no_space, "the pool is full; raise memory_pool_size");
    pool_->committed += std::min((more + 4095) / 4096 * 4096, pool_->reserved - pool_->committed);
    return memory();
  }
  std::size_t reclaim(reclaim_sink sink) {
    std::vector<std::uint64_t> tokens;
    {
      locked const lock(*world_);
      world_->run_due();
      tokens.swap(home_->returned);
    }
    for (std::uint64_t const t : tokens) sink(t);
    return tokens.size();
  }

  // --- put ------------------------------------------------------------------------------------------------------------

  result<progress> begin(put_op& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& how) {
    locked const lock(*world_);
    if (op.flight_ != nullptr && (op.flight_->pending() || op.flight_->state == state::writing)) return in_use();
    auto const f = std::make_shared<put_flight>();
    launch(op, f);
    if (home_->closed) return f->fail(closed_error());
    auto prepared = detail::sim_prepare(caps, home_, key, out, info, how);
    if (!prepared) return f->fail(prepared.error());
    for (auto const& part : out.parts)
      if (!part.empty() && (part.data() < pool_->bytes.get() || part.data() + part.size() > pool_->bytes.get() + pool_->committed))
        return f->fail({error_kind::misconfigured, "the payload lies outside memory(); only the pool is registered"});
    f->object = std::move(*prepared);
    f->state = state::pending;
    store_->lend(f->object);
    world_->send([f] {  // at the directory
      if (!f->pending()) return;
      if (!f->store->reserve(*f->object)) {
        f->give_up({error_kind::already_exists, "the key is taken; choose another or erase it"});
        return;
      }
      f->store->world().send([f] {  // back home
        if (f->pending()) f->state = state::writing;
        f->store->world().changed();
      });
    });
    return progress::pending;
  }
  void advance(put_op&, std::uint64_t) noexcept {}
  result<progress> commit(put_op& op, object_info const& info) {
    locked const lock(*world_);
    if (op.flight_ == nullptr || op.flight_->state != state::writing) return error(error_kind::misconfigured, "commit without a begun put");
    auto const f = std::static_pointer_cast<put_flight>(op.flight_);
    if (home_->closed) {
      f->give_up(closed_error());
      return closed_error();
    }
    if (info.size > total_size(f->object->parts))
      return error(error_kind::misconfigured, "object_info.size is larger than the pieces that begin got");
    f->object->info = info;
    f->state = state::pending;
    world_->send([f] {
      if (!f->pending()) return;
      if (!f->store->list(f->object)) return f->give_up({error_kind::already_exists, "the key is taken"});
      f->store->world().changed();
      f->store->world().send([f] {
        if (!f->pending()) return;
        f->state = state::done;
        ++f->home->moved.puts;
        f->home->moved.put_bytes += f->object->info.size;
        f->store->world().changed();
      });
    });
    return progress::pending;
  }
  /// Immediate: nobody reads a block before its commit, and an object whose acknowledgement is on the way is taken back.
  void abort(put_op& op) noexcept { give_up(op); }

  // --- get ------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& how) {
    locked const lock(*world_);
    if (op.flight_ != nullptr && (op.flight_->pending() || op.flight_->state == state::needs_memory || op.flight_->state == state::done))
      return in_use();
    auto const f = std::make_shared<get_flight>();
    launch(op, f);
    op.pool_ = pool_;
    if (home_->closed) return f->fail(closed_error());
    if (key.size() > caps.max_key) return f->fail({error_kind::too_large, "the key is longer than caps.max_key"});
    f->key = key;
    f->may_wait = how.wait;
    f->reader = how.reader.empty() ? home_->name : std::string(how.reader);
    if (how.where != nullptr) {
      auto const at = how.where->unpack<place>(locator_tag::sim);
      if (!at) return f->fail(at.error());
      if (at->world != world_->id()) return f->fail(detail::sim_store::refusal(detail::sim_outcome::stale));
      if (world_->is_dead(at->endpoint)) return f->fail(lost());
      f->wanted = at->generation;
    }
    f->state = state::pending;
    world_->send([f] {  // at the directory
      if (!f->pending()) return;
      if (auto const now = f->store->claim(*f); now != detail::sim_outcome::later) return f->answer(now);
      f->store->keep(f);
    });
    return progress::pending;
  }
  result<progress> land(get_op& op, mutable_pieces to) {
    locked const lock(*world_);
    if (op.flight_ == nullptr || op.flight_->state != state::needs_memory)
      return error(error_kind::misconfigured, "land without a get that needs memory");
    if (home_->closed) return closed_error();
    auto const f = std::static_pointer_cast<get_flight>(op.flight_);
    std::size_t room = 0;
    for (auto const& piece : to) room += piece.size();
    if (room != f->info.size) return error(error_kind::misconfigured, "the pieces to land in must add up to info().size");
    f->to.assign(to.begin(), to.end());
    f->landing = true;
    f->state = state::pending;
    world_->send_from(f->object->producer, [f] {
      if (!f->torn) f->start();
    });
    return progress::pending;
  }

  // --- drive ----------------------------------------------------------------------------------------------------------

  result<progress> step(put_op& op) { return world_->step(op); }
  result<progress> step(get_op& op) { return world_->step(op); }
  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token stop) {
    return world_->wait(*home_, ops, until, stop);
  }
  result<progress> cancel(put_op& op) {
    give_up(op);
    return progress::done;
  }
  result<progress> cancel(get_op& op) { return give_up(op); }

  // --- beside the data path -------------------------------------------------------------------------------------------

  result<std::size_t> erase(wire_key key) {
    locked const lock(*world_);
    if (home_->closed) return closed_error();
    return store_->erase(key);
  }
  result<std::size_t> erase_if(function_ref<bool(wire_key)> match) {
    locked const lock(*world_);
    if (home_->closed) return closed_error();
    return store_->erase_if(match);
  }
  result<bool> exists(wire_key key) {
    locked const lock(*world_);
    if (home_->closed) return closed_error();
    world_->run_due();
    return store_->exists(key);
  }
  [[nodiscard]] value describe(locator const& where) const {
    auto const at = where.unpack<place>(locator_tag::sim);
    if (!at) return {};
    return value::object({{"transport", "sim_pull"}, {"world", at->world}, {"endpoint", at->endpoint}, {"generation", at->generation}});
  }
  [[nodiscard]] result<locator> parse(value const& map) const {
    value const* const name = map.find("transport");
    value const* const world = map.find("world");
    value const* const endpoint = map.find("endpoint");
    value const* const generation = map.find("generation");
    if (name == nullptr || !(*name == value("sim_pull")) || world == nullptr || endpoint == nullptr || generation == nullptr)
      return {error_kind::malformed, "metadata of sim_pull has transport: sim_pull, world, endpoint and generation"};
    auto const w = world->as_uint64(), e = endpoint->as_uint64(), g = generation->as_uint64();
    if (!w || !e || !g) return {error_kind::malformed, "world, endpoint and generation are unsigned integers"};
    return locator::pack(locator_tag::sim, place{*w, *e, *g});
  }
  [[nodiscard]] health_report report() const {
    locked const lock(*world_);
    health_report out;
    out.status = home_->closed ? health_status::closed : home_->stalled ? health_status::degraded : health_status::ready;
    out.why = home_->closed ? "closed" : home_->stalled ? "stalled" : "";
    out.moved = home_->moved;
    out.memory = {store_->bytes(), pool_->reserved};
    out.objects = store_->objects();
    out.peers = world_->peers(*home_);
    return out;
  }
  /// Connections are torn down before it returns: no landing memory is touched afterwards, and blocks of unread objects are free.
  void close() noexcept {
    if (world_ == nullptr) return;
    locked const lock(*world_);
    if (world_->close(*home_)) store_->forget(*home_);
  }

 private:
  sim_pull_transport(std::shared_ptr<sim_world> world, options const& o)
      : world_(std::move(world)), home_(world_->enter(o.reader)), pool_(std::make_shared<pool>(o.memory_pool_size)) {
    locked const lock(*world_);
    store_ = &world_->shared<detail::sim_store>(0);
    pool_->committed = std::min<std::size_t>(pool_->reserved, std::size_t{1} << 20U);
  }

  template <class Op, class Flight>
  void launch(Op& op, std::shared_ptr<Flight> const& f) {
    f->home = home_;
    f->store = store_;
    op.flight_ = f;
    op.world_ = world_;
    world_->launch(f);
  }
  static void give_up(put_op& op) noexcept {
    if (op.world_ == nullptr) return;
    locked const lock(*op.world_);
    static_cast<put_flight&>(*op.flight_).give_up(cancelled());
  }
  static result<progress> give_up(get_op& op) noexcept {
    if (op.world_ == nullptr) return progress::done;
    locked const lock(*op.world_);
    get_flight& f = op.flight();
    if (f.writing()) {
      if (!std::exchange(f.cancelling, true))
        op.world_->after(op.world_->between(50'000, 200'000),
                         [self = std::static_pointer_cast<get_flight>(op.flight_)] { self->tear_down(); });
      return progress::pending;
    }
    if (f.pending()) {
      f.fail(cancelled());  // what is still on its way finds nobody
    } else if (f.state == state::needs_memory || f.state == state::done) {
      f.end_with(cancelled());
    }
    op.world_->changed();
    return progress::done;
  }
  void leave() noexcept {
    if (world_ == nullptr) return;
    close();
    {
      locked const lock(*world_);
      world_->leave(*home_);
    }
    world_.reset();
  }

  static bool gone(detail::sim_endpoint const& e) noexcept { return e.dead || e.closed; }
  static error lost() noexcept {
    return {error_kind::peer_lost, "the producer died or closed before all bytes were here", 0, severity::connection};
  }
  static error cancelled() noexcept { return {error_kind::cancelled, "the operation was cancelled"}; }
  static error closed_error() noexcept { return {error_kind::closed, "the transport was closed; open a new one", 0, severity::transport}; }
  static error in_use() noexcept { return {error_kind::misconfigured, "the operation is still in use; take, commit or cancel it first"}; }

  std::shared_ptr<sim_world> world_;
  std::shared_ptr<detail::sim_endpoint> home_;
  std::shared_ptr<pool> pool_;
  detail::sim_store* store_ = nullptr;
};

OMNICONN_END_NAMESPACE
