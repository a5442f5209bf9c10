// SPDX-License-Identifier: Apache-2.0
// The books of an allocator: which pieces of a range are free, found by size in O(log n) and by address in O(1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// A plain struct that is empty again once it was moved from: the moves of who has one need not be written.
template <class T>
struct emptied_by_move : T {
  emptied_by_move() noexcept = default;
  emptied_by_move(emptied_by_move&& other) noexcept : T(std::exchange(static_cast<T&>(other), T())) {}
  emptied_by_move& operator=(emptied_by_move&& other) noexcept {
    static_cast<T&>(*this) = std::exchange(static_cast<T&>(other), T());
    return *this;
  }
};

/// A growing array of pointers to pieces that it owns, which never move and never throw.
template <class Piece>
class piece_table {
 public:
  piece_table() noexcept = default;
  piece_table(piece_table&& other) noexcept : pieces_(std::move(other.pieces_)), size_(std::exchange(other.size_, 0)) {}
  piece_table& operator=(piece_table&& other) noexcept {
    piece_table moved(std::move(other));
    pieces_.swap(moved.pieces_);
    std::swap(size_, moved.size_);
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Piece* operator[](std::size_t i) const noexcept { return pieces_[i].get(); }

  /// Makes `size` places, the new ones empty. False: no memory, and nothing was changed.
  [[nodiscard]] bool resize(std::size_t size) noexcept {
    if (size <= size_) return true;
    std::unique_ptr<place[]> more(new (std::nothrow) place[size]);
    if (more == nullptr) return false;
    for (std::size_t i = 0; i != size_; ++i) more[i] = std::move(pieces_[i]);
    pieces_ = std::move(more);
    size_ = size;
    return true;
  }
  /// Makes the piece of place `i`, all zero, unless it is there.
  [[nodiscard]] bool fill(std::size_t i) noexcept {
    if (pieces_[i] == nullptr) pieces_[i].reset(new (std::nothrow) Piece());
    return pieces_[i] != nullptr;
  }

 private:
  using place = std::unique_ptr<Piece>;
  std::unique_ptr<place[]> pieces_;
  std::size_t size_ = 0;
};

/// What an extent is used for. All but `free` belong to the map's user and are kept apart from each other by it alone.
enum class extent_state : std::uint8_t { free, used, cached, owned };

/// Extents that cover `[0, size())` granules without gaps; no two free ones are neighbours.
///
/// Free extents stand in a treap by (size, start): `take` finds the smallest that is large enough, among equals the one at the lowest
/// address, which keeps the same pages warm. Start granules of extents that were taken stand in a radix table, so that `find` is two loads
/// and refuses whatever is not the start of one. All of it is ordinary memory of this process: nothing is ever read from the range itself.
///
/// `take` and `extend` may need memory for the books and fail without it; `give` never does. Nothing throws. Not thread-safe.
class extent_map {
 public:
  using id = std::uint32_t;  ///< names an extent until it is given back; 0: none

  /// Granules in the map.
  [[nodiscard]] std::uint64_t size() const noexcept { return facts_.size; }
  /// Free extents.
  [[nodiscard]] std::uint64_t free_count() const noexcept { return facts_.free_count; }
  /// Size of the largest free extent; 0: none.
  [[nodiscard]] std::uint64_t largest() const noexcept {
    id n = facts_.root;
    while (n != 0 && at(n).right != 0) n = at(n).right;
    return n == 0 ? 0 : at(n).size();
  }

  [[nodiscard]] std::uint64_t start(id n) const noexcept { return at(n).start; }
  [[nodiscard]] std::uint64_t size(id n) const noexcept { return at(n).size(); }
  [[nodiscard]] extent_state state(id n) const noexcept { return at(n).state(); }
  /// The neighbours; 0 at the ends.
  [[nodiscard]] id before(id n) const noexcept { return at(n).before; }
  [[nodiscard]] id after(id n) const noexcept { return at(n).after; }
  /// Moves a taken extent between the states that are not `free`.
  void set_state(id n, extent_state s) noexcept { at(n).set(at(n).size(), s); }
  /// A word that the user may keep with a taken extent.
  [[nodiscard]] id& link(id n) noexcept { return at(n).left; }
  [[nodiscard]] id link(id n) const noexcept { return at(n).left; }

