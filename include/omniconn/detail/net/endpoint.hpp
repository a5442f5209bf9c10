// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// Where a service listens: a host and a port as users write them, and the address behind.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::net {

/// "10.0.0.1:50051", "[::1]:50051", "name:50051", in parts.
struct endpoint {
  std::string host;
  std::uint16_t port = 0;

  [[nodiscard]] std::string text() const { return (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + std::to_string(port); }
  friend bool operator==(endpoint const&, endpoint const&) = default;
};

/// \errors `misconfigured`: no host or no port in it
inline result<endpoint> parse_endpoint(std::string_view text) {
  error const wrong{error_kind::misconfigured, "an address is HOST:PORT, as in 10.0.0.1:50051 or [::1]:50051"};
  auto const colon = text.rfind(':');
  if (colon == text.npos) return wrong;
  std::string_view host = text.substr(0, colon);
  std::string_view const digits = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":[]") != host.npos) {
    return wrong;
  }
  endpoint out;
  auto const [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
  if (host.empty() || host.size() > 253 || failed != std::errc() || end != digits.data() + digits.size() || out.port == 0) return wrong;
  out.host = host;
  return out;
}

/// A socket address.
struct address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] int family() const noexcept { return storage.ss_family; }
  [[nodiscard]] sockaddr const* get() const noexcept { return reinterpret_cast<sockaddr const*>(&storage); }
};

/// Asks the resolver where the host is no number: that may take seconds. The first address that it names counts.
/// \errors `unreachable`: nobody knows the name
inline result<address> resolve(endpoint const& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int const failed = ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &found);
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> const owner(found, &::freeaddrinfo);
  if (failed != 0 || found == nullptr) return error(error_kind::unreachable, "the host name is not known; check the address", failed, severity::connection);
  address out;
  std::memcpy(&out.storage, found->ai_addr, found->ai_addrlen);
  out.size = found->ai_addrlen;
  return out;
}

}  // namespace detail::net

OMNICONN_END_NAMESPACE
