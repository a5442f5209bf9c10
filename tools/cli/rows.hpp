// SPDX-License-Identifier: Apache-2.0
// What lies in shared memory, as rows: one source per layout, one printer for all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common.hpp"

namespace tool {

/// Who has an object in hand.
struct holder_row {
  std::string reader;                       ///< the reader name of its place
  std::string name;                         ///< of the participant
  std::uint32_t pid = 0;
  std::string state;                        ///< "alive", "dead"
  std::optional<double> held_for;           ///< seconds, whole ones
};

/// One object, or what is left of one.
struct object_row {
  std::string key;                          ///< as it lies there: of our layout the wire key
  std::string state;                        ///< "unread", "held", "expired", "withdrawn", "being written"; upstream's "unread", "being written", "lock only"
  std::optional<std::uint64_t> size;        ///< bytes
  std::optional<double> age;                ///< seconds
  std::optional<double> age_at_most;        ///< seconds, where nothing says it exactly
  std::optional<double> lease_left;         ///< seconds, where the producer is gone
  std::string producer;                     ///< empty: not known
  std::vector<std::string> readers;         ///< one sentence each
  std::vector<holder_row> holders;
  bool kept = false;                        ///< for anybody, until it is cleaned up
  std::vector<std::string> unread_by;       ///< named readers who have still to read it
  std::uint64_t unread_by_anyone = 0;       ///< and so many of any name
};

/// One process that takes part in a namespace.
struct process_row {
  std::string name;
  std::uint32_t pid = 0;
  std::string state;                        ///< "alive", "dead", or "orphan": gone, but objects of it are still leased
  bool stopped = false;                     ///< by a signal or a debugger; only where its pid can be believed
  std::optional<double> age;                ///< seconds since it came
  std::uint64_t memory = 0;                 ///< bytes of its arena
};

/// What lies there though nobody has a right to it; `omniconn gc` mends it.
struct leak_row {
  std::string what;                         ///< "participant", "claim", "slot", "object", "arena", "fifo", "directory"; or "damage", which only a new directory mends
  std::string text;                         ///< what it is; not yet escaped
  std::uint64_t bytes = 0;                  ///< of memory that comes back with it
};

/// One namespace of our layout; upstream's has no namespaces and is one row as a whole.
struct space_row {
  std::string layout;                       ///< "omniconn", "upstream"
  std::string name;                         ///< empty: not known, only its hash is in the file name
  std::string path;
  std::uint32_t user = 0;                   ///< whose files these should be, by their names
  std::optional<diagnosis> problem;         ///< then nothing below is known
  std::uint64_t slots = 0;
  std::uint64_t file_size = 0;
  std::uint64_t memory = 0;                 ///< bytes that all its files take
  std::uint64_t waiters = 0;                ///< at most so many wait for an object: one that was killed is still counted
  bool has_directory = true;                ///< else only files that no directory names, all of them leaks
  std::vector<leak_row> leaks;
  std::vector<process_row> processes;
  std::vector<object_row> objects;

  /// Why the directory should be made anew: its `problem`, or values in it that cannot be.
  [[nodiscard]] std::optional<diagnosis> broken() const;
};

/// Our layout: every namespace whose files lie in `folder`, also where only an arena or a FIFO is left; or only the one of that name. File names
/// hold only a hash: "default", OMNICONN_NAMESPACE and `only` are recognised.
///
/// Only reads, and joins nothing: no lock is taken, no file mapped, so that no size that changes meanwhile can hurt. What is read is
/// believed only as far as it was checked; a file that is not what it should be is a row with a `problem`.
/// \errors of the folder itself.
result<std::vector<space_row>, diagnosis> our_spaces(std::string const& folder, std::optional<std::string> const& only);

/// Upstream's layout: `<folder>/<key>` with the lock file `shm_<key>_lockfile.lock` beside it. Segments without a lock file cannot be told from
/// those of other programs and are left out; lock files without a segment are rows of their own. Opens nothing.
result<space_row, diagnosis> upstream_space(std::string const& folder);

}  // namespace tool
