// SPDX-License-Identifier: Apache-2.0
// A reader's hold on a segment: its lock, kept as long as the bytes are looked at.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/log.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_segment/files.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::segment {

/// A payload that travelled in the metadata (vLLM-Omni before 0.30). One reader at a time has it, until one consumes it.
struct inline_payload {
  blob bytes;
  std::atomic<bool> taken{false};

  [[nodiscard]] bool take() noexcept { return !taken.exchange(true); }
};

inline std::atomic<bool> both_ends_are_ours_was_said{false};

/// The bytes of a claimed segment. Small ones are copied: to map, touch and unmap a page takes 5 us, to read 4 KiB 0.5 us.
class segment_bytes {
 public:
  static constexpr std::size_t copied_up_to = 16384;

  static result<segment_bytes> of(int fd, std::size_t size) {
    segment_bytes out;
    if (size > copied_up_to) {
      auto mapping = file_mapping::map(fd, size, PROT_READ);
      if (!mapping) return mapping.error();
      if (size > 65536) ::madvise(mapping->base(), mapping->size(), MADV_POPULATE_READ);  // one call instead of a fault every 64 KiB; older kernels do without
      out.mapping_ = std::move(*mapping);
      return out;
    }
    out.copy_ = std::make_unique_for_overwrite<std::byte[]>(size);
    out.copy_size_ = size;
    ssize_t const n = ::pread(fd, out.copy_.get(), size, 0);
    if (n < 0) return errno_error("reading a segment failed");
    if (static_cast<std::size_t>(n) != size) return error{error_kind::corrupt, "the segment became shorter while it was read; it stays where it is"};
    return out;
  }
  [[nodiscard]] const_bytes get() const noexcept { return copy_ != nullptr ? const_bytes(copy_.get(), copy_size_) : const_bytes(mapping_.base(), mapping_.size()); }

 private:
  file_mapping mapping_;
  std::unique_ptr<std::byte[]> copy_;
  std::size_t copy_size_ = 0;
};

/// The claim of a get. A process that dies with one gives it back: the kernel drops the lock, and the segment still has its name.
class segment_hold {
 public:
  segment_hold() noexcept = default;
  segment_hold(segment_hold&&) noexcept = default;
  segment_hold& operator=(segment_hold&& other) noexcept {
    if (this != &other) {
      finish(disposition::give_back);
      paths_ = std::move(other.paths_);
      lock_ = std::move(other.lock_);
      bytes_ = std::move(other.bytes_);
      inline_ = std::move(other.inline_);
      id_ = other.id_;
    }
    return *this;
  }
  ~segment_hold() { finish(disposition::give_back); }

  [[nodiscard]] const_bytes bytes() const noexcept { return inline_ != nullptr ? inline_->bytes.bytes() : bytes_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return lock_.held() || inline_ != nullptr; }

  /// Consumed: removes segment and lock file, while it is locked. Where another object has taken the name meanwhile, that stays.
  void finish(disposition how) noexcept {
    if (inline_ != nullptr && how == disposition::give_back) inline_->taken.store(false);
    inline_.reset();
    if (!lock_.held()) return;
    if (how == disposition::consumed) {
      lock_.remove_both(*paths_, id_);
    } else {
      lock_.release();  // its close is the event that wakes who waits
    }
    bytes_ = segment_bytes();
  }

  /// Claims the object under these names. `nothing`: none now, or somebody has it. `unfinished`: somebody writes it without a lock that others
  /// would see, and may end without an event. `wanted`, where not 0: the size that its metadata names.
  enum class outcome : std::uint8_t { claimed, nothing, unfinished };
  static result<outcome> claim(segment_hold& out, object_paths const& paths, std::uint64_t wanted, file_id const* which) {
    for (int round = 0; round != 100; ++round) {
      unique_fd file(::open(paths.segment.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (!file && errno == ENOENT) return which != nullptr ? result<outcome>(stale()) : outcome::nothing;
      if (!file && (errno == ELOOP || errno == ENXIO)) return error{error_kind::unauthorized, "the key's name is taken by something that is not a plain file; remove it", errno};
      if (!file) return errno_error("opening a segment failed");
      struct stat st {};
      if (::fstat(file.get(), &st) != 0) return errno_error("reading the attributes of a segment failed");
      if (auto own = check_owner(st); !own) return own.error();
      if (st.st_size == 0) return outcome::nothing;  // made, and not written yet
      auto lock = key_lock::try_take(paths.lock, key_lock::role::reader, key_lock::missing::leave);
      if (!lock && lock.error().kind() == error_kind::not_found) {
        // A writer of Python's waited for the lock while its file was removed. What it writes is whole when it has closed the segment.
        if (is_being_written(file.get())) return outcome::unfinished;
        lock = key_lock::try_take(paths.lock, key_lock::role::reader, key_lock::missing::make);
      }
      if (!lock && lock.error().kind() == error_kind::peer_stalled) return outcome::nothing;
      if (!lock) return lock.error();
      struct stat named {};
      bool const any = ::lstat(paths.segment.c_str(), &named) == 0;
      if (!any || st.st_ino != named.st_ino) {  // taken or replaced before we had the lock
        any ? lock->release() : lock->remove(paths.lock);
        continue;
      }
      st = named;  // the size as it is under the lock
      if (st.st_size == 0) return outcome::nothing;
      auto const size = static_cast<std::uint64_t>(st.st_size);
      if (which != nullptr && id_of(st) != *which) return stale();
      if (wanted != 0 && size != wanted) return error{error_kind::corrupt, "the segment has another size than its metadata says; it stays where it is"};
      auto bytes = segment_bytes::of(file.get(), static_cast<std::size_t>(size));
      if (!bytes) return bytes.error();
      if (!both_ends_are_ours_was_said.load(std::memory_order_relaxed) && is_ours(st) && !both_ends_are_ours_was_said.exchange(true))
        log(log_level::note, "both ends of a SharedMemoryConnector edge are omniconn; `layout: omniconn` in its extra would give several readers, leases, checksums and faster wake-ups");
      out.paths_ = std::make_unique<object_paths const>(paths);
      out.lock_ = std::move(*lock);
      out.id_ = id_of(st);
      out.bytes_ = std::move(*bytes);
      return outcome::claimed;
    }
    return outcome::nothing;
  }

  /// What is claimed: its identity, for a locator.
  [[nodiscard]] file_id id() const noexcept { return id_; }

  /// A hold on a payload that came in metadata.
  static segment_hold of(std::shared_ptr<inline_payload> payload) noexcept {
    segment_hold out;
    out.inline_ = std::move(payload);
    return out;
  }

 private:
  static error stale() noexcept { return {error_kind::stale_handle, "the metadata is of a segment that is gone; get by key, or ask for new metadata"}; }

  std::unique_ptr<object_paths const> paths_;  // apart: any_connector has little room for a hold
  key_lock lock_;
  segment_bytes bytes_;
  std::shared_ptr<inline_payload> inline_;
  file_id id_;  ///< of the segment
};

}  // namespace detail::segment

OMNICONN_END_NAMESPACE
