// SPDX-License-Identifier: Apache-2.0
// What is dear to compile of the stage programs: every connector of the factory, the YAML and JSON readers.
#include <cerrno>

#include <unistd.h>

#include <omniconn/runtime/json.hpp>
#include <omniconn/runtime/load_config.hpp>
#include <omniconn/runtime/mooncake.hpp>
#include <omniconn/runtime/msgpack_part.hpp>

#include <omniconn/serializer/omni_msgpack.hpp>

#include "stage.hpp"

namespace pipeline {

stage_world::stage_world(stage_options const& o) : recording(o.recording) {
  oc::register_builtin_connectors(factory);
  oc::register_msgpack(factory);
  oc::register_mooncake<oc::omni_msgpack_serializer, oc::raw_serializer>(factory);
  config = must(oc::load_transfer_config(o.config), "configuration");
}

void leave_report(stage_options const& o, std::string const& stage, oc::value const& report) {
  std::string const path = o.folder + "/" + stage + ".json";
  {
    std::ofstream out(path + ".part");
    out << oc::to_json(report, 2) << "\n";
    if (!out.flush()) throw std::runtime_error("writing " + path + " failed");
  }
  if (std::rename((path + ".part").c_str(), path.c_str()) != 0) throw std::runtime_error("naming " + path + " failed");
  if (o.done < 0) return;
  char byte = 0;
  while (::write(o.done, &byte, 1) < 0 && errno == EINTR) {
  }
  while (::read(o.stay, &byte, 1) < 0 && errno == EINTR) {  // its end is the sign
  }
}

}  // namespace pipeline
