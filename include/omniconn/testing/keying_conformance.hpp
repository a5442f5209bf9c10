// SPDX-License-Identifier: Apache-2.0
// What every Keying must do, as GoogleTest cases for yours: INSTANTIATE_TYPED_TEST_SUITE_P(mine, keying_conformance, my_keying).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/config.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/keying/concept.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The options that the suite makes your model with. Specialise it to try others.
template <class K>
struct keying_conformance_options {
  static typename K::options make() { return {}; }
};

template <class K>
class keying_conformance : public ::testing::Test {
 protected:
  static_assert(explain_keying<K>());

  static constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

  /// The wire key as a copy; nothing: `too_large`, the only error that a keying may give.
  std::optional<std::string> wire(std::string_view from, std::string_view to, std::string_view key, std::size_t max = no_limit) {
    auto const made = keying_.make(edge{from, to}, key, scratch_, max);
    if (made) return std::string(made.value());
    EXPECT_EQ(made.error().kind(), error_kind::too_large);
    EXPECT_NE(std::string_view(made.error().text()), "") << "an error says what is wrong and how to mend it";
    return std::nullopt;
  }

  /// Different objects with the same wire key, if there are any, in words.
  struct collision_check {
    std::unordered_map<std::string, std::array<std::string, 3>> seen;

    ::testing::AssertionResult add(std::string const& wire, std::array<std::string, 3> const& object) {
      auto const [where, is_new] = seen.try_emplace(wire, object);
      if (is_new || where->second == object) return ::testing::AssertionSuccess();
      return ::testing::AssertionFailure() << "one wire key for two objects: " << ::testing::PrintToString(where->second) << " and "
                                           << ::testing::PrintToString(object) << " are both " << ::testing::PrintToString(wire);
    }
  };

  static std::vector<std::string> nasty_texts() {
    using namespace std::string_literals;
    return {"",   "a",   "b",    "_",    "a_",   "_a",  "a_b", "/",     "a/", "/a",     "a/b",    "//",    "#",    "#a",
            "a#", "%",   "%2F",  "%25",  "%252F", "%23", "@",   "a@a_b", ":",  "a:a_b",  "~",      "=",     "\0"s,  "a\0"s,
            " ",  "ä/ö", "\xff"s, "%2f", "a%",   "2F",  "\n",  "..",    "a/#", "default", "default/a/b"};
  }

  K keying_{keying_conformance_options<K>::make()};
  key_scratch scratch_;
};

TYPED_TEST_SUITE_P(keying_conformance);

TYPED_TEST_P(keying_conformance, equal_input_makes_equal_keys_in_every_object) {
  TypeParam const other_end(keying_conformance_options<TypeParam>::make());
  TypeParam const copied = this->keying_;
  key_scratch one, two;
  for (std::string const& key : this->nasty_texts()) {
    for (std::size_t const max : {std::size_t{96}, this->no_limit}) {
      auto const first = this->wire("encoder", "thinker", key, max);
      auto const second = other_end.make({"encoder", "thinker"}, key, one, max);
      auto const third = copied.make({"encoder", "thinker"}, key, two, max);
      ASSERT_EQ(first.has_value(), second.has_value());
      ASSERT_EQ(first.has_value(), third.has_value());
      if (!first) continue;
      EXPECT_EQ(*first, second.value());
      EXPECT_EQ(*first, third.value());
    }
  }
}

TYPED_TEST_P(keying_conformance, every_key_up_to_the_limit_has_a_wire_key) {
  for (std::size_t const size : std::initializer_list<std::size_t>{0, 1, 7, 64, 255, 256, 257, 1000, 4095, 4096}) {
    std::string const key(size, 'k');
    EXPECT_TRUE(this->wire("encoder", "thinker", key).has_value()) << size << " bytes";
    EXPECT_TRUE(this->wire("", "", key).has_value()) << size << " bytes between stages without names";
  }
  static_assert(max_key_size == 4096);
}

TYPED_TEST_P(keying_conformance, a_key_over_the_limit_is_too_large_whatever_the_transport_takes) {
  EXPECT_FALSE(this->wire("a", "b", std::string(max_key_size + 1, 'k')).has_value());
  EXPECT_FALSE(this->wire("a", "b", std::string(100000, 'k')).has_value());
}

