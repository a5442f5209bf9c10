// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// As much of HTTP/1.1 (RFC 9112) as a metadata service needs: one request, one answer of known length, one connection for each.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/net/endpoint.hpp>
#include <omniconn/detail/net/exchange.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::net {

/// "http://host:port/path".
struct http_url {
  endpoint where;
  std::string path;
};

/// \errors `misconfigured`
inline result<http_url> parse_http_url(std::string_view text) {
  error const wrong{error_kind::misconfigured, "a metadata server is P2PHANDSHAKE or http://HOST:PORT/metadata"};
  constexpr std::string_view scheme = "http://";
  if (!text.starts_with(scheme)) return wrong;
  text.remove_prefix(scheme.size());
  auto const slash = text.find('/');
  std::string host(text.substr(0, slash));
  if (host.rfind(':') == host.npos || host.ends_with(']')) host += ":80";
  auto where = parse_endpoint(host);
  if (!where) return wrong;
  std::string path(slash == text.npos ? std::string_view("/") : text.substr(slash));
  for (char const c : path)
    if (c <= ' ' || c == 0x7f || c == '?' || c == '#') return wrong;
  return http_url{std::move(*where), std::move(path)};
}

/// As a value in a query: everything but letters, digits and "-._~" as %XX.
inline std::string percent_encoded(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (char const c : text) {
    bool const plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out.append({'%', digits[static_cast<unsigned char>(c) >> 4U], digits[static_cast<unsigned char>(c) & 15U]});
    }
  }
  return out;
}

class http_dialogue final : public dialogue {
 public:
  static constexpr std::size_t max_answer = std::size_t{1} << 20U;

  http_dialogue(std::string_view method, http_url const& to, std::string_view query, std::string_view body = {}) {
    question_.append(method).append(" ").append(to.path).append("?").append(query).append(" HTTP/1.1\r\nHost: ").append(to.where.text());
    question_.append("\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ").append(std::to_string(body.size())).append("\r\n\r\n").append(body);
  }

  void ask(std::vector<iovec>& out) override {
    answer_.clear();
    head_ = 0;
    whole_ = false;
    out.push_back({question_.data(), question_.size()});
  }
  mutable_bytes room() noexcept override {
    if (whole_) return {};
    return std::as_writable_bytes(std::span(room_));
  }
  result<void> heard(std::size_t n) override {
    answer_.append(room_.data(), n);
    if (answer_.size() > max_answer) return error(error_kind::too_large, "the metadata server answers with more than 1 MiB", 0, severity::connection);
    if (head_ == 0) {
      auto const end = answer_.find("\r\n\r\n");
      if (end == answer_.npos) return {};
      head_ = end + 4;
      if (auto const good = read_head(); !good) return good;
    }
    whole_ = answer_.size() - head_ >= size_;
    return {};
  }
  [[nodiscard]] bool may_end_here() const noexcept override { return head_ != 0 && size_ == unknown; }

  /// 200, 404, ... once the answer is whole.
  [[nodiscard]] int status() const noexcept { return status_; }
  [[nodiscard]] std::string_view body() const noexcept { return std::string_view(answer_).substr(head_, size_); }

 private:
  static constexpr std::size_t unknown = ~std::size_t{0};

  result<void> read_head() {
    error const wrong{error_kind::malformed, "what answers at the metadata server's address is no HTTP server", 0, severity::connection};
    std::string_view head = std::string_view(answer_).substr(0, head_);
    if (!head.starts_with("HTTP/1.") || head.size() < 12) return wrong;
    auto const [end, failed] = std::from_chars(head.data() + 9, head.data() + 12, status_);
    if (failed != std::errc() || end != head.data() + 12) return wrong;
    size_ = unknown;
    for (std::size_t at = head.find("\r\n"); at + 4 < head.size(); at = head.find("\r\n", at + 2)) {
      std::string_view field = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
      constexpr std::string_view name = "content-length:", coding = "transfer-encoding:";
      auto const named = [&field](std::string_view wanted) {
        if (field.size() < wanted.size()) return false;
        for (std::size_t i = 0; i != wanted.size(); ++i)
          if ((field[i] >= 'A' && field[i] <= 'Z' ? field[i] + 32 : field[i]) != wanted[i]) return false;
        return true;
      };
      if (named(coding)) return error(error_kind::unsupported, "the metadata server answers in chunks", 0, severity::connection);
      if (!named(name)) continue;
      field.remove_prefix(name.size());
      while (field.starts_with(' ')) field.remove_prefix(1);
      auto const [stop, bad] = std::from_chars(field.data(), field.data() + field.size(), size_);
      if (bad != std::errc() || size_ > max_answer) return wrong;
    }
    return {};
  }

  std::string question_, answer_;
  std::array<char, 4096> room_{};
  std::size_t head_ = 0, size_ = unknown;
  int status_ = 0;
  bool whole_ = false;
};

}  // namespace detail::net

OMNICONN_END_NAMESPACE
