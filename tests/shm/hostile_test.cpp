// SPDX-License-Identifier: Apache-2.0
// Shared memory where something is wrong: foreign files under our names, flipped bytes, no room. Each has its error, its text and its way on.
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>

#include <shm/support.hpp>
#include <shm/tmpfs.hpp>

namespace {

using omniconn::const_bytes;
using omniconn::error_kind;
using omniconn::shm_transport;
using under_test = omniconn::shm_connector<>;
namespace layout = omniconn::detail::shm;

constexpr omniconn::edge hop{"producer", "consumer"};

omniconn::get_options now(std::string_view reader = {}, omniconn::locator const* where = nullptr) {
  omniconn::get_options o;
  o.until = omniconn::deadline::immediate();
  o.reader = reader;
  o.where = where;
  return o;
}

const_bytes bytes_of(std::vector<std::byte> const& v) { return {v.data(), v.size()}; }

using shm_test::own_folder;
using shm_test::on_tmpfs;

class shm_hostile : public testing::Test {
 protected:
  [[nodiscard]] shm_transport::options transport_options() const {
    shm_transport::options o;
    o.space = "space";
    o.directory = folder.path();
    o.max_keys = 16;
    o.memory_pool_size = std::uint64_t{1} << 20U;
    return o;
  }
  [[nodiscard]] under_test::options options() const {
    under_test::options o;
    o.transport = transport_options();
    o.defaults.lease = std::chrono::nanoseconds(0);  // nothing stays behind a test that fails
    return o;
  }
  [[nodiscard]] under_test connect() const { return connect(options()); }
  [[nodiscard]] static under_test connect(under_test::options const& o) {
    auto out = under_test::open(o);
    EXPECT_TRUE(out) << out.error().message();
    return std::move(*out);  // ends the program where there is none
  }
  [[nodiscard]] std::string directory_path() const { return layout::names(folder.path(), "space").directory_path(); }

