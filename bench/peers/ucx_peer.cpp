// SPDX-License-Identifier: Apache-2.0
// UCX: tag send and receive over its shared-memory transports. The tag stands for the key, hashed outside the time. Both sides spin, which is how it is fast.
#include "peer.hpp"

#include <functional>

#include <ucp/api/ucp.h>

namespace {

constexpr char const* transports = "posix,sysv,cma,self";

void check(ucs_status_t status, char const* what) {
  if (status != UCS_OK) throw std::runtime_error(std::string(what) + ": " + ucs_status_string(status));
}

class ucx : public peers::peer_defaults {
 public:
  explicit ucx(peers::end_of_pair& e) : sends_(e.producing()) {
    ucp_config_t* config = nullptr;
    check(ucp_config_read(nullptr, nullptr, &config), "ucp_config_read");
    check(ucp_config_modify(config, "TLS", transports), "UCX_TLS");
    ucp_params_t how{};
    how.field_mask = UCP_PARAM_FIELD_FEATURES;
    how.features = UCP_FEATURE_TAG;
    check(ucp_init(&how, config, &context_), "ucp_init");
    ucp_config_release(config);
    ucp_worker_params_t work{};
    work.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
    work.thread_mode = UCS_THREAD_MODE_SINGLE;
    check(ucp_worker_create(context_, &work, &worker_), "ucp_worker_create");
    if (sends_) {
      auto const address = e.hear();
      ucp_ep_params_t to{};
      to.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
      to.address = reinterpret_cast<ucp_address_t const*>(address.data());
      check(ucp_ep_create(worker_, &to, &endpoint_), "ucp_ep_create");
    } else {
      ucp_address_t* address = nullptr;
      std::size_t size = 0;
      check(ucp_worker_get_address(worker_, &address, &size), "ucp_worker_get_address");
      e.say(std::as_bytes(std::span(reinterpret_cast<std::byte const*>(address), size)));
      ucp_worker_release_address(worker_, address);
    }
  }
  ~ucx() {
    if (endpoint_ != nullptr) {
      ucp_request_param_t const how{};
      wait_for(ucp_ep_close_nbx(endpoint_, &how));
    }
    ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
  }

  static std::string about() { return std::string("UCX ") + ucp_get_version_string() + ", tags, UCX_TLS=" + transports; }
  static bool can(peers::waiting w) { return w == peers::waiting::spin; }

  void begin(peers::job const& j) {
    if (!sends_ && target_.size() < j.size) target_.resize(j.size);
  }
  void prepare(std::string_view key, peers::const_bytes) { tag_ = std::hash<std::string_view>()(key); }
  void put(std::string_view, peers::const_bytes payload) {
    ucp_request_param_t how{};
    how.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK;
    how.cb.send = [](void* request, ucs_status_t, void*) { ucp_request_free(request); };
    auto* const sent = ucp_tag_send_nbx(endpoint_, payload.data(), payload.size(), tag_, &how);
    if (UCS_PTR_IS_ERR(sent)) check(UCS_PTR_STATUS(sent), "ucp_tag_send_nbx");
  }
  void progress() { ucp_worker_progress(worker_); }
  peers::const_bytes get(std::string_view key, std::size_t size) {
    ucp_request_param_t const how{};
    wait_for(ucp_tag_recv_nbx(worker_, target_.data(), size, std::hash<std::string_view>()(key), ~ucp_tag_t{0}, &how));
    return {target_.data(), size};
  }

 private:
  void wait_for(ucs_status_ptr_t request) {
    if (request == nullptr) return;
    if (UCS_PTR_IS_ERR(request)) check(UCS_PTR_STATUS(request), "UCX request");
    ucs_status_t status;
    while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS) ucp_worker_progress(worker_);
    ucp_request_free(request);
    check(status, "UCX request");
  }

  bool sends_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h endpoint_ = nullptr;
  ucp_tag_t tag_ = 0;
  std::vector<std::byte> target_;
};

}  // namespace

int main(int argc, char** argv) { return peers::run<ucx>(argc, argv); }
