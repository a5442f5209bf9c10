// SPDX-License-Identifier: Apache-2.0
// Keys, objects and claims of the simulated transports: the plainest form of the rules.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/testing/sim/sim_world.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// One object, from begin until its block is back and nobody claims it.
struct sim_object {
  enum class claim : std::uint8_t { open, held, consumed };

  std::string key;
  object_info info;
  std::vector<const_bytes> parts;  // the producer's memory
  std::vector<std::byte> copy;     // a service's own
  std::shared_ptr<sim_endpoint> producer;
  std::uint64_t token = 0;
  void (*dispose)(std::uint64_t) noexcept = nullptr;
  bool block_out = true;
  bool replaces = false;
  bool reserved = false;
  bool listed = false;
  bool named = false;
  std::uint32_t readers = 1;
  std::uint32_t holds = 0;
  std::uint32_t consumed = 0;
  std::uint64_t generation = 0;
  std::map<std::string, claim, std::less<>> claims;

  /// The bytes `[at, at + size)` of the payload, wherever its pieces are, into `to` from the same offset of the landing memory.
  void copy_range(std::size_t at, std::size_t size, std::span<mutable_bytes const> to) const {
    while (size != 0) {
      auto const source = run_at(std::span(parts), at);
      auto const target = run_at(to, at);
      std::size_t const n = std::min({size, source.size(), target.size()});
      std::memcpy(target.data(), source.data(), n);
      at += n;
      size -= n;
    }
  }

 private:
  /// The rest of the piece that holds byte `at` of all.
  template <class Bytes>
  static Bytes run_at(std::span<Bytes const> pieces, std::size_t at) {
    std::size_t p = 0;
    while (at >= pieces[p].size()) at -= pieces[p++].size();
    return pieces[p].subspan(at);
  }
};

/// How a look for an object ends.
enum class sim_outcome : std::uint8_t { granted, later, had, stale, absent };

struct sim_get : sim_flight {
  std::string key;
  std::string reader;
  std::uint64_t wanted = 0;
  std::shared_ptr<sim_object> object;
  object_info info;
  std::uint64_t generation = 0;
  std::uint64_t owner = 0;
  bool may_wait = true;
  virtual void answer(sim_outcome) {}
};

/// All calls rely on the world's lock.
class sim_store {
 public:
  /// \requires objects that a service keeps have no memory of their producer in them.
  explicit sim_store(sim_world& world, bool service = false) : world_(world), service_(service) {
    world.on_death([this](sim_endpoint& e) { forget(e); });
  }

  sim_world& world() noexcept { return world_; }

  [[nodiscard]] bool reserve(sim_object& o) {
    auto& e = entries_[o.key];
    if (!o.replaces && (e.current != nullptr || e.writers != 0)) return false;
    ++e.writers;
    o.reserved = true;
    return true;
  }
  /// Gives up what is not acknowledged: the reservation, and the object if the news of it were still on the way.
  void withdraw(std::shared_ptr<sim_object> const& o) {
    unreserve(*o);
    drop(o);
    free_if_idle(*o);
  }
  /// Shows an object to readers. false: a replacing put was quicker than this one, which must not replace.
  [[nodiscard]] bool list(std::shared_ptr<sim_object> const& o) {
    auto& e = entries_[o->key];
    if (e.current != nullptr && !o->replaces) return false;
    if (e.current != nullptr) drop(std::shared_ptr<sim_object>(e.current));
    entries_[o->key].current = o;
    o->listed = true;
    o->generation = world_.next_generation();
    unreserve(*o);
    settle(o->key);
    return true;
  }

