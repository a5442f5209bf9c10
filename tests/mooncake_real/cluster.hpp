// SPDX-License-Identifier: Apache-2.0
// A real Mooncake store: its master and its storage nodes, as the pinned wheel brings them, on free ports of the loopback. They end with the test.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/core/deadline.hpp>
#include <omniconn/detail/net/http.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/mooncake/store/session.hpp>
#include <support/child.hpp>

namespace mooncake_real {

using omniconn::deadline;

/// Where the wheel's programs are. The environment is made by the first who asks; without it no test of this folder passes.
inline std::string const& programs() {
  static std::string const path = [] {
    std::string const python = "'" OMNICONN_TEST_SOURCE_DIR "/python/setup.sh' && '" OMNICONN_TEST_SOURCE_DIR "/../build/python/bin/python'";
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> const out(::popen((python + " -c 'import mooncake; print(list(mooncake.__path__)[0])'").c_str(), "r"), &::pclose);
    std::array<char, 1000> line{};
    if (out == nullptr || std::fgets(line.data(), line.size(), out.get()) == nullptr) return std::string();
    std::string found(line.data());
    while (!found.empty() && found.back() == '\n') found.pop_back();
    return found;
  }();
  if (path.empty()) {
    ADD_FAILURE() << "tests/python/setup.sh could not install Mooncake; its output is above";
    std::exit(1);
  }
  return path;
}

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  return at;
}

/// A port that nobody has now.
inline std::uint16_t free_port() {
  omniconn::detail::unique_fd const fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto at = loopback(0);
  socklen_t size = sizeof at;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), size), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&at), &size), 0);
  return ntohs(at.sin_port);
}

inline bool somebody_listens(std::uint16_t port) {
  omniconn::detail::unique_fd const fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto const at = loopback(port);
  return ::connect(fd.get(), reinterpret_cast<sockaddr const*>(&at), sizeof at) == 0;
}

/// What an HTTP server of ours answers; nothing where it does not.
inline std::optional<std::string> http_get(std::uint16_t port, std::string const& path, std::string const& query = "") {
  using namespace omniconn::detail::net;
  http_url const url{{"127.0.0.1", port}, path};
  auto const where = resolve(url.where);
  if (!where) return std::nullopt;
  http_dialogue ask("GET", url, query);
  exchange talk;
  talk.begin(std::make_shared<line_pool>(*where, line_limits{1, false}), ask);
  auto now = talk.step();
  while (now && *now == omniconn::progress::pending) {
    auto p = talk.interest();
    ::poll(&p, 1, 100);
    now = talk.step();
  }
  if (!now || ask.status() != 200) return std::nullopt;
  return std::string(ask.body());
}