  /// The bytes of a genuine, idle directory.
  [[nodiscard]] std::string genuine() const {
    auto const user = connect();
    return content_of(directory_path());
  }
  static std::string content_of(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  void plant(std::string const& content, mode_t mode = 0600) {
    std::string const path = folder.planted(directory_path());
    ::unlink(path.c_str());
    std::ofstream(path, std::ios::binary) << content;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
  }
  /// What is planted is refused by everybody who comes, and stays as it is.
  void expect_refused(error_kind kind, std::string_view text) const {
    auto const refused = [&](omniconn::error_kind k, std::string const& message) {
      EXPECT_EQ(k, kind) << message;
      EXPECT_NE(message.find(text), message.npos) << message;
      EXPECT_NE(message.find(directory_path()), message.npos) << message;
    };
    auto const opened = under_test::open(options());
    if (opened) FAIL() << "the connector opened";
    refused(opened.error().kind(), opened.error().message());
    auto const collected = shm_transport::collect(transport_options());
    if (collected) FAIL() << "collect took it";
    refused(collected.error().kind(), collected.error().message());
    struct stat st {};
    EXPECT_EQ(::lstat(directory_path().c_str(), &st), 0) << "what is not ours was removed";
  }

  own_folder folder;
};

template <class T>
void patch(std::string& bytes, std::size_t at, T value) {
  ASSERT_LE(at + sizeof value, bytes.size());
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

// --- foreign files ----------------------------------------------------------------------------------------------------------------------

TEST_F(shm_hostile, truncated_directories_are_corrupt) {
  std::string const whole = genuine();
  ASSERT_GT(whole.size(), sizeof(layout::header));
  for (std::size_t const size : {std::size_t{0}, std::size_t{1}, sizeof(layout::header) - 1}) {
    plant(whole.substr(0, size));
    expect_refused(error_kind::corrupt, "truncated");
    EXPECT_EQ(content_of(directory_path()), whole.substr(0, size));
  }
  for (std::size_t const size : {sizeof(layout::header), std::size_t{4096}, whole.size() - 1}) {
    plant(whole.substr(0, size));
    expect_refused(error_kind::corrupt, "wrong size");
  }
  plant(whole + '\0');
  expect_refused(error_kind::corrupt, "wrong size");
}

TEST_F(shm_hostile, random_bytes_are_corrupt) {
  std::string noise(100'000, '\0');
  std::uint64_t x = 1;
  for (char& c : noise) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    c = static_cast<char>(x >> 56U);
  }
  plant(noise);
  expect_refused(error_kind::corrupt, "no omniconn directory");
  EXPECT_EQ(content_of(directory_path()), noise);
}

TEST_F(shm_hostile, another_version_is_a_version_mismatch) {
  std::string bytes = genuine();
  patch(bytes, offsetof(layout::header, version), layout::format_version + 1);
  plant(bytes);
  expect_refused(error_kind::version_mismatch, "another version");
}

TEST_F(shm_hostile, impossible_geometry_is_corrupt) {
  std::string const whole = genuine();
  for (std::uint32_t const slots : {0U, 1U, 17U, layout::max_slots * 2, 0xffffffffU}) {
    std::string bytes = whole;
    patch(bytes, offsetof(layout::header, slots), slots);
    plant(bytes);
    expect_refused(error_kind::corrupt, "impossible number of slots");
  }
  std::string more_slots = whole;
  patch(more_slots, offsetof(layout::header, slots), 1024U);
  plant(more_slots);
  expect_refused(error_kind::corrupt, "wrong size");
  std::string size = whole;
  patch(size, offsetof(layout::header, file_size), std::uint64_t{4096});
  plant(size);
  expect_refused(error_kind::corrupt, "wrong size");
}

TEST_F(shm_hostile, files_open_to_others_are_unauthorized) {
  std::string const whole = genuine();
  for (mode_t const mode : {mode_t{0644}, mode_t{0660}, mode_t{0602}, mode_t{0601}}) {
    plant(whole, mode);
    expect_refused(error_kind::unauthorized, "mode 0600");
  }
  plant(whole);
  EXPECT_TRUE(under_test::open(options())) << "the same bytes with the right mode are a directory";
}

TEST_F(shm_hostile, a_symbolic_link_is_unauthorized) {
  std::string const target = folder.planted(folder.path() + "/target");
  std::ofstream(target) << "precious";
  ASSERT_EQ(::symlink(target.c_str(), folder.planted(directory_path()).c_str()), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");
  EXPECT_EQ(content_of(target), "precious");
  // Nor is anything made where a dangling link points to.
  ::unlink(target.c_str());
  expect_refused(error_kind::unauthorized, "not a plain file");
  EXPECT_NE(::access(target.c_str(), F_OK), 0);
}

TEST_F(shm_hostile, a_folder_in_its_place_is_unauthorized) {
  ASSERT_EQ(::mkdir(folder.planted(directory_path()).c_str(), 0700), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");
}

TEST_F(shm_hostile, a_fifo_is_unauthorized_and_blocks_nobody) {
  ASSERT_EQ(::mkfifo(folder.planted(directory_path()).c_str(), 0600), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");
}

TEST_F(shm_hostile, a_socket_is_unauthorized) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::string const path = folder.planted(directory_path());
  ASSERT_LT(path.size(), sizeof name.sun_path);
  std::memcpy(name.sun_path, path.c_str(), path.size());
  int const fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr const*>(&name), sizeof name), 0);
  expect_refused(error_kind::unauthorized, "not a plain file");
  ::close(fd);
}

// What a participant's FIFO is to be called has another owner. Whoever comes is told which file, and nothing of them stays.
class shm_hostile_fifo : public shm_hostile {
 protected:
  [[nodiscard]] std::string fifo_path() const { return layout::names(folder.path(), "space").fifo_path(0); }
  void expect_taken() const {
    auto const opened = under_test::open(options());
    if (opened) FAIL() << "the connector opened";
    EXPECT_EQ(opened.error().kind(), error_kind::unauthorized) << opened.error().message();
    EXPECT_NE(opened.error().message().find(fifo_path()), std::string::npos) << opened.error().message();
    EXPECT_NE(opened.error().message().find("remove it"), std::string::npos) << opened.error().message();
    struct stat st {};
    EXPECT_EQ(::lstat(fifo_path().c_str(), &st), 0) << "what is not ours was removed";
    EXPECT_NE(::access(directory_path().c_str(), F_OK), 0) << "the directory of nobody is left";
  }
  /// In a thread without the right to remove what others own from a sticky folder. \returns false: this machine does not let us.
  template <class Body>
  bool as_anybody(Body body) const {
    if (::chown(folder.path().c_str(), stranger, stranger) != 0 || ::chmod(folder.path().c_str(), 01777) != 0) return false;
    bool done = false;
    std::thread([&] {
      __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
      __user_cap_data_struct rights[2]{};
      if (::syscall(SYS_capget, &head, rights) != 0) return;
      rights[0].effective &= ~(1U << CAP_FOWNER);
      done = ::syscall(SYS_capset, &head, rights) == 0;
      if (done) body();
    }).join();
    return done;
  }
  static constexpr uid_t stranger = 65534;
};

TEST_F(shm_hostile_fifo, a_folder_in_its_place_is_unauthorized) {
  ASSERT_EQ(::mkdir(folder.planted(fifo_path()).c_str(), 0700), 0);
  expect_taken();
  // Who has a place already is in nobody's way, nor is the folder in theirs.
  ASSERT_EQ(::rmdir(fifo_path().c_str()), 0);
  auto const first = connect();
  auto const second = connect();
  EXPECT_EQ(first.health().peers.size(), 1U);
}

TEST_F(shm_hostile_fifo, a_stranger_s_file_is_unauthorized) {
  std::ofstream(folder.planted(fifo_path())) << "precious";
  if (::lchown(fifo_path().c_str(), stranger, stranger) != 0 || !as_anybody([this] { expect_taken(); })) GTEST_SKIP() << "needs root to give files away";
  EXPECT_EQ(content_of(fifo_path()), "precious");
}

TEST_F(shm_hostile_fifo, a_stranger_s_symbolic_link_is_unauthorized) {
  std::string const target = folder.planted(folder.path() + "/target");
  for (bool const dangles : {true, false}) {
    if (!dangles) std::ofstream(target) << "precious";
    ASSERT_EQ(::symlink(target.c_str(), folder.planted(fifo_path()).c_str()), 0);
    if (::lchown(fifo_path().c_str(), stranger, stranger) != 0 || !as_anybody([this] { expect_taken(); })) GTEST_SKIP() << "needs root to give files away";
    ASSERT_EQ(::unlink(fifo_path().c_str()), 0);
  }
  EXPECT_EQ(content_of(target), "precious") << "nothing is made, opened or removed where the link leads";
}

TEST_F(shm_hostile_fifo, what_is_left_of_our_own_is_replaced) {
  std::ofstream(folder.planted(fifo_path())) << "left";
  auto const c = connect();
  struct stat st {};
  ASSERT_EQ(::lstat(fifo_path().c_str(), &st), 0);
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
}

TEST_F(shm_hostile, a_folder_that_is_not_there_is_said) {
  auto o = options();
  o.transport.directory += "/missing";
  auto const opened = under_test::open(o);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind(), error_kind::not_found);
  EXPECT_NE(opened.error().message().find(o.transport.directory), std::string::npos) << opened.error().message();
}

// --- limits -----------------------------------------------------------------------------------------------------------------------------

TEST_F(shm_hostile, more_keys_than_the_namespace_has_is_misconfigured) {
  auto const first = connect();
  auto o = options();
  o.transport.max_keys = 1024;
  auto const second = under_test::open(o);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), error_kind::misconfigured);
  EXPECT_NE(second.error().message().find("max_keys 16"), std::string::npos) << second.error().message();
  // Who asks for no more is welcome, and the refused one has left no trace.
  for (std::uint32_t const keys : {0U, 1U, 16U}) {
    o.transport.max_keys = keys;
    EXPECT_TRUE(under_test::open(o)) << keys;
  }
}

