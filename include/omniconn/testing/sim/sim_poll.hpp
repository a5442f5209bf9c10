// SPDX-License-Identifier: Apache-2.0
// A simulated object store that never notifies: whoever waits looks again and again.
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

/// A transport of the kind that a store in the network makes: a put is copied to the service and outlives its producer, nothing but the size
/// travels with the bytes, nobody rings (a waiting get looks after 1, 2, 4 … 50 ms, so an object is seen up to 50 ms late), and reading does not
/// consume: only the end of a hold erases. \threadsafety as the contract says.
class sim_poll_transport {
  using state = detail::sim_state;
  using locked = sim_world::locked;

 public:
  static constexpr capabilities caps{.name = "sim_poll",
                                     .wait = wake_up::poll,
                                     .survives = survival::service,
                                     .max_readers = 1,
                                     .max_key = 255,
                                     .max_object = std::uint64_t{16} << 20U,
                                     .max_pieces = 1,
                                     .zero_copy_get = false,
                                     .quiet_cancel = true,
                                     .carries_info = false,
                                     .can_list = false,
                                     .named_readers = false};

  static constexpr std::int64_t first_back_off = 1'000'000, longest_back_off = 50'000'000;

  struct options {
    std::shared_ptr<sim_world> world{};  ///< null: a world of its own
    std::string reader{};
  };

 private:
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
    std::int64_t back_off = first_back_off;
    std::vector<mutable_bytes> to;

