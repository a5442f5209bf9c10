// SPDX-License-Identifier: Apache-2.0
// The directory of a namespace, read and not mapped: whoever looks takes no part, and no size that changes meanwhile can hurt.
//
// Whole words are read whole; what belongs together is checked by whoever uses it. Others go on meanwhile, so that whether somebody is dead is asked
// for three times: what he is said to have, whether he lives, and whether it is still said.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <sys/types.h>
#include <unistd.h>

#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/protocol.hpp>

#include "common.hpp"

namespace tool {

/// `count` records at `offset`, copied.
template <class Record>
class copied {
 public:
  static std::optional<copied> read(int fd, std::size_t offset, std::size_t count) {
    copied out;
    std::size_t const size = count * sizeof(Record);
    out.memory_ = std::make_unique<block[]>((size + sizeof(block) - 1) / sizeof(block));
    auto* const at = reinterpret_cast<std::byte*>(out.memory_.get());
    for (std::size_t done = 0; done != size;) {
      ssize_t const got = ::pread(fd, at + done, size - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return std::nullopt;  // shorter than it was
      done += static_cast<std::size_t>(got);
    }
    return out;
  }
  Record const& operator[](std::size_t i) const noexcept { return reinterpret_cast<Record const*>(memory_.get())[i]; }
  void set(std::size_t i, Record const& r) noexcept { reinterpret_cast<Record*>(memory_.get())[i] = r; }

 private:
  struct alignas(64) block {
    std::byte bytes[64];
  };
  static_assert(alignof(Record) <= alignof(block));
  std::unique_ptr<block[]> memory_;
};

class snapshot {
 public:
  using participant = omniconn::detail::shm::participant;
  using slot = omniconn::detail::shm::slot;

  /// \errors `not_found`; `unauthorized`, `corrupt`, `version_mismatch`: it is not what it should be.
  static result<snapshot, diagnosis> open(std::string const& path);

  [[nodiscard]] std::uint64_t file_size() const noexcept { return file_size_; }
  [[nodiscard]] omniconn::detail::shm::geometry const& layout() const noexcept { return layout_; }
  [[nodiscard]] std::uint64_t now() const noexcept { return now_; }
  [[nodiscard]] omniconn::detail::unique_fd const& fd() const noexcept { return fd_; }

  [[nodiscard]] participant const& who(std::uint32_t i) const noexcept { return (*people_)[i]; }
  [[nodiscard]] std::string name_of(std::uint32_t i) const;
  /// "alive", "dead", "orphan" (gone, but something of it is left), or nothing.
  [[nodiscard]] char const* state_of(std::uint32_t i) const noexcept;
  /// When an object's lease ends, CLOCK_BOOTTIME ns; 0: it has not begun.
  [[nodiscard]] std::uint64_t lease_end(slot const& s) const noexcept;
  /// Whether anybody has the lock on that byte of the file: 0 is the gate, 1 + i the life of participant i. Asks, and takes none.
  [[nodiscard]] bool locked(std::uint32_t byte) const noexcept;
  [[nodiscard]] bool lives(std::uint32_t i) const noexcept { return i < omniconn::detail::shm::max_participants && locked(i + 1); }

  [[nodiscard]] std::string reader_name(std::uint16_t i) const;
  /// One slot as it is now.
  [[nodiscard]] std::optional<copied<slot>> slot_now(std::uint32_t index) const { return copied<slot>::read(fd_.get(), slot_at(index), 1); }
  /// The words of its readers, `shm::readers_of` of them.
  [[nodiscard]] std::optional<copied<std::uint64_t>> claims_now(std::uint32_t index) const;
  [[nodiscard]] std::optional<std::uint64_t> control_now(std::uint32_t index) const;

  /// `visit(index, slot)` for each slot. \returns false where the file became shorter meanwhile.
  template <class Visit>
  bool for_each_slot(Visit&& visit) const {
    return for_each<slot>(layout_.slots_at, layout_.slots, visit);
  }
  /// How many wait for an object; at most, because one that was killed is still counted.
  [[nodiscard]] std::optional<std::uint64_t> waiters() const;

 private:
  std::optional<diagnosis> read();
  std::optional<diagnosis> read_head();
  [[nodiscard]] std::size_t slot_at(std::uint32_t index) const noexcept { return layout_.slots_at + std::size_t{index} * sizeof(slot); }

  template <class Record, class Visit>
  bool for_each(std::size_t offset, std::uint32_t count, Visit&& visit) const {
    constexpr std::uint32_t at_once = 256;
    for (std::uint32_t first = 0; first < count; first += at_once) {
      std::uint32_t const n = count - first < at_once ? count - first : at_once;
      auto const records = copied<Record>::read(fd_.get(), offset + std::size_t{first} * sizeof(Record), n);
      if (!records) return false;
      for (std::uint32_t i = 0; i != n; ++i) visit(first + i, (*records)[i]);
    }
    return true;
  }

  omniconn::detail::unique_fd fd_;
  std::uint64_t file_size_ = 0;
  std::uint64_t now_ = 0;
  omniconn::detail::shm::geometry layout_;
  std::optional<copied<participant>> people_;
  std::optional<copied<omniconn::detail::shm::reader_name>> names_;
};

/// What is said where a file shrinks under our eyes.
diagnosis shrunk();

}  // namespace tool
