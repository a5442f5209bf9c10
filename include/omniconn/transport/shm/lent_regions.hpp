// SPDX-License-Identifier: Apache-2.0
// The memory that one producer has adopted, and how many of its objects lie in each part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/shm/directory.hpp>
#include <omniconn/transport/shm/layout.hpp>
#include <omniconn/transport/shm/lent.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail::shm {

/// Where a payload lies, as readers see it.
struct payload_place {
  std::uint64_t arena = 0;   ///< the producer's, or a region that it lends
  std::uint64_t offset = 0;  ///< in its file
  bool survives = true;      ///< its producer
};

/// Not thread-safe: the transport holds its put lock around every call.
class lent_regions {
 public:
  struct region {
    std::uint64_t id = 0;
    std::byte* base = nullptr;
    std::size_t size = 0;
    std::size_t uses = 0;  ///< objects in it that somebody may still read
    lent_memory file;
  };

  [[nodiscard]] std::optional<payload_place> place_of(const_bytes bytes) const noexcept {
    for (auto const& r : regions_)
      if (bytes.data() >= r.base && bytes.data() + bytes.size() <= r.base + r.size)
        return payload_place{r.id, r.file.offset + static_cast<std::uint64_t>(bytes.data() - r.base), r.file.survives};
    return std::nullopt;
  }
  [[nodiscard]] region* find(std::uint64_t id) noexcept {
    if ((id & region_mask) == 0) return nullptr;  // the arena: not lent
    for (auto& r : regions_)
      if (r.id == id) return &r;
    return nullptr;
  }

  /// A number is used once, because readers keep what they mapped. \returns the number.
  /// Whoever can list the folder knows the next name, and may take it: then the next but one is as good.
  result<std::uint64_t> add(mutable_bytes user, names const& where, std::uint64_t arena, auto& record) {
    if (user.empty()) return {error_kind::misconfigured, "there is nothing to adopt: the memory is empty"};
    std::uint32_t const last = record.regions;
    if (last >= region_mask) return no_number();
    auto file = find_shared(user);
    if (!file) return file.error();
    error failure = no_number();
    for (std::uint32_t number = last + 1; number <= last + most_taken && number <= region_mask; ++number) {
      record.regions = number;  // before the name: whoever tidies up after a crash looks for it
      failpoint("shm.adopt.recorded");
      if (auto const named = name_lent(*file, where.arena_path(arena | number)); !named) {
        failure = named.error();
        if (failure.kind() != error_kind::already_exists) break;
        failure = {error_kind::unauthorized, "somebody takes the names that adopted memory would have: remove the files omniconn-<uid>-<hash>.* that are not this user's from the folder of shared memory, or set another directory",
                   failure.native()};
        continue;
      }
      failpoint("shm.adopt.named");
      regions_.push_back({arena | number, user.data(), user.size(), 0, std::move(*file)});
      return std::uint64_t{number};
    }
    record.regions = last;
    return failure;
  }
  result<void> remove(std::uint64_t number, names const& where) {
    for (std::size_t i = 0; i != regions_.size(); ++i) {
      if ((regions_[i].id & region_mask) != number) continue;
      if (regions_[i].uses != 0) return {error_kind::misconfigured, "objects in this memory are still with readers; wait until they are consumed (wait_consumed), or clean them up"};
      ::unlink(where.arena_path(regions_[i].id).c_str());
      regions_.erase(regions_.begin() + static_cast<std::ptrdiff_t>(i));
      return {};
    }
    return {error_kind::misconfigured, "no such region: it was never adopted, or is forgotten"};
  }

  /// So many names that somebody else has are passed over.
  static constexpr std::uint32_t most_taken = 64;

 private:
  static error no_number() noexcept { return {error_kind::no_space, "65,535 regions of memory were adopted already; adopt fewer and larger ones, or open a new connector"}; }

  std::vector<region> regions_;
};

}  // namespace detail::shm

OMNICONN_END_NAMESPACE
