// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// A TCP connection that never blocks.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/net/endpoint.hpp>
#include <omniconn/detail/posix.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::net {

/// Why a connection could not be made or is gone.
inline error line_error(int code) noexcept {
  switch (code) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: errno = code; return errno_error("no memory is left for a connection");
    case ECONNREFUSED: return {error_kind::unreachable, "nobody listens at that address; start the service, or check address and port", code, severity::connection};
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case ETIMEDOUT: return {error_kind::unreachable, "there is no way to that address now", code, severity::connection};
    case EACCES:
    case EPERM: return {error_kind::unauthorized, "this process may not connect there", code, severity::connection};
    default: return {error_kind::peer_lost, "the connection was cut", code, severity::connection};
  }
}

/// Owns the socket. What would block says so by 0 bytes.
class line {
 public:
  line() noexcept = default;
  explicit line(unique_fd socket) noexcept : socket_(std::move(socket)) {}

  /// Begins to connect; the socket is writable once that has ended.
  [[nodiscard]] static result<line> start(address const& to) noexcept {
    unique_fd fd(::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd) return line_error(errno);
    set_no_delay(fd.get());
    int done = 0;
    do done = ::connect(fd.get(), to.get(), to.size);
    while (done != 0 && errno == EINTR);
    if (done != 0 && errno != EINPROGRESS) return line_error(errno);
    return line(std::move(fd));
  }
  /// Small messages are not kept back.
  static void set_no_delay(int fd) noexcept {
    int const on = 1;
    static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  }

  /// \returns whether the connection is made
  [[nodiscard]] result<bool> connected() const noexcept {
    pollfd p{fd(), POLLOUT, 0};
    if (::poll(&p, 1, 0) <= 0) return false;
    int code = 0;
    socklen_t size = sizeof code;
    if (::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &code, &size) != 0) code = errno;
    if (code != 0) return line_error(code);
    return true;
  }
  /// An idle connection on which nothing came, neither bytes nor an end.
  [[nodiscard]] bool quiet() const noexcept {
    char c = 0;
    return ::recv(fd(), &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
  }

  result<std::size_t> send(std::span<iovec> parts) const noexcept {
    msghdr m{};
    m.msg_iov = parts.data();
    m.msg_iovlen = parts.size() < 64 ? parts.size() : 64;
    for (;;) {
      ssize_t const n = ::sendmsg(fd(), &m, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno == EAGAIN) return 0;
      if (errno != EINTR) return line_error(errno);
    }
  }
  /// \errors `peer_lost`: the other end closed, or is gone
  result<std::size_t> receive(mutable_bytes to) const noexcept {
    for (;;) {
      ssize_t const n = ::recv(fd(), to.data(), to.size(), MSG_DONTWAIT);
      if (n > 0) return static_cast<std::size_t>(n);
      if (n == 0) return error(error_kind::peer_lost, "the other end closed the connection", 0, severity::connection);
      if (errno == EAGAIN) return 0;
      if (errno != EINTR) return line_error(errno);
    }
  }

  /// For who found nothing and expects `size` bytes: a poll is to wake him when there are many, or the end, not for each segment, which costs a large transfer a
  /// quarter of its time. \returns whether that is so: then look again after `patience_ns` whatever the poll says, for the kernel may have no room for so many.
  bool expect(std::size_t size) noexcept {
    constexpr std::size_t few = std::size_t{64} << 10U, many = std::size_t{256} << 10U;
    int const mark = size < few ? 1 : static_cast<int>(size < many ? size : many);
    // Linux limits what the other end may send to the highest mark that there was, and a mark that can just be reached is often not.
    if (mark != 1 && !std::exchange(widened_, true)) set_mark(static_cast<int>(4 * many));
    if (mark != mark_) set_mark(mark);
    return mark_ != 1;
  }
  static constexpr std::int64_t patience_ns = 2'000'000;

  /// Says that nothing more comes, and waits until the other end closes. \returns whether it did: then it has read all that was sent.
  [[nodiscard]] bool hang_up(std::int64_t limit_ns) const noexcept {
    std::int64_t const end = deadline::now_ns() + limit_ns;
    static_cast<void>(::shutdown(fd(), SHUT_WR));
    std::array<char, 4096> rest;
    for (std::int64_t left = limit_ns; left > 0; left = end - deadline::now_ns()) {
      ssize_t const n = ::recv(fd(), rest.data(), rest.size(), MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno == ECONNRESET)) return true;
      if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
      if (n > 0) continue;
      pollfd p{fd(), POLLIN, 0};
      static_cast<void>(::poll(&p, 1, static_cast<int>(left / 1'000'000 + 1)));
    }
    return false;
  }

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
  void close() noexcept { socket_.reset(); }

 private:
  void set_mark(int bytes) noexcept {
    if (::setsockopt(fd(), SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0) mark_ = bytes;
  }

  unique_fd socket_;
  int mark_ = 1;
  bool widened_ = false;
};

}  // namespace detail::net

OMNICONN_END_NAMESPACE
