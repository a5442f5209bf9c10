// SPDX-License-Identifier: Apache-2.0
// Where payload memory comes from: huge pages, and the NUMA node that has them.
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/connector.hpp>
#include <omniconn/runtime/builtin.hpp>

#include <shm/support.hpp>
#include <shm/tmpfs.hpp>

namespace {

using namespace omniconn;
using connector_type = shm_connector<>;
constexpr edge hop{"producer", "consumer"};
constexpr std::size_t mib = std::size_t{1} << 20U, huge = 2 * mib;

std::uintptr_t address(void const* p) noexcept { return reinterpret_cast<std::uintptr_t>(p); }

/// Bytes of the mapping around `p` that this process maps with pages of 2 MiB.
std::uint64_t huge_bytes_around(void const* p) {
  std::ifstream lines("/proc/self/smaps");
  bool here = false;
  std::uint64_t kib = 0;
  for (std::string line; std::getline(lines, line);) {
    unsigned long long first = 0, last = 0, some = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &first, &last) == 2) here = first <= address(p) && address(p) < last;
    if (here && (std::sscanf(line.c_str(), "ShmemPmdMapped: %llu kB", &some) == 1 || std::sscanf(line.c_str(), "FilePmdMapped: %llu kB", &some) == 1)) kib += some;
  }
  return kib * 1024;
}

/// What the kernel keeps of the page at `p`: the policy of its memory, and the nodes that the policy names.
std::pair<int, unsigned long> policy_at(void const* p) {
  int mode = -1;
  unsigned long nodes[detail::shm::max_nodes / 64] = {};
  EXPECT_EQ(::syscall(SYS_get_mempolicy, &mode, nodes, std::size_t{detail::shm::max_nodes}, p, MPOL_F_ADDR), 0) << "error " << errno;
  return {mode, nodes[0]};
}
int node_of(void const* p) {
  int node = -1;
  EXPECT_EQ(::syscall(SYS_get_mempolicy, &node, nullptr, 0UL, p, MPOL_F_NODE | MPOL_F_ADDR), 0) << "error " << errno;
  return node;
}

