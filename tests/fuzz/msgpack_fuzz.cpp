// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// libFuzzer target: any bytes decode to an error or to a value, and a value written and read again is the same.
//
//   clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/msgpack_fuzz.cpp -o msgpack_fuzz
//   mkdir -p corpus && ./msgpack_fuzz -max_total_time=120 corpus tests/data/msgpack_corpus
#include <omniconn/serializer/omni_msgpack.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

using namespace omniconn;

namespace {

struct inner {
  int x = 0;
  double y = 0;
  MSGPACK_DEFINE(x, y)
};
struct outer {
  std::string id;
  std::vector<inner> list;
  std::optional<tensor_view> tensor;
  std::map<std::string, std::vector<std::uint8_t>> blobs;
  std::tuple<int, bool, std::array<float, 2>> triple;
  value rest;
  MSGPACK_DEFINE_MAP(id, list, tensor, blobs, triple, rest)
};

void require(bool holds) {
  if (!holds) std::abort();
}
// Errors speak of the bytes; memory does not run out over a few kilobytes.
void require_honest(error const& e) {
  require((e.kind() == error_kind::malformed || e.kind() == error_kind::too_large) && *e.text() != '\0');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  const_bytes const bytes = std::as_bytes(std::span(data, size));
  omni_msgpack_serializer const serializer;
  encoded const from{payload_kind::object, bytes};

  auto const v = serializer.decode<value>(from);
  if (v) {
    // NaN equals nothing, so bytes are compared: the first writing is canonical, the second has to repeat it.
    auto const once = to_msgpack(*v);
    require(once.has_value() && once->size() <= size);
    auto const again = from_msgpack(*once);
    require(again.has_value());
    require(*to_msgpack(*again) == *once);
  } else {
    require_honest(v.error());
  }

  // A tensor read directly is the tensor that the value shows, and neither reads outside the input.
  auto const t = serializer.decode<tensor_view>(from);
  auto const viewed = v ? as_tensor(*v) : result<tensor_view>(v.error());
  require(t.has_value() == viewed.has_value());
  if (t) {
    require(t->type() == viewed->type() && t->shape() == viewed->shape() && t->data() == viewed->data());
    require(t->size_bytes() == 0 || (t->data() >= bytes.data() && t->data() + t->size_bytes() <= bytes.data() + size));
    require(as_tensor(to_value(*t)).has_value());
  } else {
    require_honest(t.error());
    require(t.error().kind() == viewed.error().kind());
  }
  if (v) {
    static_cast<void>(is_ndarray(*v));
    static_cast<void>(is_image(*v));
  }

  if (auto const b = serializer.decode<const_bytes>(from); !b) require_honest(b.error());
  if (auto const o = serializer.decode<outer>(from)) {
    gather_list list;
    require(serializer.encode(*o, list).has_value());
  } else {
    require_honest(o.error());
  }
  return 0;
}