TEST_F(shm_hostile, a_full_arena_is_no_space_until_a_block_is_free) {
  auto producer = connect();
  auto consumer = connect();
  std::vector<std::byte> const payload(300'000);
  int stored = 0;
  for (; stored != 16; ++stored)
    if (auto const put = producer.put(hop, "k" + std::to_string(stored), bytes_of(payload)); !put) {
      EXPECT_EQ(put.error().kind(), error_kind::no_space);
      EXPECT_NE(put.error().message().find("memory_pool_size"), std::string::npos) << put.error().message();
      break;
    }
  EXPECT_EQ(stored, 3) << "1 MiB holds three";
  for (int round = 0; round != 20; ++round) {
    ASSERT_TRUE(consumer.get_view(hop, "k" + std::to_string(round), now()));  // consumed at once
    auto const again = producer.put(hop, "k" + std::to_string(round + stored), bytes_of(payload));
    ASSERT_TRUE(again) << again.error().message();
    auto const full = producer.put(hop, "one too many", bytes_of(payload));
    ASSERT_FALSE(full);
    ASSERT_EQ(full.error().kind(), error_kind::no_space);
    ASSERT_FALSE(*producer.exists(hop, "one too many")) << "a failed put leaves nothing behind";
  }
  auto const huge = producer.reserve(std::size_t{2} << 20U);  // can never fit
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().kind(), error_kind::no_space);
  EXPECT_NE(huge.error().message().find("memory_pool_size"), std::string::npos) << huge.error().message();
}

