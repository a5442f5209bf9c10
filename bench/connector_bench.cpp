// SPDX-License-Identifier: Apache-2.0
// What the layers cost: hand-written calls of a transport, the same through connector<...>, the same through any_connector. One thread, in process, 64 bytes, put and
// get of a new key each time; rounds interleaved.
//
//     connector_bench [--rounds N] [--json FILE]
#include <string>

#include <omniconn/allocator/heap.hpp>
#include <omniconn/any_connector.hpp>
#include <omniconn/connector.hpp>
#include <omniconn/keying/raw.hpp>
#include <omniconn/serializer/raw.hpp>
#include <omniconn/transport/inproc.hpp>

#include "support.hpp"

namespace {

using namespace omniconn;
using measured = connector<inproc_transport, raw_serializer, raw_keying, heap_allocator>;

constexpr std::uint32_t count = 500;    // a batch is shorter than a time slice, so that most batches run undisturbed
constexpr int batches = 100;
constexpr edge between{"a", "b"};

struct keys {
  std::vector<std::string> all;
  keys() {
    for (std::uint32_t i = 0; i != count; ++i) all.push_back("request-" + std::to_string(1000000 + i) + "_layer_7");
  }
};

[[noreturn]] void failed(error const& e) {
  std::fprintf(stderr, "%s\n", e.message().c_str());
  std::exit(1);
}

/// Nanoseconds for one put and one get.
template <class Body>
double per_object(keys const& k, Body body) {
  std::int64_t const start = bench::now_ns();
  for (auto const& key : k.all) body(key);
  return static_cast<double>(bench::now_ns() - start) / count;
}

/// The same work as a connector's: block, copy, begin, commit, receipt. As a function that says why it failed, as anybody would write it.
result<receipt> put_by_hand(inproc_transport& t, heap_allocator& heap, std::string_view key, const_bytes payload) {
  auto block = heap.allocate(payload.size());
  if (!block) return block.error();
  std::memcpy(block->data(), payload.data(), payload.size());
  const_bytes const piece(block->data(), payload.size());
  object_info info;
  info.size = payload.size();
  inproc_transport::put_op op;
  outgoing const out{pieces(&piece, 1), reinterpret_cast<std::uintptr_t>(block->data()), &heap_allocator::dispose};
  if (auto begun = t.begin(op, key, out, info, {}); !begun) {
    heap.deallocate(block->data());  // it stays the caller's
    return begun.error();
  }
  if (auto done = t.commit(op, info); !done) return done.error();
  return result<receipt>::from([&]() noexcept { return receipt{info.size, op.where()}; });
}

/// Find, wait where it is not there yet, take.
result<inproc_transport::hold> get_by_hand(inproc_transport& t, std::string_view key) {
  inproc_transport::get_op op;
  auto found = t.find(op, key, {});
  while (found && *found == progress::pending) {
    operation* const ops[]{&op};
    if (auto woken = t.wait(ops, deadline::never(), {}); !woken) return woken.error();
    found = t.step(op);
  }
  if (!found) return found.error();
  return op.take();
}

void by_hand(inproc_transport& t, heap_allocator& heap, std::string_view key, const_bytes payload) {
  auto const done = put_by_hand(t, heap, key, payload);
  if (!done) failed(done.error());
  bench::keep(*done);
  auto hold = get_by_hand(t, key);
  if (!hold) failed(hold.error());
  if (hold->bytes().size() != payload.size()) failed(error_kind::corrupt);
  hold->finish(disposition::consumed);
}

template <class Connector>
void through(Connector& c, std::string_view key, const_bytes payload) {
  auto const done = c.put(between, key, payload);
  if (!done) failed(done.error());
  bench::keep(*done);  // on both sides: a receipt that nobody reads is not made at all where the compiler sees the whole call
  auto view = c.get_view(between, key);
  if (!view) failed(view.error());
  if (view->bytes().size() != payload.size()) failed(error_kind::corrupt);
  view->release();
}

}  // namespace

int main(int argc, char** argv) {
  int const rounds = std::atoi(bench::option(argc, argv, "--rounds", "15"));
  bench::pin_to(0);
  keys const k;
  std::array<std::byte, 64> bytes{};
  const_bytes const payload(bytes);
  auto transport = inproc_transport::open({});
  heap_allocator heap{heap_allocator::options{}};
  auto composed = measured::open();
  auto inner = measured::open();
  if (!transport || !composed || !inner) return 1;
  any_connector erased(std::move(*inner));

  // For instruction counts, which no busy neighbour disturbs: valgrind --tool=callgrind connector_bench --only connector
  if (std::string_view const only = bench::option(argc, argv, "--only", ""); !only.empty()) {
    for (int i = 0; i != rounds; ++i) {
      if (only == "hand") per_object(k, [&](std::string_view key) { by_hand(*transport, heap, key, payload); });
      if (only == "connector") per_object(k, [&](std::string_view key) { through(*composed, key, payload); });
      if (only == "any") per_object(k, [&](std::string_view key) { through(erased, key, payload); });
    }
    return 0;
  }

  std::vector<double> hand, with_connector, with_any, connector_more, any_more;
  for (int round = -2; round != rounds; ++round) {
    std::vector<double> hs, cs, as;
    for (int batch = 0; batch != batches; ++batch) {
      hs.push_back(per_object(k, [&](std::string_view key) { by_hand(*transport, heap, key, payload); }));
      cs.push_back(per_object(k, [&](std::string_view key) { through(*composed, key, payload); }));
      as.push_back(per_object(k, [&](std::string_view key) { through(erased, key, payload); }));
    }
    if (round < 0) continue;
    double const h = bench::median(hs), c = bench::median(cs), a = bench::median(as);
    hand.push_back(h);
    with_connector.push_back(c);
    with_any.push_back(a);
    connector_more.push_back((c - h) / 2);  // one put and one get are two calls
    any_more.push_back((a - h) / 2);
  }
  bench::report("layers", "inproc, 64 B, put and get of a new key, one thread", rounds,
                {bench::figure_of("put + get by hand", "ns", hand), bench::figure_of("put + get through connector", "ns", with_connector),
                 bench::figure_of("put + get through any_connector", "ns", with_any), bench::figure_of("connector, more per call", "ns", connector_more, 5),
                 bench::figure_of("any_connector, more per call", "ns", any_more, 50)},
                bench::option(argc, argv, "--json", nullptr));
  return 0;
}
