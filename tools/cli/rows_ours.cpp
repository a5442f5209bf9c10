// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <omniconn/core/key.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/transport/shm/directory.hpp>

#include "files.hpp"
#include "rows.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;
using omniconn::detail::unique_fd;

/// `count` records at `offset`, copied. Whole words are copied whole; what belongs together is checked by whoever uses it.
template <class Record>
class copied {
 public:
  static std::optional<copied> read(int fd, std::size_t offset, std::size_t count) {
    copied out;
    std::size_t const size = count * sizeof(Record);
    out.memory_ = std::make_unique<block[]>((size + sizeof(block) - 1) / sizeof(block));
    auto* const at = reinterpret_cast<std::byte*>(out.memory_.get());
    for (std::size_t done = 0; done != size;) {
      ssize_t const got = ::pread(fd, at + done, size - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return std::nullopt;  // shorter than it was
      done += static_cast<std::size_t>(got);
    }
    return out;
  }
  Record const& operator[](std::size_t i) const noexcept { return reinterpret_cast<Record const*>(memory_.get())[i]; }

 private:
  struct alignas(64) block {
    std::byte bytes[64];
  };
  static_assert(alignof(Record) <= alignof(block));
  std::unique_ptr<block[]> memory_;
};

double seconds_between(std::uint64_t from, std::uint64_t to) noexcept { return to > from ? static_cast<double>(to - from) * 1e-9 : 0; }

class reader {
 public:
  reader(unique_fd fd, std::string stem, space_row& out) : fd_(std::move(fd)), stem_(std::move(stem)), out_(out), now_(omniconn::detail::boot_time_ns()) {}

  std::optional<diagnosis> read() {
    if (auto bad = read_head()) return bad;
    if (!read_people()) return shrunk();
    constexpr std::uint32_t at_once = 256;
    for (std::uint32_t first = 0; first < layout_.slots; first += at_once) {
      std::uint32_t const count = std::min(at_once, layout_.slots - first);
      auto const slots = copied<shm::slot>::read(fd_.get(), layout_.slots_at + std::size_t{first} * sizeof(shm::slot), count);
      if (!slots) return shrunk();
      for (std::uint32_t i = 0; i != count; ++i) add((*slots)[i], first + i);
    }
    return std::nullopt;
  }

 private:
  static diagnosis corrupt(char const* text) { return {error_kind::corrupt, text}; }
  static diagnosis shrunk() { return corrupt("the namespace's directory became shorter while it was read"); }

  std::optional<diagnosis> read_head() {
    auto const about = shm::stat_own_file(fd_.get());
    if (!about) return diagnosis(about.error());
    out_.file_size = static_cast<std::uint64_t>(about->st_size);
    if (out_.file_size < sizeof(shm::header)) return corrupt("the namespace's directory is truncated");
    auto const heads = copied<shm::header>::read(fd_.get(), 0, 1);
    if (!heads) return shrunk();
    auto const& head = (*heads)[0];
    if (head.magic != shm::directory_magic) return corrupt("the file is no omniconn directory");
    if (head.version != shm::format_version) return diagnosis(error_kind::version_mismatch, "the namespace is of version " + std::to_string(head.version) + " of the format, this tool knows " + std::to_string(shm::format_version));
    if (!std::has_single_bit(head.slots) || head.slots < shm::chunk_slots || head.slots > shm::max_slots) return corrupt("the namespace's directory has an impossible number of slots");
    layout_ = shm::geometry::of(head.slots);
    if (layout_.size != out_.file_size || head.file_size != out_.file_size || head.buckets != layout_.buckets) return corrupt("the namespace's directory has the wrong size");
    out_.slots = head.slots;
    return std::nullopt;
  }