TEST_F(shm_hostile, used_up_slots_are_no_space_until_one_is_free) {
  auto producer = connect();
  auto consumer = connect();
  std::vector<std::byte> const payload(100);
  constexpr int slots = 32;  // of 16 keys
  for (int i = 0; i != slots; ++i) {
    auto const put = producer.put(hop, "k" + std::to_string(i), bytes_of(payload));
    ASSERT_TRUE(put) << i << ": " << put.error().message();
  }
  for (int round = 0; round != 100; ++round) {
    for (auto* const c : {&producer, &consumer}) {
      auto const full = c->put(hop, "one too many", bytes_of(payload));
      ASSERT_FALSE(full);
      ASSERT_EQ(full.error().kind(), error_kind::no_space);
      ASSERT_NE(full.error().message().find("max_keys"), std::string::npos) << full.error().message();
    }
    ASSERT_TRUE(consumer.get_view(hop, "k" + std::to_string(round), now()));
    auto const again = producer.put(hop, "k" + std::to_string(round + slots), bytes_of(payload));
    ASSERT_TRUE(again) << round << ": " << again.error().message();
  }
  EXPECT_EQ(producer.health().objects.used, static_cast<std::uint64_t>(slots));
}

TEST_F(shm_hostile, the_number_of_readers_has_limits) {
  auto c = connect();
  std::vector<std::byte> const payload(100);
  auto const refused = [&](omniconn::reader_set readers, error_kind kind, char const* text) {
    omniconn::put_options o;
    o.readers = readers;
    auto const put = c.put(hop, "k", bytes_of(payload), o);
    ASSERT_FALSE(put) << readers.size();
    EXPECT_EQ(put.error().kind(), kind);
    EXPECT_NE(put.error().message().find(text), std::string::npos) << put.error().message();
  };
  std::vector<std::string> names;
  for (int i = 0; i != 65; ++i) names.push_back("reader-" + std::to_string(i));
  std::vector<std::string_view> const views(names.begin(), names.end());
  refused({0, {}}, error_kind::misconfigured, "at least one reader");
  refused({17, {}}, error_kind::misconfigured, "max_readers");
  refused({17, std::span(views).first(17)}, error_kind::misconfigured, "max_readers");
  refused({65, {}}, error_kind::too_large, "more readers");
  refused({65, views}, error_kind::too_large, "more readers");
  refused({0xffffffff, {}}, error_kind::too_large, "more readers");

  // The failures took neither key nor memory, and 16 is not too many.
  omniconn::put_options o;
  o.readers = omniconn::reader_set{16, {}};
  auto const most = c.put(hop, "k", bytes_of(payload), o);
  ASSERT_TRUE(most) << most.error().message();
  for (std::size_t i = 0; i != 16; ++i) ASSERT_TRUE(c.get_view(hop, "k", now(names[i])));
  EXPECT_FALSE(*c.exists(hop, "k"));

  for (std::uint32_t const readers : {0U, 65U}) {
    auto wrong = options();
    wrong.defaults.reader_count = readers;
    auto const opened = under_test::open(wrong);
    ASSERT_FALSE(opened) << readers;
    EXPECT_EQ(opened.error().kind(), error_kind::misconfigured);
  }
  auto more = transport_options();
  more.max_readers = 17;
  auto const second = shm_transport::open(more);
  ASSERT_FALSE(second) << "the namespace is in use and has room for 16";
  EXPECT_EQ(second.error().kind(), error_kind::misconfigured);
  EXPECT_NE(second.error().message().find("max_readers 16"), std::string::npos) << second.error().message();
  more.max_readers = 65;
  EXPECT_TRUE(shm_transport::open(more) == error_kind::misconfigured);
}

