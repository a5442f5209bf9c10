// SPDX-License-Identifier: Apache-2.0
// The smallest model of transport_policy: everything the contract asks for and nothing else. It moves nothing and says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <omniconn/transport/concept.hpp>

namespace archetype {

using omniconn::error;
using omniconn::error_kind;
using omniconn::operation;
using omniconn::progress;
using omniconn::result;

inline constexpr error cannot{error_kind::unsupported, "an archetype moves nothing"};

/// Move-only, as every hold.
class hold {
 public:
  hold() = default;
  hold(hold&&) = default;
  hold& operator=(hold&&) = default;
  omniconn::const_bytes bytes() const noexcept { return {}; }
  void finish(omniconn::disposition) noexcept {}
};

class transport {
 public:
  static constexpr omniconn::capabilities caps{.name = "archetype"};
  struct options {};
  using hold = archetype::hold;
  class put_op : public operation {
   public:
    omniconn::locator where() const noexcept { return {}; }
  };
  class get_op : public operation {
   public:
    omniconn::object_info info() const noexcept { return {}; }
    omniconn::locator where() const noexcept { return {}; }
    hold take() noexcept { return {}; }
  };

  static result<transport, omniconn::diagnosis> open(options const&) { return transport(); }
  transport(transport&&) = default;
  transport& operator=(transport&&) = default;

  omniconn::memory_region memory() noexcept { return {}; }
  result<omniconn::memory_region> grow(std::size_t) { return cannot; }
  std::size_t reclaim(omniconn::reclaim_sink) { return 0; }

  result<progress> begin(put_op&, omniconn::wire_key, omniconn::outgoing, omniconn::object_info, omniconn::publish_options const&) {
    return cannot;
  }
  void advance(put_op&, std::uint64_t) noexcept {}
  result<progress> commit(put_op&, omniconn::object_info) { return cannot; }
  void abort(put_op&) noexcept {}

  result<progress> find(get_op&, omniconn::wire_key, omniconn::find_options const&) { return cannot; }
  result<progress> land(get_op&, omniconn::mutable_pieces) { return cannot; }

  result<progress> step(put_op&) { return cannot; }
  result<progress> step(get_op&) { return cannot; }
  result<std::size_t> wait(std::span<operation* const>, omniconn::deadline, omniconn::stop_token) { return cannot; }
  result<progress> cancel(put_op&) { return progress::done; }
  result<progress> cancel(get_op&) { return progress::done; }

  result<std::size_t> erase(omniconn::wire_key) { return cannot; }
  result<std::size_t> erase_if(omniconn::function_ref<bool(omniconn::wire_key)>) { return cannot; }
  result<bool> exists(omniconn::wire_key) { return cannot; }
  omniconn::value describe(omniconn::locator const&) const { return {}; }
  result<omniconn::locator> parse(omniconn::value const&) const { return cannot; }
  omniconn::health_report report() const { return {}; }
  void close() noexcept {}

 private:
  transport() = default;
};

}  // namespace archetype
