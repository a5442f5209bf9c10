// SPDX-License-Identifier: Apache-2.0
// The transport suite over shared memory: two transports of one process meet as two processes would, each with mappings of its own.
#include <string>
#include <string_view>
#include <utility>

#include <omniconn/testing/transport_conformance.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/stage.hpp>
#include <shm/support.hpp>

namespace {

struct shm_harness : omniconn::real_time_harness {
  using transport = omniconn::shm_transport;
  shm_test::fresh_space space;
  omniconn::result<transport, omniconn::diagnosis> open(std::string_view reader) {
    auto o = space.options();
    o.reader = std::string(reader);
    o.max_keys = 1024;
    o.max_readers = transport::caps.max_readers;
    o.memory_pool_size = std::uint64_t{256} << 20U;
    return transport::open(o);
  }

  // The stage program's edge and keying.
  static constexpr omniconn::edge flow{"producer", "consumer"};
  std::string put_and_die() const {
    shm_test::stage mortal(space.name());
    EXPECT_EQ(mortal.ask("put first 1 10"), "ok 10");
    EXPECT_EQ(mortal.kill(), shm_test::status_killed);
    return "default/producer/consumer/first";
  }
  void get_and_die() const {
    shm_test::stage mortal(space.name());
    EXPECT_EQ(mortal.ask("get nothing r 1 1"), "error timed_out");
    EXPECT_EQ(mortal.kill(), shm_test::status_killed);
  }
};

}  // namespace

namespace omniconn {
INSTANTIATE_TYPED_TEST_SUITE_P(shm, transport_conformance, shm_harness);
}  // namespace omniconn
