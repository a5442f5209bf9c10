// SPDX-License-Identifier: Apache-2.0
// What a connector makes of an object that its transport found: envelope and checksum are verified.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/envelope.hpp>
#include <omniconn/core/object.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// The payload's checksum, which a transport may have made while the payload came.
[[gnu::always_inline]] inline std::uint64_t sum_of_found(const_bytes payload, auto const& op) noexcept {
  if constexpr (requires { op.digest(); })
    if (auto const known = op.digest()) return *known;
  return checksum(payload);
}

/// Adds to `info` what the object says of itself, and finds out whether it is true. `begin`: what is in front of its payload. `Core`: of the connector.
template <class Core>
[[gnu::always_inline]] inline result<void> verify_found(Core const& c, object_info& info, const_bytes begin, const_bytes payload, auto const& op) noexcept {
  using serializer = std::remove_cvref_t<decltype(c.serializer)>;
  constexpr auto const& caps = std::remove_cvref_t<decltype(c.transport)>::caps;
  if constexpr (!caps.carries_info) {
    if (c.defaults.envelope) {
      auto const said = read_envelope(begin, begin.size() + payload.size());
      if (!said) return said.error();
      info = *said;
    } else if constexpr (requires { serializer::writes; }) {
      info.kind = serializer::writes;  // nothing says it: what this edge's serializer writes is what it reads
    }
  }
  if constexpr (caps.leaves_process)
    if (c.defaults.checksum && info.checksum_by == checksum_kind::xxh3_64 && sum_of_found(payload, op) != info.checksum)
      return error(error_kind::corrupt, "the payload's checksum is wrong: its bytes changed after the put");
  return {};
}

/// Makes views of what gets found.
struct found_opener {
  /// Size, envelope and checksum are verified. What is refused is given back. `landed`: memory that the object came to, if the transport asked for some
  template <class View, class Core>
  [[gnu::always_inline]] static result<View> open(Core const& c, auto& op, auto& landed) {
    constexpr auto const& caps = std::remove_cvref_t<decltype(c.transport)>::caps;
    auto out = result<View>::from([&]() noexcept { return View(op, landed, c.serializer); });
    auto& view = *out;
    const_bytes const all = view.bytes_;
    std::size_t const room = caps.carries_info ? 0 : all.size() < c.room() ? all.size() : c.room();
    auto const good = all.size() != view.info_.size ? result<void>(error_kind::corrupt, "the object has not as many bytes as its size says")
                                                     : verify_found(c, view.info_, all.first(room), all.subspan(room), op);
    view.bytes_ = all.subspan(room);
    if (!good) {
      view.give_back();
      out = good.error();
    }
    return out;
  }
};

}  // namespace detail

OMNICONN_END_NAMESPACE
