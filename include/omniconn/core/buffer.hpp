// SPDX-License-Identifier: Apache-2.0
// Bytes: non-owning spans, shared immutable blobs, and gather lists of pieces that are sent without being joined first.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

using const_bytes = std::span<std::byte const>;
using mutable_bytes = std::span<std::byte>;

/// The bytes of contiguous, trivially copyable elements, by reference.
template <class T, std::size_t N>
  requires std::is_trivially_copyable_v<T>
const_bytes bytes_of(std::span<T, N> elements) noexcept {
  return std::as_bytes(elements);
}
/// The bytes of a text, by reference.
inline const_bytes bytes_of(std::string_view text) noexcept { return std::as_bytes(std::span(text)); }
/// The bytes as a text, by reference.
inline std::string_view text_of(const_bytes bytes) noexcept {
  return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

/// Immutable bytes that either share their owner or borrow from somebody who outlives them.
///
/// \copies copying a blob copies no bytes. \lifetime a borrowed blob is valid as long as what it was made from (for decoded
/// values: the view that the bytes came from). \threadsafety as `std::shared_ptr`.
class blob {
 public:
  blob() noexcept = default;

  /// Refers to `bytes` without owning them.
  [[nodiscard]] static blob borrow(const_bytes bytes) noexcept { return {bytes, nullptr}; }
  /// Refers to `bytes`, which live as long as `owner`.
  [[nodiscard]] static blob share(const_bytes bytes, std::shared_ptr<void const> owner) noexcept { return {bytes, std::move(owner)}; }
  /// Copies `bytes` once into memory of its own.
  [[nodiscard]] static blob copy(const_bytes bytes) {
    if (bytes.empty()) return {};
    auto owner = std::make_shared_for_overwrite<std::byte[]>(bytes.size());
    std::memcpy(owner.get(), bytes.data(), bytes.size());
    const_bytes const own(owner.get(), bytes.size());
    return {own, std::move(owner)};
  }

  [[nodiscard]] const_bytes bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  /// True where the bytes live as long as the blob does.
  [[nodiscard]] bool owns() const noexcept { return owner_ != nullptr || bytes_.empty(); }
  /// A blob with the same bytes that owns them: itself where it does already, else a copy.
  [[nodiscard]] blob owned() const { return owns() ? *this : copy(bytes_); }

  friend bool operator==(blob const& a, blob const& b) noexcept {
    return a.size() == b.size() && (a.size() == 0 || std::memcmp(a.bytes_.data(), b.bytes_.data(), a.size()) == 0);
  }

 private:
  blob(const_bytes bytes, std::shared_ptr<void const> owner) noexcept : bytes_(bytes), owner_(std::move(owner)) {}

  const_bytes bytes_;
  std::shared_ptr<void const> owner_;
};

/// Pieces in order, as `writev` takes them.
using pieces = std::span<const_bytes const>;

/// Sum of the sizes.
inline std::size_t total_size(pieces parts) noexcept {
  std::size_t sum = 0;
  for (auto const& p : parts) sum += p.size();
  return sum;
}

/// A payload on its way out: small headers in scratch memory of its own, big parts by reference, nothing joined yet.
///
/// A payload of one piece needs no allocation. \lifetime what was added by `reference` must outlive the list's last use; what was
/// added by `keep` is kept alive by the list. Not copyable: pieces point into it. Not thread-safe.
class gather_list {
 public:
  gather_list() noexcept = default;
  gather_list(gather_list const&) = delete;
  gather_list& operator=(gather_list const&) = delete;
  ~gather_list() {
    if (more_ != nullptr) drop(more_);
  }

  /// Appends bytes that outlive the list; no copy.
  void reference(const_bytes bytes) {
    if (bytes.empty()) return;
    append(bytes);
    if (more_ != nullptr) more_->scratch_open = false;
  }

  /// Appends a blob by reference and keeps its owner alive.
  void keep(blob bytes) {
    const_bytes const view = bytes.bytes();
    more().kept.push_back(std::move(bytes));
    reference(view);
  }

  /// Appends a copy of a few bytes (headers). Consecutive calls grow one piece.
  void copy(const_bytes bytes) {
    if (bytes.empty()) return;
    auto& m = more();
    if (m.scratch_used + bytes.size() > m.scratch_size) m.new_scratch(bytes.size());
    std::byte* const at = m.scratch + m.scratch_used;
    std::memcpy(at, bytes.data(), bytes.size());
    m.scratch_used += bytes.size();
    if (m.scratch_open) {
      const_bytes& last = m.pieces.empty() ? first_ : m.pieces.back();
      last = const_bytes(last.data(), last.size() + bytes.size());
      total_ += bytes.size();
    } else {
      append(const_bytes(at, bytes.size()));
      m.scratch_open = true;
    }
  }

  [[nodiscard]] pieces parts() const noexcept {
    if (more_ != nullptr && !more_->pieces.empty()) return more_->pieces;
    return total_ == 0 ? pieces{} : pieces(&first_, 1);
  }
  /// The pieces one by one, none of them empty. Unlike `parts`, it leaves a list of one piece in registers.
  template <class Each>
  void for_each(Each each) const {
    if (more_ != nullptr && !more_->pieces.empty()) {
      for (const_bytes const& piece : more_->pieces) each(piece);
    } else if (total_ != 0) {
      each(first_);
    }
  }
  [[nodiscard]] std::size_t size() const noexcept { return total_; }

 private:
  /// What a payload of one referenced piece does without: kept apart, so that a small put pays for one null pointer.
  struct rest {
    std::vector<const_bytes> pieces;  // all of them, once there are two
    std::vector<blob> kept;
    std::vector<std::unique_ptr<std::byte[]>> chunks;
    std::byte* scratch = nullptr;
    std::size_t scratch_size = 0;
    std::size_t scratch_used = 0;
    bool scratch_open = false;  // the last piece ends where the scratch memory goes on

    void new_scratch(std::size_t at_least) {
      constexpr std::size_t chunk = 1024;
      scratch_size = at_least > chunk ? at_least : chunk;
      chunks.push_back(std::make_unique_for_overwrite<std::byte[]>(scratch_size));
      scratch = chunks.back().get();
      scratch_used = 0;
      scratch_open = false;
    }
  };

  rest& more() {
    if (more_ == nullptr) more_ = new rest;
    return *more_;
  }
  // Takes the pointer, not the list: the address of a list of one piece goes nowhere then, so that it stays in registers.
  [[gnu::cold, gnu::noinline]] static void drop(rest* more) noexcept { delete more; }
  void append(const_bytes bytes) {
    if (total_ == 0) {
      first_ = bytes;
    } else {
      append_more(bytes);
    }
    total_ += bytes.size();
  }
  [[gnu::noinline]] void append_more(const_bytes bytes) {
    auto& all = more().pieces;
    if (all.empty()) all.push_back(first_);
    all.push_back(bytes);
  }

  const_bytes first_;
  std::size_t total_ = 0;
  rest* more_ = nullptr;
};

OMNICONN_END_NAMESPACE
