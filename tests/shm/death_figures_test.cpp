// SPDX-License-Identifier: Apache-2.0
// How soon the death of the other end is heard: from before the kill until the call that sleeps has returned, on the clock of one process.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>

#include <shm/crash/counts.hpp>
#include <shm/stage.hpp>

namespace {

using namespace crash;
using omniconn::deadline;
using omniconn::error_kind;
using shm_test::stage;
using connector = omniconn::shm_connector<>;

constexpr omniconn::edge hop{"producer", "consumer"};
constexpr double bar_ms = 10;

/// How long a thread that wants to run has to wait on this machine: what no library can do anything about.
class control_thread {
 public:
  ~control_thread() { largest_ms(); }
  double largest_ms() {
    end_ = true;
    if (thread_.joinable()) thread_.join();
    return static_cast<double>(largest_) / 1e6;
  }

 private:
  std::atomic<bool> end_{false};
  std::int64_t largest_ = 0;
  std::thread thread_{[this] {
    std::int64_t before = deadline::now_ns();
    while (!end_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::int64_t const after = deadline::now_ns();
      largest_ = std::max(largest_, after - before - 1'000'000);
      before = after;
    }
  }};
};

/// A call on a thread of its own. \returns of `f`: the kind of error that it ended with, or nothing.
class sleeping_call {
 public:
  template <class F>
  explicit sleeping_call(F f)
      : thread_([this, f] {
          thread_id_ = ::gettid();
          outcome_ = f();
          ended_ns_ = deadline::now_ns();
        }) {}
  ~sleeping_call() { join(); }

  /// Asleep, as the kernel sees it.
  [[nodiscard]] bool sleeps() const {
    pid_t const id = thread_id_;
    if (id == 0) return false;
    std::ifstream stat("/proc/self/task/" + std::to_string(id) + "/stat");
    std::string line;
    std::getline(stat, line);
    auto const after_name = line.rfind(')');
    return after_name != line.npos && after_name + 2 < line.size() && line[after_name + 2] == 'S';
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  /// \requires `join`.
  [[nodiscard]] std::optional<error_kind> outcome() const { return outcome_; }
  [[nodiscard]] double ended_ms_after(std::int64_t t) const { return static_cast<double>(ended_ns_ - t) / 1e6; }

 private:
  std::atomic<pid_t> thread_id_{0};
  std::optional<error_kind> outcome_;
  std::int64_t ended_ns_ = 0;
  std::thread thread_;
};

/// Somebody else's death, and when the call heard of it.
class deaths {
 public:
  deaths(scale s, shm_test::fresh_space const& space) : scale_(s), wanted_(rounds(s, 20, 1000)) {
    auto opened = omniconn::detail::shm::directory::open(space.paths(), {}, false);
    if (!opened) {
      ADD_FAILURE() << opened.error().message();
      return;
    }
    dir_.emplace(std::move(*opened));
    dir_->open_gate();
  }
  [[nodiscard]] unsigned wanted() const noexcept { return wanted_; }

  /// Kills `victim` once `call` sleeps for an object, or for room.
  void happens(sleeping_call& call, pid_t victim) {
    EXPECT_TRUE(shm_test::eventually([&] { return somebody_waits() && call.sleeps(); }));
    std::int64_t const before = deadline::now_ns();
    ::kill(victim, SIGKILL);
    call.join();
    if (call.outcome() == error_kind::peer_lost) {
      ++told_;
    } else {
      ADD_FAILURE() << "ended with " << (call.outcome() ? to_string(*call.outcome()) : "success");
    }
    ms_.push_back(call.ended_ms_after(before));
  }
  void report(outcome& out, char const* what, bool by_p99) {
    std::sort(ms_.begin(), ms_.end());
    if (ms_.empty()) return;
    out.at_least("deaths", static_cast<double>(ms_.size()), wanted_);
    out.exactly(std::string(what) + " that ended with peer_lost", told_, wanted_);
    out.note("from the kill to the return, p50 (ms)", ms_[ms_.size() / 2]);
    double const p99 = ms_[ms_.size() * 99 / 100];
    auto const late = static_cast<double>(std::count_if(ms_.begin(), ms_.end(), [](double ms) { return ms > bar_ms; }));
    // A bar of time is one on an idle machine without sanitizers only.
    bool const judged = scale_ == scale::full && slower == 1;
    std::string const p99_name = "from the kill to the return, p99 (ms)", late_name = "returned after more than 10 ms";
    judged && by_p99 ? out.at_most(p99_name, p99, bar_ms) : out.note(p99_name, p99);
    out.note("from the kill to the return, most (ms)", ms_.back());
    judged && !by_p99 ? out.exactly(late_name, late, 0) : out.note(late_name, late);
    out.note("largest scheduling gap of the control thread (ms)", control_.largest_ms());
  }

