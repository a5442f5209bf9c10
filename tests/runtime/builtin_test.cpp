// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// The names that a factory knows: what is listed as available moves objects, what is not says why.
#include <omniconn/runtime/builtin.hpp>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <runtime/builtin_support.hpp>
#include <shm_segment/support.hpp>
#include <support/variable.hpp>

namespace {

using namespace builtin_test;
using test_support::variable;

TEST(builtin, lists_every_name_with_its_reason) {
  std::map<std::string, connector_availability> known;
  for (auto const& entry : builtin_factory().list()) known.emplace(entry.name, entry);
  std::vector<std::string> names;
  for (auto const& [name, entry] : known) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"InprocConnector", "MooncakeConnector", "MooncakeRDMAConnector", "MooncakeStoreConnector", "MooncakeTransferEngineConnector",
                                             "MoriTransferEngineConnector", "NixlConnector", "SealedShmConnector", "SharedMemoryConnector", "ShmConnector", "YuanrongConnector",
                                             "YuanrongTransferEngineConnector"}));
  for (char const* name : {"InprocConnector", "SealedShmConnector", "SharedMemoryConnector", "ShmConnector"}) EXPECT_TRUE(known[name].available) << name;

  std::map<std::string, std::string> const reasons{
      {"MooncakeConnector", "a Mooncake store is not part of this factory; call register_mooncake of <omniconn/runtime/mooncake.hpp> after register_builtin_connectors"},
      {"MooncakeStoreConnector", "a Mooncake store is not part of this factory; call register_mooncake of <omniconn/runtime/mooncake.hpp> after register_builtin_connectors"},
      {"MooncakeRDMAConnector", "the Mooncake transfer engine is not built yet; use ShmConnector on one node"},
      {"MooncakeTransferEngineConnector", "the Mooncake transfer engine is not built yet; use ShmConnector on one node"},
      {"YuanrongConnector", "the Yuanrong client is not built yet; use ShmConnector on one node"},
      {"YuanrongTransferEngineConnector", "the Yuanrong client is not built yet; use ShmConnector on one node"},
      {"MoriTransferEngineConnector", "the Mori transfer engine (AMD) is not built; use ShmConnector on one node"},
      {"NixlConnector", "the NIXL connector is not built; use ShmConnector on one node"}};
  auto const factory = builtin_factory();
  for (auto const& [name, why] : reasons) {
    EXPECT_FALSE(known[name].available) << name;
    EXPECT_EQ(known[name].why, why);
    auto const made = factory.create({name});
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().kind(), error_kind::unsupported);
    EXPECT_EQ(made.error().detail(), name + " is not available: " + why);
  }
  EXPECT_EQ(known["ShmConnector"].why, "serializer raw; register_msgpack adds omni_msgpack");
  EXPECT_EQ(known["InprocConnector"].why, known["ShmConnector"].why);
  EXPECT_EQ(known["SealedShmConnector"].why, "sealed memory between processes that do not trust each other");
  EXPECT_EQ(known["SharedMemoryConnector"].why, known["ShmConnector"].why);
}

TEST(builtin, sealed_memory_is_added_on_request) {
  connector_factory factory;
  register_builtin_connectors(factory);
  auto const made = factory.create({"SealedShmConnector"});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind(), error_kind::unsupported);
  EXPECT_NE(made.error().detail().find("register_sealed"), std::string::npos) << made.error().message();
}

TEST(builtin, unknown_name_lists_the_available_ones) {
  auto const made = builtin_factory().create({"SharedMemory"});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind(), error_kind::misconfigured);
  EXPECT_EQ(made.error().detail(), "Unknown connector: SharedMemory. Available: [InprocConnector, SealedShmConnector, SharedMemoryConnector, ShmConnector]");
}

TEST(builtin, a_built_in_name_is_registered_already) {
  auto factory = builtin_factory();
  auto const mine = [](connector_spec const&) -> result<any_connector, diagnosis> { return any_connector(); };
  auto const again = factory.register_connector("ShmConnector", mine);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind(), error_kind::already_exists);
  EXPECT_EQ(again.error().detail(), "Connector 'ShmConnector' is already registered.");
  EXPECT_TRUE(factory.register_connector("NixlConnector", mine)) << "a program brings what this build lacks";
}

