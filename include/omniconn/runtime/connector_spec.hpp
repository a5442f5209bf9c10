// SPDX-License-Identifier: Apache-2.0
// What a configuration says of one connector, and the reader through which a connector takes its options.
#pragma once

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/runtime/env.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The name of a connector and its options, a map. Options that nobody knows are kept.
struct connector_spec {
  std::string name;
  value extra = value::map{};

  friend bool operator==(connector_spec const&, connector_spec const&) noexcept = default;
};

/// Takes typed options out of a map, and remembers what was wrong and what nobody took.
///
/// A `take_...` call returns the option, or the fallback where it is absent or null. An option of the wrong type or out of range gives
/// the fallback too and is remembered; `done` reports all of them at once, so that a file is mended in one go. Texts are expanded
/// (`$NAME`, `${NAME}`; an unset variable is an error), and a number may be written as such a text: `port: ${PORT}`.
/// \lifetime refers to the options and to the lookup; both must outlive the reader. Not thread-safe.
class option_reader {
 public:
  /// `where` begins every error text: "edge 0->1", "pipeline.yaml: connector 'shm'".
  explicit option_reader(value const& options, std::string where = {}, env_lookup env = process_env)
      : options_(&options), where_(std::move(where)), env_(env) {
    if (!options.is_map() && !options.is_nil()) problem("the options must be a map of names to values, not " + detail::describe(options));
  }
  explicit option_reader(connector_spec const& spec, env_lookup env = process_env) : option_reader(spec.extra, spec.name, env) {}
  option_reader(value&&, std::string = {}, env_lookup = process_env) = delete;
  option_reader(connector_spec&&, env_lookup = process_env) = delete;

  /// A text, expanded.
  [[nodiscard]] std::optional<std::string> take_string(std::string_view key) {
    auto const text = take_raw_string(key);
    if (!text) return std::nullopt;
    return expanded(key, *text);
  }
  [[nodiscard]] std::string take_string(std::string_view key, std::string_view fallback) {
    return take_string(key).value_or(std::string(fallback));
  }
  /// A text as it stands: for secrets and templates in which '$' is a character like any other.
  [[nodiscard]] std::optional<std::string> take_raw_string(std::string_view key) {
    value const* const item = take(key);
    if (item == nullptr) return std::nullopt;
    if (!item->is_string()) return wrong(key, *item, "a text", "put it in quotes");
    return *item->if_string();
  }
  /// A text that must be there and not be empty; "" with a remembered problem if it is not.
  [[nodiscard]] std::string require_string(std::string_view key) {
    auto out = take_string(key);
    if (out && !out->empty()) return std::move(*out);
    if (out || find(key) == nullptr || find(key)->is_nil()) problem(std::string(key) + " is missing or empty; give it a text");
    return {};
  }
  /// One of the given words.
  [[nodiscard]] std::string take_choice(std::string_view key, std::initializer_list<std::string_view> words, std::string_view fallback) {
    auto out = take_string(key);
    if (!out) return std::string(fallback);
    std::string known;
    for (auto const word : words) {
      if (*out == word) return std::move(*out);
      known.append(known.empty() ? "" : ", ").append(word);
    }
    problem(std::string(key) + " is " + detail::in_quotes(*out) + ", which is none of: " + known);
    return std::string(fallback);
  }
  /// A list of texts, each expanded.
  [[nodiscard]] std::vector<std::string> take_strings(std::string_view key) {
    std::vector<std::string> out;
    value const* const item = take(key);
    if (item == nullptr) return out;
    auto const* const items = item->if_array();
    if (items == nullptr) {
      wrong(key, *item, "a list of texts", "write [a, b]");
      return out;
    }
    for (auto const& entry : *items) {
      if (auto const* const text = entry.if_string()) {
        if (auto word = expanded(key, *text)) out.push_back(std::move(*word));
      } else {
        wrong(key, entry, "texts in its list", "put it in quotes");
      }
    }
    return out;
  }

