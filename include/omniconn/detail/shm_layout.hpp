// SPDX-License-Identifier: Apache-2.0
// Which layout `SharedMemoryConnector` means: the words for it, and what OMNICONN_SHM_LAYOUT says. One place for the loader and the factory.
#pragma once

#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/runtime/env.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

inline constexpr std::string_view shm_layout_ours = "omniconn";
inline constexpr std::string_view shm_layout_upstream = "upstream";

constexpr bool is_shm_layout(std::string_view word) noexcept { return word == shm_layout_ours || word == shm_layout_upstream; }

/// The layout where neither the options nor the loader's caller say one: OMNICONN_SHM_LAYOUT, else upstream's. Another word is `misconfigured`.
inline result<std::string_view, diagnosis> shm_layout_of_environment(env_lookup env) {
  char const* const set = env("OMNICONN_SHM_LAYOUT");
  std::string_view const word = set == nullptr ? "" : set;
  if (word == shm_layout_ours) return shm_layout_ours;
  if (word.empty() || word == shm_layout_upstream) return shm_layout_upstream;
  return diagnosis(error_kind::misconfigured,
                   "OMNICONN_SHM_LAYOUT is " + in_quotes(word) + "; set it to omniconn (no Python stage takes part) or upstream, or unset it");
}

}  // namespace detail

OMNICONN_END_NAMESPACE
