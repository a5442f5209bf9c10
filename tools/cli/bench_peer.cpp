// SPDX-License-Identifier: Apache-2.0
#include "bench_peer.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.hpp"

extern char** environ;

namespace tool {

namespace {

using omniconn::detail::unique_fd;

constexpr char const* late = "the second process did not answer; give it more time with --timeout";

diagnosis failure(char const* what, int code) { return {omniconn::detail::kind_of_errno(code), std::string(what) + ": " + errno_text(code), code}; }

std::vector<std::string> arguments_of(bench_command const& o, std::string const& run) {
  std::vector<std::string> out{"omniconn", "bench-reader", "--run=" + run, "--timeout=" + std::to_string(o.timeout)};
  auto const add = [&](char const* option, std::string const& text) {
    if (!text.empty()) return out.push_back(std::string(option) + "=" + text);  // one word: the text may begin with a dash
    out.emplace_back(option);
    out.emplace_back();
  };
  add("--from", o.where.from);
  add("--to", o.where.to);
  if (!o.where.config.empty()) {
    add("--config", o.where.config);
  } else {
    add("--connector", o.where.connector);
    for (auto const& setting : o.where.settings) add("--set", setting);
  }
  return out;
}

/// A pipe whose ends stay ours. Above 2, so that they can be moved there in the child whatever was closed here.
outcome make_pipe(unique_fd& read_end, unique_fd& write_end) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return failure("making a pipe failed", errno);
  read_end = unique_fd(fds[0]);
  write_end = unique_fd(fds[1]);
  return {};
}

outcome make_board(unique_fd& fd, omniconn::detail::file_mapping& mapping) {
  fd = unique_fd(::memfd_create("omniconn-bench", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), sizeof(bench_board)) != 0) return failure("making memory to share failed", errno);
  auto mapped = omniconn::detail::file_mapping::map(fd.get(), sizeof(bench_board), PROT_READ | PROT_WRITE);
  if (!mapped) return diagnosis(mapped.error());
  mapping = std::move(*mapped);
  new (mapping.base()) bench_board;
  return {};
}

}  // namespace

result<bench_peer, diagnosis> bench_peer::start(bench_command const& o, std::string const& run) {
  bench_peer out;
  unique_fd child_in, child_out, board;
  if (auto made = make_board(board, out.board_); !made) return std::move(made.error());
  out.board().reader_cpu = out.cpus_.reader;
  if (auto made = make_pipe(child_in, out.orders_); !made) return std::move(made.error());
  if (auto made = make_pipe(out.answers_, child_out); !made) return std::move(made.error());
  // A child that ended must not hang the parent's next order.
  static_cast<void>(::fcntl(out.orders_.get(), F_SETFL, O_NONBLOCK));

  auto arguments = arguments_of(o, run);
  std::vector<char*> words;
  for (auto& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&files, child_in.get(), 0);
  ::posix_spawn_file_actions_adddup2(&files, child_out.get(), 1);
  ::posix_spawn_file_actions_adddup2(&files, board.get(), bench_board_descriptor);  // last: the pipes may have that number here
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  int const rc = ::posix_spawn(&out.pid_, "/proc/self/exe", &files, &attributes, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (rc != 0) {
    out.pid_ = -1;
    return failure("starting the second process failed", rc);
  }
  return out;
}

bench_peer::bench_peer(bench_peer&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), cpus_(other.cpus_), orders_(std::move(other.orders_)), answers_(std::move(other.answers_)), board_(std::move(other.board_)) {}

bench_peer::~bench_peer() {
  if (pid_ <= 0) return;
  orders_.reset();  // the end of its orders, which it takes for the end of its work
  int status = 0;
  for (int i = 0; i != 200; ++i) {  // 2 s: closing a connector takes milliseconds
    if (::waitpid(pid_, &status, WNOHANG) != 0) return;
    ::poll(nullptr, 0, 10);
  }
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

outcome bench_peer::order(bench_order const& o) {
  if (::write(orders_.get(), &o, sizeof o) == static_cast<ssize_t>(sizeof o)) return {};
  return ended();
}

diagnosis bench_peer::ended() {
  int status = 0;
  if (pid_ > 0) ::waitpid(std::exchange(pid_, -1), &status, 0);
  return {error_kind::peer_lost, WIFSIGNALED(status) ? "the second process was killed by signal " + std::to_string(WTERMSIG(status)) : "the second process ended with exit code " + std::to_string(WEXITSTATUS(status))};
}

outcome bench_peer::read(void* to, std::size_t size, omniconn::deadline until) {
  auto* at = static_cast<std::byte*>(to);
  while (size != 0) {
    pollfd waited{answers_.get(), POLLIN, 0};
    std::int64_t const left = (until.nanoseconds() - omniconn::deadline::now_ns()) / 1'000'000 + 1;
    int const ready = ::poll(&waited, 1, left < 0 ? 0 : left > 1'000'000 ? 1'000'000 : static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0 && until.passed()) return diagnosis(error_kind::timed_out, late);
    if (ready <= 0) continue;
    ssize_t const got = ::read(answers_.get(), at, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ended();
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return {};
}

outcome bench_peer::answer(omniconn::deadline until) {
  bench_answer a;
  if (auto done = read(&a, sizeof a, until); !done) return done;
  if (a.kind == 0) return {};
  std::string why(a.size < 65536 ? a.size : 0, '\0');
  if (auto done = read(why.data(), why.size(), until); !done) return done;
  return diagnosis(a.kind <= omniconn::error_kind_count ? static_cast<error_kind>(a.kind) : error_kind::io, "the second process: " + why);
}

outcome bench_peer::listen(std::chrono::nanoseconds most, omniconn::deadline until) {
  pollfd waited{answers_.get(), POLLIN, 0};
  timespec const time{0, static_cast<long>(most.count())};
  if (::ppoll(&waited, 1, &time, nullptr) > 0) return answer(until);  // nothing is said while all goes well
  if (until.passed()) return diagnosis(error_kind::timed_out, late);
  return {};
}

void bench_peer::linger() const noexcept {
  auto const until = omniconn::deadline::after(std::chrono::microseconds(5));
  while (!until.passed()) before_next_look(cpus_.alone);
}

}  // namespace tool
