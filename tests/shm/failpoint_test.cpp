// SPDX-License-Identifier: Apache-2.0
// Failpoints, and what can be shown with them inside one process: steps of two participants in an order that is otherwise rare.
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;

std::map<std::string, int, std::less<>> seen;
void count(std::string_view name) noexcept { ++seen[std::string(name)]; }

/// Runs `act` once, when `where` is reached.
std::string_view where;
void (*act)() = nullptr;
void at_failpoint(std::string_view name) noexcept {
  if (name != where || act == nullptr) return;
  auto const now = act;
  act = nullptr;
  now();
}

class failpoints : public testing::Test {
 protected:
  void TearDown() override { set_failpoint_hook(nullptr); }

  static shm_transport opened(shm_test::fresh_space const& space) {
    auto t = shm_transport::open(space.options());
    EXPECT_TRUE(t) << t.error().message();
    return std::move(*t);
  }
  static bool put(shm_transport& t, std::string_view key) {
    shm_transport::put_op op;
    return t.begin(op, key, {}, {}, {}).has_value() && t.commit(op, {}).has_value();
  }
};

TEST_F(failpoints, have_names_of_their_own) {
  std::set<std::string_view> const names(std::begin(failpoint_names), std::end(failpoint_names));
  EXPECT_EQ(names.size(), std::size(failpoint_names));
  for (auto const name : names) EXPECT_TRUE(name.starts_with("shm.")) << name;
}

TEST_F(failpoints, are_reached_only_while_a_hook_is_set) {
  shm_test::fresh_space space;
  seen.clear();
  {
    auto t = opened(space);
    set_failpoint_hook(&count);
    EXPECT_TRUE(put(t, "key"));
    set_failpoint_hook(nullptr);
  }
  EXPECT_EQ(seen["shm.put.described"], 1);
  EXPECT_EQ(seen["shm.put.ready"], 1);
  EXPECT_EQ(seen["shm.get.claimed"], 0);
  EXPECT_EQ(seen["shm.leave.settled"], 0);
}

TEST_F(failpoints, memory_for_a_long_key_is_asked_for_once) {
  shm_test::fresh_space space;
  auto t = opened(space);
  seen.clear();
  set_failpoint_hook(&count);
  for (int i = 0; i != 100; ++i) {
    std::string const key = std::to_string(i) + std::string(200, 'k');
    EXPECT_TRUE(put(t, key));
    EXPECT_EQ(t.erase(key).value_or(0), 1U);
  }
  set_failpoint_hook(nullptr);
  EXPECT_EQ(seen["shm.put.key_stored"], 100);
  EXPECT_GT(seen["shm.arena.key_page"], 0);
  EXPECT_LE(seen["shm.arena.key_page"], 4) << "the page of one that is gone is the next one's";
}

shm_test::fresh_space const* shared = nullptr;
std::optional<shm_transport> later;

TEST_F(failpoints, of_two_that_leave_at_once_the_second_spares_the_directory_of_the_next) {
  shm_test::fresh_space space;
  shared = &space;
  std::optional<shm_transport> first(opened(space));
  where = "shm.leave.unlocked";
  act = [] {
    opened(*shared).close();  // the last one, it seems: it takes the directory away
    later.emplace(opened(*shared));
    EXPECT_TRUE(put(*later, "key"));
  };
  set_failpoint_hook(&at_failpoint);
  first.reset();
  set_failpoint_hook(nullptr);
  EXPECT_EQ(act, nullptr);
  auto reader = opened(space);
  EXPECT_TRUE(reader.exists("key").value_or(false)) << "it has come into another directory";
  later.reset();
}

TEST_F(failpoints, a_stage_without_a_place_for_its_name_does_not_ask_for_one_again) {
  shm_test::fresh_space space;
  auto t = opened(space);
  {
    auto directory = detail::shm::directory::open(space.paths(), {}, false);
    ASSERT_TRUE(directory);
    for (std::uint32_t i = 0; i != detail::shm::max_names / 2 - 2; ++i)  // two are left for stages
      if (auto& name = directory->name_at(i); name.size.load() == 0) name.size.store(1);
    directory->open_gate();
  }
  seen.clear();
  set_failpoint_hook(&count);
  auto const get = [&t](edge const& flow) {
    shm_transport::get_op op;
    find_options how;
    how.flow = &flow;
    auto const now = t.find(op, "key", how);
    EXPECT_TRUE(now && *now == progress::pending);
    (void)t.cancel(op);
  };
  get({"from", "to"});
  EXPECT_EQ(seen["shm.name.gate_held"], 2) << "both found a place";
  for (std::string const& n : {std::string("1"), std::string("2"), std::string("2")}) get({"from" + n, "to" + n});
  EXPECT_EQ(seen["shm.name.gate_held"], 2) << "the look that finds no place is no business of others";
  EXPECT_EQ(seen["shm.name.stored"], 2);
  get({"from", "to"});
  publish_options how;
  std::string_view const reader = "a reader";
  how.readers.names = {&reader, 1};
  shm_transport::put_op op;
  EXPECT_TRUE(t.begin(op, "key", {}, {}, how)) << "readers still find a place";
  EXPECT_EQ(seen["shm.name.gate_held"], 3);
}

TEST_F(failpoints, a_directory_whose_last_user_died_while_it_removed_it_is_made_anew) {
  shm_test::fresh_space space;
  {
    auto directory = detail::shm::directory::open(space.paths(), {.keys = 64}, true);
    ASSERT_TRUE(directory);
    directory->head().dead.store(1);
  }
  auto const collected = shm_transport::collect(space.options());
  EXPECT_TRUE(collected) << collected.error().message();
  EXPECT_TRUE(space.files().empty());
  {
    auto directory = detail::shm::directory::open(space.paths(), {.keys = 64}, true);
    ASSERT_TRUE(directory);
    directory->head().dead.store(1);
  }
  auto t = opened(space);
  EXPECT_TRUE(put(t, "key"));
  EXPECT_TRUE(t.erase("key"));
}

}  // namespace
