// SPDX-License-Identifier: Apache-2.0
// How often the tests of faults do what they do, and the file with what came of it.
//
// Each test runs twice: as `shm_faults.NAME` with few rounds, in every run of the suite; as `shm_faults_slow.NAME` with all of them, by
// `tests/run faults`. The latter writes OMNICONN_FAULTS_RESULTS/NAME.json where that is set.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/detail/failpoint.hpp>

#include <support/slower.hpp>

namespace crash {

using test::slower;  // as many rounds as fit the time

enum class scale { quick, full };
inline unsigned rounds(scale s, unsigned quick, unsigned full) noexcept {
  if (s == scale::quick) return quick;
  return full / slower > quick ? full / slower : quick;
}

class outcome {
 public:
  outcome(std::string name, std::string what) : name_(std::move(name)), what_(std::move(what)) {}
  outcome(outcome const&) = delete;
  outcome& operator=(outcome const&) = delete;
  ~outcome() { write(); }

  /// A number that has to be `wanted`.
  void exactly(std::string const& figure, double value, double wanted) {
    add(figure, value, number(wanted), value == wanted);
    EXPECT_EQ(value, wanted) << figure;
  }
  void at_least(std::string const& figure, double value, double bar) {
    add(figure, value, ">= " + number(bar), value >= bar);
    EXPECT_GE(value, bar) << figure;
  }
  void at_most(std::string const& figure, double value, double bar) {
    add(figure, value, "<= " + number(bar), value <= bar);
    EXPECT_LE(value, bar) << figure;
  }
  void note(std::string const& figure, double value) { add(figure, value, "", true); }
  /// A process reported this before it died there.
  void hit(std::string const& failpoint) { ++hits_[failpoint]; }
  [[nodiscard]] unsigned hits(std::string const& failpoint) const {
    auto const at = hits_.find(failpoint);
    return at == hits_.end() ? 0 : at->second;
  }

 private:
  static std::string number(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.6g", value);
    return text;
  }
  void add(std::string const& figure, double value, std::string const& bar, bool met) {
    lines_.push_back("{\"name\": \"" + figure + "\", \"value\": " + number(value) + ", \"bar\": \"" + bar + "\", \"met\": " + (met ? "true" : "false") + "}");
    std::printf("  %-60s %10s   %s\n", figure.c_str(), number(value).c_str(), bar.c_str());
  }
  static std::string first_line_of(char const* command) {
    std::string out;
    if (FILE* const p = ::popen(command, "r")) {
      char text[256];
      if (std::fgets(text, sizeof text, p) != nullptr) out = text;
      ::pclose(p);
    }
    while (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
  }
  void write() const {
    if (!hits_.empty()) {
      std::printf("  deaths at\n");
      for (auto const& [failpoint, n] : hits_) std::printf("    %-40s %6u\n", failpoint.c_str(), n);
    }
    char const* const folder = std::getenv("OMNICONN_FAULTS_RESULTS");
    if (folder == nullptr || *folder == '\0' || name_.empty()) return;
    std::string const git = "git -C '" OMNICONN_TEST_SOURCE_DIR "' ";
    std::string commit = first_line_of((git + "rev-parse --short HEAD 2>/dev/null").c_str());
    if (!first_line_of((git + "status --porcelain --untracked-files=no -- ../include . 2>/dev/null").c_str()).empty()) commit += "+changes";
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    std::ofstream file(std::string(folder) + "/faults_" + name_ + ".json");
    file << "{\n  \"name\": \"" << name_ << "\",\n  \"options\": \"" << what_ << "\",\n  \"seconds\": " << number(seconds) << ",\n";
    file << "  \"compiler\": \""
#ifdef __clang__
         << "clang "
#else
         << "g++ "
#endif
         << __VERSION__ << "\",\n  \"commit\": \"" << commit << "\",\n  \"cpu\": \""
         << first_line_of("sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1") << "\",\n  \"counts\": [\n";
    for (std::size_t i = 0; i != lines_.size(); ++i) file << "    " << lines_[i] << (i + 1 == lines_.size() ? "\n" : ",\n");
    file << "  ],\n  \"failpoints\": {";
    char const* between = "\n";
    for (auto const& [failpoint, n] : hits_) {
      file << between << "    \"" << failpoint << "\": " << n;
      between = ",\n";
    }
    file << (hits_.empty() ? "}\n}\n" : "\n  }\n}\n");
  }

  std::string name_;
  std::string what_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::vector<std::string> lines_;
  std::map<std::string, unsigned> hits_;
};

/// A test in both sizes. The file of results is written by the big one.
#define CRASH_TEST(name)                                                                     \
  static void name##_at(::crash::scale scale, std::string const& results);                   \
  TEST(shm_faults, name) { name##_at(::crash::scale::quick, ""); }                           \
  TEST(shm_faults_slow, name) { name##_at(::crash::scale::full, #name); }                    \
  static void name##_at([[maybe_unused]] ::crash::scale scale, std::string const& results)

}  // namespace crash
