// SPDX-License-Identifier: Apache-2.0
// The records of an in-process store: keys, objects, claims, and the shards that hold them.
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
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/metrics.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/inproc/waiter.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

struct inproc_shard;
struct inproc_entry;
struct inproc_object;
struct inproc_core;
class inproc_operation;

inline constexpr std::size_t inproc_shards = 16;  // more than the threads that usually meet in one process
inline constexpr std::uint64_t inproc_no_producer = 0;

/// One transport object, as the hub knows it.
struct inproc_member {
  std::uint64_t id = inproc_no_producer;
  std::uint64_t reader = 0;  // hash of the default reader name
  std::string name;
  std::atomic<bool> closed{false};
  std::mutex lock;  // guards the two below
  std::vector<inproc_waiter*> sleepers;
  std::vector<std::uint64_t> returned;  // tokens for `reclaim`
  struct alignas(64) counters : traffic {};
  counters moved[inproc_shards];  // each guarded by the lock of its shard
};

/// A reader's share of an object.
struct inproc_claim {
  enum class state : std::uint8_t { open, held, consumed };
  std::uint64_t reader = 0;
  state now = state::open;
};

/// One object, from `begin` until nobody can touch its bytes.
struct inproc_object {
  inproc_object* next = nullptr;  // free list, or a chain of those whose blocks are to be returned
  inproc_shard* shard = nullptr;
  inproc_entry* entry = nullptr;  // null: replaced, erased, used up, or its producer closed
  std::uint64_t generation = 0;   // 0 until commit
  std::uint64_t producer = inproc_no_producer;
  const_bytes bytes;
  object_info info;
  std::uint64_t token = 0;
  void (*dispose)(std::uint64_t) noexcept = nullptr;
  std::uint32_t readers = 1;
  std::uint32_t holds = 0;
  std::uint32_t consumed = 0;
  bool named = false;  // claims lists exactly the readers, sorted
  bool kept = false;   // for anybody: there are no claims, only holds
  bool replaces = false;
  std::vector<inproc_claim> claims;  // keeps its capacity when the record is used again
};

/// A key that somebody has put, is putting, or waits for.
struct inproc_entry {
  inproc_entry* next = nullptr;  // bucket chain or free list
  std::uint64_t hash = 0;
  std::string key;
  inproc_object* current = nullptr;
  std::uint32_t writers = 0;          // puts between begin and commit
  inproc_operation* first = nullptr;  // gets that wait, oldest first
  inproc_operation* last = nullptr;
};

/// Records used again last in, first out: warm, and no malloc per put. Never shrinks below its high water.
template <class Record>
class inproc_pool {
 public:
  Record* take() {
    if (free_ == nullptr) return all_.emplace_back(std::make_unique<Record>()).get();
    return std::exchange(free_, free_->next);
  }
  void give(Record* record) noexcept { record->next = std::exchange(free_, record); }

 private:
  std::vector<std::unique_ptr<Record>> all_;
  Record* free_ = nullptr;
};

/// A part of the store under one lock. 64 bytes apart, so that two shards never share a cache line.
struct alignas(64) inproc_shard {
  std::mutex lock;
  inproc_core* core = nullptr;
  std::vector<inproc_entry*> buckets = std::vector<inproc_entry*>(16);
  std::size_t entries = 0;
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
  std::uint64_t generation = 0;
  std::size_t pins = 0;  // holds and unfinished puts: what may come back after the hub's last owner is gone
  bool orphaned = false;
  inproc_pool<inproc_entry> entry_pool;
  inproc_pool<inproc_object> object_pool;

  // The low bits chose the shard, so that the bucket is taken from the high ones.
  [[nodiscard]] std::size_t bucket(std::uint64_t hash) const noexcept {
    return static_cast<std::size_t>(hash >> 32U) & (buckets.size() - 1);
  }

  [[nodiscard]] inproc_entry* lookup(std::uint64_t hash, wire_key key) const noexcept {
    for (inproc_entry* e = buckets[bucket(hash)]; e != nullptr; e = e->next)
      if (e->hash == hash && e->key == key) return e;
    return nullptr;
  }

  inproc_entry* insert(std::uint64_t hash, wire_key key) {
    if (entries >= buckets.size()) widen();
    inproc_entry* const e = entry_pool.take();
    e->hash = hash;
    e->key.assign(key);
    e->next = std::exchange(buckets[bucket(hash)], e);
    ++entries;
    return e;
  }