  /// Appends granules at the end. False: no memory for the books, and nothing was changed.
  [[nodiscard]] bool extend(std::uint64_t size) noexcept {
    if (size <= facts_.size) return true;
    if (!leaves_.resize(static_cast<std::size_t>((size + leaf_size - 1) / leaf_size)) || !spare()) return false;
    std::uint64_t const more = size - facts_.size;
    if (facts_.last != 0 && at(facts_.last).state() == extent_state::free) {
      erase(facts_.last);
      at(facts_.last).set(at(facts_.last).size() + more, extent_state::free);
      insert(facts_.last);
    } else {
      id const n = pop_spare();
      at(n) = extent{facts_.size, more << 2, facts_.last, 0, 0, 0};
      if (facts_.last != 0) at(facts_.last).after = n;
      facts_.last = n;
      insert(n);
    }
    facts_.size = size;
    return true;
  }

  /// Takes `size` granules (at least 1) off the best-fitting free extent. 0: none is that large, or no memory for the books.
  [[nodiscard]] id take(std::uint64_t size) noexcept {
    id best = 0;
    for (id n = facts_.root; n != 0;) {
      bool const fits = at(n).size() >= size;
      if (fits) best = n;
      n = fits ? at(n).left : at(n).right;
    }
    if (best == 0 || !spare() || !leaves_.fill(static_cast<std::size_t>(at(best).start / leaf_size))) return 0;
    erase(best);
    std::uint64_t const rest = at(best).size() - size;
    if (rest != 0) {
      id const n = pop_spare();
      at(n) = extent{at(best).start + size, rest << 2, best, at(best).after, 0, 0};
      if (at(n).after != 0) {
        at(at(n).after).before = n;
      } else {
        facts_.last = n;
      }
      at(best).after = n;
      insert(n);
    }
    at(best).set(size, extent_state::used);
    entry(at(best).start) = best;
    return best;
  }

  /// The extent that was taken and starts there; 0: none.
  [[nodiscard]] id find(std::uint64_t start) const noexcept {
    if (start >= facts_.size) return 0;
    leaf const* const found = leaves_[static_cast<std::size_t>(start / leaf_size)];
    return found == nullptr ? 0 : found->ids[static_cast<std::size_t>(start % leaf_size)];
  }

  /// Makes a taken extent free and joins it with its neighbours.
  void give(id n) noexcept {
    entry(at(n).start) = 0;
    at(n).set(at(n).size(), extent_state::free);
    if (id const next = at(n).after; next != 0 && at(next).state() == extent_state::free) {
      erase(next);
      swallow_next(n);
    }
    if (id const previous = at(n).before; previous != 0 && at(previous).state() == extent_state::free) {
      erase(previous);
      n = previous;
      swallow_next(n);
    }
    insert(n);
  }

  /// The first free extent that ends behind granule `start`; 0: none. O(extents): to explain a mistake, not for the hot path.
  [[nodiscard]] id next_free(std::uint64_t start) const noexcept {
    id found = 0;
    for (id n = facts_.last; n != 0 && at(n).start + at(n).size() > start; n = at(n).before)
      if (at(n).state() == extent_state::free) found = n;
    return found;
  }

 private:
  struct extent {
    std::uint64_t start;
    std::uint64_t word;  // size * 4 + state
    id before, after;    // neighbours in the range
    id left, right;      // smaller and larger ones in the treap; `left` is the user's or the spare list's otherwise

