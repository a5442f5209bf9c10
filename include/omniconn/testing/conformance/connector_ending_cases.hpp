// SPDX-License-Identifier: Apache-2.0
// Conformance of connectors: clean-up, full memory, health, and the end.
#pragma once

#include <omniconn/testing/conformance/connector_fixture.hpp>

OMNICONN_BEGIN_NAMESPACE

// --- clean-up -------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, cleanup_takes_exactly_one_key) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  if (!producer->facts().can_erase) {
    EXPECT_TRUE(failed_with(producer->cleanup(this->flow, "key"), error_kind::unsupported)) << "facts().can_erase is false";
    return;
  }
  edge const elsewhere{"from", "elsewhere"};
  EXPECT_EQ(producer->cleanup(this->flow, "key").value_or(99), 0U) << "unknown: nothing to do, no error";
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(64, 1))));
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key_0", test_pattern(64, 2))));
  if (this->keys_per_edge()) {
    ASSERT_TRUE(succeeded(producer->put(elsewhere, "key", test_pattern(64, 3))));
  }
  EXPECT_EQ(consumer->cleanup(this->flow, "key").value_or(99), 1U) << "by anybody";
  EXPECT_EQ(producer->cleanup(this->flow, "key").value_or(99), 0U) << "idempotent";
  EXPECT_TRUE(!producer->facts().counts_readers || this->goes(*consumer, "key"));
  EXPECT_TRUE(failed_with(this->look(*consumer, "key"), error_kind::not_found));
  EXPECT_TRUE(consumer->exists(this->flow, "key_0").value_or(false));
  if (this->keys_per_edge()) {
    EXPECT_TRUE(consumer->exists(elsewhere, "key").value_or(false));
  }
  EXPECT_TRUE(succeeded(this->put_again(*producer, "key", test_pattern(64, 4)))) << "the key is free";
}

TYPED_TEST_P(connector_conformance, cleanup_of_a_request_takes_all_that_is_its) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  if (!producer->facts().can_list) {
    EXPECT_TRUE(failed_with(producer->cleanup("r1"), error_kind::unsupported)) << "facts().can_list is false";
    return;
  }
  EXPECT_EQ(producer->cleanup("r1").value_or(99), 0U);
  std::array<std::string_view, 5> const its{"r1", "r1_0", "r1_0_7", "kv_cache_r1", "r1_"};
  std::array<std::string_view, 5> const others{"r", "r10", "r10_0", "xr1", "r1x_0"};
  for (auto const key : its) ASSERT_TRUE(succeeded(producer->put(this->flow, key, test_pattern(64, 1)))) << key;
  for (auto const key : others) ASSERT_TRUE(succeeded(producer->put(this->flow, key, test_pattern(64, 2)))) << key;
  edge const elsewhere{"other", "edge"};
  ASSERT_TRUE(succeeded(producer->put(elsewhere, "r1_1", test_pattern(64, 3))));
  EXPECT_EQ(consumer->cleanup("r1").value_or(99), 6U) << "on all edges, by anybody";
  EXPECT_EQ(consumer->cleanup("r1").value_or(99), 0U);
  for (auto const key : its) EXPECT_FALSE(consumer->exists(this->flow, key).value_or(true)) << key;
  for (auto const key : others) EXPECT_TRUE(succeeded(this->get(*consumer, key))) << key;
}

TYPED_TEST_P(connector_conformance, cleanup_leaves_views_alone) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  if (!producer->facts().can_erase) GTEST_SKIP() << "facts().can_erase is false";
  auto const data = test_pattern(50'000, 1);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", data)));
  auto got = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(got));
  EXPECT_EQ(producer->cleanup(this->flow, "key").value_or(99), 1U);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(50'000, 2)))) << "the key is free although its old object is still read";
  for (std::uint64_t i = 0; i != 20; ++i) {  // whoever took the old block would write over it
    auto room = producer->reserve(50'000);
    ASSERT_TRUE(succeeded(room));
    std::fill(room->bytes().begin(), room->bytes().end(), poison_byte);
  }
  EXPECT_TRUE(holds(got->bytes().last(50'000), data));
  got->release();
  EXPECT_TRUE(consumer->exists(this->flow, "key").value_or(false)) << "the end of the old view does not touch the new object";
}

TYPED_TEST_P(connector_conformance, exists_follows_the_object) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  EXPECT_FALSE(consumer->exists(this->flow, "key").value_or(true));
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(8, 1))));
  EXPECT_TRUE(consumer->exists(this->flow, "key").value_or(false));
  EXPECT_TRUE(producer->exists(this->flow, "key").value_or(false));
  EXPECT_FALSE(consumer->exists(this->flow, "kez").value_or(true));
  ASSERT_TRUE(succeeded(this->get(*consumer, "key")));
  EXPECT_TRUE(this->goes(*consumer, "key"));
}

