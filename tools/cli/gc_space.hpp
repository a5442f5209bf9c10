// SPDX-License-Identifier: Apache-2.0
// What gc does with one namespace of our layout.
#pragma once

#include <optional>
#include <string>

#include "rows.hpp"

namespace tool {

/// Ends what the dead began, ends leases that are over, removes files that nobody names, and the directory if nobody uses it.
/// \errors why it could not: the directory's own problem, or a process that is stopped in the middle of opening it.
outcome collect_space(std::string const& folder, std::string const& stem);

/// Removes a directory that is not what it should be, unless a live process has a lock on it. With `dry_run` only says whether it would.
/// \errors `problem`, with why it was not removed.
outcome remove_broken(std::string const& path, diagnosis const& problem, bool dry_run);

}  // namespace tool
