// SPDX-License-Identifier: Apache-2.0
// The directory file of a namespace: made whole or not at all, opened with suspicion, locked byte by byte.
#pragma once

#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/detail/futex.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/prefetch.hpp>
#include <omniconn/transport/shm/fifo.hpp>
#include <omniconn/transport/shm/layout.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// File names of a namespace. The namespace is data: only its hash gets into a path.
struct names {
  std::string folder;  ///< "/dev/shm"
  std::string stem;    ///< "omniconn-<uid>-<hash>"

  names() = default;
  names(std::string_view directory, std::string_view space) : folder(directory) {
    char text[64];
    std::snprintf(text, sizeof text, "omniconn-%u-%016llx", static_cast<unsigned>(::geteuid()),
                  static_cast<unsigned long long>(checksum(bytes_of(space))));
    stem = text;
  }
  [[nodiscard]] std::string directory_path() const { return folder + "/" + stem + ".dir"; }
  [[nodiscard]] std::string arena_path(std::uint64_t id) const {
    char text[32];
    std::snprintf(text, sizeof text, ".%016llx", static_cast<unsigned long long>(id));
    return folder + "/" + stem + text;
  }
  [[nodiscard]] std::string fifo_path(std::uint32_t participant) const { return folder + "/" + stem + ".p" + std::to_string(participant); }
};

inline error not_a_plain_file(int code = 0) noexcept { return {error_kind::unauthorized, "the shared-memory name is taken by something that is not a plain file", code}; }

/// Refuses files of other owners, other kinds and with other people's permissions: a squatter's file is never trusted.
inline result<struct stat> stat_own_file(int fd) noexcept {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return errno_error("reading the attributes of a shared-memory file failed");
  if (!S_ISREG(st.st_mode)) return not_a_plain_file();
  if (st.st_uid != ::geteuid()) return {error_kind::unauthorized, "the shared-memory file belongs to another user"};
  if ((st.st_mode & 0077U) != 0) return {error_kind::unauthorized, "the shared-memory file is open to other users; it must have mode 0600"};
  return st;
}

/// Puts memory behind `[offset, offset + size)`. In pieces: before Linux 6.6 a signal ends the whole of a long call, and a program with a profiling
/// timer would never finish one. \returns an errno
inline int allocate_file(int fd, std::size_t offset, std::size_t size) noexcept {
  constexpr std::size_t piece = std::size_t{16} << 20U;
  while (size != 0) {
    std::size_t const now = size < piece ? size : piece;
    int rc = EINTR;
    for (int attempt = 0; rc == EINTR && attempt != 1000; ++attempt)
      rc = ::posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(now));
    if (rc != 0) return rc;
    offset += now;
    size -= now;
  }
  return 0;
}

/// A file with memory behind every byte of `[0, allocate)` and without a name until `link_file`: a crash in between leaves nothing.
inline result<unique_fd> unnamed_file(std::string const& folder, std::size_t size, std::size_t allocate) noexcept {
  unique_fd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) return errno_error("creating a shared-memory file failed");
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return errno_error("sizing a shared-memory file failed");
  // Allocated now: a page that tmpfs cannot provide later would be a SIGBUS in the middle of a put.
  if (int const rc = allocate_file(fd.get(), 0, allocate); rc != 0)
    return error{kind_of_errno(rc), "the shared-memory file system is full; free space on it or make it larger", rc};
  return fd;
}

