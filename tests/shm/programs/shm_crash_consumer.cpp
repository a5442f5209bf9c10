// SPDX-License-Identifier: Apache-2.0
// A consumer that dies at the N-th hit of a failpoint, or is killed, or comes to its end.
//
//   shm_crash_consumer NAMESPACE [die=FAILPOINT:N] [seed=S] [ops=KEYS] [mode=forever]      reader "victim" of keys 0 .. KEYS - 1
//
//   try take KEY | try look KEY | try hold KEY | try nothing | try erase KEY       before each step
//   ok | no KIND | bad                                                             after it; bad: the bytes are not those of that key
//   hit FAILPOINT | done
#include <chrono>
#include <vector>

#include <shm/crash/program.hpp>

namespace {

using namespace crash;
using omniconn::deadline;

connector* self = nullptr;
unsigned looking_for = 0;

/// Ends the object between the claim on it and the second look, so that the claim is undone.
void spoil(std::string_view name) noexcept {
  if (name != "shm.get.claimed") return;
  say("try erase " + std::to_string(looking_for));
  (void)self->cleanup(hop, key_name(looking_for));
}

}  // namespace

int main(int argc, char** argv) {
  settings s(argc, argv);
  if (aims_at("shm.name.")) s.reader = "reader of " + std::to_string(::getpid());  // a name that nobody has used yet
  auto c = s.open();
  if (!c) {
    say("no " + std::string(c.error().message()));
    return 3;
  }
  say("open");
  if (aims_at("shm.listen.")) (void)c->native_fd();
  self = &*c;
  numbers random(s.seed);
  std::vector<connector::view> held;
  do {
    for (unsigned i = 0; i != s.ops; ++i) {
      unsigned const key = s.mode == "forever" ? random.below(s.ops) : i;
      unsigned const what = random.below(5);
      omniconn::get_options o;
      o.until = deadline::immediate();
      o.reader = "victim";
      if (what == 0 || aims_at("shm.get.waiting")) {
        say("try nothing");
        o.until = deadline::after(std::chrono::microseconds(200));
        (void)c->get_view(hop, "not there", o);
        say("ok");
        o.until = deadline::immediate();
      }
      char const* const words[]{"take ", "take ", "take ", "look ", "hold "};
      say("try " + std::string(words[what]) + std::to_string(key));
      looking_for = key;
      if (aims_at("shm.get.undone")) before_death = &spoil;
      auto view = c->get_view(hop, key_name(key), o);
      before_death = nullptr;
      if (!view) {
        say("no " + std::string(to_string(view.error().kind())));
        continue;
      }
      bool const good = is_object(view->bytes(), key, view->bytes().size());
      if (what == 3) view->give_back();
      if (what == 4) {
        held.push_back(std::move(*view));
      } else if (what != 3) {
        view->release();
      }
      say(good ? "ok" : "bad");
    }
  } while (s.mode == "forever");
  for (auto& view : held) view.give_back();
  say("done");
  return 0;
}
