// SPDX-License-Identifier: Apache-2.0
// What doctor finds. Each check tries what the transport will do; none guesses from a version number.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common.hpp"

namespace tool {

struct finding {
  enum class level { fine, note, wrong };

  level how = level::fine;
  std::string name;                            ///< of the check, one word
  std::string text;                            ///< what was found
  std::string mend;                            ///< what to do about it; may be empty
  error_kind kind = error_kind::misconfigured;  ///< of what is wrong
};

class findings {
 public:
  void fine(std::string name, std::string text, std::string mend = {}) { add({finding::level::fine, std::move(name), std::move(text), std::move(mend), {}}); }
  /// Worth knowing, and nothing that has to be mended.
  void note(std::string name, std::string text, std::string mend) { add({finding::level::note, std::move(name), std::move(text), std::move(mend), {}}); }
  void wrong(error_kind kind, std::string name, std::string text, std::string mend) { add({finding::level::wrong, std::move(name), std::move(text), std::move(mend), kind}); }

  [[nodiscard]] std::vector<finding> const& all() const noexcept { return all_; }
  [[nodiscard]] std::size_t count_wrong() const noexcept;
  /// What stands in the way of most: a wrong set-up before a full disk before what processes left. Null where nothing is wrong.
  [[nodiscard]] finding const* worst() const noexcept;

 private:
  void add(finding f) { all_.push_back(std::move(f)); }
  std::vector<finding> all_;
};

/// Device, inode and mount of the folder, room on it, and what its file system can do. \returns false: there is no such folder to use.
bool look_at_folder(std::string const& folder, findings& out);

/// Whether huge pages and a NUMA node can be had for objects in the folder.
void look_at_placement(std::string const& folder, findings& out);

/// Limits of this process and of the machine.
void look_at_limits(std::string const& folder, findings& out);

/// Namespaces of this user in the folder, and upstream's files in `upstream`: what the dead left, who is stopped, what is damaged.
void look_at_use(std::string const& folder, std::string const& upstream, findings& out);

/// The first line of a small file, as /proc and /sys have them.
std::optional<std::string> first_line(std::string const& path);

}  // namespace tool
