// SPDX-License-Identifier: Apache-2.0
#include "space_files.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <omniconn/detail/describe.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm_segment/files.hpp>

#include "files.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;

std::string environment(char const* name, char const* fallback) {
  char const* const set = std::getenv(name);
  return set != nullptr && *set != '\0' ? set : fallback;
}

template <class Number>
bool read_whole(std::string_view text, int base, Number& out) noexcept {
  bool const plain = text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  auto const [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return plain && failed == std::errc() && end == text.data() + text.size();
}

std::optional<space_file> parse(std::string_view name) {
  constexpr std::string_view prefix = "omniconn-";
  if (!name.starts_with(prefix)) return std::nullopt;
  std::size_t const dash = name.find('-', prefix.size());
  std::size_t const dot = name.find('.', prefix.size());
  space_file out;
  std::uint64_t hash = 0;
  if (dash == std::string_view::npos || dot != dash + 17) return std::nullopt;
  if (!read_whole(name.substr(prefix.size(), dash - prefix.size()), 10, out.user) || !read_whole(name.substr(dash + 1, 16), 16, hash)) return std::nullopt;
  out.stem = name.substr(0, dot);
  std::string_view const rest = name.substr(dot + 1);
  if (rest == "dir") return out;
  if (rest.starts_with('p') && rest.size() <= 4 && read_whole(rest.substr(1), 10, out.number) && out.number < shm::max_participants) {
    out.what = space_file::part::fifo;
    return out;
  }
  out.what = space_file::part::arena;
  return rest.size() == 16 && read_whole(rest, 16, out.number) ? std::optional(out) : std::nullopt;
}

}  // namespace

std::string our_folder(std::string const& directory) { return directory.empty() ? environment("OMNICONN_SHM_DIRECTORY", "/dev/shm") : directory; }
std::string upstream_folder(std::string const& directory) { return directory.empty() ? "/dev/shm" : directory; }
std::string current_space() { return environment("OMNICONN_NAMESPACE", "default"); }

std::string stem_of(std::string const& folder, std::string const& name) { return shm::names(folder, name).stem; }

std::uint64_t bytes_taken(std::string const& path) noexcept {
  struct stat about {};
  return ::lstat(path.c_str(), &about) == 0 ? static_cast<std::uint64_t>(about.st_blocks) * 512 : 0;
}

result<std::vector<space_file>, diagnosis> list_space_files(std::string const& folder) {
  DIR* const listing = ::opendir(folder.c_str());
  if (listing == nullptr) {
    int const code = errno;
    return diagnosis(omniconn::detail::kind_of_errno(code), "reading the folder " + omniconn::detail::in_quotes(folder, 256) + " failed: " + errno_text(code), code);
  }
  std::vector<space_file> out;
  while (dirent const* const entry = ::readdir(listing))
    if (auto file = parse(entry->d_name)) {
      file->path = folder + "/" + entry->d_name;
      file->bytes = bytes_taken(file->path);
      out.push_back(std::move(*file));
    }
  ::closedir(listing);
  std::sort(out.begin(), out.end(), [](auto const& a, auto const& b) { return a.path < b.path; });
  return out;
}

std::vector<space_file> files_of(std::string const& folder, std::string const& stem) {
  auto files = list_space_files(folder);
  if (!files) return {};
  std::erase_if(*files, [&](space_file const& file) { return file.stem != stem; });
  return std::move(*files);
}

bool in_use(space_file const& file) noexcept {
  struct stat about {};
  if (::lstat(file.path.c_str(), &about) == 0 && about.st_uid != ::geteuid()) return true;
  int const how = file.what == space_file::part::fifo ? O_WRONLY : O_RDONLY;
  omniconn::detail::unique_fd const fd(::open(file.path.c_str(), how | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return errno != ENXIO && errno != ENOENT;  // what cannot be asked is left alone
  return file.what == space_file::part::fifo || omniconn::detail::segment::is_being_written(fd.get());
}

}  // namespace tool
