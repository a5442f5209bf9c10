// SPDX-License-Identifier: Apache-2.0
#include <omniconn/keying/namespaced.hpp>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace {

using namespace omniconn;
using namespace std::string_view_literals;

static_assert(explain_keying<namespaced_keying>());
static_assert(namespaced_keying::injective);
static_assert(namespaced_keying::name == "namespaced");

constexpr std::size_t head = std::string_view("default/encoder/thinker").size();

std::string wire(edge flow, std::string_view key, std::size_t max = 4096, namespaced_keying const& keying = namespaced_keying()) {
  key_scratch scratch;
  auto const made = keying.make(flow, key, scratch, max);
  return made ? std::string(made.value()) : std::string("error: ") + std::string(to_string(made.error().kind()));
}

TEST(namespaced_keying, plain_names_stay_readable) {
  EXPECT_EQ(wire({"encoder", "thinker"}, "req7_0"), "default/encoder/thinker/req7_0");
  EXPECT_EQ(wire({"0", "1"}, "k", 4096, namespaced_keying({"prod"})), "prod/0/1/k");
  EXPECT_EQ(wire({"a_b", "c"}, "k_v@x:y"), "default/a_b/c/k_v@x:y");
}

TEST(namespaced_keying, the_empty_parts_count) {
  EXPECT_EQ(wire({"", ""}, ""), "default///");
  EXPECT_EQ(wire({"", "a"}, "", 4096, namespaced_keying({""})), "//a/");
}

TEST(namespaced_keying, stage_names_and_namespace_are_escaped_and_keys_are_not) {
  EXPECT_EQ(wire({"a/b", "c#d"}, "k/l#m%n"), "default/a%2Fb/c%23d/k/l#m%n");
  EXPECT_EQ(wire({"50%", "a%2Fb"}, "k"), "default/50%25/a%252Fb/k");
  EXPECT_EQ(wire({"a", "b"}, "k", 4096, namespaced_keying({"x/y"})), "x%2Fy/a/b/k");
  EXPECT_EQ(wire({"a\0b"sv, "c"}, "k\0"sv), "default/a\0b/c/k\0"sv);
}

TEST(namespaced_keying, marks_are_found_at_every_place_of_names_of_every_length) {
  // The search works on words of eight bytes, so every length and place is a case of its own.
  for (std::size_t size = 1; size != 40; ++size) {
    for (std::size_t at = 0; at != size; ++at) {
      for (char const mark : {'/', '#', '%'}) {
        std::string name(size, 'x');
        name[at] = mark;
        std::string escaped(size, 'x');
        escaped.replace(at, 1, mark == '/' ? "%2F" : mark == '#' ? "%23" : "%25");
        ASSERT_EQ(wire({name, "t"}, "k"), "default/" + escaped + "/t/k");
        ASSERT_EQ(wire({"f", name}, "k"), "default/f/" + escaped + "/k");
      }
    }
    // Bytes that differ from a mark in one bit are none.
    for (char const other : {'.', '\xaf', '"', '\xa3', '$', '\xa5', '\0', '\x01', '\x80', '\xff'}) {
      std::string const name(size, other);
      ASSERT_EQ(wire({name, "t"}, "k"), "default/" + name + "/t/k");
    }
  }
}

TEST(namespaced_keying, namespaces_stay_apart) {
  EXPECT_NE(wire({"b", "c"}, "d", 4096, namespaced_keying({"a"})), wire({"a", "b"}, "c/d", 4096, namespaced_keying({""})));
  EXPECT_NE(wire({"b", "c"}, "d", 4096, namespaced_keying({"a/b"})), wire({"b", "b/c"}, "d", 4096, namespaced_keying({"a"})));
}

TEST(namespaced_keying, what_does_not_fit_is_shortened_to_the_limit) {
  std::string const key = std::string(100, 'a') + std::string(100, 'b');
  std::string const made = wire({"encoder", "thinker"}, key, 96);
  ASSERT_EQ(made.size(), 96U);
  EXPECT_EQ(made.substr(0, head + 1), "default/encoder/thinker#");
  EXPECT_EQ(made[head + 33], '~');
  EXPECT_EQ(made.substr(head + 34), std::string(20, 'a') + std::string(19, 'b')) << "the first and the last bytes stay";
  EXPECT_EQ(made.substr(head + 1, 32).find_first_not_of("0123456789abcdef"), std::string::npos);

  std::string other = key;
  other[100] = 'x';
  EXPECT_NE(wire({"encoder", "thinker"}, other, 96), made) << "a byte that was cut off counts";
}

TEST(namespaced_keying, the_digest_is_part_of_the_wire_format) {
  // Both ends compute it, perhaps in different versions of the library: these bytes never change. They are XXH3-64 under seeds
  // 0x6f6d6e69636f6e6e and 0x7773656b65796e67, as an independent implementation gives it.
  EXPECT_EQ(wire({"encoder", "thinker"}, std::string(200, 'k'), head + 34 + 4),
            "default/encoder/thinker#08fb6d67af4fcfa17565140eafa9728f~kkkk");
  EXPECT_EQ(wire({"encoder-" + std::string(40, 'e'), "thinker"}, "req7", 46), "default/#254eb2b5dffe7c79e610daac75b3c923=req7");
}

