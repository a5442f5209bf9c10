// SPDX-License-Identifier: Apache-2.0
// omniconn-part: json
// omniconn-test: together
// omniconn-test: costly
// vLLM-Omni's own MooncakeStoreConnector on the other side: dicts with tensors, in both directions.
#include <cstdint>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include <omniconn/core/tensor_value.hpp>
#include <omniconn/runtime/json.hpp>
#include <omniconn/runtime/mooncake.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>

#include "client.hpp"

namespace {

using namespace mooncake_real;
using stage = mooncake_store_connector<omni_msgpack_serializer>;

/// A stage of Python's, spoken to in lines of JSON.
class python_stage {
 public:
  explicit python_stage(master const& m) : process_({"setpriv", "--pdeathsig", "KILL", "env", "GLOG_minloglevel=2", "MC_TCP_BIND_ADDRESS=127.0.0.1", programs() + "/../../../../bin/python", OMNICONN_TEST_SOURCE_DIR "/python/peer.py"}, false) {
    auto const said = ask({{"cmd", "open"}, {"connector", "MooncakeStoreConnector"}, {"extra", value::object({{"master", m.address()}, {"metadata_server", "P2PHANDSHAKE"}, {"segment", 0}, {"localbuf", 128 << 20}})}});
    EXPECT_EQ(text(said, "type"), "MooncakeStoreConnector") << text(said, "error");
  }
  value ask(std::initializer_list<value::entry> command) {
    auto const line = to_json(value::object(command));
    auto said = parse_json(process_.ask(line));
    EXPECT_TRUE(said);
    return said ? std::move(*said) : value();
  }
  static std::string text(value const& reply, std::string_view field) {
    auto const* v = reply.find(field);
    return v == nullptr ? "" : std::string(v->as_string().value_or(""));
  }
  static bool yes(value const& reply, std::string_view field) {
    auto const* v = reply.find(field);
    return v != nullptr && v->as_bool().value_or(false);
  }

 private:
  test::spoken_child process_;
};

stage open_stage(master const& m) {
  stage::options o;
  o.transport = options_for(m).transport;
  o.defaults.envelope = false;
  return std::move(stage::open(o).value());
}

class mooncake_upstream : public testing::Test {
 protected:
  master const& m = cluster::shared().master;
  stage ours = open_stage(m);
  python_stage theirs{m};

  /// Python puts what `payload` describes, we read it, put what we read, and Python compares.
  void there_and_back(std::string const& name, value const& payload) {
    SCOPED_TRACE(name);
    auto const put = theirs.ask({{"cmd", "put"}, {"key", name}, {"payload", payload}, {"from", hop.from}, {"to", hop.to}});
    ASSERT_TRUE(python_stage::yes(put, "ok")) << to_json(put);
    auto const got = ours.get_view(hop, name, within(std::chrono::seconds(10)));
    ASSERT_TRUE(got) << got.error().message();
    auto const object = got->as<value>();
    ASSERT_TRUE(object) << object.error().message();
    ASSERT_TRUE(ours.put(hop, name + "-back", *object));
    auto const back = theirs.ask({{"cmd", "get"}, {"key", name + "-back"}, {"from", hop.from}, {"to", hop.to}, {"timeout", 10.0}, {"compare", payload}});
    EXPECT_TRUE(python_stage::yes(back, "found") && python_stage::yes(back, "equal")) << to_json(back);
    EXPECT_EQ(ours.cleanup(hop, name).value_or(0), 1U);
    EXPECT_EQ(ours.cleanup(hop, name + "-back").value_or(0), 1U);
  }
};

TEST_F(mooncake_upstream, dicts_with_tensors_go_both_ways) {
  for (std::int64_t seed = 0; seed != 20; ++seed)  // any 20 have tensors of every dtype
    there_and_back("dict" + std::to_string(seed), value::object({{"seed", seed}, {"bytes", 20'000}}));
  there_and_back("large", value::object({{"seed", 77}, {"bytes", 32 << 20}}));
  there_and_back("hidden", value::object({{"tensor", value::list({64, 1024})}, {"dtype", "bfloat16"}, {"seed", 1}}));
}

TEST_F(mooncake_upstream, our_tensors_are_theirs) {
  std::vector<float> numbers(12);
  for (std::size_t i = 0; i != numbers.size(); ++i) numbers[i] = static_cast<float>(i) / 4;
  auto const tensor = tensor_view::make(dtype::float32, {3, 4}, bytes_of(std::span<float const>(numbers)));
  ASSERT_TRUE(tensor);
  auto const object = value::object({{"hidden_states", to_value(*tensor)}, {"step", 7}, {"name", "größe"}});
  ASSERT_TRUE(ours.put(hop, "ours", object));
  omniconn::detail::unique_fd const file(::memfd_create("object", MFD_CLOEXEC));
  auto const got = theirs.ask({{"cmd", "get"}, {"key", "ours"}, {"from", hop.from}, {"to", hop.to}, {"timeout", 10.0}, {"out", "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file.get())}});
  ASSERT_TRUE(python_stage::yes(got, "found")) << to_json(got);
  EXPECT_EQ(python_stage::text(got, "type"), "dict");
  // What Python makes of it again are the bytes that we had made.
  auto const stored = ours.get_view(hop, "ours", within(std::chrono::seconds(10)));
  ASSERT_TRUE(stored);
  std::vector<std::byte> again(stored->bytes().size() + 1);
  EXPECT_EQ(::pread(file.get(), again.data(), again.size(), 0), static_cast<ssize_t>(stored->bytes().size()));
  EXPECT_TRUE(same_bytes(const_bytes(again).first(stored->bytes().size()), stored->bytes()));
  EXPECT_EQ(ours.cleanup(hop, "ours").value_or(0), 1U);
}

TEST_F(mooncake_upstream, who_waits_is_served_by_the_other) {
  auto const payload = value::object({{"seed", 5}, {"bytes", 1000}});
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(python_stage::yes(theirs.ask({{"cmd", "put"}, {"key", "late"}, {"payload", payload}, {"from", hop.from}, {"to", hop.to}}), "ok"));
  });
  auto const got = ours.get_view(hop, "late", within(std::chrono::seconds(30)));
  late.join();
  EXPECT_TRUE(got) << got.error().message();
  EXPECT_EQ(ours.cleanup(hop, "late").value_or(0), 1U);
}

}  // namespace
