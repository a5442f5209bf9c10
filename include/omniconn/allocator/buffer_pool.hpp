// SPDX-License-Identifier: Apache-2.0
// A thread-safe pool of buffers with owners: upstream's BufferAllocator and ManagedBuffer, with their holes closed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/allocator/concept.hpp>
#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/dtype.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/tensor.hpp>
#include <omniconn/detail/buffer_pool_state.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Options of `buffer_pool`.
struct buffer_pool_options {
  /// Bytes of a pool that brings its own memory, rounded up to the alignment. Not used where memory is adopted.
  std::size_t size = std::size_t{1} << 30;
  /// Alignment and unit of size of every buffer: a power of two. Network cards like pages.
  std::size_t alignment = 4096;
};

/// What a `buffer_pool` has and gives, all of one moment.
struct buffer_pool_stats : allocator_usage {
  std::uint64_t free = 0;         ///< bytes not handed out
  std::uint64_t free_ranges = 0;  ///< pieces that they are in
  double fragmentation = 0;       ///< part of the free bytes outside the largest piece: 0 is one piece, near 1 is dust
};

/// A buffer on its way through a place that takes only a number: a completion queue, a C callback, `outgoing::token`. Owns the buffer without
/// RAII; `buffer_pool::attach` or `buffer_pool::release` takes it back, once.
enum class buffer_token : std::uint64_t {};

/// One buffer of a `buffer_pool`, owned. Move-only; the destructor releases. May outlive the pool object.
///
/// Every access compares the generation of this use with the pool's: after `release` it is `stale_handle`, never somebody else's bytes.
///
/// \threadsafety as a `unique_ptr`: different handles on different threads, one handle on one thread at a time. \lifetime what `bytes`,
/// `as_tensor` and `as_span` return is valid until the release.
class managed_buffer {
 public:
  /// Owns nothing, like one that was released.
  managed_buffer() noexcept = default;
  managed_buffer(managed_buffer&& other) noexcept : state_(std::move(other.state_)), use_(std::exchange(other.use_, {})) {}
  managed_buffer& operator=(managed_buffer&& other) noexcept {
    if (this != &other) {
      release();
      state_ = std::move(other.state_);
      use_ = std::exchange(other.use_, {});
    }
    return *this;
  }
  ~managed_buffer() { release(); }

  /// Gives the buffer back. True: this call did; false: it had been given back before, and nothing happens.
  bool release() noexcept {
    if (state_ == nullptr) return false;
    bool const done = state_->release(*use_.counter, use_.index, use_.generation);
    state_.reset();  // and with it, perhaps, the pool's memory
    use_ = {};
    return done;
  }

  /// True until the release.
  [[nodiscard]] bool valid() const noexcept {
    return state_ != nullptr && use_.counter->generation.load(std::memory_order_acquire) == use_.generation;
  }
  explicit operator bool() const noexcept { return valid(); }
  /// Bytes asked for; 0 after the release.
  [[nodiscard]] std::size_t size() const noexcept { return use_.size; }
  /// Position in the pool's memory, which is what the other side of a transfer is told.
  /// \errors `stale_handle`: released.
  [[nodiscard]] result<std::uint64_t> offset() const noexcept {
    if (!valid()) return stale();
    return static_cast<std::uint64_t>(use_.data - state_->base());
  }

  /// The bytes, to be read and written in place. \errors `stale_handle`: released.
  [[nodiscard]] result<mutable_bytes> bytes() const noexcept {
    if (!valid()) return stale();
    return mutable_bytes(use_.data, use_.size);
  }

