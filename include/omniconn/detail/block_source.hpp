// SPDX-License-Identifier: Apache-2.0
// Blocks for a connector: an Allocator over a Transport's memory, or one that brings its own.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/allocator/concept.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/forks.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

template <class Transport, class Allocator>
class block_source;

/// One block, given back when it ends, unless it was handed over to the transport.
template <class Transport, class Allocator>
class owned_block {
  using source_type = block_source<Transport, Allocator>;
  // A free allocator's block needs nobody to return to; the pointer only tells whose it is.
  using keeper = std::conditional_t<free_allocator<Allocator>, source_type*, std::shared_ptr<source_type>>;

 public:
  owned_block() noexcept = default;
  owned_block(keeper source, std::byte* data) noexcept : source_(std::move(source)), data_(data) {}
  owned_block(owned_block&& other) noexcept : source_(std::exchange(other.source_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}
  owned_block& operator=(owned_block&& other) noexcept {
    if (this != &other) {
      reset();
      source_ = std::exchange(other.source_, nullptr);
      data_ = std::exchange(other.data_, nullptr);
    }
    return *this;
  }
  [[gnu::always_inline]] ~owned_block() {
    if (data_ != nullptr) give_up(std::move(source_), data_);
  }

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] source_type const* source() const noexcept {
    if constexpr (free_allocator<Allocator>) {
      return source_;
    } else {
      return source_.get();
    }
  }
  [[nodiscard]] std::uint64_t token() const noexcept { return reinterpret_cast<std::uintptr_t>(data_); }
  [[nodiscard]] static constexpr auto dispose() noexcept -> void (*)(std::uint64_t) noexcept {
    if constexpr (free_allocator<Allocator>) {
      return &Allocator::dispose;
    } else {
      return nullptr;
    }
  }
  /// The transport owns the block now and will say when it is done with it.
  void handed_over() noexcept { data_ = nullptr; }
  void reset() noexcept {
    if (data_ != nullptr) give_up(std::move(source_), data_);
    source_ = nullptr;
    data_ = nullptr;
  }

 private:
  // By value: a block whose address goes nowhere stays in registers.
  [[gnu::cold, gnu::noinline]] static void give_up(keeper source, std::byte* data) noexcept {
    if constexpr (free_allocator<Allocator>) {
      Allocator::dispose(reinterpret_cast<std::uintptr_t>(data));
    } else {
      source->give_back(data);
    }
  }

  keeper source_{};
  std::byte* data_ = nullptr;
};

/// In place of a block where a transport never asks for memory: nothing to move, nothing to test.
struct no_block {
  [[nodiscard]] static constexpr std::byte* data() noexcept { return nullptr; }
  static constexpr void reset() noexcept {}
};
template <class Transport, class Allocator>
using landing_block = std::conditional_t<Transport::caps.zero_copy_get, no_block, owned_block<Transport, Allocator>>;

/// A free allocator: no lock, nothing to reclaim.
template <class Transport, class Allocator>
  requires free_allocator<Allocator>
class block_source<Transport, Allocator> {
 public:
  block_source(Transport&, typename Allocator::options const& o) : allocator_(o) {}

  result<owned_block<Transport, Allocator>> carve(std::size_t size, deadline = {}) {
    auto block = allocator_.allocate(size);
    if (!block) return block.error();
    return owned_block<Transport, Allocator>(this, block->data());
  }
  [[nodiscard]] allocator_usage usage() const noexcept { return allocator_.usage(); }
  [[nodiscard]] static constexpr result<void> could_hold(std::size_t) noexcept { return {}; }
  void close() noexcept {}
  void detach() noexcept {}

 private:
  [[no_unique_address]] Allocator allocator_;
};

/// An allocator over the transport's region. One lock around allocator, reclaim and grow: the contract asks for it. A forked child of a program whose transport
/// leaves the process has nothing here any more, and asks for no lock: a thread of its parent may have had it, and will never give it back.
template <class Transport, class Allocator>
  requires region_allocator<Allocator>
class block_source<Transport, Allocator> : public std::enable_shared_from_this<block_source<Transport, Allocator>> {
 public:
  block_source(Transport& transport, typename Allocator::options const& o) : transport_(&transport), options_(o) {}