TYPED_TEST_P(keying_conformance, the_transport_s_limit_is_kept) {
  for (std::string const& key : {std::string("k"), std::string(40, 'k'), std::string(300, 'k'), std::string(max_key_size, 'k')}) {
    auto const whole = this->wire("encoder", "thinker", key);
    ASSERT_TRUE(whole.has_value());
    EXPECT_EQ(this->wire("encoder", "thinker", key, whole->size()), whole) << "what fits is neither refused nor changed";
    for (std::size_t max = 0; max < std::min<std::size_t>(whole->size(), 500); ++max) {
      auto const made = this->wire("encoder", "thinker", key, max);
      if (made) {
        EXPECT_LE(made->size(), max);
      }
    }
  }
}

TYPED_TEST_P(keying_conformance, keys_of_one_edge_stay_apart) {
  for (std::size_t const max : {std::size_t{64}, std::size_t{100}, this->no_limit}) {
    typename TestFixture::collision_check check;
    for (std::string const& a : this->nasty_texts()) {
      for (std::string const& b : this->nasty_texts()) {
        for (std::string const& key : {a + b, a + std::string(90, 'x') + b}) {
          if (auto const made = this->wire("encoder", "thinker", key, max)) {
            ASSERT_TRUE(check.add(*made, {"encoder", "thinker", key}));
          }
        }
      }
    }
    for (std::size_t size = 0; size <= max_key_size; size += 61) {
      std::string const key(size, '\0');
      if (auto const made = this->wire("encoder", "thinker", key, max)) {
        ASSERT_TRUE(check.add(*made, {"encoder", "thinker", key}));
      }
    }
  }
}

TYPED_TEST_P(keying_conformance, injective_keyings_never_join_two_objects) {
  if constexpr (TypeParam::injective) {
    auto const texts = this->nasty_texts();
    for (std::size_t const max : {std::size_t{50}, std::size_t{64}, std::size_t{120}, this->no_limit}) {
      typename TestFixture::collision_check check;
      std::vector<std::string> made_here;
      for (auto const& from : texts) {
        for (auto const& to : texts) {
          for (auto const& key : texts) {
            auto const made = this->wire(from, to, key, max);
            if (!made) continue;
            ASSERT_TRUE(check.add(*made, {from, to, key}));
            if (made_here.size() < 4000 && (check.seen.size() % 13) == 0) made_here.push_back(*made);
          }
        }
      }
      // The strongest attack: keys and stage names that look like wire keys, whole and from each of their marks on.
      for (std::string const& wire : made_here) {
        for (std::size_t at = 0; at != std::string::npos; at = wire.find_first_of("/#:@~=", at + 1)) {
          std::string const rest = wire.substr(at == 0 ? 0 : at + 1), front = wire.substr(0, at);
          for (auto const& object : {std::array<std::string, 3>{"a", "b", rest}, {"", "", rest}, {front, "b", rest}, {rest, front, ""}}) {
            if (auto const made = this->wire(object[0], object[1], object[2], max)) {
              ASSERT_TRUE(check.add(*made, object));
            }
          }
        }
      }
    }
    // Long names and keys that differ in one byte somewhere.
    typename TestFixture::collision_check check;
    for (std::size_t const max : {std::size_t{80}, std::size_t{255}, std::size_t{1000}}) {
      check.seen.clear();
      for (std::size_t const part : std::initializer_list<std::size_t>{0, 1, 2}) {
        for (std::size_t at = 0; at != 700; ++at) {
          std::array<std::string, 3> object{std::string(700, 's'), std::string(700, 's'), std::string(700, 's')};
          object[part][at] = 't';
          if (auto const made = this->wire(object[0], object[1], object[2], max)) {
            ASSERT_TRUE(check.add(*made, object));
          }
        }
      }
    }
  }
}

