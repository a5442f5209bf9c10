// SPDX-License-Identifier: Apache-2.0
// A connector over a real store, as the tests of this folder open it; and Mooncake's own Python client.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/mooncake_store.hpp>
#include <support/spoken_child.hpp>

#include "cluster.hpp"

namespace mooncake_real {

using namespace omniconn;

/// Keys as they are, so that Python has the same.
using plain = connector<mooncake_store_transport, raw_serializer, raw_keying, heap_allocator>;
inline constexpr edge hop{"producer", "consumer"};

inline plain::options options_for(master const& m) {
  plain::options o;
  o.transport.master = m.address();
  o.transport.connect_timeout = std::chrono::seconds(1);
  o.transport.silence_timeout = std::chrono::seconds(3);
  o.defaults.envelope = false;
  o.defaults.checksum = false;
  return o;
}
inline plain open(plain::options const& o) {
  auto made = plain::open(o);
  EXPECT_TRUE(made) << made.error().message();
  if (!made) std::abort();
  return std::move(*made);
}
inline plain open(master const& m) { return open(options_for(m)); }

inline get_options within(std::chrono::nanoseconds span) {
  get_options o;
  o.until = deadline::after(span);
  return o;
}

class python_client {
 public:
  python_client(master const& m, std::string const& metadata = "P2PHANDSHAKE", std::uint64_t segment = 0)
      : folder_(std::filesystem::temp_directory_path() / ("omniconn-mooncake-" + std::to_string(detail::random_u64()))),
        process_({"setpriv", "--pdeathsig", "KILL", "env", "MC_TCP_BIND_ADDRESS=127.0.0.1", "PYTHONUNBUFFERED=1", programs() + "/../../../../bin/python", OMNICONN_TEST_SOURCE_DIR "/mooncake_real/peer.py"}) {
    std::filesystem::create_directory(folder_);
    EXPECT_EQ(process_.ask("open " + m.address() + " " + metadata + " " + std::to_string(segment)), "code 0");
  }
  python_client(python_client const&) = delete;
  python_client& operator=(python_client const&) = delete;
  ~python_client() { std::filesystem::remove_all(folder_); }

  void put(std::string const& key, const_bytes data) {
    std::ofstream(file(), std::ios::binary).write(reinterpret_cast<char const*>(data.data()), static_cast<std::streamsize>(data.size()));
    EXPECT_EQ(process_.ask("put " + key + " " + file()), "code 0");
  }
  std::vector<std::byte> get(std::string const& key) {
    std::string const said = process_.ask("get " + key + " " + file());
    std::vector<std::byte> out(std::filesystem::file_size(file()));
    std::ifstream(file(), std::ios::binary).read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
    EXPECT_EQ(said, "bytes " + std::to_string(out.size()));
    return out;
  }
  std::string ask(std::string const& command) { return process_.ask(command); }

 private:
  [[nodiscard]] std::string file() const { return (folder_ / "payload").string(); }
  std::filesystem::path folder_;
  test::spoken_child process_;
};

}  // namespace mooncake_real