  /// \param until where a transport has to wait for another process before it can grow: with no lock held, so that others carve meanwhile
  /// \errors `no_space`, `quota_exceeded`; with EFBIG where it will not help that everything comes back; `closed`
  result<owned_block<Transport, Allocator>> carve(std::size_t size, deadline until = {}) {
    if (inherited()) return {error_kind::closed, "the connector is the parent process's, which forked; open one here"};
    auto out = carve_now(size);
    if constexpr (requires { transport_->wait_to_grow(until); })
      while (!out && out.error().kind() == error_kind::peer_stalled && out.error().native() == EAGAIN) {
        if (auto const may = transport_->wait_to_grow(until); !may) return may.error();
        out = carve_now(size);
      }
    return out;
  }

  void give_back(std::byte* block) noexcept {
    if (inherited()) return;
    std::scoped_lock const lock(mutex_);
    if (transport_ != nullptr && allocator_) allocator_->deallocate(block);
  }
  [[nodiscard]] allocator_usage usage() const noexcept {
    if (inherited()) return {};
    std::scoped_lock const lock(mutex_);
    return allocator_ ? allocator_->usage() : allocator_usage{};
  }
  /// Whether blocks of so many bytes in all fit where nothing else is. \errors as `carve`
  [[nodiscard]] result<void> could_hold(std::size_t total) {
    if (inherited()) return {};
    std::scoped_lock const lock(mutex_);
    if (transport_ == nullptr || total <= transport_->memory().reserved) return {};
    auto const never = transport_->grow(total);
    return never ? result<void>() : never.error();
  }
  /// The transport is closed: what comes back now may still be read by others, and is not given to anybody.
  void close() noexcept {
    if (inherited()) return;
    std::scoped_lock const lock(mutex_);
    closed_ = true;
  }
  /// The transport ends; blocks that are still out have no memory to return to.
  void detach() noexcept {
    if (inherited()) return;
    std::scoped_lock const lock(mutex_);
    transport_ = nullptr;
  }

 private:
  static constexpr std::size_t growth_slack = 4096;

  result<owned_block<Transport, Allocator>> carve_now(std::size_t size) {
    std::scoped_lock const lock(mutex_);
    if (closed_ || transport_ == nullptr) return {error_kind::closed, "the connector is closed"};
    // Each time, so that the block that was just given back, still warm, is the next one used.
    auto const take_back = [this](std::uint64_t token) {
      if (allocator_) allocator_->deallocate(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(token)));
    };
    constexpr bool by_few_looks = requires { transport_->reclaim_some(take_back); };
    if constexpr (by_few_looks) {
      transport_->reclaim_some(take_back);
    } else {
      transport_->reclaim(take_back);
    }
    if (allocator_) {
      if (auto block = allocator_->allocate(size)) return owned_block<Transport, Allocator>(this->shared_from_this(), block->data());
      if constexpr (by_few_looks)
        if (transport_->reclaim(take_back) != 0)
          if (auto block = allocator_->allocate(size)) return owned_block<Transport, Allocator>(this->shared_from_this(), block->data());
    }
    // One alignment more than the size: the allocator may have to round. Where that is more than there is left, the rest may still join a
    // free range at the end and hold it; where it cannot, it stays for others. What is too large for all is asked for as it is, and the transport says so.
    auto const have = transport_->memory();
    std::size_t more = size;
    if (size <= have.reserved) {
      std::size_t const left = have.reserved - have.committed, free = allocator_ ? allocator_->usage().largest_free : 0;
      more = have.reserved - size > growth_slack ? size + growth_slack : have.reserved;
      if (left != 0 && left < more && (size <= left || size - left <= free)) more = left;
    }
    auto region = transport_->grow(more);
    if (!region) return region.error();
    if (!allocator_) {
      allocator_.emplace(options_, region->base, region->committed);
    } else {
      allocator_->extend(region->committed);
    }
    auto block = allocator_->allocate(size);
    if (!block) return block.error();
    return owned_block<Transport, Allocator>(this->shared_from_this(), block->data());
  }

  [[nodiscard]] bool inherited() const noexcept {
    if constexpr (Transport::caps.leaves_process) {
      return born_.inherited();
    } else {
      return false;
    }
  }

  mutable std::mutex mutex_;
  Transport* transport_;
  typename Allocator::options options_;
  std::optional<Allocator> allocator_;
  bool closed_ = false;
  fork_mark born_ = Transport::caps.leaves_process ? watch_forks() : fork_mark();
};

}  // namespace detail

OMNICONN_END_NAMESPACE
