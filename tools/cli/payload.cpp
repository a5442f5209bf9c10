// SPDX-License-Identifier: Apache-2.0
// decode, encode, and the check of --object: the one file with the msgpack serializer of its own.
#include "payload.hpp"

#include <utility>

#include <omniconn/runtime/json.hpp>
#include <omniconn/serializer/omni_msgpack.hpp>

#include "commands.hpp"
#include "files.hpp"

namespace tool {

outcome check_object(const_bytes bytes) {
  if (auto const ok = omniconn::detail::check_msgpack(bytes, {}); !ok) return diagnosis(ok.error());
  return {};
}

result<value, diagnosis> decode(const_bytes bytes) {
  auto out = omniconn::from_msgpack(bytes);
  if (!out) return diagnosis(out.error());
  return std::move(*out);
}

result<std::vector<std::byte>, diagnosis> encode(value const& v) {
  auto out = omniconn::to_msgpack(v);
  if (!out) return diagnosis(out.error());
  return std::move(*out);
}

outcome run(decode_command const& o) {
  auto const bytes = read_input(o.in);
  if (!bytes) return bytes.error();
  auto const v = decode(*bytes);
  if (!v) return v.error();
  return print(o.json ? omniconn::to_json(*v, 1) + "\n" : describe_payload(*v));
}

outcome run(encode_command const& o) {
  auto const text = read_input(o.in);
  if (!text) return text.error();
  omniconn::json_options options;
  options.restore = true;
  auto v = omniconn::parse_json(omniconn::text_of(*text), options);
  if (!v) return std::move(v.error());
  if (o.tensors)
    if (auto filled = fill_tensors(*v); !filled) return filled;
  auto const bytes = encode(*v);
  if (!bytes) return bytes.error();
  auto out = output::open(o.out);
  if (!out) return std::move(out.error());
  if (auto written = out->write(*bytes); !written) return written;
  return out->finish();
}

}  // namespace tool
