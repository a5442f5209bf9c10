// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// omniconn-test: costly
#include <omniconn/serializer/omni_msgpack.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <map>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <omniconn/serializer/raw.hpp>

#include "bytes.hpp"

namespace typed {

struct position {
  int x = 0, y = 0;
  MSGPACK_DEFINE(x, y)
  friend bool operator==(position const&, position const&) = default;
};

struct request {
  std::string request_id;
  std::vector<int> token_ids;
  double temperature = 0;
  float top_p = 0;
  std::optional<std::string> prompt;
  std::map<std::string, position> marks;
  bool finished = false;
  MSGPACK_DEFINE_MAP(request_id, token_ids, temperature, top_p, prompt, marks, finished)
  friend bool operator==(request const&, request const&) = default;
};

struct frame {
  int index = 0;
  omniconn::tensor_view samples;
  omniconn::blob thumbnail;
  omniconn::value extra;
  MSGPACK_DEFINE_MAP(index, samples, thumbnail, extra)
};

struct kept_frame {
  omniconn::blob thumbnail;
  omniconn::value extra;
  std::vector<omniconn::blob> pages;
  std::string title;
  MSGPACK_DEFINE_MAP(thumbnail, extra, pages, title)
};

enum class color { red, green };

// Adaptors outside of the type; packs from a temporary.
struct shout {
  std::string text;
};
// An adaptor that misbehaves.
struct thrower {
  int kind = 0;
};
struct plain {
  int x = 0;
};

}  // namespace typed

MSGPACK_ADD_ENUM(typed::color)

namespace msgpack {
MSGPACK_API_VERSION_NAMESPACE(MSGPACK_DEFAULT_API_NS) {
  namespace adaptor {
  template <>
  struct pack<typed::shout> {
    template <class Stream>
    packer<Stream>& operator()(packer<Stream>& p, typed::shout const& s) const {
      std::string const temporary = s.text + std::string(2000, '!');
      p.pack_str(static_cast<std::uint32_t>(temporary.size()));
      return p.pack_str_body(temporary.data(), static_cast<std::uint32_t>(temporary.size()));
    }
  };
  template <>
  struct convert<typed::shout> {
    msgpack::object const& operator()(msgpack::object const& o, typed::shout& s) const {
      s.text = o.as<std::string>();
      return o;
    }
  };
  template <>
  struct pack<typed::thrower> {
    template <class Stream>
    packer<Stream>& operator()(packer<Stream>& p, typed::thrower const& t) const {
      if (t.kind == 1) throw std::bad_alloc();
      if (t.kind == 2) throw 5;
      return p.pack_nil();
    }
  };
  template <>
  struct convert<typed::thrower> {
    msgpack::object const& operator()(msgpack::object const& o, typed::thrower&) const {
      switch (o.as<int>()) {
        case 1: throw std::bad_alloc();
        case 2: throw 5;
        case 3: throw std::length_error("too long");
        default: throw std::runtime_error("no");
      }
    }
  };
  }  // namespace adaptor
}
}  // namespace msgpack
template <>
inline constexpr bool omniconn::msgpack_adapted<typed::color> = true;
template <>
inline constexpr bool omniconn::msgpack_adapted<typed::shout> = true;
template <>
inline constexpr bool omniconn::msgpack_adapted<typed::thrower> = true;

using namespace omniconn;
using namespace typed;

