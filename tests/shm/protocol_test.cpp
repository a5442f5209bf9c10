// SPDX-License-Identifier: Apache-2.0
// The shared words, driven by hand in orders that real processes reach only by bad luck. Nothing here waits and nothing is left to chance.
#include <omniconn/transport/shm/protocol.hpp>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <signal.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/core/locator.hpp>
#include <omniconn/transport/shm/recovery.hpp>

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#if !defined(__has_feature)
#define OMNICONN_TEST_STEPS 1
#elif !__has_feature(thread_sanitizer)
#define OMNICONN_TEST_STEPS 1
#endif
#endif
#ifdef OMNICONN_TEST_STEPS
#include <x86intrin.h>
#endif

#include <shm/support.hpp>

namespace {

using namespace omniconn;
using namespace omniconn::detail::shm;

constexpr std::uint64_t gen = 7;
constexpr std::uint64_t hash_of_key = 0x1234'5678'9abc'def0;
constexpr std::uint32_t at = (hash_of_key & 255) + 3;  // the slot, beside the key's home
constexpr std::uint64_t tag = control::tag_of(hash_of_key);
constexpr std::uint16_t me = 5, other = 6;
constexpr std::uint16_t ann = 10, bob = 11;

class shm_protocol : public testing::Test {
 protected:
  void SetUp() override {
    static int count = 0;
    folder_ = ::shm_test::root() + "/omniconn-test-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
    ASSERT_EQ(::mkdir(folder_.c_str(), 0700), 0);
    names const where(folder_, "protocol");
    auto opened = directory::open(where, {.keys = 128}, true);  // more slots than a window has
    ASSERT_TRUE(opened) << opened.error().message();
    dir_.emplace(std::move(*opened));
    dir_->open_gate();
    dir().participant_at(owner).state.store(participant_state::live);
  }
  void TearDown() override {
    beside_.release();
    ::unlink(names(folder_, "protocol").directory_path().c_str());
    ::rmdir(folder_.c_str());
  }

  [[nodiscard]] directory const& dir() const { return *dir_; }
  [[nodiscard]] slot& object() const { return dir().slot_at(at); }
  [[nodiscard]] std::atomic<std::uint64_t>& claim_word(std::uint32_t i) const { return dir().claim_at(at, i); }
  [[nodiscard]] slot_state state() const { return control::state(object().ctl.load()); }
  /// The slot is anybody's again, and nothing says that keys of this home lie elsewhere.
  [[nodiscard]] bool freed(std::uint64_t generation = gen) const { return object().ctl.load() == control::free(generation + 1) && home().spread.load() == 0; }
  [[nodiscard]] slot& home() const { return dir().slot_at(dir().home_of(hash_of_key)); }
  [[nodiscard]] std::uint32_t times() const { return dir().participant_at(owner).room_seq.load(); }
  [[nodiscard]] claim::state place(std::uint32_t i) const { return claim::state_of(claim_word(i).load()); }

  std::uint32_t index_ = 0;
  key_lock beside_;
  slot_search find(std::uint64_t hash) {
    beside_.release();
    return find_slot(dir(), hash, me, index_, beside_);
  }
  void occupy(std::uint32_t i, std::uint64_t hash = hash_of_key) const { dir().slot_at(i).ctl.store(control::make(0, slot_state::ready, control::tag_of(hash))); }

  /// What a producer does: an object with a place for each name, or `claim::anyone` for as many as come first. Its readers have names, or not.
  void publish(std::uint64_t generation, std::vector<std::uint16_t> const& readers) const {
    slot& s = object();
    s.hash.store(hash_of_key);
    s.owner.store(owner);
    s.expires.store(0);
    s.lease = 0;
    s.readers.store(static_cast<std::uint16_t>(readers.size() | (readers[0] != claim::anyone ? slot::named : 0U)));
    for (std::uint32_t i = 0; i != readers.size(); ++i)
      claim_word(i).store(claim::make(generation, 0, readers[i], readers[i] != claim::anyone, claim::state::empty));
    widen(dir(), hash_of_key, at);
    s.ctl.store(control::make(generation, slot_state::ready, tag));
  }
  [[nodiscard]] claim_outcome take(std::uint16_t reader, std::uint32_t& where, std::uint64_t generation = gen, std::uint16_t participant = me) const {
    return take_claim(dir(), at, control::make(generation, slot_state::ready, tag), participant, reader, where);
  }
  [[nodiscard]] bool is_found() const {
    return for_each_of(dir(), hash_of_key, [](std::uint32_t index, std::uint64_t) { return index == at; });
  }

