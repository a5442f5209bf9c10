// SPDX-License-Identifier: Apache-2.0
#include <omniconn/transport/concept.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include <gtest/gtest.h>

#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/testing/sim/sim_poll.hpp>
#include <omniconn/testing/sim/sim_pull.hpp>
#include <omniconn/transport/inproc.hpp>

#include "archetype.hpp"

namespace {

using namespace omniconn;
using base = archetype::transport;

static_assert(transport_policy<base>);
static_assert(explain_transport<base>());
static_assert(!transport_adopt<base> && !transport_watch<base> && !transport_fd<base>, "what is optional is not in the smallest model");
static_assert(transport_policy<inproc_transport> && transport_policy<sim_pull_transport> && transport_policy<sim_poll_transport>);

static_assert(!transport_policy<int>);
static_assert(!transport_policy<void>);
static_assert(!transport_policy<base&>);
static_assert(!transport_policy<base const>);

// --- each piece that is missing is missed by the concept that is named after it, and by no other -----------------------

/// Is a model of all sub-concepts but one. Constructors and open() come from the archetype where they matter.
template <class T>
constexpr unsigned lacks = (transport_open<T> ? 0U : 1U) | (transport_operations<T> ? 0U : 2U) | (transport_memory<T> ? 0U : 4U) |
                           (transport_put<T> ? 0U : 8U) | (transport_get<T> ? 0U : 16U) | (transport_drive<T> ? 0U : 32U) |
                           (transport_admin<T> ? 0U : 64U);
static_assert(lacks<base> == 0);

/// The archetype with an open() of its own type, as every model has.
template <class Self>
struct derived : base {
  static result<Self, diagnosis> open(options const& o) {
    auto opened = base::open(o);
    return Self{{std::move(*opened)}};
  }
};

struct complete : derived<complete> {};
static_assert(lacks<complete> == 0 && transport_policy<complete>);

struct of_another_type : base {};  // its open() makes the archetype
static_assert(lacks<of_another_type> == 1);
struct without_caps : derived<without_caps> {
  static constexpr int caps = 0;
};
static_assert(lacks<without_caps> == 1);
struct without_default_options : derived<without_default_options> {
  struct options {
    explicit options(int) {}
  };
};
static_assert(lacks<without_default_options> == 1);

struct with_plain_operations : derived<with_plain_operations> {
  struct put_op {
    locator where() const noexcept { return {}; }
  };
};
static_assert((lacks<with_plain_operations> & 2U) != 0, "operations derive from `operation`");
struct copyable_hold {
  const_bytes bytes() const noexcept { return {}; }
  void finish(disposition) noexcept {}
};
static_assert(transport_hold<archetype::hold> && !transport_hold<copyable_hold>, "a claim that can be copied would end twice");
struct with_copyable_hold : derived<with_copyable_hold> {
  using hold = copyable_hold;
};
static_assert(lacks<with_copyable_hold> == 2);
struct throwing_hold : archetype::hold {
  void finish(disposition) {}
};
static_assert(!transport_hold<throwing_hold>, "destructors finish holds: it must be noexcept");

struct without_grow : derived<without_grow> {
  void grow() = delete;
};
static_assert(lacks<without_grow> == 4);
struct without_reclaim : derived<without_reclaim> {
  void reclaim(reclaim_sink) {}  // says nothing about how many
};
static_assert(lacks<without_reclaim> == 4);

struct without_commit : derived<without_commit> {
  void commit() = delete;
};
static_assert(lacks<without_commit> == 8);
struct with_throwing_abort : derived<with_throwing_abort> {
  void abort(put_op&) {}
};
static_assert(lacks<with_throwing_abort> == 8);

struct without_land : derived<without_land> {
  void land() = delete;
};
static_assert(lacks<without_land> == 16);

struct without_wait : derived<without_wait> {
  void wait() = delete;
};
static_assert(lacks<without_wait> == 32);
struct with_one_step : derived<with_one_step> {
  result<progress> step(put_op&) { return archetype::cannot; }  // hides the one for gets
};
static_assert(lacks<with_one_step> == 32);
struct with_wait_of_old : derived<with_wait_of_old> {
  result<void> wait(std::span<operation* const>, deadline, stop_token) { return archetype::cannot; }  // which one?
};
static_assert(lacks<with_wait_of_old> == 32);

struct without_parse : derived<without_parse> {
  void parse() = delete;
};
static_assert(lacks<without_parse> == 64);
struct with_report_that_changes : derived<with_report_that_changes> {
  health_report report() { return {}; }
};
static_assert(lacks<with_report_that_changes> == 64, "report() is const");

// --- optional abilities add to the contract and touch nothing of it ------------------------------------------------------

struct with_all : derived<with_all> {
  result<std::uint64_t> adopt_region(mutable_bytes) { return archetype::cannot; }
  result<void> forget_region(std::uint64_t) { return archetype::cannot; }
  result<progress> watch(get_op&, locator const&, std::string_view) { return archetype::cannot; }
  std::uint32_t room_seen() noexcept { return 0; }
  result<void> wait_for_room(std::uint32_t, std::string_view, deadline, stop_token) { return archetype::cannot; }
  bool drop_oldest() { return false; }
  result<int> native_fd() { return archetype::cannot; }
};
static_assert(transport_adopt<with_all> && transport_watch<with_all> && transport_room<with_all> && transport_fd<with_all>);

// --- the base of operations -----------------------------------------------------------------------------------------------

static_assert(!std::is_copy_constructible_v<operation> && !std::is_move_constructible_v<operation>, "a transport keeps its address");
static_assert(sizeof(operation) == 1, "it costs nothing");

TEST(transport_archetype, a_failed_begin_leaves_the_block_to_its_caller) {
  transport_side<base> side(base::open({}).value(), deadline::never());
  sent_block* const block = side.block(8);
  ASSERT_NE(block, nullptr);
  const_bytes const piece = block->bytes;
  base::put_op op;
  EXPECT_TRUE(side->begin(op, "key", side.hand_over(piece, *block), {}, {}) == error_kind::unsupported);
  EXPECT_EQ(block->returned.load(), 0);
  EXPECT_TRUE(side.put("key", test_pattern(8, 1)) == error_kind::unsupported);
  EXPECT_TRUE(side.get("key", deadline::immediate()) == error_kind::unsupported);
}

}  // namespace
