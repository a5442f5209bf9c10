// SPDX-License-Identifier: Apache-2.0
// The keying suite over every model, and over the smallest one that can be written.
#include <omniconn/keying/edge_suffix.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/testing/keying_conformance.hpp>

#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;

/// A namespace that needs escapes, and long stage names' worth of it.
struct odd_namespace : namespaced_keying {
  using namespaced_keying::namespaced_keying;
};

/// The smallest keying, as docs/concepts/keying.md shows it.
// One name space per reading stage: "thinker|req7_0".
class reader_keying {
 public:
  struct options {};
  static constexpr std::string_view name = "reader";
  static constexpr bool injective = false;  // the writer's name is not in it

  reader_keying() = default;
  explicit reader_keying(options const&) {}

  result<wire_key> make(edge flow, std::string_view key, key_scratch& scratch, std::size_t max) const {
    if (key.size() > max_key_size) return {error_kind::too_large, "the key is longer than 4096 bytes; use a shorter key"};
    std::size_t const size = flow.to.size() + 1 + key.size();
    if (size > max) return {error_kind::too_large, "stage name and key are longer than the transport takes; use shorter names"};
    scratch.start(size);
    scratch.append(flow.to);
    scratch.append("|");
    scratch.append(key);
    return scratch.view();
  }

  bool belongs(wire_key wire, std::string_view request) const {
    std::size_t const end = wire.find('|');
    return end != wire_key::npos && key_of_request(wire.substr(end + 1), request);
  }
};

}  // namespace

OMNICONN_BEGIN_NAMESPACE
template <>
struct keying_conformance_options<odd_namespace> {
  static namespaced_keying_options make() { return {"a/b#%\xff"}; }
};

using all_keyings = ::testing::Types<raw_keying, at_keying, colon_keying, namespaced_keying, odd_namespace, reader_keying>;
INSTANTIATE_TYPED_TEST_SUITE_P(all, keying_conformance, all_keyings);
OMNICONN_END_NAMESPACE
