// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The transfer engine's two sides, with each other and with strangers.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/mooncake/engine/initiator.hpp>
#include <omniconn/transport/mooncake/engine/target.hpp>
#include <support/cpu_time.hpp>

namespace {

using namespace omniconn;
using namespace omniconn::detail;
using namespace omniconn::detail::mooncake;

result<progress> drive(transfer& t) {
  auto now = t.step();
  while (now && *now == progress::pending) {
    auto p = t.interest();
    ::poll(&p, 1, p.fd < 0 ? 1 : 50);
    now = t.step();
  }
  return now;
}
result<progress> write(initiator& from, std::string const& to, std::uint64_t address, const_bytes data) {
  transfer t;
  t.write(from, to, address, pieces(&data, 1), data.size());
  return drive(t);
}
result<progress> read(initiator& from, std::string const& to, std::uint64_t address, mutable_bytes into) {
  transfer t;
  t.read(from, to, address, std::span<mutable_bytes const>(&into, 1));
  return drive(t);
}

struct mooncake_engine : testing::Test {
  static constexpr std::size_t size = std::size_t{8} << 20U;
  std::vector<std::byte> memory = std::vector<std::byte>(size);
  target serves;
  std::uint64_t base = reinterpret_cast<std::uintptr_t>(memory.data());
  std::string name;
  initiator ours{{}};

