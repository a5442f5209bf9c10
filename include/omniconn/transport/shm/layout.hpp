// SPDX-License-Identifier: Apache-2.0
// What lies in the directory file of a namespace. The format has its own version, apart from the library's.
//
//   header | participants | reader names | key locks | slots | claims
//
// An object lies in the slot that its key's hash names, its home, or in one of the next. So a reader that waits for a key knows where to look, and one line
// of memory changes hands when the object comes. Short keys and payloads lie in the slot; other payloads in one arena file per producer, which readers map read-only.
// The directory is writable by every process of the user, so everything read from it is checked before it is used.
//
// The atomics are a parameter for the model checker (docs/model-checking.md), which runs what is shipped on memory of its own.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/xxh3.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

inline constexpr std::uint64_t directory_magic = 0x31726964'6e6e6f63;  // "conndir1" in a hex dump
inline constexpr std::uint32_t format_version = 8;
inline constexpr std::uint32_t max_participants = 256;
inline constexpr std::uint32_t max_names = 1024;
inline constexpr std::uint32_t max_stages = 6;  // that one participant puts or gets for; more count as any
inline constexpr std::size_t max_name_size = 56;
inline constexpr std::uint32_t max_claims = 64;        // readers of one object; how many a namespace has room for is its maker's choice
inline constexpr std::uint32_t usual_claims = 16;
inline constexpr std::uint32_t claims_of_a_line = 8;
inline constexpr std::uint64_t claims_renewed_after = std::uint64_t{1} << 20U;  // objects of a slot; see `claim`
inline constexpr std::uint32_t max_keys = 1U << 21U;
inline constexpr std::uint32_t usual_keys = 4096;
inline constexpr std::uint32_t slots_of_a_key = 2;  // half full at most, a key's object lies at its home or a few slots behind
inline constexpr std::uint32_t min_slots = 32;
inline constexpr std::uint32_t max_slots = max_keys * slots_of_a_key;
inline constexpr std::uint32_t window = 128;          // slots that a key's object may lie in; half full, one put in 10^10 finds them all taken
inline constexpr std::uint32_t slots_of_a_lock = 8;
inline constexpr std::uint32_t slot_room = 128;       // bytes of a slot for the key, and behind it a short payload
inline constexpr std::uint64_t region_mask = 0xffff;  // of an arena's id: 0 for the arena, else a number of memory that its producer lends
inline constexpr std::uint64_t in_slot = 1;           // in place of an arena's id: the payload lies in the slot
inline constexpr std::size_t key_cell = 4096;         // place of one long key in the producer's arena: one page

/// A short payload lies behind the key, aligned for any number.
constexpr std::size_t behind_key(std::size_t key_size) noexcept { return (key_size + 15) / 16 * 16; }
constexpr std::size_t room_beside(std::size_t key_size) noexcept { return behind_key(key_size) < slot_room ? slot_room - behind_key(key_size) : 0; }
constexpr bool fits_slot(std::size_t key_size, std::size_t size) noexcept { return key_size <= slot_room && size <= room_beside(key_size); }

/// A word that one process writes while others may look: a look in between sees an old or a new value, never a torn one. What makes the value
/// trustworthy is a sequentially consistent word beside it.
template <class T, template <class> class Atomic>
class shared_word {
 public:
  constexpr operator T() const noexcept { return word_.load(std::memory_order_relaxed); }  // NOLINT(google-explicit-constructor): stands for a T
  shared_word& operator=(T value) noexcept {
    word_.store(value, std::memory_order_relaxed);
    return *this;
  }

 private:
  Atomic<T> word_;
};

/// Calls `visit(i, word)` for each eight bytes, the last of them filled with zeros, until it returns false. No copy of a size that is not known here: that is a call each.
template <class Visit> [[gnu::always_inline]] inline bool for_each_word_of(void const* bytes, std::size_t size, Visit visit) noexcept {
  auto const* const from = static_cast<unsigned char const*>(bytes);
  std::size_t i = 0;
  for (; (i + 1) * sizeof(std::uint64_t) <= size; ++i) {
    std::uint64_t word;
    std::memcpy(&word, from + i * sizeof word, sizeof word);
    if (!visit(i, word)) return false;
  }
  std::size_t const rest = size % sizeof(std::uint64_t);
  if (rest == 0) return true;
  std::uint64_t word = 0;
  if (std::endian::native == std::endian::little && size >= sizeof word) {
    std::memcpy(&word, from + size - sizeof word, sizeof word);  // the last eight, some of which were visited
    word >>= 8 * (sizeof word - rest);
  } else {
    unsigned char last[sizeof word]{};
    for (std::size_t k = 0; k != rest; ++k) last[k] = from[i * sizeof word + k];
    std::memcpy(&word, last, sizeof word);
  }
  return visit(i, word);
}