  /// An integer of at least 0.
  [[nodiscard]] std::optional<std::uint64_t> take_uint(std::string_view key) {
    value const* const item = take(key);
    if (item == nullptr) return std::nullopt;
    return number_of<std::uint64_t>(key, *item, "an integer of at least 0", [](value const& v) { return v.as_uint64(); });
  }
  /// The same with a fallback and limits: `take_uint("zmq_port", 0, 0, 65535)`.
  [[nodiscard]] std::uint64_t take_uint(std::string_view key, std::uint64_t fallback, std::uint64_t least = 0,
                                        std::uint64_t most = UINT64_MAX) {
    return within(key, take_uint(key), fallback, least, most);
  }
  /// An integer of either sign.
  [[nodiscard]] std::optional<std::int64_t> take_int(std::string_view key) {
    value const* const item = take(key);
    if (item == nullptr) return std::nullopt;
    return number_of<std::int64_t>(key, *item, "an integer", [](value const& v) { return v.as_int64(); });
  }
  [[nodiscard]] std::int64_t take_int(std::string_view key, std::int64_t fallback, std::int64_t least = INT64_MIN,
                                      std::int64_t most = INT64_MAX) {
    return within(key, take_int(key), fallback, least, most);
  }

  /// true or false; as a text only where it comes from a variable: `insecure: ${INSECURE}`.
  [[nodiscard]] std::optional<bool> take_bool(std::string_view key) {
    value const* const item = take(key);
    if (item == nullptr) return std::nullopt;
    if (auto const* const yes = item->if_bool()) return *yes;
    if (auto const* const text = item->if_string(); text != nullptr && text->find('$') != std::string::npos) {
      auto const word = expanded(key, *text);
      if (!word) return std::nullopt;
      if (*word == "true" || *word == "1") return true;
      if (*word == "false" || *word == "0") return false;
      return wrong(key, value(*word), "a bool", "write true or false");
    }
    return wrong(key, *item, "a bool", "write true or false, without quotes");
  }
  [[nodiscard]] bool take_bool(std::string_view key, bool fallback) { return take_bool(key).value_or(fallback); }

  /// A number of bytes: an integer, or a text with a unit ("64 MiB", "1GB"; B, kB, MB, GB, TB, KiB, MiB, GiB, TiB).
  [[nodiscard]] std::optional<std::uint64_t> take_bytes_size(std::string_view key) {
    value const* const item = take(key);
    if (item == nullptr) return std::nullopt;
    constexpr char const* expected = "a number of bytes";
    constexpr char const* mend = "write an integer, or a text with a unit as in 64 MiB";
    if (auto const number = item->as_uint64()) return *number;
    if (!item->is_string()) return wrong(key, *item, expected, mend);
    auto const text = expanded(key, *item->if_string());
    if (!text) return std::nullopt;
    static constexpr std::pair<std::string_view, std::uint64_t> units[]{{"", 1},
                                                                        {"B", 1},
                                                                        {"kB", 1000},
                                                                        {"MB", 1000000},
                                                                        {"GB", 1000000000},
                                                                        {"TB", 1000000000000},
                                                                        {"KiB", 1U << 10U},
                                                                        {"MiB", 1U << 20U},
                                                                        {"GiB", 1U << 30U},
                                                                        {"TiB", std::uint64_t{1} << 40U}};
    std::uint64_t count = 0;
    auto const unit = split_unit(*text, count);
    for (auto const& [name, factor] : units) {
      if (unit != name) continue;
      if (count <= UINT64_MAX / factor) return count * factor;
      return wrong(key, value(*text), "a number of bytes below 2^64", "write a smaller one");
    }
    return wrong(key, value(*text), expected, mend);
  }
  [[nodiscard]] std::uint64_t take_bytes_size(std::string_view key, std::uint64_t fallback) {
    return take_bytes_size(key).value_or(fallback);
  }

