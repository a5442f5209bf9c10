// SPDX-License-Identifier: Apache-2.0
// What the shipped headers take for a directory, a session and the system, on the machine's memory; and what a pipeline stage does with them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <omniconn/transport/shm/endpoint.hpp>
#include <omniconn/transport/shm/lookup.hpp>
#include <omniconn/transport/shm/publish.hpp>
#include <omniconn/transport/shm/recovery.hpp>

#include <model/atomic.hpp>
#include <model/machine.hpp>

namespace model {

namespace shm = omniconn::detail::shm;
using omniconn::result;

inline constexpr std::uint32_t slots = 4;
inline constexpr std::uint32_t participants = 5;
inline constexpr std::uint32_t blocks = 6;
inline constexpr std::uint32_t for_anybody = ~0U;  // as the number of readers
inline constexpr std::uint32_t places = 8;  // of readers

/// Few slots; the rest as in the shipped directory.
class directory {
 public:
  directory() {
    for (std::uint32_t i = 0; i != slots; ++i) {
      auto& s = slots_[i];
      vm->name(s.ctl.id(), kind::ctl, i);
      vm->name(s.hash.id(), kind::hash, i);
      vm->name(s.expires.id(), kind::expires, i);
      vm->name(s.owner.id(), kind::owner, i);
      vm->name(s.readers.id(), kind::readers, i);
      vm->name(s.replaces.id(), kind::replaces, i);
      vm->name(s.touched.id(), kind::touched, i);
      vm->name(s.bell.id(), kind::bell, i);
      vm->name(s.sleepers.id(), kind::sleepers, i);
      vm->name(s.spread.id(), kind::spread, i);
      vm->name(key_locks_[i].id(), kind::lock, i);
      for (std::uint32_t k = 0; k != places; ++k) vm->name(claim_at(i, k).id(), kind::claim, i, k);
    }
    for (std::uint32_t i = 0; i != participants; ++i) {
      vm->name(participants_[i].state.id(), kind::life, i);
      vm->name(participants_[i].room_seq.id(), kind::room_seq, i);
      vm->name(participants_[i].wants_room.id(), kind::wants_room, i);
      vm->name(participants_[i].epoch.id(), kind::epoch, i);
      vm->name(participants_[i].listens.id(), kind::listens, i);
      vm->name(fifos_[i].id(), kind::fifo, i);
      locks_[i] = vm->add();
      vm->name(locks_[i], kind::os_lock, i);
      vm->locks_.push_back(locks_[i]);
    }
    for (std::uint32_t i = 0; i != blocks; ++i) {
      cells_[i] = vm->add();
      vm->name(cells_[i], kind::cell, i);
      looks_[i] = vm->add();
      vm->name(looks_[i], kind::look, i);
      for (std::size_t k = 1; k != max_threads; ++k) vm->name(vm->add(), kind::look, i, k);
    }
    vm->name(head_.listeners.id(), kind::listeners);
    vm->claim_of_argument = this;
    vm->claim_of = [](void* self, std::uint32_t slot, std::uint32_t i) { return static_cast<directory*>(self)->claim_at(slot, i).id(); };
  }

  static void remove_fifo(std::uint32_t) noexcept {}
  static void prefetch_to_write(std::uint32_t, bool) noexcept {}
  static void prefetch_to_claim(std::uint32_t) noexcept {}
  static void prefetch_to_read(std::uint32_t) noexcept {}
  /// Whoever listens sleeps on `fifos_`, as if that were what the thread behind it raises.
  void ring_participant(std::uint32_t i) const noexcept {
    fifos_[i].fetch_add(1);
    wake(fifos_[i]);
  }
  [[nodiscard]] atomic<std::uint32_t>& fifo_at(std::uint32_t i) const noexcept { return fifos_[i]; }
  static constexpr std::uint32_t most_participants = participants;

