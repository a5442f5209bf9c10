// SPDX-License-Identifier: Apache-2.0
#include "tables.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "payload.hpp"
#include "space_files.hpp"

namespace tool {

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

std::string shown_seconds(double s) {
  char text[32];
  double const units[]{86400, 3600, 60, 1};
  char const* const names[]{" d", " h", " min", " s"};
  std::size_t i = 0;
  while (i != 3 && s < 2 * units[i]) ++i;
  auto const end = std::to_chars(text, text + sizeof text, s / units[i], std::chars_format::fixed, i == 3 && s < 10 ? 1 : 0).ptr;
  return std::string(text, end) + names[i];
}

std::string shown_name(std::string const& name) {
  bool const plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~' && c != '"' && c != '\\'; });
  return plain ? name : shown_text(name, 256);
}

std::string file_stem(space_row const& row) {
  std::size_t const slash = row.path.rfind('/') + 1;
  return row.path.substr(slash, row.path.size() - slash - std::string_view(".dir").size());
}

std::string space_name(space_row const& row) {
  if (row.layout != "omniconn") return "-";
  if (!row.name.empty()) return shown_name(row.name);
  std::string out = "#";
  return out.append(file_stem(row));
}

std::string person(std::string const& name, std::uint32_t pid, std::string const& state) {
  return name + " (pid " + std::to_string(pid) + (state == "alive" ? ")" : ", " + state + ")");
}

std::string joined(std::vector<std::string> const& texts) {
  std::string out;
  for (auto const& text : texts) out.append(out.empty() ? "" : ", ").append(one_line(text));
  return out.empty() ? "-" : out;
}

std::string advice_gc(space_row const& row) {
  std::string out = "omniconn gc";
  if (row.name.empty()) {
    out += " --all";
  } else if (row.name != current_space()) {
    out += " --namespace " + shown_name(row.name);
  }
  std::string const folder = row.path.substr(0, row.path.rfind('/'));
  return folder == our_folder("") ? out : out + " --directory " + shown_name(folder);
}

}  // namespace tool
