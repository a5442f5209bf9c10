// SPDX-License-Identifier: Apache-2.0
// Who is stopped where others must pass, with the gate or a key's lock: calls with a deadline end at it, and say so. What an error says tells whose
// patience ended.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>

#include <shm/stage.hpp>

namespace {

using namespace omniconn;
using connector_type = shm_connector<>;
constexpr edge hop{"producer", "consumer"};
constexpr std::byte payload[8]{}, in_a_block[200]{};  // the first lies in the directory

class shm_stopped : public shm_test::process_test {
 protected:
  /// In a namespace with a limit, where memory needs the gate.
  [[nodiscard]] connector_type connect_limited() const {
    connector_type::options o;
    o.transport = space.options();
    o.transport.max_namespace_bytes = std::uint64_t{1} << 20U;
    auto c = connector_type::open(o);
    EXPECT_TRUE(c) << c.error().message();
    return std::move(*c);
  }
  static deadline soon() { return deadline::after(std::chrono::milliseconds(30)); }
  static put_options before(deadline until, on_existing existing = on_existing::fail) {
    put_options o;
    o.until = until;
    o.existing = existing;
    return o;
  }
  static get_options as(std::string_view reader, deadline until) {
    get_options o;
    o.until = until;
    o.reader = reader;
    return o;
  }
  template <class Result>
  static void expect_stalled(Result const& r, std::string_view text) {
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().kind(), error_kind::peer_stalled) << r.error().message();
    EXPECT_NE(r.error().message().find(text), std::string::npos) << r.error().message();
  }
};

TEST_F(shm_stopped, in_the_middle_of_a_put_makes_another_put_fail_at_its_deadline) {
  auto c = space.connect<connector_type>();
  auto const other = start();
  other->stop("put k 1 100", "shm.put.key_locked");
  expect_stalled(c.put(hop, "k", const_bytes(payload), before(soon())), "deadline");
  expect_stalled(c.put(hop, "k", const_bytes(payload), before(soon(), on_existing::replace)), "deadline");
  expect_stalled(c.put(hop, "k", const_bytes(payload), before(deadline::immediate())), "deadline");
  expect_stalled(c.put(hop, "k", const_bytes(payload)), "another process is stopped in the middle of a put");
  EXPECT_TRUE(c.get_view(hop, "k", as({}, deadline::immediate())) == error_kind::not_found) << "a get needs no lock";
  EXPECT_EQ(c.health().objects.used, 0U) << "the other's is none yet; puts that failed leave nothing";
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "ok 100");
  EXPECT_TRUE(c.put(hop, "k", const_bytes(payload)) == error_kind::already_exists);
  EXPECT_TRUE(c.put(hop, "k", const_bytes(payload), before(soon(), on_existing::replace)));
  EXPECT_EQ(c.transport().erase_if([](wire_key) { return true; }).value_or(0), 1U);
}

TEST_F(shm_stopped, between_begin_and_commit_makes_a_replacing_put_fail_at_its_deadline) {
  auto c = space.connect<connector_type>();
  auto const other = start();
  shm_transport::put_op op;
  publish_options how;
  how.existing = on_existing::replace;
  how.until = deadline::after(std::chrono::milliseconds(100));
  key_scratch scratch;
  auto const wire = c.keying().make(hop, "k", scratch, max_key_size);
  ASSERT_TRUE(wire);
  ASSERT_TRUE(c.transport().begin(op, *wire, {}, {}, how));
  other->stop("replace k 1 100", "shm.put.key_locked");
  expect_stalled(c.transport().commit(op, {}), "deadline");
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "ok 100");
  EXPECT_TRUE(c.get_view(hop, "k", as({}, deadline::immediate()))) << "the other's object";
  EXPECT_TRUE(c.put(hop, "k", const_bytes(payload))) << "what failed does not keep the key";
  EXPECT_TRUE(c.cleanup(hop, "k"));
}

TEST_F(shm_stopped, at_the_gate_makes_a_new_name_and_a_newcomer_fail_at_their_deadlines) {
  auto c = space.connect<connector_type>();
  auto const other = start();
  other->stop("get none first 0 1", "shm.name.gate_held");
  expect_stalled(c.get_view(hop, "none", as("second", soon())), "deadline");
  expect_stalled(c.get_view(hop, "none", as("second", deadline::immediate())), "deadline");
  std::string_view const third = "third";
  auto named = before(soon());
  named.readers = reader_set{1, {&third, 1}};
  expect_stalled(c.put(hop, "k", const_bytes(payload), named), "deadline");
  connector_type::options o;
  o.transport = space.options();
  o.transport.until = soon();
  auto const newcomer = connector_type::open(o);
  expect_stalled(newcomer, "deadline");
  EXPECT_NE(newcomer.error().message().find(space.paths().directory_path()), std::string::npos);
  o.transport.until = soon();
  expect_stalled(shm_transport::collect(o.transport), "deadline");
  // A stage's name is not worth an error.
  EXPECT_TRUE(c.put(hop, "k", const_bytes(payload), before(soon())));
  EXPECT_TRUE(c.get_view(hop, "k", as({}, soon())));
  EXPECT_TRUE(c.get_view(hop, "none", as({}, soon())) == error_kind::timed_out);
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "error not_found");
  EXPECT_TRUE(c.get_view(hop, "none", as("second", deadline::immediate())) == error_kind::not_found);
  EXPECT_TRUE(shm_transport::collect(o.transport)) << "its deadline has passed, but the gate is open";
}

