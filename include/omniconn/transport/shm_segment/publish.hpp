// SPDX-License-Identifier: Apache-2.0
// The way of a put: take the key's lock, write a segment without a name, name it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_segment/endpoint.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::segment {

inline error exists_error() noexcept { return {error_kind::already_exists, "a segment with this key exists; wait until it is read, clean it up, or put with on_existing::replace"}; }
inline error beaten_error() noexcept { return {error_kind::already_exists, "a put with on_existing::replace took the key between begin and commit of this one"}; }

/// The key's lock for a put, or an empty one: then somebody has it right now, and commit sees to it.
inline result<key_lock> take_for_put(endpoint& e, object_paths const& paths, bool replaces) noexcept {
  for (int round = 0; round != 200; ++round) {
    auto lock = key_lock::try_take(paths.lock, key_lock::role::writer, key_lock::missing::make);
    if (lock || lock.error().kind() != error_kind::peer_stalled) return lock;
    if (replaces) return key_lock();
    struct stat st {};
    if (::lstat(paths.segment.c_str(), &st) == 0) return exists_error();
    switch (key_lock::holder(paths.lock)) {
      case key_lock::role::reader: return key_lock::replace(e.folder, paths.lock, key_lock::role::writer);  // of an object that has no name any more
      case key_lock::role::writer: return exists_error();
      case key_lock::role::foreign: ::sched_yield();  // a reader that is about to let it go, or a writer that is about to show its segment
    }
  }
  return key_lock();
}