TYPED_TEST_P(keying_conformance, belongs_knows_the_keys_of_a_request) {
  for (std::string const& request : {std::string("r"), std::string("req-17"), std::string("a_b"), std::string("x@y:z/w"), std::string(""),
                                     std::string("r\0r", 3), std::string("_"), std::string(200, 'r')}) {
    for (std::string const& key : {request, request + "_0", request + "_encoder_12", "kv_cache_" + request, request + "__cfg_text"}) {
      auto const made = this->wire("encoder", "thinker", key);
      ASSERT_TRUE(made.has_value());
      EXPECT_TRUE(this->keying_.belongs(*made, request)) << ::testing::PrintToString(key) << " is of " << ::testing::PrintToString(request);
    }
  }
  for (auto const& [key, request] : std::vector<std::pair<std::string, std::string>>{{"r1", "r"},
                                                                                     {"1r", "r"},
                                                                                     {"r1_0", "r"},
                                                                                     {"0_1r", "r"},
                                                                                     {"r-0", "r"},
                                                                                     {"x_r_y", "r"},
                                                                                     {"r", "r_0"},
                                                                                     {"", "r"},
                                                                                     {"r", ""},
                                                                                     {"encoder", "thinker"},
                                                                                     {"k", "encoder"},
                                                                                     {"k", "thinker"}}) {
    auto const made = this->wire("encoder", "thinker", key);
    ASSERT_TRUE(made.has_value());
    EXPECT_FALSE(this->keying_.belongs(*made, request)) << ::testing::PrintToString(key) << " is not of " << ::testing::PrintToString(request);
  }
}

TYPED_TEST_P(keying_conformance, belongs_never_takes_another_request_s_object) {
  // Under small limits keys may be shortened: then belongs may miss, but it must not claim.
  for (std::size_t const max : {std::size_t{50}, std::size_t{70}, std::size_t{130}, this->no_limit}) {
    for (std::string const& request : {std::string("r"), std::string("req-17"), std::string(40, 'r'), std::string(120, 'r')}) {
      auto const around = [&request](std::string_view before, std::string_view after) { return std::string(before).append(request).append(after); };
      std::string const filler(100, '_');
      for (std::string const& key : {around("", "1"), around("1", ""), around("", "x").append(filler), around("x", "_0"), std::string(filler).append("x").append(request),
                                     request.substr(1), std::string(150, 'r')}) {
        auto const made = this->wire("encoder", "thinker", key, max);
        if (made && key != request) {
          EXPECT_FALSE(this->keying_.belongs(*made, request)) << ::testing::PrintToString(*made) << " of " << key << " against " << request;
        }
      }
    }
  }
}

TYPED_TEST_P(keying_conformance, belongs_takes_any_bytes) {
  std::uint64_t state = 7;
  for (int i = 0; i != 20000; ++i) {
    std::string text;
    for (std::size_t size = (state >> 33) % 48; size != 0; --size) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      text.push_back("/#%@:_~=ar\0\xff"[(state >> 40) % 12]);
    }
    state = state * 6364136223846793005U + 1442695040888963407U;
    // The answer is free; that there is one is the point (sanitizers watch).
    bool const answer = this->keying_.belongs(text, "r");
    EXPECT_EQ(answer, this->keying_.belongs(text, "r"));
  }
}

TYPED_TEST_P(keying_conformance, a_wire_key_does_not_depend_on_the_stage_names_memory) {
  std::string from = "encoder", to = "thinker";
  std::string const key = "k";
  auto const made = this->keying_.make({from, to}, key, this->scratch_, this->no_limit);
  ASSERT_TRUE(made);
  std::string const before(made.value());
  std::fill(from.begin(), from.end(), 'X');
  std::fill(to.begin(), to.end(), 'X');
  EXPECT_EQ(made.value(), before);
}

TYPED_TEST_P(keying_conformance, a_scratch_may_serve_long_and_short_keys_in_turn) {
  key_scratch fresh;
  for (std::size_t const size : std::initializer_list<std::size_t>{3, 3000, 5, 300, 4096, 0, 200}) {
    std::string const key(size, 'q');
    auto const used = this->keying_.make({"a", "b"}, key, this->scratch_, this->no_limit);
    ASSERT_TRUE(used);
    key_scratch clean;
    auto const again = this->keying_.make({"a", "b"}, key, clean, this->no_limit);
    ASSERT_TRUE(again);
    EXPECT_EQ(used.value(), again.value());
  }
}

REGISTER_TYPED_TEST_SUITE_P(keying_conformance, equal_input_makes_equal_keys_in_every_object, every_key_up_to_the_limit_has_a_wire_key,
                            a_key_over_the_limit_is_too_large_whatever_the_transport_takes, the_transport_s_limit_is_kept,
                            keys_of_one_edge_stay_apart, injective_keyings_never_join_two_objects, belongs_knows_the_keys_of_a_request,
                            belongs_never_takes_another_request_s_object, belongs_takes_any_bytes,
                            a_wire_key_does_not_depend_on_the_stage_names_memory, a_scratch_may_serve_long_and_short_keys_in_turn);

OMNICONN_END_NAMESPACE
