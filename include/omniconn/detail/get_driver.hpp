// SPDX-License-Identifier: Apache-2.0
// The way of one get through a transport: find, wait, land, take — and giving up without leaving a write behind.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/block_source.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// A get operation with the memory it may still write to and the key it refers to.
template <class Transport, class Allocator>
struct pending_get {
  landing_block<Transport, Allocator> landing;
  std::string key;
  typename Transport::get_op op;
};

/// Gets that were given up while a peer could still write: kept until they are quiet.
template <class Transport, class Allocator>
class parked_gets {
  using entry = pending_get<Transport, Allocator>;

 public:
  void park(std::unique_ptr<entry> given_up) {
    std::scoped_lock const lock(mutex_);
    entries_.push_back(std::move(given_up));
  }
  /// Frees what has become quiet.
  void reap(Transport& transport) {
    std::scoped_lock const lock(mutex_);
    for (std::size_t i = 0; i != entries_.size();)
      if (auto now = transport.cancel(entries_[i]->op); !now || *now != progress::pending) {
        entries_[i] = std::move(entries_.back());
        entries_.pop_back();
      } else {
        ++i;
      }
  }
  /// Waits until all are quiet.
  void drain(Transport& transport) noexcept {
    std::scoped_lock const lock(mutex_);
    for (auto& parked : entries_) {
      operation* const ops[]{&parked->op};
      for (auto now = transport.cancel(parked->op); now && *now == progress::pending; now = transport.cancel(parked->op))
        if (!transport.wait(ops, deadline::never(), {})) break;
    }
    entries_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<entry>> entries_;
};

/// What a get ended with.
template <class Transport, class Allocator>
struct found_object {
  typename Transport::hold claim;
  [[no_unique_address]] landing_block<Transport, Allocator> landed;
  const_bytes bytes;
  object_info info;
};

/// Runs one get. The operation lies on the stack where giving up is immediate, else on the heap, so that it can be parked.
template <class Transport, class Allocator>
class get_driver {
  using found = found_object<Transport, Allocator>;

 public:
  get_driver(Transport& transport, block_source<Transport, Allocator>& memory, parked_gets<Transport, Allocator>& parked) noexcept
      : transport_(transport), memory_(memory), parked_(parked) {}

  /// Fills `out` in place: moving a hold through three results would cost a small get a tenth of its time.
  [[gnu::always_inline]] result<void> run(found& out, wire_key key, find_options const& how, deadline until, stop_token const& stop, std::uint64_t max_size) {
    if constexpr (Transport::caps.quiet_cancel) {
      typename Transport::get_op op;
      auto done = drive(op, out.landed, key, how, until, stop, max_size);
      if (!done) {
        (void)transport_.cancel(op);
        out.landed.reset();
        return done;
      }
      return take(op, out, max_size);
    } else {
      parked_.reap(transport_);
      auto pending = std::make_unique<pending_get<Transport, Allocator>>();
      pending->key.assign(key);
      auto done = drive(pending->op, pending->landing, pending->key, how, until, stop, max_size);
      if (!done) {
        if (auto quiet = transport_.cancel(pending->op); quiet && *quiet == progress::pending) parked_.park(std::move(pending));
        return done.error();
      }
      out.landed = std::move(pending->landing);
      return take(pending->op, out, max_size);
    }
  }

 private:
  using op_type = typename Transport::get_op;

  [[gnu::always_inline]] result<void> drive(op_type& op, landing_block<Transport, Allocator>& landing, wire_key key, find_options how, deadline until, stop_token const& stop, std::uint64_t max_size) {
    // "Do not wait" means: not for the object. A pull transport needs its round trip all the same.
    how.wait = !until.is_immediate();
    deadline const limit = how.wait ? until : deadline::after(std::chrono::seconds(1));
    auto now = transport_.find(op, key, how);
    for (;;) {
      if (!now) return now.error();
      switch (*now) {
        case progress::done: return {};
        case progress::needs_memory: {
          if constexpr (Transport::caps.zero_copy_get) {
            return {error_kind::unsupported, "the transport asks for memory although it says that it reads in place"};
          } else {
            // The size is the peer's word: checked before anything is allocated for it.
            std::uint64_t const size = op.info().size;
            if (size > max_size) return {error_kind::too_large, "the object is larger than max_get_size"};
            auto block = memory_.carve(static_cast<std::size_t>(size));
            if (!block) return block.error();
            landing = std::move(*block);
            mutable_bytes const to(landing.data(), static_cast<std::size_t>(size));
            now = transport_.land(op, mutable_pieces(&to, 1));
          }
          break;
        }
        case progress::pending: {
          operation* const ops[]{&op};
          if (auto woken = transport_.wait(ops, limit, stop); !woken) {
            if (until.is_immediate() && woken.error().kind() == error_kind::timed_out) return {error_kind::not_found, "no such object, as far as the transport could tell in a second"};
            return woken.error();
          }
          now = transport_.step(op);
          break;
        }
      }
    }
  }

  [[gnu::always_inline]] static result<void> take(op_type& op, found& out, std::uint64_t max_size) {
    // Made in place of empty ones, which have nothing to destroy: copies would wait for their own stores.
    ::new (static_cast<void*>(&out.info)) object_info(op.info());
    ::new (static_cast<void*>(&out.claim)) typename Transport::hold(op.take());
    out.bytes = out.landed.data() == nullptr ? out.claim.bytes() : const_bytes(out.landed.data(), static_cast<std::size_t>(out.info.size));
    if (out.bytes.size() == out.info.size && out.info.size <= max_size) return {};
    out.claim.finish(disposition::give_back);
    if (out.info.size > max_size) return {error_kind::too_large, "the object is larger than max_get_size"};
    return {error_kind::corrupt, "the object has not as many bytes as its size says"};
  }

  Transport& transport_;
  block_source<Transport, Allocator>& memory_;
  parked_gets<Transport, Allocator>& parked_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
