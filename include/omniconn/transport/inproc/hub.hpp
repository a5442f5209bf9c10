// SPDX-License-Identifier: Apache-2.0
// The shared store of the threads of one process.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/detail/posix.hpp>
#include <omniconn/transport/inproc/engine.hpp>

OMNICONN_BEGIN_NAMESPACE

class inproc_transport;

/// Where `inproc_transport`s meet: those opened on the same hub see each other's objects. Shared ownership; what it holds lives until the last
/// transport and the last hold are gone. \threadsafety all calls may run together.
class inproc_hub {
 public:
  inproc_hub() : core_(new detail::inproc_core) {
    core_->id = detail::random_u64();
    core_->seed = detail::random_u64();
    for (auto& s : core_->shards) s.core = core_;
  }
  inproc_hub(inproc_hub const&) = delete;
  inproc_hub& operator=(inproc_hub const&) = delete;
  ~inproc_hub() { detail::inproc_engine::orphan(core_); }

  /// The hub of that name in this process: made by the first who asks, gone with the last who has it.
  [[nodiscard]] static std::shared_ptr<inproc_hub> named(std::string_view name) {
    struct directory {
      std::mutex lock;
      std::vector<std::pair<std::string, std::weak_ptr<inproc_hub>>> hubs;
    };
    static directory all;
    std::lock_guard const guard(all.lock);
    std::erase_if(all.hubs, [](auto const& entry) { return entry.second.expired(); });
    for (auto const& [known, hub] : all.hubs)
      if (known == name)
        if (auto out = hub.lock(); out != nullptr) return out;
    auto out = std::make_shared<inproc_hub>();
    all.hubs.emplace_back(std::string(name), out);
    return out;
  }

 private:
  friend class inproc_transport;
  detail::inproc_core* core_;
};

OMNICONN_END_NAMESPACE