class shm_placement : public testing::Test {
 protected:
  [[nodiscard]] shm_transport::options wanted(bool huge_pages, std::optional<std::uint32_t> node = std::nullopt, std::uint64_t pool = 16 * mib) const {
    auto o = space.options();
    o.memory_pool_size = pool;
    o.huge_pages = huge_pages;
    o.numa_node = node;
    return o;
  }
  [[nodiscard]] static connector_type connect(shm_transport::options const& where) {
    connector_type::options o;
    o.transport = where;
    o.defaults.lease = std::chrono::nanoseconds(0);
    auto made = connector_type::open(o);
    EXPECT_TRUE(made) << made.error().message();
    return std::move(*made);
  }
  /// The arena of the only producer of the namespace.
  [[nodiscard]] static std::string arena_of(shm_test::fresh_space const& where) {
    for (auto const& file : where.files())
      if (!file.ends_with(".dir")) return where.paths().folder + "/" + file;
    return {};
  }
  /// Puts and reads objects of many sizes. \returns whether both sides had the last one in huge pages.
  static bool objects_go_through(shm_transport::options const& how) {
    auto producer = connect(how);
    auto plain = how;
    plain.huge_pages = false;  // who reads need not know
    auto consumer = connect(plain);
    bool granted = false;
    void* in_the_way = MAP_FAILED;
    constexpr std::size_t between = 256 * mib + 4096;
    for (std::size_t const size : {std::size_t{1000}, std::size_t{5000}, mib, 3 * mib, 5 * mib + 1}) {
      std::string const key = "key-" + std::to_string(size);
      std::vector<std::byte> payload(size);
      for (std::size_t i = 0; i != size; ++i) payload[i] = static_cast<std::byte>(i * 7 + size);
      auto const done = producer.put(hop, key, const_bytes(payload));
      EXPECT_TRUE(done) << done.error().message();
      // Or what is mapped next would lie right below the producer's arena, and at a multiple of 2 MiB by chance.
      if (in_the_way == MAP_FAILED) in_the_way = ::mmap(nullptr, between, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      auto const view = consumer.get_view(hop, key);
      if (!done || !view) return false;
      EXPECT_EQ(std::memcmp(view->bytes().data(), payload.data(), size), 0) << size;
      auto* const written = producer.reserve(mib)->bytes().data();
      granted = huge_bytes_around(view->bytes().data() + size / 2) != 0 && huge_bytes_around(written) != 0;
    }
    ::munmap(in_the_way, between);
    return granted;
  }

  shm_test::fresh_space space;
};

TEST_F(shm_placement, both_are_off_unless_asked_for) {
  shm_transport::options const usual;
  EXPECT_FALSE(usual.huge_pages);
  EXPECT_FALSE(usual.numa_node.has_value());
  auto transport = shm_transport::open(wanted(false));
  ASSERT_TRUE(transport);
  auto const memory = transport->grow(1);
  ASSERT_TRUE(memory);
  EXPECT_EQ(policy_at(memory->base).first, MPOL_DEFAULT);
  EXPECT_EQ(huge_bytes_around(memory->base), 0U);
}

TEST_F(shm_placement, huge_pages_are_taken_by_two_mib) {
  auto transport = shm_transport::open(wanted(true, std::nullopt, 21 * mib));  // rounded up
  ASSERT_TRUE(transport) << transport.error().message();
  std::size_t before = 0;
  for (std::size_t const more : {std::size_t{1}, 5 * mib, huge + 1, std::size_t{4096}}) {
    auto const memory = transport->grow(more);
    ASSERT_TRUE(memory) << memory.error().message();
    EXPECT_EQ(address(memory->base) % huge, 0U);
    EXPECT_EQ(memory->committed % huge, 0U) << more;
    EXPECT_GE(memory->committed, before + more);
    before = memory->committed;
  }
  EXPECT_EQ(transport->memory().reserved, 22 * mib);
  struct stat about {};
  ASSERT_EQ(::stat(arena_of(space).c_str(), &about), 0);
  EXPECT_EQ(static_cast<std::size_t>(about.st_size) % huge, 0U);
  auto const all = transport->grow(22 * mib - before);
  ASSERT_TRUE(all) << all.error().message();
  EXPECT_EQ(all->committed, 22 * mib);
  EXPECT_TRUE(transport->grow(1) == error_kind::no_space);
}

TEST_F(shm_placement, payloads_start_at_a_huge_page_however_few_keys_there_are) {
  auto few = wanted(true);
  few.max_keys = 16;
  auto transport = shm_transport::open(few);
  ASSERT_TRUE(transport);
  auto const memory = transport->grow(huge);
  ASSERT_TRUE(memory) << memory.error().message();
  EXPECT_EQ(address(memory->base) % huge, 0U);
  struct stat about {};
  ASSERT_EQ(::stat(arena_of(space).c_str(), &about), 0);
  EXPECT_EQ(static_cast<std::size_t>(about.st_size), 18 * mib) << "2 MiB for the keys' sake";
}

TEST_F(shm_placement, objects_in_huge_pages_are_read_as_any) { objects_go_through(wanted(true)); }

// The pages of an orphan's arena go back one by one, out of the middle of huge ones.
TEST_F(shm_placement, what_outlives_its_producer_is_whole_and_costs_small_pages_only) {
  auto consumer = connect(wanted(false));
  constexpr std::size_t size = 3 * mib;
  {
    auto producer = connect(wanted(true));
    std::vector<std::byte> payload(size);
    for (auto const first : {1, 2, 3}) {
      for (std::size_t i = 0; i != size; ++i) payload[i] = static_cast<std::byte>(i * 5 + static_cast<std::size_t>(first));
      put_options lasting;
      lasting.lease = std::chrono::seconds(60);
      ASSERT_TRUE(producer.put(hop, std::to_string(first), const_bytes(payload), lasting));
    }
    ASSERT_TRUE(consumer.get_view(hop, "1") && consumer.get_view(hop, "3"));
  }
  struct stat about {};
  ASSERT_EQ(::stat(arena_of(space).c_str(), &about), 0);
  EXPECT_LE(static_cast<std::size_t>(about.st_blocks) * 512, size + 2 * 4096);
  auto const left = consumer.get_view(hop, "2");
  ASSERT_TRUE(left) << left.error().message();
  for (std::size_t i = 0; i != size; ++i) ASSERT_EQ(left->bytes()[i], static_cast<std::byte>(i * 5 + 2)) << i;
}

TEST_F(shm_placement, huge_pages_are_had_where_the_file_system_was_not_mounted_for_them) {
  shm_test::own_folder const folder;
  bool granted = false;
  bool const mounted = shm_test::on_tmpfs(folder.path(), "size=64m,huge=never", [&] {
    shm_test::fresh_space const there(folder.path());
    auto how = there.options();
    how.memory_pool_size = 16 * mib;
    how.huge_pages = true;
    granted = objects_go_through(how);
  });
  if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs, and a kernel with huge pages";
  detail::unique_fd const file(::memfd_create("trial", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), huge), 0);
  auto const trial = detail::file_mapping::map_aligned(file.get(), huge, PROT_READ | PROT_WRITE, huge);
  ASSERT_TRUE(trial);
  trial->base()[0] = std::byte{1};
  if (::madvise(trial->base(), huge, 25) != 0) GTEST_SKIP() << "this kernel joins no pages of shared memory when asked: error " << errno;
  EXPECT_TRUE(granted);
}

