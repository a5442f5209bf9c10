// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/log.hpp>

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include <support/variable.hpp>

namespace {

using namespace omniconn;
using test_support::variable;

std::string said;

void keep(log_level level, std::string_view text) noexcept { said.append(level == log_level::note ? "n:" : "w:").append(text).append(";"); }

TEST(log, goes_to_the_sink_that_is_set) {
  said.clear();
  log_sink const before = set_log_sink(&keep);
  EXPECT_EQ(before, &log_to_stderr);
  log(log_level::note, "one");
  log(log_level::warning, "two");
  EXPECT_EQ(set_log_sink(nullptr), &keep);
  log(log_level::warning, "to nobody");
  EXPECT_EQ(set_log_sink(before), nullptr);
  EXPECT_EQ(said, "n:one;w:two;");
}

TEST(log, is_a_line_on_standard_error_unless_the_environment_says_off) {
  testing::internal::CaptureStderr();
  log(log_level::warning, "a sentence");
  {
    variable const off("OMNICONN_LOG", "off");
    log(log_level::warning, "another");
  }
  log(log_level::note, "a third");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "omniconn: warning: a sentence\nomniconn: note: a third\n");
}

}  // namespace