  /// A C-contiguous tensor over the bytes, by reference.
  /// \errors `stale_handle`: released; `malformed`: a negative dimension, or shape and element type do not make `size()` bytes; `too_large`: the
  /// shape overflows; `misconfigured`: the pool's alignment put the buffer where such elements cannot lie.
  [[nodiscard]] result<tensor_view> as_tensor(dtype type, dims const& shape) const noexcept {
    if (!valid()) return stale();
    auto view = tensor_view::make(type, shape, const_bytes(use_.data, use_.size));
    if (view && reinterpret_cast<std::uintptr_t>(use_.data) % size_of(type) != 0) return misaligned();
    return view;
  }
  /// The bytes as elements, to be read and written in place.
  /// \errors `stale_handle`: released; `malformed`: `size()` is no multiple of the element's; `misconfigured`: as `as_tensor`.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  [[nodiscard]] result<std::span<T>> as_span() const noexcept {
    if (!valid()) return stale();
    if (use_.size % sizeof(T) != 0) return {error_kind::malformed, "the buffer's size is no multiple of the element's"};
    if (reinterpret_cast<std::uintptr_t>(use_.data) % alignof(T) != 0) return misaligned();
    return std::span<T>(reinterpret_cast<T*>(use_.data), use_.size / sizeof(T));
  }

  /// A copy of the bytes. \errors `stale_handle`: released.
  [[nodiscard]] result<std::vector<std::byte>> to_vector() const {
    if (!valid()) return stale();
    return std::vector<std::byte>(use_.data, use_.data + use_.size);
  }

  /// Turns the buffer into immutable bytes that many may hold; the last one releases it. The handle is empty afterwards. \copies none.
  /// \errors `stale_handle`: released.
  [[nodiscard]] result<blob> share() && {
    if (!valid()) return stale();
    const_bytes const bytes(use_.data, use_.size);
    return blob::share(bytes, std::make_shared<managed_buffer>(std::move(*this)));
  }

  /// Turns the handle into a number that owns the buffer; the handle is empty afterwards. The pool object must live until the number is given
  /// to it. \errors `stale_handle`: released.
  [[nodiscard]] result<buffer_token> detach() && noexcept {
    if (!valid()) return stale();
    auto const token = static_cast<buffer_token>(std::uint64_t{use_.generation} << 32 | use_.index);
    state_.reset();
    use_ = {};
    return token;
  }

 private:
  friend class buffer_pool;
  managed_buffer(std::shared_ptr<detail::buffer_pool_state> state, detail::buffer_pool_state::use const& use) noexcept
      : state_(std::move(state)), use_(use) {}

  static error stale() noexcept { return {error_kind::stale_handle, "the buffer was released; acquire another one"}; }
  static error misaligned() noexcept {
    return {error_kind::misconfigured, "the buffer's address is not aligned for these elements; give the pool a larger alignment"};
  }

  std::shared_ptr<detail::buffer_pool_state> state_;
  detail::buffer_pool_state::use use_;
};

/// Memory cut into buffers by best fit, in O(log n), for code that keeps buffers in hand: pools registered with a network card, staging areas.
///
/// Buffers come as handles (`acquire`) or, for code written against upstream's BufferAllocator, as offsets (`allocate` and `free`). Offsets are
/// numbers, so a double free is found out only until the place is used again; handles have no such hole. Neither can free the other's.
/// After a move the old object answers every call with `closed`.
///
/// \threadsafety all calls may run together, also on buffers; moving and destroying the pool object may not. \lifetime the memory lives until
/// the pool object and its last buffer are gone. An adopted memory is never freed.
class buffer_pool {
 public:
  using options = buffer_pool_options;

  buffer_pool(buffer_pool&&) noexcept = default;
  buffer_pool& operator=(buffer_pool&&) noexcept = default;

  /// A pool with memory of its own.
  /// \errors `misconfigured`: an alignment that is no power of two, or no size; `no_space`: the system does not have that much.
  [[nodiscard]] static result<buffer_pool, diagnosis> open(options const& o = {}) {
    if (auto const wrong = check(o); !wrong) return wrong.error();
    std::size_t const size = (o.size + (o.alignment - 1)) & ~(o.alignment - 1);
    if (o.size == 0 || size < o.size)
      return diagnosis(error_kind::misconfigured, "a buffer pool of " + std::to_string(o.size) + " bytes cannot be made; set memory_pool_size");
    auto state = std::make_shared<detail::buffer_pool_state>();
    if (size > (~std::size_t{0} >> 1) || !state->own(size, o.alignment))
      return diagnosis(error_kind::no_space, "the system has no " + std::to_string(size) + " bytes for a buffer pool; lower memory_pool_size");
    return buffer_pool(std::move(state));
  }

