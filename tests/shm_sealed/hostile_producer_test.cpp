// SPDX-License-Identifier: Apache-2.0
// Producers that are hostile or damaged. Each wrong gives its exact error, no descriptor stays, and the next get works with whoever is honest.
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>

#include "impostor.hpp"
#include "support.hpp"

namespace {

using namespace sealed_test;
using omniconn::detail::file_mapping;

std::vector<std::byte> const payload(6000, std::byte{0x5A});

unique_fd memory(int seals, std::size_t size = payload.size()) {
  unique_fd fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  EXPECT_EQ(::write(fd.get(), payload.data(), size), static_cast<ssize_t>(size));
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

struct shm_sealed_hostile : sealed_test::beside_false_producers {
  static message grant(std::uint64_t id, std::uint64_t size = payload.size()) {
    message m = of_type(message_type::grant, id);
    m.generation = 1;
    m.info.size = size;
    return m;
  }
  static result<progress> outcome(shm_sealed_transport& t, shm_sealed_transport::get_op& op, deadline until = deadline::after(std::chrono::seconds(20))) {
    operation* const one[]{&op};
    if (auto const woken = t.wait(one, until, {}); !woken) return woken.error();
    return t.step(op);
  }
  /// A get that a producer answers as `answer` does, once it is asked. \returns how the get ends
  error_kind answered(std::function<void(raw_line&, std::uint64_t id, false_producer&)> const& answer, bool greet = true, deadline until = deadline::after(std::chrono::seconds(20))) {
    auto consumer = open();
    serve(consumer);
    static_cast<void>(consumer.wait({}, deadline::after(std::chrono::milliseconds(1)), {}));  // makes the bell that all its waits share
    std::size_t const before = descriptors();
    error_kind out{};
    {
      false_producer producer(place);
      edge const flow{"liar", "me"};
      find_options how;
      how.flow = &flow;
      shm_sealed_transport::get_op op;
      EXPECT_TRUE(consumer.find(op, "key", how));
      auto line = producer.accept();
      message asked;
      EXPECT_TRUE(line.receive(asked, message_type::get));
      if (greet) line.send(of_type(message_type::hello, producer.id()));
      answer(line, asked.id, producer);
      auto const got = outcome(consumer, op, until);
      out = got ? error_kind{} : got.error().kind();
      static_cast<void>(consumer.cancel(op));
    }
    serve(consumer);  // the producer is gone or was dropped; whoever is honest goes on
    EXPECT_EQ(descriptors(), before) << "a descriptor is left";
    return out;
  }
  /// A put and a get without anything wrong, until the consumer has noticed that its producer left.
  void serve(shm_sealed_transport& consumer) {
    {
      auto honest = open();
      put(honest, "key");
      shm_sealed_transport::get_op op;
      EXPECT_TRUE(consumer.find(op, "key", {}));
      auto const got = outcome(consumer, op);
      EXPECT_TRUE(got) << got.error().message();
      auto hold = op.take();
      EXPECT_EQ(hold.bytes().size(), payload.size());
      hold.finish(disposition::consumed);
    }
    EXPECT_FALSE(consumer.exists("key").value_or(true));
  }
  static void put(shm_sealed_transport& t, wire_key key) {
    const_bytes const piece(payload);
    object_info info;
    info.size = payload.size();
    shm_sealed_transport::put_op op;
    ASSERT_TRUE(t.begin(op, key, {pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, info, {}));
    ASSERT_TRUE(t.commit(op, info));
  }
};

TEST_F(shm_sealed_hostile, an_honest_one_made_by_hand_is_served) {
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t id, false_producer&) {
              auto const fd = memory(all_seals);
              line.send(of_type(message_type::queued, id));
              EXPECT_TRUE(line.send(grant(id), {fd.get()}));
            }),
            error_kind{});
}

TEST_F(shm_sealed_hostile, memory_that_could_change_is_corrupt) {
  for (int const missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL, all_seals}) {
    SCOPED_TRACE(missing);
    EXPECT_EQ(answered([missing](raw_line& line, std::uint64_t id, false_producer&) {
                auto const fd = memory(all_seals & ~missing);
                line.send(grant(id), {fd.get()});
              }),
              error_kind::corrupt);
  }
}

