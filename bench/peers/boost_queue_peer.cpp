// SPDX-License-Identifier: Apache-2.0
// Boost.Interprocess: a message queue, into which a put copies key and payload, and from which a get copies them out.
#include "peer.hpp"

#include <map>
#include <memory>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>

namespace {

namespace ipc = boost::interprocess;

class boost_queue : public peers::peer_defaults {
 public:
  explicit boost_queue(peers::end_of_pair& e) : end_(e) {}

  static std::string about() { return "Boost.Interprocess " BOOST_LIB_VERSION ", message queue"; }
  static bool can(peers::waiting w) { return w == peers::waiting::block; }

  /// A queue for each size of message and each number of them: it reserves the largest for every one. They stay open, so that their memory is warm.
  void begin(peers::job const& j) {
    auto& queue = open_[{j.size, j.in_flight}];
    name_ = end_.space + "-queue-" + std::to_string(j.size) + "-" + std::to_string(j.in_flight);
    fresh_ = queue == nullptr;
    if (fresh_ && end_.producing()) {
      ipc::message_queue::remove(name_.c_str());
      queue = std::make_unique<ipc::message_queue>(ipc::create_only, name_.c_str(), 2 * j.in_flight, std::max<std::size_t>(j.size, 64));
    } else if (fresh_) {
      queue = std::make_unique<ipc::message_queue>(ipc::open_only, name_.c_str());
    }
    mine_ = queue.get();
    if (!end_.producing() && target_.size() < mine_->get_max_msg_size()) target_.resize(mine_->get_max_msg_size());
  }
  void started() {
    if (fresh_) ipc::message_queue::remove(name_.c_str());  // both have it
  }
  void put(std::string_view key, peers::const_bytes payload) {
    mine_->send(key.data(), key.size(), 0);
    mine_->send(payload.data(), payload.size(), 0);
  }
  peers::const_bytes get(std::string_view key, std::size_t) {
    if (std::size_t const n = receive(); std::string_view(reinterpret_cast<char const*>(target_.data()), n) != key) throw std::runtime_error("another key came");
    return {target_.data(), receive()};
  }

 private:
  std::size_t receive() {
    ipc::message_queue::size_type size = 0;
    unsigned priority = 0;
    mine_->receive(target_.data(), target_.size(), size, priority);
    return size;
  }

  peers::end_of_pair& end_;
  std::map<std::pair<std::size_t, std::uint32_t>, std::unique_ptr<ipc::message_queue>> open_;
  ipc::message_queue* mine_ = nullptr;
  std::string name_;
  bool fresh_ = false;
  std::vector<std::byte> target_;
};

}  // namespace

int main(int argc, char** argv) { return peers::run<boost_queue>(argc, argv); }
