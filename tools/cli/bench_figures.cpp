// SPDX-License-Identifier: Apache-2.0
#include "bench_figures.hpp"

#include <algorithm>
#include <charconv>

#include <omniconn/runtime/json.hpp>

#include "payload.hpp"

namespace tool {

namespace {

double quantile(std::vector<double> const& sorted, double q) { return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)]; }

std::string fixed(double number, int digits) {
  char text[400];  // the longest double has 309 digits before the point
  return {text, std::to_chars(text, text + sizeof text, number, std::chars_format::fixed, digits).ptr};
}

/// Three digits.
std::string shown(double number) { return fixed(number, number < 1 ? 3 : number < 10 ? 2 : number < 100 ? 1 : 0); }

/// What an object of that size costs who knows nothing better: it is told of, copied and read.
double limit_of(bench_limits const& l, bench_figures const& f) { return l.told() + f.copy_and_sum; }

double times_limit(bench_limits const& l, bench_figures const& f) { return quantile(f.read, 0.5) / limit_of(l, f); }

std::string head_of_limits(bench_limits const& l) {
  std::string out = "limit: half a round trip between the two processes";
  if (l.line) {
    out += (l.cpus.sender < 0 ? std::string() : " on CPUs " + std::to_string(l.cpus.sender) + " and " + std::to_string(l.cpus.reader));
    return out + ", " + shown(*l.line) + " us while both spin, and memcpy+sum in one; a wake-up, while both sleep, takes " + shown(l.wake_up) + " us\n";
  }
  return out + ", " + shown(l.wake_up) + " us while both sleep, and memcpy+sum in one; they take turns on CPU " + std::to_string(l.cpus.sender) + ", so that none spins\n";
}

value quantiles(std::vector<double> const& sorted) {
  auto const at = [&](double q) { return quantile(sorted, q); };
  return value::object({{"p50", at(0.5)}, {"p90", at(0.9)}, {"p99", at(0.99)}, {"max", at(1)}});
}

}  // namespace

std::string bench_table(bench_report const& report) {
  bench_limits const& l = report.limits;
  std::vector<std::vector<std::string>> rows{{"size", "objects", "view p50", "p99", "read p50", "p99", "memcpy+sum", "x limit", "objects/s", "MB/s"}};
  for (auto const& f : report.sizes) {
    std::vector<std::string> row{shown_size(f.size), std::to_string(f.objects)};
    for (auto const* times : {&f.view, &f.read})
      for (double const q : {0.5, 0.99}) row.push_back(shown(quantile(*times, q)));
    row.push_back(shown(f.copy_and_sum));
    row.push_back(shown(times_limit(l, f)));
    row.push_back(fixed(f.per_second, 0));
    row.push_back(fixed(f.per_second * static_cast<double>(f.size) * 1e-6, 0));
    rows.push_back(std::move(row));
  }
  std::string out = "transport " + std::string(report.transport) + ", us from the call of put to a process that waits in get: view, it has the object; read, it has read every byte once\n";
  out += head_of_limits(l);
  for (auto const& row : rows) {
    for (std::size_t i = 0; i != row.size(); ++i) {
      std::size_t width = 0;
      for (auto const& other : rows) width = std::max(width, other[i].size());
      out.append(i == 0 ? 0 : 2, ' ').append(width - row[i].size(), ' ').append(row[i]);
    }
    out += '\n';
  }
  return out;
}

std::string bench_json(bench_report const& report) {
  bench_limits const& l = report.limits;
  value::array rows, copies;
  for (auto const& f : report.sizes) {
    rows.push_back(value::object({{"size", f.size},
                                  {"objects", f.objects},
                                  {"latency_us", quantiles(f.view)},
                                  {"read_us", quantiles(f.read)},
                                  {"times_limit", times_limit(l, f)},
                                  {"objects_per_second", f.per_second},
                                  {"bytes_per_second", f.per_second * static_cast<double>(f.size)}}));
    copies.push_back(value::object({{"size", f.size}, {"memcpy_and_sum_us", f.copy_and_sum}, {"limit_us", limit_of(l, f)}}));
  }
  value const cpus = l.cpus.sender < 0 ? value() : value::list({l.cpus.sender, l.cpus.reader});
  auto limits = value::object({{"cpus", cpus}, {"line_us", l.line ? value(*l.line) : value()}, {"wake_up_us", l.wake_up}, {"sizes", std::move(copies)}});
  return omniconn::to_json(value::object({{"transport", report.transport}, {"from", report.where.from}, {"to", report.where.to}, {"rows", std::move(rows)}, {"limits", std::move(limits)}}), 1) + "\n";
}

}  // namespace tool