/// A segment of no bytes that nobody writes is what a writer left that died. \requires we have the key's lock. \returns whether there was one.
inline bool remove_unwritten(object_paths const& paths) noexcept {
  struct stat st {};
  return ::lstat(paths.segment.c_str(), &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 && ::unlink(paths.segment.c_str()) == 0;
}

/// Ends a put that was begun: the lock file goes with it unless there is a segment that it belongs to.
inline void give_up(put_operation& op) {
  struct stat st {};
  if (op.lock_.held()) ::lstat(op.paths_.segment.c_str(), &st) == 0 ? op.lock_.release() : op.lock_.remove(op.paths_.lock);
  op.owner_->give_back(op.out_);
  op.fail(cancelled_error());
}

inline put_operation::~put_operation() {
  if (is(stage::begun)) give_up(*this);
}

inline result<progress> begin_put(endpoint& e, put_operation& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
  if (op.is(stage::begun)) return {error_kind::misconfigured, "the put operation is in use"};
  if (auto ok = check_key(key); !ok) return ok.error();
  if (o.readers.anybody) return {error_kind::unsupported, "objects of this layout are read once; use layout: omniconn to keep them"};
  if (o.readers.size() == 0) return {error_kind::misconfigured, "an object needs at least one reader"};
  if (o.readers.size() > 1) return {error_kind::misconfigured, "an object of this layout has one reader; use layout: omniconn for more"};
  if (!o.readers.names.empty()) return {error_kind::unsupported, "this layout cannot tell readers by name; remove `readers`, or use layout: omniconn"};
  std::uint64_t const room = total_size(out.parts);
  if (info.size > room) return {error_kind::misconfigured, "object_info.size is larger than the payload's pieces"};

  op.paths_ = object_paths(e.folder, key);
  bool const replaces = o.existing == on_existing::replace;
  // Before a lock file is made: a segment may lack one because a writer of Python's is still at it.
  if (struct stat there {}; ::lstat(op.paths_.segment.c_str(), &there) == 0) {
    if (auto own = check_owner(there); !own) return own.error();
    if (there.st_size != 0 && !replaces) return exists_error();
  }
  auto lock = take_for_put(e, op.paths_, replaces);
  if (!lock) return lock.error();
  op.lock_ = std::move(*lock);
  op.owner_ = &e;
  op.key_.assign(key);
  op.parts_.assign(out.parts.begin(), out.parts.end());
  op.out_ = {{}, out.token, out.dispose};
  op.replaces_ = replaces;
  op.committing_ = false;
  op.become(stage::begun);
  return progress::done;
}

/// Names the segment under the key's lock. \errors already_exists: somebody replaced what we began.
inline result<void> name_segment(endpoint& e, put_operation& op, int file) {
  bool const alone = op.lock_.counts(op.paths_.lock);
  if (op.lock_.held() && !alone && !op.replaces_) return beaten_error();
  unique_fd turn;
  if (!alone) {
    turn = key_lock::turn_of(op.paths_.lock);  // a reader of what we replace may be about to remove it
    auto fresh = key_lock::replace(e.folder, op.paths_.lock, key_lock::role::writer);
    if (!fresh) return fresh.error();
    op.lock_ = std::move(*fresh);
  }
  int failed = link_file(file, op.paths_.segment);
  if (failed == EEXIST && !op.replaces_ && remove_unwritten(op.paths_)) failed = link_file(file, op.paths_.segment);
  if (failed != EEXIST) return failed == 0 ? result<void>() : errno_error("naming a segment failed");
  if (!op.replaces_) return exists_error();
  return key_lock::name_over(file, e.folder, op.paths_.segment);
}

/// The first `size` bytes of the pieces in one.
inline blob joined(pieces parts, std::size_t size) {
  std::vector<std::byte> out;
  out.reserve(size);
  for (auto const& part : parts) {
    std::size_t const n = part.size() < size - out.size() ? part.size() : size - out.size();
    out.insert(out.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(n));
  }
  return blob::copy(out);
}

/// \requires the operation is locked and `begun`.
inline result<progress> go_on(endpoint& e, put_operation& op) {
  std::uint64_t const size = op.info_.size;
  auto refuse = [&op](error why) -> result<progress> {
    give_up(op);
    return op.fail(why);
  };
  if (size == 0) return refuse({error_kind::unsupported, "an empty segment means 'not written yet' in this layout; put at least one byte, or use layout: omniconn"});
  if (size <= e.inline_below) {
    place at;
    at.size = size;
    at.inode = e.inlined.add(joined(op.parts_, static_cast<std::size_t>(size)));
    at.name_size = place::in_metadata;
    op.where_ = locator::pack(locator_tag::shm_segment, at);
    op.lock_.remove(op.paths_.lock);
  } else {
    if (!op.lock_.held()) {
      // It was somebody's when we began. One of ours can be left its lock, on a nameless file; Python's removes whatever has the name, so its end is waited for.
      // So is that of a Python reader who looks for a segment that is not there: it has the lock for an instant, again and again.
      auto lock = key_lock::try_take(op.paths_.lock, key_lock::role::writer, key_lock::missing::make);
      if (lock) {
        op.lock_ = std::move(*lock);
      } else if (lock.error().kind() != error_kind::peer_stalled) {
        return refuse(lock.error());
      } else if (auto const who = key_lock::holder(op.paths_.lock); who == key_lock::role::foreign) {
        return progress::pending;
      } else if (who == key_lock::role::writer && !op.replaces_) {
        return refuse(exists_error());
      }
    }
    auto file = write_segment(e.folder, op.parts_, size);
    if (!file) return refuse(file.error());
    if (auto named = name_segment(e, op, file->get()); !named) return refuse(named.error());
    struct stat st {};
    ::fstat(file->get(), &st);
    op.where_ = named_place(id_of(st), size, op.key_);
    op.lock_.release();  // the lock file stays: Python's readers want one
    e.pending.add(op.key_, id_of(st), size, e.folder);
  }
  e.give_back(op.out_);
  op.become(stage::found);
  e.puts.fetch_add(1, std::memory_order_relaxed);
  e.put_bytes.fetch_add(size, std::memory_order_relaxed);
  return progress::done;
}

inline result<progress> commit_put(endpoint& e, put_operation& op, object_info const& info) {
  if (!op.is(stage::begun) || op.committing_) return {error_kind::misconfigured, "commit without begin"};
  if (info.size > total_size(op.parts_)) return {error_kind::misconfigured, "commit of more bytes than begin was given"};
  op.info_ = info;
  op.committing_ = true;
  locked_operation const lock(op);
  return go_on(e, op);
}

inline result<progress> step_put(endpoint* e, put_operation& op) {
  locked_operation const lock(op);
  if (lock.at() == stage::found || (lock.at() == stage::begun && !op.committing_)) return progress::done;
  if (lock.at() != stage::begun) return op.failure_;
  call const entered(e);
  if (!entered) {
    give_up(op);
    return op.fail(closed_error());
  }
  return go_on(*e, op);
}

inline void cancel_put(put_operation& op) {
  locked_operation const lock(op);
  if (lock.at() != stage::begun) return;
  if (op.watch_ != nullptr) op.watch_->ring();  // before the operation's lock is gone, and with it perhaps the watch and the operation
  give_up(op);
}

}  // namespace detail::segment

OMNICONN_END_NAMESPACE
