// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// The operations of sealed memory, a consumer's connection to one producer, and its hold on an object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/locator.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_sealed/channel.hpp>
#include <omniconn/transport/shm_sealed/folder.hpp>
#include <omniconn/transport/shm_sealed/memory.hpp>
#include <omniconn/transport/shm_sealed/protocol.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::sealed {

class desk;
struct endpoint;

/// What a locator holds: one object of one producer, neither ever used again.
struct place {
  std::uint64_t producer = 0;
  std::uint64_t generation = 0;
};

/// A connection to a producer. Holds share it: their ends are told on it, also when the transport is gone.
struct link {
  explicit link(std::string n) : name(std::move(n)), id(id_of_name(name)) {}

  channel line;
  std::string name;  ///< of its socket
  peer who;
  std::uint64_t id;  ///< of the producer
  bool greeted = false;
  bool left = false;       ///< said that it goes
  bool awaits_room = false;  ///< our desk listens for room on the line
  bool dropped = false;    ///< by us: its line is closed or not listened to any more
  std::vector<std::string> stages;  ///< that it puts for
  std::uint64_t ping = 0;  ///< that was not answered yet

  [[nodiscard]] bool puts_for(std::string_view stage) const noexcept {
    for (auto const& s : stages)
      if (s == stage) return true;
    return false;
  }
};

/// A reader's claim on an object. A process that dies with one gives it back: its connection ends.
class sealed_hold {
 public:
  sealed_hold() noexcept = default;
  sealed_hold(std::shared_ptr<link> from, std::uint64_t id, sealed_bytes bytes) noexcept : from_(std::move(from)), id_(id), bytes_(std::move(bytes)) {}
  sealed_hold(sealed_hold&& other) noexcept = default;
  sealed_hold& operator=(sealed_hold&& other) noexcept {
    if (this != &other) {
      finish(disposition::give_back);
      from_ = std::move(other.from_);
      id_ = other.id_;
      bytes_ = std::move(other.bytes_);
    }
    return *this;
  }
  ~sealed_hold() { finish(disposition::give_back); }

  /// The producer's memory, which nobody can change; valid until `finish`, whatever becomes of the producer. Small objects are a copy.
  [[nodiscard]] const_bytes bytes() const noexcept { return bytes_.get(); }
  void finish(disposition how) noexcept {
    if (from_ == nullptr) return;
    message m;
    m.type = message_type::end;
    m.id = id_;
    m.flag = how == disposition::consumed ? 1 : 0;
    from_->line.send_patiently(m);  // a producer that is gone needs no news
    from_.reset();
    bytes_ = sealed_bytes();
  }
  void populate() const noexcept { bytes_.populate(); }

 private:
  std::shared_ptr<link> from_;
  std::uint64_t id_ = 0;
  sealed_bytes bytes_;
};

/// What tells puts from gets in `wait`.
struct sealed_operation : operation {
  bool is_get_ = false;
};

struct put_operation : sealed_operation {
  enum class state : std::uint8_t { idle, begun, done, failed };
  ~put_operation();
  /// Where the object is, once `commit` is done; empty before.
  [[nodiscard]] locator where() const noexcept { return where_; }

  state now_ = state::idle;
  error failure_{error_kind::misconfigured, "the put was never begun"};
  endpoint* owner_ = nullptr;
  std::string key_;
  std::vector<const_bytes> parts_;
  outgoing out_;
  std::vector<std::string> named_;
  std::uint32_t readers_ = 1;
  bool replaces_ = false;
  locator where_;
};

/// A get. From `find` on it belongs to its desk's lock.
struct get_operation : sealed_operation {
  enum class state : std::uint8_t { idle, looking, found, taken, failed };
  /// A producer that was asked.
  struct ask {
    std::shared_ptr<link> whom;
    std::int64_t since_ns;
    bool sent, answered;
  };

  get_operation() noexcept { is_get_ = true; }
  ~get_operation();
  [[nodiscard]] object_info info() const noexcept { return info_; }
  [[nodiscard]] locator where() const noexcept { return where_; }
  /// The claim of a get that is done; empty otherwise and the second time.
  [[nodiscard]] sealed_hold take() noexcept {
    if (now_ != state::found) return {};
    now_ = state::taken;
    hold_.populate();
    return std::move(hold_);
  }
  error fail(error e) noexcept {
    failure_ = e;
    now_ = state::failed;
    return e;
  }

  state now_ = state::idle;
  error failure_{error_kind::misconfigured, "the get was never started"};
  desk* desk_ = nullptr;
  std::uint64_t id_ = 0;
  std::string key_, reader_, stage_;
  place wanted_;  ///< generation 0: any
  bool waits_ = true;
  bool refused_ = false;         ///< by a producer, with `failure_`; others may still have the object
  bool sender_refused_ = false;  ///< and that one puts for the get's edge
  std::int64_t begun_ns_ = 0;  ///< as long as nobody has waited for it
  std::vector<ask> asks_;
  object_info info_;
  locator where_;
  sealed_hold hold_;
};

}  // namespace detail::sealed

OMNICONN_END_NAMESPACE
