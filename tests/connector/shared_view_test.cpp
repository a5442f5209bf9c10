// SPDX-License-Identifier: Apache-2.0
// omniconn-test: costly
// One object for several parts of a process: who holds it, and when it is consumed.
#include <omniconn/shared_view.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/any_connector.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/namespaced.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/inproc.hpp>
#include <omniconn/transport/shm.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;
using over_inproc = connector<inproc_transport, raw_serializer, namespaced_keying, heap_allocator>;
using over_shm = connector<shm_transport, raw_serializer, namespaced_keying, arena_allocator>;
using inproc_shared = shared_view<over_inproc::view>;

static_assert(std::is_nothrow_copy_constructible_v<inproc_shared> && std::is_nothrow_copy_assignable_v<inproc_shared>);
static_assert(std::is_nothrow_move_constructible_v<inproc_shared> && std::is_nothrow_move_assignable_v<inproc_shared>);
static_assert(sizeof(inproc_shared) == sizeof(void*));
static_assert(!object_view<inproc_shared>, "what needs a claim of its own does not take a shared one");
template <class V>
concept can_be_shared_without_a_move = requires(V& v) { share(v); };
static_assert(!can_be_shared_without_a_move<over_inproc::view>, "sharing takes the view");

constexpr edge flow{"from", "to"};

get_options now() {
  get_options o;
  o.until = deadline::immediate();
  return o;
}

/// A connector of each kind, and an object of 1,000 bytes in it.
struct inproc_kind {
  using connector_type = over_inproc;
  connector_type made = std::move(*over_inproc::open());
};
struct shm_kind {
  using connector_type = over_shm;
  shm_test::fresh_space space;
  connector_type made = open(space);
  static connector_type open(shm_test::fresh_space const& space) {
    over_shm::options o;
    o.transport = space.options();
    return std::move(*over_shm::open(o));
  }
};
struct any_kind {
  using connector_type = any_connector;
  connector_type made = std::move(*over_inproc::open());
};

template <class Kind>
class shared_views : public testing::Test {
 protected:
  using connector_type = typename Kind::connector_type;
  using view_type = typename connector_type::view;

  shared_view<view_type> object() {
    EXPECT_TRUE(connector().put(flow, "key", test_pattern(1000, 1)));
    auto got = connector().get_view(flow, "key", now());
    EXPECT_TRUE(got);
    return share(std::move(*got));
  }
  bool is_there() { return connector().exists(flow, "key").value_or(true); }
  connector_type& connector() { return kind.made; }

  Kind kind;
};
using kinds = testing::Types<inproc_kind, shm_kind, any_kind>;
TYPED_TEST_SUITE(shared_views, kinds);

TYPED_TEST(shared_views, the_last_holder_consumes) {
  auto first = this->object();
  EXPECT_EQ(first.holders(), 1U);
  auto second = first.retain();
  auto third = second;
  EXPECT_EQ(first.holders(), 3U);
  EXPECT_EQ(first.bytes().data(), third.bytes().data()) << "one object, not three";
  EXPECT_EQ(third.info().size, 1000U);
  first.release();
  EXPECT_TRUE(first.bytes().empty());
  EXPECT_EQ(first.info().size, 0U);
  first.release();  // ends once
  EXPECT_EQ(third.holders(), 2U);
  second = {};
  EXPECT_TRUE(this->is_there());
  EXPECT_TRUE(same_bytes(third.bytes(), test_pattern(1000, 1)));
  third.release();
  EXPECT_FALSE(this->is_there());
}

TYPED_TEST(shared_views, decode_as_the_view_does) {
  auto const shared = this->object();
  auto const bytes = shared.template as<const_bytes>();
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->data(), shared.bytes().data());
}

