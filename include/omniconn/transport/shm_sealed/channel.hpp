// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// One end of a connection: messages whole or not at all, descriptors beside them, and a queue for what the other side has no room for.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/shm_sealed/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

/// A descriptor that stays open as long as somebody may still send it.
using shared_fd = std::shared_ptr<unique_fd const>;

/// Descriptors that all consumers of one other user have not read yet. The kernel counts them against what our user may have under way in all.
/// \threadsafety none: the lock of whoever has the lines is around every call that sends on them.
struct fd_budget {
  std::size_t under_way = 0, most = 0;
};

/// What arrived. Descriptors that are too many are closed already; their number tells of them.
struct arrival {
  enum class kind : std::uint8_t { packet, nothing, ended };
  kind what = kind::nothing;
  const_bytes bytes{};
  unique_fd fd{};
  unsigned fds = 0;
  bool cut = false;      ///< longer than any message, or with more descriptors than anybody sends
  bool lacking = false;  ///< descriptors came along that we have none left for
};

/// A connected SOCK_SEQPACKET socket. A forked child loses it at once: the kernel would take the child for its owner.
/// \threadsafety sending from any thread; receiving and closing by one at a time.
class channel final {
 public:
  /// What a producer's side lets the kernel keep for a peer that does not read: some 64 grants, as their descriptors count against all that its user may
  /// have under way; and a longest message.
  static constexpr int socket_room = 24'576;  // which Linux doubles for its own needs
  /// What may wait for room; from here on nobody begins anything new on this line. An answer may be of 34 KiB.
  static constexpr std::size_t most_waiting = 256, most_waiting_bytes = std::size_t{1} << 20U;

  /// Without a socket: `open` gives it one.
  channel() = default;
  explicit channel(unique_fd socket) : socket_(std::move(socket)) {}
  channel(channel const&) = delete;
  channel& operator=(channel const&) = delete;
  ~channel() {
    if (!forks_.inherited()) static_cast<void>(flush());
  }

  /// \requires a fork_pause that began before the socket was made: a child would have it, and nobody who lets go of it
  void open(unique_fd socket, std::shared_ptr<fd_budget> budget = nullptr) {
    std::scoped_lock const lock(mutex_);
    socket_ = std::move(socket);
    budget_ = std::move(budget);
  }
  /// Notes what the other side has read. \returns false where descriptors of our budget are under way still
  bool settle() {
    std::scoped_lock const lock(mutex_);
    return settle_now();
  }
  /// Ends the line for the other side, where it leaves descriptors unread: those go on to count, and only an open socket tells when they do no more.
  /// \returns false where it leaves none
  bool shut() {
    std::scoped_lock const lock(mutex_);
    if (settle_now()) return false;
    waiting_.clear();
    gone_ = waiting_bytes_ = 0;
    return ::shutdown(socket_.get(), SHUT_RDWR) == 0;
  }
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

  /// Sends now, or as soon as there is room and somebody calls `flush`. \returns false where the connection is gone.
  bool send(message const& m, shared_fd const& with = nullptr) {
    if (forks_.inherited()) return false;
    std::scoped_lock const lock(mutex_);
    if (!socket_) return false;
    auto header = write_header(m);
    iovec parts[3]{{header.data(), header.size()}, part_of(m.key), part_of(m.text)};
    bool const open = flush_now();
    if (open && waiting_.size() == gone_) {
      int const code = send_now(parts, with);
      if (code != EAGAIN) return code == 0;
    }
    if (!open) return false;
    packet later;
    later.bytes.assign(text_of(header));
    later.bytes.append(m.key).append(m.text);
    later.with = with;
    waiting_bytes_ += later.bytes.size();
    waiting_.push_back(std::move(later));
    return true;
  }
  /// For what nobody may come to flush later: where there is no room, waits 10 ms for it. Once in vain, not again before all is sent: a peer that is stopped
  /// costs that once, not for each message.
  void send_patiently(message const& m) {
    if (!send(m)) return;
    {
      std::scoped_lock const lock(mutex_);
      if (waiting_.size() == gone_ || std::exchange(in_vain_, true)) return;
    }
    flush_until(deadline::now_ns() + 10'000'000);
  }
  /// \returns false where the connection is gone.
  bool flush() {
    std::scoped_lock const lock(mutex_);
    return flush_now();
  }
  /// Waits for room, until then at most. \returns false where something could not be sent.
  bool flush_until(std::int64_t end_ns) {
    while (flush()) {
      if (unsent() == 0) return true;
      std::int64_t const left = end_ns - deadline::now_ns();
      if (left <= 0) break;
      timespec const span{0, static_cast<long>(left < 10'000'000 ? left : 10'000'000)}, soon{0, 1'000'000};
      pollfd room{-1, POLLOUT, 0};
      {
        std::scoped_lock const lock(mutex_);
        room.fd = socket_.get();  // another thread may close it: then this sleeps for 10 ms, or wakes for nothing
      }
      static_cast<void>(held_up() ? ::nanosleep(&soon, nullptr) : ::ppoll(&room, 1, &span, nullptr));
    }
    return false;
  }
  /// What waits does so for the kernel and not for the peer: nothing tells when it may go on, so it has to be tried.
  [[nodiscard]] bool held_up() const {
    std::scoped_lock const lock(mutex_);
    return held_up_ && waiting_.size() != gone_;
  }
  [[nodiscard]] std::size_t unsent() const {
    std::scoped_lock const lock(mutex_);
    return waiting_.size() - gone_;
  }
  /// Who is asked does not read its answers, or answers more than it reads.
  [[nodiscard]] bool crowded() const {
    std::scoped_lock const lock(mutex_);
    return waiting_.size() - gone_ >= most_waiting || waiting_bytes_ >= most_waiting_bytes;
  }
  void close() {
    std::scoped_lock const lock(mutex_);
    socket_.reset();
    waiting_.clear();
    gone_ = waiting_bytes_ = 0;
  }

