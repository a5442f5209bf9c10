// SPDX-License-Identifier: Apache-2.0
// ls, stat: rows as tables and as JSON.
#include <algorithm>
#include <utility>

#include <omniconn/detail/describe.hpp>
#include <omniconn/runtime/json.hpp>

#include "commands.hpp"
#include "files.hpp"
#include "payload.hpp"
#include "rows.hpp"
#include "space_files.hpp"
#include "tables.hpp"

namespace tool {

namespace {

std::string shown_age(object_row const& row) { return row.age ? shown_seconds(*row.age) : row.age_at_most ? "<= " + shown_seconds(*row.age_at_most) : "?"; }

void set_if(value& v, char const* key, std::optional<double> number) {
  if (number) v.set(key, *number);
}

value json_of(object_row const& row) {
  value out = value::object({{"key", row.key}, {"state", row.state}});
  if (row.size) out.set("size", *row.size);
  set_if(out, "age_s", row.age);
  set_if(out, "age_at_most_s", row.age_at_most);
  set_if(out, "lease_left_s", row.lease_left);
  if (!row.producer.empty()) out.set("producer", row.producer);
  out.set("readers", value::array(row.readers.begin(), row.readers.end()));
  value::array holders;
  for (auto const& h : row.holders) {
    value one = value::object({{"reader", h.reader}, {"name", h.name}, {"pid", h.pid}, {"state", h.state}});
    set_if(one, "held_for_s", h.held_for);
    holders.push_back(std::move(one));
  }
  out.set("holders", std::move(holders));
  out.set("unread_by", value::array(row.unread_by.begin(), row.unread_by.end()));
  out.set("unread_by_anyone", row.unread_by_anyone);
  return out;
}

value json_of(space_row const& row) {
  value out = value::object({{"layout", row.layout}, {"name", row.name.empty() ? value() : value(row.name)}, {"path", row.path}});
  if (row.problem) {
    out.set("problem", row.problem->message());
    return out;
  }
  if (row.layout == "omniconn") {
    out.set("slots", row.slots);
    out.set("file_size", row.file_size);
    value::array processes;
    for (auto const& p : row.processes) {
      value one = value::object({{"name", p.name}, {"pid", p.pid}, {"state", p.state}, {"memory", p.memory}});
      set_if(one, "age_s", p.age);
      if (p.stopped) one.set("stopped", true);
      processes.push_back(std::move(one));
    }
    out.set("processes", std::move(processes));
    out.set("memory", row.memory);
    out.set("waiters_at_most", row.waiters);
    value::array leaks;
    for (auto const& leak : row.leaks) leaks.push_back(value::object({{"what", leak.what}, {"text", leak.text}, {"bytes", leak.bytes}}));
    out.set("leaks", std::move(leaks));
    if (!row.leaks.empty()) out.set("mend", advice_gc(row));
  }
  value::array objects;
  for (auto const& o : row.objects) objects.push_back(json_of(o));
  out.set("objects", std::move(objects));
  return out;
}

/// The namespaces that were asked for.
result<std::vector<space_row>, diagnosis> look(std::optional<std::string> const& space, std::string const& directory) {
  std::string const folder = our_folder(directory);
  auto rows = our_spaces(folder, space);
  if (!rows) return rows;
  if (!space) {
    auto upstream = upstream_space(upstream_folder(directory));
    if (!upstream) return std::move(upstream.error());
    if (!upstream->objects.empty()) rows->push_back(std::move(*upstream));
    return rows;
  }
  std::string const wanted = folder + "/" + stem_of(folder, *space) + ".dir";
  if (rows->empty()) return diagnosis(error_kind::not_found, "nobody uses the namespace " + omniconn::detail::in_quotes(*space) + " (" + wanted + ")");
  if (rows->front().problem) return rows->front().problem->in(wanted);
  return rows;
}

std::string json_of(std::vector<space_row> const& rows) {
  value::array out;
  for (auto const& row : rows) out.push_back(json_of(row));
  return omniconn::to_json(value::object({{"namespaces", std::move(out)}}), 1) + "\n";
}

std::string problems(std::vector<space_row> const& rows) {
  std::string out;
  for (auto const& row : rows)
    if (row.problem) out += one_line(row.path + ": " + row.problem->message()) + "\n";
  return out;
}

std::string shown_leak(leak_row const& leak) { return one_line(leak.text) + (leak.bytes == 0 ? "" : ", " + shown_size(leak.bytes)); }

/// Below the table: what is wrong with some namespaces.
std::string remarks(std::vector<space_row> const& rows) {
  std::string out = problems(rows);
  for (auto const& row : rows)
    if (std::size_t const n = row.leaks.size(); n != 0)
      out += "namespace " + space_name(row) + ": " + (n == 1 ? "a leak" : std::to_string(n) + " leaks") + ", see omniconn stat; " + advice_gc(row) + " mends that\n";
  return out;
}

/// The whole wire key, or the key behind namespace and stages.
bool is_key(object_row const& row, std::string const& wanted) {
  if (row.key == wanted) return true;
  std::size_t at = 0;
  for (int i = 0; i != 3; ++i) {
    at = row.key.find('/', at);
    if (at == std::string::npos) return false;
    ++at;
  }
  return row.key.compare(at, std::string::npos, wanted) == 0;
}

std::vector<cells> facts_of(space_row const& space) {
  std::uint64_t bytes = 0;
  for (auto const& row : space.objects) bytes += row.size.value_or(0);
  std::vector<cells> facts;
  facts.push_back({"  objects", std::to_string(space.objects.size()) + (space.slots != 0 ? " of " + std::to_string(space.slots) : "") + ", " + shown_size(bytes)});
  if (space.layout != "omniconn") return facts;
  facts.push_back({"  memory", shown_size(space.memory)});
  for (auto const& p : space.processes)
    facts.push_back({"  process", shown_name(p.name) + ", pid " + std::to_string(p.pid) + ", " + p.state + (p.stopped ? ", stopped" : "") + (p.age ? ", came " + shown_seconds(*p.age) + " ago" : "") +
                                      ", arena " + shown_size(p.memory)});
  if (space.waiters != 0) facts.push_back({"  waiting", "at most " + std::to_string(space.waiters)});
  for (auto const& leak : space.leaks) facts.push_back({"  leak", shown_leak(leak)});
  if (!space.leaks.empty()) facts.push_back({"  to mend", advice_gc(space)});
  return facts;
}

std::vector<cells> facts_of_objects(space_row const& space) {
  std::vector<cells> facts;
  for (auto const& row : space.objects) {
    facts.push_back({"  key", shown_name(row.key)});
    facts.push_back({"  state", row.state + (row.lease_left ? ", lease ends in " + shown_seconds(*row.lease_left) : "")});
    facts.push_back({"  size", row.size ? std::to_string(*row.size) + " bytes" : "not known yet"});
    facts.push_back({"  age", shown_age(row)});
    facts.push_back({"  producer", row.producer.empty() ? "?" : one_line(row.producer)});
    facts.push_back({"  readers", joined(row.readers)});
    for (auto const& h : row.holders)
      facts.push_back({"  held by", one_line(person(h.name, h.pid, h.state)) + " for the reader " + shown_name(h.reader) + (h.held_for ? ", held for " + shown_seconds(*h.held_for) : "")});
  }
  return facts;
}

}  // namespace

outcome run(ls_command const& o) {
  auto const rows = look(o.space, o.directory);
  if (!rows) return rows.error();
  if (o.json) return print(json_of(*rows));
  std::vector<cells> out{{"LAYOUT", "NAMESPACE", "KEY", "STATE", "SIZE", "AGE", "PRODUCER", "READERS"}};
  for (auto const& space : *rows)
    for (auto const& row : space.objects)
      out.push_back({space.layout, space_name(space), row.key.empty() ? "-" : shown_name(row.key), row.state, row.size ? shown_size(*row.size) : "-", shown_age(row),
                     row.producer.empty() ? "?" : one_line(row.producer), joined(row.readers)});
  return print(table(out) + remarks(*rows));
}

outcome run(stat_command const& o) {
  auto rows = look(o.space, o.directory);
  if (!rows) return std::move(rows.error());
  if (o.key) {
    for (auto& space : *rows) std::erase_if(space.objects, [&](object_row const& row) { return !is_key(row, *o.key); });
    std::erase_if(*rows, [](space_row const& row) { return row.objects.empty(); });
    if (rows->empty()) return diagnosis(error_kind::not_found, "there is no object with the key " + omniconn::detail::in_quotes(*o.key, 256));
  }
  if (o.json) return print(json_of(*rows));
  std::string out;
  for (auto const& space : *rows) {
    if (space.problem) continue;
    out += space.layout + (space.layout == "omniconn" ? " namespace " + space_name(space) : "") + (space.has_directory ? " in " : " without ") + space.path + "\n";
    out += table(o.key ? facts_of_objects(space) : facts_of(space));
  }
  return print(out + problems(*rows));
}

}  // namespace tool