// Two ends, as two stages have them: bytes go in at one and come out at the other, byte for byte.
TEST(builtin, what_is_listed_as_available_round_trips) {
  auto const factory = builtin_factory();
  int tried = 0;
  for (auto const& entry : factory.list()) {
    if (!entry.available) continue;
    ++tried;
    SCOPED_TRACE(entry.name);
    shm_test::fresh_space const space;
    auto const extra = in(space, {{"layout", "omniconn"}});
    auto sender = opened(factory, entry.name, extra), receiver = opened(factory, entry.name, extra);
    std::string const text = "bytes that cross";
    auto const put = sender.put(flow, "r7_0", bytes_of(text));
    ASSERT_TRUE(put) << put.error().message();
    EXPECT_EQ(put->size, text.size());
    {
      auto got = receiver.get_view(flow, "r7_0", at_once());
      ASSERT_TRUE(got) << got.error().message();
      EXPECT_EQ(text_of(got->bytes()), text);
    }
    EXPECT_EQ(*sender.exists(flow, "r7_0"), false) << "read by its one reader";

    ASSERT_TRUE(sender.put(flow, "r7_1", bytes_of(text)));
    ASSERT_TRUE(sender.put(flow, "r7_2", bytes_of(text)));
    EXPECT_EQ(*sender.cleanup(flow, "r7_1"), 1U);
    EXPECT_EQ(get_kind(receiver, "r7_1"), error_kind::not_found);
    EXPECT_EQ(*sender.cleanup("r7"), 1U);
    EXPECT_EQ(*receiver.exists(flow, "r7_2"), false);
    EXPECT_EQ(*sender.cleanup("r7"), 0U);
  }
  EXPECT_EQ(tried, 4);
}

// --- which serializer ---------------------------------------------------------------------------------------------------

TEST(builtin, without_the_msgpack_part_payloads_are_raw_and_nothing_else_is_promised) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector", "SealedShmConnector", "SharedMemoryConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const space;
    auto with = [&](value serializer) { return connector_spec{name, in(space, {{"layout", "omniconn"}, {"serializer", std::move(serializer)}})}; };
    auto raw = factory.create(with("raw"));
    ASSERT_TRUE(raw) << raw.error().message();
    EXPECT_TRUE(raw->put(flow, "key", value(1)) == error_kind::unsupported);
    expect_refused(factory, with("omni_msgpack"), error_kind::unsupported,
                   "serializer omni_msgpack is not part of this factory; call register_msgpack of <omniconn/runtime/msgpack_part.hpp> after register_builtin_connectors "
                   "(CMake target omniconn::msgpack), or set `serializer: raw`");
    expect_refused(factory, with("nonsense"), error_kind::misconfigured, "serializer is 'nonsense', which is none of: raw, omni_msgpack");
    expect_refused(factory, with(7), error_kind::misconfigured, "serializer is the integer 7, expected a text; put it in quotes");
  }
}

// --- which layout -------------------------------------------------------------------------------------------------------

TEST(builtin, shared_memory_is_upstreams_layout_unless_somebody_says_otherwise) {
  variable const layout("OMNICONN_SHM_LAYOUT", nullptr);
  auto const factory = builtin_factory();
  shm_test::fresh_space const space;
  EXPECT_EQ(opened(factory, "SharedMemoryConnector", in(space)).facts().name, "shm_segment");
  EXPECT_EQ(opened(factory, "SharedMemoryConnector", in(space, {{"layout", "upstream"}})).facts().name, "shm_segment");
  EXPECT_EQ(opened(factory, "SharedMemoryConnector", in(space, {{"layout", "omniconn"}})).facts().name, "shm");
  expect_refused(factory, {"SharedMemoryConnector", in(space, {{"layout", "Omniconn"}})}, error_kind::misconfigured,
                 "layout is 'Omniconn', which is none of: omniconn, upstream");
  expect_refused(factory, {"SharedMemoryConnector", in(space, {{"layout", 1}})}, error_kind::misconfigured, "layout is the integer 1, expected a text; put it in quotes");
}

