// SPDX-License-Identifier: Apache-2.0
// Payloads as bytes, as values and as text.
#pragma once

#include <string>
#include <vector>

#include "common.hpp"

namespace tool {

/// Whether these bytes are one whole msgpack value. \errors `malformed`, `too_large`, `no_space`.
outcome check_object(const_bytes bytes);

result<value, diagnosis> decode(const_bytes bytes);
result<std::vector<std::byte>, diagnosis> encode(value const& v);

/// Several lines for people: texts escaped and cut, tensors as dtype, shape and first values, bytes as size and first bytes.
std::string describe_payload(value const& v);

/// Replaces `"data": [1, 2, ...]` in maps with `"__tensor__": true` by the bytes of such a tensor.
/// \errors `malformed`: a number that the dtype does not have, a number of elements that is not the shape's; `unsupported`: a dtype that has to come as bytes.
outcome fill_tensors(value& v);

/// The text for a terminal, in double quotes, at most `most` bytes of it; nothing in it can move the cursor.
std::string shown_text(std::string_view text, std::size_t most);

/// The same without quotes and without an end, for our own sentences with texts from outside in them; quotes and backslashes stay.
std::string one_line(std::string_view text);

/// "64 MiB", "1.5 KiB", "12 B".
std::string shown_size(std::uint64_t bytes);

}  // namespace tool
