// SPDX-License-Identifier: Apache-2.0
// The writing side of a participant: its arena and the slots that it has leased. One writer, so a crash cannot corrupt it.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/lent_regions.hpp>
#include <omniconn/transport/shm/session.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Not thread-safe: the transport holds its put lock around every call.
///
/// The arena file: one page per leased slot for long keys, then the payload memory. Both are sparse until used.
template <class Session> class basic_producer {
 public:
  basic_producer(Session& s, std::uint64_t pool_size) noexcept : session_(s), pool_size_((pool_size + page - 1) / page * page), limit_(limit_of(s.dir().head().bytes_limit)) {}
  basic_producer(basic_producer const&) = delete;
  basic_producer& operator=(basic_producer const&) = delete;

  [[nodiscard]] memory_region memory() const noexcept {
    if (mapping_.base() == nullptr) return {nullptr, 0, most()};
    return {mapping_.base() + keys_size_, committed_, most()};
  }

  /// Puts at least `more` bytes of memory behind the region, and half of what it has, so that growing stays rare.
  /// \errors `no_space`, `quota_exceeded`: EFBIG where more is asked for than there may ever be; `peer_stalled` with EAGAIN: the gate is closed, see `shm_transport::wait_to_grow`
  result<memory_region> grow(std::size_t more) {
    if (more > pool_size_) return {error_kind::no_space, "the payload is larger than all memory of this producer; raise memory_pool_size", EFBIG};
    if (more > limit_) return {error_kind::quota_exceeded, "the payload is larger than all memory of the namespace; its first user needs a larger max_namespace_bytes", EFBIG};
    if (auto opened = open_arena(); !opened) return opened.error();
    std::size_t const left = most() - committed_;
    if (more > left && limit_ < pool_size_) return limit_reached();
    if (more > left) return {error_kind::no_space, "the shared-memory arena is full; raise memory_pool_size, or let readers keep up"};
    std::size_t const needed = smaller((more + page - 1) / page * page, left);
    return limit_ == no_limit ? grow_by(needed, left) : grow_within(needed);
  }

  /// A slot that is `taken` for us, or `no_space`. The caller makes it `writing`.
  result<std::uint32_t> take_slot() {
    if (free_.empty()) collect();
    for (;;) {
      if (free_.empty() && !lease_chunk() && !take_over_chunk())
        return {error_kind::no_space, "every slot of the namespace is in use; raise max_keys, or let readers keep up"};
      std::uint32_t const index = free_.back();
      free_.pop_back();
      auto& s = session_.dir().slot_at(index);
      std::uint64_t word = s.ctl.load();
      if (control::state(word) != slot_state::free) continue;  // another's, who lost the chunk or took it from us: it comes back by its bit
      if (!s.ctl.compare_exchange_strong(word, control::taken(control::generation(word), session_.me()))) continue;
      failpoint("shm.put.slot_taken");
      // After the slot: whoever takes the chunk over looks at its slots after that, so that one of the two sees the other.
      if (owns_chunk(index / chunk_slots)) return index;
      s.ctl.store(control::make(control::generation(word), slot_state::free));
      give_to_keeper(session_.dir(), index, session_.me());
    }
  }

  /// Returns a slot that was never ready, its next generation begun.
  void return_slot(std::uint32_t index) noexcept {
    auto& s = session_.dir().slot_at(index);
    s.ctl.store(control::make(control::generation(s.ctl.load()) + 1, slot_state::free));
    free_.push_back(index);
  }

  /// Room for one more token to come back: nothing is allocated where nothing may fail.
  void expect_token() {
    std::size_t const needed = returned_.size() + out_ + 1;
    if (returned_.capacity() < needed) returned_.reserve(2 * needed);
    if (order_.size() == order_.capacity()) {
      forget_oldest();
      std::erase_if(order_, [this](put_mark const& m) { return is_gone(m); });
      if (2 * order_.size() >= order_.capacity()) order_.reserve(2 * order_.size() + 64);
    }
  }
  /// \requires `expect_token` was called for it.
  void set_token(std::uint32_t index, std::uint64_t generation, std::uint64_t size, std::uint64_t region, outgoing const& out) noexcept {
    release_token(index);  // of an object that ended here and that we did not look after since
    entry_of(index) = {out.token, generation, size, region, out.dispose, true};
    if (auto* const lent = regions_.find(region)) ++lent->uses;
    ++out_;
    out_bytes_ += size;
    order_.push_back({index, generation});
  }
  void forget_token(std::uint32_t index) noexcept { take_token(index); }

  /// Objects and payload bytes that are still with readers, as far as `collect` has looked.
  [[nodiscard]] std::size_t objects_out() const noexcept { return out_; }
  [[nodiscard]] std::uint64_t bytes_out() const noexcept { return out_bytes_; }

  struct put_mark {
    std::uint32_t index = 0;
    std::uint64_t generation = 0;
  };
  /// The oldest object that nobody reads now, or none. One that is kept and was read since the last look counts as young again. What is returned is
  /// not asked for again.
  std::optional<put_mark> take_oldest_unread() noexcept {
    auto const& dir = session_.dir();
    for (std::size_t left = 2 * (order_.size() - oldest_); left != 0 && oldest_ != order_.size(); --left) {
      put_mark const mark = order_[oldest_++];
      auto& s = dir.slot_at(mark.index);
      std::uint64_t const word = s.ctl.load();
      bool const unfinished = word == control::make(mark.generation, slot_state::writing);  // another thread copies: it will be here the next time
      if (is_gone(mark) || (!unfinished && word != control::make(mark.generation, slot_state::ready))) continue;
      bool stays = unfinished;
      if (is_kept(s) && s.touched.exchange(0, std::memory_order_relaxed) != 0) stays = true;
      for (std::uint32_t k = 0; k != readers_of(dir, s) && !stays; ++k) stays = claim::state_of(dir.claim_at(mark.index, k).load()) == claim::state::hold;
      if (!stays) return mark;
      if (order_.size() == order_.capacity()) forget_oldest();
      order_.push_back(mark);  // there is room: one was just taken out
    }
    return std::nullopt;
  }

  /// The block of a slot is nobody's any more.
  void release_token(std::uint32_t index) noexcept {
    auto const& entry = entry_of(index);
    if (!take_token(index)) return;
    if (entry.dispose != nullptr) {
      entry.dispose(entry.token);
    } else {
      returned_.push_back(entry.token);
    }
  }

  /// Writes a key that does not fit the slot into the slot's page of the arena.
  result<void> store_key(std::uint32_t index, std::string_view key) {
    if (auto opened = open_arena(); !opened) return opened.error();
    std::uint64_t const at = std::uint64_t{index} * key_cell;
    if (!key_pages_[index]) {  // once for each slot, not a system call for each put: nobody takes a page away from a producer that lives
      if (auto backed = allocate(at, key_cell); !backed) return backed.error();
      key_pages_[index] = true;
      failpoint("shm.arena.key_page");
    }
    std::memcpy(mapping_.base() + at, key.data(), key.size());
    return {};
  }

  /// Takes back what readers gave back: O(leased chunks), and only when something came back.
  void collect() noexcept {
    auto const& dir = session_.dir();
    std::uint32_t const seq = session_.record().returned_seq.load();
    if (seq == seen_seq_) return;
    seen_seq_ = seq;
    for (std::size_t k = 0; k != chunks_.size();) {
      std::uint32_t const n = chunks_[k];
      auto& c = dir.chunk_at(n);
      std::uint32_t bits = owns_chunk(n) && c.returned.load(std::memory_order_relaxed) != 0 ? c.returned.exchange(0) : 0;
      if (std::uint32_t const owner = c.owner.load(); owner != session_.me() + 1) {
        lose_chunk(k);
        failpoint("shm.chunk.lost");
        if (bits == 0) continue;
        c.returned.fetch_or(bits);  // of the new owner's slots, perhaps
        count_return(dir, owner - 1);
        continue;
      }
      ++k;
      for (; bits != 0; bits &= bits - 1) {
        auto const bit = static_cast<std::uint32_t>(__builtin_ctz(bits));
        if (bit >= chunk_slots) break;
        std::uint32_t const index = n * chunk_slots + bit;
        auto& s = dir.slot_at(index);
        std::uint64_t word = s.ctl.load();
        bool freed = control::state(word) == slot_state::free && !is_listed(index);  // by another that took the chunk over meanwhile, or lost it to us
        failpoint("shm.reclaim.found");
        if (control::state(word) == slot_state::retired) freed = s.ctl.compare_exchange_strong(word, control::make(control::generation(word) + 1, slot_state::free));
        failpoint("shm.reclaim.slot_freed");
        if (freed) free_.push_back(index);
        if (ended(index)) release_token(index);  // a bit without a retirement frees nothing
      }
    }
    for (std::size_t i = 0; i != strays_.size();)
      if (ended(strays_[i])) {
        release_token(strays_[i]);
        strays_[i] = strays_.back();
        strays_.pop_back();
      } else {
        ++i;
      }
  }

  /// Frees the slots of puts that were begun and not ended: the participant leaves.
  void withdraw_unfinished() noexcept {
    auto const& dir = session_.dir();
    for (std::uint32_t index = 0; index != dir.layout().slots; ++index) {
      auto& s = dir.slot_at(index);
      std::uint64_t const word = s.ctl.load();
      if (control::state(word) != slot_state::writing && control::state(word) != slot_state::beaten) continue;
      if (s.owner.load() != session_.me()) continue;
      remove_ref(dir, s.hash.load(std::memory_order_relaxed), control::generation(word), index);
      failpoint("shm.close.ref_removed");
      s.ctl.store(control::make(control::generation(word) + 1, slot_state::free));
      give_to_keeper(dir, index, session_.me());
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

  /// Where a payload lies for readers; nothing where they cannot reach it.
  [[nodiscard]] std::optional<payload_place> place_of(const_bytes bytes) const noexcept {
    if (bytes.empty()) return payload_place{};
    if (auto const r = memory(); r.base != nullptr && bytes.data() >= r.base && bytes.data() + bytes.size() <= r.base + r.committed)
      return payload_place{arena_id_, static_cast<std::uint64_t>(bytes.data() - mapping_.base()), true};
    return regions_.place_of(bytes);
  }

  /// Lends memory of the caller. \returns the region's number.
  result<std::uint64_t> adopt(mutable_bytes user) {
    if (auto opened = open_arena(); !opened) return opened.error();
    return regions_.add(user, session_.where(), arena_id_, session_.record());
  }
  result<void> forget(std::uint64_t region) {
    collect();
    for (std::uint32_t const n : chunks_)  // whoever had the last share may not have come to tell us
      for (std::uint32_t index = n * chunk_slots; index != (n + 1) * chunk_slots; ++index)
        if (auto const& entry = entry_of(index); entry.set && (entry.region & region_mask) == region && ended(index)) release_token(index);
    return regions_.remove(region, session_.where());
  }
  [[nodiscard]] std::uint64_t arena_id() const noexcept { return arena_id_; }

 private:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t first_growth = std::size_t{4} << 20U;
  static constexpr std::uint64_t no_limit = ~std::uint64_t{0};

  // Not std::min: <algorithm> costs every user 6,000 lines.
  static constexpr std::uint64_t smaller(std::uint64_t a, std::uint64_t b) noexcept { return a < b ? a : b; }

  struct block_entry {
    std::uint64_t token = 0;
    std::uint64_t generation = 0;  // of the slot
    std::uint64_t size = 0;        // of the payload
    std::uint64_t region = 0;      // that it lies in
    void (*dispose)(std::uint64_t) noexcept = nullptr;
    bool set = false;
  };

  /// The same where the participants together may have `limit` bytes: booked by one at a time, and only as much as is needed, so that others have theirs.
  result<memory_region> grow_within(std::size_t needed) {
    bool booked = false;
    auto const book = [&]() noexcept {
      booked = room_within_limit() >= needed;
      if (booked) session_.record().memory = committed_ + needed;
    };
    constexpr error closed(error_kind::peer_stalled, "another process opens or closes this namespace", EAGAIN);
    if (!session_.try_in_gate(book)) return closed;
    if (!booked) {
      session_.sweep_all();
      if (!session_.try_in_gate(book)) return closed;
    }
    if (!booked) return limit_reached();
    auto grown = grow_by(needed, needed);
    if (!grown) session_.record().memory = committed_;
    return grown;
  }
  [[nodiscard]] std::uint64_t room_within_limit() const noexcept {
    std::uint64_t used = 0;
    for (std::uint32_t i = 0; i != max_participants; ++i)
      if (auto const& p = session_.dir().participant_at(i); p.state.load() != participant_state::free) used += smaller(p.memory, limit_);
    return limit_ > used ? limit_ - used : 0;
  }
  static error limit_reached() noexcept {
    return {error_kind::quota_exceeded, "the namespace's limit of payload memory is reached: what another producer has once had stays its own; raise max_namespace_bytes, or close who does not need it"};
  }
  /// Bytes of payload memory that we may have where nobody else has any.
  [[nodiscard]] std::size_t most() const noexcept { return static_cast<std::size_t>(smaller(limit_, pool_size_)); }
  static constexpr std::uint64_t limit_of(std::uint64_t bytes) noexcept { return bytes == 0 ? no_limit : bytes / page * page; }

  result<memory_region> grow_by(std::size_t needed, std::size_t left) {
    std::size_t const generous = committed_ / 2 > first_growth ? committed_ / 2 : first_growth;
    std::size_t const ample = smaller(needed > generous ? needed : generous, left);
    auto grown = allocate(keys_size_ + committed_, ample);
    std::size_t by = ample;
    if (!grown && ample != needed) {
      grown = allocate(keys_size_ + committed_, needed);
      by = needed;
    }
    if (!grown) {  // unless the dead, or objects whose leases have ended, have what we need
      session_.sweep_all();
      grown = allocate(keys_size_ + committed_, needed);
    }
    if (!grown) return grown.error();
    failpoint("shm.arena.grown");
    committed_ += by;
    session_.record().memory = committed_;
    return memory();
  }

  result<void> open_arena() {
    if (mapping_.base() != nullptr) return {};
    auto const& dir = session_.dir();
    keys_size_ = std::size_t{dir.layout().slots} * key_cell;
    key_pages_.resize(dir.layout().slots);
    std::size_t const size = keys_size_ + static_cast<std::size_t>(pool_size_);
    auto fd = unnamed_file(session_.where().folder, size, 0);
    if (!fd) return fd.error();
    failpoint("shm.arena.made");
    auto mapping = file_mapping::map(fd->get(), size, PROT_READ | PROT_WRITE);
    if (!mapping) return mapping.error();
    std::uint64_t const id = (random_u64() | (region_mask + 1)) & ~region_mask;
    // The record first: whoever tidies up after a crash in between finds a name that does not exist, not a file that nobody names.
    session_.record().arena = id;
    session_.record().arena_size = size;
    failpoint("shm.arena.recorded");
    if (auto linked = link_file(fd->get(), session_.where().arena_path(id)); !linked) {
      session_.record().arena = 0;
      return linked.error();
    }
    failpoint("shm.arena.linked");
    arena_id_ = id;
    fd_ = std::move(*fd);
    mapping_ = std::move(*mapping);
    return {};
  }

  result<void> allocate(std::size_t offset, std::size_t size) const noexcept {
    if (int const rc = allocate_file(fd_.get(), offset, size); rc != 0)
      return error{kind_of_errno(rc), "the shared-memory file system is full; free space on it, make it larger, or lower memory_pool_size", rc};
    return {};
  }

  bool lease_chunk() {
    auto const& dir = session_.dir();
    for (std::uint32_t k = 0; k != dir.layout().chunks; ++k) {
      // Each participant starts elsewhere, so that they rarely meet.
      std::uint32_t const n = (k + session_.me() * 7) % dir.layout().chunks;
      std::uint32_t none = 0;
      if (dir.chunk_at(n).owner.load(std::memory_order_relaxed) != 0 || !dir.chunk_at(n).owner.compare_exchange_strong(none, session_.me() + 1)) continue;
      failpoint("shm.chunk.leased");
      adopt_chunk(n);
      if (!free_.empty()) return true;
    }
    return false;
  }

  /// Takes a chunk from another producer that has no use for it now: all its objects were read, but it has not put since, and perhaps never will.
  bool take_over_chunk() {
    auto const& dir = session_.dir();
    for (std::uint32_t n = 0; n != dir.layout().chunks; ++n) {
      auto& c = dir.chunk_at(n);
      std::uint32_t owner = c.owner.load();
      // Ours by its mark, but unknown to us: an earlier user of our record died with it.
      bool const known = owner == session_.me() + 1 && !entries_.empty() && entries_[n] != nullptr;
      if (known || !chunk_is_idle(dir, n) || !c.owner.compare_exchange_strong(owner, session_.me() + 1)) continue;
      failpoint("shm.chunk.taken_over");
      adopt_chunk(n);
      if (!free_.empty()) return true;
    }
    return false;
  }

  void adopt_chunk(std::uint32_t n) {
    auto const& dir = session_.dir();
    if (entries_.empty()) entries_.resize(dir.layout().chunks);
    if (entries_[n] == nullptr) entries_[n] = std::make_unique<std::array<block_entry, chunk_slots>>();
    for (std::size_t k = 0; k != chunks_.size(); ++k)
      if (chunks_[k] == n) {  // taken over and given up again before we noticed
        lose_chunk(k);
        break;
      }
    chunks_.push_back(n);
    free_.reserve(chunks_.size() * chunk_slots);
    strays_.reserve(strays_.size() + chunks_.size() * chunk_slots);
    for (std::uint32_t i = chunk_slots; i-- != 0;) {
      std::uint32_t const index = n * chunk_slots + i;
      auto& s = dir.slot_at(index);
      std::uint64_t word = s.ctl.load();
      std::uint64_t const generation = control::generation(word);
      if (control::state(word) == slot_state::retired) {
        remove_ref(dir, s.hash.load(std::memory_order_relaxed), generation, index);  // who retired it may have died before
        failpoint("shm.chunk.ref_removed");
        s.ctl.compare_exchange_strong(word, control::make(generation + 1, slot_state::free));
        word = s.ctl.load();
        failpoint("shm.chunk.slot_freed");
      }
      // Others are of the former owner, who was quicker: they come back by their bit.
      if (control::state(word) == slot_state::free) free_.push_back(index);
    }
  }

  /// Another producer has taken `chunks_[k]` over.
  void lose_chunk(std::size_t k) noexcept {
    std::uint32_t const n = chunks_[k];
    chunks_[k] = chunks_.back();
    chunks_.pop_back();
    std::erase_if(free_, [n](std::uint32_t index) { return index / chunk_slots == n; });
    for (std::uint32_t index = n * chunk_slots; index != (n + 1) * chunk_slots; ++index) {
      if (!entry_of(index).set) continue;
      if (ended(index)) {
        release_token(index);
      } else {
        strays_.push_back(index);
      }
    }
  }

  [[nodiscard]] bool is_listed(std::uint32_t index) const noexcept {
    for (auto const i : free_)
      if (i == index) return true;
    return false;
  }
  bool take_token(std::uint32_t index) noexcept {
    auto& entry = entry_of(index);
    if (!std::exchange(entry.set, false)) return false;
    --out_;
    out_bytes_ -= entry.size;
    if (auto* const lent = regions_.find(entry.region)) --lent->uses;
    return true;
  }
  [[nodiscard]] bool owns_chunk(std::uint32_t n) const noexcept { return session_.dir().chunk_at(n).owner.load() == session_.me() + 1; }
  /// The object that we put into this slot is gone.
  [[nodiscard]] bool ended(std::uint32_t index) noexcept {
    std::uint64_t const word = session_.dir().slot_at(index).ctl.load();
    return control::generation(word) != entry_of(index).generation || control::state(word) == slot_state::retired;
  }
  [[nodiscard]] bool is_gone(put_mark const& m) noexcept { return !entry_of(m.index).set || entry_of(m.index).generation != m.generation; }
  void forget_oldest() noexcept {
    order_.erase(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(oldest_));
    oldest_ = 0;
  }
  [[nodiscard]] block_entry& entry_of(std::uint32_t index) noexcept { return (*entries_[index / chunk_slots])[index % chunk_slots]; }

  Session& session_;
  std::uint64_t pool_size_;
  std::uint64_t limit_;  // of all producers together
  std::size_t keys_size_ = 0;
  std::size_t committed_ = 0;
  std::uint64_t arena_id_ = 0;
  unique_fd fd_;
  file_mapping mapping_;
  lent_regions regions_;
  std::vector<bool> key_pages_;        // by slot: whether memory is behind it
  std::uint32_t seen_seq_ = 0;
  std::vector<std::uint32_t> chunks_;  // leased
  std::vector<std::unique_ptr<std::array<block_entry, chunk_slots>>> entries_;  // by chunk
  std::vector<std::uint32_t> free_;    // last in, first out: warm
  std::vector<std::uint32_t> strays_;  // slots in use by us in chunks that are not ours any more
  std::vector<std::uint64_t> returned_;
  std::size_t out_ = 0;                // tokens that will come back
  std::uint64_t out_bytes_ = 0;        // and the payload bytes behind them
  std::vector<put_mark> order_;        // of the puts, from `oldest_` on; what has ended meanwhile goes when room is needed
  std::size_t oldest_ = 0;
};
using producer = basic_producer<session>;

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