    void look() override {
      seen = store->world().version();
      if (home->stalled) {
        next_look = store->world().clock.now_ns() + longest_back_off;
        return;
      }
      switch (auto const now = store->claim(*this); now) {
        case detail::sim_outcome::granted:
          next_look = detail::sim_never;
          info = {};
          info.size = object->info.size;  // a store knows bytes, nothing else
          state = detail::sim_state::needs_memory;
          return;
        case detail::sim_outcome::later:
          next_look = store->world().clock.now_ns() + back_off;
          back_off = std::min(back_off * 2, longest_back_off);
          return;
        case detail::sim_outcome::absent:
        case detail::sim_outcome::had:
        case detail::sim_outcome::stale: fail(detail::sim_store::refusal(now)); return;
      }
    }
    void finish() {
      if (!pending()) return;  // cancelled: nothing is written
      object_copy();
      state = detail::sim_state::done;
      ++home->moved.gets;
      home->moved.get_bytes += info.size;
      store->world().changed();
    }
    void object_copy() const {
      std::size_t at = 0;
      for (auto const& piece : to) {
        if (!piece.empty()) std::memcpy(piece.data(), object->copy.data() + at, piece.size());
        at += piece.size();
      }
    }
    void end_with(error why) {
      fail(why);
      if (object != nullptr) store->end(std::exchange(object, nullptr), reader, disposition::give_back);
      store->world().changed();
    }
    void closing() override {
      if (pending()) end_with(closed_error());
    }
  };

  struct place {
    std::uint64_t world = 0;
    std::uint64_t generation = 0;
  };

 public:
  class put_op : public detail::sim_operation {
   public:
    put_op() = default;
    ~put_op() { give_up(*this); }
    [[nodiscard]] locator where() const noexcept {
      if (world_ == nullptr) return {};
      locked const lock(*world_);
      auto const& f = static_cast<put_flight const&>(*flight_);
      return f.state == state::done ? locator::pack(locator_tag::sim, place{world_->id(), f.object->generation}) : locator();
    }

   private:
    friend class sim_poll_transport;
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
        bytes_ = other.bytes_;
      }
      return *this;
    }
    ~hold() { finish(disposition::give_back); }

    /// Where the bytes landed, if in one piece; empty otherwise and after `finish`. The memory is the caller's.
    [[nodiscard]] const_bytes bytes() const noexcept { return claim_ != nullptr ? bytes_ : const_bytes(); }
    void finish(disposition how) noexcept {
      if (claim_ == nullptr) return;
      {
        locked const lock(*world_);
        auto const f = std::exchange(claim_, nullptr);
        world_->send([f, object = std::exchange(f->object, nullptr), how] { f->store->end(object, f->reader, how); });
      }
      world_.reset();
    }

   private:
    friend class sim_poll_transport;
    std::shared_ptr<get_flight> claim_;
    std::shared_ptr<sim_world> world_;
    const_bytes bytes_;
  };

  class get_op : public detail::sim_operation {
   public:
    get_op() = default;
    ~get_op() { give_up(*this); }
    [[nodiscard]] object_info info() const noexcept {
      if (world_ == nullptr) return {};
      locked const lock(*world_);
      return flight().info;
    }
    [[nodiscard]] locator where() const noexcept {
      if (world_ == nullptr) return {};
      locked const lock(*world_);
      return flight().generation == 0 ? locator() : locator::pack(locator_tag::sim, place{world_->id(), flight().generation});
    }
    [[nodiscard]] hold take() noexcept {
      hold out;
      if (world_ == nullptr) return out;
      locked const lock(*world_);
      if (flight().state != state::done) return out;
      flight().state = state::taken;
      out.claim_ = std::static_pointer_cast<get_flight>(flight_);
      out.world_ = world_;
      if (flight().to.size() == 1) out.bytes_ = flight().to.front();
      return out;
    }

   private:
    friend class sim_poll_transport;
    [[nodiscard]] get_flight& flight() const noexcept { return static_cast<get_flight&>(*flight_); }
    std::shared_ptr<sim_world> world_;
  };

  [[nodiscard]] static result<sim_poll_transport, diagnosis> open(options const& o) {
    return sim_poll_transport(o.world != nullptr ? o.world : std::make_shared<sim_world>(), o.reader);
  }
  sim_poll_transport(sim_poll_transport&&) noexcept = default;
  sim_poll_transport& operator=(sim_poll_transport&& other) noexcept {
    if (this != &other) {
      leave();
      world_ = std::move(other.world_);
      home_ = std::move(other.home_);
      store_ = other.store_;
    }
    return *this;
  }
  ~sim_poll_transport() { leave(); }

  // --- memory: any memory will do -------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept { return {}; }
  [[nodiscard]] result<memory_region> grow(std::size_t) {
    return {error_kind::unsupported, "sim_poll has no memory of its own; send from any memory that stays until it is disposed of"};
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
    f->object = std::move(*prepared);
    f->state = state::pending;
    store_->lend(f->object);
    world_->send([f] {
      if (!f->pending()) return;
      if (!f->store->reserve(*f->object)) {
        f->give_up({error_kind::already_exists, "the key is taken; choose another, erase it, or put with on_existing::replace"});
        return;
      }
      f->state = state::writing;
      f->store->world().changed();
    });
    return progress::pending;
  }
  void advance(put_op&, std::uint64_t) noexcept {}
  /// Copies the bytes to the service; the block returns with the acknowledgement.
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
      auto& o = *f->object;
      auto const size = static_cast<std::size_t>(o.info.size);
      o.copy.resize(size);
      mutable_bytes const to(o.copy);
      o.copy_range(0, size, std::span(&to, 1));
      o.parts.clear();
      if (!f->store->list(f->object)) return f->give_up({error_kind::already_exists, "the key is taken"});
      f->store->return_block(o);
      f->state = state::done;
      ++f->home->moved.puts;
      f->home->moved.put_bytes += size;
      f->store->world().changed();
    });
    return progress::pending;
  }
  void abort(put_op& op) noexcept { give_up(op); }

  // --- get ------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& how) {
    locked const lock(*world_);
    if (op.flight_ != nullptr && (op.flight_->pending() || op.flight_->state == state::needs_memory || op.flight_->state == state::done))
      return in_use();
    auto const f = std::make_shared<get_flight>();
    launch(op, f);
    if (home_->closed) return f->fail(closed_error());
    if (key.size() > caps.max_key) return f->fail({error_kind::too_large, "the key is longer than caps.max_key"});
    f->key = key;
    f->may_wait = how.wait;
    f->reader = how.reader.empty() ? home_->name : std::string(how.reader);
    if (how.where != nullptr) {
      auto const at = how.where->unpack<place>(locator_tag::sim);
      if (!at) return f->fail(at.error());
      if (at->world != world_->id()) return f->fail(detail::sim_store::refusal(detail::sim_outcome::stale));
      f->wanted = at->generation;
    }
    f->state = state::pending;
    f->next_look = world_->clock.now_ns() + world_->between(5'000, 50'000);
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
    f->state = state::pending;
    world_->send([f] { f->finish(); });
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
  result<progress> cancel(get_op& op) {
    give_up(op);
    return progress::done;
  }

  // --- beside the data path -------------------------------------------------------------------------------------------

  result<std::size_t> erase(wire_key key) {
    locked const lock(*world_);
    if (home_->closed) return closed_error();
    return store_->erase(key);
  }
  result<std::size_t> erase_if(function_ref<bool(wire_key)>) {
    locked const lock(*world_);
    if (home_->closed) return closed_error();
    return error(error_kind::unsupported, "this store cannot list its keys; erase them one by one");
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
    return value::object({{"transport", "sim_poll"}, {"world", at->world}, {"generation", at->generation}});
  }
  [[nodiscard]] result<locator> parse(value const& map) const {
    value const* const name = map.find("transport");
    value const* const world = map.find("world");
    value const* const generation = map.find("generation");
    if (name == nullptr || !(*name == value("sim_poll")) || world == nullptr || generation == nullptr)
      return {error_kind::malformed, "metadata of sim_poll has transport: sim_poll, world and generation"};
    auto const w = world->as_uint64(), g = generation->as_uint64();
    if (!w || !g) return {error_kind::malformed, "world and generation are unsigned integers"};
    return locator::pack(locator_tag::sim, place{*w, *g});
  }
  [[nodiscard]] health_report report() const {
    locked const lock(*world_);
    health_report out;
    out.status = home_->closed ? health_status::closed : home_->stalled ? health_status::degraded : health_status::ready;
    out.why = home_->closed ? "closed" : home_->stalled ? "stalled" : "";
    out.moved = home_->moved;
    out.memory.used = store_->bytes();
    out.objects = store_->objects();
    return out;
  }
  void close() noexcept {
    if (world_ == nullptr) return;
    locked const lock(*world_);
    world_->close(*home_);
  }

 private:
  sim_poll_transport(std::shared_ptr<sim_world> world, std::string_view reader) : world_(std::move(world)), home_(world_->enter(reader)) {
    locked const lock(*world_);
    store_ = &world_->shared<detail::sim_service>(1);
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
  static void give_up(get_op& op) noexcept {
    if (op.world_ == nullptr) return;
    locked const lock(*op.world_);
    get_flight& f = op.flight();
    if (f.pending() || f.state == state::needs_memory || f.state == state::done) f.end_with(cancelled());
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

  static error cancelled() noexcept { return {error_kind::cancelled, "the operation was cancelled"}; }
  static error closed_error() noexcept { return {error_kind::closed, "the transport was closed; open a new one", 0, severity::transport}; }
  static error in_use() noexcept { return {error_kind::misconfigured, "the operation is still in use; take, commit or cancel it first"}; }

  std::shared_ptr<sim_world> world_;
  std::shared_ptr<detail::sim_endpoint> home_;
  detail::sim_store* store_ = nullptr;
};

OMNICONN_END_NAMESPACE