// --- memory ---------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, a_payload_larger_than_the_memory_is_no_space) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  for (std::size_t const impossible : {~std::size_t{0}, ~std::size_t{0} - 100, ~std::size_t{0} / 2}) {
    auto const refused = producer->reserve(impossible);
    EXPECT_TRUE(refused == error_kind::no_space || refused == error_kind::too_large) << impossible;
  }
  if (this->memory_size() != 0) {
    std::vector<std::byte> const too_much(static_cast<std::size_t>(this->memory_size()) + 1);
    auto const put = producer->put(this->flow, "key", too_much);
    ASSERT_TRUE(failed_with(put, error_kind::no_space));
    EXPECT_NE(std::string_view(put.error().text()).find("memory_pool_size"), std::string_view::npos) << put.error().text();
    EXPECT_TRUE(failed_with(producer->reserve(too_much.size()), error_kind::no_space));
  }
  EXPECT_FALSE(consumer->exists(this->flow, "key").value_or(true));
  auto const data = test_pattern(100'000, 1);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", data))) << "it is as usable as before";
  auto got = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(got));
  EXPECT_TRUE(holds(got->bytes().last(data.size()), data));
}

TYPED_TEST_P(connector_conformance, full_memory_serves_again_when_readers_have_read) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  bool const limited = this->memory_size() != 0;
  std::uint64_t const most = std::min(std::uint64_t{64} << 20U, producer->facts().max_object);
  std::uint64_t const memory = limited ? this->memory_size() : most;
  std::size_t const size = static_cast<std::size_t>(memory) / 16;
  for (int round = 0; round != 3; ++round) {
    SCOPED_TRACE(round);
    std::uint64_t stored = 0;
    result<receipt> put{error_kind::io, ""};
    for (; stored != 17; ++stored) {
      put = producer->put(this->flow, "key " + std::to_string(stored), this->bulk(size - 512, stored));
      if (!put) break;
    }
    if (limited) {
      ASSERT_TRUE(failed_with(put, error_kind::no_space));
      EXPECT_NE(std::string_view(put.error().text()).find("memory_pool_size"), std::string_view::npos) << put.error().text();
    }
    EXPECT_GE(stored, 15U) << "as much as the option says, but for rounding";
    for (std::uint64_t i = 0; i != stored; ++i) {
      auto got = this->get(*consumer, "key " + std::to_string(i));
      ASSERT_TRUE(succeeded(got)) << i;
      EXPECT_TRUE(holds(got->bytes().last(size - 512), this->bulk(size - 512, i)));
      got->release();
      if (i + 1 == stored || !producer->facts().counts_readers) {
        ASSERT_TRUE(this->goes(*producer, "key " + std::to_string(i)));
      }
    }
    // All of it is free again, in one piece.
    result<typename TestFixture::reservation> all{error_kind::io, ""};
    for (int wait = 0; wait != 1000 && !all; ++wait) {
      all = producer->reserve(static_cast<std::size_t>(memory) / 8 * 7);
      if (!all) this->pause(*producer);
    }
    ASSERT_TRUE(succeeded(all));
    std::fill(all->bytes().begin(), all->bytes().end(), poison_byte);
  }
}

