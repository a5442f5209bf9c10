// SPDX-License-Identifier: Apache-2.0
// What the machine allows. The fourth word of a line says which limit:
//
//     futex         half a round trip of a word on which both sides sleep
//     spinning      half a round trip of a word on which both sides spin
//     copy_and_sum  memcpy into warm memory and the sum over it, in one process
//     sum           the consumer's sum alone, over memory that the producer's CPU wrote last, always rewritten
#include "pair.hpp"

namespace {

enum class limit : std::uint32_t { futex, spinning, copy_and_sum, sum };

limit limit_of(std::string const& word) {
  constexpr std::array<std::string_view, 4> names{"futex", "spinning", "copy_and_sum", "sum"};
  for (std::uint32_t i = 0; i != names.size(); ++i)
    if (word == names[i]) return static_cast<limit>(i);
  throw std::invalid_argument("no such limit: " + word);
}

class limits {
 public:
  explicit limits(peers::end_of_pair& e) : end_(e) {
    std::string const name = "/" + e.space + "-limits";
    if (e.producing()) {
      map(::shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600), true);
      e.say();
      static_cast<void>(e.hear());
      ::shm_unlink(name.c_str());  // both have it
    } else {
      static_cast<void>(e.hear());
      map(::shm_open(name.c_str(), O_RDWR, 0600), false);
      e.say();
    }
  }

  std::string about() { return "limits of the machine"; }

  std::string serve(peers::request const& r) {
    limit const what = limit_of(r.wait);
    std::uint32_t const warm = r.warm_up(), all = warm + r.count;
    end_.begin_to_wait();
    if (what != limit::copy_and_sum) {
      end_.shared.wrong.store(0);
      end_.post({.size = r.size, .count = all, .what = static_cast<std::uint32_t>(what)});
    }
    std::vector<double> us;
    for (std::uint32_t i = 0; i != all; ++i) {
      double const one = what == limit::copy_and_sum ? copy_and_sum(r) : what == limit::sum ? sum(r.size, i) : trip(i, what == limit::spinning);
      if (i >= warm) us.push_back(one);
    }
    if (end_.shared.wrong.load() != 0) throw std::runtime_error("wrong sums: " + std::to_string(end_.shared.wrong.load()));
    return peers::line_of(us);
  }

  void serve(peers::job const& j) {
    auto& c = end_.shared;
    auto const what = static_cast<limit>(j.what);
    bool const spins = what != limit::futex;
    end_.begun();
    for (std::uint32_t i = 0; i != j.count; ++i) {
      peers::wait_while(c.ping, 2 * i, spins, [] {}, [] {});
      if (what == limit::sum) {
        std::int64_t const start = bench::now_ns();
        std::uint64_t const s = bench::sum({memory_, j.size});
        c.ends[i] = bench::now_ns() - start;
        if (s != c.expected[i]) c.wrong.fetch_add(1);
      }
      c.ping.store(2 * i + 2, std::memory_order_release);
      if (!spins) peers::wake(c.ping);
    }
  }

 private:
  void map(int fd, bool makes) {
    if (fd < 0 || (makes && ::ftruncate(fd, static_cast<off_t>(peers::largest)) != 0)) throw std::runtime_error(std::string("shared memory: ") + std::strerror(errno));
    void* const at = ::mmap(nullptr, peers::largest, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (at == MAP_FAILED) throw std::runtime_error("no memory to share");
    memory_ = static_cast<std::byte*>(at);
  }

  void answered(std::uint32_t i, bool spins) {
    auto& c = end_.shared;
    while (c.ping.load(std::memory_order_acquire) != 2 * i + 2) peers::wait_while(c.ping, 2 * i + 1, spins, [] {}, [this] { end_.look(); });
  }
  double trip(std::uint32_t i, bool spins) {
    auto& c = end_.shared;
    std::int64_t const start = bench::now_ns();
    c.ping.store(2 * i + 1, std::memory_order_release);
    if (!spins) peers::wake(c.ping);
    answered(i, spins);
    return static_cast<double>(bench::now_ns() - start) / 2e3;
  }
  double sum(std::size_t size, std::uint32_t i) {
    auto& c = end_.shared;
    source_.rewrite(size);
    auto const from = source_.of(size);
    c.expected[i] = bench::sum(from);
    std::memcpy(memory_, from.data(), size);
    c.ping.store(2 * i + 1, std::memory_order_release);
    answered(i, true);
    return static_cast<double>(c.ends[i]) / 1e3;
  }
  double copy_and_sum(peers::request const& r) {
    if (target_.size() < r.size) target_.resize(r.size);
    if (r.rewritten) source_.rewrite(r.size);
    auto const from = source_.of(r.size);
    std::int64_t const start = bench::now_ns();
    std::memcpy(target_.data(), from.data(), r.size);
    std::uint64_t const s = bench::sum({target_.data(), r.size});
    double const us = static_cast<double>(bench::now_ns() - start) / 1e3;
    bench::keep(s);
    return us;
  }

  peers::end_of_pair& end_;
  peers::source source_;
  std::byte* memory_ = nullptr;
  std::vector<std::byte> target_;
};

}  // namespace

int main(int argc, char** argv) { return peers::run_pair<limits>(argc, argv); }