  /// A pool over the caller's memory, for example one registered with a network card. A tail smaller than the alignment stays unused.
  /// \param keep_alive held until the last buffer is gone; without it the memory has to live that long by other means.
  /// \errors `misconfigured`: an alignment that is no power of two or that the memory does not have, or memory for not one buffer;
  /// `no_space`: no memory for the books.
  [[nodiscard]] static result<buffer_pool, diagnosis> adopt(mutable_bytes memory, options const& o = {},
                                                            std::shared_ptr<void const> keep_alive = nullptr) {
    if (auto const wrong = check(o); !wrong) return wrong.error();
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % o.alignment != 0)
      return diagnosis(error_kind::misconfigured, "the memory to adopt is not aligned to " + std::to_string(o.alignment) +
                                                      " bytes; align it or give the pool a smaller alignment");
    if (memory.size() < o.alignment)
      return diagnosis(error_kind::misconfigured, "the memory to adopt has " + std::to_string(memory.size()) +
                                                      " bytes, less than one buffer of " + std::to_string(o.alignment));
    auto state = std::make_shared<detail::buffer_pool_state>();
    if (!state->adopt(memory, o.alignment, std::move(keep_alive))) return diagnosis(error_kind::no_space, "no memory for the pool's books");
    return buffer_pool(std::move(state));
  }

  /// A buffer of `size` bytes, uninitialised. Zero bytes make a buffer of their own, too.
  /// \errors `no_space`: no free range holds them.
  [[nodiscard]] result<managed_buffer> acquire(std::size_t size) noexcept {
    if (state_ == nullptr) return moved_from();
    auto const use = state_->acquire(size);
    if (!use) return use.error();
    return managed_buffer(state_, use.value());
  }
  /// The buffer of a token, as a handle again. \errors `stale_handle`: the token was used up before, or is none of this pool's.
  [[nodiscard]] result<managed_buffer> attach(buffer_token token) noexcept {
    if (state_ == nullptr) return moved_from();
    auto const use = state_->renew(index_of(token), generation_of(token));
    if (use.data == nullptr) return used_up();
    return managed_buffer(state_, use);
  }
  /// Gives the buffer of a token back. \errors as `attach`.
  [[nodiscard]] result<void> release(buffer_token token) noexcept {
    if (state_ == nullptr) return moved_from();
    if (!state_->release(index_of(token), generation_of(token))) return used_up();
    return {};
  }

  /// The offset of `size` bytes, rounded up to the alignment, that the caller frees. Zero bytes make a block of their own, too.
  /// \errors `no_space`: no free range holds them.
  [[nodiscard]] result<std::uint64_t> allocate(std::size_t size) noexcept {
    if (state_ == nullptr) return moved_from();
    return state_->allocate(size);
  }
  /// Frees what `allocate(size)` returned.
  /// \errors `stale_handle`: the range is free already; `corrupt`: it overlaps a free range, or is not a whole block; `misconfigured`: it lies
  /// outside the pool, or belongs to a handle. Nothing is changed by any of them.
  [[nodiscard]] result<void> free(std::uint64_t offset, std::size_t size) noexcept {
    if (state_ == nullptr) return moved_from();
    return state_->free(offset, size);
  }

  /// Where offset 0 lies.
  [[nodiscard]] std::byte* base() const noexcept { return state_ == nullptr ? nullptr : state_->base(); }

  /// \effects waits for the lock; all figures are of one moment.
  [[nodiscard]] buffer_pool_stats stats() const noexcept {
    if (state_ == nullptr) return {};
    auto const a = state_->read_account();
    buffer_pool_stats out;
    out.capacity = a.capacity;
    out.used = a.used;
    out.largest_free = a.largest_free;
    out.blocks = a.blocks;
    out.high_water = a.high_water;
    out.free = a.capacity - a.used;
    out.free_ranges = a.free_ranges;
    if (out.free != 0) out.fragmentation = 1 - static_cast<double>(out.largest_free) / static_cast<double>(out.free);
    return out;
  }

 private:
  explicit buffer_pool(std::shared_ptr<detail::buffer_pool_state> state) noexcept : state_(std::move(state)) {}

  static result<void, diagnosis> check(options const& o) {
    if (!std::has_single_bit(o.alignment))
      return diagnosis(error_kind::misconfigured,
                       "the alignment of a buffer pool is " + std::to_string(o.alignment) + "; it must be a power of two, such as 4096");
    return {};
  }
  static error moved_from() noexcept { return {error_kind::closed, "the buffer pool was moved to another object; use that one"}; }
  static error used_up() noexcept {
    return {error_kind::stale_handle, "the token was used up before or is not this pool's; every detach can be undone once"};
  }
  static std::uint32_t index_of(buffer_token token) noexcept { return static_cast<std::uint32_t>(token); }
  static std::uint32_t generation_of(buffer_token token) noexcept {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(token) >> 32);
  }

  std::shared_ptr<detail::buffer_pool_state> state_;
};

OMNICONN_END_NAMESPACE
