// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// Hostile MessagePack: over a thousand documents made here and the kept files of tests/data/msgpack_corpus. Each gives a
// value or an exact error, and an error never costs more memory than twice the input and a MiB: counted by the operator
// new of this program.
#include <omniconn/serializer/omni_msgpack.hpp>

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/testing/payloads.hpp>

#include "bytes.hpp"

namespace {
std::atomic<std::size_t> used{0}, peak{0};

void* counted(std::size_t size, std::size_t alignment) {
  void* const memory = alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                                                             : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  std::size_t const now = used.fetch_add(malloc_usable_size(memory)) + malloc_usable_size(memory);
  for (std::size_t old = peak.load(); old < now && !peak.compare_exchange_weak(old, now);) {
  }
  return memory;
}
void uncounted(void* memory) noexcept {
  if (memory != nullptr) used.fetch_sub(malloc_usable_size(memory));
  std::free(memory);
}
}  // namespace

void* operator new(std::size_t size) { return counted(size, 1); }
void* operator new[](std::size_t size) { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) { return counted(size, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return counted(size, static_cast<std::size_t>(alignment)); }
void operator delete(void* memory) noexcept { uncounted(memory); }
void operator delete[](void* memory) noexcept { uncounted(memory); }
void operator delete(void* memory, std::size_t) noexcept { uncounted(memory); }
void operator delete[](void* memory, std::size_t) noexcept { uncounted(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { uncounted(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { uncounted(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { uncounted(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { uncounted(memory); }

using namespace omniconn;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

struct order {
  std::string id;
  std::vector<int> numbers;
  value extra;
  MSGPACK_DEFINE_MAP(id, numbers, extra)
};

// Decodes once as a `P`; checks kind and memory. msgpack-cxx allocates with malloc too (its zone), which is not counted
// here, so for structures only the outcome is checked.
template <class P>
result<P> decode(const_bytes bytes, std::string_view name, bool count = true) {
  detail::delivered const payload(payload_kind::object, bytes);
  peak.store(used.load());
  std::size_t const before = used.load();
  auto got = omni_msgpack_serializer().decode<P>(payload.get());
  std::size_t const cost = peak.load() - before;
  if (!got) {
    auto const kind = got.error().kind();
    EXPECT_TRUE(kind == error_kind::malformed || kind == error_kind::too_large) << name << ": " << got.error().message();
    EXPECT_STRNE(got.error().text(), "") << name;
    if (count) {
      EXPECT_LE(cost, 2 * bytes.size() + mib) << name << ": " << got.error().message();
    }
  } else if (count) {
    // 48 bytes for a value of one byte, and a map's entries twice that, each.
    EXPECT_LE(cost, 100 * bytes.size() + mib) << name;
  }
  return got;
}

// As everything there is to decode as. A value that came is written again and comes back the same.
result<value> decode_all(const_bytes bytes, std::string_view name) {
  static_cast<void>(decode<tensor_view>(bytes, name));
  static_cast<void>(decode<const_bytes>(bytes, name));
  static_cast<void>(decode<std::vector<std::byte>>(bytes, name));
  static_cast<void>(decode<order>(bytes, name, false));
  detail::delivered const payload(payload_kind::object, bytes);
  static_cast<void>(decode<value>(bytes, name));
  auto const v = omni_msgpack_serializer().decode<value>(payload.get());
  if (!v) return v.error();
  auto const again = to_msgpack(*v);
  EXPECT_TRUE(again.has_value()) << name;
  if (again) {
    EXPECT_EQ(test::to_hex(*to_msgpack(*from_msgpack(*again))), test::to_hex(*again)) << name;
    EXPECT_LE(again->size(), bytes.size()) << name << ": the shortest form is no longer than what came";
  }
  return v->to_owned();
}

std::vector<std::byte> operator+(std::vector<std::byte> a, std::vector<std::byte> const& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
std::vector<std::byte> repeated(std::string_view hex, std::size_t times) {
  std::vector<std::byte> out;
  auto const unit = test::from_hex(hex);
  for (std::size_t i = 0; i != times; ++i) out = std::move(out) + unit;
  return out;
}

TEST(msgpack_corpus, kept_files_give_what_their_name_says) {
  std::size_t files = 0;
  for (auto const& entry : std::filesystem::directory_iterator(OMNICONN_TEST_SOURCE_DIR "/data/msgpack_corpus")) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::string const text{std::istreambuf_iterator<char>(file), {}};
    std::string const name = entry.path().stem().string();
    std::string const expected = name.substr(0, name.find('-'));
    auto const got = decode_all(bytes_of(std::string_view(text)), name);
    EXPECT_EQ(got ? "value" : std::string(to_string(got.error().kind())), expected) << name;
    if (name.find("value-tensor") == 0) {
      EXPECT_FALSE(decode<tensor_view>(bytes_of(std::string_view(text)), name).has_value()) << name;
    }
    ++files;
  }
  EXPECT_GE(files, 30U);
}

// Every header that claims a length, with lengths that lie, over bodies that are shorter.
TEST(msgpack_corpus, claims_of_any_size) {
  struct header {
    char const* name;
    std::uint8_t byte;
    std::size_t width;
  };
  std::size_t cases = 0;
  for (header const h :
       {header{"bin8", 0xc4, 1}, header{"bin16", 0xc5, 2}, header{"bin32", 0xc6, 4}, header{"ext8", 0xc7, 1}, header{"ext16", 0xc8, 2},
        header{"ext32", 0xc9, 4}, header{"str8", 0xd9, 1}, header{"str16", 0xda, 2}, header{"str32", 0xdb, 4}, header{"array16", 0xdc, 2},
        header{"array32", 0xdd, 4}, header{"map16", 0xde, 2}, header{"map32", 0xdf, 4}})
    for (std::uint64_t const claim :
         {6ULL, 0x7fULL, 0xffULL, 0x7fffULL, 0xffffULL, 0xffffffULL, 0x7fffffffULL, 0x80000000ULL, 0xfffffffeULL, 0xffffffffULL})
      for (std::size_t const body : {0U, 1U, 5U})
        for (bool const inside : {false, true}) {
          if (claim >> (8 * h.width) != 0) continue;
          std::vector<std::byte> bytes;
          if (inside) bytes = test::from_hex("8201a161a162");  // the second item of a map
          bytes.push_back(std::byte{h.byte});
          for (std::size_t i = h.width; i-- != 0;) bytes.push_back(static_cast<std::byte>(claim >> (8 * i)));
          bytes.resize(bytes.size() + body, std::byte{0xc0});
          auto const got = decode_all(bytes, h.name);
          EXPECT_TRUE(got == error_kind::malformed) << test::to_hex(bytes);
          ++cases;
        }
  EXPECT_GE(cases, 400U);
}

TEST(msgpack_corpus, depths_around_the_limit) {
  for (auto const* open : {"91", "81c0", "82c0c0c0", "dc0001", "dd00000001", "de0001c0", "df00000001c0", "92c0"})
    for (std::size_t const depth : {1U, 127U, 128U, 129U, 130U, 1000U, 20000U}) {
      auto const unclosed = repeated(open, depth);
      auto const name = std::string(open) + " " + std::to_string(depth);
      EXPECT_TRUE(decode_all(unclosed, name) == (depth <= 128 ? error_kind::malformed : error_kind::too_large)) << name;
      auto const closed = decode_all(unclosed + test::from_hex("05"), name);
      EXPECT_EQ(closed.has_value(), depth <= 128) << name;
    }
}

TEST(msgpack_corpus, every_prefix_and_every_never_used_byte) {
  std::size_t cases = 0;
  for (auto const& [name, whole] : test::read_vectors(OMNICONN_TEST_SOURCE_DIR "/data/golden_serializer.json")) {
    std::size_t const step = whole.size() / 15 + 1;
    for (std::size_t size = 0; size < whole.size(); size += step, ++cases)
      EXPECT_TRUE(decode_all(const_bytes(whole).first(size), name) == error_kind::malformed) << name << " of " << size;
    EXPECT_TRUE(decode_all(whole + test::from_hex("c0"), name) == error_kind::malformed) << name;
  }
  auto const small = test::from_hex("8401920203a161c4010563cbffffffffffffffff6480");
  for (std::size_t i = 0; i != small.size(); ++i, ++cases) {
    auto bytes = small;
    bytes[i] = std::byte{0xc1};
    static_cast<void>(decode_all(bytes, "0xc1 at " + std::to_string(i)));
  }
  EXPECT_GE(cases, 400U);
}

TEST(msgpack_corpus, flipped_bits_and_swapped_pieces) {
  detail::test_numbers numbers(11);
  auto const vectors = test::read_vectors(OMNICONN_TEST_SOURCE_DIR "/data/golden_serializer.json");
  for (int i = 0; i != 600; ++i) {
    auto const& [name, whole] = vectors[numbers.next() % vectors.size()];
    auto bytes = whole;
    for (auto hits = numbers.next() % 3 + 1; hits != 0; --hits)
      bytes[numbers.next() % bytes.size()] ^= static_cast<std::byte>(1U << (numbers.next() % 8));
    if (i % 3 == 0) {
      auto const& other = vectors[numbers.next() % vectors.size()].second;
      bytes.resize(numbers.next() % bytes.size());
      bytes = std::move(bytes) + other;
    }
    static_cast<void>(decode_all(bytes, name));
  }
}

// Whole or nearly whole documents of a million small values: the costliest ones that are not refused at once.
TEST(msgpack_corpus, wide_documents) {
  constexpr std::size_t many = 1000000;
  auto const items = std::vector<std::byte>(many, std::byte{0xc0});
  auto const nils = test::from_hex("dd000f4240") + items;
  auto const entries = test::from_hex("df0007a120") + items;
  EXPECT_TRUE(decode<value>(nils, "a million nils").has_value());
  EXPECT_TRUE(decode<value>(entries, "half a million entries").has_value());
  // Each of these ends in an error, and must not have built anything.
  EXPECT_TRUE(decode<value>(const_bytes(nils).first(nils.size() - 1), "one nil short") == error_kind::malformed);
  EXPECT_TRUE(decode<value>(const_bytes(entries).first(entries.size() - 1), "one nil short") == error_kind::malformed);
  EXPECT_TRUE(decode<value>(nils + test::from_hex("c1"), "trailing") == error_kind::malformed);
  EXPECT_TRUE(decode<tensor_view>(nils, "nils are no tensor") == error_kind::malformed);
  EXPECT_TRUE(decode<tensor_view>(entries, "entries are no tensor") == error_kind::malformed);
  EXPECT_TRUE(decode<tensor_view>(test::from_hex("82aa5f5f74656e736f725f5fc3a57368617065") + nils, "shape of nils") ==
              error_kind::malformed);
  EXPECT_TRUE(decode<const_bytes>(nils, "nils are no binary") == error_kind::malformed);
  EXPECT_TRUE(omni_msgpack_serializer({.max_nodes = many}).decode<value>({payload_kind::object, nils}) == error_kind::too_large);
}

}  // namespace
