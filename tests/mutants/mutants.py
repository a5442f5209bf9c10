# SPDX-License-Identifier: Apache-2.0
"""Errors that somebody could make in one line, each with the test that must notice it.

Each: file under include/omniconn, the exact old text (it must occur once), the new text, the test source under tests/, the filter.
"""
from collections import namedtuple

Mutant = namedtuple("Mutant", "name file old new test filter")

PROTOCOL = "shm/protocol_test.cpp"
SIM = "connector/conformance_sim_test.cpp"

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
           "if (claim::state_of(w) == claim::state::done) return claim_outcome::consumed;", "",
           PROTOCOL, "*a_reader_has_one_share"),
    Mutant("lease ignored when the producer goes", "transport/shm/recovery.hpp",
           "if (expired(s, now)) drain(dir, k, generation);", "drain(dir, k, generation);",
           PROTOCOL, "*a_lease_begins_when_the_producer_goes"),
    Mutant("claims of the living dropped", "transport/shm/recovery.hpp",
           " || claim::participant(w) != participant) continue;", " || participant == max_participants) continue;",
           PROTOCOL, "*a_dead_reader_holds_nothing_and_the_living_keep_theirs"),
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
           "&& checksum(found.bytes) != found.info.checksum) {", "&& false) {",
           "connector/connector_test.cpp", "connector_checksum.a_flipped_bit_is_corrupt_and_the_object_stays"),
    Mutant("failed decode consumes", "connector.hpp",
           "if (!decoded) {\n      got->give_back();", "if (!decoded) {",
           SIM, "*what_fails_to_decode_is_given_back"),
    Mutant("get_into without a size", "connector.hpp",
           "if (got->bytes().size() > into.size()) {", "if (false) {",
           SIM, "*get_into_fills_the_callers_memory"),
]
