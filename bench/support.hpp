// SPDX-License-Identifier: Apache-2.0
// What the benchmarks share: clocks, CPUs, sums, medians and a result file that says how it was made.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <sched.h>
#include <time.h>

namespace bench {

inline std::int64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

inline void pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

/// Makes the compiler believe that somebody reads every byte of it.
template <class T>
void keep(T const& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

/// Reads every byte once. Eight sums, so that the loads and not one addition chain are the limit.
inline std::uint64_t sum(std::span<std::byte const> bytes) {
  std::array<std::uint64_t, 8> s{};
  std::size_t i = 0;
  for (; i + 64 <= bytes.size(); i += 64) {
    std::array<std::uint64_t, 8> w;
    std::memcpy(w.data(), bytes.data() + i, 64);
    for (std::size_t k = 0; k != 8; ++k) s[k] += w[k];
  }
  std::uint64_t total = 0;
  for (auto const x : s) total += x;
  for (; i != bytes.size(); ++i) total += static_cast<std::uint64_t>(bytes[i]);
  return total;
}

inline double quantile(std::vector<double> samples, double q) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  return samples[static_cast<std::size_t>(q * static_cast<double>(samples.size() - 1) + 0.5)];
}
inline double median(std::vector<double> samples) { return quantile(std::move(samples), 0.5); }

/// Figures of one run: a median over rounds, or the median of same-round ratios.
struct figure {
  std::string name;    ///< "shm 64 B, blocking"
  std::string unit;    ///< "us", "x"
  double value = 0;
  double least = 0;
  double most = 0;
  std::string bar;     ///< the limit it is held against, "" for none
  bool met = true;
};

inline figure figure_of(std::string name, std::string unit, std::vector<double> const& rounds, double bar = 0) {
  figure f{std::move(name), std::move(unit), median(rounds), quantile(rounds, 0), quantile(rounds, 1), "", true};
  if (bar != 0) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", bar);
    f.bar = std::string("<= ") + text;
    f.met = f.value <= bar;
  }
  return f;
}

inline std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char const c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

inline std::string first_line_of(char const* command) {
  std::string out;
  if (FILE* const p = ::popen(command, "r")) {
    char text[256];
    if (std::fgets(text, sizeof text, p) != nullptr) out = text;
    ::pclose(p);
  }
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

/// The commit that was measured, "+changes" where the sources (not the results, one of which is just being written) differ from it; asked where the sources are, wherever the program was started.
inline std::string measured_commit() {
#ifdef OMNICONN_BENCH_SOURCE_DIR
  std::string const git = "git -C '" OMNICONN_BENCH_SOURCE_DIR "' ";
#else
  std::string const git = "git ";
#endif
  std::string commit = first_line_of((git + "rev-parse --short HEAD 2>/dev/null").c_str());
  if (!commit.empty() && !first_line_of((git + "status --porcelain --untracked-files=no -- include bench ':!bench/results' 2>/dev/null").c_str()).empty()) commit += "+changes";
  return commit;
}

inline char const* compiler_flags() {
#ifdef OMNICONN_BENCH_FLAGS
  return OMNICONN_BENCH_FLAGS;
#else
  return "not recorded";
#endif
}

inline char const* compiler() {
#ifdef __clang__
  return "clang " __VERSION__;
#else
  return "g++ " __VERSION__;
#endif
}

inline std::string cpu() { return first_line_of("sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1"); }

/// Prints a table and writes the JSON from which tools/bench_tables.py makes the tables of docs/.
inline void report(std::string const& name, std::string const& options, int rounds, std::vector<figure> const& figures, char const* json_path) {
  std::printf("\n%s (%s; median of %d rounds)\n", name.c_str(), options.c_str(), rounds);
  for (auto const& f : figures)
    std::printf("  %-58s %10.3f %-3s [%.3f .. %.3f] %s%s\n", f.name.c_str(), f.value, f.unit.c_str(), f.least, f.most, f.bar.c_str(), f.bar.empty() ? "" : f.met ? "  met" : "  NOT MET");
  if (json_path == nullptr) return;
  std::ofstream out(json_path);
  out << "{\n  \"name\": " << quoted(name) << ",\n  \"options\": " << quoted(options) << ",\n  \"rounds\": " << rounds
      << ",\n  \"compiler\": " << quoted(compiler()) << ",\n  \"flags\": " << quoted(compiler_flags()) << ",\n  \"commit\": " << quoted(measured_commit())
      << ",\n  \"cpu\": " << quoted(cpu()) << ",\n  \"figures\": [";
  for (std::size_t i = 0; i != figures.size(); ++i) {
    auto const& f = figures[i];
    std::ostringstream line;
    line.precision(4);
    line << (i == 0 ? "\n" : ",\n") << "    {\"name\": " << quoted(f.name) << ", \"unit\": " << quoted(f.unit) << ", \"median\": " << f.value << ", \"min\": " << f.least
         << ", \"max\": " << f.most << ", \"bar\": " << quoted(f.bar) << ", \"met\": " << (f.met ? "true" : "false") << "}";
    out << line.str();
  }
  out << "\n  ]\n}\n";
}

inline char const* option(int argc, char** argv, std::string_view name, char const* fallback) {
  for (int i = 1; i + 1 < argc; ++i)
    if (argv[i] == name) return argv[i + 1];
  return fallback;
}

}  // namespace bench
