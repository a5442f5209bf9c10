// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include <unistd.h>

#include "findings.hpp"
#include "payload.hpp"
#include "rows.hpp"
#include "tables.hpp"

namespace tool {

namespace {

void look_at_space(space_row const& space, findings& out) {
  std::string const name = "namespace " + space_name(space);
  if (auto const broken = space.broken())
    return out.wrong(broken->kind(), "namespace", name + ": " + space.path + ": " + broken->detail(), advice_gc(space) + " --rebuild removes it if no process uses it");
  for (auto const& p : space.processes)
    if (p.stopped)
      out.wrong(error_kind::peer_stalled, "stopped", name + ": " + person(p.name, p.pid, "alive") + " is stopped; who waits for it waits in vain", "kill -CONT " + std::to_string(p.pid) + ", or end it");
  std::uint64_t bytes = 0;
  for (auto const& leak : space.leaks) bytes += leak.bytes;
  if (!space.leaks.empty())
    out.wrong(error_kind::peer_lost, "namespace", name + ": " + space.leaks.front().text + (space.leaks.size() > 1 ? ", and " + std::to_string(space.leaks.size() - 1) + " more" : "") + "; " + shown_size(bytes) + " come back",
              advice_gc(space));
}

}  // namespace

void look_at_use(std::string const& folder, std::string const& upstream, findings& out) {
  std::size_t const before = out.count_wrong();
  std::size_t spaces = 0;
  if (auto const rows = our_spaces(folder, std::nullopt))
    for (auto const& row : *rows)
      if (row.user == ::geteuid()) {
        look_at_space(row, out);
        ++spaces;
      }
  if (auto const rows = upstream_space(upstream)) {
    auto const left = std::count_if(rows->objects.begin(), rows->objects.end(), [](object_row const& row) { return row.state == "lock only" && row.producer.empty(); });
    if (left != 0) out.note("upstream", std::to_string(left) + " lock files without a segment in " + upstream + ": Python leaves them where a process ends without close", "omniconn gc --all, when those pipelines have ended");
  }
  if (out.count_wrong() == before) out.fine("namespaces", spaces == 0 ? "none in use" : std::to_string(spaces) + ", nothing is left of the dead");
}

}  // namespace tool
