// SPDX-License-Identifier: Apache-2.0
// What a block costs: one size over and over, a window of blocks, random sizes and lifetimes, and after a hostile history.
#include <omniconn/allocator/arena.hpp>
#include <omniconn/allocator/buffer_pool.hpp>
#include <omniconn/allocator/heap.hpp>
#include <omniconn/allocator/pool.hpp>

#include <benchmark/benchmark.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace {

using omniconn::arena_allocator;
using omniconn::heap_allocator;
using omniconn::pool_allocator;

/// Address space only: the allocators never touch the memory that they carve.
class region {
 public:
  explicit region(std::size_t size) : base_(static_cast<std::byte*>(::operator new(size, std::align_val_t{4096}))), size_(size) {}
  region(region const&) = delete;
  region& operator=(region const&) = delete;
  ~region() { ::operator delete(base_, std::align_val_t{4096}); }
  std::byte* base() const { return base_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* base_;
  std::size_t size_;
};

template <class A>
A make(region const& memory) {
  if constexpr (omniconn::region_allocator<A>) {
    return A(typename A::options{}, memory.base(), memory.size());
  } else {
    return A(typename A::options{});
  }
}

struct generator {
  std::uint64_t state = 42;
  std::uint64_t operator()() {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return state >> 24;
  }
  /// As many between 64 B and 128 B as between 32 KiB and 64 KiB.
  std::size_t size(unsigned powers) {
    std::uint64_t const low = std::uint64_t{64} << ((*this)() % powers);
    return static_cast<std::size_t>(low + (*this)() % low);
  }
};

/// Gives one block back and takes another. False: the allocator refused, and the figures mean nothing.
template <class A>
bool replace(A& allocator, std::byte*& block, std::size_t size) {
  bool const known = allocator.deallocate(block);
  auto const next = allocator.allocate(size);
  if (!next) return false;
  block = next.value().data();
  return known;
}

/// One block taken and given back: the steady state of a producer whose reader keeps up.
template <class A>
void same_size(benchmark::State& state) {
  region const memory(std::size_t{1} << 30);
  auto allocator = make<A>(memory);
  auto const size = static_cast<std::size_t>(state.range(0));
  bool fine = true;
  for (auto _ : state) {
    std::byte* const p = allocator.allocate(size)->data();
    benchmark::DoNotOptimize(p);
    fine = allocator.deallocate(p) && fine;
  }
  if (!fine) state.SkipWithError("the allocator refused");
}

/// First in, first out, `window` objects under way: readers release in the order of the puts.
template <class A>
void window(benchmark::State& state) {
  region const memory(std::size_t{1} << 30);
  auto allocator = make<A>(memory);
  auto const size = static_cast<std::size_t>(state.range(0));
  std::vector<std::byte*> live(static_cast<std::size_t>(state.range(1)));
  for (auto& p : live) p = allocator.allocate(size)->data();
  std::size_t next = 0;
  bool fine = true;
  for (auto _ : state) {
    fine = fine && replace(allocator, live[next], size);
    next = next + 1 == live.size() ? 0 : next + 1;
  }
  for (auto* const p : live) fine = allocator.deallocate(p) && fine;
  if (!fine) state.SkipWithError("the allocator refused");
}

/// Random sizes, random lifetimes.
template <class A>
void random_sizes(benchmark::State& state) {
  region const memory(std::size_t{1} << 30);
  auto allocator = make<A>(memory);
  auto const powers = static_cast<unsigned>(state.range(0));
  generator random;
  std::vector<std::byte*> live(static_cast<std::size_t>(state.range(1)));
  for (auto& p : live) p = allocator.allocate(random.size(powers))->data();
  std::array<std::pair<std::size_t, std::size_t>, 8192> plan;  // which one goes, how large the next one is: drawn outside the clock
  for (auto& [victim, size] : plan) {
    victim = random() % live.size();
    size = random.size(powers);
  }
  std::size_t step = 0;
  bool fine = true;
  for (auto _ : state) {
    auto const& [victim, size] = plan[step++ % plan.size()];
    fine = fine && replace(allocator, live[victim], size);
  }
  for (auto* const p : live) fine = allocator.deallocate(p) && fine;
  if (!fine) state.SkipWithError("the allocator refused");
}

/// The price of the exact figure for health reports, with all classes full.
void usage_of_arena(benchmark::State& state) {
  region const memory(std::size_t{1} << 30);
  auto allocator = make<arena_allocator>(memory);
  generator random;
  std::vector<std::byte*> live(static_cast<std::size_t>(state.range(0)));
  for (auto& p : live) p = allocator.allocate(random.size(10))->data();
  for (auto* const p : live)
    if (!allocator.deallocate(p)) state.SkipWithError("the allocator refused");
  for (auto _ : state) benchmark::DoNotOptimize(allocator.usage());
}

void pool_handle(benchmark::State& state) {
  auto pool = omniconn::buffer_pool::open({std::size_t{1} << 26, 4096});
  for (auto _ : state) {
    auto buffer = pool->acquire(static_cast<std::size_t>(state.range(0)));
    benchmark::DoNotOptimize(buffer->bytes());
  }
}

template <class A>
void add(char const* name) {
  auto const named = [name](char const* what) { return std::string(what) + "/" + name; };
  benchmark::RegisterBenchmark(named("same_size").c_str(), same_size<A>)->Arg(64)->Arg(4096)->Arg(65536)->Arg(1 << 20)->Arg(16 << 20);
  benchmark::RegisterBenchmark(named("window").c_str(), window<A>)->Args({4096, 64})->Args({4096, 4096});
  benchmark::RegisterBenchmark(named("random_sizes").c_str(), random_sizes<A>)->Args({10, 64})->Args({10, 4096})->Args({16, 256});
}

}  // namespace

int main(int argc, char** argv) {
  add<arena_allocator>("arena");
  add<pool_allocator>("pool");
  add<heap_allocator>("heap");
  benchmark::RegisterBenchmark("usage/arena", usage_of_arena)->Arg(100)->Arg(20000);
  benchmark::RegisterBenchmark("buffer_pool/acquire_release", pool_handle)->Arg(4096)->Arg(1 << 20);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