TEST_F(shm_sealed_hostile, a_producer_that_keeps_writing_is_corrupt) {
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t id, false_producer&) {
              auto const fd = memory(0);
              auto const kept = file_mapping::map(fd.get(), payload.size(), PROT_READ | PROT_WRITE);
              ASSERT_TRUE(kept);
              EXPECT_NE(::fcntl(fd.get(), F_ADD_SEALS, all_seals), 0) << "the kernel knows of its mapping";
              EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), 0);
              line.send(grant(id), {fd.get()});
            }),
            error_kind::corrupt);
}

TEST_F(shm_sealed_hostile, what_it_sends_cannot_be_touched_after_the_hand_over) {
  auto const fd = memory(all_seals);
  EXPECT_EQ(answered([&fd](raw_line& line, std::uint64_t id, false_producer&) {
              line.send(grant(id), {fd.get()});
              EXPECT_EQ(::ftruncate(fd.get(), 0), -1);
              EXPECT_EQ(::pwrite(fd.get(), "x", 1, 0), -1);
              EXPECT_EQ(::mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
            }),
            error_kind{});
}

TEST_F(shm_sealed_hostile, what_is_no_memory_is_corrupt) {
  std::string const path = directory.path() + "/plain";
  unique_fd const plain(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)), folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ASSERT_EQ(::write(plain.get(), payload.data(), payload.size()), static_cast<ssize_t>(payload.size()));
  for (auto const* fd : {&plain, &folder, &null})
    EXPECT_EQ(answered([fd](raw_line& line, std::uint64_t id, false_producer&) { EXPECT_TRUE(line.send(grant(id), {fd->get()})); }), error_kind::corrupt);
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t id, false_producer&) { EXPECT_TRUE(line.send(grant(id), {line.fd()})); }), error_kind::corrupt) << "the socket itself";
}

TEST_F(shm_sealed_hostile, a_lie_about_the_size_is_corrupt) {
  for (std::uint64_t const lie : {std::uint64_t{0}, payload.size() - 1, payload.size() + 1, std::uint64_t{1} << 50U, ~std::uint64_t{0}}) {
    SCOPED_TRACE(lie);
    EXPECT_EQ(answered([lie](raw_line& line, std::uint64_t id, false_producer&) {
                auto const fd = memory(all_seals);
                line.send(grant(id, lie), {fd.get()});
              }),
              error_kind::corrupt);
  }
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t id, false_producer&) {
              unique_fd const fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
              ASSERT_EQ(::ftruncate(fd.get(), off_t{1} << 40U), 0);
              ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, all_seals), 0);
              line.send(grant(id, std::uint64_t{1} << 40U), {fd.get()});
            }),
            error_kind::corrupt)
      << "a terabyte of holes";
}

TEST_F(shm_sealed_hostile, the_wrong_number_of_descriptors_is_malformed) {
  for (std::size_t const n : {0U, 2U, 4U, 5U, 20U}) {
    SCOPED_TRACE(n);
    EXPECT_EQ(answered([n](raw_line& line, std::uint64_t id, false_producer&) {
                auto const fd = memory(all_seals);
                EXPECT_TRUE(line.send(grant(id), std::vector<int>(n, fd.get())));
              }),
              error_kind::malformed);
  }
  for (auto const type : {message_type::hello, message_type::queued, message_type::pong, message_type::bye})
    EXPECT_EQ(answered([type](raw_line& line, std::uint64_t id, false_producer&) {
                auto const fd = memory(all_seals);
                line.send(of_type(type, type == message_type::bye ? 0 : id), {fd.get()});
              }),
              error_kind::malformed)
        << static_cast<int>(type);
}

TEST_F(shm_sealed_hostile, no_descriptor_for_a_grant_is_our_own_lack) {
  auto consumer = open();
  false_producer producer(place);
  shm_sealed_transport::get_op op, again;
  ASSERT_TRUE(consumer.find(op, "key", {}));
  auto line = producer.accept();
  line.send(of_type(message_type::hello, producer.id()));
  message asked;
  ASSERT_TRUE(line.receive(asked, message_type::get));
  static_cast<void>(consumer.wait({}, deadline::after(std::chrono::milliseconds(1)), {}));  // makes the bell that all its waits share
  {
    auto const fd = memory(all_seals);
    ASSERT_TRUE(line.send(grant(asked.id), {fd.get()}));
  }
  {
    few_descriptors const none(0);
    auto const got = outcome(consumer, op);
    ASSERT_TRUE(got == error_kind::no_space);
    EXPECT_NE(std::string(got.error().text()).find("ulimit -n"), std::string::npos);
  }
  std::uint64_t const given_up = asked.id;
  ASSERT_TRUE(line.receive(asked, message_type::end));
  EXPECT_EQ(asked.id, given_up);
  EXPECT_EQ(asked.flag, 0) << "the producer has the object back";
  ASSERT_TRUE(consumer.find(again, "key", {}));
  ASSERT_TRUE(line.receive(asked, message_type::get)) << "and is asked again, on the same line";
  auto const fd = memory(all_seals);
  ASSERT_TRUE(line.send(grant(asked.id), {fd.get()}));
  EXPECT_TRUE(outcome(consumer, again));
}

