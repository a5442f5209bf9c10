// SPDX-License-Identifier: Apache-2.0
// The smallest caller of a transport: blocks to send from, blocks to land in, and a loop that drives one operation to its end.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Bytes that depend on every bit of the seed and on their place, so that no two payloads of a test share a run of bytes.
inline std::vector<std::byte> test_pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> out(size);
  std::uint64_t x = seed * 0x9e3779b97f4a7c15U + 0x2545f4914f6cdd1dU;
  for (auto& b : out) {
    x ^= x << 13U;
    x ^= x >> 7U;
    x ^= x << 17U;
    b = static_cast<std::byte>(x >> 56U);
  }
  return out;
}

inline bool same_bytes(const_bytes a, const_bytes b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// What a block that came back is filled with: a reader who still looks at it sees the difference.
inline constexpr std::byte poison_byte{0xDD};

/// A block to send from. `returned` counts how often the transport gave it back: it must become 1 and never 2.
struct sent_block {
  mutable_bytes bytes;
  std::unique_ptr<std::byte[]> heap;
  std::atomic<int> returned{0};

  void come_back() noexcept {
    // Poisoned before it is counted: whoever sees the count may look at the bytes.
    if (!bytes.empty()) std::memset(bytes.data(), static_cast<int>(poison_byte), bytes.size());
    returned.fetch_add(1, std::memory_order_acq_rel);
  }
  /// Fits `outgoing::dispose`; the token is the block's address.
  static void dispose(std::uint64_t token) noexcept {
    auto* const b =
        reinterpret_cast<sent_block*>(static_cast<std::uintptr_t>(token));  // NOLINT(performance-no-int-to-ptr): a token is an address
    b->come_back();
  }
  [[nodiscard]] std::uint64_t token() const noexcept { return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this)); }
};

/// One transport with the memory that its caller brings: a bump allocator over `memory()`, or the heap where any memory will do.
/// Blocks live as long as the side does. \threadsafety all calls may run together, except with `close` and destruction.
template <class Transport>
class transport_side {
 public:
  using put_op = typename Transport::put_op;
  using get_op = typename Transport::get_op;
  static constexpr capabilities const& caps = Transport::caps;

  transport_side(Transport transport, deadline patience) : patience_(patience), transport_(std::in_place, std::move(transport)) {}
  transport_side(transport_side const&) = delete;
  transport_side& operator=(transport_side const&) = delete;
  ~transport_side() { destroy(); }

  Transport& operator*() noexcept { return *transport_; }
  Transport* operator->() noexcept { return &*transport_; }
  /// Ends the transport; blocks and holds stay.
  void destroy() noexcept { transport_.reset(); }

  // --- memory ---------------------------------------------------------------------------------------------------------

  result<mutable_bytes> carve(std::size_t size) {
    std::lock_guard const guard(lock_);
    std::size_t const room = (size + 63) / 64 * 64 + (size == 0 ? 64 : 0);
    if (used_ + room > transport_->memory().committed)
      if (auto grown = transport_->grow(used_ + room - transport_->memory().committed); !grown) return grown.error();
    if (used_ + room > transport_->memory().committed) return error(error_kind::no_space, "grow said yes and committed too little");
    std::byte* const base = transport_->memory().base + used_;
    used_ += room;
    return mutable_bytes(base, size);
  }

  /// A block that holds `size` bytes of nothing.
  sent_block* block(std::size_t size) {
    std::unique_ptr<std::byte[]> heap;
    mutable_bytes bytes;
    if constexpr (caps.own_memory) {
      auto carved = carve(size);
      if (!carved) return nullptr;
      bytes = *carved;
    } else {
      heap = std::make_unique<std::byte[]>(size + 1);  // one more: an empty payload, too, has an address of its own
      bytes = mutable_bytes(heap.get(), size);
    }
    std::lock_guard const guard(lock_);
    sent_block& b = blocks_.emplace_back();
    b.bytes = bytes;
    b.heap = std::move(heap);
    return &b;
  }

  /// Takes what came back through `reclaim`.
  void reclaim() {
    if (!transport_) return;
    std::lock_guard const guard(lock_);
    auto const sink = [](std::uint64_t token) { sent_block::dispose(token); };
    transport_->reclaim(sink);
  }

  /// Memory to land in, and giving it back. The caller knows when a transport is done with it.
  result<mutable_bytes> landing(std::size_t size) {
    if constexpr (caps.own_memory) return carve(size);
    std::lock_guard const guard(lock_);
    landings_.push_back(std::make_unique<std::byte[]>(size + 1));
    return mutable_bytes(landings_.back().get(), size);
  }

