// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <omniconn/core/key.hpp>
#include <omniconn/detail/describe.hpp>

#include "leaks.hpp"
#include "processes.hpp"
#include "rows.hpp"
#include "snapshot.hpp"
#include "space_files.hpp"
#include "tables.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;
using omniconn::detail::unique_fd;

double seconds_between(std::uint64_t from, std::uint64_t to) noexcept { return to > from ? static_cast<double>(to - from) * 1e-9 : 0; }

bool has_object(std::uint64_t word) noexcept {
  auto const s = shm::control::state(word);
  return s == shm::slot_state::ready || shm::control::is_going(word) || s == shm::slot_state::writing;
}

class reader {
 public:
  reader(snapshot const& seen, std::string stem, space_row& out) : seen_(seen), stem_(std::move(stem)), out_(out), leaks_(seen, out) {}

  std::optional<diagnosis> read(std::span<space_file const> files) {
    out_.file_size = seen_.file_size();
    out_.slots = seen_.layout().keys();
    read_people();
    if (!seen_.for_each_slot([this](std::uint32_t index, shm::slot const& s) { add(s, index); })) return shrunk();
    auto const waiters = seen_.waiters();
    if (!waiters) return shrunk();
    out_.waiters = *waiters;
    leaks_.finish(files);
    return std::nullopt;
  }

 private:
  void read_people() {
    struct stat about {};
    bool const known = ::fstat(seen_.fd().get(), &about) == 0;
    for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
      auto const& p = seen_.who(i);
      process_row row;
      row.state = seen_.state_of(i);
      if (row.state.empty()) continue;
      row.name = seen_.name_of(i);
      row.pid = p.pid;
      row.age = seconds_between(p.since_ns, seen_.now());
      row.memory = p.arena == 0 ? 0 : std::uint64_t{p.arena_size};
      auto const pid = static_cast<pid_t>(row.pid);
      row.stopped = known && row.state == "alive" && pid > 0 && is_stopped(pid) && has_open(pid, about);
      out_.processes.push_back(std::move(row));
    }
  }

  void add(shm::slot const& first_look, std::uint32_t index) {
    std::uint64_t word = first_look.ctl.load();
    if (!has_object(word)) return leaks_.look_at(index, first_look);
    // Its words belong together if the state was the same before and after; a busy slot is tried a few times and then left out.
    for (int attempt = 0; attempt != 4 && has_object(word); ++attempt) {
      auto const slot = seen_.slot_now(index);
      auto const claims = seen_.claims_now(index);
      if (!slot || !claims) return;
      auto row = row_of((*slot)[0], *claims);
      auto const after = seen_.control_now(index);
      if (!after) return;
      if (*after == (*slot)[0].ctl.load()) {
        if (!row) return;
        leaks_.look_at(index, (*slot)[0], *claims, row->key);
        out_.objects.push_back(std::move(*row));
        return;
      }
      word = *after;
    }
  }

  std::optional<object_row> row_of(shm::slot const& s, copied<std::uint64_t> const& claims) const {
    std::uint64_t const word = s.ctl.load();
    auto const state = shm::control::state(word);
    if (!has_object(word)) return std::nullopt;
    object_row row;
    if (std::uint32_t const owner = s.owner.load(); owner < shm::max_participants && seen_.who(owner).state.load() != shm::participant_state::free) {
      row.producer = person(seen_.name_of(owner), seen_.who(owner).pid, std::strcmp(seen_.state_of(owner), "alive") == 0 ? "alive" : "gone");
      row.age_at_most = seconds_between(seen_.who(owner).since_ns, seen_.now());
    }
    if (state == shm::slot_state::writing) {
      row.state = "being written";
      return row;
    }
    row.key = key_of(s);
    row.size = s.size;
    std::uint64_t const expires = seen_.lease_end(s);
    bool const over = expires != 0 && expires <= seen_.now();
    if (expires != 0) row.lease_left = seconds_between(seen_.now(), expires);
    row.kept = shm::is_kept(s);
    add_readers(s, claims, row);
    bool const all_done = !row.kept && row.holders.empty() && row.unread_by.empty() && row.unread_by_anyone == 0 && !row.readers.empty();
    row.state = shm::control::is_going(word) ? (all_done ? "read" : "withdrawn") : over ? "expired" : !row.holders.empty() ? "held" : row.kept ? "kept" : "unread";
    return row;
  }

  void add_readers(shm::slot const& s, copied<std::uint64_t> const& claims, object_row& row) const {
    if (row.kept) row.readers.emplace_back("kept for anybody");
    for (std::uint32_t i = 0; i != shm::readers_of(seen_, s); ++i) {
      std::uint64_t const c = shm::claim::as_of(claims[i], shm::control::generation(s.ctl.load()), shm::is_named(s));
      auto const how = shm::claim::state_of(c);
      if (row.kept && how != shm::claim::state::hold) continue;
      if (how == shm::claim::state::empty && !shm::claim::named(c)) {
        ++row.unread_by_anyone;
        continue;
      }
      std::string const name = row.kept ? "anybody" : seen_.reader_name(shm::claim::reader(c));
      if (how == shm::claim::state::empty) {
        row.readers.push_back(name + " unread");
        row.unread_by.push_back(name);
      } else if (how == shm::claim::state::hold) {
        row.holders.push_back(holder_of(c, name));
        auto const& holder = row.holders.back();
        row.readers.push_back(name + " reads: " + person(holder.name, holder.pid, holder.state) + (holder.held_for ? " for " + shown_seconds(*holder.held_for) : ""));
      } else {
        row.readers.push_back(name + " done");
      }
    }
    if (row.unread_by_anyone != 0) row.readers.push_back((row.unread_by_anyone == 1 ? std::string("one") : std::to_string(row.unread_by_anyone)) + " unread");
  }

  holder_row holder_of(std::uint64_t c, std::string name) const {
    holder_row out;
    out.reader = std::move(name);
    std::uint32_t const i = shm::claim::participant(c);
    out.state = seen_.lives(i) ? "alive" : "dead";
    out.name = "?";
    if (i >= shm::max_participants) return out;
    out.name = seen_.name_of(i);
    out.pid = seen_.who(i).pid;
    out.held_for = static_cast<double>((shm::directory::claim_time() - shm::claim::since(c)) & shm::claim::since_mask);
    return out;
  }

  /// Short keys lie in the slot, long ones in the producer's arena.
  [[nodiscard]] std::string key_of(shm::slot const& s) const {
    std::size_t const size = s.key_size;
    if (size <= shm::slot_room) {
      auto const key = s.room.load();
      return {key.data(), size};
    }
    if (size > omniconn::max_key_size) return "?";
    char id[32];
    std::snprintf(id, sizeof id, ".%016llx", static_cast<unsigned long long>(s.arena & ~shm::region_mask));
    unique_fd const arena(::open((stem_ + id).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!arena) return "?";
    auto const about = shm::stat_own_file(arena.get());
    std::uint64_t const at = s.key_at;
    if (!about || at > static_cast<std::uint64_t>(about->st_size) || size > static_cast<std::uint64_t>(about->st_size) - at) return "?";
    auto const key = copied<char>::read(arena.get(), static_cast<std::size_t>(at), size);
    return key ? std::string(&(*key)[0], size) : "?";
  }

  snapshot const& seen_;
  std::string stem_;
  space_row& out_;
  leak_finder leaks_;
};

