// SPDX-License-Identifier: Apache-2.0
// A producer that dies at the N-th hit of a failpoint, or is killed, or comes to its end.
//
//   shm_crash_producer NAMESPACE [die=FAILPOINT:N] [seed=S] [ops=N] [slots=N] [memory=BYTES] [mode=forever|restart]
//
// Before each step that changes something it says what it tries, afterwards what became of it:
//
//   try put KEY SEED SIZE SHARES | try replace KEY SEED SIZE SHARES | try take KEY | try erase KEY | try end KEY | try nothing
//   ok | no KIND
//   hit FAILPOINT          its last word
//   done
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <omniconn/growing.hpp>

#include <shm/crash/program.hpp>

namespace {

using namespace crash;
using omniconn::deadline;

struct live_object {
  unsigned shares;  // how many readers have not had it
  unsigned taken;
};

class producer {
 public:
  explicit producer(settings const& s, connector& c) : settings_(s), numbers_(s.seed), connector_(c) {}

  void put(connector& c, unsigned key, std::size_t size, unsigned shares, bool replace, std::int64_t lease_ms = -1) {
    std::uint64_t const seed = settings_.seed * 1000 + ++count_;
    std::string const payload = object(seed, size);
    omniconn::put_options o;
    o.readers = omniconn::reader_set{shares, {}};
    if (replace) o.existing = omniconn::on_existing::replace;
    if (lease_ms >= 0) o.lease = std::chrono::milliseconds(lease_ms);
    say((replace ? "try replace " : "try put ") + std::to_string(key) + " " + std::to_string(seed) + " " + std::to_string(size) + " " + std::to_string(shares));
    if (auto const done = c.put(hop, key_name(key), view_of(payload), o); done) {
      say("ok");
      live_[key] = {shares, 0};
    } else {
      say("no " + std::string(to_string(done.error().kind())));
    }
  }

  /// The next share of an object, for the reader whose turn it is.
  void take(connector& c, unsigned key, bool give_back) {
    auto& object = live_[key];
    std::string const reader = "r" + std::to_string(object.taken);
    omniconn::get_options o;
    o.until = deadline::immediate();
    o.reader = reader;
    say(give_back ? "try nothing" : "try take " + std::to_string(key));
    auto view = c.get_view(hop, key_name(key), o);
    if (!view) return say("no " + std::string(to_string(view.error().kind())));
    if (give_back) {
      view->give_back();
    } else {
      view->release();
      ++object.taken;
      if (object.taken == object.shares) live_.erase(key);
    }
    say("ok");
  }

  void erase(unsigned key) {
    say("try erase " + std::to_string(key));
    auto const done = connector_.cleanup(hop, key_name(key));
    say(done ? "ok" : "no " + std::string(to_string(done.error().kind())));
    live_.erase(key);
  }

  /// A put that begins and is given up.
  void abort() {
    say("try nothing");
    {
      omniconn::shm_transport::put_op op;
      (void)connector_.transport().begin(op, "given up", {}, {}, {});
    }
    say("ok");
  }

  std::size_t size() {
    constexpr std::size_t sizes[]{0, 1, 64, 1000, 5000, 70'000, 300'000};
    return sizes[numbers_.below(std::size(sizes))];
  }