 private:
  [[nodiscard]] bool somebody_waits() const {
    for (std::uint32_t i = 0; i != dir_->layout().slots; ++i)
      if (dir_->slot_at(i).sleepers.load() != 0) return true;
    for (std::uint32_t i = 0; i != omniconn::detail::shm::max_participants; ++i)
      if (dir_->participant_at(i).wants_room.load() != 0) return true;
    return false;
  }

  scale scale_;
  unsigned wanted_, told_ = 0;
  std::optional<omniconn::detail::shm::directory> dir_;
  std::vector<double> ms_;
  control_thread control_;
};

std::optional<connector> connect(shm_test::fresh_space const& space, connector::options o = {}) {
  o.transport = space.options();
  o.transport.max_keys = 64;
  auto c = connector::open(o);
  if (!c) {
    ADD_FAILURE() << c.error().message();
    return std::nullopt;
  }
  return std::move(*c);
}

enum class kind_of_producer { plain, in_a_pid_namespace, with_a_child };

/// The only child of a process, as the kernel lists it.
pid_t child_of(pid_t parent) {
  std::ifstream list("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
  pid_t out = 0;
  list >> out;
  return out;
}

void producers_die(scale s, outcome& out, kind_of_producer kind) {
  shm_test::fresh_space const space;
  auto consumer = connect(space);
  ASSERT_TRUE(consumer);
  deaths all(s, space);
  std::vector<std::string> before;
  if (kind == kind_of_producer::in_a_pid_namespace) before = {"sh", "-c", "exec unshare --pid --fork --kill-child \"$0\" \"$@\" 2>/dev/null"};  // it has a word for each child that is killed
  for (unsigned i = 0; i != all.wanted() && !testing::Test::HasFailure(); ++i) {
    stage producer(space.name(), {}, before);
    ASSERT_EQ(producer.ask("put a 1 10"), "ok 10");
    ASSERT_TRUE(consumer->get_view(hop, "a", {deadline::immediate()}));
    if (kind == kind_of_producer::with_a_child) {
      ASSERT_EQ(producer.ask("fork"), "ok closed");
    }
    pid_t const victim = kind == kind_of_producer::in_a_pid_namespace ? child_of(producer.pid()) : producer.pid();
    ASSERT_GT(victim, 1);
    sleeping_call call([&]() -> std::optional<error_kind> {
      auto const got = consumer->get_view(hop, "b");
      return got ? std::nullopt : std::optional(got.error().kind());
    });
    all.happens(call, victim);
    producer.kill();
  }
  all.report(out, "gets", true);
}

CRASH_TEST(gets_whose_producer_dies) {
  outcome out(results, "a get without a deadline sleeps, the only process that puts for the edge is killed");
  producers_die(scale, out, kind_of_producer::plain);
}

CRASH_TEST(gets_whose_producer_dies_in_another_pid_namespace) {
  if (std::system("unshare --pid --fork true 2>/dev/null") != 0) GTEST_SKIP() << "needs root to make a pid namespace";
  outcome out(results, "the same, the producer in a pid namespace of its own");
  producers_die(scale, out, kind_of_producer::in_a_pid_namespace);
}

CRASH_TEST(gets_whose_producer_dies_and_leaves_a_child) {
  outcome out(results, "the same, the producer has forked a child that goes on living");
  producers_die(scale, out, kind_of_producer::with_a_child);
}

CRASH_TEST(blocked_puts_whose_only_consumer_dies) {
  outcome out(results, "a put without a deadline sleeps, because max_unread_objects is 1 and on_full is wait; the only process that gets for the edge is killed");
  shm_test::fresh_space const space;
  connector::options o;
  o.defaults.full = omniconn::on_full::wait;
  o.defaults.max_unread_objects = 1;
  auto producer = connect(space, o);
  ASSERT_TRUE(producer);
  deaths all(scale, space);
  std::vector<std::byte> const payload(100);
  for (unsigned i = 0; i != all.wanted() && !testing::Test::HasFailure(); ++i) {
    stage consumer(space.name());
    ASSERT_EQ(consumer.ask("get nothing r 1 1"), "error timed_out") << "known as a reader of the edge since it waited";
    ASSERT_TRUE(producer->put(hop, "unread", omniconn::const_bytes(payload)));
    sleeping_call call([&]() -> std::optional<error_kind> {
      auto const put = producer->put(hop, "blocked", omniconn::const_bytes(payload));
      return put ? std::nullopt : std::optional(put.error().kind());
    });
    all.happens(call, consumer.pid());
    consumer.kill();
    ASSERT_FALSE(producer->exists(hop, "blocked").value_or(true)) << "what failed is not there";
    ASSERT_EQ(producer->cleanup(hop, "unread").value_or(0), 1U) << "nothing was dropped";
  }
  all.report(out, "puts", false);
}

}  // namespace
