// SPDX-License-Identifier: Apache-2.0
// Objects that are read while they grow: audio that is being spoken, a KV cache layer by layer. connector.hpp does without it; any_connector.hpp, and so the umbrella, has it.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/block_source.hpp>
#include <omniconn/detail/drive.hpp>
#include <omniconn/detail/open_found.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

/// A connector of a transport whose objects can be read while they grow. Not what merely names such a transport: the calls need what is inside.
template <class C>
concept growing_connector = transport_growing<typename C::transport_type> &&
                            std::derived_from<C, connector<typename C::transport_type, typename C::serializer_type, typename C::keying_type, typename C::allocator_type>>;

template <class Connector> class growing_put;
template <class Connector> class growing_view;

namespace detail {

/// What a connector shows to this header.
struct growing_access {
  template <class Connector> struct core_of {
    using type = typename Connector::core;
  };

  template <class Connector> static result<growing_put<Connector>> announce(Connector& c, edge e, std::string_view key, std::size_t room, put_options const& o, payload_kind kind);
  template <class Connector> static result<growing_put<Connector>> put(Connector& c, edge e, std::string_view key, std::size_t room, put_options const& o, payload_kind kind);
  template <class Connector> static result<growing_view<Connector>> get(Connector& c, edge e, std::string_view key, get_options const& o);
};

/// What both ends are made of. An operation gives up, when it ends, what it has not finished.
template <class Connector, class Op>
class growing_end {
 protected:
  using core = typename growing_access::core_of<Connector>::type;

  growing_end() noexcept = default;
  growing_end(std::shared_ptr<core> keeper, std::unique_ptr<Op> op) noexcept : keeper_(std::move(keeper)), op_(std::move(op)) {}
  growing_end(growing_end&&) noexcept = default;
  growing_end& operator=(growing_end&& other) noexcept {
    op_ = std::move(other.op_);  // before the transport that it may be the last to keep
    keeper_ = std::move(other.keeper_);
    return *this;
  }
  ~growing_end() = default;

  error fail(error e) const noexcept {
    if (keeper_ != nullptr) keeper_->errors.count(e.kind());
    return e;
  }

  std::shared_ptr<core> keeper_;
  std::unique_ptr<Op> op_;  // ends before the transport
};

}  // namespace detail

/// The writer's end of an object that grows: write into `bytes()`, say how far it is, and end it. What was announced must not change any more: readers have it.
///
/// One that ends without `commit` is aborted: readers get `aborted`, and the key is free. It may outlive the connector; after `close` it is aborted, too.
/// \threadsafety one thread at a time
template <class Connector>
class growing_put : detail::growing_end<Connector, typename Connector::transport_type::put_op> {
  using base = detail::growing_end<Connector, typename Connector::transport_type::put_op>;
  using base::fail, base::keeper_, base::op_;

 public:
  growing_put() noexcept = default;

  /// All the room there is, until it ended.
  [[nodiscard]] mutable_bytes bytes() const noexcept { return op_ == nullptr ? mutable_bytes() : room_; }
  /// Bytes that readers may have.
  [[nodiscard]] std::size_t announced() const noexcept { return static_cast<std::size_t>(info_.size); }

  /// The first `size` bytes are there. Those that are new are summed, where the object has a checksum, and readers that sleep are woken.
  /// \errors `misconfigured`: fewer than before, or more than there is room for; `closed`: it was committed or aborted. Whether anybody can still have it, `commit` says
  result<void> advance(std::size_t size) {
    if (op_ == nullptr) return fail(ended());
    if (size < announced() || size > room_.size()) return fail({error_kind::misconfigured, "advance says how many bytes are there in all: never fewer than before, never more than the room"});
    if (info_.checksum_by != checksum_kind::none) sum_.update(const_bytes(room_).subspan(announced(), size - announced()));
    info_.size = size;
    keeper_->transport.advance(*op_, size);
    return {};
  }

  /// The object is whole: as long as was announced. \errors as put; `already_exists`: one that replaces took the key meanwhile. It has ended then, too
  result<receipt> commit() {
    if (op_ == nullptr) return fail(ended());
    auto const op = std::move(op_);
    info_.checksum = info_.checksum_by != checksum_kind::none ? sum_.digest() : 0;
    if (auto const done = detail::drive_on(keeper_->transport, *op, keeper_->transport.commit(*op, info_), until_, stop_); !done) return fail(done.error());
    return receipt{info_.size, op->where()};
  }

  /// Gives the object up. Nothing to do where it ended.
  void abort() noexcept { op_.reset(); }

 private:
  friend struct detail::growing_access;
  static error ended() noexcept { return {error_kind::closed, "the growing object has ended: it was committed, aborted or moved from"}; }

  mutable_bytes room_;
  object_info info_;            // its size: what was announced
  checksum_state sum_;          // of that
  deadline until_;
  stop_token stop_;
};

/// The reader's end: the bytes that are there, and this reader's claim on the object. Bytes are unverified until `finish`, and nobody else's until this ends. Gives the object back
/// where it ends before `finish`.
/// \threadsafety one thread at a time
template <class Connector>
class growing_view : detail::growing_end<Connector, typename Connector::transport_type::get_op> {
  using base = detail::growing_end<Connector, typename Connector::transport_type::get_op>;
  using base::fail, base::keeper_, base::op_;
  using view = typename Connector::view;

 public:
  growing_view() noexcept = default;