TEST_F(shm_stopped, at_the_gate_makes_gets_of_several_keys_fail_at_their_deadlines) {
  auto c = space.connect<connector_type>();
  auto const other = start();
  std::string_view const keys[]{"some", "others"};
  other->stop("get none first 0 1", "shm.name.gate_held");
  expect_stalled(c.get_any_view(hop, keys, as("second", soon())), "deadline");
  expect_stalled(c.get_all_views(hop, keys, as("second", soon())), "deadline");
  EXPECT_TRUE(c.get_any_view(hop, keys, as({}, soon())) == error_kind::timed_out) << "a stage's name is not worth an error";
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "error not_found");
  EXPECT_TRUE(c.get_any_view(hop, keys, as("second", soon())) == error_kind::timed_out);
}

TEST_F(shm_stopped, at_the_gate_makes_a_thread_wait_but_not_its_neighbours) {
  auto c = space.connect<connector_type>();
  auto const other = start();
  other->stop("get none first 0 1", "shm.name.gate_held");
  result<connector_type::view> patient{error_kind::io, ""};
  std::thread thread([&] { patient = c.get_view(hop, "none", as("patient", deadline::never())); });
  expect_stalled(c.get_view(hop, "none", as("hasty", soon())), "deadline");
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "error not_found");
  EXPECT_TRUE(c.put(hop, "none", const_bytes(payload)));
  thread.join();
  EXPECT_TRUE(patient) << patient.error().message();
}

TEST_F(shm_stopped, at_the_gate_does_not_keep_who_closes) {
  auto c = space.connect<connector_type>();
  auto const other = start();
  other->stop("get none first 0 1", "shm.name.gate_held");
  std::atomic<bool> asks{false};
  std::thread asker([&] {
    asks = true;
    auto const got = c.get_view(hop, "none", as("second", deadline::never()));
    EXPECT_TRUE(got == error_kind::closed) << got.error().message();
  });
  // It comes to the gate, or finds the connector closed: both end so.
  while (!asks) std::this_thread::yield();
  for (int i = 0; i != 100; ++i) std::this_thread::yield();
  c.close();
  asker.join();
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "error not_found");
}

TEST_F(shm_stopped, at_the_gate_makes_a_put_that_needs_memory_of_a_limited_namespace_fail_at_its_deadline) {
  auto c = connect_limited();
  auto const other = start();
  other->stop("get none first 0 1", "shm.name.gate_held");
  expect_stalled(c.put(hop, "k", const_bytes(in_a_block), before(soon())), "deadline");
  expect_stalled(c.reserve(100, before(soon())), "deadline");
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "error not_found");
  EXPECT_TRUE(c.put(hop, "k", const_bytes(in_a_block), before(soon())));
  EXPECT_TRUE(c.get_view(hop, "k", as({}, soon())));
}

TEST_F(shm_stopped, at_the_gate_makes_who_needs_memory_wait_but_not_its_neighbours) {
  auto c = connect_limited();
  ASSERT_TRUE(c.put(hop, "k", const_bytes(in_a_block)));
  ASSERT_TRUE(c.get_view(hop, "k", as({}, soon())));
  auto const other = start();
  other->stop("get none first 0 1", "shm.name.gate_held");
  std::atomic<bool> asks{false}, ended{false};
  std::thread large([&] {
    asks = true;
    expect_stalled(c.reserve(100'000, before(deadline::never())), "another process is stopped while it opens or closes");
    ended = true;
  });
  while (!asks) std::this_thread::yield();
  for (int i = 0; i != 1000; ++i) {
    EXPECT_TRUE(c.put(hop, "k", const_bytes(in_a_block), before(deadline::after(std::chrono::seconds(60)))));
    EXPECT_TRUE(c.get_view(hop, "k", as({}, soon())));
    std::this_thread::yield();
  }
  EXPECT_FALSE(ended) << "the small ones would have waited with the large one";
  large.join();
  other->signal(SIGCONT);
  EXPECT_EQ(other->answer(), "error not_found");
}

}  // namespace
