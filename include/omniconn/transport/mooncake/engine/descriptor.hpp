// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// What a transfer engine tells others of itself: where it listens, and which memory they may read and write.
#pragma once

#if !__has_include(<nlohmann/json.hpp>)
#error "omniconn: <nlohmann/json.hpp> was not found: install Debian's package nlohmann-json3-dev and link the CMake target omniconn::mooncake"
#endif
#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::mooncake {

struct engine_descriptor {
  struct buffer {
    std::uint64_t address = 0, size = 0;
  };
  std::string name, protocol = "tcp";
  std::string data_host;  ///< empty: where the name is answered
  std::uint16_t data_port = 0;
  std::uint64_t version = 2;  ///< of the frames of a transfer
  std::vector<buffer> buffers{};

  [[nodiscard]] std::string to_json() const {
    auto list = nlohmann::json::array();
    for (auto const& b : buffers) list.push_back({{"name", "cpu:0"}, {"addr", b.address}, {"length", b.size}});
    nlohmann::json const all{{"name", name}, {"protocol", protocol}, {"tcp_data_host", data_host}, {"tcp_data_port", data_port}, {"tcp_proto_version", version}, {"rdma_server_name", ""}, {"timestamp", ""}, {"buffers", list}};
    return all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

  /// \errors `malformed`; `unsupported`: another protocol than tcp; `version_mismatch`: frames without a status
  [[nodiscard]] static result<engine_descriptor> parse(std::string_view text) {
    error const wrong{error_kind::malformed, "a storage node describes itself in another way than Mooncake 0.3.13.post1 does"};
    auto const read = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
    if (!read.is_object()) return wrong;
    auto const text_at = [&read](char const* key, std::string& to) {
      auto const at = read.find(key);
      if (at == read.end() || !at->is_string()) return false;
      to = at->get_ref<std::string const&>();
      return true;
    };
    auto const number = [](nlohmann::json const& in, char const* key, std::uint64_t& to) {
      auto const at = in.find(key);
      if (at == in.end() || !at->is_number_unsigned()) return false;
      to = at->get<std::uint64_t>();
      return true;
    };
    engine_descriptor out;
    if (!text_at("name", out.name) || !text_at("protocol", out.protocol)) return wrong;
    if (out.protocol != "tcp") return error(error_kind::unsupported, "a storage node offers its memory by another protocol than tcp; start it with --protocol=tcp");
    static_cast<void>(text_at("tcp_data_host", out.data_host));
    std::uint64_t port = 0;
    if (!number(read, "tcp_data_port", port) || port == 0 || port > 65'535) return wrong;
    out.data_port = static_cast<std::uint16_t>(port);
    if (!number(read, "tcp_proto_version", out.version) || out.version < 2)
      return error(error_kind::version_mismatch, "a storage node is of a Mooncake release that does not say when bytes have arrived; run 0.3.13.post1");
    auto const list = read.find("buffers");
    if (list == read.end() || !list->is_array()) return wrong;
    for (auto const& b : *list) {
      buffer one;
      if (!b.is_object() || !number(b, "addr", one.address) || !number(b, "length", one.size)) return wrong;
      out.buffers.push_back(one);
    }
    return out;
  }
};

}  // namespace detail::mooncake

OMNICONN_END_NAMESPACE