/// A short text in shared words.
template <std::size_t N, template <class> class Atomic>
class shared_text {
  static_assert(N % sizeof(std::uint64_t) == 0);

 public:
  void store(char const* text, std::size_t size) noexcept {
    std::array<std::uint64_t, N / sizeof(std::uint64_t)> words{};
    std::memcpy(words.data(), text, size < N ? size : N);
    for (std::size_t i = 0; i != words.size(); ++i) words_[i] = words[i];
  }
  /// Bytes from `at` on, a multiple of 8; what is between their end and the next word becomes 0, the rest stays.
  [[gnu::always_inline]] void store_at(std::size_t at, void const* bytes, std::size_t size) noexcept {
    for_each_word_of(bytes, size, [this, first = at / sizeof(std::uint64_t)](std::size_t i, std::uint64_t word) { return words_[first + i] = word, true; });
  }
  /// Whether it begins with these bytes, and with zeros up to the next word.
  [[nodiscard, gnu::always_inline]] bool begins_with(void const* bytes, std::size_t size) const noexcept {
    return for_each_word_of(bytes, size, [this](std::size_t i, std::uint64_t word) { return words_[i] == word; });
  }
  [[nodiscard]] std::uint64_t word(std::size_t i) const noexcept { return words_[i]; }
  /// \requires nobody writes: whoever has a claim on the object, its producer
  [[nodiscard]] std::byte const* data() const noexcept { return reinterpret_cast<std::byte const*>(words_.data()); }
  [[nodiscard]] std::array<char, N> load() const noexcept {
    std::array<std::uint64_t, N / sizeof(std::uint64_t)> words;
    for (std::size_t i = 0; i != words.size(); ++i) words[i] = words_[i];
    std::array<char, N> out;
    std::memcpy(out.data(), words.data(), N);
    return out;
  }

 private:
  std::array<shared_word<std::uint64_t, Atomic>, N / sizeof(std::uint64_t)> words_;
};

/// First words of the directory; written once, before the file gets its name.
template <template <class> class Atomic> struct alignas(64) basic_header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t slots;
  std::uint64_t id;         ///< random: locators of an earlier directory of the same name are stale
  std::uint64_t hash_seed;  ///< random: nobody can choose keys that collide
  std::uint64_t file_size;
  std::uint32_t reserved;
  Atomic<std::uint32_t> deaths;     ///< participants that ended without saying goodbye
  Atomic<std::uint32_t> dead;       ///< set before the last user unlinks the file: whoever opened it meanwhile opens anew
  Atomic<std::uint32_t> multi_seq;  ///< rung by every publication while somebody waits for several keys at once
  Atomic<std::uint32_t> multi_waiters;
  Atomic<std::uint32_t> listeners;  ///< bit per group of participants whose FIFOs are rung with every event; see listen.hpp

  std::uint32_t readers;      ///< places for claims of one object
  std::uint64_t bytes_limit;  ///< payload memory of all participants together; 0: as much as there is
};
using header = basic_header<std::atomic>;
static_assert(sizeof(header) == 128);

enum class participant_state : std::uint32_t {
  free = 0,
  live = 1,    ///< whoever holds the lock on the record's byte; nobody: it died
  orphan = 2,  ///< gone, but objects of it are still leased
};

