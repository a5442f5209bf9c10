// SPDX-License-Identifier: Apache-2.0
// What is particular to the erased connector: emptiness, what crosses, and that it asks its inside for nothing but the concept.
#include <omniconn/any_connector.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;

static_assert(connector_like<any_connector>);
static_assert(sizeof(any_connector) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<any_connector> && std::is_nothrow_move_assignable_v<any_connector>);
static_assert(!std::is_copy_constructible_v<any_connector> && std::is_nothrow_default_constructible_v<any_connector>);
static_assert(std::is_nothrow_move_constructible_v<any_connector::view> && std::is_nothrow_move_assignable_v<any_connector::view>);
static_assert(std::is_nothrow_move_constructible_v<any_connector::reservation> && std::is_nothrow_move_assignable_v<any_connector::reservation>);
static_assert(!std::is_constructible_v<any_connector, int>, "what is no connector does not fit");

using over_inproc = connector<inproc_transport, raw_serializer, namespaced_keying, heap_allocator>;
using over_shm = connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>;

constexpr edge flow{"from", "to"};

get_options now() {
  get_options o;
  o.until = deadline::immediate();
  return o;
}

any_connector erased_inproc(std::shared_ptr<inproc_hub> hub = std::make_shared<inproc_hub>()) {
  over_inproc::options o;
  o.transport.hub = std::move(hub);
  return std::move(*over_inproc::open(o));
}

any_connector erased_shm(shm_test::fresh_space const& space) {
  over_shm::options o;
  o.transport = space.options();
  auto c = over_shm::open(o);
  EXPECT_TRUE(c) << c.error().message();
  return std::move(*c);
}

void answers_closed(any_connector& c) {
  EXPECT_FALSE(static_cast<bool>(c));
  auto const data = test_pattern(8, 1);
  EXPECT_TRUE(c.put(flow, "key", data) == error_kind::closed);
  EXPECT_TRUE(c.put(flow, "key", value(1)) == error_kind::closed);
  EXPECT_TRUE(c.put(flow, "key", tensor_view()) == error_kind::closed);
  EXPECT_TRUE(c.put_with(raw_serializer(), flow, "key", std::string("x")) == error_kind::closed);
  EXPECT_TRUE(c.reserve(8) == error_kind::closed);
  std::array<std::size_t, 2> const sizes{8, 8};
  EXPECT_TRUE(c.reserve_all(sizes) == error_kind::closed);
  EXPECT_TRUE(c.commit(flow, "key", {}) == error_kind::closed);
  EXPECT_TRUE(c.wait_consumed(flow, {}, deadline::never()) == error_kind::closed);
  EXPECT_TRUE(put_growing(c, flow, "key", 8) == error_kind::closed);
  EXPECT_TRUE(get_growing(c, flow, "key") == error_kind::closed);
  EXPECT_TRUE(c.get_view(flow, "key") == error_kind::closed);
  std::array<std::string_view, 2> const keys{"key", "other"};
  EXPECT_TRUE(c.get_any_view(flow, keys) == error_kind::closed);
  EXPECT_TRUE(c.get_all_views(flow, keys) == error_kind::closed);
  EXPECT_TRUE(c.get<value>(flow, "key") == error_kind::closed);
  EXPECT_TRUE(c.try_get<value>(flow, "key") == error_kind::closed);
  EXPECT_TRUE(c.get_into(flow, "key", {}) == error_kind::closed);
  EXPECT_TRUE(c.exists(flow, "key") == error_kind::closed);
  EXPECT_TRUE(c.cleanup(flow, "key") == error_kind::closed);
  EXPECT_TRUE(c.cleanup("key") == error_kind::closed);
  EXPECT_TRUE(c.metadata({}).is_nil());
  EXPECT_TRUE(c.from_metadata({}) == error_kind::closed);
  EXPECT_EQ(c.facts().name, "none");
  EXPECT_EQ(c.health().status, health_status::closed);
  EXPECT_FALSE(c.health().why.empty());
  c.close();
}

TEST(any_connector, an_empty_one_answers_closed) {
  any_connector c;
  answers_closed(c);
}

TEST(any_connector, one_that_was_moved_from_answers_closed) {
  any_connector c = erased_inproc();
  any_connector d = std::move(c);
  answers_closed(c);
  EXPECT_TRUE(static_cast<bool>(d));
  c = std::move(d);
  answers_closed(d);
  EXPECT_TRUE(c.put(flow, "key", test_pattern(8, 1)));
}

