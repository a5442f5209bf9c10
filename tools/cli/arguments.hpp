// SPDX-License-Identifier: Apache-2.0
// The command line.
#pragma once

namespace tool {

/// Reads the arguments and runs the command. \returns the exit code; an error is on stderr.
int run_command_line(int argc, char** argv);

}  // namespace tool
