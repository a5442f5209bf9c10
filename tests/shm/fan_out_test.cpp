// SPDX-License-Identifier: Apache-2.0
// One object, up to 64 readers, some of which die: each has its share once, and the memory comes back once, after the last of them.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <shm/crash/audit.hpp>
#include <shm/crash/counts.hpp>
#include <shm/crash/fan_out.hpp>
#include <shm/stage.hpp>

namespace {

using namespace crash;
using omniconn::progress;
using omniconn::shm_transport;
using shm_test::stage;

struct mistakes {
  unsigned freed_early = 0, freed_again = 0, never_freed = 0, twice = 0, lost = 0, too_many = 0, wrong = 0, leaked = 0;
  std::string first;
  void note(unsigned& count, std::string const& what) {
    ++count;
    if (first.empty()) first = what;
  }
};

/// Readers r with r % processes == p are those of process p.
class readers {
 public:
  static constexpr unsigned processes = 4;

  explicit readers(std::string space) : space_(std::move(space)) {
    memory_ = ::memfd_create("fan-out", MFD_CLOEXEC);
    if (memory_ < 0 || ::ftruncate(memory_, sizeof(fan_out_board)) != 0) {
      ADD_FAILURE() << "no memory for the board";
      return;
    }
    path_ = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(memory_);
    board = fan_out_board::of(path_.c_str());
    for (unsigned p = 0; p != processes; ++p) start(p);
  }
  readers(readers const&) = delete;
  readers& operator=(readers const&) = delete;
  ~readers() {
    for (auto& p : all_)
      if (p) p->quit();
    if (board != nullptr) ::munmap(board, sizeof *board);
    if (memory_ >= 0) ::close(memory_);
  }

  void start(unsigned p) {
    all_[p] = std::make_unique<stage>(stage::program{{OMNICONN_TEST_BIN_DIR "/shm_fan_out_readers", space_, path_, std::to_string(p), std::to_string(processes)}});
  }
  void kill(unsigned p) {
    EXPECT_EQ(all_[p]->kill(), shm_test::status_killed);
    all_[p].reset();
  }
  void tell(unsigned p, std::string const& command) { all_[p]->send(command); }
  void await(unsigned p) { EXPECT_EQ(all_[p]->answer(), "done"); }
  /// All of them do it at once; `victim` dies once `when()` holds. \returns after the others have done it.
  template <class When>
  void all_do(std::string const& command, std::optional<unsigned> victim, When when) {
    for (unsigned p = 0; p != processes; ++p) tell(p, command);
    if (victim) {
      EXPECT_TRUE(shm_test::eventually(when));
      kill(*victim);
    }
    for (unsigned p = 0; p != processes; ++p)
      if (p != victim) await(p);
  }

  fan_out_board* board = nullptr;

 private:
  std::string space_, path_;
  int memory_ = -1;
  std::array<std::unique_ptr<stage>, processes> all_;
};

/// What a batch of objects is: their seeds, who may read them, what came back of them.
class batch {
 public:
  static constexpr unsigned kept = 6;  // the last ones, for anybody until they are erased
  struct object {
    unsigned count = 0, shift = 0;
    bool named = false, back = false;
  };

  batch(shm_transport& t, std::byte* memory, std::uint64_t& next_token, numbers& random) : transport_(t), seed(next_token), first_token_(next_token) {
    next_token += fan_out_objects;
    for (unsigned o = 0; o != fan_out_objects; ++o) put(o, memory + o * std::size_t{256}, random);
  }
  /// \returns false: this block has come back before, or is of an earlier batch.
  bool came_back(std::uint64_t token) {
    std::uint64_t const o = token - first_token_;
    return o < fan_out_objects && !std::exchange(objects[o].back, true);
  }
  [[nodiscard]] static bool is_kept(unsigned o) noexcept { return o >= fan_out_objects - kept; }
  [[nodiscard]] std::string command(char const* verb) const { return std::string(verb) + " " + std::to_string(seed) + " " + std::to_string(fan_out_objects) + " " + std::to_string(kept); }

 private:
  void put(unsigned o, std::byte* at, numbers& random) {
    object& it = objects[o];
    it.count = 1 + random.below(fan_out_readers);
    it.named = random.below(2) == 0;
    it.shift = random.below(fan_out_readers);
    std::vector<std::string> names;
    if (it.named)
      for (unsigned i = 0; i != it.count; ++i) names.push_back(fan_out_reader((i + it.shift) % fan_out_readers));
    std::vector<std::string_view> const views(names.begin(), names.end());
    std::string const payload = crash::object(seed + o, fan_out_size(seed + o));
    std::memcpy(at, payload.data(), payload.size());
    omniconn::const_bytes const bytes(at, payload.size());
    omniconn::publish_options how;
    how.readers = is_kept(o) ? omniconn::reader_set::until_cleaned_up() : omniconn::reader_set{it.count, views};
    omniconn::object_info info;
    info.size = payload.size();
    omniconn::outgoing out;
    out.parts = omniconn::pieces(&bytes, 1);
    out.token = first_token_ + o;
    shm_transport::put_op op;
    auto const begun = transport_.begin(op, board_key(o), out, info, how);
    EXPECT_TRUE(begun) << begun.error().message();
    EXPECT_TRUE(begun && transport_.commit(op, info));
  }