TEST(any_connector, holds_any_transport_in_one_container) {
  shm_test::fresh_space space;
  std::vector<any_connector> all;
  all.push_back(erased_inproc());
  all.push_back(erased_shm(space));
  std::vector<any_connector::view> views;
  for (auto& c : all) {
    auto const data = test_pattern(1000, views.size());
    ASSERT_TRUE(c.put(flow, "key", data));
    auto got = c.get_view(flow, "key", now());
    ASSERT_TRUE(got);
    views.push_back(std::move(*got));
  }
  EXPECT_EQ(all[0].facts().name, "inproc");
  EXPECT_EQ(all[1].facts().name, "shm");
  std::swap(views[0], views[1]);  // views of different transports are one type
  EXPECT_TRUE(same_bytes(views[0].bytes(), test_pattern(1000, 1)));
  EXPECT_TRUE(same_bytes(views[1].bytes(), test_pattern(1000, 0)));
  all.clear();
  EXPECT_TRUE(same_bytes(views[0].bytes(), test_pattern(1000, 1))) << "a view outlives its connector";
}

TEST(any_connector, what_its_serializer_cannot_do_is_unsupported_and_nothing_is_lost) {
  any_connector c = erased_inproc();
  EXPECT_TRUE(c.put(flow, "value", value(1)) == error_kind::unsupported);
  EXPECT_FALSE(c.exists(flow, "value").value_or(true));
  ASSERT_TRUE(c.put(flow, "bytes", test_pattern(8, 1)));
  auto const as_value = c.get<value>(flow, "bytes", now());
  ASSERT_TRUE(as_value == error_kind::unsupported);
  EXPECT_NE(std::string_view(as_value.error().text()).find("omni_msgpack"), std::string_view::npos) << "it says what to choose instead";
  auto got = c.get_view(flow, "bytes", now());
  ASSERT_TRUE(got) << "given back";
  EXPECT_TRUE(got->as<value>() == error_kind::unsupported);
  EXPECT_TRUE(got->as<tensor_view>() == error_kind::unsupported);
  ASSERT_TRUE(got->as<const_bytes>());
  EXPECT_TRUE(same_bytes(*got->as<const_bytes>(), test_pattern(8, 1)));
}

TEST(any_connector, typed_payloads_cross_with_the_callers_serializer) {
  shm_test::fresh_space space;
  any_connector c = erased_shm(space);
  raw_serializer const typed;
  std::vector<float> const numbers{1, 2, 3.5F};
  ASSERT_TRUE(c.put_with(typed, flow, "floats", numbers));
  ASSERT_TRUE(c.put_with(typed, flow, "empty", std::string()));
  auto got = c.get_view(flow, "floats", now());
  ASSERT_TRUE(got);
  EXPECT_EQ(got->info().kind, payload_kind::raw);
  auto const back = got->as_with<std::vector<float>>(typed);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, numbers);
  got = c.get_view(flow, "empty", now());
  ASSERT_TRUE(got);
  EXPECT_TRUE(got->bytes().empty());
}

TEST(any_connector, a_view_ends_once) {
  any_connector c = erased_inproc();
  for (std::string const key : {"a", "b"}) ASSERT_TRUE(c.put(flow, key, test_pattern(8, 1)));
  auto a = c.get_view(flow, "a", now());
  auto b = c.get_view(flow, "b", now());
  ASSERT_TRUE(a);
  ASSERT_TRUE(b);
  *a = std::move(*b);  // consumes a
  EXPECT_FALSE(c.exists(flow, "a").value_or(true));
  EXPECT_TRUE(c.exists(flow, "b").value_or(false));
  EXPECT_FALSE(static_cast<bool>(*b));
  b->release();
  b->give_back();
  EXPECT_TRUE(b->as<const_bytes>() == error_kind::closed);
  auto& self = *a;
  *a = std::move(self);
  EXPECT_TRUE(static_cast<bool>(*a)) << "moved onto itself it is what it was";
  EXPECT_EQ(a->bytes().size(), 8U);
  a->give_back();
  EXPECT_TRUE(a->bytes().empty());
  EXPECT_TRUE(c.get_view(flow, "b", now()));
}

