// SPDX-License-Identifier: Apache-2.0
// The threads that sleep in `poll`, each with a bell for those who have news that no descriptor of its own tells.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/detail/bell.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// \requires for every call: one lock, the owner's
class sleepers {
 public:
  /// \returns the bell of one who is going to sleep. Rung at any time from now on.
  [[nodiscard]] bell const& enter() {
    auto own = idle_.empty() ? std::make_unique<bell>() : std::move(idle_.back());
    if (!idle_.empty()) idle_.pop_back();
    all_.push_back(std::move(own));
    return *all_.back();
  }
  /// The bell is not the sleeper's any more.
  void leave(bell const& own) noexcept {
    auto const at = std::find_if(all_.begin(), all_.end(), [&](auto const& each) { return each.get() == &own; });
    own.hush();
    if (own && idle_.size() < most_idle) idle_.push_back(std::move(*at));
    all_.erase(at);
  }
  void ring_all(bell const* but = nullptr) const noexcept {
    for (auto const& each : all_)
      if (each.get() != but) each->ring();
  }

 private:
  static constexpr std::size_t most_idle = 4;
  std::vector<std::unique_ptr<bell>> all_, idle_ = room_for_idle();
  static std::vector<std::unique_ptr<bell>> room_for_idle() {
    std::vector<std::unique_ptr<bell>> out;
    out.reserve(most_idle);
    return out;
  }
};

}  // namespace detail

OMNICONN_END_NAMESPACE
