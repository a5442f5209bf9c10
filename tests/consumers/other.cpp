// SPDX-License-Identifier: Apache-2.0
// A second translation unit with the same include: one program must be able to hold both.
#include <omniconn/omniconn.hpp>

bool read_in_another_translation_unit(omniconn::shm_connector<>& connector);
bool read_in_another_translation_unit(omniconn::shm_connector<>& connector) {
  auto view = connector.get_view({"a", "b"}, "key", {omniconn::deadline::after(std::chrono::seconds(5))});
  return view && omniconn::text_of(view->bytes()) == "hello";
}
