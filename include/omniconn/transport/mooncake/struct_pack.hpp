// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The encoding of Mooncake's RPC arguments and results (struct_pack of yaLanTingLibs): a hash of the type, a byte that says how wide lengths are, the type
// itself, then the values, little-endian and without names. Learnt from recorded exchanges with release 0.3.13.post1.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/mooncake/md5.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// A type as the wire spells it: a byte per member, 0xfd ... 0xff around the members of a struct.
template <std::size_t N>
struct wire_type {
  std::array<char, N> bytes{};

  [[nodiscard]] constexpr std::string_view text() const noexcept { return {bytes.data(), N}; }
  /// Fixes the layout on both sides; the lowest bit says that the type follows.
  [[nodiscard]] constexpr std::uint32_t hash() const noexcept { return md5_head(text()) | 1U; }

  template <std::size_t M>
  friend constexpr wire_type<N + M> operator+(wire_type const& a, wire_type<M> const& b) noexcept {
    wire_type<N + M> out;
    std::copy(b.bytes.begin(), b.bytes.end(), std::copy(a.bytes.begin(), a.bytes.end(), out.bytes.begin()));
    return out;
  }
};

/// From hexadecimal digits. 01 i32, 04 u64, 06 u8, 0b bool, 0c char, 80 string (80 0c), 84 vector, 85 optional, 86 variant, 87 expected, 89 u64 in an array.
template <std::size_t N>
consteval wire_type<N / 2> wire_type_of(char const (&digits)[N]) {
  constexpr auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  wire_type<N / 2> out;
  for (std::size_t i = 0; i != N / 2; ++i) out.bytes[i] = static_cast<char>(static_cast<unsigned char>(16 * digit(digits[2 * i]) + digit(digits[2 * i + 1])));
  return out;
}

inline constexpr std::uint8_t has_type = 0x04;  ///< in the byte behind the hash; bits 3 and 4: lengths have 1, 2, 4 or 8 bytes; no other bit

/// Writes one message. The width of lengths is one for the whole message, so the longest text has to be known before.
class packer {
 public:
  template <std::size_t N>
  packer(std::vector<std::byte>& out, wire_type<N> const& type, std::size_t longest) : out_(out), width_(longest < 0x100 ? 1 : longest < 0x10000 ? 2 : 4) {
    number(type.hash());
    u8(static_cast<std::uint8_t>(has_type | (width_ == 1 ? 0U : width_ == 2 ? 0x08U : 0x10U)));
    raw(type.text());
    u8(0);
  }
  packer& u8(std::uint8_t n) { return number(n); }
  packer& i32(std::int32_t n) { return number(n); }
  packer& u64(std::uint64_t n) { return number(n); }
  packer& flag(bool b) { return number(static_cast<std::uint8_t>(b ? 1 : 0)); }
  packer& count(std::size_t n) {
    for (std::size_t i = 0; i != width_; ++i) out_.push_back(static_cast<std::byte>(n >> 8 * i & 0xffU));
    return *this;
  }
  packer& text(std::string_view s) { return count(s.size()).raw(s); }
  packer& raw(std::string_view s) {
    auto const bytes = bytes_of(s);
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return *this;
  }

 private:
  template <class Number>
  packer& number(Number n) {
    static_assert(std::endian::native == std::endian::little);
    auto const bytes = std::as_bytes(std::span(&n, 1));
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  std::vector<std::byte>& out_;
  std::size_t width_;
};

/// Reads one message that a stranger may have made: no length is believed before the bytes are seen to be there. A value that is not there reads as 0 or empty,
/// and `end` says so.
class unpacker {
 public:
  /// \errors `version_mismatch`: another type, so another release of Mooncake; `malformed`
  template <std::size_t N>
  [[nodiscard]] static result<unpacker> of(const_bytes message, wire_type<N> const& type) noexcept {
    unpacker in(message);
    std::uint32_t const hash = in.number<std::uint32_t>();
    std::uint8_t const how = in.u8();
    if (in.short_) return truncated();
    if (hash != type.hash()) return other_type();
    if ((how & ~0x18U) != has_type) return error(error_kind::malformed, "a Mooncake message does not begin with its type");
    in.width_ = std::size_t{1} << (how >> 3U & 3U);
    std::string_view const spelled = in.raw(N + 1);
    if (in.short_) return truncated();
    if (spelled.substr(0, N) != type.text() || spelled.back() != '\0') return other_type();
    return in;
  }

  std::uint8_t u8() noexcept { return number<std::uint8_t>(); }
  std::int32_t i32() noexcept { return number<std::int32_t>(); }
  std::uint64_t u64() noexcept { return number<std::uint64_t>(); }
  /// \returns false for anything but 0 and 1, too, which `end` refuses
  bool flag() noexcept {
    std::uint8_t const b = u8();
    wrong_ = wrong_ || b > 1;
    return b == 1;
  }
  /// Of elements that have `least` bytes each: more than there can be is 0.
  std::size_t count(std::size_t least) noexcept {
    std::uint64_t n = 0;
    std::string_view const digits = raw(width_);
    for (std::size_t i = 0; i != digits.size(); ++i) n |= std::uint64_t{static_cast<unsigned char>(digits[i])} << 8 * i;
    if (n > left_.size() / least) {
      short_ = true;
      return 0;
    }
    return static_cast<std::size_t>(n);
  }
  /// By reference.
  std::string_view text() noexcept { return raw(count(1)); }
  std::string_view raw(std::size_t n) noexcept {
    if (n > left_.size() || short_) {
      short_ = true;
      left_ = {};
      return {};
    }
    auto const out = text_of(left_.first(n));
    left_ = left_.subspan(n);
    return out;
  }
  /// \errors `malformed`: too few bytes, too many, or impossible ones
  [[nodiscard]] result<void> end() const noexcept {
    if (short_) return truncated();
    if (wrong_ || !left_.empty()) return error(error_kind::malformed, "a Mooncake message does not follow its type");
    return {};
  }
  void refuse() noexcept { wrong_ = true; }

 private:
  explicit unpacker(const_bytes message) noexcept : left_(message) {}
  template <class Number>
  Number number() noexcept {
    Number out = 0;
    if (std::string_view const bytes = raw(sizeof out); bytes.size() == sizeof out) std::memcpy(&out, bytes.data(), sizeof out);
    return out;
  }
  static error truncated() noexcept { return {error_kind::malformed, "a Mooncake message is truncated"}; }
  static error other_type() noexcept {
    return {error_kind::version_mismatch, "the Mooncake master answers with another type than release 0.3.13.post1 does, the one that this library speaks; run that release"};
  }

  const_bytes left_;
  std::size_t width_ = 1;
  bool short_ = false, wrong_ = false;
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