  [[nodiscard]] shm::geometry const& layout() const noexcept { return geometry_; }
  [[nodiscard]] auto& head() const noexcept { return head_; }
  [[nodiscard]] auto& participant_at(std::uint32_t i) const noexcept {
    if (i >= participants) give_up("there are not so many participants");
    return participants_[i];
  }
  [[nodiscard]] auto& slot_at(std::uint32_t i) const noexcept { return slots_[i]; }
  [[nodiscard]] atomic<std::uint64_t>& claim_at(std::uint32_t i, std::uint32_t k) const noexcept { return k == 0 ? slots_[i].first_claim : claims_[i][k]; }
  /// One each: who takes a slot beside a home needs two.
  [[nodiscard]] auto& lock_of(std::uint32_t i) const noexcept { return key_locks_[i]; }
  [[nodiscard]] std::uint32_t home_of(std::uint64_t hash) const noexcept { return static_cast<std::uint32_t>(hash) & (slots - 1); }
  /// The key's first byte is its home.
  [[nodiscard]] std::uint64_t hash(std::string_view key) const noexcept { return static_cast<std::uint64_t>(key[1]) << 50U | static_cast<std::uint64_t>(key[0] - '0'); }
  [[nodiscard]] std::uint64_t id() const noexcept { return 1; }
  /// Orders nothing, and would multiply the states: what a description is made of is checked by `read` below.
  [[nodiscard]] static std::uint64_t sum(shm::basic_slot<atomic> const&, std::uint64_t) noexcept { return 0; }
  [[nodiscard]] static std::uint64_t sum_before(shm::description const&) noexcept { return 0; }
  [[nodiscard]] static std::uint64_t sum_after(std::uint64_t, std::uint64_t) noexcept { return 0; }

  // --- the system ---------------------------------------------------------------------------------------------------------------
  // Byte 1 + i of the file is the lock of participant i. Who asks is the participant of the running thread.
  [[nodiscard]] bool try_lock(std::uint32_t byte) const noexcept { return vm->try_lock(locks_[byte - 1], who()); }
  void unlock(std::uint32_t byte) const noexcept { vm->unlock(locks_[byte - 1]); }
  [[nodiscard]] bool held_elsewhere(std::uint32_t byte) const noexcept {
    auto const holder = vm->ask_lock(locks_[byte - 1]);
    return holder != 0 && holder != who() + 1;
  }
  bool sleep(atomic<std::uint32_t>& word, std::uint32_t expected, omniconn::deadline) const noexcept {
    vm->sleep(word.id(), expected);
    return true;
  }
  void wake(atomic<std::uint32_t>& word) const noexcept { vm->wake(word.id()); }
  std::uint64_t now() const noexcept { return clock; }
  static std::uint32_t claim_time() noexcept { return 0; }
  static constexpr std::uint32_t patience = 16;
  static constexpr int looks = 0;
  static void pause(std::uint32_t) noexcept { vm->pause(); }

  // --- payload ------------------------------------------------------------------------------------------------------------------
  void write(std::uint64_t block, std::uint64_t value) const { vm->write_cell(cells_[block], looks_[block], value); }
  [[nodiscard]] std::uint64_t read(std::uint64_t block) const { return vm->read_cell(cells_[block], looks_[block]); }

  mutable std::uint64_t clock = 1000;
  mutable std::uint32_t acting = 0;  // participant, while no thread runs

 private:
  [[nodiscard]] std::uint32_t who() const noexcept { return vm->running() ? vm->current().participant : acting; }

