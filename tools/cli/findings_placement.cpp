// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/shm.hpp>

#include "files.hpp"
#include "findings.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;

/// Whether this process maps anything from `p` on with huge pages.
bool is_mapped_huge(std::byte const* p) {
  char from[32];
  std::snprintf(from, sizeof from, "%lx-", static_cast<unsigned long>(reinterpret_cast<std::uintptr_t>(p)));
  std::ifstream lines("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(from)) here = true;
    unsigned long kib = 0;
    if (here && (std::sscanf(line.c_str(), "ShmemPmdMapped: %lu kB", &kib) == 1 || std::sscanf(line.c_str(), "FilePmdMapped: %lu kB", &kib) == 1) && kib != 0) return true;
    if (here && line.starts_with("VmFlags:")) return false;
  }
  return false;
}

/// As a producer does it that was opened with huge_pages, and then a reader.
void huge_pages(std::string const& folder, findings& out) {
  std::string const setting = "shmem_enabled is " + first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled").value_or("not there");
  auto const fd = shm::unnamed_file(folder, shm::huge_page, shm::huge_page);
  if (!fd) return out.note("huge_pages", std::string("not tried, it takes 2 MiB: ") + fd.error().text() + "; " + setting, "");
  shm::placement const wanted{true, std::nullopt};
  auto const writing = wanted.map(fd->get(), shm::huge_page);
  auto const reading = shm::map_arena(fd->get(), shm::huge_page);
  if (!writing || !reading) return out.note("huge_pages", "not tried: mapping a file failed; " + setting, "");
  wanted.settle(writing->base(), shm::huge_page);
  *static_cast<std::byte volatile*>(writing->base()) = std::byte{1};
  (void)*static_cast<std::byte const volatile*>(reading->base());
  bool const written = is_mapped_huge(writing->base()), read = is_mapped_huge(reading->base());
  if (written && read) return out.fine("huge_pages", "2 MiB each where a configuration says huge_pages: true; " + setting);
  out.note("huge_pages", (written ? "only who writes maps them: " : "none are had: huge_pages: true changes nothing here; ") + setting,
           "needs Linux 6.1 and shmem_enabled other than deny; before 6.1 mount -o remount,huge=within_size " + folder);
}

void nodes(findings& out) {
  std::string const allowed = shm::nodes_allowed();
  std::uint32_t first = 0;
  (void)std::from_chars(allowed.data(), allowed.data() + allowed.size(), first);
  auto const there = shm::check_node(first);
  if (there)
    return out.fine("numa_node", "this process may have memory of the nodes " + (allowed.empty() ? std::string("?") : allowed) +
                                     "; with memory: " + first_line("/sys/devices/system/node/has_memory").value_or("?"));
  out.note("numa_node", "of no use here: " + there.error().detail(), "");
}

}  // namespace

void look_at_placement(std::string const& folder, findings& out) {
  huge_pages(folder, out);
  nodes(out);
}

}  // namespace tool
