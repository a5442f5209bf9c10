// SPDX-License-Identifier: Apache-2.0
// main() of all test programs: GoogleTest's, and a skip that tests/expected_skips.txt does not list is a failure.
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct expected_skip {
  std::string name;    // may hold `*`
  std::string reason;  // must be part of the text given to GTEST_SKIP()
};

std::string_view trimmed(std::string_view text) {
  auto const first = text.find_first_not_of(" \t");
  return first == text.npos ? std::string_view{} : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern.front() == '*')
    return matches(pattern.substr(1), text) || (!text.empty() && matches(pattern, text.substr(1)));
  return !text.empty() && pattern.front() == text.front() && matches(pattern.substr(1), text.substr(1));
}

class only_expected_skips : public testing::EmptyTestEventListener {
 public:
  explicit only_expected_skips(std::vector<expected_skip> expected) : expected_(std::move(expected)) {}

 private:
  void OnTestEnd(testing::TestInfo const& test) override {
    if (!test.result()->Skipped()) return;
    std::string text;
    for (int i = 0; i < test.result()->total_part_count(); ++i) text += test.result()->GetTestPartResult(i).message();
    std::string const name = std::string(test.test_suite_name()) + "." + test.name();
    for (auto const& skip : expected_)
      if (matches(skip.name, name) && text.find(skip.reason) != text.npos) return;
    ADD_FAILURE() << "this skip is not expected. If it is right, tests/expected_skips.txt needs the line\n" << name << " | " << text;
  }

  std::vector<expected_skip> expected_;
};

std::vector<expected_skip> read_expected(std::string const& path) {
  std::ifstream file(path);
  if (!file) std::cerr << path << " cannot be read: every skip is a failure\n";
  std::vector<expected_skip> expected;
  for (std::string line; std::getline(file, line);) {
    auto const text = trimmed(line);
    if (text.empty() || text.front() == '#') continue;
    auto const bar = text.find('|');
    if (bar == text.npos || trimmed(text.substr(bar + 1)).empty()) {
      std::cerr << path << ": '" << text << "' lacks '| REASON', so it allows nothing\n";
      continue;
    }
    expected.push_back({std::string(trimmed(text.substr(0, bar))), std::string(trimmed(text.substr(bar + 1)))});
  }
  return expected;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(
      new only_expected_skips(read_expected(OMNICONN_TEST_SOURCE_DIR "/expected_skips.txt")));
  return RUN_ALL_TESTS();
}