TEST_F(shm_sealed_hostile, what_was_consumed_is_said_before_the_end_also_to_who_reads_late) {
  auto consumer = open();
  false_producer producer(place);
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "key", {}));
  auto line = producer.accept();
  line.send(of_type(message_type::hello, producer.id()));
  message m;
  ASSERT_TRUE(line.receive(m, message_type::get));
  std::uint64_t const granted = m.id;
  {
    auto const fd = memory(all_seals);
    ASSERT_TRUE(line.send(grant(granted), {fd.get()}));
  }
  ASSERT_TRUE(outcome(consumer, op));
  for (int i = 0; i != 1000; ++i) {  // more than there is room for
    shm_sealed_transport::get_op other;
    ASSERT_TRUE(consumer.find(other, "another", {}));
    ASSERT_TRUE(consumer.cancel(other));
  }
  op.take().finish(disposition::consumed);
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that the consumer closes meanwhile
    bool said = false;
    while (!said && line.receive(m)) said = m.type == message_type::end && m.id == granted && m.flag == 1;
    EXPECT_TRUE(said);
  });
  consumer.close();
  late.join();
}

TEST_F(shm_sealed_hostile, garbage_is_malformed) {
  auto const says = [this](std::string const& bytes) {
    return answered([&bytes](raw_line& line, std::uint64_t, false_producer&) { EXPECT_TRUE(line.send(bytes)); });
  };
  EXPECT_EQ(says("x"), error_kind::malformed);
  EXPECT_EQ(says(std::string(64, '\xff')), error_kind::malformed);
  EXPECT_EQ(says(std::string(100'000, 'x')), error_kind::malformed) << "longer than any message";
  EXPECT_EQ(says(bytes_of_message(of_type(message_type::queued, 1)).substr(0, 40)), error_kind::malformed) << "half a message";
  EXPECT_EQ(says(bytes_of_message(of_type(message_type::queued, 1)) + "x"), error_kind::malformed);
  EXPECT_EQ(says(bytes_of_message(of_type(message_type::ping, 1))), error_kind::malformed) << "a consumer's message";
  std::string version = bytes_of_message(of_type(message_type::queued, 1));
  version[4] = 9;
  EXPECT_EQ(says(version), error_kind::version_mismatch);
}

TEST_F(shm_sealed_hostile, saying_the_wrong_thing_is_malformed) {
  using line_and_id = void(raw_line&, std::uint64_t, false_producer&);
  auto const says = [this](line_and_id* what, bool greet = true) { return answered(what, greet); };
  EXPECT_EQ(says([](raw_line& line, std::uint64_t id, false_producer&) { line.send(of_type(message_type::queued, id)); }, false), error_kind::malformed) << "no hello";
  EXPECT_EQ(says([](raw_line& line, std::uint64_t, false_producer& p) { line.send(of_type(message_type::hello, p.id())); }), error_kind::malformed) << "two";
  EXPECT_EQ(says([](raw_line& line, std::uint64_t, false_producer& p) { line.send(of_type(message_type::hello, p.id() + 1)); }, false), error_kind::malformed) << "another's";
  EXPECT_EQ(says([](raw_line& line, std::uint64_t, false_producer&) {
              for (int i = 0; i != 65; ++i) {
                std::string const stage = "stage " + std::to_string(i);
                message m = of_type(message_type::name);
                m.text = stage;
                line.send(m);
              }
            }),
            error_kind::malformed)
      << "names without end";
}

TEST_F(shm_sealed_hostile, what_was_not_asked_for_is_not_taken) {
  auto consumer = open();
  false_producer one(place), two(place);
  locator const where = locator::pack(locator_tag::shm_sealed, omniconn::detail::sealed::place{one.id(), 7});
  find_options how;
  how.where = &where;
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "key", how));
  auto a = one.accept(), b = two.accept();
  message asked;
  ASSERT_TRUE(a.receive(asked, message_type::get));
  EXPECT_EQ(asked.generation, 7U);
  auto const fd = memory(all_seals);
  b.send(of_type(message_type::hello, two.id()));
  message m = grant(asked.id);
  m.generation = 7;
  b.send(m, {fd.get()});  // it guesses the number of a request that another has
  a.send(of_type(message_type::hello, one.id()));
  EXPECT_TRUE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(30))) == error_kind::timed_out);
  m.generation = 8;
  a.send(m, {fd.get()});
  EXPECT_TRUE(outcome(consumer, op) == error_kind::malformed) << "another object than the locator's";
  std::string peers;
  for (auto const& p : consumer.report().peers)
    if (!p.alive) peers += p.name + "\n";
  EXPECT_NE(peers.find(one.name()), std::string::npos) << peers;
  EXPECT_NE(peers.find(two.name()), std::string::npos) << "both are named, and not spoken to again:\n" << peers;
}