/// One of Mooncake's programs.
class server {
 public:
  server() = default;
  /// `ready` is asked again and again. \returns false where the program ended first: perhaps its port was taken.
  template <class Ready>
  bool start(std::string const& program, std::vector<std::string> const& options, Ready ready) {
    log_ = omniconn::detail::unique_fd(::memfd_create("mooncake", MFD_CLOEXEC));  // gone with the last of us
    std::vector<std::string> words{"sh", "-c", "exec \"$@\" 2>&1", "sh", "setpriv", "--pdeathsig", "KILL", "env", "MC_TCP_BIND_ADDRESS=127.0.0.1", programs() + "/" + program};
    words.insert(words.end(), options.begin(), options.end());
    omniconn::detail::unique_fd const nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    process_ = test::child(words, nothing.get(), log_.get());
    auto const end = deadline::after(std::chrono::seconds(30));
    while (!end.passed()) {
      if (ready()) return true;
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(process_.pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }
  /// What it has said so far: where it does not start, that is why.
  [[nodiscard]] std::string said() const {
    std::string out(static_cast<std::size_t>(std::max<off_t>(::lseek(log_.get(), 0, SEEK_END), 0)), '\0');
    if (::pread(log_.get(), out.data(), out.size(), 0) < 0) out.clear();
    return out;
  }
  void kill() { process_ = {}; }
  void signal(int which) { process_.signal(which); }
  /// Returns when all of it has stopped.
  void stop() {
    process_.signal(SIGSTOP);
    EXPECT_TRUE(process_.await_stop());
  }
  [[nodiscard]] bool runs() const { return process_.runs(); }

 private:
  omniconn::detail::unique_fd log_;
  test::child process_;
};

class master {
 public:
  /// `lease`: of each get and exists.
  explicit master(std::chrono::milliseconds lease = std::chrono::seconds(10), std::vector<std::string> more = {}) : lease_(lease), more_(std::move(more)) {
    for (int i = 0; i != 5; ++i) {
      port_ = free_port();
      admin_ = free_port();
      if (start()) return;
    }
    ADD_FAILURE() << "no master: " << process_.said();
  }
  /// Again, where it was.
  bool start() {
    std::vector<std::string> options{"--rpc_address=127.0.0.1", "--rpc_port=" + std::to_string(port_), "--rpc_thread_num=2", "--metrics_host=127.0.0.1", "--metrics_port=" + std::to_string(admin_),
                                     "--enable_metric_reporting=false", "--logtostderr=1", "--default_kv_lease_ttl=" + std::to_string(lease_.count()), "--client_ttl=2"};
    options.insert(options.end(), more_.begin(), more_.end());
    return process_.start("mooncake_master", options, [this] {
      auto const health = http_get(admin_, "/health");
      return health && health->find("\"service_ready\":true") != health->npos && somebody_listens(port_);  // it says so before it does
    });
  }
  void kill() { process_.kill(); }
  void stop() { process_.stop(); }
  void go_on() { process_.signal(SIGCONT); }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::uint16_t admin() const noexcept { return admin_; }
  [[nodiscard]] std::string said() const { return process_.said(); }
  /// How often it was asked for room.
  [[nodiscard]] unsigned long requests() const {
    constexpr std::string_view name = "\nmaster_put_start_requests_total ";
    auto const all = http_get(admin_, "/metrics").value_or("");
    auto const at = all.find(name);
    EXPECT_NE(at, all.npos);
    return at == all.npos ? 0 : std::strtoul(all.c_str() + at + name.size(), nullptr, 10);
  }
  [[nodiscard]] std::size_t segments() const {
    auto const all = http_get(admin_, "/get_all_segments").value_or("");
    return static_cast<std::size_t>(std::count(all.begin(), all.end(), ':'));
  }

 private:
  std::chrono::milliseconds lease_;
  std::vector<std::string> more_;
  std::uint16_t port_ = 0, admin_ = 0;
  server process_;
};

/// A storage node.
class node {
 public:
  explicit node(master const& of, std::string const& size = "256 MB", std::string const& metadata = "P2PHANDSHAKE") {
    std::size_t const before = of.segments();
    for (int i = 0; i != 5; ++i)
      if (process_.start("mooncake_client",
                         {"--host=127.0.0.1", "--port=" + std::to_string(free_port()), "--metadata_server=" + metadata, "--master_server_address=" + of.address(), "--protocol=tcp",
                          "--global_segment_size=" + size, "--local_buffer_size=0", "--logtostderr=1"},
                         [&] { return of.segments() > before; }))
        return;
    ADD_FAILURE() << "no storage node: " << process_.said();
  }
  void kill() { process_.kill(); }
  void stop() { process_.stop(); }
  void go_on() { process_.signal(SIGCONT); }
  [[nodiscard]] std::string said() const { return process_.said(); }

 private:
  server process_;
};

/// A master and a node for all tests of a program that harm neither.
struct cluster {
  mooncake_real::master master{std::chrono::milliseconds(500)};
  mooncake_real::node node{master};

  /// As if nobody had put anything.
  void clear() const {
    using namespace omniconn::detail;
    auto const where = net::resolve(*net::parse_endpoint(master.address()));
    ASSERT_TRUE(where);
    mooncake::rpc_request all(mooncake::function_of("RemoveAll"));
    mooncake::packer(all.body(), mooncake::wire_type_of("fd0b800cff"), 0).flag(true).text("default");
    mooncake::session const ours(*where, {}, {}, {});
    auto const removed = ours.ask(std::move(all));
    ASSERT_TRUE(removed) << removed.error().message();
  }

  static cluster& shared() {
    static cluster one;
    return one;
  }
};

}  // namespace mooncake_real
