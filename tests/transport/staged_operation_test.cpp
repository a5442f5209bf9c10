// SPDX-License-Identifier: Apache-2.0
// Who has an operation has it to himself until he lets it go, whatever he made of it.
#include <omniconn/detail/staged_operation.hpp>

#include <thread>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;
using namespace omniconn::detail;

TEST(staged_operation, what_it_becomes_is_seen_when_it_is_let_go) {
  staged_operation op;
  op.become(stage::looking);
  EXPECT_TRUE(op.is(stage::looking)) << "nobody had it";
  {
    locked_operation const lock(op);
    EXPECT_EQ(lock.at(), stage::looking);
    op.fail({error_kind::cancelled, ""});
    EXPECT_TRUE(op.is(stage::busy)) << "who locked it now would be undone by our end";
  }
  EXPECT_TRUE(op.is(stage::failed));
  { locked_operation const lock(op); }
  EXPECT_TRUE(op.is(stage::failed)) << "a look changes nothing";
}

TEST(staged_operation, two_threads_never_have_it_at_once) {
  staged_operation op;
  int inside = 0, wrong = 0;  // each other's only while the operation is locked
  auto const work = [&](stage mine) {
    for (int i = 0; i != 20'000; ++i) {
      locked_operation const lock(op);
      if (++inside != 1) ++wrong;
      op.become(mine);
      --inside;
    }
  };
  std::thread other(work, stage::begun);
  work(stage::looking);
  other.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(op.is(stage::begun) || op.is(stage::looking));
}

}  // namespace
