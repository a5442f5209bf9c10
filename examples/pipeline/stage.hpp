// SPDX-License-Identifier: Apache-2.0
// What the four stage programs share: their ends of the edges, the form of a chunk, and the report they leave behind.
#pragma once

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/prctl.h>
#include <csignal>

#include <omniconn/core/tensor_value.hpp>
#include <omniconn/runtime/factory.hpp>
#include <omniconn/runtime/transfer_types.hpp>

#include "dsp/stft.hpp"

namespace pipeline {

namespace oc = omniconn;

/// What one stage program was told.
struct stage_options {
  std::string config, folder, speech, noise;
  std::string recording = "recording";  ///< what this run's objects are called
  double mix_snr = 0;
  int done = -1, stay = -1;  ///< where a stage says that it is done, and hears that all are

  static stage_options from(int argc, char** argv) {
    // A stage whose supervisor died must not go on alone.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    stage_options o;
    for (int i = 1; i + 1 < argc; i += 2) {
      std::string_view const name = argv[i];
      char const* const text = argv[i + 1];
      if (name == "--config") o.config = text;
      else if (name == "--folder") o.folder = text;
      else if (name == "--speech") o.speech = text;
      else if (name == "--noise") o.noise = text;
      else if (name == "--mix-snr") o.mix_snr = std::strtod(text, nullptr);
      else if (name == "--recording") o.recording = text;
      else if (name == "--done") o.done = std::atoi(text);
      else if (name == "--stay") o.stay = std::atoi(text);
      else throw std::runtime_error("unknown option " + std::string(name));
    }
    return o;
  }
};

inline std::int64_t now_ns() { return oc::deadline::now_ns(); }

template <class T, class E>
T must(oc::result<T, E> r, std::string const& what) {
  if (!r) throw std::runtime_error(what + ": " + r.error().message());
  return std::move(r).value();
}

/// Which bytes of which file an address is mapped from: how two processes show that they look at one block.
struct mapped_place {
  std::string text;
  bool shared = false;  ///< in a file that is mapped shared, as the store's memory is; a copy would lie in memory of our own
};

inline mapped_place place_of(void const* address) {
  std::ifstream maps("/proc/self/maps");
  auto const at = reinterpret_cast<std::uintptr_t>(address);
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t from = 0, to = 0, offset = 0, inode = 0;
    char rights[8] = "", device[16] = "";
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %15s %" SCNu64, &from, &to, rights, &offset, device, &inode) == 6 && at >= from && at < to)
      return {"device " + std::string(device) + " inode " + std::to_string(inode) + " offset " + std::to_string(offset + (at - from)), inode != 0 && rights[3] == 's'};
  }
  return {"nowhere", false};
}

/// One chunk of a stream: an ordinary map whose "frames" is a float32 tensor [frames, bins, 2].
struct chunk {
  std::int64_t number = 0;
  std::int64_t sent_ns = 0;
  std::int64_t rate = 0, frame = 0, hop = 0, samples = 0;  ///< of the whole stream
  bool finished = false;
  std::vector<float> frames;

  [[nodiscard]] stft_config stft() const { return {static_cast<std::size_t>(frame), static_cast<std::size_t>(hop)}; }
};

/// One stage's end of one edge, with the figures for the report.
class edge_end {
 public:
  edge_end(oc::connector_factory const& factory, oc::transfer_config const& config, std::string recording, std::string from, std::string to, std::string const& reader, bool lends = true)
      : recording_(std::move(recording)), from_(std::move(from)), to_(std::move(to)) {
    auto const* spec = config.get_connector_for_edge(from_, to_);
    if (spec == nullptr) throw std::runtime_error("the configuration has no connector for edge " + from_ + " -> " + to_);
    auto mine = *spec;
    if (!reader.empty()) mine.extra.set("reader", reader);
    if (!lends && mine.extra.find("segment") != nullptr) mine.extra.set("segment", 0);
    connector_ = must(factory.create(mine), "edge " + from_ + " -> " + to_);
  }

  /// A store that does not know who has read an object keeps it until somebody cleans up: once all stages are done. `sent`: objects; -1 where nobody knows, and
  /// so many missing ones in a row are the end.
  void tidy(std::int64_t sent) {
    constexpr int enough = 64;
    if (connector_.facts().counts_readers) return;
    int missing = 0;
    for (std::int64_t i = 0; sent < 0 ? missing != enough : i != sent; ++i)
      if (must(connector_.cleanup(edge(), key(i)), "cleaning up edge " + name()) == 0) {
        ++missing;
      } else {
        missing = 0;
      }
  }

  void send(chunk const& c) {
    oc::dims const shape{static_cast<std::int64_t>(c.frames.size() / c.stft().row()), static_cast<std::int64_t>(c.stft().bins()), 2};
    auto const tensor = must(oc::tensor_view::make(oc::dtype::float32, shape, oc::bytes_of(std::span(c.frames))), "chunk");
    auto message = oc::value::object({{"chunk", c.number},
                                      {"rate", c.rate},
                                      {"frame", c.frame},
                                      {"hop", c.hop},
                                      {"samples", c.samples},
                                      {"finished", c.finished},
                                      {"sent_ns", now_ns()},
                                      {"frames", oc::to_value(tensor)}});
    // Readers that lag fill the arena; waiting for them is all that can be done about it.
    auto const give_up = oc::deadline::after(std::chrono::seconds(30));
    for (;;) {
      auto done = connector_.put(edge(), key(c.number), message);
      if (done) {
        ++objects_;
        if (!connector_.facts().gathers) ++copied_;  // from our memory into the arena; reserve and commit would save that
        bytes_ += done->size;
        return;
      }
      if (done.error().kind() != oc::error_kind::no_space || give_up.passed()) throw std::runtime_error("put on edge " + name() + ": " + done.error().message());
      ++retries_;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      message.set("sent_ns", now_ns());
    }
  }

