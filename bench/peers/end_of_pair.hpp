// SPDX-License-Identifier: Apache-2.0
// One end of a pair of processes, producer and consumer: the words that both share, and how an end waits for the other.
#pragma once

#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <linux/futex.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.hpp"

namespace peers {

using bytes = std::span<std::byte>;
using const_bytes = std::span<std::byte const>;

enum class side : std::uint32_t { producer, consumer };

/// How the consumer waits for its object: it only spins, spins a while and sleeps then, or sleeps at once.
enum class waiting : std::uint32_t { spin, hybrid, block };

inline constexpr std::uint32_t most_objects = 4096;  // of one job, warm-up included
inline constexpr unsigned patience_s = 60;           // a peer that hangs ends, and its consumer with it

/// One line of stdin, as both sides need it.
struct job {
  std::uint64_t size = 0;
  std::uint32_t count = 0;      // warm-up included
  std::uint32_t in_flight = 1;
  std::uint32_t first_key = 0;
  waiting wait = waiting::block;
  std::uint32_t what = 0;       // for a peer with jobs of its own
  bool quit = false;
};

/// The shared memory of a pair. What one side polls lies in a line of its own.
struct control {
  alignas(64) std::atomic<std::uint32_t> posted;  // futex: jobs so far
  alignas(64) std::atomic<std::uint32_t> ready;   // futex: the consumer has begun that many jobs
  alignas(64) std::atomic<std::uint32_t> acks;    // futex: objects done
  alignas(64) std::atomic<std::uint32_t> ping;    // futex: for limits
  alignas(64) std::array<std::atomic<std::uint32_t>, 2> notes;  // futex: notes that a side has left for the other
  alignas(64) std::atomic<std::uint32_t> wrong;   // sums
  job now;
  std::array<std::uint32_t, 2> note_size;
  std::array<std::array<std::byte, 4096>, 2> note;
  std::array<char, 256> complaint;                // why the consumer ended
  std::array<std::uint64_t, most_objects> expected;
  std::array<std::int64_t, most_objects> ends;
};

inline void wake(std::atomic<std::uint32_t>& word) noexcept { ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Returns when the word is no longer `old`. `meanwhile` is called between two looks of a spinning wait, `alive` about once a second: it throws where waiting is in vain.
template <class Meanwhile, class Alive>
void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t old, bool spins, Meanwhile&& meanwhile, Alive&& alive) {
  std::int64_t next_look = 0;
  for (std::uint32_t n = 1; word.load(std::memory_order_acquire) == old; ++n) {
    if (spins) {
      meanwhile();
      relax();
      if (n % (1U << 16U) != 0) continue;
      std::int64_t const now = bench::now_ns();
      if (now < next_look) continue;
      next_look = now + 1'000'000'000;
    } else {
      timespec const second{1, 0};
      ::syscall(SYS_futex, &word, FUTEX_WAIT, old, &second, nullptr, 0);
      if (word.load(std::memory_order_acquire) != old) return;
    }
    alive();
  }
}

/// One end of a pair: what it knows of the other, and messages of the handshake.
class end_of_pair {
 public:
  side which;
  std::string space;               ///< names of this pair begin with it; the runner removes what is left of them
  control& shared;
  std::vector<std::string> words;  ///< the command line

  end_of_pair(side s, std::string name, control& c, std::vector<std::string> line) : which(s), space(std::move(name)), shared(c), words(std::move(line)) {}
  end_of_pair(end_of_pair const&) = delete;
  end_of_pair& operator=(end_of_pair const&) = delete;

  [[nodiscard]] bool producing() const noexcept { return which == side::producer; }
  [[nodiscard]] bool has(std::string_view option) const {
    for (auto const& w : words)
      if (w == option) return true;
    return false;
  }