/// The stages that a participant puts or gets for: numbers of interned names. Written by the participant alone.
template <template <class> class Atomic> class basic_stage_set {
 public:
  void add(std::uint16_t name) noexcept {
    for (auto& known : names_) {
      std::uint16_t const now = known;
      if (now == name + 1U || now == any) return;
      if (now != 0) continue;
      known = static_cast<std::uint16_t>(name + 1U);
      return;
    }
    names_[0] = any;
  }
  [[nodiscard]] bool has(std::uint16_t name) const noexcept {
    for (auto const& known : names_)
      if (std::uint16_t const now = known; now == name + 1U || now == any) return true;
    return false;
  }
  [[nodiscard]] bool empty() const noexcept { return names_[0] == 0; }
  void clear() noexcept {
    for (auto& known : names_) known = 0;
  }

 private:
  static constexpr std::uint16_t any = 0xffff;
  std::array<shared_word<std::uint16_t, Atomic>, max_stages> names_;
};

/// One transport object of one process. Its identity is an open-file-description lock on byte 1 + index of the directory file:
/// the kernel drops it with the process, however that ends. The pid is for people only; other pid namespaces see another one.
/// Its FIFO, `<stem>.p<index>`, wakes those who have it open when it ends, and wakes it when somebody writes.
template <template <class> class Atomic> struct alignas(64) basic_participant {
  Atomic<participant_state> state;
  Atomic<std::uint32_t> room_seq;            ///< futex: moves when room came back that threads of it wait for
  shared_word<std::uint64_t, Atomic> arena;  ///< id in the arena's file name, 0 = none yet
  shared_word<std::uint64_t, Atomic> arena_size;
  shared_word<std::uint64_t, Atomic> since_ns;  ///< CLOCK_BOOTTIME
  shared_word<std::uint32_t, Atomic> pid;
  Atomic<std::uint32_t> epoch;   ///< counts the uses of this record
  shared_text<24, Atomic> name;  ///< ends with a zero
  Atomic<std::uint32_t> died;     ///< ended without saying goodbye; stays until the record is used again
  Atomic<std::uint32_t> answers;  ///< moves when its FIFO was rung: the process runs
  Atomic<std::uint32_t> listens;  ///< its FIFO is rung with every event: somebody of it waits in a foreign event loop
  Atomic<std::uint32_t> wants_room;  ///< threads of it that wait for room: whoever frees some moves `room_seq`
  basic_stage_set<Atomic> puts;   ///< stages that it has put for
  basic_stage_set<Atomic> gets;
  shared_word<std::uint64_t, Atomic> process;  ///< the same for all participants of one process: they end together
  shared_word<std::uint64_t, Atomic> memory;   ///< bytes of its arena that are payload memory
  shared_word<std::uint32_t, Atomic> regions;  ///< lent so far: their names are the arena's id with a number of up to this
  std::uint32_t reserved;
};
struct participant : basic_participant<std::atomic> {};  // no alias: g++ would warn of every parameter of that name
static_assert(sizeof(participant) == 128);

/// Reader names are interned once and then compared by number: exact, and a claim stays one word.
template <template <class> class Atomic> struct alignas(64) basic_reader_name {
  Atomic<std::uint32_t> size;  ///< name length + 1; 0 = free. Stored last.
  std::uint32_t reserved;
  std::array<char, max_name_size> text;
};
using reader_name = basic_reader_name<std::atomic>;
static_assert(sizeof(reader_name) == 64);

/// `writing`: the key is taken, the payload is on its way. `beaten`: a replacing put came between begin and commit of this one; its producer gives it up.
/// `draining`: nobody finds it any more, who holds it keeps it; `withdrawn`: the same of one that never was whole.
/// Only who has the lock of its eight writes to a slot that is `free`; what it is about to describe there nobody sees before the control word changes.
enum class slot_state : std::uint8_t { free, writing, ready, draining, beaten, withdrawn };

