// SPDX-License-Identifier: Apache-2.0
// Something else lies where a producer's arena should: each reader is told what, nobody hangs or dies, and the object is there again with its arena.
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>

#include <shm/stage.hpp>
#include <shm/tmpfs.hpp>

namespace {

using namespace shm_test;
using omniconn::const_bytes;
using omniconn::deadline;
using omniconn::error_kind;
using connector = omniconn::shm_connector<>;

constexpr omniconn::edge hop{"producer", "consumer"};

class shm_hostile_arena : public testing::Test {
 protected:
  shm_hostile_arena() {
    producer.emplace(connect());
    EXPECT_TRUE(producer->put(hop, "k", const_bytes(payload)));
    for (auto const& path : shm_transport::files(options().transport))
      if (!path.ends_with(".dir") && !is_fifo(path)) arena = path;
    EXPECT_FALSE(arena.empty());
    aside = folder.path() + "/aside";
    EXPECT_EQ(::rename(arena.c_str(), aside.c_str()), 0);
  }
  ~shm_hostile_arena() override {
    // A second producer's arena does not need the first one's: what is wrong there stays there.
    {
      auto other = connect(), reader = connect();
      EXPECT_TRUE(other.put(hop, "other", const_bytes(payload)));
      EXPECT_TRUE(reader.get_view(hop, "other", {deadline::immediate()}));
    }
    remove();
    EXPECT_EQ(::rename(aside.c_str(), arena.c_str()), 0);
    auto reader = connect();  // whoever mapped something else before keeps it
    auto const got = reader.get_view(hop, "k", {deadline::immediate()});
    EXPECT_TRUE(got) << got.error().message();
    if (got) {
      EXPECT_EQ(std::memcmp(got->bytes().data(), payload.data(), payload.size()), 0);
    }
  }

  [[nodiscard]] connector::options options() const {
    connector::options o;
    o.transport.space = "space";
    o.transport.directory = folder.path();
    o.transport.max_keys = 64;
    o.transport.memory_pool_size = std::uint64_t{1} << 20U;
    o.defaults.lease = std::chrono::nanoseconds(0);  // nothing stays behind a test that fails
    return o;
  }
  [[nodiscard]] connector connect() const {
    auto out = connector::open(options());
    EXPECT_TRUE(out) << out.error().message();
    return std::move(*out);
  }
  void remove() const {
    if (::unlink(arena.c_str()) != 0) ::rmdir(arena.c_str());
  }
  void plant(std::string const& content, mode_t mode = 0600) const {
    remove();
    std::ofstream(arena, std::ios::binary) << content;
    EXPECT_EQ(::chmod(arena.c_str(), mode), 0);
  }
  [[nodiscard]] std::string genuine() const {
    std::ifstream file(aside, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  /// By everybody who comes, more than once; the object does not go away by it.
  void expect_refused(error_kind kind, std::string_view text) {
    auto consumer = connect();
    for (int i = 0; i != 3; ++i) {
      auto const got = consumer.get_view(hop, "k", {deadline::immediate()});
      ASSERT_FALSE(got) << text;
      EXPECT_EQ(got.error().kind(), kind) << got.error().message();
      EXPECT_NE(got.error().message().find(text), std::string::npos) << got.error().message();
      EXPECT_TRUE(consumer.exists(hop, "k").value_or(false));
    }
  }

  own_folder folder;
  std::vector<std::byte> payload = std::vector<std::byte>(10'000, std::byte{0x5a});
  std::string arena, aside;
  std::optional<connector> producer;
};

TEST_F(shm_hostile_arena, that_is_cut_is_corrupt) {
  plant("");
  expect_refused(error_kind::corrupt, "empty");
  std::string const whole = genuine();
  auto const at = whole.find(std::string(100, '\x5a'));
  ASSERT_NE(at, whole.npos);
  for (std::size_t const size : {std::size_t{1}, std::size_t{4096}, at, at + payload.size() - 1}) {
    plant(whole.substr(0, size));
    expect_refused(error_kind::corrupt, "outside its arena");
  }
}

TEST_F(shm_hostile_arena, of_random_bytes_is_corrupt) {
  std::string noise(genuine().size(), '\0');
  std::uint64_t x = 1;
  for (char& c : noise) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    c = static_cast<char>(x >> 56U);
  }
  plant(noise);
  expect_refused(error_kind::corrupt, "checksum");
}

TEST_F(shm_hostile_arena, open_to_others_is_unauthorized) {
  for (mode_t const mode : {mode_t{0644}, mode_t{0660}, mode_t{0602}}) {
    plant(genuine(), mode);
    expect_refused(error_kind::unauthorized, "mode 0600");
  }
}

TEST_F(shm_hostile_arena, of_another_owner_is_unauthorized) {
  plant(genuine());
  constexpr uid_t stranger = 65534;
  if (::chown(arena.c_str(), stranger, stranger) != 0) GTEST_SKIP() << "needs root to give files away";
  expect_refused(error_kind::unauthorized, "another user");
}

TEST_F(shm_hostile_arena, that_is_no_file_is_unauthorized) {
  ASSERT_EQ(::symlink(aside.c_str(), arena.c_str()), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");
  remove();
  ASSERT_EQ(::mkdir(arena.c_str(), 0700), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");
  remove();
  ASSERT_EQ(::mkfifo(arena.c_str(), 0600), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");  // and does not wait for a writer
  remove();
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  ASSERT_LT(arena.size(), sizeof name.sun_path);
  std::memcpy(name.sun_path, arena.c_str(), arena.size());
  int const fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr const*>(&name), sizeof name), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");
  ::close(fd);
}

// Who tidies up after the dead takes a name away that is theirs, and touches nothing that it leads to.
TEST(shm_hostile_arena_of_a_dead_one, a_link_in_its_place_goes_and_what_it_leads_to_stays) {
  own_folder const folder;
  std::string const target = folder.path() + "/precious";
  std::ofstream(target) << "precious";
  ASSERT_EQ(::chmod(target.c_str(), 0600), 0);
  {
    fresh_space const space(folder.path());
    stage producer(space.name(), {}, {"env", "OMNICONN_SHM_DIRECTORY=" + folder.path()});
    ASSERT_EQ(producer.ask("put k 1 100000"), "ok 100000");
    std::string arena;
    for (auto const& path : shm_transport::files(space.options()))
      if (!path.ends_with(".dir") && !is_fifo(path)) arena = path;
    ASSERT_EQ(::unlink(arena.c_str()), 0);
    ASSERT_EQ(::symlink(target.c_str(), arena.c_str()), 0);
    EXPECT_EQ(producer.kill(), status_killed);
    EXPECT_TRUE(shm_transport::collect(space.options()));
    space.empty();
    EXPECT_EQ(space.all_files(), std::vector<std::string>{});
  }
  std::string content;
  std::getline(std::ifstream(target), content);
  EXPECT_EQ(content, "precious");
  ASSERT_EQ(::unlink(target.c_str()), 0);
}

}  // namespace
