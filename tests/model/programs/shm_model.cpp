// SPDX-License-Identifier: Apache-2.0
// Plays every story of the model checker within its full bounds, then every mutant. Exit code 1 where something is wrong or a mutant is not noticed.
//
//     shm_model [--seconds N] [--json FILE --commit TEXT] [STORY...]
//
// --seconds: most time for one story (90); what is not finished then is said to be open, not right. STORY: part of a name; then no mutants.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <model/play.hpp>

namespace {

#if defined(__clang__)
constexpr char const* compiler = "clang++ " __clang_version__;
#else
constexpr char const* compiler = "g++ " __VERSION__;
#endif

std::string row(char const* name, std::string const& what, model::bounds const& within, model::verdict const& v, std::string const& outcome) {
  char numbers[256];
  std::snprintf(numbers, sizeof numbers, R"("preemptions": %d, "stale": %d, "kills": %d, "coarse": %s, "executions": %llu, "states": %llu, "steps": %llu, "seconds": %.2f)", within.preemptions,
                within.stale, within.kills, within.coarse ? "true" : "false", static_cast<unsigned long long>(v.executions), static_cast<unsigned long long>(v.states),
                static_cast<unsigned long long>(v.steps), v.seconds);
  return std::string("    {\"name\": \"") + name + "\", " + what + numbers + ", \"outcome\": \"" + outcome + "\"}";
}

struct run {
  double seconds = 90;
  std::string json, commit;
  std::vector<std::string_view> chosen;

  bool is_chosen(std::string_view name) const {
    for (auto const part : chosen)
      if (name.find(part) != name.npos) return true;
    return chosen.empty();
  }
};

int play_all(run const& r) {
  int wrong = 0;
  std::vector<std::string> stories, mutants;
  for (auto const& s : model::stories) {
    if (!r.is_chosen(s.name)) continue;
    auto within = s.full;
    within.seconds = r.seconds;
    auto const v = play(s, within);
    std::string const outcome = v.found ? "WRONG: " + v.what : v.cut != 0 ? "cut off" : v.complete ? "all seen" : "open";
    std::printf("%s\n  %s; %llu executions, %llu states, at most %llu accesses, %.1f s: %s\n", s.name, text_of(within).c_str(), static_cast<unsigned long long>(v.executions),
                static_cast<unsigned long long>(v.states), static_cast<unsigned long long>(v.steps), v.seconds, outcome.c_str());
    if (v.found) std::fputs(v.trace.c_str(), stdout);
    std::fflush(stdout);
    wrong += v.found ? 1 : 0;
    stories.push_back(row(s.name, "", within, v, outcome));
  }
  for (auto const& m : model::mutants) {
    if (!r.chosen.empty()) break;
    auto within = m.within;
    within.seconds = 2 * r.seconds;
    auto const v = play(model::story(m.story), within, m.wrong, m.weak);
    std::printf("\nmutant (trap %d): %s\n  in \"%s\", %s; %llu executions, %.1f s: %s\n%s", m.trap, m.name, m.story, text_of(within).c_str(), static_cast<unsigned long long>(v.executions), v.seconds,
                v.found ? v.what.c_str() : "NOT NOTICED", v.trace.c_str());
    std::fflush(stdout);
    wrong += v.found ? 0 : 1;
    mutants.push_back(row(m.name, "\"trap\": " + std::to_string(m.trap) + ", \"story\": \"" + m.story + "\", ", within, v, v.found ? v.what : "NOT NOTICED"));
  }
  if (!r.json.empty()) {
    std::ofstream out(r.json);
    auto const list = [&out](std::vector<std::string> const& rows) {
      for (std::size_t i = 0; i != rows.size(); ++i) out << rows[i] << (i + 1 != rows.size() ? ",\n" : "\n");
    };
    out << "{\n  \"name\": \"model\",\n  \"compiler\": \"" << compiler << "\",\n  \"commit\": \"" << r.commit << "\",\n  \"stories\": [\n";
    list(stories);
    out << "  ],\n  \"mutants\": [\n";
    list(mutants);
    out << "  ]\n}\n";
  }
  std::printf("\n%zu stories, %zu mutants: %d wrong\n", stories.size(), mutants.size(), wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  run r;
  for (int i = 1; i < count; ++i) {
    std::string_view const word = words[i];
    bool const more = i + 1 < count;
    if (word == "--seconds" && more) {
      r.seconds = std::atof(words[++i]);
    } else if (word == "--json" && more) {
      r.json = words[++i];
    } else if (word == "--commit" && more) {
      r.commit = words[++i];
    } else if (word.starts_with("--")) {
      std::fprintf(stderr, "shm_model [--seconds N] [--json FILE --commit TEXT] [STORY...]\n");
      return 2;
    } else {
      r.chosen.push_back(word);
    }
  }
  return play_all(r);
}
