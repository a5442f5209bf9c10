// SPDX-License-Identifier: Apache-2.0
// What sealed memory promises beyond the conformance suites: bounds, hostile consumers, forks, descriptors.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <omniconn/transport/shm_sealed.hpp>
#include <support/quiet_fork.hpp>

#include "impostor.hpp"
#include "support.hpp"

namespace {

using namespace sealed_test;
using put_op = shm_sealed_transport::put_op;
using get_op = shm_sealed_transport::get_op;

struct shm_sealed : ::testing::Test {
  sealed_test::directory directory;

  shm_sealed_transport open(std::string const& reader = "default") {
    shm_sealed_transport::options o;
    o.directory = directory.path();
    o.space = "default";
    o.reader = reader;
    auto opened = shm_sealed_transport::open(o);
    EXPECT_TRUE(opened);
    return std::move(*opened);
  }
  static result<locator> put(shm_sealed_transport& t, wire_key key, std::string_view text, publish_options const& how = {}) {
    const_bytes const piece = bytes_of(text);
    object_info info;
    info.size = piece.size();
    put_op op;
    if (auto const begun = t.begin(op, key, {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, how); !begun) return begun.error();
    if (auto const done = t.commit(op, info); !done) return done.error();
    return op.where();
  }
  static result<shm_sealed_transport::hold> get(shm_sealed_transport& t, wire_key key, find_options const& how = {}, deadline until = deadline::after(std::chrono::seconds(20))) {
    get_op op;
    auto now = t.find(op, key, how);
    while (now && *now == progress::pending) {
      operation* const one[]{&op};
      if (auto const woken = t.wait(one, until, {}); !woken) return woken.error();
      now = t.step(op);
    }
    if (!now) return now.error();
    return op.take();
  }
  meeting_place place() const { return open_place(directory.path()); }
};

TEST_F(shm_sealed, ten_thousand_puts_and_gets_leave_no_descriptor) {
  auto producer = open(), consumer = open();
  std::string const small(100, 's'), big(100'000, 'b');
  std::size_t before = 0;
  for (int i = 0; i != 10'000; ++i) {
    if (i == 100) {
      static_cast<void>(consumer.wait({}, deadline::after(std::chrono::milliseconds(1)), {}));  // makes the bell that all its waits share
      ASSERT_FALSE(consumer.exists("key").value_or(true));                                       // the end of the last one has arrived
      before = descriptors();
    }
    ASSERT_TRUE(put(producer, "key", i % 10 == 0 ? big : small)) << i;
    auto hold = get(consumer, "key");
    ASSERT_TRUE(hold) << hold.error().message();
    ASSERT_EQ(text_of(hold->bytes()), i % 10 == 0 ? big : small);
    hold->finish(disposition::consumed);
  }
  EXPECT_FALSE(consumer.exists("key").value_or(true));
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(producer.report().objects.used, 0U);
}

TEST_F(shm_sealed, an_object_has_one_descriptor_until_it_is_read_and_a_view_none) {
  auto producer = open(), consumer = open();
  ASSERT_TRUE(put(producer, "warm", "up"));
  get(consumer, "warm")->finish(disposition::consumed);
  static_cast<void>(consumer.wait({}, deadline::after(std::chrono::milliseconds(1)), {}));
  ASSERT_FALSE(consumer.exists("warm").value_or(true));
  std::size_t const before = descriptors();
  for (int i = 0; i != 50; ++i) ASSERT_TRUE(put(producer, std::to_string(i), "x"));
  EXPECT_EQ(descriptors(), before + 50);
  std::vector<shm_sealed_transport::hold> held;
  for (int i = 0; i != 50; ++i) held.push_back(std::move(*get(consumer, std::to_string(i))));
  EXPECT_EQ(descriptors(), before + 50) << "the consumer keeps memory, not descriptors";
  for (auto& h : held) h.finish(disposition::consumed);
  EXPECT_FALSE(consumer.exists("49").value_or(true));
  EXPECT_EQ(descriptors(), before);
}

TEST_F(shm_sealed, no_descriptor_for_a_put_is_no_space_and_leaves_nothing) {
  auto producer = open(), consumer = open();
  ASSERT_TRUE(put(producer, "first", "1"));
  ASSERT_TRUE(get(consumer, "first"));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(descriptors() + 4);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  error_kind why{};
  int done = 0;
  for (; done != 20; ++done)
    if (auto const one = put(producer, "key " + std::to_string(done), "x"); !one) {
      why = one.error().kind();
      break;
    }
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(why, error_kind::no_space);
  EXPECT_FALSE(consumer.exists("key " + std::to_string(done)).value_or(true));
  EXPECT_TRUE(put(producer, "key " + std::to_string(done), "x")) << "the key is free";
  for (int i = 0; i <= done; ++i) EXPECT_TRUE(get(consumer, "key " + std::to_string(i))) << i;
}

TEST_F(shm_sealed, who_has_no_descriptor_to_look_for_producers_looks_again) {
  auto consumer = open();
  static_cast<void>(consumer.wait({}, deadline::after(std::chrono::milliseconds(1)), {}));  // makes the bell, and looks into the folder
  auto producer = open();
  ASSERT_TRUE(put(producer, "key", "x"));  // of which the folder tells once
  for (std::size_t const left : {0U, 1U}) {  // to read the folder needs one, to connect two
    few_descriptors const few(left);
    find_options now;
    now.wait = false;
    EXPECT_TRUE(get(consumer, "key", now) == error_kind::no_space) << left;
    EXPECT_TRUE(consumer.exists("key") == error_kind::no_space) << left;
    EXPECT_TRUE(get(consumer, "key", {}, deadline::after(std::chrono::milliseconds(30))) == error_kind::no_space) << left;
  }
  EXPECT_TRUE(get(consumer, "key"));
}

TEST_F(shm_sealed, a_view_stays_readable_when_its_producer_is_gone) {
  std::string const text(200'000, 'v');
  auto consumer = open();
  std::optional<shm_sealed_transport> producer(open());
  ASSERT_TRUE(put(*producer, "key", text));
  auto hold = get(consumer, "key");
  ASSERT_TRUE(hold);
  producer.reset();
  EXPECT_EQ(text_of(hold->bytes()), text);
  EXPECT_TRUE(get(consumer, "key", {}, deadline::after(std::chrono::milliseconds(10))) == error_kind::timed_out);
}

TEST_F(shm_sealed, the_folder_goes_with_the_last_one) {
  std::string folder;
  {
    auto first = open();
    folder = first.folder();
    auto second = open();
    ASSERT_TRUE(put(second, "key", "x"));
    EXPECT_EQ(entries(folder).size(), 1U);
    first.close();
    EXPECT_EQ(entries(folder).size(), 1U);
  }
  struct stat st {};
  EXPECT_NE(::stat(folder.c_str(), &st), 0);
  auto again = open();
  EXPECT_EQ(again.folder(), folder);
  EXPECT_TRUE(put(again, "key", "x"));
}

TEST_F(shm_sealed, a_locator_of_a_producer_that_left_is_stale) {
  auto consumer = open();
  result<locator> where{error_kind::io, ""};
  {
    auto producer = open();
    where = put(producer, "key", "x");
  }
  ASSERT_TRUE(where);
  find_options how;
  how.where = &*where;
  EXPECT_TRUE(get(consumer, "key", how) == error_kind::stale_handle);
}

TEST_F(shm_sealed, erase_if_asks_all_producers_for_all_their_keys) {
  auto a = open(), b = open(), consumer = open();
  std::string const tail(3000, 't');  // several messages of keys
  for (int i = 0; i != 40; ++i) {
    ASSERT_TRUE(put(a, "r1_" + std::to_string(i) + tail, "x"));
    ASSERT_TRUE(put(b, "r1_" + std::to_string(i), "x"));
  }
  ASSERT_TRUE(put(b, "", "the empty key is a key"));
  int looked = 0;
  EXPECT_EQ(consumer.erase_if([&looked](wire_key) { return ++looked < 0; }).value_or(99), 0U);
  EXPECT_EQ(looked, 81) << "each key once";
  EXPECT_EQ(consumer.erase_if([](wire_key key) { return key.starts_with("r1_"); }).value_or(99), 80U);
  EXPECT_EQ(a.report().objects.used, 0U);
  EXPECT_EQ(b.report().objects.used, 1U);
  EXPECT_EQ(a.erase("").value_or(99), 1U);
}

TEST_F(shm_sealed, names_that_are_too_long_are_misconfigured) {
  auto producer = open();
  std::string const name(256, 'n');
  std::string_view const names[]{name};
  publish_options how;
  how.readers.names = names;
  EXPECT_TRUE(put(producer, "key", "x", how) == error_kind::misconfigured);
  find_options find;
  find.reader = name;
  EXPECT_TRUE(get(producer, "key", find) == error_kind::misconfigured);
  shm_sealed_transport::options o;
  o.directory = directory.path();
  o.reader = name;
  EXPECT_TRUE(shm_sealed_transport::open(o) == error_kind::misconfigured);
}

// --- consumers that are hostile ---------------------------------------------------------------------------------------------------

TEST_F(shm_sealed, a_consumer_that_goes_gives_all_back) {
  auto producer = open(), consumer = open();
  publish_options two;
  two.readers.count = 2;
  ASSERT_TRUE(put(producer, "key", "x", two));
  auto const where = place();
  {
    auto line = false_consumer(where);
    for (std::uint64_t id = 1; id != 3; ++id) {
      std::string const reader = "reader " + std::to_string(id);
      message m = of_type(message_type::get, id);
      m.key = "key";
      m.text = reader;
      line.send(m);
      message answer;
      ASSERT_TRUE(line.receive(answer, message_type::grant));
    }
    message m = of_type(message_type::end, 1);
    m.flag = 1;
    line.send(m);  // one share is consumed; the other one comes back with the end of the line
  }
  auto hold = get(consumer, "key");
  ASSERT_TRUE(hold);
  hold->finish(disposition::consumed);
  EXPECT_FALSE(producer.exists("key").value_or(true)) << "it was the last";
  where.leave();
}

TEST_F(shm_sealed, a_consumer_that_speaks_wrongly_is_thrown_out_and_named) {
  auto producer = open(), consumer = open();
  ASSERT_TRUE(put(producer, "key", "x"));
  auto const where = place();
  message get_it = of_type(message_type::get, 1);
  get_it.key = "no such key";
  get_it.flag = 1;
  std::vector<std::vector<std::string>> const wrongs{{"x"},
                                                     {std::string(64, '\0')},
                                                     {std::string(60'000, 'x')},
                                                     {bytes_of_message(get_it).substr(0, 70)},
                                                     {bytes_of_message(of_type(message_type::hello, 1))},
                                                     {bytes_of_message(get_it), bytes_of_message(get_it)}};
  std::size_t const before = descriptors();
  for (auto const& said : wrongs) {
    auto line = false_consumer(where);
    for (auto const& bytes : said) EXPECT_TRUE(line.send(bytes));
    message answer;
    while (line.receive(answer)) {
    }
    pollfd p{line.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&p, 1, 0), 1);
    EXPECT_NE(p.revents & POLLHUP, 0) << "the line was closed";
  }
  EXPECT_EQ(descriptors(), before);
  std::size_t named = 0;
  for (auto const& p : producer.report().peers) named += !p.alive ? 1 : 0;
  EXPECT_EQ(named, wrongs.size());
  EXPECT_TRUE(get(consumer, "key"));
  where.leave();
}

TEST_F(shm_sealed, descriptors_that_a_consumer_sends_are_not_taken) {
  auto producer = open();
  ASSERT_TRUE(put(producer, "key", "x"));
  auto const where = place();
  auto line = false_consumer(where);
  message answer;
  ASSERT_TRUE(line.receive(answer, message_type::hello));
  std::size_t const before = descriptors();
  for (std::uint64_t id = 1; id != 100; ++id) {
    ASSERT_TRUE(line.send(of_type(message_type::ping, id), {0, 1, 2}));
    ASSERT_TRUE(line.receive(answer, message_type::pong));
    EXPECT_EQ(answer.id, id);
  }
  EXPECT_EQ(descriptors(), before);
  where.leave();
}

TEST_F(shm_sealed, waiting_gets_and_claims_of_one_consumer_are_bounded) {
  auto producer = open(), consumer = open();
  ASSERT_TRUE(put(producer, "key", "x"));
  auto const where = place();
  auto line = false_consumer(where);
  message answer;
  std::uint64_t id = 0;
  message m = of_type(message_type::get);
  m.flag = 1;
  m.key = "nothing";
  for (; id != max_requests; m.id = ++id)
    if (id != 0) {
      ASSERT_TRUE(line.send(m));
      ASSERT_TRUE(line.receive(answer, message_type::queued));
    }
  ASSERT_TRUE(line.send(m));
  ASSERT_TRUE(line.receive(answer, message_type::queued)) << "the last that may wait";
  m.id = ++id;
  ASSERT_TRUE(line.send(m));
  ASSERT_TRUE(line.receive(answer, message_type::refusal));
  EXPECT_EQ(answer.flag, static_cast<std::uint8_t>(refusal::too_many));
  ASSERT_TRUE(line.send(of_type(message_type::end, 1)));
  m.id = ++id;
  ASSERT_TRUE(line.send(m));
  ASSERT_TRUE(line.receive(answer, message_type::queued)) << "one ended, so that one more may wait";
  EXPECT_TRUE(get(consumer, "key")) << "others do not feel it";
  where.leave();
}

TEST_F(shm_sealed, who_does_not_read_answers_is_not_listened_to) {
  auto producer = open(), consumer = open();
  ASSERT_TRUE(put(producer, "key", "x"));
  auto const where = place();
  auto line = false_consumer(where);
  // More questions than both queues hold: in the end the producer stops reading, and the sender has no room.
  std::size_t sent = 0;
  std::string const question = bytes_of_message(of_type(message_type::ping, 1));
  for (; sent != 100'000; ++sent) {
    pollfd p{line.fd(), POLLOUT, 0};
    if (::poll(&p, 1, 200) != 1) break;
    ASSERT_TRUE(line.send(question));
  }
  EXPECT_LT(sent, 100'000U);
  EXPECT_TRUE(get(consumer, "key")) << "others are served";
  message answer;
  for (std::size_t n = 0; n != sent; ++n) ASSERT_TRUE(line.receive(answer, message_type::pong)) << "and nothing was lost: " << n;
  where.leave();
}

/// What the kernel charges us for messages that the other side has not read.
std::uint64_t unread_of(raw_line const& line) {
  int bytes = -1;
  EXPECT_EQ(::ioctl(line.fd(), SIOCOUTQ, &bytes), 0);
  return static_cast<std::uint64_t>(bytes);
}
std::uint64_t unread_of_one() {
  int pair[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  raw_line from(unique_fd{pair[0]});
  unique_fd const to(pair[1]);
  EXPECT_TRUE(from.send(of_type(message_type::list, 1)));
  return unread_of(from);
}

TEST_F(shm_sealed, long_answers_that_nobody_reads_hinder_nobody_and_are_there_later) {
  auto producer = open(), consumer = open();
  std::string const tail(4000, 't');
  for (int i = 0; i != 8; ++i) ASSERT_TRUE(put(producer, std::to_string(i) + tail, "x"));
  auto const where = place();
  auto line = false_consumer(where);
  constexpr std::uint64_t lists = 200;  // 6 MiB of answers, of which 1 MiB is kept
  for (std::uint64_t id = 1; id <= lists; ++id) ASSERT_TRUE(line.send(of_type(message_type::list, id)));
  EXPECT_TRUE(get(consumer, "0" + tail));
  // Each of these answers is a round of the producer's thread, in which it would take another list.
  for (std::uint64_t i = 0; i != lists; ++i) ASSERT_FALSE(consumer.exists("none").value_or(true));
  EXPECT_GE(unread_of(line), lists / 2 * unread_of_one()) << "it reads no more than it can answer: 1 MiB, some 35 of them";
  message answer;
  for (std::uint64_t id = 1; id <= lists; ++id) {
    ASSERT_TRUE(line.receive(answer, message_type::keys)) << id;
    EXPECT_EQ(answer.id, id);
  }
  where.leave();
}

TEST_F(shm_sealed, what_a_consumer_consumed_is_heard_before_its_end) {
  auto producer = open(), consumer = open();
  auto const where = place();
  for (int round = 0; round != 200; ++round) {
    ASSERT_TRUE(put(producer, "key", "x"));
    {
      auto line = false_consumer(where);
      message m = of_type(message_type::get, 1), answer;
      m.key = "key";
      ASSERT_TRUE(line.send(m));
      ASSERT_TRUE(line.receive(answer, message_type::grant));
      ASSERT_TRUE(line.send(of_type(message_type::ping, 2)));  // whose answer it leaves unread: the end of the line is an error then
      m = of_type(message_type::end, 1);
      m.flag = 1;
      ASSERT_TRUE(line.send(m));
    }
    ASSERT_FALSE(consumer.exists("key").value_or(true)) << round;
  }
  where.leave();
}

TEST_F(shm_sealed, more_consumers_than_can_be_served_are_told) {
  auto producer = open(), consumer = open();
  ASSERT_TRUE(put(producer, "key", "x"));
  auto const where = place();
  std::vector<raw_line> lines;
  message answer;
  for (std::size_t i = 0; i != omniconn::detail::sealed::house::max_customers; ++i) {
    lines.push_back(false_consumer(where));
    ASSERT_TRUE(lines.back().receive(answer, message_type::hello)) << i;
  }
  auto one_more = false_consumer(where);
  ASSERT_TRUE(one_more.receive(answer));
  EXPECT_EQ(answer.type, message_type::refused);
  EXPECT_EQ(answer.flag, static_cast<std::uint8_t>(refused_for::full));
  get_op op;
  ASSERT_TRUE(consumer.find(op, "key", {}));
  lines.resize(lines.size() / 2);
  operation* const ops[]{&op};
  EXPECT_TRUE(consumer.wait(ops, deadline::after(std::chrono::seconds(20)), {})) << "it asks again, and there is room now";
  EXPECT_TRUE(consumer.step(op));
  where.leave();
}

// --- forks --------------------------------------------------------------------------------------------------------------------------

TEST_F(shm_sealed, a_forked_child_has_nothing_and_disturbs_nothing) {
  auto producer = open(), consumer = open();
  ASSERT_TRUE(put(producer, "key", "x"));
  ASSERT_TRUE(put(producer, "other", "y"));
  std::string const text = "x";
  auto hold = get(consumer, "key");
  ASSERT_TRUE(hold);
  get_op waits;
  ASSERT_TRUE(consumer.find(waits, "never", {}));
  {
    const_bytes const piece = bytes_of("z");
    put_op op;
    ASSERT_TRUE(producer.begin(op, "aborted", {pieces(&piece, 1), 5, nullptr}, {}, {}));
    producer.abort(op);
  }
  auto const count = [](std::uint64_t) {};
  pid_t const child = test::quiet_fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    bool right = text_of(hold->bytes()) == text;
    right = right && consumer.exists("other") == error_kind::closed && put(producer, "new", "z") == error_kind::closed && get(consumer, "other") == error_kind::closed;
    right = right && consumer.cancel(waits) && producer.report().status == health_status::closed;
    right = right && producer.reclaim(count) == 0;  // the block is the parent's
    hold->finish(disposition::consumed);
    { auto const gone = std::move(producer); }
    { auto const gone = std::move(consumer); }
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(producer.reclaim(count), 1U);
  EXPECT_TRUE(consumer.exists("key").value_or(false)) << "the child's end of the hold is none";
  EXPECT_TRUE(get(consumer, "other"));
  hold->finish(disposition::consumed);
  EXPECT_FALSE(consumer.exists("key").value_or(true));
  EXPECT_EQ(entries(producer.folder()).size(), 1U) << "the child did not remove the socket";
}

TEST_F(shm_sealed, a_child_of_a_dead_consumer_does_not_keep_its_claims) {
  auto producer = open(), next = open();
  ASSERT_TRUE(put(producer, "key", "x"));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  pid_t const middle = test::quiet_fork();
  ASSERT_GE(middle, 0);
  if (middle == 0) {
    auto own = open();
    auto const hold = get(own, "key");
    if (::fork() == 0) {  // lives on with what it inherited
      char c = 0;
      ::close(ends[1]);
      static_cast<void>(!::read(ends[0], &c, 1));
      ::_exit(0);
    }
    ::_exit(hold ? 0 : 1);
  }
  ::close(ends[0]);
  int status = -1;
  ASSERT_EQ(::waitpid(middle, &status, 0), middle);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(get(next, "key"));
  ::close(ends[1]);
}

}  // namespace
