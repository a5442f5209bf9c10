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
      : object_(address_of(f)), call_([](void* object, Args... args) -> R {
          using callable = std::remove_reference_t<F>;
          callable* target = nullptr;
          if constexpr (std::is_function_v<callable>) {
            target = reinterpret_cast<callable*>(object);
          } else {
            target = static_cast<callable*>(object);
          }
          if constexpr (std::is_void_v<R>) {
            static_cast<void>((*target)(std::forward<Args>(args)...));
          } else {
            return (*target)(std::forward<Args>(args)...);
          }
        }) {}

  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  template <class F>
  static void* address_of(F& f) noexcept {
    if constexpr (std::is_function_v<F>) {
      return reinterpret_cast<void*>(&f);  // POSIX: a function's address fits
    } else {
      return const_cast<void*>(static_cast<void const*>(std::addressof(f)));
    }
  }

  void* object_;
  R (*call_)(void*, Args...);
};

OMNICONN_END_NAMESPACE