  shm_transport& transport_;

 public:
  std::uint64_t const seed;
  std::array<object, fan_out_objects> objects;

 private:
  std::uint64_t first_token_;
};

class fan_out {
 public:
  fan_out(mistakes& m, numbers& n) : wrong_(m), random_(n) {
    auto o = options();
    auto opened = shm_transport::open(o);
    if (!opened) {
      ADD_FAILURE() << opened.error().message();
      return;
    }
    producer_ = std::make_unique<shm_transport>(std::move(*opened));
    auto const region = producer_->grow(fan_out_objects * std::size_t{256});
    EXPECT_TRUE(region);
    memory_ = region ? region->base : nullptr;
    readers_ = std::make_unique<readers>(space_.name());
  }
  [[nodiscard]] bool works() const { return memory_ != nullptr && readers_ != nullptr && readers_->board != nullptr && !testing::Test::HasFailure() && wrong_.first.empty(); }

  enum class death { none, taking, between, ending };
  void round(death when) {
    auto& board = *readers_->board;
    for (auto& s : board.shares) s.store(share::none);
    batch b(*producer_, memory_, next_token_, random_);
    victim_ = random_.below(readers::processes);
    replaced_late_ = false;
    unsigned const entry = random_.below(fan_out_objects), reader = victim_ + readers::processes * random_.below(fan_out_readers / readers::processes);
    auto const victim_at = [&](death d) { return d == when ? std::optional(victim_) : std::nullopt; };

    readers_->all_do(b.command("take"), victim_at(death::taking), [&] { return board.at(entry, reader).load() != share::none; });
    if (when == death::taking) replace(b.command("take"));
    look(b, false);
    for (unsigned o = 0; o != fan_out_objects; ++o)
      if (batch::is_kept(o)) {
        EXPECT_EQ(producer_->erase(board_key(o)).value_or(0), 1U);
      }
    if (when == death::between) {
      readers_->kill(victim_);
      settle();
      readers_->start(victim_);
      replaced_late_ = true;
    }
    std::vector<std::atomic<share>*> in_hand;
    for (unsigned o = 0; o != fan_out_objects; ++o)
      for (unsigned r = victim_; r < fan_out_readers; r += readers::processes)
        if (board.at(o, r).load() == share::held) in_hand.push_back(&board.at(o, r));
    auto* const watched = in_hand.empty() ? nullptr : in_hand[random_.below(static_cast<unsigned>(in_hand.size()))];
    readers_->all_do(b.command("end"), victim_at(death::ending), [&] { return watched == nullptr || watched->load() != share::held; });
    if (when == death::ending) {
      replaced_late_ = true;
      replace(b.command("end"));
    }
    look(b, true);
    judge(b);
    if (when != death::none) {
      ++deaths;
      settle();
      if (auto const found = audit(options()); found.in_use != 0) wrong_.note(wrong_.leaked, std::to_string(found.in_use) + " slots are in use");
    }
  }
  [[nodiscard]] std::uint64_t objects() const noexcept { return next_token_ - first_token; }

  unsigned deaths = 0;
  std::uint64_t had = 0;
  std::uint64_t unsure = 0;
  std::map<unsigned, unsigned> by_count;

 private:
  [[nodiscard]] shm_transport::options options() const {
    auto o = space_.options();
    o.max_keys = 64;
    o.max_readers = fan_out_readers;
    o.memory_pool_size = std::uint64_t{1} << 20U;
    return o;
  }
  void replace(std::string const& command) {
    settle();
    readers_->start(victim_);
    readers_->tell(victim_, command);
    readers_->await(victim_);
  }
  /// Those that live tidy up after the dead one, by themselves. \requires nobody does anything else.
  void settle() {
    leaks found;
    auto const settled = [&] {
      found = audit(options());
      return found.all() == 0 && !found.dying;
    };
    if (!shm_test::eventually(settled)) wrong_.note(wrong_.leaked, found.first);
  }
  [[nodiscard]] std::array<unsigned, 10> count(unsigned o) const {
    std::array<unsigned, 10> n{};
    for (unsigned r = 0; r != fan_out_readers; ++r) ++n[static_cast<std::size_t>(readers_->board->at(o, r).load())];
    return n;
  }
  static unsigned of(std::array<unsigned, 10> const& n, share s) { return n[static_cast<std::size_t>(s)]; }

