// SPDX-License-Identifier: Apache-2.0
// A small ordered map: <map> would add 2,900 preprocessed lines to each file of every user.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/detail/algorithm.hpp>

OMNICONN_BEGIN_NAMESPACE

/// A map in a sorted vector, for the hundred entries of a configuration: lookups are O(log n), an insertion moves what comes after it and ends the
/// validity of iterators. The part of std::map's interface that is used here, with its meaning.
template <class Key, class Value>
class flat_map {
 public:
  using value_type = std::pair<Key, Value>;
  using iterator = typename std::vector<value_type>::iterator;
  using const_iterator = typename std::vector<value_type>::const_iterator;

  [[nodiscard]] iterator begin() noexcept { return entries_.begin(); }
  [[nodiscard]] iterator end() noexcept { return entries_.end(); }
  [[nodiscard]] const_iterator begin() const noexcept { return entries_.begin(); }
  [[nodiscard]] const_iterator end() const noexcept { return entries_.end(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  void clear() noexcept { entries_.clear(); }

  [[nodiscard]] iterator find(Key const& key) { return exact(place(entries_, key), entries_.end(), key); }
  [[nodiscard]] const_iterator find(Key const& key) const { return exact(place(entries_, key), entries_.end(), key); }
  [[nodiscard]] std::size_t count(Key const& key) const { return find(key) == end() ? 0 : 1; }
  /// \requires the key is there.
  [[nodiscard]] Value const& at(Key const& key) const { return find(key)->second; }
  /// The key's value, made if there is none.
  Value& operator[](Key const& key) { return emplace(key, Value()).first->second; }

  /// Leaves an entry that is there as it is. \returns the key's entry, and whether it is new.
  std::pair<iterator, bool> emplace(Key key, Value value) {
    auto const at = place(entries_, key);
    if (exact(at, entries_.end(), key) != entries_.end()) return {at, false};
    return {entries_.insert(at, value_type(std::move(key), std::move(value))), true};
  }
  std::size_t erase(Key const& key) {
    auto const at = find(key);
    if (at == end()) return 0;
    entries_.erase(at);
    return 1;
  }

  friend bool operator==(flat_map const&, flat_map const&) = default;

 private:
  template <class Entries>
  static auto place(Entries& entries, Key const& key) {
    return detail::lower_bound(entries.begin(), entries.end(), key, [](value_type const& entry, Key const& wanted) { return entry.first < wanted; });
  }
  template <class Iterator>
  static Iterator exact(Iterator at, Iterator end, Key const& key) {
    return at != end && !(key < at->first) ? at : end;
  }
  std::vector<value_type> entries_;
};

OMNICONN_END_NAMESPACE
