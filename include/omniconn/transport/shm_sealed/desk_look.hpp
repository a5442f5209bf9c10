// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// Whom a consumer connects to: what it finds in the namespace's folder, which others may have filled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/flat_map.hpp>
#include <omniconn/detail/algorithm.hpp>
#include <omniconn/transport/shm_sealed/desk.hpp>
#include <omniconn/transport/shm_sealed/folder.hpp>
#include <omniconn/transport/shm_sealed/operations.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

inline std::vector<std::string>::const_iterator place_among(std::vector<std::string> const& sorted, std::string const& name) {
  return detail::lower_bound(sorted.begin(), sorted.end(), name, [](std::string const& a, std::string const& b) { return a < b; });
}
inline bool is_among(std::vector<std::string> const& sorted, std::string const& name) {
  auto const at = place_among(sorted, name);
  return at != sorted.end() && *at == name;
}

/// Reads the folder and connects to who is new, to so many at once: others may have filled it. The next look goes on where this one ended.
inline void desk::look_around() {
  std::int64_t const now = deadline::now_ns();
  std::vector<std::string> names;
  behind_ = false;
  blind_ = !place_.names(names);
  look_again_ns_ = now + soon_ns;
  if (blind_) return;
  detail::sort(names.data(), names.size());
  flat_map<std::string, trouble> still;
  for (auto& [name, t] : troubles_)
    if (is_among(names, name)) still.emplace(name, std::move(t));
  troubles_ = std::move(still);
  std::size_t const first = static_cast<std::size_t>(place_among(names, look_from_) - names.begin());
  std::int64_t const read = deadline::now_ns();
  std::size_t tried = 0;
  for (std::size_t i = 0; i != names.size(); ++i) {
    std::string const& name = names[(first + i) % names.size()];
    if (links_.count(id_of_name(name)) != 0) continue;
    if (auto const known = troubles_.find(name); known != troubles_.end() && known->second.until_ns > read) continue;
    if (links_.size() == max_links) {  // until one leaves
      blind_ = true;
      break;
    }
    if (tried == most_tries || deadline::now_ns() - read > longest_look_ns) {
      behind_ = true;
      look_from_ = name;
      break;
    }
    ++tried;
    meet(name);
  }
  std::int64_t const done = deadline::now_ns();
  // Who changes a full folder all the time does not keep us looking all the time.
  std::int64_t const took = done - now;
  not_before_ns_ = took > 10'000'000 ? done + 40'000'000 : took > 1'000'000 ? done + 4 * took : 0;
  if (behind_) {
    if (!blind_) look_again_ns_ = done;
    return;
  }
  std::vector<get_operation*> all;
  for (auto const& [id, op] : gets_) all.push_back(op);
  for (auto* const op : all) {
    end_if_unreachable(*op);
    if (op->now_ == get_operation::state::looking && !op->waits_) end_if_nowhere(*op);
  }
  if (watch_ && !blind_) look_again_ns_ = for_ever;  // without a watch (a user may have 128) we look ourselves
  for (auto const& [name, t] : troubles_) look_again_ns_ = t.until_ns < look_again_ns_ ? t.until_ns : look_again_ns_;
}
/// Connects to a producer that we do not know, or remembers why not.
inline void desk::meet(std::string const& name) {
  std::int64_t paused = 0;
  if (auto const known = troubles_.find(name); known != troubles_.end()) {
    paused = known->second.pause_ns;
    troubles_.erase(name);
  }
  auto const fresh = std::make_shared<link>(name);
  peer& who = fresh->who;
  auto const outcome = connect(name, who, &fresh->line);
  std::int64_t const now = deadline::now_ns();
  switch (outcome) {
    case meeting_place::outcome::gone:
      if (who.user != place_.own_user()) troubles_[name] = {for_ever};  // it is not ours to remove, and no name is used again
      break;
    case meeting_place::outcome::lacking: blind_ = true; break;
    case meeting_place::outcome::later: {
      std::int64_t const most = who.user == place_.own_user() ? 20'000'000 : 2'560'000'000, pause = paused == 0 ? 5'000'000 : 2 * paused < most ? 2 * paused : most;
      troubles_[name] = {now + pause, false, {}, pause};
      break;
    }
    case meeting_place::outcome::stranger: troubles_[name] = {for_ever, false, who.text() + ": not an allowed user's socket"}; break;
    case meeting_place::outcome::connected: {
      if (known_of(who.user) >= place_.share_of(who.user, max_links)) {
        troubles_[name] = {now + 1'000'000'000, false, who.text() + ": more producers than its user's share"};
        break;
      }
      if (!listen_to(fresh->line.fd(), fresh->id)) {
        blind_ = true;
        break;
      }
      links_.emplace(fresh->id, fresh);
      for (auto const& [id, op] : gets_) ask(*op, fresh);
      break;
    }
  }
}

/// Links to producers of that user.
inline std::size_t desk::known_of(std::uint32_t user) const noexcept {
  std::size_t n = 0;
  for (auto const& [id, l] : links_) n += l->who.user == user ? 1 : 0;
  return n;
}

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
