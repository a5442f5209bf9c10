// SPDX-License-Identifier: Apache-2.0
// A value or an error: the same type in every language mode, because it crosses ABI borders.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/core/error.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {
// Reading the wrong side of a result is a bug of the caller. It must not become a read of foreign bytes, and core
// does not throw, so the program ends where the bug is.
constexpr void check_result_access(bool ok) noexcept {
  if (!ok) [[unlikely]]
    std::abort();
}

// The union lives in a base, because clang 14 cannot choose between a trivial and a user-provided destructor by constraint. `fill` makes the member
// that `has` names, inside the base's constructor: if it throws, no destructor runs for what was never made.
template <class T, class E, bool Trivial = std::is_trivially_destructible_v<T> && std::is_trivially_destructible_v<E>>
struct result_storage {
  template <class Fill>
  constexpr result_storage(bool has, Fill const& fill) : has_(has) {
    fill(*this);
  }
  union {
    T value_;
    E error_;
  };
  bool has_;
};

template <class T, class E>
struct result_storage<T, E, false> {
  template <class Fill>
  constexpr result_storage(bool has, Fill const& fill) : has_(has) {
    fill(*this);
  }
  result_storage(result_storage const&) = delete;
  result_storage& operator=(result_storage const&) = delete;
  constexpr ~result_storage() {
    if (has_) {
      value_.~T();
    } else {
      error_.~E();
    }
  }
  union {
    T value_;
    E error_;
  };
  bool has_;
};
}  // namespace detail

/// Either a `T` or an `E`. `[[nodiscard]]`: an ignored failure is the bug this library exists to end.
///
/// `E` is `error` on every path that moves data and `diagnosis` on cold ones; a `result<T, error>` converts to
/// `result<T, diagnosis>`. Reading the absent side ends the program. Not thread-safe, as any value.
template <class T, class E = error>
class [[nodiscard]] result : private detail::result_storage<T, E> {
  static_assert(!std::is_reference_v<T> && !std::is_same_v<T, E>);
  using storage = detail::result_storage<T, E>;
  using storage::error_;
  using storage::has_;
  using storage::value_;

 public:
  using value_type = T;
  using error_type = E;

  template <class U = T>
    requires(!std::is_same_v<std::remove_cvref_t<U>, result> && !std::is_base_of_v<omniconn::error, std::remove_cvref_t<U>> &&
             std::is_constructible_v<T, U &&>)  // in this order: whether a T can be made of a result is not to be asked
  constexpr result(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>)  // NOLINT(google-explicit-constructor)
      : storage(true, [&](storage& s) { std::construct_at(&s.value_, std::forward<U>(value)); }) {}
  template <class F>
    requires(std::is_base_of_v<omniconn::error, std::remove_cvref_t<F>> && std::is_constructible_v<E, F &&>)
  constexpr result(F&& failure)  // NOLINT(google-explicit-constructor)
      : storage(false, [&](storage& s) { std::construct_at(&s.error_, std::forward<F>(failure)); }) {}
  constexpr result(error_kind kind, char const* text, int native = 0) : result(omniconn::error(kind, text, native)) {}
  /// A value made in place: for what is dear to move.
  template <class... Args>
    requires std::is_constructible_v<T, Args...>
  constexpr explicit result(std::in_place_t, Args&&... args) : storage(true, [&](storage& s) { std::construct_at(&s.value_, std::forward<Args>(args)...); }) {}
  /// The value that `make()` returns, made where the result is: for what is dear to move. \requires `make` is noexcept.
  template <class Make>
    requires(std::is_same_v<std::invoke_result_t<Make&>, T> && std::is_nothrow_invocable_v<Make&>)
  [[nodiscard]] static result from(Make make) noexcept {
    return result(from_call(), make);
  }

  /// From a result whose error widens (`error` → `diagnosis`).
  template <class F>
    requires(!std::is_same_v<F, E> && std::is_constructible_v<E, F>)
  result(result<T, F>&& other)  // NOLINT(google-explicit-constructor)
      : storage(other.has_value(), [&](storage& s) { other.has_value() ? make(&s.value_, std::move(other.value())) : make(&s.error_, std::move(other.error())); }) {}

  constexpr result(result&& other) noexcept(std::is_nothrow_move_constructible_v<T>)
      : storage(other.has_, [&](storage& s) { other.has_ ? make(&s.value_, std::move(other.value_)) : make(&s.error_, std::move(other.error_)); }) {}
  constexpr result(result const& other)
    requires(std::is_copy_constructible_v<T>)
      : storage(other.has_, [&](storage& s) { other.has_ ? make(&s.value_, other.value_) : make(&s.error_, other.error_); }) {}

