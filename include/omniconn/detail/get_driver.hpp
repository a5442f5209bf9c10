// SPDX-License-Identifier: Apache-2.0
// The way of one get through a transport: find, wait, land, take — and giving up without leaving a write behind.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/block_source.hpp>
#include <omniconn/detail/drive.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Where an object lands in two parts: what is in front of its payload, and the payload.
struct landing_place {
  mutable_bytes front, into;
};

/// A get operation with the memory it may still write to and the key it refers to.
template <class Transport, class Allocator>
struct pending_get {
  landing_block<Transport, Allocator> landed;
  std::string key;
  std::unique_ptr<pending_get> next;  ///< of those that are parked
  typename Transport::get_op op;      ///< ends before the memory that it writes to
};

/// Gets that were given up while a peer could still write: kept until they are quiet.
template <class Transport, class Allocator>
class parked_gets {
  using entry = pending_get<Transport, Allocator>;

 public:
  /// Takes no memory: giving up must not fail.
  void park(std::unique_ptr<entry> given_up) noexcept {
    std::scoped_lock const lock(mutex_);
    given_up->next = std::move(first_);
    first_ = std::move(given_up);
  }
  /// Frees what has become quiet.
  void reap(Transport& transport) {
    std::scoped_lock const lock(mutex_);
    for (auto* at = &first_; *at != nullptr;)
      if (auto now = transport.cancel((*at)->op); !now || *now != progress::pending) {
        auto rest = std::move((*at)->next);
        *at = std::move(rest);
      } else {
        at = &(*at)->next;
      }
  }
  /// Waits until all are quiet.
  void drain(Transport& transport) noexcept {
    std::scoped_lock const lock(mutex_);
    while (first_ != nullptr) {
      make_quiet(transport, first_->op);
      auto rest = std::move(first_->next);
      first_ = std::move(rest);
    }
  }

 private:
  std::mutex mutex_;
  std::unique_ptr<entry> first_;
};

/// Runs the gets of one connector. The operation lies on the stack where giving up is immediate, else on the heap, so that it can be parked.
template <class Transport, class Allocator>
class get_driver {
  using op_type = typename Transport::get_op;
  using landing = landing_block<Transport, Allocator>;
  template <class Take>
  using outcome = std::invoke_result_t<Take&, op_type&, landing&>;

 public:
  /// `room`: bytes of an object in front of its payload, which `max_payload` does not count.
  get_driver(Transport& transport, block_source<Transport, Allocator>& memory, std::uint64_t max_payload, std::uint64_t room) noexcept
      : transport_(transport), memory_(memory), max_size_(max_payload > ~std::uint64_t{0} - room ? max_payload : max_payload + room) {}

  /// Waits until all that was given up is quiet.
  void drain() noexcept { parked_.drain(transport_); }
  /// Frees what was given up and has become quiet. Nothing to do where giving up is immediate.
  void reap() {
    if constexpr (!Transport::caps.quiet_cancel) parked_.reap(transport_);
  }
  /// Gives a get up that has not ended. \requires the caller keeps it no longer.
  void give_up(std::unique_ptr<pending_get<Transport, Allocator>> pending) noexcept {
    if (auto const quiet = transport_.cancel(pending->op); quiet && *quiet == progress::pending) parked_.park(std::move(pending));
  }
  [[nodiscard]] Transport& transport() noexcept { return transport_; }

  /// \returns what `take(op, landed)` makes of an object that was found, and is not too large. Inlined by force: a call of its own and a
  /// copy of its result would cost a small get a tenth of its time.
  template <class Take>
  [[gnu::always_inline]] auto run(wire_key key, find_options how, get_options const& o, Take take) {
    wait_as_asked(how, o);
    if constexpr (Transport::caps.quiet_cancel) {
      landing landed;
      op_type op;  // ends before the memory that it writes to
      how.alone = true;
      auto const now = transport_.find(op, key, how);
      if (!now || *now != progress::done)
        if (auto const done = drive(op, landed, now, o); !done) {
          (void)transport_.cancel(op);
          return outcome<Take>(done.error());
        }
      return finish(op, landed, take);
    } else {
      reap();
      auto pending = std::make_unique<pending_get<Transport, Allocator>>();
      pending->key.assign(key);
      if (auto const done = drive(pending->op, pending->landed, transport_.find(pending->op, pending->key, how), o); !done) {
        give_up(std::move(pending));
        return outcome<Take>(done.error());
      }
      return finish(pending->op, pending->landed, take);
    }
  }

