// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// What the omni_msgpack serializer adds to moving a dict with one 4 MiB float32 tensor: encoding into a gather list and joining that in a
// block, against memcpy of 4 MiB; decoding by reference and a sum over the tensor, against the sum. Then the same with a list of a
// thousand floats beside the tensor, each of which becomes a value of its own.
//
// Both sides of a pair run in turn and the median of their ratios counts, so that other load on the machine hits both.
#include <omniconn/serializer/omni_msgpack.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "support.hpp"

using namespace omniconn;

namespace {

constexpr std::size_t tensor_bytes = std::size_t{4} << 20;

struct setup {
  explicit setup(std::size_t floats)
      : numbers(tensor_bytes / sizeof(float)), source(tensor_bytes, std::byte{1}), block(tensor_bytes + (1 << 16)), plain(tensor_bytes) {
    for (std::size_t i = 0; i != numbers.size(); ++i) numbers[i] = static_cast<float>(i % 1000) * 0.001F;
    value::array list;
    for (std::size_t i = 0; i != floats; ++i) list.emplace_back(static_cast<double>(i) * 0.1);
    dict = value::object({{"samples", to_value(tensor_view::of(std::span<float const>(numbers)))}, {"rate", 48000}, {"step", 7}, {"gains", std::move(list)}});
    encode();
  }

  // The put copy: encode, then join the list in the block.
  void encode() {
    gather_list list;
    if (!serializer.encode(dict, list)) std::abort();
    std::byte* to = block.data();
    for (auto const& part : list.parts()) {
      std::memcpy(to, part.data(), part.size());
      to += part.size();
    }
    size = list.size();
    benchmark::ClobberMemory();
  }
  void copy() {
    std::memcpy(plain.data(), source.data(), tensor_bytes);
    benchmark::ClobberMemory();
  }
  // Four sums, so that the loop waits for memory and not for one chain of additions. The bytes of a decoded tensor lie at
  // whatever address the header before them leaves.
  static float sum(const_bytes bytes) {
    float parts[4]{};
    for (std::size_t i = 0; i != bytes.size(); i += sizeof parts) {
      float four[4];
      std::memcpy(four, bytes.data() + i, sizeof four);
      for (int k = 0; k != 4; ++k) parts[k] += four[k];
    }
    return parts[0] + parts[1] + parts[2] + parts[3];
  }
  void decode_and_sum() {
    auto const v = serializer.decode<value>({payload_kind::object, const_bytes(block).first(size)});
    if (!v) std::abort();
    auto const t = as_tensor(*v->find("samples"));
    if (!t) std::abort();
    benchmark::DoNotOptimize(sum(t->bytes()));
  }
  // The same bytes at the same address, so that alignment and cache are the same for both.
  void sum_alone() {
    auto const t = as_tensor(*decoded().find("samples"));
    benchmark::DoNotOptimize(sum(t->bytes()));
  }
  value const& decoded() {
    if (kept.is_nil()) kept = *serializer.decode<value>({payload_kind::object, const_bytes(block).first(size)});
    return kept;
  }

  omni_msgpack_serializer serializer;
  std::vector<float> numbers;
  std::vector<std::byte> source, block, plain;
  value dict, kept;
  std::size_t size = 0;
};

template <class Call>
double nanoseconds(Call&& call) {
  auto const start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double>& numbers) {
  std::nth_element(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2), numbers.end());
  return numbers[numbers.size() / 2];
}

// Times `ours` and `base` in turn; reports the median of the ratios and both medians.
template <class Ours, class Base>
void compare(benchmark::State& state, Ours&& ours, Base&& base, bool judged) {
  std::vector<double> ratios, ours_ns, base_ns;
  bool first = false;
  while (state.KeepRunning()) {
    double mine = 0, theirs = 0;
    // Who goes first changes, or the second would always find the caches warmer.
    if ((first = !first)) {
      mine = nanoseconds(ours);
      theirs = nanoseconds(base);
    } else {
      theirs = nanoseconds(base);
      mine = nanoseconds(ours);
    }
    ratios.push_back(mine / theirs);
    ours_ns.push_back(mine);
    base_ns.push_back(theirs);
    state.SetIterationTime(mine * 1e-9);
  }
  state.counters["ratio"] = median(ratios);
  if (judged) state.counters["bar"] = 1.1;
  state.counters["ours_us"] = median(ours_ns) / 1e3;
  state.counters["base_us"] = median(base_ns) / 1e3;
}

template <std::size_t Floats>
void encode_and_copy(benchmark::State& state) {
  setup s(Floats);
  compare(
      state, [&] { s.encode(); }, [&] { s.copy(); }, Floats == 0);
}
template <std::size_t Floats>
void decode_and_sum(benchmark::State& state) {
  setup s(Floats);
  static_cast<void>(s.decoded());
  compare(
      state, [&] { s.decode_and_sum(); }, [&] { s.sum_alone(); }, Floats == 0);
}
template <std::size_t Floats>
void encode_only(benchmark::State& state) {
  setup s(Floats);
  while (state.KeepRunning()) {
    gather_list list;
    benchmark::DoNotOptimize(s.serializer.encode(s.dict, list));
  }
}
template <std::size_t Floats>
void decode_only(benchmark::State& state) {
  setup s(Floats);
  while (state.KeepRunning()) benchmark::DoNotOptimize(s.serializer.decode<value>({payload_kind::object, const_bytes(s.block).first(s.size)}));
}

BENCHMARK_TEMPLATE(encode_and_copy, 0)->Name("encode_against_memcpy")->UseManualTime()->Iterations(2000);
BENCHMARK_TEMPLATE(decode_and_sum, 0)->Name("decode_and_sum_against_sum")->UseManualTime()->Iterations(2000);
BENCHMARK_TEMPLATE(encode_and_copy, 1000)->Name("encode_with_1000_floats_against_memcpy")->UseManualTime()->Iterations(2000);
BENCHMARK_TEMPLATE(decode_and_sum, 1000)->Name("decode_with_1000_floats_and_sum_against_sum")->UseManualTime()->Iterations(2000);
BENCHMARK_TEMPLATE(encode_only, 0)->Name("encode_only");
BENCHMARK_TEMPLATE(decode_only, 0)->Name("decode_only");
BENCHMARK_TEMPLATE(encode_only, 1000)->Name("encode_with_1000_floats_only");
BENCHMARK_TEMPLATE(decode_only, 1000)->Name("decode_with_1000_floats_only");

}  // namespace

int main(int argc, char** argv) {
  benchmark::AddCustomContext("compiler", bench::compiler());
  benchmark::AddCustomContext("flags", bench::compiler_flags());
  benchmark::AddCustomContext("commit", bench::measured_commit());
  benchmark::AddCustomContext("cpu", bench::cpu());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