  shm::geometry geometry_ = shm::geometry::of(slots, places);
  mutable shm::basic_header<atomic> head_;
  mutable std::array<shm::basic_participant<atomic>, participants> participants_;
  mutable std::array<atomic<std::uint32_t>, participants> fifos_;
  mutable std::array<shm::basic_slot<atomic>, slots> slots_;
  mutable std::array<std::array<atomic<std::uint64_t>, places>, slots> claims_;
  mutable std::array<atomic<std::uint64_t>, slots> key_locks_;
  std::array<std::uint32_t, participants> locks_{};
  std::array<std::uint32_t, blocks> cells_{}, looks_{};
};

/// The part of a session that puts and gets ask for.
class session {
 public:
  session(directory const& d, std::uint32_t me) : dir_(d), me_(me) {}
  [[nodiscard]] directory const& dir() const noexcept { return dir_; }
  [[nodiscard]] shm::names const& where() const noexcept { return where_; }
  [[nodiscard]] std::uint32_t me() const noexcept { return me_; }
  [[nodiscard]] auto& record() const noexcept { return dir_.participant_at(me_); }
  result<std::uint16_t> name_id(std::string_view name, omniconn::deadline) { return static_cast<std::uint16_t>(name[0]); }
  result<std::shared_ptr<shm::mapped_arena const>> arena(std::uint32_t, std::uint64_t) { return {omniconn::error_kind::corrupt, "there are no arenas here"}; }
  // Deaths that are heard, stages that are named and forks are not modelled: nothing here names a stage.
  enum class side : std::uint8_t { puts, gets };
  struct sleeper {
    sleeper(session&, auto&) {}
  };
  static constexpr std::int64_t patience_ns = 0;
  static std::optional<std::uint16_t> stage_id(std::string_view, omniconn::deadline) noexcept { return std::nullopt; }
  static void puts_for(std::uint16_t) noexcept {}
  static bool has_no_place_for_stages() noexcept { return true; }
  static void gets_for(std::uint16_t) noexcept {}
  static bool lost(std::uint16_t, side) noexcept { return false; }
  static void ask(std::uint16_t, side) noexcept {}
  static bool stalled(std::uint16_t, side) noexcept { return false; }
  static bool inherited() noexcept { return false; }
  /// As in the shipped session.
  void retired_of(std::uint32_t owner) noexcept {
    if (owner >= shm::max_participants || dir_.participant_at(owner).state.load() != shm::participant_state::orphan) return;
    shm::sweep_one(dir_, where_, owner);
  }

 private:
  directory const& dir_;
  shm::names where_;
  std::uint32_t me_;
};

using endpoint = shm::basic_endpoint<session>;
using put_operation = shm::basic_put_operation<session>;
using get_operation = shm::basic_get_operation<session>;
using omniconn::disposition;
using omniconn::on_existing;

/// What an object's trace says: which block it lies in and what must stand there.
struct label {
  static std::uint64_t make(std::uint64_t tag, std::uint64_t block) { return tag << 8U | block; }
  static std::uint64_t tag(std::uint64_t l) { return l >> 8U; }
  static std::uint64_t block(std::uint64_t l) { return l & 0xffU; }
  static constexpr std::uint64_t in_slot = 0xff;  // in place of a block
};

/// A participant of the namespace.
class stage {
 public:
  stage(directory const& d, std::uint32_t me, char reader) : dir_(d), me_(me), endpoint_(std::make_shared<session>(d, me), 4096, static_cast<std::uint16_t>(reader), 0) {
    d.acting = me;
    endpoint_.follow_from = 0;
    endpoint_.follow_ns = 0;  // nobody looks at a clock here
    auto& p = d.participant_at(me);
    (void)d.try_lock(me + 1);
    p.epoch.fetch_add(1);
    p.state.store(shm::participant_state::live);
  }

  /// Blocks that this stage writes objects into, as an allocator would have them.
  void own(std::uint64_t first, std::uint64_t n) {
    for (std::uint64_t b = first + n; b-- != first;) free_.push_back(b);
    owned_ = n;
  }
  [[nodiscard]] std::uint32_t me() const noexcept { return me_; }
  [[nodiscard]] endpoint& shipped() noexcept { return endpoint_; }
  [[nodiscard]] std::size_t blocks_at_home() const noexcept { return free_.size(); }
  [[nodiscard]] std::size_t blocks_owned() const noexcept { return owned_; }

  /// \returns the error of a put that failed, or nothing.
  std::optional<omniconn::error_kind> put(std::string_view key, std::uint64_t tag, std::uint32_t readers, on_existing existing = on_existing::fail, std::int64_t lease_ns = 0) {
    auto const block = written(tag);
    if (!block) return omniconn::error_kind::no_space;
    put_operation op;
    auto const info = info_of(tag, *block);
    auto const o = options_of(readers, existing, lease_ns);
    if (auto const begun = shm::begin_put(endpoint_, op, key, {{}, *block, nullptr}, info, o); !begun) {
      free_.push_back(*block);
      return begun.error().kind();
    }
    if (auto const done = shm::commit_put(endpoint_, op, info); !done) return done.error().kind();
    return {};
  }
  /// A put that is given up before it is whole.
  void begin_and_give_up(std::string_view key, std::uint64_t tag, std::uint32_t readers) {
    auto const block = written(tag);
    if (!block) return;
    put_operation op;
    if (!shm::begin_put(endpoint_, op, key, {{}, *block, nullptr}, info_of(tag, *block), options_of(readers))) return free_.push_back(*block);
    shm::give_up(op);
  }