TYPED_TEST_P(connector_conformance, what_is_read_returns_its_memory) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  std::size_t const size = 300'000;
  std::uint64_t const rounds = this->memory_size() == 0 ? 50 : 3 * this->memory_size() / size;
  for (std::uint64_t i = 0; i != rounds; ++i) {
    auto const data = this->bulk(size, i);
    auto put = this->put_again(*producer, "key", data);
    for (int wait = 0; wait != 1000 && put == error_kind::no_space; ++wait) {
      this->pause(*producer);
      put = producer->put(this->flow, "key", data);
    }
    ASSERT_TRUE(succeeded(put)) << i;
    auto got = this->get(*consumer, "key");
    ASSERT_TRUE(succeeded(got)) << i;
    ASSERT_TRUE(holds(got->bytes().last(size), data)) << i;
    if (!producer->facts().counts_readers) {
      ASSERT_TRUE(this->goes(*producer, "key"));
    }
  }
}

TYPED_TEST_P(connector_conformance, a_get_over_its_limit_is_too_large) {
  auto producer = this->open("producer");
  connector_defaults defaults;
  defaults.max_get_size = 1000;
  auto careful = this->open("careful", defaults);
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(1001, 1))));
  EXPECT_TRUE(failed_with(this->get(*careful, "key"), error_kind::too_large));
  EXPECT_TRUE(succeeded(this->get(*consumer, "key"))) << "it is still there";
  ASSERT_TRUE(succeeded(producer->put(this->flow, "small", test_pattern(900, 1))));
  EXPECT_TRUE(succeeded(this->get(*careful, "small")));
}

// --- health ---------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, health_counts_by_kind) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const errors = [](auto const& c, error_kind kind) { return c->health().errors[index(kind)]; };
  EXPECT_EQ(consumer->health().status, health_status::ready);
  EXPECT_TRUE(consumer->health().why.empty());
  for (std::uint64_t const n : consumer->health().errors) EXPECT_EQ(n, 0U);
  for (int i = 0; i != 3; ++i) EXPECT_FALSE(this->look(*consumer, "key"));
  EXPECT_EQ(errors(consumer, error_kind::not_found), 3U);
  EXPECT_FALSE(consumer->get_view(this->flow, "key", this->by(this->soon())));
  EXPECT_EQ(errors(consumer, error_kind::timed_out), 1U);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(1000, 1))));
  for (int i = 0; i != 2; ++i) EXPECT_FALSE(producer->put(this->flow, "key", test_pattern(100, 1)));
  EXPECT_EQ(errors(producer, error_kind::already_exists), 2U);
  EXPECT_EQ(errors(consumer, error_kind::already_exists), 0U) << "each counts its own";
  std::vector<std::byte> small(3);
  EXPECT_FALSE(consumer->get_into(this->flow, "key", small, this->by(this->patient())));
  EXPECT_EQ(errors(consumer, error_kind::too_large), 1U);
  EXPECT_FALSE(producer->put(this->flow, std::string(max_key_size + 1, 'k'), test_pattern(1, 1)));
  EXPECT_EQ(errors(producer, error_kind::too_large), 1U);
  EXPECT_FALSE(producer->commit(this->flow, "key", {}));
  EXPECT_EQ(errors(producer, error_kind::misconfigured), 1U);
  auto const report = producer->health();
  EXPECT_EQ(report.moved.puts, 1U);
  EXPECT_GE(report.moved.put_bytes, 1000U);
  EXPECT_EQ(report.moved.gets, 0U);
  if (producer->facts().counts_readers) {
    EXPECT_EQ(report.objects.used, 1U);
  }
  if (producer->facts().survives != survival::service) {
    EXPECT_GE(report.memory.used, 1000U) << "what a service holds, it counts itself";
  }
  consumer->close();
  EXPECT_EQ(consumer->health().status, health_status::closed);
  EXPECT_FALSE(consumer->health().why.empty());
}

// --- the end --------------------------------------------------------------------------------------------------------------

