// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <ctime>
#include <set>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <omniconn/detail/describe.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/shm_segment/files.hpp>

#include "files.hpp"
#include "rows.hpp"

namespace tool {

namespace {

std::optional<double> age_of(struct stat const& about) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  double const age = static_cast<double>(now.tv_sec - about.st_mtim.tv_sec) + static_cast<double>(now.tv_nsec - about.st_mtim.tv_nsec) * 1e-9;
  return age < 0 ? 0 : age;
}

}  // namespace

result<space_row, diagnosis> upstream_space(std::string const& folder) {
  space_row out;
  out.layout = "upstream";
  out.path = folder;
  DIR* const listing = ::opendir(folder.c_str());
  if (listing == nullptr) {
    int const code = errno;
    return diagnosis(omniconn::detail::kind_of_errno(code), "reading the folder " + omniconn::detail::in_quotes(folder, 256) + " failed: " + errno_text(code), code);
  }
  std::set<std::string> keys;
  while (dirent const* const entry = ::readdir(listing)) {
    if (auto const key = omniconn::detail::segment::key_of_lock(entry->d_name); !key.empty()) keys.emplace(key);
  }
  int const fd = ::dirfd(listing);
  for (auto const& key : keys) {
    object_row row;
    row.key = key;
    struct stat about {};
    if (::fstatat(fd, key.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(about.st_mode)) {
      row.state = about.st_size == 0 ? "being written" : "unread";
      row.size = static_cast<std::uint64_t>(about.st_size);
      row.age = age_of(about);
      row.readers = {about.st_size == 0 ? "nobody yet" : "one, unread"};
    } else {
      std::string const lock = omniconn::detail::segment::object_paths(".", key).lock;
      if (::fstatat(fd, lock.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
      row.state = "lock only";
      row.age = age_of(about);
    }
    if (about.st_uid != ::geteuid()) row.producer = "user " + std::to_string(about.st_uid);
    out.objects.push_back(std::move(row));
  }
  ::closedir(listing);
  return out;
}

}  // namespace tool
