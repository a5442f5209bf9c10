// SPDX-License-Identifier: Apache-2.0
// Eight processes that put and get for a long time, six of which are killed again and again: what the other two have does not grow.
#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dirent.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <shm/crash/audit.hpp>
#include <shm/crash/counts.hpp>
#include <shm/crash/program.hpp>
#include <shm/crash/soak.hpp>
#include <shm/stage.hpp>

namespace {

using namespace crash;
using omniconn::deadline;

struct sample {
  double memory_kib = 0, descriptors = 0, shm_bytes = 0;
};

class soak {
 public:
  explicit soak(std::size_t largest) : largest_(largest) {
    memory_ = ::memfd_create("soak", MFD_CLOEXEC);
    EXPECT_EQ(::ftruncate(memory_, sizeof(soak_board)), 0);
    path_ = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(memory_);
    void* const base = ::mmap(nullptr, sizeof(soak_board), PROT_READ | PROT_WRITE, MAP_SHARED, memory_, 0);
    if (base == MAP_FAILED) {
      ADD_FAILURE() << "no memory for the board";
      return;
    }
    board_ = ::new (base) soak_board;
    for (unsigned p = 0; p != soak_pairs; ++p) {
      start(p, false);
      start(p, true);
    }
  }
  soak(soak const&) = delete;
  soak& operator=(soak const&) = delete;
  ~soak() {
    for (auto& pair : processes_)
      for (auto& process : pair)
        if (process.runs()) process.signal(SIGTERM);
    for (auto& pair : processes_)
      for (auto& process : pair)
        if (process.runs()) expect_normal(process.reap());
    if (board_ != nullptr) ::munmap(board_, sizeof *board_);
    ::close(memory_);
  }
  [[nodiscard]] bool works() const { return board_ != nullptr && !testing::Test::HasFailure() && first_wrong().empty(); }

  /// Goes on until then; of a hundred objects that the six have moved, one is the last thing that somebody did.
  void go_on(deadline until) {
    while (!until.passed() && works()) {
      timespec const ms{0, 1'000'000};
      ::nanosleep(&ms, nullptr);
      for (std::uint64_t const moved = moved_by_the_six(); moved >= next_kill_; next_kill_ += 100) kill_somebody();
    }
  }
  [[nodiscard]] std::uint64_t moved_by_the_six() const {
    std::uint64_t n = 0;
    for (unsigned p = 1; p != soak_pairs; ++p) n += board_->pairs[p].moved;
    return n;
  }

  /// All come to rest, the six end, and the two are looked at: nothing moves, and nothing is unread.
  std::optional<sample> take_sample() {
    auto& board = *board_;
    board.producers_rest = true;
    bool rests = shm_test::eventually([&] { return !works() || all_pairs([](soak_pair const& p) { return p.producer_rests && is_read(p); }); });
    board.consumers_rest = true;
    rests = rests && shm_test::eventually([&] { return !works() || all_pairs([](soak_pair const& p) { return p.consumer_rests.load(); }); });
    if (!rests) {
      ADD_FAILURE() << "somebody does not come to rest";
      return std::nullopt;
    }
    for (unsigned p = 1; p != soak_pairs; ++p)
      for (bool const producer : {false, true}) {
        // One half says goodbye, the other half does not come to it.
        bool const politely = random_.below(2) == 0;
        process(p, producer).signal(politely ? SIGTERM : SIGKILL);
        int const status = process(p, producer).reap();
        if (politely) expect_normal(status);
        if (!politely) ++kills;
      }
    leaks found;
    bool const clean = shm_test::eventually([&] {
      found = audit(options());
      return !works() || (found.all() == 0 && found.in_use == 0 && !found.dying);
    });
    if (!clean) ADD_FAILURE() << "left: " << found.first << ", slots in use: " << found.in_use;
    sample out;
    // The two hear of the deaths each for itself: they are looked at once neither has closed anything for a while.
    double before = -1;
    for (int looks = 0; looks != 100 && out.descriptors != before; ++looks) {
      before = out.descriptors;
      timespec const moment{0, 10'000'000};
      ::nanosleep(&moment, nullptr);
      out.descriptors = descriptors_of(process(0, false).pid()) + descriptors_of(process(0, true).pid());
    }
    out.memory_kib = own_memory_kib(process(0, false).pid()) + own_memory_kib(process(0, true).pid());
    for (auto const& path : omniconn::shm_transport::files(options())) {
      struct stat st {};
      if (::stat(path.c_str(), &st) == 0) out.shm_bytes += 512.0 * static_cast<double>(st.st_blocks);
    }
    for (unsigned p = 1; p != soak_pairs; ++p) {
      start(p, false);
      start(p, true);
    }
    board_->producers_rest = board_->consumers_rest = false;
    return out;
  }

