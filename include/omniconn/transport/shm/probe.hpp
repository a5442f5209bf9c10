// SPDX-License-Identifier: Apache-2.0
// Whether other participants still run: one that was stopped keeps its locks and its FIFO, but does not answer.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/layout.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// \threadsafety all members.
class probe {
 public:
  /// So long before its deadline a waiter asks. Who runs answers in much less, also on a busy machine.
  static constexpr std::int64_t patience_ns = 100'000'000;

  /// Rings everybody of another process who puts, or gets, for the stage; waits that end quickly share one question.
  void ask(directory const& dir, std::uint32_t me, std::uint16_t stage, bool puts) noexcept {
    std::scoped_lock const lock(mutex_);
    std::int64_t const now = deadline::now_ns();
    if (stage == stage_ && puts == puts_ && now - asked_at_ < 2 * patience_ns) return;
    stage_ = stage;
    puts_ = puts;
    asked_at_ = now;
    count_ = 0;
    for (std::uint32_t i = 0; i != max_participants && count_ != asked_.size(); ++i) {
      auto const& p = dir.participant_at(i);
      if (p.state.load() != participant_state::live || p.process == dir.participant_at(me).process || !(puts ? p.puts : p.gets).has(stage)) continue;
      asked_[count_++] = {i, p.epoch.load(), p.answers.load()};
      dir.ring_participant(i);
    }
  }
  /// Somebody who was asked long enough ago lives and has not answered.
  [[nodiscard]] bool unanswered(directory const& dir, std::uint16_t stage, bool puts) noexcept {
    std::scoped_lock const lock(mutex_);
    if (stage != stage_ || puts != puts_ || deadline::now_ns() - asked_at_ < patience_ns / 2) return false;
    for (std::uint32_t k = 0; k != count_; ++k) {
      auto const& p = dir.participant_at(asked_[k].index);
      if (p.state.load() == participant_state::live && p.epoch.load() == asked_[k].epoch && p.answers.load() == asked_[k].answers) return true;
    }
    return false;
  }

 private:
  struct question {
    std::uint32_t index = 0, epoch = 0, answers = 0;
  };
  std::mutex mutex_;
  std::uint16_t stage_ = 0xffff;
  bool puts_ = true;
  std::int64_t asked_at_ = 0;
  std::uint32_t count_ = 0;
  std::array<question, 16> asked_;
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