  /// Drops a key that nobody has any business with.
  void drop_if_idle(inproc_entry* e) noexcept {
    if (e->current != nullptr || e->writers != 0 || e->first != nullptr) return;
    inproc_entry** at = &buckets[bucket(e->hash)];
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    --entries;
    if (e->key.capacity() > long_key) std::string().swap(e->key);
    entry_pool.give(e);
  }

  void recycle(inproc_object* object) noexcept {
    if (object->claims.capacity() > many_claims) std::vector<inproc_claim>().swap(object->claims);
    object_pool.give(object);
  }

  template <class F>
  void for_each_entry(F&& f) {
    for (auto& head : buckets)
      for (inproc_entry* e = head; e != nullptr;) {
        inproc_entry* const next = e->next;  // f may drop e
        f(e);
        e = next;
      }
  }

 private:
  static constexpr std::size_t long_key = 256, many_claims = 64;  // what a record that is not in use may keep

  void widen() {
    std::vector<inproc_entry*> const old = std::exchange(buckets, std::vector<inproc_entry*>(buckets.size() * 2));
    for (inproc_entry* e : old)
      while (e != nullptr) {
        inproc_entry* const next = e->next;
        e->next = std::exchange(buckets[bucket(e->hash)], e);
        e = next;
      }
  }
};

/// Everything behind a hub. Lives until the hub's last owner and the last hold are gone.
struct inproc_core {
  std::uint64_t id = 0;
  std::uint64_t seed = 0;  // nobody can choose keys that collide
  inproc_shard shards[inproc_shards];
  std::atomic<std::size_t> orphan_pins{0};
  std::mutex members_lock;
  std::vector<inproc_member*> members;
  std::uint64_t last_member = inproc_no_producer;

  [[nodiscard]] std::uint64_t hash_of(std::string_view text) const noexcept { return seeded_hash(bytes_of(text), seed); }
  [[nodiscard]] inproc_shard& shard_of(std::uint64_t hash) noexcept { return shards[hash % inproc_shards]; }

  /// Hands a token to its producer's `reclaim`. A producer that is gone has no use for it.
  void give_token(std::uint64_t producer, std::uint64_t token) {
    std::lock_guard const guard(members_lock);
    for (inproc_member* m : members)
      if (m->id == producer) {
        std::lock_guard const inner(m->lock);
        m->returned.push_back(token);
        return;
      }
  }
};

/// Blocks on their way back to their producers. Filled under a shard's lock, flushed after it: `dispose` is foreign code.
class inproc_returns {
 public:
  explicit inproc_returns(inproc_shard& shard) noexcept : shard_(shard) {}
  inproc_returns(inproc_returns const&) = delete;
  inproc_returns& operator=(inproc_returns const&) = delete;

  void add(inproc_object* object) noexcept {
    if (single_) {  // more than one at once: erase_if, close
      object->next = std::exchange(chain_, object);
      return;
    }
    single_ = true;
    dispose_ = object->dispose;
    token_ = object->token;
    producer_ = object->producer;
    shard_.recycle(object);
  }

  /// Whether `flush` touches the core, which then must be pinned until after it.
  [[nodiscard]] bool needs_core() const noexcept { return chain_ != nullptr || (single_ && dispose_ == nullptr); }

  void flush() noexcept {
    if (single_) give(dispose_, token_, producer_);
    if (chain_ == nullptr) return;
    for (inproc_object* o = chain_; o != nullptr; o = o->next) give(o->dispose, o->token, o->producer);
    std::lock_guard const guard(shard_.lock);
    while (chain_ != nullptr) shard_.recycle(std::exchange(chain_, chain_->next));
  }

 private:
  void give(void (*dispose)(std::uint64_t) noexcept, std::uint64_t token, std::uint64_t producer) const noexcept {
    if (dispose != nullptr) {
      dispose(token);
    } else {
      shard_.core->give_token(producer, token);
    }
  }

  inproc_shard& shard_;
  inproc_object* chain_ = nullptr;
  void (*dispose_)(std::uint64_t) noexcept = nullptr;
  std::uint64_t token_ = 0;
  std::uint64_t producer_ = 0;
  bool single_ = false;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
