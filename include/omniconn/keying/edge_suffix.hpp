// SPDX-License-Identifier: Apache-2.0
// key@from_to and key:from_to: the wire keys of upstream's store and transfer-engine connectors.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/keying/concept.hpp>
#include <omniconn/keying/request_rule.hpp>

OMNICONN_BEGIN_NAMESPACE

/// `key`, the separator, `from`, an underscore, `to`. Byte-compatible with upstream and therefore neither escaped nor shortened, nor
/// injective: stages `a_b` → `c` and `a` → `b_c` share their wire keys. Keep `_` and the separator out of stage names.
///
/// \threadsafety a value without state: all calls may run together. \copies the key once, into the scratch.
template <char Separator>
class edge_suffix_keying {
  static constexpr std::array<char, 11> name_text{'k', 'e', 'y', Separator, 'f', 'r', 'o', 'm', '_', 't', 'o'};

 public:
  struct options {};

  static constexpr std::string_view name{name_text.data(), name_text.size()};
  static constexpr bool injective = false;

  constexpr edge_suffix_keying() noexcept = default;
  constexpr explicit edge_suffix_keying(options const&) noexcept {}

  /// \lifetime see key_scratch.
  /// \errors `too_large`: the key is longer than `max_key_size`, or all together longer than `max`; the other side, which may be
  /// upstream's, knows of no short form.
  result<wire_key> make(edge const& flow, std::string_view key, key_scratch& scratch, std::size_t max) const {
    if (key.size() > max_key_size) [[unlikely]]
      return {error_kind::too_large, "the key is longer than 4096 bytes (omniconn::max_key_size); use a shorter key"};
    std::size_t const size = key.size() + flow.from.size() + flow.to.size() + 2;
    if (size > max) [[unlikely]]
      return {error_kind::too_large,
              "key and stage names together are longer than the transport takes, and this wire format has no short form; "
              "use shorter names or namespaced_keying"};
    scratch.start(size);
    scratch.append(key);
    scratch.append({&separator, 1});
    scratch.append(flow.from);
    scratch.append({&underscore, 1});
    scratch.append(flow.to);
    return scratch.view();
  }

  /// The key part ends at the *last* separator: keys may contain it, stage names should not. A wire key without any was not made here.
  /// \see key_of_request
  bool belongs(wire_key wire, std::string_view request) const noexcept {
    std::size_t const end = wire.rfind(Separator);
    return end != wire_key::npos && key_of_request(wire.substr(0, end), request);
  }

 private:
  static constexpr char separator = Separator;
  static constexpr char underscore = '_';
};

/// `key@from_to`: Mooncake store, Mooncake, Mori and Yuanrong transfer engines.
using at_keying = edge_suffix_keying<'@'>;
/// `key:from_to`: Yuanrong store.
using colon_keying = edge_suffix_keying<':'>;

OMNICONN_END_NAMESPACE
