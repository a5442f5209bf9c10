// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// Our side of bench/mooncake_peer.py, driven line by line: one command in, one line out, times in nanoseconds.
//
//     open MASTER
//     put SIZE COUNT PREFIX      get SIZE COUNT PREFIX      into SIZE COUNT PREFIX      remove COUNT PREFIX      through the store
//     engine SIZE COUNT          plain SIZE COUNT                                    to a process of our own: the engine's write and read; send and recv by hand
//     opened                     made
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/mooncake_store.hpp>

#include "support.hpp"

namespace {

using namespace omniconn;
namespace mooncake = detail::mooncake;
namespace net = detail::net;
using store = connector<mooncake_store_transport, raw_serializer, raw_keying, heap_allocator>;
constexpr edge hop{"a", "b"};

[[noreturn]] void give_up(std::string const& why) {
  std::cerr << "mooncake_bench: " << why << "\n";
  std::exit(1);
}
template <class T, class E>
T must(result<T, E> r) {
  if (!r) give_up(r.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

/// Memory as tensors have it, aligned to 64. A vector's, 16 bytes behind a page's beginning, is for some CPUs at the worst place there is: behind a header of 24
/// bytes the kernel copies from it to 8 bytes further within a page, which takes an EPYC twice as long, ours as well as plain send.
class memory_block {
 public:
  explicit memory_block(std::size_t size) : block_(static_cast<std::byte*>(std::aligned_alloc(64, (size + 63) / 64 * 64))), size_(size) {
    if (block_ == nullptr) give_up("no memory");
    std::fill_n(block_.get(), size, std::byte{0});
  }
  [[nodiscard]] std::byte* data() const noexcept { return block_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::byte* begin() const noexcept { return data(); }
  [[nodiscard]] std::byte* end() const noexcept { return data() + size_; }

 private:
  struct give_back {
    void operator()(std::byte* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<std::byte, give_back> block_;
  std::size_t size_;
};

/// Memory that has been written to, with no two pages alike.
memory_block payload(std::size_t size) {
  memory_block out(size);
  std::uint64_t x = size;
  for (auto& b : out) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    b = static_cast<std::byte>(x >> 56U);
  }
  return out;
}

struct times {
  std::vector<double> ns;
  template <class F>
  void add(F f) {
    auto const before = bench::now_ns();
    f();
    ns.push_back(static_cast<double>(bench::now_ns() - before));
  }
  [[nodiscard]] std::string text() const {
    std::ostringstream out;
    out << std::fixed;
    out.precision(0);
    for (double const t : ns) out << t << ' ';
    return out.str();
  }
};

/// A process that serves, until we end.
class other_side {
 public:
  template <class Serve>
  explicit other_side(Serve serve) {
    int said[2], ends[2];
    if (::pipe(said) != 0 || ::pipe(ends) != 0) give_up("no pipe");
    child_ = ::fork();
    if (child_ == 0) {
      ::close(ends[1]);
      serve(said[1]);
      char c = 0;
      static_cast<void>(!::read(ends[0], &c, 1));
      ::_exit(0);
    }
    ::close(ends[0]);
    ends_ = ends[1];
    char text[200] = {};
    if (::read(said[0], text, sizeof text - 1) <= 0) give_up("the other side did not start");
    words_.str(text);
  }
  other_side(other_side const&) = delete;
  other_side& operator=(other_side const&) = delete;
  ~other_side() {
    ::close(ends_);
    ::waitpid(child_, nullptr, 0);
  }
  std::istringstream& words() { return words_; }

 private:
  pid_t child_ = 0;
  int ends_ = -1;
  std::istringstream words_;
};

constexpr std::size_t most = std::size_t{64} << 20U;

/// "WRITE... | READ..." of transfers between two processes.
std::string engine(std::size_t size, int count) {
  other_side peer([](int says) {
    static memory_block const memory = payload(most);
    static mooncake::target serves;
    must(serves.open("127.0.0.1", mutable_bytes(memory.data(), memory.size())));
    std::string const text = serves.about().name + " " + std::to_string(serves.about().buffers.front().address);
    static_cast<void>(!::write(says, text.data(), text.size()));
  });
  std::string name;
  std::uint64_t address = 0;
  peer.words() >> name >> address;
  auto const data = payload(size);
  memory_block const back(size);
  const_bytes const from(data.data(), size);
  mutable_bytes const to(back.data(), size);
  mooncake::initiator ours({});
  auto const drive = [](mooncake::transfer& t) {
    for (auto now = t.step();; now = t.step()) {
      if (must(now) == progress::done) return;
      auto p = t.interest();
      std::int64_t const left = t.look_again_ns() - deadline::now_ns();
      ::poll(&p, 1, left < 0 ? 0 : left > 1'000'000'000 ? 1000 : static_cast<int>(left / 1'000'000 + 1));
    }
  };
  times writes, reads;
  mooncake::transfer t;
  for (int i = 0; i != count + 1; ++i) {
    if (i == 1) writes.ns.clear(), reads.ns.clear();  // the first makes the connection and touches the memory
    writes.add([&] { t.write(ours, name, address, pieces(&from, 1), size), drive(t); });
    reads.add([&] { t.read(ours, name, address, std::span(&to, 1)), drive(t); });
  }
  if (!std::equal(from.begin(), from.end(), to.begin())) give_up("the engine's bytes differ");
  return writes.text() + "| " + reads.text();
}

void all_of(int fd, std::byte* at, std::size_t size, bool sends) {
  while (size != 0) {
    ssize_t const n = sends ? ::send(fd, at, size, MSG_NOSIGNAL) : ::recv(fd, at, size, 0);
    if (n <= 0) give_up("a plain connection broke");
    at += n;
    size -= static_cast<std::size_t>(n);
  }
}

/// The same bytes with blocking send and recv, and a byte of acknowledgement.
std::string plain(std::size_t size, int count) {
  other_side peer([size, count](int says) {
    auto door = must(mooncake::listen_at("127.0.0.1"));
    std::string const text = std::to_string(door.second);
    static_cast<void>(!::write(says, text.data(), text.size()));
    pollfd p{door.first.get(), POLLIN, 0};
    ::poll(&p, 1, -1);
    int const fd = ::accept(door.first.get(), nullptr, nullptr);
    net::line::set_no_delay(fd);
    auto memory = payload(size);
    std::byte done{1};
    for (int i = 0; i != count + 1; ++i) {
      all_of(fd, memory.data(), size, false);
      all_of(fd, &done, 1, true);
      all_of(fd, &done, 1, false);
      all_of(fd, memory.data(), size, true);
    }
  });
  int port = 0;
  peer.words() >> port;
  auto const where = must(net::resolve({"127.0.0.1", static_cast<std::uint16_t>(port)}));
  int const fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (::connect(fd, where.get(), where.size) != 0) give_up("no plain connection");
  net::line::set_no_delay(fd);
  auto data = payload(size);
  std::byte done{1};
  times writes, reads;
  for (int i = 0; i != count + 1; ++i) {
    if (i == 1) writes.ns.clear(), reads.ns.clear();
    writes.add([&] { all_of(fd, data.data(), size, true), all_of(fd, &done, 1, false); });
    reads.add([&] { all_of(fd, &done, 1, true), all_of(fd, data.data(), size, false); });
  }
  ::close(fd);
  return writes.text() + "| " + reads.text();
}

}  // namespace

int main() {
  std::optional<store> s;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, prefix;
    std::size_t size = 0;
    int count = 0;
    words >> command;
    if (command == "open") {
      store::options o;
      words >> o.transport.master;
      o.defaults.envelope = o.defaults.checksum = false;
      o.allocator.keep = most;
      s.emplace(must(store::open(o)));
      std::cout << "ready" << std::endl;
      continue;
    }
    if (command == "made") {
      std::cout << bench::compiler() << "|" << bench::compiler_flags() << "|" << bench::measured_commit() << "|" << bench::cpu() << std::endl;
      continue;
    }
    if (command == "opened") {
      std::cout << s->transport().connections_opened() << std::endl;
      continue;
    }
    if (command == "remove") {
      words >> count >> prefix;
      for (int i = 0; i != count; ++i) must(s->cleanup(hop, prefix + std::to_string(i)));
      std::cout << "ok" << std::endl;
      continue;
    }
    words >> size >> count >> prefix;
    if (command == "engine" || command == "plain") {
      std::cout << (command == "engine" ? engine(size, count) : plain(size, count)) << std::endl;
      continue;
    }
    auto const data = payload(size);
    auto back = payload(size);
    times t;
    for (int i = 0; i != count; ++i) {
      std::string const key = prefix + std::to_string(i);
      if (command == "put") {
        t.add([&] { static_cast<void>(must(s->put(hop, key, const_bytes(data.data(), size)))); });
        continue;
      }
      std::optional<store::view> got;
      std::fill(back.begin(), back.end(), std::byte{0});
      if (command == "get") {
        t.add([&] { got.emplace(must(s->get_view(hop, key))); });
      } else {
        t.add([&] { static_cast<void>(must(s->get_into(hop, key, mutable_bytes(back.data(), size)))); });
      }
      const_bytes const there = got ? got->bytes() : const_bytes(back.data(), size);
      if (!std::equal(data.begin(), data.end(), there.begin(), there.end())) give_up("the store's bytes differ");
    }
    std::cout << t.text() << std::endl;
  }
  return 0;
}
