// SPDX-License-Identifier: Apache-2.0
// One end of a pair of the soak: puts or gets one object after the other until SIGTERM ends it, or SIGKILL.
//
//   shm_soak_stage NAMESPACE BOARD PAIR producer|consumer LARGEST
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <time.h>

#include <shm/crash/program.hpp>
#include <shm/crash/soak.hpp>

namespace {

using namespace crash;
using omniconn::deadline;
using omniconn::error_kind;

std::sig_atomic_t volatile ends = 0;
constexpr std::chrono::seconds patient_for{20};

void nap() {
  timespec const moment{0, 200'000};
  ::nanosleep(&moment, nullptr);
}
/// \returns false: the end came meanwhile.
bool rest(std::atomic<bool> const& wanted, std::atomic<bool>& does) {
  while (wanted && ends == 0) {
    does = true;
    nap();
  }
  does = false;
  return ends == 0;
}
void wrong(soak_pair& p, std::string const& what) {
  if (p.wrong.fetch_add(1) == 0) std::snprintf(p.what, sizeof p.what, "%s", what.c_str());
}

struct end_of_pair {
  unsigned pair;
  soak_board& board;
  soak_pair& mine;
  omniconn::edge flow;
  std::size_t largest;
};

/// Memory as large as it gets, and a block begun in each part of it: the books that tell where blocks begin take their memory with the first one of each
/// 64 KiB, and would grow for hours otherwise.
void use_all_memory(connector& c, std::size_t largest) {
  { auto const block = c.reserve(largest); }
  std::vector<connector::reservation> all;
  auto const take = [&](std::size_t size) {
    auto block = c.reserve(size);
    if (block) all.push_back(std::move(*block));
  };
  take(std::size_t{1} << 20U);
  take(largest);  // beside a small one
  all.clear();
  constexpr std::size_t part = std::size_t{64} << 10U;
  for (std::size_t left = c.transport().memory().committed; left > 2 * part; left -= part) take(part);
}

void produce(end_of_pair const& e, connector& c) {
  if (e.pair == 0) use_all_memory(c, e.largest);
  soak_place at{e.mine.life, 0};
  while (rest(e.board.producers_rest, e.mine.producer_rests)) {
    std::size_t const size = soak_size(e.pair, at, e.largest);
    auto const all_read = [&] { return e.mine.next.load() == at.packed(); };
    // The largest ones go alone: two of them would need the memory twice.
    if (size >= e.largest / 2 && at.number != 0 && !all_read()) {
      nap();
      continue;
    }
    auto block = c.reserve(size);
    if (!block) {
      if (block.error().kind() != error_kind::no_space) wrong(e.mine, "reserve: " + block.error().message());
      nap();  // until something was read
      continue;
    }
    soak_fill(block->bytes(), soak_seed(e.pair, at));
    omniconn::put_options how;
    how.until = deadline::after(std::chrono::milliseconds(20));
    auto const put = c.commit(e.flow, soak_key(at), std::move(*block), how);
    if (put) {
      ++at.number;
      e.mine.put[at.life % 2] = at.number;
    } else if (put.error().kind() != error_kind::timed_out && put.error().kind() != error_kind::peer_lost && put.error().kind() != error_kind::peer_stalled) {
      wrong(e.mine, "put: " + put.error().message());
    }
  }
}

void consume(end_of_pair const& e, connector& c) {
  bool fresh = true;  // who was here before may have had the next one already
  auto patience = deadline::after(patient_for);
  while (rest(e.board.consumers_rest, e.mine.consumer_rests)) {
    auto const at = soak_place::of(e.mine.next);
    bool const is_over = e.mine.life > at.life;
    bool const acknowledged = at.number < e.mine.put[at.life % 2];
    omniconn::get_options how;
    how.until = deadline::after(std::chrono::milliseconds(acknowledged && !fresh ? 20'000 : 20));
    if (is_over && !acknowledged) how.until = deadline::immediate();
    auto got = c.get_view(e.flow, soak_key(at), how);
    if (got) {
      if (!soak_is(got->bytes(), soak_seed(e.pair, at), soak_size(e.pair, at, e.largest))) wrong(e.mine, "object " + soak_key(at) + " has other bytes");
      e.mine.bytes += got->bytes().size();
      got->release();
      ++e.mine.moved;
      e.mine.next = soak_place{at.life, at.number + 1}.packed();
    } else if (fresh && (acknowledged || is_over) && got.error().kind() != error_kind::consumed && c.exists(e.flow, soak_key(at)).value_or(false)) {
      // The claim of who was here before is about to be dropped.
      if (patience.passed()) wrong(e.mine, "object " + soak_key(at) + " is there and cannot be had: " + got.error().message());
      nap();
      continue;
    } else if (acknowledged) {
      if (!fresh) wrong(e.mine, "object " + soak_key(at) + " is lost: " + got.error().message());
      ++e.mine.skipped;
      e.mine.next = soak_place{at.life, at.number + 1}.packed();
    } else if (is_over) {
      e.mine.next = soak_place{at.life + 1, 0}.packed();
    } else if (auto const kind = got.error().kind(); kind == error_kind::consumed) {
      // It was published, and its producer has not said so yet.
      if (!fresh) wrong(e.mine, "object " + soak_key(at) + " was read by somebody else");
      e.mine.next = soak_place{at.life, at.number + 1}.packed();
    } else {
      if (kind != error_kind::timed_out && kind != error_kind::peer_lost && kind != error_kind::peer_stalled) wrong(e.mine, "get: " + got.error().message());
      nap();
      continue;  // still fresh
    }
    fresh = false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  soak_board* const board = soak_board::of(argv[2]);
  unsigned const pair = static_cast<unsigned>(std::atoi(argv[3])) % soak_pairs;
  if (board == nullptr) return 2;
  std::signal(SIGTERM, [](int) { ends = 1; });
  std::string const from = "producer-" + std::to_string(pair), to = "consumer-" + std::to_string(pair);
  end_of_pair const e{pair, *board, board->pairs[pair], {from, to}, std::strtoull(argv[5], nullptr, 10)};
  connector::options o;
  o.transport.space = argv[1];
  o.transport.max_keys = 256;
  o.transport.memory_pool_size = 3 * std::uint64_t{e.largest} + (std::uint64_t{128} << 20U);
  o.defaults.full = omniconn::on_full::wait;
  o.defaults.max_unread_objects = 4;
  auto c = connector::open(o);
  if (!c) {
    wrong(e.mine, "open: " + std::string(c.error().message()));
    return 1;
  }
  std::string_view(argv[4]) == "producer" ? produce(e, *c) : consume(e, *c);
  return 0;
}
