// SPDX-License-Identifier: Apache-2.0
// Once memory is warm, puts and gets that find what they want ask nothing of the kernel: no system call and no page fault.
#include <gtest/gtest.h>

// What the sanitizers do themselves is not the library's.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>
#include <support/counted_kernel.hpp>

namespace {

using namespace omniconn;
using test::kernel_counter;
using test::kernel_window;
using test::kernel_work;
using connector_type = connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>;

constexpr edge hop{"producer", "consumer"};

struct amount {
  std::size_t size;
  std::uint32_t warm_up, count;
};

/// What the kernel does unasked: it moves a page at times. As much as 10^5 puts may cost; of fewer, none need be seen to see one each.
constexpr long most_page_faults = 10;

/// In a process that is counted nothing of the test framework is touched: it says what failed and ends.
int failed(error const& why) {
  std::fprintf(stderr, "%s\n", why.message().c_str());
  return 1;
}
std::string key_of(std::uint32_t i) { return "request-" + std::to_string(1'000'000'000U + i) + "_layer"; }

class shm_steady : public testing::Test {
 protected:
  [[nodiscard]] result<connector_type, diagnosis> open() const {
    connector_type::options o;
    o.transport = space.options();
    o.transport.spin = std::chrono::hours(1);
    return connector_type::open(o);
  }

  /// Puts `count` objects from `first` on. `before` is called with each number.
  template <class Before>
  int puts(connector_type& by, std::uint32_t first, std::uint32_t count, std::vector<std::byte> const& payload, Before before) const {
    for (std::uint32_t i = first; i != first + count; ++i) {
      before(i);
      if (auto const done = by.put(hop, key_of(i), const_bytes(payload)); !done) return failed(done.error());
    }
    return 0;
  }
  /// Gets and releases them. `after` is called with each number.
  template <class After>
  int gets(connector_type& by, std::uint32_t first, std::uint32_t count, std::size_t size, After after) const {
    for (std::uint32_t i = first; i != first + count; ++i) {
      auto view = by.get_view(hop, key_of(i), {deadline::after(std::chrono::hours(1))});
      if (!view) return failed(view.error());
      if (view->bytes().size() != size) return 1;
      view->release();
      after(i);
    }
    return 0;
  }

  shm_test::fresh_space space;
};

// No wait at all: what is counted does not depend on who runs when, and must be nothing.
TEST_F(shm_steady, a_thread_that_puts_and_gets_makes_no_system_calls) {
  for (amount const a : {amount{64, 2'000, 100'000}, {4096, 2'000, 100'000}, {65'536, 200, 5'000}, {1'048'576, 50, 200}}) {
    kernel_work const seen = kernel_counter::count({[&](kernel_window const& window) {
      auto producer = open(), consumer = open();
      if (!producer || !consumer) return 1;
      std::vector<std::byte> const payload(a.size);
      int status = 0;
      auto const both = [&](std::uint32_t first, std::uint32_t count) {
        for (std::uint32_t i = first; i != first + count && status == 0; ++i) {
          status = puts(*producer, i, 1, payload, [](std::uint32_t) {});
          if (status == 0) status = gets(*consumer, i, 1, a.size, [](std::uint32_t) {});
        }
      };
      both(0, a.warm_up);
      window([&] { both(a.warm_up, a.count); });
      return status;
    }});
    if (!seen.traced) GTEST_SKIP() << "needs to be allowed to trace a child";
    EXPECT_TRUE(seen.well);
    EXPECT_EQ(seen.calls, 0) << a.size << " bytes:" << seen.which;
    EXPECT_LE(seen.page_faults, most_page_faults) << a.size << " bytes";
  }
}

// The consumer spins; the producer is some objects ahead at most, so that two processes on one processor get on, too.
TEST_F(shm_steady, two_processes_one_of_which_spins_make_no_system_calls) {
  struct counters {
    std::atomic<std::uint32_t> put{0}, taken{0};
  };
  void* const at = ::mmap(nullptr, sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  for (amount const a : {amount{64, 2'000, 50'000}, {4096, 2'000, 50'000}, {65'536, 200, 2'000}}) {
    auto& c = *new (at) counters;
    std::uint32_t const ahead = a.warm_up / 2;
    auto const producer = [&](kernel_window const& window) {
      auto mine = open();
      if (!mine) return 1;
      std::vector<std::byte> const payload(a.size);
      // All that may be ahead is ahead once before anything is taken: then every block there will be has been written.
      int status = puts(*mine, 0, a.warm_up, payload, [&](std::uint32_t) {});
      c.put.store(a.warm_up);
      while (c.taken.load() != a.warm_up) detail::cpu_relax();  // the consumer's window is open; it came last, and we may still be busy with that
      window([&] {
        if (status != 0) return;
        status = puts(*mine, a.warm_up, a.count, payload, [&](std::uint32_t i) {
          while (i - c.taken.load(std::memory_order_acquire) >= ahead) detail::cpu_relax();
        });
        while (c.taken.load() != a.warm_up + a.count) detail::cpu_relax();
      });
      return status;
    };
    auto const consumer = [&](kernel_window const& window) {
      auto mine = open();
      if (!mine) return 1;
      while (c.put.load() == 0) detail::cpu_relax();
      int status = gets(*mine, 0, a.warm_up, a.size, [](std::uint32_t) {});
      window([&] {
        c.taken.store(a.warm_up);
        if (status == 0) status = gets(*mine, a.warm_up, a.count, a.size, [&](std::uint32_t i) { c.taken.store(i + 1, std::memory_order_release); });
      });
      return status;
    };
    kernel_work const seen = kernel_counter::count({producer, consumer});
    if (!seen.traced) GTEST_SKIP() << "needs to be allowed to trace a child";
    EXPECT_TRUE(seen.well);
    EXPECT_EQ(seen.calls, 0) << a.size << " bytes:" << seen.which;
    EXPECT_LE(seen.page_faults, 2 * most_page_faults) << a.size << " bytes";
  }
  ::munmap(at, sizeof(counters));
}

// The counting itself.
TEST_F(shm_steady, calls_and_faults_of_every_thread_are_counted) {
  constexpr std::size_t page = 4096, pages = 50;
  kernel_work const seen = kernel_counter::count({[](kernel_window const& window) {
    void* const at = ::mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int ends[2] = {-1, -1};
    if (at == MAP_FAILED || ::pipe(ends) != 0) return 1;
    std::atomic<bool> done{false}, closed{false};
    std::thread other([&] {
      char byte = 0;
      if (::read(ends[0], &byte, 1) != 1) return;  // it has begun when the window opens
      for (int i = 0; i != 7; ++i) ::syscall(SYS_gettid);
      done.store(true);
      while (!closed.load()) detail::cpu_relax();
    });
    window([&] {
      bool const told = ::write(ends[1], "", 1) == 1;
      while (told && !done.load()) detail::cpu_relax();
      for (std::size_t i = 0; i != pages; ++i) static_cast<std::byte volatile*>(at)[i * page] = std::byte{1};
    });
    closed.store(true);
    other.join();
    return 0;
  }});
  if (!seen.traced) GTEST_SKIP() << "needs to be allowed to trace a child";
  EXPECT_TRUE(seen.well);
  EXPECT_EQ(seen.calls, 1 + 7) << seen.which;
  EXPECT_GE(seen.page_faults, static_cast<long>(pages));
}

}  // namespace

#endif
