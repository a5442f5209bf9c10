// SPDX-License-Identifier: Apache-2.0
// Somebody who speaks the protocol of sealed memory by hand, as a producer or as a consumer, and as wrongly as a test wants.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <gtest/gtest.h>

#include <omniconn/transport/shm_sealed.hpp>

#include "support.hpp"

namespace sealed_test {

using namespace omniconn;
using namespace omniconn::detail::sealed;
using omniconn::detail::unique_fd;

inline std::string bytes_of_message(message const& m) {
  auto const header = write_header(m);
  std::string out(reinterpret_cast<char const*>(header.data()), header.size());
  return out.append(m.key).append(m.text);
}
inline message of_type(message_type type, std::uint64_t id = 0) {
  message m;
  m.type = type;
  m.id = id;
  return m;
}

/// A connected socket.
class raw_line {
 public:
  raw_line() = default;
  explicit raw_line(unique_fd fd) : fd_(std::move(fd)) {}

  bool send(std::string_view bytes, std::vector<int> const& fds = {}) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr head{};
    head.msg_iov = &part;
    head.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, 256> control{};
    if (!fds.empty()) {
      head.msg_control = control.data();
      head.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* const c = CMSG_FIRSTHDR(&head);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
    }
    return ::sendmsg(fd_.get(), &head, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  bool send(message const& m, std::vector<int> const& fds = {}) { return send(bytes_of_message(m), fds); }

  /// The next message; false for the end of the connection, or if none comes.
  bool receive(message& out, int patience_ms = 20'000) {
    pollfd p{fd_.get(), POLLIN, 0};
    if (::poll(&p, 1, patience_ms) != 1) return false;
    alignas(cmsghdr) std::array<char, 256> control{};
    iovec part{buffer_.data(), buffer_.size()};
    msghdr head{};
    head.msg_iov = &part;
    head.msg_iovlen = 1;
    head.msg_control = control.data();
    head.msg_controllen = control.size();
    ssize_t const n = ::recvmsg(fd_.get(), &head, MSG_CMSG_CLOEXEC);
    if (n <= 0) return false;
    fd_of_last.reset();
    if (cmsghdr const* const c = CMSG_FIRSTHDR(&head); c != nullptr) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
      fd_of_last = unique_fd(fd);
    }
    auto const m = read_message(const_bytes(buffer_).first(static_cast<std::size_t>(n)));
    EXPECT_TRUE(m) << "what the library sends is right";
    if (!m) return false;
    out = *m;
    return true;
  }
  /// The next message of that type.
  bool receive(message& out, message_type type) {
    while (receive(out))
      if (out.type == type) return true;
    return false;
  }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  void close() { fd_.reset(); }

  unique_fd fd_of_last;

 private:
  unique_fd fd_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(max_message);
};

/// A socket in the folder that somebody else may connect to.
class false_producer {
 public:
  explicit false_producer(meeting_place const& place) : place_(place), id_(detail::random_u64() | 1U) {
    auto made = place.listen(id_);
    EXPECT_TRUE(made);
    if (made) door_ = std::move(*made);
  }
  false_producer(false_producer const&) = delete;
  false_producer& operator=(false_producer const&) = delete;
  ~false_producer() { place_.remove(id_); }

  raw_line accept() {
    pollfd p{door_.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&p, 1, 20'000), 1);
    return raw_line(unique_fd(::accept4(door_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] std::string name() const { return socket_name(id_); }

 private:
  meeting_place const& place_;
  std::uint64_t id_;
  unique_fd door_;
};

inline meeting_place open_place(std::string const& directory) {
  auto place = meeting_place::open(directory, "default", {});
  EXPECT_TRUE(place);
  return std::move(*place);
}

inline std::vector<std::string> names_in(meeting_place const& place) {
  std::vector<std::string> out;
  EXPECT_TRUE(place.names(out));
  return out;
}

/// Connects to the only producer in the folder.
inline raw_line false_consumer(meeting_place const& place) {
  auto const names = names_in(place);
  EXPECT_EQ(names.size(), 1U);
  unique_fd fd;
  peer who;
  EXPECT_EQ(place.connect(names.empty() ? std::string() : names.front(), fd, who), meeting_place::outcome::connected);
  return raw_line(std::move(fd));
}

/// A consumer of ours in a namespace whose producers a test speaks for.
struct beside_false_producers : ::testing::Test {
  sealed_test::directory directory;
  meeting_place place = open_place(directory.path());

  shm_sealed_transport open() {
    shm_sealed_transport::options o;
    o.directory = directory.path();
    o.space = "default";
    auto opened = shm_sealed_transport::open(o);
    EXPECT_TRUE(opened);
    return std::move(*opened);
  }
  ~beside_false_producers() override { place.leave(); }
};

}  // namespace sealed_test
