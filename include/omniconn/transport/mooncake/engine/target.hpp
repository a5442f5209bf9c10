// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The side of Mooncake's transfer engine whose memory others read and write: a thread, a port for transfers, and one where it describes itself.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/bell.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/detail/net/endpoint.hpp>
#include <omniconn/detail/net/line.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/quiet_thread.hpp>
#include <omniconn/transport/mooncake/engine/descriptor.hpp>
#include <omniconn/transport/mooncake/engine/frames.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// Listens on an address of ours. \errors `misconfigured`: it is not ours; `no_space`; `io`
inline result<std::pair<unique_fd, std::uint16_t>> listen_at(std::string const& host) {
  auto where = net::resolve({host, 1});
  if (!where) return where.error();
  auto const port_of = [&where]() -> in_port_t& {
    return where->family() == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&where->storage)->sin6_port : reinterpret_cast<sockaddr_in*>(&where->storage)->sin_port;
  };
  port_of() = 0;  // any
  unique_fd fd(::socket(where->family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!fd) return errno_error("no socket for a storage node");
  if (::bind(fd.get(), where->get(), where->size) != 0)
    return errno == EADDRNOTAVAIL ? error(error_kind::misconfigured, "host is no address of this machine; a storage node listens there", errno) : errno_error("binding a storage node's port failed");
  if (::listen(fd.get(), 128) != 0 || ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where->storage), &where->size) != 0) return errno_error("listening as a storage node failed");
  std::uint16_t const port = ntohs(port_of());
  return std::pair(std::move(fd), port);
}

/// Serves one block of memory. No call of others can reach beyond it. \threadsafety `open` once, `close` once.
class target {
 public:
  static constexpr std::size_t max_lines = 256;  ///< connections at once; more are not taken until some end

  target() = default;
  target(target const&) = delete;
  target& operator=(target const&) = delete;
  ~target() { close(); }