  /// How many blocks came home, each time counted.
  [[nodiscard]] int returned() {
    std::lock_guard const guard(lock_);
    int n = 0;
    for (auto const& b : blocks_) n += b.returned.load();
    return n;
  }

  // --- put ------------------------------------------------------------------------------------------------------------

  /// How a block is handed over: through a function where the transport allows any memory, through `reclaim` from its own.
  static outgoing hand_over(const_bytes const& piece, sent_block& b, bool by_token = caps.own_memory) noexcept {
    return {pieces(&piece, 1), b.token(), by_token ? nullptr : &sent_block::dispose};
  }

  /// Drives an operation until it is neither pending nor failed.
  template <class Op>
  result<progress> drive(Op& op, result<progress> now, deadline until, stop_token stop = {}) {
    while (now && *now == progress::pending) {
      operation* const one[]{&op};
      if (auto const woken = transport_->wait(one, until, stop); !woken) return woken.error();
      now = transport_->step(op);
    }
    return now;
  }

  struct put_result {
    locator where;
    sent_block* block = nullptr;
  };

  /// What every transport can do: one reader, or anybody where readers are not counted.
  static publish_options usual() noexcept {
    publish_options how;
    if constexpr (!caps.counts_readers) how.readers = reader_set::until_cleaned_up();
    return how;
  }

  /// begin → fill → commit. The block is filled between the two, as `reserve` does.
  result<put_result> put(wire_key key, const_bytes data, publish_options const& how = usual(), object_info info = {}) {
    info.size = data.size();
    sent_block* const b = block(data.size());
    if (b == nullptr) return {error_kind::no_space, "no block for the payload"};
    put_op op;
    const_bytes const piece = b->bytes;
    auto begun = drive(op, transport_->begin(op, key, hand_over(piece, *b), info, how), patience_);
    if (!begun) return begun.error();
    if (!data.empty()) std::memcpy(b->bytes.data(), data.data(), data.size());
    transport_->advance(op, data.size());
    auto done = drive(op, transport_->commit(op, info), patience_);
    if (!done) return done.error();
    return put_result{op.where(), b};
  }

  // --- get ------------------------------------------------------------------------------------------------------------

  struct received {
    typename Transport::hold hold;
    object_info info;
    locator where;
    const_bytes bytes;  // where they are, landed or in place
  };

  /// find → (land) → take. A get that fails is cancelled to its end, as every caller must.
  result<received> get(wire_key key, deadline until, find_options const& how = {}, stop_token stop = {}) {
    get_op op;
    return finish_get(op, transport_->find(op, key, how), until, std::move(stop));
  }

  result<received> finish_get(get_op& op, result<progress> now, deadline until, stop_token stop = {}) {
    mutable_bytes to;
    bool landed = false;
    for (;;) {
      now = drive(op, now, until, stop);
      if (!now) break;
      if (*now == progress::done) {
        received out{op.take(), op.info(), op.where(), {}};
        out.bytes = landed ? const_bytes(to) : out.hold.bytes();
        return out;
      }
      if (landed) return error(error_kind::io, "a get asked for memory twice");
      auto memory = landing(static_cast<std::size_t>(op.info().size));
      if (!memory) {
        now = memory.error();
        break;
      }
      to = *memory;
      if (!to.empty()) std::memset(to.data(), static_cast<int>(poison_byte), to.size());
      landed = true;
      mutable_bytes const one[]{to};
      now = transport_->land(op, one);
    }
    error const why = now.error();
    quiet(op);
    return why;
  }

  /// Cancels and waits until the memory is quiet.
  template <class Op>
  void quiet(Op& op) {
    auto now = transport_->cancel(op);
    while (now && *now == progress::pending) {
      operation* const one[]{&op};
      if (!transport_->wait(one, patience_, {})) return;
      now = transport_->step(op);
    }
  }

  /// Lets the transport's time pass: a wait for nothing.
  void pause(deadline until) { static_cast<void>(transport_->wait({}, until, {})); }

 private:
  deadline patience_;
  std::mutex lock_;
  std::size_t used_ = 0;
  std::deque<sent_block> blocks_;
  std::deque<std::unique_ptr<std::byte[]>> landings_;
  std::optional<Transport> transport_;
};

OMNICONN_END_NAMESPACE
