// SPDX-License-Identifier: Apache-2.0
// omniconn-part: sealed
// Shared memory between processes that do not trust each other: sealed, passed by descriptor, gone with its producer. docs/transports/shm_sealed.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_sealed/desk_calls.hpp>
#include <omniconn/transport/shm_sealed/desk_look.hpp>
#include <omniconn/transport/shm_sealed/publish.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Objects lie in memory that the kernel keeps anybody from changing, cutting or growing; readers get a descriptor of it and read in place.
///
/// A put copies its pieces once, from any memory. Each producer keeps its own objects and answers for them with a thread, started by its first put,
/// that sleeps in `poll` with all signals blocked; a consumer has none. Keys are the producer's own: two producers may have objects of the same key,
/// and a get takes either. Objects end with the transport that put them; a view stays readable. \threadsafety every call.
class shm_sealed_transport {
 public:
  struct options {
    std::string space{};      ///< who shares objects; empty: OMNICONN_NAMESPACE, else "default"
    std::string directory{};  ///< where producers and consumers meet; empty: OMNICONN_SHM_DIRECTORY, else "/dev/shm"
    std::string reader = "default";  ///< the name of gets that do not bring one
    /// Other users who may ask us for objects, and whose objects we take; they need to name us as well. Empty: only our own user.
    std::vector<std::uint32_t> allow_users{};
  };

  static constexpr capabilities caps{.name = "shm_sealed",
                                     .wait = wake_up::notify,
                                     .survives = survival::producer,
                                     .max_readers = detail::sealed::max_readers,
                                     .max_pieces = UINT32_MAX,
                                     .gathers = true,
                                     .leaves_process = true,
                                     .zero_copy_get = true,
                                     .hears_death = true,
                                     .shared_keys = false};

  using hold = detail::sealed::sealed_hold;
  using put_op = detail::sealed::put_operation;
  using get_op = detail::sealed::get_operation;