/// tag 12 | generation 44 | state 8. The tag is 0 where the state is `free`, else the upper bits of the key's hash: one word tells who waits whether to look closer, and a
/// flipped bit of the hash is noticed.
struct control {
  static constexpr std::uint64_t tag_of(std::uint64_t hash) noexcept { return hash >> 52U; }
  static constexpr std::uint64_t make(std::uint64_t generation, slot_state s, std::uint64_t tag) noexcept { return tag << 52U | (generation << 20U >> 12U) | static_cast<std::uint64_t>(s); }
  static constexpr std::uint64_t free(std::uint64_t generation) noexcept { return make(generation, slot_state::free, 0); }
  /// The same object in another state.
  static constexpr std::uint64_t become(std::uint64_t c, slot_state s) noexcept { return (c & ~std::uint64_t{0xff}) | static_cast<std::uint64_t>(s); }
  static constexpr slot_state state(std::uint64_t c) noexcept { return static_cast<slot_state>(c & 0xffU); }
  static constexpr std::uint64_t generation(std::uint64_t c) noexcept { return c << 12U >> 20U; }
  static constexpr std::uint64_t tag(std::uint64_t c) noexcept { return c >> 52U; }
  /// Whether the object that `seen` was of can still be read, now or when it is whole.
  static constexpr bool may_be_claimed(std::uint64_t now, std::uint64_t seen) noexcept {
    return become(now, slot_state::free) == become(seen, slot_state::free) && (state(now) == slot_state::ready || state(now) == slot_state::writing);
  }
  /// Kept for those who hold it only.
  static constexpr bool is_going(std::uint64_t c) noexcept { return state(c) == slot_state::draining || state(c) == slot_state::withdrawn; }
  /// An object, whole or not yet.
  static constexpr bool is_object(std::uint64_t c) noexcept { return state(c) != slot_state::free; }
};

/// In a key's home: how many objects whose home it is lie elsewhere, and how far away at most: reach 16 | count 16. Raised before such an object can be seen, lowered after its end.
/// Who dies in between leaves it too high, which costs looks, and nothing else.
struct spread {
  static constexpr std::uint32_t count(std::uint32_t w) noexcept { return w & 0xffffU; }
  static constexpr std::uint32_t reach(std::uint32_t w) noexcept { return w >> 16U < window ? w >> 16U : window - 1; }
  static constexpr std::uint32_t raised(std::uint32_t w, std::uint32_t distance) noexcept {
    return (w >> 16U < distance ? distance : w >> 16U) << 16U | (count(w) == 0xffffU ? 0xffffU : count(w) + 1);
  }
  static constexpr std::uint32_t lowered(std::uint32_t w) noexcept { return count(w) == 0 || count(w) == 0xffffU ? w : count(w) == 1 ? 0 : w - 1; }
};

/// A reader's place at an object: generation + 1 24 | since 18 | participant 8 | reader 11 | named 1 | state 2. What was never written is of none.
///
/// A put writes the places of named readers only. At an object for anyone, a place that says something of an earlier one is empty, and one with a name, which a put of that generation left that died: so its line stays with who claims,
/// and goes to no producer. Who comes late, for an object that is gone, sees a later generation there; for the question which of two is later to have an answer, the places of every 2^20th object of a slot are written all the same.
struct claim {
  enum class state : std::uint8_t { empty, hold, done };
  static constexpr std::uint16_t anyone = 0x7ff;
  static constexpr std::uint64_t generation_mask = 0xffffff;
  static constexpr std::uint32_t since_mask = 0x3ffff;  ///< seconds of CLOCK_MONOTONIC: three days, then it begins anew. For people only
  static_assert(max_participants <= 256 && max_names < anyone);

  static constexpr std::uint64_t make(std::uint64_t generation, std::uint16_t participant, std::uint16_t reader, bool named, state s, std::uint32_t since = 0) noexcept {
    return stamp(generation) << 40U | std::uint64_t{since & since_mask} << 22U | static_cast<std::uint64_t>(participant & 0xffU) << 14U |
           static_cast<std::uint64_t>(reader & 0x7ffU) << 3U | (named ? 4U : 0U) | static_cast<std::uint64_t>(s);
  }
  static constexpr state state_of(std::uint64_t c) noexcept { return static_cast<state>(c & 3U); }
  static constexpr bool named(std::uint64_t c) noexcept { return (c & 4U) != 0; }
  static constexpr std::uint16_t reader(std::uint64_t c) noexcept { return static_cast<std::uint16_t>(c >> 3U & 0x7ffU); }
  static constexpr std::uint16_t participant(std::uint64_t c) noexcept { return static_cast<std::uint16_t>(c >> 14U & 0xffU); }
  static constexpr std::uint32_t since(std::uint64_t c) noexcept { return static_cast<std::uint32_t>(c >> 22U) & since_mask; }
  static constexpr bool of_generation(std::uint64_t c, std::uint64_t generation) noexcept { return c >> 40U == stamp(generation); }
  /// Of an object that came after the one of `generation`.
  static constexpr bool is_later(std::uint64_t c, std::uint64_t generation) noexcept { return !of_generation(c, generation) && (((c >> 40U) - stamp(generation)) & generation_mask) <= generation_mask / 2; }
  /// What the word says of the place at the object of `generation`, unless it is a later one's. `with_names`: its readers have names
  static constexpr std::uint64_t as_of(std::uint64_t c, std::uint64_t generation, bool with_names) noexcept { return of_generation(c, generation) && named(c) == with_names ? c : make(generation, 0, anyone, false, state::empty); }
  /// The same place, free again: a named one stays its reader's, another is for anyone.
  static constexpr std::uint64_t emptied(std::uint64_t c) noexcept {
    return make((c >> 40U) - 1, 0, named(c) ? reader(c) : anyone, named(c), state::empty);
  }

