// SPDX-License-Identifier: Apache-2.0
// What is full, forged, flipped or late, very many times: the exact error each time, and nothing else.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <shm/crash/counts.hpp>
#include <shm/crash/scene.hpp>
#include <shm/crash/victim.hpp>
#include <shm/tmpfs.hpp>

namespace {

using namespace crash;
using omniconn::deadline;
using omniconn::error_kind;
using omniconn::shm_transport;

omniconn::get_options now(omniconn::locator const* where = nullptr) {
  omniconn::get_options o;
  o.until = deadline::immediate();
  o.where = where;
  return o;
}

std::optional<connector> connect(shm_transport::options const& o) {
  connector::options how;
  how.transport = o;
  auto c = connector::open(how);
  if (!c) {
    ADD_FAILURE() << c.error().message();
    return std::nullopt;
  }
  return std::move(*c);
}

// --- no room ----------------------------------------------------------------------------------------------------------------------------

/// Fills the memory to the last byte, asks for more very often, makes room, and uses it.
void ask_for_more(shm_transport::options const& o, unsigned puts, outcome& out) {
  auto c = connect(o);
  if (!c) return;
  std::string const payload = object(1, 2 << 20U);
  auto const part = [&](std::size_t size) { return omniconn::const_bytes(view_of(payload)).first(size); };
  unsigned stored = 0, others = 0, unusable = 0, refused = 0;
  std::vector<std::string> big;
  for (std::size_t const size : {std::size_t{65536}, std::size_t{4096}, std::size_t{256}, std::size_t{129}})  // less would lie in the directory
    for (;; ++stored) {
      std::string const key = "f" + std::to_string(stored);  // short: a long one needs a page of its own
      auto const put = c->put(hop, key, part(size));
      if (!put) {
        if (put.error().kind() != error_kind::no_space) ++others;
        break;
      }
      if (size == 65536) big.push_back(key);
    }
  numbers random(5);
  for (unsigned i = 0; i != puts; ++i) {
    std::size_t const size = std::size_t{256} << random.below(13);
    std::string const key = i % 16 == 15 ? "long-" + std::string(200, 'k') : "more";
    auto const put = c->put(hop, key, part(size + random.below(static_cast<unsigned>(size))));
    if (!put && put.error().kind() == error_kind::no_space) ++refused;
    if (put || put.error().kind() != error_kind::no_space) {
      if (others++ == 0) ADD_FAILURE() << size << " B: " << (put ? "stored" : put.error().message());
      if (put) (void)c->cleanup(hop, key);
    }
    if (i % 1000 != 999 || big.empty()) continue;
    std::string const freed = big.back();
    (void)c->get_view(hop, freed, now());
    if (!c->put(hop, freed, part(65536))) ++unusable;
  }
  EXPECT_GT(big.size(), 5U);
  out.at_least("puts without room", puts, puts);
  out.exactly("of them no_space", refused, puts);
  out.exactly("of them anything else", others, 0);
  out.exactly("puts that failed though room had been made", unusable, 0);
}

CRASH_TEST(puts_into_a_full_arena) {
  outcome out(results, "a pool of 4 MiB, filled to the last byte; puts of 256 B to 2 MiB; every 1,000 puts an object of 64 KiB is read and put again");
  shm_test::fresh_space const space;
  auto o = space.options();
  o.memory_pool_size = std::uint64_t{4} << 20U;
  ask_for_more(o, rounds(scale, 2000, 10'000), out);
}

CRASH_TEST(puts_into_a_full_file_system) {
  outcome out(results, "a tmpfs of 10 MiB, filled to the last page; the same puts");
  shm_test::own_folder const folder;
  bool const mounted = shm_test::on_tmpfs(folder.path(), "size=10m", [&] {
    shm_test::fresh_space const space(folder.path());
    auto o = space.options();
    o.memory_pool_size = std::uint64_t{64} << 20U;
    ask_for_more(o, rounds(scale, 2000, 10'000), out);
  });
  if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs";
}

// --- locators ---------------------------------------------------------------------------------------------------------------------------

CRASH_TEST(locators_that_are_stale_or_forged) {
  outcome out(results, "gets by locators of objects that are gone, of slots that do not exist, of other keys, generations, directories, transports; beside 32 objects that are there");
  shm_test::fresh_space const space;
  auto o = space.options();
  o.max_keys = 64;
  auto c = connect(o);
  ASSERT_TRUE(c);
  constexpr unsigned keys = 32;
  std::vector<omniconn::locator> live(keys), old;
  std::vector<unsigned> old_key;
  std::string const payload = object(1, 100);
  for (unsigned k = 0; k != keys; ++k) {
    auto const put = c->put(hop, key_name(k), view_of(payload));
    ASSERT_TRUE(put);
    live[k] = put->where;
  }
  numbers random(1);
  using omniconn::detail::shm::place;
  unsigned const wanted = rounds(scale, 20'000, 1'000'000);
  unsigned bytes = 0, other_kind = 0;
  std::map<std::string, unsigned> kinds;
  for (unsigned i = 0; i != wanted; ++i) {
    unsigned key = random.below(keys);
    auto at = live[key].unpack<place>(omniconn::locator_tag::shm);
    ASSERT_TRUE(at);
    auto expected = error_kind::stale_handle;
    omniconn::locator forged;
    switch (random.below(8)) {
      case 0: at->directory ^= random.next() | 1U; break;
      case 1: at->generation ^= random.next() | 1U; break;
      case 2: at->generation -= 1 + random.below(3); break;
      case 3: at->index = 64 + random.below(1U << 30U); break;
      case 4: at->index = (at->index + 1 + random.below(62)) % 64; at->generation += 1U << 20U; break;
      case 5: at->hash ^= random.next() | 1U; break;
      case 6:
        forged = omniconn::locator::pack(random.below(2) == 0 ? omniconn::locator_tag::inproc : omniconn::locator_tag::shm, std::uint64_t{i});
        expected = error_kind::malformed;
        break;
      default:  // of an object that was here and is not any more
        if (old.empty() || i % 64 == 0) {
          old.push_back(live[key]);
          old_key.push_back(key);
          ASSERT_TRUE(c->get_view(hop, key_name(key), now()));
          auto const put = c->put(hop, key_name(key), view_of(payload));
          ASSERT_TRUE(put);
          live[key] = put->where;
        }
        {
          unsigned const n = random.below(static_cast<unsigned>(old.size()));
          key = old_key[n];
          forged = old[n];
        }
    }
    if (forged.empty()) forged = omniconn::locator::pack(omniconn::locator_tag::shm, *at);
    auto const got = c->get_view(hop, key_name(key), now(&forged));
    if (got) {
      ++bytes;
    } else if (got.error().kind() != expected) {
      if (other_kind++ == 0) ADD_FAILURE() << got.error().message();
    }
  }
  for (unsigned k = 0; k != keys; ++k) EXPECT_TRUE(c->get_view(hop, key_name(k), now(&live[k]))) << "the good ones are good";
  out.at_least("gets by such locators", wanted, wanted);
  out.exactly("of them with bytes", bytes, 0);
  out.exactly("of them with another error than stale_handle (malformed where it is no locator of shm)", other_kind, 0);
}

// --- bytes ------------------------------------------------------------------------------------------------------------------------------

CRASH_TEST(flipped_bits) {
  outcome out(results, "one bit of a payload of 129 B to 64 KiB flipped in the arena, a get, the bit flipped back");
  shm_test::fresh_space const space;
  auto producer = connect(space.options()), consumer = connect(space.options());
  ASSERT_TRUE(producer && consumer);
  unsigned const wanted = rounds(scale, 5000, 1'000'000);
  numbers random(9);
  unsigned flips = 0, undetected = 0, spoiled = 0;
  while (flips < wanted) {
    std::size_t const size = 129 + (random.next() & ((std::size_t{1} << random.below(random.below(8) == 0 ? 17 : 10)) - 1));
    std::string const payload = object(flips + 1, size);
    ASSERT_TRUE(producer->put(hop, "k", view_of(payload)));
    auto const memory = producer->transport().memory();
    auto* const at = static_cast<std::byte*>(::memmem(memory.base, memory.committed, payload.data(), size));
    ASSERT_NE(at, nullptr);
    for (unsigned i = 0; i != 1000 && flips != wanted; ++i, ++flips) {
      auto const bit = random.next() % (8 * size);
      at[bit / 8] ^= std::byte{1} << (bit % 8);
      auto const got = consumer->get_view(hop, "k", now());
      if (got || got.error().kind() != error_kind::corrupt) ++undetected;
      at[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    auto const got = consumer->get_view(hop, "k", now());
    if (!got || !is_object(got->bytes(), flips, size)) {
      if (!got || std::memcmp(got->bytes().data(), payload.data(), size) != 0) ++spoiled;
    }
  }
  out.at_least("flips", flips, wanted);
  out.exactly("not reported as corrupt", undetected, 0);
  out.exactly("objects that were not readable afterwards", spoiled, 0);
}

// --- time -------------------------------------------------------------------------------------------------------------------------------

CRASH_TEST(flipped_bits_of_descriptions) {
  outcome out(results, "one bit of an object's description flipped in the directory, a get by key or locator, the bit flipped back; keys of 1 B to 200 B, payloads beside them or not, one to three readers, kept ones");
  shm_test::fresh_space const space;
  auto producer = connect(space.options()), consumer = connect(space.options());
  ASSERT_TRUE(producer && consumer);
  auto const dir = omniconn::detail::shm::directory::open(space.paths(), {}, false);
  ASSERT_TRUE(dir);
  dir->open_gate();
  using slot = omniconn::detail::shm::slot;
  // All but what others change meanwhile: the control word, the end of the lease, and the two marks of puts and evictions.
  struct part {
    std::size_t first, size;
  };
  static constexpr part parts[]{{offsetof(slot, hash), 2 * 8}, {offsetof(slot, owner), 4 + 2 * 8 + 2 + 2 * 1}, {offsetof(slot, readers), 2}, {offsetof(slot, checksum), 5 * 8}, {offsetof(slot, room), 0}};
  static_assert(offsetof(slot, lease) == offsetof(slot, hash) + 8 && offsetof(slot, key_at) == offsetof(slot, checksum) + 4 * 8);
  unsigned const wanted = rounds(scale, 5000, 1'000'000);
  numbers random(19);
  unsigned flips = 0, undetected = 0, spoiled = 0, plain = 0;
  while (flips < wanted) {
    std::string const key(1 + random.below(random.below(2) == 0 ? 40 : 200), 'k');
    std::string const payload = object(flips + 1, random.below(2) == 0 ? 20 : 100);
    omniconn::put_options how;
    how.readers = random.below(4) == 0 ? omniconn::reader_set::until_cleaned_up() : omniconn::reader_set{1 + random.below(3), {}};
    how.checksum = random.below(3) != 0;
    auto const put = producer->put(hop, key, view_of(payload), how);
    ASSERT_TRUE(put) << put.error().message();
    std::uint32_t const index = static_cast<std::uint32_t>(*producer->metadata(*put).find("slot")->as_uint64());
    bool const is_plain = (dir->slot_at(index).kind & slot::plain) != 0;  // nothing of the second line, and nobody says what its payload was
    plain += is_plain;
    auto* const words = reinterpret_cast<unsigned char*>(&dir->slot_at(index));
    for (unsigned i = 0; i != 1000 && flips != wanted; ++i) {
      auto where = parts[random.below(static_cast<unsigned>(std::size(parts)))];
      std::size_t const bit = random.below(8);
      if (is_plain && where.first == offsetof(slot, checksum)) continue;
      if (where.size == 0) {  // the room: of a short key, its words; a long one lies in the arena, and is compared with the wanted key. Or of the payload
        std::size_t const wire = dir->slot_at(index).key_size;
        if (*how.checksum && dir->slot_at(index).arena == omniconn::detail::shm::in_slot && random.below(2) == 0) {
          where = {offsetof(slot, room) + omniconn::detail::shm::behind_key(wire), payload.size()};
        } else {
          where.size = wire > omniconn::detail::shm::slot_room ? 0 : (wire + 7) / 8 * 8;
        }
        if (where.size == 0) continue;
      }
      std::size_t const byte = where.first + random.below(static_cast<unsigned>(where.size));
      ++flips;
      words[byte] = static_cast<unsigned char>(words[byte] ^ 1U << bit);
      auto const got = consumer->get_view(hop, key, now(random.below(2) == 0 ? &put->where : nullptr));
      if (got || got.error().kind() != error_kind::corrupt) {
        if (undetected++ == 0) ADD_FAILURE() << "byte " << byte << " bit " << bit << ": " << (got ? "read" : got.error().message());
      }
      words[byte] = static_cast<unsigned char>(words[byte] ^ 1U << bit);
    }
    auto got = consumer->get_view(hop, key, now());
    if (!got || std::memcmp(got->bytes().data(), payload.data(), payload.size()) != 0) ++spoiled;
    if (got) got->give_back();
    ASSERT_EQ(producer->cleanup(hop, key).value_or(0), 1U);
  }
  out.at_least("flips", flips, wanted);
  out.at_least("objects without a second line", plain, 1);
  out.exactly("not reported as corrupt", undetected, 0);
  out.exactly("objects that were not readable afterwards", spoiled, 0);
}

CRASH_TEST(operations_with_deadlines_under_faults) {
  outcome out(results, "four threads put, get what is there or not, wait, erase; deadlines of 0 to 3 ms; meanwhile producers and consumers of the same keys are killed");
  shm_test::fresh_space const space;
  auto o = space.options();
  o.max_keys = 256;
  auto c = connect(o);
  ASSERT_TRUE(c);
  unsigned const wanted = rounds(scale, 3000, 100'000);
  std::atomic<unsigned> done{0};
  std::atomic<std::int64_t> largest_gap{0};
  std::atomic<bool> end{false};
  std::mutex mutex;
  std::vector<double> late_ms;
  std::vector<std::thread> threads;
  threads.emplace_back([&] {  // how long a thread that wants to run has to wait on this machine
    std::int64_t before = deadline::now_ns();
    while (!end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::int64_t const after = deadline::now_ns();
      largest_gap = std::max<std::int64_t>(largest_gap, after - before - 1'000'000);
      before = after;
    }
  });
  unsigned deaths = 0;
  threads.emplace_back([&] {
    for (unsigned i = 0; !end; ++i) {
      victim v(i % 2 == 0 ? "producer" : "consumer", space.name(), {"mode=forever", "slots=256", "ops=12", "lease_ms=5", "seed=" + std::to_string(i)});
      v.await_a_line();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      v.kill();
      ++deaths;
      (void)shm_transport::collect(o);
    }
  });
  for (unsigned k = 0; k != 4; ++k)
    threads.emplace_back([&, k] {
      numbers random(100 + k);
      std::vector<double> mine;
      std::string const payload = object(k, 1000);
      while (done.fetch_add(1) < wanted) {
        auto const until = deadline::after(std::chrono::microseconds(random.below(3000)));
        std::string const key = key_name(random.below(12));
        switch (random.below(6)) {
          case 0: {
            omniconn::put_options how;
            how.until = until;
            how.lease = std::chrono::milliseconds(1);
            if (random.below(2) == 0) how.existing = omniconn::on_existing::replace;
            (void)c->put(hop, key, view_of(payload), how);
            break;
          }
          case 1: (void)c->cleanup(hop, key); break;
          case 2: (void)c->exists(hop, key); break;
          default: {
            omniconn::get_options how;
            how.until = until;
            how.reader = "r0";
            (void)c->get_view(hop, random.below(2) == 0 ? key : "not there", how);
          }
        }
        mine.push_back(std::max(0.0, static_cast<double>(deadline::now_ns() - until.nanoseconds()) / 1e6));
      }
      std::lock_guard const guard(mutex);
      late_ms.insert(late_ms.end(), mine.begin(), mine.end());
    });
  for (std::size_t k = 2; k != threads.size(); ++k) threads[k].join();
  end = true;
  threads[0].join();
  threads[1].join();
  std::sort(late_ms.begin(), late_ms.end());
  double const gap_ms = static_cast<double>(largest_gap.load()) / 1e6;
  EXPECT_GT(deaths, 0U);
  out.at_least("operations", static_cast<double>(late_ms.size()), wanted);
  out.note("deaths meanwhile", deaths);
  out.note("largest scheduling gap of the control thread (ms)", gap_ms);
  out.note("after the deadline, p99 (ms)", late_ms[late_ms.size() * 99 / 100]);
  out.note("after the deadline, most (ms)", late_ms.back());
  out.at_most("the latest beyond the largest gap (ms)", std::max(0.0, late_ms.back() - gap_ms), 50);
}

}  // namespace
