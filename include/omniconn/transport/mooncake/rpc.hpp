// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The frames of Mooncake's RPC (coro_rpc of yaLanTingLibs): 20 bytes in front of a request, 16 in front of a reply. No sockets here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/mooncake/md5.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

inline constexpr std::size_t request_header = 20, reply_header = 16;
inline constexpr std::uint8_t rpc_magic = 21;
/// No reply of a call that we make comes near it: 1,000 replicas have 100 KB.
inline constexpr std::uint32_t max_reply = 1U << 20U;

/// The number of a function of the master.
constexpr std::uint32_t function_of(std::string_view name) noexcept { return md5_head("mooncake::WrappedMasterService::", name); }

/// One request: a header, then the arguments, which `body` collects.
class rpc_request {
 public:
  explicit rpc_request(std::uint32_t function) : bytes_(request_header) {
    bytes_[0] = std::byte{rpc_magic};
    put(8, function);
  }
  [[nodiscard]] std::vector<std::byte>& body() noexcept { return bytes_; }
  /// Ready to be sent. The reply has the same number.
  [[nodiscard]] const_bytes finish(std::uint32_t number) noexcept {
    put(4, number);
    put(12, static_cast<std::uint32_t>(bytes_.size() - request_header));
    return bytes_;
  }

 private:
  void put(std::size_t at, std::uint32_t n) noexcept { std::memcpy(bytes_.data() + at, &n, sizeof n); }
  std::vector<std::byte> bytes_;
};

/// What stands in front of a reply.
struct rpc_reply {
  std::uint32_t number = 0, size = 0;
  std::uint8_t failure = 0;  ///< 0, or why the server did not call the function; then the body is a text

  /// \errors `malformed`: another protocol, or more than `max_reply`
  [[nodiscard]] static result<rpc_reply> of(std::array<std::byte, reply_header> const& header) noexcept {
    auto const at = [&header](std::size_t i) {
      std::uint32_t n = 0;
      std::memcpy(&n, header.data() + i, sizeof n);
      return n;
    };
    if (header[0] != std::byte{rpc_magic}) return error(error_kind::malformed, "what answers there speaks another protocol than a Mooncake master; check address and port");
    rpc_reply out;
    out.failure = static_cast<std::uint8_t>(header[2]);
    out.number = at(4);
    out.size = at(8);
    if (out.size > max_reply || at(12) != 0) return error(error_kind::malformed, "a Mooncake master answers with more than any reply has");
    return out;
  }
  /// Why the server did not call the function; nothing where it did.
  [[nodiscard]] result<void> refusal() const noexcept {
    switch (failure) {
      case 0: return {};
      case 4:  // invalid_rpc_arguments
        return error(error_kind::version_mismatch, "the Mooncake master does not understand the arguments of release 0.3.13.post1, the one that this library speaks; run that release", failure);
      case 2:  // function not registered
        return error(error_kind::version_mismatch, "the Mooncake master has no such function; this library speaks release 0.3.13.post1; run that one", failure);
      default: return error(error_kind::io, "the Mooncake master could not run the call", failure);
    }
  }
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