  /// `memory` stays until `close` returned. `host`: an address of this machine, under which others reach it.
  result<void> open(std::string const& host, mutable_bytes memory) {
    auto data = listen_at(host), desk = listen_at(host);
    if (!data) return data.error();
    if (!desk) return desk.error();
    epoll_ = unique_fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_ || !bell_) return errno_error("no descriptor is left for a storage node");
    memory_ = memory;
    data_ = std::move(data->first);
    desk_ = std::move(desk->first);
    about_.name = net::endpoint{host, desk->second}.text();
    about_.data_host = host;
    about_.data_port = data->second;
    about_.buffers.push_back({reinterpret_cast<std::uintptr_t>(memory.data()), memory.size()});
    answer_ = handshake_dialogue::frame(handshake_dialogue::metadata, about_.to_json());
    for (int const fd : {data_.get(), desk_.get(), bell_.fd()})
      if (!watch(EPOLL_CTL_ADD, fd, EPOLLIN)) return errno_error("a storage node cannot listen");
    if (int const failed = start_quiet_thread(thread_, &target::run, this); failed != 0) return error(error_kind::no_space, "the thread of a storage node cannot be started", failed);
    runs_ = true;
    return {};
  }
  void close() noexcept {
    if (!std::exchange(runs_, false) || born_.inherited()) return;  // a forked child has no such thread
    stop_.store(true);
    bell_.ring();
    ::pthread_join(thread_, nullptr);
    lines_.clear();
    data_.reset();
    desk_.reset();
  }
  /// Name, ports and memory, as others see them.
  [[nodiscard]] engine_descriptor const& about() const noexcept { return about_; }

 private:
  /// Somebody who reads or writes, or who asks what there is.
  struct visitor {
    explicit visitor(unique_fd fd, bool asks) : line(std::move(fd)), asks_about_us(asks) {}
    net::line line;
    bool asks_about_us;
    enum class stage : std::uint8_t { header, ignoring, taking, giving, parting } at = stage::header;
    std::array<std::byte, transfer_header::bytes> header{};
    std::size_t have = 0;
    mutable_bytes memory;                                 ///< that is still to be written
    std::uint64_t ignored = 0;                            ///< bytes that are still to be read and forgotten
    std::array<iovec, 2> out{};                           ///< that is still to be sent
    std::array<std::byte, transfer_status::bytes> status{};
    bool ends = false, listens_for_room = false;
    bool patient = false;                                 ///< woken only when there is much
  };
  static constexpr std::size_t turn = std::size_t{4} << 20U;  // bytes for one, before the next has its turn

  bool watch(int how, int fd, std::uint32_t events) const noexcept {
    epoll_event e{};
    e.events = events;
    e.data.fd = fd;
    return ::epoll_ctl(epoll_.get(), how, fd, &e) == 0;
  }
  static void* run(void* self) {
    static_cast<target*>(self)->serve();
    return nullptr;
  }
  void serve() {
    std::array<epoll_event, 64> events{};
    while (!stop_.load()) {
      bool const lacking = !listening_ && lines_.size() < max_lines;  // a descriptor: nothing tells when there is one
      int const n = ::epoll_wait(epoll_.get(), events.data(), events.size(), patient_ ? static_cast<int>(net::line::patience_ns / 1'000'000) : lacking ? 100 : -1);
      if (lacking) listen(true);
      if (patient_ && deadline::now_ns() >= look_again_ns_) look_again();
      for (int i = 0; i < n; ++i) {
        int const fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == bell_.fd()) continue;
        if (fd == data_.get() || fd == desk_.get()) {
          take(fd);
        } else if (auto const at = lines_.find(fd); at != lines_.end() && !go_on(*at->second)) {
          lines_.erase(at);
          listen(true);
        }
      }
    }
  }
  /// At those of whom much is expected, and who may never have so much at once. Who sent nothing wakes us with a byte.
  void look_again() {
    patient_ = false;
    for (auto at = lines_.begin(); at != lines_.end();) {
      visitor& v = *at->second;
      std::size_t const left = v.memory.size();
      if (std::exchange(v.patient, false) && !go_on(v)) {
        at = lines_.erase(at);
        listen(true);
        continue;
      }
      if (v.patient && v.memory.size() == left) v.patient = v.line.expect(1);
      ++at;
    }
  }
  /// \returns true
  bool wait_for(visitor& v, std::size_t size) noexcept {
    v.patient = v.line.expect(size);
    if (v.patient && !std::exchange(patient_, true)) look_again_ns_ = deadline::now_ns() + net::line::patience_ns;
    return true;
  }
  /// Who has no place waits in the kernel's queue.
  void listen(bool wanted) {
    if (std::exchange(listening_, wanted) == wanted) return;
    for (int const fd : {data_.get(), desk_.get()}) watch(EPOLL_CTL_MOD, fd, wanted ? std::uint32_t{EPOLLIN} : 0);
  }
  void take(int door) {
    unique_fd fd(::accept4(door, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EMFILE || errno == ENFILE) listen(false);
      return;
    }
    net::line::set_no_delay(fd.get());
    int const number = fd.get();
    if (!watch(EPOLL_CTL_ADD, number, EPOLLIN)) return;
    lines_.emplace(number, std::make_unique<visitor>(std::move(fd), door == desk_.get()));
    if (lines_.size() == max_lines) listen(false);
  }

  /// As far as it gets in one turn. \returns false where the line has ended
  bool go_on(visitor& v) {
    for (std::size_t left = turn;;) switch (v.at) {
        case visitor::stage::header: {
          std::size_t const whole = v.asks_about_us ? handshake_dialogue::head : v.header.size();
          auto const n = v.line.receive(mutable_bytes(v.header).subspan(v.have, whole - v.have));
          if (!n) return false;
          if (*n == 0) return wait_for(v, whole - v.have);
          v.have += *n;
          if (v.have != whole) break;
          v.have = 0;
          if (!(v.asks_about_us ? answer(v) : begin(v))) return false;
          break;
        }
        case visitor::stage::ignoring: {
          std::array<std::byte, 4096> forgotten;
          if (v.ignored == 0) {
            v.out = {iovec{answer_.data(), answer_.size()}, iovec{}};
            v.at = visitor::stage::giving;
            break;
          }
          auto const n = v.line.receive(mutable_bytes(forgotten).first(v.ignored < forgotten.size() ? static_cast<std::size_t>(v.ignored) : forgotten.size()));
          if (!n) return false;
          if (*n == 0) return true;
          v.ignored -= *n;
          break;
        }
        case visitor::stage::parting: {  // a close before the other has read it all would take it from him
          std::array<std::byte, 4096> forgotten;
          auto const n = v.line.receive(forgotten);
          if (!n || *n > v.ignored) return false;
          if (*n == 0) return true;
          v.ignored -= *n;
          if (left <= *n) return true;
          left -= *n;
          break;
        }
        case visitor::stage::taking: {
          if (v.memory.empty()) {
            say(v, transfer_status::good, {});
            break;
          }
          auto const n = v.line.receive(v.memory.first(v.memory.size() < left ? v.memory.size() : left));
          if (!n) return false;
          if (*n == 0) return wait_for(v, v.memory.size());
          v.memory = v.memory.subspan(*n);
          left -= *n;
          if (left == 0 && !v.memory.empty()) return wait_for(v, v.memory.size());  // more to come wakes us again; the end does not
          break;
        }
        case visitor::stage::giving: {
          std::span<iovec> parts(v.out);
          while (!parts.empty() && parts.front().iov_len == 0) parts = parts.subspan(1);
          if (parts.empty()) {
            if (std::exchange(v.listens_for_room, false)) watch(EPOLL_CTL_MOD, v.line.fd(), EPOLLIN);
            v.at = v.ends ? visitor::stage::parting : visitor::stage::header;
            if (v.ends) ::shutdown(v.line.fd(), SHUT_WR);
            break;
          }
          auto const n = v.line.send(parts);
          if (!n) return false;
          if (*n == 0 || left < *n) {
            if (!std::exchange(v.listens_for_room, true)) watch(EPOLL_CTL_MOD, v.line.fd(), EPOLLOUT);
            if (*n == 0) return true;
          }
          std::size_t done = *n;
          for (auto& p : parts) {
            std::size_t const m = done < p.iov_len ? done : p.iov_len;
            p.iov_base = static_cast<std::byte*>(p.iov_base) + m;
            p.iov_len -= m;
            done -= m;
          }
          if (left < *n) return true;
          left -= *n;
          break;
        }
      }
  }
  /// A transfer's header is here.
  bool begin(visitor& v) {
    auto const h = transfer_header::unpack(v.header);
    if (h.direction != transfer_header::read && h.direction != transfer_header::write) return false;  // of an engine that expects no status
    std::uint64_t const base = about_.buffers.front().address;
    if (h.address < base || h.address - base > memory_.size() || h.size > memory_.size() - (h.address - base)) {
      v.ends = true;
      v.ignored = h.direction == transfer_header::write ? h.size : 0;
      say(v, transfer_status::refused, {});
      return true;
    }
    mutable_bytes const range = memory_.subspan(static_cast<std::size_t>(h.address - base), static_cast<std::size_t>(h.size));
    if (h.direction == transfer_header::read) {
      say(v, transfer_status::good, range);
    } else {
      v.memory = range;
      v.at = visitor::stage::taking;
    }
    return true;
  }
  static void say(visitor& v, std::uint64_t status, mutable_bytes more) noexcept {
    std::memcpy(v.status.data(), &status, sizeof status);
    v.out = {iovec{v.status.data(), v.status.size()}, iovec{more.data(), more.size()}};
    v.at = visitor::stage::giving;
  }
  /// Somebody describes himself, which is read to its end and forgotten, and wants to hear of us.
  bool answer(visitor& v) {
    std::uint64_t size = 0;
    std::memcpy(&size, v.header.data(), sizeof size);
    if (size == 0 || size > handshake_dialogue::max_size || v.header[8] != static_cast<std::byte>(handshake_dialogue::metadata)) return false;
    v.ignored = size - 1;
    v.ends = true;
    v.at = visitor::stage::ignoring;
    return true;
  }

  fork_mark const born_ = watch_forks();
  mutable_bytes memory_;
  engine_descriptor about_;
  std::string answer_;
  bell bell_;
  unique_fd epoll_, data_, desk_;
  std::map<int, std::unique_ptr<visitor>> lines_;
  std::atomic<bool> stop_{false};
  bool listening_ = true, runs_ = false, patient_ = false;
  std::int64_t look_again_ns_ = 0;  ///< at patient visitors
  pthread_t thread_{};
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
