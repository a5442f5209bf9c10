// SPDX-License-Identifier: Apache-2.0
// ls, stat: rows as tables and as JSON.
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include <omniconn/detail/describe.hpp>
#include <omniconn/runtime/json.hpp>

#include "commands.hpp"
#include "files.hpp"
#include "payload.hpp"
#include "rows.hpp"

namespace tool {

namespace {

using cells = std::vector<std::string>;

std::string environment(char const* name, char const* fallback) {
  char const* const set = std::getenv(name);
  return set != nullptr && *set != '\0' ? set : fallback;
}

std::string shown_seconds(double s) {
  char text[32];
  double const units[]{86400, 3600, 60, 1};
  char const* const names[]{" d", " h", " min", " s"};
  std::size_t i = 0;
  while (i != 3 && s < 2 * units[i]) ++i;
  auto const end = std::to_chars(text, text + sizeof text, s / units[i], std::chars_format::fixed, i == 3 && s < 10 ? 1 : 0).ptr;
  return std::string(text, end) + names[i];
}

std::string shown_age(object_row const& row) { return row.age ? shown_seconds(*row.age) : row.age_at_most ? "<= " + shown_seconds(*row.age_at_most) : "?"; }

/// Nothing from outside may move the cursor or fake a column.
std::string shown_name(std::string const& name) {
  bool const plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~' && c != '"' && c != '\\'; });
  return plain ? name : shown_text(name, 256);
}

std::string space_name(space_row const& row) {
  if (row.layout != "omniconn") return "-";
  if (!row.name.empty()) return shown_name(row.name);
  std::size_t const slash = row.path.rfind('/');
  return "#" + row.path.substr(slash + 1, row.path.size() - slash - 5);  // without ".dir"
}

std::string joined(std::vector<std::string> const& texts) {
  std::string out;
  for (auto const& text : texts) out.append(out.empty() ? "" : ", ").append(one_line(text));
  return out.empty() ? "-" : out;
}

std::string table(std::vector<cells> const& rows) {
  std::vector<std::size_t> widths;
  for (auto const& row : rows)
    for (std::size_t i = 0; i != row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string out;
  for (auto const& row : rows) {
    std::size_t const start = out.size();
    for (std::size_t i = 0; i != row.size(); ++i) out.append(row[i]).append(widths[i] - row[i].size() + 2, ' ');
    out.erase(std::max(start, out.find_last_not_of(' ') + 1));
    out += '\n';
  }
  return out;
}

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
      processes.push_back(std::move(one));
    }
    out.set("processes", std::move(processes));
  }
  value::array objects;
  for (auto const& o : row.objects) objects.push_back(json_of(o));
  out.set("objects", std::move(objects));
  return out;
}

/// The namespaces that were asked for.
result<std::vector<space_row>, diagnosis> look(std::optional<std::string> const& space, std::string const& directory) {
  std::string const folder = directory.empty() ? environment("OMNICONN_SHM_DIRECTORY", "/dev/shm") : directory;
  std::vector<std::string> names{"default", environment("OMNICONN_NAMESPACE", "default")};
  if (space) names.push_back(*space);
  auto rows = our_spaces(folder, names);
  if (!rows) return rows;
  if (!space) {
    auto upstream = upstream_space(directory.empty() ? "/dev/shm" : directory);
    if (!upstream) return std::move(upstream.error());
    if (!upstream->objects.empty()) rows->push_back(std::move(*upstream));
    return rows;
  }
  std::string const wanted = folder + "/" + stem_of(folder, *space) + ".dir";
  std::erase_if(*rows, [&](space_row const& row) { return row.path != wanted; });
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
  return print(table(out) + problems(*rows));
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
    std::uint64_t bytes = 0;
    for (auto const& row : space.objects) bytes += row.size.value_or(0);
    out += space.layout + (space.layout == "omniconn" ? " namespace " + space_name(space) : "") + " in " + space.path + "\n";
    std::vector<cells> facts;
    facts.push_back({"  objects", std::to_string(space.objects.size()) + (space.slots != 0 && !o.key ? " of " + std::to_string(space.slots) : "") + ", " + shown_size(bytes)});
    if (!o.key)
      for (auto const& p : space.processes)
        facts.push_back({"  process", shown_name(p.name) + ", pid " + std::to_string(p.pid) + ", " + p.state + (p.age ? ", came " + shown_seconds(*p.age) + " ago" : "") + ", arena " + shown_size(p.memory)});
    if (o.key)
      for (auto const& row : space.objects) {
        facts.push_back({"  key", shown_name(row.key)});
        facts.push_back({"  state", row.state + (row.lease_left ? ", lease ends in " + shown_seconds(*row.lease_left) : "")});
        facts.push_back({"  size", row.size ? std::to_string(*row.size) + " bytes" : "not known yet"});
        facts.push_back({"  age", shown_age(row)});
        facts.push_back({"  producer", row.producer.empty() ? "?" : one_line(row.producer)});
        facts.push_back({"  readers", joined(row.readers)});
      }
    out += table(facts);
  }
  return print(out + problems(*rows));
}

}  // namespace tool
