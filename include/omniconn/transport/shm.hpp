// SPDX-License-Identifier: Apache-2.0
// Shared memory between the processes of one user: our own layout. docs/transports/shm.md describes it.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <omniconn/config.hpp>
#include <omniconn/detail/failpoint.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/endpoint.hpp>
#include <omniconn/transport/shm/lookup.hpp>
#include <omniconn/transport/shm/placement.hpp>
#include <omniconn/transport/shm/publish.hpp>

OMNICONN_BEGIN_NAMESPACE

/// Objects in shared memory, read where they were written.
///
/// One arena per producer, mapped read-only by readers; one directory per namespace. A put writes into the arena and publishes; a waiting get is
/// woken by a futex and returns a view into the producer's arena. An acknowledged object outlives its producer until its lease ends. Only
/// processes of the same user share a namespace. \threadsafety every call; `memory`, `grow` and `reclaim` among themselves by the caller.
class shm_transport {
 public:
  struct options {
    /// Who sees whose objects. Empty: the environment variable OMNICONN_NAMESPACE, else "default". Any bytes.
    std::string space;
    /// Bytes of payload memory that this participant's arena may grow to; it takes memory only as it needs it.
    std::uint64_t memory_pool_size = std::uint64_t{1} << 30U;
    /// Objects that may live at once, over all producers, rounded up to a power of two. There are twice as many slots, so that keys rarely meet: some more find a place, too.
    /// 0: whatever an existing namespace has, else 4,096. 512 bytes each, and as many again for 32 readers.
    std::uint32_t max_keys = 0;
    /// The most readers of one object, or processes that hold a kept one at once: rounded up to a multiple of 8, 64 at most, 8 bytes per reader and slot.
    /// 0: whatever an existing namespace has, else 16.
    std::uint32_t max_readers = 0;
    /// The most payload memory of all participants together, in whole pages of 4 KiB, set by who opens the namespace first; else `quota_exceeded`. 0: as much as there is.
    std::uint64_t max_namespace_bytes = 0;
    /// Payload memory in pages of 2 MiB: taken, and given out, by so many at once. What cannot be had so is had in small pages, and nothing fails for it; `omniconn doctor` says what this host grants.
    bool huge_pages = false;
    /// The NUMA node that payload memory is taken from, as long as it has any left; then from others. None: that of whoever touches a page first.
    std::optional<std::uint32_t> numa_node;
    /// The reader name of gets that bring none.
    std::string reader = "default";
    /// What other participants and the tool are shown; 23 bytes of it. Empty: the reader name.
    std::string name;
    /// How long a get spins before it sleeps. Negative: 20 us on machines with more than one CPU, and 100 us while objects come that soon after one slept. 0: sleep at once.
    std::chrono::nanoseconds spin{-1};
    /// Where the files lie; tmpfs. Empty: the environment variable OMNICONN_SHM_DIRECTORY, else "/dev/shm".
    std::string directory;
    /// Until when `open` and `collect` wait for a process that is stopped while it opens or closes the namespace; no longer than 5 s.
    deadline until{};
  };

  static constexpr capabilities caps{.name = "shm",
                                     .wait = wake_up::notify,
                                     .survives = survival::producer_exit,
                                     .max_readers = detail::shm::max_claims,
                                     .max_key = max_key_size,
                                     .max_pieces = 1,
                                     .own_memory = true,
                                     .leaves_process = true,
                                     .zero_copy_get = true,
                                     .hears_death = true,
                                     .progressive = true,
                                     .keeps = true};

  /// Readers of one object in a namespace that was made without `max_readers`.
  static constexpr std::uint32_t usual_readers = detail::shm::usual_claims;

  using hold = detail::shm::object_hold;
  using put_op = detail::shm::put_operation;
  using get_op = detail::shm::get_operation;