/// Two producers, of which the first refuses a get.
struct shm_sealed_two : shm_sealed_hostile {
  shm_sealed_transport consumer = open();
  false_producer one{place}, two{place};
  raw_line a, b;
  shm_sealed_transport::get_op op;
  edge const flow{"source", "sink"};
  std::uint64_t asked = 0;

  void ask(bool waits) {
    find_options how;
    how.flow = &flow;
    how.wait = waits;
    ASSERT_TRUE(consumer.find(op, "key", how));
    a = one.accept();
    b = two.accept();
    a.send(of_type(message_type::hello, one.id()));
    b.send(of_type(message_type::hello, two.id()));
    message m;
    ASSERT_TRUE(a.receive(m, message_type::get));
    ASSERT_TRUE(b.receive(m, message_type::get));
    asked = m.id;
  }
  static void puts_for(raw_line& line, std::string_view stage) {
    message m = of_type(message_type::name);
    m.text = stage;
    line.send(m);
  }
  void refuse(raw_line& line, refusal why) const {
    message m = of_type(message_type::refusal, asked);
    m.flag = static_cast<std::uint8_t>(why);
    line.send(m);
  }
};

TEST_F(shm_sealed_two, who_had_it_from_one_may_have_it_from_another) {
  for (auto const why : {refusal::consumed, refusal::too_many, refusal::stale, refusal::absent}) {
    SCOPED_TRACE(static_cast<int>(why));
    if (a.fd() < 0) {
      ask(true);
    } else {
      ASSERT_TRUE(consumer.find(op, "key", {}));
      message m;
      ASSERT_TRUE(a.receive(m, message_type::get));
      asked = m.id;
    }
    refuse(a, why);
    EXPECT_FALSE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(20)))) << "not yet";
    EXPECT_EQ(consumer.step(op).value_or(progress::done), progress::pending);
    auto const fd = memory(all_seals);
    ASSERT_TRUE(b.send(grant(asked), {fd.get()}));
    EXPECT_TRUE(outcome(consumer, op));
    op.take().finish(disposition::consumed);
  }
}

TEST_F(shm_sealed_two, a_get_that_does_not_wait_ends_as_consumed_when_all_have_answered) {
  ask(false);
  refuse(a, refusal::consumed);
  EXPECT_TRUE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(20))) == error_kind::consumed) << "what is known at the deadline";
  EXPECT_EQ(consumer.step(op).value_or(progress::done), progress::pending) << "the other one has not answered";
  refuse(b, refusal::absent);
  EXPECT_TRUE(outcome(consumer, op) == error_kind::consumed);
}

TEST_F(shm_sealed_two, a_get_whose_sender_says_consumed_waits_for_no_other_stage) {
  ask(true);
  puts_for(a, "source");
  puts_for(b, "another");
  refuse(a, refusal::consumed);
  b.send(of_type(message_type::queued, asked));
  EXPECT_TRUE(outcome(consumer, op) == error_kind::consumed);
  EXPECT_TRUE(consumer.step(op) == error_kind::consumed) << "long before the deadline";
}

