// SPDX-License-Identifier: Apache-2.0
// What the checksum costs: alone, and as part of a copy next to plain memcpy, on every path that this machine has.
#include <omniconn/core/checksum.hpp>

#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace {

using omniconn::detail::xxh3_path;

char const* name_of(xxh3_path path) {
  switch (path) {
    case xxh3_path::scalar: return "scalar";
    case xxh3_path::sse2: return "sse2";
    case xxh3_path::avx2: return "avx2";
    case xxh3_path::avx512: return "avx512";
  }
  return "unknown";
}

// On a cache line, as a transport's block is; a vector of bytes would begin 16 bytes behind one.
class line_aligned_bytes {
 public:
  explicit line_aligned_bytes(std::size_t size) : lines_((size + 63) / 64), size_(size) {
    std::uint64_t state = size;
    for (std::size_t at = 0; at != size; ++at) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      data()[at] = static_cast<std::byte>(state >> 56);
    }
  }
  std::byte* data() { return lines_.data()->bytes; }
  std::span<std::byte const> span() { return {data(), size_}; }

 private:
  struct alignas(64) line {
    std::byte bytes[64];
  };
  std::vector<line> lines_;
  std::size_t size_;
};

void count_bytes(benchmark::State& state, std::size_t size) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(size));
}

void sum_public(benchmark::State& state, std::size_t size) {
  line_aligned_bytes bytes(size);
  for (auto _ : state) benchmark::DoNotOptimize(omniconn::checksum(bytes.span()));
  count_bytes(state, size);
}

void sum_path(benchmark::State& state, std::size_t size, xxh3_path path) {
  line_aligned_bytes bytes(size);
  for (auto _ : state) benchmark::DoNotOptimize(omniconn::detail::xxh3_seeded(bytes.data(), size, 0, path));
  count_bytes(state, size);
}

void key_hash(benchmark::State& state, std::size_t size) {
  line_aligned_bytes bytes(size);
  std::uint64_t seed = 1;
  for (auto _ : state) seed = omniconn::seeded_hash(bytes.span(), seed);  // each waits for the one before: latency
  benchmark::DoNotOptimize(seed);
  count_bytes(state, size);
}

void copy_plain(benchmark::State& state, std::size_t size) {
  line_aligned_bytes source(size);
  line_aligned_bytes target(size);
  for (auto _ : state) {
    std::memcpy(target.data(), source.data(), size);
    benchmark::ClobberMemory();
  }
  count_bytes(state, size);
}

void copy_public(benchmark::State& state, std::size_t size) {
  line_aligned_bytes source(size);
  line_aligned_bytes target(size);
  for (auto _ : state) {
    omniconn::checksum_state sum;
    omniconn::copy_with_checksum(target.data(), source.span(), sum);
    benchmark::DoNotOptimize(sum.digest());
  }
  count_bytes(state, size);
}

void copy_path(benchmark::State& state, std::size_t size, xxh3_path path) {
  line_aligned_bytes source(size);
  line_aligned_bytes target(size);
  for (auto _ : state) {
    omniconn::detail::xxh3_stream sum;
    sum.update<true>(source.data(), size, path, target.data());
    benchmark::DoNotOptimize(sum.digest(path));
  }
  count_bytes(state, size);
}

void copy_then_sum(benchmark::State& state, std::size_t size) {
  line_aligned_bytes source(size);
  line_aligned_bytes target(size);
  for (auto _ : state) {
    std::memcpy(target.data(), source.data(), size);
    benchmark::DoNotOptimize(omniconn::checksum(source.span()));
  }
  count_bytes(state, size);
}

struct size_case {
  char const* name;
  std::size_t size;
};

constexpr std::array sizes{size_case{"64B", 64}, size_case{"4KiB", 4096}, size_case{"64KiB", 65536}, size_case{"1MiB", 1048576},
                           size_case{"64MiB", 67108864}};

}  // namespace

int main(int count, char** arguments) {
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  for (auto const& [name, size] : sizes) {
    std::string const at = std::string("/") + name;
    benchmark::RegisterBenchmark(("checksum" + at).c_str(), sum_public, size);
    if (size <= 4096) benchmark::RegisterBenchmark(("seeded_hash" + at).c_str(), key_hash, size);
    benchmark::RegisterBenchmark(("memcpy" + at).c_str(), copy_plain, size);
    benchmark::RegisterBenchmark(("copy_with_checksum" + at).c_str(), copy_public, size);
    benchmark::RegisterBenchmark(("memcpy_then_checksum" + at).c_str(), copy_then_sum, size);
    for (xxh3_path const path : omniconn::detail::xxh3_all_paths) {
      if (size <= omniconn::detail::xxh3_short_size || !omniconn::detail::xxh3_supported(path)) continue;
      std::string const with = std::string("/") + name_of(path) + at;
      benchmark::RegisterBenchmark(("checksum" + with).c_str(), sum_path, size, path);
      if (path == xxh3_path::avx512) continue;  // copies with the AVX2 loop
      benchmark::RegisterBenchmark(("copy_with_checksum" + with).c_str(), copy_path, size, path);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
