// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include <sys/prctl.h>
#include <unistd.h>

#include "bench_pipe.hpp"
#include "edges.hpp"
#include "files.hpp"

namespace tool {

namespace {

outcome answer(bench_answer const& a) { return print(const_bytes(reinterpret_cast<std::byte const*>(&a), sizeof a)); }

/// false: the first process is done, or gone.
bool next_order(bench_order& order) {
  auto* at = reinterpret_cast<std::byte*>(&order);
  for (std::size_t have = 0; have != sizeof order;) {
    ssize_t const got = ::read(0, at + have, sizeof order - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    have += static_cast<std::size_t>(got);
  }
  return true;
}

outcome serve(bench_reader_command const& o) {
  auto connector = open_edge(o.where, omniconn::stage_role::receiver);
  if (!connector) return std::move(connector.error());
  if (auto ready = answer({}); !ready) return ready;
  bench_order order;
  while (next_order(order))
    for (std::uint64_t i = 0; i != order.count; ++i) {
      omniconn::get_options options;
      options.until = omniconn::deadline::after(std::chrono::duration<double>(o.timeout));
      auto const view = connector->get_view(edge_of(o.where), bench_key(o.run, order.first + i), options);
      if (!view) return diagnosis(view.error());
      if (auto told = answer({static_cast<std::uint64_t>(omniconn::deadline::now_ns()), 0}); !told) return told;
    }
  return {};
}

}  // namespace

outcome run(bench_reader_command const& o) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody is left to answer to, however the first process ends
  auto const done = serve(o);
  if (done) return {};
  std::string const& why = done.error().detail();
  if (auto told = answer({why.size(), static_cast<std::uint64_t>(done.error().kind())}); !told) return told;
  return print(why);
}

}  // namespace tool
