// SPDX-License-Identifier: Apache-2.0
// What is particular to the composed connector: its types, the one pass of put, checksums against bytes that changed in the file.
#include <omniconn/connector.hpp>

#include <array>
#include <cstring>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/allocator/pool.hpp>
#include <omniconn/keying/edge_suffix.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;

// --- types ------------------------------------------------------------------------------------------------------------------

using over_inproc = connector<inproc_transport, raw_serializer, namespaced_keying, heap_allocator>;
using over_shm = connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>;

template <class C>
constexpr bool well_behaved() {
  static_assert(connector_like<C>);
  static_assert(std::is_nothrow_move_constructible_v<C> && std::is_nothrow_move_assignable_v<C> && !std::is_copy_constructible_v<C>);
  static_assert(sizeof(C) == 2 * sizeof(void*), "one shared pointer");
  using view = typename C::view;
  static_assert(std::is_nothrow_move_constructible_v<view> && std::is_nothrow_move_assignable_v<view> && std::is_nothrow_default_constructible_v<view>);
  static_assert(!std::is_copy_constructible_v<view> && sizeof(view) <= 192, "any_connector holds it without allocation");
  using reservation = typename C::reservation;
  static_assert(std::is_nothrow_move_constructible_v<reservation> && std::is_nothrow_move_assignable_v<reservation> && !std::is_copy_constructible_v<reservation>);
  static_assert(sizeof(reservation) <= 64);
  static_assert(std::is_same_v<decltype(C::open()), result<C, diagnosis>>);
  return true;
}
static_assert(well_behaved<over_inproc>());
static_assert(well_behaved<over_shm>());
static_assert(well_behaved<connector<inproc_transport, raw_serializer, raw_keying, heap_allocator>>());
static_assert(well_behaved<connector<inproc_transport, raw_serializer, at_keying, heap_allocator>>());
static_assert(well_behaved<connector<shm_transport, raw_serializer, raw_keying, pool_allocator>>());
static_assert(well_behaved<connector<shm_transport, raw_serializer, colon_keying, pool_allocator>>());

static_assert(std::is_trivially_copyable_v<receipt> && sizeof(receipt) <= 128 && std::is_trivially_copyable_v<locator>);
static_assert(std::is_trivially_copyable_v<put_options> == std::is_trivially_copyable_v<stop_token>, "options refer, they own nothing but the token");

// What borrows cannot be had by value, what cannot be written cannot be put.
static_assert(!serializes<raw_serializer, value> && !deserializes<raw_serializer, tensor_view>);
template <class C>
concept puts_values = requires(C& c, value const& v) { c.put(edge{}, "", v); };
static_assert(!puts_values<over_shm>);

constexpr edge flow{"from", "to"};

over_shm::options shm_options(shm_test::fresh_space const& space) {
  over_shm::options o;
  o.transport = space.options();
  o.transport.memory_pool_size = std::uint64_t{64} << 20U;
  return o;
}

template <class C>
C opened(typename C::options const& o) {
  auto c = C::open(o);
  if (!c) ADD_FAILURE() << c.error().message();
  return std::move(*c);
}

get_options soon() {
  get_options o;
  o.until = deadline::immediate();
  return o;
}

// --- bytes that change in the file ------------------------------------------------------------------------------------------

/// Bytes in a file of a namespace, short ones in its directory, others in an arena, found and changed from outside, as a stray write of another process would.
class place_in_file {
 public:
  place_in_file(shm_test::fresh_space const& space, const_bytes data) {
    for (auto const& name : space.files()) {
      if (found()) continue;
      if (fd_ >= 0) ::close(fd_);
      fd_ = ::open((space.options().directory + "/" + name).c_str(), O_RDWR | O_CLOEXEC);
      find(text_of(data));
    }
  }
  place_in_file(place_in_file const&) = delete;
  place_in_file& operator=(place_in_file const&) = delete;
  ~place_in_file() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] bool found() const { return at_ >= 0; }
  void flip(std::size_t offset, unsigned char bits) const {
    unsigned char byte = 0;
    ASSERT_EQ(::pread(fd_, &byte, 1, at_ + static_cast<off_t>(offset)), 1);
    byte = static_cast<unsigned char>(byte ^ bits);
    ASSERT_EQ(::pwrite(fd_, &byte, 1, at_ + static_cast<off_t>(offset)), 1);
  }

 private:
  /// Only parts that hold anything are searched: the file is sparse.
  void find(std::string_view data) {
    std::vector<char> part;
    for (off_t from = ::lseek(fd_, 0, SEEK_DATA); from >= 0 && !found();) {
      off_t const end = ::lseek(fd_, from, SEEK_HOLE);
      part.resize(static_cast<std::size_t>(end - from));
      if (::pread(fd_, part.data(), part.size(), from) != static_cast<ssize_t>(part.size())) return;
      auto const place = std::string_view(part.data(), part.size()).find(data);
      if (place != std::string_view::npos) at_ = from + static_cast<off_t>(place);
      from = ::lseek(fd_, end, SEEK_DATA);
    }
  }
  int fd_ = -1;
  off_t at_ = -1;
};