  /// A time of at least 0: a number of seconds, or a text with a unit ("250 ms"; ns, us, ms, s, min, h). At most 100 years.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> take_duration_seconds(std::string_view key) {
    value const* const item = take(key);
    if (item == nullptr) return std::nullopt;
    constexpr char const* expected = "a time in seconds, from 0 to 100 years";
    constexpr char const* mend = "write a number of seconds, or a text with a unit as in 250 ms";
    if (auto const seconds = item->as_double()) return duration(key, *item, *seconds * 1e9);
    if (!item->is_string()) return wrong(key, *item, expected, mend);
    auto const text = expanded(key, *item->if_string());
    if (!text) return std::nullopt;
    static constexpr std::pair<std::string_view, double> units[]{{"", 1e9},  {"ns", 1},     {"us", 1e3},  {"ms", 1e6},
                                                                 {"s", 1e9}, {"min", 60e9}, {"h", 3600e9}};
    double count = 0;
    auto const unit = split_unit(*text, count);
    for (auto const& [name, factor] : units)
      if (unit == name) return duration(key, value(*text), count * factor);
    return wrong(key, value(*text), expected, mend);
  }
  [[nodiscard]] std::chrono::nanoseconds take_duration_seconds(std::string_view key, std::chrono::nanoseconds fallback) {
    return take_duration_seconds(key).value_or(fallback);
  }

  /// Marks an option as known and gives it as it stands; null where it is absent or null.
  [[nodiscard]] value const* take(std::string_view key) {
    taken_.emplace_back(key);
    value const* const item = find(key);
    return item == nullptr || item->is_nil() ? nullptr : item;
  }

  /// Remembers a problem that the caller found, as in `reader.problem("zmq_port and fd exclude each other; keep one")`.
  void problem(std::string_view text) { problems_.append(problems_.empty() ? "" : "; ").append(text); }

  /// The options that nobody took, in order: kept for whoever comes next, never an error.
  [[nodiscard]] value::map unknown() const {
    value::map out;
    if (auto const* const entries = options_->if_map())
      for (auto const& entry : *entries)
        if (auto const* const name = entry.first.if_string(); name == nullptr || !was_taken(*name)) out.push_back(entry);
    return out;
  }

  /// Success, or `misconfigured` with every problem so far.
  [[nodiscard]] result<void, diagnosis> done() const {
    if (problems_.empty()) return {};
    return diagnosis(error_kind::misconfigured, where_.empty() ? problems_ : where_ + ": " + problems_);
  }

 private:
  [[nodiscard]] value const* find(std::string_view key) const noexcept { return options_->find(key); }

  [[nodiscard]] bool was_taken(std::string_view key) const noexcept {
    for (auto const& name : taken_)
      if (name == key) return true;
    return false;
  }

  std::nullopt_t wrong(std::string_view key, value const& found, std::string_view expected, std::string_view mend) {
    problem(std::string(key) + " is " + detail::describe(found) + ", expected " + std::string(expected) + "; " + std::string(mend));
    return std::nullopt;
  }

  std::optional<std::string> expanded(std::string_view key, std::string_view text) {
    auto out = expand_env(text, key, env_);
    if (out) return std::move(*out);
    problem(out.error().detail());
    return std::nullopt;
  }

  template <class Number, class Convert>
  std::optional<Number> number_of(std::string_view key, value const& item, std::string_view expected, Convert convert) {
    if (auto const number = convert(item)) return *number;
    auto const* const text = item.if_string();
    // 1e6 without a point and a signed exponent is a text to YAML 1.1, which surprises everybody.
    constexpr char const* mend = "write a whole number in digits, without quotes";
    if (text == nullptr || text->find('$') == std::string::npos) return wrong(key, item, expected, mend);
    auto const word = expanded(key, *text);
    if (!word) return std::nullopt;
    Number number{};
    if (!split_unit(*word, number).empty()) return wrong(key, value(*word), expected, mend);
    return number;
  }

  template <class Number>
  Number within(std::string_view key, std::optional<Number> number, Number fallback, Number least, Number most) {
    if (!number) return fallback;
    if (*number >= least && *number <= most) return *number;
    problem(std::string(key) + " is " + std::to_string(*number) + ", expected an integer from " + std::to_string(least) + " to " +
            std::to_string(most));
    return fallback;
  }

  std::optional<std::chrono::nanoseconds> duration(std::string_view key, value const& found, double nanoseconds) {
    // The comparison is false for NaN. 100 years of nanoseconds fit 62 bits.
    if (nanoseconds >= 0 && nanoseconds <= 100 * 365.25 * 86400e9)
      return std::chrono::nanoseconds(static_cast<std::int64_t>(nanoseconds + 0.5));
    return wrong(key, found, "a time from 0 to 100 years", "write a number of seconds such as 2.5");
  }

  /// Reads the number that begins `text` and returns the unit after it and a space; "?" where no number begins it.
  template <class Number>
  static std::string_view split_unit(std::string_view text, Number& number) noexcept {
    auto const [stop, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failed != std::errc{}) return "?";
    auto unit = text.substr(static_cast<std::size_t>(stop - text.data()));
    if (unit.size() > 1 && unit.front() == ' ') unit.remove_prefix(1);
    return unit;
  }

  value const* options_;
  std::string where_;
  std::string problems_;
  std::vector<std::string> taken_;
  env_lookup env_;
};

OMNICONN_END_NAMESPACE