  /// A put whose readers are told of each step: of one, whose bytes are there before. It stays unfinished as long as the world.
  void grow(std::string_view key, std::uint64_t tag) {
    auto const block = written(tag);
    if (!block) return;
    auto o = options_of(1);
    o.growing = true;
    grown_ = std::make_unique<put_operation>();
    if (!shm::begin_put(endpoint_, *grown_, key, {{}, *block, nullptr}, info_of(tag, *block), o)) return free_.push_back(*block);
    shm::advance_put(endpoint_, *grown_, step);
  }
  /// Waits for a step of such an object. \returns the tag of what is there, or 0 where it came to nothing
  std::uint64_t read_growing(std::string_view key) {
    get_operation op;
    omniconn::find_options o;
    o.growing = true;
    omniconn::operation* const ops[] = {&op};
    auto now = shm::start_get(endpoint_, op, key, o);
    auto const drive = [&] {
      if (!now && now.error().kind() == omniconn::error_kind::aborted) given_up = true;
      while (now && *now == omniconn::progress::pending) {
        if (!shm::wait_for_any(endpoint_, ops, omniconn::deadline::never(), {})) return false;
        now = shm::step_get(&endpoint_, op);
        if (!now && now.error().kind() == omniconn::error_kind::aborted) given_up = true;
      }
      return bool(now);
    };
    if (!drive()) return 0;
    auto& f = op.following_;
    if (!f.on) return read(op, disposition::consumed);
    static std::byte const room[step]{};
    f.bytes = room;  // as if it had so many: where bytes lie is not this model's business
    now = shm::await_bytes(&endpoint_, op, step);
    if (!drive()) return 0;
    if (!f.on) return read(op, disposition::consumed);
    std::uint64_t const trace = dir_.slot_at(f.index).trace;
    if (dir_.read(label::block(trace)) != label::tag(trace)) vm->violation("who reads an object that grows reads what is not there yet");
    shm::cancel_get(&endpoint_, op);
    return label::tag(trace);
  }

  /// The same with a payload of one word, which lies in the slot.
  std::optional<omniconn::error_kind> put_short(std::string_view key, std::uint64_t tag, std::uint32_t readers, on_existing existing = on_existing::fail, std::int64_t lease_ns = 0) {
    return put_at_once(key, tag, info_of(tag, label::in_slot), options_of(readers, existing, lease_ns));
  }
  /// The same for a reader with a name.
  std::optional<omniconn::error_kind> put_named(std::string_view key, std::uint64_t tag, std::string_view reader) {
    auto o = options_of(1);
    o.readers.names = {&reader, 1};
    return put_at_once(key, tag, info_of(tag, label::in_slot), o);
  }
  /// The same without a trace, so that nothing is left for the slot's second line.
  std::optional<omniconn::error_kind> put_plain(std::string_view key, std::uint64_t tag, std::uint32_t readers) { return put_at_once(key, tag, {}, options_of(readers)); }
  /// Takes one of those, by an operation that this thread alone has. \returns its bytes, or 0
  std::uint64_t get_plain(std::string_view key, bool wait) {
    get_operation op;
    omniconn::find_options o;
    o.wait = wait;
    o.alone = true;
    auto now = shm::start_get(endpoint_, op, key, o);
    if (now && *now == omniconn::progress::pending) {
      omniconn::operation* const ops[]{&op};
      if (!shm::wait_for_any(endpoint_, ops, omniconn::deadline::never(), {})) return 0;
      now = shm::step_get(&endpoint_, op);
    }
    if (!now) return 0;
    auto hold = op.take();
    std::uint64_t const tag = dir_.slot_at(hold.index()).room.word(2);
    hold.finish(disposition::consumed);
    return tag;
  }
  /// The same with a block that was written before.
  std::optional<omniconn::error_kind> put_written(std::string_view key, std::uint64_t tag, std::uint32_t readers) {
    auto const block = written(tag);
    if (!block) return omniconn::error_kind::no_space;
    omniconn::outgoing const out{{}, *block, nullptr};
    auto const done = shm::put_at_once(endpoint_, key, {}, &out, info_of(tag, *block), options_of(readers));
    if (done) return std::nullopt;
    free_.push_back(*block);
    return done.error().kind();
  }
  void reclaim() {
    endpoint_.writer.reclaim([this](std::uint64_t token) {
      for (auto const b : free_)
        if (b == token) return vm->violation("block " + std::to_string(token) + " comes home twice");
      free_.push_back(token);
    });
  }

