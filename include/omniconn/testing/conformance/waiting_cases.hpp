// SPDX-License-Identifier: Apache-2.0
// Conformance: operations, waiting for them, cancelling them.
#pragma once

#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(transport_conformance, an_absent_object_is_pending) {
  auto consumer = this->open("consumer");
  typename TestFixture::get_op op;
  auto now = (*consumer)->find(op, "key", {});
  ASSERT_TRUE(succeeded(now));
  EXPECT_EQ(*now, progress::pending);
  now = (*consumer)->step(op);
  ASSERT_TRUE(succeeded(now));
  EXPECT_EQ(*now, progress::pending);
  consumer->quiet(op);
}

TYPED_TEST_P(transport_conformance, a_get_that_does_not_wait_is_told_what_is_there_now) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  find_options now;
  now.wait = false;
  // A round trip may be needed even for this answer; it ends by itself, without a deadline.
  EXPECT_TRUE(failed_with(consumer->get("key", this->patient(), now), error_kind::not_found));
  auto const data = test_pattern(TestFixture::not_small, 1);
  ASSERT_TRUE(succeeded(producer->put("key", data)));
  auto got = consumer->get("key", this->patient(), now);
  ASSERT_TRUE(succeeded(got)) << "the answer from before has taken nothing";
  EXPECT_TRUE(holds(got->bytes, data));
  if constexpr (TestFixture::caps.counts_readers) {
    now.reader = "another";
    EXPECT_TRUE(failed_with(consumer->get("key", this->patient(), now), error_kind::not_found)) << "all its shares are taken";
  }
  this->let_go(std::move(*got));
}

TYPED_TEST_P(transport_conformance, a_deadline_is_kept) {
  auto consumer = this->open("consumer");
  typename TestFixture::get_op op;
  ASSERT_TRUE(succeeded((*consumer)->find(op, "key", {})));
  operation* const one[]{&op};
  for (int round = 0; round != 2; ++round) {  // after timed_out the operation is as it was and may be waited for again
    deadline const until = this->soon();
    EXPECT_TRUE(failed_with((*consumer)->wait(one, until, {}), error_kind::timed_out));
    EXPECT_TRUE(this->harness.passed(until)) << "never too early";
    auto const now = (*consumer)->step(op);
    ASSERT_TRUE(succeeded(now));
    EXPECT_EQ(*now, progress::pending);
  }
  EXPECT_TRUE(failed_with((*consumer)->wait(one, deadline::immediate(), {}), error_kind::timed_out));
  EXPECT_TRUE(failed_with((*consumer)->wait(one, deadline::at(deadline::clock::time_point{}), {}), error_kind::timed_out));
  auto producer = this->open("producer");
  ASSERT_TRUE(succeeded(producer->put("key", test_pattern(64, 1))));
  auto got = consumer->finish_get(op, progress::pending, this->patient());
  EXPECT_TRUE(succeeded(got)) << "a wait that timed out loses nothing";
}

TYPED_TEST_P(transport_conformance, a_wait_for_nothing_only_ends_in_time) {
  auto consumer = this->open("consumer");
  deadline const until = this->soon();
  EXPECT_TRUE(failed_with((*consumer)->wait({}, until, {}), error_kind::timed_out));
  EXPECT_TRUE(this->harness.passed(until));
  EXPECT_TRUE(failed_with((*consumer)->wait({}, deadline::never(), {}), error_kind::misconfigured));
  std::stop_source source;
  source.request_stop();
  EXPECT_TRUE(failed_with((*consumer)->wait({}, deadline::never(), source.get_token()), error_kind::cancelled));
}

TYPED_TEST_P(transport_conformance, a_finished_operation_is_answered_at_once) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put("key", test_pattern(64, 1))));
  typename TestFixture::get_op absent, present;
  ASSERT_TRUE(succeeded((*consumer)->find(absent, "no", {})));
  auto now = consumer->drive(present, (*consumer)->find(present, "key", {}), this->patient());
  ASSERT_TRUE(succeeded(now));
  ASSERT_NE(*now, progress::pending);
  operation* const both[]{&absent, &present};
  std::stop_source source;
  source.request_stop();
  for (deadline const d : {deadline::never(), deadline::immediate()}) {
    auto const which = (*consumer)->wait(both, d, source.get_token());
    ASSERT_TRUE(succeeded(which)) << "what is finished comes before stop and deadline";
    EXPECT_EQ(*which, 1U);
  }
  EXPECT_EQ((*consumer)->step(present).value_or(progress::pending), *now) << "the same answer as often as it is asked for";
  EXPECT_EQ((*consumer)->step(present).value_or(progress::pending), *now);
  consumer->quiet(absent);
  consumer->quiet(present);
}

