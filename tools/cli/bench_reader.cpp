// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_limits.hpp"
#include "bench_pipe.hpp"
#include "edges.hpp"
#include "files.hpp"

namespace tool {

namespace {

using omniconn::deadline;
using omniconn::detail::file_mapping;

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

result<file_mapping, diagnosis> map_board() {
  omniconn::detail::unique_fd const fd(bench_board_descriptor);
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0 || found.st_size != sizeof(bench_board)) return diagnosis(error_kind::unsupported, "only bench starts this command");
  auto mapped = file_mapping::map(fd.get(), sizeof(bench_board), PROT_READ | PROT_WRITE);
  if (!mapped) return diagnosis(mapped.error());
  return std::move(*mapped);
}

outcome read_objects(bench_reader_command const& o, omniconn::any_connector& connector, bench_board& board, bench_order const& order) {
  for (std::uint64_t i = order.first; i != order.first + order.count; ++i) {
    std::string const key = bench_key(o.run, i);
    omniconn::get_options options;
    options.until = deadline::after(std::chrono::duration<double>(o.timeout));
    board.progress.store(2 * i + 1, std::memory_order_release);
    {
      auto const view = connector.get_view(edge_of(o.where), key, options);
      if (!view) return diagnosis(view.error());
      std::int64_t const got_ns = deadline::now_ns();
      keep(sum_of(view->bytes()));
      std::int64_t const read_ns = deadline::now_ns();
      board.view_ns.store(got_ns, std::memory_order_relaxed);
      board.read_ns.store(read_ns, std::memory_order_relaxed);
    }
    board.progress.store(2 * i + 2, std::memory_order_release);
  }
  return {};
}

outcome serve(bench_reader_command const& o) {
  auto const mapped = map_board();
  if (!mapped) return mapped.error();
  auto& board = *reinterpret_cast<bench_board*>(mapped->base());
  auto connector = open_edge(o.where, omniconn::stage_role::receiver);
  if (!connector) return std::move(connector.error());
  run_on(board.reader_cpu);
  if (auto ready = answer({}); !ready) return ready;
  bench_order order;
  while (next_order(order)) {
    auto const done = order.work == bench_work::objects ? read_objects(o, *connector, board, order) : return_ball(board, order.work == bench_work::sleeping_ball, o.timeout);
    if (!done) return done;
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
