// SPDX-License-Identifier: Apache-2.0
// Connectors by name: what a configuration asks for, made at run time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/any_connector.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/runtime/connector_spec.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What `connector_factory::list` says of one name.
struct connector_availability {
  std::string name;
  bool available = false;
  std::string why;  ///< why not; or, where available, what to know
};

/// Makes connectors by name. An object, not a global: two factories do not know each other.
///
/// A fresh one knows no name; `register_builtin_connectors` (runtime/builtin.hpp) adds ours, parts add theirs (`register_msgpack`), programs add
/// their own. \threadsafety const calls may run together; registration may not run beside anything.
class connector_factory {
 public:
  connector_factory() = default;
  connector_factory(connector_factory&&) noexcept = default;
  connector_factory& operator=(connector_factory&&) noexcept = default;

  /// Adds a name. `make` is called as `make(spec)` and returns `result<any_connector, diagnosis>` (or what converts to it).
  /// \errors `already_exists`.
  template <class Make>
    requires std::is_invocable_r_v<result<any_connector, diagnosis>, Make const&, connector_spec const&>
  result<void, diagnosis> register_connector(std::string_view name, Make make, std::string_view note = {}) {
    if (auto const* known = find(name); known != nullptr && known->make != nullptr)
      return diagnosis(error_kind::already_exists, "Connector '" + std::string(name) + "' is already registered.");
    auto& e = entry_for(name);
    e.make = std::make_unique<maker<Make>>(std::move(make));
    e.why = note;
    return {};
  }

  /// Replaces a name or adds it: how a part takes over a built-in one.
  template <class Make>
    requires std::is_invocable_r_v<result<any_connector, diagnosis>, Make const&, connector_spec const&>
  void replace_connector(std::string_view name, Make make, std::string_view note = {}) {
    auto& e = entry_for(name);
    e.make = std::make_unique<maker<Make>>(std::move(make));
    e.why = note;
  }

  /// Makes a name known that cannot be created here, with the reason and what to do.
  void declare_unavailable(std::string_view name, std::string_view why) {
    if (find(name) == nullptr) entry_for(name).why = why;
  }

  /// \errors `misconfigured`: unknown name, or an option is wrong; `unsupported`: known, but not available in this build; else the cause's kind. The text
  /// begins with the connector's name.
  [[nodiscard]] result<any_connector, diagnosis> create(connector_spec const& spec) const {
    auto const* const known = find(spec.name);
    if (known == nullptr) {
      std::string text = "Unknown connector: " + spec.name + ". Available: [";
      bool first = true;
      for (auto const& e : entries_)
        if (e.make != nullptr) text.append(std::exchange(first, false) ? "" : ", ").append(e.name);
      return diagnosis(error_kind::misconfigured, text + "]");
    }
    if (known->make == nullptr) return diagnosis(error_kind::unsupported, spec.name + " is not available: " + known->why);
    auto made = known->make->call(spec);
    if (!made) return made.error().in("Failed to create connector " + spec.name);
    return made;
  }

  /// Every known name, sorted, and whether it can be created.
  [[nodiscard]] std::vector<connector_availability> list() const {
    std::vector<connector_availability> out;
    out.reserve(entries_.size());
    for (auto const& e : entries_) out.push_back({e.name, e.make != nullptr, e.why});
    return out;
  }

 private:
  struct maker_base {
    virtual ~maker_base() = default;
    virtual result<any_connector, diagnosis> call(connector_spec const&) const = 0;
  };
  template <class Make>
  struct maker final : maker_base {
    explicit maker(Make m) : make(std::move(m)) {}
    result<any_connector, diagnosis> call(connector_spec const& spec) const override { return make(spec); }
    Make make;
  };
  struct entry {
    std::string name;
    std::string why;
    std::unique_ptr<maker_base> make;
  };

  [[nodiscard]] entry const* find(std::string_view name) const noexcept {
    for (auto const& e : entries_)
      if (e.name == name) return &e;
    return nullptr;
  }
  entry& entry_for(std::string_view name) {
    auto at = entries_.begin();
    while (at != entries_.end() && at->name < name) ++at;
    if (at == entries_.end() || at->name != name) {
      entry fresh;
      fresh.name = name;
      at = entries_.insert(at, std::move(fresh));
    }
    return *at;
  }

  std::vector<entry> entries_;
};

OMNICONN_END_NAMESPACE