TEST_F(shm_sealed_two, a_get_waits_for_another_producer_of_its_sender) {
  ask(true);
  puts_for(a, "source");
  puts_for(b, "source");
  b.send(of_type(message_type::queued, asked));
  refuse(a, refusal::consumed);
  EXPECT_TRUE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(30))) == error_kind::consumed);
  EXPECT_EQ(consumer.step(op).value_or(progress::done), progress::pending);
  b.send(of_type(message_type::bye));
  b.close();
  EXPECT_TRUE(outcome(consumer, op) == error_kind::consumed);
  EXPECT_TRUE(consumer.step(op) == error_kind::consumed) << "nobody is left who may bring it";
}

TEST_F(shm_sealed_hostile, silence_is_a_stalled_peer_at_the_deadline) {
  deadline const until = deadline::after(std::chrono::milliseconds(250));
  EXPECT_EQ(answered([](raw_line&, std::uint64_t, false_producer&) {}, false, until), error_kind::peer_stalled) << "no hello";
  EXPECT_TRUE(until.passed());
  EXPECT_EQ(answered([](raw_line&, std::uint64_t, false_producer&) {}, true, deadline::after(std::chrono::milliseconds(250))), error_kind::peer_stalled) << "no answer to a request";
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t id, false_producer&) {
              message m = of_type(message_type::name);
              m.text = "liar";
              line.send(m);
              line.send(of_type(message_type::queued, id));
            }, true, deadline::after(std::chrono::milliseconds(250))),
            error_kind::peer_stalled)
      << "no answer to the ping before the deadline";
}

TEST_F(shm_sealed_hostile, a_producer_that_never_accepts_is_stalled_and_blocks_nobody) {
  auto consumer = open();
  false_producer const deaf(place);
  shm_sealed_transport::get_op op, other;
  ASSERT_TRUE(consumer.find(op, "never", {}));
  EXPECT_TRUE(outcome(consumer, op, deadline::after(std::chrono::milliseconds(250))) == error_kind::peer_stalled);
  auto honest = open();
  put(honest, "key");
  ASSERT_TRUE(consumer.find(other, "key", {}));
  EXPECT_TRUE(outcome(consumer, other));
  EXPECT_TRUE(consumer.exists("key").value_or(false)) << "one that says yes is enough";
  EXPECT_TRUE(consumer.exists("none") == error_kind::peer_stalled) << "nobody said yes, and one said nothing";
}

TEST_F(shm_sealed_hostile, a_death_is_heard) {
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t id, false_producer& p) {
              message m = of_type(message_type::name);
              m.text = "liar";
              line.send(m);
              line.send(of_type(message_type::queued, id));
              line.close();
              static_cast<void>(p);
            }),
            error_kind::peer_lost);
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t id, false_producer&) {
              line.send(of_type(message_type::queued, id));
              line.close();
            }, true, deadline::after(std::chrono::milliseconds(50))),
            error_kind::timed_out)
      << "it never said that it puts for this stage";
  EXPECT_EQ(answered([](raw_line& line, std::uint64_t, false_producer&) {
              line.send(of_type(message_type::bye));
              line.close();
            }, true, deadline::after(std::chrono::milliseconds(50))),
            error_kind::timed_out)
      << "it left in order";
}

TEST_F(shm_sealed_hostile, deaths_that_are_not_remembered_any_more_are_the_oldest) {
  auto consumer = open();
  edge const flow{"liar", "me"};
  find_options how;
  how.flow = &flow;
  for (int round = 0; round != 6; ++round) {
    shm_sealed_transport::get_op op;
    {
      false_producer producer(place);
      find_options anything;
      ASSERT_TRUE(consumer.find(op, "key", anything));
      auto line = producer.accept();
      line.send(of_type(message_type::hello, producer.id()));
      for (int i = 0; i != 64; ++i) {
        std::string const stage = round == 5 ? "liar" : "stage " + std::to_string(round) + "." + std::to_string(i);
        message m = of_type(message_type::name);
        m.text = stage;
        line.send(m);
      }
    }
    while (consumer.report().peers.size() != 0 || !names_in(place).empty()) static_cast<void>(outcome(consumer, op, deadline::after(std::chrono::milliseconds(10))));
    static_cast<void>(consumer.cancel(op));
  }
  shm_sealed_transport::get_op op;
  auto const found = consumer.find(op, "key", how);
  EXPECT_TRUE((found ? outcome(consumer, op, deadline::after(std::chrono::milliseconds(50))) : found) == error_kind::peer_lost);
}

