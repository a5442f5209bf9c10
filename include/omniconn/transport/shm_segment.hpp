// SPDX-License-Identifier: Apache-2.0
// Shared memory in vLLM-Omni's layout, so that stages of ours and Python's stand beside each other. docs/transports/shm_segment.md describes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/config.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/transport/concept.hpp>
#include <omniconn/transport/shm_segment/endpoint.hpp>
#include <omniconn/transport/shm_segment/lookup.hpp>
#include <omniconn/transport/shm_segment/publish.hpp>

OMNICONN_BEGIN_NAMESPACE

/// One segment of shared memory per object, named like its key, as vLLM-Omni 0.30's SharedMemoryConnector has it.
///
/// A put copies the payload once, from wherever it is, and nothing of it is seen before it is whole. A get maps the segment and holds the key's lock as
/// long as its bytes are looked at; a reader that dies gives it back. Keys are file names: 1 to 237 ASCII bytes without '/'. Stages and edges are no part
/// of them, so the same key on two edges is the same object. One reader per object. \threadsafety every call.
class shm_segment_transport {
 public:
  struct options {
    /// Where the segments lie. Python's side knows one place only, "/dev/shm", which is the default.
    std::string directory = "/dev/shm";
    /// Payloads of up to so many bytes travel in the metadata, as vLLM-Omni did before 0.30: get them with `find_options::where`. 0: none.
    std::uint64_t inline_below = 0;
    /// `close` removes what nobody has read yet, as Python's side does. False leaves it there until somebody reads it or cleans up.
    bool remove_on_close = true;
  };

  static constexpr capabilities caps{.name = "shm_segment",
                                     .wait = wake_up::notify,
                                     .survives = survival::producer,
                                     .max_readers = 1,
                                     .max_key = detail::segment::max_key,
                                     .max_pieces = UINT32_MAX,
                                     .any_key = false,
                                     .empty_objects = false,
                                     .gathers = true,
                                     .leaves_process = true,
                                     .zero_copy_get = true,
                                     .carries_info = false,
                                     .named_readers = false};

  using hold = detail::segment::segment_hold;
  using put_op = detail::segment::put_operation;
  using get_op = detail::segment::get_operation;

  /// \requires no operation of the transport is unfinished, as for its destruction.
  shm_segment_transport(shm_segment_transport&&) noexcept = default;
  shm_segment_transport& operator=(shm_segment_transport&& other) noexcept {
    if (this != &other) {
      close();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~shm_segment_transport() { close(); }

  /// \errors `misconfigured`: the directory is none, or may not be written.
  static result<shm_segment_transport, diagnosis> open(options const& o) {
    struct stat st {};
    if (::stat(o.directory.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || ::access(o.directory.c_str(), R_OK | W_OK | X_OK) != 0)
      return diagnosis(error_kind::misconfigured, "directory " + o.directory + " is no folder that can be written; name a tmpfs such as /dev/shm", errno);
    auto state = std::make_unique<detail::segment::endpoint>();
    state->folder = o.directory;
    while (state->folder.size() > 1 && state->folder.ends_with('/')) state->folder.pop_back();
    state->inline_below = o.inline_below;
    state->remove_on_close = o.remove_on_close;
    return shm_segment_transport(std::move(state));
  }

  /// A segment as a look at the folder finds it.
  struct found_segment {
    std::string key;
    std::uint64_t size = 0;
    std::int64_t modified_s = 0;  ///< seconds since 1970
    std::uint32_t owner = 0;      ///< user id
    bool locked = false;          ///< being written or read now
  };
  /// The objects of this layout in the folder: files with a lock file beside them, also of size 0. Changes nothing.
  static std::vector<found_segment> list(std::string const& directory) {
    std::vector<found_segment> out;
    for_each_key(directory, [&](std::string_view key) {
      detail::segment::object_paths const paths(directory, key);
      struct stat st {};
      if (::lstat(paths.segment.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return;
      found_segment found{std::string(key), static_cast<std::uint64_t>(st.st_size), st.st_mtim.tv_sec, st.st_uid, false};
      auto lock = detail::segment::key_lock::try_take(paths.lock, detail::segment::key_lock::role::reader, detail::segment::key_lock::missing::leave);
      found.locked = !lock && lock.error().kind() == error_kind::peer_stalled;
      out.push_back(std::move(found));
    });
    return out;
  }

  /// Removes what stays where a process died: lock files of our user that nobody holds and that no segment belongs to, and files that were about to
  /// replace another. \returns how many.
  static std::size_t collect(std::string const& directory) {
    std::size_t n = 0;
    for_each_key(directory, [&](std::string_view key) {
      detail::segment::object_paths const paths(directory, key);
      struct stat st {};
      if (::lstat(paths.segment.c_str(), &st) == 0) return;
      auto lock = detail::segment::key_lock::try_take(paths.lock, detail::segment::key_lock::role::reader, detail::segment::key_lock::missing::leave);
      if (!lock || ::lstat(paths.segment.c_str(), &st) == 0) return;  // again under the lock: a writer may have been quicker
      lock->remove(paths.lock);
      ++n;
    });
    detail::for_each_file(directory, [&](std::string_view name) {
      if (!name.starts_with(detail::segment::second_prefix)) return;
      std::string const path = directory + "/" + std::string(name);
      detail::unique_fd const fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      struct stat st {};
      // Who is alive still has it open to write it.
      if (fd && ::fstat(fd.get(), &st) == 0 && detail::segment::check_owner(st) && !detail::segment::is_being_written(fd.get()) && ::unlink(path.c_str()) == 0) ++n;
    });
    return n;
  }

  // --- memory: any memory will do ---------------------------------------------------------------------------------------------------

  [[nodiscard]] memory_region memory() noexcept { return {}; }
  result<memory_region> grow(std::size_t) { return {error_kind::unsupported, "this layout has no memory of its own; put copies from any memory"}; }
  std::size_t reclaim(reclaim_sink sink) {
    if (state_ == nullptr) return 0;
    std::vector<std::uint64_t> home;
    {
      std::scoped_lock const lock(state_->returned_mutex);
      home.swap(state_->returned);
    }
    for (auto const token : home) sink(token);
    return home.size();
  }

  // --- put ------------------------------------------------------------------------------------------------------------------------

  result<progress> begin(put_op& op, wire_key key, outgoing const& out, object_info const& info, publish_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::segment::begin_put(e, op, key, out, info, o); });
  }
  void advance(put_op&, std::uint64_t) noexcept {}
  result<progress> commit(put_op& op, object_info const& info) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::segment::commit_put(e, op, info); });
  }
  void abort(put_op& op) noexcept { detail::segment::cancel_put(op); }

