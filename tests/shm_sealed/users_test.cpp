// SPDX-License-Identifier: Apache-2.0
// Several users, who allow each other or do not. Needs root, to become another user.
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <omniconn/runtime/sealed.hpp>
#include <support/cpu_time.hpp>
#include <support/quiet_fork.hpp>

#include "impostor.hpp"
#include "stage.hpp"
#include "support.hpp"

namespace {

using namespace omniconn;
using sealed_test::stage;

constexpr std::uint32_t stranger = 61'234, friendly = 61'235;

result<shm_sealed_transport, diagnosis> open_at(std::string const& directory, std::vector<std::uint32_t> users) {
  shm_sealed_transport::options o;
  o.directory = directory;
  o.space = "users";
  o.allow_users = std::move(users);
  return shm_sealed_transport::open(o);
}
error_kind put(shm_sealed_transport& t, wire_key key) {
  const_bytes const piece = bytes_of("text");
  object_info info;
  info.size = piece.size();
  shm_sealed_transport::put_op op;
  if (auto const begun = t.begin(op, key, {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, {}); !begun) return begun.error().kind();
  auto const done = t.commit(op, info);
  return done ? error_kind{} : done.error().kind();
}
error_kind get(shm_sealed_transport& t, wire_key key, std::chrono::milliseconds span) {
  shm_sealed_transport::get_op op;
  operation* const one[]{&op};
  auto now = t.find(op, key, {});
  while (now && *now == progress::pending) {
    if (auto const woken = t.wait(one, deadline::after(span), {}); !woken) return woken.error().kind();
    now = t.step(op);
  }
  if (!now) return now.error().kind();
  auto hold = op.take();
  bool const right = text_of(hold.bytes()) == "text";
  hold.finish(disposition::consumed);
  return right ? error_kind{} : error_kind::corrupt;
}
/// Runs it in a process of that user. \returns its exit status
int as_user(std::uint32_t user, std::function<int()> const& what) {
  pid_t const child = test::quiet_fork();
  EXPECT_GE(child, 0);
  if (child == 0) {
    if (::setresgid(user, user, user) != 0 || ::setresuid(user, user, user) != 0) ::_exit(200);
    ::_exit(what());
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 300;
}
int number(error_kind kind) { return static_cast<int>(kind); }

struct shm_sealed_users : ::testing::Test {
  // Not below the folder of this run, which others may not enter.
  std::string directory = "/dev/shm/omniconn-sealed-users-XXXXXX";

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    ASSERT_EQ(::chmod(directory.c_str(), 0777), 0);
  }
  void TearDown() override {
    for (auto const& folder : sealed_test::entries(directory)) {
      for (auto const& name : sealed_test::entries(directory + "/" + folder)) ::unlink((directory + "/" + folder + "/" + name).c_str());
      ::rmdir((directory + "/" + folder).c_str());
    }
    ::rmdir(directory.c_str());
  }
};

TEST_F(shm_sealed_users, other_users_that_are_allowed_both_ways_share_objects) {
  stage ours(directory, "ours", {"0", "61235"}), theirs(directory, "theirs", {"61235", "0"});
  EXPECT_EQ(ours.ask("put from-root 100000"), "done");
  EXPECT_EQ(theirs.ask("get from-root 20"), "right");
  EXPECT_EQ(theirs.ask("put from-friend 100000"), "done");
  EXPECT_EQ(ours.ask("get from-friend 20"), "right");
}

TEST_F(shm_sealed_users, other_users_that_are_not_allowed_get_nothing_and_are_named) {
  auto ours = open_at(directory, {friendly});
  ASSERT_TRUE(ours);
  ASSERT_EQ(put(*ours, "key"), error_kind{});
  EXPECT_EQ(as_user(stranger, [this] {
              auto theirs = open_at(directory, {0});  // allows us, which helps nothing
              return theirs ? number(get(*theirs, "key", std::chrono::milliseconds(200))) : 201;
            }),
            number(error_kind::unauthorized));
  std::string peers;
  for (auto const& p : ours->report().peers)
    if (!p.alive) peers += p.name;
  EXPECT_NE(peers.find("user " + std::to_string(stranger)), std::string::npos) << peers;
  EXPECT_EQ(get(*ours, "key", std::chrono::seconds(20)), error_kind{}) << "it is still there";
}

TEST_F(shm_sealed_users, other_users_objects_are_not_taken_unless_they_are_allowed) {
  shm_sealed_connector<raw_serializer>::options o;
  o.transport.directory = directory;
  o.transport.space = "default";
  o.transport.allow_users = {friendly};
  auto ours = shm_sealed_connector<raw_serializer>::open(o);
  ASSERT_TRUE(ours);
  edge const flow{"source", "sink"};
  stage theirs(directory, "theirs", {"61234", "0"});
  ASSERT_EQ(theirs.ask("put key 10"), "done") << "a stranger may put into the folder what it likes";
  EXPECT_TRUE(ours->get_view(flow, "key", {deadline::after(std::chrono::milliseconds(100))}) == error_kind::timed_out);
  std::string peers;
  for (auto const& p : ours->health().peers)
    if (!p.alive) peers += p.name;
  EXPECT_NE(peers.find("user " + std::to_string(stranger)), std::string::npos) << peers;
  stage friends(directory, "friends", {"61235", "0"});
  ASSERT_EQ(friends.ask("put key 10"), "done");
  EXPECT_TRUE(ours->get_view(flow, "key", {deadline::after(std::chrono::seconds(20))})) << "the same of an allowed one";
}

TEST_F(shm_sealed_users, other_users_have_their_share_of_places_and_no_more) {
  using namespace omniconn::detail::sealed;
  auto ours = open_at(directory, {friendly}), reader = open_at(directory, {friendly});
  ASSERT_TRUE(ours && reader);
  ASSERT_EQ(put(*ours, "key"), error_kind{});
  EXPECT_EQ(as_user(friendly, [this] {
              auto const place = meeting_place::open(directory, "users", {0});
              if (!place) return 201;
              std::vector<sealed_test::raw_line> lines;
              message answer;
              for (std::size_t i = 0; i != house::max_customers / 2; ++i) {
                lines.push_back(sealed_test::false_consumer(*place));
                if (!lines.back().receive(answer, message_type::hello)) return 202;
              }
              auto more = sealed_test::false_consumer(*place);
              return more.receive(answer) && answer.type == message_type::refused && answer.flag == static_cast<std::uint8_t>(refused_for::full) ? 0 : 203;
            }),
            0);
  std::string peers;
  for (auto const& p : ours->report().peers)
    if (!p.alive) peers += p.name;
  EXPECT_NE(peers.find("its user's share"), std::string::npos) << peers;
  EXPECT_EQ(get(*reader, "key", std::chrono::seconds(20)), error_kind{});
}

TEST_F(shm_sealed_users, other_users_producers_leave_room_for_ours) {
  using namespace omniconn::detail::sealed;
  auto ours = open_at(directory, {friendly}), reader = open_at(directory, {friendly});
  ASSERT_TRUE(ours && reader);
  int ready[2], end[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(end, O_CLOEXEC), 0);
  pid_t const child = test::quiet_fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::close(end[1]);
    ::_exit(as_user(friendly, [this, &ready, &end] {
      auto const place = meeting_place::open(directory, "users", {0});
      std::vector<sealed_test::unique_fd> doors;
      for (std::uint64_t id = 1; id <= desk::max_links / 2 + 10; ++id) {
        auto door = place ? place->listen(id) : result<sealed_test::unique_fd>(error_kind::io, "");
        if (!door) return 1;
        doors.push_back(std::move(*door));
      }
      char c = 0;
      static_cast<void>(!::write(ready[1], "x", 1));
      static_cast<void>(!::read(end[0], &c, 1));
      return 0;
    }));
  }
  ::close(end[0]);
  ::close(ready[1]);
  char c = 0;
  EXPECT_EQ(::read(ready[0], &c, 1), 1);
  std::size_t alive = 0;
  bool named = false;
  for (auto const until = deadline::after(std::chrono::seconds(20)); !named && !until.passed();) {  // so many are several looks
    static_cast<void>(get(*reader, "nothing", std::chrono::milliseconds(10)));
    alive = 0;
    for (auto const& p : reader->report().peers) {
      alive += p.alive ? 1 : 0;
      named = named || p.name.find("its user's share") != std::string::npos;
    }
  }
  EXPECT_EQ(alive, desk::max_links / 2);
  EXPECT_TRUE(named);
  ASSERT_EQ(put(*ours, "key"), error_kind{});
  EXPECT_EQ(get(*reader, "key", std::chrono::seconds(20)), error_kind{}) << "there is a place for ours";
  ::close(end[1]);
  ::close(ready[0]);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(shm_sealed_users, other_users_sockets_that_nobody_listens_at_are_tried_once) {
  auto reader = open_at(directory, {friendly});
  ASSERT_TRUE(reader);
  auto const place = sealed_test::meeting_place::open(directory, "users", {friendly});
  ASSERT_TRUE(place);
  auto const name = [&place](std::uint64_t id) { return place->path() + "/" + sealed_test::socket_name(id); };
  ASSERT_TRUE(place->listen(7));  // its owner ends, it stays
  ASSERT_EQ(::lchown(name(7).c_str(), friendly, friendly), 0);
  EXPECT_FALSE(reader->exists("none").value_or(true));
  // No producer of ours takes a name twice; who listens there later shows whether it is tried again.
  auto const door = place->listen(8);
  ASSERT_TRUE(door);
  ASSERT_EQ(::lchown(name(8).c_str(), friendly, friendly), 0);
  ASSERT_EQ(::rename(name(8).c_str(), name(7).c_str()), 0);
  EXPECT_FALSE(reader->exists("none").value_or(true));
  pollfd came{door->get(), POLLIN, 0};
  EXPECT_EQ(::poll(&came, 1, 0), 0);
}

// Root has no such limit.
TEST_F(shm_sealed_users, other_users_limit_of_descriptors_under_way_does_not_spin_the_thread) {
  using namespace omniconn::detail::sealed;
  EXPECT_EQ(as_user(friendly, [this] {
              constexpr std::uint32_t readers = 60;
              auto producer = open_at(directory, {0});
              auto const place = meeting_place::open(directory, "users", {0});
              if (!producer || !place) return 201;
              const_bytes const piece = bytes_of("text");
              object_info info;
              info.size = piece.size();
              publish_options how;
              how.readers.count = readers;
              shm_sealed_transport::put_op op;
              if (!producer->begin(op, "key", {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, how) || !producer->commit(op, info)) return 202;
              auto line = sealed_test::false_consumer(*place);
              rlimit const few{10, 10};  // far from what there is room for
              if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 203;
              for (std::uint64_t id = 1; id <= readers; ++id) {
                std::string const name = std::to_string(id);
                message m = sealed_test::of_type(message_type::get, id);
                m.key = "key";
                m.text = name;
                if (!line.send(m)) return 204;
              }
              pollfd arrived{line.fd(), POLLIN, 0};
              if (::poll(&arrived, 1, 20'000) != 1) return 205;
              auto const before = test::cpu_time_ms();
              std::this_thread::sleep_for(std::chrono::milliseconds(400));  // in which nobody has anything to do; a busy machine makes it less
              if (test::cpu_time_ms() - before > 100) return 206;
              message m;
              for (std::uint32_t n = 0; n != readers; ++n)
                if (!line.receive(m, message_type::grant)) return 207;
              return 0;
            }),
            0);
}

TEST_F(shm_sealed_users, other_users_leave_few_descriptors_unread_on_all_their_lines) {
  using namespace omniconn::detail::sealed;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = 1024;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  constexpr std::size_t most = 1024 / 8 / 2;
  auto ours = open_at(directory, {friendly}), reader = open_at(directory, {friendly});
  ASSERT_TRUE(ours && reader);
  const_bytes const piece = bytes_of("text");
  object_info info;
  info.size = piece.size();
  publish_options how;
  how.readers.count = max_readers;
  shm_sealed_transport::put_op op;
  ASSERT_TRUE(ours->begin(op, "shared", {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, how) && ours->commit(op, info));
  EXPECT_EQ(as_user(friendly, [this] {
              constexpr std::size_t lines_of_each = 4, gets = 30;  // each line has room for them
              auto const place = meeting_place::open(directory, "users", {0});
              if (!place) return 201;
              std::vector<sealed_test::raw_line> lines;
              std::size_t asked = 0;
              message m, answer;
              auto const ask = [&] {
                for (std::size_t l = 0; l != lines_of_each; ++l) {
                  lines.push_back(sealed_test::false_consumer(*place));
                  for (std::uint64_t id = 1; id <= gets; ++id) {
                    std::string const name = std::to_string(++asked);
                    m = sealed_test::of_type(message_type::get, id);
                    m.key = "shared";
                    m.text = name;
                    if (!lines.back().send(m)) return false;
                  }
                }
                auto last = sealed_test::false_consumer(*place);  // who is answered when all that was asked before is heard
                return last.send(sealed_test::of_type(message_type::ping, 1)) && last.receive(answer, message_type::pong);
              };
              auto const under_way = [&lines] {
                std::size_t n = 0;
                for (auto const& line : lines) {
                  int bytes = 0;
                  static_cast<void>(::ioctl(line.fd(), FIONREAD, &bytes));
                  n += static_cast<std::size_t>(bytes) / header_size;
                }
                return n;
              };
              if (!ask()) return 202;
              std::size_t const first = under_way();
              if (first < most || first > most + lines.size()) return 203;  // each has a hello as well
              for (auto& line : lines) {
                if (!line.send("x")) return 204;  // for which it is thrown out, with all that it has not read
                pollfd out{line.fd(), POLLIN, 0};
                while ((out.revents & POLLHUP) == 0)
                  if (::poll(&out, 1, 20'000) != 1) return 205;
              }
              if (!ask()) return 206;
              if (under_way() > most + lines.size()) return 207;
              lines.erase(lines.begin(), lines.begin() + lines_of_each);
              for (auto& line : lines)
                for (std::size_t n = 0; n != gets; ++n)
                  if (!line.receive(answer, message_type::grant)) return 208;  // who reads is served
              return 0;
            }),
            0);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(get(*reader, "shared", std::chrono::seconds(20)), error_kind{});
}

TEST_F(shm_sealed_users, other_users_folders_are_refused) {
  EXPECT_EQ(as_user(stranger, [this] { return open_at(directory, {0}) ? 0 : 1; }), 0) << "it makes the folder that several users share";
  auto const ours = open_at(directory, {friendly});
  ASSERT_FALSE(ours);
  EXPECT_EQ(ours.error().kind(), error_kind::unauthorized);
  EXPECT_NE(ours.error().detail().find("user " + std::to_string(stranger)), std::string::npos) << ours.error().detail();
  EXPECT_TRUE(open_at(directory, {stranger})) << "unless its user is allowed";
  auto const alone = open_at(directory, {});
  EXPECT_TRUE(alone) << "a folder of our own has our number in its name";
}

TEST_F(shm_sealed_users, other_users_may_not_enter_a_folder_that_is_ours_alone) {
  auto ours = open_at(directory, {});
  ASSERT_TRUE(ours);
  ASSERT_EQ(put(*ours, "key"), error_kind{});
  std::string const folder = ours->folder();
  EXPECT_EQ(as_user(stranger, [&folder] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY) < 0 ? errno : 0; }), EACCES);
}

}  // namespace