TEST_F(shm_placement, huge_pages_of_the_file_system_are_mapped_as_such) {
  for (char const* const how_mounted : {"size=64m,huge=always", "size=64m,huge=within_size"}) {
    SCOPED_TRACE(how_mounted);
    shm_test::own_folder const folder;
    bool const mounted = shm_test::on_tmpfs(folder.path(), how_mounted, [&] {
      shm_test::fresh_space const there(folder.path());
      auto how = there.options();
      how.memory_pool_size = 16 * mib;
      how.huge_pages = true;
      how.max_keys = 16;
      EXPECT_TRUE(objects_go_through(how));
    });
    if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs, and a kernel with huge pages";
  }
}

// What is asked for last is there or not, and nobody gets a signal.
TEST_F(shm_placement, a_full_file_system_is_no_space) {
  shm_test::own_folder const folder;
  bool const mounted = shm_test::on_tmpfs(folder.path(), "size=10m", [&] {
    shm_test::fresh_space const there(folder.path());
    auto how = there.options();
    how.memory_pool_size = 64 * mib;
    how.huge_pages = true;
    auto transport = shm_transport::open(how);
    ASSERT_TRUE(transport) << transport.error().message();
    std::size_t had = 0;
    for (int i = 0; i != 8; ++i) {
      auto const memory = transport->grow(1);
      if (!memory) {
        EXPECT_EQ(memory.error().kind(), error_kind::no_space);
        break;
      }
      had = memory->committed;
      std::memset(memory->base, 7, had);
    }
    EXPECT_GE(had, 2 * huge);
    EXPECT_LT(had, 10 * mib);
    EXPECT_EQ(transport->memory().committed, had);
  });
  if (!mounted) GTEST_SKIP() << "needs root to mount a tmpfs, and a kernel with huge pages";
}

TEST_F(shm_placement, the_limit_of_a_namespace_is_kept_in_huge_pages) {
  auto how = wanted(true);
  how.max_namespace_bytes = 7 * mib;
  auto first = shm_transport::open(how), second = shm_transport::open(how);
  ASSERT_TRUE(first && second);
  auto grown = first->grow(1);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->committed, huge) << "no more than was asked for, where others want some too";
  grown = second->grow(huge + 1);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->committed, 2 * huge);
  EXPECT_TRUE(first->grow(1) == error_kind::quota_exceeded) << "a MiB is left, and no huge page";
  EXPECT_EQ(first->memory().committed + second->memory().committed, 6 * mib);
  second->close();
  for (auto const expected : {2 * huge, 3 * huge, 7 * mib}) {  // the last MiB can be nothing else
    grown = first->grow(1);
    ASSERT_TRUE(grown) << grown.error().text();
    EXPECT_EQ(grown->committed, expected);
  }
  EXPECT_TRUE(first->grow(1) == error_kind::quota_exceeded);
}

TEST_F(shm_placement, memory_comes_from_the_node) {
  auto transport = shm_transport::open(wanted(false, 0));
  ASSERT_TRUE(transport) << transport.error().message();
  auto const memory = transport->grow(mib);
  ASSERT_TRUE(memory) << memory.error().text();
  std::memset(memory->base, 1, memory->committed);
  EXPECT_EQ(policy_at(memory->base), std::pair(int{MPOL_PREFERRED}, 1UL));
  EXPECT_EQ(policy_at(memory->base + memory->reserved - 1), std::pair(int{MPOL_PREFERRED}, 1UL)) << "and so will what comes later";
  for (std::size_t at = 0; at < memory->committed; at += 4096) ASSERT_EQ(node_of(memory->base + at), 0) << at;

  // It goes with the file: fallocate asks nobody's mapping.
  std::string const path = arena_of(space);
  detail::unique_fd const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about {};
  ASSERT_EQ(::fstat(file.get(), &about), 0);
  auto const mapped = detail::file_mapping::map(file.get(), static_cast<std::size_t>(about.st_size), PROT_READ);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(policy_at(mapped->base() + about.st_size - 1), std::pair(int{MPOL_PREFERRED}, 1UL));
}

