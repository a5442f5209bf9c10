// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// A storage node of the store: memory that the master gives out, served by our transfer engine, and said to be alive once a second.
#pragma once

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <pthread.h>
#include <sys/mman.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/net/exchange.hpp>
#include <omniconn/detail/net/http.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/quiet_thread.hpp>
#include <omniconn/transport/mooncake/engine/target.hpp>
#include <omniconn/transport/mooncake/master.hpp>
#include <omniconn/transport/mooncake/store/session.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// Lives inside a session. \threadsafety `open` once, `close` once
class storage_node {
 public:
  /// The master's allocator wants so; sizes are cut down to it.
  static constexpr std::size_t grain = std::size_t{4} << 20U, least = std::size_t{16} << 20U;

  explicit storage_node(session& home) noexcept : home_(home) {}
  storage_node(storage_node const&) = delete;
  storage_node& operator=(storage_node const&) = delete;
  ~storage_node() { close(); }

  /// Brings `size` bytes into the store, served at `host`.
  result<void> open(std::string const& host, std::uint64_t size) {
    auto const bytes = static_cast<std::size_t>(size / grain * grain);
    void* const at = ::mmap(nullptr, bytes + grain, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return errno_error("no memory for the segment; make it smaller");
    mapped_ = mutable_bytes(static_cast<std::byte*>(at), bytes + grain);
    auto const base = (reinterpret_cast<std::uintptr_t>(at) + grain - 1) / grain * grain;
    mutable_bytes const memory = mapped_.subspan(static_cast<std::size_t>(base - reinterpret_cast<std::uintptr_t>(at)), bytes);
    if (auto const served = engine_.open(host, memory); !served) return served;
    segment_.id = random_uuid();
    segment_.name = segment_.endpoint = engine_.about().name;
    segment_.base = base;
    segment_.size = bytes;
    if (auto const told = describe(true); !told) return told;
    if (auto const mounted = mount(); !mounted) return mounted;
    if (int const failed = start_quiet_thread(thread_, &storage_node::run, this); failed != 0) return error(error_kind::no_space, "the thread of a storage node cannot be started", failed);
    runs_ = true;
    return {};
  }
  /// Takes the memory out of the store: what lay there is gone.
  void close() noexcept {
    if (home_.inherited()) return;  // a forked child has neither the thread nor the segment
    if (std::exchange(runs_, false)) {
      {
        std::scoped_lock const lock(mutex_);
        stop_ = true;
      }
      wake_.notify_all();
      ::pthread_join(thread_, nullptr);
    }
    if (std::exchange(mounted_, false)) static_cast<void>(home_.ask_even_closed(unmount_segment(segment_.id, home_.self.client), 1'000'000'000));
    if (std::exchange(described_, false)) static_cast<void>(describe(false));
    engine_.close();
    if (!mapped_.empty()) ::munmap(mapped_.data(), mapped_.size());
    mapped_ = {};
  }
 private:
  static constexpr std::chrono::milliseconds interval{1000}, interval_in_trouble{200};

  result<void> mount() {
    auto const reply = home_.ask(mount_segment(segment_, home_.self.client));
    if (!reply) return reply.error();
    auto const done = read_nothing(*reply);
    mounted_ = static_cast<bool>(done);
    return done;
  }
  static void* run(void* self) {
    static_cast<storage_node*>(self)->stay();
    return nullptr;
  }
  /// Pings, and brings the segment back where the master lost it.
  void stay() {
    bool well = true;
    for (std::unique_lock lock(mutex_); !wake_.wait_for(lock, well ? interval : interval_in_trouble, [this] { return stop_; });) {
      lock.unlock();
      well = beat();
      lock.lock();
    }
  }
  bool beat() {
    auto const reply = home_.ask_even_closed(ping(home_.self.client), 2'000'000'000);
    if (!reply) return false;
    auto const known = read_pong(*reply);
    if (!known) return false;
    if (*known) return true;
    static_cast<void>(describe(true));  // a metadata server within the master has forgotten it, too
    auto const again = home_.ask_even_closed(remount_segments(std::span(&segment_, 1), home_.self.client), 2'000'000'000);
    return again && read_nothing(*again);
  }
  /// Tells the metadata server, where there is one, what we have and where; or takes it back.
  result<void> describe(bool here) {
    auto const& server = home_.engines.how().metadata;
    if (!server) return {};
    described_ = here;
    auto const& about = engine_.about();
    auto const where = net::parse_endpoint(about.name);
    nlohmann::json const rpc{{"ip_or_host_name", where->host}, {"rpc_port", where->port}};
    for (auto const& [key, body] : {std::pair{"mooncake/rpc_meta/" + about.name, rpc.dump()}, {"mooncake/ram/" + about.name, about.to_json()}}) {
      net::http_dialogue question(here ? "PUT" : "DELETE", *server, "key=" + net::percent_encoded(key), here ? body : "");
      if (auto const asked = converse(question); !asked) return asked;
      if (here && question.status() != 200) return error(error_kind::io, "the metadata server refuses to note the storage node", question.status());
    }
    return {};
  }
  result<void> converse(net::http_dialogue& question) {
    auto const desk = home_.engines.desk_of(segment_.name);
    if (!desk) return desk.error();
    net::exchange talk;
    talk.begin(*desk, question);
    return session::finish(talk, 3'000'000'000);
  }

  session& home_;
  target engine_;
  segment segment_;
  mutable_bytes mapped_;
  std::mutex mutex_;
  std::condition_variable wake_;
  pthread_t thread_{};
  bool stop_ = false, runs_ = false, mounted_ = false, described_ = false;
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