namespace {

template <class T>
inline constexpr bool both = serializes<omni_msgpack_serializer, T>&& deserializes<omni_msgpack_serializer, T>;
static_assert(both<position> && both<request> && both<frame> && both<color> && both<shout> && both<value> && both<tensor_view>);
static_assert(both<int> && both<double> && both<bool> && both<std::string> && both<std::vector<std::byte>> &&
              both<std::vector<std::uint8_t>>);
static_assert(both<std::vector<request>> && both<std::optional<position>> && both<std::tuple<int, std::string>> &&
              both<std::array<float, 3>>);
static_assert(both<std::map<std::string, std::vector<tensor_view>>> && both<std::pair<int, value>>);
static_assert(!serializes<omni_msgpack_serializer, plain> && !deserializes<omni_msgpack_serializer, plain>);
static_assert(!serializes<omni_msgpack_serializer, std::vector<plain>> && !serializes<omni_msgpack_serializer, plain*>);
// Nothing converts on the way in: a text literal or a C array is neither a value nor bytes.
static_assert(!serializes<omni_msgpack_serializer, char const*> && !serializes<omni_msgpack_serializer, char[4]>);
static_assert(!serializes<omni_msgpack_serializer, std::nullptr_t> && !serializes<omni_msgpack_serializer, void const*>);

template <class P>
std::vector<std::byte> written(P const& payload) {
  gather_list list;
  auto const kind = omni_msgpack_serializer().encode(payload, list);
  EXPECT_TRUE(kind.has_value()) << kind.error().message();
  return test::joined(list);
}
template <class P>
result<P> read(const_bytes bytes) {
  return omni_msgpack_serializer().decode<P>({payload_kind::object, bytes});
}
template <class P>
result<P> read_hex(std::string_view hex) {
  return read<P>(test::from_hex(hex));
}

request example() {
  return {.request_id = "r1",
          .token_ids = {1, 300, -1},
          .temperature = 1,
          .top_p = 0.5F,
          .prompt = "hello",
          .marks = {{"a", {1, 2}}},
          .finished = true};
}

TEST(typed, structures_are_written_as_their_maps) {
  value const same = value::object({{"request_id", "r1"},
                                    {"token_ids", value::list({1, 300, -1})},
                                    {"temperature", 1.0},
                                    {"top_p", 0.5F},
                                    {"prompt", "hello"},
                                    {"marks", value::object({{"a", value::list({1, 2})}})},
                                    {"finished", true}});
  EXPECT_EQ(test::to_hex(written(example())), test::to_hex(written(same))) << "a whole float stays a float";
}

TEST(typed, structures_come_back) {
  EXPECT_EQ(*read<request>(written(example())), example());
  request plain_one;
  EXPECT_EQ(*read<request>(written(plain_one)), plain_one);
  EXPECT_EQ(*read<position>(written(position{3, -4})), (position{3, -4}));
  std::vector<position> const many(1000, {7, 8});
  EXPECT_EQ(*read<std::vector<position>>(written(many)), many);
  EXPECT_EQ(*read<color>(written(color::green)), color::green);
  EXPECT_EQ(*read<double>(written(2.0)), 2.0);
  EXPECT_EQ(test::to_hex(written(2.0)), "cb4000000000000000");
  EXPECT_EQ(*read<std::string>(written(std::string("text"))), "text");
  EXPECT_EQ(test::to_hex(written(std::vector<std::uint8_t>{1, 2})), "c4020102") << "bytes are a bin, as in Python";
}

TEST(typed, missing_and_unknown_fields_of_maps_are_no_error) {
  auto const r = read<request>(written(value::object({{"request_id", "x"}, {"from the future", 1}})));
  ASSERT_TRUE(r.has_value());
  EXPECT_EQ(r->request_id, "x");
  EXPECT_FALSE(r->finished);
}

TEST(typed, other_types_are_malformed) {
  EXPECT_TRUE(read_hex<position>("a161") == error_kind::malformed);
  EXPECT_TRUE(read_hex<position>("92a16101") == error_kind::malformed);
  EXPECT_TRUE(read_hex<int>("cf8000000000000000") == error_kind::malformed) << "does not fit";
  EXPECT_TRUE(read_hex<std::uint8_t>("cd0100") == error_kind::malformed);
  EXPECT_TRUE(read_hex<std::vector<int>>("c0") == error_kind::malformed);
  EXPECT_TRUE(read_hex<std::string>("01") == error_kind::malformed);
  EXPECT_TRUE((read_hex<std::array<int, 2>>("93010203")) == error_kind::malformed);
  EXPECT_TRUE(read<request>(written(value::object({{"request_id", 5}}))) == error_kind::malformed);
  EXPECT_TRUE(read<request>(written(value::object({{"token_ids", value::list({1, "2"})}}))) == error_kind::malformed);
}

TEST(typed, bytes_are_checked_first) {
  auto whole = written(example());
  for (std::size_t size = 0; size != whole.size(); ++size)
    EXPECT_TRUE(read<request>(const_bytes(whole).first(size)) == error_kind::malformed) << size;
  whole.push_back(std::byte{});
  EXPECT_TRUE(read<request>(whole) == error_kind::malformed);
  EXPECT_TRUE(read_hex<std::vector<request>>("ddffffffff") == error_kind::malformed);
  std::string deep;
  for (int i = 0; i != 200; ++i) deep += "91";
  EXPECT_TRUE(read_hex<std::vector<int>>(deep + "00") == error_kind::too_large);
}

TEST(typed, tensors_blobs_and_values_in_structures_go_by_reference) {
  std::vector<float> samples(1000, 0.5F);
  frame f;
  f.index = 3;
  f.samples = *tensor_view::make(dtype::float32, {10, 100}, std::as_bytes(std::span(samples)));
  f.thumbnail = blob::copy(std::vector<std::byte>(600, std::byte{1}));
  f.extra = value::object(
      {{"rate", 48000.0}, {"list", value::list({nullptr, 1.5F, UINT64_MAX, extension{-1, blob::copy(std::vector<std::byte>(8))}})}});
  gather_list list;
  ASSERT_TRUE(omni_msgpack_serializer().encode(f, list));
  bool tensor_referenced = false, blob_referenced = false;
  for (auto const& part : list.parts()) {
    tensor_referenced = tensor_referenced || part.data() == f.samples.data();
    blob_referenced = blob_referenced || part.data() == f.thumbnail.bytes().data();
  }
  EXPECT_TRUE(tensor_referenced);
  EXPECT_TRUE(blob_referenced);

  auto const payload = test::joined(list);
  auto const got = read<frame>(payload);
  ASSERT_TRUE(got.has_value()) << got.error().message();
  EXPECT_EQ(got->index, 3);
  EXPECT_TRUE(got->samples.shape() == (dims{10, 100}));
  EXPECT_GE(got->samples.data(), payload.data());
  EXPECT_LT(got->samples.data(), payload.data() + payload.size());
  EXPECT_EQ(test::to_hex(got->samples.bytes()), test::to_hex(f.samples.bytes()));
  EXPECT_EQ(got->thumbnail, f.thumbnail);
  EXPECT_FALSE(got->thumbnail.owns());
  EXPECT_EQ(got->extra, f.extra);
  // The tensor looks as Python's does.
  EXPECT_TRUE(is_tensor(*read<value>(payload)->find("samples")));
}

TEST(typed, what_is_decoded_to_be_owned_needs_nothing_of_the_payload) {
  kept_frame f;
  f.thumbnail = blob::copy(std::vector<std::byte>(600, std::byte{1}));
  f.extra = value::object({{"text", "hello"}, {"bytes", blob::copy(std::vector<std::byte>(300, std::byte{2}))}});
  f.pages = {blob::copy(std::vector<std::byte>(1, std::byte{3})), blob()};
  f.title = "a title";
  auto payload = std::make_unique<std::vector<std::byte>>(written(f));
  encoded const from{payload_kind::object, *payload};
  auto const borrowed = omni_msgpack_serializer().decode<kept_frame>(from);
  auto const owned = omni_msgpack_serializer().decode_owned<kept_frame>(from);
  auto const owned_value = omni_msgpack_serializer().decode_owned<value>(from);
  ASSERT_TRUE(borrowed && owned && owned_value);
  EXPECT_FALSE(borrowed->thumbnail.owns()) << "one does not change how the other reads";
  payload.reset();  // whoever refers to it is caught by the address sanitizer
  EXPECT_EQ(owned->thumbnail, f.thumbnail);
  EXPECT_EQ(owned->extra, f.extra);
  EXPECT_EQ(owned->pages, f.pages);
  EXPECT_EQ(owned->title, f.title);
  EXPECT_EQ(*owned_value->find("thumbnail"), value(f.thumbnail));
}

TEST(typed, a_structure_that_can_only_borrow_is_not_decoded_to_be_owned) {
  static_assert(!deserializes_owned<omni_msgpack_serializer, tensor_view> && !deserializes_owned<omni_msgpack_serializer, const_bytes>);
  std::vector<float> samples(10, 0.5F);
  frame f;
  f.samples = *tensor_view::make(dtype::float32, {10}, std::as_bytes(std::span(samples)));
  auto const payload = written(f);
  auto const refused = omni_msgpack_serializer().decode_owned<frame>({payload_kind::object, payload});
  ASSERT_TRUE(refused == error_kind::misconfigured);
  EXPECT_NE(std::string_view(refused.error().text()).find("get_view"), std::string_view::npos);
  EXPECT_TRUE(read<frame>(payload)) << "and afterwards by reference";
}

TEST(typed, a_field_that_is_no_tensor_is_malformed) {
  EXPECT_TRUE(read<frame>(written(value::object({{"samples", 1}}))) == error_kind::malformed);
  EXPECT_TRUE(read<frame>(written(value::object({{"samples", value::object({{"__tensor__", true}})}}))) == error_kind::malformed);
  EXPECT_TRUE(read<frame>(written(value::object({{"thumbnail", "text"}}))) == error_kind::malformed);
}

TEST(typed, what_an_adaptor_writes_from_a_temporary_is_copied) {
  gather_list list;
  ASSERT_TRUE(omni_msgpack_serializer().encode(shout{"hey"}, list));
  EXPECT_EQ(read<shout>(test::joined(list))->text, "hey" + std::string(2000, '!'));
}

TEST(typed, exceptions_of_adaptors_end_at_the_border) {
  gather_list list;
  EXPECT_TRUE(omni_msgpack_serializer().encode(thrower{1}, list) == error_kind::no_space);
  EXPECT_TRUE(omni_msgpack_serializer().encode(thrower{2}, list) == error_kind::malformed);
  EXPECT_TRUE(read_hex<thrower>("01") == error_kind::no_space);
  EXPECT_TRUE(read_hex<thrower>("02") == error_kind::malformed);
  EXPECT_TRUE(read_hex<thrower>("03") == error_kind::no_space);
  EXPECT_TRUE(read_hex<thrower>("04") == error_kind::malformed);
}

TEST(typed, limits_hold_inside_structures) {
  frame f;
  f.extra = 1;
  for (int i = 0; i != 200; ++i) f.extra = value::list({std::move(f.extra)});
  gather_list list;
  EXPECT_TRUE(omni_msgpack_serializer().encode(f, list) == error_kind::too_large);
}

}  // namespace
