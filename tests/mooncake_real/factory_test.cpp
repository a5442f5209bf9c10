// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake msgpack
// omniconn-test: together
// omniconn-test: costly
// By name and configuration, as a pipeline opens it.
#include <omniconn/runtime/mooncake.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>

#include "client.hpp"

namespace {

using namespace mooncake_real;

connector_factory const& factory() {
  static connector_factory const made = [] {
    connector_factory out;
    register_builtin_connectors(out);
    register_mooncake<omni_msgpack_serializer, raw_serializer>(out);
    return out;
  }();
  return made;
}
value settings(value::map more = {}) {
  value out = value::object({{"host", "127.0.0.1"}, {"metadata_server", "P2PHANDSHAKE"}, {"master", cluster::shared().master.address()}, {"segment", 0}, {"localbuf", 67108864}, {"proto", "tcp"}, {"rdma", ""}});
  for (auto& [key, item] : more) out.set(*key.if_string(), item);
  return out;
}

TEST(mooncake_factory, both_names_open_it) {
  for (std::string const name : {"MooncakeStoreConnector", "MooncakeConnector"}) {
    auto c = factory().create({name, settings()});
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_EQ(c->facts().name, "mooncake_store");
    value const dict = value::object({{"text", "héllo"}, {"n", 7}, {"bytes", blob::copy(test_pattern(5000, 1))}});
    ASSERT_TRUE(c->put(hop, "dict", dict));
    auto const got = c->get<value>(hop, "dict", within(std::chrono::seconds(5)));
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_EQ(*got, dict);
    python_client theirs(cluster::shared().master);
    auto const stored = theirs.get("dict@producer_consumer");
    ASSERT_GT(stored.size(), 5000U);
    EXPECT_EQ(stored.front(), std::byte{0x83}) << "a msgpack map of three, with nothing in front";
    cluster::shared().clear();
  }
}

TEST(mooncake_factory, options_that_cannot_work_are_told) {
  struct wrong {
    char const* option;
    value found;
    char const* text;
  };
  for (auto const& [option, found, text] : {
           wrong{"master", "nowhere", "master is 'nowhere', expected HOST:PORT as in 127.0.0.1:50051"},
           wrong{"metadata_server", "ftp://x", "metadata_server is 'ftp://x', expected P2PHANDSHAKE or http://HOST:PORT/metadata"},
           wrong{"proto", "rdma", "proto is 'rdma', which is not built"},
           wrong{"segment", 1000, "segment must be 16 MiB or more"},
           wrong{"host", "192.0.2.1", ""},
           wrong{"readers", 2, "does not know who has read an object"},
           wrong{"replicas", 0, "replicas is 0"},
           wrong{"on_full", "wait", "can neither wait for room"},
       }) {
    auto s = settings({{value(option), found}});
    if (std::string_view(option) == "host") s.set("segment", std::uint64_t{16} << 20U);
    auto const c = factory().create({"MooncakeStoreConnector", s});
    ASSERT_FALSE(c) << option;
    EXPECT_NE(c.error().message().find(text), std::string::npos) << c.error().message();
  }
}

}  // namespace
