// SPDX-License-Identifier: Apache-2.0
// What a peer in C++ has to say, and how one way through it is measured: from before the put until the consumer has read every byte once.
#pragma once

#include "pair.hpp"

namespace peers {

/// What a peer may leave out. `prepare` is outside the time; `progress` is called while the producer waits for the consumer; `started` when the consumer has begun the job.
struct peer_defaults {
  void begin(job const&) {}
  void started() {}
  void prepare(std::string_view, const_bytes) {}
  void progress() {}
  void clean(std::string_view) {}
};

/// A fresh key of 30 bytes.
inline std::string_view key_of(std::uint32_t number, std::array<char, 32>& room) {
  int const n = std::snprintf(room.data(), room.size(), "request-%010u_layer-00_kv", number);
  return {room.data(), static_cast<std::size_t>(n)};
}

/// Peer: made from an end_of_pair on both sides; `std::string about()` and static `bool can(waiting)`; the producer's `put(key, bytes)`; the consumer's
/// `const_bytes get(key, size)`, which waits, and `clean(key)`.
template <class Peer>
class measured {
 public:
  explicit measured(end_of_pair& e) : end_(e), peer_(e) {}

  std::string about() { return peer_.about(); }

  std::string serve(request const& r) {
    waiting const w = waiting_of(r.wait);
    if (!Peer::can(w)) throw std::invalid_argument("it cannot wait by " + r.wait);
    std::uint32_t const warm = r.warm_up(), all = warm + r.count;
    const_bytes const payload = source_.of(r.size);
    job const j{.size = r.size, .count = all, .in_flight = r.in_flight, .first_key = next_key_, .wait = w};
    end_.begin_to_wait();
    peer_.begin(j);
    control& c = end_.shared;
    c.wrong.store(0);
    c.expected.fill(bench::sum(payload));
    end_.post(j);
    peer_.started();
    ::usleep(1000);  // it waits by now

    std::vector<std::int64_t> starts(all);
    std::array<char, 32> room;
    std::int64_t begin = 0;
    for (std::uint32_t i = 0; i != all; ++i) {
      auto const progress = [this] { peer_.progress(); };
      if (i >= r.in_flight) end_.wait_for_acks(i - r.in_flight + 1, w, progress);
      if (r.rewritten) {
        end_.wait_for_acks(i, w, progress);  // some peers read the source late
        source_.rewrite(r.size);
        c.expected[i] = bench::sum(payload);
      }
      auto const key = key_of(next_key_++, room);
      peer_.prepare(key, payload);
      if (r.in_flight == 1)  // the consumer comes from its acknowledgement: it shall wait, as one that waits for a slow producer does
        for (std::int64_t const until = bench::now_ns() + 1000; bench::now_ns() < until;) peer_.progress();
      if (i == warm) begin = bench::now_ns();
      starts[i] = bench::now_ns();
      peer_.put(key, payload);
    }
    end_.wait_for_acks(all, w, [this] { peer_.progress(); });
    double const seconds = static_cast<double>(bench::now_ns() - begin) / 1e9;
    if (auto const wrong = c.wrong.load(); wrong != 0) throw std::runtime_error("wrong sums: " + std::to_string(wrong));
    std::vector<double> us;
    for (std::uint32_t i = warm; i != all; ++i) us.push_back(static_cast<double>(c.ends[i] - starts[i]) / 1e3);
    return line_of(us, ", \"gb_per_s\": " + std::to_string(static_cast<double>(r.size) * r.count / seconds / 1e9));
  }

  void serve(job const& j) {
    control& c = end_.shared;
    peer_.begin(j);
    end_.begun();
    std::array<char, 32> room;
    for (std::uint32_t i = 0; i != j.count; ++i) {
      auto const key = key_of(j.first_key + i, room);
      const_bytes const got = peer_.get(key, j.size);
      std::uint64_t const sum = bench::sum(got);
      c.ends[i] = bench::now_ns();
      if (got.size() != j.size || sum != c.expected[i]) c.wrong.fetch_add(1);
      peer_.clean(key);
      end_.acknowledge(j.wait);
    }
  }

 private:
  end_of_pair& end_;
  Peer peer_;
  source source_;
  std::uint32_t next_key_ = 0;
};

template <class Peer>
int run(int argc, char** argv) {
  return run_pair<measured<Peer>>(argc, argv);
}

}  // namespace peers
