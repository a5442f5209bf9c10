// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/function_ref.hpp>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

using to_int = function_ref<int(int)>;

static_assert(sizeof(to_int) == 2 * sizeof(void*) && std::is_trivially_copyable_v<to_int>);
static_assert(!std::is_default_constructible_v<to_int>, "there is no empty one to check for");
static_assert(std::is_constructible_v<to_int, int (&)(int)> && !std::is_constructible_v<to_int, int (&)(std::string)> && !std::is_constructible_v<to_int, int>);
static_assert(std::is_constructible_v<function_ref<void()>, int (&)()>, "a result may be dropped");

int twice(int x) { return 2 * x; }
int call(to_int f, int x) { return f(x); }

struct stateful {
  int calls = 0;
  int operator()(int x) { return x + ++calls; }
};
struct constant {
  int operator()(int x) const { return x + 100; }
};

TEST(function_ref, calls_functions_lambdas_and_objects) {
  EXPECT_EQ(call(twice, 21), 42);
  int const more = 5;
  EXPECT_EQ(call([&](int x) { return x + more; }, 1), 6);
  constant const c;
  EXPECT_EQ(call(c, 1), 101);
}

TEST(function_ref, refers_and_does_not_copy) {
  stateful s;
  EXPECT_EQ(call(s, 10), 11);
  EXPECT_EQ(call(s, 10), 12);
  EXPECT_EQ(s.calls, 2);
  to_int const first = s;
  to_int const second = first;  // of the object, not of the first reference
  EXPECT_EQ(second(0), 3);
  EXPECT_EQ(s.calls, 3);
}

TEST(function_ref, passes_arguments_as_they_are) {
  std::string text = "a";
  auto const append = [](std::string& to, std::unique_ptr<int> more) -> std::string& { return to += std::to_string(*more); };
  function_ref<std::string&(std::string&, std::unique_ptr<int>)> const f = append;
  EXPECT_EQ(&f(text, std::make_unique<int>(7)), &text);
  EXPECT_EQ(text, "a7");
}

TEST(function_ref, drops_and_converts_results) {
  int seen = 0;
  auto const note = [&](int x) { return seen = x; };
  function_ref<void(int)> const f = note;
  f(9);
  EXPECT_EQ(seen, 9);
  auto const letter = [](int) { return 'x'; };
  EXPECT_EQ(call(letter, 0), 'x');
}

}  // namespace