  void step(unsigned n) {
    constexpr unsigned keys = 12;
    unsigned const key = n == 0 ? static_cast<unsigned>(settings_.seed % keys) : numbers_.below(keys);
    bool const there = live_.contains(key);
    unsigned const what = n == 0 ? 0 : numbers_.below(10);
    if (!there) return what == 9 ? abort() : put(connector_, key, n == 0 ? 20'000 : size(), numbers_.below(4) == 0 ? 3 : 1, what == 8);
    if (what < 3) return put(connector_, key, size(), 1, true);
    if (what < 7) return take(connector_, key, false);
    what < 9 ? take(connector_, key, true) : erase(key);
  }

  /// A put that replaces and is long enough to be begun and ended in two calls.
  void replace() {
    constexpr unsigned key = 4;
    for (int i = 0; i != 5; ++i) put(connector_, key, 70'000, 1, true);
  }

  /// So many at once that some lie beside the eight slots of their homes, again and again.
  void crowd() {
    for (int round = 0; round != 20; ++round) {
      say("try nothing");
      for (int i = 0; i != 10; ++i) (void)connector_.put(hop, "crowd-" + std::to_string(i), view_of(object(1, 10)));
      for (int i = 0; i != 10; ++i) (void)connector_.cleanup(hop, "crowd-" + std::to_string(i));
      say("ok");
    }
  }

  /// Objects that grow, one of which comes to its end.
  void grow() {
    for (bool const ends : {false, true}) {
      say("try nothing");
      auto growing = put_growing(connector_, hop, "grown", 70'000);
      if (!growing || !growing->advance(20'000)) return say("no growth");
      if (ends && !(growing->commit() && connector_.cleanup(hop, "grown"))) return say("no growth");
      say("ok");
    }
  }

  /// An object whose producer left and whose lease ends while we are there.
  void meet_an_expired_object() {
    constexpr unsigned key = 1;
    {
      auto other = settings_.open();
      if (!other) return say("no open");
      if (live_.contains(key)) erase(key);
      put(*other, key, 64, 1, false, 2);
      say("try end " + std::to_string(key));
      other->close();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    say("ok");
    live_.erase(key);
    put(connector_, key, 64, 1, false);
  }

  /// An object in memory of ours that has a name and outlives us, beside memory that has none.
  void lend() {
    constexpr unsigned key = 3;
    constexpr std::size_t size = 10'000;
    if (live_.contains(key)) erase(key);
    char const* const folder = std::getenv("OMNICONN_SHM_DIRECTORY");
    int const file = ::open(folder != nullptr ? folder : "/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), memfd = ::memfd_create("lent", MFD_CLOEXEC);
    std::byte* mapped[2]{};
    for (int i = 0; i != 2; ++i) {
      int const fd = i == 0 ? file : memfd;
      void* const at = ::ftruncate(fd, size) == 0 ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
      if (at == MAP_FAILED || !connector_.adopt({static_cast<std::byte*>(at), size})) return say("no memory");
      mapped[i] = static_cast<std::byte*>(at);
    }
    std::uint64_t const seed = settings_.seed * 1000 + ++count_;
    std::string const payload = object(seed, size);
    std::memcpy(mapped[0], payload.data(), size);
    say("try put " + std::to_string(key) + " " + std::to_string(seed) + " " + std::to_string(size) + " 1");
    auto const done = connector_.put_adopted(hop, key_name(key), {mapped[0], size});
    say(done ? "ok" : "no " + std::string(to_string(done.error().kind())));
    if (done) live_[key] = {1, 0};
  }

  void close() {
    say("try nothing");
    omniconn::shm_transport::put_op unfinished;
    (void)connector_.transport().begin(unfinished, "unfinished", {}, {}, {});
    connector_.close();
    say("ok");
  }

 private:
  settings const& settings_;
  numbers numbers_;
  connector& connector_;
  std::map<unsigned, live_object> live_;
  std::uint64_t count_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  settings const s(argc, argv);
  auto c = s.open();
  if (!c) {
    say("no " + std::string(c.error().message()));
    return 3;
  }
  say("open");
  producer p(s, *c);
  if (s.mode == "restart") {
    for (unsigned key = 0; key != s.ops; ++key) p.put(*c, key, static_cast<std::size_t>(s.size), 1, true);
    omniconn::shm_transport::put_op unfinished;
    (void)c->transport().begin(unfinished, "unfinished", {}, {}, {});
    say("done");
    ::kill(::getpid(), SIGKILL);
  }
  for (unsigned n = 0; n != s.ops || s.mode == "forever"; ++n) p.step(n);
  if (aims_at("shm.put.expired") || s.mode == "expiry") p.meet_an_expired_object();
  if (aims_at("shm.replace.")) p.replace();
  if (aims_at("shm.put.advanced")) p.grow();
  if (aims_at("shm.put.beside_locked")) p.crowd();
  if (aims_at("shm.adopt.") || s.mode == "lend") p.lend();
  p.close();
  say("done");
  return 0;
}
