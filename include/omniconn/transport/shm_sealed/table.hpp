// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// Records in the order of their keys, each at an address that stays.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/detail/algorithm.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

/// Owns records that `Key`, a member, tells apart. Ordered and not hashed: others choose keys, and could choose ones that collide. A lookup is O(log n); an
/// insertion moves 8 bytes for each record behind it. <map> would add 3,300 lines to each file of every user.
template <class Record, auto Key>
class table {
 public:
  using record_list = std::vector<std::unique_ptr<Record>>;

  [[nodiscard]] record_list const& all() const noexcept { return records_; }
  [[nodiscard]] std::size_t size() const noexcept { return records_.size(); }
  [[nodiscard]] bool empty() const noexcept { return records_.empty(); }
  template <class Wanted>
  [[nodiscard]] Record* find(Wanted const& key) const noexcept {
    auto const at = place(key);
    return at != records_.size() && (*records_[at]).*Key == key ? records_[at].get() : nullptr;
  }
  /// The position of the first record whose key is not less.
  template <class Wanted>
  [[nodiscard]] std::size_t place(Wanted const& key) const noexcept {
    auto const at = detail::lower_bound(records_.begin(), records_.end(), key, [](auto const& record, Wanted const& wanted) { return (*record).*Key < wanted; });
    return static_cast<std::size_t>(at - records_.begin());
  }
  /// \requires no record has that key
  template <class Wanted>
  Record& add(Wanted const& key) {
    auto const at = static_cast<std::ptrdiff_t>(place(key));
    auto fresh = std::make_unique<Record>();
    (*fresh).*Key = key;
    return **records_.insert(records_.begin() + at, std::move(fresh));
  }
  template <class Wanted>
  Record& find_or_add(Wanted const& key) {
    Record* const known = find(key);
    return known != nullptr ? *known : add(key);
  }
  void erase(Record const& record) { records_.erase(records_.begin() + static_cast<std::ptrdiff_t>(place(record.*Key))); }

 private:
  record_list records_;
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
