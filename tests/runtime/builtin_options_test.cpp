// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// Every option of the built-in connectors: what it does, and what is said of a value that cannot be.
#include <omniconn/runtime/builtin.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <runtime/builtin_support.hpp>
#include <support/variable.hpp>

namespace {

using namespace builtin_test;
using namespace std::chrono_literals;

connector_defaults defaults_of(value const& extra) {
  option_reader options(extra);
  auto out = detail::read_defaults(options);
  EXPECT_TRUE(options.done()) << options.done().error().message();
  return out;
}

shm_transport::options shm_options_of(value const& extra) {
  option_reader options(extra);
  auto const defaults = detail::read_defaults(options);
  auto out = detail::read_shm_options(options, defaults);
  EXPECT_TRUE(options.done()) << options.done().error().message();
  return out;
}

TEST(builtin_options, defaults) {
  auto const d = defaults_of(value::map{});
  EXPECT_TRUE(d.readers.empty());
  EXPECT_EQ(d.reader_count, 1U);
  EXPECT_EQ(d.reader, "");
  EXPECT_EQ(d.lease, 60s);
  EXPECT_EQ(d.existing, on_existing::fail);
  EXPECT_TRUE(d.checksum);
  EXPECT_EQ(d.max_get_size, UINT64_MAX);

  auto const s = shm_options_of(value::map{});
  EXPECT_EQ(s.space, "");
  EXPECT_EQ(s.memory_pool_size, std::uint64_t{1} << 30U);
  EXPECT_EQ(s.max_keys, 0U);
  EXPECT_FALSE(s.huge_pages);
  EXPECT_FALSE(s.numa_node.has_value());
  EXPECT_EQ(s.directory, "");
  EXPECT_EQ(s.reader, "default");
  EXPECT_EQ(s.spin, -1ns) << "the transport chooses";
}

TEST(builtin_options, null_is_absent) {
  value nothing = value::map{};
  for (char const* option : {"readers", "reader", "to_stage", "lease_seconds", "on_existing", "checksum", "max_get_size", "serializer", "namespace", "memory_pool_size",
                             "max_keys", "spin", "directory", "huge_pages", "numa_node"})
    nothing.set(option, nullptr);
  EXPECT_FALSE(shm_options_of(nothing).numa_node.has_value());
  EXPECT_EQ(defaults_of(nothing).lease, 60s);
  EXPECT_EQ(shm_options_of(nothing).reader, "default");
}

TEST(builtin_options, a_number_of_readers) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const space;
    auto with = [&](char const* reader) { return opened(factory, name, in(space, {{"readers", 2}, {"reader", reader}})); };
    auto a = with("a"), b = with("b"), c = with("c");
    ASSERT_TRUE(a.put(flow, "key", bytes_of("x")));
    EXPECT_EQ(get_kind(a, "key"), error_kind{});
    EXPECT_EQ(get_kind(a, "key"), error_kind::consumed) << "one share a name";
    EXPECT_EQ(get_kind(b, "key"), error_kind{});
    EXPECT_EQ(get_kind(c, "key"), error_kind::not_found) << "two had it";
  }
}

TEST(builtin_options, readers_by_name) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const space;
    auto const readers = value::list({"thinker", "monitor"});
    auto with = [&](char const* reader) { return opened(factory, name, in(space, {{"readers", readers}, {"reader", reader}})); };
    auto thinker = with("thinker"), monitor = with("monitor"), stranger = with("stranger");
    ASSERT_TRUE(thinker.put(flow, "key", bytes_of("x")));
    EXPECT_NE(get_kind(stranger, "key"), error_kind{});
    EXPECT_EQ(get_kind(monitor, "key"), error_kind{});
    EXPECT_EQ(*thinker.exists(flow, "key"), true) << "the other's share is still there";
    EXPECT_EQ(get_kind(thinker, "key"), error_kind{});
    EXPECT_EQ(*thinker.exists(flow, "key"), false);
  }
  test_support::variable const who("OMNICONN_TEST_READER", "monitor");
  EXPECT_EQ(defaults_of(value::object({{"readers", value::list({"a", "$OMNICONN_TEST_READER"})}})).readers, (std::vector<std::string>{"a", "monitor"}));
  test_support::variable const count("OMNICONN_TEST_READER", "3");
  EXPECT_EQ(defaults_of(value::object({{"readers", "${OMNICONN_TEST_READER}"}})).reader_count, 3U);
}

