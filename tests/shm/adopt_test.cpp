// SPDX-License-Identifier: Apache-2.0
// Memory of the caller that is sent in place: what may be adopted, who reaches it, and what becomes of it when its producer ends.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/connector.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/runtime/builtin.hpp>

#include <shm/stage.hpp>

namespace {

using namespace shm_test;
using namespace omniconn;
using connector_type = shm_connector<>;
namespace layout = omniconn::detail::shm;
constexpr edge hop{"producer", "consumer"};
constexpr std::size_t mib = std::size_t{1} << 20U;

/// Memory of the test, behind a file or not.
class memory {
 public:
  memory(int fd, std::size_t size, int how = MAP_SHARED, off_t at = 0) : size_(size), fd_(fd) {
    if (fd >= 0) {
      EXPECT_EQ(::ftruncate(fd, at + static_cast<off_t>(size)), 0);
    }
    base_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, how | (fd < 0 ? MAP_ANONYMOUS : 0), fd, at);
    EXPECT_NE(base_, MAP_FAILED);
    for (std::size_t i = 0; i != size; ++i) bytes()[i] = content(i);
  }
  memory(memory const&) = delete;
  memory& operator=(memory const&) = delete;
  ~memory() {
    ::munmap(base_, size_);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  [[nodiscard]] mutable_bytes bytes() const { return {static_cast<std::byte*>(base_), size_}; }
  [[nodiscard]] const_bytes part(std::size_t at, std::size_t size) const { return const_bytes(bytes()).subspan(at, size); }
  static std::byte content(std::size_t i) { return static_cast<std::byte>(i * 2654435761U >> 11U); }

 private:
  void* base_ = nullptr;
  std::size_t size_ = 0;
  int fd_ = -1;
};

class shm_adopt : public process_test {
 protected:
  [[nodiscard]] std::string folder() const { return space.paths().folder; }
  /// A file in the namespace's file system that has no name of its own.
  [[nodiscard]] int file(mode_t mode = 0600) const {
    int const fd = ::open(folder().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(::fchmod(fd, mode), 0);
    return fd;
  }
  static int memfd() {
    int const fd = ::memfd_create("kv-cache", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    EXPECT_GE(fd, 0);
    return fd;
  }
  static get_options now() { return {deadline::immediate()}; }
};

TEST_F(shm_adopt, bytes_of_a_memfd_or_a_file_are_sent_in_place) {
  auto producer = space.connect<connector_type>(), consumer = space.connect<connector_type>();
  for (int const fd : {memfd(), file(), file(0644)}) {
    memory const cache(fd, 4 * mib, MAP_SHARED, 8192);
    auto const region = producer.adopt(cache.bytes());
    ASSERT_TRUE(region) << region.error().message();
    auto const used = producer.health().memory.used;
    for (std::string const& key : {std::string("short"), std::string(300, 'k')}) {
      auto const put = producer.put_adopted(hop, key, cache.part(mib + 5, 100'000));
      ASSERT_TRUE(put) << put.error().message();
      EXPECT_TRUE(producer.forget(*region) == error_kind::misconfigured) << "somebody may still want it";
      auto const got = consumer.get_view(hop, key, now());
      ASSERT_TRUE(got) << got.error().message();
      ASSERT_EQ(got->bytes().size(), 100'000U);
      EXPECT_EQ(std::memcmp(got->bytes().data(), cache.part(mib + 5, 100'000).data(), 100'000), 0);
      // The same memory: what is written now is seen there.
      auto const old = std::exchange(cache.bytes()[mib + 5], std::byte{0xee});
      EXPECT_EQ(got->bytes()[0], std::byte{0xee});
      cache.bytes()[mib + 5] = old;
    }
    EXPECT_EQ(producer.health().memory.used, used) << "nothing was copied";
    ASSERT_TRUE(producer.forget(*region));
    EXPECT_TRUE(producer.forget(*region) == error_kind::misconfigured);
    EXPECT_TRUE(producer.put_adopted(hop, "late", cache.part(0, 10)) == error_kind::misconfigured);
  }
}

TEST_F(shm_adopt, memory_that_others_cannot_reach_is_unsupported) {
  auto producer = space.connect<connector_type>();
  auto const refused = [&](mutable_bytes bytes, error_kind kind, char const* text) {
    auto const region = producer.adopt(bytes);
    ASSERT_FALSE(region);
    EXPECT_EQ(region.error().kind(), kind) << region.error().message();
    EXPECT_NE(region.error().message().find(text), std::string::npos) << region.error().message();
  };
  std::vector<std::byte> heap(mib);
  refused(heap, error_kind::unsupported, "reserve");
  memory const anonymous(-1, mib, MAP_PRIVATE);
  refused(anonymous.bytes(), error_kind::unsupported, "reserve");
  memory const copied(memfd(), mib, MAP_PRIVATE);
  refused(copied.bytes(), error_kind::unsupported, "reserve");
  refused({}, error_kind::misconfigured, "empty");
  refused({reinterpret_cast<std::byte*>(std::uintptr_t{4096}), 4096}, error_kind::unsupported, "reserve");  // nothing is mapped there
  {
    memory shut(memfd(), mib);
    shut.close();
    refused(shut.bytes(), error_kind::unsupported, "descriptor");
  }
  {
    int const fd = memfd();
    memory const cut(fd, 4 * mib);
    EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(mib)), 0);
    refused(cut.bytes(), error_kind::misconfigured, "end of its file");
  }
  {  // two files side by side are not one
    memory const one(memfd(), 2 * mib);
    int const other = memfd();
    EXPECT_EQ(::ftruncate(other, static_cast<off_t>(mib)), 0);
    EXPECT_NE(::mmap(one.bytes().data() + mib, mib, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, other, 0), MAP_FAILED);
    refused(one.bytes(), error_kind::unsupported, "reserve");
    EXPECT_TRUE(producer.adopt(one.bytes().first(mib)));
    ::close(other);
  }
  EXPECT_TRUE(producer.put_adopted(hop, "k", heap) == error_kind::misconfigured);
}

TEST_F(shm_adopt, a_mapping_in_several_parts_is_one_file) {
  auto producer = space.connect<connector_type>(), consumer = space.connect<connector_type>();
  memory const cache(memfd(), 4 * mib);
  ASSERT_EQ(::mprotect(cache.bytes().data() + mib, mib, PROT_READ), 0);  // the kernel makes three of it
  ASSERT_TRUE(producer.adopt(cache.bytes()));
  ASSERT_TRUE(producer.put_adopted(hop, "k", cache.part(mib / 2, 2 * mib)));
  auto const got = consumer.get_view(hop, "k", now());
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(std::memcmp(got->bytes().data(), cache.part(mib / 2, 2 * mib).data(), 2 * mib), 0);
}

TEST_F(shm_adopt, a_memfd_that_was_adopted_does_not_shrink_any_more) {
  auto producer = space.connect<connector_type>();
  int const fd = memfd();
  memory const cache(fd, mib);
  ASSERT_TRUE(producer.adopt(cache.bytes()));
  EXPECT_EQ(::ftruncate(fd, 4096), -1) << "readers would die of it";
}

TEST_F(shm_adopt, another_process_reads_in_place_and_says_when) {
  auto producer = space.connect<connector_type>();
  auto const reader = start();
  memory const cache(memfd(), mib);
  ASSERT_TRUE(producer.adopt(cache.bytes()));
  auto const put = producer.put_adopted(hop, "k", cache.part(1000, 50'000));
  ASSERT_TRUE(put);
  EXPECT_TRUE(reader->ask("get k r 60000 1").starts_with("got 50000")) << "with the checksum verified";
  EXPECT_TRUE(producer.wait_consumed(hop, *put, deadline::after(std::chrono::seconds(60))));
}

TEST_F(shm_adopt, what_has_a_name_outlives_its_producer_and_a_memfd_does_not) {
  auto consumer = space.connect<connector_type>();
  memory const named(file(), mib), unnamed(memfd(), mib);
  {
    auto producer = space.connect<connector_type>();
    ASSERT_TRUE(producer.adopt(named.bytes()));
    ASSERT_TRUE(producer.adopt(unnamed.bytes()));
    ASSERT_TRUE(producer.put_adopted(hop, "named", named.part(5, 1000)));
    ASSERT_TRUE(producer.put_adopted(hop, "named " + std::string(100, 'k'), named.part(50, 1000)));
    ASSERT_TRUE(producer.put_adopted(hop, "unnamed", unnamed.part(5, 1000)));
    ASSERT_TRUE(producer.put_adopted(hop, "held", unnamed.part(100, 1000)));
    auto const held = consumer.get_view(hop, "held", now());
    ASSERT_TRUE(held);
    producer.close();
    EXPECT_EQ(std::memcmp(held->bytes().data(), unnamed.part(100, 1000).data(), 1000), 0);
  }
  EXPECT_TRUE(consumer.get_view(hop, "unnamed", now()) == error_kind::not_found);
  {
    auto const got = consumer.get_view(hop, "named", now());
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_EQ(std::memcmp(got->bytes().data(), named.part(5, 1000).data(), 1000), 0);
    EXPECT_TRUE(consumer.get_view(hop, "named " + std::string(100, 'k'), now()));
  }
  consumer.close();
  EXPECT_TRUE(space.all_files().empty()) << "the names are gone with the last object";
  EXPECT_EQ(named.bytes()[900], memory::content(900)) << "what was lent is not emptied";
}

TEST_F(shm_adopt, a_name_that_leads_elsewhere_is_not_followed) {
  auto producer = space.connect<connector_type>();
  memory const cache(memfd(), mib);
  ASSERT_TRUE(producer.adopt(cache.bytes()));
  std::string link;
  for (auto const& name : space.all_files())
    if (struct stat st {}; ::lstat((folder() + "/" + name).c_str(), &st) == 0 && S_ISLNK(st.st_mode)) link = folder() + "/" + name;
  ASSERT_FALSE(link.empty());
  char right[200] = {};
  ASSERT_GT(::readlink(link.c_str(), right, sizeof right - 1), 0);
  ASSERT_TRUE(producer.put_adopted(hop, "k", cache.part(0, 1000)));
  struct wrong {
    std::string text;
    error_kind kind;
  };
  for (auto const& [text, kind] : {wrong{"/etc/passwd", error_kind::corrupt}, {"lent:", error_kind::corrupt}, {"lent:1:2:3", error_kind::corrupt}, {"lent:1:2:3:4x", error_kind::corrupt},
                                   {"lent:../../etc:0:0:0", error_kind::corrupt}, {std::string(right) + "9", error_kind::unsupported}, {"lent:1:0:1:1", error_kind::unsupported},
                                   {"lent:99999999999999999999:0:1:1", error_kind::corrupt}}) {
    ::unlink(link.c_str());
    ASSERT_EQ(::symlink(text.c_str(), link.c_str()), 0);
    auto consumer = space.connect<connector_type>();
    auto const got = consumer.get_view(hop, "k", now());
    ASSERT_FALSE(got) << text;
    EXPECT_EQ(got.error().kind(), kind) << text << ": " << got.error().message();
  }
  ::unlink(link.c_str());
  ASSERT_EQ(::symlink(right, link.c_str()), 0);
  auto consumer = space.connect<connector_type>();
  EXPECT_TRUE(consumer.get_view(hop, "k", now())) << "nothing was lost meanwhile";
}

TEST_F(shm_adopt, many_regions_one_after_another_and_at_once) {
  auto producer = space.connect<connector_type>(), consumer = space.connect<connector_type>();
  memory const cache(memfd(), mib);
  for (int i = 0; i != 300; ++i) {
    auto const region = producer.adopt(cache.bytes());
    ASSERT_TRUE(region) << i << region.error().message();
    ASSERT_TRUE(producer.put_adopted(hop, "k", cache.part(static_cast<std::size_t>(i), 1000)));
    auto const got = consumer.get_view(hop, "k", now());
    ASSERT_TRUE(got) << i << got.error().message();
    ASSERT_EQ(got->bytes()[0], memory::content(static_cast<std::size_t>(i)));
    if (i % 3 == 0) continue;  // some stay
    const_cast<connector_type::view&>(*got).release();
    ASSERT_TRUE(producer.forget(*region)) << i;
  }
}

TEST_F(shm_adopt, what_fails_costs_no_number) {
  auto producer = space.connect<connector_type>();
  memory const cache(memfd(), mib);
  std::vector<std::byte> heap(mib);
  auto const first = producer.adopt(cache.bytes());
  ASSERT_TRUE(first);
  for (int i = 0; i != 100; ++i) ASSERT_TRUE(producer.adopt(heap) == error_kind::unsupported);
  auto const second = producer.adopt(cache.bytes());
  ASSERT_TRUE(second);
  EXPECT_EQ(*second, *first + 1);
}

// The folder may be listed by anybody, and the numbers are given in order.
TEST_F(shm_adopt, a_name_that_somebody_has_taken_is_passed_over) {
  auto producer = space.connect<connector_type>(), consumer = space.connect<connector_type>();
  memory const cache(memfd(), mib);
  auto const first = producer.adopt(cache.bytes());
  ASSERT_TRUE(first);
  std::uint64_t arena = 0;
  {
    auto directory = layout::directory::open(space.paths(), {}, false);
    ASSERT_TRUE(directory);
    directory->open_gate();
    for (std::uint32_t i = 0; i != layout::max_participants; ++i) arena |= directory->participant_at(i).arena;
  }
  struct stranger {
    std::vector<std::string> files;
    ~stranger() {
      for (auto const& file : files) ::unlink(file.c_str());
    }
  } theirs;
  auto const squat = [&](std::uint64_t number) {
    int const fd = ::open(theirs.files.emplace_back(space.paths().arena_path(arena | number)).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    ASSERT_GE(fd, 0);
    ::close(fd);
  };
  constexpr auto most = layout::lent_regions::most_taken;
  for (std::uint64_t n = 1; n != most; ++n) squat(*first + n);
  for (int const fd : {memfd(), file()}) {
    memory const more(fd, mib);
    auto const region = producer.adopt(more.bytes());
    ASSERT_TRUE(region) << region.error().message();
    EXPECT_GE(*region, *first + most);
    ASSERT_TRUE(producer.put_adopted(hop, "k", more.part(10, 1000)));
    auto got = consumer.get_view(hop, "k", now());
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_EQ(std::memcmp(got->bytes().data(), more.part(10, 1000).data(), 1000), 0);
    got->release();
    ASSERT_TRUE(producer.forget(*region));
  }
  for (std::uint64_t n = 0; n != most; ++n) squat(*first + most + 2 + n);
  auto const refused = producer.adopt(cache.bytes());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), error_kind::unauthorized) << refused.error().message();
  EXPECT_NE(refused.error().message().find("omniconn-<uid>-<hash>.*"), std::string::npos) << refused.error().message();
  ::unlink(space.paths().arena_path(arena | (*first + most + 2)).c_str());
  auto const last = producer.adopt(cache.bytes());
  ASSERT_TRUE(last) << last.error().message();
  EXPECT_EQ(*last, *first + most + 2) << "what was refused cost no number";
}

connector_type* owner = nullptr;
std::uint64_t owned = 0;
std::optional<result<void>> forgotten;
void forget_when_retired(std::string_view name) noexcept {
  if (name == "shm.retire.freed" && !forgotten) forgotten = owner->forget(owned);
}

// The last reader's release has ended the object, but the reader has not come to tell its producer.
TEST_F(shm_adopt, what_nobody_needs_any_more_is_forgotten_whoever_was_told) {
  auto producer = space.connect<connector_type>(), consumer = space.connect<connector_type>();
  memory const cache(memfd(), mib);
  auto const region = producer.adopt(cache.bytes());
  ASSERT_TRUE(region && producer.put_adopted(hop, "k", cache.part(0, 1000)));
  owner = &producer;
  owned = *region;
  forgotten.reset();
  set_failpoint_hook(&forget_when_retired);
  EXPECT_TRUE(consumer.get_view(hop, "k", now()));
  set_failpoint_hook(nullptr);
  ASSERT_TRUE(forgotten);
  EXPECT_TRUE(*forgotten) << forgotten->error().message();
  EXPECT_TRUE(producer.put(hop, "k", const_bytes(cache.part(0, 1000)))) << "what the reader says later harms nothing";
  EXPECT_TRUE(consumer.get_view(hop, "k", now()));
}

}  // namespace
