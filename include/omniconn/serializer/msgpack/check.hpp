// SPDX-License-Identifier: Apache-2.0
// omniconn-part: msgpack
// The first pass over foreign bytes: is this one whole MessagePack value, within the limits? Allocates nothing that grows
// with what the bytes claim, so that the second pass may trust every count.
#pragma once

#include <omniconn/serializer/msgpack/library.hpp>

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE
namespace detail {

// msgpack-cxx calls a visitor for each value; one that returns false stops it.
template <class Visitor>
bool visit_msgpack(const_bytes in, Visitor& visitor, std::size_t& consumed) {
  return msgpack::parse(reinterpret_cast<char const*>(in.data()), in.size(), consumed, visitor);
}
template <class Visitor>
bool visit_msgpack(const_bytes in, Visitor& visitor) {
  std::size_t consumed = 0;
  return visit_msgpack(in, visitor, consumed);
}

class msgpack_checker : public msgpack::null_visitor {
 public:
  msgpack_checker(std::size_t size, msgpack_limits const& limits) noexcept
      : size_(size), depth_left_(limits.depth()), nodes_left_(limits.max_nodes) {}

  [[nodiscard]] std::optional<error> const& failure() const noexcept { return failure_; }

  bool visit_nil() noexcept { return count(); }
  bool visit_boolean(bool) noexcept { return count(); }
  bool visit_positive_integer(std::uint64_t) noexcept { return count(); }
  bool visit_negative_integer(std::int64_t) noexcept { return count(); }
  bool visit_float32(float) noexcept { return count(); }
  bool visit_float64(double) noexcept { return count(); }
  bool visit_str(char const*, std::uint32_t) noexcept { return count(); }
  bool visit_bin(char const*, std::uint32_t) noexcept { return count(); }
  bool visit_ext(char const*, std::uint32_t) noexcept { return count(); }
  bool start_array(std::uint32_t items) noexcept { return enter(items); }
  bool start_map(std::uint32_t entries) noexcept { return enter(std::uint64_t{2} * entries); }
  bool end_array() noexcept { return leave(); }
  bool end_map() noexcept { return leave(); }
  void parse_error(std::size_t, std::size_t) noexcept {
    fail(error_kind::malformed, "the payload holds the byte 0xc1, which msgpack never uses");
  }
  void insufficient_bytes(std::size_t, std::size_t) noexcept {
    fail(error_kind::malformed, "the payload ends in the middle of a msgpack value");
  }

 private:
  bool count() noexcept {
    if (nodes_left_ == 0) return fail(error_kind::too_large, "the payload has more values than max_nodes allows");
    --nodes_left_;
    return true;
  }
  // Every value takes a byte at least, so a count above the payload's size is a lie; said at once, not after a long walk.
  bool enter(std::uint64_t values) noexcept {
    if (values >= size_) return fail(error_kind::malformed, "the payload claims more msgpack values than it has bytes");
    if (depth_left_ == 0) return fail(error_kind::too_large, "the payload is nested deeper than max_depth allows");
    --depth_left_;
    return count();
  }
  bool leave() noexcept {
    ++depth_left_;
    return true;
  }
  bool fail(error_kind kind, char const* text) noexcept {
    if (!failure_) failure_ = error(kind, text);
    return false;
  }

  std::size_t size_;
  std::size_t depth_left_;
  std::size_t nodes_left_;
  std::optional<error> failure_;
};

// \errors `malformed`: empty, truncated, bytes after the value, a byte or a count that cannot be; `too_large`: over a limit.
inline result<void> check_msgpack(const_bytes in, msgpack_limits const& limits) {
  if (in.empty()) return {error_kind::malformed, "the payload is empty; the smallest msgpack value has one byte"};
  msgpack_checker checker(in.size(), limits);
  std::size_t consumed = 0;
  if (!visit_msgpack(in, checker, consumed)) return checker.failure().value_or(error(error_kind::malformed, "the payload is not msgpack"));
  if (consumed != in.size()) return {error_kind::malformed, "bytes follow after the msgpack value"};
  return {};
}

/// Thrown where a structure that must own everything has a member that cannot.
struct borrowing_member {};

// Exceptions of containers, of msgpack-cxx and of users' adaptors end here.
template <class Call>
auto without_exceptions(Call&& call) noexcept -> decltype(call()) {
  try {
    return call();
  } catch (std::bad_alloc const&) {
    return {error_kind::no_space, "memory ran out over the payload; lower max_nodes if such payloads are not wanted"};
  } catch (std::length_error const&) {
    return {error_kind::no_space, "the payload asks for a container larger than memory can be"};
  } catch (msgpack::container_size_overflow const&) {
    return {error_kind::too_large, "msgpack cannot hold a text, binary, array or map of 2^32 parts or more; split it, or send it raw"};
  } catch (msgpack::type_error const&) {
    return {error_kind::malformed, "the msgpack value is of another type than the structure asks for"};
  } catch (borrowing_member const&) {
    return {error_kind::misconfigured, "the structure has a tensor_view, which borrows the payload's bytes; use get_view and view::as, or hold a value or a blob instead"};
  } catch (...) {
    return {error_kind::malformed, "the structure's msgpack adaptor refused the value"};
  }
}

}  // namespace detail
OMNICONN_END_NAMESPACE
