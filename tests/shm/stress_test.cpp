// SPDX-License-Identifier: Apache-2.0
// The shared words under threads that really run at once, each with mappings of its own, as processes would. What is read under a hold is
// compared with what the generation says it must be: a slot that is reused too early shows foreign bytes.
#include <omniconn/transport/shm/protocol.hpp>

#include <array>
#include <atomic>
#include <barrier>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <shm/support.hpp>

namespace {

using namespace omniconn;
using namespace omniconn::detail::shm;

constexpr std::uint64_t hash_of_key = 0x1234'5678'9abc'def0;
constexpr std::uint32_t at = 3;

/// One directory, opened once by each thread.
class shared_folder {
 public:
  shared_folder() {
    static std::atomic<int> count{0};
    path_ = ::shm_test::root() + "/omniconn-test-stress-" + std::to_string(::getpid()) + "-" + std::to_string(count.fetch_add(1));
    EXPECT_EQ(::mkdir(path_.c_str(), 0700), 0);
  }
  shared_folder(shared_folder const&) = delete;
  shared_folder& operator=(shared_folder const&) = delete;
  ~shared_folder() {
    ::unlink(names(path_, "stress").directory_path().c_str());
    ::rmdir(path_.c_str());
  }
  [[nodiscard]] directory open() const {
    auto d = directory::open(names(path_, "stress"), {.keys = 16}, true);
    if (!d) {
      ADD_FAILURE() << d.error().message();
      std::abort();
    }
    d->open_gate();
    return std::move(*d);
  }

 private:
  std::string path_;
};

/// The producer's part, without the allocator: publishes one generation after the other in one slot, as soon as the last is given back.
class publisher {
 public:
  publisher(directory const& dir, std::uint32_t places) : dir_(dir), places_(places) {}

  void publish(std::uint64_t generation) const {
    slot& s = dir_.slot_at(at);
    s.hash.store(hash_of_key);
    // The payload: what a reader of another generation would see instead of its own.
    s.offset = generation;
    s.size = ~generation;
    s.owner.store(0);
    s.expires.store(0);
    s.readers.store(static_cast<std::uint16_t>(places_));
    for (std::uint32_t i = 0; i != places_; ++i) dir_.claim_at(at, i).store(claim::make(generation, 0, claim::anyone, false, claim::state::empty), std::memory_order_relaxed);
    widen(dir_, hash_of_key, at);
    s.ctl.store(control::make(generation, slot_state::ready, control::tag_of(hash_of_key)));
  }
  /// Whether the slot of that generation came back, as the producer learns it.
  [[nodiscard]] bool given_back(std::uint64_t generation) const {
    slot& s = dir_.slot_at(at);
    if (s.ctl.load() != control::free(generation + 1)) return false;
    s.offset = ~std::uint64_t{0};  // poison, before the next
    s.size = 0;
    return true;
  }

 private:
  directory const& dir_;
  std::uint32_t places_;
};

struct tally {
  std::uint64_t taken = 0;
  std::uint64_t consumed = 0;
  std::uint64_t foreign = 0;  // bytes of another generation under a hold
};

/// Takes whatever generation is there, looks at it twice, ends the hold.
void read_on(directory const& dir, std::uint16_t who, std::atomic<bool> const& stop, tally& t) {
  std::uint64_t last = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    slot& s = dir.slot_at(at);
    std::uint64_t const word = s.ctl.load();
    if (control::state(word) != slot_state::ready) {
      ::sched_yield();
      continue;
    }
    std::uint64_t const generation = control::generation(word);
    std::uint32_t place = 0;
    if (take_claim(dir, at, word, who, who, place) != claim_outcome::taken) {
      ::sched_yield();
      continue;
    }
    ++t.taken;
    if (s.offset != generation) ++t.foreign;
    bool const consume = (generation + who + t.taken) % 3 != 0;
    if (t.taken % 4 == 0) ::sched_yield();  // long enough for others to do what they must not do meanwhile
    if (s.size != ~generation) ++t.foreign;
    if (consume && generation == last) ++t.foreign;  // a reader has one share of a generation
    if (consume) {
      last = generation;
      ++t.consumed;
    }
    release_claim(dir, at, generation, place, consume);
  }
}

constexpr std::uint64_t rounds = 50'000;

TEST(shm_stress, slots_that_are_claimed_drained_and_reused_show_no_foreign_bytes) {
  shared_folder folder;
  auto const producer_side = folder.open();
  publisher const producer(producer_side, 2);
  std::atomic<bool> stop{false};
  std::array<tally, 2> read;
  std::uint64_t drained = 0;
  std::vector<std::thread> threads;
  for (std::uint16_t who = 0; who != 2; ++who)
    threads.emplace_back([&, who] {
      auto const mine = folder.open();
      read_on(mine, static_cast<std::uint16_t>(who + 1), stop, read[who]);
    });
  threads.emplace_back([&] {  // erases now and then, in the middle of whatever the readers do
    auto const mine = folder.open();
    std::uint64_t n = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      std::uint64_t const word = mine.slot_at(at).ctl.load();
      if (control::state(word) == slot_state::ready && ++n % 3 == 0 && drain(mine, at, control::generation(word))) ++drained;
      ::sched_yield();
    }
  });
  std::uint64_t returned = 0;
  for (std::uint64_t generation = 1; generation <= rounds; ++generation) {
    producer.publish(generation);
    while (!producer.given_back(generation)) ::sched_yield();
    ++returned;
  }
  stop.store(true);
  for (auto& t : threads) t.join();
  EXPECT_EQ(returned, rounds) << "every generation comes back once";
  for (auto const& t : read) {
    EXPECT_EQ(t.foreign, 0U);
    EXPECT_GT(t.taken, 0U);
  }
  EXPECT_GT(drained, 0U);
  for (std::uint32_t i = 0; i != producer_side.layout().slots; ++i) EXPECT_EQ(producer_side.slot_at(i).spread.load(), 0U) << "no home goes on looking";
}

