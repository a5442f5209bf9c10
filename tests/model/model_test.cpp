// SPDX-License-Identifier: Apache-2.0
// The shipped protocol of shared memory in every order within small bounds, and faults that this must notice. docs/model-checking.md
#include <model/memory.hpp>

#include <algorithm>
#include <cctype>
#include <iostream>
#include <string>

#include <gtest/gtest.h>

// The checker switches stacks by hand and forgets memory at once, which the sanitizers take for faults.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if !defined(__has_feature)
#define OMNICONN_TEST_MODEL 1
#elif !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
#define OMNICONN_TEST_MODEL 1
#endif
#endif
#ifdef OMNICONN_TEST_MODEL
#include <model/play.hpp>
#endif

namespace {

TEST(model_view, knows_what_both_knew) {
  model::view a, b;
  a.at[3] = 2;
  a.at[4] = 1;
  b.at[4] = 7;
  a.join(b);
  EXPECT_EQ(a.at[3], 2);
  EXPECT_EQ(a.at[4], 7);
  EXPECT_EQ(a.at[5], 0);
}

#ifdef OMNICONN_TEST_MODEL

std::string name_of(std::string text) {
  for (auto& c : text)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return text;
}
void say(char const* what, model::bounds const& within, model::verdict const& v) {
  std::cout << what << ": " << text_of(within) << "; " << v.executions << " executions, " << v.states << " states, " << v.seconds << " s, "
            << (v.found ? v.what : v.complete ? "nothing wrong" : "nothing wrong so far") << "\n";
}

// --- the memory itself --------------------------------------------------------------------------------------------------------------

/// Two threads and what they read in the end: litmus tests of the memory model.
template <class One, class Other>
class litmus {
 public:
  litmus(One one, Other other) : one_(one), other_(other) {}

  /// Whether the two can end with these values.
  bool can_read(int a, int b) {
    model::machine m;
    model::vm = &m;
    words w;
    words_ = &w;
    for (auto* word : {&w.x, &w.y}) m.name(word->id(), model::kind::word);
    auto const out = m.explore(
        [this] {
          model::vm->spawn("one", 0, [](void* self) { static_cast<litmus*>(self)->a_ = static_cast<litmus*>(self)->one_(*static_cast<litmus*>(self)->words_); }, this);
          model::vm->spawn("other", 1, [](void* self) { static_cast<litmus*>(self)->b_ = static_cast<litmus*>(self)->other_(*static_cast<litmus*>(self)->words_); }, this);
        },
        [&] {
          if (a_ == a && b_ == b) model::vm->violation("seen");
        });
    model::vm = nullptr;
    EXPECT_TRUE(out.found || out.complete);
    return out.found;
  }

  struct words {
    model::atomic<int> x, y;
  };

