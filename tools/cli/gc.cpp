// SPDX-License-Identifier: Apache-2.0
// gc: tidies shared memory, and says what came of it.
#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include <dirent.h>
#include <unistd.h>

#include <omniconn/runtime/json.hpp>
#include <omniconn/transport/shm_segment.hpp>

#include "commands.hpp"
#include "files.hpp"
#include "gc_space.hpp"
#include "payload.hpp"
#include "rows.hpp"
#include "space_files.hpp"
#include "tables.hpp"

namespace tool {

namespace {

/// What came of one namespace, or would.
struct gc_row {
  space_row space;
  std::vector<std::string> removed;  ///< what it was, one sentence each
  std::vector<std::string> files;    ///< paths that are gone
  std::uint64_t bytes = 0;           ///< that came back
  std::optional<diagnosis> problem;

  [[nodiscard]] bool idle() const noexcept { return removed.empty() && files.empty() && bytes == 0; }
};

void foresee(gc_row& out) {
  for (auto const& leak : out.space.leaks) {
    out.removed.push_back(leak.text);
    out.bytes += leak.bytes;
  }
}

/// Which files are gone, and what memory came back with them.
void compare(std::vector<space_file> const& before, gc_row& out) {
  for (auto const& file : before) {
    std::uint64_t const now = bytes_taken(file.path);
    out.bytes += file.bytes > now ? file.bytes - now : 0;
    if (::access(file.path.c_str(), F_OK) != 0) out.files.push_back(file.path);
  }
}

/// What was there before, and is not there now.
void name_removed(std::vector<gc_row>& rows, std::vector<space_row> const& after) {
  std::set<std::pair<std::string_view, std::string_view>> left;
  for (auto const& row : after)
    for (auto const& leak : row.leaks) left.emplace(row.path, leak.text);
  for (auto& row : rows)
    for (auto const& leak : row.space.leaks)
      if (!left.contains({row.space.path, leak.text})) row.removed.push_back(leak.text);
}

gc_row collect(std::string const& folder, space_row row, gc_command const& o) {
  gc_row out;
  out.space = std::move(row);
  auto const before = files_of(folder, file_stem(out.space));
  auto const broken = out.space.broken();
  if (broken && !o.rebuild) {
    out.problem = diagnosis(broken->kind(), broken->detail() + "; " + advice_gc(out.space) + " --rebuild removes it if no process uses it", broken->native());
    if (out.space.problem) return out;  // else what can be tidied, is
  } else if (broken) {
    if (auto removed = remove_broken(out.space.path, *broken, o.dry_run); !removed) {
      out.problem = std::move(removed.error());
      return out;
    }
    out.removed.push_back(out.space.path + ", " + broken->message());
  }
  if (o.dry_run) {
    foresee(out);
    if (broken && o.rebuild) out.bytes += bytes_taken(out.space.path);
    return out;
  }
  if (auto done = collect_space(folder, file_stem(out.space)); !done && !out.problem) out.problem = std::move(done.error());
  compare(before, out);
  return out;
}

/// The files of upstream's layout that a process may have left, with what they take.
std::vector<std::pair<std::string, std::uint64_t>> upstream_files(std::string const& folder) {
  std::vector<std::pair<std::string, std::uint64_t>> out;
  DIR* const listing = ::opendir(folder.c_str());
  if (listing == nullptr) return out;
  while (dirent const* const entry = ::readdir(listing)) {
    std::string const path = folder + "/" + entry->d_name;
    if (!omniconn::detail::segment::key_of_lock(entry->d_name).empty() || std::string_view(entry->d_name).starts_with(omniconn::detail::segment::second_prefix)) out.emplace_back(path, bytes_taken(path));
  }
  ::closedir(listing);
  std::sort(out.begin(), out.end());
  return out;
}

result<gc_row, diagnosis> collect_upstream(std::string const& folder, bool dry_run) {
  auto space = upstream_space(folder);
  if (!space) return std::move(space.error());
  gc_row out;
  out.space = std::move(*space);
  if (dry_run) {
    for (auto const& row : out.space.objects)
      if (row.state == "lock only" && row.producer.empty()) out.removed.push_back("the lock file of " + shown_name(row.key));
    return out;
  }
  auto const before = upstream_files(folder);
  if (omniconn::shm_segment_transport::collect(folder) == 0) return out;
  for (auto const& [path, bytes] : before) {
    if (::access(path.c_str(), F_OK) == 0) continue;
    out.files.push_back(path);
    out.removed.push_back(path + ", left by a process that ended");
    out.bytes += bytes;
  }
  return out;
}

value json_of(gc_row const& row) {
  value out = value::object({{"layout", row.space.layout}, {"name", row.space.name.empty() ? value() : value(row.space.name)}, {"path", row.space.path}});
  out.set("removed", value::array(row.removed.begin(), row.removed.end()));
  out.set("files", value::array(row.files.begin(), row.files.end()));
  out.set("bytes", row.bytes);
  if (row.problem) out.set("problem", row.problem->message());
  return out;
}

std::string text_of(gc_row const& row, bool dry_run) {
  if (row.idle()) return {};
  std::string out = row.space.layout + (row.space.layout == "omniconn" ? " namespace " + space_name(row.space) : "") + " in " + row.space.path + "\n";
  std::vector<cells> facts;
  for (auto const& text : row.removed) facts.push_back({dry_run ? "  would remove" : "  removed", one_line(text)});
  if (!row.files.empty()) facts.push_back({"  files", std::to_string(row.files.size())});
  facts.push_back({"  memory", shown_size(row.bytes)});
  return out + table(facts);
}

}  // namespace

outcome run(gc_command const& o) {
  std::string const folder = our_folder(o.directory);
  auto const only = o.all ? std::nullopt : std::optional(o.space.value_or(current_space()));
  auto spaces = our_spaces(folder, only);
  if (!spaces) return std::move(spaces.error());
  std::vector<gc_row> rows;
  for (auto& space : *spaces)
    if (space.user == ::geteuid()) rows.push_back(collect(folder, std::move(space), o));
  if (!o.dry_run)
    if (auto const after = our_spaces(folder, only)) name_removed(rows, *after);
  if (o.all) {
    auto upstream = collect_upstream(upstream_folder(o.directory), o.dry_run);
    if (!upstream) return std::move(upstream.error());
    if (!upstream->idle()) rows.push_back(std::move(*upstream));
  }

  std::uint64_t bytes = 0;
  std::string text;
  value::array namespaces;
  std::optional<diagnosis> problem;
  std::size_t problems = 0;
  for (auto const& row : rows) {
    bytes += row.bytes;
    text += text_of(row, o.dry_run);
    namespaces.push_back(json_of(row));
    if (!row.problem) continue;
    if (!problem) problem = row.problem->detail().find(row.space.path) == std::string::npos ? row.problem->in(row.space.path) : *row.problem;
    if (++problems > 1) note("error: " + one_line(row.space.path + ": " + row.problem->message()) + "\n");
  }
  if (text.empty() && !problem) text = "nothing to do\n";
  auto const json = [&] { return omniconn::to_json(value::object({{"namespaces", std::move(namespaces)}, {"bytes", bytes}, {"dry_run", o.dry_run}}), 1) + "\n"; };
  if (auto printed = print(o.json ? json() : text); !printed) return printed;
  if (problem) return std::move(*problem);
  return {};
}

}  // namespace tool
