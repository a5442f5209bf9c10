// SPDX-License-Identifier: Apache-2.0
// The writing side of a participant: its arena and the slots that it has leased. One writer, so a crash cannot corrupt it.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/session.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Not thread-safe: the transport holds its put lock around every call.
///
/// The arena file: one page per leased slot for long keys, then the payload memory. Both are sparse until used.
class producer {
 public:
  producer(session& s, std::uint64_t pool_size) noexcept : session_(s), pool_size_((pool_size + page - 1) / page * page) {}
  producer(producer const&) = delete;
  producer& operator=(producer const&) = delete;

  [[nodiscard]] memory_region memory() const noexcept {
    if (mapping_.base() == nullptr) return {nullptr, 0, static_cast<std::size_t>(pool_size_)};
    return {mapping_.base() + keys_size_, committed_, static_cast<std::size_t>(pool_size_)};
  }

  /// Puts at least `more` bytes of memory behind the region, and half of what it has, so that growing stays rare.
  result<memory_region> grow(std::size_t more) {
    if (auto opened = open_arena(); !opened) return opened.error();
    std::size_t const left = static_cast<std::size_t>(pool_size_) - committed_;
    if (more > left) return {error_kind::no_space, "the shared-memory arena is full; raise memory_pool_size, or let readers keep up"};
    std::size_t const needed = smaller((more + page - 1) / page * page, left);
    std::size_t const generous = committed_ / 2 > first_growth ? committed_ / 2 : first_growth;
    std::size_t const ample = smaller(needed > generous ? needed : generous, left);
    auto grown = allocate(keys_size_ + committed_, ample);
    std::size_t by = ample;
    if (!grown && ample != needed) {
      grown = allocate(keys_size_ + committed_, needed);
      by = needed;
    }
    if (!grown) return grown.error();
    committed_ += by;
    return memory();
  }

  /// A slot of ours, free, or `no_space`.
  result<std::uint32_t> take_slot() {
    if (free_.empty()) collect();
    if (free_.empty() && !lease_chunk()) return {error_kind::no_space, "every slot of the namespace is in use; raise max_keys, or let readers keep up"};
    std::uint32_t const index = free_.back();
    free_.pop_back();
    return index;
  }

  /// Returns a slot that was never ready, its next generation begun.
  void return_slot(std::uint32_t index) noexcept {
    slot& s = session_.dir().slot_at(index);
    s.ctl.store(control::make(control::generation(s.ctl.load()) + 1, slot_state::free));
    free_.push_back(index);
  }

  void set_token(std::uint32_t index, outgoing const& out) noexcept { entry_of(index) = {out.token, out.dispose, true}; }

  void forget_token(std::uint32_t index) noexcept { entry_of(index).set = false; }

  /// The block of a slot is nobody's any more.
  void release_token(std::uint32_t index) {
    auto& entry = entry_of(index);
    if (!entry.set) return;
    entry.set = false;
    if (entry.dispose != nullptr) {
      entry.dispose(entry.token);
    } else {
      returned_.push_back(entry.token);
    }
  }

  /// Writes a key that does not fit the slot into the slot's page of the arena. \returns its offset in the arena.
  result<std::uint64_t> store_key(std::uint32_t index, std::string_view key) {
    if (auto opened = open_arena(); !opened) return opened.error();
    std::uint64_t const at = std::uint64_t{cell_of(index)} * key_cell;
    if (auto backed = allocate(at, key_cell); !backed) return backed.error();  // no-op after the first time
    std::memcpy(mapping_.base() + at, key.data(), key.size());
    return at;
  }

  /// Takes back what readers gave back: O(leased chunks), and only when something came back.
  void collect() {
    std::uint32_t const seq = session_.record().returned_seq.load();
    if (seq == seen_seq_) return;
    seen_seq_ = seq;
    for (auto const n : chunks_) {
      chunk& c = session_.dir().chunk_at(n);
      if (c.returned.load(std::memory_order_relaxed) == 0) continue;
      std::uint32_t bits = c.returned.exchange(0);
      for (; bits != 0; bits &= bits - 1) {
        auto const bit = static_cast<std::uint32_t>(__builtin_ctz(bits));
        if (bit >= chunk_slots) break;
        std::uint32_t const index = n * chunk_slots + bit;
        slot& s = session_.dir().slot_at(index);
        std::uint64_t const word = s.ctl.load();
        if (control::state(word) != slot_state::retired) continue;  // a bit without a retirement frees nothing
        s.ctl.store(control::make(control::generation(word) + 1, slot_state::free));
        release_token(index);
        free_.push_back(index);
      }
    }
  }

  /// Frees the slots of puts that were begun and not ended: the participant leaves.
  void withdraw_unfinished() noexcept {
    auto const& dir = session_.dir();
    for (auto const n : chunks_)
      for (std::uint32_t index = n * chunk_slots; index != (n + 1) * chunk_slots; ++index) {
        slot& s = dir.slot_at(index);
        std::uint64_t const word = s.ctl.load();
        if (control::state(word) != slot_state::writing && control::state(word) != slot_state::beaten) continue;
        remove_ref(dir, s.hash.load(std::memory_order_relaxed), control::generation(word), index);
        s.ctl.store(control::make(control::generation(word) + 1, slot_state::free));
      }
  }

