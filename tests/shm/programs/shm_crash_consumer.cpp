// SPDX-License-Identifier: Apache-2.0
// A consumer that dies at the N-th hit of a failpoint, or is killed, or comes to its end.
//
//   shm_crash_consumer NAMESPACE [die=FAILPOINT:N] [seed=S] [ops=KEYS] [mode=forever]      reader "victim" of keys 0 .. KEYS - 1
//
//   try take KEY | try look KEY | try hold KEY | try nothing | try erase KEY       before each step
//   ok | no KIND | bad                                                             after it; bad: the bytes are not those of that key
//   hit FAILPOINT | done
#include <chrono>
#include <string_view>
#include <utility>
#include <vector>

#include <shm/crash/program.hpp>

namespace {

using namespace crash;
using omniconn::deadline;

connector* self = nullptr;
unsigned looking_for = 0;
constexpr std::size_t followed_size = 100'000;

/// Ends the object between the claim on it and the second look, so that the claim is undone.
void spoil(std::string_view name) noexcept {
  if (name != "shm.get.claimed") return;
  say("try erase " + std::to_string(looking_for));
  (void)self->cleanup(hop, key_name(looking_for));
}

/// What the victim reads while it is written: by a participant of the same process, which goes on, or gives up, once it is followed.
struct written_now {
  omniconn::shm_transport& writer;
  omniconn::shm_transport::put_op op;
  bool becomes_whole = true;
};
written_now* followed_now = nullptr;
void go_on(std::string_view name) noexcept {
  if (name != "shm.follow.claimed" || followed_now == nullptr) return;
  auto& w = *std::exchange(followed_now, nullptr);
  w.writer.advance(w.op, 40'000);
  if (aims_at("shm.follow.read")) return;
  if (w.becomes_whole) {
    (void)w.writer.commit(w.op, {followed_size, 0, 0, omniconn::payload_kind::raw, omniconn::checksum_kind::none});
  } else {
    w.writer.abort(w.op);
  }
}

void follow(settings const& s, connector& c, bool becomes_whole) {
  auto other = s.open();
  if (!other) return say("no open");
  say("try nothing");
  auto block = other->reserve(followed_size);
  omniconn::key_scratch scratch;
  auto const wire = c.keying().make(hop, "followed", scratch, omniconn::max_key_size);
  if (!block || !wire) return say("no memory");
  written_now w{other->transport(), {}, becomes_whole};
  omniconn::const_bytes const piece = block->bytes();
  omniconn::publish_options how;
  how.readers = {1, {}};
  if (!w.writer.begin(w.op, *wire, {omniconn::pieces(&piece, 1), 0, [](std::uint64_t) noexcept {}}, {followed_size, 0, 0, omniconn::payload_kind::raw, omniconn::checksum_kind::none}, how)) return say("no put");
  followed_now = &w;
  before_death = &go_on;
  omniconn::get_options o;
  o.until = deadline::after(std::chrono::milliseconds(becomes_whole ? 1000 : 5));
  o.reader = "victim";
  auto const view = c.get_view(hop, "followed", o);
  before_death = nullptr;
  say(static_cast<bool>(view) == becomes_whole ? "ok" : "bad");
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
  if (s.mode != "forever" || aims_at("shm.follow.") || aims_at("shm.withdraw.")) follow(s, *c, !aims_at("shm.follow.let_go") && !aims_at("shm.follow.read"));
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