  /// Tries to claim; `absent` instead of `later` for a get that does not wait.
  [[nodiscard]] sim_outcome claim(sim_get& get) {
    sim_outcome const now = try_claim(get);
    return now == sim_outcome::later && !get.may_wait ? sim_outcome::absent : now;
  }
  void end(std::shared_ptr<sim_object> const& o, std::string const& reader, disposition how) {
    --o->holds;
    auto const mine = o->claims.find(reader);
    if (how == disposition::consumed) {
      mine->second = sim_object::claim::consumed;
      if (++o->consumed == o->readers) drop(o);
    } else if (o->named) {
      mine->second = sim_object::claim::open;
    } else {
      o->claims.erase(mine);
    }
    free_if_idle(*o);
    settle(o->key);
    world_.changed();
  }

  /// A get that the store keeps until it can answer.
  void keep(std::shared_ptr<sim_get> const& get) { waiting_[get->key].push_back(get); }

  [[nodiscard]] bool exists(std::string_view key) const {
    auto const at = entries_.find(key);
    return at != entries_.end() && at->second.current != nullptr;
  }
  std::size_t erase(std::string_view key) {
    auto const at = entries_.find(key);
    if (at == entries_.end() || at->second.current == nullptr) return 0;
    auto const o = at->second.current;
    drop(o);
    free_if_idle(*o);
    settle(o->key);
    world_.changed();
    return 1;
  }
  std::size_t erase_if(function_ref<bool(wire_key)> match) {
    std::vector<std::string> keys;
    for (auto const& [key, e] : entries_)
      if (e.current != nullptr && match(key)) keys.push_back(key);
    for (auto const& key : keys) erase(key);
    return keys.size();
  }
  /// A producer's objects go with it, unless a service keeps them, and its blocks go home: from now on nobody reads its memory.
  void forget(sim_endpoint& producer) {
    std::vector<std::shared_ptr<sim_object>> gone;
    for (auto const& [key, e] : entries_)
      if (!service_ && e.current != nullptr && e.current->producer.get() == &producer) gone.push_back(e.current);
    for (auto const& o : gone) {
      drop(o);
      settle(o->key);
    }
    for (auto const& weak : lent_)
      if (auto const o = weak.lock(); o != nullptr && o->producer.get() == &producer) return_block(*o);
  }
  /// Remembers whose blocks are out, for `forget`.
  void lend(std::shared_ptr<sim_object> const& o) {
    if (lent_.size() >= 64 && (lent_.size() & (lent_.size() - 1)) == 0) std::erase_if(lent_, [](auto const& w) { return w.expired(); });
    lent_.push_back(o);
  }
  void return_block(sim_object& o) {
    if (std::exchange(o.block_out, false)) world_.give_back(*o.producer, o.token, o.dispose);
  }

