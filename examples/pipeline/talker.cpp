// SPDX-License-Identifier: Apache-2.0
// Stage 2: puts the cleaned spectra together to sound and writes it.
#include "dsp/wav.hpp"
#include "stage.hpp"

#include <optional>

int main(int argc, char** argv) {
  return pipeline::run_stage("talker", argc, argv, [](pipeline::stage_options const& o) {
    using namespace pipeline;
    stage_world const world(o);
    auto in = world.open("1", "2", "talker");

    std::optional<stft_synthesis> synthesis;
    std::vector<float> sound;
    auto append = [&](std::vector<float> const& more) { sound.insert(sound.end(), more.begin(), more.end()); };
    for (std::int64_t i = 0;; ++i) {
      auto const c = in.receive(i);
      if (!synthesis) synthesis.emplace(c.stft());
      append(synthesis->push(c.frames));
      if (!c.finished) continue;
      append(synthesis->finish(static_cast<std::uint64_t>(c.samples)));
      write_wav(o.folder + "/enhanced.wav", sound, static_cast<std::uint32_t>(c.rate), wav_format::pcm16);
      break;
    }
    leave_report(o, "talker", oc::value::object({{"receives", oc::value::list({in.figures()})}}));
  });
}
