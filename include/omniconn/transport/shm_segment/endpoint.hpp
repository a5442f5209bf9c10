// SPDX-License-Identifier: Apache-2.0
// What the calls of one transport object share, and the operations that they drive.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/call_gate.hpp>
#include <omniconn/detail/staged_operation.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_segment/claim.hpp>
#include <omniconn/transport/shm_segment/files.hpp>
#include <omniconn/transport/shm_segment/watch.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::segment {

/// What a locator holds.
struct place {
  static constexpr std::uint8_t in_metadata = 0xff;
  std::uint64_t inode = 0;      ///< 0: metadata of Python's, which names no generation; with `in_metadata`: the number of the payload
  std::uint64_t born = 0;
  std::uint64_t size = 0;
  std::uint8_t name_size = 0;   ///< 0: the segment is named like the key, and a long name has its hash here
  char name[39] = {};

  void set_name(std::string_view text) noexcept {
    if (text.size() <= sizeof name) {
      name_size = static_cast<std::uint8_t>(text.size());
      std::memcpy(name, text.data(), text.size());
    } else {
      std::uint64_t const hash = checksum(bytes_of(text));
      std::memcpy(name, &hash, sizeof hash);
    }
  }
  /// Whether this is the name. \requires `name_size` is 0
  [[nodiscard]] bool is_long_name(std::string_view text) const noexcept {
    std::uint64_t hash = 0;
    std::memcpy(&hash, name, sizeof hash);
    return text.size() > sizeof name && hash == checksum(bytes_of(text));
  }
};
static_assert(sizeof(place) == locator::capacity);

/// The locator of a segment; its name fits where it is short.
inline locator named_place(file_id id, std::uint64_t size, std::string_view name) noexcept {
  place at;
  at.inode = id.inode;
  at.born = id.born;
  at.size = size;
  at.set_name(name);
  return locator::pack(locator_tag::shm_segment, at);
}

/// Payloads that travel in metadata: kept here between the metadata and the put or get that it belongs to.
class inline_table {
 public:
  static constexpr std::size_t most = 1024;  // the oldest go first: nobody has to ask for the metadata of a put

  [[nodiscard]] std::uint64_t add(blob bytes) {
    std::scoped_lock const lock(mutex_);
    auto payload = std::make_shared<inline_payload>();
    payload->bytes = std::move(bytes);
    std::erase_if(payloads_, [](auto const& known) { return known.second.use_count() == 1 && known.second->taken.load(); });  // consumed
    if (payloads_.size() == most) payloads_.erase(payloads_.begin());
    payloads_.emplace_back(++last_, std::move(payload));
    return last_;
  }
  [[nodiscard]] std::shared_ptr<inline_payload> find(std::uint64_t number) const {
    std::scoped_lock const lock(mutex_);
    for (auto const& [known, payload] : payloads_)
      if (known == number) return payload;
    return nullptr;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::pair<std::uint64_t, std::shared_ptr<inline_payload>>> payloads_;
  std::uint64_t last_ = 0;
};

/// Segments that this transport wrote and nobody is known to have read: `close` removes them, as Python's side does.
class pending_segments {
 public:
  void add(std::string_view key, file_id id, std::uint64_t size, std::string const& folder) {
    std::scoped_lock const lock(mutex_);
    // What was read or replaced meanwhile goes. Each put adds one and looks at two, so that the table stays about as small as the backlog.
    for (std::size_t n = 0; n != 2 && n < entries_.size(); ++n) {
      next_ = next_ < entries_.size() ? next_ : 0;
      if (still_there(folder, entries_[next_])) {
        ++next_;
      } else {
        entries_[next_] = std::move(entries_.back());
        entries_.pop_back();
      }
    }
    entries_.push_back({std::string(key), id, size});
  }
  /// The key of a segment of ours.
  [[nodiscard]] std::string key_of(file_id id) const {
    std::scoped_lock const lock(mutex_);
    for (auto const& e : entries_)
      if (e.id == id) return e.key;
    return {};
  }
  struct totals {
    std::uint64_t objects = 0, bytes = 0;
  };
  [[nodiscard]] totals count(std::string const& folder) const {
    std::scoped_lock const lock(mutex_);
    totals out;
    for (auto const& e : entries_)
      if (still_there(folder, e)) {
        ++out.objects;
        out.bytes += e.size;
      }
    return out;
  }
  /// Removes those that nobody reads right now.
  void remove_all(std::string const& folder) noexcept {
    std::scoped_lock const lock(mutex_);
    for (auto const& e : entries_) {
      object_paths const paths(folder, e.key);
      auto locked = key_lock::try_take(paths.lock, key_lock::role::reader, key_lock::missing::leave);
      if (!locked) continue;  // read by its reader, or read already
      locked->take_turn();
      if (still_there(folder, e)) ::unlink(paths.segment.c_str());
      struct stat st {};
      if (::lstat(paths.segment.c_str(), &st) != 0) locked->remove(paths.lock);
    }
    entries_.clear();
  }

 private:
  struct entry {
    std::string key;
    file_id id;
    std::uint64_t size;
  };
  static bool still_there(std::string const& folder, entry const& e) {
    struct stat st {};
    return ::lstat((folder + "/" + e.key).c_str(), &st) == 0 && id_of(st) == e.id;
  }
  mutable std::mutex mutex_;
  std::vector<entry> entries_;
  std::size_t next_ = 0;
};

/// The part of a transport that does not move.
struct endpoint : call_gate {
  std::string folder;
  std::uint64_t inline_below = 0;  ///< payloads up to this size travel in the metadata
  bool remove_on_close = true;
  std::stop_source closing;
  watch_pool watches;
  inline_table inlined;
  pending_segments pending;
  std::mutex returned_mutex;
  std::vector<std::uint64_t> returned;  ///< tokens of blocks that are the caller's again
  std::atomic<std::uint64_t> puts{0}, put_bytes{0}, gets{0}, get_bytes{0};

  void give_back(outgoing const& out) {
    if (out.dispose != nullptr) return out.dispose(out.token);
    std::scoped_lock const lock(returned_mutex);
    returned.push_back(out.token);
  }
};

struct put_operation : staged_operation {
  ~put_operation();
  [[nodiscard]] locator where() const noexcept { return where_; }

  endpoint* owner_ = nullptr;
  std::string key_;
  object_paths paths_;
  key_lock lock_;
  std::vector<const_bytes> parts_;
  outgoing out_;
  bool replaces_ = false;
  bool committing_ = false;  ///< and waiting for Python's side to let the lock go
  object_info info_;
  folder_watch const* watch_ = nullptr;  ///< of the wait that has the operation
  locator where_;
};

struct get_operation : staged_operation {
  get_operation() noexcept { is_get_ = true; }
  [[nodiscard]] object_info info() const noexcept { return info_; }
  [[nodiscard]] locator where() const noexcept { return where_; }
  [[nodiscard]] segment_hold take() noexcept {
    locked_operation const lock(*this);
    if (lock.at() != stage::found) return {};
    become(stage::idle);
    return std::move(hold_);
  }

  std::string name_;  ///< of the segment
  object_paths paths_;
  bool by_locator_ = false;
  std::atomic<bool> unfinished_{false};  ///< a segment is there whose end may come without an event
  place wanted_;
  folder_watch const* watch_ = nullptr;  ///< of the wait that has the operation
  object_info info_;
  locator where_;
  segment_hold hold_;
};

}  // namespace detail::segment

OMNICONN_END_NAMESPACE
