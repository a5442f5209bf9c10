// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/error.hpp>

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

static_assert(std::is_trivially_copyable_v<error> && sizeof(error) == 16);
static_assert(index(error_kind::not_found) == 0 && index(error_kind::io) == error_kind_count - 1, "the last kind is counted, too");
static_assert(error(error_kind::io) == error_kind::io);

// Numbers are what metrics and exit codes are indexed by: they stay.
static_assert(static_cast<int>(error_kind::not_found) == 1 && static_cast<int>(error_kind::timed_out) == 2 && static_cast<int>(error_kind::corrupt) == 13 &&
              static_cast<int>(error_kind::no_space) == 16 && static_cast<int>(error_kind::misconfigured) == 21 && static_cast<int>(error_kind::io) == 23);

TEST(error, every_kind_has_a_name_of_its_own) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i != error_kind_count; ++i) {
    auto const name = to_string(static_cast<error_kind>(i + 1));
    EXPECT_NE(name, "unknown");
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(to_string(error_kind::not_found), "not_found");
  EXPECT_EQ(to_string(error_kind::stale_handle), "stale_handle");
  EXPECT_EQ(to_string(error_kind::corrupt), "corrupt");
  EXPECT_EQ(to_string(error_kind::version_mismatch), "version_mismatch");
  EXPECT_EQ(to_string(error_kind::io), "io");
}

TEST(error, a_kind_from_outside_is_unknown_and_reads_nothing) {
  EXPECT_EQ(to_string(static_cast<error_kind>(0)), "unknown");
  EXPECT_EQ(to_string(static_cast<error_kind>(24)), "unknown");
  EXPECT_EQ(to_string(static_cast<error_kind>(255)), "unknown");
}

TEST(error, severities_have_names) {
  EXPECT_EQ(to_string(severity::operation), "operation");
  EXPECT_EQ(to_string(severity::connection), "connection");
  EXPECT_EQ(to_string(severity::transport), "transport");
}

TEST(error, carries_kind_text_code_and_level) {
  error const e{error_kind::no_space, "the arena is full; raise memory_pool_size", 28, severity::transport};
  EXPECT_EQ(e.kind(), error_kind::no_space);
  EXPECT_STREQ(e.text(), "the arena is full; raise memory_pool_size");
  EXPECT_EQ(e.native(), 28);
  EXPECT_EQ(e.level(), severity::transport);
  EXPECT_EQ(e.message(), "no_space: the arena is full; raise memory_pool_size (native code 28)");
}

TEST(error, a_kind_alone_is_an_error_of_the_operation) {
  error const e = error_kind::timed_out;
  EXPECT_EQ(e.message(), "timed_out");
  EXPECT_EQ(e.native(), 0);
  EXPECT_EQ(e.level(), severity::operation);
  EXPECT_EQ(error(error_kind::io, "", -5).message(), "io (native code -5)");
}

TEST(error, compares_by_kind) {
  EXPECT_TRUE(error(error_kind::lost, "a") == error_kind::lost);
  EXPECT_FALSE(error(error_kind::lost, "a") == error_kind::aborted);
}

TEST(diagnosis, widens_an_error_and_narrows_without_loss) {
  error const e{error_kind::io, "reading failed", 5, severity::connection};
  diagnosis const d = e;
  EXPECT_EQ(d.detail(), "reading failed");
  EXPECT_EQ(d.message(), e.message());
  error const back = d;
  EXPECT_EQ(back.kind(), error_kind::io);
  EXPECT_EQ(back.native(), 5);
  EXPECT_EQ(back.level(), severity::connection);
  EXPECT_STREQ(back.text(), "reading failed");
  error const narrowed = diagnosis(error_kind::io, std::string("composed"), 5);
  EXPECT_EQ(narrowed.kind(), error_kind::io);
  EXPECT_EQ(narrowed.native(), 5);
  EXPECT_STREQ(narrowed.text(), "") << "a composed text does not outlive the diagnosis";
}

TEST(diagnosis, says_where) {
  diagnosis const d(error_kind::misconfigured, "checksum is the integer 1", 7);
  EXPECT_EQ(d.level(), severity::transport) << "cold paths open things";
  auto const placed = d.in("edge 0->1").in("pipeline.yaml");
  EXPECT_EQ(placed.detail(), "pipeline.yaml: edge 0->1: checksum is the integer 1");
  EXPECT_STREQ(placed.text(), placed.detail().c_str());
  EXPECT_EQ(placed.message(), "misconfigured: pipeline.yaml: edge 0->1: checksum is the integer 1 (native code 7)");
  EXPECT_EQ(placed.level(), severity::transport);
  EXPECT_EQ(diagnosis(error_kind::closed, "").message(), "closed");
}

}  // namespace
