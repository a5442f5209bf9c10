// SPDX-License-Identifier: Apache-2.0
// One stage of a pipeline as a process of its own: commands on stdin, one line of answer each on stdout.
//
//   shm_stage NAMESPACE [OPTION=VALUE ...]       lease_ms, lease_ns, memory, patient, fork_at=FAILPOINT: a child in the midst of open, which stays as below
//
//   put KEY SEED SIZE [READER,READER...]         ok SIZE | error KIND
//   replace KEY SEED SIZE                        the same with on_existing::replace
//   get KEY READER TIMEOUT_MS SEED               got SIZE good|bad DEV:INODE:OFFSET | error KIND
//   hold KEY READER TIMEOUT_MS SEED              like get, but keeps the view
//   release | back                               ok      ends the kept view: consumed, or as if it had never been taken
//   erase                                        ok N    drops every object of the namespace
//   fork                                         ok KIND     a child, which tries to put and stays until the other end of stdin closes
//   listen                                       ok      asks for the descriptor for event loops
//   stop_at FAILPOINT                            ok      when it comes there it says "stopped" and stops itself; its answer comes when it is continued
//   quit                                         ends the process normally
//   crash                                        ends it as a kill from outside would: no destructor runs
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <unistd.h>

#include <omniconn/detail/failpoint.hpp>
#include <omniconn/growing.hpp>
#include <omniconn/runtime/builtin.hpp>

#include <support/quiet_fork.hpp>

namespace {

using stage_connector = omniconn::shm_connector<>;
constexpr omniconn::edge hop{"producer", "consumer"};

/// Bytes that differ for different seeds at every place, so that a mix-up of objects is seen.
std::byte content(std::uint64_t seed, std::size_t i) noexcept {
  std::uint64_t x = seed * 0x9e3779b97f4a7c15U + i;
  x = (x ^ (x >> 31U)) * 0xbf58476d1ce4e5b9U;
  return static_cast<std::byte>(x >> 56U);
}

/// "device:inode:offset" of an address, as the kernel sees its mapping.
std::string place_of(void const* address) {
  auto const wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long first = 0, last = 0, offset = 0, inode = 0;
    char rights[8] = {}, device[32] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx %31s %lu", &first, &last, rights, &offset, device, &inode) != 6) continue;
    if (wanted < first || wanted >= last) continue;
    return std::string(device) + ":" + std::to_string(inode) + ":" + std::to_string(offset + (wanted - first));
  }
  return "none";
}

std::string stop_at;
void stop(std::string_view failpoint) noexcept {
  if (failpoint != stop_at) return;
  omniconn::set_failpoint_hook(nullptr);
  std::cout << "stopped" << std::endl;
  std::raise(SIGSTOP);
}

void wait_for_the_other_end() {
  pollfd other_end{STDIN_FILENO, 0, 0};
  while (::poll(&other_end, 1, -1) < 0 || other_end.revents == 0) {
  }
}

std::string fork_at;
void fork_there(std::string_view failpoint) noexcept {
  if (failpoint != fork_at) return;
  omniconn::set_failpoint_hook(nullptr);
  if (::fork() != 0) return;
  wait_for_the_other_end();
  ::_exit(0);
}

std::string failure(omniconn::error const& e) { return "error " + std::string(to_string(e.kind())); }

std::string put(stage_connector& c, std::istream& words, bool replace) {
  std::string key, list;
  std::uint64_t seed = 0;
  std::size_t size = 0;
  words >> key >> seed >> size >> list;
  std::vector<std::string> readers;
  std::istringstream names(list);
  for (std::string name; std::getline(names, name, ',');) readers.push_back(name);
  std::vector<std::string_view> const views(readers.begin(), readers.end());
  omniconn::put_options o;
  if (replace) o.existing = omniconn::on_existing::replace;
  if (!views.empty()) o.readers = omniconn::reader_set{static_cast<std::uint32_t>(views.size()), views};

  auto block = c.reserve(size);
  if (!block) return failure(block.error());
  auto const bytes = block->bytes();
  for (std::size_t i = 0; i != bytes.size(); ++i) bytes[i] = content(seed, i);
  auto done = c.commit(hop, key, std::move(*block), o);
  return done ? "ok " + std::to_string(done->size) : failure(done.error());
}

std::string get(stage_connector& c, std::istream& words, stage_connector::view& kept) {
  std::string key, reader;
  std::int64_t limit = 0;
  std::uint64_t seed = 0;
  words >> key >> reader >> limit >> seed;
  omniconn::get_options o;
  o.reader = reader;
  o.until = limit == 0 ? omniconn::deadline::immediate() : omniconn::deadline::after(std::chrono::milliseconds(limit));
  auto got = c.get_view(hop, key, o);
  if (!got) return failure(got.error());
  kept = std::move(*got);
  auto const bytes = kept.bytes();
  bool good = true;
  for (std::size_t i = 0; i != bytes.size() && good; ++i) good = bytes[i] == content(seed, i);
  return "got " + std::to_string(bytes.size()) + (good ? " good " : " bad ") + (bytes.empty() ? "none" : place_of(bytes.data()));
}