  static constexpr std::uint32_t owner = 2;

 private:
  std::string folder_;
  std::optional<directory> dir_;
};

// --- claims and retirement --------------------------------------------------------------------------------------------------

TEST_F(shm_protocol, what_is_held_is_drained_but_not_retired) {
  publish(gen, {claim::anyone});
  std::uint32_t p = 99;
  ASSERT_EQ(take(ann, p), claim_outcome::taken);
  EXPECT_EQ(p, 0U);
  EXPECT_TRUE(drain(dir(), at, gen));
  EXPECT_EQ(state(), slot_state::draining);
  EXPECT_FALSE(try_retire(dir(), at, gen));
  EXPECT_EQ(state(), slot_state::draining);
  EXPECT_FALSE(drain(dir(), at, gen)) << "one caller drains";
  EXPECT_TRUE(release_claim(dir(), at, gen, p, false)) << "given back, nobody can have it any more";
  EXPECT_TRUE(freed());
}

TEST_F(shm_protocol, another_generation_is_gone) {
  publish(gen, {claim::anyone});
  std::uint32_t p = 99;
  EXPECT_EQ(take(ann, p, gen - 1), claim_outcome::gone);
  EXPECT_EQ(take(ann, p, gen + 1), claim_outcome::gone);
  EXPECT_EQ(place(0), claim::state::empty);
  EXPECT_TRUE(drain(dir(), at, gen));
  EXPECT_EQ(take(ann, p), claim_outcome::gone);
  EXPECT_EQ(p, 99U);
}

TEST_F(shm_protocol, a_reader_has_one_share) {
  publish(gen, {claim::anyone, claim::anyone});
  std::uint32_t p = 99, q = 99;
  ASSERT_EQ(take(ann, p), claim_outcome::taken);
  EXPECT_EQ(take(ann, q), claim_outcome::waiting) << "a replica may yet give it back";
  EXPECT_FALSE(release_claim(dir(), at, gen, p, true));
  EXPECT_EQ(take(ann, q), claim_outcome::consumed);
  ASSERT_EQ(take(bob, q), claim_outcome::taken);
  EXPECT_NE(p, q);
  EXPECT_TRUE(release_claim(dir(), at, gen, q, true));
}

// Between the last share's end and the retirement: a replica that waits must not be told that its share is gone with an object that is none any more.
TEST_F(shm_protocol, an_object_of_which_all_is_done_is_gone_before_it_is_retired) {
  publish(gen, {claim::anyone, claim::anyone});
  std::uint32_t p = 99, q = 99;
  ASSERT_EQ(take(ann, p), claim_outcome::taken);
  ASSERT_EQ(take(bob, q), claim_outcome::taken);
  auto const end = [&](std::uint32_t place) { claim_word(place).store((claim_word(place).load() & ~std::uint64_t{3}) | static_cast<std::uint64_t>(claim::state::done)); };
  end(p);
  std::uint32_t again = 99;
  EXPECT_EQ(take(ann, again), claim_outcome::consumed) << "bob still has his";
  end(q);
  EXPECT_EQ(take(ann, again), claim_outcome::gone);
  EXPECT_EQ(state(), slot_state::ready) << "it is not for a looker to retire it";
}

TEST_F(shm_protocol, a_named_place_stays_its_readers_and_another_is_for_anyone) {
  std::uint32_t p = 99, q = 99;
  publish(gen, {ann, bob});
  ASSERT_EQ(take(bob, p), claim_outcome::taken);
  EXPECT_EQ(p, 1U) << "ann's is not for bob";
  release_claim(dir(), at, gen, p, false);
  EXPECT_EQ(claim_word(1).load(), claim::make(gen, 0, bob, true, claim::state::empty));
  publish(gen + 1, {claim::anyone});
  ASSERT_EQ(take(bob, q, gen + 1), claim_outcome::taken);
  release_claim(dir(), at, gen + 1, q, false);
  EXPECT_EQ(claim_word(0).load(), claim::make(gen + 1, 0, claim::anyone, false, claim::state::empty));
}

// A put writes the places of named readers only.
TEST_F(shm_protocol, a_place_that_says_something_of_an_earlier_object_is_empty) {
  publish(gen, {claim::anyone, claim::anyone});
  claim_word(0).store(claim::make(gen - 1, other, bob, false, claim::state::done));
  claim_word(1).store(claim::make(gen - 3, other, ann, true, claim::state::hold));
  std::uint32_t p = 99, q = 99;
  EXPECT_FALSE(try_retire(dir(), at, gen)) << "nobody has read it";
  ASSERT_EQ(take(bob, p), claim_outcome::taken);
  EXPECT_EQ(p, 0U);
  EXPECT_EQ(claim_word(0).load(), claim::make(gen, me, bob, false, claim::state::hold, claim::since(claim_word(0).load())));
  EXPECT_FALSE(release_claim(dir(), at, gen, p, true)) << "one is still to come";
  ASSERT_EQ(take(ann, q), claim_outcome::taken);
  EXPECT_EQ(q, 1U);
  EXPECT_TRUE(release_claim(dir(), at, gen, q, true));
  EXPECT_TRUE(freed());
}

// Left by a put that died before its object could be seen: the next one has its generation.
TEST_F(shm_protocol, a_name_at_an_object_for_anyone_counts_for_nothing) {
  publish(gen, {claim::anyone, claim::anyone});
  claim_word(0).store(claim::make(gen, 0, ann, true, claim::state::empty));
  claim_word(1).store(claim::make(gen, 0, bob, true, claim::state::empty));
  std::uint32_t p = 99, q = 99;
  ASSERT_EQ(take(bob, p), claim_outcome::taken);
  EXPECT_EQ(p, 0U);
  ASSERT_EQ(take(claim::anyone - 1, q), claim_outcome::taken);
  EXPECT_EQ(q, 1U);
  EXPECT_FALSE(release_claim(dir(), at, gen, p, true));
  EXPECT_TRUE(release_claim(dir(), at, gen, q, true));
  EXPECT_TRUE(freed());
}

TEST_F(shm_protocol, an_old_hold_keeps_nothing) {
  publish(gen, {claim::anyone});
  claim_word(0).store(claim::make(gen - 1, other, bob, false, claim::state::hold));
  EXPECT_TRUE(drain(dir(), at, gen));
  EXPECT_TRUE(freed());
}

TEST_F(shm_protocol, who_comes_late_leaves_the_places_of_later_objects_alone) {
  publish(gen, {claim::anyone});
  for (std::uint64_t const later : {gen + 1, gen + 1000, gen + (1U << 23U) - 1}) {
    std::uint64_t const theirs = claim::make(later, other, bob, false, claim::state::hold);
    claim_word(0).store(theirs);
    std::uint32_t p = 99;
    EXPECT_EQ(take(ann, p), claim_outcome::gone) << later;
    EXPECT_EQ(claim_word(0).load(), theirs) << later;
  }
  publish(gen, {1, 2, 3});
  object().readers.store(slot::kept);
  std::uint64_t const theirs = claim::make(gen + 1, other, bob, false, claim::state::hold);
  claim_word(0).store(theirs);
  std::uint32_t p = 99;
  EXPECT_EQ(take(ann, p), claim_outcome::gone) << "kept for anybody";
  EXPECT_EQ(claim_word(0).load(), theirs);
}

/// In which something happens before the first look at a place.
struct stopping_directory {
  directory const& d;
  void (*act)(directory const&);
  mutable bool acted = false;

