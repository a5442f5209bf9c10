// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// One call of the master: a request, and the reply with its number.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <poll.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/net/exchange.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/mooncake/rpc.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// Driven by its owner, one thread at a time; it never sleeps.
class rpc_call final : net::dialogue {
 public:
  void begin(std::shared_ptr<net::line_pool> master, rpc_request request) {
    static std::atomic<std::uint32_t> last{0};
    request_ = std::move(request);
    number_ = last.fetch_add(1, std::memory_order_relaxed);
    exchange_.begin(std::move(master), *this);
  }
  result<progress> step() { return exchange_.step(); }
  [[nodiscard]] pollfd interest() const noexcept { return exchange_.interest(); }
  [[nodiscard]] std::int64_t look_again_ns() const noexcept { return exchange_.look_again_ns(); }
  void abandon() noexcept { exchange_.abandon(); }
  /// The result, packed. \requires done
  [[nodiscard]] const_bytes reply() const noexcept { return body_; }

 private:
  void ask(std::vector<iovec>& out) override {
    have_ = 0;
    in_body_ = false;
    body_.clear();
    auto const bytes = request_->finish(number_);
    out.push_back({const_cast<std::byte*>(bytes.data()), bytes.size()});
  }
  mutable_bytes room() noexcept override { return (in_body_ ? mutable_bytes(body_) : mutable_bytes(header_)).subspan(have_); }
  result<void> heard(std::size_t n) override {
    have_ += n;
    if (in_body_ && have_ == body_.size()) return refusal_;
    if (in_body_ || have_ != header_.size()) return {};
    auto const reply = rpc_reply::of(header_);
    if (!reply) return reply.error();
    if (reply->number != number_) return error(error_kind::malformed, "the Mooncake master answers another call than it was asked", 0, severity::connection);
    refusal_ = reply->refusal();
    body_.resize(reply->size);
    have_ = 0;
    in_body_ = true;
    return body_.empty() ? refusal_ : result<void>();
  }

  std::optional<rpc_request> request_;
  std::array<std::byte, reply_header> header_{};
  std::vector<std::byte> body_;
  result<void> refusal_{};
  std::uint32_t number_ = 0;
  std::size_t have_ = 0;
  bool in_body_ = false;
  net::exchange exchange_;  // ends before what it writes to
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