  /// \requires no operation of the transport is unfinished, as for its destruction.
  shm_sealed_transport(shm_sealed_transport&&) noexcept = default;
  shm_sealed_transport& operator=(shm_sealed_transport&& other) noexcept {
    if (this != &other) {
      close();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~shm_sealed_transport() { close(); }

  /// \errors `misconfigured`: the directory is none; `unauthorized`: its folder is another user's, a link, or open to the wrong people.
  [[nodiscard]] static result<shm_sealed_transport, diagnosis> open(options const& o) {
    if (o.reader.size() > detail::sealed::max_name) return diagnosis(error_kind::misconfigured, "reader is longer than 255 bytes; give a shorter name");
    auto place = detail::sealed::meeting_place::open(given(o.directory, "OMNICONN_SHM_DIRECTORY", "/dev/shm"), given(o.space, "OMNICONN_NAMESPACE", "default"), o.allow_users);
    if (!place) return std::move(place.error());
    return shm_sealed_transport(std::make_unique<detail::sealed::endpoint>(std::move(*place), o.reader));
  }

  /// The folder in which the sockets of this namespace lie. The last one out removes it, unless it is one for several users.
  [[nodiscard]] std::string folder() const { return state_ == nullptr ? std::string() : state_->place.path(); }

  // --- memory: any memory will do ---------------------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept { return {}; }
  result<memory_region> grow(std::size_t) { return {error_kind::unsupported, "sealed memory is made by each put; send from any memory"}; }
  std::size_t reclaim(reclaim_sink sink) {
    if (state_ == nullptr || state_->inherited()) return 0;
    std::vector<std::uint64_t> home;
    {
      std::scoped_lock const lock(state_->returned_mutex);
      home.swap(state_->returned);
    }
    for (auto const token : home) sink(token);
    return home.size();
  }

  // --- put --------------------------------------------------------------------------------------------------------------------------

  result<progress> begin(put_op& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::sealed::begin_put(e, op, key, out, info, o); });
  }
  void advance(put_op&, std::uint64_t) noexcept {}
  result<progress> commit(put_op& op, object_info const& info) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::sealed::commit_put(e, op, info); });
  }
  void abort(put_op& op) noexcept { detail::sealed::abort_put(op); }

  // --- get --------------------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) { return e.consumer.find(op, key, o, e.reader); });
  }
  result<progress> land(get_op&, mutable_pieces) { return {error_kind::misconfigured, "sealed memory needs no landing: find ends with the bytes in place"}; }

  // --- drive ------------------------------------------------------------------------------------------------------------------------

  result<progress> step(put_op& op) {
    using state = put_op::state;
    if (op.now_ == state::begun || op.now_ == state::done) return progress::done;
    return op.failure_;
  }
  result<progress> step(get_op& op) {
    if (state_ == nullptr || state_->inherited()) return detail::closed_error();
    return state_->consumer.step(op);
  }
  result<progress> cancel(put_op& op) {
    detail::sealed::abort_put(op);
    return progress::done;
  }
  result<progress> cancel(get_op& op) {
    if (state_ != nullptr && !state_->inherited()) state_->consumer.cancel(op);
    return progress::done;
  }
  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token stop) {
    return detail::inside(state_.get(), [&](auto& e) { return e.consumer.wait(ops, until, stop); });
  }

  // --- administration: these three ask the other producers, and wait for their answers for a second at most ---------------------------

  /// \errors `peer_stalled`: a producer did not answer.
  result<std::size_t> erase(wire_key key) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (key.size() > max_key_size) return std::size_t{0};
    std::size_t const own = state_->objects.erase(key);
    auto const others = state_->consumer.count(detail::sealed::message_type::erase, key, state_->objects.id());
    if (!others) return others.error();
    return own + static_cast<std::size_t>(*others) != 0 ? std::size_t{1} : std::size_t{0};
  }
  /// \errors `peer_stalled`: a producer did not answer; those before it did.
  result<std::size_t> erase_if(function_ref<bool(wire_key)> match) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    std::size_t const own = state_->objects.erase_if(match);
    auto const others = state_->consumer.erase_if(match, state_->objects.id());
    if (!others) return others;
    return own + *others;
  }
  /// \errors `peer_stalled`: nobody said yes, and a producer did not answer.
  result<bool> exists(wire_key key) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (key.size() > max_key_size) return false;
    if (state_->objects.exists(key)) return true;
    auto const others = state_->consumer.count(detail::sealed::message_type::exists, key, state_->objects.id());
    if (!others) return others.error();
    return *others != 0;
  }

  [[nodiscard]] value describe(locator const& l) const {
    auto const at = l.unpack<detail::sealed::place>(locator_tag::shm_sealed);
    if (!at) return {};
    return value::object({{"transport", "shm_sealed"}, {"producer", at->producer}, {"generation", at->generation}});
  }
  /// \errors `malformed`
  [[nodiscard]] result<locator> parse(value const& metadata) const {
    value const* const name = metadata.find("transport");
    value const* const producer = metadata.find("producer");
    value const* const generation = metadata.find("generation");
    constexpr auto wrong = "metadata of sealed memory has transport: shm_sealed, producer and generation; get by key alone";
    if (name == nullptr || name->if_string() == nullptr || *name->if_string() != "shm_sealed" || producer == nullptr || generation == nullptr) return {error_kind::malformed, wrong};
    auto const p = producer->as_uint64(), g = generation->as_uint64();
    if (!p || !g) return {error_kind::malformed, wrong};
    return locator::pack(locator_tag::shm_sealed, detail::sealed::place{*p, *g});
  }

  /// `objects` and `memory` count what this transport put and nobody took yet. `peers` are the consumers that it serves, the producers that it knows,
  /// and, not alive, who was turned away or is not spoken to, with the reason.
  [[nodiscard]] health_report report() const {
    health_report out;
    detail::call const entered(state_.get());
    if (!entered) {
      out.status = health_status::closed;
      out.why = "closed";
      return out;
    }
    auto const seen = state_->objects.look();
    auto const got = state_->consumer.moved();
    out.moved = {state_->puts.load(), state_->put_bytes.load(), got.gets, got.get_bytes};
    out.objects.used = seen.objects;
    out.memory.used = seen.bytes;
    for (auto const& p : seen.served) out.peers.push_back({"consumer (" + p.text() + ")", true});
    for (auto const& text : seen.turned_away) out.peers.push_back({"consumer (" + text + ")", false});
    state_->consumer.describe(out.peers);
    return out;
  }

  void close() noexcept {
    if (state_ == nullptr || !state_->shut()) return;
    if (state_->inherited()) return;  // all of it is the parent's
    state_->consumer.close();
    state_->wait_until_empty();
    state_->objects.close();
    state_->place.leave();
  }

 private:
  explicit shm_sealed_transport(std::unique_ptr<detail::sealed::endpoint> s) noexcept : state_(std::move(s)) {}

  static std::string given(std::string const& option, char const* variable, char const* fallback) {
    if (!option.empty()) return option;
    char const* const set = std::getenv(variable);
    return set != nullptr && *set != '\0' ? set : fallback;
  }

  std::unique_ptr<detail::sealed::endpoint> state_;
};

OMNICONN_END_NAMESPACE
