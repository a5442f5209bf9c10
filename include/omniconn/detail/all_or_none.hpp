// SPDX-License-Identifier: Apache-2.0
// A failed get of several keys consumes nothing, however it fails.
#pragma once

#include <cstddef>
#include <vector>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Views that are given back unless all of them came, also where something throws.
template <class View>
struct all_or_none {
  std::vector<View> views;
  bool complete = false;

  explicit all_or_none(std::size_t count) : views(count) {}
  all_or_none(all_or_none const&) = delete;
  all_or_none& operator=(all_or_none const&) = delete;
  ~all_or_none() {
    if (!complete)
      for (auto& view : views) view.give_back();
  }
};

}  // namespace detail

OMNICONN_END_NAMESPACE