TEST(builtin_options, the_reader_is_the_stage_at_the_end_of_the_edge) {
  EXPECT_EQ(defaults_of(value::object({{"to_stage", 1}})).reader, "1");
  EXPECT_EQ(defaults_of(value::object({{"to_stage", "talker"}})).reader, "talker");
  EXPECT_EQ(defaults_of(value::object({{"to_stage", "talker"}, {"reader", ""}})).reader, "talker");
  EXPECT_EQ(defaults_of(value::object({{"to_stage", "talker"}, {"reader", "monitor"}})).reader, "monitor");
  EXPECT_EQ(shm_options_of(value::object({{"to_stage", 1}})).reader, "1");
}

TEST(builtin_options, whoever_has_no_name_reads_as_default) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const space;
    auto c = opened(factory, name, in(space, {{"readers", value::list({"default"})}}));
    ASSERT_TRUE(c.put(flow, "key", bytes_of("x")));
    EXPECT_EQ(get_kind(c, "key"), error_kind{});
  }
}

TEST(builtin_options, lease_outlives_the_producer_by_a_minute_or_not_at_all) {
  auto const factory = builtin_factory();
  shm_test::fresh_space const space;
  auto receiver = opened(factory, "ShmConnector", in(space));
  for (auto const& [lease, kept] : {std::pair{value(), true}, std::pair{value(0), false}, std::pair{value("1 h"), true}}) {
    auto producer = opened(factory, "ShmConnector", in(space, {{"lease_seconds", lease}}));
    ASSERT_TRUE(producer.put(flow, "key", bytes_of("last words")));
    EXPECT_EQ(*receiver.exists(flow, "key"), true);
    producer.close();
    auto got = receiver.get_view(flow, "key", at_once());
    EXPECT_EQ(got.has_value(), kept);
    if (got) {
      EXPECT_EQ(text_of(got->bytes()), "last words");
    }
  }
  EXPECT_EQ(defaults_of(value::object({{"lease_seconds", 0}})).lease, 0s);
  EXPECT_EQ(defaults_of(value::object({{"lease_seconds", 2.5}})).lease, 2500ms);
}

TEST(builtin_options, on_existing) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const space;
    auto unsaid = opened(factory, name, in(space)), fails = opened(factory, name, in(space, {{"on_existing", "fail"}}));
    auto replaces = opened(factory, name, in(space, {{"on_existing", "replace"}}));
    ASSERT_TRUE(unsaid.put(flow, "key", bytes_of("old")));
    EXPECT_TRUE(unsaid.put(flow, "key", bytes_of("new")) == error_kind::already_exists);
    EXPECT_TRUE(fails.put(flow, "key", bytes_of("new")) == error_kind::already_exists);
    EXPECT_TRUE(replaces.put(flow, "key", bytes_of("new")));
    auto got = unsaid.get_view(flow, "key", at_once());
    ASSERT_TRUE(got);
    EXPECT_EQ(text_of(got->bytes()), "new");
  }
}

TEST(builtin_options, checksum) {
  auto const factory = builtin_factory();
  shm_test::fresh_space const space;
  for (auto const& [option, by] : {std::pair{value(), checksum_kind::xxh3_64}, std::pair{value(true), checksum_kind::xxh3_64}, std::pair{value(false), checksum_kind::none}}) {
    auto c = opened(factory, "ShmConnector", in(space, {{"checksum", option}}));
    ASSERT_TRUE(c.put(flow, "key", bytes_of("x")));
    auto got = c.get_view(flow, "key", at_once());
    ASSERT_TRUE(got);
    EXPECT_EQ(got->info().checksum_by, by);
  }
}

TEST(builtin_options, max_get_size) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector"}) {
    SCOPED_TRACE(name);
    shm_test::fresh_space const space;
    auto careful = opened(factory, name, in(space, {{"max_get_size", "1 KiB"}})), open = opened(factory, name, in(space));
    ASSERT_TRUE(open.put(flow, "fits", bytes_of(std::string(1024, 'x'))));
    ASSERT_TRUE(open.put(flow, "key", bytes_of(std::string(1025, 'x'))));
    EXPECT_EQ(get_kind(careful, "fits"), error_kind{});
    EXPECT_EQ(get_kind(careful, "key"), error_kind::too_large);
    EXPECT_EQ(get_kind(open, "key"), error_kind{}) << "nothing was consumed";
  }
}

