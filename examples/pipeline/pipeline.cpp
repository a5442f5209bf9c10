// SPDX-License-Identifier: Apache-2.0
// Runs the pipeline: four programs, one configuration, one report. `pipeline --help` says how.
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <omniconn/runtime/json.hpp>
#include <omniconn/transport/shm.hpp>

#include "dsp/snr.hpp"
#include "dsp/wav.hpp"
#include "report.hpp"
#include "stage.hpp"

namespace {

namespace fs = std::filesystem;
namespace oc = omniconn;

constexpr char const* usage = R"(usage: pipeline run [options]

Speech and noise go in, speech comes out: encoder -> thinker -> talker, and a monitor that reads what encoder and thinker send, too.
Four programs, joined as the configuration says: pipeline.yaml by shared memory, pipeline_mooncake.yaml by a Mooncake store, which must be running.

  --speech FILE    any PCM WAV (default: alsa-utils' Front_Center.wav)
  --noise FILE     any PCM WAV (default: alsa-utils' Noise.wav)
  --mix-snr DB     loudness of the speech over the noise before the cleaning (default: 0)
  --config FILE    edges and connectors (default: pipeline.yaml next to the sources)
  --out FOLDER     where mixture.wav, enhanced.wav and spectrogram.png go (default: pipeline-out)
)";

struct settings {
  std::string speech = "/usr/share/sounds/alsa/Front_Center.wav";
  std::string noise = "/usr/share/sounds/alsa/Noise.wav";
  std::string mix_snr = "0";
  std::string config = PIPELINE_CONFIG;
  std::string out = "pipeline-out";
  bool judged = true;  // the figure is a bar for the default input only
};

struct stage_process {
  char const* name;
  pid_t pid = 0;
  bool ended = false;
};

[[noreturn]] void refuse(std::string const& text) {
  std::fprintf(stderr, "pipeline: error: %s\n", text.c_str());
  std::exit(2);
}

settings settings_from(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  for (auto const& a : args)
    if (a == "--help" || a == "-h") {
      std::fputs(usage, stdout);
      std::exit(0);
    }
  if (args.empty() || args[0] != "run") refuse("say `pipeline run`; --help lists the options");
  settings s;
  for (std::size_t i = 1; i < args.size(); i += 2) {
    if (i + 1 == args.size()) refuse(args[i] + " needs a value");
    auto const& text = args[i + 1];
    if (args[i] == "--speech") s.speech = text;
    else if (args[i] == "--noise") s.noise = text;
    else if (args[i] == "--mix-snr") s.mix_snr = text;
    else if (args[i] == "--config") s.config = text;
    else if (args[i] == "--out") s.out = text;
    else refuse("unknown option " + args[i] + "; --help lists the options");
    if (args[i] == "--speech" || args[i] == "--noise" || args[i] == "--mix-snr") s.judged = false;
  }
  char* end = nullptr;
  std::strtod(s.mix_snr.c_str(), &end);
  if (end == s.mix_snr.c_str() || *end != '\0') refuse("--mix-snr " + s.mix_snr + " is no number of dB");
  for (auto const* file : {&s.speech, &s.noise, &s.config})
    if (!fs::exists(*file)) refuse(*file + " does not exist" + (file->find("/alsa/") != std::string::npos ? "; install alsa-utils, or give --speech and --noise" : ""));
  return s;
}

constexpr int done_in_stage = 3, stay_in_stage = 4;

/// A pipe whose ends stages do not have unless they are told to.
struct line {
  std::array<int, 2> ends{-1, -1};
  line() {
    std::array<int, 2> made{-1, -1};
    if (::pipe2(made.data(), O_CLOEXEC) != 0) refuse(std::string("making a pipe failed: ") + std::strerror(errno));
    for (std::size_t i = 0; i != 2; ++i) {
      ends[i] = ::fcntl(made[i], F_DUPFD_CLOEXEC, stay_in_stage + 1);  // not where a stage has its own
      ::close(made[i]);
      if (ends[i] < 0) refuse(std::string("making a pipe failed: ") + std::strerror(errno));
    }
  }
  [[nodiscard]] int reads() const { return ends[0]; }
  [[nodiscard]] int writes() const { return ends[1]; }
};

/// Stages say that they are done, and stay until all are: what one brings to an edge must be there until the last has read.
struct farewell {
  line done, stay;
};
pid_t start(fs::path const& program, settings const& s, std::string const& recording, farewell const& together) {
  std::string const path = program.string();
  std::vector<std::string> const args{path,         "--config",  s.config,      "--folder", s.out,    "--speech",                     s.speech, "--noise",                       s.noise,
                                      "--mix-snr", s.mix_snr, "--recording", recording,  "--done", std::to_string(done_in_stage), "--stay", std::to_string(stay_in_stage)};
  std::vector<char*> words;
  for (auto const& a : args) words.push_back(const_cast<char*>(a.c_str()));
  words.push_back(nullptr);
  // Our own signal mask is blocked for signalfd; a stage has to end at Ctrl-C.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, together.done.writes(), done_in_stage);
  ::posix_spawn_file_actions_adddup2(&actions, together.stay.reads(), stay_in_stage);
  pid_t pid = 0;
  int const rc = ::posix_spawn(&pid, path.c_str(), &actions, &attributes, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (rc != 0) refuse("starting " + path + " failed: " + std::strerror(rc));
  return pid;
}

/// Ends every stage that still runs: asked first, killed after a second.
void end_all(std::vector<stage_process>& stages) {
  for (auto const& s : stages)
    if (!s.ended) ::kill(s.pid, SIGTERM);
  auto const limit = oc::deadline::after(std::chrono::seconds(1));
  for (auto& s : stages)
    while (!s.ended) {
      int status = 0;
      if (::waitpid(s.pid, &status, WNOHANG) == s.pid) {
        s.ended = true;
      } else if (limit.passed()) {
        ::kill(s.pid, SIGKILL);
        ::waitpid(s.pid, &status, 0);
        s.ended = true;
      } else {
        ::usleep(5000);
      }
    }
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return std::string("was killed by signal ") + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
  return "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

/// How the stages ended.
struct ending {
  int status = 0;         ///< the exit status
  std::int64_t cut = 0;   ///< when we learnt that the pipeline has to end early; 0: it did not
};

/// Waits until all stages are done, lets them go, and waits until they have ended well. Otherwise ends them all and says why.
ending supervise(std::vector<stage_process>& stages, int signals, farewell& together) {
  std::size_t busy = stages.size();
  for (std::size_t running = stages.size(); running != 0;) {
    std::array<pollfd, 2> heard{pollfd{signals, POLLIN, 0}, pollfd{busy == 0 ? -1 : together.done.reads(), POLLIN, 0}};
    if (::poll(heard.data(), heard.size(), -1) < 0) {
      if (errno == EINTR) continue;
      heard[0].revents = POLLERR;  // the read says why
    }
    if (heard[1].revents != 0) {
      std::array<char, 16> said{};
      ssize_t const n = ::read(together.done.reads(), said.data(), busy);
      if (n > 0 && (busy -= static_cast<std::size_t>(n)) == 0) ::close(std::exchange(together.stay.ends[1], -1));
    }
    if (heard[0].revents == 0) continue;
    signalfd_siginfo info{};
    if (::read(signals, &info, sizeof info) != sizeof info) {
      if (errno == EINTR) continue;
      std::fprintf(stderr, "pipeline: waiting for signals failed: %s; ending all stages\n", std::strerror(errno));
      auto const cut = oc::deadline::now_ns();
      end_all(stages);
      return {1, cut};
    }
    auto const cut = oc::deadline::now_ns();
    if (info.ssi_signo != SIGCHLD) {
      std::fprintf(stderr, "pipeline: stopped by signal %u; ending all stages\n", info.ssi_signo);
      end_all(stages);
      return {128 + static_cast<int>(info.ssi_signo), cut};
    }
    for (auto& s : stages) {
      int status = 0;
      if (s.ended || ::waitpid(s.pid, &status, WNOHANG) != s.pid) continue;
      s.ended = true;
      --running;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
      std::fprintf(stderr, "pipeline: stage %s %s; ending the others\n", s.name, how_it_ended(status).c_str());
      end_all(stages);
      return {1, cut};
    }
  }
  return {};
}

std::optional<oc::value> read_report(std::string const& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::string const text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  auto parsed = oc::parse_json(text);
  if (!parsed) return std::nullopt;
  return std::move(*parsed);
}

struct reports {
  std::vector<pipeline::end_report> sends, receives;

  bool load(std::string const& folder, std::vector<stage_process> const& stages) {
    for (auto const& s : stages) {
      auto const report = read_report(folder + "/" + s.name + ".json");
      if (!report) {
        std::fprintf(stderr, "pipeline: stage %s left no report\n", s.name);
        return false;
      }
      for (auto const& [field, rows] : {std::pair{"sends", &sends}, std::pair{"receives", &receives}})
        if (auto const* list = report->find(field); list != nullptr && list->is_array())
          for (auto const& figures : *list->if_array()) rows->push_back({s.name, figures});
      fs::remove(folder + "/" + s.name + ".json");
    }
    return true;
  }
};

/// Prints the table of edges. \returns false where an object was lost or readers did not share one block.
bool print_edges(reports const& all) {
  auto const table = pipeline::make_edge_table(all.sends, all.receives);
  std::printf("\n%s", table.text.c_str());
  return table.good;
}

bool print_gain(settings const& s) {
  auto const speech = pipeline::read_wav(s.speech);
  auto const before = pipeline::measure_snr(speech.samples, pipeline::read_wav(s.out + "/mixture.wav").samples);
  auto const after = pipeline::measure_snr(speech.samples, pipeline::read_wav(s.out + "/enhanced.wav").samples);
  double const gain = after.db - before.db;
  std::printf("\nSNR against the clean speech: mixture %.2f dB, enhanced %.2f dB, gain %.2f dB (lag %td samples)\n", before.db, after.db, gain, after.lag);
  for (char const* file : {"mixture.wav", "enhanced.wav", "spectrogram.png"}) std::printf("  %s\n", fs::absolute(fs::path(s.out) / file).c_str());
  if (s.judged && !(gain >= 5)) {
    std::printf("the gain is below 5 dB: the pipeline did not do its work\n");
    return false;
  }
  return true;
}

/// A store keeps what was read. \returns why it could not be tidied; empty: it is
std::string tidy_edges(pipeline::stage_options const& o, reports const& all) {
  std::string why;
  for (auto const& [from, to] : {std::pair{"0", "1"}, std::pair{"1", "2"}}) try {
      std::int64_t sent = -1;  // a stage that failed has not said it
      for (auto const& each : all.sends)
        if (each.text("from") == from) sent = static_cast<std::int64_t>(each.number("objects"));
      pipeline::stage_world(o).open_to_tidy(from, to).tidy(sent);
    } catch (std::exception const& e) {
      why = e.what();
    }
  return why;
}

/// Nothing of the namespace may be left. After a failure the objects of the dead are dropped first: nobody will come for them.
bool tidy(oc::shm_transport::options const& space, bool failed) {
  if (failed && !oc::shm_transport::files(space).empty()) {
    if (auto last = oc::shm_transport::open(space)) (void)last->erase_if([](oc::wire_key) { return true; });
  }
  if (auto done = oc::shm_transport::collect(space); !done) std::fprintf(stderr, "pipeline: tidying shared memory: %s\n", done.error().message().c_str());
  auto const left = oc::shm_transport::files(space);
  for (auto const& file : left) std::fprintf(stderr, "pipeline: left in shared memory: %s\n", file.c_str());
  return left.empty();
}

}  // namespace

int main(int argc, char** argv) try {
  settings const s = settings_from(argc, argv);
  std::error_code failure;
  fs::create_directories(s.out, failure);
  if (failure) refuse("making the folder " + s.out + " failed: " + failure.message());

  oc::shm_transport::options space;
  space.space = "pipeline-" + std::to_string(::getpid());
  ::setenv("OMNICONN_NAMESPACE", space.space.c_str(), 1);

  sigset_t mask;
  ::sigemptyset(&mask);
  for (int const signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&mask, signal);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  int const signals = ::signalfd(-1, &mask, SFD_CLOEXEC);

  fs::path const folder = fs::read_symlink("/proc/self/exe").parent_path();
  farewell together;
  pipeline::stage_options run;
  run.config = s.config;
  run.recording = space.space + "-" + std::to_string(oc::deadline::now_ns());
  std::vector<stage_process> stages{{"monitor"}, {"talker"}, {"thinker"}, {"encoder"}};
  for (auto& stage : stages) {
    fs::remove(fs::path(s.out) / (std::string(stage.name) + ".json"));
    stage.pid = start(folder / stage.name, s, run.recording, together);
    std::printf("started %-8s pid %d\n", stage.name, stage.pid);
  }
  std::fflush(stdout);

  auto const [ended, cut] = supervise(stages, signals, together);
  int status = ended;
  reports all;
  if (status == 0 && (!all.load(s.out, stages) || !print_edges(all) || !print_gain(s))) status = 1;
  if (auto const why = tidy_edges(run, all); !why.empty() && ended == 0) {  // where a stage failed, its own message says more
    std::fprintf(stderr, "pipeline: tidying: %s\n", why.c_str());
    status = 1;
  }
  if (!tidy(space, status != 0)) status = status == 0 ? 1 : status;
  if (cut != 0) std::fprintf(stderr, "pipeline: everything ended and tidied up %.3f s after that\n", static_cast<double>(oc::deadline::now_ns() - cut) / 1e9);
  if (status == 0) std::printf("\nshared memory is as it was before\n");
  return status;
} catch (std::exception const& e) {
  std::fprintf(stderr, "pipeline: error: %s\n", e.what());
  return 1;
}