TEST_F(shm_hostile, sixty_four_readers_where_the_namespace_was_made_for_them) {
  auto o = options();
  o.transport.max_readers = 64;
  auto c = connect(o);
  std::vector<std::byte> const payload(100);
  omniconn::put_options how;
  how.readers = omniconn::reader_set{64, {}};
  ASSERT_TRUE(c.put(hop, "k", bytes_of(payload), how));
  for (int i = 0; i != 64; ++i) {
    ASSERT_TRUE(*c.exists(hop, "k")) << i;
    ASSERT_TRUE(c.get_view(hop, "k", now("reader-" + std::to_string(i)))) << i;
  }
  EXPECT_FALSE(*c.exists(hop, "k"));
  EXPECT_TRUE(c.get_view(hop, "k", now("one more")) == error_kind::not_found);
}

TEST_F(shm_hostile, locators_stay_stale_over_ten_thousand_reuses) {
  auto producer = connect();
  auto consumer = connect();
  std::vector<std::byte> const payload(64);
  // Of one key, so that every put below uses the same slot again.
  for (int i = 0; i != 15; ++i) ASSERT_TRUE(producer.put(hop, "other" + std::to_string(i), bytes_of(payload)));
  std::vector<omniconn::locator> old;
  for (int i = 0; i != 10'000; ++i) {
    auto const put = producer.put(hop, "k", bytes_of(payload));
    ASSERT_TRUE(put) << i << ": " << put.error().message();
    // By an object of the same key: only the generation tells the first, a middle and the previous object from this one.
    if (!old.empty())
      for (auto const* stale : {&old.front(), &old[old.size() / 2], &old.back()}) {
        auto const got = consumer.get_view(hop, "k", now({}, stale));
        ASSERT_FALSE(got) << i;
        ASSERT_EQ(got.error().kind(), error_kind::stale_handle) << i << ": " << got.error().message();
      }
    ASSERT_TRUE(consumer.get_view(hop, "k", now({}, &put->where))) << i;
    old.push_back(put->where);
  }
  for (auto const& stale : old) {
    auto const got = consumer.get_view(hop, "k", now({}, &stale));
    ASSERT_FALSE(got);
    ASSERT_EQ(got.error().kind(), error_kind::stale_handle);
  }
}

// --- bytes that change ------------------------------------------------------------------------------------------------------------------

/// Offset in its file of what is mapped at `address`, and the file's inode.
std::pair<std::uint64_t, std::uint64_t> offset_and_inode(void const* address) {
  auto const wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long first = 0, last = 0, offset = 0, inode = 0;
    char rights[8] = {}, device[32] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx %31s %lu", &first, &last, rights, &offset, device, &inode) == 6 && wanted >= first && wanted < last)
      return {offset + (wanted - first), inode};
  }
  return {0, 0};
}

