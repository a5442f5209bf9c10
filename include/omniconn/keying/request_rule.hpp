// SPDX-License-Identifier: Apache-2.0
// The rule by which cleanup finds the keys of one request.
#pragma once

#include <string_view>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

/// True where `key` belongs to `request`: it is the request's name, begins with `request_` or ends with `_request`. So one call cleans up
/// the payload (`r`), its chunks (`r_0_7`) and what was derived from it (`kv_cache_r`), and never touches request `r1` for `r`.
/// The empty request is no special case: it owns the empty key and keys that begin or end with `_`.
constexpr bool key_of_request(std::string_view key, std::string_view request) noexcept {
  if (key.size() <= request.size()) return key == request;
  return (key[request.size()] == '_' && key.starts_with(request)) ||
         (key[key.size() - request.size() - 1] == '_' && key.ends_with(request));
}

OMNICONN_END_NAMESPACE