  bool read_people() {
    auto people = copied<shm::participant>::read(fd_.get(), layout_.participants_at, shm::max_participants);
    auto names = copied<shm::reader_name>::read(fd_.get(), layout_.names_at, shm::max_names);
    if (!people || !names) return false;
    people_ = std::move(*people);
    names_ = std::move(*names);
    for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
      auto const& p = (*people_)[i];
      auto const state = p.state.load();
      if (state == shm::participant_state::free) continue;
      process_row row;
      row.name = name_of(p);
      row.pid = p.pid;
      row.state = state == shm::participant_state::live ? (alive(i) ? "alive" : "dead") : "left";
      row.age = seconds_between(p.since_ns, now_);
      row.memory = p.arena == 0 ? 0 : std::uint64_t{p.arena_size};
      out_.processes.push_back(std::move(row));
    }
    return true;
  }

  static std::string name_of(shm::participant const& p) {
    auto const shown = p.name.load();
    return {shown.data(), ::strnlen(shown.data(), shown.size())};
  }
  /// Asks for a lock that a reader may ask for, and takes none.
  [[nodiscard]] bool alive(std::uint32_t i) const noexcept {
    struct flock l {};
    l.l_type = F_RDLCK;
    l.l_whence = SEEK_SET;
    l.l_start = static_cast<off_t>(i) + 1;
    l.l_len = 1;
    return ::fcntl(fd_.get(), F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
  }
  [[nodiscard]] std::string reader_name(std::uint16_t i) const {
    if (i >= shm::max_names) return "?";
    auto const& entry = (*names_)[i];
    std::uint32_t const size = entry.size.load();
    return size == 0 || size > shm::max_name_size + 1 ? "?" : std::string(entry.text.data(), size - 1);
  }

  void add(shm::slot const& first_look, std::uint32_t index) {
    std::uint64_t word = first_look.ctl.load();
    auto const has_object = [](std::uint64_t w) {
      auto const s = shm::control::state(w);
      return s == shm::slot_state::ready || s == shm::slot_state::draining || s == shm::slot_state::writing;
    };
    // Its words belong together if the state was the same before and after; a busy slot is tried a few times and then left out.
    for (int attempt = 0; attempt != 4 && has_object(word); ++attempt) {
      std::size_t const at = layout_.slots_at + std::size_t{index} * sizeof(shm::slot);
      auto const slot = copied<shm::slot>::read(fd_.get(), at, 1);
      if (!slot) return;
      auto row = row_of((*slot)[0]);
      auto const after = copied<std::uint64_t>::read(fd_.get(), at, 1);
      if (!after) return;
      if ((*after)[0] == (*slot)[0].ctl.load()) {
        if (row) out_.objects.push_back(std::move(*row));
        return;
      }
      word = (*after)[0];
    }
  }

  std::optional<object_row> row_of(shm::slot const& s) const {
    std::uint64_t const word = s.ctl.load();
    auto const state = shm::control::state(word);
    if (state != shm::slot_state::ready && state != shm::slot_state::draining && state != shm::slot_state::writing) return std::nullopt;
    object_row row;
    std::uint32_t const owner = s.owner.load();
    std::uint64_t const expires = s.expires.load();
    if (owner < shm::max_participants) {
      auto const& p = (*people_)[owner];
      auto const life = p.state.load();
      row.producer = life == shm::participant_state::free ? "" : name_of(p) + " (pid " + std::to_string(std::uint32_t{p.pid}) + (life == shm::participant_state::live && alive(owner) ? ")" : ", gone)");
      if (life != shm::participant_state::free) row.age_at_most = seconds_between(p.since_ns, now_);
    }
    if (state == shm::slot_state::writing) {
      row.state = "being written";
      return row;
    }
    row.key = key_of(s);
    row.size = s.size;
    bool const over = expires != 0 && expires <= now_;
    if (expires != 0) row.lease_left = seconds_between(now_, expires);
    bool held = false;
    std::size_t anyone = 0, done = 0;
    std::size_t const count = std::min<std::size_t>(s.readers.load(), shm::max_claims);
    for (std::size_t i = 0; i != count; ++i) {
      std::uint64_t const c = s.claims[i].load();
      if (!shm::claim::of_generation(c, shm::control::generation(word))) continue;
      auto const how = shm::claim::state_of(c);
      held = held || how == shm::claim::state::hold;
      if (how == shm::claim::state::empty && !shm::claim::named(c)) {
        ++anyone;
      } else {
        done += how == shm::claim::state::done ? 1 : 0;
        row.readers.push_back(reader_name(shm::claim::reader(c)) + (how == shm::claim::state::empty ? " unread" : how == shm::claim::state::hold ? " reads" : " done"));
      }
    }
    if (anyone != 0) row.readers.push_back((anyone == 1 ? std::string("one") : std::to_string(anyone)) + " unread");
    row.state = state == shm::slot_state::draining ? (done == count && count != 0 ? "read" : "withdrawn") : over ? "expired" : held ? "held" : "unread";
    return row;
  }

  /// Short keys lie in the slot, long ones in the producer's arena.
  [[nodiscard]] std::string key_of(shm::slot const& s) const {
    std::size_t const size = s.key_size;
    if (size <= shm::inline_key) {
      auto const key = s.key.load();
      return {key.data(), size};
    }
    if (size > omniconn::max_key_size) return "?";
    char id[32];
    std::snprintf(id, sizeof id, ".%016llx", static_cast<unsigned long long>(s.arena));
    unique_fd const arena(::open((stem_ + id).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!arena) return "?";
    auto const about = shm::stat_own_file(arena.get());
    std::uint64_t const at = s.key_offset;
    if (!about || at > static_cast<std::uint64_t>(about->st_size) || size > static_cast<std::uint64_t>(about->st_size) - at) return "?";
    auto const key = copied<char>::read(arena.get(), static_cast<std::size_t>(at), size);
    return key ? std::string(&(*key)[0], size) : "?";
  }

  unique_fd fd_;
  std::string stem_;
  space_row& out_;
  std::uint64_t now_;
  shm::geometry layout_;
  std::optional<copied<shm::participant>> people_;
  std::optional<copied<shm::reader_name>> names_;
};

/// "omniconn-<uid>-<16 digits>.dir"
bool is_directory_name(std::string_view name) noexcept {
  constexpr std::string_view prefix = "omniconn-", suffix = ".dir";
  if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() < prefix.size() + suffix.size()) return false;
  std::string_view const middle = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  std::size_t const dash = middle.find('-');
  return dash != std::string_view::npos && dash != 0 && middle.find_first_not_of("0123456789") == dash && middle.size() == dash + 17 &&
         middle.substr(dash + 1).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

std::string stem_of(std::string const& folder, std::string const& name) { return shm::names(folder, name).stem; }

result<std::vector<space_row>, diagnosis> our_spaces(std::string const& folder, std::vector<std::string> const& names) {
  std::vector<std::string> files;
  if (DIR* const listing = ::opendir(folder.c_str())) {
    while (dirent const* const entry = ::readdir(listing))
      if (is_directory_name(entry->d_name)) files.emplace_back(entry->d_name);
    ::closedir(listing);
  } else {
    int const code = errno;
    return diagnosis(omniconn::detail::kind_of_errno(code), "reading the folder " + omniconn::detail::in_quotes(folder, 256) + " failed: " + errno_text(code), code);
  }
  std::sort(files.begin(), files.end());

  std::vector<space_row> out;
  for (auto const& file : files) {
    space_row row;
    row.layout = "omniconn";
    row.path = folder + "/" + file;
    std::string const stem = file.substr(0, file.size() - 4);
    for (auto const& name : names)
      if (stem_of(folder, name) == stem) row.name = name;
    unique_fd fd(::open(row.path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!fd && errno == ENOENT) continue;  // gone meanwhile
    if (!fd) {
      int const code = errno;
      row.problem = diagnosis(omniconn::detail::kind_of_errno(code), "opening it failed: " + errno_text(code), code);
    } else {
      row.problem = reader(std::move(fd), folder + "/" + stem, row).read();
    }
    if (row.problem) {
      row.processes.clear();
      row.objects.clear();
    }
    std::sort(row.objects.begin(), row.objects.end(), [](auto const& a, auto const& b) { return a.key < b.key; });
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace tool
