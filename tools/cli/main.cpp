// SPDX-License-Identifier: Apache-2.0
// omniconn: put, get and look, from a shell. docs/tool.md says how.
#include <csignal>

#include <omniconn/core/log.hpp>

#include "arguments.hpp"
#include "files.hpp"

int main(int argc, char** argv) {
  tool::guard_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);  // a broken pipe is an error with a text, and what was got is given back
  omniconn::set_log_sink(nullptr);  // both ends of an edge are often this tool; stderr is for its own words
  return tool::run_command_line(argc, argv);
}
