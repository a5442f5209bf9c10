// SPDX-License-Identifier: Apache-2.0
// What the shipped headers get for std::atomic in the model checker.
#pragma once

#include <atomic>
#include <cstdint>

#include <model/machine.hpp>

namespace model {

/// Stands for std::atomic.
template <class T>
class atomic {
 public:
  atomic() noexcept : id_(vm->add()) {}
  atomic(atomic const&) = delete;
  atomic& operator=(atomic const&) = delete;

  T load(std::memory_order o = std::memory_order_seq_cst) const noexcept { return to(vm->load(id_, o)); }
  void store(T v, std::memory_order o = std::memory_order_seq_cst) noexcept { vm->store(id_, from(v), o); }
  T exchange(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return to(vm->rmw(id_, o, action::exchange, [v](std::uint64_t) { return from(v); }));
  }
  T fetch_add(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return to(vm->rmw(id_, o, action::add, [v](std::uint64_t was) { return from(static_cast<T>(to(was) + v)); }));
  }
  T fetch_sub(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return to(vm->rmw(id_, o, action::sub, [v](std::uint64_t was) { return from(static_cast<T>(to(was) - v)); }));
  }
  T fetch_or(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return to(vm->rmw(id_, o, action::bit_or, [v](std::uint64_t was) { return from(static_cast<T>(to(was) | v)); }));
  }
  T fetch_and(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return to(vm->rmw(id_, o, action::bit_and, [v](std::uint64_t was) { return from(static_cast<T>(to(was) & v)); }));
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order o = std::memory_order_seq_cst) noexcept { return cas(expected, desired, o, false); }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order o = std::memory_order_seq_cst) noexcept { return cas(expected, desired, o, true); }

  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }

 private:
  static std::uint64_t from(T v) noexcept { return static_cast<std::uint64_t>(v); }
  static T to(std::uint64_t v) noexcept { return static_cast<T>(v); }
  bool cas(T& expected, T desired, std::memory_order o, bool weak) noexcept {
    std::uint64_t e = from(expected);
    bool const done = vm->cas(id_, e, from(desired), o, weak);
    expected = to(e);
    return done;
  }
  std::uint32_t id_;
};

}  // namespace model
