// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// What register_msgpack adds to the built-in connectors: objects as payloads, unless an edge wants bytes.
#include <omniconn/runtime/msgpack_part.hpp>

#include <cstddef>
#include <utility>

#include <gtest/gtest.h>

#include <runtime/builtin_support.hpp>
#include <shm_segment/support.hpp>

namespace {

using namespace builtin_test;

connector_factory msgpack_factory() {
  auto factory = builtin_factory();
  register_msgpack(factory);
  register_sealed<omni_msgpack_serializer, raw_serializer>(factory);
  return factory;
}

TEST(msgpack_part, says_what_it_adds_and_removes_no_name) {
  auto const before = builtin_factory().list(), after = msgpack_factory().list();
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i != before.size(); ++i) {
    EXPECT_EQ(before[i].name, after[i].name);
    EXPECT_EQ(before[i].available, after[i].available);
    if (after[i].available && after[i].name != "SealedShmConnector") {
      EXPECT_EQ(after[i].why.find("serializers omni_msgpack (default), raw"), 0U) << after[i].why;
    }
  }
}

TEST(msgpack_part, objects_round_trip_through_every_available_name) {
  auto const factory = msgpack_factory();
  auto const message = value::object({{"tokens", value::list({1, 2, 3})}, {"finished", true}});
  for (auto const& entry : factory.list()) {
    if (!entry.available) continue;
    SCOPED_TRACE(entry.name);
    for (auto const& serializer : {value(), value("omni_msgpack")}) {
      shm_test::fresh_space const space;
      auto const extra = in(space, {{"layout", "omniconn"}, {"serializer", serializer}});
      auto sender = opened(factory, entry.name, extra), receiver = opened(factory, entry.name, extra);
      auto const put = sender.put(flow, "r7", message);
      ASSERT_TRUE(put) << put.error().message();
      auto const got = receiver.get<value>(flow, "r7", at_once());
      ASSERT_TRUE(got) << got.error().message();
      EXPECT_EQ(*got, message);
      ASSERT_TRUE(sender.put(flow, "r7", message));
      EXPECT_EQ(*sender.cleanup("r7"), 1U);
    }
    shm_test::fresh_space const space;
    auto raw = opened(factory, entry.name, in(space, {{"layout", "omniconn"}, {"serializer", "raw"}}));
    EXPECT_TRUE(raw.put(flow, "r7", message) == error_kind::unsupported);
    EXPECT_TRUE(raw.put(flow, "r7", bytes_of("x")));
    EXPECT_EQ(*raw.cleanup("r7"), 1U);
    expect_refused(factory, {entry.name, in(space, {{"layout", "omniconn"}, {"serializer", "nonsense"}})}, error_kind::misconfigured,
                   "serializer is 'nonsense', which is none of: omni_msgpack, raw");
  }
}

TEST(msgpack_part, metadata_that_holds_the_object_itself_is_understood) {
  auto const factory = msgpack_factory();
  segment_test::folder const folder;
  auto receiver = opened(factory, "SharedMemoryConnector", value::object({{"layout", "upstream"}, {"directory", folder.path()}}));
  value const object = value::object({{"token_ids", value::list({1, 2, 3})}, {"finished", true}});
  for (auto const& form : {value::object({{"inline", object}}), value::object({{"r9", value::object({{"inline", object}})}}), value::object({{"inline", object}, {"size", 7}})}) {
    auto const at = receiver.from_metadata(form);
    ASSERT_TRUE(at) << at.error().message();
    auto how = at_once();
    how.where = &at->where;
    auto const same = receiver.get<value>(flow, "r9", how);
    ASSERT_TRUE(same) << same.error().message();
    EXPECT_EQ(*same, object);
  }
  EXPECT_TRUE(receiver.from_metadata(value::object({{"inline", value()}}))) << "an object may be nil";
  EXPECT_TRUE(receiver.from_metadata(value::object({{"inline_text", object}})) == error_kind::malformed);

  // A receipt wrapped under a key that happens to be "inline" is still a receipt.
  auto sender = opened(factory, "SharedMemoryConnector", value::object({{"layout", "upstream"}, {"directory", folder.path()}}));
  auto const put = sender.put(flow, "inline", object);
  ASSERT_TRUE(put) << put.error().message();
  auto const at = receiver.from_metadata(value::object({{"inline", sender.metadata(*put)}}));
  ASSERT_TRUE(at) << at.error().message();
  auto how = at_once();
  how.where = &at->where;
  EXPECT_EQ(*receiver.get<value>(flow, "inline", how), object);
}

}  // namespace
