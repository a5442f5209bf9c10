// SPDX-License-Identifier: Apache-2.0
// Objects that are read while they grow, through the erased connector: the same calls, the same answers, and a reason where the inside cannot.
#include <omniconn/any_connector.hpp>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/any_growing.hpp>
#include <omniconn/growing.hpp>
#include <omniconn/runtime/builtin.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/testing/conformance/transport_side.hpp>
#include <omniconn/transport/inproc.hpp>

#include <shm/support.hpp>

namespace {

using namespace omniconn;

static_assert(sizeof(any_growing_put) == sizeof(void*) && sizeof(any_growing_view) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<any_growing_put> && std::is_nothrow_move_assignable_v<any_growing_put>);
static_assert(std::is_nothrow_move_constructible_v<any_growing_view> && std::is_nothrow_move_assignable_v<any_growing_view>);
static_assert(!std::is_copy_constructible_v<any_growing_put> && !std::is_copy_constructible_v<any_growing_view>);

constexpr edge flow{"speaker", "listener"};
constexpr std::size_t room = 40'000;
deadline in_a_moment() { return deadline::after(std::chrono::milliseconds(20)); }
deadline soon() { return deadline::after(std::chrono::seconds(30)); }

class any_growing : public testing::Test {
 protected:
  /// Both ends of "speech".
  void begin(payload_kind kind = payload_kind::raw) {
    auto announced = put_growing(producer, flow, "speech", room, {}, kind);
    ASSERT_TRUE(announced) << announced.error().message();
    writer = std::move(*announced);
    auto found = get_growing(consumer, flow, "speech", {soon()});
    ASSERT_TRUE(found) << found.error().message();
    reader = std::move(*found);
  }
  void write(std::size_t to) {
    std::memcpy(writer.bytes().data() + writer.announced(), data.data() + writer.announced(), to - writer.announced());
    EXPECT_TRUE(writer.advance(to));
  }
  [[nodiscard]] bool is_data(const_bytes got, std::size_t size) const { return same_bytes(got, const_bytes(data).first(size)); }