// As Python's connector behaves: one segment per key, a live key is replaced, cleanup takes the key and nothing that only begins with it.
TEST(builtin, shared_memory_in_upstreams_layout_does_as_upstream_does) {
  auto const factory = builtin_factory();
  segment_test::folder const folder;
  auto const extra = [&](value::map more) {
    value out = value::object({{"layout", "upstream"}, {"directory", folder.path()}, {"shm_threshold_bytes", 65536}});
    for (auto& [key, item] : more) out.set(*key.if_string(), std::move(item));
    return out;
  };
  auto sender = opened(factory, "SharedMemoryConnector", extra({})), receiver = opened(factory, "SharedMemoryConnector", extra({}));
  auto const put = sender.put(flow, "r7", bytes_of(std::string_view("first")));
  ASSERT_TRUE(put) << put.error().message();
  EXPECT_EQ(folder.read("r7"), "first") << "the payload and nothing else, whatever shm_threshold_bytes says";
  EXPECT_TRUE(folder.has("shm_r7_lockfile.lock"));
  ASSERT_TRUE(sender.put(flow, "r7", bytes_of(std::string_view("second"))));
  {
    auto got = receiver.get_view(flow, "r7", at_once());
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_EQ(text_of(got->bytes()), "second");
  }
  EXPECT_TRUE(folder.files().empty()) << "segment and lock file are gone with the one that read";

  ASSERT_TRUE(sender.put(flow, "r7", bytes_of(std::string_view("x"))));
  ASSERT_TRUE(sender.put(flow, "r7_0", bytes_of(std::string_view("y"))));
  EXPECT_EQ(*sender.cleanup("r7"), 1U);
  EXPECT_TRUE(folder.has("r7_0"));
  auto affix = opened(factory, "SharedMemoryConnector", extra({{"cleanup", "affix"}}));
  EXPECT_EQ(*affix.cleanup("r7"), 1U);
  EXPECT_TRUE(folder.files().empty());

  auto careful = opened(factory, "SharedMemoryConnector", extra({{"on_existing", "fail"}}));
  ASSERT_TRUE(careful.put(flow, "r8", bytes_of(std::string_view("x"))));
  EXPECT_TRUE(careful.put(flow, "r8", bytes_of(std::string_view("y"))) == error_kind::already_exists);
  careful.close();
  EXPECT_TRUE(folder.files().empty()) << "close takes what nobody has read";

  auto inlined = opened(factory, "SharedMemoryConnector", extra({{"inline_payloads", true}, {"shm_threshold_bytes", 10}}));
  auto const small = inlined.put(flow, "r9", bytes_of(std::string_view("0123456789")));
  ASSERT_TRUE(small);
  EXPECT_TRUE(folder.files().empty()) << "it travels in the metadata";
  auto const metadata = inlined.metadata(*small);
  ASSERT_NE(metadata.find("inline_bytes"), nullptr);
  auto const where = receiver.from_metadata(value::object({{"r9", metadata}}));  // wrapped, as some of Python's callers have it
  ASSERT_TRUE(where) << where.error().message();
  auto how = at_once();
  how.where = &where->where;
  auto got = receiver.get_view(flow, "r9", how);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(text_of(got->bytes()), "0123456789");
  expect_refused(factory, {"SharedMemoryConnector", extra({{"readers", 2}})}, error_kind::misconfigured,
                 "readers asks for more than one reader of any name, which vLLM-Omni's layout cannot do; remove it, or set `layout: omniconn` where every stage is ours");
}

// Also without a configuration file.
TEST(builtin, the_environment_says_which_layout_where_the_options_do_not) {
  variable const layout("OMNICONN_SHM_LAYOUT", "omniconn");
  auto const factory = builtin_factory();
  shm_test::fresh_space const space;
  EXPECT_EQ(opened(factory, "SharedMemoryConnector", in(space)).facts().name, "shm");
  EXPECT_EQ(opened(factory, "SharedMemoryConnector", in(space, {{"layout", nullptr}})).facts().name, "shm");
  EXPECT_EQ(opened(factory, "SharedMemoryConnector", in(space, {{"layout", "upstream"}})).facts().name, "shm_segment");

  for (char const* word : {"upstream", ""}) {
    layout.set(word);
    EXPECT_EQ(opened(factory, "SharedMemoryConnector", in(space)).facts().name, "shm_segment");
  }
  layout.set("ours");
  expect_refused(factory, {"SharedMemoryConnector", in(space)}, error_kind::misconfigured,
                 "OMNICONN_SHM_LAYOUT is 'ours'; set it to omniconn (no Python stage takes part) or upstream, or unset it");
  EXPECT_TRUE(factory.create({"SharedMemoryConnector", in(space, {{"layout", "omniconn"}})})) << "what is written counts";
  EXPECT_TRUE(factory.create({"ShmConnector", in(space)})) << "no business of a connector whose layout is ours by name";
}

// --- which namespace ----------------------------------------------------------------------------------------------------

TEST(builtin, namespaces_do_not_see_each_other) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector", "SealedShmConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const here, elsewhere;
    auto one = opened(factory, name, in(here)), other = opened(factory, name, in(elsewhere)), same = opened(factory, name, in(here));
    ASSERT_TRUE(one.put(flow, "key", bytes_of("x")));
    EXPECT_EQ(get_kind(other, "key"), error_kind::not_found);
    EXPECT_EQ(get_kind(same, "key"), error_kind{});
  }
}

TEST(builtin, the_environment_says_which_namespace_where_the_options_do_not) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector", "SealedShmConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const space;
    variable const from_environment("OMNICONN_NAMESPACE", space.name().c_str());
    auto told = opened(factory, name, in(space));
    auto unsaid = opened(factory, name, in(space, {{"namespace", nullptr}})), empty = opened(factory, name, in(space, {{"namespace", ""}}));
    for (auto* const other : {&unsaid, &empty}) {
      ASSERT_TRUE(told.put(flow, "key", bytes_of("x")));
      EXPECT_EQ(get_kind(*other, "key"), error_kind{});
    }
  }
  variable const none("OMNICONN_NAMESPACE", nullptr);
  auto named = opened(factory, "InprocConnector", value::object({{"namespace", "default"}})), unsaid = opened(factory, "InprocConnector", value::map{});
  ASSERT_TRUE(named.put(flow, "key", bytes_of("x")));
  EXPECT_EQ(get_kind(unsaid, "key"), error_kind{});
}

}  // namespace