 private:
  static constexpr std::uint64_t stamp(std::uint64_t generation) noexcept { return (generation + 1) & generation_mask; }
};

/// One object. Its words are written by its producer before the control word says that it is there, and do not change until it is `free` again; but `bell`, `sleepers` and `spread` are of the keys whose home the
/// slot is, whatever lies in it. The claims of its readers but the first lie in a part of their own; a key that has no room in the slot lies in the arena.
template <template <class> class Atomic> struct alignas(64) basic_slot {
  static constexpr std::uint16_t kept = 0x8000;  ///< in `readers`: for anybody, any number of times, until it is erased
  static constexpr std::uint16_t named = 0x4000;  ///< in `readers`: each has a name
  static constexpr std::uint8_t plain = 0x80;     ///< in `kind`: the payload lies in the slot and has neither checksum nor trace; the second line says nothing of the object

  // The line that who waits looks at, and that a hand-over changes.
  Atomic<std::uint64_t> ctl;
  Atomic<std::uint64_t> hash;               ///< of the wire key
  shared_word<std::uint64_t, Atomic> lease;
  Atomic<std::uint32_t> bell;               ///< futex: moves while somebody sleeps, with every event of a key whose home this is
  Atomic<std::uint32_t> sleepers;           ///< on `bell`, or about to be
  Atomic<std::uint32_t> spread;             ///< see `shm::spread`
  Atomic<std::uint32_t> owner;              ///< participant
  shared_word<std::uint64_t, Atomic> size;  ///< of the payload
  shared_word<std::uint64_t, Atomic> sum;   ///< `sum_of` the words that do not change
  shared_word<std::uint16_t, Atomic> key_size;
  shared_word<std::uint8_t, Atomic> kind;   ///< of the payload, and whether the object is `plain`
  shared_word<std::uint8_t, Atomic> checksum_kind;
  Atomic<std::uint8_t> replaces;            ///< put with on_existing::replace: no other put beats it
  Atomic<std::uint8_t> touched;             ///< a kept object was read since somebody looked for one to drop
  Atomic<std::uint16_t> readers;            ///< how many claims count, and whether they are `named`; or `kept`

  shared_word<std::uint64_t, Atomic> checksum;
  shared_word<std::uint64_t, Atomic> trace;
  shared_word<std::uint64_t, Atomic> arena;   ///< or `in_slot`
  shared_word<std::uint64_t, Atomic> offset;  ///< of the payload in the arena
  shared_word<std::uint64_t, Atomic> key_at;  ///< of a long key in the arena of its producer
  Atomic<std::uint64_t> expires;              ///< CLOCK_BOOTTIME ns at which the lease ends; means nothing while the producer lives, and is not written by a put
  Atomic<std::uint64_t> advanced;             ///< while it is being written: how many bytes of the payload are there

  Atomic<std::uint64_t> first_claim;          ///< of its readers: mostly there is one, who alone touches this line if the object is `plain`

  shared_text<slot_room, Atomic> room;  ///< key, then payload `behind_key`: two lines
};
using slot = basic_slot<std::atomic>;
static_assert(sizeof(slot) == 256 && sizeof(slot::room) == 128);

