// SPDX-License-Identifier: Apache-2.0
// What lies in the directory file of a namespace. The format has its own version, apart from the library's.
//
//   header | participants | reader names | chunks | buckets | slots | claims
//
// Payloads lie in one arena file per producer, which readers map read-only. The directory is writable by every process of the
// user, so everything read from it is checked before it is used.
//
// The atomics are a parameter for the model checker (docs/model-checking.md), which runs what is shipped on memory of its own.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

inline constexpr std::uint64_t directory_magic = 0x31726964'6e6e6f63;  // "conndir1" in a hex dump
inline constexpr std::uint32_t format_version = 4;
inline constexpr std::uint32_t max_participants = 256;
inline constexpr std::uint32_t max_names = 1024;
inline constexpr std::uint32_t max_stages = 6;  // that one participant puts or gets for; more count as any
inline constexpr std::size_t max_name_size = 56;
inline constexpr std::uint32_t max_claims = 64;        // readers of one object; how many a namespace has room for is its maker's choice
inline constexpr std::uint32_t usual_claims = 16;
inline constexpr std::uint32_t claims_of_a_line = 8;
inline constexpr std::uint32_t chunk_slots = 16;  // slots are leased to producers in chunks, so that taking one needs no atomics
inline constexpr std::uint32_t max_slots = 1U << 21U;
inline constexpr std::uint32_t usual_slots = 4096;
inline constexpr std::uint32_t inline_key = 32;
inline constexpr std::uint64_t region_mask = 0xffff;  // of an arena's id: 0 for the arena, else a number of memory that its producer lends
inline constexpr std::size_t key_cell = 4096;     // place of one long key in the producer's arena: one page

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
  std::uint32_t buckets;
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
  Atomic<std::uint32_t> returned_seq;        ///< counts blocks given back: the producer looks at its chunks only when it moved
  shared_word<std::uint64_t, Atomic> arena;  ///< id in the arena's file name, 0 = none yet
  shared_word<std::uint64_t, Atomic> arena_size;
  shared_word<std::uint64_t, Atomic> since_ns;  ///< CLOCK_BOOTTIME
  shared_word<std::uint32_t, Atomic> pid;
  Atomic<std::uint32_t> epoch;   ///< counts the uses of this record
  shared_text<24, Atomic> name;  ///< ends with a zero
  Atomic<std::uint32_t> died;     ///< ended without saying goodbye; stays until the record is used again
  Atomic<std::uint32_t> answers;  ///< moves when its FIFO was rung: the process runs
  Atomic<std::uint32_t> listens;  ///< its FIFO is rung with every event: somebody of it waits in a foreign event loop
  Atomic<std::uint32_t> wants_room;  ///< threads of it that sleep on `returned_seq`
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

/// A chunk whose slots are all idle may be taken over by a producer that needs one: the owner may be idle for ever.
template <template <class> class Atomic> struct basic_chunk {
  Atomic<std::uint32_t> owner;     ///< participant + 1, 0 = free
  Atomic<std::uint32_t> returned;  ///< bit per slot: retired, its producer may take it back. Idempotent, unlike a free list.
};
using chunk = basic_chunk<std::atomic>;

/// Keys whose hash falls here first look here. Entries are added and removed by one CAS each; the lock only keeps two puts of one
/// key apart, so a get never takes it.
template <template <class> class Atomic> struct alignas(64) basic_bucket {
  Atomic<std::uint32_t> seq;      ///< futex: moves with every event of a key of this bucket
  Atomic<std::uint32_t> waiters;
  Atomic<std::uint64_t> lock;     ///< epoch << 32 | participant + 1; 0 = free
  Atomic<std::uint32_t> reach;    ///< entries of keys of this bucket lie in the next `reach` buckets too; only grows
  std::uint32_t reserved;
  std::array<Atomic<std::uint64_t>, 5> refs;  ///< see `slot_ref`
};
using bucket = basic_bucket<std::atomic>;
static_assert(sizeof(bucket) == 64);
inline constexpr std::uint32_t max_reach = 32;

