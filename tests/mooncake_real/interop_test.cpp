// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// omniconn-test: together
// omniconn-test: costly
// Beside Mooncake's own Python client, on one store.
#include "client.hpp"

namespace {

using namespace mooncake_real;

/// Sizes around what Mooncake cuts transfers into, and large ones.
constexpr std::size_t sizes[]{1, 2, 4095, 4096, 65535, 65536, 65537, 1U << 20U, (1U << 20U) + 1, 64U << 20U};

void both_ways(plain& ours, python_client& theirs) {
  std::uint64_t seed = 1;
  for (std::size_t const size : sizes) {
    SCOPED_TRACE(size);
    auto const data = test_pattern(size, ++seed), other = test_pattern(size, ++seed);
    std::string const mine = "ours/" + std::to_string(size), his = "theirs/" + std::to_string(size);
    auto const put = ours.put(hop, mine, const_bytes(data));
    ASSERT_TRUE(put) << put.error().message();
    EXPECT_TRUE(same_bytes(theirs.get(mine), data));
    theirs.put(his, other);
    auto const got = ours.get_view(hop, his, within(std::chrono::seconds(10)));
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_TRUE(same_bytes(got->bytes(), other));
    EXPECT_EQ(ours.cleanup(hop, mine).value_or(0), 1U);
    EXPECT_EQ(ours.cleanup(hop, his).value_or(0), 1U);
    EXPECT_EQ(theirs.ask("exist " + mine), "code 0");
  }
}

TEST(mooncake_interop, what_one_client_puts_the_other_gets) {
  auto const& m = cluster::shared().master;
  auto ours = open(m);
  python_client theirs(m);
  both_ways(ours, theirs);
}

TEST(mooncake_interop, our_storage_node_serves_their_client) {
  master const m;
  auto o = options_for(m);
  o.transport.segment = std::uint64_t{160} << 20U;
  auto node = open(o);
  ASSERT_EQ(m.segments(), 1U);
  auto ours = open(m);
  {
    python_client theirs(m);
    both_ways(ours, theirs);
  }
  node.close();
  EXPECT_EQ(m.segments(), 0U) << "unmounted";
  EXPECT_TRUE(ours.put(hop, "k", test_pattern(8, 1)) == error_kind::no_space) << "no node is left";
}

TEST(mooncake_interop, a_metadata_server_tells_where_nodes_are) {
  std::uint16_t const port = free_port();
  std::string const url = "http://127.0.0.1:" + std::to_string(port) + "/metadata";
  master const m(std::chrono::seconds(10), {"--enable_http_metadata_server=true", "--http_metadata_server_host=127.0.0.1", "--http_metadata_server_port=" + std::to_string(port)});
  auto o = options_for(m);
  o.transport.metadata_server = url;
  auto ours = open(o);
  {
    node const real(m, "256 MB", url);
    python_client theirs(m, url);
    both_ways(ours, theirs);
  }
  o.transport.segment = std::uint64_t{160} << 20U;
  for (auto const end = deadline::after(std::chrono::seconds(10)); m.segments() != 0 && !end.passed();) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  auto own = open(o);
  python_client theirs(m, url);
  both_ways(ours, theirs);
}

TEST(mooncake_interop, keys_of_any_bytes_are_keys) {
  auto const& m = cluster::shared().master;
  auto ours = open(m);
  python_client theirs(m);
  auto const data = test_pattern(100, 1);
  ASSERT_TRUE(ours.put(hop, "schl\xc3\xbcssel/\xe2\x9c\x93@0_1", const_bytes(data)));
  EXPECT_TRUE(same_bytes(theirs.get("schl\xc3\xbcssel/\xe2\x9c\x93@0_1"), data)) << "a text is the same key for Python";
  std::string const bytes("\xff\x00\xfe", 3), longest(4096, '\xee');
  for (auto const& key : {bytes, longest}) {
    ASSERT_TRUE(ours.put(hop, key, const_bytes(data)));
    EXPECT_TRUE(ours.get_view(hop, key, within(std::chrono::seconds(5))));
  }
  EXPECT_TRUE(same_bytes(theirs.get("omniconn-bytes:ff00fe"), data));
  ASSERT_TRUE(ours.put(hop, "omniconn-bytes:ff00fe", test_pattern(100, 2)));
  EXPECT_TRUE(same_bytes(ours.get_view(hop, bytes, within(std::chrono::seconds(5)))->bytes(), data)) << "no two keys are one";
  cluster::shared().clear();
}

TEST(mooncake_interop, replacing_never_keeps_the_old_value) {
  auto const& m = cluster::shared().master;
  for (bool const in_place : {true, false}) {
    auto o = options_for(m);
    o.transport.replace_in_place = in_place;
    o.defaults.existing = on_existing::replace;
    auto ours = open(o);
    python_client theirs(m);
    for (std::uint64_t i = 0; i != 4; ++i) {
      auto const data = test_pattern(i == 2 ? 5000 : 4096, i);
      auto const put = ours.put(hop, "again", const_bytes(data));
      ASSERT_TRUE(put) << put.error().message();
      EXPECT_TRUE(same_bytes(theirs.get("again"), data)) << i << (in_place ? ", in place" : ", after the lease");
    }
  }
  auto careful = open(m);
  EXPECT_TRUE(careful.put(hop, "again", test_pattern(8, 1)) == error_kind::already_exists);
  cluster::shared().clear();
}

}  // namespace
