// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// The side of Mooncake's transfer engine that begins transfers: it learns where other engines listen, and reads and writes their memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <poll.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/net/endpoint.hpp>
#include <omniconn/detail/net/exchange.hpp>
#include <omniconn/detail/net/http.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/mooncake/engine/descriptor.hpp>
#include <omniconn/transport/mooncake/engine/frames.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

/// The engines that we transfer to and from, by the names of their segments, with the connections to them. \threadsafety every call.
class initiator {
 public:
  struct options {
    std::optional<net::http_url> metadata{};  ///< who knows where segments are; none: their names are addresses, and they say it themselves
    net::line_limits lines{};                 ///< of each engine
    void (*served)(void*) noexcept = nullptr;  ///< see net::line_pool
    void* whom = nullptr;
  };
  /// An engine, and the connections on which its memory is read and written.
  struct route {
    engine_descriptor about;
    std::shared_ptr<net::line_pool> lines;
  };

  explicit initiator(options o) : options_(std::move(o)) {}

  [[nodiscard]] options const& how() const noexcept { return options_; }
  [[nodiscard]] std::shared_ptr<route const> known(std::string_view segment) const {
    std::scoped_lock const lock(mutex_);
    auto const at = routes_.find(segment);
    return at == routes_.end() ? nullptr : at->second;
  }
  void forget(std::string_view segment) {
    std::scoped_lock const lock(mutex_);
    if (auto const at = routes_.find(segment); at != routes_.end()) routes_.erase(at);
  }
  /// \errors `malformed`, `unreachable`: it names no host that there is
  result<std::shared_ptr<route const>> learn(std::string_view segment, engine_descriptor about) {
    std::string host = about.data_host;
    if (host.empty()) {
      auto const named = net::parse_endpoint(segment);
      if (!named) return error(error_kind::malformed, "a storage node does not say where it listens");
      host = named->host;
    }
    net::endpoint const where{std::move(host), about.data_port};
    auto lines = pool_at(where, options_.lines);
    if (!lines) return lines.error();
    auto out = std::make_shared<route const>(route{std::move(about), std::move(*lines)});
    std::scoped_lock const lock(mutex_);
    routes_.insert_or_assign(std::string(segment), out);
    return out;
  }
  /// Where a segment is asked for: one connection for each question.
  result<std::shared_ptr<net::line_pool>> desk_of(std::string_view segment) {
    net::line_limits once = options_.lines;
    once.keep = false;
    if (options_.metadata) return pool_at(options_.metadata->where, once);
    auto const where = net::parse_endpoint(segment);
    if (!where) return error(error_kind::misconfigured, "the name of a storage node's segment is no address, as it is where metadata_server is P2PHANDSHAKE on both sides; set the metadata server that the node uses");
    return pool_at(*where, once);
  }
  /// Connections made for transfers so far.
  [[nodiscard]] std::uint64_t opened() const {
    std::scoped_lock const lock(mutex_);
    std::uint64_t sum = 0;
    for (auto const& [where, pool] : pools_) sum += pool->opened();
    return sum;
  }

 private:
  result<std::shared_ptr<net::line_pool>> pool_at(net::endpoint const& where, net::line_limits const& limits) {
    std::string const name = (limits.keep ? "" : "ask ") + where.text();
    {
      std::scoped_lock const lock(mutex_);
      if (auto const at = pools_.find(name); at != pools_.end()) return at->second;
    }
    auto const address = net::resolve(where);  // with no lock held: it may take its time
    if (!address) return address.error();
    std::scoped_lock const lock(mutex_);
    return pools_.try_emplace(name, std::make_shared<net::line_pool>(*address, limits, options_.served, options_.whom)).first->second;
  }

  options const options_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<route const>, std::less<>> routes_;
  std::map<std::string, std::shared_ptr<net::line_pool>, std::less<>> pools_;
};