TEST(any_connector, a_receipt_is_watched_where_the_inside_can) {
  shm_test::fresh_space space;
  any_connector shm = erased_shm(space), inproc = erased_inproc();
  auto const unread = shm.put(flow, "key", test_pattern(8, 1)), elsewhere = inproc.put(flow, "key", test_pattern(8, 1));
  ASSERT_TRUE(unread);
  ASSERT_TRUE(elsewhere);
  EXPECT_TRUE(shm.wait_consumed(flow, *unread, deadline::immediate()) == error_kind::timed_out);
  ASSERT_TRUE(shm.get_view(flow, "key", now()));
  EXPECT_TRUE(shm.wait_consumed(flow, *unread, deadline::never()));
  auto const refused = inproc.wait_consumed(flow, *elsewhere, deadline::never());
  ASSERT_TRUE(refused == error_kind::unsupported);
  EXPECT_NE(std::string_view(refused.error().text()).find("ShmConnector"), std::string_view::npos) << "it says what can";
}

TEST(any_connector, several_views_and_reservations_cross) {
  shm_test::fresh_space space;
  any_connector shm = erased_shm(space), inproc = erased_inproc();
  std::array<std::string_view, 3> const keys{"a", "b", "c"};
  std::array<std::size_t, 3> const sizes{10, 20, 30};
  for (any_connector* const c : {&shm, &inproc}) {
    auto rooms = c->reserve_all(sizes);
    ASSERT_TRUE(rooms);
    for (std::size_t i = 0; i != sizes.size(); ++i) {
      auto const data = test_pattern(sizes[i], i);
      std::copy(data.begin(), data.end(), (*rooms)[i].bytes().begin());
      ASSERT_TRUE(c->commit(flow, keys[i], std::move((*rooms)[i])));
    }
    auto any = c->get_any_view(flow, keys, now());
    ASSERT_TRUE(any);
    EXPECT_EQ(any->index, 0U);
    EXPECT_EQ(any->view.info().size, 10U);
    any->view.give_back();
    auto all = c->get_all_views(flow, keys, now());
    ASSERT_TRUE(all);
    for (std::size_t i = 0; i != sizes.size(); ++i) EXPECT_TRUE(same_bytes((*all)[i].bytes(), test_pattern(sizes[i], i)));
    all->pop_back();
    EXPECT_FALSE(c->exists(flow, "c").value_or(true)) << "each view ends its own object";
    EXPECT_TRUE(c->exists(flow, "a").value_or(false));
  }
}

TEST(any_connector, reservations_do_not_cross_connectors) {
  shm_test::fresh_space space;
  any_connector shm = erased_shm(space), inproc = erased_inproc(), other = erased_inproc();
  auto of_shm = shm.reserve(100);
  auto of_other = other.reserve(100);
  ASSERT_TRUE(of_shm);
  ASSERT_TRUE(of_other);
  EXPECT_EQ(of_shm->bytes().size(), 100U);
  EXPECT_TRUE(inproc.commit(flow, "key", std::move(*of_shm)) == error_kind::misconfigured) << "of another kind of connector";
  EXPECT_TRUE(inproc.commit(flow, "key", std::move(*of_other)) == error_kind::misconfigured) << "of another one of the same kind";
  EXPECT_TRUE(inproc.commit(flow, "key", {}) == error_kind::misconfigured) << "of nobody";
  EXPECT_EQ(inproc.health().errors[index(error_kind::misconfigured)], 3U);
  EXPECT_TRUE(any_connector::reservation().bytes().empty());
}

// --- a model written from the concept alone ---------------------------------------------------------------------------------

/// Keeps one object of up to eight bytes for one reader. What it does not say, the eraser must not need.
class one_word_connector {
 public:
  using transport_type = shm_transport;  // as a wrapper may say: no promise to have its insides
  class view {
   public:
    view() = default;
    view(view&& other) noexcept : from_(std::exchange(other.from_, nullptr)), info_(other.info_) {}
    view& operator=(view&& other) noexcept {
      release();
      from_ = std::exchange(other.from_, nullptr);
      info_ = other.info_;
      return *this;
    }
    ~view() { release(); }
    [[nodiscard]] const_bytes bytes() const noexcept { return from_ == nullptr ? const_bytes() : const_bytes(*from_); }
    [[nodiscard]] object_info const& info() const noexcept { return info_; }
    void release() noexcept {
      if (from_ != nullptr) from_->clear();
      from_ = nullptr;
    }
    void give_back() noexcept { from_ = nullptr; }

