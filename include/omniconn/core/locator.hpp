// SPDX-License-Identifier: Apache-2.0
// Where an object is: what a receipt carries and a reader may bring along instead of searching.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Which transport wrote a locator. A transport refuses foreign ones instead of misreading them. Outside authors use 0x8000 and up.
enum class locator_tag : std::uint16_t { none = 0, inproc = 1, shm = 2, sim = 3, shm_segment = 4, shm_sealed = 5, mooncake_store = 6 };

/// Up to 64 bytes that only the transport named by the tag understands; they name place *and* generation, so that a stale one is
/// recognised. Trivially copyable: send it over any control plane, or as metadata (`Transport::describe`).
class locator {
 public:
  static constexpr std::size_t capacity = 64;

  /// Empty. The bytes stay as they are: clearing them would cost a small put more than its allocator does.
  locator() noexcept {}  // NOLINT(modernize-use-equals-default): = default would clear them in value-initialisation

  /// Packs a trivially copyable record.
  template <class Record>
    requires(std::is_trivially_copyable_v<Record> && sizeof(Record) <= capacity)
  [[nodiscard]] static locator pack(locator_tag tag, Record const& record) noexcept {
    locator out;
    out.tag_ = tag;
    out.size_ = static_cast<std::uint16_t>(sizeof(Record));
    std::memcpy(out.bytes_.data(), &record, sizeof(Record));
    if constexpr (sizeof(Record) < capacity) std::memset(out.bytes_.data() + sizeof(Record), 0, capacity - sizeof(Record));  // nothing of our stack goes on a wire
    return out;
  }

  /// \errors `malformed`: written by another transport or of another size.
  template <class Record>
    requires(std::is_trivially_copyable_v<Record> && sizeof(Record) <= capacity)
  [[nodiscard]] result<Record> unpack(locator_tag tag) const noexcept {
    if (tag_ != tag || size_ != sizeof(Record))
      return {error_kind::malformed, "the locator was made by another transport; pass the receipt of this edge, or none to search by key"};
    Record record;
    std::memcpy(&record, bytes_.data(), sizeof(Record));
    return record;
  }

  [[nodiscard]] constexpr bool empty() const noexcept { return tag_ == locator_tag::none; }
  [[nodiscard]] constexpr locator_tag tag() const noexcept { return tag_; }

 private:
  locator_tag tag_ = locator_tag::none;
  std::uint16_t size_ = 0;
  alignas(8) std::array<std::byte, capacity> bytes_;
};

static_assert(std::is_trivially_copyable_v<locator>);

OMNICONN_END_NAMESPACE