  /// \requires no operation of the transport is unfinished, as for its destruction.
  shm_transport(shm_transport&&) noexcept = default;
  shm_transport& operator=(shm_transport&& other) noexcept {
    if (this != &other) {
      close();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~shm_transport() { close(); }

  /// Joins the namespace, making it if nobody uses it.
  /// \errors `misconfigured`: an option out of range, or a `numa_node` that is not there; `unauthorized`: the name belongs to somebody else, or nodes may not be chosen here; `no_space`: the file system is full;
  /// `corrupt`, `version_mismatch`: what is there is not ours; `peer_stalled`: see `options::until`.
  static result<shm_transport, diagnosis> open(options const& o) {
    namespace shm = detail::shm;
    if (o.memory_pool_size == 0 || o.memory_pool_size > (std::uint64_t{1} << 46U))
      return diagnosis(error_kind::misconfigured, "memory_pool_size must be between 1 byte and 64 TiB");
    if (o.max_keys > shm::max_keys) return diagnosis(error_kind::misconfigured, "max_keys may be 2,097,152 at most");
    std::uint32_t keys = o.max_keys;
    if (keys != 0) keys = std::bit_ceil(keys * shm::slots_of_a_key < shm::min_slots ? shm::min_slots / shm::slots_of_a_key : keys);
    if (o.max_namespace_bytes != 0 && o.max_namespace_bytes < 4096) return diagnosis(error_kind::misconfigured, "max_namespace_bytes must be 4 KiB or more, or 0 for no limit: payload memory is counted in pages");
    if (o.max_readers > shm::max_claims) return diagnosis(error_kind::misconfigured, "max_readers may be 64 at most");
    if (o.numa_node)
      if (auto there = shm::check_node(*o.numa_node); !there) return std::move(there.error());
    std::uint32_t const readers = (o.max_readers + shm::claims_of_a_line - 1) / shm::claims_of_a_line * shm::claims_of_a_line;
    shm::names where(folder_of(o), namespace_of(o));
    auto joined = shm::session::open(where, o.name.empty() ? o.reader : o.name, {keys, readers, o.max_namespace_bytes}, true, o.until);
    if (!joined) return std::move(joined.error());
    auto reader = (*joined)->name_id(o.reader, o.until);
    if (!reader) return diagnosis(reader.error());
    return shm_transport(std::make_unique<endpoint>(std::move(*joined), o.memory_pool_size, *reader, o.spin.count(), shm::placement{o.huge_pages, o.numa_node}));
  }

  /// Tidies a namespace that perhaps nobody uses any more: what the dead hold, leases that have ended, and the files once all are gone.
  /// Success also where there is nothing.
  static result<void, diagnosis> collect(options const& o) {
    detail::shm::names where(folder_of(o), namespace_of(o));
    auto joined = detail::shm::session::open(where, "collector", {}, false, o.until);
    if (!joined && joined.error().kind() != error_kind::not_found) return std::move(joined.error());
    return {};
  }

  /// Paths of the namespace's files that exist now: none once the last user and the last lease are gone.
  static std::vector<std::string> files(options const& o) {
    detail::shm::names const where(folder_of(o), namespace_of(o));
    std::vector<std::string> out;
    detail::for_each_file(where.folder, [&](std::string_view name) {
      if (name.starts_with(where.stem)) out.push_back(where.folder + "/" + std::string(name));
    });
    return out;
  }

  // --- memory ---------------------------------------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept {
    call const entered(state_.get());
    if (!entered) return {};
    std::scoped_lock const lock(state_->put_mutex);
    return state_->writer.memory();
  }
  /// \errors `no_space`, `quota_exceeded`: EFBIG where more is asked for than there may ever be; `peer_stalled` with EAGAIN: see `wait_to_grow`
  result<memory_region> grow(std::size_t more) {
    return with_writer([&](auto& w) { return w.grow(more); });
  }
  /// Where the namespace has a limit, growing needs the gate: waits until nobody who opens or closes the namespace has it. \errors `peer_stalled`: somebody is
  /// stopped with it, seen at the deadline or after 5 s
  result<void> wait_to_grow(deadline until) {
    return detail::inside(state_.get(), [&](auto& e) { return e.session->wait_for_gate(until); });
  }
  std::size_t reclaim(reclaim_sink sink) {
    return take_back(sink, [&](auto& w) { return w.reclaim(sink); });
  }
  /// The same by a few looks, where those are likely to lie that came back just now: `reclaim` looks at every object that is out.
  std::size_t reclaim_some(reclaim_sink sink) {
    return take_back(sink, [&](auto& w) { return w.reclaim_some(sink); });
  }

  // --- put ------------------------------------------------------------------------------------------------------------------------

  result<progress> begin(put_op& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::shm::begin_put(e, op, key, out, info, o); });
  }
  /// So many bytes are there: whoever waits for the object may read them already.
  void advance(put_op& op, std::uint64_t ready) noexcept {
    call const entered(state_.get());
    if (entered && op.at_.load(std::memory_order_relaxed) == detail::stage::begun) detail::shm::advance_put(*state_, op, ready);
  }
  /// The most payload bytes that `put_whole` takes, and whether it takes so many beside a wire key of that size.
  static constexpr std::size_t short_payload = detail::shm::slot_room;
  [[nodiscard]] static constexpr bool fits_whole(std::size_t key_size, std::size_t size) noexcept { return detail::shm::fits_slot(key_size, size); }
  /// begin, copy and commit of a short payload in one: it lies in the directory, beside its key, and needs no block. \errors as those, and `too_large`: see `fits_whole`
  result<receipt> put_whole(wire_key key, const_bytes payload, object_info const& info, publish_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) -> result<receipt> {
      if (!fits_whole(key.size(), payload.size())) return {error_kind::too_large, "key and payload have no room in a slot; begin and commit it"};
      return detail::shm::put_at_once(e, key, payload, nullptr, info, o);
    });
  }
  /// begin and commit in one of a payload that has been written already. \errors as those; then the block is the caller's, who may try again
  result<receipt> put_written(wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) -> result<receipt> {
      if (auto const good = detail::shm::check_put(key, out); !good) return good.error();
      return detail::shm::put_at_once(e, key, out.parts.empty() ? const_bytes{} : out.parts.front(), &out, info, o);
    });
  }
  result<progress> commit(put_op& op, object_info const& info) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::shm::commit_put(e, op, info); });
  }
  /// The block comes back through `reclaim`.
  void abort(put_op& op) noexcept {
    if (op.at_.load(std::memory_order_relaxed) == detail::stage::begun) detail::shm::give_up(op);
  }

  // --- get ------------------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::shm::start_get(e, op, key, o); });
  }
  /// Where `find_options::growing` was asked for: ends when so many bytes of the object are there, or all. \errors `aborted`: its producer gave it up; `peer_lost`: that died
  result<progress> await_bytes(get_op& op, std::uint64_t bytes) { return detail::shm::await_bytes(state_.get(), op, bytes); }
  result<progress> land(get_op&, mutable_pieces) { return {error_kind::misconfigured, "shared memory needs no landing: find ends with the bytes in place"}; }

  // --- beyond the contract ----------------------------------------------------------------------------------------------------------

  /// Ends when nobody needs the object behind a locator any more: every reader is done with it, or it was dropped. \errors `stale_handle`: of another
  /// namespace; `peer_lost`: whoever gets for stage `consumer` died.
  result<progress> watch(get_op& op, locator const& of, std::string_view consumer = {}) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::shm::start_watch(e, op, of, consumer); });
  }

  /// A descriptor for foreign event loops (poll, epoll, asyncio): readable when `step` may find something new, because something was published, given back
  /// or removed anywhere in the namespace, a participant died, or the transport was closed. Read its 8 bytes, then step every pending operation; a step
  /// that finds nothing is no error. Leases and deadlines that come to their end ring nothing.
  ///
  /// Made by the first call, readable at first, non-blocking, close-on-exec; the same for all calls. Poll and read it, but leave the closing to the transport:
  /// it is good until that is destroyed, also after `close`. Until then each event of the namespace costs whoever makes it some system calls.
  /// \errors `no_space`: no descriptor is left; `closed`. \threadsafety any; who reads for several threads steps for all of them.
  result<int> native_fd() {
    return detail::inside(state_.get(), [&](auto& e) { return e.native_fd(); });
  }

  /// Memory of the caller that readers map as it is: a memfd or a file of /dev/shm, mapped shared, with a descriptor still open. Payloads may lie in it from now on; what
  /// readers see is the file, so that bytes stay untouched and the file as long as it is until nobody needs them (`watch`). A file in the namespace's own file
  /// system outlives the producer like an arena, if its mode is 0600; objects in any other memory end with it. \returns the region, for `forget_region`.
  /// \errors `unsupported`: memory that other processes cannot reach; `misconfigured`: an empty range, or beyond the end of its file; `no_space`: 65,535 regions were adopted;
  /// `unauthorized`: the next 64 names that readers would find it by are taken by somebody else.
  result<std::uint64_t> adopt_region(mutable_bytes user) {
    return with_writer([&](auto& w) { return w.adopt(user); });
  }
  /// Takes the memory back. \errors `misconfigured`: no such region, or objects in it are still with readers.
  result<void> forget_region(std::uint64_t region) {
    return with_writer([&](auto& w) { return w.forget(region); });
  }

  /// What `wait_for_room` compares with: read before the attempt that finds no room.
  [[nodiscard]] std::uint32_t room_seen() noexcept {
    call const entered(state_.get());
    return entered ? detail::shm::returned_so_far(*state_) : 0;
  }
  /// Waits until something of this producer came back since. \errors `no_space`: nothing of it is unread, so nothing can; `peer_lost`: whoever gets
  /// for stage `consumer` died; timed_out, cancelled, closed.
  result<void> wait_for_room(std::uint32_t seen, std::string_view consumer, deadline until, stop_token stop) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::shm::wait_for_return(e, seen, consumer, until, stop); });
  }
  /// Drops this producer's oldest object that nobody holds now; of several readers, some may have had it. \returns false where there is none.
  bool drop_oldest() {
    call const entered(state_.get());
    if (!entered) return false;
    for (;;) {
      std::optional<detail::shm::basic_producer<detail::shm::session>::put_mark> oldest;
      {
        std::scoped_lock const lock(state_->put_mutex);
        oldest = state_->writer.take_oldest_unread(state_->crowded_home);
      }
      if (!oldest) return false;
      if (state_->drain_index(oldest->index, oldest->generation)) return true;
    }
  }

  // --- drive ----------------------------------------------------------------------------------------------------------------------

  result<progress> step(put_op& op) {
    auto const at = op.at_.load(std::memory_order_relaxed);
    if (at == detail::stage::begun || at == detail::stage::found) return progress::done;
    return op.failure_;
  }
  result<progress> step(get_op& op) { return detail::shm::step_get(state_.get(), op); }
  result<progress> cancel(put_op& op) {
    abort(op);
    return progress::done;
  }
  result<progress> cancel(get_op& op) {
    detail::shm::cancel_get(state_.get(), op);
    return progress::done;
  }
  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token stop) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::shm::wait_for_any(e, ops, until, stop); });
  }

  // --- administration -------------------------------------------------------------------------------------------------------------

  result<std::size_t> erase(wire_key key) {
    call const entered(state_.get());
    if (!entered) return detail::closed_error();
    auto const& dir = state_->session->dir();
    std::uint64_t const hash = dir.hash(key);
    std::size_t n = 0;
    detail::shm::for_each_of(dir, hash, [&](std::uint32_t index, std::uint64_t) {
      if (state_->drain_if(index, hash)) ++n;
      return false;
    });
    return n;
  }

  result<std::size_t> erase_if(function_ref<bool(wire_key)> match) {
    namespace shm = detail::shm;
    call const entered(state_.get());
    if (!entered) return detail::closed_error();
    auto const& dir = state_->session->dir();
    std::size_t n = 0;
    std::string key;
    for (std::uint32_t i = 0; i != dir.layout().slots; ++i) {
      shm::slot& s = dir.slot_at(i);
      std::uint64_t word = s.ctl.load();
      if (shm::control::state(word) != shm::slot_state::ready || !read_key(i, key)) continue;
      // Still the same object after the copy, or the key may be half of one and half of another.
      if (!s.ctl.compare_exchange_strong(word, word)) continue;
      if (match(key) && state_->drain_index(i, shm::control::generation(word))) ++n;
    }
    return n;
  }

  result<bool> exists(wire_key key) {
    namespace shm = detail::shm;
    call const entered(state_.get());
    if (!entered) return detail::closed_error();
    auto const& dir = state_->session->dir();
    std::uint64_t const hash = dir.hash(key);
    for (int again = 0;; ++again) {
      bool moved = false;
      bool const found = shm::for_each_of(dir, hash, [&](std::uint32_t index, std::uint64_t word) {
        shm::slot const& s = dir.slot_at(index);
        if (s.hash.load(std::memory_order_relaxed) != hash) return false;
        if (shm::control::is_going(word)) moved = true;
        return shm::control::state(word) == shm::slot_state::ready && !shm::lease_is_over(dir, s);
      });
      if (found || !shm::is_worth_another(dir, hash, again, moved)) return found;  // replaced: it may be where we had looked
    }
  }

  [[nodiscard]] value describe(locator const& l) const {
    auto at = l.unpack<detail::shm::place>(locator_tag::shm);
    if (!at) return {};
    return value::object({{"transport", "shm"}, {"directory", at->directory}, {"generation", at->generation}, {"hash", at->hash}, {"slot", at->index}});
  }

  [[nodiscard]] result<locator> parse(value const& metadata) const {
    auto const number = [&](std::string_view name) -> result<std::uint64_t> {
      if (auto const* v = metadata.find(name)) return v->as_uint64();
      return {error_kind::malformed, "the metadata of a shared-memory object needs directory, generation, hash and slot"};
    };
    auto const *kind = metadata.find("transport");
    if (kind == nullptr || kind->as_string().value_or("") != "shm") return {error_kind::malformed, "the metadata is not of a shared-memory object"};
    auto directory = number("directory"), generation = number("generation"), hash = number("hash"), index = number("slot");
    for (auto const* field : {&directory, &generation, &hash, &index})
      if (!*field) return field->error();
    if (*index >= detail::shm::max_slots) return {error_kind::malformed, "the metadata names an impossible slot"};
    return detail::shm::place{*directory, *generation, *hash, *index}.pack();
  }

  [[nodiscard]] health_report report() const {
    namespace shm = detail::shm;
    health_report out;
    call const entered(state_.get());
    if (!entered) {
      out.status = health_status::closed;
      out.why = "closed";
      return out;
    }
    auto const& dir = state_->session->dir();
    out.moved = {state_->sent.objects(), state_->sent.bytes(), state_->got.objects(), state_->got.bytes()};
    {
      std::scoped_lock const lock(state_->put_mutex);
      auto const memory = state_->writer.memory();
      out.memory = {memory.committed, memory.reserved};
    }
    out.objects.capacity = dir.layout().keys();
    for (std::uint32_t i = 0; i != dir.layout().slots; ++i)
      if (shm::control::is_object(dir.slot_at(i).ctl.load(std::memory_order_relaxed))) ++out.objects.used;
    for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
      auto const& p = dir.participant_at(i);
      auto const s = p.state.load();
      if (s == shm::participant_state::free || i == state_->session->me()) continue;
      auto const shown = p.name.load();
      std::string name(shown.data(), ::strnlen(shown.data(), shown.size()));
      bool const alive = s == shm::participant_state::live && shm::byte_lock::held_elsewhere(dir.fd(), i + 1);
      out.peers.push_back({name + " (pid " + std::to_string(std::uint32_t{p.pid}) + ")", alive});
      if (s == shm::participant_state::live && !alive && out.status == health_status::ready) {
        out.status = health_status::degraded;
        out.why = "participant " + out.peers.back().name + " died; its objects live until their leases end";
      }
    }
    return out;
  }

  /// Gives up unfinished puts, wakes all waiters with `closed` and starts the leases of unread objects once the last hold is gone.
  void close() noexcept {
    if (state_ == nullptr || !state_->shut()) return;
    detail::failpoint("shm.close.shut");
    if (state_->inherited()) return state_->session.reset();  // the parent's, which goes on
    state_->closing.request_stop();
    state_->session->end_waits();
    state_->wait_until_empty();
    state_->end_events();
    state_->writer.withdraw_unfinished();
    detail::failpoint("shm.close.withdrawn");
    state_->session.reset();
  }

 private:
  using endpoint = detail::shm::endpoint;
  using call = detail::call;

  explicit shm_transport(std::unique_ptr<endpoint> e) noexcept : state_(std::move(e)) {}

  template <class Act>
  std::size_t take_back(reclaim_sink sink, Act act) {
    if (state_ == nullptr || state_->inherited()) return 0;
    call const entered(state_.get());
    std::scoped_lock const lock(state_->put_mutex);
    return entered ? act(state_->writer) : state_->writer.flush(sink);  // puts that end after close still return their blocks
  }
  template <class Act>
  std::invoke_result_t<Act&, detail::shm::producer&> with_writer(Act act) {
    return detail::inside(state_.get(), [&](auto& e) {
      std::scoped_lock const lock(e.put_mutex);
      return act(e.writer);
    });
  }

  static std::string given(std::string const& option, char const* variable, char const* fallback) {
    if (!option.empty()) return option;
    char const* const from_environment = std::getenv(variable);
    return from_environment != nullptr && *from_environment != '\0' ? from_environment : fallback;
  }
  static std::string namespace_of(options const& o) { return given(o.space, "OMNICONN_NAMESPACE", "default"); }
  static std::string folder_of(options const& o) { return given(o.directory, "OMNICONN_SHM_DIRECTORY", "/dev/shm"); }

  /// Copies the key of an object that nobody holds for us; the caller looks at the slot's state again afterwards.
  bool read_key(std::uint32_t index, std::string& out) {
    auto const& s = state_->session->dir().slot_at(index);
    std::size_t const size = s.key_size;
    if (size > caps.max_key) return false;
    if (size <= detail::shm::slot_room) {
      auto const key = s.room.load();
      out.assign(key.data(), size);
      return true;
    }
    std::uint64_t const at = s.key_at;
    auto arena = state_->session->arena(s.owner.load(std::memory_order_relaxed), s.arena & ~detail::shm::region_mask);
    if (!arena || !(*arena)->contains(at, size)) return false;
    out.assign(text_of((*arena)->at(at, size)));
    return true;
  }

  std::unique_ptr<endpoint> state_;
};

OMNICONN_END_NAMESPACE
