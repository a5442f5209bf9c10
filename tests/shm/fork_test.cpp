// SPDX-License-Identifier: Apache-2.0
// A program that forks whenever it likes, whatever its other threads are at.
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/detail/failpoint.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/runtime/builtin.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/stage.hpp>
#include <shm/support.hpp>
#include <support/quiet_fork.hpp>
#include <support/slower.hpp>

namespace {

using namespace omniconn;
using connector_type = shm_connector<>;
constexpr edge hop{"producer", "consumer"};
constexpr std::byte payload[8]{};

template <class Act>
pid_t forked(Act act) {
  pid_t const child = test::quiet_fork();
  if (child == 0) ::_exit(act());
  return child;
}
/// \returns the exit status of a child; what ends it otherwise is a failure, and so is a child that does not end.
int status_of(pid_t child) {
  int status = 0;
  auto const limit = omniconn::deadline::after(std::chrono::seconds(20));  // only a hang reaches it
  pid_t ended = 0;
  while ((ended = ::waitpid(child, &status, WNOHANG)) == 0 && !limit.passed()) std::this_thread::yield();
  if (ended == 0) {
    ::kill(child, SIGKILL);
    ended = ::waitpid(child, &status, 0);
  }
  EXPECT_EQ(ended, child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
template <class Act>
int in_child(Act act) {
  return status_of(forked(act));
}

TEST(shm_fork, a_mark_tells_what_came_from_the_parent) {
  (void)detail::watch_forks();
  detail::fork_mark const old;
  EXPECT_FALSE(old.inherited());
  EXPECT_EQ(in_child([&old]() noexcept { return old.inherited() && !detail::fork_mark().inherited() ? 0 : 1; }), 0);
  EXPECT_FALSE(old.inherited()) << "the parent is no child";
}

TEST(shm_fork, a_witness_is_told_as_long_as_it_lives) {
  int told = 0;
  auto const tell = [](void* n) noexcept { ++*static_cast<int*>(n); };
  {
    detail::fork_witness const first(tell, &told);
    detail::fork_witness const second(tell, &told);
    EXPECT_EQ(in_child([&told]() noexcept { return told; }), 2);
  }
  EXPECT_EQ(in_child([&told]() noexcept { return told; }), 0);
  EXPECT_EQ(told, 0) << "only children are told";
}

// The child runs the handlers of what other threads were just making or unmaking.
TEST(shm_fork, while_another_thread_opens_and_closes_harms_no_child) {
  shm_test::fresh_space space;
  std::atomic<bool> end{false};
  std::atomic<unsigned> opened{0};
  std::thread user([&] {
    while (!end.load()) {
      auto t = shm_transport::open(space.options());
      EXPECT_TRUE(t) << t.error().message();
      opened.fetch_add(1);
    }
  });
  for (unsigned i = 0; i != 2000 / test::slower; ++i) {
    pid_t const child = ::fork();
    if (child == 0) ::_exit(0);
    if (status_of(child) != 0) break;
  }
  end.store(true);
  user.join();
  EXPECT_GT(opened.load(), 0U);
}

/// A pipe on which children say how far they are.
class line {
 public:
  line() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  line(line const&) = delete;
  line& operator=(line const&) = delete;
  ~line() {
    for (int const fd : ends_) ::close(fd);
  }
  void say() const noexcept { static_cast<void>(!::write(ends_[1], "", 1)); }
  [[nodiscard]] bool heard() const noexcept {
    pollfd p{ends_[0], POLLIN, 0};
    char c = 1;
    return ::poll(&p, 1, shm_test::answer_limit_ms) == 1 && ::read(ends_[0], &c, 1) == 1;
  }

 private:
  std::array<int, 2> ends_{};
};

// They have from their parent what tells it from other processes.
TEST(shm_fork, two_children_of_one_parent_are_strangers_and_hear_of_each_other) {
  shm_test::fresh_space space;
  (void)space.connect<connector_type>();
  line const told;
  struct doomed {
    pid_t pid;
    ~doomed() { end(); }
    void end() {
      if (pid == 0) return;
      ::kill(pid, SIGKILL);
      EXPECT_GT(::waitpid(std::exchange(pid, 0), nullptr, 0), 0);
    }
  };
  doomed producer{forked([&] {
    auto c = space.connect<connector_type>();
    if (!c.put(hop, "first", const_bytes(payload))) return 1;
    told.say();
    for (;;) ::pause();
  })};
  ASSERT_TRUE(told.heard());
  pid_t const consumer = forked([&] {
    auto c = space.connect<connector_type>();
    if (!c.get_view(hop, "first", {deadline::immediate()})) return 1;
    told.say();
    auto const next = c.get_view(hop, "next", {deadline::never()});
    return next == error_kind::peer_lost ? 0 : 2;
  });
  EXPECT_TRUE(told.heard());
  if (auto directory = detail::shm::directory::open(space.paths(), {}, false)) {
    directory->open_gate();
    std::set<std::uint64_t> processes;
    for (std::uint32_t i = 0; i != detail::shm::max_participants; ++i)
      if (auto const& p = directory->participant_at(i); p.state.load() == detail::shm::participant_state::live) processes.insert(p.process);
    EXPECT_EQ(processes.size(), 2U);
  }
  producer.end();
  EXPECT_EQ(status_of(consumer), 0);
}

// --- what a thread of the parent has locked at that moment stays locked in the child ---------------------------------------------------------


/// Where the other thread stops, and until when.
std::string_view stop_where;
std::atomic<bool> has_stopped{false}, may_go{false};
void stop_there(std::string_view name) noexcept {
  if (name != stop_where || has_stopped.exchange(true)) return;
  has_stopped.notify_all();
  may_go.wait(false);
}

class shm_fork_in : public testing::Test {
 protected:
  shm_fork_in() : c_(space.connect<connector_type>()), other_(space.connect<connector_type>()) {}
  ~shm_fork_in() override {
    static_cast<void>(c_->transport().erase_if([](wire_key) { return true; }));
  }

  /// Forks while another thread does `act` and has come to `failpoint`. The child uses everything that it inherits, then lets go of it.
  template <class Act>
  void fork_at(std::string_view failpoint, Act act) {
    ASSERT_TRUE(c_->put(hop, "held", const_bytes(payload)) && c_->put(hop, "unread", const_bytes(payload)));
    auto view = c_->get_view(hop, "held", {deadline::immediate()});
    auto reserved = c_->reserve(sizeof payload);
    std::optional<shm_transport::put_op> begun(std::in_place), unbegun(std::in_place);
    ASSERT_TRUE(view && reserved && c_->transport().begin(*begun, "begun", {}, {}, {}));
    stop_where = failpoint;
    has_stopped.store(false);
    may_go.store(false);
    set_failpoint_hook(&stop_there);
    std::thread thread([&act, failpoint] {
      act();
      if (!has_stopped.exchange(true)) ADD_FAILURE() << "it never came to " << failpoint;
      has_stopped.notify_all();
    });
    has_stopped.wait(false);
    auto const ended = in_child([&] {
      set_failpoint_hook(nullptr);
      auto const closed = [](auto const& r) { return !r && r.error().kind() == error_kind::closed; };
      if (!closed(c_->reserve(100))) return 1;
      if (!closed(c_->put(hop, "k", const_bytes(payload))) || !closed(c_->commit(hop, "k", std::move(*reserved)))) return 2;
      if (!closed(c_->get_view(hop, "held", {deadline::immediate()}))) return 3;
      if (!closed(c_->transport().commit(*begun, {})) || !closed(c_->transport().begin(*unbegun, "k", {}, {}, {}))) return 4;
      if (c_->transport().step(waiting_)) return 5;
      if (c_->transport().reclaim([](std::uint64_t) {}) != 0 || c_->health().status != health_status::closed) return 6;
      static_cast<void>(c_->transport().cancel(waiting_));
      c_->transport().abort(*begun);
      begun.reset();
      view->release();
      reserved = c_->reserve(1);
      c_->close();
      c_.reset();
#if defined(__SANITIZE_THREAD__)  // it lets no child of several threads start one
      return 0;
#else
      connector_type::options o;
      o.transport = space.options();
      auto own = connector_type::open(o);
      if (!own || !own->put(hop, "own", const_bytes(payload))) return 7;
      return own->get_view(hop, "own", {deadline::immediate()}) ? 0 : 8;
#endif
    });
    EXPECT_EQ(ended, 0) << "while another thread was at " << failpoint;
    set_failpoint_hook(nullptr);
    may_go.store(true);
    may_go.notify_all();
    thread.join();
    EXPECT_TRUE(c_->put(hop, "after", const_bytes(payload))) << "the parent goes on";
    EXPECT_TRUE(other_->get_view(hop, "unread", {deadline::immediate()}));
  }

  shm_test::fresh_space space;
  shm_transport::get_op waiting_;
  std::optional<connector_type> c_, other_;
};

TEST_F(shm_fork_in, the_growth_of_the_arena_harms_no_child) {
  fork_at("shm.arena.grown", [this] { EXPECT_TRUE(c_->reserve(std::size_t{6} << 20U)); });
}

TEST_F(shm_fork_in, the_description_of_an_object_harms_no_child) {
  ASSERT_TRUE(c_->put(hop, "read", const_bytes(payload)));
  fork_at("shm.put.key_stored", [this] {
    EXPECT_TRUE(other_->get_view(hop, "read", {deadline::immediate()}));
    EXPECT_TRUE(c_->put(hop, std::string(300, 'k'), const_bytes(payload)));  // which takes back what was read, and has the producer's lock then
  });
}

TEST_F(shm_fork_in, the_end_of_a_put_harms_no_child) {
  fork_at("shm.abort.withdrawn", [this] {
    shm_transport::put_op op;
    EXPECT_TRUE(c_->transport().begin(op, "never", {}, {}, {}));
  });
}

TEST_F(shm_fork_in, a_get_harms_no_child) {
  find_options how;
  auto const now = c_->transport().find(waiting_, "late", how);
  ASSERT_TRUE(now && *now == progress::pending);
  shm_transport::put_op op;
  ASSERT_TRUE(other_->transport().begin(op, "late", {}, {}, {}) && other_->transport().commit(op, {}));
  fork_at("shm.get.adopting", [this] {
    auto const then = c_->transport().step(waiting_);
    EXPECT_TRUE(then && *then == progress::done) << "the parent's get is none of the child's business";
    EXPECT_TRUE(c_->transport().cancel(waiting_));
  });
}

}  // namespace
