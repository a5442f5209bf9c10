// SPDX-License-Identifier: Apache-2.0
// ZeroMQ over ipc: a PAIR of sockets, each object a message of two frames, key and payload. Its I/O threads share the CPU of their process.
#include "peer.hpp"

#include <zmq.h>

namespace {

void check(int rc, char const* what) {
  if (rc < 0) throw std::runtime_error(std::string(what) + ": " + zmq_strerror(zmq_errno()));
}

class zmq : public peers::peer_defaults {
 public:
  explicit zmq(peers::end_of_pair& e) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_PAIR)) {
    int const none = 0, unlimited = 0;
    check(zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none), "ZMQ_LINGER");
    check(zmq_setsockopt(socket_, ZMQ_SNDHWM, &unlimited, sizeof unlimited), "ZMQ_SNDHWM");
    check(zmq_setsockopt(socket_, ZMQ_RCVHWM, &unlimited, sizeof unlimited), "ZMQ_RCVHWM");
    std::string const address = "ipc://@" + e.space + "-zmq";  // an abstract address: no file that could stay
    if (e.producing()) {
      check(zmq_bind(socket_, address.c_str()), "zmq_bind");
      e.say();
    } else {
      static_cast<void>(e.hear());
      check(zmq_connect(socket_, address.c_str()), "zmq_connect");
    }
    zmq_msg_init(&message_);
  }
  ~zmq() {
    zmq_msg_close(&message_);
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }

  static std::string about() {
    int major = 0, minor = 0, patch = 0;
    zmq_version(&major, &minor, &patch);
    return "ZeroMQ " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch) + ", PAIR over ipc";
  }
  static bool can(peers::waiting w) { return w == peers::waiting::block; }

  void put(std::string_view key, peers::const_bytes payload) {
    check(zmq_send(socket_, key.data(), key.size(), ZMQ_SNDMORE), "zmq_send");
    check(zmq_send(socket_, payload.data(), payload.size(), 0), "zmq_send");
  }
  peers::const_bytes get(std::string_view key, std::size_t) {
    if (receive() != key) throw std::runtime_error("another key came");
    return std::as_bytes(std::span(receive()));
  }
  void clean(std::string_view) {
    zmq_msg_close(&message_);
    zmq_msg_init(&message_);
  }

 private:
  std::string_view receive() {
    check(zmq_msg_recv(&message_, socket_, 0), "zmq_msg_recv");
    return {static_cast<char const*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
  }

  void* context_;
  void* socket_;
  zmq_msg_t message_;
};

}  // namespace

int main(int argc, char** argv) { return peers::run<zmq>(argc, argv); }
