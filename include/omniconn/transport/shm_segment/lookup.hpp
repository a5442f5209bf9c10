// SPDX-License-Identifier: Apache-2.0
// The way of a get: look, claim, or sleep until a file of the key changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_segment/endpoint.hpp>
#include <omniconn/transport/shm_segment/publish.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::segment {

inline error stale_error() noexcept { return {error_kind::stale_handle, "the metadata is of an object that is gone; get by key, or ask for new metadata"}; }

/// A payload that came in its metadata. \requires the operation is locked, or not yet known to others.
inline result<progress> look_inline(endpoint& e, get_operation& op) {
  auto payload = e.inlined.find(op.wanted_.inode);
  if (payload == nullptr || payload->bytes.size() != op.wanted_.size || !payload->take()) return op.fail(stale_error());
  op.hold_ = segment_hold::of(std::move(payload));
  return progress::done;
}

/// \requires the operation is locked, or not yet known to others.
inline result<progress> look(endpoint& e, get_operation& op) {
  if (op.by_locator_ && op.wanted_.name_size == place::in_metadata) {
    if (auto now = look_inline(e, op); !now) return now;
  } else {
    file_id const which{op.wanted_.inode, op.wanted_.born};
    auto now = segment_hold::claim(op.hold_, op.paths_, op.by_locator_ ? op.wanted_.size : 0, op.by_locator_ && which.inode != 0 ? &which : nullptr);
    if (!now) return op.fail(now.error());
    op.unfinished_ = *now == segment_hold::outcome::unfinished;
    if (*now != segment_hold::outcome::claimed) return progress::pending;
  }
  op.info_ = {};
  op.info_.size = op.hold_.bytes().size();
  op.where_ = op.by_locator_ && op.wanted_.name_size == place::in_metadata ? locator::pack(locator_tag::shm_segment, op.wanted_) : named_place(op.hold_.id(), op.info_.size, op.name_);
  op.become(stage::found);
  e.gets.fetch_add(1, std::memory_order_relaxed);
  e.get_bytes.fetch_add(op.info_.size, std::memory_order_relaxed);
  return progress::done;
}

inline result<progress> start_get(endpoint& e, get_operation& op, wire_key key, find_options const& o) {
  if (op.is(stage::found) || op.is(stage::looking)) return {error_kind::misconfigured, "the get operation is in use"};
  op.by_locator_ = o.where != nullptr;
  op.name_.assign(key);
  if (op.by_locator_) {
    auto at = o.where->unpack<place>(locator_tag::shm_segment);
    if (!at) return op.fail(at.error());
    op.wanted_ = *at;
    std::string_view const named(at->name, at->name_size <= sizeof at->name ? at->name_size : 0);
    if (!named.empty() && named != key) {
      if (at->inode != 0) return op.fail(stale_error());
      op.name_.assign(named);  // Python's metadata may name another file than the key, and counts
    }
    if (at->name_size == 0 && !at->is_long_name(key)) return op.fail({error_kind::malformed, "the metadata names another segment than the key, in more than 39 bytes; get with that name as the key"});
  }
  if (auto ok = check_key(op.name_); !ok) return op.fail(ok.error());
  op.paths_ = object_paths(e.folder, op.name_);
  auto now = look(e, op);
  if (!now || *now != progress::pending) return now;
  if (!o.wait) return op.fail({error_kind::not_found, "no such object now"});
  op.become(stage::looking);
  return now;
}

inline result<progress> step_get(endpoint* e, get_operation& op) {
  locked_operation const lock(op);
  if (lock.at() == stage::found) return progress::done;
  if (lock.at() != stage::looking) return op.failure_;
  call const entered(e);
  if (!entered) return op.fail(closed_error());
  return look(*e, op);
}

/// From any thread, also while a `wait` has the operation: that is woken.
inline void cancel_get(get_operation& op) noexcept {
  locked_operation const lock(op);
  op.hold_.finish(disposition::give_back);
  if (lock.at() != stage::looking && lock.at() != stage::found) return;
  if (op.watch_ != nullptr) op.watch_->ring();  // before the operation's lock is gone, and with it perhaps the watch and the operation
  op.fail(cancelled_error());
}

/// A wait's eyes, known to its operations so that a cancel can ring.
class watching {
 public:
  watching(endpoint& e, std::span<operation* const> ops) : endpoint_(e), ops_(ops), watch_(e.watches.take()) {
    for (operation* const op : ops) {
      with(op, watch_.get());
      auto const& paths = static_cast<staged_operation*>(op)->is_get_ ? static_cast<get_operation*>(op)->paths_ : static_cast<put_operation*>(op)->paths_;
      for (std::string const* path : {&paths.segment, &paths.lock}) files_.push_back(std::string_view(*path).substr(e.folder.size() + 1));
    }
    if (!files_.empty()) watch_->start(e.folder);
  }
  watching(watching const&) = delete;
  watching& operator=(watching const&) = delete;
  ~watching() {
    for (operation* const op : ops_) with(op, nullptr);
    endpoint_.watches.put_back(std::move(watch_));
  }
  bool sleep(deadline until) noexcept {
    bool restless = false;
    for (operation* const op : ops_) {
      auto* const staged = static_cast<staged_operation*>(op);
      restless = restless || (staged->is_get_ && static_cast<get_operation*>(staged)->unfinished_);
    }
    return watch_->sleep(files_, until, restless);
  }
  folder_watch const& watch() const noexcept { return *watch_; }

 private:
  static void with(operation* op, folder_watch const* watch) noexcept {
    auto* const staged = static_cast<staged_operation*>(op);
    locked_operation const lock(*staged);
    (staged->is_get_ ? static_cast<get_operation*>(staged)->watch_ : static_cast<put_operation*>(staged)->watch_) = watch;
  }
  endpoint& endpoint_;
  std::span<operation* const> ops_;
  std::unique_ptr<folder_watch> watch_;
  std::vector<std::string_view> files_;
};

inline result<std::size_t> wait_for_any(endpoint& e, std::span<operation* const> ops, deadline until, std::stop_token const& stop) {
  auto ready = [&]() -> std::size_t {
    for (std::size_t i = 0; i != ops.size(); ++i) {
      auto* const op = static_cast<staged_operation*>(ops[i]);
      locked_operation const lock(*op);
      if (op->is_get_) {
        if (lock.at() != stage::looking) return i;
        if (auto const now = look(e, static_cast<get_operation&>(*op)); !now || *now != progress::pending) return i;
      } else {
        auto& put = static_cast<put_operation&>(*op);
        if (lock.at() != stage::begun || !put.committing_) return i;
        if (auto const now = go_on(e, put); !now || *now != progress::pending) return i;
      }
    }
    return ops.size();
  };
  if (std::size_t const i = ready(); i != ops.size()) return i;
  if (auto const may = may_sleep(ops, until, stop); !may) return may.error();

  watching eyes(e, ops);
  auto const bell = [&eyes]() noexcept { eyes.watch().ring(); };
  std::stop_callback const on_stop(stop, bell);
  std::stop_callback const on_close(e.closing.get_token(), bell);
  for (;;) {
    if (std::size_t const i = ready(); i != ops.size()) return i;
    if (e.closing.stop_requested()) return closed_error();
    if (stop.stop_requested()) return {error_kind::cancelled, "the wait was cancelled"};
    if (!eyes.sleep(until)) {
      if (std::size_t const i = ready(); i != ops.size()) return i;
      return {error_kind::timed_out, "the object did not come before the deadline"};
    }
  }
}

}  // namespace detail::segment

OMNICONN_END_NAMESPACE