  /// What came back, and what should have.
  void look(batch& b, bool at_the_end) {
    producer_->reclaim([&](std::uint64_t token) {
      if (!b.came_back(token)) wrong_.note(wrong_.freed_again, "block " + std::to_string(token) + " comes back again");
    });
    for (unsigned o = 0; o != fan_out_objects; ++o) {
      auto const n = count(o);
      bool const ended = batch::is_kept(o) ? at_the_end : of(n, share::had) == b.objects[o].count;
      std::string const name = "object " + std::to_string(b.seed + o) + " of " + std::to_string(b.objects[o].count) + " readers";
      if (b.objects[o].back && (of(n, share::held) != 0 || (batch::is_kept(o) && !at_the_end))) wrong_.note(wrong_.freed_early, name + " is free though somebody holds it");
      if (!b.objects[o].back && (at_the_end || (ended && of(n, share::held) == 0))) wrong_.note(wrong_.never_freed, name + " is not free though all have had it");
    }
  }
  void judge(batch const& b) {
    for (unsigned o = 0; o != fan_out_objects; ++o) {
      auto const n = count(o);
      auto const& it = b.objects[o];
      unsigned const surely = of(n, share::had), perhaps = of(n, share::perhaps);
      std::string const name = "object " + std::to_string(b.seed + o) + ", " + (batch::is_kept(o) ? "kept" : it.named ? "named" : "counted") + ", " + std::to_string(it.count) + " readers: ";
      if (of(n, share::twice) != 0) wrong_.note(wrong_.twice, name + "a reader has had it twice");
      if (of(n, share::wrong) != 0) wrong_.note(wrong_.wrong, name + "other bytes or another error");
      if (surely + perhaps + of(n, share::refused) + of(n, share::twice) + of(n, share::wrong) != fan_out_readers) wrong_.note(wrong_.lost, name + "not everybody came to an end");
      had += surely;
      unsure += perhaps;
      ++by_count[it.count];
      if (!batch::is_kept(o)) {
        if (surely > it.count) wrong_.note(wrong_.too_many, name + std::to_string(surely) + " have had it");
        if (surely + perhaps < it.count) wrong_.note(wrong_.lost, name + "only " + std::to_string(surely) + " have had it");
      }
      for (unsigned r = 0; r != fan_out_readers; ++r) {
        auto const s = readers_->board->at(o, r).load();
        // Of a kept one everybody reads, unless its place is taken by somebody that came after the end.
        bool const late = replaced_late_ && r % readers::processes == victim_;
        bool const mine = batch::is_kept(o) || (r + fan_out_readers - it.shift) % fan_out_readers < it.count;
        bool const exact = batch::is_kept(o) ? !late : it.named;
        if (exact && (s == share::refused) == mine) wrong_.note(mine ? wrong_.lost : wrong_.too_many, name + "reader " + std::to_string(r));
      }
    }
  }

  static constexpr std::uint64_t first_token = 1;
  mistakes& wrong_;
  numbers& random_;
  shm_test::fresh_space space_;
  std::unique_ptr<shm_transport> producer_;
  std::byte* memory_ = nullptr;
  std::unique_ptr<readers> readers_;
  std::uint64_t next_token_ = first_token;
  unsigned victim_ = 0;
  bool replaced_late_ = false;
};

CRASH_TEST(fan_out_to_64_readers) {
  outcome out(results, "objects for 1 to 64 readers, counted or named, and kept ones; 64 readers in four processes with two threads each, all try, ask again, and hold some until a second round; a process is killed in every third round, while it takes, holds, or releases");
  unsigned const wanted = rounds(scale, 1000, 100'000);
  mistakes wrong;
  numbers random(3);
  fan_out f(wrong, random);
  for (unsigned n = 0; f.objects() < wanted && f.works(); ++n) {
    using death = fan_out::death;
    std::array<death, 3> const ways{death::taking, death::between, death::ending};
    f.round(n % 3 == 2 ? ways[n / 3 % 3] : death::none);
  }
  EXPECT_EQ(wrong.first, "");
  out.at_least("objects", static_cast<double>(f.objects()), wanted);
  out.at_least("deaths", f.deaths, wanted / fan_out_objects / 3);
  out.note("numbers of readers that occurred", static_cast<double>(f.by_count.size()));
  out.note("shares that were had", static_cast<double>(f.had));
  out.note("shares of which a reader that died while it released may have had", static_cast<double>(f.unsure));
  out.exactly("freed before the last release", wrong.freed_early, 0);
  out.exactly("freed more than once", wrong.freed_again, 0);
  out.exactly("not freed after the last release", wrong.never_freed, 0);
  out.exactly("read twice by one reader", wrong.twice, 0);
  out.exactly("read by too many, or by one who is not named", wrong.too_many, 0);
  out.exactly("shares lost", wrong.lost, 0);
  out.exactly("torn or foreign reads, other errors", wrong.wrong, 0);
  out.exactly("leaked slots, claims, arenas, records", wrong.leaked, 0);
}

}  // namespace
