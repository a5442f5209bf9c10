// SPDX-License-Identifier: Apache-2.0
// A process that puts or gets over sealed memory, told what to do on its standard input, one line each; it answers each with one line.
//
//     sealed_stage DIRECTORY STAGE [USER ALLOWED]     becomes that user, and allows the other
//     put KEY SIZE | get KEY SECONDS | hold KEY SECONDS | check | exists KEY | close | crash
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>

#include <unistd.h>

#include <omniconn/runtime/sealed.hpp>

namespace {

using namespace omniconn;
using stage = shm_sealed_connector<raw_serializer>;

std::string filled(std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i != size; ++i) out[i] = static_cast<char>(i * 7 + i / 255);
  return out;
}
bool right(const_bytes bytes) { return text_of(bytes) == filled(bytes.size()); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 5) return 2;
  stage::options o;
  if (argc == 5) {
    auto const user = static_cast<unsigned>(std::atoi(argv[3]));
    if (::setresgid(user, user, user) != 0 || ::setresuid(user, user, user) != 0) return 3;
    o.transport.allow_users = {static_cast<std::uint32_t>(std::atoi(argv[4]))};
  }
  o.transport.directory = argv[1];
  o.transport.space = "default";
  o.defaults.reader = argv[2];
  auto opened = stage::open(o);
  std::cout << (opened ? "ready" : opened.error().message()) << std::endl;
  if (!opened) return 1;
  edge const flow{"source", "sink"};
  stage::view held;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::string word, key;
    double number = 0;
    in >> word >> key >> number;
    std::string answer = "done";
    if (word == "put") {
      auto const put = opened->put(flow, key, bytes_of(filled(static_cast<std::size_t>(number))));
      if (!put) answer = to_string(put.error().kind());
    } else if (word == "get" || word == "hold") {
      auto got = opened->get_view(flow, key, {deadline::after(std::chrono::duration<double>(number))});
      answer = !got ? std::string(to_string(got.error().kind())) : right(got->bytes()) ? "right" : "wrong";
      if (got && word == "hold") held = std::move(*got);
    } else if (word == "check") {
      answer = right(held.bytes()) && !held.bytes().empty() ? "right" : "wrong";
    } else if (word == "exists") {
      auto const there = opened->exists(flow, key);
      answer = !there ? std::string(to_string(there.error().kind())) : *there ? "yes" : "no";
    } else if (word == "close") {
      opened->close();
    } else if (word == "crash") {
      std::cout << "ended" << std::endl;
      ::_exit(9);
    }
    std::cout << answer << std::endl;
  }
}
