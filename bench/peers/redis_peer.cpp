// SPDX-License-Identifier: Apache-2.0
// Redis on a Unix socket, a server of this pair's own: a put is RPUSH of the payload under the key, a get is BLPOP of that key, which waits, returns the
// payload and removes the key: fewer round trips than SET, a bell, GET and DEL. The server may run on any CPU.
#include "peer.hpp"

#include <memory>

#include <hiredis/hiredis.h>

namespace {

struct reply_of_redis {
  void operator()(void* reply) const noexcept { freeReplyObject(reply); }
};
using reply = std::unique_ptr<redisReply, reply_of_redis>;

class redis : public peers::peer_defaults {
 public:
  explicit redis(peers::end_of_pair& e) {
    std::string const path = "/tmp/" + e.space + "-redis";
    if (e.producing()) {
      start_server(path);
      for (int i = 0; !connect(path); ++i) {
        if (i == 500) throw std::runtime_error("the server does not answer");
        if (::waitpid(server_, nullptr, WNOHANG) == server_) throw std::runtime_error("the server ended; is redis-tools or redis-server installed?");
        ::usleep(10'000);
      }
      e.say();
      static_cast<void>(e.hear());
      ::unlink(path.c_str());  // both are connected: nothing stays, however they end
    } else {
      static_cast<void>(e.hear());
      if (!connect(path)) throw std::runtime_error("no connection to the server");
      e.say();
    }
    connection_->reader->maxbuf = 0;  // keep the buffer of a large reply
  }
  ~redis() {
    connection_.reset();
    if (server_ <= 0) return;
    ::kill(server_, SIGKILL);  // it has nothing to save
    ::waitpid(server_, nullptr, 0);
  }

  std::string about() {
    reply const info = command({"INFO", "server"}, REDIS_REPLY_STRING);
    std::string_view const text(info->str, static_cast<std::size_t>(info->len)), name = "redis_version:";
    auto const at = std::min(text.find(name), text.size() - name.size()) + name.size();
    return "Redis " + std::string(text.substr(at, text.find('\r', at) - at)) + " on a Unix socket, RPUSH and BLPOP";
  }
  static bool can(peers::waiting w) { return w == peers::waiting::block; }

  void put(std::string_view key, peers::const_bytes payload) {
    static_cast<void>(command({"RPUSH", key, {reinterpret_cast<char const*>(payload.data()), payload.size()}}, REDIS_REPLY_INTEGER));
  }
  peers::const_bytes get(std::string_view key, std::size_t) {
    got_ = command({"BLPOP", key, "0"}, REDIS_REPLY_ARRAY);
    if (got_->elements != 2) throw std::runtime_error("BLPOP: no pair of key and payload");
    redisReply const& payload = *got_->element[1];
    return std::as_bytes(std::span(payload.str, static_cast<std::size_t>(payload.len)));
  }
  void clean(std::string_view) { got_.reset(); }

 private:
  struct freed {
    void operator()(redisContext* c) const noexcept { redisFree(c); }
  };

  void start_server(std::string const& path) {
    server_ = ::fork();
    if (server_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    cpu_set_t every;
    std::memset(&every, 0xff, sizeof every);
    ::sched_setaffinity(0, sizeof every, &every);
    int const nowhere = ::open("/dev/null", O_RDWR);
    ::dup2(nowhere, 0);
    ::dup2(nowhere, 1);
    ::dup2(nowhere, 2);
    // Debian's redis-tools has the server as redis-check-rdb: the program is what it is called as.
    for (char const* const program : {"redis-server", "redis-check-rdb"})
      ::execlp(program, "redis-server", "--port", "0", "--unixsocket", path.c_str(), "--unixsocketperm", "700", "--dir", "/tmp", "--save", "", "--appendonly", "no",  //
               "--hz", "1", "--proto-max-bulk-len", "1gb", nullptr);
    ::_exit(127);
  }
  bool connect(std::string const& path) {
    connection_.reset(redisConnectUnix(path.c_str()));
    return connection_ != nullptr && connection_->err == 0;
  }
  reply command(std::initializer_list<std::string_view> words, int kind) {
    std::array<char const*, 4> at;
    std::array<std::size_t, 4> sizes;
    std::size_t n = 0;
    for (auto const word : words) {
      at[n] = word.data();
      sizes[n++] = word.size();
    }
    reply r(static_cast<redisReply*>(redisCommandArgv(connection_.get(), static_cast<int>(n), at.data(), sizes.data())));
    if (r == nullptr) throw std::runtime_error(std::string("Redis: ") + connection_->errstr);
    if (r->type != kind) throw std::runtime_error(std::string("Redis: ") + (r->str != nullptr ? r->str : "another kind of reply"));
    return r;
  }

  std::unique_ptr<redisContext, freed> connection_;
  reply got_;
  pid_t server_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return peers::run<redis>(argc, argv); }