TEST(builtin_options, directory) {
  std::string folder = shm_test::root() + "/omniconn-options-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  {
    shm_test::fresh_space const space(folder);
    auto c = opened(builtin_factory(), "ShmConnector", in(space, {{"directory", folder}}));
    EXPECT_FALSE(space.files().empty());
  }
  EXPECT_EQ(::rmdir(folder.c_str()), 0);
}

TEST(builtin_options, memory_pool_size) {
  auto const factory = builtin_factory();
  shm_test::fresh_space const space;
  auto c = opened(factory, "ShmConnector", in(space, {{"memory_pool_size", "256 KiB"}}));
  auto const full = c.put(flow, "key", bytes_of(std::string(300 << 10, 'x')));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().kind(), error_kind::no_space);
  EXPECT_NE(std::string(full.error().text()).find("memory_pool_size"), std::string::npos) << full.error().text();
  EXPECT_TRUE(c.put(flow, "key", bytes_of(std::string(100 << 10, 'x'))));
  EXPECT_EQ(*c.cleanup(flow, "key"), 1U);
}

TEST(builtin_options, where_memory_comes_from) {
  auto const wanted = shm_options_of(value::object({{"huge_pages", true}, {"numa_node", 0}}));
  EXPECT_TRUE(wanted.huge_pages);
  EXPECT_EQ(wanted.numa_node, 0U);
  auto const factory = builtin_factory();
  shm_test::fresh_space const space;
  auto c = opened(factory, "ShmConnector", in(space, {{"huge_pages", true}, {"numa_node", 0}}));
  ASSERT_TRUE(c.put(flow, "key", bytes_of(std::string(100 << 10, 'x'))));
  EXPECT_EQ(c.health().memory.capacity, 2U << 20U) << "a pool of 1 MiB, in whole pages";
  EXPECT_EQ(get_kind(c, "key"), error_kind{});
  expect_refused(factory, {"ShmConnector", in(space, {{"numa_node", 1023}})}, error_kind::misconfigured,
                 "numa_node is 1023, but this process may have memory of the nodes " + detail::shm::nodes_allowed() +
                     " only, as far as they have any (/sys/devices/system/node/has_memory); set it to one of them, or leave it out");
}

TEST(builtin_options, max_keys) {
  auto const factory = builtin_factory();
  shm_test::fresh_space const few, many;
  EXPECT_EQ(opened(factory, "ShmConnector", in(few, {{"max_keys", 2000}})).health().objects.capacity, 2048U);
  EXPECT_EQ(opened(factory, "ShmConnector", in(many)).health().objects.capacity, 4096U);
}

TEST(builtin_options, spin) {
  EXPECT_EQ(shm_options_of(value::object({{"spin", 0}})).spin, 0ns);
  EXPECT_EQ(shm_options_of(value::object({{"spin", "5 us"}})).spin, 5us);
}

TEST(builtin_options, who_reads_may_be_anybody_or_many) {
  shm_test::fresh_space const space;
  auto const factory = builtin_factory();
  edge const hop{"a", "b"};
  std::vector<std::byte> const data(10);
  {
    auto cache = factory.create({"ShmConnector", in(space, {{"readers", "any"}, {"lease_seconds", 0}})});
    ASSERT_TRUE(cache) << cache.error().message();
    ASSERT_TRUE(cache->put(hop, "k", const_bytes(data), {}));
    for (int i = 0; i != 3; ++i) EXPECT_TRUE(cache->get_view(hop, "k", {deadline::immediate()})) << i;
    EXPECT_EQ(cache->cleanup(hop, "k").value_or(0), 1U);
  }
  auto many = factory.create({"ShmConnector", in(space, {{"readers", 40}, {"lease_seconds", 0}})});
  ASSERT_TRUE(many) << many.error().message();
  EXPECT_TRUE(many->put(hop, "k", const_bytes(data), {})) << "the namespace was made for its readers";
  expect_refused(factory, {"SharedMemoryConnector", in(space, {{"readers", "any"}})}, error_kind::misconfigured,
                 "readers asks for more than one reader of any name, which vLLM-Omni's layout cannot do; remove it, or set `layout: omniconn` where every stage is ours");
}

