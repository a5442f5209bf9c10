// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// What a thread that waits for operations polls for, and until when.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include <poll.h>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

class interest_list {
 public:
  void clear() noexcept {
    polls_.clear();
    until_ns_ = std::numeric_limits<std::int64_t>::max();
  }
  void add(pollfd const& p) { polls_.push_back(p); }
  /// Of anything that has `interest` and `look_again_ns`.
  template <class Work>
  void add(Work const& work) {
    if (auto const p = work.interest(); p.fd >= 0) polls_.push_back(p);
    not_later_than(work.look_again_ns());
  }
  void not_later_than(std::int64_t ns) noexcept { until_ns_ = ns < until_ns_ ? ns : until_ns_; }

  /// Sleeps until one of them has something, or its time has come.
  void poll() noexcept {
    std::int64_t const left = until_ns_ - deadline::now_ns();
    timespec const span{left <= 0 ? 0 : left / 1'000'000'000, left <= 0 ? 0 : left % 1'000'000'000};
    static_cast<void>(::ppoll(polls_.data(), polls_.size(), until_ns_ == std::numeric_limits<std::int64_t>::max() ? nullptr : &span, nullptr));
  }

 private:
  std::vector<pollfd> polls_;
  std::int64_t until_ns_ = std::numeric_limits<std::int64_t>::max();
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
