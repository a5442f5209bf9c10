// SPDX-License-Identifier: Apache-2.0
// Blocks from operator new, for transports that send from any memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>

#include <omniconn/allocator/concept.hpp>
#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/warm_blocks.hpp>

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
  struct options {
    /// Bytes of blocks of 256 KiB and more that stay here when they come back, for the next that asks for about as many: a block from the system costs a page fault for each
    /// 4 KiB, as much as to copy it. 0: all go back to the system.
    std::uint64_t keep = 0;
  };

  static constexpr std::string_view name = "heap";
  static constexpr bool concurrent = true;

  heap_allocator() noexcept : heap_allocator(options{}) {}
  explicit heap_allocator(options const& o) noexcept : account_(new (std::nothrow) account(o.keep)) {}  // a moved-from one has nothing to give

  /// Exactly `n` bytes, aligned to 64, uninitialised, in a block of their own.
  /// \errors `no_space`: the system has no more memory, or no object can be that large.
  result<mutable_bytes> allocate(std::size_t n) noexcept {
    if (account_ == nullptr || n > most) [[unlikely]]
      return no_space();
    detail::warm_blocks::block raw;
    if (n >= least_warm && account_->warm.keeps()) raw = account_->warm.take(n + overhead);
    if (raw.data == nullptr) {
      raw.size = n + overhead + (n == 0 ? 1 : 0);
      raw.data = static_cast<std::byte*>(::operator new(raw.size, std::nothrow));
    }
    if (raw.data == nullptr) [[unlikely]]
      return no_space();
    auto const address = reinterpret_cast<std::uintptr_t>(raw.data);
    std::byte* const block = raw.data + (((address + sizeof(header) + block_alignment - 1) & ~(block_alignment - 1)) - address);
    ::new (static_cast<void*>(block - sizeof(header))) header{account_.get(), n, raw.size << 8U | static_cast<std::uint64_t>(block - raw.data), seal_of(block, account_.get())};

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
    if (own == nullptr || own->owner != account_.get()) return false;
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
    // What we and an envelope add to a block is not the caller's to reckon with.
    explicit account(std::uint64_t keep) noexcept : warm(keep == 0 || keep > most ? keep : keep + 4096) {}
    std::atomic<std::uint64_t> references{1};  // the allocator and its blocks
    std::atomic<std::uint64_t> used{0};
    std::atomic<std::uint64_t> high_water{0};
    detail::warm_blocks warm;
  };
  /// Stands before every block.
  struct header {
    account* owner;
    std::uint64_t size;
    std::uint64_t room;    // bytes that operator new gave << 8 | offset of the block in them
    std::uint64_t seal;    // tells a header from other bytes
  };
  // operator new aligns to 16, so header and alignment take 32 to 80 bytes.
  static constexpr std::size_t overhead = 80;
  static constexpr std::size_t most = (~std::size_t{0} >> 8) - overhead;
  // Smaller ones are served by malloc from memory that the process has.
  static constexpr std::size_t least_warm = std::size_t{256} << 10;
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
    std::uint64_t const own_size = own.size;
    owner->used.fetch_sub(own_size, std::memory_order_relaxed);
    detail::warm_blocks::block const raw{p - (own.room & 0xff), static_cast<std::size_t>(own.room >> 8U)};
    // Breaks the seal, so that a second free finds none as long as the bytes are not reused. Volatile: the compiler drops other last writes.
    *reinterpret_cast<std::uint64_t volatile*>(p - sizeof own.seal) = 0;
    if (own_size < least_warm || !owner->warm.keeps() || !owner->warm.keep(raw)) ::operator delete(raw.data);
    leave(owner);
  }
  static error no_space() noexcept { return {error_kind::no_space, "the system has no memory for a block of that size; use smaller objects or free some"}; }
  static void leave(account* a) noexcept {
    if (a->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete a;
  }

  struct leaver {
    void operator()(account* a) const noexcept {
      a->warm.close();
      leave(a);
    }
  };
  std::unique_ptr<account, leaver> account_;
};

OMNICONN_END_NAMESPACE
