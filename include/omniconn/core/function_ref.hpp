// SPDX-License-Identifier: Apache-2.0
// A non-owning reference to a callable: two words, no allocation, no <functional> (which costs 30k lines).
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

template <class Signature>
class function_ref;

/// Refers to a callable for the length of a call; never store one beyond it.
template <class R, class... Args>
class function_ref<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, function_ref> && std::is_invocable_r_v<R, F&, Args...>)
  function_ref(F&& f) noexcept  // NOLINT(google-explicit-constructor): a parameter type, as std::function_ref
      : object_(const_cast<void*>(static_cast<void const*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

OMNICONN_END_NAMESPACE