/// An entry of a bucket: part of the key's hash 22 | part of the generation 20 | slot + 1 22. The generation keeps a process that was
/// stopped in the middle of a removal from removing the entry of the slot's next object.
struct slot_ref {
  static constexpr std::uint64_t make(std::uint64_t hash, std::uint64_t generation, std::uint32_t slot) noexcept {
    return (hash >> 42U) << 42U | (generation & 0xfffffU) << 22U | (slot + 1U);
  }
  static constexpr bool may_match(std::uint64_t ref, std::uint64_t hash) noexcept { return (ref & 0x3fffffU) != 0 && ref >> 42U == hash >> 42U; }
  static constexpr std::uint32_t slot(std::uint64_t ref) noexcept { return static_cast<std::uint32_t>(ref & 0x3fffffU) - 1U; }
};

/// `taken`: a producer is about to describe its object; nobody else touches the slot, but only the control word says whose it is. `beaten`: a replacing put came between begin and commit of this
/// one; its producer gives it up.
enum class slot_state : std::uint8_t { free, taken, writing, ready, draining, retired, beaten };

/// taker 12 | generation 44 | state 8; the taker is 0 unless the state is `taken`.
struct control {
  static constexpr std::uint64_t make(std::uint64_t generation, slot_state s) noexcept { return generation << 8U | static_cast<std::uint64_t>(s); }
  static constexpr std::uint64_t taken(std::uint64_t generation, std::uint32_t participant) noexcept {
    return std::uint64_t{participant} << 52U | make(generation, slot_state::taken);
  }
  static constexpr slot_state state(std::uint64_t c) noexcept { return static_cast<slot_state>(c & 0xffU); }
  static constexpr std::uint64_t generation(std::uint64_t c) noexcept { return c << 12U >> 20U; }
  static constexpr std::uint32_t taker(std::uint64_t c) noexcept { return static_cast<std::uint32_t>(c >> 52U); }
};

/// A reader's place at an object: generation 24 | since 18 | participant 8 | reader 11 | named 1 | state 2.
struct claim {
  enum class state : std::uint8_t { empty, hold, done };
  static constexpr std::uint16_t anyone = 0x7ff;
  static constexpr std::uint64_t generation_mask = 0xffffff;
  static constexpr std::uint32_t since_mask = 0x3ffff;  ///< seconds of CLOCK_MONOTONIC: three days, then it begins anew. For people only
  static_assert(max_participants <= 256 && max_names < anyone);

  static constexpr std::uint64_t make(std::uint64_t generation, std::uint16_t participant, std::uint16_t reader, bool named, state s, std::uint32_t since = 0) noexcept {
    return (generation & generation_mask) << 40U | std::uint64_t{since & since_mask} << 22U | static_cast<std::uint64_t>(participant & 0xffU) << 14U |
           static_cast<std::uint64_t>(reader & 0x7ffU) << 3U | (named ? 4U : 0U) | static_cast<std::uint64_t>(s);
  }
  static constexpr state state_of(std::uint64_t c) noexcept { return static_cast<state>(c & 3U); }
  static constexpr bool named(std::uint64_t c) noexcept { return (c & 4U) != 0; }
  static constexpr std::uint16_t reader(std::uint64_t c) noexcept { return static_cast<std::uint16_t>(c >> 3U & 0x7ffU); }
  static constexpr std::uint16_t participant(std::uint64_t c) noexcept { return static_cast<std::uint16_t>(c >> 14U & 0xffU); }
  static constexpr std::uint32_t since(std::uint64_t c) noexcept { return static_cast<std::uint32_t>(c >> 22U) & since_mask; }
  static constexpr bool of_generation(std::uint64_t c, std::uint64_t generation) noexcept { return c >> 40U == (generation & generation_mask); }
  /// The same place, free again: a named one stays its reader's, another is for anyone.
  static constexpr std::uint64_t emptied(std::uint64_t c) noexcept {
    return make(c >> 40U, 0, named(c) ? reader(c) : anyone, named(c), state::empty);
  }
};

/// One object. Shared words are written by the producer while the state is `writing` and do not change until it is `free` again. The claims of its readers
/// lie in a part of their own; a long key lies in the arena, on the slot's page.
template <template <class> class Atomic> struct alignas(64) basic_slot {
  static constexpr std::uint16_t kept = 0x8000;  ///< in `readers`: for anybody, any number of times, until it is erased

  Atomic<std::uint64_t> ctl;
  Atomic<std::uint64_t> hash;                  ///< of the wire key
  Atomic<std::uint64_t> expires;               ///< CLOCK_BOOTTIME ns at which the lease ends; means nothing while the producer lives
  shared_word<std::uint64_t, Atomic> offset;   ///< of the payload in the arena
  shared_word<std::uint64_t, Atomic> size;
  shared_word<std::uint64_t, Atomic> checksum;
  shared_word<std::uint64_t, Atomic> trace;
  shared_word<std::uint64_t, Atomic> arena;

  shared_word<std::uint64_t, Atomic> lease;
  shared_word<std::uint64_t, Atomic> sum;  ///< `sum_of` the words that do not change
  Atomic<std::uint32_t> owner;             ///< participant
  shared_word<std::uint16_t, Atomic> key_size;
  shared_word<std::uint16_t, Atomic> kind;
  shared_word<std::uint16_t, Atomic> checksum_kind;
  Atomic<std::uint16_t> readers;           ///< how many claims count, or `kept`
  Atomic<std::uint16_t> replaces;          ///< put with on_existing::replace: no other put beats it
  Atomic<std::uint16_t> touched;           ///< a kept object was read since somebody looked for one to drop
  shared_text<inline_key, Atomic> key;
};
using slot = basic_slot<std::atomic>;
static_assert(sizeof(slot) == 128);

/// Checksum of what does not change between commit and retirement. A bit that flips in it is found before the words are believed.
template <template <class> class Atomic> std::uint64_t sum_of(basic_slot<Atomic> const& s, std::uint64_t generation) noexcept {
  std::uint16_t const key_size = s.key_size;
  constexpr std::size_t numbers = 9;
  std::array<std::uint64_t, numbers + inline_key / sizeof(std::uint64_t)> words{
      s.hash.load(std::memory_order_relaxed), s.offset, s.size, s.checksum, s.trace, s.arena, s.lease,
      std::uint64_t{key_size} | std::uint64_t{s.kind} << 16U | std::uint64_t{s.checksum_kind} << 32U,
      std::uint64_t{s.owner.load(std::memory_order_relaxed)} | std::uint64_t{s.readers.load(std::memory_order_relaxed)} << 32U};
  std::size_t n = numbers;
  if (key_size <= inline_key) {
    auto const text = s.key.load();
    std::memcpy(words.data() + n, text.data(), text.size());
    n = words.size();
  }
  return seeded_hash(const_bytes(reinterpret_cast<std::byte const*>(words.data()), n * sizeof(std::uint64_t)), generation);
}

/// Where the parts lie, derived from the number of slots and readers alone.
struct geometry {
  std::uint32_t slots = 0, readers = 0, chunks = 0, buckets = 0;
  std::size_t participants_at = 0, names_at = 0, chunks_at = 0, buckets_at = 0, slots_at = 0, claims_at = 0, size = 0;

  /// \requires `slots` is a power of two in [chunk_slots, max_slots], `readers` a multiple of 8 in [8, max_claims]
  static constexpr geometry of(std::uint32_t slots, std::uint32_t readers) noexcept {
    geometry g;
    g.slots = slots;
    g.readers = readers;
    g.chunks = slots / chunk_slots;
    g.buckets = slots / 2;
    g.participants_at = sizeof(header);
    g.names_at = g.participants_at + max_participants * sizeof(participant);
    g.chunks_at = g.names_at + max_names * sizeof(reader_name);
    g.buckets_at = (g.chunks_at + g.chunks * sizeof(chunk) + 63) / 64 * 64;
    g.slots_at = g.buckets_at + std::size_t{g.buckets} * sizeof(bucket);
    g.claims_at = g.slots_at + std::size_t{g.slots} * sizeof(slot);
    g.size = g.claims_at + std::size_t{g.slots} * readers * sizeof(std::uint64_t);
    return g;
  }
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
