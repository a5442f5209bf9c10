// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// The objects of one producer: who may read them, who does, and who waits. They live here and nowhere else, so that they die with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/function_ref.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/shm_sealed/channel.hpp>
#include <omniconn/transport/shm_sealed/protocol.hpp>
#include <omniconn/transport/shm_sealed/table.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

inline constexpr std::uint32_t max_readers = 1024;         ///< of one object
inline constexpr std::size_t max_requests = 1024;          ///< of one consumer that wait
inline constexpr std::size_t max_claims = 1024;            ///< of one consumer that are held; descriptors that are under way count

/// One object. It stays as long as somebody holds it, also without its key.
struct item {
  struct share {
    enum class state : std::uint8_t { open, held, consumed };
    std::string reader;
    state now = state::open;
  };
  shared_fd memory;
  object_info info;
  std::uint64_t generation = 0;
  std::uint32_t readers = 1, consumed = 0;
  bool named = false;         ///< `shares` lists exactly the readers
  bool current = false;       ///< its key still means it
  std::vector<share> shares;  ///< of all who have or had one, or of the named

  [[nodiscard]] share* find(std::string_view reader) noexcept {
    for (share& s : shares)
      if (s.reader == reader) return &s;
    return nullptr;
  }
};

/// A get of a consumer: it waits, or it has an object.
struct request {
  std::uint64_t id = 0, generation = 0;
  std::string key, reader;
  std::shared_ptr<item> held;  ///< null: it waits
};

/// A consumer at the other end of a connection, with all that is its.
struct customer {
  channel line;
  table<request, &request::id> requests;
  std::size_t waiting = 0;
};

/// \threadsafety none: its owner's lock is around every call.
class vault {
 public:
  enum class outcome : std::uint8_t { granted, later, had, stale };

  // --- the producer's own side --------------------------------------------------------------------------------------------------

