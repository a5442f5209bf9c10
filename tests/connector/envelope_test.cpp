// SPDX-License-Identifier: Apache-2.0
// What lies on a store that keeps bytes alone, with an envelope and without, and what happens where the two ends do not agree.
#include <omniconn/connector.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/testing/sim/sim_poll.hpp>

namespace {

using namespace omniconn;

using stored = connector<sim_poll_transport, raw_serializer, raw_keying, heap_allocator>;

class envelope_test : public testing::Test {
 protected:
  std::shared_ptr<sim_world> world = std::make_shared<sim_world>();
  edge const flow{"0", "1"};

  stored open(bool envelope, std::uint64_t max_get_size = ~std::uint64_t{0}) {
    stored::options o;
    o.transport.world = world;
    o.defaults.envelope = envelope;
    o.defaults.max_get_size = max_get_size;
    return std::move(stored::open(o).value());
  }
  get_options soon() { return {.until = world->clock.in(std::chrono::seconds(1))}; }
};

TEST_F(envelope_test, is_64_bytes_in_front_that_only_our_ends_see) {
  auto ours = open(true), foreign = open(false);
  auto const data = test_pattern(100, 1);
  auto const put = ours.put(flow, "key", const_bytes(data));
  ASSERT_TRUE(put);
  EXPECT_EQ(put->size, 100U);
  auto raw = foreign.get_view(flow, "key", soon());
  ASSERT_TRUE(raw);
  ASSERT_EQ(raw->bytes().size(), envelope_size + 100);
  EXPECT_TRUE(same_bytes(raw->bytes().subspan(envelope_size), data));
  auto const info = read_envelope(raw->bytes());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->checksum, checksum(data));
  raw->give_back();
  auto got = ours.get_view(flow, "key", soon());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes(), data));
}

TEST_F(envelope_test, without_it_the_store_has_the_payload_alone) {
  auto foreign = open(false);
  auto const data = test_pattern(100, 1);
  ASSERT_TRUE(foreign.put(flow, "key", const_bytes(data)));
  auto got = foreign.get_view(flow, "key", soon());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes(), data));
  EXPECT_EQ(got->info().checksum_by, checksum_kind::none) << "nothing says what it should be";
}

TEST_F(envelope_test, an_object_without_one_is_malformed_and_stays) {
  auto ours = open(true), foreign = open(false);
  for (std::size_t const size : {0U, 10U, 64U, 1000U}) {
    auto const data = test_pattern(size, 1);
    std::string const key = "key " + std::to_string(size);
    ASSERT_TRUE(foreign.put(flow, key, const_bytes(data)));
    EXPECT_TRUE(ours.get_view(flow, key, soon()) == error_kind::malformed);
    std::vector<std::byte> into(2000);
    EXPECT_TRUE(ours.get_into(flow, key, into, soon()) == error_kind::malformed);
    auto got = foreign.get_view(flow, key, soon());
    ASSERT_TRUE(got) << "it was given back";
    EXPECT_TRUE(same_bytes(got->bytes(), data));
  }
  EXPECT_EQ(ours.health().errors[index(error_kind::malformed)], 8U);
}

TEST_F(envelope_test, a_flipped_bit_is_corrupt_wherever_it_is) {
  auto ours = open(true), foreign = open(false);
  auto const data = test_pattern(200, 1);
  ASSERT_TRUE(ours.put(flow, "key", const_bytes(data)));
  auto whole = foreign.get<std::vector<std::byte>>(flow, "key", soon());
  ASSERT_TRUE(whole);
  for (std::size_t const at : {20U, 63U, 64U, 263U}) {
    auto flipped = *whole;
    std::string const key = "flipped " + std::to_string(at);
    flipped[at] ^= std::byte{1};
    ASSERT_TRUE(foreign.put(flow, key, const_bytes(flipped)));
    EXPECT_TRUE(ours.get_view(flow, key, soon()) == error_kind::corrupt) << "byte " << at;
    std::vector<std::byte> into(200);
    EXPECT_TRUE(ours.get_into(flow, key, into, soon()) == error_kind::corrupt) << "byte " << at;
    ASSERT_TRUE(foreign.get_view(flow, key, soon()));
  }
}

TEST_F(envelope_test, get_into_lands_in_the_caller_s_memory_with_the_envelope_apart) {
  auto ours = open(true, 300);
  std::vector<std::byte> into(250, std::byte{0x5a});
  for (std::size_t const size : {0U, 1U, 200U, 250U, 251U, 301U}) {
    auto const data = test_pattern(size, 1);
    std::string const key = "key " + std::to_string(size);
    ASSERT_TRUE(ours.put(flow, key, const_bytes(data)));
    auto const info = ours.get_into(flow, key, into, soon());
    if (size > 250) {
      EXPECT_TRUE(info == error_kind::too_large) << size;
      continue;
    }
    ASSERT_TRUE(info) << info.error().message();
    EXPECT_EQ(info->size, size);
    EXPECT_EQ(info->kind, payload_kind::raw);
    EXPECT_TRUE(same_bytes(const_bytes(into).first(size), data));
    if (size < 250) {
      EXPECT_EQ(into[size], std::byte{0x5a}) << "nothing behind it";
    }
  }
  EXPECT_TRUE(ours.get_view(flow, "key 251", soon())) << "what did not fit stayed";
}

TEST_F(envelope_test, does_not_count_against_limits) {
  auto ours = open(true, 100);
  EXPECT_TRUE(ours.put(flow, "fits", const_bytes(test_pattern(100, 1))));
  EXPECT_TRUE(ours.get_view(flow, "fits", soon()));
  EXPECT_TRUE(ours.put(flow, "too big", const_bytes(test_pattern(101, 1))));
  EXPECT_TRUE(ours.get_view(flow, "too big", soon()) == error_kind::too_large);
  EXPECT_TRUE(ours.reserve(static_cast<std::size_t>(stored::caps.max_object)) == error_kind::too_large) << "with the envelope it would be";
  auto room = ours.reserve(50);
  ASSERT_TRUE(room);
  EXPECT_EQ(room->bytes().size(), 50U);
  auto const data = test_pattern(50, 2);
  std::copy(data.begin(), data.end(), room->bytes().begin());
  ASSERT_TRUE(ours.commit(flow, "reserved", std::move(*room)));
  auto got = ours.get_view(flow, "reserved", soon());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes(), data));
}

}  // namespace
