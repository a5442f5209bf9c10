// SPDX-License-Identifier: Apache-2.0
#include "snapshot.hpp"

#include <bit>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>

#include "files.hpp"

namespace tool {

namespace {

namespace shm = omniconn::detail::shm;
using omniconn::detail::unique_fd;

diagnosis corrupt(char const* text) { return {error_kind::corrupt, text}; }

}  // namespace

diagnosis shrunk() { return corrupt("the namespace's directory became shorter while it was read"); }

result<snapshot, diagnosis> snapshot::open(std::string const& path) {
  snapshot out;
  out.fd_ = unique_fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!out.fd_) {
    int const code = errno;
    if (code == ENXIO) return diagnosis(error_kind::unauthorized, "the shared-memory name is taken by something that is not a plain file", code);  // a socket
    return diagnosis(omniconn::detail::kind_of_errno(code), "opening it failed: " + errno_text(code), code);
  }
  out.now_ = omniconn::detail::boot_time_ns();
  if (auto bad = out.read()) return std::move(*bad);
  return out;
}

std::optional<diagnosis> snapshot::read() {
  if (auto bad = read_head()) return bad;
  people_ = copied<participant>::read(fd_.get(), layout_.participants_at, shm::max_participants);
  names_ = copied<shm::reader_name>::read(fd_.get(), layout_.names_at, shm::max_names);
  if (!people_ || !names_) return shrunk();
  return std::nullopt;
}

std::optional<diagnosis> snapshot::read_head() {
  auto const about = shm::stat_own_file(fd_.get());
  if (!about) return diagnosis(about.error());
  file_size_ = static_cast<std::uint64_t>(about->st_size);
  if (file_size_ < sizeof(shm::header)) return corrupt("the namespace's directory is truncated");
  auto const heads = copied<shm::header>::read(fd_.get(), 0, 1);
  if (!heads) return shrunk();
  auto const& head = (*heads)[0];
  if (head.magic != shm::directory_magic) return corrupt("the file is no omniconn directory");
  if (head.version != shm::format_version) return diagnosis(error_kind::version_mismatch, "the namespace is of version " + std::to_string(head.version) + " of the format, this tool knows " + std::to_string(shm::format_version));
  if (!std::has_single_bit(head.slots) || head.slots < shm::min_slots || head.slots > shm::max_slots) return corrupt("the namespace's directory has an impossible number of slots");
  if (head.readers == 0 || head.readers > shm::max_claims || head.readers % shm::claims_of_a_line != 0) return corrupt("the namespace's directory has an impossible number of readers");
  layout_ = shm::geometry::of(head.slots, head.readers);
  if (layout_.size != file_size_ || head.file_size != file_size_) return corrupt("the namespace's directory has the wrong size");
  return std::nullopt;
}

std::string snapshot::name_of(std::uint32_t i) const {
  auto const shown = who(i).name.load();
  return {shown.data(), ::strnlen(shown.data(), shown.size())};
}

char const* snapshot::state_of(std::uint32_t i) const noexcept {
  auto const& before = who(i);
  auto const state = before.state.load();
  if (state != shm::participant_state::live) return state == shm::participant_state::free ? "" : "orphan";
  if (lives(i)) return "alive";
  // It may have left since its record was read; who is still said to live, without the lock, is dead.
  auto const after = copied<participant>::read(fd_.get(), layout_.participants_at + i * sizeof(participant), 1);
  return after && (*after)[0].state.load() == shm::participant_state::live && (*after)[0].epoch.load() == before.epoch.load() ? "dead" : "";
}

std::uint64_t snapshot::lease_end(slot const& s) const noexcept {
  std::uint32_t const owner = s.owner.load();
  return owner >= shm::max_participants || who(owner).state.load() == shm::participant_state::live ? 0 : s.expires.load();  // until then the word is of an earlier object
}

bool snapshot::locked(std::uint32_t byte) const noexcept {
  struct flock l {};
  l.l_type = F_RDLCK;  // which a reader of the file may ask for
  l.l_whence = SEEK_SET;
  l.l_start = static_cast<off_t>(byte);
  l.l_len = 1;
  return ::fcntl(fd_.get(), F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

std::string snapshot::reader_name(std::uint16_t i) const {
  if (i >= shm::max_names) return "?";
  auto const& entry = (*names_)[i];
  std::uint32_t const size = entry.size.load();
  return size == 0 || size > shm::max_name_size + 1 ? "?" : std::string(entry.text.data(), size - 1);
}

std::optional<copied<std::uint64_t>> snapshot::claims_now(std::uint32_t index) const {
  auto claims = copied<std::uint64_t>::read(fd_.get(), layout_.claims_at + std::size_t{index} * layout_.readers * sizeof(std::uint64_t), layout_.readers);
  auto const first = copied<std::uint64_t>::read(fd_.get(), slot_at(index) + offsetof(slot, first_claim), 1);
  if (!claims || !first) return std::nullopt;
  claims->set(0, (*first)[0]);
  return claims;
}

std::optional<std::uint64_t> snapshot::control_now(std::uint32_t index) const {
  auto const word = copied<std::uint64_t>::read(fd_.get(), slot_at(index), 1);
  return word ? std::optional((*word)[0]) : std::nullopt;
}

std::optional<std::uint64_t> snapshot::waiters() const {
  auto const head = copied<shm::header>::read(fd_.get(), 0, 1);
  if (!head) return std::nullopt;
  std::uint64_t n = (*head)[0].multi_waiters.load();
  if (!for_each_slot([&n](std::uint32_t, slot const& s) { n += s.sleepers.load(); })) return std::nullopt;
  return n;
}

}  // namespace tool
