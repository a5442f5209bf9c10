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

/// Bytes that give a wire key its structure. They are escaped (`%2F`, `%23`, `%25`) in the namespace and in stage names; a key is last
/// and needs no escape.
constexpr bool is_wire_mark(char c) noexcept { return c == '/' || c == '#' || c == '%'; }

/// Is any of eight bytes a mark? The classic search for a zero byte, which never errs on the question "any".
constexpr bool has_wire_mark(std::uint64_t eight) noexcept {
  constexpr std::uint64_t ones = 0x0101010101010101;
  std::uint64_t const slash = eight ^ (ones * '/'), hash = eight ^ (ones * '#'), percent = eight ^ (ones * '%');
  return ((((slash - ones) & ~slash) | ((hash - ones) & ~hash) | ((percent - ones) & ~percent)) & (ones << 7)) != 0;
}

/// Size of `text` once escaped. Stage names have no marks as a rule, so the answer comes from whole words: byte by byte it took 4 ns more,
/// a name, on every put and get.
inline std::size_t escaped_size(std::string_view text) noexcept {
  char const* const data = text.data();
  std::size_t const size = text.size();
  bool found = false;
  std::uint64_t word = 0;
  if (size >= sizeof word) {
    for (std::size_t at = 0; at + sizeof word < size; at += sizeof word) {
      std::memcpy(&word, data + at, sizeof word);
      found |= has_wire_mark(word);
    }
    std::memcpy(&word, data + size - sizeof word, sizeof word);  // the last eight, some of them for the second time
  } else if (size >= 4) {
    std::uint32_t first = 0, last = 0;
    std::memcpy(&first, data, sizeof first);
    std::memcpy(&last, data + size - sizeof last, sizeof last);
    word = std::uint64_t{first} << 32 | last;
  } else {
    for (char const c : text) word = word << 8 | static_cast<unsigned char>(c);
  }
  if (!found && !has_wire_mark(word)) [[likely]]
    return size;
  std::size_t marks = 0;
  for (char const c : text) marks += is_wire_mark(c) ? 1U : 0U;
  return size + 2 * marks;
}

inline std::string_view wire_escape(char c) noexcept { return c == '/' ? "%2F" : c == '#' ? "%23" : "%25"; }

/// Appends `text`, whose `escaped_size` is `size`.
inline void append_escaped(key_scratch& to, std::string_view text, std::size_t size) noexcept {
  if (size == text.size()) [[likely]]
    return to.append(text);
  for (char const& c : text) to.append(is_wire_mark(c) ? wire_escape(c) : std::string_view(&c, 1));
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
    prefix_.reserve(detail::escaped_size(o.name_space) + 1);
    for (char const& c : o.name_space) prefix_.append(detail::is_wire_mark(c) ? detail::wire_escape(c) : std::string_view(&c, 1));
    prefix_.push_back('/');
  }

  /// \lifetime see key_scratch.
  /// \errors `too_large`: the key is longer than `max_key_size`, or `max` is too small even for the shortened form, which takes the
  /// namespace and 35 bytes.
  result<wire_key> make(edge flow, std::string_view key, key_scratch& scratch, std::size_t max) const {
    if (key.size() > max_key_size) [[unlikely]]
      return {error_kind::too_large, "the key is longer than 4096 bytes (omniconn::max_key_size); use a shorter key"};
    std::size_t const from = detail::escaped_size(flow.from), to = detail::escaped_size(flow.to);
    std::size_t const head = prefix_.size() + from + 1 + to;
    bool const whole = head + 1 + key.size() <= max;
    if (!whole && head + short_size > max) [[unlikely]]
      return shortest(flow, key, scratch, max);
    scratch.start(whole ? head + 1 + key.size() : max);
    scratch.append(prefix_);
    detail::append_escaped(scratch, flow.from, from);
    scratch.append("/");
    detail::append_escaped(scratch, flow.to, to);
    if (whole) [[likely]] {
      scratch.append("/");
      scratch.append(key);
    } else {
      detail::key_digest digest;
      digest.add(key);
      append_short(scratch, digest, key, max - head - short_size);
    }
    return scratch.view();
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

  result<wire_key> shortest(edge flow, std::string_view key, key_scratch& scratch, std::size_t max) const {
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
