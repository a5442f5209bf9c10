// SPDX-License-Identifier: Apache-2.0
// What look, gc and doctor print: columns for people, and names from outside that cannot move the cursor.
#pragma once

#include <string>
#include <vector>

#include "rows.hpp"

namespace tool {

using cells = std::vector<std::string>;

/// Columns side by side, each as wide as its widest cell.
std::string table(std::vector<cells> const& rows);

/// "1.5 s", "3 min".
std::string shown_seconds(double s);

/// As it is where that is plain, else quoted and escaped.
std::string shown_name(std::string const& name);

/// What the files of a namespace of our layout are called, without suffix.
std::string file_stem(space_row const& row);

/// The name of a namespace, or "#" and what its files are called.
std::string space_name(space_row const& row);

/// "name (pid 12)", "name (pid 12, dead)": one of our sentences, not yet escaped.
std::string person(std::string const& name, std::uint32_t pid, std::string const& state);

std::string joined(std::vector<std::string> const& texts);

/// The command that tidies this namespace.
std::string advice_gc(space_row const& row);

}  // namespace tool