TEST_F(shm_placement, huge_pages_come_from_the_node_too) {
  auto transport = shm_transport::open(wanted(true, 0));
  ASSERT_TRUE(transport) << transport.error().message();
  auto const memory = transport->grow(mib);
  ASSERT_TRUE(memory) << memory.error().text();
  EXPECT_EQ(policy_at(memory->base), std::pair(int{MPOL_PREFERRED}, 1UL));
  EXPECT_EQ(node_of(memory->base), 0);
}

TEST_F(shm_placement, a_node_that_is_not_there_is_refused_when_it_is_asked_for) {
  for (std::uint32_t const node : {1000U, 1023U, 1024U, UINT32_MAX}) {
    auto const refused = shm_transport::open(wanted(false, node));
    ASSERT_FALSE(refused) << node;
    EXPECT_EQ(refused.error().kind(), error_kind::misconfigured);
    auto const text = refused.error().message();
    EXPECT_NE(text.find("numa_node is " + std::to_string(node) + ", but this process may have memory of the nodes 0"), std::string::npos) << text;
    EXPECT_NE(text.find("set it to one of them, or leave it out"), std::string::npos) << text;
    EXPECT_TRUE(space.all_files().empty());
  }
}

/// Runs `body` in a thread whose calls of mbind fail with `code`, as a container's filter has it, or a kernel without nodes.
template <class Body>
void without_mbind(int code, Body body) {
  std::thread([&] {
    sock_filter const filter[]{
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_mbind},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(code)},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    sock_fprog const program{4, const_cast<sock_filter*>(filter)};
    ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
    body();
  }).join();
}

TEST_F(shm_placement, without_a_choice_the_only_node_is_as_good_as_chosen) {
  std::string const allowed = detail::shm::nodes_allowed();
  without_mbind(EPERM, [&] {
    auto opened = shm_transport::open(wanted(false, 0));
    EXPECT_EQ(opened.has_value(), allowed == "0") << allowed;
    if (opened) {
      EXPECT_TRUE(opened->grow(1));
    }
    auto const refused = shm_transport::open(wanted(false, 5));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), error_kind::unauthorized);
    EXPECT_NE(refused.error().message().find("numa_node needs the system call mbind"), std::string::npos) << refused.error().message();
    EXPECT_NE(refused.error().message().find("--cap-add SYS_NICE"), std::string::npos) << refused.error().message();
  });
  without_mbind(ENOSYS, [&] {
    auto opened = shm_transport::open(wanted(false, 0));
    EXPECT_TRUE(opened && opened->grow(1));
    auto const refused = shm_transport::open(wanted(false, 5));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), error_kind::misconfigured);
    EXPECT_NE(refused.error().message().find("numa_node is 5, but this kernel knows of no nodes"), std::string::npos) << refused.error().message();
  });
}

/// Pages of address space that this process has.
std::size_t pages_mapped() {
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  file >> pages;
  return pages;
}

TEST_F(shm_placement, a_mapping_lies_as_asked_and_leaves_nothing_beside_it) {
  detail::unique_fd const file(::memfd_create("aligned", MFD_CLOEXEC));
  (void)pages_mapped();  // what reading it needs is there from now on
  for (std::size_t const size : {std::size_t{1}, std::size_t{4096}, huge - 1, huge, 3 * huge + 5}) {
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
    std::size_t const before = pages_mapped();
    {
      auto const mapped = detail::file_mapping::map_aligned(file.get(), size, PROT_READ | PROT_WRITE, huge);
      ASSERT_TRUE(mapped) << size;
      EXPECT_EQ(pages_mapped(), before + (size + 4095) / 4096);
      EXPECT_EQ(address(mapped->base()) % huge, 0U) << size;
      EXPECT_EQ(mapped->size(), size);
      mapped->base()[size - 1] = std::byte{1};
    }
    EXPECT_EQ(pages_mapped(), before) << size;
  }
}

}  // namespace