  /// Writes over every block that is at home.
  void use_blocks() {
    reclaim();
    for (auto const b : free_) dir_.write(b, 99);
  }

  /// Gets an object, reads it and ends the claim. \returns its tag, or 0 where there was none.
  std::uint64_t get(std::string_view key, bool wait, disposition how = disposition::consumed) {
    get_operation op;
    omniconn::find_options o;
    o.wait = wait;
    auto begun = shm::start_get(endpoint_, op, key, o);
    if (begun && *begun == omniconn::progress::pending) {
      omniconn::operation* const ops[] = {&op};
      if (auto const woken = shm::wait_for_any(endpoint_, ops, omniconn::deadline::never(), {}); !woken) return 0;
      begun = shm::step_get(&endpoint_, op);
    }
    if (!begun && begun.error().kind() == omniconn::error_kind::corrupt) vm->violation("a get calls an object corrupt");
    if (!begun || *begun != omniconn::progress::done) return 0;
    return read(op, how);
  }

  /// The same for whichever of two comes first; the other get is given up.
  std::uint64_t get_any(std::string_view one, std::string_view other) {
    std::array<get_operation, 2> both;
    omniconn::find_options const o;
    bool pending = true;
    pending = *shm::start_get(endpoint_, both[0], one, o) == omniconn::progress::pending && pending;
    pending = *shm::start_get(endpoint_, both[1], other, o) == omniconn::progress::pending && pending;
    omniconn::operation* const ops[] = {&both[0], &both[1]};
    if (pending && !shm::wait_for_any(endpoint_, ops, omniconn::deadline::never(), {})) return 0;
    std::uint64_t tag = 0;
    for (auto& op : both)
      if (auto const done = shm::step_get(&endpoint_, op); tag == 0 && done && *done == omniconn::progress::done) tag = read(op, disposition::consumed);
    for (auto& op : both) shm::cancel_get(&endpoint_, op);
    return tag;
  }

  /// A get that claims what is being written; to the end, or a few looks and then no more.
  std::uint64_t follow(std::string_view key, bool to_the_end, disposition how = disposition::consumed) {
    get_operation op;
    if (auto const begun = shm::start_get(endpoint_, op, key, {}); !begun) return 0;
    op.may_follow_ = true;
    if (to_the_end) {
      omniconn::operation* const ops[] = {&op};
      if (!shm::wait_for_any(endpoint_, ops, omniconn::deadline::never(), {})) return 0;
    }
    for (int looks = 0; looks != 2; ++looks) {
      auto const now = shm::step_get(&endpoint_, op);
      if (auto const& f = op.following_; f.on)  // it reads behind the writer: the block must not be another object's
        if (std::uint64_t const trace = dir_.slot_at(f.index).trace; label::block(trace) < blocks && dir_.read(label::block(trace)) != label::tag(trace)) vm->violation("who follows an object reads another's bytes");
      if (now && *now == omniconn::progress::done) return read(op, how);
      if (!now && now.error().kind() == omniconn::error_kind::corrupt) vm->violation("a get calls an object corrupt");
    }
    shm::cancel_get(&endpoint_, op);
    return 0;
  }