TEST_F(shm_hostile, a_flipped_payload_byte_is_corrupt_and_the_object_stays) {
  auto producer = connect();
  auto consumer = connect();
  std::vector<std::byte> const payload(10'000, std::byte{0x5a});
  ASSERT_TRUE(producer.put(hop, "k", bytes_of(payload)));
  std::uint64_t at = 0, inode = 0;
  {
    auto view = consumer.get_view(hop, "k", now());
    ASSERT_TRUE(view) << view.error().message();
    std::tie(at, inode) = offset_and_inode(view->bytes().data());
    view->give_back();
  }
  std::string arena;
  for (auto const& path : shm_transport::files(transport_options())) {
    struct stat st {};
    if (::stat(path.c_str(), &st) == 0 && st.st_ino == inode) arena = path;
  }
  ASSERT_FALSE(arena.empty()) << "no file has inode " << inode;
  omniconn::detail::unique_fd const fd(::open(arena.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(fd) << errno;
  for (std::size_t const i : {std::size_t{0}, std::size_t{5000}, payload.size() - 1}) {
    auto const place = static_cast<off_t>(at + i);
    char const flipped = 0x5b, right = 0x5a;
    char found = 0;
    ASSERT_EQ(::pread(fd.get(), &found, 1, place), 1);
    ASSERT_EQ(found, right) << "the byte is elsewhere";
    ASSERT_EQ(::pwrite(fd.get(), &flipped, 1, place), 1);
    for (int attempt = 0; attempt != 2; ++attempt) {
      auto const got = consumer.get_view(hop, "k", now());
      ASSERT_FALSE(got) << i;
      EXPECT_EQ(got.error().kind(), error_kind::corrupt);
      EXPECT_NE(got.error().message().find("checksum"), std::string::npos) << got.error().message();
    }
    EXPECT_TRUE(*consumer.exists(hop, "k"));
    ASSERT_EQ(::pwrite(fd.get(), &right, 1, place), 1);
  }
  auto const got = consumer.get_view(hop, "k", now());
  ASSERT_TRUE(got) << got.error().message();
  ASSERT_EQ(got->bytes().size(), payload.size());
  EXPECT_EQ(std::memcmp(got->bytes().data(), payload.data(), payload.size()), 0);
}

// No checksum covers it: it is compared with the key that is asked for, and what differs with the hash.
TEST_F(shm_hostile, a_flipped_byte_of_a_key_is_corrupt_and_the_object_stays) {
  auto producer = connect();
  auto consumer = connect();
  std::vector<std::byte> const payload(1000, std::byte{0x5a});
  layout::names const paths(folder.path(), "space");
  auto dir = layout::directory::open(paths, {}, false);
  ASSERT_TRUE(dir);
  dir->open_gate();
  for (std::size_t const size : {std::size_t{10}, std::size_t{300}}) {
    SCOPED_TRACE(size);
    std::string const key(size, 'k');
    auto const put = producer.put(hop, key, bytes_of(payload));
    ASSERT_TRUE(put);
    auto const index = producer.metadata(*put).find("slot")->as_uint64();
    ASSERT_TRUE(index);
    auto const& s = dir->slot_at(static_cast<std::uint32_t>(*index));
    bool const is_long = s.key_size > layout::slot_room;
    ASSERT_EQ(is_long, size == 300);
    std::string const file = is_long ? paths.arena_path(s.arena) : paths.directory_path();
    omniconn::detail::unique_fd const fd(::open(file.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(fd) << file;
    auto const text = reinterpret_cast<std::byte const*>(&s.room);
    std::size_t const in_directory = static_cast<std::size_t>(text - reinterpret_cast<std::byte const*>(&dir->head()));
    std::size_t const first = is_long ? static_cast<std::size_t>(std::uint64_t{s.key_at}) : in_directory;
    std::size_t const last = std::uint16_t{s.key_size} - std::size_t{1};
    for (std::size_t const i : {std::size_t{0}, last}) {
      auto const place = static_cast<off_t>(first + i);
      char right = 0;
      ASSERT_EQ(::pread(fd.get(), &right, 1, place), 1);
      char const flipped = static_cast<char>(right ^ 1);
      ASSERT_EQ(::pwrite(fd.get(), &flipped, 1, place), 1);
      for (bool const by_place : {false, true}) {
        auto const got = consumer.get_view(hop, key, now({}, by_place ? &put->where : nullptr));
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().kind(), error_kind::corrupt) << got.error().message();
      }
      ASSERT_EQ(::pwrite(fd.get(), &right, 1, place), 1);
    }
    auto const got = consumer.get_view(hop, key, now());
    EXPECT_TRUE(got) << got.error().message();
  }
}

// As metadata that a control plane mixed up: nothing in the directory is wrong.
TEST_F(shm_hostile, a_locator_of_two_objects_is_stale) {
  auto producer = connect();
  auto consumer = connect();
  std::vector<std::byte> const payload(100, std::byte{0x5a});
  auto const one = producer.put(hop, "key-a", bytes_of(payload));
  for (std::string const key : {"key-b", "a key of another length"}) {
    auto const two = producer.put(hop, key, bytes_of(payload));
    ASSERT_TRUE(one && two);
    auto mixed = producer.metadata(*two);
    mixed.set("hash", *producer.metadata(*one).find("hash"));
    auto const receipt = consumer.from_metadata(mixed);
    ASSERT_TRUE(receipt);
    for (auto const& deadline : {omniconn::deadline::immediate(), omniconn::deadline::after(std::chrono::seconds(60))}) {
      auto how = now({}, &receipt->where);
      how.until = deadline;
      EXPECT_TRUE(consumer.get_view(hop, "key-a", how) == error_kind::stale_handle);
    }
    EXPECT_TRUE(consumer.get_view(hop, key, now())) << "untouched";
  }
  auto nowhere = producer.metadata(*one);
  nowhere.set("directory", std::uint64_t{0});
  auto const receipt = consumer.from_metadata(nowhere);
  ASSERT_TRUE(receipt);
  EXPECT_TRUE(consumer.get_view(hop, "key-a", now({}, &receipt->where)) == error_kind::stale_handle);
}

// It is written when the producer goes, so that no checksum of the put covers it.
TEST_F(shm_hostile, a_flipped_bit_in_the_end_of_a_lease_ends_nothing) {
  auto o = options();
  constexpr std::uint64_t hour = std::uint64_t{3600} * 1'000'000'000;
  o.defaults.lease = std::chrono::hours(1);
  auto consumer = connect(o);
  auto const dir = layout::directory::open({folder.path(), "space"}, {}, false);
  ASSERT_TRUE(dir);
  dir->open_gate();
  std::byte const payload[8]{};
  for (unsigned bit = 0; bit != 64; ++bit) {
    auto producer = connect(o);
    auto const put = producer.put(hop, "k", const_bytes(payload));
    ASSERT_TRUE(put) << put.error().message();
    auto& end = dir->slot_at(static_cast<std::uint32_t>(*producer.metadata(*put).find("slot")->as_uint64())).expires;
    auto const is_there = [&] {
      for (auto const* where : {static_cast<omniconn::locator const*>(nullptr), &put->where}) {
        auto got = consumer.get_view(hop, "k", now({}, where));
        if (!got) return false;
        got->give_back();
      }
      return consumer.exists(hop, "k").value_or(false) && producer.put(hop, "k", const_bytes(payload)) == error_kind::already_exists;
    };
    auto const flip = [&] { end.store(end.load() ^ std::uint64_t{1} << bit); };
    flip();
    ASSERT_TRUE(is_there()) << "bit " << bit;
    producer.close();
    std::uint64_t const began = end.load(), earliest = omniconn::detail::boot_time_ns();
    EXPECT_GT(began, earliest) << "bit " << bit;
    EXPECT_LE(began, earliest + hour) << "bit " << bit;
    flip();
    if (end.load() < earliest) flip();  // nothing tells that from a lease that has ended
    ASSERT_TRUE(shm_transport::collect(o.transport));
    EXPECT_LE(end.load(), omniconn::detail::boot_time_ns() + hour) << "it ends, whatever bit " << bit << " says";
    EXPECT_TRUE(consumer.get_view(hop, "k", now())) << "bit " << bit;
  }
}

TEST_F(shm_hostile, an_arena_that_somebody_removed_is_corrupt_and_the_object_stays) {
  auto producer = connect();
  auto consumer = connect();
  std::vector<std::byte> const payload(1000);
  ASSERT_TRUE(producer.put(hop, "k", bytes_of(payload)));
  std::string arena;
  for (auto const& path : shm_transport::files(transport_options()))
    if (path != directory_path() && !::shm_test::is_fifo(path)) arena = path;
  ASSERT_FALSE(arena.empty());
  std::string const aside = folder.planted(folder.path() + "/aside");
  ASSERT_EQ(::rename(arena.c_str(), aside.c_str()), 0);
  auto const gone = consumer.get_view(hop, "k", now());
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().kind(), error_kind::corrupt) << gone.error().message();

  // An arena cut short is refused before its bytes are touched: they would be a SIGBUS.
  std::ofstream(arena, std::ios::binary) << "short";
  ASSERT_EQ(::chmod(arena.c_str(), 0600), 0);
  auto const cut = consumer.get_view(hop, "k", now());
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().kind(), error_kind::corrupt) << cut.error().message();

  ASSERT_EQ(::rename(aside.c_str(), arena.c_str()), 0);
  auto back = connect();  // `consumer` has mapped the short one
  EXPECT_TRUE(back.get_view(hop, "k", now()));
}

// --- a file system that is full ---------------------------------------------------------------------------------------------------------

TEST_F(shm_hostile, a_full_file_system_is_no_space_and_no_sigbus) {
  bool const mounted = on_tmpfs(folder.path(), "size=2m", [this] {
    auto o = options();
    o.transport.memory_pool_size = std::uint64_t{64} << 20U;  // far more than there is
    auto producer = connect(o);
    auto consumer = connect(o);
    std::vector<std::byte> const payload(200'000, std::byte{7});
    int stored = 0;
    for (; stored != 16; ++stored)
      if (auto const put = producer.put(hop, "k" + std::to_string(stored), bytes_of(payload)); !put) {
        EXPECT_EQ(put.error().kind(), error_kind::no_space);
        EXPECT_NE(put.error().message().find("file system is full"), std::string::npos) << put.error().message();
        break;
      }
    EXPECT_GE(stored, 5) << "2 MiB less the directory";
    EXPECT_LT(stored, 11);
    // A second producer finds no room for its arena, and a long key none for its page.
    auto const other = consumer.put(hop, "other", bytes_of(payload));
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().kind(), error_kind::no_space);
    // What was acknowledged is whole, and its room is used again.
    for (int i = 0; i != stored; ++i) {
      auto view = consumer.get_view(hop, "k" + std::to_string(i), now());
      ASSERT_TRUE(view) << i << ": " << view.error().message();
      ASSERT_EQ(std::memcmp(view->bytes().data(), payload.data(), payload.size()), 0);
      view->release();
      auto const again = producer.put(hop, "again" + std::to_string(i), bytes_of(payload));
      ASSERT_TRUE(again) << i << ": " << again.error().message();
    }
  });
  if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs";
}

TEST_F(shm_hostile, a_full_file_system_without_room_for_the_directory_is_no_space) {
  bool const mounted = on_tmpfs(folder.path(), "size=64k", [this] {
    auto const opened = under_test::open(options());
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind(), error_kind::no_space) << opened.error().message();
    EXPECT_NE(opened.error().message().find("file system is full"), std::string::npos) << opened.error().message();
    EXPECT_EQ(shm_transport::files(transport_options()), std::vector<std::string>{}) << "nothing half-made is left";
  });
  if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs";
}

TEST_F(shm_hostile, a_full_file_system_without_room_for_a_long_key_is_no_space) {
  bool const mounted = on_tmpfs(folder.path(), "size=2m", [this] {
    auto c = connect();
    // Leave nothing: what the arena does not take, a file of the test's takes.
    omniconn::detail::unique_fd const filler(::open((folder.path() + "/filler").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_TRUE(filler);
    std::vector<char> const page(4096, 'x');
    while (::write(filler.get(), page.data(), page.size()) > 0) {
    }
    ASSERT_EQ(errno, ENOSPC);
    std::string const key(1000, 'k');
    auto const put = c.put(hop, key, const_bytes());
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().kind(), error_kind::no_space) << put.error().message();
    ASSERT_EQ(::ftruncate(filler.get(), 0), 0);
    auto const again = c.put(hop, key, const_bytes());
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_TRUE(c.get_view(hop, key, now()));
  });
  if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs";
}

}  // namespace
