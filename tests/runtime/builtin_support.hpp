// SPDX-License-Identifier: Apache-2.0
// What the tests of the built-in names share: options in a namespace of their own, and calls that do not wait.
#pragma once

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <omniconn/runtime/builtin.hpp>
#include <omniconn/runtime/sealed.hpp>

#include <shm/support.hpp>

namespace builtin_test {

using namespace omniconn;

inline constexpr edge flow{"0", "1"};

inline connector_factory builtin_factory() {
  connector_factory factory;
  register_builtin_connectors(factory);
  register_sealed(factory);
  return factory;
}

/// Options that keep a connector among its own, in memory as small as tests need it.
inline value in(shm_test::fresh_space const& space, value::map more = {}) {
  value out = value::object({{"namespace", space.name()}, {"directory", shm_test::root()}, {"memory_pool_size", "1 MiB"}});
  for (auto& [key, item] : more) out.set(*key.if_string(), std::move(item));
  return out;
}

inline get_options at_once() {
  get_options o;
  o.until = deadline::immediate();
  return o;
}

inline any_connector opened(connector_factory const& factory, std::string name, value extra) {
  auto made = factory.create({std::move(name), std::move(extra)});
  EXPECT_TRUE(made) << made.error().message();
  return made ? std::move(*made) : any_connector();
}

inline error_kind get_kind(any_connector& from, std::string_view key) {
  auto got = from.get_view(flow, key, at_once());
  return got ? error_kind{} : got.error().kind();
}

inline void expect_refused(connector_factory const& factory, connector_spec const& spec, error_kind kind, std::string const& text) {
  auto const made = factory.create(spec);
  ASSERT_FALSE(made) << text;
  EXPECT_EQ(made.error().kind(), kind) << made.error().message();
  EXPECT_EQ(made.error().detail(), "Failed to create connector " + spec.name + ": " + text);
}

}  // namespace builtin_test
