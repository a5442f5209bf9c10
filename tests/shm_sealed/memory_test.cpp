// SPDX-License-Identifier: Apache-2.0
#include <omniconn/transport/shm_sealed/memory.hpp>

#include <cerrno>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <sys/resource.h>

#include "support.hpp"

namespace {

using namespace omniconn;
using namespace omniconn::detail;
using namespace omniconn::detail::sealed;

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> out(size);
  for (std::size_t i = 0; i != size; ++i) out[i] = static_cast<std::byte>(i * 31 + i / 251);
  return out;
}
unique_fd sealed_memory(const_bytes data) {
  auto fd = seal_pieces(pieces(&data, 1), data.size());
  EXPECT_TRUE(fd);
  return fd ? std::move(*fd) : unique_fd();
}
/// Memory of that size, filled, with the seals that are asked for.
unique_fd memory(std::size_t size, int seals, bool filled = true) {
  unique_fd fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  if (filled) {
    auto const data = pattern(size);
    EXPECT_EQ(::write(fd.get(), data.data(), size), static_cast<ssize_t>(size));
  } else {
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  }
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

TEST(shm_sealed_memory, pieces_become_one) {
  auto const data = pattern(100'000);
  std::mt19937 random(3);
  for (int round = 0; round != 50; ++round) {
    std::vector<const_bytes> parts;
    std::size_t at = 0;
    while (at < data.size() && parts.size() != 400) {
      std::size_t const n = random() % 3 == 0 ? 0 : std::min<std::size_t>(data.size() - at, random() % 2000);
      parts.emplace_back(data.data() + at, n);
      at += n;
      for (auto empty = random() % 50 == 0 ? 100 : 0; empty != 0; --empty) parts.emplace_back();
    }
    std::size_t const size = at - random() % (at + 1) / 2;  // less than the pieces have, too
    auto const fd = seal_pieces(parts, size);
    ASSERT_TRUE(fd);
    ASSERT_TRUE(check_sealed(fd->get(), size));
    auto const bytes = sealed_bytes::of(fd->get(), size);
    ASSERT_TRUE(bytes);
    ASSERT_EQ(bytes->get().size(), size);
    EXPECT_EQ(std::memcmp(bytes->get().data(), data.data(), size), 0);
  }
}

TEST(shm_sealed_memory, nothing_and_what_is_copied_and_what_is_mapped) {
  for (std::size_t const size : {std::size_t{0}, std::size_t{1}, sealed_bytes::copied_up_to, sealed_bytes::copied_up_to + 1, std::size_t{1} << 20U}) {
    auto const data = pattern(size);
    auto const fd = sealed_memory(data);
    ASSERT_TRUE(check_sealed(fd.get(), size)) << size;
    auto bytes = sealed_bytes::of(fd.get(), size);
    ASSERT_TRUE(bytes);
    bytes->populate();
    sealed_bytes moved(std::move(*bytes));
    EXPECT_TRUE(bytes->get().empty());
    ASSERT_EQ(moved.get().size(), size);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), moved.get().begin()));
  }
}

TEST(shm_sealed_memory, nobody_can_change_it_any_more) {
  auto const data = pattern(50'000);
  auto const fd = sealed_memory(data);
  std::byte const other{0xEE};
  EXPECT_EQ(::pwrite(fd.get(), &other, 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd.get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd.get(), 100'000), -1);
  EXPECT_EQ(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(::mmap(nullptr, data.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1) << "not even the seals change";
  void* const view = ::mmap(nullptr, data.size(), PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(view, MAP_FAILED);
  EXPECT_EQ(::mprotect(view, data.size(), PROT_READ | PROT_WRITE), -1) << "a reader is no writer either";
  EXPECT_EQ(std::memcmp(view, data.data(), data.size()), 0);
  ::munmap(view, data.size());
  std::string const again = "/proc/self/fd/" + std::to_string(fd.get());
  unique_fd const second(::open(again.c_str(), O_RDWR | O_CLOEXEC));
  if (second) {
    EXPECT_EQ(::pwrite(second.get(), &other, 1, 0), -1) << "the seals are the memory's, not the descriptor's";
    EXPECT_EQ(::ftruncate(second.get(), 1), -1);
  }
}

TEST(shm_sealed_memory, who_keeps_a_writable_mapping_cannot_seal) {
  unique_fd const fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.get(), 4096), 0);
  void* const kept = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(kept, MAP_FAILED);
  std::memset(kept, 1, 4096);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, all_seals), -1);
  EXPECT_EQ(errno, EBUSY);
  EXPECT_TRUE(check_sealed(fd.get(), 4096) == error_kind::corrupt);
  // The seal that lets old mappings write looks much like the right one.
  ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), 0);
  EXPECT_TRUE(check_sealed(fd.get(), 4096) == error_kind::corrupt);
  ::munmap(kept, 4096);
}

