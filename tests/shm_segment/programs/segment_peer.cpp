// SPDX-License-Identifier: Apache-2.0
// omniconn-part: json
// A stage of ours in vLLM-Omni's shared-memory layout, as a process of its own: tests/python/peer.py in C++, for tests and a benchmark that drive both.
//
// One JSON object a line in, one JSON object a line out, in the same order. {"cmd": NAME, ...}; the answer has "ok" or {"error": text, "kind": error kind}.
// Bytes inside of metadata travel as {"$base64": "..."}. Times ending in "ns" are CLOCK_MONOTONIC. "on" names a connector ("default").
//
//   info                                                         {pid, compiler, optimized}
//   open directory inline_below remove_on_close on               makes a connector
//   put key file|base64|blob existing timeout on                 {size, metadata}; existing: "fail" or "replace"; blob: so many bytes, all different
//   get key metadata timeout out give_back on                    {found, size}; waits without polling; out: a file for the bytes
//   hold key metadata timeout out as on                          like get, and keeps the view under the name `as`
//   release as | give_back as                                    ends a kept view
//   bytes as out                                                 writes the bytes of a kept view as they are now
//   begin key as on | abort as                                   a put that is begun and no more: it holds the key's lock
//   cleanup key on | exists key on                               {count} | {exists}
//   list directory | collect directory                           {segments: [{key, size, locked}]} | {count}
//   health on                                                    {puts, gets, put_bytes, get_bytes, pending, status}
//   bench_put prefix count file lockstep plain on                {size, ns, start_ns}
//   bench_get prefix count timeout plain waits on                {size, ns, start_ns, end_ns, sum}; waits: false where a plain object is whole already
//   close on | exit status | _exit status
#include "segment_peer.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

using namespace omniconn;
using json = nlohmann::ordered_json;
using segment_peer::failure;
using segment_peer::stage_connector;

constexpr edge hop{"0", "1"};

template <class T>
T field(json const& command, char const* name) {
  if (!command.contains(name)) throw std::invalid_argument(std::string("field '") + name + "' is missing");
  return command.at(name).get<T>();
}

blob decoded(std::string const& text) {
  auto bytes = detail::parse_base64(text);
  if (!bytes) throw std::invalid_argument("not base64: " + text.substr(0, 40));
  return blob::copy(*bytes);
}

value to_value(json const& j) {
  if (j.is_object()) {
    if (j.size() == 1 && j.contains("$base64")) return decoded(j.at("$base64").get<std::string>());
    value::map out;
    for (auto const& [name, item] : j.items()) out.emplace_back(name, to_value(item));
    return out;
  }
  if (j.is_array()) {
    value::array out;
    for (auto const& item : j) out.push_back(to_value(item));
    return out;
  }
  if (j.is_string()) return j.get<std::string>();
  if (j.is_boolean()) return j.get<bool>();
  if (j.is_number_unsigned()) return j.get<std::uint64_t>();
  if (j.is_number_integer()) return j.get<std::int64_t>();
  if (j.is_number_float()) return j.get<double>();
  return {};
}

json to_json_line(value const& v) {
  if (auto const* map = v.if_map()) {
    json out = json::object();
    for (auto const& [name, item] : *map) out[*name.if_string()] = to_json_line(item);
    return out;
  }
  if (auto const* bytes = v.if_binary()) {
    std::string text;
    detail::append_base64(text, bytes->bytes());
    return {{"$base64", text}};
  }
  if (auto const* text = v.if_string()) return *text;
  if (auto const number = v.as_uint64()) return *number;
  return nullptr;
}

std::vector<std::byte> content_of(json const& command) {
  if (command.contains("base64")) {
    auto const bytes = decoded(command.at("base64").get<std::string>());
    return {bytes.bytes().begin(), bytes.bytes().end()};
  }
  if (command.contains("blob")) {
    std::vector<std::byte> out(command.at("blob").get<std::size_t>());
    for (std::size_t i = 0; i != out.size(); ++i) out[i] = static_cast<std::byte>(i * 2654435761U >> 13U);
    return out;
  }
  auto const path = field<std::string>(command, "file");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::invalid_argument("cannot open " + path);
  in.seekg(0, std::ios::end);
  std::vector<std::byte> out(static_cast<std::size_t>(in.tellg()));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
  return out;
}

void write_out(json const& command, const_bytes bytes) {
  if (!command.contains("out")) return;
  auto const path = command.at("out").get<std::string>();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<char const*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::invalid_argument("cannot write " + path);
}