  [[nodiscard]] occupancy objects() const {
    occupancy out;
    for (auto const& [key, e] : entries_) out.used += e.current != nullptr ? 1U : 0U;
    return out;
  }
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t out = 0;
    for (auto const& [key, e] : entries_) out += e.current != nullptr ? e.current->info.size : 0U;
    return out;
  }

  static error refusal(sim_outcome why) noexcept {
    if (why == sim_outcome::absent) return {error_kind::not_found, "no such object now"};
    if (why == sim_outcome::had) return {error_kind::consumed, "this reader has had its share of the object"};
    return {error_kind::stale_handle, "the object behind the locator was read up, replaced or erased; search by key instead"};
  }

 private:
  struct entry {
    std::shared_ptr<sim_object> current;
    unsigned writers = 0;
  };

  sim_outcome try_claim(sim_get& get) {
    auto const at = entries_.find(get.key);
    auto const object = at != entries_.end() ? at->second.current : nullptr;
    if (get.wanted != 0 && (object == nullptr || object->generation != get.wanted)) return sim_outcome::stale;
    if (object == nullptr) return sim_outcome::later;
    auto mine = object->claims.find(get.reader);
    if (mine == object->claims.end()) {
      if (object->named || object->claims.size() == object->readers) return sim_outcome::later;
      mine = object->claims.emplace(get.reader, sim_object::claim::open).first;
    }
    if (mine->second == sim_object::claim::consumed) return sim_outcome::had;
    if (mine->second == sim_object::claim::held) return sim_outcome::later;
    mine->second = sim_object::claim::held;
    ++object->holds;
    get.object = object;
    get.generation = object->generation;
    get.owner = object->producer->id;
    return sim_outcome::granted;
  }
  void unreserve(sim_object& o) {
    if (!std::exchange(o.reserved, false)) return;
    --entries_[o.key].writers;
    tidy(o.key);
  }
  void drop(std::shared_ptr<sim_object> const& o) {
    if (!std::exchange(o->listed, false)) return;
    entries_[o->key].current = nullptr;
    tidy(o->key);
    if (o->holds == 0) return_block(*o);
  }
  void free_if_idle(sim_object& o) {
    if (!o.listed && !o.reserved && o.holds == 0) return_block(o);
  }
  void tidy(std::string const& key) {
    auto const at = entries_.find(key);
    if (at->second.current == nullptr && at->second.writers == 0) entries_.erase(at);
  }
  void settle(std::string const& key) {
    auto const at = waiting_.find(key);
    if (at == waiting_.end()) return;
    std::vector<std::shared_ptr<sim_get>> still;
    for (auto const& get : std::exchange(at->second, {})) {
      if (!get->pending()) continue;
      if (auto const now = claim(*get); now == sim_outcome::later) {
        still.push_back(get);
      } else {
        get->answer(now);
      }
    }
    if (still.empty()) {
      waiting_.erase(at);
    } else {
      at->second = std::move(still);
    }
  }

  sim_world& world_;
  bool service_;
  std::map<std::string, entry, std::less<>> entries_;
  std::map<std::string, std::vector<std::shared_ptr<sim_get>>> waiting_;
  std::vector<std::weak_ptr<sim_object>> lent_;
};

/// The store of a service: its objects outlive their producers.
struct sim_service : sim_store {
  explicit sim_service(sim_world& world) : sim_store(world, true) {}
};

/// What both transports ask of a put before anything else. A failure leaves the block to the caller.
inline result<std::shared_ptr<sim_object>> sim_prepare(capabilities const& caps, std::shared_ptr<sim_endpoint> const& home, wire_key key,
                                                       outgoing const& out, object_info const& info, publish_options const& how) {
  if (key.size() > caps.max_key) return error(error_kind::too_large, "the key is longer than caps.max_key");
  if (info.size > caps.max_object) return error(error_kind::too_large, "the object is larger than caps.max_object");
  if (out.parts.size() > caps.max_pieces)
    return error(error_kind::misconfigured, "more pieces than caps.max_pieces; gather the payload first");
  if (info.size > total_size(out.parts)) return error(error_kind::misconfigured, "object_info.size is larger than the pieces");
  if (how.readers.anybody) return error(error_kind::unsupported, "this transport does not keep objects that are read; give a number of readers");
  if (how.readers.size() == 0) return error(error_kind::misconfigured, "readers is 0: nobody could ever read the object");
  if (how.readers.size() > caps.max_readers) return error(error_kind::misconfigured, "more readers than caps.max_readers");
  auto o = std::make_shared<sim_object>();
  for (std::string_view const name : how.readers.names)
    if (!o->claims.emplace(name, sim_object::claim::open).second) return error(error_kind::misconfigured, "readers names somebody twice");
  if (!how.readers.names.empty() && !caps.named_readers)
    return error(error_kind::unsupported, "this transport cannot tell readers apart; give a count");
  if (how.existing == on_existing::replace && !caps.can_replace)
    return error(error_kind::unsupported, "this transport cannot replace; erase the key first");
  o->key = key;
  o->info = info;
  o->parts.assign(out.parts.begin(), out.parts.end());
  o->producer = home;
  o->token = out.token;
  o->dispose = out.dispose;
  o->replaces = how.existing == on_existing::replace;
  o->named = !how.readers.names.empty();
  o->readers = how.readers.size();
  return o;
}

}  // namespace detail

OMNICONN_END_NAMESPACE