TEST(connector_checksum, a_flipped_bit_is_corrupt_and_the_object_stays) {
  shm_test::fresh_space space;
  auto producer = opened<over_shm>(shm_options(space));
  auto consumer = opened<over_shm>(shm_options(space));
  for (std::size_t const size : {std::size_t{17}, std::size_t{64}, std::size_t{240}, std::size_t{241}, std::size_t{5000}, std::size_t{1} << 20U}) {
    SCOPED_TRACE(size);
    auto const data = test_pattern(size, size);
    ASSERT_TRUE(producer.put(flow, "key", data));
    place_in_file const file(space, data);
    ASSERT_TRUE(file.found());
    std::uint64_t flips = 0;
    for (std::size_t place = 0; place < data.size(); place += data.size() / 13 + 1) {
      auto const bit = static_cast<unsigned char>(1U << (place % 8));
      file.flip(place, bit);
      std::uint64_t const before = consumer.health().errors[index(error_kind::corrupt)];
      EXPECT_TRUE(consumer.get_view(flow, "key", soon()) == error_kind::corrupt) << place;
      EXPECT_TRUE(consumer.get<std::string>(flow, "key", soon()) == error_kind::corrupt) << place;
      EXPECT_EQ(consumer.health().errors[index(error_kind::corrupt)], before + 2);
      file.flip(place, bit);
      ++flips;
    }
    EXPECT_GE(flips, 8U);
    auto got = consumer.get_view(flow, "key", soon());
    ASSERT_TRUE(got) << "as it was put, it can be read: none of the failures consumed it";
    EXPECT_TRUE(same_bytes(got->bytes(), data));
  }
}

TEST(connector_checksum, is_made_by_put_and_by_commit_and_looked_at_by_get_unless_told_otherwise) {
  shm_test::fresh_space space;
  auto producer = opened<over_shm>(shm_options(space));
  auto trusting_options = shm_options(space);
  trusting_options.defaults.checksum = false;
  auto trusting = opened<over_shm>(trusting_options);
  auto consumer = opened<over_shm>(shm_options(space));
  std::uint64_t seed = 0;
  std::vector<std::byte> data;  // other bytes for each object: what was freed still lies in the file
  auto const put = [&](over_shm& c, std::string_view key, bool direct, put_options const& o) {
    data = test_pattern(1000, ++seed);
    if (!direct) return c.put(flow, key, data, o);
    auto room = c.reserve(data.size());
    EXPECT_TRUE(room);
    std::copy(data.begin(), data.end(), room->bytes().begin());
    return c.commit(flow, key, std::move(*room), o);
  };
  put_options without, with;
  without.checksum = false;
  with.checksum = true;
  int n = 0;
  for (bool const direct : {false, true}) {
    struct row {
      over_shm& who;
      put_options const& how;
      bool sums;
    };
    put_options const plain;
    for (row const& r : {row{producer, plain, true}, row{producer, without, false}, row{trusting, plain, false}, row{trusting, with, true}}) {
      std::string const key = "key " + std::to_string(n++);
      ASSERT_TRUE(put(r.who, key, direct, r.how));
      auto got = consumer.get_view(flow, key, soon());
      ASSERT_TRUE(got);
      EXPECT_EQ(got->info().checksum_by, r.sums ? checksum_kind::xxh3_64 : checksum_kind::none) << key;
      if (r.sums) {
        EXPECT_EQ(got->info().checksum, checksum(data)) << key;
      }
    }
  }
  // A reader that trusts takes what is there.
  ASSERT_TRUE(put(producer, "changed", false, {}));
  place_in_file const file(space, data);
  ASSERT_TRUE(file.found());
  file.flip(0, 0xff);
  auto got = trusting.get_view(flow, "changed", soon());
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes()[0], data[0] ^ std::byte{0xff});
}

// --- the one pass of put ----------------------------------------------------------------------------------------------------