  shm_test::fresh_space space;
  std::vector<std::byte> data = test_pattern(room, 1);
  any_connector producer = space.connect<shm_connector<>>(), consumer = space.connect<shm_connector<>>();
  any_growing_put writer;
  any_growing_view reader;
};

void answers_closed(any_growing_put& writer) {
  EXPECT_TRUE(writer.bytes().empty());
  EXPECT_EQ(writer.announced(), 0U);
  EXPECT_TRUE(writer.advance(0) == error_kind::closed);
  EXPECT_TRUE(writer.commit() == error_kind::closed);
  writer.abort();
}

void answers_closed(any_growing_view& reader) {
  EXPECT_EQ(reader.room(), 0U);
  EXPECT_TRUE(reader.bytes().empty());
  EXPECT_FALSE(reader.whole());
  EXPECT_TRUE(reader.wait_for(1, deadline::never()) == error_kind::closed);
  EXPECT_TRUE(reader.finish(deadline::never()) == error_kind::closed);
}

TEST_F(any_growing, is_read_while_it_grows_and_ends_as_a_view_like_any_other) {
  begin(payload_kind::object);
  EXPECT_EQ(writer.bytes().size(), room);
  EXPECT_EQ(reader.room(), room);
  for (std::size_t const to : {std::size_t{1}, std::size_t{100}, std::size_t{30'000}}) {
    write(to);
    EXPECT_EQ(writer.announced(), to);
    auto const there = reader.wait_for(to, soon());
    ASSERT_TRUE(there) << there.error().message();
    EXPECT_TRUE(is_data(*there, to));
    EXPECT_TRUE(is_data(reader.bytes(), to));
    EXPECT_FALSE(reader.whole());
  }
  EXPECT_TRUE(reader.wait_for(30'001, deadline::immediate()) == error_kind::timed_out) << "and may be asked again";
  auto const done = writer.commit();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->size, 30'000U);
  ASSERT_TRUE(reader.wait_for(room, soon()));
  EXPECT_TRUE(reader.whole());
  auto view = reader.finish(soon());
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_TRUE(is_data(view->bytes(), 30'000));
  EXPECT_EQ(view->info().size, 30'000U);
  EXPECT_EQ(view->info().kind, payload_kind::object);
  EXPECT_TRUE(reader.bytes().empty());
  EXPECT_TRUE(*consumer.exists(flow, "speech"));
  view->release();
  EXPECT_FALSE(*consumer.exists(flow, "speech")) << "it was consumed";
  EXPECT_TRUE(producer.wait_consumed(flow, *done, deadline::immediate()));
}

TEST_F(any_growing, options_reach_the_inside) {
  put_options twice;
  twice.readers = reader_set{2, {}};
  writer = *put_growing(producer, flow, "speech", room, twice);
  reader = *get_growing(consumer, flow, "speech", {soon(), {}, nullptr, "ann"});
  EXPECT_TRUE(get_growing(consumer, flow, "speech", {deadline::immediate(), {}, nullptr, "bob"})) << "it has two readers";
  EXPECT_TRUE(get_growing(consumer, flow, "no speech", {deadline::immediate()}) == error_kind::not_found);
  EXPECT_TRUE(put_growing(producer, flow, "speech", 1) == error_kind::already_exists);
}

TEST_F(any_growing, a_wait_is_cancelled) {
  begin();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(reader.wait_for(1, in_a_moment(), stop.get_token()) == error_kind::cancelled);
  EXPECT_TRUE(reader.finish(in_a_moment(), stop.get_token()) == error_kind::cancelled);
  write(room);
  EXPECT_TRUE(writer.commit());
  EXPECT_TRUE(reader.finish(soon())) << "it may be asked again";
}

TEST_F(any_growing, one_that_is_given_up_dropped_or_overwritten_is_aborted) {
  begin();
  writer.abort();
  EXPECT_TRUE(reader.wait_for(1, soon()) == error_kind::aborted);
  EXPECT_TRUE(writer.commit() == error_kind::closed);
  begin();
  { auto const dropped = std::move(writer); }
  EXPECT_TRUE(reader.finish(soon()) == error_kind::aborted);
  begin();
  writer = any_growing_put();
  EXPECT_TRUE(reader.wait_for(1, soon()) == error_kind::aborted);
}

TEST_F(any_growing, a_reader_that_ends_gives_it_back) {
  begin();
  write(room);
  ASSERT_TRUE(writer.commit());
  reader = any_growing_view();
  auto const got = consumer.get_view(flow, "speech", {soon()});
  ASSERT_TRUE(got);
  EXPECT_TRUE(is_data(got->bytes(), room));
}

TEST_F(any_growing, ends_that_are_empty_or_were_moved_from_answer_closed) {
  answers_closed(writer);
  answers_closed(reader);
  begin();
  auto const writer_there = std::move(writer);
  auto const reader_there = std::move(reader);
  answers_closed(writer);
  answers_closed(reader);
  EXPECT_EQ(writer_there.bytes().size(), room);
  EXPECT_EQ(reader_there.room(), room);
}

TEST_F(any_growing, ends_may_outlive_their_connectors) {
  begin();
  producer = any_connector();
  EXPECT_TRUE(reader.wait_for(1, soon()) == error_kind::aborted);
  EXPECT_TRUE(writer.commit() == error_kind::closed);
  producer = space.connect<shm_connector<>>();
  begin();
  consumer = any_connector();
  EXPECT_TRUE(reader.wait_for(1, soon()) == error_kind::closed);
}

TEST_F(any_growing, a_transport_that_cannot_says_which_can_and_nothing_is_left) {
  inproc_connector<>::options o;
  o.transport.hub = std::make_shared<inproc_hub>();
  any_connector inproc = std::move(*inproc_connector<>::open(o));
  auto const put = put_growing(inproc, flow, "speech", room);
  ASSERT_TRUE(put == error_kind::unsupported);
  EXPECT_NE(std::string_view(put.error().text()).find("ShmConnector"), std::string_view::npos);
  auto const got = get_growing(inproc, flow, "speech", {deadline::never()});
  ASSERT_TRUE(got == error_kind::unsupported) << "at once";
  EXPECT_NE(std::string_view(got.error().text()).find("ShmConnector"), std::string_view::npos);
  EXPECT_TRUE(inproc.put(flow, "speech", data));
}

// The layout decides, not the name.
TEST_F(any_growing, is_had_by_name_and_configuration) {
  connector_factory factory;
  register_builtin_connectors(factory);
  auto const make = [&](std::string name, std::string layout) {
    auto const where = space.options();
    return factory.create({std::move(name), value::object({{"namespace", where.space}, {"directory", where.directory}, {"layout", std::move(layout)}})});
  };
  auto ours = make("SharedMemoryConnector", "omniconn"), same = make("ShmConnector", ""), theirs = make("SharedMemoryConnector", "upstream");
  ASSERT_TRUE(ours && same && theirs);
  producer = std::move(*ours);
  consumer = std::move(*same);
  begin();
  write(room);
  ASSERT_TRUE(writer.commit());
  EXPECT_TRUE(reader.finish(soon()));
  EXPECT_TRUE(put_growing(*theirs, flow, "speech", room) == error_kind::unsupported);
}

}  // namespace