/// What a slot says of its object and does not change between commit and retirement, before it is written there. The names are those of `basic_slot`.
struct description {
  std::uint64_t hash = 0, size = 0, sum = 0, checksum = 0, trace = 0, arena = 0, offset = 0, key_at = 0, lease = 0;
  std::uint32_t owner = 0;
  std::uint16_t key_size = 0, readers = 0;
  std::uint8_t kind = 0, checksum_kind = 0, replaces = 0;
};

/// What a slot's second line says of an object, and what is so of one that is `plain`: a small one, whose producer leaves that line to the reader's claim.
struct object_details {
  std::uint64_t checksum = 0, trace = 0, arena = in_slot, offset = 0, key_at = 0;
};
[[gnu::always_inline]] inline object_details details_of(description const& d) noexcept { return {d.checksum, d.trace, d.arena, d.offset, d.key_at}; }
template <template <class> class Atomic> [[gnu::always_inline]] inline object_details details_of(basic_slot<Atomic> const& s) noexcept {
  if ((s.kind & slot::plain) != 0) return {};
  return {s.checksum, s.trace, s.arena, s.offset, s.key_at};
}

/// Checksum of a description, in two steps: the second adds the slot's generation, which a producer knows last. A bit that flips is found before the words are believed. Each pair of words is
/// multiplied, masked so that no place is like another: a flipped bit changes the sum but once in about 2^64. On the way of each put and get: half of what XXH3
/// costs for so few bytes. The key is not in it: who gets compares it with the key that it wants, and where they differ, with the hash, which is.
[[gnu::always_inline]] inline std::uint64_t sum_of_words(auto const& s) noexcept {
  constexpr auto mask = [](std::uint64_t i) noexcept { return 0x9e37'79b9'7f4a'7c15U * (2 * i + 1); };
  constexpr auto pair = [mask](std::uint64_t i, std::uint64_t a, std::uint64_t b) noexcept { return xxh3_fold(a ^ mask(2 * i), b ^ mask(2 * i + 1)); };
  constexpr auto value = [](auto const& word) noexcept -> std::uint64_t {
    if constexpr (requires { word.load(std::memory_order_relaxed); }) {
      return word.load(std::memory_order_relaxed);
    } else {
      return word;
    }
  };
  auto const more = details_of(s);
  return pair(0, value(s.hash), more.offset) + pair(1, s.size, more.checksum) + pair(2, more.trace, more.arena) + pair(3, s.lease, more.key_at) +
         pair(4, std::uint64_t{s.key_size} | std::uint64_t{s.kind} << 16U | std::uint64_t{s.checksum_kind} << 32U, value(s.owner) | value(s.readers) << 32U);
}
inline std::uint64_t sum_with(std::uint64_t sum, std::uint64_t generation) noexcept { return xxh3_avalanche(sum ^ generation * 0xd6e8'feb8'6659'fd93U); }
template <template <class> class Atomic> std::uint64_t sum_of(basic_slot<Atomic> const& s, std::uint64_t generation) noexcept { return sum_with(sum_of_words(s), generation); }

/// Where the parts lie, derived from the number of slots and readers alone.
struct geometry {
  std::uint32_t slots = 0, readers = 0, locks = 0;
  std::size_t participants_at = 0, names_at = 0, locks_at = 0, slots_at = 0, claims_at = 0, size = 0;

  /// \requires `slots` is a power of two in [min_slots, max_slots], `readers` a multiple of 8 in [8, max_claims]
  static constexpr geometry of(std::uint32_t slots, std::uint32_t readers) noexcept {
    geometry g;
    g.slots = slots;
    g.readers = readers;
    g.locks = slots / slots_of_a_lock;
    g.participants_at = sizeof(header);
    g.names_at = g.participants_at + max_participants * sizeof(participant);
    g.locks_at = g.names_at + max_names * sizeof(reader_name);
    g.slots_at = (g.locks_at + g.locks * sizeof(std::uint64_t) + 63) / 64 * 64;
    g.claims_at = g.slots_at + std::size_t{g.slots} * sizeof(slot);
    g.size = g.claims_at + std::size_t{g.slots} * readers * sizeof(std::uint64_t);
    return g;
  }
  /// Objects that there is room for whatever their keys; as many again mostly find a place, too.
  [[nodiscard]] constexpr std::uint32_t keys() const noexcept { return slots / slots_of_a_key; }
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