  std::size_t reclaim(reclaim_sink sink) {
    collect();
    return flush(sink);
  }

  /// The part of `reclaim` that also works when the session is gone.
  std::size_t flush(reclaim_sink sink) {
    std::size_t const n = returned_.size();
    for (auto const token : returned_) sink(token);
    returned_.clear();
    return n;
  }

  /// Offset of `p` in the arena file. \requires `p` lies in `memory()`.
  [[nodiscard]] std::uint64_t offset_of(std::byte const* p) const noexcept { return static_cast<std::uint64_t>(p - mapping_.base()); }
  [[nodiscard]] bool owns(const_bytes bytes) const noexcept {
    auto const r = memory();
    return r.base != nullptr && bytes.data() >= r.base && bytes.data() + bytes.size() <= r.base + r.committed;
  }
  [[nodiscard]] std::uint64_t arena_id() const noexcept { return arena_id_; }
  [[nodiscard]] std::size_t leased() const noexcept { return chunks_.size() * chunk_slots; }
  [[nodiscard]] std::size_t in_use() const noexcept { return leased() - free_.size(); }

 private:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t first_growth = std::size_t{4} << 20U;

  // Not std::min: <algorithm> costs every user 6,000 lines.
  static constexpr std::size_t smaller(std::size_t a, std::size_t b) noexcept { return a < b ? a : b; }

  struct block_entry {
    std::uint64_t token = 0;
    void (*dispose)(std::uint64_t) noexcept = nullptr;
    bool set = false;
  };

  result<void> open_arena() {
    if (mapping_.base() != nullptr) return {};
    auto const& dir = session_.dir();
    keys_size_ = std::size_t{dir.layout().slots} * key_cell;
    std::size_t const size = keys_size_ + static_cast<std::size_t>(pool_size_);
    auto fd = unnamed_file(session_.where().folder, size, 0);
    if (!fd) return fd.error();
    auto mapping = file_mapping::map(fd->get(), size, PROT_READ | PROT_WRITE);
    if (!mapping) return mapping.error();
    std::uint64_t const id = random_u64() | 1U;
    // The record first: whoever tidies up after a crash in between finds a name that does not exist, not a file that nobody names.
    session_.record().arena = id;
    session_.record().arena_size = size;
    if (auto linked = link_file(fd->get(), session_.where().arena_path(id)); !linked) {
      session_.record().arena = 0;
      return linked.error();
    }
    arena_id_ = id;
    fd_ = std::move(*fd);
    mapping_ = std::move(*mapping);
    return {};
  }

  result<void> allocate(std::size_t offset, std::size_t size) const noexcept {
    int const rc = ::posix_fallocate(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(size));
    if (rc == 0) return {};
    return error{kind_of_errno(rc), "the shared-memory file system is full; free space on it, make it larger, or lower memory_pool_size", rc};
  }

  bool lease_chunk() {
    auto const& dir = session_.dir();
    for (std::uint32_t k = 0; k != dir.layout().chunks; ++k) {
      // Each participant starts elsewhere, so that they rarely meet.
      std::uint32_t const n = (k + session_.me() * 7) % dir.layout().chunks;
      std::uint32_t none = 0;
      if (dir.chunk_at(n).owner.load(std::memory_order_relaxed) != 0 || !dir.chunk_at(n).owner.compare_exchange_strong(none, session_.me() + 1)) continue;
      if (position_.size() <= n) position_.resize(dir.layout().chunks);
      position_[n] = static_cast<std::uint32_t>(chunks_.size());
      chunks_.push_back(n);
      entries_.emplace_back();
      for (std::uint32_t i = chunk_slots; i-- != 0;) {
        std::uint32_t const index = n * chunk_slots + i;
        if (control::state(dir.slot_at(index).ctl.load()) == slot_state::free) free_.push_back(index);
      }
      if (!free_.empty()) return true;
    }
    return false;
  }

  [[nodiscard]] block_entry& entry_of(std::uint32_t index) noexcept { return entries_[position_[index / chunk_slots]][index % chunk_slots]; }
  [[nodiscard]] std::uint32_t cell_of(std::uint32_t index) const noexcept { return position_[index / chunk_slots] * chunk_slots + index % chunk_slots; }

  session& session_;
  std::uint64_t pool_size_;
  std::size_t keys_size_ = 0;
  std::size_t committed_ = 0;
  std::uint64_t arena_id_ = 0;
  unique_fd fd_;
  file_mapping mapping_;
  std::uint32_t seen_seq_ = 0;
  std::vector<std::uint32_t> chunks_;    // leased, in the order of leasing
  std::vector<std::uint32_t> position_;  // chunk → place in chunks_
  std::vector<std::array<block_entry, chunk_slots>> entries_;
  std::vector<std::uint32_t> free_;      // last in, first out: warm
  std::vector<std::uint64_t> returned_;
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
