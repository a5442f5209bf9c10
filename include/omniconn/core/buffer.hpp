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

  /// Appends bytes that outlive the list; no copy.
  void reference(const_bytes bytes) {
    if (bytes.empty()) return;
    total_ += bytes.size();
    if (count_ == 0 && more_.empty()) {
      first_ = bytes;
      count_ = 1;
      return;
    }
    if (more_.empty()) more_.push_back(first_);
    more_.push_back(bytes);
    ++count_;
    scratch_open_ = false;
  }

  /// Appends a blob by reference and keeps its owner alive.
  void keep(blob bytes) {
    const_bytes const view = bytes.bytes();
    kept_.push_back(std::move(bytes));
    reference(view);
  }

  /// Appends a copy of a few bytes (headers). Consecutive calls grow one piece.
  void copy(const_bytes bytes) {
    if (bytes.empty()) return;
    if (scratch_open_ && scratch_used_ + bytes.size() <= scratch_size_) {
      std::memcpy(scratch_ + scratch_used_, bytes.data(), bytes.size());
      scratch_used_ += bytes.size();
      const_bytes& last = more_.empty() ? first_ : more_.back();
      last = const_bytes(last.data(), last.size() + bytes.size());
      total_ += bytes.size();
      return;
    }
    if (scratch_used_ + bytes.size() > scratch_size_) new_scratch(bytes.size());
    std::byte* const at = scratch_ + scratch_used_;
    std::memcpy(at, bytes.data(), bytes.size());
    scratch_used_ += bytes.size();
    reference(const_bytes(at, bytes.size()));
    scratch_open_ = true;
  }

  [[nodiscard]] pieces parts() const noexcept { return more_.empty() ? pieces(&first_, count_) : pieces(more_); }
  [[nodiscard]] std::size_t size() const noexcept { return total_; }

 private:
  void new_scratch(std::size_t at_least) {
    std::size_t const size = at_least > chunk ? at_least : chunk;
    chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(size));
    scratch_ = chunks_.back().get();
    scratch_size_ = size;
    scratch_used_ = 0;
    scratch_open_ = false;
  }

  static constexpr std::size_t chunk = 1024;
  const_bytes first_;
  std::size_t count_ = 0;
  std::size_t total_ = 0;
  std::vector<const_bytes> more_;
  std::vector<blob> kept_;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::byte* scratch_ = nullptr;
  std::size_t scratch_size_ = 0;
  std::size_t scratch_used_ = 0;
  bool scratch_open_ = false;
};

OMNICONN_END_NAMESPACE
