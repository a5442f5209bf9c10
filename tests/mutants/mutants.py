# SPDX-License-Identifier: Apache-2.0
"""Errors that somebody could make in one line, each with the test that must notice it.

Each: file under include/omniconn, the exact old text (it must occur once), the new text, the test source under tests/, the filter.
"""
from collections import namedtuple

Mutant = namedtuple("Mutant", "name file old new test filter")

PROTOCOL = "shm/protocol_test.cpp"
MODEL = "model/model_test.cpp"
SIM = "connector/conformance_sim_test.cpp"
SEGMENT = "shm_segment/shm_segment_test.cpp"

MUTANTS = [
    Mutant("claim taken without looking at ctl again", "transport/shm/protocol.hpp",
           "if (!twice && s.ctl.load() == ready) {", "if (!twice) {",
           PROTOCOL, "*a_claim_that_comes_after_the_drain_is_no_claim"),
    Mutant("claim undone by a store", "transport/shm/protocol.hpp",
           "s.claims[chosen].compare_exchange_strong(undo, claim::emptied(mine));", "s.claims[chosen].store(claim::emptied(undo));",
           PROTOCOL, "*undoing_a_claim_leaves_the_next_objects_place_alone"),
    Mutant("drained slot retired while held", "transport/shm/protocol.hpp",
           ": held == claim::state::hold;", ": false;",
           PROTOCOL, "*what_is_held_is_drained_but_not_retired"),
    Mutant("ready slot retired while unread", "transport/shm/protocol.hpp",
           "? held != claim::state::done :", "? held == claim::state::hold :",
           PROTOCOL, "*it_is_retired_when_all_are_done_and_given_back_once"),
    Mutant("claim released whatever its generation", "transport/shm/protocol.hpp",
           "while (claim::of_generation(w, generation) && claim::state_of(w) == claim::state::hold) {",
           "while (claim::state_of(w) == claim::state::hold) {",
           PROTOCOL, "*a_late_release_leaves_the_next_object_alone"),
    Mutant("bucket entry without generation", "transport/shm/layout.hpp",
           "| (generation & 0xfffffU) << 22U |", "| (generation & 0U) << 22U |",
           PROTOCOL, "*a_late_removal_leaves_the_entry_of_the_next_object"),
    Mutant("named place emptied for anyone", "transport/shm/layout.hpp",
           "named(c) ? reader(c) : anyone", "anyone",
           PROTOCOL, "*a_named_place_stays_its_readers_and_another_is_for_anyone"),
    Mutant("share consumed twice", "transport/shm/protocol.hpp",
           "if (claim::state_of(w) == claim::state::done) {", "if (false) {",
           PROTOCOL, "*a_reader_has_one_share"),
    Mutant("lease ignored when the producer goes", "transport/shm/recovery.hpp",
           "if (expired(s, now)) drain(dir, k, generation);", "drain(dir, k, generation);",
           PROTOCOL, "*a_lease_begins_when_the_producer_goes"),
    Mutant("claims of the living dropped", "transport/shm/recovery.hpp",
           " || claim::participant(w) != participant) continue;", " || participant == max_participants) continue;",
           PROTOCOL, "*a_dead_reader_holds_nothing_and_the_living_keep_theirs"),
    Mutant("chunk taken over though something in it is unread", "transport/shm/producer.hpp",
           "!chunk_is_idle(dir, n) || !c.owner", "!c.owner",
           "shm/shm_test.cpp", "*a_chunk_with_something_unread_in_it_is_not_taken_over"),
    Mutant("memory of a producer that left kept by its readers", "transport/shm/recovery.hpp",
           "FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st->st_size)", "FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1)",
           "shm/shm_test.cpp", "*a_producer_that_leaves_takes_its_memory_along*"),
    Mutant("directory of somebody else removed", "transport/shm/session.hpp",
           "if (!used && st && st->st_nlink != 0) {", "if (!used) {",
           "shm/failpoint_test.cpp", "*of_two_that_leave_at_once_the_second_spares_the_directory_of_the_next"),
    Mutant("directory of a dead remover kept", "transport/shm/directory.hpp",
           "::unlink(path.c_str());  // its last user died", "// its last user died",
           "shm/failpoint_test.cpp", "*a_directory_whose_last_user_died_while_it_removed_it_is_made_anew"),
    Mutant("memory of an orphan kept", "transport/shm/recovery.hpp",
           "if (end > at) (void)::fallocate(", "if (end < at) (void)::fallocate(",
           "shm/restart_test.cpp", "shm_orphan.keeps_the_pages_of_its_unread_objects_and_no_others"),
    Mutant("page of an unread object given back", "transport/shm/recovery.hpp",
           "(at + length + page - 1) / page * page};", "(at + length) / page * page};",
           "shm/restart_test.cpp", "shm_orphan.keeps_the_pages_of_its_unread_objects_and_no_others"),
    Mutant("blocks of a chunk that was taken over forgotten", "transport/shm/producer.hpp",
           "      if (ended(index)) {\n        release_token(index);", "      if (ended(index)) {",
           "shm/shm_test.cpp", "*a_producer_that_is_idle_leaves_no_memory_and_no_slots_to_want"),
    Mutant("tensor of any number of bytes", "core/tensor.hpp",
           "if (*need != bytes.size())", "if (false)",
           "core/tensor_test.cpp", "tensor_view.is_made_over_exactly_its_bytes"),
    Mutant("byte count overflows", "core/tensor.hpp",
           "if (__builtin_mul_overflow(product, static_cast<std::uint64_t>(size), &product) || product > (std::uint64_t{1} << 63) - 1)",
           "if (product *= static_cast<std::uint64_t>(size); false)",
           "core/tensor_test.cpp", "byte_count.is_checked_at_every_step"),
    Mutant("freed block freed again", "detail/region_blocks.hpp",
           "return n != 0 && map_.state(n) == extent_state::used ? n : 0;", "return n;",
           "allocator/conformance_test.cpp", "*a_region_s_double_frees_and_foreign_pointers_are_refused"),
    Mutant("depth of msgpack unlimited", "serializer/msgpack/check.hpp",
           "if (depth_left_ == 0) return fail(", "if (false) return fail(",
           "serializer/omni_msgpack_test.cpp", "omni_msgpack.depth_is_limited"),
    Mutant("locator of any transport", "core/locator.hpp",
           "if (tag_ != tag || size_ != sizeof(Record))", "if (size_ != sizeof(Record))",
           PROTOCOL, "shm_locator.of_the_right_size_and_another_transport_is_refused"),
    Mutant("checksum not compared", "connector.hpp",
           "&& checksum(bytes) != info.checksum)", "&& false)",
           "connector/connector_test.cpp", "connector_checksum.a_flipped_bit_is_corrupt_and_the_object_stays"),
    Mutant("failed decode consumes", "connector.hpp",
           "if (!out) return fail(out.error());\n    kept.decoded();", "kept.decoded();\n    if (!out) return fail(out.error());",
           SIM, "*what_fails_to_decode_is_given_back"),
    Mutant("size of metadata not compared", "transport/shm_segment/claim.hpp",
           "if (wanted != 0 && size != wanted) return", "if (false) return",
           SEGMENT, "*metadata_with_another_size_is_corrupt_and_costs_nothing"),
    Mutant("lock file left by the reader", "transport/shm_segment/files.hpp",
           "if (ours) ::unlink(paths.lock.c_str());", "",
           SEGMENT, "*an_object_is_a_file_and_a_lock_file"),
    Mutant("generation of a locator not compared", "transport/shm_segment/claim.hpp",
           "if (which != nullptr && id_of(st) != *which) return stale();", "",
           SEGMENT, "*an_inode_that_is_used_again_is_another_object"),
    Mutant("unfinished segment read", "transport/shm_segment/claim.hpp",
           "if (is_being_written(file.get())) return outcome::unfinished;", "",
           SEGMENT, "*a_segment_without_a_lock_file_is_read_when_its_writer_has_closed_it"),
    Mutant("get_into without a size", "connector.hpp",
           "if (got->bytes().size() > into.size()) {", "if (false) {",
           SIM, "*get_into_fills_the_callers_memory"),
    Mutant("claims scanned before ctl is read", "transport/shm/protocol.hpp",
           """    std::uint64_t c = s.ctl.load();
    if (control::generation(c) != generation) return false;
    auto const state = control::state(c);
    if (state != slot_state::ready && state != slot_state::draining) return false;
    // Claims are scanned after ctl was read: a claim made in between re-reads ctl and finds it changed, or is found here.
    bool needed = false;
    for (std::uint32_t i = 0, n = readers_of(s); i != n && !needed; ++i) {
      std::uint64_t const w = s.claims[i].load();
""",
           """    std::uint64_t words[max_claims];
    for (std::uint32_t i = 0, n = readers_of(s); i != n; ++i) words[i] = s.claims[i].load();
    std::uint64_t c = s.ctl.load();
    if (control::generation(c) != generation) return false;
    auto const state = control::state(c);
    if (state != slot_state::ready && state != slot_state::draining) return false;
    bool needed = false;
    for (std::uint32_t i = 0, n = readers_of(s); i != n && !needed; ++i) {
      std::uint64_t const w = words[i];
""",
           MODEL, "*s_story_holds_without_it/claims_are_scanned_before_the_control_word_is_read"),
    Mutant("claim taken without looking at ctl again (model)", "transport/shm/protocol.hpp",
           "if (!twice && s.ctl.load() == ready) {", "if (!twice) {",
           MODEL, "*model_story.holds/erase_against_claim"),
    Mutant("claims of any generation alike", "transport/shm/layout.hpp",
           "return c >> 40U == (generation & generation_mask); }", "return c == c || generation == 0; }",
           MODEL, "*model_story.holds/reader_dies"),
    Mutant("slot that a dead reader retired not given back", "transport/shm/recovery.hpp",
           "if (control::state(c) == slot_state::retired)\n", "if (false)\n",
           MODEL, "*model_story.holds/reader_dies"),
    Mutant("bell of a dead process not rung", "transport/shm/recovery.hpp",
           "  ring_all(dir);\n", "",
           MODEL, "*model_story.holds/dead_reader_s_share"),
    Mutant("bell without a change of its word", "transport/shm/protocol.hpp",
           "  home.seq.fetch_add(1);\n", "",
           MODEL, "*model_story.holds/waiter_is_woken"),
    Mutant("slot taken whoever has it", "transport/shm/producer.hpp",
           "if (control::state(word) != slot_state::free) continue;", "if (control::state(word) != slot_state::free && control::state(word) != slot_state::taken) continue;",
           MODEL, "*model_story.holds/chunk_taken_over"),
    Mutant("block lost with its chunk", "transport/shm/producer.hpp",
           "if (ended(index)) release_token(index);  // a bit", "if (freed) release_token(index);  // a bit",
           MODEL, "*model_story.holds/chunk_taken_over"),
    Mutant("keeper of a chunk not told of a slot", "transport/shm/protocol.hpp",
           "keeper != except && keeper < max_participants)", "keeper != except && keeper > max_participants)",
           MODEL, "*model_story.holds/chunk_taken_over"),
    Mutant("key given up before its object", "transport/shm/protocol.hpp",
           "  remove_ref(dir, hash, generation, index);\n  give_to_keeper", "  give_to_keeper",
           MODEL, "*model_story.holds/two_readers_share"),
    Mutant("orphan looked at after its last slot was retired", "transport/shm/recovery.hpp",
           "if (p.state.load() != participant_state::orphan || p.returned_seq.load() == seen) return;", "return;",
           MODEL, "*model_story.holds/producer_leaves"),
]
