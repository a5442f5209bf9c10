// SPDX-License-Identifier: Apache-2.0
// What the suite does not ask of this transport: the files themselves, as Python's side would find them.
#include <omniconn/transport/shm_segment.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <support/quiet_fork.hpp>

#include "support.hpp"

namespace {

using namespace omniconn;
using stage = connector<shm_segment_transport, raw_serializer, raw_keying, heap_allocator>;
constexpr edge hop{"0", "1"};

const_bytes bytes_of_text(std::string_view text) { return {reinterpret_cast<std::byte const*>(text.data()), text.size()}; }
std::string text_of(const_bytes bytes) { return {reinterpret_cast<char const*>(bytes.data()), bytes.size()}; }

class shm_segment : public testing::Test {
 protected:
  stage open(shm_segment_transport::options o = {}) {
    stage::options all;
    o.directory = folder_.path();
    all.transport = o;
    all.defaults.envelope = false;
    auto made = stage::open(all);
    EXPECT_TRUE(made) << made.error().message();
    return std::move(*made);
  }
  static result<receipt> put(stage& c, std::string_view key, std::string_view text, on_existing how = on_existing::fail) {
    put_options o;
    o.existing = how;
    o.until = deadline::immediate();
    return c.put(hop, key, bytes_of_text(text), o);
  }
  static result<stage::view> look(stage& c, std::string_view key, locator const* where = nullptr) {
    get_options o;
    o.until = deadline::immediate();
    o.where = where;
    return c.get_view(hop, key, o);
  }
  /// What the key has now, "" for nothing; consumes it.
  static std::string taken(stage& c, std::string_view key) {
    auto v = look(c, key);
    return v ? text_of(v->bytes()) : "";
  }
  /// A lock as Python's side holds it.
  [[nodiscard]] detail::unique_fd locked_by_python(std::string_view key) const {
    detail::unique_fd fd(::open(folder_.lock(key).c_str(), O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(::flock(fd.get(), LOCK_EX | LOCK_NB), 0);
    return fd;
  }
  [[nodiscard]] std::vector<std::string> lock_only(std::string const& key) const { return {"shm_" + key + "_lockfile.lock"}; }

  segment_test::folder folder_;
};

// --- the files of one object --------------------------------------------------------------------------------------------------------------

TEST_F(shm_segment, an_object_is_a_file_and_a_lock_file) {
  auto c = open();
  ASSERT_TRUE(put(c, "request_0_1", "payload"));
  EXPECT_EQ(folder_.files(), (std::vector<std::string>{"request_0_1", "shm_request_0_1_lockfile.lock"}));
  EXPECT_EQ(folder_.read("request_0_1"), "payload");
  struct stat st {};
  ASSERT_EQ(::stat(folder_.file("request_0_1").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
  EXPECT_EQ(st.st_nlink, 1U);
  EXPECT_EQ(taken(c, "request_0_1"), "payload");
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, what_is_given_back_has_its_files_and_a_free_lock) {
  auto c = open();
  ASSERT_TRUE(put(c, "k", "payload"));
  auto v = look(c, "k");
  ASSERT_TRUE(v);
  detail::unique_fd other(::open(folder_.lock("k").c_str(), O_RDWR));
  EXPECT_NE(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  v->give_back();
  EXPECT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  other.reset();
  EXPECT_EQ(taken(c, "k"), "payload");
}

// A child shares the descriptors of its parent's locks.
TEST_F(shm_segment, a_forked_child_changes_nothing_and_keeps_no_lock) {
  auto c = open();
  ASSERT_TRUE(put(c, "k", "payload"));
  auto v = look(c, "k");
  ASSERT_TRUE(v);
  int said[2], ends[2];
  ASSERT_EQ(::pipe2(said, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  char byte = 0;
  for (bool const releases : {true, false}) {  // one that lets go of what it inherited, and one that keeps it as long as it lives
    pid_t const child = test::quiet_fork();
    if (child == 0) {
      if (releases) v->release();
      bool const refused = put(c, "other", "x") == error_kind::closed;
      if (releases) c.close();
      byte = refused ? 1 : 0;
      (void)!::write(said[1], &byte, 1);
      ::close(ends[1]);
      (void)!::read(ends[0], &byte, 1);  // until the parent has seen what it wanted
      ::_exit(0);
    }
    ASSERT_EQ(::read(said[0], &byte, 1), 1);
    EXPECT_EQ(byte, 1) << "what a child inherits is closed";
    EXPECT_TRUE(folder_.has("k")) << "it is the parent's to remove";
  }
  EXPECT_EQ(taken(c, "k"), "") << "the parent holds it";
  v->give_back();
  EXPECT_EQ(taken(c, "k"), "payload") << "free, though the children live";
  ::close(ends[0]);
  ::close(ends[1]);
  int status = 1;
  for (int i = 0; i != 2; ++i) EXPECT_GT(::wait(&status), 0);
  ::close(said[0]);
  ::close(said[1]);
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, a_put_that_is_aborted_leaves_nothing) {
  auto c = open();
  shm_segment_transport::put_op op;
  auto const piece = bytes_of_text("12345678");
  outgoing const out{pieces(&piece, 1), 7, nullptr};
  object_info info;
  info.size = 8;
  ASSERT_TRUE(c.transport().begin(op, "k", out, info, {}));
  EXPECT_EQ(folder_.files(), lock_only("k"));
  c.transport().abort(op);
  EXPECT_TRUE(folder_.files().empty());
  std::uint64_t token = 0;
  auto const sink = [&token](std::uint64_t t) { token = t; };
  EXPECT_EQ(c.transport().reclaim(sink), 1U);
  EXPECT_EQ(token, 7U);
}

TEST_F(shm_segment, keys_are_file_names) {
  auto c = open();
  auto& t = c.transport();
  for (std::string_view const key : {std::string_view(""), std::string_view("."), std::string_view(".."), std::string_view("a/b"), std::string_view("a\0b", 3), std::string_view("größe")})
    EXPECT_EQ(t.exists(key).error(), error_kind::misconfigured) << key;
  std::string const longest(237, 'k');
  EXPECT_EQ(t.exists(longest + "k").error(), error_kind::too_large);
  EXPECT_EQ(put(c, longest + "k", "x").error(), error_kind::too_large);
  ASSERT_TRUE(put(c, longest, "x"));
  EXPECT_EQ(taken(c, longest), "x");
}

TEST_F(shm_segment, an_empty_object_is_refused_and_leaves_nothing) {
  auto c = open();
  EXPECT_EQ(put(c, "k", "").error(), error_kind::unsupported);
  EXPECT_TRUE(folder_.files().empty());
}

// --- what others left ---------------------------------------------------------------------------------------------------------------------

TEST_F(shm_segment, a_segment_of_no_bytes_is_not_ready_and_no_obstacle) {
  auto c = open();
  folder_.write("k", "");
  EXPECT_EQ(look(c, "k").error(), error_kind::not_found);
  EXPECT_FALSE(*c.exists(hop, "k"));
  ASSERT_TRUE(put(c, "k", "new"));
  EXPECT_EQ(taken(c, "k"), "new");
}

TEST_F(shm_segment, a_lock_file_without_a_segment_is_used_again) {
  auto c = open();
  folder_.write("shm_k_lockfile.lock", "");
  EXPECT_EQ(look(c, "k").error(), error_kind::not_found);
  ASSERT_TRUE(put(c, "k", "new"));
  EXPECT_EQ(taken(c, "k"), "new");
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, a_segment_without_a_lock_file_is_read_when_its_writer_has_closed_it) {
  auto c = open();
  detail::unique_fd writer(::open(folder_.file("k").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(::write(writer.get(), "half", 4), 4);
  EXPECT_EQ(look(c, "k").error(), error_kind::not_found);
  EXPECT_EQ(put(c, "k", "x").error(), error_kind::already_exists);
  EXPECT_EQ(folder_.files(), std::vector<std::string>{"k"}) << "a lock file would make it look whole";
  ASSERT_EQ(::write(writer.get(), "half", 4), 4);
  writer.reset();
  EXPECT_EQ(taken(c, "k"), "halfhalf");
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, a_wait_for_a_segment_without_a_lock_file_ends_with_its_writer) {
  auto c = open();
  detail::unique_fd writer(::open(folder_.file("k").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(::write(writer.get(), "half", 4), 4);
  std::jthread const later([&writer] {
    ASSERT_EQ(::write(writer.get(), "half", 4), 4);
    writer.reset();
  });
  auto v = c.get_view(hop, "k");
  ASSERT_TRUE(v);
  EXPECT_EQ(text_of(v->bytes()), "halfhalf");
}

TEST_F(shm_segment, what_is_no_plain_file_is_refused_and_stays) {
  auto c = open();
  folder_.write("target", "precious");
  for (std::string const name : {"k", "shm_k_lockfile.lock"}) {
    bool const is_lock = name != "k";
    for (bool const link : {true, false}) {
      ASSERT_EQ(link ? ::symlink("target", folder_.file(name).c_str()) : ::mkdir(folder_.file(name).c_str(), 0700), 0);
      if (is_lock) folder_.write("k", "x");
      EXPECT_EQ(look(c, "k").error(), error_kind::unauthorized) << name << link;
      EXPECT_EQ(put(c, "k", "y", on_existing::replace).error(), error_kind::unauthorized) << name << link;
      EXPECT_TRUE(folder_.has(name));
      if (is_lock) ::unlink(folder_.file("k").c_str());
      link ? ::unlink(folder_.file(name).c_str()) : ::rmdir(folder_.file(name).c_str());
    }
  }
  EXPECT_EQ(folder_.read("target"), "precious");
  ::unlink(folder_.file("target").c_str());
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, another_users_files_are_refused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  auto c = open();
  for (std::string const name : {"k", "shm_k_lockfile.lock"}) {
    ASSERT_TRUE(put(c, "k", "x"));
    ASSERT_EQ(::chown(folder_.file(name).c_str(), 65534, 65534), 0);
    EXPECT_EQ(look(c, "k").error(), error_kind::unauthorized) << name;
    EXPECT_EQ(put(c, "k", "y", on_existing::replace).error(), error_kind::unauthorized) << name;
    ASSERT_EQ(::chown(folder_.file(name).c_str(), 0, 0), 0);
    EXPECT_EQ(taken(c, "k"), "x");
  }
  folder_.write("k", "theirs");
  ASSERT_EQ(::chown(folder_.file("k").c_str(), 65534, 65534), 0);
  EXPECT_EQ(put(c, "k", "y").error(), error_kind::unauthorized);
  EXPECT_EQ(c.cleanup(hop, "k").error(), error_kind::unauthorized);
  EXPECT_EQ(folder_.files(), std::vector<std::string>{"k"});
  ::unlink(folder_.file("k").c_str());
}

// --- locks --------------------------------------------------------------------------------------------------------------------------------

TEST_F(shm_segment, a_put_waits_for_a_lock_of_python_s_without_a_segment) {
  auto c = open();
  auto lock = locked_by_python("k");
  EXPECT_EQ(put(c, "k", "x").error(), error_kind::timed_out);
  std::jthread const later([&lock] { lock.reset(); });
  ASSERT_TRUE(c.put(hop, "k", bytes_of_text("x")));
  EXPECT_EQ(taken(c, "k"), "x");
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, a_put_that_waited_for_python_s_put_finds_the_key_taken) {
  auto c = open();
  auto lock = locked_by_python("k");
  shm_segment_transport::put_op op;
  auto const piece = bytes_of_text("12345678");
  object_info info;
  info.size = 8;
  ASSERT_TRUE(c.transport().begin(op, "k", {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, {}));
  EXPECT_EQ(*c.transport().commit(op, info), progress::pending);
  folder_.write("k", "theirs");
  lock.reset();
  EXPECT_EQ(c.transport().step(op).error(), error_kind::already_exists);
  EXPECT_EQ(taken(c, "k"), "theirs");
}

TEST_F(shm_segment, a_key_is_free_once_its_object_was_cleaned_up_under_a_reader) {
  auto c = open(), reader = open();
  ASSERT_TRUE(put(c, "k", "old"));
  auto v = look(reader, "k");
  ASSERT_TRUE(v);
  ASSERT_EQ(*c.cleanup(hop, "k"), 1U);
  ASSERT_TRUE(put(c, "k", "new"));
  EXPECT_EQ(text_of(v->bytes()), "old");
  v->release();
  EXPECT_EQ(taken(c, "k"), "new");
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, a_reader_whose_lock_file_was_removed_consumes_its_object) {
  auto c = open();
  ASSERT_TRUE(put(c, "k", "x"));
  auto v = look(c, "k");
  ASSERT_TRUE(v);
  ::unlink(folder_.lock("k").c_str());  // as a slow reader of Python's does to whoever uses the key next
  v->release();
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, nothing_is_lost_between_a_release_and_a_replace) {
  auto producer = open(), consumer = open();
  constexpr int rounds = 400;
  std::atomic<int> seen{-1};
  std::jthread const reads([&] {
    while (seen.load() != 2 * rounds - 1) {
      auto v = consumer.get_view(hop, "k", {deadline::after(std::chrono::seconds(20))});
      if (!v) break;
      seen.store(std::stoi(text_of(v->bytes())));
      v->release();
    }
    seen.store(2 * rounds);
  });
  for (int i = 0; i != rounds && seen.load() != 2 * rounds; ++i) {
    for (int const n : {2 * i, 2 * i + 1}) {
      put_options o;
      o.existing = on_existing::replace;
      ASSERT_TRUE(producer.put(hop, "k", bytes_of_text(std::to_string(n)), o));
    }
    // The second of two replaces the first about when that is read and removed. It has to come, or nobody would see it any more.
    auto const end = deadline::after(std::chrono::seconds(20));
    while (seen.load() < 2 * i + 1 && !end.passed()) std::this_thread::yield();
    ASSERT_GE(seen.load(), 2 * i + 1) << "the object of round " << i << " was lost";
  }
}

// --- metadata -----------------------------------------------------------------------------------------------------------------------------

TEST_F(shm_segment, our_metadata_is_of_one_object_python_s_of_a_name) {
  auto c = open();
  auto const first = put(c, "k", "first");
  ASSERT_TRUE(first);
  value const ours = c.metadata(*first);
  EXPECT_EQ(*ours.find("shm")->find("name")->if_string(), "k");
  EXPECT_EQ(*ours.find("size")->as_uint64(), 5U);
  ASSERT_TRUE(put(c, "k", "again", on_existing::replace));
  auto const where = c.transport().parse(ours);
  ASSERT_TRUE(where);
  EXPECT_EQ(look(c, "k", &*where).error(), error_kind::stale_handle);
  auto const by_name = c.transport().parse(value::object({{"shm", value::object({{"name", "k"}, {"size", 5}})}, {"size", 5}}));
  ASSERT_TRUE(by_name);
  auto v = look(c, "another key", &*by_name);
  ASSERT_TRUE(v);
  EXPECT_EQ(text_of(v->bytes()), "again");
}

TEST_F(shm_segment, an_inode_that_is_used_again_is_another_object) {
  auto c = open();
  auto const first = put(c, "k", "first");
  ASSERT_TRUE(first);
  timespec const times[]{{0, UTIME_OMIT}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, folder_.file("k").c_str(), times, 0), 0);
  EXPECT_EQ(look(c, "k", &first->where).error(), error_kind::stale_handle);
  EXPECT_EQ(taken(c, "k"), "first");
}

TEST_F(shm_segment, metadata_with_another_size_is_corrupt_and_costs_nothing) {
  auto c = open();
  ASSERT_TRUE(put(c, "k", "12345678"));
  auto const where = c.transport().parse(value::object({{"shm", value::object({{"name", "k"}, {"size", 9}})}, {"size", 9}}));
  ASSERT_TRUE(where);
  EXPECT_EQ(look(c, "k", &*where).error(), error_kind::corrupt);
  EXPECT_EQ(taken(c, "k"), "12345678");
}

TEST_F(shm_segment, long_names_are_those_of_the_key_or_malformed) {
  auto c = open();
  std::string const name(60, 'n');
  auto const done = put(c, name, "x");
  ASSERT_TRUE(done);
  auto const where = c.transport().parse(c.metadata(*done));
  ASSERT_TRUE(where);
  EXPECT_EQ(look(c, "k", &*where).error(), error_kind::malformed);
  auto v = look(c, name, &*where);
  ASSERT_TRUE(v);
}

TEST_F(shm_segment, what_is_no_metadata_is_malformed) {
  auto c = open();
  for (auto const& m : {value(), value(7), value::object({}), value::object({{"shm", 7}, {"size", 7}}), value::object({{"shm", value::object({{"name", "k"}})}}),
                        value::object({{"shm", value::object({{"name", "../k"}, {"size", 1}})}, {"size", 1}}), value::object({{"inline_bytes", "text"}, {"size", 4}}),
                        value::object({{"source_host", "10.0.0.1"}, {"source_port", 50051}})})
    EXPECT_EQ(c.transport().parse(m).error(), error_kind::malformed);
}

TEST_F(shm_segment, small_payloads_travel_in_the_metadata) {
  auto c = open({.inline_below = 4}), other = open();
  auto const done = put(c, "k", "tiny");
  ASSERT_TRUE(done);
  EXPECT_TRUE(folder_.files().empty());
  value const m = c.metadata(*done);
  EXPECT_EQ(text_of(m.find("inline_bytes")->if_binary()->bytes()), "tiny");
  auto const wrapped = value::object({{"k", m}});
  auto const where = other.transport().parse(wrapped);
  ASSERT_TRUE(where);
  auto v = look(other, "k", &*where);
  ASSERT_TRUE(v);
  EXPECT_EQ(text_of(v->bytes()), "tiny");
  EXPECT_EQ(look(other, "k", &*where).error(), error_kind::stale_handle) << "one reader at a time";
  v->give_back();
  auto again = look(other, "k", &*where);
  ASSERT_TRUE(again);
  again->release();
  EXPECT_EQ(look(other, "k", &*where).error(), error_kind::stale_handle);
  ASSERT_TRUE(put(c, "k", "large"));
  EXPECT_EQ(taken(other, "k"), "large");
}

// --- administration -----------------------------------------------------------------------------------------------------------------------

TEST_F(shm_segment, list_tells_what_lies_there) {
  auto c = open();
  ASSERT_TRUE(put(c, "a", "12345"));
  ASSERT_TRUE(put(c, "b", "123"));
  folder_.write("other", "no lock file: no object of this layout");
  folder_.write("shm_gone_lockfile.lock", "");
  auto v = look(c, "b");
  ASSERT_TRUE(v);
  auto found = shm_segment_transport::list(folder_.path());
  std::sort(found.begin(), found.end(), [](auto const& x, auto const& y) { return x.key < y.key; });
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].key, "a");
  EXPECT_EQ(found[0].size, 5U);
  EXPECT_EQ(found[0].owner, ::geteuid());
  EXPECT_FALSE(found[0].locked);
  EXPECT_EQ(found[1].key, "b");
  EXPECT_TRUE(found[1].locked);
  v->release();
  EXPECT_EQ(taken(c, "a"), "12345");
  ::unlink(folder_.file("other").c_str());
}

TEST_F(shm_segment, collect_takes_lock_files_that_nobody_needs) {
  auto c = open();
  ASSERT_TRUE(put(c, "a", "x"));
  folder_.write("shm_stale_lockfile.lock", "");
  auto const held = locked_by_python("held");
  EXPECT_EQ(shm_segment_transport::collect(folder_.path()), 1U);
  EXPECT_EQ(folder_.files(), (std::vector<std::string>{"a", "shm_a_lockfile.lock", "shm_held_lockfile.lock"}));
  EXPECT_EQ(taken(c, "a"), "x");
}

TEST_F(shm_segment, collect_takes_what_a_replacing_put_left_when_it_died) {
  folder_.write(".omniconn-0123456789abcdef", "half done");
  folder_.write(".omniconn-of-one-alive", "");
  int const alive = ::open(folder_.file(".omniconn-of-one-alive").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(alive, 0);
  folder_.write(".somebody-elses", "");
  EXPECT_EQ(shm_segment_transport::collect(folder_.path()), 1U);
  EXPECT_EQ(folder_.files(), (std::vector<std::string>{".omniconn-of-one-alive", ".somebody-elses"}));
  ::close(alive);
  EXPECT_EQ(shm_segment_transport::collect(folder_.path()), 1U);
  ::unlink(folder_.file(".somebody-elses").c_str());
}

TEST_F(shm_segment, cleanup_is_of_the_exact_key_or_of_a_request) {
  auto c = open();
  for (std::string_view const key : {"r", "r_0_1", "r_1_0", "kv_r", "rr"}) ASSERT_TRUE(put(c, key, "x"));
  EXPECT_EQ(*c.cleanup(hop, "r"), 1U);
  EXPECT_EQ(*c.cleanup(hop, "r"), 0U);
  EXPECT_EQ(*c.cleanup("r"), 3U);
  EXPECT_EQ(folder_.files(), (std::vector<std::string>{"rr", "shm_rr_lockfile.lock"}));
  EXPECT_EQ(taken(c, "rr"), "x");
}

TEST_F(shm_segment, close_removes_what_nobody_reads) {
  auto c = open(), reader = open();
  for (std::string_view const key : {"read", "unread", "being_read"}) ASSERT_TRUE(put(c, key, "x"));
  EXPECT_EQ(c.health().objects.used, 3U);
  EXPECT_EQ(taken(reader, "read"), "x");
  EXPECT_EQ(c.health().objects.used, 2U);
  auto v = look(reader, "being_read");
  ASSERT_TRUE(v);
  c.close();
  EXPECT_EQ(folder_.files(), (std::vector<std::string>{"being_read", "shm_being_read_lockfile.lock"}));
  v->release();
  EXPECT_TRUE(folder_.files().empty());
}

TEST_F(shm_segment, close_leaves_it_where_asked_to_and_what_others_put) {
  auto keeps = open({.remove_on_close = false}), removes = open(), other = open();
  ASSERT_TRUE(put(keeps, "kept", "x"));
  ASSERT_TRUE(put(removes, "reused", "x"));
  EXPECT_EQ(taken(other, "reused"), "x");
  ASSERT_TRUE(put(other, "reused", "y"));
  keeps.close();
  removes.close();
  EXPECT_EQ(taken(other, "kept"), "x");
  EXPECT_EQ(taken(other, "reused"), "y");
}

TEST_F(shm_segment, a_folder_that_cannot_be_used_is_misconfigured) {
  folder_.write("file", "x");
  for (std::string const& path : {folder_.file("missing"), folder_.file("file")}) {
    auto const made = shm_segment_transport::open({.directory = path});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error(), error_kind::misconfigured);
    EXPECT_NE(made.error().message().find(path), std::string::npos);
  }
  ::unlink(folder_.file("file").c_str());
}

}  // namespace