  chunk receive(std::int64_t number) {
    auto view = connector_.get_view(edge(), key(number), {oc::deadline::after(std::chrono::seconds(30))});
    if (!view) throw std::runtime_error("get on edge " + name() + ": " + view.error().message());
    std::int64_t const arrived = now_ns();
    auto const message = must(view->as<oc::value>(), "chunk");
    auto const number_of = [&](std::string_view field) {
      auto const* v = message.find(field);
      return must(v == nullptr ? oc::result<std::int64_t>(oc::error_kind::malformed, "a field is missing") : v->as_int64(), "chunk field " + std::string(field));
    };
    auto const* frames = message.find("frames");
    auto const tensor = must(frames == nullptr ? oc::result<oc::tensor_view>(oc::error_kind::malformed, "there is no tensor") : oc::as_tensor(*frames), "chunk frames");
    // Reading the map takes longer than the transfer, so the first objects stand for all.
    if (number < 64) {
      auto place = place_of(view->bytes().data());
      if (place.shared) ++in_place_;
      places_.push_back(std::move(place.text));
    }
    chunk c;
    c.number = number_of("chunk");
    c.rate = number_of("rate");
    c.frame = number_of("frame");
    c.hop = number_of("hop");
    c.samples = number_of("samples");
    c.sent_ns = number_of("sent_ns");
    auto const* finished = message.find("finished");
    c.finished = finished != nullptr && finished->as_bool().value_or(false);
    // The signal processing wants aligned floats of its own; the transfer itself copied nothing.
    c.frames.resize(tensor.elements());
    tensor.copy_to(std::as_writable_bytes(std::span(c.frames)));
    if (objects_++ == 0) first_ns_ = c.sent_ns;
    last_ns_ = arrived;
    bytes_ += view->info().size;
    latencies_us_.push_back(static_cast<double>(arrived - c.sent_ns) / 1e3);
    view->release();
    return c;
  }

  /// Figures for the report of the supervisor.
  [[nodiscard]] oc::value figures() const {
    auto sorted = latencies_us_;
    std::sort(sorted.begin(), sorted.end());
    auto const quantile = [&](double q) { return sorted.empty() ? 0.0 : sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)]; };
    double errors = 0;
    auto const health = connector_.health();
    for (std::size_t i = 0; i != oc::error_kind_count; ++i)
      if (i != oc::index(oc::error_kind::no_space)) errors += static_cast<double>(health.errors[i]);
    oc::value::array places;
    for (auto const& p : places_) places.emplace_back(p);
    return oc::value::object({{"from", from_},
                              {"to", to_},
                              {"objects", objects_},
                              {"bytes", bytes_},
                              {"p50_us", quantile(0.5)},
                              {"p99_us", quantile(0.99)},
                              {"seconds", static_cast<double>(last_ns_ - first_ns_) / 1e9},
                              {"retries", retries_},
                              {"copied", copied_},
                              {"zero_copy", connector_.facts().zero_copy_get},
                              {"looked_at", static_cast<std::int64_t>(places_.size())},
                              {"in_place", in_place_},
                              {"errors", static_cast<std::int64_t>(errors)},
                              {"places", oc::value(std::move(places))}});
  }
  void close() { connector_.close(); }

 private:
  [[nodiscard]] oc::edge edge() const noexcept { return {from_, to_}; }
  [[nodiscard]] std::string name() const { return from_ + " -> " + to_; }
  // request, stage, chunk number: the form that vLLM-Omni gives the keys of its chunks
  [[nodiscard]] std::string key(std::int64_t number) const { return recording_ + "_" + from_ + "_" + std::to_string(number); }

  std::string recording_, from_, to_;
  oc::any_connector connector_;
  std::int64_t objects_ = 0, retries_ = 0, copied_ = 0, in_place_ = 0, first_ns_ = 0, last_ns_ = 0;
  std::uint64_t bytes_ = 0;
  std::vector<double> latencies_us_;
  std::vector<std::string> places_;
};

/// The factory and the configuration of a stage program. Defined in common/world.cpp, once for all stages: the connectors that a factory can make
/// take a compiler half a minute.
struct stage_world {
  oc::connector_factory factory;
  oc::transfer_config config;
  std::string recording;

  explicit stage_world(stage_options const& o);
  [[nodiscard]] edge_end open(std::string const& from, std::string const& to, std::string const& reader = {}) const { return {factory, config, recording, from, to, reader}; }
  /// Without bringing memory for others.
  [[nodiscard]] edge_end open_to_tidy(std::string const& from, std::string const& to) const { return {factory, config, recording, from, to, {}, false}; }
};

/// Leaves the figures where the supervisor looks for them; renamed into place, so that half a report is never read. Returns when all stages have come so far: what
/// a stage brings to an edge, as memory for a store, must be there until the last has read.
void leave_report(stage_options const& o, std::string const& stage, oc::value const& report);

/// Runs a stage's body; an error is one line that names the stage.
template <class Body>
int run_stage(char const* stage, int argc, char** argv, Body body) {
  try {
    body(stage_options::from(argc, argv));
    return 0;
  } catch (std::exception const& e) {
    std::fprintf(stderr, "%s: error: %s\n", stage, e.what());
    return 1;
  }
}

}  // namespace pipeline
