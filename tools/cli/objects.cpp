// SPDX-License-Identifier: Apache-2.0
// put, get, cleanup.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include <omniconn/detail/consumed_if_decoded.hpp>
#include <omniconn/runtime/json.hpp>

#include "edges.hpp"
#include "files.hpp"
#include "payload.hpp"
#include "signals.hpp"

namespace tool {

namespace {

using seconds = std::chrono::duration<double>;
using omniconn::any_connector;
using omniconn::deadline;
using omniconn::stage_role;

diagnosis widened(omniconn::error const& e) { return {e}; }

std::chrono::nanoseconds nanoseconds_of(double s) {
  constexpr double most = 100 * 365.25 * 86400;  // fits 64 bits of nanoseconds
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(s, most) * 1e9));
}

/// Where objects go with their process: stays until the object was taken or `keep` is over.
outcome stay(any_connector& connector, put_command const& o, std::chrono::nanoseconds keep) {
  stop_on_signal const signals;
  auto const stop = signals.token();
  auto const end = deadline::after(keep);
  auto pause = std::chrono::milliseconds(1);
  while (!end.passed()) {
    auto const there = connector.exists(edge_of(o.where), o.key);
    if (!there) return widened(there.error());
    if (!*there) return {};
    if (stop.stop_requested()) return diagnosis(error_kind::cancelled, "stopped by a signal before anybody took the object, which is gone with this process");
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(pause, std::chrono::nanoseconds(std::max<std::int64_t>(1, end.nanoseconds() - deadline::now_ns()))));
    pause = std::min(pause * 2, std::chrono::milliseconds(20));
  }
  note("note: nobody took the object within the time of --keep; it is gone with this process\n");
  return {};
}

/// A receipt, or the map {key: receipt} in which a control plane carries it.
result<omniconn::receipt, diagnosis> receipt_of(any_connector const& connector, std::string const& text, std::string const& key) {
  omniconn::json_options options;
  options.restore = true;
  auto metadata = omniconn::parse_json(text, options);
  if (!metadata) return metadata.error().in("--metadata");
  if (auto const* inner = metadata->find(key); inner != nullptr && inner->is_map()) *metadata = value(*inner);
  auto out = connector.from_metadata(*metadata);
  if (!out) return widened(out.error()).in("--metadata");
  return *out;
}

}  // namespace

outcome run(put_command const& o) {
  auto const bytes = read_input(o.in);
  if (!bytes) return bytes.error();
  if (o.object)
    if (auto ok = check_object(*bytes); !ok) return std::move(ok.error());

  auto const spec = spec_of(o.where, stage_role::sender);
  if (!spec) return spec.error();
  auto connector = open_connector(*spec);
  if (!connector) return std::move(connector.error());

  omniconn::put_options options;
  std::vector<std::string_view> const readers(o.readers.begin(), o.readers.end());
  if (!readers.empty()) options.readers = omniconn::reader_set{static_cast<std::uint32_t>(readers.size()), readers};
  if (o.keep) options.lease = nanoseconds_of(*o.keep);
  if (o.timeout) options.until = deadline::after(seconds(*o.timeout));

  // Exactly these bytes: no serializer wraps them, as one that writes objects would.
  auto room = connector->reserve(bytes->size());
  if (!room) return widened(room.error());
  if (!bytes->empty()) std::memcpy(room->bytes().data(), bytes->data(), bytes->size());
  auto const kind = o.object ? omniconn::payload_kind::object : omniconn::payload_kind::raw;
  auto const done = connector->commit(edge_of(o.where), o.key, std::move(*room), options, kind);
  if (!done) return widened(done.error());

  if (auto printed = print(omniconn::to_json(connector->metadata(*done)) + "\n"); !printed) {
    // The caller sees a failed put, which leaves nothing behind.
    [[maybe_unused]] auto const dropped = connector->cleanup(edge_of(o.where), o.key);
    return std::move(printed.error());
  }
  if (connector->facts().survives != omniconn::survival::producer) return {};
  omniconn::option_reader lease(*spec);
  auto const usual = lease.take_duration_seconds("lease_seconds", std::chrono::seconds(60));
  return stay(*connector, o, o.keep ? nanoseconds_of(*o.keep) : usual);
}

outcome run(get_command const& o) {
  auto out = output::open(o.out);
  if (!out) return std::move(out.error());
  auto connector = open_edge(o.where, stage_role::receiver);
  if (!connector) return std::move(connector.error());

  omniconn::receipt where;
  omniconn::get_options options;
  options.until = o.timeout > 0 ? deadline::after(seconds(o.timeout)) : deadline::immediate();
  options.reader = o.reader;
  if (!o.metadata.empty()) {
    auto known = receipt_of(*connector, o.metadata, o.key);
    if (!known) return std::move(known.error());
    where = *known;
    options.where = &where.where;
  }

  auto view = [&] {
    stop_on_signal const signals;
    options.stop = signals.token();
    return connector->get_view(edge_of(o.where), o.key, options);
  }();
  if (!view) return widened(view.error());
  omniconn::detail::consumed_if_decoded kept(*view);  // given back unless it was written
  if (o.object)
    if (auto ok = check_object(view->bytes()); !ok) return std::move(ok.error());
  if (auto written = out->write(view->bytes()); !written) return written;
  if (auto finished = out->finish(); !finished) return finished;
  kept.decoded();
  return {};
}

outcome run(cleanup_command const& o) {
  auto connector = open_edge(o.where, stage_role::sender);
  if (!connector) return std::move(connector.error());
  auto const dropped = o.request ? connector->cleanup(o.key) : connector->cleanup(edge_of(o.where), o.key);
  if (!dropped) return widened(dropped.error());
  return print(omniconn::to_json(value::object({{"dropped", *dropped}})) + "\n");
}

}  // namespace tool
