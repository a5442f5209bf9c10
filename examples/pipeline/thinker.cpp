// SPDX-License-Identifier: Apache-2.0
// Stage 1: sees only the mixture's spectra and takes the noise out of them, chunk by chunk.
#include "dsp/denoise.hpp"
#include "stage.hpp"

#include <optional>

int main(int argc, char** argv) {
  return pipeline::run_stage("thinker", argc, argv, [](pipeline::stage_options const& o) {
    using namespace pipeline;
    stage_world const world(o);
    auto in = world.open("0", "1", "thinker");
    auto out = world.open("1", "2");

    std::optional<denoiser> clean;
    std::int64_t sent = 0;
    for (std::int64_t i = 0;; ++i) {
      auto c = in.receive(i);
      if (!clean) {
        denoise_config config;
        config.stft = c.stft();
        config.rate = static_cast<std::uint32_t>(c.rate);
        clean.emplace(config);
      }
      clean->push(c.frames);
      if (c.finished) clean->finish();
      c.frames = clean->take_chunk(clean->frames_ready());
      if (c.frames.empty() && !c.finished) continue;  // the start-up of the noise estimate
      c.number = sent++;
      out.send(c);
      if (c.finished) break;
    }
    leave_report(o, "thinker", oc::value::object({{"receives", oc::value::list({in.figures()})}, {"sends", oc::value::list({out.figures()})}}));
  });
}