TEST(builtin_options, what_nobody_knows_is_ignored) {
  shm_test::fresh_space const space;
  EXPECT_TRUE(builtin_factory().create({"ShmConnector", in(space, {{"shm_threshold_bytes", 65536}, {"role", "sender"}, {"from_stage", 0}})}));
}

struct wrong_option {
  char const* option;
  value found;
  char const* text;
};

value a_map() { return value::object({{"a", 1}}); }

TEST(builtin_options, wrong_ones_of_every_connector) {
  auto const factory = builtin_factory();
  for (char const* name : {"ShmConnector", "InprocConnector", "SharedMemoryConnector"}) {
    for (auto const& [option, found, text] : {
             wrong_option{"readers", 0, "readers is 0, expected an integer from 1 to 4294967295"},
             {"readers", -1, "readers is the integer -1, expected an integer of at least 0; write a whole number in digits, without quotes"},
             {"readers", value::list({}), "readers is an empty list; name at least one reader, or leave it out for one reader of any name"},
             {"readers", value::list({"a", "b", "a"}), "readers names 'a' twice"},
             {"readers", value::list({"a", ""}), "readers holds an empty name, but whoever has no name reads as 'default'; name each reader"},
             {"readers", value::list({1}), "readers is the integer 1, expected texts in its list; put it in quotes"},
             {"readers", "thinker", "readers is the text 'thinker', expected a number, a list of names, or any; write ['thinker'] for one reader of that name"},
             {"readers", a_map(), "readers is a map, expected an integer of at least 0; write a whole number in digits, without quotes"},
             {"reader", 1, "reader is the integer 1, expected a text; put it in quotes"},
             {"reader", "${OMNICONN_NOT_SET}",
              "reader references unset environment variable(s): OMNICONN_NOT_SET. Original value: '${OMNICONN_NOT_SET}'; set them, or write the value itself"},
             {"lease_seconds", -1, "lease_seconds is the integer -1, expected a time from 0 to 100 years; write a number of seconds such as 2.5"},
             {"lease_seconds", "soon", "lease_seconds is the text 'soon', expected a time in seconds, from 0 to 100 years; write a number of seconds, or a text with a unit as in 250 ms"},
             {"lease_seconds", true, "lease_seconds is the bool true, expected a time in seconds, from 0 to 100 years; write a number of seconds, or a text with a unit as in 250 ms"},
             {"on_existing", "append", "on_existing is 'append', which is none of: fail, replace"},
             {"on_existing", false, "on_existing is the bool false, expected a text; put it in quotes"},
             {"checksum", "yes", "checksum is the text 'yes', expected a bool; write true or false, without quotes"},
             {"checksum", 1, "checksum is the integer 1, expected a bool; write true or false, without quotes"},
             {"max_get_size", "big", "max_get_size is the text 'big', expected a number of bytes; write an integer, or a text with a unit as in 64 MiB"},
             {"max_get_size", -5, "max_get_size is the integer -5, expected a number of bytes; write an integer, or a text with a unit as in 64 MiB"},
             {"serializer", "pickle", "serializer is 'pickle', which is none of: raw, omni_msgpack"},
             {"namespace", 5, "namespace is the integer 5, expected a text; put it in quotes"},
         }) {
      SCOPED_TRACE(option);
      shm_test::fresh_space const space;
      value extra = in(space, {{"layout", "omniconn"}});
      extra.set(option, found);
      expect_refused(factory, {name, extra}, error_kind::misconfigured, text);
      EXPECT_TRUE(space.files().empty());
    }
  }
}

