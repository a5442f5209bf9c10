// SPDX-License-Identifier: Apache-2.0
// Blocks from operator new, for transports that send from any memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

#include <omniconn/allocator/concept.hpp>
#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Blocks of the process's own memory, aligned to 64. A block may outlive the allocator, and any thread may dispose of it.
///
/// Not the aligned form of `operator new`: with glibc 2.36 that takes 54 ns, and asking for 80 bytes more and aligning by hand takes 13,
/// because only the plain form is served from the thread's cache. The bytes before a block hold what `dispose` needs; the account is three
/// relaxed counters, not measurable beside the rest.
///
/// \threadsafety `allocate`, `deallocate`, `dispose` and `usage` may run together on any threads; moving and destroying the allocator may not.
class heap_allocator {
 public:
  struct options {};

  static constexpr std::string_view name = "heap";
  static constexpr bool concurrent = true;

  heap_allocator() noexcept : account_(new (std::nothrow) account) {}
  explicit heap_allocator(options const&) noexcept : heap_allocator() {}
  /// The moved-from allocator has nothing to give.
  heap_allocator(heap_allocator&& other) noexcept : account_(std::exchange(other.account_, nullptr)) {}
  heap_allocator& operator=(heap_allocator&& other) noexcept {
    if (this != &other) {
      leave(account_);
      account_ = std::exchange(other.account_, nullptr);
    }
    return *this;
  }
  ~heap_allocator() { leave(account_); }

  /// Exactly `n` bytes, aligned to 64, uninitialised, in a block of their own.
  /// \errors `no_space`: the system has no more memory, or no object can be that large.
  result<mutable_bytes> allocate(std::size_t n) noexcept {
    auto* const raw = account_ == nullptr || n > most
                          ? nullptr
                          : static_cast<std::byte*>(::operator new(n + overhead + (n == 0 ? 1 : 0), std::nothrow));
    if (raw == nullptr) [[unlikely]]
      return {error_kind::no_space, "the system has no memory for a block of that size; use smaller objects or free some"};
    auto const address = reinterpret_cast<std::uintptr_t>(raw);
    std::byte* const block = raw + (((address + sizeof(header) + block_alignment - 1) & ~(block_alignment - 1)) - address);
    ::new (static_cast<void*>(block - sizeof(header))) header{account_, n, static_cast<std::uint64_t>(block - raw), seal_of(block, account_)};

    account_->references.fetch_add(1, std::memory_order_relaxed);
    std::uint64_t const used = account_->used.fetch_add(n, std::memory_order_relaxed) + n;
    std::uint64_t high = account_->high_water.load(std::memory_order_relaxed);
    while (used > high && !account_->high_water.compare_exchange_weak(high, used, std::memory_order_relaxed)) {
    }
    return mutable_bytes(block, n);
  }

  /// False: null, not aligned to 64, or no block of this allocator, and nothing was changed. \requires otherwise that the 32 bytes before `p` are
  /// readable: a heap has no list of its blocks, so, as with every heap, a block that was freed already must not be named again.
  bool deallocate(std::byte* p) noexcept {
    header const* const own = header_of(p);
    if (own == nullptr || own->owner != account_) return false;
    release(p, *own);
    return true;
  }

  /// Frees the block at address `token`, whichever heap_allocator it is from and whether or not that still exists. \requires as `deallocate`;
  /// what is visibly no block is left alone.
  static void dispose(std::uint64_t token) noexcept {
    auto* const p = reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(token));  // NOLINT(performance-no-int-to-ptr): a token is an address
    if (header const* const own = header_of(p); own != nullptr) release(p, *own);
  }

  /// Counts the bytes asked for, without the 80 that each block costs besides. A heap's capacity is not known: the largest number there is.
  [[nodiscard]] allocator_usage usage() const noexcept {
    allocator_usage out;
    if (account_ == nullptr) return out;
    out.capacity = ~std::uint64_t{0};
    out.largest_free = most;
    out.used = account_->used.load(std::memory_order_relaxed);
    out.blocks = account_->references.load(std::memory_order_relaxed) - 1;
    out.high_water = account_->high_water.load(std::memory_order_relaxed);
    return out;
  }

 private:
  /// Lives until the allocator and its last block are gone. On a line of its own: several threads write it.
  struct alignas(block_alignment) account {
    std::atomic<std::uint64_t> references{1};  // the allocator and its blocks
    std::atomic<std::uint64_t> used{0};
    std::atomic<std::uint64_t> high_water{0};
  };
  /// Stands before every block.
  struct header {
    account* owner;
    std::uint64_t size;
    std::uint64_t offset;  // from what operator new gave to the block
    std::uint64_t seal;    // tells a header from other bytes
  };
  // operator new aligns to 16, so header and alignment take 32 to 80 bytes.
  static constexpr std::size_t overhead = 80;
  static constexpr std::size_t most = (~std::size_t{0} >> 1) - overhead;
  static_assert(sizeof(header) == 32 && __STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 16);

  static std::uint64_t seal_of(std::byte const* block, account const* owner) noexcept {
    auto const mixed = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(block) ^ (reinterpret_cast<std::uintptr_t>(owner) << 7));
    return (mixed + 1) * 0x9e3779b97f4a7c15;
  }
  /// Null: no block starts at `p`.
  static header const* header_of(std::byte const* p) noexcept {
    if (p == nullptr || reinterpret_cast<std::uintptr_t>(p) % block_alignment != 0) return nullptr;
    auto const* const own = reinterpret_cast<header const*>(p - sizeof(header));
    return own->owner != nullptr && own->seal == seal_of(p, own->owner) ? own : nullptr;
  }
  static void release(std::byte* p, header const& own) noexcept {
    account* const owner = own.owner;
    owner->used.fetch_sub(own.size, std::memory_order_relaxed);
    std::byte* const raw = p - own.offset;
    // Breaks the seal, so that a second free finds none as long as the bytes are not reused. Volatile: the compiler drops other last writes.
    *reinterpret_cast<std::uint64_t volatile*>(p - sizeof own.seal) = 0;
    ::operator delete(raw);
    leave(owner);
  }
  static void leave(account* a) noexcept {
    if (a != nullptr && a->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete a;
  }

  account* account_;
};

OMNICONN_END_NAMESPACE