/// One look at a namespace; nothing where it went away meanwhile, or where its files are another user's affair.
std::optional<space_row> look_at(std::string const& folder, std::span<space_file const> files) {
  space_row row;
  row.layout = "omniconn";
  row.user = files.front().user;
  row.path = folder + "/" + files.front().stem + ".dir";
  for (auto const& file : files) row.memory += file.bytes;
  row.has_directory = std::any_of(files.begin(), files.end(), [](auto const& file) { return file.what == space_file::part::directory; });
  if (!row.has_directory) {
    if (row.user != ::geteuid()) return std::nullopt;
    find_orphans(files, row);
    return row.leaks.empty() ? std::nullopt : std::optional(std::move(row));
  }
  auto const seen = snapshot::open(row.path);
  if (!seen && seen.error().kind() == error_kind::not_found) return std::nullopt;
  row.problem = seen ? reader(*seen, folder + "/" + files.front().stem, row).read(files) : std::optional(seen.error());
  if (row.problem) {
    row.processes.clear();
    row.objects.clear();
    row.leaks.clear();
  }
  std::sort(row.objects.begin(), row.objects.end(), [](auto const& a, auto const& b) { return a.key < b.key; });
  return row;
}

/// The same, and a second look where the first found a leak: what a process is about to tidy as it leaves is none, and takes it much less time.
std::optional<space_row> space_of(std::string const& folder, std::span<space_file const> files) {
  auto first = look_at(folder, files);
  if (!first || first->leaks.empty()) return first;
  timespec const a_while{0, 20'000'000};
  ::nanosleep(&a_while, nullptr);
  auto second = look_at(folder, files);
  if (second)
    std::erase_if(second->leaks, [&](leak_row const& leak) { return std::none_of(first->leaks.begin(), first->leaks.end(), [&](leak_row const& before) { return before.text == leak.text; }); });
  return second;
}

}  // namespace

result<std::vector<space_row>, diagnosis> our_spaces(std::string const& folder, std::optional<std::string> const& only) {
  auto const files = list_space_files(folder);
  if (!files) return files.error();
  std::vector<std::string> names{"default", current_space()};
  if (only) names.push_back(*only);
  std::string const wanted = only ? stem_of(folder, *only) : "";
  std::vector<space_row> out;
  for (auto at = files->begin(); at != files->end();) {
    auto const end = std::find_if(at, files->end(), [&](auto const& file) { return file.stem != at->stem; });
    if (!only || at->stem == wanted)
      if (auto row = space_of(folder, {at, end})) {
        for (auto const& name : names)
          if (stem_of(folder, name) == at->stem) row->name = name;
        out.push_back(std::move(*row));
      }
    at = end;
  }
  return out;
}

}  // namespace tool
