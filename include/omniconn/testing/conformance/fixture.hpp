// SPDX-License-Identifier: Apache-2.0
// What every conformance case of a transport has at hand.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/config.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What the suite needs to know of a transport under test. A new harness object, and thus a new and empty namespace of keys, is made for each case.
template <class H>
concept transport_harness = transport_policy<typename H::transport> && std::default_initializable<H> &&
    requires(H& h, std::string_view reader, std::chrono::nanoseconds span, deadline d) {
  { h.open(reader) } -> std::same_as<result<typename H::transport, diagnosis>>;
  { h.in(span) } -> std::same_as<deadline>;
  { h.patient() } -> std::same_as<deadline>;
  { h.passed(d) } -> std::same_as<bool>;
};

/// The time part of a harness for transports that live in real time.
struct real_time_harness {
  /// A deadline that the case expects to pass.
  static deadline in(std::chrono::nanoseconds span) { return deadline::after(span); }
  /// A deadline for what must happen; reached only by a failing transport.
  static deadline patient() { return deadline::after(std::chrono::seconds(60)); }
  static bool passed(deadline d) { return d.passed(); }
};

template <class Harness>
class transport_conformance : public ::testing::Test {
 public:
  static_assert(transport_harness<Harness>, "a harness has `transport`, open(reader), in(span), patient() and passed(deadline)");

 protected:
  using transport = typename Harness::transport;
  using side = transport_side<transport>;
  using put_op = typename transport::put_op;
  using get_op = typename transport::get_op;
  using hold = typename transport::hold;
  static constexpr capabilities const& caps = transport::caps;

  /// A transport of this case's namespace whose gets are made under that reader name.
  std::unique_ptr<side> open(std::string_view reader) {
    auto opened = harness.open(reader);
    if (!opened) {
      ADD_FAILURE() << "open: " << opened.error().message();
      std::abort();  // no case can go on without it
    }
    return std::make_unique<side>(std::move(*opened), harness.patient());
  }

  static publish_options usual() noexcept { return side::usual(); }

  deadline patient() { return harness.patient(); }
  /// Long enough for a transport to do what it must not do.
  deadline soon() { return harness.in(std::chrono::milliseconds(20)); }

  /// Waits until a block came back; false if it never does.
  bool comes_back(side& producer, sent_block const& block) {
    for (int round = 0; round != 2000; ++round) {
      producer.reclaim();
      if (block.returned.load(std::memory_order_acquire) != 0) return true;
      producer.pause(harness.in(std::chrono::milliseconds(1)));
    }
    return false;
  }
  /// A store keeps a copy, so that a block may return at any time after its commit; elsewhere a block that is not small *is* the object.
  static constexpr bool block_is_object = !caps.gathers && (caps.survives == survival::producer || caps.survives == survival::producer_exit);
  /// More than any transport tucks into its control structures.
  static constexpr std::size_t not_small = 5000;

  static bool still_out(sent_block const& block) { return !block_is_object || block.returned.load(std::memory_order_acquire) == 0; }
  /// The same after the transport had time to return it.
  bool stays_out(side& producer, sent_block const& block) {
    producer.pause(soon());
    producer.reclaim();
    return still_out(block);
  }

  /// A get that nothing answers.
  error_kind absent(side& consumer, wire_key key, find_options const& how = {}) {
    auto got = consumer.get(key, soon(), how);
    return got ? error_kind::already_exists : got.error().kind();
  }

  static std::size_t at_most(std::size_t size) { return size < caps.max_object ? size : static_cast<std::size_t>(caps.max_object); }

  static void let_go(typename side::received&& r) { r.hold.finish(disposition::consumed); }

  Harness harness;
};

/// Succeeds, or says why not.
template <class T, class E>
::testing::AssertionResult succeeded(result<T, E> const& r) {
  if (r) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << r.error().message();
}

/// Fails with that kind, or says what happened instead.
template <class T, class E>
::testing::AssertionResult failed_with(result<T, E> const& r, error_kind kind) {
  if (r == kind) return ::testing::AssertionSuccess();
  if (r) return ::testing::AssertionFailure() << "it succeeded instead of failing with " << to_string(kind);
  return ::testing::AssertionFailure() << r.error().message() << " instead of " << to_string(kind);
}

inline ::testing::AssertionResult holds(const_bytes have, const_bytes want) {
  if (same_bytes(have, want)) return ::testing::AssertionSuccess();
  if (have.size() != want.size()) return ::testing::AssertionFailure() << have.size() << " bytes instead of " << want.size();
  std::size_t at = 0;
  while (have[at] == want[at]) ++at;
  return ::testing::AssertionFailure() << "byte " << at << " of " << want.size() << " is " << static_cast<int>(have[at]) << " instead of "
                                       << static_cast<int>(want[at]);
}

TYPED_TEST_SUITE_P(transport_conformance);

OMNICONN_END_NAMESPACE
