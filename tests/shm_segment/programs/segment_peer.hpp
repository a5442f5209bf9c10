// SPDX-License-Identifier: Apache-2.0
// What segment_peer.cpp is made of: the connector, clocks, and the hand-written peer of the benchmark.
#pragma once

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/detail/base64.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/shm_segment.hpp>

namespace segment_peer {

using stage_connector = omniconn::connector<omniconn::shm_segment_transport, omniconn::raw_serializer, omniconn::raw_keying, omniconn::heap_allocator>;

/// An error of the library on its way into an answer.
struct failure : std::runtime_error {
  template <class Error>
  explicit failure(Error const& e) : std::runtime_error(e.message()), kind(to_string(e.kind())) {}
  std::string kind;
};

/// A put that goes no further than `begin`: it has the key's lock.
struct begun_put {
  begun_put() { info.size = content.size(); }
  [[nodiscard]] omniconn::outgoing payload() const noexcept { return {omniconn::pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}; }

  std::array<std::byte, 8> content{};
  omniconn::const_bytes piece{content};
  omniconn::object_info info;
  omniconn::shm_segment_transport::put_op op;
};

#ifdef __OPTIMIZE__
inline constexpr bool optimized = true;
#else
inline constexpr bool optimized = false;
#endif
inline char const* compiler() noexcept {
#ifdef __clang__
  return "clang " __VERSION__;
#else
  return "g++ " __VERSION__;
#endif
}

inline std::int64_t now_ns() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

struct times {
  std::vector<std::int64_t> ns, start_ns, end_ns;
  void add(std::int64_t start, std::int64_t end) {
    ns.push_back(end - start);
    start_ns.push_back(start);
    end_ns.push_back(end);
  }
};

/// Reads every byte once. Eight sums, so that the loads and not one addition chain are the limit.
inline std::uint64_t sum(omniconn::const_bytes bytes) noexcept {
  std::array<std::uint64_t, 8> s{};
  std::size_t i = 0;
  for (; i + 64 <= bytes.size(); i += 64) {
    std::array<std::uint64_t, 8> w;
    std::memcpy(w.data(), bytes.data() + i, 64);
    for (std::size_t k = 0; k != 8; ++k) s[k] += w[k];
  }
  std::uint64_t total = 0;
  for (auto const x : s) total += x;
  for (; i != bytes.size(); ++i) total += static_cast<std::uint64_t>(bytes[i]);
  return total;
}

/// Waits for the consumer outside of the measured time, as peer.py does.
inline void wait_until_gone(std::string const& path, double seconds) {
  std::int64_t const end = now_ns() + static_cast<std::int64_t>(seconds * 1e9);
  while (::access(path.c_str(), F_OK) == 0) {
    if (now_ns() > end) throw std::runtime_error(path + " was not consumed in time");
    timespec const nap{0, 200'000};
    ::nanosleep(&nap, nullptr);
  }
}

// --- what somebody would write who needs no more than one shared-memory object per key --------------------------------------------------

[[noreturn]] inline void fail(char const* what, std::string const& key) { throw std::runtime_error(std::string(what) + " of " + key + " failed: " + std::strerror(errno)); }

inline void plain_put(std::string const& key, omniconn::const_bytes content) {
  omniconn::detail::unique_fd const fd(::shm_open(("/" + key).c_str(), O_CREAT | O_EXCL | O_RDWR, 0600));
  if (!fd) fail("shm_open", key);
  if (::ftruncate(fd.get(), static_cast<off_t>(content.size())) != 0) fail("ftruncate", key);
  void* const at = ::mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) fail("mmap", key);
  std::memcpy(at, content.data(), content.size());
  ::munmap(at, content.size());
}  // the close tells the reader

/// Sleeps in inotify until the writer has closed the object, which is the same signal that our transport waits for.
class plain_reader {
 public:
  /// `waits`: nothing is trusted before its writer's close was seen. False where all are whole already.
  explicit plain_reader(bool waits) : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), waits_(waits) {
    if (!inotify_ || ::inotify_add_watch(inotify_.get(), "/dev/shm", IN_CLOSE_WRITE) < 0) fail("inotify", "/dev/shm");
  }

  /// {size, sum of all bytes}
  std::pair<std::size_t, std::uint64_t> get(std::string const& key, double seconds) {
    std::int64_t const end = now_ns() + static_cast<std::int64_t>(seconds * 1e9);
    while (waits_ && !seen_closed(key, end)) {
    }
    omniconn::detail::unique_fd const fd(::shm_open(("/" + key).c_str(), O_RDONLY, 0));
    if (!fd) fail("shm_open", key);
    return read(key, fd.get());
  }

 private:
  std::pair<std::size_t, std::uint64_t> read(std::string const& key, int fd) {
    struct stat st {};
    if (::fstat(fd, &st) != 0) fail("fstat", key);
    auto const size = static_cast<std::size_t>(st.st_size);
    void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) fail("mmap", key);
    auto const total = sum({static_cast<std::byte const*>(at), size});
    ::munmap(at, size);
    ::shm_unlink(("/" + key).c_str());
    return {size, total};
  }
  /// Sleeps until something happens. \returns whether it was the close of that object.
  bool seen_closed(std::string const& key, std::int64_t end) {
    alignas(inotify_event) char buffer[4096];
    ssize_t const n = ::read(inotify_.get(), buffer, sizeof buffer);
    if (n <= 0) {
      if (now_ns() > end) throw std::runtime_error(key + " did not come in time");
      pollfd one{inotify_.get(), POLLIN, 0};
      ::poll(&one, 1, 100);
      return false;
    }
    bool hit = false;
    for (char const* at = buffer; at < buffer + n;) {
      auto const* event = reinterpret_cast<inotify_event const*>(at);
      at += sizeof(inotify_event) + event->len;
      hit = hit || (event->mask & IN_Q_OVERFLOW) != 0 || (event->len != 0 && key == event->name);
    }
    return hit;
  }

  omniconn::detail::unique_fd inotify_;
  bool waits_;
};

}  // namespace segment_peer
