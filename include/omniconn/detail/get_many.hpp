// SPDX-License-Identifier: Apache-2.0
// Gets of several keys with one wait: whichever is there first, or all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/algorithm.hpp>
#include <omniconn/detail/all_or_none.hpp>
#include <omniconn/detail/get_driver.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

using key_list = std::span<std::string_view const>;

/// What every list of keys must be.
inline result<void, key_error> check_keys(key_list keys, get_options const& o) noexcept {
  if (keys.empty()) return error(error_kind::misconfigured, "the list of keys is empty; name at least one");
  if (o.where != nullptr) return error(error_kind::misconfigured, "a locator names one object, and several keys were given; leave get_options::where empty, or use get_view");
  return {};
}

/// One reader has one share of an object: a key that is in the list twice could only be waited for in vain.
inline result<void, key_error> check_distinct(key_list keys) {
  key_error const twice(error(error_kind::misconfigured, "the key is in the list twice, and one reader has one share of an object; name each key once"));
  constexpr std::size_t few = 16;
  if (keys.size() <= few) {
    for (std::size_t i = 1; i < keys.size(); ++i)
      for (std::size_t k = 0; k != i; ++k)
        if (keys[k] == keys[i]) return key_error(twice, i);
    return {};
  }
  std::vector<std::size_t> order(keys.size());
  for (std::size_t i = 0; i != order.size(); ++i) order[i] = i;
  sort(order.data(), order.size(), [keys](std::size_t a, std::size_t b) { return keys[a] == keys[b] ? a < b : keys[a] < keys[b]; });
  for (std::size_t i = 1; i != order.size(); ++i)
    if (keys[order[i - 1]] == keys[order[i]]) return key_error(twice, order[i]);
  return {};
}

/// The gets of one call. What has not ended when it ends is given up, so that nothing is consumed by it.
template <class Transport, class Allocator>
class several_gets {
  using driver = get_driver<Transport, Allocator>;
  using entry = pending_get<Transport, Allocator>;
  // Where giving up may take its time, each must be able to outlive the call; elsewhere they lie together, in one allocation.
  static constexpr bool apart = !Transport::caps.quiet_cancel;
  using storage = std::conditional_t<apart, std::vector<std::unique_ptr<entry>>, std::unique_ptr<entry[]>>;

 public:
  static constexpr std::size_t none = key_error::no_key;

  /// All memory that the call needs for itself is taken here, before anything is asked.
  several_gets(driver& gets, std::size_t count, get_options const& o) : gets_(gets), options_(o) {
    gets_.reap();
    waiting_.reserve(count);
    sleeping_.reserve(count);
    if constexpr (apart) {
      entries_.reserve(count);
      for (std::size_t i = 0; i != count; ++i) entries_.push_back(std::make_unique<entry>());
    } else {
      entries_ = std::make_unique<entry[]>(count);
    }
  }
  several_gets(several_gets const&) = delete;
  several_gets& operator=(several_gets const&) = delete;
  ~several_gets() {
    for (std::size_t i = 0; i != asked_; ++i) {
      if constexpr (apart) {
        gets_.give_up(std::move(entries_[i]));
      } else {
        (void)gets_.transport().cancel(entries_[i].op);
      }
    }
  }

  /// Asks for key i. \requires none after it was asked for.
  result<progress> find(std::size_t i, wire_key key, find_options how) {
    how.wait = !options_.until.is_immediate();
    how.until = options_.until;
    asked_ = i + 1;
    entry& e = at(i);
    if constexpr (apart) {
      e.key.assign(key);
      key = e.key;
    }
    return gets_.transport().find(e.op, key, how);
  }
  result<progress> provide(std::size_t i) { return gets_.provide(at(i).op, at(i).landed); }
  template <class Take>
  auto finish(std::size_t i, Take& take) {
    return gets_.finish(at(i).op, at(i).landed, take);
  }

  /// From now on `wait` waits for key i, too.
  void await(std::size_t i) { waiting_.push_back(i); }
  /// The first key that is waited for, or `none`.
  [[nodiscard]] std::size_t first_awaited() const noexcept { return waiting_.empty() ? none : waiting_.front(); }

  /// Waits for one of them. \errors as a get's wait
  result<void> wait() {
    sleeping_.clear();
    for (std::size_t const i : waiting_) sleeping_.push_back(&at(i).op);
    if (!limit_) limit_ = driver::patience(options_);
    if (auto const woken = gets_.transport().wait(sleeping_, *limit_, options_.stop); !woken) return driver::why(woken.error(), options_);
    return {};
  }
  /// Asks each that is waited for where it is. `settle(i, progress)` returns whether it is still to be waited for, or nothing to end the round.
  template <class Settle>
  void step(Settle&& settle) {
    std::size_t kept = 0;
    for (std::size_t k = 0; k != waiting_.size(); ++k) {
      std::size_t const i = waiting_[k];
      std::optional<bool> const on = settle(i, gets_.transport().step(at(i).op));
      if (!on) return;
      if (*on) waiting_[kept++] = i;
    }
    waiting_.resize(kept);
  }

