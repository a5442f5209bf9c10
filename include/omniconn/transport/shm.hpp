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
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dirent.h>

#include <omniconn/config.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm/producer.hpp>
#include <omniconn/transport/shm/session.hpp>

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
    /// Slots of the namespace, rounded up to a power of two: the most objects that live at once, over all producers.
    /// 0: whatever an existing namespace has, else 4,096. 256 bytes each.
    std::uint32_t max_keys = 0;
    /// The reader name of gets that bring none.
    std::string reader = "default";
    /// How long a get spins before it sleeps. Negative: 20 us on machines with more than one CPU. 0: sleep at once.
    std::chrono::nanoseconds spin{-1};
    /// Where the files lie; tmpfs. Empty: the environment variable OMNICONN_SHM_DIRECTORY, else "/dev/shm".
    std::string directory;
  };

  static constexpr capabilities caps{.name = "shm",
                                     .wait = wake_up::notify,
                                     .survives = survival::producer_exit,
                                     .max_readers = detail::shm::max_claims,
                                     .max_key = max_key_size,
                                     .max_pieces = 1,
                                     .own_memory = true,
                                     .leaves_process = true,
                                     .zero_copy_get = true};

  /// A claim on an object, and with it on its producer's memory.
  class hold {
   public:
    hold() noexcept = default;
    hold(hold&& other) noexcept
        : session_(std::move(other.session_)), arena_(std::move(other.arena_)), bytes_(other.bytes_), generation_(other.generation_), index_(other.index_), place_(other.place_) {}
    hold& operator=(hold&& other) noexcept {
      if (this != &other) {
        finish(disposition::give_back);
        session_ = std::move(other.session_);
        arena_ = std::move(other.arena_);
        bytes_ = other.bytes_;
        generation_ = other.generation_;
        index_ = other.index_;
        place_ = other.place_;
      }
      return *this;
    }
    ~hold() { finish(disposition::give_back); }

    [[nodiscard]] const_bytes bytes() const noexcept { return bytes_; }
    /// Ends the claim; later calls do nothing. The bytes must not be touched any more.
    void finish(disposition how) noexcept {
      if (session_ == nullptr) return;
      auto const& dir = session_->dir();
      std::uint32_t const owner = dir.slot_at(index_).owner.load(std::memory_order_relaxed);
      if (detail::shm::release_claim(dir, index_, generation_, place_, how == disposition::consumed)) session_->retired_of(owner);
      bytes_ = {};
      arena_.reset();
      session_.reset();
    }

   private:
    friend class shm_transport;
    std::shared_ptr<detail::shm::session> session_;
    std::shared_ptr<detail::shm::mapped_arena const> arena_;
    const_bytes bytes_;
    std::uint64_t generation_ = 0;
    std::uint32_t index_ = 0;
    std::uint32_t place_ = 0;
  };

 private:
  struct state;
  enum class stage : std::uint8_t { idle, begun, looking, found, failed };

  /// What tells put and get operations apart in `wait`.
  struct shm_operation : operation {
    stage at_ = stage::idle;
    bool is_get_ = false;
    error failure_{error_kind::misconfigured, "the operation was not begun"};

    error fail(error e) noexcept {
      at_ = stage::failed;
      failure_ = e;
      return e;
    }
  };

 public:
  class put_op : public shm_operation {
   public:
    ~put_op() {
      if (at_ == stage::begun) give_up(*owner_, *this);
    }
    [[nodiscard]] locator where() const noexcept { return where_; }

   private:
    friend class shm_transport;
    state* owner_ = nullptr;
    locator where_;
    std::uint64_t hash_ = 0;
    std::uint32_t index_ = 0;
    on_existing existing_ = on_existing::fail;
  };

  class get_op : public shm_operation {
   public:
    get_op() noexcept { is_get_ = true; }
    [[nodiscard]] object_info info() const noexcept { return info_; }
    [[nodiscard]] locator where() const noexcept { return where_; }
    [[nodiscard]] hold take() noexcept {
      at_ = stage::idle;
      return std::move(hold_);
    }

   private:
    friend class shm_transport;
    wire_key key_;
    std::string kept_;
    std::uint64_t hash_ = 0;
    std::uint16_t reader_ = 0;
    bool by_locator_ = false;
    std::uint32_t index_ = 0;
    std::uint64_t generation_ = 0;
    object_info info_;
    locator where_;
    hold hold_;
  };

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
  /// \errors `misconfigured`: an option out of range; `unauthorized`: the name belongs to somebody else; `no_space`: the file system is full;
  /// `corrupt`, `version_mismatch`: what is there is not ours.
  static result<shm_transport, diagnosis> open(options const& o) {
    namespace shm = detail::shm;
    if (o.memory_pool_size == 0 || o.memory_pool_size > (std::uint64_t{1} << 46U))
      return diagnosis(error_kind::misconfigured, "memory_pool_size must be between 1 byte and 64 TiB");
    if (o.max_keys > shm::max_slots) return diagnosis(error_kind::misconfigured, "max_keys may be 2,097,152 at most");
    std::uint32_t slots = o.max_keys;
    if (slots != 0) slots = slots < shm::chunk_slots ? shm::chunk_slots : std::bit_ceil(slots);
    shm::names where(folder_of(o), namespace_of(o));
    auto dir = shm::directory::open(where, slots, true);
    if (!dir) return std::move(dir.error());
    auto joined = shm::session::join(std::move(*dir), where, o.reader);
    if (!joined) return std::move(joined.error());
    auto reader = (*joined)->reader_id(o.reader);
    if (!reader) return diagnosis(reader.error());
    return shm_transport(std::make_unique<state>(std::move(*joined), o, *reader));
  }

  /// Tidies a namespace that perhaps nobody uses any more: what the dead hold, leases that have ended, and the files once all are gone.
  /// Success also where there is nothing.
  static result<void, diagnosis> collect(options const& o) {
    detail::shm::names where(folder_of(o), namespace_of(o));
    auto dir = detail::shm::directory::open(where, 0, false);
    if (!dir && dir.error().kind() == error_kind::not_found) return {};
    if (!dir) return std::move(dir.error());
    auto joined = detail::shm::session::join(std::move(*dir), where, "collector");
    if (!joined) return std::move(joined.error());
    return {};
  }

  /// Paths of the namespace's files that exist now: none once the last user and the last lease are gone.
  static std::vector<std::string> files(options const& o) {
    detail::shm::names const where(folder_of(o), namespace_of(o));
    std::vector<std::string> out;
    if (DIR* const folder = ::opendir(where.folder.c_str())) {
      while (dirent const* const entry = ::readdir(folder))
        if (std::string_view(entry->d_name).starts_with(where.stem)) out.push_back(where.folder + "/" + entry->d_name);
      ::closedir(folder);
    }
    return out;
  }

  // --- memory ---------------------------------------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept {
    call const entered(state_.get());
    if (!entered) return {};
    std::scoped_lock const lock(state_->put_mutex);
    return state_->writer.memory();
  }
  result<memory_region> grow(std::size_t more) {
    call const entered(state_.get());
    if (!entered) return closed_error();
    std::scoped_lock const lock(state_->put_mutex);
    return state_->writer.grow(more);
  }
  std::size_t reclaim(reclaim_sink sink) {
    if (state_ == nullptr) return 0;
    call const entered(state_.get());
    std::scoped_lock const lock(state_->put_mutex);
    return entered ? state_->writer.reclaim(sink) : state_->writer.flush(sink);  // puts that end after close still return their blocks
  }

  // --- put ------------------------------------------------------------------------------------------------------------------------

  result<progress> begin(put_op& op, wire_key key, outgoing out, object_info info, publish_options const& o) {
    namespace shm = detail::shm;
    call const entered(state_.get());
    if (!entered) return closed_error();
    if (op.at_ == stage::begun) return {error_kind::misconfigured, "the put operation is in use"};
    if (key.size() > caps.max_key) return {error_kind::too_large, "the wire key is longer than 4,096 bytes"};
    std::uint32_t const readers = o.readers.size();
    if (readers == 0) return {error_kind::misconfigured, "an object needs at least one reader"};
    if (readers > caps.max_readers) return {error_kind::misconfigured, "an object in shared memory may have 16 readers at most"};
    if (out.parts.size() > 1) return {error_kind::misconfigured, "a payload in shared memory is one piece; gather it first"};
    const_bytes const payload = out.parts.empty() ? const_bytes{} : out.parts.front();
    if (info.size > payload.size()) return {error_kind::misconfigured, "object_info.size is larger than the payload's piece"};
    std::array<std::uint16_t, shm::max_claims> names{};
    for (std::uint32_t i = 0; i != o.readers.names.size(); ++i) {
      auto id = state_->session->reader_id(o.readers.names[i]);
      if (!id) return id.error();
      for (std::uint32_t k = 0; k != i; ++k)
        if (names[k] == *id) return {error_kind::misconfigured, "a reader is named twice"};
      names[i] = *id;
    }

    auto const& dir = state_->session->dir();
    std::uint64_t const hash = dir.hash(key);
    std::uint32_t index = 0;
    std::uint64_t generation = 0;
    {
      std::scoped_lock const lock(state_->put_mutex);
      auto& writer = state_->writer;
      if (!payload.empty() && !writer.owns(payload)) return {error_kind::misconfigured, "the payload does not lie in the transport's memory; write it into a reserved block"};
      auto taken = writer.take_slot();
      if (!taken) return taken.error();
      index = *taken;
      shm::slot& s = dir.slot_at(index);
      generation = shm::control::generation(s.ctl.load());
      // Before the state: whoever sees `writing` judges by these two, even if it came here for the slot's last object.
      s.hash.store(hash, std::memory_order_relaxed);
      s.replaces.store(o.existing == on_existing::replace ? 1 : 0, std::memory_order_relaxed);
      s.ctl.store(shm::control::make(generation, shm::slot_state::writing));
      s.key_offset = 0;
      if (key.size() > shm::inline_key) {
        auto stored = writer.store_key(index, key);
        if (!stored) {
          writer.return_slot(index);
          return stored.error();
        }
        s.key_offset = *stored;
      } else if (!key.empty()) {
        std::memcpy(s.key.data(), key.data(), key.size());
      }
      s.arena = writer.arena_id();
      s.offset = payload.empty() ? 0 : writer.offset_of(payload.data());
      writer.set_token(index, out);
    }
    shm::slot& s = dir.slot_at(index);
    s.expires.store(0, std::memory_order_relaxed);
    s.size = payload.size();
    s.trace = info.trace;
    s.kind = static_cast<std::uint16_t>(info.kind);
    s.lease = o.lease.count() <= 0 ? 0 : static_cast<std::uint64_t>(o.lease.count());
    s.owner.store(state_->session->me(), std::memory_order_relaxed);
    s.key_size = static_cast<std::uint16_t>(key.size());
    s.readers.store(static_cast<std::uint16_t>(readers), std::memory_order_relaxed);
    for (std::uint32_t i = 0; i != readers; ++i) {
      bool const named = !o.readers.names.empty();
      s.claims[i].store(shm::claim::make(generation, 0, named ? names[i] : shm::claim::anyone, named, shm::claim::state::empty), std::memory_order_relaxed);
    }

    shm::bucket& home = dir.home_of(hash);
    auto locked = shm::bucket_lock::acquire(dir, home, state_->session->me());
    error failure{error_kind::peer_stalled};
    bool inserted = false;
    if (!locked) {
      failure = locked.error();
    } else if (o.existing == on_existing::fail && taken_key(hash)) {
      failure = {error_kind::already_exists, "an object with this key exists; wait until it is consumed, clean it up, or put with on_existing::replace"};
    } else if (!(inserted = shm::insert_ref(dir, hash, generation, index))) {
      failure = {error_kind::no_space, "too many keys share a bucket of the namespace; raise max_keys"};
    }
    if (!inserted) {
      std::scoped_lock const lock(state_->put_mutex);
      state_->writer.forget_token(index);  // the caller keeps the block of a put that did not begin
      state_->writer.return_slot(index);
      return failure;
    }
    op.owner_ = state_.get();
    op.at_ = stage::begun;
    op.index_ = index;
    op.hash_ = hash;
    op.existing_ = o.existing;
    op.where_ = locator::pack(locator_tag::shm, place{dir.id(), generation, hash, index, 0});
    return progress::done;
  }

  void advance(put_op&, std::uint64_t) noexcept {}

  result<progress> commit(put_op& op, object_info info) {
    namespace shm = detail::shm;
    call const entered(state_.get());
    if (!entered) return closed_error();
    if (op.at_ != stage::begun) return {error_kind::misconfigured, "commit without begin"};
    auto const& dir = state_->session->dir();
    shm::slot& s = dir.slot_at(op.index_);
    if (info.size > s.size) return {error_kind::misconfigured, "commit of more bytes than begin was given"};
    s.size = info.size;
    s.checksum = info.checksum;
    s.checksum_kind = static_cast<std::uint16_t>(info.checksum_by);
    s.kind = static_cast<std::uint16_t>(info.kind);
    s.trace = info.trace;
    std::uint64_t const generation = shm::control::generation(s.ctl.load(std::memory_order_relaxed));
    shm::bucket& home = dir.home_of(op.hash_);
    std::uint64_t unfinished = shm::control::make(generation, shm::slot_state::writing);
    std::uint64_t const ready = shm::control::make(generation, shm::slot_state::ready);
    if (op.existing_ == on_existing::replace) {
      auto locked = shm::bucket_lock::acquire(dir, home, state_->session->me());
      if (!locked) {
        abort(op);
        return op.fail(locked.error());
      }
      s.ctl.store(ready);
      shm::for_each_ref(dir, op.hash_, [&](std::uint32_t other) {
        if (other != op.index_ && !beat(other, op.hash_)) drain_if(other, op.hash_);
        return false;
      });
    } else if (!s.ctl.compare_exchange_strong(unfinished, ready)) {
      abort(op);
      return op.fail({error_kind::already_exists, "a put with on_existing::replace took the key between begin and commit of this one"});
    }
    shm::ring(dir, home);
    op.at_ = stage::found;
    state_->puts.fetch_add(1, std::memory_order_relaxed);
    state_->put_bytes.fetch_add(info.size, std::memory_order_relaxed);
    return progress::done;
  }

  /// The block comes back through `reclaim`.
  void abort(put_op& op) noexcept {
    if (op.at_ == stage::begun) give_up(*op.owner_, op);
  }

  // --- get ------------------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& o) {
    call const entered(state_.get());
    if (!entered) return closed_error();
    if (op.at_ == stage::found || op.at_ == stage::looking) return {error_kind::misconfigured, "the get operation is in use"};
    if (key.size() > caps.max_key) return op.fail({error_kind::too_large, "the wire key is longer than 4,096 bytes"});
    op.reader_ = state_->reader;
    if (!o.reader.empty()) {
      auto id = state_->session->reader_id(o.reader);
      if (!id) return op.fail(id.error());
      op.reader_ = *id;
    }
    auto const& dir = state_->session->dir();
    op.by_locator_ = o.where != nullptr;
    op.hash_ = dir.hash(key);
    if (op.by_locator_) {
      auto at = o.where->unpack<place>(locator_tag::shm);
      if (!at) return op.fail(at.error());
      if (at->directory != dir.id() || at->index >= dir.layout().slots || at->hash != op.hash_) return op.fail(stale());
      op.index_ = at->index;
      op.generation_ = at->generation;
    }
    op.key_ = key;
    op.at_ = stage::looking;
    auto now = look(op);
    if (now && *now == progress::pending && !o.wait) {
      return op.fail({error_kind::not_found, "no such object now"});
    }
    if (now && *now == progress::pending) {  // the caller's key may end with this call; a get that is done at once needs no copy of it
      op.kept_.assign(key);
      op.key_ = op.kept_;
    }
    return now;
  }

  result<progress> land(get_op&, mutable_pieces) { return {error_kind::misconfigured, "shared memory needs no landing: find ends with the bytes in place"}; }

  // --- drive ----------------------------------------------------------------------------------------------------------------------

  result<progress> step(put_op& op) {
    if (op.at_ == stage::begun || op.at_ == stage::found) return progress::done;
    return op.failure_;
  }
  result<progress> step(get_op& op) {
    if (op.at_ == stage::found) return progress::done;
    if (op.at_ != stage::looking) return op.failure_;
    call const entered(state_.get());
    if (!entered) return op.fail(closed_error());
    return look(op);
  }

  result<progress> cancel(put_op& op) {
    abort(op);
    return progress::done;
  }
  result<progress> cancel(get_op& op) {
    op.hold_.finish(disposition::give_back);
    if (op.at_ == stage::looking || op.at_ == stage::found) op.fail(cancelled());
    return progress::done;
  }

  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token stop) {
    call const entered(state_.get());
    if (!entered) return closed_error();
    auto ready = [&]() noexcept -> std::size_t {
      for (std::size_t i = 0; i != ops.size(); ++i) {
        auto* const op = static_cast<shm_operation*>(ops[i]);
        if (op->at_ != stage::looking) return i;
        if (auto now = look(static_cast<get_op&>(*op)); !now || *now != progress::pending) return i;
      }
      return ops.size();
    };
    if (std::size_t const i = ready(); i != ops.size()) return i;
    if (stop.stop_requested()) return {error_kind::cancelled, "the wait was cancelled"};
    if (until.passed()) return {error_kind::timed_out, "the object did not come before the deadline"};
    if (ops.empty() && until.is_never() && !stop.stop_possible()) return {error_kind::misconfigured, "a wait for nothing without an end"};

    auto const& dir = state_->session->dir();
    auto& head = dir.head();
    bool const one = ops.size() == 1;
    auto& home = dir.home_of(one ? static_cast<get_op*>(ops[0])->hash_ : 0);
    auto& seq = one ? home.seq : head.multi_seq;
    auto& waiters = one ? home.waiters : head.multi_waiters;

    if (one && state_->spin_ns != 0) {
      std::uint32_t const before = seq.load();
      if (std::size_t const i = ready(); i != ops.size()) return i;
      std::int64_t const end = deadline::now_ns() + state_->spin_ns;
      do {
        for (int i = 0; i != 64; ++i) {
          if (seq.load(std::memory_order_acquire) != before) break;
          detail::cpu_relax();
        }
        if (seq.load(std::memory_order_acquire) != before) break;
      } while (deadline::now_ns() < end);
    }

    struct counted {
      std::atomic<std::uint32_t>& n;
      explicit counted(std::atomic<std::uint32_t>& counter) noexcept : n(counter) { n.fetch_add(1); }
      ~counted() { n.fetch_sub(1); }
    };
    // Changing the word before the wake: a bell between our look and our sleep is not lost. Other waiters look once in vain.
    auto bell = [&seq]() noexcept {
      seq.fetch_add(1);
      detail::futex_wake_all(seq);
    };
    counted const waiting(waiters);
    std::stop_callback const on_stop(stop, bell);
    std::stop_callback const on_close(state_->closing.get_token(), bell);
    for (;;) {
      std::uint32_t const before = seq.load();
      if (std::size_t const i = ready(); i != ops.size()) return i;
      if (state_->closing.stop_requested()) return closed_error();
      if (stop.stop_requested()) return {error_kind::cancelled, "the wait was cancelled"};
      if (!detail::futex_wait(seq, before, until)) {
        if (std::size_t const i = ready(); i != ops.size()) return i;
        return {error_kind::timed_out, "the object did not come before the deadline"};
      }
    }
  }

  // --- administration -------------------------------------------------------------------------------------------------------------

  result<std::size_t> erase(wire_key key) {
    call const entered(state_.get());
    if (!entered) return closed_error();
    auto const& dir = state_->session->dir();
    std::uint64_t const hash = dir.hash(key);
    std::size_t n = 0;
    detail::shm::for_each_ref(dir, hash, [&](std::uint32_t index) {
      if (drain_if(index, hash)) ++n;
      return false;
    });
    return n;
  }

  result<std::size_t> erase_if(function_ref<bool(wire_key)> match) {
    namespace shm = detail::shm;
    call const entered(state_.get());
    if (!entered) return closed_error();
    auto const& dir = state_->session->dir();
    std::size_t n = 0;
    std::string key;
    for (std::uint32_t i = 0; i != dir.layout().slots; ++i) {
      shm::slot& s = dir.slot_at(i);
      std::uint64_t word = s.ctl.load();
      if (shm::control::state(word) != shm::slot_state::ready) continue;
      if (!read_key(s, key)) continue;
      // Still the same object after the copy, or the key may be half of one and half of another.
      if (!s.ctl.compare_exchange_strong(word, word)) continue;
      if (match(key) && drain_index(i, shm::control::generation(word))) ++n;
    }
    return n;
  }

  result<bool> exists(wire_key key) {
    namespace shm = detail::shm;
    call const entered(state_.get());
    if (!entered) return closed_error();
    auto const& dir = state_->session->dir();
    std::uint64_t const hash = dir.hash(key);
    return shm::for_each_ref(dir, hash, [&](std::uint32_t index) {
      shm::slot const& s = dir.slot_at(index);
      if (s.hash.load(std::memory_order_relaxed) != hash || shm::control::state(s.ctl.load()) != shm::slot_state::ready) return false;
      return s.expires.load() == 0 || !shm::expired(s, detail::boot_time_ns());
    });
  }

  [[nodiscard]] value describe(locator const& l) const {
    auto at = l.unpack<place>(locator_tag::shm);
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
    return locator::pack(locator_tag::shm, place{*directory, *generation, *hash, static_cast<std::uint32_t>(*index), 0});
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
    out.moved = {state_->puts.load(), state_->put_bytes.load(), state_->gets.load(), state_->get_bytes.load()};
    {
      std::scoped_lock const lock(state_->put_mutex);
      auto const memory = state_->writer.memory();
      out.memory = {memory.committed, memory.reserved};
    }
    out.objects.capacity = dir.layout().slots;
    for (std::uint32_t i = 0; i != dir.layout().slots; ++i)
      if (shm::control::state(dir.slot_at(i).ctl.load(std::memory_order_relaxed)) != shm::slot_state::free) ++out.objects.used;
    for (std::uint32_t i = 0; i != shm::max_participants; ++i) {
      auto const& p = dir.participant_at(i);
      auto const s = p.state.load();
      if (s == shm::participant_state::free || i == state_->session->me()) continue;
      std::string name(p.name.data(), ::strnlen(p.name.data(), p.name.size()));
      bool const alive = s == shm::participant_state::live && shm::byte_lock::held_elsewhere(dir.fd(), i + 1);
      out.peers.push_back({name + " (pid " + std::to_string(p.pid) + ")", alive});
      if (s == shm::participant_state::live && !alive && out.status == health_status::ready) {
        out.status = health_status::degraded;
        out.why = "participant " + out.peers.back().name + " died; its objects live until their leases end";
      }
    }
    return out;
  }

  /// Gives up unfinished puts, wakes all waiters with `closed` and starts the leases of unread objects once the last hold is gone.
  void close() noexcept {
    if (state_ == nullptr || state_->closed.exchange(true)) return;
    state_->closing.request_stop();
    while (state_->inside.load() != 0) std::this_thread::yield();  // sleepers are awake by now: microseconds
    state_->writer.withdraw_unfinished();
    state_->session.reset();
  }

 private:
  /// What a locator holds.
  struct place {
    std::uint64_t directory;
    std::uint64_t generation;
    std::uint64_t hash;
    std::uint32_t index;
    std::uint32_t reserved;
  };

  struct state {
    state(std::shared_ptr<detail::shm::session> s, options const& o, std::uint16_t reader_id)
        : session(std::move(s)), writer(*session, o.memory_pool_size), reader(reader_id) {
      spin_ns = o.spin.count();
      if (spin_ns < 0) spin_ns = std::thread::hardware_concurrency() > 1 ? 20'000 : 0;
    }
    std::shared_ptr<detail::shm::session> session;
    detail::shm::producer writer;
    std::uint16_t reader;
    std::int64_t spin_ns;
    std::mutex put_mutex;
    std::stop_source closing;
    std::atomic<bool> closed{false};
    std::atomic<std::uint32_t> inside{0};  ///< calls under way: `close` waits for them before it lets the session go
    std::atomic<std::uint64_t> puts{0}, put_bytes{0}, gets{0}, get_bytes{0};
  };

  /// Keeps `close` from pulling the session away under a call.
  class call {
   public:
    explicit call(state* s) noexcept : state_(s) {
      if (state_ == nullptr) return;
      state_->inside.fetch_add(1);
      if (state_->closed.load()) leave();
    }
    call(call const&) = delete;
    call& operator=(call const&) = delete;
    ~call() { leave(); }
    explicit operator bool() const noexcept { return state_ != nullptr; }

   private:
    void leave() noexcept {
      if (state_ != nullptr) state_->inside.fetch_sub(1);
      state_ = nullptr;
    }
    state* state_;
  };

  explicit shm_transport(std::unique_ptr<state> s) noexcept : state_(std::move(s)) {}

  static std::string given(std::string const& option, char const* variable, char const* fallback) {
    if (!option.empty()) return option;
    char const* const from_environment = std::getenv(variable);
    return from_environment != nullptr && *from_environment != '\0' ? from_environment : fallback;
  }
  static std::string namespace_of(options const& o) { return given(o.space, "OMNICONN_NAMESPACE", "default"); }
  static std::string folder_of(options const& o) { return given(o.directory, "OMNICONN_SHM_DIRECTORY", "/dev/shm"); }

  static error closed_error() noexcept { return {error_kind::closed, "the transport is closed", 0, severity::transport}; }
  static error cancelled() noexcept { return {error_kind::cancelled, "the operation was cancelled"}; }
  static error stale() noexcept { return {error_kind::stale_handle, "the locator is of an object that is gone; search by key, or ask for a new receipt"}; }

  static void give_up(state& owner, put_op& op) noexcept {
    op.fail(cancelled());
    call const entered(&owner);
    if (entered) {
      auto const& dir = owner.session->dir();
      detail::shm::remove_ref(dir, op.hash_, detail::shm::control::generation(dir.slot_at(op.index_).ctl.load()), op.index_);
    }
    std::scoped_lock const lock(owner.put_mutex);
    owner.writer.release_token(op.index_);
    if (entered) owner.writer.return_slot(op.index_);  // else close has freed it
  }

  /// Takes the key from a put that has not committed yet, unless it replaces, too.
  bool beat(std::uint32_t index, std::uint64_t hash) noexcept {
    namespace shm = detail::shm;
    shm::slot& s = state_->session->dir().slot_at(index);
    std::uint64_t word = s.ctl.load();
    if (shm::control::state(word) != shm::slot_state::writing || s.hash.load(std::memory_order_relaxed) != hash || s.replaces.load(std::memory_order_relaxed) != 0)
      return false;
    return s.ctl.compare_exchange_strong(word, shm::control::make(shm::control::generation(word), shm::slot_state::beaten));
  }

  /// Drains a ready slot of that hash. Two keys of one 64-bit hash count as one here: 1 in 10^19.
  bool drain_if(std::uint32_t index, std::uint64_t hash) noexcept {
    namespace shm = detail::shm;
    shm::slot& s = state_->session->dir().slot_at(index);
    std::uint64_t const word = s.ctl.load();
    if (shm::control::state(word) != shm::slot_state::ready || s.hash.load(std::memory_order_relaxed) != hash) return false;
    return drain_index(index, shm::control::generation(word));
  }
  bool drain_index(std::uint32_t index, std::uint64_t generation) noexcept {
    auto const& dir = state_->session->dir();
    std::uint32_t const owner = dir.slot_at(index).owner.load(std::memory_order_relaxed);
    if (!detail::shm::drain(dir, index, generation)) return false;
    state_->session->retired_of(owner);
    return true;
  }

  /// \requires the bucket's lock is held.
  bool taken_key(std::uint64_t hash) noexcept {
    namespace shm = detail::shm;
    auto const& dir = state_->session->dir();
    return shm::for_each_ref(dir, hash, [&](std::uint32_t index) {
      shm::slot& s = dir.slot_at(index);
      std::uint64_t const word = s.ctl.load();
      auto const now = shm::control::state(word);
      if (s.hash.load(std::memory_order_relaxed) != hash) return false;
      if (now == shm::slot_state::writing) return true;
      if (now != shm::slot_state::ready) return false;
      if (s.expires.load() == 0 || !shm::expired(s, detail::boot_time_ns())) return true;
      drain_index(index, shm::control::generation(word));
      return false;
    });
  }

  bool read_key(detail::shm::slot const& s, std::string& out) {
    std::size_t const size = s.key_size;
    if (size > caps.max_key) return false;
    if (size <= detail::shm::inline_key) {
      out.assign(s.key.data(), size);
      return true;
    }
    auto arena = state_->session->arena(s.owner.load(std::memory_order_relaxed), s.arena);
    if (!arena || !(*arena)->contains(s.key_offset, size)) return false;
    out.assign(text_of((*arena)->at(s.key_offset, size)));
    return true;
  }

  /// One look for the object of a get: no sleep, no system call once the producer's arena is mapped.
  result<progress> look(get_op& op) {
    namespace shm = detail::shm;
    auto const& dir = state_->session->dir();
    auto failed = [&op](error e) -> result<progress> { return op.fail(e); };
    bool consumed = false;
    error broken{error_kind::corrupt};
    bool is_broken = false;
    auto attempt = [&](std::uint32_t index, std::uint64_t generation) -> bool {
      std::uint32_t claimed = 0;
      auto const outcome = shm::take_claim(dir, index, generation, static_cast<std::uint16_t>(state_->session->me()), op.reader_, claimed);
      if (outcome == shm::claim_outcome::consumed) consumed = true;
      if (outcome != shm::claim_outcome::taken) return false;
      auto adopted = adopt(op, index, generation, claimed);
      if (!adopted) {
        broken = adopted.error();
        is_broken = true;
        return true;
      }
      return *adopted;
    };

    if (op.by_locator_) {
      std::uint64_t const word = dir.slot_at(op.index_).ctl.load();
      if (shm::control::generation(word) != op.generation_ || shm::control::state(word) == shm::slot_state::draining || shm::control::state(word) == shm::slot_state::retired ||
          shm::control::state(word) == shm::slot_state::free)
        return failed(stale());
      if (shm::expired(dir.slot_at(op.index_), detail::boot_time_ns())) return failed({error_kind::lease_expired, "the producer is gone and the object's lease has ended"});
      attempt(op.index_, op.generation_);
    } else {
      shm::for_each_ref(dir, op.hash_, [&](std::uint32_t index) {
        shm::slot& s = dir.slot_at(index);
        std::uint64_t const word = s.ctl.load();
        if (shm::control::state(word) != shm::slot_state::ready || s.hash.load(std::memory_order_relaxed) != op.hash_) return false;
        if (std::uint64_t const end = s.expires.load(); end != 0 && detail::boot_time_ns() >= end) {
          drain_index(index, shm::control::generation(word));
          return false;
        }
        return attempt(index, shm::control::generation(word));
      });
    }
    if (is_broken) return failed(broken);
    if (op.at_ == stage::found) return progress::done;
    if (consumed) return failed({error_kind::consumed, "this reader has had its share of the object"});
    return progress::pending;
  }

  /// Validates what was claimed and makes it the operation's. false: another key with the same hash.
  result<bool> adopt(get_op& op, std::uint32_t index, std::uint64_t generation, std::uint32_t claimed) {
    namespace shm = detail::shm;
    auto const& dir = state_->session->dir();
    shm::slot& s = dir.slot_at(index);
    hold held;  // gives the claim back on every way out but the last
    held.session_ = state_->session;
    held.index_ = index;
    held.generation_ = generation;
    held.place_ = claimed;
    if (s.arena != 0) {
      auto arena = state_->session->arena(s.owner.load(std::memory_order_relaxed), s.arena);
      if (!arena) return arena.error();
      held.arena_ = std::move(*arena);
      if (!held.arena_->contains(s.offset, s.size)) return {error_kind::corrupt, "the namespace's directory places an object outside its arena"};
      held.bytes_ = held.arena_->at(s.offset, s.size);
    } else if (s.size != 0) {
      return {error_kind::corrupt, "the namespace's directory has an object without an arena"};
    }
    if (!op.by_locator_) {
      if (s.key_size != op.key_.size()) return false;
      if (s.key_size <= shm::inline_key) {
        if (std::string_view(s.key.data(), s.key_size) != op.key_) return false;
      } else {
        if (held.arena_ == nullptr || !held.arena_->contains(s.key_offset, s.key_size)) return {error_kind::corrupt, "the namespace's directory places a key outside its arena"};
        if (text_of(held.arena_->at(s.key_offset, s.key_size)) != op.key_) return false;
      }
    }
    op.info_ = {s.size, s.checksum, s.trace, static_cast<payload_kind>(s.kind), static_cast<checksum_kind>(s.checksum_kind)};
    op.where_ = locator::pack(locator_tag::shm, place{dir.id(), generation, s.hash.load(std::memory_order_relaxed), index, 0});
    op.hold_ = std::move(held);
    op.at_ = stage::found;
    state_->gets.fetch_add(1, std::memory_order_relaxed);
    state_->get_bytes.fetch_add(s.size, std::memory_order_relaxed);
    return true;
  }

  std::unique_ptr<state> state_;
};

OMNICONN_END_NAMESPACE