  /// More bytes than so many will not come; fewer may.
  [[nodiscard]] std::size_t room() const noexcept { return room_; }
  /// What was there when it was looked last: by `get_growing`, `wait_for` or `finish`. Valid as long as this, or the view that it becomes; empty after an error that ended it.
  [[nodiscard]] const_bytes bytes() const noexcept { return op_ == nullptr ? const_bytes() : op_->so_far(); }
  /// No more bytes come. Whether they are right, `finish` says.
  [[nodiscard]] bool whole() const noexcept { return op_ != nullptr && op_->is_whole(); }

  /// Waits until `size` bytes are there, or the object is whole with fewer. \returns all that is there.
  /// \errors aborted, peer_lost: its producer gave it up, or died; it is gone. timed_out, cancelled, peer_stalled: this may be asked again. closed
  result<const_bytes> wait_for(std::size_t size, deadline until, stop_token stop = {}) {
    if (op_ == nullptr) return fail(ended());
    operation* const ops[]{op_.get()};
    auto now = keeper_->transport.await_bytes(*op_, size);
    while (now && *now == progress::pending) {
      if (auto const woken = keeper_->transport.wait(ops, until, stop); !woken) return fail(woken.error());  // not cancelled: the claim stays
      now = keeper_->transport.step(*op_);
    }
    if (!now) return fail(now.error());
    return bytes();
  }

  /// Waits for the end: the object as a view like any other, verified. This is empty then. \errors as `wait_for`; `corrupt`: the object stays where it is
  result<view> finish(deadline until, stop_token stop = {}) {
    while (!whole())  // an object that is all there may not be committed yet
      if (auto const there = wait_for(~std::size_t{0}, until, stop); !there) return there.error();
    auto const op = std::move(op_);
    detail::no_block none;
    auto out = detail::found_opener::open<view>(*keeper_, *op, none);
    if (!out) return fail(out.error());
    return out;
  }

 private:
  friend struct detail::growing_access;
  growing_view(auto keeper, auto op) noexcept : base(std::move(keeper), std::move(op)), room_(static_cast<std::size_t>(op_->info().size)) {}
  static error ended() noexcept { return {error_kind::closed, "the growing view has ended: it was finished or moved from"}; }

  std::size_t room_ = 0;
};

namespace detail {

template <class Connector>
result<growing_put<Connector>> growing_access::announce(Connector& c, edge e, std::string_view key, std::size_t room, put_options const& o, payload_kind kind) {
  if (room > Connector::caps.max_object) return Connector::too_large();
  typename Connector::addressed to(*c.core_, e, key);
  if (auto const can = c.ask(to, e, o); !can) return can.error();
  auto block = c.core_->memory->carve(room, o.until);
  if (!block) return block.error();
  auto info = c.new_info(kind, room, o);
  growing_put<Connector> out;
  out.room_ = mutable_bytes(block->data(), room);
  out.until_ = o.until;
  out.stop_ = o.stop;
  auto op = std::make_unique<typename Connector::transport_type::put_op>();
  const_bytes const piece(out.room_);
  to.how.growing = true;
  auto const begun = c.core_->transport.begin(*op, *to.wire, outgoing{piece.empty() ? pieces{} : pieces(&piece, 1), block->token(), block->dispose()}, info, to.how);
  if (!begun) return begun.error();
  block->handed_over();
  if (auto const done = drive_on(c.core_->transport, *op, begun, o.until, o.stop); !done) return done.error();
  info.size = 0;
  out.info_ = info;
  out.keeper_ = c.core_;
  out.op_ = std::move(op);
  return out;
}

template <class Connector>
result<growing_put<Connector>> growing_access::put(Connector& c, edge e, std::string_view key, std::size_t room, put_options const& o, payload_kind kind) {
  auto const attempt = [&]() { return announce(c, e, key, room, o, kind); };
  auto out = attempt();
  c.again_in_room(out, e, o, attempt);
  if (!out) c.count(out.error());
  return out;
}

template <class Connector>
result<growing_view<Connector>> growing_access::get(Connector& c, edge e, std::string_view key, get_options const& o) {
  auto& transport = c.core_->transport;
  key_scratch scratch;
  auto const wire = c.core_->keying.make(e, key, scratch, Connector::caps.max_key);
  if (!wire) return c.fail(wire.error());
  find_options how;
  c.ask(how, e, o);
  how.growing = true;
  how.alone = true;
  how.wait = !o.until.is_immediate();
  how.until = o.until;
  auto op = std::make_unique<typename Connector::transport_type::get_op>();
  if (auto const done = drive_on(transport, *op, transport.find(*op, *wire, how), o.until, o.stop); !done) return c.fail(done.error());
  if (op->info().size > c.core_->defaults.max_get_size) return c.fail(error{error_kind::too_large, "the object is, or may become, larger than max_get_size"});
  return growing_view<Connector>(c.core_, std::move(op));
}

}  // namespace detail

/// Announces an object of up to `room` bytes. It has the key from now on; `get_growing` finds it at once, every other get when it is whole.
/// \errors as `connector::put`
template <growing_connector Connector>
result<growing_put<Connector>> put_growing(Connector& by, edge e, std::string_view key, std::size_t room, put_options const& o = {}, payload_kind kind = payload_kind::raw) {
  return detail::growing_access::put(by, e, key, room, o, kind);
}

/// The object as soon as it is announced: what is there of it can be read while the rest is on its way. One that was put in one piece is there as a whole.
/// \errors as `connector::get_view`
template <growing_connector Connector>
result<growing_view<Connector>> get_growing(Connector& by, edge e, std::string_view key, get_options const& o = {}) {
  return detail::growing_access::get(by, e, key, o);
}

OMNICONN_END_NAMESPACE