 private:
  entry& at(std::size_t i) noexcept {
    if constexpr (apart) {
      return *entries_[i];
    } else {
      return entries_[i];
    }
  }

  driver& gets_;
  get_options const& options_;
  std::optional<deadline> limit_;
  storage entries_{};
  std::size_t asked_ = 0;
  std::vector<std::size_t> waiting_;
  std::vector<operation*> sleeping_;
};

/// All objects of a list. `wire(key, scratch)` makes the wire key, `take` the view: see `get_driver::run`.
template <class View, class Transport, class Allocator, class Wire, class Take>
result<std::vector<View>, key_error> get_all(get_driver<Transport, Allocator>& gets, key_list keys, find_options const& how, get_options const& o, Wire wire, Take take) {
  if (auto good = check_keys(keys, o); !good) return good.error();
  if (auto good = check_distinct(keys); !good) return good.error();
  all_or_none<View> out(keys.size());
  several_gets<Transport, Allocator> asked(gets, keys.size(), o);
  std::optional<key_error> failure;
  // Whether the key is still to be waited for.
  auto const settle = [&](std::size_t i, result<progress> now) -> std::optional<bool> {
    if (now && *now == progress::needs_memory) now = asked.provide(i);
    if (now && *now == progress::pending) return true;
    if (now) {
      auto taken = asked.finish(i, take);
      if (taken) {
        out.views[i] = std::move(*taken);
        return false;
      }
      now = taken.error();
    }
    failure.emplace(now.error(), i);
    return std::nullopt;
  };
  for (std::size_t i = 0; i != keys.size(); ++i) {
    key_scratch scratch;
    auto const key = wire(keys[i], scratch);
    if (!key) return key_error(key.error(), i);
    auto const on = settle(i, asked.find(i, *key, how));
    if (!on) return *failure;
    if (*on) asked.await(i);
  }
  while (asked.first_awaited() != asked.none) {
    if (auto const woken = asked.wait(); !woken) return key_error(woken.error(), asked.first_awaited());
    asked.step(settle);
    if (failure) return *failure;
  }
  out.complete = true;
  return std::move(out.views);
}

/// The first object of a list that is there. One at a time is landed, so that what is not asked for in the end costs no memory.
template <class View, class Transport, class Allocator, class Wire, class Take>
result<keyed_view<View>, key_error> get_any(get_driver<Transport, Allocator>& gets, key_list keys, find_options const& how, get_options const& o, Wire wire, Take take) {
  if (auto good = check_keys(keys, o); !good) return good.error();
  several_gets<Transport, Allocator> asked(gets, keys.size(), o);
  std::vector<std::size_t> known;  // to be there, and in need of memory that another one has
  known.reserve(keys.size());
  std::size_t next_known = 0, landing = asked.none;
  std::optional<keyed_view<View>> found;
  std::optional<key_error> failure;
  auto const settle = [&](std::size_t i, result<progress> now) -> std::optional<bool> {
    if (now && *now == progress::needs_memory) {
      if (landing != asked.none) {
        known.push_back(i);
        return false;
      }
      landing = i;
      now = asked.provide(i);
    }
    if (now && *now == progress::pending) return true;
    if (landing == i) landing = asked.none;
    if (now) {
      auto taken = asked.finish(i, take);
      if (taken) {
        found.emplace(keyed_view<View>{i, std::move(*taken)});
        return std::nullopt;
      }
      now = taken.error();
    }
    if (!failure && now.error().kind() != error_kind::not_found) failure.emplace(now.error(), i);
    return false;
  };
  auto const ask = [&](std::size_t i, result<progress> now) {
    auto const on = settle(i, now);
    if (on && *on) asked.await(i);
    return !found;
  };
  for (std::size_t i = 0; i != keys.size(); ++i) {
    key_scratch scratch;
    auto const key = wire(keys[i], scratch);
    if (!ask(i, key ? asked.find(i, *key, how) : result<progress>(key.error()))) return std::move(*found);
  }
  for (;;) {
    while (landing == asked.none && next_known != known.size()) {
      std::size_t const i = known[next_known++];
      if (!ask(i, progress::needs_memory)) return std::move(*found);
    }
    // Nothing is there that could be had: what went wrong is said at once, not at the deadline.
    if (failure && landing == asked.none) return *failure;
    if (asked.first_awaited() == asked.none) return error(error_kind::not_found, "none of the objects is there now");
    if (auto const woken = asked.wait(); !woken) return woken.error();
    asked.step(settle);
    if (found) return std::move(*found);
  }
}

}  // namespace detail

OMNICONN_END_NAMESPACE
