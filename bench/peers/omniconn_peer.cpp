// SPDX-License-Identifier: Apache-2.0
// Ours: --checksum as by default, without it off; --reserve: the producer writes in place before the time begins, and commits; --grow: the same of an object that was announced before.
#include "peer.hpp"

#include <algorithm>
#include <chrono>
#include <memory>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/growing.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/shm.hpp>
#include <omniconn/version.hpp>

namespace {

using namespace omniconn;
using composed = connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>;

constexpr edge flow{"producer", "consumer"};

class ours : public peers::peer_defaults {
 public:
  explicit ours(peers::end_of_pair& e) : end_(e), checksum_(e.has("--checksum")), reserves_(e.has("--reserve")), grows_(e.has("--grow")) {}

  static std::string about() {
    return "omniconn " + std::to_string(OMNICONN_VERSION_MAJOR) + "." + std::to_string(OMNICONN_VERSION_MINOR) + "." + std::to_string(OMNICONN_VERSION_PATCH);
  }
  static bool can(peers::waiting) { return true; }

  void begin(peers::job const& j) {
    std::size_t const which = static_cast<std::size_t>(end_.producing() ? peers::waiting::hybrid : j.wait);  // a producer has nothing to wait for: the default
    if (open_[which] == nullptr) open_[which] = std::make_unique<composed>(open(which));
    mine_ = open_[which].get();
  }
  void prepare(std::string_view key, peers::const_bytes payload) {
    if (grows_) return grow(key, payload);
    if (!reserves_) return;
    room_ = mine_->reserve(payload.size());
    if (!room_) throw std::runtime_error("reserve: " + room_.error().message());
    std::memcpy(room_->bytes().data(), payload.data(), payload.size());
  }
  void put(std::string_view key, peers::const_bytes payload) {
    auto const done = grows_ ? growing_.commit() : reserves_ ? mine_->commit(flow, key, std::move(*room_)) : mine_->put(flow, key, const_bytes(payload));
    if (!done) throw std::runtime_error("put: " + done.error().message());
  }
  peers::const_bytes get(std::string_view key, std::size_t) {
    auto got = mine_->get_view(flow, key, {deadline::after(std::chrono::seconds(peers::patience_s))});
    if (!got) throw std::runtime_error("get: " + got.error().message());
    view_ = std::move(*got);
    return view_->bytes();
  }
  void clean(std::string_view) { view_.reset(); }

 private:
  /// Written in place, too, but its reader may begin.
  void grow(std::string_view key, peers::const_bytes payload) {
    constexpr std::size_t step = std::size_t{64} << 10U;
    auto begun = put_growing(*mine_, flow, key, payload.size());
    if (!begun) throw std::runtime_error("put_growing: " + begun.error().message());
    growing_ = std::move(*begun);
    for (std::size_t at = 0; at != payload.size();) {
      std::size_t const now = std::min(step, payload.size() - at);
      std::memcpy(growing_.bytes().data() + at, payload.data() + at, now);
      at += now;
      if (auto const told = growing_.advance(at); !told) throw std::runtime_error("advance: " + told.error().message());
    }
  }

  composed open(std::size_t wait) const {
    composed::options o;
    o.transport.space = end_.space;
    o.transport.spin = std::array<std::chrono::nanoseconds, 3>{std::chrono::minutes(10), std::chrono::nanoseconds(-1), std::chrono::nanoseconds(0)}[wait];
    o.defaults.checksum = checksum_;
    auto c = composed::open(o);
    if (!c) throw std::runtime_error("open: " + c.error().message());
    return std::move(*c);
  }

  peers::end_of_pair& end_;
  bool checksum_;
  bool reserves_;
  bool grows_;
  std::array<std::unique_ptr<composed>, 3> open_;
  composed* mine_ = nullptr;
  result<composed::reservation> room_{error_kind::closed, "nothing reserved"};
  growing_put<composed> growing_;
  std::optional<composed::view> view_;
};

}  // namespace

int main(int argc, char** argv) { return peers::run<ours>(argc, argv); }