  /// Whether a get can land in memory that is not ours: nobody writes to it any more when the call has ended.
  static constexpr bool lands_anywhere = !Transport::caps.zero_copy_get && Transport::caps.quiet_cancel;

  /// A get that lands where the caller says. \returns what `read(front, payload, op)` makes of it; an error gives the object back.
  template <class Read>
  auto run_into(wire_key key, find_options how, get_options const& o, landing_place to, Read read)
    requires lands_anywhere
  {
    using read_result = std::invoke_result_t<Read&, const_bytes, const_bytes, op_type const&>;
    wait_as_asked(how, o);
    op_type op;
    if (auto const done = drive(op, to, transport_.find(op, key, how), o); !done) {
      (void)transport_.cancel(op);
      return read_result(done.error());
    }
    typename Transport::hold claim = op.take();
    read_result out = read(const_bytes(to.front), const_bytes(to.into), op);
    claim.finish(out ? disposition::consumed : disposition::give_back);
    return out;
  }

  // --- the steps of a get, for those who drive several: get_many.hpp ----------------------------------------------------------------

  /// How long to wait. "Do not wait" is a second for those who need a round trip to say that nothing is there.
  [[nodiscard]] static deadline patience(get_options const& o) noexcept { return o.until.is_immediate() ? deadline::after(std::chrono::seconds(1)) : o.until; }
  /// What a wait that failed means to the caller of the get.
  [[nodiscard]] static error why(error e, get_options const& o) noexcept {
    if (o.until.is_immediate() && e.kind() == error_kind::timed_out) return {error_kind::not_found, "no such object, as far as the transport could tell in a second"};
    return e;
  }

  /// Gives memory to a get that asks for it.
  result<progress> provide(op_type& op, landing& landed) {
    if constexpr (Transport::caps.zero_copy_get) {
      return {error_kind::unsupported, "the transport asks for memory although it says that it reads in place"};
    } else {
      // The size is the peer's word: checked before anything is allocated for it.
      std::uint64_t const size = op.info().size;
      if (size > max_size_) return {error_kind::too_large, "the object is larger than max_get_size"};
      auto block = memory_.carve(static_cast<std::size_t>(size));
      if (!block) return block.error();
      landed = std::move(*block);
      mutable_bytes const to(landed.data(), static_cast<std::size_t>(size));
      return transport_.land(op, mutable_pieces(&to, 1));
    }
  }

  /// The same with memory of the caller's, of which what is not needed is cut off.
  result<progress> provide(op_type& op, landing_place& to) {
    std::uint64_t const size = op.info().size;
    if (size > max_size_) return {error_kind::too_large, "the object is larger than max_get_size"};
    if (size < to.front.size()) to.front = to.front.first(static_cast<std::size_t>(size));
    std::size_t const payload = static_cast<std::size_t>(size) - to.front.size();
    if (payload > to.into.size()) return {error_kind::too_large, "the object is larger than the memory given to get_into"};
    to.into = to.into.first(payload);
    std::array<mutable_bytes, 2> both{};
    std::size_t count = 0;
    for (auto const& part : {to.front, to.into})
      if (!part.empty()) both[count++] = part;
    return transport_.land(op, mutable_pieces(both.data(), count));
  }

  /// The end of a get that is done: what `take` makes of it. See `run`.
  template <class Take>
  [[gnu::always_inline]] outcome<Take> finish(op_type& op, landing& landed, Take& take) {
    if (op.info().size <= max_size_) [[likely]] return take(op, landed);
    op.take().finish(disposition::give_back);
    return {error_kind::too_large, "the object is larger than max_get_size"};
  }

 private:
  /// "Do not wait" means: not for the object. A pull transport needs its round trip all the same.
  static void wait_as_asked(find_options& how, get_options const& o) noexcept {
    how.wait = !o.until.is_immediate();
    how.until = o.until;
  }

  /// The way from what `find` said to `done`. Apart from `run`, so that a get of what is there already does not carry it along.
  template <class Landing>
  [[gnu::noinline]] result<void> drive(op_type& op, Landing& landed, result<progress> now, get_options const& o) {
    deadline const limit = patience(o);
    for (;;) {
      if (!now) return now.error();
      switch (*now) {
        case progress::done: return {};
        case progress::needs_memory: now = provide(op, landed); break;
        case progress::pending: {
          operation* const ops[]{&op};
          if (auto const woken = transport_.wait(ops, limit, o.stop); !woken) return why(woken.error(), o);
          now = transport_.step(op);
          break;
        }
      }
    }
  }

  Transport& transport_;
  block_source<Transport, Allocator>& memory_;
  std::uint64_t max_size_;
  parked_gets<Transport, Allocator> parked_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
