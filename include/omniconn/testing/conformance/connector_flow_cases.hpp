// SPDX-License-Identifier: Apache-2.0
// Conformance of connectors: a producer that learns of its readers, and what a put does that finds no room.
#pragma once

#include <span>

#include <omniconn/testing/conformance/connector_fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

TYPED_TEST_P(connector_conformance, several_reservations_or_none) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::array<std::size_t, 3> const sizes{1000, 1, 50'000};
  auto rooms = producer->reserve_all(sizes, put_options{});
  ASSERT_TRUE(succeeded(rooms));
  ASSERT_EQ(rooms->size(), sizes.size());
  for (std::size_t i = 0; i != sizes.size(); ++i) {
    ASSERT_EQ((*rooms)[i].bytes().size(), sizes[i]);
    auto const data = test_pattern(sizes[i], i);
    std::copy(data.begin(), data.end(), (*rooms)[i].bytes().begin());
  }
  for (std::size_t i = 0; i != sizes.size(); ++i) ASSERT_TRUE(succeeded(producer->commit(this->flow, "key " + std::to_string(i), std::move((*rooms)[i]))));
  for (std::size_t i = 0; i != sizes.size(); ++i) {
    auto got = this->get(*consumer, "key " + std::to_string(i));
    ASSERT_TRUE(succeeded(got));
    EXPECT_TRUE(holds(got->bytes().last(sizes[i]), test_pattern(sizes[i], i)));
  }
  auto const nothing = producer->reserve_all(std::span<std::size_t const>(), put_options{});
  ASSERT_TRUE(succeeded(nothing));
  EXPECT_TRUE(nothing->empty());
  std::array<std::size_t, 2> const too_much{1000, ~std::size_t{0} / 2};
  auto const refused = producer->reserve_all(too_much, put_options{});
  EXPECT_TRUE(refused == error_kind::no_space || refused == error_kind::too_large);
  if (this->memory_size() == 0) return;
  // As much as there is, again and again: what was refused in part has kept nothing.
  std::size_t const third = static_cast<std::size_t>(this->memory_size()) / 16 * 5;
  std::array<std::size_t, 3> const fits{third, third, third};
  std::array<std::size_t, 4> const does_not{third, third, third, third};
  for (int round = 0; round != 3; ++round) {
    EXPECT_TRUE(failed_with(producer->reserve_all(does_not, put_options{}), error_kind::no_space));
    result<std::vector<typename TestFixture::reservation>> all{error_kind::io, ""};
    for (int wait = 0; wait != 1000 && !all; ++wait) {  // the first objects' blocks may still be on their way home
      all = producer->reserve_all(fits, put_options{});
      if (!all) this->pause(*producer);
    }
    EXPECT_TRUE(succeeded(all));
  }
}

TYPED_TEST_P(connector_conformance, a_receipt_tells_when_it_was_read) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const put = producer->put(this->flow, "key", test_pattern(100, 1));
  ASSERT_TRUE(succeeded(put));
  // An erased connector has the call whatever is inside.
  if constexpr (requires { producer->wait_consumed(this->flow, *put, this->soon()); }) {
    auto const unread = producer->wait_consumed(this->flow, *put, this->soon());
    if (unread == error_kind::unsupported) {
      EXPECT_NE(std::string_view(unread.error().text()).find("use "), std::string_view::npos) << "it says what can";
      EXPECT_TRUE(succeeded(this->get(*consumer, "key")));
      return;
    }
    ASSERT_TRUE(failed_with(unread, error_kind::timed_out));
    std::stop_source stopped;
    stopped.request_stop();
    EXPECT_TRUE(failed_with(producer->wait_consumed(this->flow, *put, this->patient(), stopped.get_token()), error_kind::cancelled));
    auto held = this->get(*consumer, "key");
    ASSERT_TRUE(succeeded(held));
    EXPECT_TRUE(failed_with(producer->wait_consumed(this->flow, *put, this->soon()), error_kind::timed_out)) << "it is being read";
    std::thread reader([&] { held->release(); });
    EXPECT_TRUE(succeeded(producer->wait_consumed(this->flow, *put, this->patient())));
    reader.join();
    EXPECT_TRUE(succeeded(producer->wait_consumed(this->flow, *put, this->patient()))) << "asked again, it is still so";
    EXPECT_EQ(producer->health().errors[index(error_kind::timed_out)], 2U);
    receipt foreign;
    foreign.where = locator::pack(static_cast<locator_tag>(0x8001), std::uint64_t{1});
    EXPECT_TRUE(failed_with(producer->wait_consumed(this->flow, foreign, this->patient()), error_kind::malformed));
    auto const next = producer->put(this->flow, "key", test_pattern(100, 1));
    ASSERT_TRUE(succeeded(next));
    producer->close();
    EXPECT_TRUE(failed_with(producer->wait_consumed(this->flow, *next, this->patient()), error_kind::closed));
  }
}

