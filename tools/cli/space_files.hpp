// SPDX-License-Identifier: Apache-2.0
// The files of our layout by their names: which namespace and which part of it they belong to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/stat.h>

#include "common.hpp"

namespace tool {

/// "omniconn-<user>-<16 digits>" and then ".dir", ".<16 digits>" (an arena) or ".p<number>" (a participant's FIFO).
struct space_file {
  enum class part { directory, arena, fifo };

  std::string path;
  std::string stem;            ///< without folder and suffix
  part what = part::directory;
  std::uint64_t number = 0;    ///< the arena's id, the participant's number
  std::uint32_t user = 0;      ///< in the name
  std::uint64_t bytes = 0;     ///< of memory that it takes
};

/// The folder of `--directory`, else OMNICONN_SHM_DIRECTORY, else "/dev/shm".
std::string our_folder(std::string const& directory);
/// Upstream's, which knows no environment variable.
std::string upstream_folder(std::string const& directory);
/// The namespace of `--namespace`, else OMNICONN_NAMESPACE, else "default".
std::string current_space();

/// Every file in `folder` with such a name, sorted by path; of whatever type and owner. \errors of the folder itself.
result<std::vector<space_file>, diagnosis> list_space_files(std::string const& folder);

/// Those of one namespace; none where the folder cannot be read.
std::vector<space_file> files_of(std::string const& folder, std::string const& stem);

/// The file name of a namespace of this user, without folder and suffix.
std::string stem_of(std::string const& folder, std::string const& name);

/// Bytes of memory that the file at `path` takes now; 0 where it is gone.
std::uint64_t bytes_taken(std::string const& path) noexcept;

/// A file that no directory names: whether a live process has it open all the same, or it is not this user's to judge. An arena is open for writing
/// as long as its producer lives, a FIFO for reading as long as its owner or anybody who listens to it does.
bool in_use(space_file const& file) noexcept;

}  // namespace tool
