// SPDX-License-Identifier: Apache-2.0
// The default keying: namespace/from/to/key, readable, and never the same wire key for two different objects.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/checksum.hpp>
#include <omniconn/core/key.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/keying/concept.hpp>
#include <omniconn/keying/request_rule.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// What stands for a byte in the namespace and in stage names: the marks, which give a wire key its structure, are escaped. A key is last and needs no escape. \lifetime refers to `c`
inline std::string_view wire_escape(char const& c) noexcept { return c == '/' ? "%2F" : c == '#' ? "%23" : c == '%' ? "%25" : std::string_view(&c, 1); }

/// Not 0 where any of eight bytes is a mark. The classic search for a zero byte, which never errs on the question "any".
constexpr std::uint64_t wire_marks(std::uint64_t eight) noexcept {
  constexpr std::uint64_t ones = 0x0101010101010101;
  std::uint64_t const slash = eight ^ (ones * '/'), hash = eight ^ (ones * '#'), percent = eight ^ (ones * '%');
  return (((slash - ones) & ~slash) | ((hash - ones) & ~hash) | ((percent - ones) & ~percent)) & (ones << 7);
}

/// Copies a text to `to`, which it moves on, and shows it to `look`, eight bytes at a time, the last of them for the second time. Names are short: calls of memcpy for the parts
/// of a wire key took a put and a get longer than the copies.
[[gnu::always_inline]] inline void copy_words(char*& to, std::string_view text, auto look) noexcept {
  char const* const from = text.data();
  char* const begin = to;
  std::size_t const size = text.size();
  to += size;
  std::uint64_t word = 0;
  if (size < sizeof word) {
    for (std::size_t at = 0; at != size; ++at) word = word << 8 | static_cast<unsigned char>(begin[at] = from[at]);
    return look(word);
  }
  auto const copy_at = [&](std::size_t at) noexcept {
    std::memcpy(&word, from + at, sizeof word);
    std::memcpy(begin + at, &word, sizeof word);
    look(word);
  };
  for (std::size_t at = 0; at + sizeof word < size; at += sizeof word) copy_at(at);
  copy_at(size - sizeof word);
}

/// 128 bits of one or several texts, as 32 hexadecimal digits. Part of the wire format: the seeds and the order never change.
class key_digest {
 public:
  void add(std::string_view text) noexcept {
    high_ = seeded_hash(bytes_of(text), high_);
    low_ = seeded_hash(bytes_of(text), low_);
  }
  [[nodiscard]] std::array<char, 32> hex() const noexcept {
    std::array<char, 32> out;
    for (std::size_t i = 0; i != 16; ++i) {
      out[i] = "0123456789abcdef"[(high_ >> (60 - 4 * i)) & 15];
      out[16 + i] = "0123456789abcdef"[(low_ >> (60 - 4 * i)) & 15];
    }
    return out;
  }

 private:
  std::uint64_t high_ = 0x6f6d6e69636f6e6e;  // "omniconn"
  std::uint64_t low_ = 0x7773656b65796e67;
};

}  // namespace detail

/// Options of `namespaced_keying`.
struct namespaced_keying_options {
  /// Keeps users of one store apart; any bytes. Both ends of an edge need the same.
  std::string name_space = "default";
};

/// `namespace/from/to/key`, for example `default/encoder/thinker/req7_0`. Injective for any bytes in stage names and keys: the three parts
/// in front have their `/`, `#` and `%` escaped, the key follows as it is.
///
/// What is longer than `max` is shortened: `namespace/from/to#<digest>~<text>`, where the digest is 128 bits of the key and the text its first and
/// last bytes, as many as fit. Where even the stage names do not fit, `namespace/#<digest>=<key>` or `namespace/#<digest>~<text>`, the digest
/// taken over stage names and key. Neither form can look like a whole key, because `#` is escaped there. Two shortened keys are the same only if
/// their digests collide: accidents do not reach 2^-64 below 2^32 keys of one edge, but the hash is not a cryptographic one, so keys of
/// this length should not be chosen by an enemy.
///
/// \threadsafety a value without state that calls change: all calls may run together. \copies the key once, into the scratch.
class namespaced_keying {
 public:
  using options = namespaced_keying_options;

  static constexpr std::string_view name = "namespaced";
  static constexpr bool injective = true;

  namespaced_keying() : namespaced_keying(options{}) {}
  explicit namespaced_keying(options const& o) {
    for (char const& c : o.name_space) prefix_ += detail::wire_escape(c);
    prefix_ += '/';
  }

  /// \lifetime see key_scratch.
  /// \errors `too_large`: the key is longer than `max_key_size`, or `max` is too small even for the shortened form, which takes the
  /// namespace and 35 bytes.
  result<wire_key> make(edge const& flow, std::string_view key, key_scratch& scratch, std::size_t max) const {
    if (key.size() > max_key_size) [[unlikely]]
      return {error_kind::too_large, "the key is longer than 4096 bytes (omniconn::max_key_size); use a shorter key"};
    // Stage names have no marks as a rule, so they are copied as they are, and looked at meanwhile.
    if (std::size_t const plain = prefix_.size() + flow.from.size() + flow.to.size() + 2 + key.size(); plain <= max) [[likely]] {
      scratch.start(plain);
      char* at = scratch.append_room(plain);
      std::uint64_t found = 0;
      auto const look = [&found](std::uint64_t eight) noexcept { found |= detail::wire_marks(eight); };
      detail::copy_words(at, prefix_, [](std::uint64_t) noexcept {});
      detail::copy_words(at, flow.from, look);
      *at++ = '/';
      detail::copy_words(at, flow.to, look);
      *at++ = '/';
      if (!key.empty()) std::memcpy(at, key.data(), key.size());
      if (found == 0) [[likely]] return scratch.view();
    }
    return make_escaped(flow, key, scratch, max);
  }

