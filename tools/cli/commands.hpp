// SPDX-License-Identifier: Apache-2.0
// What each command is told, and its entry. Filled by arguments.cpp, the only file that knows the command line library.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common.hpp"

namespace tool {

/// Which edge, and through which connector.
struct edge_options {
  std::string config;                 ///< a file, or
  std::string connector;              ///< a name,
  std::vector<std::string> settings;  ///< with "key=value" each
  std::string from;
  std::string to;
};

struct put_command {
  edge_options where;
  std::string key;
  std::string in;
  bool object = false;
  std::vector<std::string> readers;
  std::optional<double> timeout;  ///< seconds
  std::optional<double> keep;     ///< seconds
};
outcome run(put_command const&);

struct get_command {
  edge_options where;
  std::string key;
  std::string out;
  bool object = false;
  std::string reader;
  double timeout = 10;
  std::string metadata;
};
outcome run(get_command const&);

struct cleanup_command {
  edge_options where;
  std::string key;
  bool request = false;  ///< the key is a request's name: everything of it, on all edges
};
outcome run(cleanup_command const&);

struct config_command {
  std::string file;
  std::optional<std::string> stage;
};
outcome run(config_command const&);

struct connectors_command {
  bool json = false;
};
outcome run(connectors_command const&);

struct decode_command {
  std::string in;
  bool json = false;
};
outcome run(decode_command const&);

struct encode_command {
  std::string in;
  std::string out;
  bool tensors = false;  ///< tensors may list their elements
};
outcome run(encode_command const&);

struct ls_command {
  std::optional<std::string> space;
  std::string directory;
  bool json = false;
};
outcome run(ls_command const&);

struct stat_command {
  std::optional<std::string> space;
  std::string directory;
  std::optional<std::string> key;
  bool json = false;
};
outcome run(stat_command const&);

struct gc_command {
  std::optional<std::string> space;  ///< none: OMNICONN_NAMESPACE, else "default"
  bool all = false;                  ///< every namespace of this user, and upstream's layout
  std::string directory;
  bool rebuild = false;              ///< a directory that is not what it should be is removed if nobody uses it
  bool dry_run = false;
  bool json = false;
};
outcome run(gc_command const&);

struct doctor_command {
  std::string directory;
  bool json = false;
};
outcome run(doctor_command const&);

struct bench_command {
  edge_options where;
  std::vector<std::uint64_t> sizes;
  std::uint64_t count = 0;  ///< objects of each size; 0: as many as make sense
  double timeout = 10;
  bool json = false;
};
outcome run(bench_command const&);

/// The second process of a bench, which the first one starts: reads keys' numbers from stdin, answers on stdout.
struct bench_reader_command {
  edge_options where;
  std::string run;
  double timeout = 10;
};
outcome run(bench_reader_command const&);

}  // namespace tool
