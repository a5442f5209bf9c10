// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace {

using namespace pipeline;
using omniconn::value;

end_report sender(char const* from = "0", char const* to = "1") {
  return {"encoder", value::object({{"from", from}, {"to", to}, {"objects", 10}, {"bytes", 5000}, {"errors", 0}, {"copied", 10}})};
}

end_report reader(char const* stage, char const* from = "0", char const* to = "1") {
  return {stage, value::object({{"from", from},
                                {"to", to},
                                {"objects", 10},
                                {"bytes", 5000},
                                {"p50_us", 12.25},
                                {"p99_us", 99.0},
                                {"seconds", 0.5},
                                {"errors", 0},
                                {"looked_at", 2},
                                {"in_place", 2},
                                {"places", value::list({"device 00:1a inode 7 offset 64", "device 00:1a inode 7 offset 4096"})}})};
}

end_report with(end_report of, char const* field, value item) {
  of.figures.set(field, std::move(item));
  return of;
}

void expect_problem(std::vector<end_report> const& sends, std::vector<end_report> const& receives, std::string const& text) {
  auto const table = make_edge_table(sends, receives);
  EXPECT_FALSE(table.good) << table.text;
  EXPECT_NE(table.text.find("\n  " + text + "\n"), std::string::npos) << table.text;
}

TEST(report, a_good_run) {
  auto const table = make_edge_table({sender()}, {reader("thinker"), reader("monitor")});
  EXPECT_TRUE(table.good);
  EXPECT_EQ(table.text,
            "edge     reader    objects      bytes     p50 us     p99 us     GB/s  copies  errors\n"
            "0 -> 1   thinker        10       5000       12.2       99.0    0.000   1 + 0       0\n"
            "0 -> 1   monitor        10       5000       12.2       99.0    0.000   1 + 0       0\n"
            "(copies: on put + on get, 0 on get where the reader's view lies in the shared mapping; latency: from before the put until the view is there;\n"
            "GB/s: over the whole stream)\n"
            "\n"
            "first object of 0 -> 1 as thinker  sees it: device 00:1a inode 7 offset 64\n"
            "first object of 0 -> 1 as monitor  sees it: device 00:1a inode 7 offset 64\n");
}

TEST(report, copies_are_what_was_measured) {
  EXPECT_NE(make_edge_table({with(sender(), "copied", 0)}, {reader("thinker")}).text.find(" 0 + 0 "), std::string::npos);
  EXPECT_NE(make_edge_table({with(sender(), "copied", 5)}, {reader("thinker")}).text.find(" 0.5 + 0 "), std::string::npos);
  EXPECT_NE(make_edge_table({sender()}, {with(reader("thinker"), "in_place", 0)}).text.find(" 1 + 1 "), std::string::npos);
  EXPECT_NE(make_edge_table({sender()}, {with(reader("thinker"), "looked_at", 0)}).text.find(" ? "), std::string::npos);
}

TEST(report, a_view_outside_the_shared_mapping_is_no_success) {
  expect_problem({sender()}, {with(reader("thinker"), "in_place", 1)}, "thinker did not read edge 0 -> 1 where it was written");
  expect_problem({sender()}, {with(with(reader("thinker"), "looked_at", 0), "in_place", 0)}, "thinker did not read edge 0 -> 1 where it was written");
}

TEST(report, readers_over_a_network_have_bytes_of_their_own) {
  auto const afar = [](end_report of) { return with(with(std::move(of), "zero_copy", false), "in_place", 0); };
  auto const elsewhere = value::list({"device 00:00 inode 0 offset 7"});
  auto const table = make_edge_table({with(sender(), "copied", 0)}, {afar(reader("thinker")), with(afar(reader("monitor")), "places", elsewhere)});
  EXPECT_TRUE(table.good) << table.text;
  EXPECT_NE(table.text.find(" 0 + 1 "), std::string::npos) << table.text;
  EXPECT_EQ(table.text.find("first object"), std::string::npos) << "nothing is shared";
  expect_problem({sender()}, {afar(with(reader("thinker"), "objects", 9))}, "encoder sent 10 objects, thinker got 9");
}

TEST(report, every_edge_has_a_reader) {
  expect_problem({sender()}, {}, "nobody read edge 0 -> 1");
  expect_problem({sender(), sender("1", "2")}, {reader("thinker")}, "nobody read edge 1 -> 2");
  expect_problem({sender()}, {reader("thinker"), reader("talker", "1", "2")}, "talker read edge 1 -> 2, on which nobody sent");
  expect_problem({}, {}, "no stage sent anything");
  expect_problem({with(sender(), "objects", 0)}, {with(reader("thinker"), "objects", 0)}, "encoder sent nothing on edge 0 -> 1");
}

TEST(report, lost_objects_and_errors) {
  expect_problem({sender()}, {reader("thinker"), with(reader("monitor"), "objects", 9)}, "encoder sent 10 objects, monitor got 9");
  expect_problem({with(sender(), "errors", 1)}, {reader("thinker")}, "encoder sent 10 objects, thinker got 10");
  expect_problem({sender()}, {with(reader("thinker"), "errors", 2)}, "encoder sent 10 objects, thinker got 10");
}

TEST(report, readers_of_an_edge_share_one_block) {
  auto const elsewhere = value::list({"device 00:1a inode 7 offset 64", "device 00:1a inode 8 offset 4096"});
  expect_problem({sender()}, {reader("thinker"), with(reader("monitor"), "places", elsewhere)}, "thinker and monitor did not read the same blocks");
  expect_problem({sender()}, {reader("thinker"), with(reader("monitor"), "places", value())}, "thinker and monitor did not read the same blocks");
}

TEST(report, figures_that_are_missing_or_of_another_type_count_as_none) {
  EXPECT_FALSE(make_edge_table({{"encoder", value::map{}}}, {{"thinker", value("text")}}).good);
}

}  // namespace
