// SPDX-License-Identifier: Apache-2.0
// What every conformance case of a connector has at hand.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/config.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/testing/conformance/fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What the suite needs to know of a connector under test. A new harness object, and thus a new and empty namespace of keys, is made for each case.
template <class H>
concept connector_harness = connector_like<typename H::connector_type> && std::default_initializable<H> &&
                            requires(H& h, connector_defaults const& d, std::chrono::nanoseconds span, deadline t) {
                              { h.open(d) } -> std::same_as<result<typename H::connector_type, diagnosis>>;
                              { h.in(span) } -> std::same_as<deadline>;
                              { h.patient() } -> std::same_as<deadline>;
                              { h.passed(t) } -> std::same_as<bool>;
                            };

template <class Harness>
class connector_conformance : public ::testing::Test {
 public:
  static_assert(connector_harness<Harness>, "a harness has `connector_type`, open(connector_defaults), in(span), patient() and passed(deadline)");

 protected:
  using connector_type = typename Harness::connector_type;
  using view = typename connector_type::view;
  using reservation = typename connector_type::reservation;

  /// The edge of all cases that need only one.
  static constexpr edge flow{"from", "to"};

  /// A connector of this case's namespace whose gets are made under that reader name.
  std::unique_ptr<connector_type> open(std::string_view reader, connector_defaults defaults = {}) {
    defaults.reader = std::string(reader);
    auto opened = harness.open(defaults);
    if (!opened) {
      ADD_FAILURE() << "open: " << opened.error().message();
      std::abort();  // no case can go on without it
    }
    return std::make_unique<connector_type>(std::move(*opened));
  }

  deadline patient() { return harness.patient(); }
  /// Long enough for a connector to do what it must not do.
  deadline soon() { return harness.in(std::chrono::milliseconds(20)); }

  get_options by(deadline until, std::string_view reader = {}, locator const* where = nullptr) {
    get_options o;
    o.until = until;
    o.reader = reader;
    o.where = where;
    return o;
  }

  result<view> get(connector_type& c, std::string_view key, std::string_view reader = {}) { return c.get_view(flow, key, by(patient(), reader)); }
  result<view> look(connector_type& c, std::string_view key, std::string_view reader = {}) { return c.get_view(flow, key, by(deadline::immediate(), reader)); }

  /// A put to a key that was just read: the news of the read may still be on its way.
  result<receipt> put_again(connector_type& c, std::string_view key, const_bytes data, put_options const& o = {}) {
    for (int round = 0;; ++round) {
      auto put = c.put(flow, key, data, o);
      if (!(put == error_kind::already_exists) || round == 1000) return put;
      pause(c);
    }
  }
  /// Whether the object is gone, once the news of its end had time to arrive. Where reading ends nothing it is still there, and goes with a clean-up.
  bool goes(connector_type& c, std::string_view key) {
    if (!c.facts().counts_readers) return c.exists(flow, key).value_or(false) && c.cleanup(flow, key).value_or(0) == 1;
    for (int round = 0; round != 1000; ++round) {
      auto there = c.exists(flow, key);
      if (there && !*there) return true;
      pause(c);
    }
    return false;
  }
  /// Lets the connector's time pass: a get of a key that nobody puts.
  void pause(connector_type& c) { static_cast<void>(c.get_view(flow, "a key that nobody puts", by(harness.in(std::chrono::milliseconds(1))))); }

  /// Many bytes, made as fast as memory allows: a pattern in front, then one byte that depends on the seed.
  static std::vector<std::byte> bulk(std::size_t size, std::uint64_t seed) {
    auto out = test_pattern(size < 64 ? size : 64, seed);
    out.resize(size, static_cast<std::byte>(seed * 37 + 11));
    return out;
  }

  /// The longest key that the harness's keying takes on `flow`.
  static constexpr std::size_t longest_key() {
    if constexpr (requires { Harness::longest_key; }) {
      return Harness::longest_key;
    } else {
      return max_key_size;
    }
  }
  /// Whether the keying tells edges apart.
  static constexpr bool keys_per_edge() {
    if constexpr (requires { Harness::keys_per_edge; }) {
      return Harness::keys_per_edge;
    } else {
      return true;
    }
  }
  /// Payload bytes that a connector of this harness may hold; 0: as many as the machine has.
  static constexpr std::uint64_t memory_size() {
    if constexpr (requires { Harness::memory_size; }) {
      return Harness::memory_size;
    } else {
      return 0;
    }
  }

  Harness harness;
};

TYPED_TEST_SUITE_P(connector_conformance);

OMNICONN_END_NAMESPACE
