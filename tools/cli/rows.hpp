// SPDX-License-Identifier: Apache-2.0
// What lies in shared memory, as rows: one source per layout, one printer for all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common.hpp"

namespace tool {

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
};

/// One process that takes part in a namespace.
struct process_row {
  std::string name;
  std::uint32_t pid = 0;
  std::string state;                        ///< "alive", "dead", "left"
  std::optional<double> age;                ///< seconds since it came
  std::uint64_t memory = 0;                 ///< bytes of its arena
};

/// One namespace of our layout; upstream's has no namespaces and is one row as a whole.
struct space_row {
  std::string layout;                       ///< "omniconn", "upstream"
  std::string name;                         ///< empty: not known, only its hash is in the file name
  std::string path;
  std::optional<diagnosis> problem;         ///< then nothing below is known
  std::uint64_t slots = 0;
  std::uint64_t file_size = 0;
  std::vector<process_row> processes;
  std::vector<object_row> objects;
};

/// Our layout: every namespace whose files lie in `folder`. Names are hashed in file names; those of `names` are recognised.
///
/// Only reads, and joins nothing: no lock is taken, no file mapped, so that no size that changes meanwhile can hurt. What is read is
/// believed only as far as it was checked; a file that is not what it should be is a row with a `problem`.
/// \errors of the folder itself.
result<std::vector<space_row>, diagnosis> our_spaces(std::string const& folder, std::vector<std::string> const& names);

/// Upstream's layout: `<folder>/<key>` with the lock file `shm_<key>_lockfile.lock` beside it. Segments without a lock file cannot be told from
/// those of other programs and are left out; lock files without a segment are rows of their own. Opens nothing.
result<space_row, diagnosis> upstream_space(std::string const& folder);

/// The file name of a namespace of this user, without folder and suffix.
std::string stem_of(std::string const& folder, std::string const& name);

}  // namespace tool
