// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// The way of a put: reserve the key, copy the pieces into memory of their own, seal it, show it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/algorithm.hpp>
#include <omniconn/detail/call_gate.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_sealed/desk_calls.hpp>
#include <omniconn/transport/shm_sealed/desk_look.hpp>
#include <omniconn/transport/shm_sealed/house.hpp>
#include <omniconn/transport/shm_sealed/memory.hpp>
#include <omniconn/transport/shm_sealed/operations.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

/// The part of a transport that does not move.
struct endpoint : call_gate {
  explicit endpoint(meeting_place p, std::string name) : place(std::move(p)), reader(std::move(name)), objects(place), consumer(place) {}

  meeting_place place;
  std::string reader;  ///< of gets that bring no name
  house objects;
  desk consumer;
  std::mutex returned_mutex;
  std::vector<std::uint64_t> returned;  ///< tokens of blocks that are the caller's again
  std::atomic<std::uint64_t> puts{0}, put_bytes{0};

  void give_back(outgoing const& out) {
    if (out.dispose != nullptr) return out.dispose(out.token);
    if (inherited()) return;  // the block is the parent's, and a thread of the parent may have the lock
    std::scoped_lock const lock(returned_mutex);
    returned.push_back(out.token);
  }
};

/// Ends a put that was begun.
inline error give_up(put_operation& op, error why) {
  if (!op.owner_->inherited()) op.owner_->objects.abandon(op.key_);
  op.owner_->give_back(op.out_);
  op.now_ = put_operation::state::failed;
  op.failure_ = why;
  return why;
}
inline void abort_put(put_operation& op) {
  if (op.now_ == put_operation::state::begun) give_up(op, cancelled_error());
}
inline put_operation::~put_operation() { abort_put(*this); }

/// \errors `misconfigured`
inline result<void> read_readers(reader_set const& readers, put_operation& op) {
  if (readers.anybody) return {error_kind::unsupported, "sealed memory does not keep objects that are read; give their readers"};
  if (readers.size() == 0) return {error_kind::misconfigured, "readers is 0: nobody could ever read the object; give a count of at least 1 or names"};
  if (readers.size() > max_readers) return {error_kind::misconfigured, "more readers than the 1024 that sealed memory allows for one object"};
  op.readers_ = readers.size();
  op.named_.assign(readers.names.begin(), readers.names.end());
  detail::sort(op.named_.data(), op.named_.size(), [](std::string const& a, std::string const& b) { return a < b; });
  for (std::size_t i = 0; i != op.named_.size(); ++i) {
    if (op.named_[i].size() > max_name) return {error_kind::misconfigured, "a reader's name is longer than 255 bytes"};
    if (i != 0 && op.named_[i - 1] == op.named_[i]) return {error_kind::misconfigured, "readers names somebody twice; each reader has one share"};
  }
  return {};
}

inline result<progress> begin_put(endpoint& e, put_operation& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
  if (op.now_ == put_operation::state::begun) return {error_kind::misconfigured, "the put operation is still in use; commit or abort it first"};
  auto const refuse = [&op](error why) {
    op.now_ = put_operation::state::failed;
    return op.failure_ = why;
  };
  if (key.size() > max_key_size) return refuse({error_kind::too_large, "the key is longer than 4096 bytes"});
  if (info.size > total_size(out.parts)) return refuse({error_kind::misconfigured, "object_info.size is larger than the pieces; give pieces of at least that size"});
  if (auto const can = read_readers(o.readers, op); !can) return refuse(can.error());
  if (auto const open = e.objects.open(); !open) return refuse(open.error());
  bool const replaces = o.existing == on_existing::replace;
  if (auto const begun = e.objects.begin(key, replaces, o.flow == nullptr ? std::string_view() : o.flow->from); !begun) return refuse(begun.error());
  op.owner_ = &e;
  op.key_.assign(key);
  op.parts_.assign(out.parts.begin(), out.parts.end());
  op.out_ = {{}, out.token, out.dispose};
  op.replaces_ = replaces;
  op.where_ = locator();
  op.now_ = put_operation::state::begun;
  return progress::done;
}

inline result<progress> commit_put(endpoint& e, put_operation& op, object_info const& info) {
  if (op.now_ != put_operation::state::begun) return {error_kind::misconfigured, "commit without a begun put"};
  if (info.size > total_size(op.parts_)) return {error_kind::misconfigured, "object_info.size is larger than the pieces that begin got"};
  auto memory = seal_pieces(op.parts_, static_cast<std::size_t>(info.size));
  if (!memory) return give_up(op, memory.error());
  auto object = std::make_shared<item>();
  object->memory = std::make_shared<unique_fd const>(std::move(*memory));
  object->info = info;
  object->readers = op.readers_;
  object->named = !op.named_.empty();
  for (auto& name : op.named_) object->shares.push_back({std::move(name), item::share::state::open});
  auto const shown = e.objects.commit(op.key_, std::move(object), op.replaces_);
  e.give_back(op.out_);
  if (!shown) {
    op.now_ = put_operation::state::failed;
    return op.failure_ = shown.error();
  }
  op.where_ = locator::pack(locator_tag::shm_sealed, place{e.objects.id(), *shown});
  op.now_ = put_operation::state::done;
  e.puts.fetch_add(1, std::memory_order_relaxed);
  e.put_bytes.fetch_add(info.size, std::memory_order_relaxed);
  return progress::done;
}

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