inline result<void> link_file(int fd, std::string const& path) noexcept {
  char self[64];
  std::snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  if (::linkat(AT_FDCWD, self, AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) return errno_error("naming a shared-memory file failed");
  return {};
}

/// Locks of bytes of the directory file: byte 0 is the gate (coming and going), byte 1 + i the life of participant i.
class byte_lock {
 public:
  [[nodiscard]] static bool try_lock(int fd, std::uint32_t byte) noexcept { return set(fd, byte, F_WRLCK); }
  static void unlock(int fd, std::uint32_t byte) noexcept { set(fd, byte, F_UNLCK); }
  /// Somebody else's description holds the lock.
  [[nodiscard]] static bool held_elsewhere(int fd, std::uint32_t byte) noexcept {
    struct flock l = range(byte, F_WRLCK);
    return ::fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
  }

 private:
  static struct flock range(std::uint32_t byte, int type) noexcept {
    struct flock l {};
    l.l_type = static_cast<short>(type);
    l.l_whence = SEEK_SET;
    l.l_start = static_cast<off_t>(byte);
    l.l_len = 1;
    return l;
  }
  static bool set(int fd, std::uint32_t byte, int type) noexcept {
    struct flock l = range(byte, type);
    return ::fcntl(fd, F_OFD_SETLK, &l) == 0;
  }
};

/// What whoever opens a namespace wants it to have room for; 0: as much as it has, or the usual. `bytes` counts for its maker only.
struct bounds {
  std::uint32_t keys = 0;
  std::uint32_t readers = 0;
  std::uint64_t bytes = 0;
};

/// A call that does not wait for an object waits for locks all the same: their holders run, and need no more than a turn at the processor.
inline deadline for_locks(deadline until) noexcept { return until.is_immediate() ? deadline::after(std::chrono::milliseconds(100)) : until; }

/// How long a call waits for the gate, which others hold for microseconds: until its deadline, but no longer than 5 s. Then its holder is stopped.
class lock_patience {
 public:
  explicit lock_patience(deadline until) noexcept : until_(until) {}
  /// Between two attempts. \returns false: there is no other.
  [[nodiscard]] bool wait() noexcept {
    if (!began_) {  // whoever finds the gate open asks for no time
      began_ = true;
      until_ = for_locks(until_);
      auto const most = deadline::after(std::chrono::seconds(5));
      is_callers_ = until_ < most;
      if (!is_callers_) until_ = most;
    }
    if (until_.passed()) return false;
    timespec const ms{0, 1'000'000};
    ::nanosleep(&ms, nullptr);
    return true;
  }
  [[nodiscard]] error gate_error() const noexcept {
    return {error_kind::peer_stalled, is_callers_ ? "another process opens or closes this namespace and has not come to an end before the deadline: it is stopped, or has no processor; continue or end it"
                                                  : "another process is stopped while it opens or closes this namespace; continue or end it"};
  }

 private:
  deadline until_;
  bool began_ = false, is_callers_ = false;
};

/// Opens the gate by name where a call gives up: a child of this moment has the descriptor, so that closing it would not.
class held_gate {
 public:
  explicit held_gate(int fd) noexcept : fd_(fd) {}
  held_gate(held_gate const&) = delete;
  held_gate& operator=(held_gate const&) = delete;
  ~held_gate() {
    if (fd_ >= 0) byte_lock::unlock(fd_, 0);
  }
  void keep() noexcept { fd_ = -1; }

 private:
  int fd_;
};

/// The mapped directory. The accessors check no bounds: callers pass indices that they checked.
class directory {
 public:
  /// Opens the directory of the namespace or makes it. On success the gate is held: call `open_gate` when registered.
  /// \errors `peer_stalled`: somebody else has held the gate until the deadline, or for 5 s.
  static result<directory, diagnosis> open(names const& where, bounds const& wanted, bool create, deadline until = {}) {
    std::string const path = where.directory_path();
    // Each round either ends or saw another process finish a creation or an unlink, so a few rounds always suffice.
    for (int round = 0; round != 1000; ++round) {
      unique_fd fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
      if (!fd && errno == ENOENT) {
        if (!create) return diagnosis(error_kind::not_found, path + ": nobody uses this namespace");
        auto made = make(where, wanted);
        if (!made && made.error().kind() != error_kind::already_exists) return made.error().in(path);
        continue;  // open it like everybody else: one way in
      }
      if (!fd && (errno == ELOOP || errno == EISDIR || errno == ENXIO))  // a symbolic link, a folder, a socket
        return diagnosis(not_a_plain_file(errno)).in(path);
      if (!fd) return diagnosis(errno_error("opening the namespace's directory failed")).in(path);
      if (auto st = stat_own_file(fd.get()); !st) return diagnosis(st.error()).in(path);
      lock_patience gate(until);
      while (!byte_lock::try_lock(fd.get(), 0))
        if (!gate.wait()) return diagnosis(gate.gate_error()).in(path);
      held_gate gate_held(fd.get());
      auto st = stat_own_file(fd.get());
      if (!st) return diagnosis(st.error()).in(path);
      failpoint("shm.open.gate_held");
      if (st->st_nlink == 0) continue;  // the last user unlinked it while we waited
      // Mapped through a description of its own: a forked child has the mapping, and with it whatever locks belong to what was mapped.
      unique_fd const mapped(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
      if (!mapped && errno == ENOENT) continue;
      if (!mapped) return diagnosis(errno_error("opening the namespace's directory failed")).in(path);
      struct stat same {};
      if (::fstat(mapped.get(), &same) != 0 || same.st_ino != st->st_ino || same.st_dev != st->st_dev) continue;  // somebody put another in its place
      auto opened = map(fd, mapped.get(), static_cast<std::size_t>(st->st_size));
      if (!opened) return diagnosis(opened.error()).in(path);
      gate_held.keep();
      if (opened->head().dead.load(std::memory_order_acquire) != 0) {
        ::unlink(path.c_str());  // its last user died before it could: we hold the gate of this file, and the name is still its own
        opened->open_gate();
        continue;
      }
      failpoint("shm.open.mapped");
      auto const too_small = [&](char const* option, std::uint64_t has) {
        opened->open_gate();
        return diagnosis(error_kind::misconfigured, path + ": the namespace is in use with " + option + " " + std::to_string(has) + "; ask for no more, or take another namespace, or end its users");
      };
      if (wanted.keys > opened->geometry_.keys()) return too_small("max_keys", opened->geometry_.keys());
      if (wanted.readers > opened->geometry_.readers) return too_small("max_readers", opened->geometry_.readers);
      opened->where_ = where;
      return std::move(*opened);
    }
    return diagnosis(error_kind::peer_stalled, path + ": the namespace is created and removed again and again by other processes");
  }

  void open_gate() const noexcept { byte_lock::unlock(fd_.get(), 0); }
  [[nodiscard]] bool try_close_gate() const noexcept { return byte_lock::try_lock(fd_.get(), 0); }

  // --- what the protocol asks of the system ---------------------------------------------------------------------------------------
  [[nodiscard]] bool try_lock(std::uint32_t byte) const noexcept { return byte_lock::try_lock(fd_.get(), byte); }
  void unlock(std::uint32_t byte) const noexcept { byte_lock::unlock(fd_.get(), byte); }
  [[nodiscard]] bool held_elsewhere(std::uint32_t byte) const noexcept { return byte_lock::held_elsewhere(fd_.get(), byte); }
  static bool sleep(std::atomic<std::uint32_t>& word, std::uint32_t expected, deadline until) noexcept { return futex_wait(word, expected, until); }
  static void wake(std::atomic<std::uint32_t>& word) noexcept { futex_wake_all(word); }
  static std::uint64_t now() noexcept { return boot_time_ns(); }
  /// For people: when a claim was made.
  static std::uint32_t claim_time() noexcept {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &t);  // 5 ns; the exact one would cost 20
    return static_cast<std::uint32_t>(t.tv_sec);
  }
  static constexpr std::uint32_t most_participants = max_participants;
  /// Attempts after which who waits for a lock asks whether its holder lives.
  static constexpr std::uint32_t patience = 100;
  /// More looks before it is said that nothing is there: one errs once in a thousand times where one key is replaced without a pause, as the object lies now here, now there.
  static constexpr int looks = 8;
  /// Between two attempts.
  static void pause(std::uint32_t attempt) noexcept {
    timespec const ms{0, 1'000'000};
    attempt < patience ? cpu_relax() : attempt < 2 * patience ? static_cast<void>(::sched_yield()) : static_cast<void>(::nanosleep(&ms, nullptr));
  }

  [[nodiscard]] std::string fifo_path(std::uint32_t participant) const { return where_.fifo_path(participant); }
  void remove_fifo(std::uint32_t i) const noexcept { ::unlink(fifo_path(i).c_str()); }
  bool ring_participant(std::uint32_t i) const {
    std::string const path = fifo_path(i);
    fork_pause const no_child;  // which would have the other's FIFO open for writing, as if that lived
    return ring_fifo(path);
  }
  /// In a forked child: the lock is the parent's, and must not outlive it.
  void let_go() noexcept { fd_.reset(); }

  // --- its parts ------------------------------------------------------------------------------------------------------------------
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] geometry const& layout() const noexcept { return geometry_; }
  [[nodiscard]] header& head() const noexcept { return *at<header>(0); }
  [[nodiscard]] participant& participant_at(std::uint32_t i) const noexcept { return at<participant>(geometry_.participants_at)[i]; }
  [[nodiscard]] reader_name& name_at(std::uint32_t i) const noexcept { return at<reader_name>(geometry_.names_at)[i]; }
  [[nodiscard]] slot& slot_at(std::uint32_t i) const noexcept { return at<slot>(geometry_.slots_at)[i]; }
  /// Place `k` of the readers of slot `i`. The first lies in the slot: most objects have one reader, and the others' pages are never touched then.
  [[nodiscard]] std::atomic<std::uint64_t>& claim_at(std::uint32_t i, std::uint32_t k) const noexcept {
    return k == 0 ? slot_at(i).first_claim : at<std::atomic<std::uint64_t>>(geometry_.claims_at)[std::size_t{i} * geometry_.readers + k];
  }
  /// Epoch << 32 | participant + 1 of who may put keys whose home slot `i` is, or one of its eight, and write to those that are free; 0: nobody.
  [[nodiscard]] std::atomic<std::uint64_t>& lock_of(std::uint32_t i) const noexcept { return at<std::atomic<std::uint64_t>>(geometry_.locks_at)[i / slots_of_a_lock]; }
  /// The slot that keys of that hash are looked for in first.
  [[nodiscard]] std::uint32_t home_of(std::uint64_t hash) const noexcept { return static_cast<std::uint32_t>(hash) & (geometry_.slots - 1); }

  /// The lines of a slot, which the caller is about to describe an object in. `second`: that one, too
  void prefetch_to_write(std::uint32_t index, bool second) const noexcept {
    auto const* const at = reinterpret_cast<std::byte const*>(&slot_at(index));
    for (std::size_t k = 0; k != sizeof(slot); k += cache_line)
      if (second || k != cache_line) detail::prefetch_to_write(at + k);
  }
  /// The line of a slot's claims that the caller is about to take one of.
  void prefetch_to_claim(std::uint32_t index) const noexcept { detail::prefetch_to_write(&claim_at(index, 0)); }
  /// What lies behind a slot's first line.
  void prefetch_to_read(std::uint32_t index) const noexcept {
    auto const* const at = reinterpret_cast<std::byte const*>(&slot_at(index));
    for (std::size_t k = cache_line; k != sizeof(slot); k += cache_line) prefetch(at + k);
  }
  [[nodiscard]] std::uint64_t hash(std::string_view key) const noexcept { return seeded_hash(bytes_of(key), seed_); }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] static std::uint64_t sum(slot const& s, std::uint64_t generation) noexcept { return sum_of(s, generation); }
  /// The same in two steps.
  [[nodiscard]] static std::uint64_t sum_before(description const& d) noexcept { return sum_of_words(d); }
  [[nodiscard]] static std::uint64_t sum_after(std::uint64_t before, std::uint64_t generation) noexcept { return sum_with(before, generation); }

 private:
  template <class T>
  [[nodiscard]] T* at(std::size_t offset) const noexcept {
    return std::launder(reinterpret_cast<T*>(mapping_.base() + offset));
  }

  static result<void, diagnosis> make(names const& where, bounds const& wanted) {
    auto const g = geometry::of((wanted.keys == 0 ? usual_keys : wanted.keys) * slots_of_a_key, wanted.readers == 0 ? usual_claims : wanted.readers);
    auto fd = unnamed_file(where.folder, g.size, g.size);
    if (!fd) return diagnosis(fd.error());
    // Whoever opens it needs two descriptors: a directory with a name that its maker cannot open would be nobody's.
    unique_fd const second(::fcntl(fd->get(), F_DUPFD_CLOEXEC, 0));
    if (!second) return diagnosis(errno_error("making the namespace's directory failed"));
    failpoint("shm.directory.made");
    auto mapping = file_mapping::map(fd->get(), g.size, PROT_READ | PROT_WRITE);
    if (!mapping) return diagnosis(mapping.error());
    // A fresh tmpfs file is all zero, which is the initial state of every word but these.
    auto* const head = ::new (static_cast<void*>(mapping->base())) header{};
    head->magic = directory_magic;
    head->version = format_version;
    head->slots = g.slots;
    head->readers = g.readers;
    head->bytes_limit = wanted.bytes;
    head->id = random_u64();
    head->hash_seed = random_u64();
    head->file_size = g.size;
    failpoint("shm.directory.filled");
    if (auto linked = link_file(fd->get(), where.directory_path()); !linked) return diagnosis(linked.error());
    failpoint("shm.directory.linked");
    return {};
  }

  /// Takes the descriptor on success.
  static result<directory> map(unique_fd& fd, int mapped, std::size_t file_size) {
    if (file_size < sizeof(header))
      return {error_kind::corrupt, "the namespace's directory is truncated; end its users, then `omniconn gc --rebuild`"};
    auto mapping = file_mapping::map(mapped, file_size, PROT_READ | PROT_WRITE);
    if (!mapping) return mapping.error();
    auto const* head = reinterpret_cast<header const*>(mapping->base());
    if (head->magic != directory_magic)
      return {error_kind::corrupt, "the file is no omniconn directory; remove it if nothing else uses it"};
    if (head->version != format_version)
      return {error_kind::version_mismatch,
              "the namespace is in use by another version of the shared-memory format; end its users or take another namespace"};
    std::uint32_t const slots = head->slots;
    if (!std::has_single_bit(slots) || slots < min_slots || slots > max_slots)
      return {error_kind::corrupt, "the namespace's directory has an impossible number of slots; end its users, then `omniconn gc --rebuild`"};
    std::uint32_t const readers = head->readers;
    if (readers == 0 || readers > max_claims || readers % claims_of_a_line != 0)
      return {error_kind::corrupt, "the namespace's directory has an impossible number of readers; end its users, then `omniconn gc --rebuild`"};
    auto const g = geometry::of(slots, readers);
    if (g.size != file_size || head->file_size != file_size)
      return {error_kind::corrupt, "the namespace's directory has the wrong size; end its users, then `omniconn gc --rebuild`"};
    // A page that a put or get meets first would cost it a fault, and keys lie anywhere. Refused by old kernels: then they do.
#if defined(MADV_POPULATE_WRITE)
    if (constexpr std::size_t at_once = std::size_t{16} << 20U; file_size <= at_once) static_cast<void>(::madvise(mapping->base(), file_size, MADV_POPULATE_WRITE));
#endif
    directory out;
    out.seed_ = head->hash_seed;
    out.id_ = head->id;
    out.fd_ = std::move(fd);
    out.mapping_ = std::move(*mapping);
    out.geometry_ = g;
    return out;
  }

  names where_;
  unique_fd fd_;
  file_mapping mapping_;
  geometry geometry_;
  std::uint64_t seed_ = 0;
  std::uint64_t id_ = 0;
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