TEST(shm_sealed_memory, each_missing_seal_is_noticed) {
  EXPECT_TRUE(check_sealed(memory(5000, all_seals).get(), 5000));
  EXPECT_TRUE(check_sealed(memory(5000, all_seals | F_SEAL_FUTURE_WRITE).get(), 5000)) << "more than all is fine";
  for (int const missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL}) EXPECT_TRUE(check_sealed(memory(5000, all_seals & ~missing).get(), 5000) == error_kind::corrupt) << missing;
  EXPECT_TRUE(check_sealed(memory(5000, 0).get(), 5000) == error_kind::corrupt);
}

TEST(shm_sealed_memory, a_size_that_is_not_the_memorys_is_noticed) {
  auto const fd = memory(5000, all_seals);
  for (std::uint64_t const lie : {std::uint64_t{0}, std::uint64_t{4999}, std::uint64_t{5001}, ~std::uint64_t{0}, std::uint64_t{1} << 63U}) EXPECT_TRUE(check_sealed(fd.get(), lie) == error_kind::corrupt) << lie;
}

TEST(shm_sealed_memory, holes_are_noticed) {
  for (std::size_t const size : {std::size_t{1}, std::size_t{8192}, std::size_t{1} << 40U}) EXPECT_TRUE(check_sealed(memory(size, all_seals, false).get(), size) == error_kind::corrupt) << size;
  unique_fd const part(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(part.get(), 1 << 20U), 0);
  ASSERT_EQ(::pwrite(part.get(), "x", 1, 0), 1);
  ASSERT_EQ(::fcntl(part.get(), F_ADD_SEALS, all_seals), 0);
  EXPECT_TRUE(check_sealed(part.get(), 1U << 20U) == error_kind::corrupt);
}

TEST(shm_sealed_memory, blocks_behind_the_end_do_not_stand_for_holes) {
  constexpr std::size_t size = 1 << 20U;
  for (std::size_t const written : {std::size_t{0}, std::size_t{4096}, size - 4096, size}) {
    SCOPED_TRACE(written);
    unique_fd const fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(fd.get(), size), 0);
    auto const data = pattern(written);
    ASSERT_EQ(::pwrite(fd.get(), data.data(), written, 0), static_cast<ssize_t>(written));
    ASSERT_EQ(::fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, size, size), 0);
    ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, all_seals), 0);
    struct stat st {};
    ASSERT_EQ(::fstat(fd.get(), &st), 0);
    ASSERT_GE(static_cast<std::size_t>(st.st_blocks), size / 512) << "it has as many blocks as an object of that size";
    auto const checked = check_sealed(fd.get(), size);
    if (written == size) {
      EXPECT_TRUE(checked) << "whoever wants to pay for more than the object may";
    } else {
      EXPECT_TRUE(checked == error_kind::corrupt);
    }
  }
}

TEST(shm_sealed_memory, huge_pages_are_not_taken) {
  unique_fd const fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_HUGETLB));
  if (!fd) return;  // a kernel without: nobody can send any
  ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, all_seals), 0);
  EXPECT_TRUE(check_sealed(fd.get(), 0) == error_kind::corrupt) << "they do not say where their holes are";
}

TEST(shm_sealed_memory, what_is_no_memory_is_noticed) {
  sealed_test::directory const folder;
  std::string const path = folder.path() + "/plain";
  unique_fd const in_shm(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  EXPECT_EQ(::unlink(path.c_str()), 0);
  char on_disk_name[] = "/tmp/omniconn-sealed-test-XXXXXX";
  unique_fd const on_disk(::mkstemp(on_disk_name));
  ::unlink(on_disk_name);
  for (auto const* fd : {&in_shm, &on_disk}) {
    ASSERT_EQ(::write(fd->get(), "12345", 5), 5);
    EXPECT_TRUE(check_sealed(fd->get(), 5) == error_kind::corrupt);
  }
  unique_fd const directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), nothing(::open("/dev/null", O_RDWR | O_CLOEXEC)), path_only(::open("/", O_PATH | O_CLOEXEC));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  unique_fd const reads(ends[0]), writes(ends[1]);
  for (int const fd : {directory.get(), nothing.get(), path_only.get(), reads.get(), writes.get(), -1}) EXPECT_TRUE(check_sealed(fd, 0) == error_kind::corrupt) << fd;
}

TEST(shm_sealed_memory, no_descriptor_left_is_no_space) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  auto const refused = seal_pieces({}, 0);
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(refused == error_kind::no_space);
  EXPECT_NE(std::string(refused.error().text()).find("ulimit -n"), std::string::npos);
}

}  // namespace
