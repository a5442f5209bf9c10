// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// What all calls of one Mooncake store transport share: the master's address, the other engines, who sleeps, what was moved.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <poll.h>

#include <omniconn/config.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/bell.hpp>
#include <omniconn/detail/call_gate.hpp>
#include <omniconn/detail/net/exchange.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/detail/sleepers.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/mooncake/engine/initiator.hpp>
#include <omniconn/transport/mooncake/master.hpp>
#include <omniconn/transport/mooncake/store/rpc_call.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

inline uuid random_uuid() noexcept {
  uuid out{};
  for (std::size_t i = 0; i != out.size(); i += 8) {
    std::uint64_t const n = random_u64();
    std::memcpy(out.data() + i, &n, sizeof n);
  }
  return out;
}

struct session : call_gate {
  session(net::address const& where, net::line_limits const& limits, initiator::options engine, replicate_config config)
      : master(std::make_shared<net::line_pool>(where, limits, &served, this)), engines(with_bells(std::move(engine))), replication(std::move(config)) {}

  std::shared_ptr<net::line_pool> const master;
  initiator engines;
  replicate_config const replication;
  caller self{random_uuid()};
  bool replace_in_place = false, force_remove = true;
  std::int64_t longest_pause_ns = 50'000'000;

  std::atomic<std::uint64_t> puts{0}, put_bytes{0}, gets{0}, get_bytes{0};

  // --- who sleeps -------------------------------------------------------------------------------------------------------------------

  /// A thread in `wait`. Others ring where what it waits for may have ended without its descriptors: a cancel, a close, a connection that became free.
  class sleeper {
   public:
    explicit sleeper(session& s) : session_(s), bell_(s.lie_down()) {}
    sleeper(sleeper const&) = delete;
    sleeper& operator=(sleeper const&) = delete;
    ~sleeper() {
      std::scoped_lock const lock(session_.sleepers_mutex_);
      session_.sleepers_.leave(bell_);
    }
    [[nodiscard]] bell const& own() const noexcept { return bell_; }

   private:
    session& session_;
    bell const& bell_;
  };
  void ring_all() {
    std::scoped_lock const lock(sleepers_mutex_);
    sleepers_.ring_all();
  }

  // --- payloads that came back ------------------------------------------------------------------------------------------------------

  void give_back(outgoing const& out) {
    if (out.dispose != nullptr) return out.dispose(out.token);
    std::scoped_lock const lock(returned_mutex_);
    returned_.push_back(out.token);
  }
  [[nodiscard]] std::vector<std::uint64_t> take_returned() {
    std::scoped_lock const lock(returned_mutex_);
    return std::exchange(returned_, {});
  }

  // --- calls without an operation ---------------------------------------------------------------------------------------------------

  /// Asks the master and waits for the answer, for `limit_ns` at most.
  result<std::vector<std::byte>> ask(rpc_request request, std::int64_t limit_ns = 5'000'000'000) const {
    return ask_even_closed(std::move(request), limit_ns, &closed);
  }
  /// The same for what is tidied up after `close`.
  result<std::vector<std::byte>> ask_even_closed(rpc_request request, std::int64_t limit_ns, std::atomic<bool> const* given_up = nullptr) const {
    rpc_call call;
    call.begin(master, std::move(request));
    if (auto const done = finish(call, limit_ns, given_up); !done) return done.error();
    auto const reply = call.reply();
    return std::vector<std::byte>(reply.begin(), reply.end());
  }
  /// Drives an exchange to its end, for `limit_ns` at most.
  template <class Exchange>
  static result<void> finish(Exchange& e, std::int64_t limit_ns, std::atomic<bool> const* given_up = nullptr) {
    std::int64_t const end = deadline::now_ns() + limit_ns;
    for (auto now = e.step();; now = e.step()) {
      if (!now) return now.error();
      if (*now != progress::pending) return {};
      std::int64_t const at = deadline::now_ns(), until = end < e.look_again_ns() ? end : e.look_again_ns();
      if (given_up != nullptr && given_up->load()) return closed_error();
      if (at >= end) return error(error_kind::peer_stalled, "the other end does not answer", 0, severity::connection);
      auto p = e.interest();
      std::int64_t const ms = p.fd < 0 ? 1 : until <= at ? 0 : (until - at) / 1'000'000 + 1;
      static_cast<void>(::poll(&p, 1, static_cast<int>(given_up != nullptr && ms > 50 ? 50 : ms)));  // nobody rings here
    }
  }

  /// That the master is of the release that we know. Its version text is the same for several that are not.
  [[nodiscard]] result<void, diagnosis> check_release() const {
    auto const ready = ask(service_ready());
    if (!ready) return diagnosis(ready.error());
    auto const version = read_text(*ready);
    if (!version) return diagnosis(version.error());
    // A key that nobody has: the arguments of this call differ between releases.
    auto const asked = ask(exist_key(self, "omniconn-release-check"));
    auto const answer = asked ? read_flag(*asked) : result<bool>(asked.error());
    if (answer || answer.error().kind() == error_kind::not_found) return {};
    if (answer.error().kind() != error_kind::version_mismatch) return diagnosis(answer.error());
    return diagnosis(error_kind::version_mismatch,
                     "the Mooncake master, which says that it is version " + *version + ", speaks another wire than release 0.3.13.post1, the one that this library was tested with; run that release", answer.error().native());
  }

 private:
  static void served(void* self) noexcept { static_cast<session*>(self)->ring_all(); }
  bell const& lie_down() {
    std::scoped_lock const lock(sleepers_mutex_);
    return sleepers_.enter();
  }
  initiator::options with_bells(initiator::options engine) noexcept {
    engine.served = &served;
    engine.whom = this;
    return engine;
  }

  std::mutex sleepers_mutex_, returned_mutex_;
  sleepers sleepers_;
  std::vector<std::uint64_t> returned_;
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
