// SPDX-License-Identifier: Apache-2.0
// The key as it is: what upstream's shared-memory and NIXL connectors put on the wire.
#pragma once

#include <cstddef>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/keying/concept.hpp>
#include <omniconn/keying/request_rule.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Leaves the key alone and ignores the edge: one key on two edges is one object, so callers make their keys unique themselves.
///
/// \threadsafety a value that calls do not change: all calls may run together. \copies none; the wire key is the caller's own bytes.
class raw_keying {
 public:
  struct options {
    /// `cleanup(request)` takes the object of exactly this key, as vLLM-Omni's shared memory does; false: also those that begin or end with it.
    bool exact_cleanup = false;
  };

  static constexpr std::string_view name = "raw";
  static constexpr bool injective = false;

  constexpr raw_keying() noexcept = default;
  constexpr explicit raw_keying(options const& o) noexcept : exact_(o.exact_cleanup) {}

  /// The caller's bytes. \lifetime as long as `key`'s.
  /// \errors `too_large`: longer than `max_key_size` or than `max`; a raw key is never shortened, the other side would not find it.
  result<wire_key> make(edge, std::string_view key, key_scratch&, std::size_t max) const noexcept {
    if (key.size() > max_key_size) [[unlikely]]
      return {error_kind::too_large, "the key is longer than 4096 bytes (omniconn::max_key_size); use a shorter key"};
    if (key.size() > max) [[unlikely]]
      return {error_kind::too_large,
              "the key is longer than the transport takes and raw keys are not shortened; use a shorter key or namespaced_keying"};
    return key;
  }

  /// \see key_of_request
  bool belongs(wire_key wire, std::string_view request) const noexcept { return exact_ ? wire == request : key_of_request(wire, request); }

 private:
  bool exact_ = false;
};

OMNICONN_END_NAMESPACE