TYPED_TEST_P(transport_conformance, a_failed_operation_fails_again) {
  auto consumer = this->open("consumer");
  typename TestFixture::get_op op;
  locator const foreign = locator::pack(static_cast<locator_tag>(0x8001), std::uint64_t{1});
  find_options how;
  how.where = &foreign;
  ASSERT_TRUE(failed_with((*consumer)->find(op, "key", how), error_kind::malformed));
  EXPECT_TRUE(failed_with((*consumer)->step(op), error_kind::malformed));
  operation* const one[]{&op};
  EXPECT_TRUE(succeeded((*consumer)->wait(one, deadline::never(), {}))) << "it is not pending";
  EXPECT_TRUE(failed_with((*consumer)->step(op), error_kind::malformed));
}

TYPED_TEST_P(transport_conformance, an_operation_serves_one_at_a_time_and_many_in_turn) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  typename TestFixture::get_op op;
  ASSERT_TRUE(succeeded((*consumer)->find(op, "a", {})));
  EXPECT_TRUE(failed_with((*consumer)->find(op, "b", {}), error_kind::misconfigured)) << "it still waits for a";
  for (std::string const key : {"a", "b", "c"}) {
    ASSERT_TRUE(succeeded(producer->put(key, test_pattern(64, key.size()))));
    auto now = key == "a" ? (*consumer)->step(op) : (*consumer)->find(op, key, {});
    auto got = consumer->finish_get(op, now, this->patient());
    ASSERT_TRUE(succeeded(got)) << key;
    this->let_go(std::move(*got));
  }
}

TYPED_TEST_P(transport_conformance, the_wait_for_any_names_which) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::array<typename TestFixture::get_op, 3> ops;
  std::array<operation*, 3> all{};
  for (std::size_t i = 0; i != ops.size(); ++i) {
    ASSERT_TRUE(succeeded((*consumer)->find(ops[i], "key " + std::to_string(i), {})));
    all[i] = &ops[i];
  }
  EXPECT_TRUE(failed_with((*consumer)->wait(all, this->soon(), {}), error_kind::timed_out));
  for (std::size_t const next : {std::size_t{1}, std::size_t{2}, std::size_t{0}}) {
    auto const data = test_pattern(64, next);
    ASSERT_TRUE(succeeded(producer->put("key " + std::to_string(next), data)));
    auto const which = (*consumer)->wait(all, this->patient(), {});
    ASSERT_TRUE(succeeded(which));
    EXPECT_EQ(*which, next);
    auto got = consumer->finish_get(ops[next], (*consumer)->step(ops[next]), this->patient());
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(holds(got->bytes, data));
    this->let_go(std::move(*got));
    ASSERT_TRUE(succeeded((*consumer)->find(ops[next], "never " + std::to_string(next), {})));
  }
  for (auto& op : ops) consumer->quiet(op);
}

TYPED_TEST_P(transport_conformance, a_put_wakes_who_waits) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (int round = 0; round != 100; ++round) {
    std::string const key = "key " + std::to_string(round);
    auto const data = test_pattern(100, static_cast<std::uint64_t>(round));
    std::atomic<bool> looking{false};
    bool arrived = false;
    std::thread waiter([&] {
      typename TestFixture::get_op op;
      auto const now = (*consumer)->find(op, key, {});
      looking.store(true);
      looking.notify_one();
      auto got = consumer->finish_get(op, now, this->patient());
      arrived = got && same_bytes(got->bytes, data);
      if (got) this->let_go(std::move(*got));
    });
    looking.wait(false);
    auto const put = producer->put(key, data);
    waiter.join();
    ASSERT_TRUE(succeeded(put));
    ASSERT_TRUE(arrived) << round;
  }
}

TYPED_TEST_P(transport_conformance, a_stop_token_ends_a_wait) {
  auto consumer = this->open("consumer");
  for (int round = 0; round != 100; ++round) {
    typename TestFixture::get_op op;
    ASSERT_TRUE(succeeded((*consumer)->find(op, "key", {})));
    operation* const one[]{&op};
    std::stop_source source;
    std::atomic<bool> looking{false};
    result<std::size_t> woken = std::size_t{0};
    std::thread waiter([&] {
      looking.store(true);
      looking.notify_one();
      woken = (*consumer)->wait(one, this->patient(), source.get_token());
    });
    looking.wait(false);
    source.request_stop();
    waiter.join();
    ASSERT_TRUE(failed_with(woken, error_kind::cancelled));
    EXPECT_EQ((*consumer)->step(op).value_or(progress::done), progress::pending) << "the operation is as it was";
    consumer->quiet(op);
  }
}