TYPED_TEST(shared_views, that_are_empty_have_nothing) {
  using view = typename TestFixture::view_type;
  shared_view<view> none;
  auto of_nothing = share(view());
  for (auto* empty : {&none, &of_nothing}) {
    EXPECT_FALSE(static_cast<bool>(*empty));
    EXPECT_EQ(empty->holders(), 0U);
    EXPECT_TRUE(empty->bytes().empty());
    EXPECT_EQ(empty->info().size, 0U);
    EXPECT_TRUE(empty->template as<const_bytes>() == error_kind::closed);
    EXPECT_FALSE(static_cast<bool>(empty->retain()));
    EXPECT_FALSE(static_cast<bool>(empty->unshare()));
    empty->release();
  }
}

TYPED_TEST(shared_views, move_and_assign_without_losing_count) {
  auto first = this->object();
  auto moved = std::move(first);
  EXPECT_FALSE(static_cast<bool>(first));  // NOLINT(bugprone-use-after-move): what it says of itself
  EXPECT_EQ(moved.holders(), 1U);
  auto& self = moved;
  moved = self;
  moved = std::move(self);
  EXPECT_EQ(moved.holders(), 1U) << "onto itself it is what it was";
  first = moved;
  first = moved;
  EXPECT_EQ(moved.holders(), 2U) << "a holder that already is one of its object stays one";
  moved = std::move(first);
  EXPECT_EQ(moved.holders(), 1U);
  EXPECT_TRUE(this->is_there());
  moved = shared_view<typename TestFixture::view_type>();
  EXPECT_FALSE(this->is_there());
}

TYPED_TEST(shared_views, the_only_holder_gets_the_view_back) {
  auto first = this->object();
  auto second = first;
  EXPECT_FALSE(static_cast<bool>(first.unshare())) << "there is another";
  EXPECT_EQ(first.holders(), 2U);
  second.release();
  auto view = first.unshare();
  ASSERT_TRUE(static_cast<bool>(view));
  EXPECT_FALSE(static_cast<bool>(first));
  EXPECT_TRUE(same_bytes(view.bytes(), test_pattern(1000, 1)));
  view.give_back();
  EXPECT_TRUE(this->is_there());
  EXPECT_TRUE(this->connector().get_view(flow, "key", now())) << "given back, it is had again";
}

TYPED_TEST(shared_views, outlive_the_connector) {
  auto first = this->object();
  auto second = first.retain();
  { auto const gone = std::move(this->connector()); }
  first.release();
  EXPECT_TRUE(same_bytes(second.bytes(), test_pattern(1000, 1)));
  second.release();
}

TYPED_TEST(shared_views, threads_read_copy_and_release_at_once) {
  constexpr int rounds = 50;
  constexpr std::size_t threads = 4;
  auto const want = test_pattern(1000, 1);
  for (int round = 0; round != rounds; ++round) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> users;
    {
      auto const object = this->object();
      for (std::size_t i = 0; i != threads; ++i)
        users.emplace_back([mine = object.retain(), &want, &wrong]() mutable {
          auto copy = mine;
          mine.release();
          for (int n = 0; n != 10; ++n) {
            auto const another = copy.retain();
            if (!same_bytes(another.bytes(), want)) wrong.fetch_add(1);
          }
        });
    }  // the others still hold it
    for (auto& user : users) user.join();
    ASSERT_EQ(wrong.load(), 0);
    // The threads' captures went with them: nobody holds it, so its key is free again and the next round's put succeeds.
    ASSERT_FALSE(this->is_there()) << round;
  }
}

TEST(shared_view, of_the_erased_connector_takes_the_callers_serializer) {
  any_connector c = std::move(*over_inproc::open());
  raw_serializer const typed;
  ASSERT_TRUE(c.put_with(typed, flow, "floats", std::vector<float>{1, 2, 3.5F}));
  auto got = c.get_view(flow, "floats", now());
  ASSERT_TRUE(got);
  auto shared = share(std::move(*got));
  auto const back = shared.as_with<std::vector<float>>(typed);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, (std::vector<float>{1, 2, 3.5F}));
  shared.release();
  EXPECT_TRUE(shared.as_with<std::vector<float>>(typed) == error_kind::closed);
}

}  // namespace