  /// Handshake: `say` leaves a note, `hear` waits for the other's.
  void say(const_bytes note = {}) {
    auto const mine = static_cast<std::size_t>(which);
    if (note.size() > shared.note[mine].size()) throw std::runtime_error("a note is too long");
    if (!note.empty()) std::memcpy(shared.note[mine].data(), note.data(), note.size());
    shared.note_size[mine] = static_cast<std::uint32_t>(note.size());
    shared.notes[mine].fetch_add(1, std::memory_order_release);
    wake(shared.notes[mine]);
  }
  std::vector<std::byte> hear() {
    auto const theirs = 1 - static_cast<std::size_t>(which);
    wait_while(shared.notes[theirs], heard_, false, [] {}, [this] { look(); });
    ++heard_;
    auto const* const from = shared.note[theirs].data();
    return {from, from + shared.note_size[theirs]};
  }

  /// Throws when the consumer is gone or the time of the job is over. The consumer need not ask: it dies with its producer.
  void look() {
    if (!producing()) return;
    int status = 0;
    if (child_ != 0 && ::waitpid(child_, &status, WNOHANG) == child_) {
      child_ = 0;
      throw std::runtime_error("the consumer ended: " + (WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status)) : std::string(shared.complaint.data())));
    }
    if (bench::now_ns() > end_of_job_) throw std::runtime_error("the consumer is too slow, or hangs");
  }
  /// The patience with what follows begins anew. A call of the peer's library that never returns ends the process.
  void begin_to_wait() {
    ::alarm(3 * patience_s);
    end_of_job_ = bench::now_ns() + std::int64_t{patience_s} * 1'000'000'000;
  }

  /// Gives the consumer a job and returns when it has begun it.
  void post(job const& j) {
    begin_to_wait();
    shared.now = j;
    shared.acks.store(0);
    shared.ping.store(0);
    std::uint32_t const before = shared.posted.fetch_add(1);
    wake(shared.posted);
    if (!j.quit) wait_while(shared.ready, before, false, [] {}, [this] { look(); });
  }
  /// The consumer's side of it.
  job take() {
    wait_while(shared.posted, taken_, false, [] {}, [] {});
    ++taken_;
    return shared.now;
  }
  void begun() {
    shared.ready.store(taken_, std::memory_order_release);
    wake(shared.ready);
  }
  void acknowledge(waiting w) {
    shared.acks.fetch_add(1, std::memory_order_release);
    if (w == waiting::block) wake(shared.acks);
  }
  /// Returns when at least so many objects are done.
  template <class Meanwhile>
  void wait_for_acks(std::uint32_t wanted, waiting w, Meanwhile&& meanwhile) {
    for (std::uint32_t n; (n = shared.acks.load(std::memory_order_acquire)) < wanted;) wait_while(shared.acks, n, w != waiting::block, meanwhile, [this] { look(); });
  }

  /// Starts the consumer: this program once more, exec'ed, which is killed when this process ends.
  void start_consumer(int control_fd) {
    std::vector<std::string> line = words;
    line.insert(line.end(), {"--role", "consumer", "--control", std::to_string(control_fd), "--parent", std::to_string(::getpid())});
    std::vector<char*> argv;
    for (auto& word : line) argv.push_back(word.data());
    argv.push_back(nullptr);
    int const rc = ::posix_spawn(&child_, "/proc/self/exe", nullptr, nullptr, argv.data(), environ);
    if (rc != 0) throw std::runtime_error(std::string("posix_spawn: ") + std::strerror(rc));
  }
  void end_consumer() {
    if (child_ == 0) return;
    post({.quit = true});
    for (int i = 0; i != 500; ++i) {
      if (::waitpid(child_, nullptr, WNOHANG) == child_) {
        child_ = 0;
        return;
      }
      ::usleep(10'000);
    }
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = 0;
  }

 private:
  std::uint32_t heard_ = 0;
  std::uint32_t taken_ = 0;
  pid_t child_ = 0;
  std::int64_t end_of_job_ = INT64_MAX;
};

}  // namespace peers