  // --- get ------------------------------------------------------------------------------------------------------------------------

  result<progress> find(get_op& op, wire_key key, find_options const& o) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::segment::start_get(e, op, key, o); });
  }
  result<progress> land(get_op&, mutable_pieces) { return {error_kind::misconfigured, "shared memory needs no landing: find ends with the bytes in place"}; }

  // --- drive ----------------------------------------------------------------------------------------------------------------------

  result<progress> step(put_op& op) { return detail::segment::step_put(state_.get(), op); }
  result<progress> step(get_op& op) { return detail::segment::step_get(state_.get(), op); }
  result<progress> cancel(put_op& op) {
    detail::segment::cancel_put(op);
    return progress::done;
  }
  result<progress> cancel(get_op& op) {
    detail::segment::cancel_get(op);
    return progress::done;
  }
  result<std::size_t> wait(std::span<operation* const> ops, deadline until, stop_token stop) {
    return detail::inside(state_.get(), [&](auto& e) { return detail::segment::wait_for_any(e, ops, until, stop); });
  }

  // --- administration -------------------------------------------------------------------------------------------------------------

  /// Removes segment and lock file of exactly this key, whoever wrote them. A lock that somebody holds stays with them.
  result<std::size_t> erase(wire_key key) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (auto ok = detail::segment::check_key(key); !ok) return ok.error();
    return erase_one(key);
  }
  result<std::size_t> erase_if(function_ref<bool(wire_key)> match) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    std::vector<std::string> matching;
    for_each_key(state_->folder, [&](std::string_view key) {
      if (match(key)) matching.emplace_back(key);
    });
    std::size_t n = 0;
    for (auto const& key : matching) {
      auto const gone = erase_one(key);
      if (!gone) return gone;
      n += *gone;
    }
    return n;
  }
  result<bool> exists(wire_key key) {
    detail::call const entered(state_.get());
    if (!entered) return detail::closed_error();
    if (auto ok = detail::segment::check_key(key); !ok) return ok.error();
    struct stat st {};
    return ::lstat(detail::segment::object_paths(state_->folder, key).segment.c_str(), &st) == 0 && st.st_size != 0 && detail::segment::check_owner(st);
  }

  /// Metadata as Python's side makes it: `{"shm": {"name", "size"}, "size"}`, or `{"inline_bytes", "size"}`.
  [[nodiscard]] value describe(locator const& l) const {
    using detail::segment::place;
    auto const at = l.unpack<place>(locator_tag::shm_segment);
    if (!at || state_ == nullptr) return {};
    if (at->name_size == place::in_metadata) {
      auto const payload = state_->inlined.find(at->inode);
      return payload == nullptr ? value() : value::object({{"inline_bytes", payload->bytes}, {"size", at->size}});
    }
    std::string const name = at->name_size != 0 ? std::string(at->name, at->name_size) : state_->pending.key_of({at->inode, at->born});
    if (name.empty()) return {};
    // The last two are ours: they tell an object from the next one of that name. Python's side ignores them.
    return value::object({{"shm", value::object({{"name", name}, {"size", at->size}, {"inode", at->inode}, {"born", at->born}})}, {"size", at->size}});
  }

  /// Understands the metadata of vLLM-Omni 0.30 and before, also wrapped once in a map (`{key: metadata}`).
  /// \errors `malformed`: none of these; then get by key.
  [[nodiscard]] result<locator> parse(value const& metadata) const {
    using detail::segment::place;
    value const* inner = &metadata;
    if (auto const* map = metadata.if_map(); map != nullptr && map->size() == 1 && map->front().second.is_map() && metadata.find("shm") == nullptr) inner = &map->front().second;
    if (state_ == nullptr) return detail::closed_error();
    place at;
    if (auto const* bytes = inner->find("inline_bytes")) {
      auto const* payload = bytes->if_binary();
      if (payload == nullptr) return {error_kind::malformed, "inline_bytes of the metadata is no binary"};
      at.size = payload->size();
      at.inode = state_->inlined.add(payload->owned());
      at.name_size = place::in_metadata;
      return locator::pack(locator_tag::shm_segment, at);
    }
    auto const* shm = inner->find("shm");
    auto const* name = shm == nullptr ? nullptr : shm->find("name");
    if (name == nullptr || name->if_string() == nullptr) return {error_kind::malformed, "the metadata is not of a shared-memory segment; get by key alone"};
    std::string_view const text = *name->if_string();
    if (auto ok = detail::segment::check_key(text); !ok) return {error_kind::malformed, "the metadata names a segment that cannot be: 1 to 237 ASCII bytes without '/'"};
    auto const number = [&shm](std::string_view field) { return shm->find(field) == nullptr ? std::uint64_t{0} : shm->find(field)->as_uint64().value_or(0); };
    for (auto const* size : {inner->find("size"), shm->find("size")}) {
      if (size == nullptr || !size->as_uint64()) return {error_kind::malformed, "the metadata has no size"};
      at.size = *size->as_uint64();  // the segment's own counts; ours differ by an envelope
    }
    at.inode = number("inode");
    at.born = number("born");
    at.set_name(text);
    return locator::pack(locator_tag::shm_segment, at);
  }

  [[nodiscard]] health_report report() const {
    health_report out;
    detail::call const entered(state_.get());
    if (!entered) {
      out.status = health_status::closed;
      out.why = "closed";
      return out;
    }
    out.moved = {state_->puts.load(), state_->put_bytes.load(), state_->gets.load(), state_->get_bytes.load()};
    auto const unread = state_->pending.count(state_->folder);
    out.objects.used = unread.objects;
    out.memory.used = unread.bytes;
    return out;
  }

  void close() noexcept {
    if (state_ == nullptr || !state_->shut()) return;
    if (state_->inherited()) return;  // what is pending is the parent's
    state_->closing.request_stop();
    state_->wait_until_empty();
    if (state_->remove_on_close) state_->pending.remove_all(state_->folder);
  }

 private:
  explicit shm_segment_transport(std::unique_ptr<detail::segment::endpoint> s) noexcept : state_(std::move(s)) {}

  template <class Visit>
  static void for_each_key(std::string const& directory, Visit const& visit) {
    detail::for_each_file(directory, [&visit](std::string_view name) {
      if (std::string_view const key = detail::segment::key_of_lock(name); !key.empty()) visit(key);
    });
  }

  result<std::size_t> erase_one(wire_key key) {
    using detail::segment::key_lock;
    detail::segment::object_paths const paths(state_->folder, key);
    struct stat st {};
    if (::lstat(paths.segment.c_str(), &st) == 0)
      if (auto own = detail::segment::check_owner(st); !own) return own.error();
    bool const there = ::unlink(paths.segment.c_str()) == 0 && st.st_size != 0;
    if (auto lock = key_lock::try_take(paths.lock, key_lock::role::reader, key_lock::missing::leave); lock && ::lstat(paths.segment.c_str(), &st) != 0) lock->remove(paths.lock);
    return there ? 1 : 0;
  }

  std::unique_ptr<detail::segment::endpoint> state_;
};

OMNICONN_END_NAMESPACE
