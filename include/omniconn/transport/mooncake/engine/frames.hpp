// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// What Mooncake's transfer engine says over TCP: 24 bytes in front of each transfer, 8 bytes of status behind (its version 2), and the frames in which two
// engines show each other their memory. Learnt from the wire of release 0.3.13.post1. No sockets here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/net/exchange.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// In front of a transfer: u64 size, u64 address in the other's memory, u8 direction, 7 bytes of nothing.
struct transfer_header {
  static constexpr std::size_t bytes = 24;
  static constexpr std::uint8_t read = 0x80, write = 0x81;  ///< with a status, which engines that say "tcp_proto_version": 2 send

  std::uint64_t size = 0, address = 0;
  std::uint8_t direction = read;

  [[nodiscard]] std::array<std::byte, bytes> pack() const noexcept {
    std::array<std::byte, bytes> out{};
    std::memcpy(out.data(), &size, 8);
    std::memcpy(out.data() + 8, &address, 8);
    out[16] = static_cast<std::byte>(direction);
    return out;
  }
  [[nodiscard]] static transfer_header unpack(std::array<std::byte, bytes> const& from) noexcept {
    transfer_header out;
    std::memcpy(&out.size, from.data(), 8);
    std::memcpy(&out.address, from.data() + 8, 8);
    out.direction = static_cast<std::uint8_t>(from[16]);
    return out;
  }
};

/// Behind a write, in front of what is read.
struct transfer_status {
  static constexpr std::size_t bytes = 8;
  static constexpr std::uint64_t magic = 0x4D43'5456'0000'0000U, good = magic, refused = magic | 1U;

  /// \errors `stale_handle`: that memory is not there any more; `malformed`
  [[nodiscard]] static result<void> check(std::uint64_t status) noexcept {
    if (status == good) return {};
    if (status == refused) return error(error_kind::stale_handle, "the storage node says that the address is not in its memory", 1, severity::connection);
    return error(error_kind::malformed, "what answers at the storage node's data port is no transfer engine that speaks version 2", 0, severity::connection);
  }
};

/// How much of a large read is asked for by itself, before the rest. The other side's kernel copies what it sends behind an 8-byte status, and some CPUs (EPYC is
/// one) take twice as long where source and target lie at nearly the same place of a page, the target just ahead, as they do for memory that begins at a page.
/// Behind a first part they do not: 64 MiB come from a real node in 26 ms instead of 42. Of parts of 16 to 1,024 bytes, 128 was slow for the fewest
/// pairs of addresses.
inline std::size_t first_part(std::uint64_t address, std::uint64_t size) noexcept {
  constexpr std::uint64_t page = 4096, near = 64;
  if (size < std::uint64_t{1} << 20U) return 0;
  std::uint64_t out = 128;
  while ((address + out) % page < near || (address + out) % page > page - near) out += near;
  return static_cast<std::size_t>(out);
}

/// Writes pieces to the other's memory, or reads from there into pieces.
class transfer_dialogue final : public net::dialogue {
 public:
  /// The bytes stay until the end.
  void write(std::uint64_t address, pieces from, std::uint64_t size) {
    begin({size, address, transfer_header::write});
    for (auto const& p : from) {
      auto const n = static_cast<std::size_t>(p.size() < size ? p.size() : size);
      if (n != 0) parts_.push_back({const_cast<std::byte*>(p.data()), n});
      size -= n;
    }
  }
  void read(std::uint64_t address, std::span<mutable_bytes const> to) {
    std::uint64_t size = 0;
    for (auto const& p : to) size += p.size();
    std::size_t const first = first_part(address, size);
    begin({first == 0 ? size : first, address, transfer_header::read});
    if (first != 0) {
      rest_header_ = transfer_header{size - first, address + first, transfer_header::read}.pack();
      parts_.push_back({rest_header_.data(), rest_header_.size()});
    }
    std::size_t left = first;  // of the first part
    for (auto const& p : to) {
      if (left != 0 && p.size() >= left) {
        to_.push_back(p.first(left));
        rest_ = to_.size();
        to_.push_back(p.subspan(left));
        left = 0;
      } else {
        to_.push_back(p);
        left -= left == 0 ? 0 : p.size();
      }
    }
  }

  void ask(std::vector<iovec>& out) override {
    status_have_ = piece_ = piece_have_ = 0;
    out.push_back({header_.data(), header_.size()});
    out.insert(out.end(), parts_.begin(), parts_.end());
  }
  mutable_bytes room() noexcept override {
    if (status_have_ != status_.size()) return mutable_bytes(status_).subspan(status_have_);
    while (piece_ != to_.size() && piece_have_ == to_[piece_].size()) {
      ++piece_;
      piece_have_ = 0;
      if (piece_ == rest_) {  // has a status of its own
        status_have_ = 0;
        return status_;
      }
    }
    return piece_ == to_.size() ? mutable_bytes() : to_[piece_].subspan(piece_have_);
  }
  result<void> heard(std::size_t n) override {
    if (status_have_ != status_.size()) {
      status_have_ += n;
      if (status_have_ != status_.size()) return {};
      std::uint64_t status = 0;
      std::memcpy(&status, status_.data(), sizeof status);
      return transfer_status::check(status);
    }
    piece_have_ += n;
    return {};
  }

 private:
  void begin(transfer_header const& header) {
    header_ = header.pack();
    parts_.clear();
    to_.clear();
    rest_ = 0;
  }

  std::array<std::byte, transfer_header::bytes> header_{}, rest_header_{};
  std::vector<iovec> parts_;
  std::vector<mutable_bytes> to_;
  std::array<std::byte, transfer_status::bytes> status_{};
  std::size_t rest_ = 0;  ///< the piece with which the second answer begins; 0: there is one answer
  std::size_t status_have_ = 0, piece_ = 0, piece_have_ = 0;
};

/// Two engines that know no metadata server: u64 size, u8 what, and JSON, once in each direction.
class handshake_dialogue final : public net::dialogue {
 public:
  static constexpr std::size_t max_size = std::size_t{1} << 20U, head = 9;
  static constexpr std::uint8_t metadata = 1;

  explicit handshake_dialogue(std::string_view json) : question_(frame(metadata, json)) {}
  [[nodiscard]] static std::string frame(std::uint8_t what, std::string_view json) {
    std::uint64_t const size = json.size() + 1;
    std::string out(reinterpret_cast<char const*>(&size), sizeof size);
    out += static_cast<char>(what);
    return out.append(json);
  }

  void ask(std::vector<iovec>& out) override {
    have_ = 0;
    answer_.assign(head, '\0');
    out.push_back({question_.data(), question_.size()});
  }
  mutable_bytes room() noexcept override { return std::as_writable_bytes(std::span(answer_)).subspan(have_); }
  result<void> heard(std::size_t n) override {
    have_ += n;
    if (have_ != head || answer_.size() != head) return {};
    std::uint64_t size = 0;
    std::memcpy(&size, answer_.data(), sizeof size);
    if (size == 0 || size > max_size || answer_.back() != static_cast<char>(metadata))
      return error(error_kind::malformed, "what answers at the storage node's address is no transfer engine", 0, severity::connection);
    answer_.resize(head + static_cast<std::size_t>(size) - 1);
    return {};
  }
  [[nodiscard]] std::string_view json() const noexcept { return std::string_view(answer_).substr(head); }

 private:
  std::string question_, answer_;
  std::size_t have_ = 0;
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
