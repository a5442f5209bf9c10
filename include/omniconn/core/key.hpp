// SPDX-License-Identifier: Apache-2.0
// Names: stages, edges, keys as the caller knows them and wire keys as the transport sees them.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The longest key in bytes. Keys are data: any bytes, NUL and '/' included; the empty key is a key.
inline constexpr std::size_t max_key_size = 4096;

/// Two stages joined by a flow of objects. Refers to the caller's texts for the length of a call.
struct edge {
  std::string_view from;
  std::string_view to;

  friend constexpr bool operator==(edge const&, edge const&) noexcept = default;
};

/// What a Keying makes of edge and key; the only name that a Transport sees.
using wire_key = std::string_view;

/// Where a Keying writes a wire key that it had to compose. Short keys stay inside; long ones allocate once.
/// Not copyable: wire keys point into it. \lifetime a wire key is valid until the next call of `start` or the end of the scratch.
class key_scratch {
 public:
  key_scratch() noexcept {}  // the buffer stays uninitialised on purpose: 256 bytes would be cleared on every put
  // Inlined by force: a scratch that no Keying used costs nothing then, because nobody is told its address.
  [[gnu::always_inline]] ~key_scratch() {
    if (long_ != nullptr) delete[] long_;
  }
  key_scratch(key_scratch const&) = delete;
  key_scratch& operator=(key_scratch const&) = delete;

  /// Begins a key of exactly `size` bytes, to be filled by `append`.
  void start(std::size_t size) {
    used_ = 0;
    if (size > inline_.size()) {
      delete[] std::exchange(long_, nullptr);
      data_ = long_ = new char[size];
    } else {
      data_ = inline_.data();
    }
  }
  /// Where the next `size` bytes go, which the caller writes. \requires as `append`
  [[nodiscard]] char* append_room(std::size_t size) noexcept { return data_ + std::exchange(used_, used_ + size); }
  /// \requires the sum of all appended sizes stays within what `start` was told.
  void append(std::string_view text) noexcept {
    if (!text.empty()) std::memcpy(data_ + used_, text.data(), text.size());
    used_ += text.size();
  }
  [[nodiscard]] wire_key view() const noexcept { return {data_, used_}; }

 private:
  std::array<char, 256> inline_;
  char* long_ = nullptr;
  char* data_ = nullptr;
  std::size_t used_ = 0;
};

OMNICONN_END_NAMESPACE
