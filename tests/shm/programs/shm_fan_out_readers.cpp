// SPDX-License-Identifier: Apache-2.0
// Many readers in one process: what each has had of each object lies on a board that its death does not take away.
//
//   shm_fan_out_readers NAMESPACE BOARD FIRST STEP      the readers FIRST, FIRST + STEP, ... below 64, on two threads
//
//   take SEED COUNT          done        each reader takes its share of objects 0 .. COUNT - 1, keeps some of them in its hand
//   end SEED COUNT KEPT      done        each reader asks again for what it has had, then lets go of what it holds; the last KEPT objects are for anybody
//   quit
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <shm/crash/fan_out.hpp>

namespace {

using namespace crash;
using omniconn::disposition;
using omniconn::error_kind;
using omniconn::progress;
using omniconn::shm_transport;

/// The readers of one thread.
class some_readers {
 public:
  some_readers(shm_transport& t, fan_out_board& b, std::vector<unsigned> which) : transport_(t), board_(b), which_(std::move(which)) {
    for (unsigned const r : which_) names_.push_back(fan_out_reader(r));
  }

  void take(std::uint64_t seed, unsigned count) {
    for (unsigned o = 0; o != count; ++o)
      for (std::size_t k = 0; k != which_.size(); ++k) take_one(seed, o, k);
  }
  void end(std::uint64_t seed, unsigned count, unsigned kept) {
    take(seed, count);  // who took the place of a dead one has its shares to take first
    for (unsigned o = 0; o != count - kept; ++o)
      for (std::size_t k = 0; k != which_.size(); ++k) {
        auto& at = board_.at(o, which_[k]);
        auto const before = at.load();
        if (before != share::had && before != share::held) continue;
        if (auto again = find(o, k); again.first) at.store(share::twice);
      }
    for (auto& h : hands_) let_go(board_.at(h.object, h.reader), h.hold);
    hands_.clear();
  }

 private:
  struct hand {
    unsigned object, reader;
    shm_transport::hold hold;
  };

  void take_one(std::uint64_t seed, unsigned o, std::size_t k) {
    auto& at = board_.at(o, which_[k]);
    auto const before = at.load();
    if (before == share::held && holds(o, which_[k])) return;
    bool const unsure = before == share::ending || before == share::unsure;  // of one that died: it may have had it
    if (!unsure && before != share::none && before != share::trying && before != share::held) return;
    at.store(unsure ? share::unsure : share::trying);
    auto [found, why] = find(o, k);
    if (!found) {
      bool const right = why == error_kind::not_found || why == error_kind::consumed;
      at.store(!right ? share::wrong : unsure ? share::perhaps : share::refused);
      return;
    }
    auto hold = op_.take();
    if (!is_object(hold.bytes(), seed + o, fan_out_size(seed + o))) {
      at.store(share::wrong);
      return;
    }
    at.store(share::held);
    if ((seed + o + 7 * which_[k]) % 5 == 0) {
      hands_.push_back({o, which_[k], std::move(hold)});
    } else {
      let_go(at, hold);
    }
  }
  std::pair<bool, error_kind> find(unsigned o, std::size_t k) {
    omniconn::find_options how;
    how.reader = names_[k];
    how.wait = false;
    auto const got = transport_.find(op_, board_key(o), how);
    return {got && *got == progress::done, got ? error_kind::io : got.error().kind()};
  }
  static void let_go(std::atomic<share>& at, shm_transport::hold& hold) {
    at.store(share::ending);
    hold.finish(disposition::consumed);
    at.store(share::had);
  }
  [[nodiscard]] bool holds(unsigned o, unsigned r) const {
    for (auto const& h : hands_)
      if (h.object == o && h.reader == r) return true;
    return false;
  }

  shm_transport& transport_;
  fan_out_board& board_;
  std::vector<unsigned> which_;
  std::vector<std::string> names_;
  shm_transport::get_op op_;
  std::vector<hand> hands_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  fan_out_board* const board = fan_out_board::of(argv[2]);
  auto const first = static_cast<unsigned>(std::atoi(argv[3])), step = static_cast<unsigned>(std::atoi(argv[4]));
  if (board == nullptr || step == 0) return 2;
  shm_transport::options o;
  o.space = argv[1];
  auto transport = shm_transport::open(o);
  if (!transport) {
    std::cout << "error " << transport.error().message() << std::endl;
    return 1;
  }
  std::array<std::vector<unsigned>, 2> half;
  for (unsigned r = first, n = 0; r < fan_out_readers; r += step) half[n++ % 2].push_back(r);
  some_readers one(*transport, *board, half[0]), two(*transport, *board, half[1]);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command;
    std::uint64_t seed = 0;
    unsigned count = 0, kept = 0;
    words >> command >> seed >> count >> kept;
    if (command == "quit") break;
    bool const ends = command == "end";
    auto const work = [&](some_readers& mine) { ends ? mine.end(seed, count, kept) : mine.take(seed, count); };
    std::thread other([&] { work(two); });
    work(one);
    other.join();
    std::cout << "done" << std::endl;
  }
  return 0;
}