  static constexpr std::uint32_t most_participants = directory::most_participants;
  [[nodiscard]] geometry const& layout() const { return d.layout(); }
  [[nodiscard]] slot& slot_at(std::uint32_t i) const { return d.slot_at(i); }
  [[nodiscard]] participant& participant_at(std::uint32_t i) const { return d.participant_at(i); }
  [[nodiscard]] header& head() const { return d.head(); }
  [[nodiscard]] std::uint32_t home_of(std::uint64_t hash) const { return d.home_of(hash); }
  [[nodiscard]] std::atomic<std::uint64_t>& claim_at(std::uint32_t i, std::uint32_t k) const {
    if (!acted) act(d);
    acted = true;
    return d.claim_at(i, k);
  }
  static std::uint32_t claim_time() { return directory::claim_time(); }
  static void wake(std::atomic<std::uint32_t>& word) { directory::wake(word); }
  void ring_participant(std::uint32_t i) const { d.ring_participant(i); }
};

// Whoever is stopped for millions of objects cannot tell a later claim from an earlier one any more.
TEST_F(shm_protocol, who_was_stopped_for_millions_of_objects_takes_nobodys_place) {
  static constexpr std::uint64_t later = gen + (3U << 22U), theirs = claim::make(later, other, bob, false, claim::state::hold);
  ASSERT_FALSE(claim::is_later(theirs, gen));
  publish(gen, {claim::anyone});
  claim_word(0).store(claim::make(gen - 1, 0, claim::anyone, false, claim::state::done));
  stopping_directory const stopped{dir(), [](directory const& d) {
    d.slot_at(at).ctl.store(control::make(later, slot_state::ready, tag));
    d.claim_at(at, 0).store(theirs);
  }};
  std::uint32_t p = 99;
  EXPECT_EQ(take_claim(stopped, at, control::make(gen, slot_state::ready, tag), me, ann, p), claim_outcome::gone);
  EXPECT_EQ(claim_word(0).load(), theirs);
}

TEST_F(shm_protocol, a_word_of_claims_that_was_never_written_is_of_no_object) {
  for (std::uint64_t const generation : {std::uint64_t{0}, std::uint64_t{1}, claims_renewed_after - 1}) {
    EXPECT_FALSE(claim::of_generation(0, generation));
    EXPECT_FALSE(claim::is_later(0, generation));
    EXPECT_EQ(claim::reader(claim::as_of(0, generation, false)), claim::anyone);
    EXPECT_EQ(claim::state_of(claim::as_of(0, generation, false)), claim::state::empty);
  }
}

TEST_F(shm_protocol, who_has_no_place_is_told_whether_waiting_helps) {
  publish(gen, {ann});
  std::uint32_t p = 99;
  EXPECT_EQ(take(bob, p), claim_outcome::not_ours);
  publish(gen + 1, {claim::anyone});
  ASSERT_EQ(take(ann, p, gen + 1), claim_outcome::taken);
  EXPECT_EQ(take(bob, p, gen + 1), claim_outcome::waiting);
  publish(gen + 2, {claim::anyone});
  claim_word(0).store(claim::make(gen + 2, me, ann, false, claim::state::done));
  EXPECT_EQ(take(bob, p, gen + 2), claim_outcome::not_ours);
}

TEST_F(shm_protocol, it_is_retired_once_when_all_are_done) {
  dir().participant_at(owner).wants_room.store(1);
  publish(gen, {ann, bob});
  std::uint32_t p = 99, q = 99;
  EXPECT_FALSE(try_retire(dir(), at, gen)) << "nobody has read it";
  ASSERT_EQ(take(ann, p), claim_outcome::taken);
  ASSERT_EQ(take(bob, q), claim_outcome::taken);
  EXPECT_FALSE(release_claim(dir(), at, gen, p, true));
  EXPECT_FALSE(try_retire(dir(), at, gen));
  EXPECT_EQ(times(), 0U);
  EXPECT_TRUE(is_found());
  EXPECT_TRUE(release_claim(dir(), at, gen, q, true));
  EXPECT_TRUE(freed());
  EXPECT_EQ(times(), 1U);
  EXPECT_FALSE(is_found());
  EXPECT_FALSE(try_retire(dir(), at, gen));
  EXPECT_FALSE(release_claim(dir(), at, gen, q, true)) << "a second end ends nothing";
  EXPECT_FALSE(drain(dir(), at, gen));
  EXPECT_TRUE(freed());
  EXPECT_EQ(times(), 1U);
}

TEST_F(shm_protocol, a_producer_that_waits_for_nothing_is_not_rung) {
  publish(gen, {claim::anyone});
  EXPECT_TRUE(drain(dir(), at, gen));
  EXPECT_EQ(times(), 0U);
}

TEST_F(shm_protocol, a_late_release_leaves_the_next_object_alone) {
  publish(gen, {claim::anyone});
  std::uint32_t p = 99, q = 99;
  ASSERT_EQ(take(ann, p), claim_outcome::taken);
  narrow(dir(), hash_of_key, at);
  publish(gen + 1, {claim::anyone});
  ASSERT_EQ(take(bob, q, gen + 1), claim_outcome::taken);
  std::uint64_t const word = claim_word(q).load();
  EXPECT_FALSE(release_claim(dir(), at, gen, p, true));
  EXPECT_EQ(claim_word(q).load(), word);
  EXPECT_EQ(state(), slot_state::ready);
}

// --- where objects lie --------------------------------------------------------------------------------------------------------

TEST_F(shm_protocol, an_object_comes_to_lie_at_the_keys_home_or_as_near_as_a_slot_is_free) {
  std::uint64_t const first_of_eight = 64;
  for (std::uint32_t d = 0; d != 4; ++d) {
    EXPECT_EQ(find(first_of_eight), slot_search::found);
    EXPECT_EQ(index_, 64 + d);
    EXPECT_FALSE(beside_) << "the key's lock is this slot's, too";
    occupy(index_);
  }
  dir().slot_at(65).ctl.store(control::free(1));
  EXPECT_EQ(find(first_of_eight), slot_search::found);
  EXPECT_EQ(index_, 65U);
}

TEST_F(shm_protocol, a_slot_among_the_eights_of_others_takes_their_lock) {
  std::uint64_t const last_of_eight = 71;
  occupy(71);
  EXPECT_EQ(find(last_of_eight), slot_search::found);
  EXPECT_EQ(index_, 72U);
  EXPECT_NE(dir().lock_of(72).load(), 0U);
  beside_.release();
  EXPECT_EQ(dir().lock_of(72).load(), 0U);
  // Who is putting there may be about to write to it.
  dir().lock_of(72).store(1);
  EXPECT_EQ(find(last_of_eight), slot_search::found);
  EXPECT_EQ(index_, 80U);
  beside_.release();
  for (std::uint32_t d = 0; d != window; ++d)
    if (std::uint32_t const i = (71 + d) & (dir().layout().slots - 1); i / slots_of_a_lock != 9) occupy(i);
  EXPECT_EQ(find(last_of_eight), slot_search::busy);
  EXPECT_EQ(&dir().lock_of(index_), &dir().lock_of(72)) << "what is to be waited for";
  dir().lock_of(72).store(0);
  EXPECT_EQ(find(last_of_eight), slot_search::found);
  EXPECT_EQ(index_, 72U);
}

// The slot was free at the first look: who had its lock put an object there and gave the lock back.
TEST_F(shm_protocol, a_slot_beside_is_looked_at_again_with_its_lock) {
  occupy(71);
  static directory const* where = nullptr;
  where = &dir();
  set_failpoint_hook([](std::string_view name) noexcept {
    if (name == "shm.put.beside_locked") where->slot_at(72).ctl.store(control::make(0, slot_state::ready, 1));
  });
  EXPECT_EQ(find(71), slot_search::found);
  set_failpoint_hook(nullptr);
  EXPECT_EQ(index_, 73U);
}

TEST_F(shm_protocol, the_last_slots_neighbour_is_the_first) {
  std::uint32_t const last = dir().layout().slots - 1;
  occupy(last);
  EXPECT_EQ(find(last), slot_search::found);
  EXPECT_EQ(index_, 0U);
  dir().slot_at(0).hash.store(last);
  widen(dir(), last, 0);
  occupy(0, last);
  EXPECT_EQ(dir().slot_at(last).spread.load(), spread::raised(0, 1));
  EXPECT_TRUE(for_each_of(dir(), last, [](std::uint32_t i, std::uint64_t) { return i == 0; }));
}

TEST_F(shm_protocol, no_slot_is_taken_beyond_the_window) {
  for (std::uint32_t d = 0; d != window; ++d) occupy((dir().home_of(hash_of_key) + d) & (dir().layout().slots - 1));
  EXPECT_EQ(find(hash_of_key), slot_search::none);
}

// Whoever looks for a key looks as far as its objects may lie, no further, and forgets that when the last of them is gone.
TEST_F(shm_protocol, a_home_knows_how_far_away_its_keys_lie) {
  std::uint32_t const h = dir().home_of(hash_of_key);
  widen(dir(), hash_of_key, h);
  EXPECT_EQ(home().spread.load(), 0U) << "at home";
  widen(dir(), hash_of_key, h + 5);
  widen(dir(), hash_of_key, h + 2);
  EXPECT_EQ(spread::count(home().spread.load()), 2U);
  EXPECT_EQ(spread::reach(home().spread.load()), 5U);
  narrow(dir(), hash_of_key, h + 5);
  EXPECT_EQ(spread::reach(home().spread.load()), 5U) << "nobody knows how far the others are";
  narrow(dir(), hash_of_key, h);
  EXPECT_EQ(spread::count(home().spread.load()), 1U);
  narrow(dir(), hash_of_key, h + 2);
  EXPECT_EQ(home().spread.load(), 0U);
  narrow(dir(), hash_of_key, h + 2);
  EXPECT_EQ(home().spread.load(), 0U) << "never below nothing";
}

TEST(shm_spread, of_more_than_it_can_count_stays) {
  std::uint32_t w = 0;
  for (int i = 0; i != 70'000; ++i) w = spread::raised(w, 3);
  EXPECT_EQ(w, 3U << 16U | 0xffffU);
  EXPECT_EQ(spread::lowered(w), w) << "too few would hide an object";
  EXPECT_EQ(spread::reach(0xffff'0001U), window - 1) << "whatever somebody wrote there";
}

TEST_F(shm_protocol, keys_of_one_home_are_told_apart_by_their_tags) {
  publish(gen, {claim::anyone});
  EXPECT_TRUE(is_found());
  std::uint64_t const neighbour = hash_of_key ^ std::uint64_t{1} << 60U;
  EXPECT_EQ(dir().home_of(neighbour), dir().home_of(hash_of_key));
  EXPECT_FALSE(for_each_of(dir(), neighbour, [](std::uint32_t, std::uint64_t) { return true; }));
  object().ctl.store(control::make(gen, slot_state::free, tag));
  EXPECT_FALSE(is_found()) << "no object";
}

// --- what the dead leave ------------------------------------------------------------------------------------------------------

TEST_F(shm_protocol, a_dead_reader_holds_nothing_and_the_living_keep_theirs) {
  publish(gen, {claim::anyone, claim::anyone});
  std::uint32_t p = 99, q = 99;
  ASSERT_EQ(take(ann, p, gen, me), claim_outcome::taken);
  ASSERT_EQ(take(bob, q, gen, other), claim_outcome::taken);
  drop_claims(dir(), me);
  EXPECT_EQ(place(p), claim::state::empty);
  EXPECT_EQ(place(q), claim::state::hold);
  EXPECT_EQ(take(ann, p), claim_outcome::taken) << "its place is free again";
  EXPECT_TRUE(drain(dir(), at, gen));
  drop_claims(dir(), me);
  EXPECT_EQ(state(), slot_state::draining);
  drop_claims(dir(), other);
  EXPECT_TRUE(freed()) << "it was the last that kept it";
}

TEST_F(shm_protocol, who_died_between_its_last_word_and_the_retirement_is_finished_for) {
  publish(gen, {claim::anyone});
  claim_word(0).store(claim::make(gen, me, ann, false, claim::state::done));
  drop_claims(dir(), me);
  EXPECT_TRUE(freed());
}

// It may have died between what it did and the bell for it: nobody else would ever ring.
TEST_F(shm_protocol, who_sleeps_looks_again_when_a_participant_has_died) {
  home().sleepers.store(1);
  dir().head().multi_waiters.store(1);
  drop_claims(dir(), me);
  EXPECT_EQ(home().bell.load(), 1U);
  EXPECT_EQ(object().bell.load(), 0U) << "nobody sleeps there";
  EXPECT_EQ(dir().head().multi_seq.load(), 1U);
}

// The line is the one that changes hands: a bell that nobody sleeps on must not be touched.
TEST_F(shm_protocol, a_bell_is_rung_for_sleepers_only) {
  publish(gen, {claim::anyone});
  ring(dir(), hash_of_key);
  EXPECT_EQ(home().bell.load(), 0U);
  home().sleepers.store(1);
  ring(dir(), hash_of_key);
  EXPECT_EQ(home().bell.load(), 1U);
  home().sleepers.store(0);
  EXPECT_TRUE(drain(dir(), at, gen));
  EXPECT_EQ(home().bell.load(), 1U);
  EXPECT_EQ(dir().head().multi_seq.load(), 0U);
}

TEST_F(shm_protocol, an_unfinished_object_of_the_dead_ends_when_nobody_reads_it) {
  for (auto const unfinished : {slot_state::writing, slot_state::beaten}) {
    publish(gen, {claim::anyone});
    object().ctl.store(control::make(gen, slot_state::writing, tag));
    std::uint32_t p = 99;
    ASSERT_EQ(take_claim(dir(), at, control::make(gen, slot_state::writing, tag), me, ann, p), claim_outcome::taken) << "who waits reads behind the writer";
    object().ctl.store(control::make(gen, unfinished, tag));
    EXPECT_EQ(settle_slots(dir(), owner), 1U);
    EXPECT_EQ(state(), slot_state::withdrawn);
    EXPECT_TRUE(release_claim(dir(), at, gen, p, false));
    EXPECT_TRUE(freed());
  }
}

TEST_F(shm_protocol, a_dead_reader_of_an_unfinished_object_holds_nothing) {
  publish(gen, {claim::anyone});
  object().ctl.store(control::make(gen, slot_state::writing, tag));
  std::uint32_t p = 99;
  ASSERT_EQ(take_claim(dir(), at, control::make(gen, slot_state::writing, tag), me, ann, p), claim_outcome::taken);
  drop_claims(dir(), me);
  EXPECT_EQ(place(0), claim::state::empty);
  EXPECT_EQ(state(), slot_state::writing) << "its writer lives";
}

TEST_F(shm_protocol, a_lease_begins_when_the_producer_goes) {
  publish(gen, {claim::anyone});
  object().lease = std::uint64_t{3600} * 1'000'000'000;
  EXPECT_EQ(settle_slots(dir(), owner), 1U);
  EXPECT_EQ(state(), slot_state::ready);
  std::uint64_t const end = object().expires.load();
  EXPECT_GT(end, detail::boot_time_ns());
  dir().participant_at(owner).state.store(participant_state::orphan);
  EXPECT_EQ(settle_slots(dir(), owner), 1U);
  EXPECT_EQ(object().expires.load(), end) << "it begins once";
  EXPECT_EQ(slots_in_use(dir(), owner), 1U);
  EXPECT_EQ(slots_in_use(dir(), other), 0U);
}

// A put writes no end of a lease: that begins with the producer's end.
TEST_F(shm_protocol, what_an_earlier_object_of_the_slot_had_left_of_its_lease_counts_for_nothing) {
  publish(gen, {claim::anyone});
  constexpr std::uint64_t hour = std::uint64_t{3600} * 1'000'000'000;
  object().lease = hour;
  std::uint64_t const before = detail::boot_time_ns();
  object().expires.store(before + hour / 2);
  EXPECT_EQ(settle_slots(dir(), owner), 1U);
  EXPECT_GE(object().expires.load(), before + hour);
}

TEST_F(shm_protocol, without_a_lease_nothing_outlives_the_producer) {
  publish(gen, {claim::anyone});
  EXPECT_EQ(settle_slots(dir(), owner), 0U);
  EXPECT_TRUE(freed());
  EXPECT_FALSE(is_found());
}

TEST_F(shm_protocol, what_has_expired_goes_and_what_is_held_stays_until_it_is_released) {
  publish(gen, {claim::anyone});
  object().expires.store(1);
  dir().participant_at(owner).state.store(participant_state::orphan);
  std::uint32_t p = 99;
  ASSERT_EQ(take(ann, p), claim_outcome::taken);
  EXPECT_EQ(settle_slots(dir(), owner), 1U);
  EXPECT_EQ(state(), slot_state::draining);
  EXPECT_TRUE(release_claim(dir(), at, gen, p, false));
  EXPECT_EQ(settle_slots(dir(), owner), 0U);
  EXPECT_TRUE(freed());
}

TEST_F(shm_protocol, a_longest_lease_does_not_wrap) {
  publish(gen, {claim::anyone});
  object().lease = ~std::uint64_t{0};
  EXPECT_EQ(settle_slots(dir(), owner), 1U);
  EXPECT_EQ(object().expires.load(), ~std::uint64_t{0});
}

// --- places from elsewhere ----------------------------------------------------------------------------------------------------

TEST(shm_locator, of_the_right_size_and_another_transport_is_refused) {
  struct record {
    std::uint64_t a, b;
  };
  auto const foreign = locator::pack(locator_tag::inproc, record{1, 2});
  EXPECT_TRUE(foreign.unpack<record>(locator_tag::shm) == error_kind::malformed);
  EXPECT_TRUE(foreign.unpack<std::uint64_t>(locator_tag::inproc) == error_kind::malformed);
  ASSERT_TRUE(foreign.unpack<record>(locator_tag::inproc));
  EXPECT_EQ(foreign.unpack<record>(locator_tag::inproc)->b, 2U);
}

#ifdef OMNICONN_TEST_STEPS
// --- a peer that acts between two instructions of ours ------------------------------------------------------------------------

/// Runs `mine` one instruction at a time and lets the peer act once, right after the one that changed `word`: the processor's trap flag
/// makes a moment that two threads would meet once in millions of attempts a certain one.
struct interruption {
  std::atomic<std::uint64_t> const* word;
  std::uint64_t before;
  void (*act)(directory const&);
  directory const* dir;
  bool done;
};
interruption now_at{};
constexpr std::uint64_t trap_flag = 0x100;

void on_step(int, siginfo_t*, void* context) {
  if (!now_at.done && now_at.word->load() != now_at.before) {
    now_at.done = true;
    now_at.act(*now_at.dir);
  }
  auto& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
  if (now_at.done) flags &= ~static_cast<greg_t>(trap_flag);
}

template <class Mine>
void interrupted(directory const& dir, std::atomic<std::uint64_t> const& word, void (*act)(directory const&), Mine&& mine) {
  now_at = {&word, word.load(), act, &dir, false};
  struct sigaction ours {}, theirs {};
  ours.sa_sigaction = &on_step;
  ours.sa_flags = SA_SIGINFO;
  ASSERT_EQ(::sigaction(SIGTRAP, &ours, &theirs), 0);
  __writeeflags(__readeflags() | trap_flag);
  mine();
  __writeeflags(__readeflags() & ~trap_flag);
  ASSERT_EQ(::sigaction(SIGTRAP, &theirs, nullptr), 0);
  ASSERT_TRUE(now_at.done) << "the word never changed";
}

TEST_F(shm_protocol, a_claim_that_comes_after_the_drain_is_no_claim) {
  publish(gen, {claim::anyone});
  std::uint32_t p = 99;
  auto outcome = claim_outcome::taken;
  interrupted(dir(), claim_word(0), [](directory const& d) { drain(d, at, gen); }, [&] { outcome = take(ann, p); });
  EXPECT_EQ(outcome, claim_outcome::gone);
  EXPECT_EQ(p, 99U);
  EXPECT_TRUE(freed()) << "the attempt that kept it from retirement retires it";
}

TEST_F(shm_protocol, undoing_a_claim_leaves_the_next_objects_place_alone) {
  publish(gen, {claim::anyone});
  std::uint32_t p = 99;
  auto outcome = claim_outcome::taken;
  static constexpr std::uint64_t next = claim::make(gen + 1, other, bob, false, claim::state::hold);
  // A peer that had looked at the claims before ours came retires the slot now, the producer uses it again and bob takes the new object.
  auto const reuse = [](directory const& d) {
    slot& s = d.slot_at(at);
    s.ctl.store(control::free(gen + 1));
    d.claim_at(at, 0).store(next);
    s.ctl.store(control::make(gen + 1, slot_state::ready, tag));
  };
  interrupted(dir(), claim_word(0), reuse, [&] { outcome = take(ann, p); });
  EXPECT_EQ(outcome, claim_outcome::gone);
  EXPECT_EQ(claim_word(0).load(), next);
  EXPECT_EQ(object().ctl.load(), control::make(gen + 1, slot_state::ready, tag));
}

// The next object's producer writes no places, so that a claim that comes late may find the place as it was. It is undone, and anybody may have it meanwhile.
TEST_F(shm_protocol, a_claim_that_came_late_is_in_nobodys_way) {
  publish(gen, {claim::anyone});
  claim_word(0).store(claim::make(gen - 1, other, bob, false, claim::state::done));
  std::uint32_t p = 99, q = 99;
  auto outcome = claim_outcome::taken;
  interrupted(dir(), claim_word(0), [](directory const& d) {
    d.slot_at(at).ctl.store(control::free(gen + 1));
    d.slot_at(at).ctl.store(control::make(gen + 1, slot_state::ready, tag));
  }, [&] { outcome = take(ann, p); });
  EXPECT_EQ(outcome, claim_outcome::gone);
  EXPECT_EQ(take(bob, q, gen + 1, other), claim_outcome::taken);
  EXPECT_TRUE(release_claim(dir(), at, gen + 1, q, true));
}
#endif

}  // namespace