  /// Reserves a key. \returns false where it is taken.
  bool begin(wire_key key, bool replaces) {
    entry& e = entries_.find_or_add(key);
    if (!replaces && (e.current != nullptr || e.writers != 0)) return false;
    ++e.writers;
    return true;
  }
  void abandon(std::string const& key) {
    entry* const e = entries_.find(key);
    if (e == nullptr || e->writers == 0) return;
    --e->writers;
    drop_if_idle(*e);
  }
  /// Shows an object to readers and serves those who wait for it. \returns its generation; 0: a replacing put took the key since `begin`.
  std::uint64_t commit(std::string const& key, std::shared_ptr<item> fresh, bool replaces) {
    entry& e = *entries_.find(key);
    if (e.current != nullptr && !replaces) {
      abandon(key);
      return 0;
    }
    --e.writers;
    take_away(e);
    fresh->generation = ++last_generation_;
    fresh->current = true;
    ++objects_;
    bytes_ += fresh->info.size;
    e.current = std::move(fresh);
    settle(e);
    return last_generation_;
  }
  std::size_t erase(wire_key key) {
    entry* const e = entries_.find(key);
    if (e == nullptr || e->current == nullptr) return 0;
    take_away(*e);
    settle(*e);
    return 1;
  }
  std::size_t erase_if(function_ref<bool(wire_key)> match) {
    std::vector<std::string> matching;
    for (auto const& e : entries_.all())
      if (e->current != nullptr && match(e->key)) matching.push_back(e->key);
    for (auto const& key : matching) erase(key);
    return matching.size();
  }
  [[nodiscard]] bool exists(wire_key key) const {
    entry const* const e = entries_.find(key);
    return e != nullptr && e->current != nullptr;
  }
  [[nodiscard]] std::uint64_t objects() const noexcept { return objects_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  // --- the consumers' side: each answers on the consumer's line -----------------------------------------------------------------

  /// \returns false for a number that the consumer uses already, which no consumer of ours does.
  bool get(customer& c, message const& m) {
    if (c.requests.find(m.id) != nullptr) return false;
    request& r = c.requests.add(m.id);
    r.generation = m.generation;
    r.key.assign(m.key);
    r.reader.assign(m.text);
    bool const full = c.requests.size() - c.waiting > max_claims || c.waiting == max_requests;
    switch (outcome const now = full ? outcome::later : look(entries_.find(m.key), r)) {
      case outcome::granted: grant(c, r); return true;
      case outcome::had:
      case outcome::stale: refuse(c, m.id, now == outcome::had ? refusal::consumed : refusal::stale); break;
      case outcome::later:
        if (full) {
          refuse(c, m.id, refusal::too_many);
          break;
        }
        if (m.flag == 0) {
          refuse(c, m.id, refusal::absent);
          break;
        }
        entries_.find_or_add(m.key).waiting.push_back({&c, &r});
        ++c.waiting;
        tell(c, message_type::queued, m.id);
        return true;
    }
    c.requests.erase(r);
    return true;
  }

  /// A get is over: it was given up (also where the grant is still on its way), given back, or its object consumed.
  void end(customer& c, std::uint64_t id, bool consumed) {
    request* const known = c.requests.find(id);
    if (known == nullptr) return;  // refused meanwhile
    request const r = std::move(*known);
    entry* const e = entries_.find(r.key);
    if (r.held == nullptr) {
      --c.waiting;
      std::erase_if(e->waiting, [known](auto const& w) { return w.what == known; });
      drop_if_idle(*e);
    }
    known->id = id;
    c.requests.erase(*known);
    if (r.held == nullptr || !r.held->current) return;
    item& o = *r.held;
    item::share* const mine = o.find(r.reader);
    if (consumed) {
      mine->now = item::share::state::consumed;
      if (++o.consumed == o.readers) take_away(*e);
    } else if (o.named) {
      mine->now = item::share::state::open;
    } else {
      *mine = std::move(o.shares.back());
      o.shares.pop_back();
    }
    settle(*e);
  }
  /// The consumer's connection is gone: all that it did not consume is there again.
  void leave(customer& c) {
    while (!c.requests.empty()) end(c, c.requests.all().back()->id, false);
  }

  /// The next keys after `m.key`, as many as fit one message.
  void list(customer& c, message const& m) const {
    std::string out;
    auto const& all = entries_.all();
    std::size_t at = m.flag == 0 ? 0 : entries_.place(m.key);
    if (m.flag != 0 && at != all.size() && all[at]->key == m.key) ++at;
    for (; at != all.size() && out.size() < max_list; ++at) {
      if (all[at]->current == nullptr) continue;
      std::string const& key = all[at]->key;
      auto const size = static_cast<std::uint16_t>(key.size());
      char bytes[sizeof size];
      std::memcpy(bytes, &size, sizeof size);
      out.append(bytes, sizeof bytes).append(key);
    }
    message answer;
    answer.type = message_type::keys;
    answer.id = m.id;
    answer.flag = at != all.size() ? 1 : 0;
    answer.text = out;
    static_cast<void>(c.line.send(answer));
  }
  static void tell(customer& c, message_type what, std::uint64_t id, std::uint64_t number = 0) {
    message answer;
    answer.type = what;
    answer.id = id;
    answer.info.size = number;
    static_cast<void>(c.line.send(answer));
  }

 private:
  struct waiter {
    customer* who;
    request* what;
  };
  struct entry {
    std::string key;
    std::shared_ptr<item> current;
    std::uint32_t writers = 0;    ///< puts between begin and commit
    std::vector<waiter> waiting;  ///< oldest first
  };

  static outcome look(entry const* e, request& r) {
    item* const o = e == nullptr ? nullptr : e->current.get();
    if (r.generation != 0 && (o == nullptr || o->generation != r.generation)) return outcome::stale;
    if (o == nullptr) return outcome::later;
    if (item::share* const mine = o->find(r.reader); mine != nullptr) {
      if (mine->now == item::share::state::consumed) return outcome::had;
      if (mine->now == item::share::state::held) return outcome::later;  // it may be given back
      mine->now = item::share::state::held;
    } else if (o->named || o->shares.size() == o->readers) {
      return outcome::later;
    } else {
      o->shares.push_back({r.reader, item::share::state::held});
    }
    r.held = e->current;
    return outcome::granted;
  }
  static void grant(customer& c, request const& r) {
    message m;
    m.type = message_type::grant;
    m.id = r.id;
    m.generation = r.held->generation;
    m.info = r.held->info;
    static_cast<void>(c.line.send(m, r.held->memory));  // a line that is gone is noticed by whoever reads it
  }
  static void refuse(customer& c, std::uint64_t id, refusal why) {
    message m;
    m.type = message_type::refusal;
    m.id = id;
    m.flag = static_cast<std::uint8_t>(why);
    static_cast<void>(c.line.send(m));
  }

  /// The key means this object no more.
  void take_away(entry& e) noexcept {
    if (e.current == nullptr) return;
    e.current->current = false;
    --objects_;
    bytes_ -= e.current->info.size;
    e.current.reset();
  }
  /// Serves those who wait for a key, oldest first, after something about its object changed.
  void settle(entry& e) {
    std::size_t kept = 0;
    for (waiter const w : e.waiting) {
      outcome const now = look(&e, *w.what);
      if (now == outcome::later) {
        e.waiting[kept++] = w;
        continue;
      }
      --w.who->waiting;
      if (now == outcome::granted) {
        grant(*w.who, *w.what);
      } else {
        std::uint64_t const id = w.what->id;
        w.who->requests.erase(*w.what);
        refuse(*w.who, id, now == outcome::had ? refusal::consumed : refusal::stale);
      }
    }
    e.waiting.resize(kept);
    drop_if_idle(e);
  }
  void drop_if_idle(entry const& e) {
    if (e.current == nullptr && e.writers == 0 && e.waiting.empty()) entries_.erase(e);
  }

  table<entry, &entry::key> entries_;
  std::uint64_t last_generation_ = 0, objects_ = 0, bytes_ = 0;
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