deadline until(json const& command, double fallback) {
  double const seconds = command.value("timeout", fallback);
  return seconds == 0 ? deadline::immediate() : deadline::after(std::chrono::duration<double>(seconds));
}

class session {
 public:
  /// Whether the process goes on.
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] bool abandoned() const noexcept { return abandoned_; }
  [[nodiscard]] int status() const noexcept { return status_; }

  json run(json const& c) {
    auto const cmd = field<std::string>(c, "cmd");
    if (cmd == "info") return {{"pid", ::getpid()}, {"compiler", segment_peer::compiler()}, {"optimized", segment_peer::optimized}};
    if (cmd == "open") return open(c);
    if (cmd == "put") return put(c);
    if (cmd == "get") return get(c, nullptr);
    if (cmd == "hold") return get(c, &views_[field<std::string>(c, "as")]);
    if (cmd == "begin") return begin(c);
    if (cmd == "bytes") {
      write_out(c, kept(c).bytes());
      return {{"size", kept(c).bytes().size()}};
    }
    if (cmd == "release" || cmd == "give_back") {
      cmd == "release" ? kept(c).release() : kept(c).give_back();
      views_.erase(c.at("as").get<std::string>());
      return json::object();
    }
    if (cmd == "abort") {
      if (puts_.erase(field<std::string>(c, "as")) == 0) throw std::invalid_argument("no put is begun under that name");
      return json::object();
    }
    if (cmd == "cleanup") return {{"count", taken(on(c).cleanup(hop, field<std::string>(c, "key")))}};
    if (cmd == "exists") return {{"exists", taken(on(c).exists(hop, field<std::string>(c, "key")))}};
    if (cmd == "list") return list(c);
    if (cmd == "collect") return {{"count", shm_segment_transport::collect(c.value("directory", "/dev/shm"))}};
    if (cmd == "health") return health(c);
    if (cmd == "bench_put") return bench_put(c);
    if (cmd == "bench_get") return bench_get(c);
    if (cmd == "close") {
      on(c).close();
      connectors_.erase(c.value("on", "default"));
      return json::object();
    }
    if (cmd == "exit" || cmd == "_exit") {
      ended_ = true;
      abandoned_ = cmd == "_exit";
      status_ = c.value("status", 0);
      return json::object();
    }
    throw std::invalid_argument("there is no command '" + cmd + "'");
  }

 private:
  template <class T>
  static T taken(result<T>&& r) {
    if (!r) throw failure(r.error());
    return std::move(*r);
  }
  stage_connector& on(json const& c) {
    auto const found = connectors_.find(c.value("on", "default"));
    if (found == connectors_.end()) throw std::invalid_argument("no connector is open under that name");
    return found->second;
  }
  stage_connector::view& kept(json const& c) {
    auto const found = views_.find(field<std::string>(c, "as"));
    if (found == views_.end() || !found->second) throw std::invalid_argument("no view is kept under that name");
    return found->second;
  }

  json open(json const& c) {
    auto const name = c.value("on", "default");
    if (connectors_.count(name) != 0) throw std::invalid_argument("'" + name + "' is open already");
    stage_connector::options o;
    o.transport.directory = c.value("directory", o.transport.directory);
    o.transport.inline_below = c.value("inline_below", o.transport.inline_below);
    o.transport.remove_on_close = c.value("remove_on_close", o.transport.remove_on_close);
    o.defaults.envelope = false;  // the other end is Python
    auto made = stage_connector::open(o);
    if (!made) throw failure(made.error());
    connectors_.emplace(name, std::move(*made));
    return json::object();
  }

  json put(json const& c) {
    auto const content = content_of(c);
    put_options o;
    if (c.contains("timeout")) o.until = until(c, 0);
    o.existing = c.value("existing", "fail") == "replace" ? on_existing::replace : on_existing::fail;
    auto& connector = on(c);
    auto const done = taken(connector.put(hop, field<std::string>(c, "key"), const_bytes(content), o));
    return {{"size", done.size}, {"metadata", to_json_line(connector.metadata(done))}};
  }

  json get(json const& c, stage_connector::view* keep) {
    auto& connector = on(c);
    get_options o;
    o.until = until(c, 0);
    locator where;
    if (c.contains("metadata") && !c.at("metadata").is_null()) {
      // As Python's side does: metadata of other connectors means "look for the key".
      auto said = connector.transport().parse(to_value(c.at("metadata")));
      if (said) {
        where = *said;
        o.where = &where;
      } else if (c.value("strict", false)) {
        throw failure(said.error());
      }
    }
    auto got = connector.get_view(hop, field<std::string>(c, "key"), o);
    if (!got && (got.error() == error_kind::not_found || got.error() == error_kind::timed_out)) return {{"found", false}, {"why", to_string(got.error().kind())}};
    if (!got) throw failure(got.error());
    write_out(c, got->bytes());
    json out{{"found", true}, {"size", got->bytes().size()}};
    if (c.value("give_back", false)) got->give_back();
    if (keep != nullptr) *keep = std::move(*got);
    return out;
  }

  json begin(json const& c) {
    auto& made = puts_[field<std::string>(c, "as")];
    made = std::make_unique<segment_peer::begun_put>();
    taken(on(c).transport().begin(made->op, field<std::string>(c, "key"), made->payload(), made->info, {}));
    return json::object();
  }

  static json list(json const& c) {
    json out = json::array();
    for (auto const& found : shm_segment_transport::list(c.value("directory", "/dev/shm")))
      out.push_back({{"key", found.key}, {"size", found.size}, {"locked", found.locked}, {"owner", found.owner}, {"modified_s", found.modified_s}});
    return {{"segments", out}};
  }

  json health(json const& c) {
    auto const h = on(c).health();
    return {{"status", to_string(h.status)}, {"puts", h.moved.puts}, {"put_bytes", h.moved.put_bytes}, {"gets", h.moved.gets}, {"get_bytes", h.moved.get_bytes}, {"pending", h.objects.used}};
  }

  json bench_put(json const& c) {
    auto const content = content_of(c);
    auto const prefix = field<std::string>(c, "prefix");
    auto const count = field<std::size_t>(c, "count");
    double const lockstep = c.value("lockstep", 0.0);
    bool const plain = c.value("plain", false);
    segment_peer::times t;
    for (std::size_t i = 0; i != count; ++i) {
      std::string const key = prefix + std::to_string(i);
      std::int64_t const start = segment_peer::now_ns();
      if (plain) {
        segment_peer::plain_put(key, content);
      } else {
        taken(on(c).put(hop, key, const_bytes(content)));
      }
      t.add(start, segment_peer::now_ns());
      if (lockstep > 0) segment_peer::wait_until_gone("/dev/shm/" + key, lockstep);
    }
    return {{"size", content.size()}, {"ns", t.ns}, {"start_ns", t.start_ns}};
  }

  json bench_get(json const& c) {
    auto const prefix = field<std::string>(c, "prefix");
    auto const count = field<std::size_t>(c, "count");
    double const limit = c.value("timeout", 10.0);
    bool const plain = c.value("plain", false);
    segment_peer::times t;
    std::optional<segment_peer::plain_reader> reader;
    if (plain) reader.emplace(c.value("waits", true));
    std::size_t size = 0;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i != count; ++i) {
      std::string const key = prefix + std::to_string(i);
      std::int64_t const start = segment_peer::now_ns();
      if (plain) {
        std::tie(size, sum) = reader->get(key, limit);
      } else {
        auto view = taken(on(c).get_view(hop, key, {deadline::after(std::chrono::duration<double>(limit))}));
        size = view.bytes().size();
        sum = segment_peer::sum(view.bytes());
        view.release();
      }
      t.add(start, segment_peer::now_ns());
    }
    return {{"size", size}, {"sum", sum}, {"ns", t.ns}, {"start_ns", t.start_ns}, {"end_ns", t.end_ns}};
  }

  std::map<std::string, stage_connector> connectors_;
  std::map<std::string, stage_connector::view> views_;
  std::map<std::string, std::unique_ptr<segment_peer::begun_put>> puts_;
  bool ended_ = false, abandoned_ = false;
  int status_ = 0;
};

json answer(session& s, std::string const& line) {
  json out{{"ok", true}};
  try {
    out.update(s.run(json::parse(line)));
  } catch (failure const& e) {
    out = {{"error", e.what()}, {"kind", e.kind}};
  } catch (std::exception const& e) {
    out = {{"error", e.what()}, {"kind", "usage"}};
  }
  return out;
}

}  // namespace

int main() {
  std::signal(SIGPIPE, SIG_IGN);  // whoever drove it may be gone
  session s;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(s, line).dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    if (s.abandoned()) ::_exit(s.status());
    if (s.ended() || !std::cout) break;
  }
  return s.status();
}
