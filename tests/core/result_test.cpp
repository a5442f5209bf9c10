// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/result.hpp>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(std::is_trivially_destructible_v<result<int>>);
static_assert(std::is_nothrow_move_constructible_v<result<std::unique_ptr<int>>> && std::is_nothrow_move_assignable_v<result<std::unique_ptr<int>>>);
static_assert(!std::is_copy_constructible_v<result<std::unique_ptr<int>>> && std::is_copy_constructible_v<result<std::string>>);
static_assert(std::is_nothrow_move_constructible_v<error> && std::is_nothrow_move_constructible_v<diagnosis>, "assignment never leaves a result with neither side");

#ifdef __cpp_exceptions
/// Counts its objects, and throws when it is told to.
struct counted {
  inline static int alive = 0;
  inline static bool throwing = false;
  explicit counted(int n) : number(n) { enter(); }
  counted(counted const& other) : number(other.number) { enter(); }
  counted(counted&& other) : number(other.number) { enter(); }  // NOLINT(performance-noexcept-move-constructor): it may throw, that is the point
  counted& operator=(counted const&) = default;
  counted& operator=(counted&&) = default;
  ~counted() { --alive; }
  static void enter() {
    if (throwing) throw std::string("no");
    ++alive;
  }
  int number;
};
static_assert(!std::is_move_assignable_v<result<counted>>, "a move that throws would leave neither value nor error");

class result_of_counted : public testing::Test {
 protected:
  void SetUp() override {
    counted::alive = 0;
    counted::throwing = false;
  }
  void TearDown() override { EXPECT_EQ(counted::alive, 0); }
};

TEST_F(result_of_counted, a_constructor_that_throws_destroys_nothing) {
  counted const original(3);
  counted moved(4);
  result<counted> const whole(original);
  result<counted> whole_moved(original);
  counted::throwing = true;
  EXPECT_THROW((void)(result<counted>{original}), std::string);
  EXPECT_THROW((void)(result<counted>{std::move(moved)}), std::string);
  EXPECT_THROW((void)(result<counted>(std::in_place, 5)), std::string);
  EXPECT_THROW((void)(result<counted>{whole}), std::string);
  EXPECT_THROW((void)(result<counted>{std::move(whole_moved)}), std::string);
  EXPECT_THROW((void)(result<counted, diagnosis>(std::move(whole_moved))), std::string);
  EXPECT_EQ(counted::alive, 4);
}

TEST_F(result_of_counted, each_side_is_destroyed_once) {
  result<counted> a(std::in_place, 1);
  result<counted> const b(a), c(std::move(a));
  EXPECT_EQ(b->number + c->number, 2);
  EXPECT_EQ(counted::alive, 3);
}

#endif

TEST(result, assignment_changes_sides) {
  result<std::string> r(error_kind::io, "why");
  EXPECT_TRUE(r == error_kind::io);
  r = std::string(100, 'x');
  ASSERT_TRUE(r);
  EXPECT_EQ(r->size(), 100U);
  r = error(error_kind::closed);
  EXPECT_TRUE(r == error_kind::closed);
  result<std::string> const other(std::string(50, 'y'));
  r = other;
  EXPECT_EQ(*r, *other);
  r = *&r;  // itself
  EXPECT_EQ(*r, *other);
}

TEST(result, widens_its_error) {
  result<std::unique_ptr<int>> good(std::make_unique<int>(7));
  result<std::unique_ptr<int>, diagnosis> const wide(std::move(good));
  EXPECT_EQ(**wide, 7);
  result<int, diagnosis> const failed(result<int>(error_kind::no_space, "full"));
  EXPECT_TRUE(failed == error_kind::no_space);
  result<void, diagnosis> const nothing(result<void>(error_kind::no_space, "full"));
  EXPECT_TRUE(nothing == error_kind::no_space);
}

TEST(result, value_or) {
  EXPECT_EQ(result<int>(1).value_or(2), 1);
  EXPECT_EQ(result<int>(error_kind::io, "").value_or(2), 2);
  EXPECT_EQ(*result<std::unique_ptr<int>>(std::make_unique<int>(3)).value_or(nullptr), 3);
}

TEST(result_death, the_absent_side_ends_the_program) {
  result<int> good(1);
  result<int> bad(error_kind::io, "");
  result<void> const none;
  EXPECT_DEATH((void)good.error(), "");
  EXPECT_DEATH((void)bad.value(), "");
  EXPECT_DEATH((void)*bad, "");
  EXPECT_DEATH((void)none.error(), "");
}

constexpr int doubled(result<int> r) { return r ? 2 * *r : -1; }
static_assert(doubled(21) == 42 && doubled({error_kind::io, ""}) == -1, "usable in constant expressions");

}  // namespace