  [[nodiscard]] std::uint64_t total(std::atomic<std::uint64_t> soak_pair::*which) const {
    std::uint64_t n = 0;
    for (auto const& p : board_->pairs) n += p.*which;
    return n;
  }
  [[nodiscard]] std::string first_wrong() const {
    for (auto const& p : board_->pairs)
      if (p.wrong != 0) return p.what;
    return "";
  }
  unsigned kills = 0;

 private:
  [[nodiscard]] test::child& process(unsigned pair, bool producer) { return processes_[pair][producer ? 1 : 0]; }
  [[nodiscard]] omniconn::shm_transport::options options() const { return space_.options(); }
  static bool is_read(soak_pair const& p) {
    std::uint64_t const life = p.life;
    return p.next.load() == soak_place{life, p.put[life % 2]}.packed();
  }
  template <class Condition> bool all_pairs(Condition holds) const { return std::all_of(board_->pairs.begin(), board_->pairs.end(), holds); }

  void start(unsigned p, bool producer) {
    auto& pair = board_->pairs[p];
    (producer ? pair.producer_rests : pair.consumer_rests) = false;
    if (producer) {
      pair.put[(pair.life + 1) % 2] = 0;
      ++pair.life;
    }
    process(p, producer) = test::child({OMNICONN_TEST_BIN_DIR "/shm_soak_stage", space_.name(), path_, std::to_string(p), producer ? "producer" : "consumer", std::to_string(largest_)},
                                       STDIN_FILENO, STDOUT_FILENO);
  }
  void kill_somebody() {
    unsigned const p = 1 + random_.below(soak_pairs - 1);
    auto& pair = board_->pairs[p];
    // The board has room for two lives of a producer: its consumer has to be at the last one.
    bool const producer = random_.below(2) == 0 && soak_place::of(pair.next).life == pair.life;
    process(p, producer).signal(SIGKILL);
    process(p, producer).reap();
    ++kills;
    start(p, producer);
  }
  static void expect_normal(int status) {
    bool const had_not_begun = WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
    EXPECT_TRUE(had_not_begun || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << "a process ended with status " << status;
  }

  /// What is neither a file's nor shared: those are looked at where they lie.
  static double own_memory_kib(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("RssAnon:")) return std::strtod(line.c_str() + 8, nullptr);
    ADD_FAILURE() << "no resident memory of " << pid;
    return 0;
  }
  static double descriptors_of(pid_t pid) {
    DIR* const folder = ::opendir(("/proc/" + std::to_string(pid) + "/fd").c_str());
    if (folder == nullptr) return 0;
    double n = 0;
    while (dirent const* const entry = ::readdir(folder)) n += entry->d_name[0] == '.' ? 0 : 1;
    ::closedir(folder);
    return n;
  }

