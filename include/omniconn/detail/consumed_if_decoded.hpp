// SPDX-License-Identifier: Apache-2.0
// A failed get consumes nothing, however it fails.
#pragma once

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Gives a view's object back unless it was decoded, also where decoding throws.
template <class View>
class consumed_if_decoded {
 public:
  explicit consumed_if_decoded(View& v) noexcept : view_(&v) {}
  consumed_if_decoded(consumed_if_decoded const&) = delete;
  consumed_if_decoded& operator=(consumed_if_decoded const&) = delete;
  ~consumed_if_decoded() {
    if (view_ != nullptr) view_->give_back();
  }
  void decoded() noexcept { view_ = nullptr; }

 private:
  View* view_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE
