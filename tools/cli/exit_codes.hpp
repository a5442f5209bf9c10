// SPDX-License-Identifier: Apache-2.0
// Exit codes are an interface: docs/tool.md has this table, scripts branch on it.
#pragma once

#include <omniconn/core/error.hpp>

namespace tool {

inline constexpr int exit_success = 0;
inline constexpr int exit_usage = 2;

/// One code per kind, from 3 on. \see docs/tool.md
constexpr int exit_code(omniconn::error_kind kind) noexcept { return exit_usage + static_cast<int>(kind); }

static_assert(omniconn::error_kind_count == 23, "a new kind needs a line here and in docs/tool.md");
static_assert(exit_code(omniconn::error_kind::not_found) == 3);
static_assert(exit_code(omniconn::error_kind::timed_out) == 4);
static_assert(exit_code(omniconn::error_kind::cancelled) == 5);
static_assert(exit_code(omniconn::error_kind::already_exists) == 6);
static_assert(exit_code(omniconn::error_kind::consumed) == 7);
static_assert(exit_code(omniconn::error_kind::aborted) == 8);
static_assert(exit_code(omniconn::error_kind::lost) == 9);
static_assert(exit_code(omniconn::error_kind::stale_handle) == 10);
static_assert(exit_code(omniconn::error_kind::lease_expired) == 11);
static_assert(exit_code(omniconn::error_kind::peer_stalled) == 12);
static_assert(exit_code(omniconn::error_kind::peer_lost) == 13);
static_assert(exit_code(omniconn::error_kind::unreachable) == 14);
static_assert(exit_code(omniconn::error_kind::corrupt) == 15);
static_assert(exit_code(omniconn::error_kind::malformed) == 16);
static_assert(exit_code(omniconn::error_kind::too_large) == 17);
static_assert(exit_code(omniconn::error_kind::no_space) == 18);
static_assert(exit_code(omniconn::error_kind::quota_exceeded) == 19);
static_assert(exit_code(omniconn::error_kind::unauthorized) == 20);
static_assert(exit_code(omniconn::error_kind::version_mismatch) == 21);
static_assert(exit_code(omniconn::error_kind::closed) == 22);
static_assert(exit_code(omniconn::error_kind::misconfigured) == 23);
static_assert(exit_code(omniconn::error_kind::unsupported) == 24);
static_assert(exit_code(omniconn::error_kind::io) == 25);

}  // namespace tool