    [[nodiscard]] std::uint64_t size() const noexcept { return word >> 2; }
    [[nodiscard]] extent_state state() const noexcept { return static_cast<extent_state>(word & 3); }
    void set(std::uint64_t size, extent_state s) noexcept { word = size << 2 | static_cast<std::uint64_t>(s); }
  };
  static constexpr std::size_t slab_size = 256;
  static constexpr std::size_t leaf_size = 1024;
  struct slab {
    std::array<extent, slab_size> extents;
  };
  struct leaf {
    std::array<id, leaf_size> ids;
  };

  extent& at(id n) noexcept { return slabs_[n / slab_size]->extents[n % slab_size]; }
  [[nodiscard]] extent const& at(id n) const noexcept { return slabs_[n / slab_size]->extents[n % slab_size]; }
  id& entry(std::uint64_t start) noexcept {
    return leaves_[static_cast<std::size_t>(start / leaf_size)]->ids[static_cast<std::size_t>(start % leaf_size)];
  }

  /// Sees to it that an extent can be made.
  [[nodiscard]] bool spare() noexcept {
    if (facts_.spares != 0) return true;
    std::size_t const slab_index = facts_.next / slab_size;
    if (facts_.next == ~id{0}) return false;
    if (slab_index >= slabs_.size() && !slabs_.resize(slab_index < 8 ? 8 : slab_index * 2)) return false;
    return slabs_.fill(slab_index);
  }
  id pop_spare() noexcept {
    if (facts_.spares == 0) return facts_.next++;
    return std::exchange(facts_.spares, at(facts_.spares).left);
  }
  /// Adds the next extent, which is in no treap, to `n`, which is in none either.
  void swallow_next(id n) noexcept {
    id const next = at(n).after;
    at(n).set(at(n).size() + at(next).size(), extent_state::free);
    at(n).after = at(next).after;
    if (at(n).after != 0) {
      at(at(n).after).before = n;
    } else {
      facts_.last = n;
    }
    at(next).left = std::exchange(facts_.spares, next);
  }

  /// Heap order of the treap. Depends on the number alone, so that equal runs build equal trees and no sizes can unbalance it.
  static constexpr std::uint32_t priority(id n) noexcept {
    std::uint32_t x = n * 0x9e3779b1U;
    x = (x ^ (x >> 15)) * 0x85ebca77U;
    return x ^ (x >> 13);
  }
  [[nodiscard]] bool less(id a, id b) const noexcept {
    extent const &x = at(a), &y = at(b);
    return x.size() != y.size() ? x.size() < y.size() : x.start < y.start;
  }
  void insert(id n) noexcept {
    id* place = &facts_.root;
    while (*place != 0 && priority(*place) >= priority(n)) place = less(n, *place) ? &at(*place).left : &at(*place).right;
    id rest = std::exchange(*place, n);
    id *left = &at(n).left, *right = &at(n).right;
    while (rest != 0) {  // split what hung here into what is less and what is not
      bool const smaller = less(rest, n);
      (smaller ? *left : *right) = rest;
      (smaller ? left : right) = smaller ? &at(rest).right : &at(rest).left;
      rest = smaller ? at(rest).right : at(rest).left;
    }
    *left = 0;
    *right = 0;
    ++facts_.free_count;
  }
  void erase(id n) noexcept {
    id* place = &facts_.root;
    while (*place != n) place = less(n, *place) ? &at(*place).left : &at(*place).right;
    id left = at(n).left, right = at(n).right;
    while (left != 0 && right != 0) {
      bool const take_left = priority(left) >= priority(right);
      *place = take_left ? left : right;
      place = take_left ? &at(left).right : &at(right).left;
      (take_left ? left : right) = *place;
    }
    *place = left != 0 ? left : right;
    --facts_.free_count;
  }

  struct facts {
    std::uint64_t size = 0;
    std::uint64_t free_count = 0;
    id root = 0;
    id last = 0;    // the extent at the end of the range
    id spares = 0;  // extents to be used again
    id next = 1;    // the first extent that was never used
  };
  piece_table<slab> slabs_;
  piece_table<leaf> leaves_;
  emptied_by_move<facts> facts_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
