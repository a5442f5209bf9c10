// SPDX-License-Identifier: Apache-2.0
// The conformance suite for models of transport_policy; docs/concepts/transport.md shows how to run it.
#pragma once

#include <omniconn/testing/conformance/ending_cases.hpp>
#include <omniconn/testing/conformance/fixture.hpp>
#include <omniconn/testing/conformance/kept_cases.hpp>
#include <omniconn/testing/conformance/locator_cases.hpp>
#include <omniconn/testing/conformance/optional_cases.hpp>
#include <omniconn/testing/conformance/put_get_cases.hpp>
#include <omniconn/testing/conformance/reader_cases.hpp>
#include <omniconn/testing/conformance/thread_cases.hpp>
#include <omniconn/testing/conformance/waiting_cases.hpp>

OMNICONN_BEGIN_NAMESPACE

/// `transport_conformance` runs for every Harness that a program instantiates it with:
///
///     struct my_harness : omniconn::real_time_harness {
///       using transport = my_transport;
///       // A transport of this harness's own namespace of keys, whose gets are made under that reader name. Called several times.
///       omniconn::result<transport, omniconn::diagnosis> open(std::string_view reader);
///
///       // Where caps.hears_death, and the suite is to see it (`mortal_harness` in conformance/optional_cases.hpp):
///       static constexpr omniconn::edge flow{"from", "to"};
///       std::string put_and_die();  // a process puts an object for that edge and dies; its wire key
///       void get_and_die();         // a process waits for something on that edge, in vain, and dies
///     };
///     namespace omniconn {
///     INSTANTIATE_TYPED_TEST_SUITE_P(mine, transport_conformance, my_harness);
///     }
///
/// A case that the transport's capabilities rule out is skipped and says which one. It needs GoogleTest, and nothing else may include it.
REGISTER_TYPED_TEST_SUITE_P(
    transport_conformance,
    // put and get
    every_size_arrives_whole, zero_copy_is_the_same_memory_for_all, info_travels, info_of_commit_supersedes_that_of_begin,
    any_bytes_are_a_key, a_key_that_is_too_long_is_too_large, an_object_over_the_limit_is_too_large,
    a_size_beyond_the_pieces_is_misconfigured, payloads_outside_its_memory_are_refused, too_many_pieces_are_misconfigured,
    several_pieces_arrive_as_one, bytes_land_in_several_pieces_in_order, land_unasked_is_misconfigured, exists_follows_the_object,
    report_counts_what_moved,
    // readers
    one_reader_consumes_once, an_object_that_is_held_is_not_given_twice, counted_readers_have_one_share_each, named_readers_only,
    as_many_readers_as_promised, impossible_reader_sets_are_misconfigured, given_back_it_can_be_had_again, a_hold_that_is_moved_ends_once,
    giving_back_serves_the_next_who_waits, a_named_reader_that_gives_back_has_its_share_again, everybody_who_waits_is_served,
    no_block_returns_while_somebody_reads, blocks_return_by_token_where_there_is_no_function,
    // kept
    a_kept_object_is_for_anybody_until_it_is_erased, a_kept_object_wakes_all_who_wait_and_makes_way_for_another,
    // endings
    a_taken_key_already_exists, begin_reserves_the_key, keys_that_are_not_shared_are_each_producers_own, replace_is_for_those_who_come_later, replace_where_it_is_not_offered_is_unsupported,
    a_put_that_is_given_up_leaves_nothing, erase_takes_the_unread, erase_leaves_holds_alone, erase_if_takes_what_matches, closed_is_closed,
    close_ends_operations_that_wait, a_put_across_close_fails_and_returns_its_block, unread_objects_live_as_long_as_caps_say,
    holds_outlive_both_transports, a_transport_moves,
    // waiting
    an_absent_object_is_pending, a_get_that_does_not_wait_is_told_what_is_there_now, a_deadline_is_kept,
    a_wait_for_nothing_only_ends_in_time, a_finished_operation_is_answered_at_once, a_failed_operation_fails_again,
    an_operation_serves_one_at_a_time_and_many_in_turn, the_wait_for_any_names_which, a_put_wakes_who_waits, a_stop_token_ends_a_wait,
    close_ends_a_wait, a_cancel_from_another_thread_ends_a_wait, a_get_that_is_cancelled_consumes_nothing, memory_is_quiet_after_cancel,
    // locators
    a_locator_finds_its_object, a_stale_locator_says_so, a_get_by_locator_fails_when_its_object_goes, a_foreign_locator_is_malformed,
    a_locator_survives_as_metadata,
    // threads
    of_two_producers_exactly_one_wins, erase_if_beside_puts_sees_whole_keys, of_two_readers_exactly_one_gets, nothing_is_lost_among_many_threads,
    cancel_and_put_race_and_nothing_is_lost,
    // what only some can do
    a_watch_ends_when_every_reader_is_done, a_watch_ends_with_its_object_and_not_before, a_short_payload_is_put_whole, a_written_payload_is_put_at_once, what_is_put_whole_follows_the_same_rules, room_is_waited_for, the_oldest_unread_is_dropped,
    a_producer_s_death_ends_a_wait_for_it, a_reader_s_death_ends_what_waits_for_it);

OMNICONN_END_NAMESPACE