TEST(shm_stress, two_replicas_of_one_reader_never_hold_at_once) {
  // Three places, so that one reader name could find two of them free; another reader takes and gives back the first all the time.
  shared_folder folder;
  auto const producer_side = folder.open();
  publisher const producer(producer_side, 3);
  producer.publish(1);
  std::uint64_t const first = producer_side.slot_at(at).ctl.load();
  std::atomic<bool> stop{false};
  std::atomic<int> holding{0};
  std::atomic<std::uint64_t> twice{0}, taken{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    auto const mine = folder.open();
    while (!stop.load(std::memory_order_relaxed)) {
      std::uint32_t place = 0;
      if (take_claim(mine, at, first, 9, 9, place) == claim_outcome::taken) release_claim(mine, at, 1, place, false);
    }
  });
  for (std::uint16_t replica = 1; replica != 3; ++replica)
    threads.emplace_back([&, replica] {
      auto const mine = folder.open();
      while (taken.load(std::memory_order_relaxed) < 10 * rounds) {
        std::uint32_t place = 0;
        if (take_claim(mine, at, first, replica, 7, place) != claim_outcome::taken) {
          ::sched_yield();
          continue;
        }
        if (holding.fetch_add(1) != 0) twice.fetch_add(1);
        if (taken.fetch_add(1, std::memory_order_relaxed) % 16 == 0) ::sched_yield();
        holding.fetch_sub(1);
        release_claim(mine, at, 1, place, false);
      }
    });
  threads[1].join();
  threads[2].join();
  stop.store(true);
  threads[0].join();
  EXPECT_EQ(twice.load(), 0U);
  EXPECT_GE(taken.load(), 10 * rounds);
}

// Of one home, so that they lie behind one another: what is there is found all the time, however its neighbours come and go.
TEST(shm_stress, objects_of_one_home_come_and_go_without_loss) {
  shared_folder folder;
  std::array<std::uint64_t, 3> lost{};
  std::barrier start(3);
  std::vector<std::thread> threads;
  for (std::uint32_t who = 0; who != 3; ++who)
    threads.emplace_back([&, who] {
      auto const mine = folder.open();
      std::uint64_t const hash = hash_of_key ^ std::uint64_t{who} << 56U;
      EXPECT_TRUE(byte_lock::try_lock(mine.fd(), who + 1));  // alive
      start.arrive_and_wait();
      for (std::uint64_t n = 0; n != 10 * rounds; ++n) {
        auto of_key = key_lock::acquire(mine, mine.home_of(hash), who);
        if (!of_key) {  // whoever has it is without a processor for long
          --n;
          continue;
        }
        std::uint32_t index = 0;
        key_lock beside;
        if (find_slot(mine, hash, who, index, beside) != slot_search::found) {
          ++lost[who];
          continue;
        }
        slot& s = mine.slot_at(index);
        std::uint64_t const generation = control::generation(s.ctl.load()), ready = control::make(generation, slot_state::ready, control::tag_of(hash));
        widen(mine, hash, index);
        s.hash.store(hash);
        s.ctl.store(ready);
        beside.release();
        of_key->release();
        if (s.hash.load() != hash) ++lost[who];  // two in one slot
        if (!for_each_of(mine, hash, [&](std::uint32_t i, std::uint64_t word) { return i == index && word == ready; })) ++lost[who];
        std::uint64_t word = ready;
        if (!s.ctl.compare_exchange_strong(word, control::free(generation + 1))) ++lost[who];
        narrow(mine, hash, index);
      }
    });
  for (auto& t : threads) t.join();
  for (auto const n : lost) EXPECT_EQ(n, 0U);
  auto const mine = folder.open();
  for (std::uint32_t i = 0; i != mine.layout().slots; ++i) {
    EXPECT_EQ(control::state(mine.slot_at(i).ctl.load()), slot_state::free);
    EXPECT_EQ(mine.slot_at(i).spread.load(), 0U);
  }
}

TEST(shm_stress, the_lock_of_a_key_keeps_two_out) {
  shared_folder folder;
  std::atomic<std::uint64_t> counter{0};  // its increment is protected by the lock alone
  std::barrier start(3);
  std::vector<std::thread> threads;
  for (std::uint32_t who = 0; who != 3; ++who)
    threads.emplace_back([&, who] {
      auto const mine = folder.open();
      EXPECT_TRUE(byte_lock::try_lock(mine.fd(), who + 1));  // alive
      start.arrive_and_wait();
      for (std::uint64_t n = 0; n != 2 * rounds; ++n) {
        auto locked = key_lock::acquire(mine, mine.home_of(hash_of_key), who);
        if (!locked) {  // who holds it yields below, and on a busy machine is without a processor for long: a second is not for ever
          --n;
          continue;
        }
        std::uint64_t const seen = counter.load(std::memory_order_relaxed);
        if (n % 64 == 0) ::sched_yield();
        counter.store(seen + 1, std::memory_order_relaxed);
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(counter.load(), 6 * rounds);
}

}  // namespace