/// One read or write of another engine's memory. Driven by its owner, one thread at a time; it never sleeps, and does not move while it is under way.
class transfer {
 public:
  /// Both begin; `step` says how it goes. The bytes stay until the end.
  void write(initiator& from, std::string_view segment, std::uint64_t address, pieces bytes, std::uint64_t size) {
    moves_.write(address, bytes, size);
    begin(from, segment);
  }
  void read(initiator& from, std::string_view segment, std::uint64_t address, std::span<mutable_bytes const> to) {
    moves_.read(address, to);
    begin(from, segment);
  }

  result<progress> step() {
    for (;;) {
      if (!ready_) return ready_.error();
      if (asking_ && exchange_.in_line())  // others ask the same before us
        if (auto const route = home_->known(segment_)) {
          exchange_.abandon();
          asking_ = false;
          exchange_.begin(route->lines, moves_);
        }
      auto const now = exchange_.step();
      if (now && *now == progress::pending) return now;
      if (asking_) {
        if (!now) return now;
        ready_ = learnt();
      } else {
        if (now || fresh_ || now == error_kind::peer_stalled) return now;
        in_flight_ = exchange_.in_flight();
        // What was known of the engine may be of its life before.
        home_->forget(segment_);
        ready_ = ask();
      }
    }
  }
  [[nodiscard]] pollfd interest() const noexcept { return exchange_.interest(); }
  [[nodiscard]] std::int64_t look_again_ns() const noexcept { return exchange_.look_again_ns(); }
  /// Nothing is read or written any more.
  void abandon() noexcept { exchange_.abandon(); }
  /// The same, and waits until the other engine has nothing of a write left to read, for `limit_ns` at most.
  void hang_up(std::int64_t limit_ns) noexcept { asking_ ? exchange_.abandon() : exchange_.hang_up(limit_ns); }
  /// Whether the other engine may still write what it was sent: it did not answer, and we do not know that it is gone.
  [[nodiscard]] bool in_flight() const noexcept { return in_flight_ || (!asking_ && exchange_.in_flight()); }

 private:
  void begin(initiator& from, std::string_view segment) {
    home_ = &from;
    segment_ = segment;
    in_flight_ = false;
    if (auto const route = from.known(segment)) {
      ready_ = {};
      fresh_ = asking_ = false;
      exchange_.begin(route->lines, moves_);
    } else {
      ready_ = ask();
    }
  }
  result<void> ask() {
    fresh_ = asking_ = true;
    auto const desk = home_->desk_of(segment_);
    if (!desk) return desk.error();
    if (auto const& url = home_->how().metadata) {
      question_.http.emplace("GET", *url, "key=" + net::percent_encoded("mooncake/ram/" + segment_));
      exchange_.begin(*desk, *question_.http);
    } else {
      question_.engine.emplace(engine_descriptor{}.to_json());
      exchange_.begin(*desk, *question_.engine);
    }
    return {};
  }
  /// Begins the transfer itself.
  result<void> learnt() {
    asking_ = false;
    if (question_.http && question_.http->status() != 200)
      return error(error_kind::unreachable, "the metadata server does not know the storage node's segment; the node is gone, or uses another metadata server", question_.http->status(), severity::connection);
    auto about = engine_descriptor::parse(question_.http ? question_.http->body() : question_.engine->json());
    question_ = {};
    if (!about) return about.error();
    auto const route = home_->learn(segment_, std::move(*about));
    if (!route) return route.error();
    exchange_.begin((*route)->lines, moves_);
    return {};
  }

  initiator* home_ = nullptr;
  std::string segment_;
  transfer_dialogue moves_;
  struct {
    std::optional<net::http_dialogue> http;
    std::optional<handshake_dialogue> engine;
  } question_;
  result<void> ready_{};
  net::exchange exchange_;  // ends before what it writes to
  bool asking_ = false, fresh_ = false, in_flight_ = false;
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