  /// Only where moving cannot throw: a result always holds one of the two.
  constexpr result& operator=(result&& other) noexcept
    requires(std::is_nothrow_move_constructible_v<T>)
  {
    if (this != &other) {
      destroy();
      has_ = other.has_;
      has_ ? make(&value_, std::move(other.value_)) : make(&error_, std::move(other.error_));
    }
    return *this;
  }
  constexpr result& operator=(result const& other)
    requires(std::is_copy_constructible_v<T> && std::is_nothrow_move_constructible_v<T>)
  {
    if (this != &other) *this = result(other);
    return *this;
  }
  [[nodiscard]] constexpr bool has_value() const noexcept { return has_; }
  constexpr explicit operator bool() const noexcept { return has_; }

  [[nodiscard]] constexpr T& value() & noexcept { return detail::check_result_access(has_), value_; }
  [[nodiscard]] constexpr T const& value() const& noexcept { return detail::check_result_access(has_), value_; }
  [[nodiscard]] constexpr T&& value() && noexcept { return detail::check_result_access(has_), std::move(value_); }
  constexpr T& operator*() & noexcept { return value(); }
  constexpr T const& operator*() const& noexcept { return value(); }
  constexpr T&& operator*() && noexcept { return std::move(*this).value(); }
  constexpr T* operator->() noexcept { return &value(); }
  constexpr T const* operator->() const noexcept { return &value(); }

  [[nodiscard]] constexpr E& error() noexcept { return detail::check_result_access(!has_), error_; }
  [[nodiscard]] constexpr E const& error() const noexcept { return detail::check_result_access(!has_), error_; }

  template <class U>
  [[nodiscard]] constexpr T value_or(U&& fallback) const& {
    return has_ ? value_ : static_cast<T>(std::forward<U>(fallback));
  }
  template <class U>
  [[nodiscard]] constexpr T value_or(U&& fallback) && {
    return has_ ? std::move(value_) : static_cast<T>(std::forward<U>(fallback));
  }

  /// True for a failure of this kind.
  friend constexpr bool operator==(result const& r, error_kind kind) noexcept { return !r.has_ && r.error_.kind() == kind; }

 private:
  struct from_call {};
  template <class Make>
  result(from_call, Make& make) noexcept : storage(true, [&](storage& s) { ::new (static_cast<void*>(std::addressof(s.value_))) T(make()); }) {}  // construct_at would move it
  template <class Side, class From>
  static constexpr void make(Side* at, From&& from) noexcept(std::is_nothrow_constructible_v<Side, From&&>) {
    std::construct_at(at, std::forward<From>(from));
  }
  constexpr void destroy() noexcept {
    if (has_) {
      value_.~T();
    } else {
      error_.~E();
    }
  }
};

/// The result of a call that returns nothing but success.
template <class E>
class [[nodiscard]] result<void, E> {
 public:
  using value_type = void;
  using error_type = E;

  constexpr result() noexcept : error_(error_kind::io), has_(true) {}
  template <class F>
    requires(std::is_base_of_v<omniconn::error, std::remove_cvref_t<F>> && std::is_constructible_v<E, F &&>)
  constexpr result(F&& failure) : error_(std::forward<F>(failure)), has_(false) {}  // NOLINT(google-explicit-constructor)
  constexpr result(error_kind kind, char const* text, int native = 0) : error_(omniconn::error(kind, text, native)), has_(false) {}
  template <class F>
    requires(!std::is_same_v<F, E> && std::is_constructible_v<E, F>)
  result(result<void, F>&& other) : error_(other ? E(omniconn::error(error_kind::io)) : E(std::move(other.error()))), has_(other.has_value()) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] constexpr bool has_value() const noexcept { return has_; }
  constexpr explicit operator bool() const noexcept { return has_; }
  constexpr void value() const noexcept { detail::check_result_access(has_); }
  [[nodiscard]] constexpr E& error() noexcept { return detail::check_result_access(!has_), error_; }
  [[nodiscard]] constexpr E const& error() const noexcept { return detail::check_result_access(!has_), error_; }
  friend constexpr bool operator==(result const& r, error_kind kind) noexcept { return !r.has_ && r.error_.kind() == kind; }

 private:
  E error_;
  bool has_;
};

OMNICONN_END_NAMESPACE