   private:
    friend class one_word_connector;
    std::vector<std::byte>* from_ = nullptr;
    object_info info_;
  };
  class reservation {
   public:
    reservation() = default;
    reservation(reservation&&) noexcept = default;
    reservation& operator=(reservation&&) noexcept = default;
    [[nodiscard]] mutable_bytes bytes() const noexcept { return {word_.get(), word_ == nullptr ? 0U : 8U}; }

   private:
    friend class one_word_connector;
    std::unique_ptr<std::byte[]> word_;
  };

  result<receipt> put(edge, std::string_view, const_bytes bytes, put_options const&) {
    word_->assign(bytes.begin(), bytes.end());
    return receipt{bytes.size(), {}};
  }
  result<reservation> reserve(std::size_t, put_options const& = {}) {
    reservation out;
    out.word_ = std::make_unique<std::byte[]>(8);
    return out;
  }
  result<receipt> commit(edge e, std::string_view key, reservation r, put_options const& o, payload_kind = payload_kind::raw) { return put(e, key, r.bytes(), o); }
  result<view> get_view(edge, std::string_view, get_options const&) {
    if (word_->empty()) return {error_kind::not_found, "empty"};
    view out;
    out.from_ = word_.get();
    out.info_.size = word_->size();
    return out;
  }
  result<std::vector<reservation>> reserve_all(std::span<std::size_t const>, put_options const&) { return {error_kind::unsupported, "no"}; }
  result<keyed_view<view>, key_error> get_any_view(edge, std::span<std::string_view const>, get_options const&) { return {error_kind::unsupported, "no"}; }
  result<std::vector<view>, key_error> get_all_views(edge, std::span<std::string_view const>, get_options const&) { return {error_kind::unsupported, "no"}; }
  result<object_info> get_into(edge, std::string_view, mutable_bytes, get_options const&) { return {error_kind::unsupported, "no"}; }
  result<bool> exists(edge, std::string_view) { return !word_->empty(); }
  result<std::size_t> cleanup(edge, std::string_view) { return std::size_t{0}; }
  result<std::size_t> cleanup(std::string_view) { return std::size_t{0}; }
  [[nodiscard]] value metadata(receipt const&) const { return "word"; }
  [[nodiscard]] result<receipt> from_metadata(value const&) const { return receipt{}; }
  [[nodiscard]] capabilities const& facts() const noexcept {
    static constexpr capabilities mine{.name = "one word"};
    return mine;
  }
  [[nodiscard]] health_report health() const { return {}; }
  void close() noexcept {}

 private:
  std::unique_ptr<std::vector<std::byte>> word_ = std::make_unique<std::vector<std::byte>>();
};
static_assert(connector_like<one_word_connector>);

TEST(any_connector, needs_nothing_but_the_concept) {
  any_connector c = one_word_connector();
  EXPECT_EQ(c.facts().name, "one word");
  auto const data = test_pattern(8, 1);
  ASSERT_TRUE(c.put(flow, "", data));
  {
    auto got = c.get_view(flow, "", now());
    ASSERT_TRUE(got);
    EXPECT_TRUE(same_bytes(got->bytes(), data));
    EXPECT_TRUE(got->as<value>() == error_kind::unsupported) << "its view decodes nothing";
    got->give_back();
  }
  EXPECT_TRUE(c.exists(flow, "").value_or(false));
  EXPECT_TRUE(c.put(flow, "", value(1)) == error_kind::unsupported);
  EXPECT_TRUE(c.put(flow, "", tensor_view()) == error_kind::unsupported);
  EXPECT_TRUE(put_growing(c, flow, "", 8) == error_kind::unsupported) << "it has no such calls";
  EXPECT_TRUE(get_growing(c, flow, "") == error_kind::unsupported);
  auto room = c.reserve(8);
  ASSERT_TRUE(room);
  room->bytes()[0] = std::byte{7};
  ASSERT_TRUE(c.commit(flow, "", std::move(*room)));
  auto got = c.get_view(flow, "", now());
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes()[0], std::byte{7});
  got->release();
  EXPECT_FALSE(c.exists(flow, "").value_or(true));
}

}  // namespace