 private:
  One one_;
  Other other_;
  words* words_ = nullptr;
  int a_ = 0, b_ = 0;
};
constexpr auto relaxed = std::memory_order_relaxed, acquire = std::memory_order_acquire, release = std::memory_order_release;

TEST(model_memory, store_buffering_is_seen_unless_all_is_sequentially_consistent) {
  auto const weak_one = [](auto& w) { return w.x.store(1, release), w.y.load(acquire); };
  auto const weak_other = [](auto& w) { return w.y.store(1, release), w.x.load(acquire); };
  auto const one = [](auto& w) { return w.x.store(1), w.y.load(); };
  auto const other = [](auto& w) { return w.y.store(1), w.x.load(); };
  EXPECT_TRUE(litmus(weak_one, weak_other).can_read(0, 0));
  EXPECT_TRUE(litmus(one, weak_other).can_read(0, 0));
  EXPECT_FALSE(litmus(one, other).can_read(0, 0));
  EXPECT_TRUE(litmus(one, other).can_read(1, 1));
}

TEST(model_memory, a_message_passes_with_release_and_acquire_only) {
  auto const sent = [](auto& w) { return w.x.store(1, relaxed), w.y.store(1, release), 0; };
  auto const carelessly_sent = [](auto& w) { return w.x.store(1, relaxed), w.y.store(1, relaxed), 0; };
  auto const received = [](auto& w) { return w.y.load(acquire) * 2 + w.x.load(relaxed); };
  auto const carelessly_received = [](auto& w) { return w.y.load(relaxed) * 2 + w.x.load(relaxed); };
  EXPECT_FALSE(litmus(sent, received).can_read(0, 2));
  EXPECT_TRUE(litmus(sent, received).can_read(0, 3));
  EXPECT_TRUE(litmus(sent, carelessly_received).can_read(0, 2));
  EXPECT_TRUE(litmus(carelessly_sent, received).can_read(0, 2));
}

TEST(model_memory, one_location_is_never_read_backwards) {
  auto const writes = [](auto& w) { return w.x.store(1, relaxed), w.x.store(2, relaxed), 0; };
  auto const reads = [](auto& w) {
    int const first = w.x.load(relaxed);
    return first * 10 + w.x.load(relaxed);
  };
  EXPECT_TRUE(litmus(writes, reads).can_read(0, 12));
  EXPECT_TRUE(litmus(writes, reads).can_read(0, 2));
  EXPECT_FALSE(litmus(writes, reads).can_read(0, 21));
  EXPECT_FALSE(litmus(writes, reads).can_read(0, 10));
}

TEST(model_memory, a_read_modify_write_reads_the_newest_and_hands_on_what_was_released) {
  auto const adds = [](auto& w) { return w.x.fetch_add(1, relaxed); };
  EXPECT_FALSE(litmus(adds, adds).can_read(0, 0));
  EXPECT_TRUE(litmus(adds, adds).can_read(1, 0));
  auto const sent = [](auto& w) { return w.x.store(1, relaxed), w.y.store(1, release), 0; };
  auto const through = [](auto& w) {
    w.y.fetch_add(1, relaxed);
    return w.y.load(acquire) * 2 + w.x.load(relaxed);
  };
  EXPECT_FALSE(litmus(sent, through).can_read(0, 4));
}

// --- the protocol -------------------------------------------------------------------------------------------------------------------

class model_story : public testing::TestWithParam<model::scenario> {};

TEST_P(model_story, holds) {
  auto const& s = GetParam();
  auto const v = play(s, s.quick);
  say(s.name, s.quick, v);
  EXPECT_FALSE(v.found) << s.story << "\n" << v.what << "\n" << v.trace;
  EXPECT_TRUE(v.complete || v.found);
  EXPECT_EQ(v.cut, 0U) << "executions were cut off";
}
INSTANTIATE_TEST_SUITE_P(quick, model_story, testing::ValuesIn(model::stories), [](auto const& tested) { return name_of(tested.param.name); });

class model_mutant : public testing::TestWithParam<model::mutant> {};

TEST_P(model_mutant, is_noticed) {
  auto const& m = GetParam();
  auto const v = play(model::story(m.story), m.within, m.wrong, m.weak);
  say(m.name, m.within, v);
  std::cout << v.trace;
  EXPECT_TRUE(v.found) << "trap " << m.trap << " is not noticed in \"" << m.story << "\"";
}
INSTANTIATE_TEST_SUITE_P(traps, model_mutant, testing::ValuesIn(model::mutants), [](auto const& tested) { return name_of(tested.param.name); });

TEST_P(model_mutant, s_story_holds_without_it) {
  auto const& m = GetParam();
  auto within = m.within;
  within.preemptions = std::min(within.preemptions, 3);  // more takes minutes: tests/run model
  auto const v = play(model::story(m.story), within);
  EXPECT_FALSE(v.found) << v.what << "\n" << v.trace;
  EXPECT_TRUE(v.complete);
}

#endif

}  // namespace