  void listen() { shm::start_listening(dir_, me_); }
  void stop_listening() { shm::stop_listening(dir_, me_); }
  /// As an event loop gets an object: it steps whenever its FIFO was rung, and sleeps on nothing else.
  std::uint64_t get_when_rung(std::string_view key) {
    get_operation op;
    if (auto const begun = shm::start_get(endpoint_, op, key, {}); !begun) return 0;
    for (;;) {
      std::uint32_t const before = dir_.fifo_at(me_).load();
      auto const now = shm::step_get(&endpoint_, op);
      if (!now) return 0;
      if (*now == omniconn::progress::done) return read(op, disposition::consumed);
      dir_.sleep(dir_.fifo_at(me_), before, omniconn::deadline::never());
    }
  }

  /// As in the shipped transport.
  std::size_t erase(std::string_view key) {
    std::uint64_t const hash = dir_.hash(key);
    std::size_t n = 0;
    shm::for_each_of(dir_, hash, [&](std::uint32_t index, std::uint64_t) {
      if (endpoint_.drain_if(index, hash)) ++n;
      return false;
    });
    return n;
  }

  /// As the shipped session does when it ends.
  void leave() {
    left_ = true;
    shm::settle(dir_, shm::names{}, me_);
    dir_.unlock(me_ + 1);
    if (dir_.participant_at(me_).state.load() == shm::participant_state::orphan) shm::sweep_one(dir_, shm::names{}, me_);
  }
  [[nodiscard]] bool left() const noexcept { return left_; }

  /// What joining and reporting do for one that died.
  void sweep(std::uint32_t dead) { shm::sweep_one(dir_, shm::names{}, dead); }

 private:
  std::optional<omniconn::error_kind> put_at_once(std::string_view key, std::uint64_t tag, omniconn::object_info info, omniconn::publish_options const& o) {
    info.size = sizeof tag;
    auto const done = shm::put_at_once(endpoint_, key, omniconn::const_bytes(reinterpret_cast<std::byte const*>(&tag), sizeof tag), nullptr, info, o);
    return done ? std::nullopt : std::optional(done.error().kind());
  }
  /// A block of ours that holds an object's bytes; nothing where all are with readers.
  std::optional<std::uint64_t> written(std::uint64_t tag) {
    if (free_.empty()) reclaim();
    if (free_.empty()) return std::nullopt;
    std::uint64_t const block = free_.back();
    free_.pop_back();
    dir_.write(block, tag);
    return block;
  }
  static omniconn::object_info info_of(std::uint64_t tag, std::uint64_t block) {
    omniconn::object_info info;
    info.trace = label::make(tag, block);
    info.checksum = ~info.trace;
    return info;
  }
  static omniconn::publish_options options_of(std::uint32_t readers, on_existing existing = on_existing::fail, std::int64_t lease_ns = 0) {
    omniconn::publish_options o;
    o.readers = readers == for_anybody ? omniconn::reader_set::until_cleaned_up() : omniconn::reader_set{readers, {}};
    o.lease = std::chrono::nanoseconds(lease_ns);
    o.existing = existing;
    return o;
  }

  std::uint64_t read(get_operation& op, disposition how) {
    auto hold = op.take();
    auto const info = op.info();
    auto const fail = [&](char const* what) { vm->violation(std::string("participant ") + std::to_string(me_) + " holds an object " + what); };
    if (info.checksum != ~info.trace) fail("whose description is of two objects");
    bool const is_short = label::block(info.trace) == label::in_slot;
    if (!is_short && label::block(info.trace) >= blocks) fail("without a block");
    auto const at = op.where().unpack<shm::place>(omniconn::locator_tag::shm);
    auto const tag = is_short ? dir_.slot_at(static_cast<std::uint32_t>(at->index)).room.word(shm::behind_key(2) / 8) : dir_.read(label::block(info.trace));
    if (tag != label::tag(info.trace)) fail("and reads another object's bytes");
    hold.finish(how);
    return tag;
  }

  static constexpr std::size_t step = 8;

 public:
  bool given_up = false;  // what it read while it grew, as it was told

 private:
  directory const& dir_;
  std::uint32_t me_;
  endpoint endpoint_;
  std::unique_ptr<put_operation> grown_;
  std::vector<std::uint64_t> free_;
  std::size_t owned_ = 0;
  bool left_ = false;
};

}  // namespace model