TEST(namespaced_keying, the_longest_key_fits_a_transport_of_4096) {
  for (std::size_t const size : std::initializer_list<std::size_t>{4096 - head - 1, 4096 - head, 4095, 4096}) {
    std::string const made = wire({"encoder", "thinker"}, std::string(size, 'k'), 4096);
    EXPECT_EQ(made.size(), 4096U);
    EXPECT_EQ(made[head], size == 4096 - head - 1 ? '/' : '#');
  }
}

TEST(namespaced_keying, when_stage_names_do_not_fit_they_go_into_the_digest) {
  std::string const from(300, 'f');
  std::string const made = wire({from, "t"}, "req7", 100);
  EXPECT_EQ(made.substr(0, 9), "default/#");
  EXPECT_EQ(made.substr(41), "=req7") << "a key that fits stays whole";
  EXPECT_NE(wire({from, "u"}, "req7", 100), made);
  EXPECT_NE(wire({from + "f", "t"}, "req7", 100), made);
  EXPECT_NE(wire({from.substr(1), "ft"}, "req7", 100), made);

  std::string const cut = wire({from, "t"}, std::string(100, 'k'), 100);
  EXPECT_EQ(cut.size(), 100U);
  EXPECT_EQ(cut[41], '~');
}

TEST(namespaced_keying, the_least_that_a_transport_must_take) {
  EXPECT_EQ(wire({"encoder", "thinker"}, "a key that is long", 41), "error: too_large");
  EXPECT_EQ(wire({"encoder", "thinker"}, "a key that is long", 42).size(), 42U);
  EXPECT_EQ(wire({"e", "t"}, "k", 13), "default/e/t/k") << "what fits, fits";
  EXPECT_EQ(wire({"e", "t"}, "k", 12), "error: too_large");
  EXPECT_EQ(wire({"a", "b"}, std::string(max_key_size + 1, 'k'), 100000), "error: too_large");
}

TEST(namespaced_keying, belongs_keeps_to_its_namespace) {
  namespaced_keying const keying;
  EXPECT_TRUE(keying.belongs("default/a/b/r_0", "r"));
  EXPECT_FALSE(keying.belongs("other/a/b/r_0", "r"));
  EXPECT_FALSE(keying.belongs("default/a/r_0", "r")) << "no wire key of ours";
  EXPECT_FALSE(keying.belongs("default", "default"));
  EXPECT_TRUE(keying.belongs("default/a/b/x/r_0", "x/r")) << "keys may contain the separator";
  EXPECT_FALSE(keying.belongs("default/a/b/x/r_0", "r"));
}

TEST(namespaced_keying, belongs_of_shortened_keys) {
  namespaced_keying const keying;
  std::size_t const max = 96;  // 39 bytes of the key stay: 20 and 19
  std::string const filler(200, 'x');
  EXPECT_TRUE(keying.belongs(wire({"encoder", "thinker"}, "req7_" + filler, max), "req7"));
  EXPECT_TRUE(keying.belongs(wire({"encoder", "thinker"}, filler + "_req7", max), "req7"));
  EXPECT_FALSE(keying.belongs(wire({"encoder", "thinker"}, "req70_" + filler, max), "req7"));
  EXPECT_FALSE(keying.belongs(wire({"encoder", "thinker"}, filler + "_areq7", max), "req7"));

  std::string const request = "request-" + filler;
  EXPECT_TRUE(keying.belongs(wire({"encoder", "thinker"}, request, max), request)) << "the request itself is known by its digest";
  EXPECT_FALSE(keying.belongs(wire({"encoder", "thinker"}, request + "x", max), request));
  EXPECT_FALSE(keying.belongs(wire({"encoder", "thinker"}, request + "_0", max), request)) << "the documented limit: too long to be seen";

  std::string const nineteen(19, 'q');
  EXPECT_TRUE(keying.belongs(wire({"encoder", "thinker"}, nineteen + "_" + filler, max), nineteen));
  EXPECT_FALSE(keying.belongs(wire({"encoder", "thinker"}, nineteen + "q_" + filler, max), nineteen + "q"));
}

TEST(namespaced_keying, belongs_without_stage_names) {
  namespaced_keying const keying;
  std::string const from(300, 'f');
  EXPECT_TRUE(keying.belongs(wire({from, "t"}, "req7", 100), "req7"));
  EXPECT_TRUE(keying.belongs(wire({from, "t"}, "req7_0", 100), "req7"));
  EXPECT_FALSE(keying.belongs(wire({from, "t"}, "req70", 100), "req7"));
  EXPECT_TRUE(keying.belongs(wire({from, "t"}, "req7_" + std::string(100, 'x'), 100), "req7"));
  EXPECT_FALSE(keying.belongs(wire({from, "t"}, "req7_0", 100), from));
}

}  // namespace