/// A header that is copied and two parts that are referenced, as serializers of tensors write them.
struct in_parts {
  const_bytes first, second;
};
class parts_serializer {
 public:
  struct options {};
  static constexpr std::string_view name = "parts";
  parts_serializer() = default;
  explicit parts_serializer(options const&) {}
  result<payload_kind> encode(const_bytes const& b, gather_list& out) const {
    out.reference(b);
    return payload_kind::raw;
  }
  result<payload_kind> encode(in_parts const& p, gather_list& out) const {
    out.copy(bytes_of(std::string_view("head")));
    out.reference(p.first);
    out.copy(bytes_of(std::string_view("mid")));
    out.reference(p.second);
    return payload_kind::object;
  }
  result<payload_kind> encode(int const&, gather_list& out) const {
    out.copy(bytes_of(std::string_view("torn")));
    return {error_kind::malformed, "integers cannot be written"};
  }
  template <class T>
    requires std::is_same_v<T, const_bytes>
  result<T> decode(encoded from) const {
    return from.bytes;
  }
};

template <class Transport, class Allocator>
void gathers_in_order(typename connector<Transport, parts_serializer, raw_keying, Allocator>::options const& o) {
  using tested = connector<Transport, parts_serializer, raw_keying, Allocator>;
  auto c = opened<tested>(o);
  for (std::size_t const size : {std::size_t{0}, std::size_t{5}, std::size_t{300}, std::size_t{4095}, std::size_t{200'000}}) {
    auto const one = test_pattern(size, 1), two = test_pattern(size * 2 + 1, 2);
    std::vector<std::byte> whole;
    for (const_bytes const part : {bytes_of(std::string_view("head")), const_bytes(one), bytes_of(std::string_view("mid")), const_bytes(two)})
      whole.insert(whole.end(), part.begin(), part.end());
    for (bool const sums : {true, false}) {
      put_options how;
      how.checksum = sums;
      auto const put = c.put(flow, "key", in_parts{one, two}, how);
      ASSERT_TRUE(put);
      EXPECT_EQ(put->size, whole.size());
      auto got = c.get_view(flow, "key", soon());
      ASSERT_TRUE(got);
      EXPECT_TRUE(same_bytes(got->bytes(), whole)) << size;
      EXPECT_EQ(got->info().kind, payload_kind::object);
      if (got->info().checksum_by != checksum_kind::none) {
        EXPECT_EQ(got->info().checksum, checksum(whole));
      }
    }
  }
  // An encoder that fails halfway leaves nothing.
  auto const used = c.health().memory.used;
  EXPECT_TRUE(c.put(flow, "key", 7) == error_kind::malformed);
  EXPECT_EQ(c.health().errors[index(error_kind::malformed)], 1U);
  EXPECT_FALSE(c.exists(flow, "key").value_or(true));
  EXPECT_EQ(c.health().memory.used, used);
}

TEST(connector_put, gathers_the_pieces_in_order_and_sums_what_it_copies) {
  gathers_in_order<inproc_transport, heap_allocator>({});
  shm_test::fresh_space space;
  connector<shm_transport, parts_serializer, raw_keying, arena_allocator>::options o;
  o.transport = space.options();
  gathers_in_order<shm_transport, arena_allocator>(o);
}

TEST(connector_put, a_put_that_fails_returns_its_memory) {
  shm_test::fresh_space space;
  auto producer = opened<over_shm>(shm_options(space));
  ASSERT_TRUE(producer.put(flow, "taken", test_pattern(100, 1)));
  auto const used = producer.health().memory.used;
  auto const data = test_pattern(1U << 20U, 2);
  put_options nobody;
  nobody.readers = reader_set{0, {}};
  for (int i = 0; i != 200; ++i) {  // 600 MiB, if they were lost
    EXPECT_TRUE(producer.put(flow, "taken", data) == error_kind::already_exists);
    EXPECT_TRUE(producer.put(flow, std::string(5000, 'k'), data) == error_kind::too_large);
    EXPECT_TRUE(producer.put(flow, "new", data, nobody) == error_kind::misconfigured);
  }
  EXPECT_EQ(producer.health().memory.used, used);
}

TEST(connector_reservation, gives_up_its_tail) {
  shm_test::fresh_space space;
  auto c = opened<over_shm>(shm_options(space));
  auto room = c.reserve(1000);
  ASSERT_TRUE(room);
  auto const data = test_pattern(1000, 1);
  std::copy(data.begin(), data.end(), room->bytes().begin());
  room->shrink(2000);
  EXPECT_EQ(room->bytes().size(), 1000U) << "it does not grow";
  room->shrink(600);
  EXPECT_EQ(room->bytes().size(), 600U);
  auto const put = c.commit(flow, "key", std::move(*room));
  ASSERT_TRUE(put);
  EXPECT_EQ(put->size, 600U);
  auto got = c.get_view(flow, "key", soon());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same_bytes(got->bytes(), const_bytes(data).first(600)));
}

// --- opening ----------------------------------------------------------------------------------------------------------------

TEST(connector_open, says_what_is_wrong) {
  auto const fails = [](over_shm::options const& o, error_kind kind, std::string_view text) {
    auto c = over_shm::open(o);
    ASSERT_FALSE(c);
    EXPECT_EQ(c.error().kind(), kind) << c.error().message();
    EXPECT_NE(c.error().message().find(text), std::string::npos) << c.error().message();
  };
  shm_test::fresh_space space;
  auto o = shm_options(space);
  o.defaults.reader_count = 0;
  fails(o, error_kind::misconfigured, "between 1 and 64");
  o.defaults.reader_count = 65;
  fails(o, error_kind::misconfigured, "between 1 and 64");
  o = shm_options(space);
  o.defaults.readers.assign(65, "x");
  fails(o, error_kind::misconfigured, "between 1 and 64");
  o = shm_options(space);
  o.transport.memory_pool_size = 0;
  fails(o, error_kind::misconfigured, "memory_pool_size");
  o = shm_options(space);
  o.transport.max_keys = (1U << 21U) + 1;
  fails(o, error_kind::misconfigured, "max_keys");
  o = shm_options(space);
  o.transport.directory = "/nowhere/at/all";
  fails(o, error_kind::not_found, "/nowhere/at/all");
  o = shm_options(space);
  o.transport.reader = std::string(57, 'r');
  fails(o, error_kind::misconfigured, "56");
  EXPECT_TRUE(space.files().empty()) << "nothing is left of an open that failed";
}

TEST(connector_open, the_policies_are_there) {
  over_inproc::options o;
  o.keying.name_space = "mine";
  o.defaults.lease = std::chrono::seconds(3);
  auto c = opened<over_inproc>(o);
  EXPECT_EQ(c.defaults().lease, std::chrono::seconds(3));
  EXPECT_EQ(c.facts().name, "inproc");
  key_scratch scratch;
  EXPECT_EQ(c.keying().make(flow, "k", scratch, 4096).value_or(""), "mine/from/to/k");
  EXPECT_TRUE(c.transport().exists("mine/from/to/k"));
  gather_list list;
  EXPECT_TRUE(c.serializer().encode(const_bytes(), list));
}

#ifdef __cpp_exceptions
/// Runs out of memory over the payload, as a careless serializer of somebody's own may.
struct exhausted {
  std::vector<std::byte> bytes;
};
struct exhausting_serializer : raw_serializer {
  using raw_serializer::raw_serializer;
  template <class P>
    requires std::is_same_v<P, exhausted>
  [[nodiscard]] result<P> decode(encoded) const { throw std::bad_alloc(); }
  template <class P>
    requires std::is_same_v<P, exhausted>
  [[nodiscard]] result<P> decode_owned(encoded from) const { return decode<P>(from); }
};

TEST(connector_get, what_throws_while_it_is_decoded_stays) {
  using careless = connector<inproc_transport, exhausting_serializer, raw_keying, heap_allocator>;
  auto c = opened<careless>({});
  auto const data = test_pattern(100, 1);
  ASSERT_TRUE(c.put(flow, "key", const_bytes(data)));
  EXPECT_THROW((void)c.get<exhausted>(flow, "key"), std::bad_alloc);
  auto got = c.get_view(flow, "key", {.until = deadline::immediate()});
  ASSERT_TRUE(got) << "a failed get consumes nothing";
  EXPECT_TRUE(same_bytes(got->bytes(), data));
}
#endif

TEST(connector_get, typed_gets_own_what_they_return) {
  shm_test::fresh_space space;
  auto c = opened<over_shm>(shm_options(space));
  std::array<float, 3> const numbers{1, 2, 3};
  ASSERT_TRUE(c.put(flow, "floats", std::span(numbers)));
  ASSERT_TRUE(c.put(flow, "text", std::string("words")));
  auto floats = c.try_get<std::vector<float>>(flow, "floats");
  ASSERT_TRUE(floats);
  EXPECT_EQ(*floats, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(c.try_get<std::string>(flow, "text").value_or(""), "words");
  EXPECT_TRUE(c.try_get<std::string>(flow, "text") == error_kind::not_found) << "it was consumed";
}

}  // namespace
