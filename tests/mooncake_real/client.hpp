// SPDX-License-Identifier: Apache-2.0
// A connector over a real store, as the tests of this folder open it; and Mooncake's own Python client.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

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
      : process_({"setpriv", "--pdeathsig", "KILL", "env", "GLOG_minloglevel=2", "MC_TCP_BIND_ADDRESS=127.0.0.1", "PYTHONUNBUFFERED=1", programs() + "/../../../../bin/python", OMNICONN_TEST_SOURCE_DIR "/mooncake_real/peer.py"}) {
    EXPECT_EQ(process_.ask("open " + m.address() + " " + metadata + " " + std::to_string(segment)), "code 0");
  }

  void put(std::string const& key, const_bytes data) {
    EXPECT_EQ(::ftruncate(file_.get(), 0), 0);
    for (std::size_t done = 0; done != data.size();) {
      ssize_t const n = ::pwrite(file_.get(), data.data() + done, data.size() - done, static_cast<off_t>(done));
      ASSERT_GT(n, 0);
      done += static_cast<std::size_t>(n);
    }
    EXPECT_EQ(process_.ask("put " + key + " " + file()), "code 0");
  }
  std::vector<std::byte> get(std::string const& key) {
    std::string const said = process_.ask("get " + key + " " + file());
    std::vector<std::byte> out(static_cast<std::size_t>(::lseek(file_.get(), 0, SEEK_END)));
    for (std::size_t done = 0; done != out.size();) {
      ssize_t const n = ::pread(file_.get(), out.data() + done, out.size() - done, static_cast<off_t>(done));
      if (n <= 0) break;
      done += static_cast<std::size_t>(n);
    }
    EXPECT_EQ(said, "bytes " + std::to_string(out.size()));
    return out;
  }
  std::string ask(std::string const& command) { return process_.ask(command); }

 private:
  /// Payloads pass through memory that Python opens by this name: nothing is left of it when a test dies.
  [[nodiscard]] std::string file() const { return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_.get()); }
  omniconn::detail::unique_fd file_{::memfd_create("payload", MFD_CLOEXEC)};
  test::spoken_child process_;
};

}  // namespace mooncake_real
