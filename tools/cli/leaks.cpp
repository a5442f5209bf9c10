// SPDX-License-Identifier: Apache-2.0
#include "leaks.hpp"

#include <algorithm>
#include <cstring>

#include <sys/stat.h>

#include "tables.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;

bool exists(std::string const& path) noexcept {
  struct stat about {};
  return ::lstat(path.c_str(), &about) == 0;
}

leak_row leak_of(space_file const& file) {
  bool const arena = file.what == space_file::part::arena;
  return {arena ? "arena" : "fifo", file.path + (arena ? ", an arena of nobody" : ", a FIFO of nobody"), file.bytes};
}

}  // namespace

std::string leak_finder::person_at(std::uint32_t i, char const* state) const {
  return i < shm::max_participants ? person(seen_.name_of(i), seen_.who(i).pid, state) : "a participant with the impossible number " + std::to_string(i);
}

void leak_finder::look_at(std::uint32_t index, snapshot::slot const& s) {
  switch (shm::control::state(s.ctl.load())) {
    case shm::slot_state::writing:
    case shm::slot_state::beaten: return begun_by_the_dead(index, s);
    case shm::slot_state::ready:
    case shm::slot_state::draining:
    case shm::slot_state::withdrawn:
    case shm::slot_state::free: return;
  }
  auto const state = static_cast<unsigned>(shm::control::state(s.ctl.load()));
  out_.leaks.push_back({"damage", "the impossible state " + std::to_string(state) + " of slot " + std::to_string(index), 0});
}

void leak_finder::begun_by_the_dead(std::uint32_t index, snapshot::slot const& s) {
  std::uint64_t const word = s.ctl.load();
  std::uint32_t const whose = s.owner.load();
  if (seen_.lives(whose) || seen_.control_now(index) != word) return;
  out_.leaks.push_back({"slot", "the unfinished put of " + person_at(whose) + " in slot " + std::to_string(index), 0});
}

void leak_finder::look_at(std::uint32_t index, snapshot::slot const& s, copied<std::uint64_t> const& claims, std::string const& key) {
  std::uint64_t const word = s.ctl.load();
  if (shm::control::state(word) == shm::slot_state::writing) return begun_by_the_dead(index, s);
  bool held = false;
  std::optional<copied<std::uint64_t>> again;
  for (std::uint32_t i = 0; i != shm::readers_of(seen_, s); ++i) {
    std::uint64_t const c = claims[i];
    if (!shm::claim::of_generation(c, shm::control::generation(word)) || shm::claim::state_of(c) != shm::claim::state::hold) continue;
    std::uint32_t const whose = shm::claim::participant(c);
    if (seen_.lives(whose)) {
      held = true;
      continue;
    }
    if (!again) again = seen_.claims_now(index);
    std::string const reader = shm::is_kept(s) ? "" : " for the reader " + shown_name(seen_.reader_name(shm::claim::reader(c)));
    if (again && (*again)[i] == c) out_.leaks.push_back({"claim", "the hold of " + person_at(whose) + " on the object " + shown_name(key) + reader, 0});
  }
  std::uint32_t const owner = s.owner.load();
  if (owner >= shm::max_participants) return;
  std::uint64_t const end = seen_.lease_end(s);
  // A lease begins when the death is noticed, which may be still to come.
  bool const leased = end != 0 ? end > seen_.now() : s.lease != 0;
  bool const ready = shm::control::state(word) == shm::slot_state::ready;
  if (held || (ready && leased)) {
    ++wanted_[owner];
  } else if (ready && end != 0) {
    out_.leaks.push_back({"object", "the object " + shown_name(key) + ", whose lease has ended", 0});
  }
}

void leak_finder::finish(std::span<space_file const> files) {
  auto const arena_of = [&](std::uint32_t i) -> space_file const* {
    std::uint64_t const id = seen_.who(i).arena;
    auto const at = std::find_if(files.begin(), files.end(), [id](auto const& f) { return f.what == space_file::part::arena && f.number == id; });
    return id == 0 || at == files.end() ? nullptr : &*at;
  };
  bool used = false;
  for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
    char const* const state = seen_.state_of(i);
    if (auto const number = static_cast<std::uint32_t>(seen_.who(i).state.load()); number > static_cast<std::uint32_t>(shm::participant_state::orphan))
      out_.leaks.push_back({"damage", "the impossible state " + std::to_string(number) + " of participant " + std::to_string(i), 0});
    used = used || *state != '\0';
    bool const dead = std::strcmp(state, "dead") == 0;
    if (!dead && (std::strcmp(state, "orphan") != 0 || wanted_[i] != 0 || seen_.lives(i))) continue;
    auto const* const arena = arena_of(i);
    std::uint64_t const bytes = wanted_[i] == 0 && arena != nullptr ? arena->bytes : 0;
    out_.leaks.push_back({"participant", "what " + person_at(i, dead ? "dead" : "gone") + " left", bytes});
  }
  // Whoever opens it holds the gate until it has its record.
  if (!used && !seen_.locked(0)) {
    auto const at = std::find_if(files.begin(), files.end(), [](auto const& f) { return f.what == space_file::part::directory; });
    if (at != files.end() && exists(at->path)) out_.leaks.push_back({"directory", at->path + ", a directory that nobody uses", at->bytes});
  }
  for (auto const& file : files)
    if (!is_named(seen_, file) && exists(file.path) && !in_use(file)) out_.leaks.push_back(leak_of(file));
}

bool is_named(snapshot const& seen, space_file const& file) {
  if (file.what == space_file::part::directory) return true;
  auto const number = static_cast<std::uint32_t>(file.number);
  if (file.what == space_file::part::fifo) return seen.lives(number) || seen.who(number).state.load() == shm::participant_state::live;
  for (std::uint32_t i = 0; i != shm::max_participants; ++i)
    if (std::uint64_t const arena = seen.who(i).arena; arena != 0 && arena == (file.number & ~shm::region_mask) && (file.number & shm::region_mask) <= seen.who(i).regions) return true;
  return false;
}

std::optional<diagnosis> space_row::broken() const {
  if (problem) return problem;
  for (auto const& leak : leaks)
    if (leak.what == "damage") return diagnosis(error_kind::corrupt, "the namespace's directory holds " + leak.text);
  return std::nullopt;
}

void find_orphans(std::span<space_file const> files, space_row& out) {
  for (auto const& file : files)
    if (exists(file.path) && !exists(out.path) && !in_use(file)) out.leaks.push_back(leak_of(file));
}

}  // namespace tool
