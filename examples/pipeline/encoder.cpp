// SPDX-License-Identifier: Apache-2.0
// Stage 0: mixes speech and noise, takes the mixture apart into short spectra and streams them in chunks.
#include "dsp/mix.hpp"
#include "dsp/wav.hpp"
#include "stage.hpp"

int main(int argc, char** argv) {
  return pipeline::run_stage("encoder", argc, argv, [](pipeline::stage_options const& o) {
    using namespace pipeline;
    stage_world const world(o);
    auto out = world.open("0", "1");

    auto const mixed = mix_at_snr(read_wav(o.speech), read_wav(o.noise), o.mix_snr);
    write_wav(o.folder + "/mixture.wav", mixed.sound.samples, mixed.sound.rate, wav_format::float32);

    chunk c;
    auto const stft = stft_config::for_rate(mixed.sound.rate);
    c.rate = mixed.sound.rate;
    c.frame = static_cast<std::int64_t>(stft.frame);
    c.hop = static_cast<std::int64_t>(stft.hop);
    c.samples = static_cast<std::int64_t>(mixed.sound.samples.size());

    // As a live source would deliver it: a tenth of a second at a time.
    stft_analysis analysis(stft);
    std::span<float const> rest(mixed.sound.samples);
    while (!rest.empty()) {
      auto const piece = rest.first(std::min<std::size_t>(rest.size(), mixed.sound.rate / 10 + 1));
      rest = rest.subspan(piece.size());
      analysis.push(piece);
      if (rest.empty()) analysis.finish();
      c.frames = analysis.take_chunk(analysis.frames_ready());
      c.finished = rest.empty();
      if (c.frames.empty() && !c.finished) continue;
      out.send(c);
      ++c.number;
    }
    leave_report(o, "encoder", oc::value::object({{"sends", oc::value::list({out.figures()})}}));
  });
}