/// Both ends of an object that grows.
struct growth {
  omniconn::growing_put<stage_connector> written;
  omniconn::growing_view<stage_connector> read;
  std::uint64_t seed = 0;
};

std::string begin_growing(stage_connector& c, std::istream& words, growth& g) {
  std::string key;
  std::size_t room = 0;
  words >> key >> g.seed >> room;
  auto begun = put_growing(c, hop, key, room);
  if (!begun) return failure(begun.error());
  g.written = std::move(*begun);
  return "ok";
}
std::string advance_growing(std::istream& words, growth& g) {
  std::size_t to = 0;
  words >> to;
  auto const bytes = g.written.bytes();
  for (std::size_t i = g.written.announced(); i < to && i < bytes.size(); ++i) bytes[i] = content(g.seed, i);
  auto const done = g.written.advance(to);
  return done ? "ok" : failure(done.error());
}
std::string commit_growing(growth& g) {
  auto const done = g.written.commit();
  return done ? "ok " + std::to_string(done->size) : failure(done.error());
}
std::string find_growing(stage_connector& c, std::istream& words, growth& g) {
  std::string key;
  words >> key >> g.seed;
  auto found = get_growing(c, hop, key, {omniconn::deadline::after(std::chrono::seconds(60))});
  if (!found) return failure(found.error());
  g.read = std::move(*found);
  return "ok " + std::to_string(g.read.room());
}
std::string wait_growing(std::istream& words, growth& g, bool to_the_end) {
  std::size_t size = 0;
  std::int64_t limit = 0;
  words >> size >> limit;
  auto const until = omniconn::deadline::after(std::chrono::milliseconds(limit));
  auto const there = to_the_end ? g.read.wait_for(~std::size_t{0}, until) : g.read.wait_for(size, until);
  if (!there) return failure(there.error());
  bool good = true;
  for (std::size_t i = 0; i != there->size() && good; ++i) good = (*there)[i] == content(g.seed, i);
  if (to_the_end) {
    auto const whole = g.read.finish(until);
    if (!whole) return failure(whole.error());
    return "whole " + std::to_string(whole->bytes().size()) + (good ? " good" : " bad");
  }
  return "there " + std::to_string(there->size()) + (good ? " good" : " bad");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  stage_connector::options o;
  o.transport.space = argv[1];
  for (int i = 2; i < argc; ++i) {
    std::string const option = argv[i];
    auto const equals = option.find('=');
    if (equals == option.npos) return 2;
    auto const value = std::strtoull(option.c_str() + equals + 1, nullptr, 10);
    if (option.starts_with("lease_ms=")) o.defaults.lease = std::chrono::milliseconds(value);
    if (option.starts_with("lease_ns=")) o.defaults.lease = std::chrono::nanoseconds(std::strtoll(option.c_str() + equals + 1, nullptr, 10));
    if (option.starts_with("patient=")) o.defaults.report_lost_peer = value == 0;
    if (option.starts_with("fork_at=")) {
      fork_at = option.substr(equals + 1);
      omniconn::set_failpoint_hook(&fork_there);
    }
    if (option.starts_with("memory=")) o.transport.memory_pool_size = value;
    if (option.starts_with("waits_for_room=")) o.defaults.full = value != 0 ? omniconn::on_full::wait : omniconn::on_full::fail;
  }
  auto connector = stage_connector::open(o);
  if (!connector) {
    std::cout << failure(connector.error()) << std::endl;
    return 1;
  }
  std::cout << "ready" << std::endl;  // endl: whoever waits for the answer gets it now

  stage_connector::view kept;
  growth grown;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    std::string answer = "ok";
    if (command == "put" || command == "replace") answer = put(*connector, words, command == "replace");
    if (command == "get") {
      stage_connector::view passing;
      answer = get(*connector, words, passing);
    }
    if (command == "grow") answer = begin_growing(*connector, words, grown);
    if (command == "advance") answer = advance_growing(words, grown);
    if (command == "commit") answer = commit_growing(grown);
    if (command == "find") answer = find_growing(*connector, words, grown);
    if (command == "wait" || command == "finish") answer = wait_growing(words, grown, command == "finish");
    if (command == "hold") answer = get(*connector, words, kept);
    if (command == "release") kept.release();
    if (command == "back") kept.give_back();
    if (command == "erase") {
      auto const n = connector->transport().erase_if([](omniconn::wire_key) { return true; });
      answer = n ? "ok " + std::to_string(*n) : failure(n.error());
    }
    if (command == "fork") {
      if (test::quiet_fork() == 0) {
        kept.release();  // the parent's: nothing happens
        auto const refused = connector->put(hop, "child", omniconn::const_bytes{});
        std::cout << "ok " << (refused ? "put" : to_string(refused.error().kind())) << std::endl;
        connector->close();
        wait_for_the_other_end();
        return 0;  // destructors run
      }
      continue;  // the child answers
    }
    if (command == "listen") {
      auto const fd = connector->native_fd();
      if (!fd) answer = failure(fd.error());
    }
    if (command == "stop_at") {
      words >> stop_at;
      omniconn::set_failpoint_hook(&stop);
    }
    if (command == "crash") std::raise(SIGKILL);
    if (command == "quit") break;
    std::cout << answer << std::endl;
  }
  return 0;
}