  /// Exact for whole keys. Of a shortened key the first and last bytes are left, so parts of a request are recognised as long as the request's
  /// name fits into them; a key that *is* the request is recognised by its digest unless the stage names had to go, too. What cannot be
  /// decided is false: cleanup leaves such an object to its lease rather than take somebody else's.
  /// \see key_of_request
  bool belongs(wire_key wire, std::string_view request) const noexcept {
    if (!wire.starts_with(prefix_)) return false;
    wire.remove_prefix(prefix_.size());
    if (wire.starts_with('#')) {
      if (wire.size() < short_size) return false;
      std::string_view const text = wire.substr(short_size);
      return wire[short_size - 1] == '=' ? key_of_request(text, request) : ends_of_request(text, request);
    }
    std::size_t const from = wire.find('/');
    if (from == wire_key::npos) return false;
    std::size_t const to = wire.find_first_of("/#", from + 1);
    if (to == wire_key::npos) return false;
    wire.remove_prefix(to);
    if (wire.front() == '/') return key_of_request(wire.substr(1), request);
    if (wire.size() < short_size) return false;
    return ends_of_request(wire.substr(short_size), request) || is_short_form_of(wire, request);
  }

 private:
  static constexpr std::size_t short_size = 34;  // '#', 32 digits, '~' or '='

  /// Where a name has a mark, or all together is longer than `max`.
  [[gnu::noinline]] result<wire_key> make_escaped(edge const& flow, std::string_view key, key_scratch& scratch, std::size_t max) const {
    std::size_t head = prefix_.size() + 1;
    for (auto const& stage : {flow.from, flow.to})
      for (char const& c : stage) head += detail::wire_escape(c).size();
    bool const whole = head + 1 + key.size() <= max;
    if (!whole && head + short_size > max) [[unlikely]]
      return shortest(flow, key, scratch, max);
    scratch.start(whole ? head + 1 + key.size() : max);
    scratch.append(prefix_);
    for (char const& c : flow.from) scratch.append(detail::wire_escape(c));
    scratch.append("/");
    for (char const& c : flow.to) scratch.append(detail::wire_escape(c));
    if (whole) {
      scratch.append("/");
      scratch.append(key);
    } else {
      detail::key_digest digest;
      digest.add(key);
      append_short(scratch, digest, key, max - head - short_size);
    }
    return scratch.view();
  }

  result<wire_key> shortest(edge const& flow, std::string_view key, key_scratch& scratch, std::size_t max) const {
    if (prefix_.size() + short_size > max)
      return {error_kind::too_large,
              "the transport's longest key does not hold the namespace and a digest of 34 bytes; use a shorter namespace"};
    detail::key_digest digest;
    digest.add(flow.from);
    digest.add(flow.to);
    digest.add(key);
    std::size_t const room = max - prefix_.size() - short_size;
    bool const fits = key.size() <= room;
    scratch.start(prefix_.size() + short_size + (fits ? key.size() : room));
    scratch.append(prefix_);
    append_short(scratch, digest, key, room);
    return scratch.view();
  }

  /// Digest and as much of the key as `room` takes: all of it, or its first and its last bytes.
  static void append_short(key_scratch& scratch, detail::key_digest const& digest, std::string_view key, std::size_t room) noexcept {
    auto const digits = digest.hex();
    bool const fits = key.size() <= room;
    scratch.append("#");
    scratch.append({digits.data(), digits.size()});
    scratch.append(fits ? "=" : "~");
    if (fits) return scratch.append(key);
    scratch.append(key.substr(0, first_of(room)));
    scratch.append(key.substr(key.size() - (room - first_of(room))));
  }

  /// Of `size` bytes kept, how many are the key's first ones.
  static constexpr std::size_t first_of(std::size_t size) noexcept { return size - size / 2; }

  /// Do the first and last bytes of a longer key show that it begins with `request_` or ends with `_request`?
  static bool ends_of_request(std::string_view text, std::string_view request) noexcept {
    std::string_view const first = text.substr(0, first_of(text.size())), last = text.substr(first.size());
    return (first.size() > request.size() && first[request.size()] == '_' && first.starts_with(request)) ||
           (last.size() > request.size() && last[last.size() - request.size() - 1] == '_' && last.ends_with(request));
  }

  /// Is this what `make` writes behind the stage names for the key `request`?
  static bool is_short_form_of(std::string_view form, std::string_view request) noexcept {
    std::string_view const text = form.substr(short_size);
    if (request.size() <= text.size()) return false;
    detail::key_digest digest;
    digest.add(request);
    auto const digits = digest.hex();
    return form.substr(1, digits.size()) == std::string_view(digits.data(), digits.size()) &&
           request.starts_with(text.substr(0, first_of(text.size()))) && request.ends_with(text.substr(first_of(text.size())));
  }

  std::string prefix_;  // the namespace, escaped, and '/'
};

OMNICONN_END_NAMESPACE
