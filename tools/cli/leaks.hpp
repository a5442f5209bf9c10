// SPDX-License-Identifier: Apache-2.0
// What of a namespace nobody has a right to. Looked for while others work: whatever may be on its way is not called a leak.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "rows.hpp"
#include "snapshot.hpp"
#include "space_files.hpp"

namespace tool {

class leak_finder {
 public:
  leak_finder(snapshot const& seen, space_row& out) : seen_(seen), out_(out) {}

  /// Each slot that has no object, and each that has or is about to have one.
  void look_at(std::uint32_t index, snapshot::slot const& s);
  void look_at(std::uint32_t index, snapshot::slot const& s, copied<std::uint64_t> const& claims, std::string const& key);
  /// After all slots. `files` are those of the namespace, listed before the snapshot was taken: what came later has a name in the snapshot.
  void finish(std::span<space_file const> files);

 private:
  void begun_by_the_dead(std::uint32_t index, snapshot::slot const& s);
  [[nodiscard]] std::string person_at(std::uint32_t i, char const* state = "dead") const;

  snapshot const& seen_;
  space_row& out_;
  std::array<std::uint32_t, omniconn::detail::shm::max_participants> wanted_{};  // objects of each that somebody may still want
};

/// A record names the file, or is about to. The file has to be older than the snapshot.
bool is_named(snapshot const& seen, space_file const& file);

/// The same where there is no directory: every file that no process has open. \requires `out.has_directory` is false.
void find_orphans(std::span<space_file const> files, space_row& out);

}  // namespace tool
