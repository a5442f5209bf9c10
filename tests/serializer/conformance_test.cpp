// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
#include <omniconn/testing/serializer_conformance.hpp>

#include <omniconn/serializer/omni_msgpack.hpp>
#include <omniconn/serializer/raw.hpp>

namespace {

// The smallest model, as docs/concepts/serializer.md shows it: bytes go in, nothing comes out but through the payload.
struct smallest_serializer {
  struct options {};
  static constexpr std::string_view name = "smallest";

  smallest_serializer() = default;
  explicit smallest_serializer(options const&) {}

  omniconn::result<omniconn::payload_kind> encode(omniconn::const_bytes const& payload, omniconn::gather_list& out) const {
    out.reference(payload);
    return omniconn::payload_kind::raw;
  }
  template <class P>
    requires std::same_as<P, omniconn::const_bytes> omniconn::result<P> decode(omniconn::encoded from)
  const { return from.bytes; }
};

}  // namespace

using namespace omniconn;
INSTANTIATE_TYPED_TEST_SUITE_P(smallest, serializer_conformance, smallest_serializer);
INSTANTIATE_TYPED_TEST_SUITE_P(raw, serializer_conformance, raw_serializer);
INSTANTIATE_TYPED_TEST_SUITE_P(omni_msgpack, serializer_conformance, omni_msgpack_serializer);
