// SPDX-License-Identifier: Apache-2.0
// The life of a pair of processes on two CPUs: a producer that obeys lines on stdin and answers with lines of JSON, and a consumer of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "end_of_pair.hpp"
#include "source.hpp"
#include "support.hpp"

namespace peers {

/// What a job measured, in us, as a line of JSON; `more` are further fields.
inline std::string line_of(std::vector<double> const& us, std::string const& more = "") {
  char text[160];
  std::snprintf(text, sizeof text, "{\"p50_us\": %.4f, \"p99_us\": %.4f, \"least_us\": %.4f, \"objects\": %zu",  //
                bench::quantile(us, 0.5), bench::quantile(us, 0.99), bench::quantile(us, 0), us.size());
  return text + more + "}";
}

/// A line of stdin: `run SIZE COUNT clean|rewritten WAIT [IN_FLIGHT]`.
struct request {
  std::size_t size = 0;
  std::uint32_t count = 0;
  bool rewritten = false;
  std::string wait;
  std::uint32_t in_flight = 1;

  /// Few for large objects, which take long; enough to warm code, caches and every buffer in flight.
  [[nodiscard]] std::uint32_t warm_up() const noexcept { return std::max(in_flight, std::clamp(count / 10, 1U, 50U)); }
};

inline request parse(std::string const& line) {
  std::istringstream in(line);
  std::string run, way;
  request r;
  in >> run >> r.size >> r.count >> way >> r.wait;
  if (!in || run != "run" || (way != "clean" && way != "rewritten")) throw std::invalid_argument("expected: run SIZE COUNT clean|rewritten WAIT [IN_FLIGHT]");
  if (std::uint32_t n = 0; in >> n) r.in_flight = n;
  r.rewritten = way == "rewritten";
  if (r.size == 0 || r.size > largest || r.count == 0 || r.in_flight == 0 || r.count + r.warm_up() > most_objects) throw std::invalid_argument("too large or nothing: " + line);
  return r;
}

inline waiting waiting_of(std::string const& word) {
  if (word == "spin") return waiting::spin;
  if (word == "hybrid") return waiting::hybrid;
  if (word == "block") return waiting::block;
  throw std::invalid_argument("no such wait: " + word);
}

/// Replies go to a private copy of stdout: libraries that print there do not disturb.
class replies {
 public:
  replies() : out_(::fdopen(::fcntl(1, F_DUPFD_CLOEXEC, 3), "w")) {
    ::dup2(2, 1);
    ::signal(SIGPIPE, SIG_IGN);  // nobody listens any more: then stdin ends, too, and everything is closed in order
  }
  void line(std::string const& text) {
    std::fprintf(out_, "%s\n", text.c_str());
    std::fflush(out_);
  }
  void error(std::string why) {
    std::replace_if(why.begin(), why.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
    line("{\"error\": " + bench::quoted(why) + "}");
  }

 private:
  std::FILE* out_;
};

/// The life of both processes. Pair has `std::string about()`, `std::string serve(request const&)` for the producer and `void serve(job const&)` for the
/// consumer, and is made from an end_of_pair. The producer answers {"ready": ...} or {"error": ...} first, then each line with one line.
template <class Pair>
int run_pair(int argc, char** argv) {
  std::vector<std::string> const words(argv, argv + argc);
  std::string const space = bench::option(argc, argv, "--space", "");
  auto const map = [](int fd) {
    void* const at = ::mmap(nullptr, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (at == MAP_FAILED) std::abort();
    return static_cast<control*>(at);
  };
  if (std::string_view(bench::option(argc, argv, "--role", "")) == "consumer") {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != std::atoi(bench::option(argc, argv, "--parent", "0"))) return 1;  // it died before
    bench::pin_to(1);
    control& shared = *map(std::atoi(bench::option(argc, argv, "--control", "-1")));
    try {
      end_of_pair here(side::consumer, space, shared, words);
      Pair mine(here);
      for (here.begun();;) {
        job const next = here.take();
        if (next.quit) return 0;
        mine.serve(next);
      }
    } catch (std::exception const& e) {
      std::snprintf(shared.complaint.data(), shared.complaint.size(), "%s", e.what());
      return 1;
    }
  }

  replies out;
  try {
    if (space.empty()) throw std::runtime_error("--space NAME is missing");
    int const fd = ::memfd_create("peer-control", 0);  // no CLOEXEC: the consumer inherits it
    if (fd < 0 || ::ftruncate(fd, sizeof(control)) != 0) throw std::runtime_error("no memory to share");
    end_of_pair here(side::producer, space, *map(fd), words);
    here.shared.ready.store(UINT32_MAX);  // until the consumer is there
    here.begin_to_wait();
    here.start_consumer(fd);
    bench::pin_to(0);
    Pair mine(here);
    wait_while(here.shared.ready, UINT32_MAX, false, [] {}, [&here] { here.look(); });
    ::alarm(0);
    out.line("{\"ready\": " + bench::quoted(mine.about()) + "}");
    for (std::string line; std::getline(std::cin, line) && line != "quit";) {
      try {
        request const r = parse(line);
        out.line(mine.serve(r));
      } catch (std::invalid_argument const& e) {  // it cannot do that, but can go on
        out.error(e.what());
      }
      ::alarm(0);
    }
    here.end_consumer();
    return 0;
  } catch (std::exception const& e) {
    out.error(e.what());
    return 1;
  }
}

}  // namespace peers
