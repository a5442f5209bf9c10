// SPDX-License-Identifier: Apache-2.0
#include <omniconn/runtime/factory.hpp>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/inproc.hpp>

namespace {

using namespace omniconn;

using plain = connector<inproc_transport, raw_serializer, raw_keying, heap_allocator>;

static_assert(!std::is_copy_constructible_v<connector_factory>);
static_assert(std::is_nothrow_move_constructible_v<connector_factory> && std::is_nothrow_move_assignable_v<connector_factory>);

result<any_connector, diagnosis> make_plain(connector_spec const&) {
  auto opened = plain::open();
  if (!opened) return std::move(opened.error());
  return any_connector(std::move(*opened));
}

void expect_error(result<any_connector, diagnosis> const& made, error_kind kind, std::string const& text) {
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind(), kind);
  EXPECT_EQ(made.error().detail(), text);
}

TEST(factory, a_fresh_one_knows_nothing) {
  connector_factory const factory;
  EXPECT_TRUE(factory.list().empty());
  expect_error(factory.create({"ShmConnector"}), error_kind::misconfigured, "Unknown connector: ShmConnector. Available: []");
}

TEST(factory, makes_what_was_registered) {
  connector_factory factory;
  std::string seen;
  ASSERT_TRUE(factory.register_connector("Mine", [&seen](connector_spec const& spec) {
    seen = spec.name + " " + std::string(*spec.extra.find("colour")->as_string());
    return make_plain(spec);
  }));
  auto made = factory.create({"Mine", value::object({{"colour", "blue"}})});
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(seen, "Mine blue");
  EXPECT_EQ(made->facts().name, "inproc");
}

TEST(factory, unknown_name_lists_what_can_be_made) {
  connector_factory factory;
  factory.declare_unavailable("Absent", "nobody built it");
  ASSERT_TRUE(factory.register_connector("Zebra", &make_plain));
  ASSERT_TRUE(factory.register_connector("Ant", &make_plain));
  expect_error(factory.create({"Bee"}), error_kind::misconfigured, "Unknown connector: Bee. Available: [Ant, Zebra]");
  expect_error(factory.create({"ant"}), error_kind::misconfigured, "Unknown connector: ant. Available: [Ant, Zebra]");
  expect_error(factory.create({""}), error_kind::misconfigured, "Unknown connector: . Available: [Ant, Zebra]");
}

TEST(factory, a_name_is_registered_once) {
  connector_factory factory;
  ASSERT_TRUE(factory.register_connector("Mine", &make_plain, "first"));
  auto const again = factory.register_connector("Mine", &make_plain, "second");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind(), error_kind::already_exists);
  EXPECT_EQ(again.error().detail(), "Connector 'Mine' is already registered.");
  ASSERT_EQ(factory.list().size(), 1U);
  EXPECT_EQ(factory.list()[0].why, "first");
}

TEST(factory, replace_takes_over_or_adds) {
  connector_factory factory;
  auto const refuse = [](connector_spec const&) -> result<any_connector, diagnosis> { return diagnosis(error_kind::io, "no"); };
  ASSERT_TRUE(factory.register_connector("Mine", refuse, "old"));
  factory.replace_connector("Mine", &make_plain, "new");
  factory.replace_connector("Other", &make_plain);
  EXPECT_TRUE(factory.create({"Mine"}));
  EXPECT_TRUE(factory.create({"Other"}));
  auto const known = factory.list();
  ASSERT_EQ(known.size(), 2U);
  EXPECT_EQ(known[0].why, "new");
  EXPECT_TRUE(known[1].why.empty());
}

TEST(factory, what_is_unavailable_says_why_until_somebody_brings_it) {
  connector_factory factory;
  factory.declare_unavailable("Remote", "its library is missing; install it");
  expect_error(factory.create({"Remote"}), error_kind::unsupported, "Remote is not available: its library is missing; install it");
  factory.declare_unavailable("Remote", "another reason");
  EXPECT_EQ(factory.list()[0].why, "its library is missing; install it");

  ASSERT_TRUE(factory.register_connector("Remote", &make_plain)) << "no duplicate: it could not be made before";
  EXPECT_TRUE(factory.create({"Remote"}));
  EXPECT_TRUE(factory.list()[0].available);
  EXPECT_TRUE(factory.list()[0].why.empty());
  factory.declare_unavailable("Remote", "too late");
  EXPECT_TRUE(factory.create({"Remote"}));
}

TEST(factory, lists_names_in_order) {
  connector_factory factory;
  for (char const* name : {"m", "z", "a", "B"}) ASSERT_TRUE(factory.register_connector(name, &make_plain));
  factory.declare_unavailable("k", "absent");
  std::string names;
  for (auto const& entry : factory.list()) names += entry.name + (entry.available ? "+" : "-");
  EXPECT_EQ(names, "B+a+k-m+z+");
}

// The cause keeps its kind and code, so that a program can still tell a full file system from a typing error.
TEST(factory, wraps_the_cause) {
  connector_factory factory;
  ASSERT_TRUE(factory.register_connector("Full", [](connector_spec const&) -> result<any_connector, diagnosis> {
    return diagnosis(error_kind::no_space, "the disk is full", 28, severity::transport);
  }));
  auto const made = factory.create({"Full"});
  expect_error(made, error_kind::no_space, "Failed to create connector Full: the disk is full");
  EXPECT_EQ(made.error().native(), 28);
  EXPECT_EQ(made.error().level(), severity::transport);
}

TEST(factory, keeps_makers_that_can_only_be_moved) {
  connector_factory factory;
  auto hub = std::make_unique<int>(7);
  ASSERT_TRUE(factory.register_connector("Mine", [hub = std::move(hub)](connector_spec const& spec) -> result<any_connector, diagnosis> {
    if (*hub != 7) return diagnosis(error_kind::io, "lost");
    return make_plain(spec);
  }));
  connector_factory moved = std::move(factory);
  EXPECT_TRUE(moved.create({"Mine"}));
}

TEST(factory, two_do_not_know_each_other) {
  connector_factory one;
  connector_factory const other;
  ASSERT_TRUE(one.register_connector("Mine", &make_plain));
  expect_error(other.create({"Mine"}), error_kind::misconfigured, "Unknown connector: Mine. Available: []");
}

}  // namespace