TYPED_TEST_P(transport_conformance, close_ends_a_wait) {
  for (int round = 0; round != 20; ++round) {
    auto consumer = this->open("consumer");
    typename TestFixture::get_op op;
    ASSERT_TRUE(succeeded((*consumer)->find(op, "key", {})));
    operation* const one[]{&op};
    std::atomic<int> looking{0};
    result<std::size_t> for_one = std::size_t{0}, for_none = std::size_t{0};
    auto const look = [&] {
      looking.fetch_add(1);
      looking.notify_one();
    };
    std::stop_source never;
    std::thread a([&] {
      look();
      for_one = (*consumer)->wait(one, this->patient(), {});
    });
    std::thread b([&] {
      look();
      for_none = (*consumer)->wait({}, deadline::never(), never.get_token());
    });
    for (int n = 0; n != 2; n = looking.load()) looking.wait(n);
    (*consumer)->close();
    a.join();
    b.join();
    EXPECT_TRUE(failed_with(for_one, error_kind::closed));
    EXPECT_TRUE(failed_with(for_none, error_kind::closed));
    consumer->quiet(op);
  }
}

TYPED_TEST_P(transport_conformance, a_cancel_from_another_thread_ends_a_wait) {
  for (int round = 0; round != 50; ++round) {
    auto consumer = this->open("consumer");
    typename TestFixture::get_op op;
    ASSERT_TRUE(succeeded((*consumer)->find(op, "key", {})));
    operation* const one[]{&op};
    std::atomic<bool> looking{false};
    result<std::size_t> woken{error_kind::io, ""};
    std::thread waiter([&] {
      looking.store(true);
      looking.notify_one();
      woken = (*consumer)->wait(one, deadline::never(), {});
    });
    looking.wait(false);
    for (int n = 0; n != round; ++n) std::this_thread::yield();  // before, in and after the wait's first look
    EXPECT_TRUE(succeeded((*consumer)->cancel(op)));
    waiter.join();
    EXPECT_EQ(woken.value_or(99), 0U);
    consumer->quiet(op);
    EXPECT_TRUE(failed_with((*consumer)->step(op), error_kind::cancelled));
  }
}

TYPED_TEST_P(transport_conformance, a_get_that_is_cancelled_consumes_nothing) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(10'000, 1);
  typename TestFixture::get_op early, late;
  ASSERT_TRUE(succeeded((*consumer)->find(early, "key", {})));
  consumer->quiet(early);
  EXPECT_TRUE(failed_with((*consumer)->step(early), error_kind::cancelled));
  consumer->quiet(early);  // the second is nothing
  auto put = producer->put("key", data);
  ASSERT_TRUE(succeeded(put));
  auto const now = consumer->drive(late, (*consumer)->find(late, "key", {}), this->patient());
  ASSERT_TRUE(succeeded(now));
  consumer->quiet(late);  // found, and neither landed nor taken
  {
    typename TestFixture::get_op dropped;
    ASSERT_TRUE(succeeded(consumer->drive(dropped, (*consumer)->find(dropped, "key", {}), this->patient())));
    if (!TestFixture::caps.quiet_cancel) consumer->quiet(dropped);
  }  // the destructor gives back, too
  EXPECT_TRUE(this->still_out(*put->block));
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
}

TYPED_TEST_P(transport_conformance, memory_is_quiet_after_cancel) {
  if constexpr (TestFixture::caps.zero_copy_get) GTEST_SKIP() << "caps.zero_copy_get is true: nothing lands";
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(100'000, 1);
  ASSERT_TRUE(succeeded(producer->put("key", data)));
  for (int round = 0; round != 10; ++round) {
    typename TestFixture::get_op op;
    auto now = consumer->drive(op, (*consumer)->find(op, "key", {}), this->patient());
    ASSERT_TRUE(succeeded(now));
    ASSERT_EQ(*now, progress::needs_memory);
    auto const memory = consumer->landing(data.size());
    ASSERT_TRUE(succeeded(memory));
    mutable_bytes const to[]{*memory};
    ASSERT_TRUE(succeeded((*consumer)->land(op, to)));
    // Let a part of it land: another part later in each round.
    consumer->pause(this->harness.in(std::chrono::microseconds(1) * (round * round)));
    consumer->quiet(op);
    std::memset(memory->data(), 0x11, memory->size());
    consumer->pause(this->soon());
    std::size_t touched = 0;
    for (std::byte const b : *memory) touched += b != std::byte{0x11} ? 1 : 0;
    EXPECT_EQ(touched, 0U) << "cancel was done, and yet somebody wrote";
  }
  auto got = consumer->get("key", this->patient());
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes, data));
}

OMNICONN_END_NAMESPACE
