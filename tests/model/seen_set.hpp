// SPDX-License-Identifier: Apache-2.0
// The states that the model checker has seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace model {

/// A set of numbers, each with the least budget it was met with.
class seen_set {
 public:
  seen_set() { clear(); }
  void clear() {
    table_.assign(1U << 12U, {});
    used_ = 0;
  }
  /// \returns false where it was seen with as little before.
  bool add(std::uint64_t key, std::uint8_t spent) {
    key |= 1U;
    if (used_ * 10 > table_.size() * 7) grow();
    for (std::size_t i = key * 0x9e3779b97f4a7c15U >> 20U;; ++i) {
      auto& e = table_[i & (table_.size() - 1)];
      if (e.key == 0) {
        e = {key, spent};
        ++used_;
        return true;
      }
      if (e.key != key) continue;
      if (e.spent <= spent) return false;
      e.spent = spent;
      return true;
    }
  }
  [[nodiscard]] std::uint64_t size() const noexcept { return used_; }

 private:
  struct entry {
    std::uint64_t key = 0;
    std::uint8_t spent = 0;
  };
  void grow() {
    std::vector<entry> old(table_.size() * 2);
    old.swap(table_);
    for (auto const& o : old)
      if (o.key != 0)
        for (std::size_t i = o.key * 0x9e3779b97f4a7c15U >> 20U;; ++i)
          if (auto& e = table_[i & (table_.size() - 1)]; e.key == 0) {
            e = o;
            break;
          }
  }
  std::vector<entry> table_;
  std::size_t used_ = 0;
};

}  // namespace model
