// SPDX-License-Identifier: Apache-2.0
// Harnesses of connectors for the conformance suite: a transport's namespace, fresh for each case.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <omniconn/connector.hpp>
#include <omniconn/testing/conformance/fixture.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>

namespace connector_test {

/// `Composed` is opened; `Shown` is what the suite sees: the same, or an erased connector around it.
template <class Composed, class Shown = Composed>
struct inproc_harness : omniconn::real_time_harness {
  using connector_type = Shown;
  std::shared_ptr<omniconn::inproc_hub> hub = std::make_shared<omniconn::inproc_hub>();

  omniconn::result<Shown, omniconn::diagnosis> open(omniconn::connector_defaults const& defaults) {
    typename Composed::options o;
    o.transport.hub = hub;
    o.defaults = defaults;
    auto opened = Composed::open(o);
    if (!opened) return std::move(opened.error());
    return Shown(std::move(*opened));
  }
};

template <class Composed, class Shown = Composed>
struct shm_harness : omniconn::real_time_harness {
  using connector_type = Shown;
  static constexpr std::uint64_t memory_size = std::uint64_t{32} << 20U;
  shm_test::fresh_space space;

  omniconn::result<Shown, omniconn::diagnosis> open(omniconn::connector_defaults const& defaults) {
    typename Composed::options o;
    o.transport = space.options();
    o.transport.memory_pool_size = memory_size;
    o.defaults = defaults;
    auto opened = Composed::open(o);
    if (!opened) return std::move(opened.error());
    return Shown(std::move(*opened));
  }
};

}  // namespace connector_test