TEST_F(shm_sealed_hostile, strange_things_in_the_folder_are_let_alone) {
  directory.may_keep_files = true;
  auto consumer = open();
  std::string const folder = place.path() + "/";
  auto const id = [] { return socket_name(omniconn::detail::random_u64() | 1U); };
  false_producer trap(place);
  std::string const link = id(), file = id(), deep = id();
  ASSERT_EQ(::symlink(trap.name().c_str(), (folder + link).c_str()), 0);
  ASSERT_EQ(::mkdir((folder + deep).c_str(), 0700), 0);
  unique_fd const made(::open((folder + file).c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::mkfifo((folder + id()).c_str(), 0600), 0);
  ASSERT_EQ(::mkdir((folder + "no name of ours").c_str(), 0700), 0);
  auto honest = open();
  put(honest, "key");
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "key", {}));
  EXPECT_TRUE(outcome(consumer, op));
  int strange = 0;
  for (auto const& p : consumer.report().peers) {
    if (!p.alive) ++strange;
    EXPECT_TRUE(p.alive || p.name.find("not an allowed user's socket") != std::string::npos) << p.name;
    EXPECT_EQ(p.alive && p.name.find(link) != std::string::npos, false) << "a link is not followed";
  }
  EXPECT_EQ(strange, 4);
}

TEST_F(shm_sealed_hostile, a_folder_full_of_strange_names_hides_nobody) {
  directory.may_keep_files = true;
  auto honest = open();
  put(honest, "key");
  put(honest, "next");
  int const folder = ::open(place.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  unique_fd const owned(folder);
  auto const leave = [folder](std::string const& name) { unique_fd const made(::openat(folder, name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); };
  for (int i = 0; i != 4200; ++i) leave("no socket's name " + std::to_string(i));  // what was made last is read first
  auto consumer = open();
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "key", {}));
  EXPECT_TRUE(outcome(consumer, op)) << "names that cannot be a socket's";
  for (std::uint64_t i = 1; i <= 4200; ++i) leave(socket_name(i));
  auto other = open();
  shm_sealed_transport::get_op next;
  ASSERT_TRUE(other.find(next, "next", {}));
  auto const first = other.report().peers;
  ASSERT_GT(first.size(), desk::max_described);
  EXPECT_LE(desk::max_described + std::stoul(first.back().name.substr(4)), desk::most_tries) << "who fills the folder does not keep us from all else: " << first.back().name;
  EXPECT_TRUE(outcome(other, next)) << "names of sockets that are none";
  EXPECT_FALSE(other.exists("none").value_or(true)) << "once all of them were looked at";
  auto const peers = other.report().peers;
  ASSERT_EQ(peers.size(), 1 + desk::max_described + 1) << "the honest one, some others, and how many more";
  EXPECT_EQ(peers.back().name, "and " + std::to_string(4200 - desk::max_described) + " more that are not spoken to");
}

TEST_F(shm_sealed_hostile, a_socket_that_nobody_listens_at_is_removed) {
  std::string name;
  {
    unique_fd door = std::move(*place.listen(77));
    name = socket_name(77);
  }
  ASSERT_EQ(names_in(place), std::vector<std::string>{name}) << "as a producer leaves it that was killed";
  auto consumer = open();
  shm_sealed_transport::get_op op;
  ASSERT_TRUE(consumer.find(op, "key", {}));
  EXPECT_TRUE(names_in(place).empty());
}

TEST_F(shm_sealed_hostile, a_folder_that_is_not_ours_alone_is_refused) {
  sealed_test::directory other;
  auto const opens = [&other] { return meeting_place::open(other.path(), "x", {}); };
  std::string path;
  {
    auto first = opens();
    ASSERT_TRUE(first);
    path = first->path();
    ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
    EXPECT_TRUE(opens() == error_kind::unauthorized) << "open to others";
    first->leave();
  }
  ASSERT_EQ(::symlink(directory.path().c_str(), path.c_str()), 0);
  EXPECT_TRUE(opens() == error_kind::unauthorized) << "a link";
  ::unlink(path.c_str());
  unique_fd const file(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  EXPECT_TRUE(opens() == error_kind::unauthorized) << "a file";
  ::unlink(path.c_str());
  EXPECT_TRUE(meeting_place::open(other.path() + "/none", "x", {}) == error_kind::misconfigured);
}

}  // namespace