  mooncake_engine() {
    auto const opened = serves.open("127.0.0.1", memory);
    EXPECT_TRUE(opened) << opened.error().message();
    name = serves.about().name;
  }
};

TEST_F(mooncake_engine, what_is_written_is_read) {
  for (std::size_t const n : {std::size_t{1}, std::size_t{23}, std::size_t{4096}, std::size_t{65537}, size / 2, size, size, size, size}) {
    auto const data = test_pattern(n, n);
    ASSERT_TRUE(write(ours, name, base, data));
    EXPECT_TRUE(same_bytes(const_bytes(memory).first(n), data)) << "in place when the write has ended";
    std::vector<std::byte> back(n);
    ASSERT_TRUE(read(ours, name, base, back));
    EXPECT_TRUE(same_bytes(back, data));
  }
  std::array<std::byte, 0> nothing;
  EXPECT_TRUE(write(ours, name, base + size, nothing)) << "no byte beyond the end";
}

TEST_F(mooncake_engine, pieces_are_one_transfer) {
  auto const data = test_pattern(1000, 1);
  std::array<const_bytes, 3> const parts{const_bytes(data).first(1), const_bytes(data).subspan(1, 700), const_bytes(data).subspan(701)};
  transfer t;
  t.write(ours, name, base, parts, 900);
  ASSERT_TRUE(drive(t));
  EXPECT_TRUE(same_bytes(const_bytes(memory).first(900), const_bytes(data).first(900)));
  EXPECT_EQ(memory[900], std::byte{0}) << "as many as was said";
  std::vector<std::byte> a(1), b(899);
  std::array<mutable_bytes, 2> const to{mutable_bytes(a), mutable_bytes(b)};
  t.read(ours, name, base, to);
  ASSERT_TRUE(drive(t));
  EXPECT_TRUE(same_bytes(b, const_bytes(data).subspan(1, 899)));
}

TEST_F(mooncake_engine, a_large_read_is_two_whatever_its_pieces_are) {
  auto const data = test_pattern(size, 5);
  ASSERT_TRUE(write(ours, name, base, data));
  for (std::uint64_t const from : {0U, 1U, 63U, 3968U, 4000U, 4032U, 4095U})
    for (auto const& cuts : std::vector<std::vector<std::size_t>>{{}, {128}, {1, 127}, {127, 2}, {200}, {0, 128, 0}, {30, 30, 1'000'000}}) {
      std::size_t const n = (std::size_t{1} << 20U) + 17;
      std::vector<std::byte> back(n);
      std::vector<mutable_bytes> to;
      std::size_t at = 0;
      for (auto const cut : cuts) {
        to.push_back(mutable_bytes(back).subspan(at, cut));
        at += cut;
      }
      to.push_back(mutable_bytes(back).subspan(at));
      transfer t;
      t.read(ours, name, base + from, to);
      ASSERT_TRUE(drive(t));
      EXPECT_TRUE(same_bytes(back, const_bytes(data).subspan(from, n))) << from << ", " << cuts.size();
    }
  std::vector<std::byte> back(std::size_t{1} << 20U);
  EXPECT_TRUE(read(ours, name, base + size - 4096, back) == error_kind::stale_handle) << "it begins inside, and ends outside";
  for (std::uint64_t address = 0; address != 8192; ++address) {
    auto const source = (address + first_part(address, std::uint64_t{1} << 20U)) % 4096;
    EXPECT_TRUE(source >= 64 && source <= 4032) << address;
  }
}

TEST_F(mooncake_engine, nobody_reaches_beyond_the_memory) {
  std::vector<std::byte> some(64);
  constexpr std::uint64_t most = ~std::uint64_t{0};
  for (auto const address : {base - 1, base + size - 63, base + size + 1, std::uint64_t{0}, most, most - 62, base + (std::uint64_t{1} << 40U)}) {
    EXPECT_TRUE(write(ours, name, address, some) == error_kind::stale_handle) << address - base;
    EXPECT_TRUE(read(ours, name, address, some) == error_kind::stale_handle) << address - base;
  }
  std::vector<std::byte> const large(size + 1);
  EXPECT_TRUE(write(ours, name, base, large) == error_kind::stale_handle) << "it hears why, although it had more to say";
  EXPECT_TRUE(write(ours, name, base + size - 64, some)) << "and the engine serves on";
}

TEST_F(mooncake_engine, ten_thousand_transfers_use_a_few_connections) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::uint64_t lane = 0; lane != 4; ++lane)
    threads.emplace_back([&, lane] {
      std::vector<std::byte> back(1000);
      for (std::uint64_t i = 0; i != 1250; ++i) {
        auto const data = test_pattern(1000, lane * 10'000 + i);
        if (!write(ours, name, base + lane * 1000, data) || !read(ours, name, base + lane * 1000, back) || !same_bytes(back, data)) wrong.fetch_add(1);
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_LE(ours.opened(), 4U + 4U) << "a question and a connection of each thread";
}

TEST_F(mooncake_engine, who_finds_no_connection_waits_for_one) {
  initiator::options o;
  o.lines.lines = 2;
  initiator few(std::move(o));
  std::vector<std::byte> back(100'000);
  std::vector<transfer> all(20);
  auto const data = test_pattern(100'000, 3);
  const_bytes const piece(data);
  for (auto& t : all) t.write(few, name, base, pieces(&piece, 1), data.size());
  for (auto& t : all) ASSERT_TRUE(drive(t));
  EXPECT_LE(few.opened(), 4U);
  for (std::size_t i = 0; i != all.size(); ++i) {
    mutable_bytes const to(back);
    all[i].read(few, name, base, std::span(&to, 1));
    if (i % 3 == 0) all[i].abandon();
  }
  for (std::size_t i = 0; i != all.size(); ++i)
    if (i % 3 != 0) {
      ASSERT_TRUE(drive(all[i])) << i;
    }
}

TEST_F(mooncake_engine, a_node_that_moved_is_found_again) {
  auto const data = test_pattern(100, 1);
  ASSERT_TRUE(write(ours, name, base, data));
  target other;
  ASSERT_TRUE(other.open("127.0.0.1", memory));
  engine_descriptor stale = other.about();
  serves.close();
  EXPECT_TRUE(write(ours, name, base, data) == error_kind::unreachable);
  stale.data_port = serves.about().data_port;  // where nobody listens any more
  ASSERT_TRUE(ours.learn(other.about().name, stale));
  EXPECT_TRUE(write(ours, other.about().name, base, data)) << "asked again, because what was known led nowhere";
}

/// Takes connections and says what a test wants, then closes them.
class stranger {
 public:
  explicit stranger(std::string answer, bool closes = true) : answer_(std::move(answer)), closes_(closes) {
    auto door = listen_at("127.0.0.1");
    EXPECT_TRUE(door);
    door_ = std::move(door->first);
    port_ = door->second;
    thread_ = std::thread([this] { serve(); });
  }
  stranger(stranger const&) = delete;
  stranger& operator=(stranger const&) = delete;
  ~stranger() {
    stop_ = true;
    thread_.join();
  }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::string name() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  void serve() {
    std::vector<unique_fd> kept;
    while (!stop_) {
      pollfd p{door_.get(), POLLIN, 0};
      if (::poll(&p, 1, 10) <= 0) continue;
      unique_fd fd(::accept4(door_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) continue;
      char some[4096];
      ::recv(fd.get(), some, sizeof some, 0);
      ::send(fd.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
      if (!closes_) kept.push_back(std::move(fd));
    }
  }
  std::string answer_;
  bool closes_;
  unique_fd door_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

error_kind of_name(std::string const& answer) {
  stranger const peer(answer);
  initiator ours({});
  auto const now = write(ours, peer.name(), 1, test_pattern(100, 1));
  return now ? error_kind{} : now.error().kind();
}
std::string described(std::string const& json) { return handshake_dialogue::frame(handshake_dialogue::metadata, json); }

TEST(mooncake_engine_strangers, descriptions_that_are_none_are_refused) {
  EXPECT_EQ(of_name("HTTP/1.1 400 Bad Request\r\n\r\n"), error_kind::malformed);
  EXPECT_EQ(of_name(""), error_kind::peer_lost);
  EXPECT_EQ(of_name(described("{}").substr(0, 5)), error_kind::peer_lost) << "cut";
  EXPECT_EQ(of_name(std::string(9, '\xff')), error_kind::malformed) << "more than 1 MiB";
  EXPECT_EQ(of_name(described("")), error_kind::malformed);
  EXPECT_EQ(of_name(described("{}")), error_kind::malformed);
  EXPECT_EQ(of_name(described("[1, 2")), error_kind::malformed);
  EXPECT_EQ(of_name(described(std::string(100'000, '['))), error_kind::malformed);
  std::string const good = R"({"name":"n","protocol":"tcp","tcp_data_host":"127.0.0.1","tcp_data_port":1,"tcp_proto_version":2,"buffers":[]})";
  EXPECT_EQ(of_name(described(good)), error_kind::unreachable) << "nobody listens there";
  auto const with = [&good](std::string const& from, std::string const& to) { return described(std::string(good).replace(good.find(from), from.size(), to)); };
  EXPECT_EQ(of_name(with("\"tcp\"", "\"rdma\"")), error_kind::unsupported);
  EXPECT_EQ(of_name(with("version\":2", "version\":1")), error_kind::version_mismatch);
  EXPECT_EQ(of_name(with("port\":1", "port\":65536")), error_kind::malformed);
  EXPECT_EQ(of_name(with("port\":1", "port\":-1")), error_kind::malformed);
  EXPECT_EQ(of_name(with("port\":1", "port\":\"1\"")), error_kind::malformed);
  EXPECT_EQ(of_name(with("[]", "[{\"addr\":1}]")), error_kind::malformed);
  EXPECT_EQ(of_name(with("127.0.0.1", "no.such.host.invalid")), error_kind::unreachable);
}

error_kind of_data(std::string const& answer, bool reads, bool closes = true) {
  stranger const peer(answer, closes);
  initiator::options o;
  o.lines.silence_ns = 100'000'000;
  initiator ours(std::move(o));
  engine_descriptor about;
  about.name = peer.name();
  about.data_host = "127.0.0.1";
  about.data_port = peer.port();
  EXPECT_TRUE(ours.learn(peer.name(), about));
  std::vector<std::byte> memory(100);
  transfer t;
  mutable_bytes const to(memory);
  const_bytes const from(memory);
  reads ? t.read(ours, peer.name(), 1, std::span(&to, 1)) : t.write(ours, peer.name(), 1, pieces(&from, 1), 100);
  auto const now = drive(t);
  return now ? error_kind{} : now.error().kind();
}

TEST(mooncake_engine_strangers, answers_that_are_none_are_refused) {
  std::string good(8, '\0');
  std::memcpy(good.data(), &transfer_status::good, 8);
  EXPECT_EQ(of_data(good, false), error_kind{});
  EXPECT_EQ(of_data(good + std::string(100, 'x'), true), error_kind{});
  // The desk of these strangers says the same as their data port, so that a second question finds no engine either.
  for (bool const reads : {true, false}) {
    EXPECT_NE(of_data("HTTP/1.1 400 Bad", reads), error_kind{});
    EXPECT_NE(of_data(good.substr(0, 7), reads), error_kind{});
    EXPECT_NE(of_data("", reads), error_kind{});
    EXPECT_EQ(of_data("", reads, false), error_kind::peer_stalled);
  }
  EXPECT_NE(of_data(good + "less than a hundred", true), error_kind{});
  EXPECT_EQ(of_data(good + "less than a hundred", true, false), error_kind::peer_stalled);
}

/// A write to somebody who reads what the test wants him to.
struct mooncake_hang_up : testing::Test {
  std::pair<unique_fd, std::uint16_t> door = std::move(listen_at("127.0.0.1").value());
  std::vector<std::byte> data = test_pattern(100'000, 1);
  const_bytes piece{data};
  transfer t;

  initiator knowing(std::int64_t silence_ns = 60'000'000'000) const {
    initiator::options o;
    o.lines.silence_ns = silence_ns;
    return initiator(std::move(o));
  }
  void begin(initiator& ours, bool knows = true) {
    std::string const name = "127.0.0.1:" + std::to_string(door.second);
    engine_descriptor about;
    about.data_host = "127.0.0.1";
    about.data_port = door.second;
    if (knows) {
      ASSERT_TRUE(ours.learn(name, about));
    }
    t.write(ours, name, 4096, pieces(&piece, 1), piece.size());
    auto now = t.step();
    for (int i = 0; i != 100 && now && t.interest().events == POLLOUT; ++i, now = t.step()) {
      auto p = t.interest();
      ::poll(&p, 1, 50);
    }
    ASSERT_TRUE(now) << now.error().message();
  }
  unique_fd accepted() const {
    pollfd p{door.first.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&p, 1, 10'000), 1);
    return unique_fd(::accept(door.first.get(), nullptr, nullptr));
  }
};

TEST_F(mooncake_hang_up, who_does_not_read_may_do_so_later) {
  auto ours = knowing();
  ASSERT_NO_FATAL_FAILURE(begin(ours));
  EXPECT_FALSE(t.in_flight());
  t.hang_up(50'000'000);
  EXPECT_TRUE(t.in_flight());
}

TEST_F(mooncake_hang_up, who_has_read_all_hangs_up_too) {
  auto ours = knowing();
  ASSERT_NO_FATAL_FAILURE(begin(ours));
  std::size_t heard = 0;
  std::thread other([&, line = accepted()] {
    std::array<char, 4096> some;
    for (ssize_t n = 0; (n = ::recv(line.get(), some.data(), some.size(), 0)) > 0;) heard += static_cast<std::size_t>(n);
  });
  t.hang_up(60'000'000'000);
  other.join();
  EXPECT_FALSE(t.in_flight());
  EXPECT_EQ(heard, transfer_header::bytes + data.size());
}

TEST_F(mooncake_hang_up, who_is_gone_reads_nothing) {
  auto ours = knowing();
  ASSERT_NO_FATAL_FAILURE(begin(ours));
  accepted();  // closed with bytes unread, as by the death of its process
  t.hang_up(60'000'000'000);
  EXPECT_FALSE(t.in_flight());
}

TEST_F(mooncake_hang_up, who_was_asked_the_way_has_nothing_to_read) {
  auto ours = knowing();
  ASSERT_NO_FATAL_FAILURE(begin(ours, false));
  auto const before = deadline::now_ns();
  t.hang_up(60'000'000'000);
  EXPECT_LT(deadline::now_ns() - before, 30'000'000'000) << "at once";
  EXPECT_FALSE(t.in_flight());
}

TEST_F(mooncake_hang_up, silence_leaves_it_open) {
  auto ours = knowing(100'000'000);
  ASSERT_NO_FATAL_FAILURE(begin(ours));
  EXPECT_TRUE(drive(t) == error_kind::peer_stalled);
  EXPECT_TRUE(t.in_flight());
}

TEST_F(mooncake_engine, visitors_that_say_nonsense_are_sent_away) {
  auto const where = net::resolve({"127.0.0.1", serves.about().data_port});
  for (std::string const& nonsense : {std::string("GET / HTTP/1.1\r\nHost: here\r\n\r\n"), std::string(24, '\0'), std::string(1000, '\xff'), std::string("half")}) {
    auto line = net::line::start(*where);
    ASSERT_TRUE(line);
    while (!*line->connected()) ::sched_yield();
    std::string text = nonsense;
    iovec part{text.data(), text.size()};
    static_cast<void>(line->send(std::span(&part, 1)));
    ::shutdown(line->fd(), SHUT_WR);
    std::array<std::byte, 100> some{};
    result<std::size_t> n = std::size_t{0};
    for (auto const end = deadline::after(std::chrono::seconds(20)); n && !end.passed(); n = line->receive(some)) {
      pollfd p{line->fd(), POLLIN, 0};
      ::poll(&p, 1, 100);
    }
    EXPECT_TRUE(n == error_kind::peer_lost) << nonsense.size();
  }
  EXPECT_TRUE(write(ours, name, base, test_pattern(10, 1)));
}

TEST_F(mooncake_engine, without_descriptors_it_rests_and_serves_again) {
  auto const where = net::resolve({"127.0.0.1", serves.about().data_port});
  unique_fd const visitor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(::connect(visitor.get(), where->get(), where->size), 0) << "it waits in the kernel's queue";
  auto const start = test::cpu_time_ms();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));  // in which nobody has anything to do; a busy machine makes it less
  EXPECT_LT(test::cpu_time_ms() - start, 100);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(write(ours, name, base, test_pattern(10, 2)));
}

TEST_F(mooncake_engine, a_part_that_is_smaller_than_what_is_waited_for_is_written_all_the_same) {
  auto line = net::line::start(*net::resolve({"127.0.0.1", serves.about().data_port}));
  ASSERT_TRUE(line);
  while (!*line->connected()) ::sched_yield();
  auto header = transfer_header{size, base, transfer_header::write}.pack();
  auto data = test_pattern(1000, 1);
  std::array<iovec, 2> parts{iovec{header.data(), header.size()}, iovec{data.data(), 1}};
  ASSERT_TRUE(line->send(parts));
  // It sleeps until there is much, by now.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  iovec more{data.data() + 1, data.size() - 1};
  ASSERT_TRUE(line->send(std::span(&more, 1)));
  std::vector<std::byte> back(data.size());
  for (auto const end = deadline::after(std::chrono::seconds(20)); back != data && !end.passed();) {
    ASSERT_TRUE(read(ours, name, base, back));
  }
  EXPECT_EQ(back, data);
}

TEST_F(mooncake_engine, visitors_that_stay_silent_keep_nobody_away) {
  auto const where = net::resolve({"127.0.0.1", serves.about().data_port});
  std::vector<net::line> silent;
  for (std::size_t i = 0; i != target::max_lines - 2; ++i) {
    auto line = net::line::start(*where);
    ASSERT_TRUE(line);
    silent.push_back(std::move(*line));
  }
  EXPECT_TRUE(write(ours, name, base, test_pattern(10, 1)));
  for (int i = 0; i != 10; ++i) silent.push_back(std::move(*net::line::start(*where)));  // more than there are places
  silent.erase(silent.begin(), silent.begin() + 20);
  initiator another({});
  EXPECT_TRUE(write(another, name, base, test_pattern(10, 1))) << "a place that came free is taken";
}

}  // namespace