TYPED_TEST_P(connector_conformance, closed_is_closed) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(64, 1))));
  ASSERT_TRUE(succeeded(producer->put(this->flow, "other", test_pattern(64, 1))));
  auto got = this->get(*consumer, "key");
  ASSERT_TRUE(succeeded(got));
  auto early = consumer->reserve(64);
  ASSERT_TRUE(succeeded(early));
  consumer->close();
  consumer->close();
  EXPECT_TRUE(holds(got->bytes().last(64), test_pattern(64, 1))) << "views stay readable";
  EXPECT_TRUE(failed_with(this->get(*consumer, "other"), error_kind::closed));
  EXPECT_TRUE(failed_with(this->look(*consumer, "other"), error_kind::closed));
  EXPECT_TRUE(failed_with(consumer->get_into(this->flow, "other", {}, this->by(this->patient())), error_kind::closed));
  EXPECT_TRUE(failed_with(consumer->exists(this->flow, "other"), error_kind::closed));
  EXPECT_TRUE(failed_with(consumer->cleanup(this->flow, "other"), error_kind::closed));
  EXPECT_TRUE(failed_with(consumer->cleanup("other"), error_kind::closed));
  EXPECT_TRUE(failed_with(consumer->put(this->flow, "new", test_pattern(64, 1)), error_kind::closed));
  EXPECT_TRUE(failed_with(consumer->commit(this->flow, "new", std::move(*early)), error_kind::closed));
  auto late = consumer->reserve(64);  // memory that is there may be given, but nothing can be done with it
  if (late) {
    EXPECT_TRUE(failed_with(consumer->commit(this->flow, "new", std::move(*late)), error_kind::closed));
  } else {
    EXPECT_TRUE(late == error_kind::closed);
  }
  got->release();
  EXPECT_TRUE(succeeded(producer->put(this->flow, "after", test_pattern(64, 1)))) << "the others go on";
}

TYPED_TEST_P(connector_conformance, views_and_reservations_outlive_their_connectors) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(5000, 1);
  std::vector<typename TestFixture::view> views;
  for (std::string const key : {"a", "b", "c", "d"}) {
    ASSERT_TRUE(succeeded(producer->put(this->flow, key, data)));
    auto got = this->get(*consumer, key);
    ASSERT_TRUE(succeeded(got));
    views.push_back(std::move(*got));
  }
  auto room = producer->reserve(5000);
  ASSERT_TRUE(succeeded(room));
  consumer.reset();
  EXPECT_TRUE(holds(views[0].bytes().last(5000), data));
  views[0].release();
  producer.reset();
  EXPECT_TRUE(holds(views[1].bytes().last(5000), data));
  views[1].give_back();
  std::copy(data.begin(), data.end(), room->bytes().begin());
  EXPECT_TRUE(holds(room->bytes(), data));
  EXPECT_TRUE(holds(views[2].bytes().last(5000), data));
  views.pop_back();
  EXPECT_TRUE(holds(views[2].bytes().last(5000), data));
}

TYPED_TEST_P(connector_conformance, unread_objects_live_as_long_as_facts_say) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  auto const data = test_pattern(5000, 1);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", data)));
  put_options gone;
  gone.lease = std::chrono::nanoseconds(0);
  ASSERT_TRUE(succeeded(producer->put(this->flow, "without a lease", data, gone)));
  survival const survives = producer->facts().survives;
  producer.reset();
  auto got = this->look(*consumer, "key");
  if (survives == survival::producer) {
    EXPECT_TRUE(failed_with(got, error_kind::not_found)) << "it went with its producer";
  } else {
    ASSERT_TRUE(succeeded(got)) << "facts().survives promises it";
    EXPECT_TRUE(holds(got->bytes().last(5000), data));
  }
  if (survives == survival::producer || survives == survival::producer_exit) {
    EXPECT_TRUE(failed_with(this->look(*consumer, "without a lease"), error_kind::not_found));
  }
}

TYPED_TEST_P(connector_conformance, a_connector_moves) {
  auto producer = this->open("producer");
  auto consumer = this->open("consumer");
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key", test_pattern(64, 1))));
  typename TestFixture::connector_type moved(std::move(*consumer));
  auto got = this->get(moved, "key");
  ASSERT_TRUE(succeeded(got));
  *producer = std::move(moved);  // closes the producer
  EXPECT_TRUE(holds(got->bytes().last(64), test_pattern(64, 1)));
  got->release();
  ASSERT_TRUE(succeeded(producer->put(this->flow, "key 2", test_pattern(64, 2))));
  EXPECT_TRUE(succeeded(this->get(*producer, "key 2")));
}

OMNICONN_END_NAMESPACE
