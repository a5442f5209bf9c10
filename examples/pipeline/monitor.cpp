// SPDX-License-Identifier: Apache-2.0
// A second reader of both edges under its own name: draws the spectra before and after as one picture.
#include "dsp/spectrogram.hpp"
#include "stage.hpp"

#include <optional>

int main(int argc, char** argv) {
  return pipeline::run_stage("monitor", argc, argv, [](pipeline::stage_options const& o) {
    using namespace pipeline;
    stage_world const world(o);
    auto before = world.open("0", "1", "monitor");
    auto after = world.open("1", "2", "monitor");

    std::optional<spectrogram> picture;
    auto draw = [&](edge_end& from, spectrogram::panel where) {
      for (std::int64_t i = 0;; ++i) {
        auto const c = from.receive(i);
        if (!picture) {
          spectrogram_config config;
          config.stft = c.stft();
          config.rate = static_cast<std::uint32_t>(c.rate);
          picture.emplace(config);
        }
        picture->add(where, c.frames);
        if (c.finished) return;
      }
    };
    draw(before, spectrogram::panel::before);
    draw(after, spectrogram::panel::after);
    picture->save(o.folder + "/spectrogram.png", {"Speech in noise", "mixture, as the encoder sent it", "after the thinker"});
    leave_report(o, "monitor", oc::value::object({{"receives", oc::value::list({before.figures(), after.figures()})}}));
  });
}
