// SPDX-License-Identifier: Apache-2.0
// The conformance suite for models of connector_like: composed connectors and erased ones.
#pragma once

#include <omniconn/testing/conformance/connector_ending_cases.hpp>
#include <omniconn/testing/conformance/connector_fixture.hpp>
#include <omniconn/testing/conformance/connector_flow_cases.hpp>
#include <omniconn/testing/conformance/connector_many_cases.hpp>
#include <omniconn/testing/conformance/connector_put_get_cases.hpp>
#include <omniconn/testing/conformance/connector_reader_cases.hpp>
#include <omniconn/testing/conformance/connector_waiting_cases.hpp>

OMNICONN_BEGIN_NAMESPACE

/// `connector_conformance` runs for every Harness that a program instantiates it with:
///
///     struct my_harness : omniconn::real_time_harness {
///       using connector_type = my_connector;
///       // A connector of this harness's own namespace of keys, with these defaults. Called several times.
///       omniconn::result<connector_type, omniconn::diagnosis> open(omniconn::connector_defaults const& defaults);
///
///       // Where they differ from what the suite assumes:
///       static constexpr std::size_t longest_key = 4096;     // on the edge from → to
///       static constexpr bool keys_per_edge = true;          // the keying tells edges apart
///       static constexpr std::uint64_t memory_size = 0;      // payload bytes that a connector may hold, 32 MiB or more; 0: no limit
///     };
///     namespace omniconn {
///     INSTANTIATE_TYPED_TEST_SUITE_P(mine, connector_conformance, my_harness);
///     }
///
/// A harness for a connector in virtual time brings in(), patient() and passed() of its own instead of `real_time_harness`.
/// A case that the connector's facts rule out is skipped and says which one. It needs GoogleTest, and nothing else may include it.
REGISTER_TYPED_TEST_SUITE_P(
    connector_conformance,
    // payloads and keys
    bytes_of_any_size_come_back, get_into_fills_the_callers_memory, zero_copy_is_the_writers_memory, a_reservation_is_used_once_and_never_lost,
    info_travels, typed_payloads_come_back_or_are_unsupported, what_fails_to_decode_is_given_back, any_bytes_are_a_key,
    a_key_over_the_limit_is_too_large, edges_are_apart_where_the_keying_says_so,
    // readers, duplicates, locators
    one_reader_by_default, counted_readers_have_one_share_each, named_readers_only, the_defaults_name_the_readers, impossible_readers_are_refused,
    given_back_it_can_be_had_again, a_view_that_is_moved_ends_once, a_taken_key_already_exists, replace_is_for_those_who_come_later,
    a_receipt_survives_as_metadata, a_stale_locator_gets_nothing,
    // waiting and threads
    what_is_absent_ends_as_the_deadline_says, a_stop_token_ends_a_wait, a_put_wakes_who_waits, giving_back_and_consuming_wake_who_waits,
    who_waits_by_locator_learns_of_the_end, close_ends_a_wait, of_two_producers_exactly_one_wins, many_threads_lose_nothing,
    giving_up_and_putting_race_and_nothing_is_lost,
    // several keys
    any_of_several_is_the_first_that_is_there, any_of_several_leaves_the_others_alone, whichever_of_hundreds_comes_wakes_who_waits,
    any_of_several_says_which_cannot_be_had, all_of_several_come_in_order, all_of_several_or_nothing, one_that_cannot_be_had_ends_all,
    impossible_lists_of_keys_are_misconfigured, close_ends_a_wait_for_several, of_several_who_get_any_each_object_is_one_s,
    // what a producer knows of its readers
    several_reservations_or_none, a_receipt_tells_when_it_was_read, what_finds_no_room_waits_or_drops_where_that_can_be_had,
    // clean-up, memory, health, the end
    cleanup_takes_exactly_one_key, cleanup_of_a_request_takes_all_that_is_its, cleanup_leaves_views_alone, exists_follows_the_object,
    a_payload_larger_than_the_memory_is_no_space, full_memory_serves_again_when_readers_have_read, what_is_read_returns_its_memory,
    a_get_over_its_limit_is_too_large, health_counts_by_kind, closed_is_closed, views_and_reservations_outlive_their_connectors,
    unread_objects_live_as_long_as_facts_say, a_connector_moves);

OMNICONN_END_NAMESPACE