  std::size_t largest_;
  shm_test::fresh_space space_;
  int memory_ = -1;
  std::string path_;
  soak_board* board_ = nullptr;
  std::array<std::array<test::child, 2>, soak_pairs> processes_;
  std::uint64_t next_kill_ = 100;
  numbers random_{17};
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[v.size() / 2];
}
struct difference {
  double absolute, percent;
};
/// The last tenth against the second one: in the first one all become as large as they get.
difference change(std::vector<sample> const& all, double sample::*which) {
  std::size_t const tenth = std::max<std::size_t>(1, all.size() / 10);
  std::vector<double> early, late;
  for (std::size_t i = 0; i != tenth && tenth + i < all.size(); ++i) {
    early.push_back(all[tenth + i].*which);
    late.push_back(all[all.size() - 1 - i].*which);
  }
  double const before = median(early);
  return {median(late) - before, before == 0 ? 0 : 100 * std::fabs(median(late) - before) / before};
}

void soak_for(std::int64_t seconds, std::size_t largest, bool judged, std::string const& results) {
  outcome out(results, "four producers, four consumers, objects of 1 B to " + std::to_string(largest >> 20U) + " MiB; three pairs are killed, a process for each 100 of their objects; " +
                           "now and then all come to rest, the six are ended, and the pair that stays is looked at; " + std::to_string(seconds) + " s");
  std::vector<sample> samples;
  soak s(largest);
  auto const end = deadline::after(std::chrono::seconds(seconds));
  auto const period = std::max(std::chrono::milliseconds(300), std::chrono::milliseconds(seconds * 1000 / 200));
  while (!end.passed() && s.works()) {
    s.go_on(deadline::after(period));
    if (auto const taken = s.take_sample()) samples.push_back(*taken);
  }
  EXPECT_EQ(s.first_wrong(), "");
  if (samples.empty()) {
    ADD_FAILURE() << "no samples";
    return;
  }
  using pair = soak_pair;
  auto const moved = static_cast<double>(s.total(&pair::moved));
  out.at_least("objects moved and verified", moved, 100);
  out.note("GiB of payload", static_cast<double>(s.total(&pair::bytes)) / (1U << 30U));
  out.at_least("kills", s.kills, 1);
  out.note("kills per 100 objects of the three pairs", 100 * s.kills / static_cast<double>(s.moved_by_the_six()));
  out.exactly("lost, torn, foreign, or errors that should not be", static_cast<double>(s.total(&pair::wrong)), 0);
  out.note("samples", static_cast<double>(samples.size()));
  for (std::size_t i = 0; i < samples.size(); i += std::max<std::size_t>(1, samples.size() / 20))
    std::printf("    after %3zu %%: %7.0f KiB, %3.0f descriptors, %9.2f MiB shared\n", 100 * i / samples.size(), samples[i].memory_kib, samples[i].descriptors, samples[i].shm_bytes / (1 << 20U));
  auto const flat = [&](char const* name, double sample::*which, double scale) {
    std::vector<double> values;
    for (auto const& one : samples) values.push_back(one.*which / scale);
    out.note(std::string(name) + ", median", median(values));
    std::string const text = std::string(name) + ", the last tenth against the second (%)";
    auto const changed = change(samples, which);
    out.note(std::string(name) + ", change", changed.absolute / scale);
    judged ? out.at_most(text, changed.percent, 1) : out.note(text, changed.percent);
  };
  flat("resident memory of two that stay, without what is shared (KiB)", &sample::memory_kib, 1);
  flat("their descriptors", &sample::descriptors, 1);
  flat("bytes of shared memory (MiB)", &sample::shm_bytes, 1 << 20U);
}

TEST(shm_soak, eight_processes) { soak_for(5, std::size_t{4} << 20U, false, ""); }

TEST(shm_soak_slow, eight_processes) {
  char const* const given = std::getenv("OMNICONN_SOAK_SECONDS");
  std::int64_t const seconds = given != nullptr ? std::atoll(given) : 1800 / slower;
  soak_for(std::max<std::int64_t>(seconds, 1), std::size_t{256} << 20U, slower == 1, "soak");
}

}  // namespace