TYPED_TEST_P(connector_conformance, what_finds_no_room_waits_or_drops_where_that_can_be_had) {
  connector_defaults waiting;
  waiting.full = on_full::wait;
  waiting.max_unread_objects = 2;
  auto opened = this->harness.open(waiting);
  if (opened == error_kind::unsupported) {
    EXPECT_NE(opened.error().message().find("on_full"), std::string::npos) << opened.error().message();
    connector_defaults limited;
    limited.max_unread_bytes = 1;
    EXPECT_TRUE(failed_with(this->harness.open(limited), error_kind::unsupported)) << "a limit that nobody keeps is refused";
    return;
  }
  ASSERT_TRUE(succeeded(opened));
  auto& producer = *opened;
  auto consumer = this->open("consumer");
  put_options brief;
  brief.until = this->soon();
  for (std::string_view const key : {"a", "b"}) ASSERT_TRUE(succeeded(producer.put(this->flow, key, test_pattern(100, 1))));
  EXPECT_TRUE(failed_with(producer.put(this->flow, "c", test_pattern(100, 1), brief), error_kind::timed_out));
  EXPECT_TRUE(this->harness.passed(brief.until)) << "never too early";
  std::stop_source stopped;
  stopped.request_stop();
  put_options given_up;
  given_up.stop = stopped.get_token();
  EXPECT_TRUE(failed_with(producer.put(this->flow, "c", test_pattern(100, 1), given_up), error_kind::cancelled));
  EXPECT_FALSE(consumer->exists(this->flow, "c").value_or(true)) << "a failed put leaves nothing behind";
  EXPECT_TRUE(succeeded(this->get(*consumer, "a")));
  EXPECT_TRUE(succeeded(this->get(*consumer, "b")));
  constexpr int count = 100;
  std::atomic<int> wrong{0};
  std::thread reader([&] {
    for (int i = 0; i != count; ++i) {
      auto got = this->get(*consumer, "key " + std::to_string(i));
      if (!got || !same_bytes(got->bytes().last(100), test_pattern(100, static_cast<std::uint64_t>(i)))) wrong.fetch_add(1);
    }
  });
  put_options patient;
  patient.until = this->patient();
  for (int i = 0; i != count; ++i) {
    auto const data = test_pattern(100, static_cast<std::uint64_t>(i));
    auto room = producer.reserve(i % 2 == 0 ? 100 : 1, patient);
    EXPECT_TRUE(succeeded(room));
    if (i % 2 == 0 && room) {
      std::copy(data.begin(), data.end(), room->bytes().begin());
      EXPECT_TRUE(succeeded(producer.commit(this->flow, "key " + std::to_string(i), std::move(*room), patient)));
    } else {
      EXPECT_TRUE(succeeded(producer.put(this->flow, "key " + std::to_string(i), data, patient)));
    }
  }
  reader.join();
  EXPECT_EQ(wrong.load(), 0);

  connector_defaults dropping;
  dropping.full = on_full::drop_oldest;
  dropping.max_unread_objects = 2;
  auto dropper = this->open("dropper", dropping);
  for (int i = 0; i != 20; ++i) ASSERT_TRUE(succeeded(dropper->put(this->flow, "drop " + std::to_string(i), test_pattern(100, 1)))) << i;
  EXPECT_TRUE(failed_with(this->look(*consumer, "drop 17"), error_kind::not_found));
  EXPECT_TRUE(succeeded(this->get(*consumer, "drop 18")));
  EXPECT_TRUE(succeeded(this->get(*consumer, "drop 19")));
}

OMNICONN_END_NAMESPACE
