// SPDX-License-Identifier: Apache-2.0
// Exchanges between real Mooncake clients and masters, recorded at the master's port (tests/data/mooncake/).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/transport/mooncake/master.hpp>

namespace mooncake_test {

using namespace omniconn;
using namespace omniconn::detail::mooncake;

struct frame {
  std::string connection;
  bool request = false;
  std::vector<std::byte> bytes;

  /// The function of a request.
  [[nodiscard]] std::uint32_t function() const {
    std::uint32_t n = 0;
    std::memcpy(&n, bytes.data() + 8, sizeof n);
    return n;
  }
  [[nodiscard]] std::uint32_t number() const {
    std::uint32_t n = 0;
    std::memcpy(&n, bytes.data() + 4, sizeof n);
    return n;
  }
  [[nodiscard]] const_bytes body() const { return const_bytes(bytes).subspan(request ? request_header : reply_header); }
};

/// The frames of a file: "c1 > 20 1500..." a line, `>` for a request.
inline std::vector<frame> recorded(std::string const& name) {
  std::ifstream in(std::string(OMNICONN_TEST_SOURCE_DIR "/data/mooncake/") + name);
  EXPECT_TRUE(in) << name;
  std::vector<frame> out;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    frame f;
    std::string direction, digits;
    std::size_t size = 0;
    words >> f.connection >> direction >> size >> digits;
    f.request = direction == ">";
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) f.bytes.push_back(static_cast<std::byte>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    EXPECT_EQ(f.bytes.size(), size) << name;
    out.push_back(std::move(f));
  }
  return out;
}

/// The reply to each request of that function, in order.
inline std::vector<frame> replies_to(std::vector<frame> const& all, std::string_view function) {
  std::vector<frame> out;
  for (auto f = all.begin(); f != all.end(); ++f) {
    if (!f->request || f->function() != function_of(function)) continue;
    auto const reply = std::find_if(all.begin(), all.end(), [&f](frame const& r) { return !r.request && r.connection == f->connection && r.number() == f->number(); });
    if (reply != all.end()) out.push_back(*reply);
  }
  return out;
}
inline std::vector<frame> requests_of(std::vector<frame> const& all, std::string_view function) {
  std::vector<frame> out;
  std::copy_if(all.begin(), all.end(), std::back_inserter(out), [&](frame const& f) { return f.request && f.function() == function_of(function); });
  return out;
}

}  // namespace mooncake_test
