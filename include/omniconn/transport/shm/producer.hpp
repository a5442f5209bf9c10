// SPDX-License-Identifier: Apache-2.0
// The writing side of a participant: its arena, and what it has put. One writer, so a crash cannot corrupt it.
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
#include <omniconn/transport/shm/placement.hpp>
#include <omniconn/transport/shm/session.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

inline constexpr std::uint32_t everywhere = ~std::uint32_t{0};
inline constexpr std::uint32_t no_page = ~std::uint32_t{0};  // for a key: it lies in its slot

/// Not thread-safe: the transport holds its put lock around every call.
///
/// The arena file: a page for each long key, then the payload memory, from a multiple of 2 MiB on where huge pages are wanted. Both are sparse until used.
///
/// Nobody tells a producer that an object of it has ended: it looks at the slot, whose generation has moved on then. So a block comes back without a list that processes share.
template <class Session> class basic_producer {
 public:
  basic_producer(Session& s, std::uint64_t pool_size, placement const& wanted = {}) noexcept
      : session_(s), placement_(wanted), pool_size_(wanted.whole(pool_size)), limit_(limit_of(s.dir().head().bytes_limit)) {}
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
    std::size_t const needed = smaller(placement_.whole(more), left);
    return limit_ == no_limit ? grow_by(needed, left) : grow_within(needed);
  }

  /// Room for one more object: nothing is allocated where nothing may fail.
  void expect_object() {
    if (objects_.size() == objects_.capacity()) {
      forget_ended();
      if (2 * objects_.size() >= objects_.capacity()) objects_.reserve(objects_.capacity() == 0 ? first_objects : 2 * objects_.capacity());
    }
    // All may end before the next `reclaim`. So many at once that a put that finds more of them unread than ever makes no room for that.
    std::size_t const tokens = returned_.size() + objects_.capacity();
    if (returned_.capacity() < tokens) returned_.reserve(2 * tokens);
  }
  /// What became of a put. \requires `expect_object` was called for it \returns a number to name it by, as long as it is unfinished
  std::uint64_t add_object(std::uint32_t index, std::uint64_t generation, std::uint64_t size, std::uint64_t region, std::uint32_t key_page, outgoing const& out) noexcept {
    auto& o = objects_.emplace_back();  // filled where it lies: a copy would wait for its own stores, 5 ns
    o.serial = ++serial_;
    o.token = out.token;
    o.generation = generation;
    o.size = size;
    o.region = region;
    o.dispose = out.dispose;
    o.index = index;
    o.key_page = key_page;
    o.out = true;
    if (auto* const lent = regions_.find(region)) ++lent->uses;
    ++out_;
    out_bytes_ += size;
    return serial_;
  }
  /// The same for a payload that lies in the slot: there is no block.
  std::uint64_t add_object(std::uint32_t index, std::uint64_t generation, std::uint64_t size) noexcept { return add_object(index, generation, size, 0, no_page, {{}, 0, &no_block}); }
  /// A put has ended without an object: its block comes back.
  void drop_object(std::uint64_t serial) noexcept {
    if (auto* const o = find_object(serial)) end_object(*o);
  }

  /// Objects and payload bytes that are still with readers, as far as `collect` has looked.
  [[nodiscard]] std::size_t objects_out() const noexcept { return out_; }
  [[nodiscard]] std::uint64_t bytes_out() const noexcept { return out_bytes_; }
  /// Counts the objects that have been found ended.
  [[nodiscard]] std::uint32_t ended_so_far() const noexcept { return ended_; }

  struct put_mark {
    std::uint32_t index = 0;
    std::uint64_t generation = 0;
  };
  /// The oldest object that nobody reads now, or none. One that is kept and was read since the last look counts as young again.
  /// \param home where not `everywhere`, one in its window: another's end would make no room
  std::optional<put_mark> take_oldest_unread(std::uint32_t home = everywhere) noexcept {
    auto const& dir = session_.dir();
    for (std::size_t i = first_, left = 2 * objects_.size(); i < objects_.size() && left != 0; ++i, --left) {
      auto& o = objects_[i];
      if (!o.out) continue;
      if (home != everywhere && ((o.index - home) & (dir.layout().slots - 1)) >= window) continue;
      auto& s = dir.slot_at(o.index);
      std::uint64_t const word = s.ctl.load();
      if (control::generation(word) != o.generation || control::state(word) != slot_state::ready) continue;  // ended, or another thread is writing it
      if (is_kept(s) && s.touched.exchange(0, std::memory_order_relaxed) != 0) {
        if (objects_.size() == objects_.capacity()) {
          forget_ended();
          if (objects_.size() == objects_.capacity()) continue;
          i = first_ - 1;  // all have moved
          continue;
        }
        auto again = o;
        o.out = false;
        again.serial = ++serial_;
        objects_.push_back(again);
        continue;
      }
      bool held = false;
      for (std::uint32_t k = 0; k != readers_of(dir, s) && !held; ++k) held = claim::state_of(claim::as_of(dir.claim_at(o.index, k).load(), o.generation, is_named(s))) == claim::state::hold;
      if (!held) return put_mark{o.index, o.generation};
    }
    return std::nullopt;
  }

  /// A page of the arena for a key that has no room in its slot.
  result<std::uint32_t> take_key_page() {
    if (auto opened = open_arena(); !opened) return opened.error();
    free_pages_.reserve(pages_ + std::size_t{1});
    if (free_pages_.empty()) collect();
    if (free_pages_.empty() && pages_ == session_.dir().layout().slots) collect_all();
    if (!free_pages_.empty()) {
      std::uint32_t const warm = free_pages_.back();
      free_pages_.pop_back();
      return warm;
    }
    if (pages_ == session_.dir().layout().slots) return {error_kind::no_space, "as many keys of over 128 bytes are in use as the namespace has slots; raise max_keys, or let readers keep up"};
    if (auto backed = allocate(std::uint64_t{pages_} * key_cell, key_cell); !backed) return backed.error();
    failpoint("shm.arena.key_page");
    return pages_++;
  }
  void give_back_key_page(std::uint32_t n) noexcept {
    if (n != no_page) free_pages_.push_back(n);  // there is room: it was one of `pages_`
  }
  /// \returns where in the arena
  std::uint64_t store_key(std::uint32_t n, std::string_view key) noexcept {
    std::uint64_t const at = std::uint64_t{n} * key_cell;
    std::memcpy(mapping_.base() + at, key.data(), key.size());
    return at;
  }
  /// Takes back what readers are done with, as far as a few looks show: the oldest, mostly. Where many objects stay for long, what came and went since is among the newest.
  void collect() noexcept {
    std::uint32_t const before = ended_;
    std::size_t i = first_;
    for (int in_vain = 0; i < objects_.size() && in_vain != looks; ++i)
      if (objects_[i].out && !end_if_over(objects_[i])) ++in_vain;
    if (ended_ == before)
      for (std::size_t k = objects_.size(), n = 0; k-- > i && n != looks; ++n)
        if (objects_[k].out) end_if_over(objects_[k]);
    skip_ended();
  }
  /// The same by looking at all.
  void collect_all() noexcept {
    for (std::size_t i = first_; i < objects_.size(); ++i)
      if (objects_[i].out) end_if_over(objects_[i]);
    skip_ended();
  }

  /// Ends puts that were begun and not ended: the participant leaves.
  void withdraw_unfinished() noexcept {
    auto const& dir = session_.dir();
    for (std::uint32_t index = 0; index != dir.layout().slots; ++index) {
      auto& s = dir.slot_at(index);
      std::uint64_t const word = s.ctl.load();
      if (control::state(word) != slot_state::writing && control::state(word) != slot_state::beaten) continue;
      if (s.owner.load() != session_.me()) continue;
      withdraw(dir, index, control::generation(word));
      failpoint("shm.close.object_withdrawn");
    }
  }

  std::size_t reclaim(reclaim_sink sink) {
    collect_all();
    return flush(sink);
  }
  std::size_t reclaim_some(reclaim_sink sink) {
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
    collect_all();
    return regions_.remove(region, session_.where());
  }
  [[nodiscard]] std::uint64_t arena_id() const noexcept { return arena_id_; }

 private:
  static constexpr std::size_t first_growth = std::size_t{4} << 20U;
  static constexpr std::uint64_t no_limit = ~std::uint64_t{0};

  // Not std::min: <algorithm> costs every user 6,000 lines.
  static constexpr std::uint64_t smaller(std::uint64_t a, std::uint64_t b) noexcept { return a < b ? a : b; }

  static constexpr std::size_t first_objects = 1024;
  static void no_block(std::uint64_t) noexcept {}  // to dispose of
  static constexpr int looks = 2;

  struct put_object {
    std::uint64_t serial = 0;      // grows
    std::uint64_t token = 0;
    std::uint64_t generation = 0;  // of the slot
    std::uint64_t size = 0;        // of the payload
    std::uint64_t region = 0;      // that it lies in
    void (*dispose)(std::uint64_t) noexcept = nullptr;
    std::uint32_t index = 0;       // of the slot
    std::uint32_t key_page = no_page;
    bool out = false;              // with readers, as far as we know
  };

  bool end_if_over(put_object& o) noexcept {
    if (control::generation(session_.dir().slot_at(o.index).ctl.load()) == o.generation) return false;
    end_object(o);
    return true;
  }
  /// The block is nobody's any more.
  void end_object(put_object& o) noexcept {
    if (!std::exchange(o.out, false)) return;
    --out_;
    ++ended_;
    out_bytes_ -= o.size;
    if (auto* const lent = regions_.find(o.region)) --lent->uses;
    give_back_key_page(o.key_page);
    if (o.dispose != nullptr) {
      o.dispose(o.token);
    } else {
      returned_.push_back(o.token);
    }
  }
  put_object* find_object(std::uint64_t serial) noexcept {
    std::size_t low = first_, high = objects_.size();
    while (low < high) {
      std::size_t const middle = low + (high - low) / 2;
      if (objects_[middle].serial < serial) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low != objects_.size() && objects_[low].serial == serial && objects_[low].out ? &objects_[low] : nullptr;
  }
  void skip_ended() noexcept {
    while (first_ < objects_.size() && !objects_[first_].out) ++first_;
    while (!objects_.empty() && !objects_.back().out && objects_.size() > first_) objects_.pop_back();
    if (first_ == objects_.size()) {
      objects_.clear();
      first_ = 0;
    }
  }
  void forget_ended() noexcept {
    collect_all();
    std::size_t n = 0;
    for (std::size_t i = first_; i < objects_.size(); ++i)
      if (objects_[i].out) objects_[n++] = objects_[i];
    objects_.resize(n);
    first_ = 0;
  }

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
  static constexpr std::uint64_t limit_of(std::uint64_t bytes) noexcept { return bytes == 0 ? no_limit : bytes / small_page * small_page; }

  result<memory_region> grow_by(std::size_t needed, std::size_t left) {
    std::size_t const generous = committed_ / 2 > first_growth ? placement_.whole(committed_ / 2) : first_growth;
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
    placement_.settle(mapping_.base() + keys_size_ + committed_, by);
    failpoint("shm.arena.grown");
    committed_ += by;
    session_.record().memory = committed_;
    return memory();
  }

  result<void> open_arena() {
    if (mapping_.base() != nullptr) return {};
    auto const& dir = session_.dir();
    keys_size_ = placement_.whole(std::size_t{dir.layout().slots} * key_cell);
    std::size_t const size = keys_size_ + static_cast<std::size_t>(pool_size_);
    auto fd = unnamed_file(session_.where().folder, size, 0);
    if (!fd) return fd.error();
    failpoint("shm.arena.made");
    auto mapping = placement_.map(fd->get(), size);
    if (!mapping) return mapping.error();
    if (auto const placed = placement_.prepare(mapping->base() + keys_size_, size - keys_size_); !placed) return placed.error();
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

  Session& session_;
  placement placement_;
  std::uint64_t pool_size_;
  std::uint64_t limit_;  // of all producers together
  std::size_t keys_size_ = 0;
  std::size_t committed_ = 0;
  std::uint64_t arena_id_ = 0;
  unique_fd fd_;
  file_mapping mapping_;
  lent_regions regions_;
  std::uint32_t pages_ = 0;                // for keys, that have memory
  std::vector<std::uint32_t> free_pages_;
  std::vector<put_object> objects_;        // by age, from `first_` on; some have ended
  std::size_t first_ = 0;
  std::uint64_t serial_ = 0;
  std::size_t out_ = 0;                    // of them that have not, as far as we know
  std::uint64_t out_bytes_ = 0;
  std::uint32_t ended_ = 0;
  std::vector<std::uint64_t> returned_;    // tokens that `reclaim` hands out
};
using producer = basic_producer<session>;

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