  /// Takes one message, if there is one. `take_fds` false: descriptors that come along are closed by the kernel.
  arrival receive(mutable_bytes buffer, bool take_fds) noexcept {
    arrival out;
    if (!socket_) {
      out.what = arrival::kind::ended;
      return out;
    }
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(most_fds * sizeof(int))> control;
    iovec part{buffer.data(), buffer.size()};
    msghdr head{};
    ssize_t n = -1;
    // A peer that closed with unread messages is an error first; what it sent before comes after that.
    for (int attempt = 0; n < 0 && attempt != 4; ++attempt) {
      head = {};
      head.msg_iov = &part;
      head.msg_iovlen = 1;
      if (take_fds) {
        head.msg_control = control.data();
        head.msg_controllen = control.size();
      }
      n = ::recvmsg(socket_.get(), &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (n < 0 && errno != EINTR && errno != ECONNRESET) break;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return out;
    if (n >= 0) take_descriptors(head, out);
    if (n <= 0) {  // an empty message looks like an end, and we send none
      out.what = arrival::kind::ended;
      return out;
    }
    out.what = arrival::kind::packet;
    out.bytes = buffer.first(static_cast<std::size_t>(n));
    // Where our room for them is not used up, it is this process that has no descriptor left.
    bool const fds_cut = take_fds && (head.msg_flags & MSG_CTRUNC) != 0;
    out.lacking = fds_cut && out.fds < most_fds;
    out.cut = (head.msg_flags & MSG_TRUNC) != 0 || (fds_cut && !out.lacking);
    return out;
  }

 private:
  /// \requires the lock
  bool flush_now() {
    while (socket_ && gone_ != waiting_.size()) {
      packet& next = waiting_[gone_];
      iovec one[1]{part_of(next.bytes)};
      int const code = send_now(one, next.with);
      if (code == EAGAIN) return true;
      if (code != 0) return false;
      waiting_bytes_ -= next.bytes.size();
      next = packet();
      if (++gone_ == waiting_.size() || gone_ == most_waiting) {  // often enough for the memory, seldom enough for the time
        waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(gone_));
        gone_ = 0;
      }
    }
    in_vain_ = false;
    return static_cast<bool>(socket_);
  }

  static constexpr std::size_t most_fds = 4;  ///< one is right; room for more, so that a wrong sender is told from a damaged one

  struct packet {
    std::string bytes;
    shared_fd with;
  };

  static iovec part_of(std::string_view text) noexcept {
    return {const_cast<char*>(text.data()), text.size()};  // NOLINT(cppcoreguidelines-pro-type-const-cast): sendmsg reads
  }
  static std::string_view text_of(std::array<std::byte, header_size> const& bytes) noexcept { return {reinterpret_cast<char const*>(bytes.data()), bytes.size()}; }

  /// \requires the lock
  bool settle_now() noexcept {
    int unread = 0;
    if (under_way_ == 0) return true;
    if (::ioctl(socket_.get(), SIOCOUTQ, &unread) == 0 && unread != 0) return false;
    budget_->under_way -= std::exchange(under_way_, 0);
    return true;
  }
  template <std::size_t N>
  [[nodiscard]] int send_now(iovec (&parts)[N], shared_fd const& with) noexcept {
    bool const counted = with != nullptr && budget_ != nullptr;
    if (counted && budget_->under_way >= budget_->most && (!settle_now() || budget_->under_way >= budget_->most)) {
      held_up_ = true;
      return EAGAIN;
    }
    msghdr head{};
    head.msg_iov = parts;
    head.msg_iovlen = N;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    if (with != nullptr) {
      head.msg_control = control.data();
      head.msg_controllen = control.size();
      cmsghdr* const c = CMSG_FIRSTHDR(&head);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int));
      int const fd = with->get();
      std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    for (;;) {
      if (::sendmsg(socket_.get(), &head, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        if (counted) ++under_way_, ++budget_->under_way;
        return 0;
      }
      if (errno == EINTR) continue;
      // Too many descriptors of our user are under way, or the kernel is short of memory: later, as where the peer has no room.
      held_up_ = errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM;
      return held_up_ ? EAGAIN : errno;
    }
  }
  /// Keeps the first descriptor and closes the others.
  static void take_descriptors(msghdr& head, arrival& out) noexcept {
    for (cmsghdr* c = CMSG_FIRSTHDR(&head); c != nullptr; c = CMSG_NXTHDR(&head, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
        unique_fd one(fd);
        if (out.fds++ == 0) out.fd = std::move(one);
      }
    }
  }

  unique_fd socket_;
  mutable std::mutex mutex_;
  std::vector<packet> waiting_;
  std::size_t gone_ = 0;  ///< of those that waited, in front
  std::size_t waiting_bytes_ = 0;
  std::shared_ptr<fd_budget> budget_;
  std::size_t under_way_ = 0;  ///< of our budget
  bool held_up_ = false;
  bool in_vain_ = false;  ///< was waited for room since something waits
  fork_witness forks_{[](void* self) noexcept { static_cast<channel*>(self)->socket_.reset(); }, this};
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