TEST(builtin_options, wrong_ones_of_shared_memory) {
  auto const factory = builtin_factory();
  for (auto const& [option, found, text] : {
           wrong_option{"readers", 65, "the number of readers must be between 1 and 64, the most that transport shm can do"},
           {"max_readers", 65, "max_readers is 65, expected an integer from 0 to 64"},
           {"max_namespace_bytes", 4095, "max_namespace_bytes must be 4 KiB or more, or 0 for no limit: payload memory is counted in pages"},
           {"max_namespace_bytes", "lots", "max_namespace_bytes is the text 'lots', expected a number of bytes; write an integer, or a text with a unit as in 64 MiB"},
           {"reader", std::string(57, 'r'), "the name of a reader or stage may have 56 bytes at most"},
           {"memory_pool_size", 0, "memory_pool_size must be between 1 byte and 64 TiB"},
           {"memory_pool_size", "65 TiB", "memory_pool_size must be between 1 byte and 64 TiB"},
           {"memory_pool_size", "1 GiBi", "memory_pool_size is the text '1 GiBi', expected a number of bytes; write an integer, or a text with a unit as in 64 MiB"},
           {"max_keys", 2097153, "max_keys is 2097153, expected an integer from 0 to 2097152"},
           {"max_keys", "many", "max_keys is the text 'many', expected an integer of at least 0; write a whole number in digits, without quotes"},
           {"spin", -1, "spin is the integer -1, expected a time from 0 to 100 years; write a number of seconds such as 2.5"},
           {"huge_pages", "yes", "huge_pages is the text 'yes', expected a bool; write true or false, without quotes"},
           {"numa_node", 1024, "numa_node is 1024, expected an integer from 0 to 1023"},
           {"numa_node", -1, "numa_node is the integer -1, expected an integer of at least 0; write a whole number in digits, without quotes"},
           {"directory", 7, "directory is the integer 7, expected a text; put it in quotes"},
       }) {
    SCOPED_TRACE(option);
    shm_test::fresh_space const space;
    value extra = in(space);
    extra.set(option, found);
    expect_refused(factory, {"ShmConnector", extra}, error_kind::misconfigured, text);
    EXPECT_TRUE(space.files().empty());
  }
  shm_test::fresh_space const space;
  auto const nowhere = factory.create({"ShmConnector", in(space, {{"directory", "/nowhere/at/all"}})});
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().detail().find("/nowhere/at/all"), std::string::npos) << nowhere.error().message();
}

TEST(builtin_options, users_of_sealed_memory_are_numbers) {
  auto const factory = builtin_factory();
  shm_test::fresh_space const space;
  for (value const& right : {value::list({}), value::list({std::int64_t{4'000'000'000}})}) {
    auto c = opened(factory, "SealedShmConnector", in(space, {{"allow_users", right}}));
    ASSERT_TRUE(c.put(flow, "key", bytes_of("x")));
    EXPECT_EQ(get_kind(c, "key"), error_kind{});
  }
  expect_refused(factory, {"SealedShmConnector", in(space, {{"allow_users", "root"}})}, error_kind::misconfigured,
                 "allow_users is the text 'root', expected a list of user numbers; write [1000, 1001], as `id -u NAME` says them");
  for (auto const& [wrong, said] : std::vector<std::pair<value, std::string>>{{value("root"), "the text 'root'"}, {value(-1), "the integer -1"}, {value(4294967295), "the integer 4294967295"}})
    expect_refused(factory, {"SealedShmConnector", in(space, {{"allow_users", value::list({wrong})}})}, error_kind::misconfigured,
                   "allow_users holds " + said + ", expected user numbers; `id -u NAME` says them");
  shm_sealed_transport::options o;  // the folder of several users stays
  o.space = space.name();
  o.directory = shm_test::root();
  o.allow_users = {4'000'000'000};
  EXPECT_EQ(::rmdir(shm_sealed_transport::open(o)->folder().c_str()), 0);
  auto const limited = factory.create({"SealedShmConnector", in(space, {{"on_full", "wait"}})});
  ASSERT_FALSE(limited);
  EXPECT_EQ(limited.error().kind(), error_kind::unsupported) << limited.error().message();
}

// A file is mended in one go.
TEST(builtin_options, all_wrong_ones_are_told_at_once) {
  shm_test::fresh_space const space;
  expect_refused(builtin_factory(), {"ShmConnector", in(space, {{"readers", 0}, {"checksum", 1}, {"serializer", "pickle"}, {"max_keys", -1}})}, error_kind::misconfigured,
                 "readers is 0, expected an integer from 1 to 4294967295; checksum is the integer 1, expected a bool; write true or false, without quotes; "
                 "max_keys is the integer -1, expected an integer of at least 0; write a whole number in digits, without quotes; "
                 "serializer is 'pickle', which is none of: raw, omni_msgpack");
  expect_refused(builtin_factory(), {"ShmConnector", value::list({1})}, error_kind::misconfigured, "the options must be a map of names to values, not a list");
}

}  // namespace
