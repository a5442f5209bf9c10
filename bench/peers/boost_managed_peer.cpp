// SPDX-License-Identifier: Apache-2.0
// Boost.Interprocess: a managed shared memory segment that both processes have open. A put allocates, copies and names the block by its key; the consumer
// sleeps on an interprocess condition, reads in place and deallocates.
#include "peer.hpp"

#include <memory>

#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/version.hpp>

namespace {

namespace ipc = boost::interprocess;

/// What waits for keys.
struct gate {
  ipc::interprocess_mutex mutex;
  ipc::interprocess_condition published;
};

/// What a key names.
struct block {
  ipc::managed_shared_memory::handle_t at;
  std::size_t size;
};

class boost_managed : public peers::peer_defaults {
 public:
  explicit boost_managed(peers::end_of_pair& e) {
    std::string const name = e.space + "-managed";
    if (e.producing()) {
      ipc::shared_memory_object::remove(name.c_str());
      segment_ = std::make_unique<ipc::managed_shared_memory>(ipc::create_only, name.c_str(), 3 * peers::largest);  // two in flight and room between them
      gate_ = segment_->construct<gate>(ipc::unique_instance)();
      e.say();
      static_cast<void>(e.hear());
      ipc::shared_memory_object::remove(name.c_str());  // both have it: nothing stays, however they end
    } else {
      static_cast<void>(e.hear());
      segment_ = std::make_unique<ipc::managed_shared_memory>(ipc::open_only, name.c_str());
      gate_ = segment_->find<gate>(ipc::unique_instance).first;
      e.say();
    }
  }

  static std::string about() { return "Boost.Interprocess " BOOST_LIB_VERSION ", managed shared memory and a condition"; }
  static bool can(peers::waiting w) { return w == peers::waiting::block; }

  void put(std::string_view key, peers::const_bytes payload) {
    void* const at = segment_->allocate(payload.size());
    std::memcpy(at, payload.data(), payload.size());
    {
      ipc::scoped_lock<ipc::interprocess_mutex> const lock(gate_->mutex);
      segment_->construct<block>(std::string(key).c_str())(block{segment_->get_handle_from_address(at), payload.size()});
    }
    gate_->published.notify_one();
  }
  peers::const_bytes get(std::string_view key, std::size_t) {
    std::string const name(key);
    block* found = nullptr;
    ipc::scoped_lock<ipc::interprocess_mutex> lock(gate_->mutex);
    while ((found = segment_->find<block>(name.c_str()).first) == nullptr) gate_->published.wait(lock);
    at_ = segment_->get_address_from_handle(found->at);
    return {static_cast<std::byte const*>(at_), found->size};
  }
  void clean(std::string_view key) {
    ipc::scoped_lock<ipc::interprocess_mutex> const lock(gate_->mutex);
    segment_->destroy<block>(std::string(key).c_str());
    segment_->deallocate(at_);
  }

 private:
  std::unique_ptr<ipc::managed_shared_memory> segment_;
  gate* gate_ = nullptr;
  void* at_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) { return peers::run<boost_managed>(argc, argv); }
