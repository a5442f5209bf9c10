// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// libFuzzer target: whatever a master, an engine or a metadata server answers is read, or refused, and nothing beyond it is looked at. The first byte says who
// speaks, the second how the answer is cut into pieces.
//
//   clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/mooncake_fuzz.cpp -o mooncake_fuzz
//   mkdir -p corpus && ./mooncake_fuzz -max_total_time=120 corpus
#include <omniconn/detail/net/http.hpp>
#include <omniconn/transport/mooncake/engine/descriptor.hpp>
#include <omniconn/transport/mooncake/engine/frames.hpp>
#include <omniconn/transport/mooncake/master.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

using namespace omniconn;
using namespace omniconn::detail;
using namespace omniconn::detail::mooncake;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}
template <class T>
void require_honest(result<T> const& r) {
  require(r || (*r.error().text() != '\0' && r.error().kind() != error_kind{}));
}

/// Lets a dialogue hear an answer, in pieces of at most `most` bytes. \returns whether it took it for whole
bool hears(net::dialogue& d, const_bytes answer, std::size_t most) {
  std::vector<iovec> question;
  d.ask(question);
  require(!question.empty());
  while (!answer.empty()) {
    mutable_bytes const room = d.room();
    if (room.empty()) return true;
    std::size_t const n = std::min({room.size(), answer.size(), most});
    std::memcpy(room.data(), answer.data(), n);
    answer = answer.subspan(n);
    if (auto const good = d.heard(n); !good) {
      require_honest(good);
      return false;
    }
  }
  return d.room().empty();
}

/// With the type in front that the reader expects, so that the values behind it are reached.
template <std::size_t N, class Read>
void reads(const_bytes bytes, wire_type<N> const& type, Read read) {
  require_honest(read(bytes));
  std::vector<std::byte> message;
  packer(message, type, bytes.empty() ? 0 : static_cast<std::size_t>(bytes[0]) << 4U);
  message.insert(message.end(), bytes.begin(), bytes.end());
  require_honest(read(message));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  if (size < 2) return 0;
  const_bytes const bytes = std::as_bytes(std::span(data + 2, size - 2));
  std::size_t const most = std::size_t{data[1]} + 1;
  switch (data[0] % 10) {
    case 0: reads(bytes, types::nothing, [](const_bytes b) { return read_nothing(b); }); break;
    case 1: reads(bytes, types::boolean, [](const_bytes b) { return read_flag(b); }); break;
    case 2: reads(bytes, types::text, [](const_bytes b) { return read_text(b); }); break;
    case 3: reads(bytes, types::pong, [](const_bytes b) { return read_pong(b); }); break;
    case 4: reads(bytes, types::replicas, [](const_bytes b) { return read_replicas(b); }); break;
    case 5: reads(bytes, types::found, [](const_bytes b) { return read_found(b); }); break;
    case 6: {
      auto const about = engine_descriptor::parse(text_of(bytes));
      require_honest(about);
      if (about) require(engine_descriptor::parse(about->to_json()).has_value());
      break;
    }
    case 7: {
      handshake_dialogue d("{}");
      if (hears(d, bytes, most)) require(d.json().size() <= bytes.size());
      break;
    }
    case 8: {
      std::vector<std::byte> memory(100);
      mutable_bytes const to(memory);
      transfer_dialogue d;
      d.read(1, std::span(&to, 1));
      if (hears(d, bytes, most)) require(bytes.size() >= 108);
      break;
    }
    default: {
      net::http_dialogue d("GET", {{"h", 1}, "/metadata"}, "key=k");
      if (hears(d, bytes, most)) require(d.body().size() <= bytes.size());
      if (bytes.size() >= rpc_reply{}.size + reply_header) {
        std::array<std::byte, reply_header> header;
        std::memcpy(header.data(), bytes.data(), header.size());
        auto const reply = rpc_reply::of(header);
        require_honest(reply);
        if (reply) require_honest(reply->refusal());
      }
    }
  }
  return 0;
}
